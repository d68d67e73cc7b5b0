//! What an engine keeps for one link: three lanes each way, who is attached, budgets, and entries waiting for credit.

use std::collections::VecDeque;
use std::sync::Arc;

use kernpost_codecs::credit::LARGEST_ENTRY_COST;
use kernpost_codecs::part::Part;
use kernpost_codecs::{Class, EndpointId};
use kernpost_routing_table::{EndpointIndex, Table};

use crate::admission::LinkBuckets;
use crate::collections::{Map, Set};
use crate::config::EngineConfig;
use crate::crossing::Move;
use crate::inbound::InboundLane;
use crate::link::{LinkId, Peer};
use crate::now::Now;
use crate::outbound::{Origin, OutboundLane};

/// An entry that waits for the peer's credit in the memory its upstream credit reserved.
#[derive(Debug)]
pub(super) struct Waiting {
    pub until_us: u64,
    pub part: Arc<Part>,
    pub entry: Move,
    pub origin: Origin,
    pub deadline_ms: u64,
}

/// One link of this worker.
#[derive(Debug)]
pub(super) struct LinkState {
    pub peer: Peer,
    /// Bytes of frame a part is split for.
    pub largest_bundle: usize,
    pub buckets: LinkBuckets,
    inbound: [InboundLane; 3],
    outbound: [OutboundLane; 3],
    /// Entries waiting for credit, per class, in order.
    waiting: [VecDeque<Waiting>; 3],
    /// Endpoints attached on this link by id; indices follow the table in force.
    pub attached: Set<EndpointId>,
    pub attached_indices: Set<EndpointIndex>,
    /// Budgets that the directory states for senders attached here; bounded by what is attached.
    pub sender_buckets: Map<EndpointIndex, LinkBuckets>,
}

impl LinkState {
    pub fn new(now: Now, peer: Peer, config: &EngineConfig) -> Self {
        let budget = if peer.is_router() { config.router_budget } else { config.endpoint_budget };
        let lane = |class: Class| {
            let [urgent, interactive, bulk] = config.credit;
            let credit = match class {
                Class::Urgent => urgent,
                Class::Interactive => interactive,
                Class::Bulk => bulk,
            };
            InboundLane::new(class, credit.entries, credit.bytes)
        };
        Self {
            largest_bundle: config.largest_bundle_with(&peer),
            peer,
            buckets: LinkBuckets::new(budget, now),
            inbound: Class::ALL.map(lane),
            outbound: Default::default(),
            waiting: Default::default(),
            attached: Set::default(),
            attached_indices: Set::default(),
            sender_buckets: Map::default(),
        }
    }

    pub fn inbound_mut(&mut self, class: Class) -> &mut InboundLane {
        let [urgent, interactive, bulk] = &mut self.inbound;
        pick(class, urgent, interactive, bulk)
    }

    pub fn inbound(&self, class: Class) -> &InboundLane {
        let [urgent, interactive, bulk] = &self.inbound;
        match class {
            Class::Urgent => urgent,
            Class::Interactive => interactive,
            Class::Bulk => bulk,
        }
    }

    pub fn outbound_mut(&mut self, class: Class) -> &mut OutboundLane {
        let [urgent, interactive, bulk] = &mut self.outbound;
        pick(class, urgent, interactive, bulk)
    }

    pub fn outbound(&self, class: Class) -> &OutboundLane {
        let [urgent, interactive, bulk] = &self.outbound;
        match class {
            Class::Urgent => urgent,
            Class::Interactive => interactive,
            Class::Bulk => bulk,
        }
    }

    pub fn waiting_mut(&mut self, class: Class) -> &mut VecDeque<Waiting> {
        let [urgent, interactive, bulk] = &mut self.waiting;
        pick(class, urgent, interactive, bulk)
    }

    /// Grants so many percent of the usual credit from now on; less takes effect as entries settle.
    pub fn scale_credit(&mut self, config: &EngineConfig, percent: u64) {
        for (lane, credit) in self.inbound.iter_mut().zip(config.credit) {
            let (entries, bytes) = (credit.entries * percent / 100, credit.bytes * percent / 100);
            lane.granted.set_windows(entries.max(1), bytes.max(LARGEST_ENTRY_COST.min(credit.bytes)));
        }
    }

    /// Several endpoints share this link, as they do every router's: each gets at most its share of the credit.
    pub fn shared(&self) -> bool {
        self.peer.is_router() || self.attached.len() > 1
    }

    /// Looks the attached endpoints up again in another table; those it does not know send and get nothing.
    pub fn reindex(&mut self, table: &Table) {
        self.attached_indices = self.attached.iter().filter_map(|id| table.endpoint(id.as_str())).collect();
        self.sender_buckets.clear();
    }

    pub fn open_labels(&self) -> usize {
        self.inbound.iter().map(InboundLane::open_labels).sum()
    }

    pub fn counts(&self, link: LinkId) -> LinkCounts {
        LinkCounts {
            link,
            attached: self.attached.len(),
            open_labels: self.open_labels() as u64,
            sent_in_flight: self.outbound.iter().map(OutboundLane::in_flight).sum(),
            waiting: self.waiting.iter().map(|queue| queue.len() as u64).sum(),
            credit_entries: Class::ALL.map(|class| match class {
                Class::Urgent => self.outbound[0].allowance.available().0,
                Class::Interactive => self.outbound[1].allowance.available().0,
                Class::Bulk => self.outbound[2].allowance.available().0,
            }),
        }
    }
}

/// Counts of one link at an instant.
#[derive(Debug, Clone)]
pub struct LinkCounts {
    /// The link.
    pub link: LinkId,
    /// Endpoints attached on it.
    pub attached: usize,
    /// Labels given to the peer that are open.
    pub open_labels: u64,
    /// Labels we wait for the peer to settle.
    pub sent_in_flight: u64,
    /// Entries waiting for the peer's credit.
    pub waiting: u64,
    /// Entries the peer would take now, per class.
    pub credit_entries: [u64; 3],
}

fn pick<'a, T>(class: Class, urgent: &'a mut T, interactive: &'a mut T, bulk: &'a mut T) -> &'a mut T {
    match class {
        Class::Urgent => urgent,
        Class::Interactive => interactive,
        Class::Bulk => bulk,
    }
}
