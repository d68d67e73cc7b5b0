//! The ledger: what was accepted equals what settled plus what is in flight, always.
//!
//! Counts are per attempt (per label) since the engine started. Tests and operators check [`Ledger::balanced`].

use kernpost_codecs::{Code, Outcome};

/// Counts of labels by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Entries that were given a label.
    pub accepted: u64,
    /// Settled by a receipt *delivered*.
    pub delivered: u64,
    /// Settled by a receipt *rejected*.
    pub rejected: u64,
    /// Settled *refused*: certain, never handed on.
    pub refused: u64,
    /// Settled *undecided*: may have been handed on.
    pub undecided: u64,
    /// Settled by a receipt *custody* of another router.
    pub custody: u64,
    /// Settled by a receipt *expired*.
    pub expired: u64,
    /// Settled by a receipt *damaged*.
    pub damaged: u64,
    /// Settled by a receipt *returned*.
    pub returned: u64,
    /// Settled by a receipt *discarded*.
    pub discarded: u64,
    /// Settled *noted*.
    pub noted: u64,
    /// Labels open now.
    pub in_flight: u64,
}

impl Ledger {
    /// So many labels were opened.
    pub(crate) fn open(&mut self, count: u64) {
        self.accepted += count;
        self.in_flight += count;
    }

    /// A label was closed by a receipt.
    pub(crate) fn close_by_receipt(&mut self, outcome: Outcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let count = match outcome {
            Outcome::Delivered => &mut self.delivered,
            Outcome::Rejected => &mut self.rejected,
            Outcome::Custody => &mut self.custody,
            Outcome::Expired => &mut self.expired,
            Outcome::Damaged => &mut self.damaged,
            Outcome::Returned => &mut self.returned,
            Outcome::Discarded => &mut self.discarded,
        };
        *count += 1;
    }

    /// A label was closed by an unsigned settlement.
    pub(crate) fn close_by_code(&mut self, code: Code) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if code.is_noted() {
            self.noted += 1;
        } else if code.is_undecided() {
            self.undecided += 1;
        } else {
            self.refused += 1;
        }
    }

    /// Everything that settled.
    pub fn settled(&self) -> u64 {
        self.delivered
            + self.rejected
            + self.refused
            + self.undecided
            + self.custody
            + self.expired
            + self.damaged
            + self.returned
            + self.discarded
            + self.noted
    }

    /// Whether the books close: accepted = settled + in flight.
    pub fn balanced(&self) -> bool {
        self.accepted == self.settled() + self.in_flight
    }

    /// The sum of two ledgers (one per worker).
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            delivered: self.delivered + other.delivered,
            rejected: self.rejected + other.rejected,
            refused: self.refused + other.refused,
            undecided: self.undecided + other.undecided,
            custody: self.custody + other.custody,
            expired: self.expired + other.expired,
            damaged: self.damaged + other.damaged,
            returned: self.returned + other.returned,
            discarded: self.discarded + other.discarded,
            noted: self.noted + other.noted,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}
