//! One worker's engine: the coordinator that takes a message through the router.
//!
//! The journey, in the order of the code: [`Engine::handle_frame`] → `engine/arrival.rs` (decode, admit,
//! verify) → `engine/arrival.rs` `authorise` and [`crate::routing`] (route) → `engine/forward.rs` (credit, split, send) →
//! `engine/settlement.rs` (what comes back) → `engine/turn.rs` (one SETTLE and one CREDIT per link and turn).
//!
//! Call order: any number of `handle_*`, then [`Engine::poll_output`] until it is empty, then [`Engine::poll_deadline`]. What was
//! handled before the outputs are polled is one turn: its settlements and credit leave together. Invariants kept here: one table snapshot per part; every label settles exactly once upstream; the ledger balances after every call.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::frame::frame_type;
use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::{Class, CloseCode, Code, FrameFault, LaneKind};
use kernpost_routing_table::Table;

use crate::collections::{Map, Set};
use crate::config::EngineConfig;
use crate::crossing::Crossing;
use crate::event::{EngineEvent, EngineOutput};
use crate::large::LargePayloads;
use crate::ledger::Ledger;
use crate::link::{LinkId, WorkerId};
use crate::now::Now;
use crate::outbound::Origin;
use crate::presence::PresenceView;
use crate::routing::{Routing, Unavailable};
use crate::settling::Settling;
use crate::stats::EngineStats;
use crate::verification::Verifier;

mod arrival;
mod forward;
mod keeping;
mod lane_state;
mod large;
mod late;
mod settlement;
mod turn;

use keeping::CustodyView;
pub use lane_state::LinkCounts;
use lane_state::LinkState;

/// Everything on the lanes of one worker's links. See the module's documentation for the order of calls.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    worker: WorkerId,
    table: Arc<Table>,
    links: Map<LinkId, LinkState>,
    presence: PresenceView,
    unavailable: Unavailable,
    verifier: Verifier,
    /// (deadline µs, link, class, sequence) of every BUNDLE frame sent; bounded by the peers' credit.
    deadlines: BTreeSet<(u64, LinkId, Class, u64)>,
    /// (until µs, link, class) of the front of every queue that waits for credit.
    waits: BTreeSet<(u64, LinkId, Class)>,
    settling: Settling,
    /// Detached entries and their payloads.
    large: LargePayloads,
    /// Links of endpoint sides, of any worker, that have granted credit. Bounded by links: each leaves when it ends.
    granted: Set<LinkId>,
    /// Links whose credit may have grown in this turn.
    credited: Vec<LinkId>,
    outputs: VecDeque<EngineOutput>,
    custody: CustodyView,
    draining: bool,
    /// While it is not, no entry is refused because it has expired.
    clock_synchronised: bool,
    ledger: Ledger,
    stats: EngineStats,
}

/// Getters.
impl Engine {
    /// An engine without links.
    pub fn new(config: EngineConfig, worker: WorkerId, table: Arc<Table>) -> Self {
        let verifier = Verifier::new(config.root_cache);
        let custody = CustodyView::new(config.custody.then_some(WorkerId(config.workers)));
        Self {
            config,
            worker,
            table,
            links: Map::default(),
            presence: PresenceView::default(),
            unavailable: Unavailable::default(),
            verifier,
            deadlines: BTreeSet::new(),
            waits: BTreeSet::new(),
            settling: Settling::default(),
            large: LargePayloads::default(),
            granted: Set::default(),
            credited: Vec::new(),
            outputs: VecDeque::new(),
            custody,
            draining: false,
            clock_synchronised: true,
            ledger: Ledger::default(),
            stats: EngineStats::default(),
        }
    }

    /// The books: accepted = settled + in flight.
    pub fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Plain counters.
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Entries and bytes each link has in flight to us per class, by [`Class::index`]: what tests hold against what was granted.
    pub fn credit_in_use(&self) -> Vec<[(u64, u64); 3]> {
        let in_use = |state: &LinkState| Class::ALL.map(|class| state.inbound(class).granted.in_use());
        self.links.values().map(in_use).collect()
    }

    /// Counts of every link, for metrics and status.
    pub fn link_counts(&self) -> Vec<LinkCounts> {
        self.links.iter().map(|(link, state)| state.counts(*link)).collect()
    }
}

/// Inputs. None of them blocks; outputs appear in [`Engine::poll_output`].
impl Engine {
    /// Takes in what the control side decided.
    pub fn handle_event(&mut self, now: Now, event: EngineEvent) {
        match event {
            EngineEvent::LinkUp { link, worker, peer } => self.on_link_up(now, link, worker, peer),
            EngineEvent::LinkDown { link } => self.on_link_down(link),
            EngineEvent::LargestPayload { link, bytes } => self.large.set_accepts(link, bytes),
            EngineEvent::Presence(event) => self.on_presence(event),
            EngineEvent::Table(table) => self.on_table(table),
            EngineEvent::Drain => self.draining = true,
            EngineEvent::Clock { synchronised } => self.clock_synchronised = synchronised,
        }
    }

    /// Takes in one whole frame of a lane. Frames of unknown links are left alone: the link is already closed.
    pub fn handle_frame(&mut self, now: Now, link: LinkId, lane: LaneKind, kind: u64, body: Bytes) {
        if self.links.contains_key(&link)
            && let Err(fault) = self.dispatch(now, link, lane, kind, body)
        {
            self.outputs.push_back(EngineOutput::Close { link, fault });
            self.on_link_down(link);
        }
    }

    /// Takes in what another worker handed over.
    pub fn handle_crossing(&mut self, now: Now, crossing: Crossing) {
        match crossing {
            Crossing::Entries(onward) => self.forward_here(now, onward),
            Crossing::Settled { link, labels, code, detail } => {
                self.mark_unavailable(now, code, &detail);
                for label in labels {
                    self.settle_here(link, label, code, &detail);
                }
            }
            Crossing::Granted { link } => {
                self.granted.insert(link);
            }
            Crossing::Ended { link } => {
                self.granted.remove(&link);
            }
            Crossing::Want { link, label, offset, length, onward } => {
                self.want_here(link, label, offset, length, onward);
            }
            Crossing::Receipts { link, receipts, labels } => self.receipts_here(link, &receipts, &labels),
            Crossing::Pressure { percent } => self.on_pressure(percent),
            Crossing::Backlog { endpoint, behind } => self.custody.set_backlog(endpoint, behind),
        }
    }

    /// The other worker's channel was full: its entries are refused `busy`.
    pub fn handle_cross_refused(&mut self, crossing: Crossing) {
        if let Crossing::Entries(onward) = crossing {
            self.stats.crossings_refused += 1;
            let detail = Detail { retry_after_ms: Some(self.config.retry_after_ms), ..Detail::default() };
            for entry in &onward.moves {
                if let Some(origin) = onward.origin(entry.position) {
                    self.settle_origin(origin, Code::BUSY, &detail);
                }
            }
        }
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.time_out_labels(now);
        self.time_out_waits(now);
    }
}

/// Outputs.
impl Engine {
    /// The next thing to do, in order; `None` when there is nothing left: the turn has ended.
    pub fn poll_output(&mut self) -> Option<EngineOutput> {
        if self.outputs.is_empty() {
            self.end_turn();
        }
        self.outputs.pop_front()
    }

    /// When [`Engine::handle_timeout`] wants to be called, in monotonic µs.
    pub fn poll_deadline(&self) -> Option<u64> {
        let labels = self.deadlines.first().map(|(at, ..)| *at);
        let waits = self.waits.first().map(|(at, ..)| *at);
        labels.into_iter().chain(waits).min()
    }
}

impl Engine {
    /// One flat match over (lane, frame type); unknown types are skipped, known ones on the wrong lane are a fault.
    fn dispatch(&mut self, now: Now, link: LinkId, lane: LaneKind, kind: u64, body: Bytes) -> Result<(), FrameFault> {
        match (lane, kind) {
            (LaneKind::Bundle(class), frame_type::BUNDLE) => self.on_bundle(now, link, class, body),
            (LaneKind::Settlement, frame_type::CREDIT..=frame_type::WANT) => self.on_settlement(now, link, kind, &body),
            (_, kind) if frame_type::home(kind).is_some() => Err(FrameFault::new(
                CloseCode::UnexpectedFrame,
                "WIRE 2.4",
                format!("frame type {kind:#x} on {lane:?}"),
            )),
            _ => Ok(()),
        }
    }

    /// Settles an upstream label, here or at the worker that owns its link.
    fn settle_origin(&mut self, origin: Origin, code: Code, detail: &Detail) {
        if origin.worker == self.worker {
            self.settle_here(origin.link, origin.label, code, detail);
        } else {
            let crossing =
                Crossing::Settled { link: origin.link, labels: vec![origin.label], code, detail: detail.clone() };
            self.outputs.push_back(EngineOutput::Cross { worker: origin.worker, crossing });
        }
    }

    /// Settles a label of a link of this worker without a receipt. A label that is no longer open is left alone.
    fn settle_here(&mut self, link: LinkId, label: Label, code: Code, detail: &Detail) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        if state.inbound_mut(label.class).close(label) {
            self.ledger.close_by_code(code);
            self.stats.refused(code);
            self.settling.add(link, label, code, detail);
            self.note_credit(link);
            self.on_inbound_closed(link, label);
        }
    }

    fn routing<'a>(&'a self, now: Now, table: &'a Table) -> Routing<'a> {
        Routing {
            worker: self.worker,
            now,
            table,
            presence: &self.presence,
            unavailable: &self.unavailable,
            granted: &self.granted,
        }
    }

    fn note_credit(&mut self, link: LinkId) {
        if self.credited.last() != Some(&link) {
            self.credited.push(link);
        }
    }
}
