//! Which of a few spans holds a territory number? One cache line with their starts and routes.
//!
//! A line is compared whole, without a branch: what comes from memory would often be guessed wrong. Two forms: numbers of
//! 15 bits, four of which are compared in one subtraction of 64 bits, and of 32 bits where there are too many
//! territories.

/// No route.
pub(super) const NONE: u32 = u32::MAX >> 1;
/// Marks, in a leaf, a place among the row's leaves where a route's reference would stand.
pub(super) const BELOW: u32 = 1 << 31;

/// Up to [`Leaf::STARTS`] numbers at which the answer changes, and one answer more than that: a route's reference,
/// [`NONE`], or [`BELOW`] and a place.
pub(super) trait Leaf: Copy {
    /// How many starts there may be.
    const STARTS: usize;
    /// Territories have to be fewer.
    const TERRITORIES: usize;

    /// The same answer everywhere.
    fn all(answer: u32) -> Self;

    /// From `start` on `answer`. Starts come in ascending order; `place` counts them from 0. `None`: there is no room.
    fn begin(&mut self, place: usize, start: u32, answer: u32) -> Option<()>;

    /// What answers before the first start.
    fn before(&mut self, answer: u32);

    /// Any bit of the line.
    fn touch(&self) -> u32;

    /// What answers for a territory.
    fn at(&self, territory: u32) -> u32;
}

/// Ten starts of 15 bits, four to a word, two in the last; a lane without start has the largest number.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Narrow {
    starts: [u64; 2],
    more: u32,
    answers: [u32; 11],
}

/// The lowest bit of each lane of 16 bits.
const LANES: u64 = 0x0001_0001_0001_0001;
/// The highest bit of each lane.
const HIGHEST: u64 = LANES << 15;
/// The largest start: no territory reaches it.
const NEVER: u64 = (1 << 15) - 1;

/// The lanes whose start is at most the territory, as a one in each. `territory` is in every lane, with the highest bit: so
/// no lane borrows from the next.
#[inline]
fn reached(territory: u64, starts: u64) -> u64 {
    (territory.wrapping_sub(starts) & HIGHEST) >> 15
}

impl Leaf for Narrow {
    const STARTS: usize = 10;
    const TERRITORIES: usize = NEVER as usize;

    fn all(answer: u32) -> Self {
        Self { starts: [NEVER * LANES; 2], more: (NEVER * LANES) as u32, answers: [answer; 11] }
    }

    fn begin(&mut self, place: usize, start: u32, answer: u32) -> Option<()> {
        *self.answers.get_mut(place + 1)? = answer;
        let shift = place % 4 * 16;
        let lane = |word: u64| word & !(0xffff << shift) | u64::from(start) << shift;
        match self.starts.get_mut(place / 4) {
            Some(word) => *word = lane(*word),
            // Not lossy: the last word has two lanes, and `answers` has refused a third.
            None => self.more = lane(u64::from(self.more)) as u32,
        }
        Some(())
    }

    fn before(&mut self, answer: u32) {
        let [first, ..] = &mut self.answers;
        *first = answer;
    }

    #[inline]
    fn touch(&self) -> u32 {
        self.more
    }

    #[inline]
    fn at(&self, territory: u32) -> u32 {
        let territory = u64::from(territory).wrapping_mul(LANES) | HIGHEST;
        // Without starts, the upper lanes of the last word would always be reached.
        let more = u64::from(self.more) | (NEVER * LANES) << 32;
        let [first, second] = self.starts;
        let reached = reached(territory, first) + reached(territory, second) + reached(territory, more);
        // The product's highest lane is the sum of all lanes, at most 10.
        let count = (reached.wrapping_mul(LANES) >> 48) as usize;
        self.answers.get(count).copied().unwrap_or(NONE)
    }
}

/// Seven starts of 32 bits.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Wide {
    starts: [u32; 7],
    answers: [u32; 8],
}

impl Leaf for Wide {
    const STARTS: usize = 7;
    const TERRITORIES: usize = u32::MAX as usize;

    fn all(answer: u32) -> Self {
        Self { starts: [u32::MAX; 7], answers: [answer; 8] }
    }

    fn begin(&mut self, place: usize, start: u32, answer: u32) -> Option<()> {
        *self.starts.get_mut(place)? = start;
        *self.answers.get_mut(place + 1)? = answer;
        Some(())
    }

    fn before(&mut self, answer: u32) {
        let [first, ..] = &mut self.answers;
        *first = answer;
    }

    #[inline]
    fn touch(&self) -> u32 {
        self.starts.first().copied().unwrap_or(0)
    }

    #[inline]
    fn at(&self, territory: u32) -> u32 {
        let reached: u32 = self.starts.iter().map(|start| u32::from(*start <= territory)).sum();
        self.answers.get(reached as usize).copied().unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn answers_like_a_scan<L: Leaf>(largest: u32) {
        let numbers = [0, 1, 2, 3, 100, 101, 16_000, 16_384, largest - 3, largest - 2, largest - 1];
        for length in 0..=L::STARTS {
            for skipped in 0..=numbers.len() - length {
                let starts = &numbers[skipped..skipped + length];
                let mut leaf = L::all(90);
                for (place, start) in starts.iter().enumerate() {
                    leaf.begin(place, *start, start ^ 100).unwrap();
                }
                leaf.before(91);
                for territory in numbers {
                    let expected = starts.iter().rfind(|start| **start <= territory).map_or(91, |start| start ^ 100);
                    assert_eq!(leaf.at(territory), expected, "{territory} among {starts:?}");
                }
            }
        }
        assert!(L::all(0).begin(L::STARTS, 5, 5).is_none());
    }

    #[test]
    fn every_number_of_starts_answers_like_a_scan() {
        answers_like_a_scan::<Narrow>(u32::try_from(Narrow::TERRITORIES).unwrap());
        answers_like_a_scan::<Wide>(u32::MAX);
    }

    #[test]
    fn leaves_are_cache_lines() {
        assert_eq!((size_of::<Narrow>(), size_of::<Wide>()), (64, 64));
    }
}
