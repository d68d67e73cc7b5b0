//! What does the rest of the process show of itself to an operator?
//!
//! Workers and the control thread publish copies of their plain counters here, about once a second and when they fall
//! idle; the admin interface and the metrics read them. One snapshot pointer per writer: nobody ever waits for a reader.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use kernpost_codecs::{CloseCode, RouterId, UnixMs};
use kernpost_router_core::control::Alarm;
use kernpost_router_core::custody::CustodyAlarm;
use kernpost_router_core::engine::LinkCounts;
use kernpost_router_core::{ControlStatus, EngineStats, Ledger, WorkerId};
use kernpost_routing_table::{Published, Table};

use crate::custody::CustodySnapshot;
use crate::readiness::Readiness;

/// Everything an operator can see, shared by all threads.
#[derive(Debug)]
pub struct Observed {
    /// This router.
    pub router: RouterId,
    /// When the process started.
    pub started: UnixMs,
    /// Whether it can route.
    pub readiness: Readiness,
    /// The table in force.
    pub table: Published,
    /// The control side, as last published.
    pub control: ArcSwap<ControlStatus>,
    /// The workers, as last published, by [`WorkerId`].
    pub workers: Box<[ArcSwap<WorkerSnapshot>]>,
    /// Custody, as last published; `None`: the router takes none, or it has not begun.
    pub custody: ArcSwapOption<CustodySnapshot>,
    clock_unsynchronised: AtomicBool,
    /// What became of directory updates.
    pub directory: DirectoryCounts,
    /// Alarms since the start.
    pub alarms: AlarmCounts,
}

/// One worker at an instant.
#[derive(Debug, Clone, Default)]
pub struct WorkerSnapshot {
    /// The engine's books.
    pub ledger: Ledger,
    /// The engine's counters.
    pub stats: EngineStats,
    /// How long entries were in the turns in which they arrived, summed over entries, µs.
    pub turned_us: u64,
    /// Links of this worker.
    pub links: Vec<LinkSnapshot>,
    /// Connections being set up.
    pub handshakes: HandshakeCounts,
    /// Links that ended.
    pub ended: LinkEnds,
    /// Addresses listened on.
    pub listening: Vec<SocketAddr>,
    /// Socket buffers the kernel gave, bytes: receive, send.
    pub socket_buffer_bytes: [u64; 2],
    /// When it was taken, monotonic µs of the router's clock.
    pub taken_us: u64,
}

/// One link at an instant.
#[derive(Debug, Clone)]
pub struct LinkSnapshot {
    /// Who is there, made once when the link came up: it is the link's label.
    pub peer: Arc<str>,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The engine's counts.
    pub counts: LinkCounts,
    /// Frame bytes waiting to be written, per class.
    pub queued_bytes: [u64; 3],
    /// The connection's own counts.
    pub quic: QuicSnapshot,
}

/// What quinn counts of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuicSnapshot {
    /// Round trip, µs.
    pub rtt_us: u64,
    /// Congestion window, bytes.
    pub congestion_window: u64,
    /// Congestion events.
    pub congestion_events: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets lost.
    pub lost_packets: u64,
    /// Bytes lost.
    pub lost_bytes: u64,
    /// MTU black holes found.
    pub black_holes: u64,
    /// UDP payload size in use, bytes.
    pub mtu: u64,
    /// UDP payload bytes sent.
    pub sent_bytes: u64,
    /// UDP payload bytes received.
    pub received_bytes: u64,
}

impl From<&quinn::ConnectionStats> for QuicSnapshot {
    fn from(stats: &quinn::ConnectionStats) -> Self {
        Self {
            rtt_us: u64::try_from(stats.path.rtt.as_micros()).unwrap_or(u64::MAX),
            congestion_window: stats.path.cwnd,
            congestion_events: stats.path.congestion_events,
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
            lost_bytes: stats.path.lost_bytes,
            black_holes: stats.path.black_holes_detected,
            mtu: u64::from(stats.path.current_mtu),
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
        }
    }
}

/// Connections being set up at one worker, since it started.
#[derive(Debug, Clone, Copy, Default)]
pub struct HandshakeCounts {
    /// Accepted and finished.
    pub finished: u64,
    /// Ended by TLS, by identity or by time.
    pub failed: u64,
    /// Refused: too many in progress, or too many from one prefix.
    pub refused: u64,
    /// Asked to prove their address first.
    pub retried: u64,
    /// In progress now.
    pub in_progress: u64,
    /// The most there ever were at once.
    pub most_in_progress: u64,
}

/// Which side ended a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndedBy {
    /// This router closed it.
    Here,
    /// The peer closed it.
    Peer,
}

impl EndedBy {
    /// For labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Peer => "peer",
        }
    }
}

/// Links that ended at one worker, since it started.
#[derive(Debug, Clone, Default)]
pub struct LinkEnds {
    /// Closed with a code of WIRE 2.5, by side.
    pub closed: BTreeMap<(EndedBy, CloseCode), u64>,
    /// Lost: silence, a reset, a fault of the transport, a code nobody knows.
    pub lost: u64,
}

/// What became of directory updates.
#[derive(Debug, Default)]
pub struct DirectoryCounts {
    /// Directories that went live.
    pub accepted: AtomicU64,
    /// Directories that were refused; the one in force stayed.
    pub refused: AtomicU64,
    /// When the one in force went live, Unix ms.
    pub live_since: AtomicU64,
    /// Why the last one was refused; cleared by the next that goes live.
    pub last_refusal: ArcSwap<Option<String>>,
}

impl DirectoryCounts {
    /// A directory went live.
    pub fn on_accepted(&self, now: UnixMs) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.live_since.store(now.0, Ordering::Relaxed);
        self.last_refusal.store(Arc::new(None));
    }

    /// A directory was refused.
    pub fn on_refused(&self, why: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.last_refusal.store(Arc::new(Some(why.to_owned())));
    }
}

/// Alarms since the start, by kind.
#[derive(Debug, Default)]
pub struct AlarmCounts {
    clock: AtomicU64,
    clock_unsynchronised: AtomicU64,
    equivocation: AtomicU64,
    presence: AtomicU64,
    custody_stopped: AtomicU64,
    custody_damaged: AtomicU64,
    custody_no_key: AtomicU64,
}

impl AlarmCounts {
    /// Counts an alarm of the control side.
    pub fn on_alarm(&self, alarm: &Alarm) {
        let count = match alarm {
            Alarm::Clock { .. } => &self.clock,
            Alarm::Equivocation { .. } => &self.equivocation,
            Alarm::PresenceRefused { .. } => &self.presence,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an alarm of custody.
    pub fn on_custody(&self, alarm: &CustodyAlarm) {
        let count = match alarm {
            CustodyAlarm::Stopped { .. } => &self.custody_stopped,
            CustodyAlarm::Damaged { .. } | CustodyAlarm::Unreadable { .. } => &self.custody_damaged,
            CustodyAlarm::NoKey => &self.custody_no_key,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts by the kind's name.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, u64); 7] {
        [
            ("clock", self.clock.load(Ordering::Relaxed)),
            ("clock_unsynchronised", self.clock_unsynchronised.load(Ordering::Relaxed)),
            ("equivocation", self.equivocation.load(Ordering::Relaxed)),
            ("presence_refused", self.presence.load(Ordering::Relaxed)),
            ("custody_stopped", self.custody_stopped.load(Ordering::Relaxed)),
            ("custody_damaged", self.custody_damaged.load(Ordering::Relaxed)),
            ("custody_no_key", self.custody_no_key.load(Ordering::Relaxed)),
        ]
    }
}

impl Observed {
    /// A router that has just started with this table.
    #[must_use]
    pub fn new(router: RouterId, started: UnixMs, table: Published, workers: u16) -> Self {
        let worker = || ArcSwap::from_pointee(WorkerSnapshot::default());
        Self {
            router,
            started,
            readiness: Readiness::starting(),
            table,
            control: ArcSwap::from_pointee(ControlStatus::default()),
            workers: (0..workers).map(|_| worker()).collect(),
            custody: ArcSwapOption::empty(),
            clock_unsynchronised: AtomicBool::new(false),
            directory: DirectoryCounts::default(),
            alarms: AlarmCounts::default(),
        }
    }

    /// The kernel's clock is synchronised from now on, or not any more, which is an alarm.
    pub fn set_clock_synchronised(&self, synchronised: bool) {
        self.clock_unsynchronised.store(!synchronised, Ordering::Relaxed);
        if !synchronised {
            self.alarms.clock_unsynchronised.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the kernel's clock is synchronised, or assumed to be.
    #[must_use]
    pub fn clock_synchronised(&self) -> bool {
        !self.clock_unsynchronised.load(Ordering::Relaxed)
    }

    /// Replaces what is shown of a worker.
    pub fn publish_worker(&self, worker: WorkerId, snapshot: WorkerSnapshot) {
        if let Some(slot) = self.workers.get(usize::from(worker.0)) {
            slot.store(Arc::new(snapshot));
        }
    }

    /// Replaces what is shown of custody.
    pub fn publish_custody(&self, snapshot: CustodySnapshot) {
        self.custody.store(Some(Arc::new(snapshot)));
    }

    /// Replaces what is shown of the control side.
    pub fn publish_control(&self, status: ControlStatus) {
        self.control.store(Arc::new(status));
    }

    /// The table in force.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.table.current()
    }

    /// The books of the whole router.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.workers.iter().fold(Ledger::default(), |sum, worker| sum.plus(&worker.load().ledger))
    }

    /// Unsigned settlements given by this router, by code, of all workers.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<u64, u64> {
        let mut sum = BTreeMap::new();
        for worker in &self.workers {
            for (code, count) in &worker.load().stats.refusals {
                *sum.entry(*code).or_insert(0) += count;
            }
        }
        sum
    }
}

#[cfg(test)]
pub(crate) mod tests;
