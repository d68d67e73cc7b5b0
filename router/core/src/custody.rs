//! Durable responsibility for messages that nobody can take now. The coordinator: what comes in, and what follows from it.
//!
//! ```text
//!            handed over by a worker
//!                     │ intake
//!                     ▼
//!   keeping ──fsync──▶ waiting ◀──────────────┐ busy, undecided: again after a pause
//!      │                  │ delivery          │
//!      │ fsync failed     ▼                   │
//!      ▼               flying ────────────────┘
//!   undecided             │ receipt of the recipient, or ours: expired, damaged, returned, discarded
//!                         ▼ ending (fsync)
//!                       ended ──▶ its receipt waits for the sender, flies, is noted; kept until retention ends
//! ```
//!
//! Custody takes part in the crossings of the workers as one more of them: what it sends leaves on their links under their
//! credit and shares, what it took settles with receipts that cross back. It holds no link and reads no disk: the spool keeps and
//! reads for it ([`spool`]).
//!
//! Call order as for [`crate::Engine`]: any number of `handle_*`, then [`Custody::poll_output`] until it is empty, then
//! [`Custody::poll_deadline`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::{Class, Code, EndpointId};
use kernpost_routing_table::Table;

use crate::collections::{Map, Set};
use crate::crossing::Crossing;
use crate::event::{EngineEvent, PresenceEvent};
use crate::link::{LinkId, Peer, WorkerId};
use crate::now::Now;
use crate::outbound::Origin;
use crate::presence::PresenceView;
use crate::routing::{Routing, Unavailable};

mod answers;
mod asking;
mod config;
mod delivery;
mod due;
mod ending;
mod intake;
mod judging;
mod ledger;
mod payloads;
mod pressure;
mod queues;
mod signing;
pub mod spool;
mod stats;

pub use asking::Act;
pub use config::CustodyConfig;
pub use ledger::CustodyLedger;
pub use payloads::{PayloadEvent, PayloadOrder, Received};
pub use signing::RouterSigner;
pub use stats::CustodyStats;

use answers::Then;
use asking::Question;
use delivery::Flight;
use judging::Judging;
use payloads::Payloads;
use queues::{Loaded, Queues};
use spool::{Queue, RecordId, SpoolEvent, SpoolIntent, SpoolRead, Totals};

/// The link under which crossings name custody; no real link has this name.
pub const CUSTODY_LINK: LinkId = LinkId(0);

/// From custody to the shell.
#[derive(Debug)]
pub enum CustodyOutput {
    /// Hand this to a worker. Entries may be given back by [`Custody::handle_cross_refused`] when its channel is full;
    /// everything else always fits.
    Cross {
        /// The worker.
        worker: WorkerId,
        /// What crosses.
        crossing: Crossing,
    },
    /// Make this durable.
    Intent(SpoolIntent),
    /// Read this.
    Read(SpoolRead),
    /// Move the bytes of a large payload.
    Payload(PayloadOrder),
    /// Tell an operator.
    Alarm(CustodyAlarm),
}

/// What an operator has to know at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustodyAlarm {
    /// Nothing more is taken or delivered until the router is started again.
    Stopped {
        /// What the store said.
        cause: String,
    },
    /// A record could not be read: its index is made again from its body, or its senders get receipts *damaged*.
    Damaged {
        /// Which.
        record: RecordId,
    },
    /// A record could not be read at all: nobody can be told by it.
    Unreadable {
        /// Which.
        record: RecordId,
    },
    /// None of this router's signing keys is in the directory for now: nothing is taken.
    NoKey,
}

/// When to look again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// At this queue: its pause is over.
    Queue(Queue),
    /// At this record: its pause is over.
    Record(RecordId),
    /// At what expires or may be forgotten.
    Due,
    /// At what there was no room for.
    Again,
    /// At this payload: nothing more of it may have come.
    Arrival(Label),
}

/// Custody of one router. See the module's documentation.
#[derive(Debug)]
pub struct Custody {
    config: CustodyConfig,
    signer: RouterSigner,
    table: Arc<Table>,
    presence: PresenceView,
    unavailable: Unavailable,
    /// Links of endpoint sides that have granted credit.
    granted: Set<LinkId>,
    queues: Queues,
    loaded: Map<RecordId, Loaded>,
    /// Bytes of all windows.
    loaded_bytes: u64,
    /// Queues that wait for room in memory.
    starved: BTreeSet<Queue>,
    /// Queues to look at before this turn ends.
    dirty: BTreeSet<Queue>,
    /// What the spool has not answered yet, in order, and what follows. Bounded by the workers' credit and the windows.
    pending: VecDeque<(SpoolIntent, Then)>,
    /// What has to be kept and found no room; tried again every second. Bounded as `pending`.
    deferred: Vec<(SpoolIntent, Then)>,
    /// A move to another queue found no room: judge again when there may be.
    judge_again: bool,
    flights: Map<(Class, u64), Flight>,
    sequences: [u64; 3],
    timers: BTreeSet<(u64, Timer)>,
    /// What was asked of the spool by ticket. Bounded by the workers' credit.
    questions: Map<u64, Question>,
    next_ticket: u64,
    next_record: RecordId,
    /// Records below this one may have been handed on before: they were found at the start.
    first_untried: RecordId,
    /// Records from there on of which an attempt was undecided; kept when they leave memory, until they end. At most
    /// [`MOST_TRIED`].
    tried: BTreeSet<RecordId>,
    judging: Judging,
    payloads: Payloads,
    totals: Totals,
    /// What the workers were told last.
    pressure: Option<u8>,
    /// While it is not, nothing expires and nothing is forgotten.
    clock_synchronised: bool,
    due_pending: bool,
    started: bool,
    stopped: bool,
    draining: bool,
    now: Now,
    outputs: VecDeque<CustodyOutput>,
    ledger: CustodyLedger,
    stats: CustodyStats,
}

/// Getters.
impl Custody {
    /// Custody that has taken nothing yet. It waits for [`SpoolEvent::Started`].
    pub fn new(config: CustodyConfig, signer: RouterSigner, table: Arc<Table>, now: Now) -> Self {
        Self {
            config,
            signer,
            table,
            presence: PresenceView::default(),
            unavailable: Unavailable::default(),
            granted: Set::default(),
            queues: Queues::default(),
            loaded: Map::default(),
            loaded_bytes: 0,
            starved: BTreeSet::new(),
            dirty: BTreeSet::new(),
            pending: VecDeque::new(),
            deferred: Vec::new(),
            judge_again: false,
            flights: Map::default(),
            sequences: [0; 3],
            timers: BTreeSet::new(),
            questions: Map::default(),
            next_ticket: 0,
            next_record: RecordId(0),
            first_untried: RecordId(0),
            tried: BTreeSet::new(),
            judging: Judging::default(),
            payloads: Payloads::default(),
            totals: Totals::default(),
            pressure: None,
            clock_synchronised: true,
            due_pending: false,
            started: false,
            stopped: false,
            draining: false,
            now,
            outputs: VecDeque::new(),
            ledger: CustodyLedger::default(),
            stats: CustodyStats::default(),
        }
    }

    /// The books: taken + recovered = ended + in custody.
    pub fn ledger(&self) -> CustodyLedger {
        self.ledger
    }

    /// Plain counters and gauges.
    pub fn stats(&self) -> CustodyStats {
        CustodyStats {
            queues: self.queues.len() as u64,
            flying: self.flights.values().map(|flight| flight.open as u64).sum(),
            loaded_bytes: self.loaded_bytes,
            pressure: self.pressure.unwrap_or(pressure::CLOSED),
            payloads_arriving: self.payloads.arriving() as u64,
            payloads_sending: self.payloads.sending() as u64,
            ..self.stats
        }
    }

    /// How much the spool holds, as of its last answer.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether the spool was read and nothing has failed since.
    pub fn is_ready(&self) -> bool {
        self.started && !self.stopped
    }

    /// Whether nothing is under way: no attempt, no intent without answer. For the drain.
    pub fn is_idle(&self) -> bool {
        let asked = !self.questions.is_empty() || self.payloads.arriving() > 0;
        self.flights.is_empty() && self.pending.is_empty() && self.deferred.is_empty() && !asked
    }
}

/// Inputs. None of them blocks; outputs appear in [`Custody::poll_output`].
impl Custody {
    /// Takes in what the control side decided; the same events as every engine.
    pub fn handle_event(&mut self, now: Now, event: EngineEvent) {
        self.now = now;
        match event {
            EngineEvent::LinkUp { link, worker, peer: Peer::Router(router) } => {
                self.presence.on_router_up(router, worker, link);
                self.wake_all();
            }
            EngineEvent::LinkUp { .. } | EngineEvent::LargestPayload { .. } => {}
            EngineEvent::LinkDown { link } => {
                self.presence.on_link_down(link);
                self.granted.remove(&link);
            }
            EngineEvent::Presence(event) => self.on_presence(event),
            EngineEvent::Table(table) => self.on_table(table),
            EngineEvent::Drain => self.draining = true,
            EngineEvent::Clock { synchronised } => self.on_clock(synchronised),
        }
    }

    /// Takes in what a worker handed over.
    pub fn handle_crossing(&mut self, now: Now, crossing: Crossing) {
        self.now = now;
        match crossing {
            Crossing::Entries(onward) => self.take(onward),
            Crossing::Settled { labels, code, detail, .. } => self.on_settled(&labels, code, &detail),
            Crossing::Receipts { receipts, labels, .. } => self.on_receipts(&receipts, &labels),
            Crossing::Granted { link } => {
                self.granted.insert(link);
                self.wake_all();
            }
            Crossing::Ended { link } => {
                self.granted.remove(&link);
            }
            Crossing::Want { label, offset, length, onward, .. } => self.on_wanted(label, offset, length, onward),
            // Told to workers only.
            Crossing::Pressure { .. } | Crossing::Backlog { .. } => {}
        }
    }

    /// A worker's channel was full: its entries are tried again later.
    pub fn handle_cross_refused(&mut self, now: Now, crossing: Crossing) {
        self.now = now;
        if let Crossing::Entries(onward) = crossing {
            self.give_back(&onward);
        }
    }

    /// Takes in an answer of the spool.
    pub fn handle_spool(&mut self, now: Now, event: SpoolEvent) {
        self.now = now;
        match event {
            SpoolEvent::Started { next, queues, totals } => self.on_started(next, queues, totals),
            SpoolEvent::Committed { intents, repeats, totals } => self.on_committed(intents, &repeats, totals),
            SpoolEvent::NotCommitted { intents, fault } => self.on_not_committed(intents, fault),
            SpoolEvent::QueueRead { purpose: spool::Purpose::Deliver, queue, found, end, .. } => {
                self.on_window_read(&queue, found, end);
            }
            SpoolEvent::QueueRead { purpose: spool::Purpose::Judge, queue, found, end, .. } => {
                self.on_judged(&queue, found, end);
            }
            SpoolEvent::RecordRead { ticket, found } => self.on_answer(ticket, found),
            SpoolEvent::DueRead { found, more, totals } => {
                self.totals = totals;
                self.on_due(found, more);
            }
        }
    }

    /// Acts on everything whose time has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        while let Some((at, timer)) = self.timers.first().cloned()
            && at <= now.mono_us
        {
            self.timers.pop_first();
            match timer {
                Timer::Queue(queue) => {
                    self.release_window(&queue);
                    self.mark_dirty(&queue);
                }
                Timer::Record(record) => self.try_record_again(record),
                Timer::Due => self.look_for_due(),
                Timer::Arrival(label) => self.on_arrival_late(label),
                Timer::Again => self.intend_again(),
            }
        }
    }
}

/// Outputs.
impl Custody {
    /// The next thing to do, in order; `None` when there is nothing left: the turn has ended.
    pub fn poll_output(&mut self) -> Option<CustodyOutput> {
        if self.outputs.is_empty() {
            while !self.dirty.is_empty() {
                // Urgent ones first, then by the oldest that each has in memory.
                let mut turn: Vec<_> = std::mem::take(&mut self.dirty).into_iter().collect();
                turn.sort_by_cached_key(|queue| (queue.class, self.queues.oldest(queue)));
                for queue in turn {
                    self.pump(&queue);
                }
            }
            self.tell_pressure();
        }
        self.outputs.pop_front()
    }

    /// When [`Custody::handle_timeout`] wants to be called, in monotonic µs.
    pub fn poll_deadline(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }
}

impl Custody {
    fn on_started(&mut self, next: RecordId, queues: Vec<Queue>, totals: Totals) {
        self.next_record = next;
        self.first_untried = next;
        self.totals = totals;
        self.ledger.recovered = totals.messages;
        self.ledger.in_custody = totals.messages;
        for queue in &queues {
            self.open_queue(queue);
            if let Some(state) = self.queues.get_mut(queue) {
                state.end = false;
            }
            self.mark_dirty(queue);
        }
        self.started = true;
        self.timers.insert((self.now.mono_us, Timer::Due));
        self.judge_everything();
    }

    fn on_presence(&mut self, event: PresenceEvent) {
        let endpoint = match &event {
            PresenceEvent::Attached { endpoint, .. } | PresenceEvent::Detached { endpoint, .. } => endpoint.clone(),
        };
        self.presence.on_event(event);
        for queue in self.queues.of(&endpoint) {
            self.wake(&queue);
        }
    }

    fn on_table(&mut self, table: Arc<Table>) {
        self.table = table;
        self.judge_everything();
        self.wake_all();
    }

    /// Somebody may have come for what waits here: forget the pause and look.
    fn wake(&mut self, queue: &Queue) {
        if let Some(state) = self.queues.get_mut(queue) {
            state.paused_until_us = 0;
            state.pauses = 0;
            self.release_window(queue);
            self.mark_dirty(queue);
        }
    }

    /// What was held may have become possible.
    fn release_window(&mut self, queue: &Queue) {
        let window: Vec<RecordId> = match self.queues.get(queue) {
            Some(state) => state.window.iter().copied().collect(),
            None => return,
        };
        for record in window {
            self.release(queue, record);
        }
    }

    fn wake_all(&mut self) {
        for queue in self.queues.names() {
            self.wake(&queue);
        }
    }

    fn mark_dirty(&mut self, queue: &Queue) {
        self.dirty.insert(queue.clone());
    }

    /// Makes a queue if there is none, and tells the workers that whoever it is for has something waiting.
    fn open_queue(&mut self, queue: &Queue) {
        let (_, fresh) = self.queues.open(queue);
        if fresh {
            for endpoint in queue.waits_for.iter() {
                self.tell_backlog(endpoint, true);
            }
        }
    }

    fn close_if_done(&mut self, queue: &Queue) {
        if self.queues.get(queue).is_some_and(queues::QueueState::is_done) && self.queues.close(queue) {
            for endpoint in queue.waits_for.iter() {
                if self.queues.of(endpoint).is_empty() {
                    self.tell_backlog(endpoint, false);
                }
            }
        }
    }

    fn tell_backlog(&mut self, endpoint: &EndpointId, behind: bool) {
        for worker in (0..self.config.workers).map(WorkerId) {
            let crossing = Crossing::Backlog { endpoint: endpoint.clone(), behind };
            self.outputs.push_back(CustodyOutput::Cross { worker, crossing });
        }
    }

    fn routing(&self) -> Routing<'_> {
        Routing {
            worker: self.config.worker(),
            now: self.now,
            table: &self.table,
            presence: &self.presence,
            unavailable: &self.unavailable,
            granted: &self.granted,
        }
    }

    /// Settles a label of a worker's link without a receipt.
    fn settle(&mut self, origin: Origin, code: Code, detail: Detail) {
        let crossing = Crossing::Settled { link: origin.link, labels: vec![origin.label], code, detail };
        self.outputs.push_back(CustodyOutput::Cross { worker: origin.worker, crossing });
    }

    /// What was handed over is refused: nobody is there, or whoever is there is busy.
    fn refuse(&mut self, origin: Origin, endpoint: &EndpointId) {
        let attached = !self.presence.attachments(endpoint).is_empty();
        let detail = self.presence.own_detail(&self.config.router, endpoint.clone(), self.config.retry_after_ms);
        self.settle(origin, if attached { Code::BUSY } else { Code::NOT_ATTACHED }, detail);
    }

    /// An attempt was undecided: whatever becomes of the record in memory, its next attempt says so.
    fn note_tried(&mut self, record: RecordId) {
        self.tried.insert(record);
        if self.tried.len() > MOST_TRIED {
            self.tried.clear();
            self.first_untried = self.next_record;
        }
    }

    /// Whether the record may have been handed on before.
    fn was_tried(&self, record: RecordId) -> bool {
        record < self.first_untried || self.tried.contains(&record)
    }

    fn name_record(&mut self) -> RecordId {
        let record = self.next_record;
        self.next_record = RecordId(record.0 + 1);
        record
    }

    fn ticket(&mut self, question: Question) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.questions.insert(ticket, question);
        ticket
    }

    /// The spool failed: from now on nothing is taken, delivered or ended, because none of it could be remembered.
    fn stop(&mut self, cause: String) {
        if !self.stopped {
            self.stopped = true;
            self.timers.clear();
            self.dirty.clear();
            self.leave_arrivals();
            self.outputs.push_back(CustodyOutput::Alarm(CustodyAlarm::Stopped { cause }));
        }
    }
}

/// Records remembered as tried; beyond it everything taken so far counts as tried.
const MOST_TRIED: usize = 65_536;
