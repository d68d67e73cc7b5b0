//! The list of metric families: name, help, kind and labels, each once.

/// Whether a value only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Full name.
    pub name: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Label names, in the order in which samples give their values.
    pub labels: &'static [&'static str],
}

macro_rules! families {
    ($($ident:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) static $ident: Family = Family {
            name: concat!("kernpost_", $name),
            help: $help,
            kind: Kind::$kind,
            labels: &[$($label),*],
        };)*

        /// All of them.
        pub(super) static ALL: &[&Family] = &[$(&$ident),*];
    };
}

families! {
    // The process.
    BUILD: Gauge "build_version" ["version"] "Always 1; the label is the software version.";
    START_TIME: Gauge "start_time_seconds" [] "When the process started, Unix time.";
    MEMORY: Gauge "resident_memory_bytes" [] "Resident memory of the process.";
    READY: Gauge "ready" [] "1 when the router can route, else 0.";
    NOT_READY: Gauge "not_ready" ["gate"] "1 for each gate that keeps the router from being ready.";
    DRAINING: Gauge "draining" [] "1 while the router drains.";
    CLOCK: Gauge "clock_synchronised" [] "1 while the kernel's clock is synchronised or assumed to be; else 0, and nothing expires.";

    // The ledger, summed over workers.
    LEDGER: Counter "ledger_entries_total" ["outcome"] "Entries by what became of them; outcome=accepted counts every label opened.";
    IN_FLIGHT: Gauge "ledger_in_flight_entries" [] "Labels open now.";
    BALANCED: Gauge "ledger_balanced" [] "1 when accepted equals settled plus in flight at every worker.";
    REFUSALS: Counter "refusals_total" ["code", "fault"] "Unsigned settlements given by this router, by code (WIRE 8.4) and whose fault.";

    // Custody; absent without one.
    CUSTODY_LEDGER: Counter "custody_messages_total" ["outcome"] "Messages by what became of them in custody; outcome=taken and recovered count what came in.";
    CUSTODY_HELD: Gauge "custody_held_messages" [] "Messages in custody.";
    CUSTODY_BALANCED: Gauge "custody_balanced" [] "1 when taken plus recovered equals ended plus held.";
    CUSTODY_BYTES: Gauge "custody_held_bytes" [] "Bytes of the messages in custody.";
    CUSTODY_OLDEST: Gauge "custody_oldest_seconds" [] "When the oldest record that waits was taken, Unix time; absent: nothing waits.";
    CUSTODY_RECEIPTS: Gauge "custody_late_receipts" [] "Receipts waiting for their senders.";
    CUSTODY_DISK: Gauge "custody_disk_bytes" [] "Bytes of the spool on disk.";
    CUSTODY_FREE: Gauge "custody_disk_free_bytes" [] "Bytes the disk has left.";
    CUSTODY_PRESSURE: Gauge "custody_pressure_ratio" [] "How much less is taken than could be, 0 to 1; 1: nothing is taken.";
    CUSTODY_QUEUES: Gauge "custody_queues" [] "Queues that hold something.";
    CUSTODY_FLYING: Gauge "custody_in_flight_entries" [] "Entries on their way out of custody.";
    CUSTODY_LARGE: Gauge "custody_large_payloads" ["direction"] "Large payloads on their way into custody, received, and out of it, sent.";
    CUSTODY_LARGE_TAKEN: Counter "custody_large_payloads_taken_total" [] "Large payloads that came in whole.";
    CUSTODY_MEMORY: Gauge "custody_window_bytes" [] "Bytes of records in memory.";
    CUSTODY_HANDED: Counter "custody_handed_over_total" ["result"] "Messages handed over to custody that it did not take: repeat, refused, not_kept.";
    CUSTODY_ATTEMPTS: Counter "custody_attempts_total" ["result"] "Attempts to deliver: all, busy, undecided.";
    CUSTODY_LATE: Counter "custody_late_receipts_total" ["result"] "Late receipts that need no further sending: noted, not_noted.";
    CUSTODY_ASKS: Counter "custody_asks_answered_total" [] "Asks answered from the spool.";
    CUSTODY_CHECKS: Counter "custody_checks_total" ["what"] "Signatures of receipts and digests of payloads checked.";
    CUSTODY_DAMAGED: Counter "custody_damaged_records_total" [] "Records that could not be read.";

    // The engines, by worker.
    PARTS_RECEIVED: Counter "parts_received_total" ["worker"] "Bundle parts received.";
    PARTS_SENT: Counter "parts_sent_total" ["worker"] "Bundle parts sent, after splitting.";
    ENTRIES_RECEIVED: Counter "entries_received_total" ["worker"] "Entries received.";
    ENTRIES_FORWARDED: Counter "entries_forwarded_total" ["worker"] "Entries forwarded.";
    ENTRY_TURNS: Counter "entry_turn_seconds_total" ["worker"] "Time from a read off a link to the end of its turn (decoding, checks, lookup, splitting, hand-over to the transport), summed over the entries it brought; divided by kernpost_entries_received_total, what an entry waits for its turn.";
    PAYLOAD_BYTES: Counter "payload_received_bytes_total" ["worker"] "Payload bytes received.";
    LARGE_IN_PROGRESS: Gauge "large_payloads_in_progress" ["worker"] "Large payloads arriving now on their own streams.";
    LARGE_FINISHED: Counter "large_payloads_finished_total" ["worker"] "Large payloads whose last byte arrived.";
    LARGE_ABORTED: Counter "large_payloads_aborted_total" ["worker"] "Large payloads that ended before their last byte.";
    LARGE_BYTES: Counter "large_payload_forwarded_bytes_total" ["worker"] "Bytes of large payloads handed on.";
    WANTS_IGNORED: Counter "wants_ignored_total" ["worker"] "WANT frames for labels that had settled, or that said nothing new.";
    SIGNATURE_CHECKS: Counter "signature_checks_total" ["worker"] "Root signatures checked with public-key cryptography.";
    ROOT_CACHE_HITS: Counter "root_cache_hits_total" ["worker"] "Root signatures found among those checked before.";
    SIGNATURE_FAILURES: Counter "signature_failures_total" ["worker"] "Root signatures that failed.";
    DIGEST_CHECKS: Counter "digest_checks_total" ["worker"] "Payload digests computed.";
    RECEIPTS_FORWARDED: Counter "receipts_forwarded_total" ["worker"] "Receipts passed on towards their addressee.";
    RECEIPTS_IGNORED: Counter "receipt_frames_ignored_total" ["worker"] "RECEIPTS frames set aside: foreign key, wrong proof, or a label already gone.";
    LATE_SETTLEMENTS: Counter "late_settlements_total" ["worker"] "Settlements for labels that had settled before or passed their deadline.";
    ENTRIES_WAITED: Counter "entries_waited_total" ["worker"] "Entries that had to wait for onward credit.";
    ENTRIES_WAITING: Gauge "entries_waiting" ["worker"] "Entries waiting for onward credit now.";
    CROSSINGS_SENT: Counter "crossings_sent_total" ["worker"] "Entries handed to another worker.";
    CROSSINGS_REFUSED: Counter "crossings_refused_total" ["worker"] "Entries refused because another worker's channel was full.";

    // Connections being set up, by worker.
    HANDSHAKES: Counter "handshakes_total" ["worker", "result"] "Connection attempts by result: finished, failed, refused, retried.";
    HANDSHAKES_IN_PROGRESS: Gauge "handshakes_in_progress" ["worker"] "Handshakes in progress now.";
    HANDSHAKES_MOST: Gauge "handshakes_in_progress_most" ["worker"] "The most handshakes that were in progress at once since the start.";
    SOCKET_BUFFER: Gauge "socket_buffer_bytes" ["worker", "direction"] "Socket buffer the kernel gave.";

    // Links.
    LINKS: Gauge "links" ["role"] "Links by the peer's role: endpoints or router.";
    LINKS_CLOSED: Counter "links_closed_total" ["by", "code"] "Links closed by this router (here) or its peer, by code (WIRE 2.5).";
    LINKS_LOST: Counter "links_lost_total" [] "Links lost to silence, a reset or a fault of the transport.";
    LINK_ATTACHED: Gauge "link_attached_endpoints" ["peer", "link"] "Endpoints attached on the link.";
    LINK_OPEN: Gauge "link_open_labels" ["peer", "link"] "Labels received from the peer that are open.";
    LINK_SENT: Gauge "link_sent_in_flight_entries" ["peer", "link"] "Entries sent to the peer that it has not settled.";
    LINK_WAITING: Gauge "link_waiting_entries" ["peer", "link"] "Entries waiting for the peer's credit.";
    LINK_CREDIT: Gauge "link_credit_entries" ["peer", "link", "class"] "Entries the peer would take now.";
    LINK_QUEUED: Gauge "link_queued_bytes" ["peer", "link", "class"] "Frame bytes waiting to be written.";
    LINK_CLOCK: Gauge "link_clock_offset_seconds" ["peer", "link"] "The peer's clock minus ours, as of its hello.";
    LINK_PING: Gauge "link_ping_seconds" ["peer", "link"] "Last round trip on the control stream.";

    // QUIC paths.
    QUIC_RTT: Gauge "quic_rtt_seconds" ["peer", "link"] "Smoothed round trip of the path.";
    QUIC_WINDOW: Gauge "quic_congestion_window_bytes" ["peer", "link"] "Congestion window.";
    QUIC_CONGESTION: Counter "quic_congestion_events_total" ["peer", "link"] "Congestion events.";
    QUIC_SENT_PACKETS: Counter "quic_sent_packets_total" ["peer", "link"] "Packets sent.";
    QUIC_LOST_PACKETS: Counter "quic_lost_packets_total" ["peer", "link"] "Packets lost.";
    QUIC_LOST_BYTES: Counter "quic_lost_bytes_total" ["peer", "link"] "Bytes lost.";
    QUIC_BLACK_HOLES: Counter "quic_mtu_black_holes_total" ["peer", "link"] "MTU black holes found.";
    QUIC_MTU: Gauge "quic_mtu_bytes" ["peer", "link"] "UDP payload size in use.";
    QUIC_SENT_BYTES: Counter "quic_sent_bytes_total" ["peer", "link"] "UDP payload bytes sent.";
    QUIC_RECEIVED_BYTES: Counter "quic_received_bytes_total" ["peer", "link"] "UDP payload bytes received.";

    // Presence and attach.
    ATTACHMENTS: Gauge "attachments" ["place"] "Attachments known: here, or elsewhere in the mesh.";
    PRESENCE_NUMBER: Gauge "presence_number" [] "Number of the latest change of presence.";
    ATTACH_REFUSED: Counter "attach_refused_total" [] "ATTACH frames refused.";
    PRESENCE_REFUSED: Counter "presence_refused_total" [] "Presence tokens refused.";
    EQUIVOCATIONS: Counter "equivocations_total" [] "Zones a peer holds with our serial and another digest.";
    ALARMS: Counter "alarms_total" ["kind"] "Alarms of the control side and of custody.";

    // Directory and table.
    GENERATION: Gauge "table_generation" [] "Generation of the table in force.";
    ROUTES: Gauge "table_routes" [] "Rules in the table, also those not in force.";
    ENDPOINTS: Gauge "table_endpoints" [] "Endpoints in the table.";
    TABLE_BYTES: Gauge "table_lookup_bytes" [] "Bytes of the lookup structure.";
    VALID_UNTIL: Gauge "table_valid_until_seconds" [] "When the table is compiled again, Unix time; absent: never.";
    ZONE_SERIAL: Gauge "zone_serial" ["zone"] "Serial of the zone in force.";
    ZONES_DEGRADED: Gauge "zones_degraded" [] "Zones past their not-after: still routed by.";
    DIRECTORY_UPDATES: Counter "directory_updates_total" ["result"] "Directory updates by result: accepted or refused.";
    DIRECTORY_LIVE_SINCE: Gauge "directory_live_since_seconds" [] "When the directory in force went live, Unix time.";
}
