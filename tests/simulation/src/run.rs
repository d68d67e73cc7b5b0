//! One simulated run: two routers with custody, a portal with a durable outbox and two authorities; faults until a given time, then
//! calm until all is settled.

mod applications;
mod clocks;
mod effects;
mod faults;
mod links;
mod settled;
mod starts;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;

use kernpost_codecs::key::Algorithm;
use kernpost_codecs::{Assurance, MessageId, RouterId, UnixMs};
use kernpost_endpoint::core::{DeliveryId, Verdict};
use kernpost_router_core::config::ClassCredit;
use kernpost_router_core::mutant::{self, Mutant};
use kernpost_routing_table::Table;
use kernpost_spool::Space;
use kernpost_spool::memory_store::SimDisk;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::checks::Facts;
use super::endpoint_node::{Disk, EndpointNode};
use super::network::{Event, Network, Node};
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
}

const PORTAL: usize = 0;
const AUTHORITIES: [usize; 2] = [1, 2];
const START_MS: u64 = 1_790_000_000_000;
const FSYNC_US: u64 = 400;
/// Clocks run at most so much too fast or too slow, millionths: 1.8 s an hour.
const DRIFT: i64 = 500;

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
pub fn run(plan: Plan) -> Result<Report, Box<Finding>> {
    let mut simulation = Simulation::new(plan);
    simulation.go().map_err(|what| {
        let what = format!("seed {} at {} µs: {what}", plan.seed, simulation.network.now_us);
        Box::new(Finding { plan, what, steps: simulation.trace.in_words() })
    })
}

/// A smaller plan of the same seed that fails too, as small as halving its parts makes it.
pub fn shrink(finding: Finding) -> Finding {
    let mut smallest = finding;
    loop {
        let smaller = smallest.plan.smaller().into_iter().find_map(|plan| run(plan).err());
        match smaller {
            Some(smaller) => smallest = *smaller,
            None => return smallest,
        }
    }
}

/// What is known of a message that the portal sent.
struct Sent {
    expires: UnixMs,
    /// The first of those who are responsible: whoever asks is answered by its journal, when it is there.
    first: usize,
}

struct Simulation {
    plan: Plan,
    world: World,
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
    credit: ClassCredit,
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
    next_message: u64,
    next_connection: u64,
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
        let endpoint = |at: usize, id, link: &str| {
            EndpointNode::new(&world, id, &link_identity(link), &router_ids, Disk::default(), 0, plan.seed ^ at as u64)
        };
        let endpoints =
            vec![endpoint(PORTAL, &portal, "portal"), endpoint(1, &city, "city"), endpoint(2, &land, "land")];
        // Every other run has so little credit that what leaks of it is missed.
        let entries = if network.rng.random_bool(0.5) { 8 } else { 4_096 };
        let credit = ClassCredit { entries, bytes: 8 << 20 };
        let flips = [(); 2].map(|()| if network.rng.random_bool(0.5) { Space::Records } else { Space::Heads });
        let drifts = NODES.into_iter().map(|node| (node, network.rng.random_range(-DRIFT..=DRIFT))).collect();
        let disks = [SimDisk::new(plan.seed), SimDisk::new(plan.seed + 1)];
        for disk in &disks {
            disk.lie_about_fsync(mutant::is(Mutant::AcknowledgeBeforeFsync));
        }
        Self {
            plan,
            world,
            tables: vec![Arc::clone(&table)],
            table,
            network,
            router_ids,
            routers: vec![None, None],
            disks,
            flips,
            damaged_disks: [false; 2],
            credit,
            down: vec![false; endpoints.len()],
            endpoints,
            offsets: BTreeMap::new(),
            drifts,
            portal_home: 0,
            sent: BTreeMap::new(),
            facts: Facts::default(),
            damaged: 0,
            next_message: 0,
            next_connection: 0,
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
        for (at_us, event) in self.plan.script(&mut self.network.rng) {
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
            if self.network.now_us > busy_us && self.next_message == self.plan.messages {
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
        self.facts.in_order()?;
        self.everything_taken_is_on_record()?;
        Ok(Report {
            steps,
            outcomes: self.facts.outcomes.clone(),
            custodies: self.facts.custodies,
            damaged: self.damaged,
            settled_ms: self.network.now_us / 1_000,
        })
    }
}

/// Steps shown when something breaks.
const SHOWN: usize = 60;
