//! How long to wait before trying again: exponential with jitter, drawn from a seeded generator.
//!
//! The core must not draw randomness, so that a seed reproduces a run; splitmix64 is enough to spread retries.

/// Waits of `first · 2^setbacks`, at most `longest`, each drawn from the upper half of that span.
#[derive(Debug, Clone)]
pub struct Waits {
    first_ms: u64,
    longest_ms: u64,
    state: u64,
}

impl Waits {
    /// A source of waits; equal seeds give equal waits.
    pub fn new(first_ms: u64, longest_ms: u64, seed: u64) -> Self {
        Self { first_ms: first_ms.max(1), longest_ms: longest_ms.max(1), state: seed }
    }

    /// The wait after `setbacks` earlier failures, ms, at least 1.
    pub fn draw(&mut self, setbacks: u32) -> u64 {
        let span = self.first_ms.saturating_mul(1 << setbacks.min(20)).min(self.longest_ms);
        let half = span / 2;
        (half + self.next() % (span - half + 1)).max(1)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_stay_in_their_span() {
        let mut waits = Waits::new(20, 5_000, 7);
        for setbacks in 0..40 {
            let span = 20u64.saturating_mul(1 << setbacks.min(20)).min(5_000);
            let wait = waits.draw(setbacks);
            assert!((span / 2..=span).contains(&wait), "{wait} after {setbacks} setbacks");
        }
    }

    #[test]
    fn equal_seeds_give_equal_waits() {
        let (mut a, mut b) = (Waits::new(20, 5_000, 1), Waits::new(20, 5_000, 1));
        assert!((0..32).all(|n| a.draw(n) == b.draw(n)));
    }
}
