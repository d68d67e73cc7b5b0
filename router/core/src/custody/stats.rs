//! Plain counters of custody; the shell turns them into metrics at scrape time.

/// What custody counted since it started. All counters only grow, except those marked as gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CustodyStats {
    /// Messages handed over by workers.
    pub handed_over: u64,
    /// Messages that were held already when they came.
    pub repeats: u64,
    /// Messages refused at once: no room, no key, stopped.
    pub refused: u64,
    /// Messages whose fsync failed: settled undecided.
    pub not_kept: u64,
    /// Entries sent to recipients, and receipts sent late, every attempt counted.
    pub attempts: u64,
    /// Attempts answered busy or not attached.
    pub attempts_busy: u64,
    /// Attempts that ended undecided.
    pub attempts_undecided: u64,
    /// Receipts of recipients that did not count here: foreign key, wrong signature.
    pub receipts_ignored: u64,
    /// Signatures of recipients' receipts checked.
    pub signature_checks: u64,
    /// Payload digests computed when records were read.
    pub digest_checks: u64,
    /// Late receipts settled *noted*.
    pub noted: u64,
    /// Late receipts refused for good by the addressee, or past their time.
    pub not_noted: u64,
    /// Asks answered from the spool.
    pub asks_answered: u64,
    /// Records that could not be read.
    pub damaged: u64,
    /// Large payloads taken in whole.
    pub payloads_taken: u64,
    /// Large payloads on their way in (gauge).
    pub payloads_arriving: u64,
    /// Large payloads on their way to recipients (gauge).
    pub payloads_sending: u64,
    /// Queues that hold something (gauge).
    pub queues: u64,
    /// Entries under way (gauge).
    pub flying: u64,
    /// Bytes of records in memory (gauge).
    pub loaded_bytes: u64,
    /// How much less is taken than could be, 0..=100 (gauge): 0 nothing is held back, 100 nothing is taken.
    pub pressure: u8,
}
