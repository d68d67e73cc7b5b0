//! What do the threads of a router tell each other, over which bounded queues, and why do they never wait in a circle?
//!
//! | from → to | what | bound | full means |
//! |---|---|---|---|
//! | links → control | hello, frames, ends of links | [`CONTROL_INPUTS`] | that link's control reader waits |
//! | directory, drain → control | tables, drain | the same | they wait |
//! | control → worker | engine events, in order | [`ENGINE_EVENTS`] | control waits |
//! | control → link | frames of its control stream | [`CONTROL_FRAMES`], [`CONTROL_BYTES`] | the link closes `over-limit` |
//! | worker → worker | entries | `limits.crossings` | the entries are refused `busy` |
//! | worker → worker | settlements, WANT | all labels that can be open | cannot happen |
//! | worker → worker | large payloads that begin | [`PAYLOADS`] | the payload's stream is stopped |
//! | custody → worker | large payloads that begin | the same | they wait, at most one for each label under way |
//!
//! The only thread that another waits for while it holds something is a worker, and a worker takes in its events and
//! crossings in a task that waits for nothing else (`worker/pump.rs`); control waits for workers alone, and only link
//! tasks, the directory and the drain wait for control. So no circle can close.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::{LinkIdentity, RouterId, UnixMs};
use kernpost_router_core::{Crossing, EngineEvent, LinkId, WorkerId};
use kernpost_routing_table::Table;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::link::{LinkHandle, PayloadPipe};

/// Inputs waiting for the control thread.
pub const CONTROL_INPUTS: usize = 1_024;
/// Events waiting for one worker.
pub const ENGINE_EVENTS: usize = 4_096;
/// Frames waiting for one link's control stream.
pub const CONTROL_FRAMES: usize = 1_024;
/// Bytes of control frames that may wait for one link: a directory in pieces of 128 KiB fits, sixty-four times over.
pub const CONTROL_BYTES: usize = 8 << 20;

/// Large payloads waiting for another worker to begin sending them.
pub const PAYLOADS: usize = 256;

/// To the control thread.
#[derive(Debug)]
pub enum ControlInput {
    /// A handshake is done.
    LinkUp {
        /// The link.
        link: LinkId,
        /// The worker that owns it.
        worker: WorkerId,
        /// The peer's identities in the order of WIRE 2.2.
        identities: Vec<LinkIdentity>,
        /// The router that was dialled; `None` when the peer dialled.
        dialled: Option<RouterId>,
        /// How to write to it and close it.
        handle: Arc<LinkHandle>,
    },
    /// One whole frame of a control stream.
    Frame {
        /// The link.
        link: LinkId,
        /// Frame type.
        kind: u64,
        /// Frame body.
        body: Bytes,
    },
    /// A link that was announced is gone.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// Another table is in force.
    Table(Arc<Table>),
    /// Begin the orderly stop; links close at this time at the latest.
    Drain(UnixMs),
}

/// Where a worker is reached.
#[derive(Debug, Clone)]
pub struct WorkerSenders {
    /// Engine events, from the control thread alone, so that their order is one.
    pub events: mpsc::Sender<EngineEvent>,
    /// Entries from other workers.
    pub entries: mpsc::Sender<Crossing>,
    /// Settlements and receipts from other workers.
    pub settlements: mpsc::Sender<Crossing>,
    /// Large payloads for links of this worker.
    pub payloads: mpsc::Sender<PayloadPipe>,
}

#[cfg(test)]
impl WorkerSenders {
    /// Queues that take so many each.
    pub(crate) fn with_room_for(count: usize) -> (Self, WorkerReceivers) {
        let (events_in, events) = mpsc::channel(count);
        let (entries_in, entries) = mpsc::channel(count);
        let (settlements_in, settlements) = mpsc::channel(count);
        let (payloads_in, payloads) = mpsc::channel(count);
        let senders =
            Self { events: events_in, entries: entries_in, settlements: settlements_in, payloads: payloads_in };
        (senders, WorkerReceivers { events, entries, settlements, payloads })
    }
}

/// What a worker reads from.
#[derive(Debug)]
pub struct WorkerReceivers {
    /// See [`WorkerSenders::events`].
    pub events: mpsc::Receiver<EngineEvent>,
    /// See [`WorkerSenders::entries`].
    pub entries: mpsc::Receiver<Crossing>,
    /// See [`WorkerSenders::settlements`].
    pub settlements: mpsc::Receiver<Crossing>,
    /// See [`WorkerSenders::payloads`].
    pub payloads: mpsc::Receiver<PayloadPipe>,
}

/// The queues of one worker.
#[must_use]
pub fn worker(config: &Config) -> (WorkerSenders, WorkerReceivers) {
    let (events_in, events) = mpsc::channel(ENGINE_EVENTS);
    let (entries_in, entries) = mpsc::channel(config.limits.crossings);
    let (settlements_in, settlements) = mpsc::channel(settlement_bound(config));
    let (payloads_in, payloads) = mpsc::channel(PAYLOADS);
    let senders =
        WorkerSenders { events: events_in, entries: entries_in, settlements: settlements_in, payloads: payloads_in };
    (senders, WorkerReceivers { events, entries, settlements, payloads })
}

/// Every crossing settlement closes at least one label, and a label settles once: no more can wait than labels are open,
/// which is credit times links. Doubled for settlements of links that went down meanwhile, and for WANT, of which a large
/// payload has a few at a time. The queue takes memory for what
/// waits, not for its bound.
fn settlement_bound(config: &Config) -> usize {
    let entries: u64 = config.credit.iter().map(|credit| credit.entries).sum();
    let bound = entries.saturating_mul(config.limits.links as u64).saturating_mul(2);
    usize::try_from(bound).unwrap_or(usize::MAX).min(tokio::sync::Semaphore::MAX_PERMITS)
}
