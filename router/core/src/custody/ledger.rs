//! The books of custody, per message since the start: taken + recovered = every way to end + in custody.

/// Counts of messages by what became of them here. Checked by [`CustodyLedger::balanced`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CustodyLedger {
    /// Taken: fsynced, with a receipt *custody*.
    pub taken: u64,
    /// Found in the spool at the start.
    pub recovered: u64,
    /// Ended by the recipient's receipt *delivered*.
    pub delivered: u64,
    /// Ended by the recipient's receipt *rejected*.
    pub rejected: u64,
    /// Ended by our receipt *expired*.
    pub expired: u64,
    /// Ended by our receipt *damaged*.
    pub damaged: u64,
    /// Ended by our receipt *returned*.
    pub returned: u64,
    /// Ended by our receipt *discarded*.
    pub discarded: u64,
    /// Records that could not be read at all, so that nobody could be told; counted in messages as far as known. An operator
    /// was alarmed.
    pub unreadable: u64,
    /// Held now.
    pub in_custody: u64,
}

impl CustodyLedger {
    /// So many messages ended this way.
    pub(super) fn end(&mut self, outcome: kernpost_codecs::Outcome, count: u64) {
        use kernpost_codecs::Outcome;
        let ended = match outcome {
            Outcome::Delivered => &mut self.delivered,
            Outcome::Rejected => &mut self.rejected,
            Outcome::Expired => &mut self.expired,
            Outcome::Damaged => &mut self.damaged,
            Outcome::Returned => &mut self.returned,
            Outcome::Discarded => &mut self.discarded,
            // Not an end; nobody concludes with it.
            Outcome::Custody => return,
        };
        *ended += count;
        self.in_custody = self.in_custody.saturating_sub(count);
    }

    /// So many messages are held, as the spool counts them. Where its index of a record could not be read, nobody knows which of the
    /// record's messages had ended: those that wait again are found anew.
    pub(super) fn find(&mut self, held: u64) {
        self.in_custody = held;
        self.recovered = (self.ended() + self.unreadable + held).saturating_sub(self.taken);
    }

    /// Of what was held only so much is left: the rest can neither be delivered nor attributed to a sender.
    pub(super) fn lose(&mut self, held: u64) {
        self.unreadable += self.in_custody.saturating_sub(held);
        self.in_custody = self.in_custody.min(held);
    }

    fn ended(&self) -> u64 {
        self.delivered + self.rejected + self.expired + self.damaged + self.returned + self.discarded
    }

    /// Whether the books close.
    pub fn balanced(&self) -> bool {
        self.taken + self.recovered == self.ended() + self.unreadable + self.in_custody
    }
}
