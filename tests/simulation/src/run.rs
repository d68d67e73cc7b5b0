//! One simulated run: two routers with custody, a portal with a durable outbox and two authorities; faults until a given time, then
//! calm until all is settled.

mod applications;
mod bounds;
mod clocks;
mod effects;
mod faults;
mod links;
mod settled;
mod shrink;
mod silences;
mod starts;
mod steps;
mod truth;

pub use shrink::shrink;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernpost_codecs::key::Algorithm;
use kernpost_codecs::{Assurance, Class, MessageId, RouterId, UnixMs};
use kernpost_endpoint::core::{DeliveryId, Verdict};
use kernpost_router_core::config::ClassCredit;
use kernpost_router_core::mutant::{self, Mutant};
use kernpost_routing_table::Table;
use kernpost_routing_table::model::ZoneSnapshot;
use kernpost_spool::Space;
use kernpost_spool::memory_store::SimDisk;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::checks::Facts;
use super::endpoint_node::{Disk, EndpointNode};
use super::mishap::{Mishap, Mishaps};
use super::network::{Change, Connection, DiskFault, Event, Network, Node};
use super::plan::{NODES, Plan};
use super::router_node::RouterNode;
use super::trace::Trace;
use crate::world::{World, link_identity};

/// What came of it.
#[derive(Debug)]
pub struct Report {
    pub steps: u64,
    /// Final outcomes by name.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Receipts *custody* that reached the portal.
    pub custodies: u64,
    /// Alarms of damage.
    pub damaged: u64,
    /// Virtual time until everything had settled, ms.
    pub settled_ms: u64,
    /// What went wrong, how often.
    pub mishaps: Mishaps,
}

const PORTAL: usize = 0;
const CITY: usize = 1;
const LAND: usize = 2;
const AUTHORITIES: [usize; 2] = [CITY, LAND];
const START_MS: u64 = 1_790_000_000_000;
const FSYNC_US: u64 = 400;
/// Clocks run at most so much too fast or too slow, millionths: 1.8 s an hour.
const DRIFT: i64 = 500;

/// Messages an endpoint may have open: the default of its limits.
const ENDPOINT_MESSAGES: u64 = 16_384 + 65_536;

/// An invariant that broke.
#[derive(Debug, Clone)]
pub struct Finding {
    pub plan: Plan,
    /// What broke, with seed and virtual time.
    pub what: String,
    steps: Vec<String>,
}

impl Finding {
    /// The last steps before it broke.
    pub fn trace(&self) -> String {
        let last = self.steps.len().saturating_sub(SHOWN);
        format!("{}\nlast steps:\n{}", self.what, self.steps[last..].join("\n"))
    }

    /// All steps that are remembered.
    pub fn long_trace(&self) -> String {
        format!("{}\nsteps:\n{}", self.what, self.steps.join("\n"))
    }
}

/// Runs a plan to its end.
///
/// # Errors
/// What broke, and the last steps.
pub fn run(plan: &Plan) -> Result<Report, Box<Finding>> {
    let mut simulation = Simulation::new(plan.clone());
    simulation.go().map_err(|what| {
        let what = format!("seed {} at {} µs: {what}", plan.seed, simulation.network.now_us);
        Box::new(Finding { plan: plan.clone(), what, steps: simulation.trace.in_words() })
    })
}

/// What is known of a message that the portal sent.
struct Sent {
    expires: UnixMs,
    /// To the city, which has an endpoint of its own. The first of those who are responsible answers questions by its journal.
    to_city: bool,
    /// The table in force then.
    generation: u64,
}

struct Simulation {
    plan: Plan,
    world: World,
    /// The directory as it is when nothing is changed.
    zone: ZoneSnapshot,
    /// What is changed for now, how many times over.
    changes: BTreeMap<Change, u64>,
    /// Every table's number, and what was changed in it.
    in_force: Vec<(u64, Vec<Change>)>,
    table: Arc<Table>,
    /// Every table so far: what processes that start again learn from the routers' histories.
    tables: Vec<Arc<Table>>,
    network: Network,
    router_ids: [RouterId; 2],
    routers: Vec<Option<RouterNode>>,
    disks: [SimDisk; 2],
    /// What bits are flipped in, on each. Never bodies and heads on one: where both of a record are gone nobody can be told, which
    /// is promised to nobody (CUSTODY, what is not guaranteed).
    flips: [Space; 2],
    /// Those of which a bit was flipped.
    damaged_disks: [bool; 2],
    /// Of which it was said that a record could not be read at all.
    unreadable: [bool; 2],
    /// Faults that wait for something to hit.
    faults_due: [Vec<DiskFault>; 2],
    /// Who dies in its next write, and for how long, µs.
    dies_writing: BTreeMap<Node, u64>,
    credit: ClassCredit,
    most_flying: u64,
    /// Entries of the largest bundle so far: a record has at most as many.
    largest_bundle: u64,
    endpoints: Vec<EndpointNode>,
    down: Vec<bool>,
    /// Wall clocks, by endpoint and router, ms off.
    offsets: BTreeMap<Node, i64>,
    /// How much faster each runs than it should, millionths.
    drifts: BTreeMap<Node, i64>,
    /// Which router the portal dials.
    portal_home: usize,
    sent: BTreeMap<MessageId, Sent>,
    facts: Facts,
    damaged: u64,
    /// Messages that are still to be sent.
    to_send: u64,
    next_connection: u64,
    /// Which message the portal means by a label: connection, class, sequence, index.
    labels: BTreeMap<(Connection, Class, u64, u16), MessageId>,
    sequences: BTreeMap<(Connection, Class), u64>,
    /// Links on which copies of old bundles went.
    replayed_on: BTreeSet<Connection>,
    /// What an application has not answered yet; gone with its process.
    thinking: BTreeMap<(usize, u64, DeliveryId), (MessageId, Verdict)>,
    trace: Trace,
    /// When the last write to each durable outbox is done: one thread writes, in order.
    stored_us: [u64; 3],
    /// When it was last looked for messages that nobody has.
    looked_us: u64,
    /// When each node wakes by itself: one event each, the earliest that was asked for.
    wakes: BTreeMap<Node, u64>,
}

impl Simulation {
    fn new(plan: Plan) -> Self {
        let now = UnixMs(START_MS);
        let mut world = World::new(now);
        // Most of the work is signing and verifying, and this is the cheapest.
        world.algorithm = Algorithm::Ed25519;
        let router_ids = [world.router("r1"), world.router("r2")];
        let portal = world.endpoint("portal", "portal");
        let city = world.endpoint("city", "city");
        let land = world.endpoint("land", "land");
        world.grant(&portal, "99", "*", Some(Assurance::High));
        world.route("city", "99", "14713", &[&city]);
        world.route("land", "99", "14", &[&land, &city]);
        let table = world.table(1);
        let mut network = Network::new(StdRng::seed_from_u64(plan.seed), 8_000);
        // Every other run has so little credit that what leaks of it is missed.
        let entries = if network.rng.random_bool(0.5) { 8 } else { 4_096 };
        let most_flying = if network.rng.random_bool(0.5) { 4 } else { 4_096 };
        let endpoint = |at: usize, id, link: &str| {
            let own = (plan.seed ^ at as u64, entries);
            EndpointNode::new(&world, id, &link_identity(link), &router_ids, Disk::default(), 0, own)
        };
        let endpoints =
            vec![endpoint(PORTAL, &portal, "portal"), endpoint(CITY, &city, "city"), endpoint(LAND, &land, "land")];
        let credit = ClassCredit { entries, bytes: 8 << 20 };
        let flips = [(); 2].map(|()| if network.rng.random_bool(0.5) { Space::Records } else { Space::Heads });
        let drifts = NODES.into_iter().map(|node| (node, network.rng.random_range(-DRIFT..=DRIFT))).collect();
        let disks = [SimDisk::new(plan.seed), SimDisk::new(plan.seed + 1)];
        for disk in &disks {
            disk.lie_about_fsync(mutant::is(Mutant::AcknowledgeBeforeFsync));
        }
        Self {
            to_send: plan.messages(),
            plan,
            zone: world.zone.clone(),
            changes: BTreeMap::new(),
            in_force: vec![(table.generation(), Vec::new())],
            world,
            tables: vec![Arc::clone(&table)],
            table,
            network,
            router_ids,
            routers: vec![None, None],
            disks,
            flips,
            damaged_disks: [false; 2],
            unreadable: [false; 2],
            credit,
            most_flying,
            largest_bundle: 1,
            faults_due: Default::default(),
            dies_writing: BTreeMap::new(),
            down: vec![false; endpoints.len()],
            endpoints,
            offsets: BTreeMap::new(),
            drifts,
            portal_home: 0,
            sent: BTreeMap::new(),
            facts: Facts::default(),
            damaged: 0,
            next_connection: 0,
            labels: BTreeMap::new(),
            sequences: BTreeMap::new(),
            replayed_on: BTreeSet::new(),
            thinking: BTreeMap::new(),
            trace: Trace::default(),
            stored_us: [0; 3],
            looked_us: 0,
            wakes: BTreeMap::new(),
        }
    }

    fn begin(&mut self) -> Result<(), String> {
        for at in 0..self.routers.len() {
            self.start_router(at)?;
        }
        for at in 0..self.endpoints.len() {
            let now = self.endpoint_now(at);
            let effects = self.endpoints[at].install(now, &self.table);
            self.apply_endpoint(at, effects)?;
        }
        self.network.schedule(0, Event::Dial { from: Node::Router(0), to: Node::Router(1) });
        for at in 0..self.endpoints.len() {
            self.network.schedule(0, Event::Dial { from: Node::Endpoint(at), to: Node::Router(self.home(at)) });
        }
        for (at_us, event) in self.plan.script() {
            self.network.schedule(at_us, event);
        }
        Ok(())
    }

    fn go(&mut self) -> Result<Report, String> {
        self.begin()?;
        let busy_us = self.plan.busy_ms * 1_000;
        let end_us = busy_us + self.plan.calm_ms * 1_000;
        let mut steps = 0;
        while let Some(event) = self.network.next_event() {
            if self.network.now_us > end_us {
                break;
            }
            steps += 1;
            self.trace.push(self.network.now_us, &event);
            self.step(event)?;
            Facts::balanced(self.routers.iter().flatten(), self.endpoints.iter())?;
            self.within_bounds()?;
            if self.network.now_us > busy_us && self.to_send == 0 {
                if self.is_settled() {
                    break;
                }
                self.close_what_nobody_has()?;
            }
        }
        if let Some(open) = self.facts.first_open() {
            let count = self.facts.open();
            return Err(format!(
                "{open} and {} more without outcome {} ms after the last fault\nits story:\n{}\nits ledgers: {:?}\nheld: {}",
                count - 1,
                self.plan.calm_ms,
                self.facts.story(open),
                self.endpoints.iter().map(|node| node.core.ledger()).collect::<Vec<_>>(),
                self.what_is_held(),
            ));
        }
        if !self.is_settled() {
            return Err(format!("not settled {} ms after the last fault: {}", self.plan.calm_ms, self.what_is_held()));
        }
        self.everything_taken_is_on_record()?;
        for failures in self.disks.iter().map(SimDisk::failures) {
            self.network.mishaps.add(Mishap::CommitLost, failures.lost);
            self.network.mishaps.add(Mishap::CommitUnclear, failures.kept);
            self.network.mishaps.add(Mishap::DiskReadOnly, failures.read_only);
        }
        self.network.mishaps.add(Mishap::OrderChecked, self.facts.orders_checked);
        Ok(Report {
            steps,
            outcomes: self.facts.outcomes.clone(),
            custodies: self.facts.custodies,
            damaged: self.damaged,
            settled_ms: self.network.now_us / 1_000,
            mishaps: self.network.mishaps,
        })
    }
}

/// Steps shown when something breaks.
const SHOWN: usize = 60;
