//! Is every message accounted for exactly once? One byte for each, at the source; one bit for each, at the sink.
//!
//! The source opens a message before it is sent and closes it with its outcome. Closing twice, or one that was never
//! opened, is counted as a fault of the generator or the library, never ignored. What is still open at the end is lost.

use kernpost_endpoint::FinalOutcome;
use serde::{Deserialize, Serialize};

/// How a message can end, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// Signed by the recipient: durable there.
    Delivered = 1,
    /// Signed by the recipient: not wanted.
    Rejected,
    /// Certainly never handed on.
    Refused,
    /// May have been handed on.
    Undecided,
    /// Signed by a router: it expired there.
    Expired,
    /// Signed by a router: it holds it.
    Custody,
    /// Another signed outcome of a router: damaged, returned, discarded.
    Other,
    /// The library did not take it: it was never sent.
    NotTaken,
}

/// Ends by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Started.
    pub started: u64,
    /// See [`End::Delivered`].
    pub delivered: u64,
    /// See [`End::Rejected`].
    pub rejected: u64,
    /// See [`End::Refused`].
    pub refused: u64,
    /// See [`End::Undecided`].
    pub undecided: u64,
    /// See [`End::Expired`].
    pub expired: u64,
    /// See [`End::Custody`].
    pub custody: u64,
    /// See [`End::Other`].
    pub other: u64,
    /// See [`End::NotTaken`].
    pub not_taken: u64,
}

impl Counts {
    fn slot(&mut self, end: End) -> &mut u64 {
        match end {
            End::Delivered => &mut self.delivered,
            End::Rejected => &mut self.rejected,
            End::Refused => &mut self.refused,
            End::Undecided => &mut self.undecided,
            End::Expired => &mut self.expired,
            End::Custody => &mut self.custody,
            End::Other => &mut self.other,
            End::NotTaken => &mut self.not_taken,
        }
    }

    /// Counts one end.
    pub fn add(&mut self, end: End) {
        *self.slot(end) += 1;
    }

    /// Messages with an outcome.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.delivered
            + self.rejected
            + self.refused
            + self.undecided
            + self.expired
            + self.custody
            + self.other
            + self.not_taken
    }

    /// Started and without an outcome.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.started.saturating_sub(self.ended())
    }
}

impl From<FinalOutcome> for End {
    fn from(outcome: FinalOutcome) -> Self {
        match outcome {
            FinalOutcome::Delivered => Self::Delivered,
            FinalOutcome::Rejected => Self::Rejected,
            FinalOutcome::Refused => Self::Refused,
            FinalOutcome::Undecided => Self::Undecided,
            FinalOutcome::Expired => Self::Expired,
            FinalOutcome::Custody => Self::Custody,
            _ => Self::Other,
        }
    }
}

/// The source's book: one byte a message.
#[derive(Debug, Default)]
pub struct Book {
    /// By number; 0 is open.
    ends: Vec<u8>,
    counts: Counts,
    faults: u64,
    delivered: Fingerprint,
    open: u64,
}

impl Book {
    /// Opens the next message; returns its number.
    pub fn open_next(&mut self) -> u64 {
        self.ends.push(0);
        self.counts.started += 1;
        self.open += 1;
        self.ends.len() as u64 - 1
    }

    /// Closes a message.
    pub fn close(&mut self, number: u64, end: End) {
        match usize::try_from(number).ok().and_then(|number| self.ends.get_mut(number)) {
            Some(open) if *open == 0 => {
                *open = end as u8;
                self.counts.add(end);
                self.open -= 1;
                if matches!(end, End::Delivered | End::Rejected) {
                    self.delivered.add(number);
                }
            }
            _ => self.faults += 1,
        }
    }

    /// What ended how.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Messages without an outcome.
    #[must_use]
    pub fn still_open(&self) -> u64 {
        self.open
    }

    /// Outcomes for messages that had one already, or that were never opened. Has to stay 0.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// Of the messages with a receipt of their recipient.
    #[must_use]
    pub fn receipted(&self) -> Fingerprint {
        self.delivered
    }
}

/// A set of numbers that can be compared without sending it: how many, and the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How many.
    pub count: u64,
    /// Wrapping sum of a hash of each.
    pub sum: u64,
}

impl Fingerprint {
    /// Adds a number that is not yet in the set.
    pub fn add(&mut self, number: u64) {
        self.count += 1;
        let mixed = (number ^ (number >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.sum = self.sum.wrapping_add((mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb));
    }
}

/// The sink's memory: one bit a message, grown as numbers come. Bounded by the messages of one run.
#[derive(Debug, Default)]
pub struct Seen {
    bits: Vec<u64>,
    unique: Fingerprint,
    duplicates: u64,
}

impl Seen {
    /// Notes a number; false when it was noted before.
    pub fn note(&mut self, number: u64) -> bool {
        let Ok(word) = usize::try_from(number / 64) else { return false };
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let bit = 1_u64 << (number % 64);
        let Some(word) = self.bits.get_mut(word) else { return false };
        if *word & bit != 0 {
            self.duplicates += 1;
            return false;
        }
        *word |= bit;
        self.unique.add(number);
        true
    }

    /// Different numbers noted.
    #[must_use]
    pub fn unique(&self) -> Fingerprint {
        self.unique
    }

    /// Numbers noted again.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_ends_once_or_is_still_open() {
        let mut book = Book::default();
        let [a, b, c] = [book.open_next(), book.open_next(), book.open_next()];
        book.close(b, End::Delivered);
        book.close(a, End::Refused);
        assert_eq!((book.counts().ended(), book.still_open(), book.counts().open()), (2, 1, 1));
        book.close(c, End::Undecided);
        assert_eq!((book.still_open(), book.faults()), (0, 0));
    }

    #[test]
    fn a_second_outcome_or_an_unknown_message_is_a_fault() {
        let mut book = Book::default();
        let number = book.open_next();
        book.close(number, End::Delivered);
        book.close(number, End::Delivered);
        book.close(99, End::Delivered);
        assert_eq!((book.faults(), book.counts().delivered), (2, 1));
    }

    #[test]
    fn the_sink_counts_what_it_has_seen_before() {
        let mut seen = Seen::default();
        assert!(seen.note(5) && seen.note(700) && seen.note(0));
        assert!(!seen.note(700));
        assert_eq!((seen.unique().count, seen.duplicates()), (3, 1));
    }

    #[test]
    fn the_same_set_has_the_same_fingerprint_in_any_order() {
        let of = |numbers: &[u64]| {
            let mut print = Fingerprint::default();
            numbers.iter().for_each(|number| print.add(*number));
            print
        };
        assert_eq!(of(&[1, 2, 3]), of(&[3, 1, 2]));
        assert_ne!(of(&[1, 2, 3]), of(&[1, 2, 4]));
        assert_ne!(of(&[0]), of(&[]));
    }
}
