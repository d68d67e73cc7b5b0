//! Plain counters of one engine; the shell turns them into metrics at scrape time.

use kernpost_codecs::Code;

use crate::collections::Map;

/// What one engine counted since it started. All counters only grow, except those marked as gauges.
#[derive(Debug, Clone, Default)]
pub struct EngineStats {
    /// BUNDLE frames received.
    pub parts_received: u64,
    /// BUNDLE frames sent (after splitting).
    pub parts_sent: u64,
    /// Entries received.
    pub entries_received: u64,
    /// Entries forwarded.
    pub entries_forwarded: u64,
    /// Payload bytes received.
    pub payload_bytes_received: u64,
    /// Root signatures checked with public-key cryptography.
    pub signature_checks: u64,
    /// Root signatures found in the cache of checked roots.
    pub root_cache_hits: u64,
    /// Root signatures that failed.
    pub signature_failures: u64,
    /// Payload digests computed.
    pub digest_checks: u64,
    /// Receipts passed on towards their addressee.
    pub receipts_forwarded: u64,
    /// RECEIPTS frames set aside: foreign key, proof that does not rebuild, or a label already gone.
    pub receipt_frames_ignored: u64,
    /// Settlements for labels that had settled before or passed their deadline (WIRE 8.1).
    pub late_settlements: u64,
    /// Entries that had to wait for onward credit.
    pub entries_waited: u64,
    /// Entries waiting for onward credit now (gauge).
    pub entries_waiting: u64,
    /// Entries handed over to custody because a link could not take them.
    pub entries_to_custody: u64,
    /// Entries that crossed to another worker.
    pub crossings_sent: u64,
    /// Entries refused because another worker's channel was full.
    pub crossings_refused: u64,
    /// Streams of large payloads the peers opened.
    pub payloads_begun: u64,
    /// Large payloads whose last byte arrived.
    pub payloads_finished: u64,
    /// Large payloads that ended before their last byte.
    pub payloads_aborted: u64,
    /// Large payloads arriving now (gauge).
    pub payloads_in_progress: u64,
    /// Bytes of large payloads handed on.
    pub payload_bytes_streamed: u64,
    /// WANT frames for labels that had settled, or that said nothing new.
    pub wants_ignored: u64,
    /// Links known to this engine now (gauge).
    pub links: u64,
    /// Unsigned settlements given by this router, by code.
    pub refusals: Map<u64, u64>,
}

impl EngineStats {
    /// Counts one unsigned settlement decided here.
    pub(crate) fn refused(&mut self, code: Code) {
        *self.refusals.entry(code.0).or_insert(0) += 1;
    }
}
