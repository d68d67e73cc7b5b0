//! Plain counters of one endpoint process: what happened to every message it sent and received.
//!
//! Balance of the sending side, at any instant between two inputs: `accepted + recovered = delivered + rejected + refused +
//! undecided + other_final + open`. What is in custody is open.

/// Counters since start. Plain integers; the shell exports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Messages taken into the outbox.
    pub accepted: u64,
    /// Messages found in the durable outbox at the start, without final outcome.
    pub recovered: u64,
    /// Final: verified receipt *delivered*.
    pub delivered: u64,
    /// Final: verified receipt *rejected*.
    pub rejected: u64,
    /// Final: certainly never handed on.
    pub refused: u64,
    /// Final: nobody said what became of a copy that may have been handed on, until the send timeout; with a durable outbox,
    /// or after custody, until 30 days after it expired.
    pub undecided: u64,
    /// Final: another signed outcome of a router (expired, damaged, returned, discarded).
    pub other_final: u64,
    /// Messages still open in the outbox.
    pub open: u64,
    /// Of these, in custody of a router now.
    pub in_custody: u64,
    /// Receipts *custody* that verified and brought a message into custody.
    pub custodies: u64,
    /// Messages sent again because their custody ended without a final outcome: a *damaged* receipt, a router marked lost.
    pub custody_resends: u64,
    /// Late receipts that were noted.
    pub late_receipts: u64,
    /// Outcomes that a later receipt of higher precedence replaced (WIRE 10.6); the counters above keep the first.
    pub revised: u64,
    /// Cases held because the router with their custody cannot be reached, since start.
    pub cases_held: u64,
    /// Cases that went on without promise of order.
    pub case_orders_ended: u64,
    /// Entries sent, resends and asks included.
    pub attempts: u64,
    /// Of these, resends flagged *redelivered*.
    pub resends: u64,
    /// Of these, asks.
    pub asks: u64,
    /// Bundles sent.
    pub bundles: u64,
    /// Refusals received, by attempt.
    pub refusals: u64,
    /// Attempts that ended undecided.
    pub undecided_attempts: u64,
    /// Receipts that verified.
    pub receipts: u64,
    /// Receipts that did not verify and were not believed.
    pub invalid_receipts: u64,
    /// Settlements for labels already settled or past their deadline.
    pub late_settlements: u64,
    /// Second final receipts that contradict the first.
    pub contradictions: u64,
    /// Entries received on bundle lanes.
    pub received: u64,
    /// Messages handed to the application.
    pub handed_over: u64,
    /// Repeats answered from the journal or joined to a pending message: not handed over again.
    pub repeats: u64,
    /// Asks received.
    pub asked: u64,
    /// Accepts and rejects journalled.
    pub journalled: u64,
    /// Receipts issued.
    pub receipts_issued: u64,
    /// Verdicts whose label had passed its deadline or whose link was gone: an ask or a resend finds them.
    pub late_verdicts: u64,
    /// RECEIPTS frames written, one signature each.
    pub receipt_frames: u64,
    /// Entries refused.
    pub refused_entries: u64,
    /// Verdicts lost to a failed journal write; the router sees the label pass its deadline.
    pub storage_faults: u64,
    /// Bundles built that failed to be encoded; nothing was sent.
    pub build_faults: u64,
}

impl Ledger {
    /// Whether every accepted message is accounted for.
    pub fn balances(&self) -> bool {
        self.accepted + self.recovered
            == self.delivered + self.rejected + self.refused + self.undecided + self.other_final + self.open
    }
}
