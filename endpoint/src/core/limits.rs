//! The core's bounds: default, unit, range, and what each costs in the worst case.

/// Bounds of one endpoint process. Every queue, map and cache of the core is bounded by one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages the outbox holds until they are in custody or ended. Default 16,384; 1..=1,048,576.
    pub outbox_messages: usize,
    /// Statement and payload bytes the outbox holds. Default 64 MiB; at least 65 KiB.
    pub outbox_bytes: usize,
    /// Messages in custody of a router, or followed by a durable outbox after their timeout: without payload bytes in memory
    /// where the durable outbox has them. Default 65,536 (about 1 KiB each); 1..=1,048,576. When reached, nothing more is taken.
    pub parked_messages: usize,
    /// How long a case is held while the router with its custody cannot be reached, ms (WIRE 10.5). Default 1 h; 0..=30 days.
    pub case_hold_ms: u64,
    /// First wait before a message in custody is asked for, ms; doubles each time, and is at least 5 ms for each message in custody, so that
    /// they make 200 asks a second at most. Default 30,000.
    pub custody_ask_first_ms: u64,
    /// Longest such wait, ms. Default 1 h.
    pub custody_ask_longest_ms: u64,
    /// Ended messages remembered, so that a later receipt of higher precedence, or one that contradicts, is recognised.
    /// Default 16,384 (about 400 bytes each); the oldest are forgotten, and then looked up in a durable outbox.
    pub concluded: usize,
    /// Messages accepted from the routers and not yet journalled. Default 16,384; 1..=1,048,576.
    pub inbox_messages: usize,
    /// Their statement and payload bytes. Default 64 MiB.
    pub inbox_bytes: usize,
    /// Entries granted per link and class (WIRE 7.1). Default 4,096; 1..=65,536. A router gives each endpoint of
    /// a link that attaches several at most 1/8 of it (WIRE 7.3).
    pub credit_entries: u64,
    /// Bytes granted per link and class. Default 8 MiB. Worst case: links × 3 × this, bounded again by `inbox_bytes`.
    pub credit_bytes: u64,
    /// Largest payload taken, stated in hello, bytes. Default 2 GiB; 65,536 (no large payloads) ..= 2 GiB.
    pub largest_payload: u64,
    /// Large payloads sent at once per link. Default 4, what a router grants one link of another's; 1..=256.
    pub large_sending: usize,
    /// Large payloads received at once in the process. Default 8; 1..=256. Memory: about 1 MiB each.
    pub large_receptions: usize,
    /// Bytes of payloads that are on disk before their verdict, partial ones included. Default 8 GiB. Without a state folder
    /// they are in memory, at most `inbox_bytes`.
    pub partial_bytes: u64,
    /// How long a partial payload is kept, ms. Default 24 h (WIRE 9.6).
    pub partial_ms: u64,
    /// Checked roots remembered in the process. Default 8,192 (about 40 bytes each, twice).
    pub root_cache: usize,
    /// Directory versions kept for receipts. Default 8.
    pub versions: usize,
    /// RECEIPTS frames that wait for a directory version. Default 256.
    pub parked_receipts: usize,
    /// Destinations held back because they were busy. Default 65,536 (about 100 bytes each).
    pub throttles: usize,
    /// How long a sent label may stay open, ms. Default 36,000 (WIRE 8.6).
    pub label_deadline_ms: u64,
    /// After this time the router has settled a received label as undecided, ms. Default 30,000 (WIRE 8.6).
    pub received_deadline_ms: u64,
    /// How long a link may take to say hello, ms. Default 10,000 (WIRE 2.5).
    pub hello_timeout_ms: u64,
    /// Life of an attach token, ms. Default 12 h; at most 24 h (WIRE 3.2). It is renewed after half of it.
    pub attachment_ms: u64,
    /// How often a router is asked whether attachments still stand and which directory it uses, ms. Default 15,000.
    pub check_ms: u64,
    /// First wait before a refused or undecided message is tried again, ms; doubles each time. Default 20.
    pub retry_first_ms: u64,
    /// Longest such wait, ms. Default 5,000.
    pub retry_longest_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            outbox_messages: 16_384,
            outbox_bytes: 64 << 20,
            parked_messages: 65_536,
            case_hold_ms: 3_600_000,
            custody_ask_first_ms: 30_000,
            custody_ask_longest_ms: 3_600_000,
            concluded: 16_384,
            inbox_messages: 16_384,
            inbox_bytes: 64 << 20,
            credit_entries: 4_096,
            credit_bytes: 8 << 20,
            largest_payload: kernpost_codecs::statement::LONGEST_PAYLOAD,
            large_sending: 4,
            large_receptions: 8,
            partial_bytes: 8 << 30,
            partial_ms: 24 * 3_600_000,
            root_cache: 8_192,
            versions: 8,
            parked_receipts: 256,
            throttles: 65_536,
            label_deadline_ms: 36_000,
            received_deadline_ms: 30_000,
            hello_timeout_ms: 10_000,
            attachment_ms: 12 * 3_600_000,
            check_ms: 15_000,
            retry_first_ms: 20,
            retry_longest_ms: 5_000,
        }
    }
}
