//! Custody's knobs: default, unit, range, and what each costs in the worst case.

use kernpost_codecs::RouterId;

use crate::link::WorkerId;

/// Configuration of custody.
#[derive(Debug, Clone)]
pub struct CustodyConfig {
    /// This router's id.
    pub router: RouterId,
    /// Workers in the process. Custody takes part in their crossings under the number that follows theirs.
    pub workers: u16,
    /// How long a recipient has to settle an entry, ms. Default 30,000 (WIRE 8.6).
    pub endpoint_deadline_ms: u64,
    /// Added per hop, ms. Default 2,000.
    pub hop_deadline_ms: u64,
    /// Stated with what is refused, ms. Default 200.
    pub retry_after_ms: u64,
    /// Bytes of one queue in memory, to be delivered from. Default 4 MiB; at least one record, which has at most 256 KiB.
    pub queue_window_bytes: u64,
    /// Bytes of all queues in memory. Default 64 MiB; a queue that would exceed it waits for another to make room.
    pub window_bytes: u64,
    /// Entries of one queue under way from which on no further record is sent; a record goes as a whole. Default 4,096.
    pub most_flying: u64,
    /// First pause after an attempt that did not succeed, ms; it doubles with every further one. Default 200.
    pub first_pause_ms: u64,
    /// Longest pause, ms. Default 30,000.
    pub longest_pause_ms: u64,
    /// How long statements and proofs are kept after the end, ms. Default 730 days.
    pub retention_ms: u64,
    /// Bytes waiting from which on credit shrinks. Default 8 GiB.
    pub low_bytes: u64,
    /// Bytes waiting from which on nothing more is taken. Default 10 GiB.
    pub high_bytes: u64,
    /// Bytes the disk must have left: below twice as many credit shrinks, below it nothing more is taken. Default 1 GiB.
    pub least_free_bytes: u64,
    /// Large payloads on their way into custody at a time; 1 MiB of memory each. Default 16 (WIRE 9.9).
    pub large_payloads: usize,
    /// Age of the oldest waiting record from which on credit shrinks to half, ms. There is no age from which on nothing is taken: that
    /// would make nothing younger, and what is oldest waits for one recipient, for which the others' messages are not to blame;
    /// it ends at its expiry. Default 20 days: two thirds of the longest
    /// lifetime, so that whoever is behind is found out before messages expire.
    pub old_ms: u64,
}

impl CustodyConfig {
    /// The defaults for a router with this id.
    pub fn new(router: RouterId, workers: u16) -> Self {
        Self {
            router,
            workers,
            endpoint_deadline_ms: 30_000,
            hop_deadline_ms: 2_000,
            retry_after_ms: 200,
            queue_window_bytes: 4 << 20,
            window_bytes: 64 << 20,
            most_flying: 4_096,
            first_pause_ms: 200,
            longest_pause_ms: 30_000,
            retention_ms: 730 * DAY_MS,
            low_bytes: 8 << 30,
            high_bytes: 10 << 30,
            least_free_bytes: 1 << 30,
            large_payloads: 16,
            old_ms: 20 * DAY_MS,
        }
    }

    /// The number under which crossings reach custody.
    pub fn worker(&self) -> WorkerId {
        WorkerId(self.workers)
    }
}

const DAY_MS: u64 = 24 * 3_600 * 1_000;
