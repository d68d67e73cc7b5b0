//! One simulated run: two routers with custody, a portal with a durable outbox and two authorities; faults until a given time, then
//! calm until all is settled.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::{Assurance, Code, MessageId, RouterId, UnixMs};
use kernpost_endpoint::core::{Delivery, DeliveryId, FinalOutcome, Outgoing, SendOutcome, Verdict};
use kernpost_router_core::Now;
use kernpost_router_core::config::ClassCredit;
use kernpost_router_core::custody::CustodyAlarm;
use kernpost_router_core::mutant::{self, Mutant};
use kernpost_routing_table::Table;
use kernpost_spool::Space;
use kernpost_spool::memory_store::{CommitFault, SimDisk};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::checks::Facts;
use super::endpoint_node::{Disk, Effect as EndpointEffect, EndpointNode};
use super::network::{Connection, DiskFault, Ends, Event, Network, Node, Stream};
use super::plan::Plan;
use super::router_node::{Effect as RouterEffect, RouterNode, RouterSetup};
use crate::world::{World, link_identity, router_identity};

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
const THINK_US: u64 = 60_000;

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
        format!("{}\nlast steps:\n{}", self.what, self.steps.join("\n"))
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
        let shown = |(at_us, event): &(u64, Event)| format!("{at_us:>10} {}", describe(event));
        let steps = simulation.trace.iter().map(shown).collect();
        Box::new(Finding { plan, what, steps })
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
    credit: ClassCredit,
    endpoints: Vec<EndpointNode>,
    down: Vec<bool>,
    /// Wall clocks, by endpoint and router, ms off.
    offsets: BTreeMap<Node, i64>,
    /// Which router the portal dials.
    portal_home: usize,
    /// When what was sent expires.
    expiry: BTreeMap<MessageId, UnixMs>,
    facts: Facts,
    damaged: u64,
    next_message: u64,
    next_connection: u64,
    /// What an application has not answered yet; gone with its process.
    thinking: BTreeMap<(usize, u64, DeliveryId), (MessageId, Verdict)>,
    trace: VecDeque<(u64, Event)>,
    /// When it was last looked for messages that nobody has.
    looked_us: u64,
    /// When each node wakes by itself: one event each, the earliest that was asked for.
    wakes: BTreeMap<Node, u64>,
}

impl Simulation {
    fn new(plan: Plan) -> Self {
        let now = UnixMs(START_MS);
        let mut world = World::new(now);
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
            credit,
            down: vec![false; endpoints.len()],
            endpoints,
            offsets: BTreeMap::new(),
            portal_home: 0,
            expiry: BTreeMap::new(),
            facts: Facts::default(),
            damaged: 0,
            next_message: 0,
            next_connection: 0,
            thinking: BTreeMap::new(),
            trace: VecDeque::new(),
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
            if self.trace.len() == TRACE {
                self.trace.pop_front();
            }
            self.trace.push_back((self.network.now_us, event.clone()));
            self.step(event)?;
            Facts::balanced(self.routers.iter().flatten(), self.endpoints.iter())?;
            if self.network.now_us > busy_us && self.next_message == self.plan.messages {
                if self.is_settled() {
                    break;
                }
                self.close_what_nobody_has();
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
        Ok(Report {
            steps,
            outcomes: self.facts.outcomes.clone(),
            custodies: self.facts.custodies,
            damaged: self.damaged,
            settled_ms: self.network.now_us / 1_000,
        })
    }

    /// Every message taken has its outcome, and no router holds anything.
    fn is_settled(&self) -> bool {
        let empty = |router: &RouterNode| {
            let custody = &router.custody.custody;
            let totals = custody.totals();
            let books = custody.ledger().in_custody == 0;
            books && custody.is_ready() && custody.is_idle() && totals.messages == 0 && totals.receipts == 0
        };
        self.facts.open() == 0 && self.routers.iter().all(|router| router.as_ref().is_some_and(empty))
    }

    /// A message that has expired, that no router holds and no recipient took, cannot be delivered any more. Its sender goes on asking
    /// until 30 days after it expired and then closes it as undecided: nothing of that is lost silently, and nobody here waits
    /// so long.
    fn close_what_nobody_has(&mut self) {
        if self.network.now_us < self.looked_us + LOOK_US {
            return;
        }
        self.looked_us = self.network.now_us;
        let sender = self.endpoints[PORTAL].id.clone();
        for id in self.facts.all_open() {
            let over = self.expiry.get(&id).is_some_and(|at| at.plus_ms(OVER_MS) < self.wall(Node::Endpoint(PORTAL)));
            let taken =
                AUTHORITIES.iter().any(|at| self.endpoints[*at].disk.journal.contains_key(&(sender.clone(), id)));
            let mut routers = self.routers.iter_mut().map(Option::as_mut);
            let held = routers.any(|router| router.is_none_or(|router| router.custody.holds(&sender, id)));
            if over && !taken && !held {
                self.facts.closes_undecided(id);
            }
        }
    }

    fn what_is_held(&self) -> String {
        let held = self.routers.iter().map(|router| match router {
            Some(router) => {
                let custody = &router.custody.custody;
                let refusals: Vec<_> = router.engines.iter().map(|engine| &engine.stats().refusals).collect();
                let (totals, stats) = (custody.totals(), custody.stats());
                format!("{} {totals:?} ready {} {stats:?} refused {refusals:?}", router.id, custody.is_ready())
            }
            None => "a router is down".to_owned(),
        });
        held.collect::<Vec<_>>().join("; ")
    }

    fn wall(&self, node: Node) -> UnixMs {
        let true_ms = START_MS + self.network.now_us / 1_000;
        UnixMs(true_ms.saturating_add_signed(self.offsets.get(&node).copied().unwrap_or(0)))
    }

    fn router_now(&self, at: usize) -> Now {
        Now { mono_us: self.network.now_us, wall: self.wall(Node::Router(at)) }
    }

    fn endpoint_now(&self, at: usize) -> kernpost_endpoint::core::Now {
        kernpost_endpoint::core::Now { mono_us: self.network.now_us, wall: self.wall(Node::Endpoint(at)) }
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Arrive { connection, to, stream, bytes } => self.on_arrive(connection, to, stream, bytes),
            Event::Lost { connection, at } => self.on_lost(connection, at),
            Event::Writable { connection, at: Node::Endpoint(at), stream } if !self.down[at] => {
                let now = self.endpoint_now(at);
                let effects = self.endpoints[at].writable(now, connection, stream);
                self.apply_endpoint(at, effects)
            }
            Event::Writable { .. } => Ok(()),
            Event::Dial { from, to } => self.on_dial(from, to),
            Event::Send => self.on_send(),
            Event::Publish => self.publish(),
            Event::Verdict { at, incarnation, delivery } => {
                let Some((id, verdict)) = self.thinking.remove(&(at, incarnation, delivery)) else { return Ok(()) };
                let now = self.endpoint_now(at);
                self.facts.note(id, self.network.now_us, format!("{at} answers: {verdict:?}"));
                let effects = self.endpoints[at].verdict(now, delivery, &verdict);
                self.apply_endpoint(at, effects)
            }
            Event::Journalled { at, incarnation, delivery } => {
                if self.down[at] || self.endpoints[at].incarnation != incarnation {
                    return Ok(());
                }
                let now = self.endpoint_now(at);
                let effects = self.endpoints[at].journalled(now, delivery);
                self.apply_endpoint(at, effects)
            }
            Event::Stored { at, incarnation, number } => {
                if self.down[at] || self.endpoints[at].incarnation != incarnation {
                    return Ok(());
                }
                let now = self.endpoint_now(at);
                let effects = self.endpoints[at].stored(now, number);
                self.apply_endpoint(at, effects)
            }
            Event::Spooled { at, incarnation } => {
                let now = self.router_now(at);
                let Some(router) = self.routers[at].as_mut().filter(|router| router.incarnation == incarnation) else {
                    return Ok(());
                };
                let effects = router.spooled(now);
                self.apply_router(at, effects)
            }
            Event::Wake { at, incarnation } => self.on_wake(at, incarnation),
            Event::Cut { from, to } => {
                let cut = self.network.live.iter().find(|(_, ends)| ends.joins(from, to)).map(|(c, _)| *c);
                if let Some(connection) = cut {
                    self.network.break_connection(connection);
                }
                Ok(())
            }
            Event::Part { one, other, until_us } => {
                self.network.part(one, other, until_us);
                Ok(())
            }
            Event::Disk { at, fault } => {
                self.on_disk(at, fault);
                Ok(())
            }
            Event::Step { node, offset_ms } => {
                self.offsets.insert(node, offset_ms);
                Ok(())
            }
            Event::Crash { node, for_us } => self.on_crash(node, for_us),
            Event::Start { node } => self.on_start(node),
        }
    }

    fn on_disk(&mut self, at: usize, fault: DiskFault) {
        let disk = &self.disks[at];
        match fault {
            DiskFault::FlipBody => drop(disk.flip_any_bit(Space::Records)),
            DiskFault::FlipHead => drop(disk.flip_any_bit(Space::Heads)),
            DiskFault::CommitLost => disk.fail_next_commit(CommitFault::Lost),
            DiskFault::CommitUnclear => disk.fail_next_commit(CommitFault::KeptThoughFailed),
            DiskFault::Full => disk.fill_at(Some(0)),
            DiskFault::Room => disk.fill_at(None),
        }
        if matches!(fault, DiskFault::FlipBody | DiskFault::FlipHead) {
            // What is damaged is sent again, behind what came after it.
            self.facts.all_unordered();
        }
    }

    fn on_arrive(&mut self, connection: Connection, to: Node, stream: Stream, bytes: Bytes) -> Result<(), String> {
        if !self.network.live.contains_key(&connection) {
            return Ok(());
        }
        match to {
            Node::Router(at) => {
                let now = self.router_now(at);
                let Some(router) = &mut self.routers[at] else { return Ok(()) };
                let effects = router.arrived(now, connection, stream, bytes);
                self.apply_router(at, effects)
            }
            Node::Endpoint(at) if !self.down[at] => {
                let now = self.endpoint_now(at);
                let effects = self.endpoints[at].arrived(now, connection, stream, bytes);
                self.apply_endpoint(at, effects)
            }
            Node::Endpoint(_) => Ok(()),
        }
    }

    fn on_lost(&mut self, connection: Connection, at: Node) -> Result<(), String> {
        let again = self.network.rng.random_range(20_000..=400_000);
        match at {
            Node::Router(index) => {
                if index == 0 {
                    self.network.after(again, Event::Dial { from: at, to: Node::Router(1) });
                }
                let now = self.router_now(index);
                let Some(router) = &mut self.routers[index] else { return Ok(()) };
                let effects = router.lost(now, connection);
                self.apply_router(index, effects)
            }
            Node::Endpoint(index) => {
                // A portal goes to the other router as often as not.
                if index == PORTAL && self.network.rng.random_bool(0.5) {
                    self.portal_home = 1 - self.portal_home;
                }
                self.network.after(again, Event::Dial { from: at, to: Node::Router(self.home(index)) });
                if self.down[index] {
                    return Ok(());
                }
                let now = self.endpoint_now(index);
                let effects = self.endpoints[index].lost(now, connection);
                self.apply_endpoint(index, effects)
            }
        }
    }

    fn on_dial(&mut self, from: Node, to: Node) -> Result<(), String> {
        let joined = self.network.live.values().any(|ends| ends.dialler == from);
        if joined || !self.is_up(from) {
            return Ok(());
        }
        if !self.is_up(to) || self.network.is_parted(from, to) {
            self.network.after(300_000, Event::Dial { from, to });
            return Ok(());
        }
        let connection = Connection(self.next_connection);
        self.next_connection += 1;
        self.network.live.insert(connection, Ends { dialler: from, listener: to });
        for (at, other) in [(to, from), (from, to)] {
            self.connected(at, other, connection)?;
        }
        Ok(())
    }

    fn connected(&mut self, at: Node, other: Node, connection: Connection) -> Result<(), String> {
        match at {
            Node::Router(index) => {
                let identity = match other {
                    Node::Router(peer) => router_identity(["r1", "r2"][peer]),
                    Node::Endpoint(peer) => self.endpoints[peer].identity.clone(),
                };
                let now = self.router_now(index);
                let Some(router) = &mut self.routers[index] else { return Ok(()) };
                let effects = router.connected(now, connection, &[identity]);
                self.apply_router(index, effects)
            }
            Node::Endpoint(index) => {
                let Node::Router(router) = other else { return Ok(()) };
                let now = self.endpoint_now(index);
                let effects = self.endpoints[index].connected(now, connection, router);
                self.apply_endpoint(index, effects)
            }
        }
    }

    fn on_send(&mut self) -> Result<(), String> {
        let number = self.next_message;
        self.next_message += 1;
        if self.down[PORTAL] {
            return Ok(());
        }
        let now = self.endpoint_now(PORTAL);
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let id = MessageId::from_parts(now.wall, random);
        let rng = &mut self.network.rng;
        let jurisdiction = if rng.random_bool(0.5) { "147130000000" } else { "146120000000" };
        let case = rng.random_bool(0.5).then(|| Bytes::from(vec![1, rng.random_range(0..4)]));
        let payload = Bytes::from(vec![7; rng.random_range(0..3_000)]);
        let mut outgoing = Outgoing::new(
            id,
            self.endpoints[PORTAL].id.clone(),
            "99050012104000".parse().unwrap(),
            jurisdiction.parse().unwrap(),
            payload,
        );
        // Cases of one number in two places are two cases.
        outgoing.case = case.map(|case| Bytes::from([&case[..], jurisdiction.as_bytes()].concat()));
        outgoing.lifetime_s = if rng.random_bool(0.2) { rng.random_range(5..60) } else { 86_400 };
        outgoing.timeout_ms = rng.random_range(5_000..120_000);
        if self.endpoints[PORTAL].core.handle_send(now, &outgoing).is_ok() {
            let expires = now.wall.plus_ms(u64::from(outgoing.lifetime_s) * 1_000);
            self.expiry.insert(id, expires);
            self.facts.sent(outgoing.case.as_deref(), id);
            let what = format!(
                "sent to {jurisdiction}, lives {} s, timeout {} ms, case {:?}",
                outgoing.lifetime_s, outgoing.timeout_ms, outgoing.case
            );
            self.facts.note(id, self.network.now_us, what);
        }
        let effects = self.endpoints[PORTAL].effects(now);
        self.apply_endpoint(PORTAL, effects)
    }

    fn wake(&mut self, at: Node, deadline: u64, incarnation: u64) {
        let deadline = deadline.max(self.network.now_us);
        if self.wakes.get(&at).is_none_or(|pending| deadline < *pending || *pending < self.network.now_us) {
            self.wakes.insert(at, deadline);
            self.network.schedule(deadline, Event::Wake { at, incarnation });
        }
    }

    fn on_wake(&mut self, at: Node, incarnation: u64) -> Result<(), String> {
        if self.wakes.get(&at) != Some(&self.network.now_us) {
            // An earlier one was asked for after it.
            return Ok(());
        }
        self.wakes.remove(&at);
        match at {
            Node::Router(index) => {
                let now = self.router_now(index);
                let Some(router) = &mut self.routers[index] else { return Ok(()) };
                if router.incarnation != incarnation {
                    return Ok(());
                }
                let effects = router.woken(now);
                self.apply_router(index, effects)
            }
            Node::Endpoint(index) => {
                if self.down[index] || self.endpoints[index].incarnation != incarnation {
                    return Ok(());
                }
                let now = self.endpoint_now(index);
                let effects = self.endpoints[index].woken(now);
                self.apply_endpoint(index, effects)
            }
        }
    }

    /// The same directory with a higher serial: generations change under messages in flight.
    fn publish(&mut self) -> Result<(), String> {
        let generation = self.table.generation() + 1;
        self.table = self.world.table(generation);
        self.tables.push(Arc::clone(&self.table));
        for at in 0..self.routers.len() {
            let (now, table) = (self.router_now(at), Arc::clone(&self.table));
            if let Some(router) = &mut self.routers[at] {
                let effects = router.publish(now, &table);
                self.apply_router(at, effects)?;
            }
        }
        for at in 0..self.endpoints.len() {
            if !self.down[at] {
                let (now, table) = (self.endpoint_now(at), Arc::clone(&self.table));
                let effects = self.endpoints[at].install(now, &table);
                self.apply_endpoint(at, effects)?;
            }
        }
        Ok(())
    }

    fn on_crash(&mut self, node: Node, for_us: u64) -> Result<(), String> {
        if !self.is_up(node) {
            return Ok(());
        }
        match node {
            Node::Router(index) => {
                let now = self.router_now(index);
                if let Some(router) = self.routers[index].take() {
                    router.custody.die(now, &mut self.network.rng);
                }
            }
            Node::Endpoint(index) => {
                self.down[index] = true;
                if index == PORTAL {
                    self.facts.all_unordered();
                }
            }
        }
        for connection in self.network.connections_of(node) {
            self.network.break_connection(connection);
        }
        self.network.after(for_us, Event::Start { node });
        Ok(())
    }

    fn on_start(&mut self, node: Node) -> Result<(), String> {
        match node {
            Node::Router(index) => {
                self.start_router(index)?;
                if index == 0 {
                    self.network.after(1_000, Event::Dial { from: node, to: Node::Router(1) });
                }
                Ok(())
            }
            Node::Endpoint(index) => self.start_endpoint(index),
        }
    }

    fn start_router(&mut self, at: usize) -> Result<(), String> {
        let now = self.router_now(at);
        let router = RouterNode::new(
            &RouterSetup {
                world: &self.world,
                id: &self.router_ids[at],
                table: &self.table,
                disk: &self.disks[at],
                incarnation: self.network.now_us + 1,
                credit: self.credit,
                seed: self.network.rng.random(),
            },
            now,
        );
        self.wakes.remove(&Node::Router(at));
        let Some(mut router) = router else {
            // The disk fails already: the operator tries again.
            self.network.after(1_000_000, Event::Start { node: Node::Router(at) });
            return Ok(());
        };
        let effects = router.begin(now);
        self.routers[at] = Some(router);
        self.apply_router(at, effects)
    }

    fn start_endpoint(&mut self, at: usize) -> Result<(), String> {
        let old = &mut self.endpoints[at];
        let disk = std::mem::take(&mut old.disk);
        let (id, identity, incarnation) = (old.id.clone(), old.identity.clone(), old.incarnation + 1);
        let seed = self.plan.seed ^ at as u64;
        self.endpoints[at] = EndpointNode::new(&self.world, &id, &identity, &self.router_ids, disk, incarnation, seed);
        self.down[at] = false;
        self.wakes.remove(&Node::Endpoint(at));
        let now = self.endpoint_now(at);
        let mut effects = Vec::new();
        for table in &self.tables {
            effects.extend(self.endpoints[at].install(now, table));
        }
        effects.extend(self.endpoints[at].recover(now));
        self.apply_endpoint(at, effects)?;
        self.network.after(1_000, Event::Dial { from: Node::Endpoint(at), to: Node::Router(self.home(at)) });
        Ok(())
    }

    fn apply_router(&mut self, at: usize, effects: Vec<RouterEffect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                RouterEffect::Send { connection, stream, bytes } => {
                    self.network.send(connection, Node::Router(at), stream, bytes);
                }
                // A link that a newer one replaces is closed on purpose; anything else is a fault of ours.
                RouterEffect::Close { why, connection } if why.contains("superseded") || why.contains("revoked") => {
                    self.network.break_connection(connection);
                }
                RouterEffect::Close { why, .. } => return Err(format!("router {at} closed a link: {why}")),
                RouterEffect::Wrong(what) => return Err(what),
                RouterEffect::Spool => {
                    let incarnation = self.routers[at].as_ref().map_or(0, |router| router.incarnation);
                    let after = self.network.rng.random_range(FSYNC_US / 2..FSYNC_US * 20);
                    self.network.after(after, Event::Spooled { at, incarnation });
                }
                RouterEffect::Alarm(alarm) => self.on_alarm(at, &alarm),
            }
        }
        if let Some(router) = &self.routers[at]
            && let Some(deadline) = router.deadline()
        {
            let incarnation = router.incarnation;
            self.wake(Node::Router(at), deadline, incarnation);
        }
        Ok(())
    }

    fn apply_endpoint(&mut self, at: usize, effects: Vec<EndpointEffect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                EndpointEffect::Send { connection, stream, bytes } => {
                    self.network.send(connection, Node::Endpoint(at), stream, bytes);
                    if stream != Stream::Control {
                        let after = self.network.rng.random_range(1..500);
                        self.network.after(after, Event::Writable { connection, at: Node::Endpoint(at), stream });
                    }
                }
                EndpointEffect::Close { why, .. } => return Err(format!("endpoint {at} closed a link: {why}")),
                EndpointEffect::Journal(delivery) => {
                    let incarnation = self.endpoints[at].incarnation;
                    let after = self.network.rng.random_range(FSYNC_US / 2..FSYNC_US * 20);
                    self.network.after(after, Event::Journalled { at, incarnation, delivery });
                }
                EndpointEffect::Store(number) => {
                    let incarnation = self.endpoints[at].incarnation;
                    let after = self.network.rng.random_range(FSYNC_US / 2..FSYNC_US * 20);
                    self.network.after(after, Event::Stored { at, incarnation, number });
                }
                EndpointEffect::Accepted(id) => {
                    self.facts.note(id, self.network.now_us, "taken by the outbox".to_owned());
                    let expires = self.expiry.get(&id).copied().unwrap_or(UnixMs(u64::MAX));
                    self.facts.accepted(id, expires);
                }
                EndpointEffect::NotAccepted(why) => return Err(format!("the outbox refused a message: {why}")),
                EndpointEffect::Stage(outcome) => self.on_stage(&outcome)?,
                EndpointEffect::OrderEnded(case) => self.facts.order_ended(case),
                EndpointEffect::Deliver(delivery) => self.on_delivery(at, &delivery)?,
                EndpointEffect::Finished(_, outcome) => {
                    let what = format!("ended {} {} by {:?}", outcome.outcome.name(), outcome.code, outcome.issuer);
                    self.facts.note(outcome.id, self.network.now_us, what);
                    let sender = self.endpoints[at].id.clone();
                    self.facts.finished(&outcome, &sender, &self.endpoints)?;
                }
                EndpointEffect::InvalidReceipt(why) => return Err(format!("an honest receipt did not verify: {why}")),
            }
        }
        if !self.down[at]
            && let Some(deadline) = self.endpoints[at].core.poll_deadline()
        {
            let incarnation = self.endpoints[at].incarnation;
            self.wake(Node::Endpoint(at), deadline, incarnation);
        }
        Ok(())
    }

    /// The application thinks for a while, and rejects some.
    fn on_delivery(&mut self, at: usize, delivery: &Delivery) -> Result<(), String> {
        debug_assert!(AUTHORITIES.contains(&at), "the portal is responsible for nothing");
        let what = format!("handed over at {at}, redelivered {}", delivery.redelivered);
        self.facts.note(delivery.message.id, self.network.now_us, what);
        self.facts.handed_over(&self.endpoints[at], delivery)?;
        let rng = &mut self.network.rng;
        let verdict = if rng.random_bool(0.1) {
            Verdict::Reject { code: Code(1_000), problem: Some("form 7b is missing".to_owned()) }
        } else {
            Verdict::Accept
        };
        // Once in a while it takes minutes: longer than anybody waits for it.
        let hangs = rng.random_bool(0.01);
        let after = if hangs { rng.random_range(30_000_000..300_000_000) } else { rng.random_range(0..THINK_US) };
        let incarnation = self.endpoints[at].incarnation;
        self.thinking.insert((at, incarnation, delivery.id), (delivery.message.id, verdict));
        self.network.after(after, Event::Verdict { at, incarnation, delivery: delivery.id });
        Ok(())
    }

    /// A receipt *custody* is true when it arrives.
    fn on_stage(&mut self, outcome: &SendOutcome) -> Result<(), String> {
        let what = format!("stage {} {} by {:?}", outcome.outcome.name(), outcome.code, outcome.issuer);
        self.facts.note(outcome.id, self.network.now_us, what);
        if outcome.outcome != FinalOutcome::Custody {
            return Ok(());
        }
        self.facts.custodies += 1;
        let issuer = outcome.issuer.as_ref().map(ToString::to_string).unwrap_or_default();
        let at = self.router_ids.iter().position(|id| id.as_str() == issuer);
        let sender = self.endpoints[PORTAL].id.clone();
        let Some(router) = at.and_then(|at| self.routers[at].as_mut()) else { return Ok(()) };
        if router.custody.holds(&sender, outcome.id) {
            Ok(())
        } else {
            Err(format!("{issuer} signed custody of {} and does not hold it", outcome.id))
        }
    }

    /// An operator restarts a router whose custody has stopped.
    fn on_alarm(&mut self, at: usize, alarm: &CustodyAlarm) {
        match alarm {
            CustodyAlarm::Stopped { .. } => {
                let after = self.network.rng.random_range(1_000_000..5_000_000);
                self.network.after(after, Event::Crash { node: Node::Router(at), for_us: 100_000 });
            }
            CustodyAlarm::Damaged { .. } | CustodyAlarm::Unreadable { .. } => self.damaged += 1,
            CustodyAlarm::NoKey => {}
        }
    }

    /// The router an endpoint dials.
    fn home(&self, endpoint: usize) -> usize {
        if endpoint == PORTAL { self.portal_home } else { usize::from(endpoint == 1) }
    }

    fn is_up(&self, node: Node) -> bool {
        match node {
            Node::Router(index) => self.routers[index].is_some(),
            Node::Endpoint(index) => !self.down[index],
        }
    }
}

/// How often messages that nobody has are looked for, µs.
const LOOK_US: u64 = 10_000_000;
/// So long after its expiry nobody delivers a message any more, whatever the clocks say, ms.
const OVER_MS: u64 = 300_000;

/// Steps kept to be shown when something breaks.
const TRACE: usize = 60;

fn describe(event: &Event) -> String {
    match event {
        Event::Arrive { connection, to, stream, bytes } => {
            format!("{} bytes on {stream:?} of {connection:?} to {to:?}", bytes.len())
        }
        other => format!("{other:?}"),
    }
}
