//! One simulated run: two routers, a portal and two authorities, faults until a given time, then calm until all is settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::{Assurance, Code, MessageId, UnixMs};
use kernpost_endpoint::core::{Delivery, DeliveryId, Outgoing, Verdict};
use kernpost_router_core::Now;
use kernpost_routing_table::Table;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::checks::Facts;
use super::endpoint_node::{Disk, Effect as EndpointEffect, EndpointNode};
use super::network::{Connection, Ends, Event, Network, Node, Stream};
use super::router_node::{Effect as RouterEffect, RouterNode};
use crate::world::{World, link_identity, router_identity};

/// What a run is made of; everything else follows from the seed.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// Messages the portal sends.
    pub messages: u64,
    /// Links cut at random.
    pub cuts: u64,
    /// Processes killed at random (they start again).
    pub crashes: u64,
    /// New tables published at random.
    pub publishes: u64,
    /// Faults and sends happen within this time, ms.
    pub busy_ms: u64,
    /// After that everything settles within this time, ms.
    pub calm_ms: u64,
}

impl Plan {
    /// A lively run of a few hundred messages.
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, messages: 120, cuts: 6, crashes: 4, publishes: 3, busy_ms: 20_000, calm_ms: 200_000 }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    pub steps: u64,
    pub outcomes: BTreeMap<&'static str, u64>,
    pub lost_with_the_portal: u64,
}

const PORTAL: usize = 0;
const AUTHORITIES: [usize; 2] = [1, 2];
const START_MS: u64 = 1_790_000_000_000;
const FSYNC_US: u64 = 400;
const THINK_US: u64 = 60_000;
const SEND_TIMEOUT_MS: u64 = 120_000;

/// Runs a plan to its end; `Err` says which invariant broke and when.
pub fn run(plan: Plan) -> Result<Report, String> {
    let mut simulation = Simulation::new(plan);
    simulation.script();
    simulation.go().map_err(|what| {
        let trace: Vec<String> = simulation.trace.iter().rev().take(40).rev().cloned().collect();
        format!("seed {} at {} µs: {what}\nlast steps:\n{}", plan.seed, simulation.network.now_us, trace.join("\n"))
    })
}

struct Simulation {
    plan: Plan,
    world: World,
    table: Arc<Table>,
    network: Network,
    routers: Vec<Option<RouterNode>>,
    endpoints: Vec<EndpointNode>,
    down: Vec<bool>,
    facts: Facts,
    open_sends: u64,
    lost_with_the_portal: u64,
    next_message: u64,
    next_connection: u64,
    /// What an application has not answered yet; gone with its process.
    thinking: BTreeMap<(usize, u64, DeliveryId), Verdict>,
    trace: std::collections::VecDeque<String>,
}

impl Simulation {
    fn new(plan: Plan) -> Self {
        let now = UnixMs(START_MS);
        let mut world = World::new(now);
        let routers = [world.router("r1"), world.router("r2")];
        let portal = world.endpoint("portal", "portal");
        let city = world.endpoint("city", "city");
        let land = world.endpoint("land", "land");
        world.grant(&portal, "99", "*", Some(Assurance::High));
        world.route("city", "99", "14713", &[&city]);
        world.route("land", "99", "14", &[&land, &city]);
        let table = world.table(1);
        let network = Network::new(StdRng::seed_from_u64(plan.seed), 8_000);
        let endpoint = |at: usize, id, link: &str| {
            EndpointNode::new(&world, id, &link_identity(link), &routers, Disk::default(), 0, plan.seed ^ at as u64)
        };
        let endpoints =
            vec![endpoint(PORTAL, &portal, "portal"), endpoint(1, &city, "city"), endpoint(2, &land, "land")];
        let routers = routers.iter().map(|id| Some(RouterNode::new(id.clone(), &table, 2, 0))).collect();
        Self {
            plan,
            world,
            table,
            network,
            routers,
            down: vec![false; endpoints.len()],
            endpoints,
            facts: Facts::default(),
            open_sends: 0,
            lost_with_the_portal: 0,
            next_message: 0,
            next_connection: 0,
            thinking: BTreeMap::new(),
            trace: std::collections::VecDeque::new(),
        }
    }

    /// Draws the whole plan ahead, so that it does not depend on what happens.
    fn script(&mut self) {
        for at in 0..self.endpoints.len() {
            let now = self.endpoint_now();
            let effects = self.endpoints[at].install(now, &self.table);
            self.apply_endpoint(at, effects).expect("nothing can be wrong before the first link");
        }
        let busy_us = self.plan.busy_ms * 1_000;
        self.network.schedule(0, Event::Dial { from: Node::Router(0), to: Node::Router(1) });
        self.network.schedule(0, Event::Dial { from: Node::Endpoint(PORTAL), to: Node::Router(0) });
        self.network.schedule(0, Event::Dial { from: Node::Endpoint(1), to: Node::Router(1) });
        self.network.schedule(0, Event::Dial { from: Node::Endpoint(2), to: Node::Router(0) });
        for _ in 0..self.plan.messages {
            let at = self.network.rng.random_range(0..busy_us);
            self.network.schedule(at, Event::Send);
        }
        for _ in 0..self.plan.cuts {
            let at = self.network.rng.random_range(0..busy_us);
            let pairs = [
                (Node::Router(0), Node::Router(1)),
                (Node::Endpoint(0), Node::Router(0)),
                (Node::Endpoint(1), Node::Router(1)),
                (Node::Endpoint(2), Node::Router(0)),
            ];
            let (from, to) = pairs[self.network.rng.random_range(0..pairs.len())];
            self.network.schedule(at, Event::Cut { from, to });
        }
        for _ in 0..self.plan.crashes {
            let at = self.network.rng.random_range(0..busy_us);
            let nodes = [Node::Router(0), Node::Router(1), Node::Endpoint(0), Node::Endpoint(1), Node::Endpoint(2)];
            let node = nodes[self.network.rng.random_range(0..nodes.len())];
            self.network.schedule(at, Event::Crash { node });
        }
        for _ in 0..self.plan.publishes {
            let at = self.network.rng.random_range(0..busy_us);
            // A router wakes with a new table; see `on_wake`.
            self.network.schedule(at, Event::Wake { at: Node::Router(usize::MAX), incarnation: 0 });
        }
    }

    fn go(&mut self) -> Result<Report, String> {
        let end_us = (self.plan.busy_ms + self.plan.calm_ms) * 1_000;
        let mut steps = 0;
        while let Some(event) = self.network.next_event() {
            if self.network.now_us > end_us {
                break;
            }
            steps += 1;
            if self.trace.len() == 200 {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{:>10} {}", self.network.now_us, describe(&event)));
            self.step(event)?;
            Facts::balanced(self.routers.iter().flatten(), self.endpoints.iter())?;
            let all_sent = self.next_message == self.plan.messages;
            if all_sent && self.open_sends == 0 && self.network.now_us > self.plan.busy_ms * 1_000 {
                break;
            }
        }
        if self.open_sends > 0 {
            return Err(format!(
                "{} messages without outcome {} ms after the last fault",
                self.open_sends, self.plan.calm_ms
            ));
        }
        self.facts.in_order()?;
        Ok(Report { steps, outcomes: self.facts.outcomes.clone(), lost_with_the_portal: self.lost_with_the_portal })
    }

    fn now(&self) -> Now {
        Now { mono_us: self.network.now_us, wall: UnixMs(START_MS + self.network.now_us / 1_000) }
    }

    fn endpoint_now(&self) -> kernpost_endpoint::core::Now {
        let now = self.now();
        kernpost_endpoint::core::Now { mono_us: now.mono_us, wall: now.wall }
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Arrive { connection, to, stream, bytes } => self.on_arrive(connection, to, stream, bytes),
            Event::Lost { connection, at } => self.on_lost(connection, at),
            Event::Writable { connection, at: Node::Endpoint(at), stream } if !self.down[at] => {
                let now = self.endpoint_now();
                let effects = self.endpoints[at].writable(now, connection, stream);
                self.apply_endpoint(at, effects)
            }
            Event::Writable { .. } => Ok(()),
            Event::Dial { from, to } => self.on_dial(from, to),
            Event::Send => self.on_send(),
            Event::Verdict { at, incarnation, delivery } => {
                let Some(verdict) = self.thinking.remove(&(at, incarnation, delivery)) else { return Ok(()) };
                let now = self.endpoint_now();
                let effects = self.endpoints[at].verdict(now, delivery, &verdict);
                self.apply_endpoint(at, effects)
            }
            Event::Journalled { at, incarnation, delivery } => {
                if self.down[at] || self.endpoints[at].incarnation != incarnation {
                    return Ok(());
                }
                let now = self.endpoint_now();
                let effects = self.endpoints[at].journalled(now, delivery);
                self.apply_endpoint(at, effects)
            }
            Event::Wake { at, incarnation } => self.on_wake(at, incarnation),
            Event::Cut { from, to } => {
                let cut = self.network.live.iter().find(|(_, ends)| ends.joins(from, to)).map(|(c, _)| *c);
                if let Some(connection) = cut {
                    self.network.break_connection(connection);
                }
                Ok(())
            }
            Event::Crash { node } => self.on_crash(node),
            Event::Start { node } => self.on_start(node),
        }
    }

    fn on_arrive(&mut self, connection: Connection, to: Node, stream: Stream, bytes: Bytes) -> Result<(), String> {
        if !self.network.live.contains_key(&connection) {
            return Ok(());
        }
        match to {
            Node::Router(at) => {
                let now = self.now();
                let Some(router) = &mut self.routers[at] else { return Ok(()) };
                let effects = router.arrived(now, connection, stream, bytes);
                self.apply_router(at, effects)
            }
            Node::Endpoint(at) if !self.down[at] => {
                let now = self.endpoint_now();
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
                let now = self.now();
                let Some(router) = &mut self.routers[index] else { return Ok(()) };
                let effects = router.lost(now, connection);
                self.apply_router(index, effects)
            }
            Node::Endpoint(index) => {
                self.network.after(again, Event::Dial { from: at, to: Node::Router(home(index)) });
                if self.down[index] {
                    return Ok(());
                }
                let now = self.endpoint_now();
                let effects = self.endpoints[index].lost(now, connection);
                self.apply_endpoint(index, effects)
            }
        }
    }

    fn on_dial(&mut self, from: Node, to: Node) -> Result<(), String> {
        let joined = self.network.live.values().any(|ends| ends.joins(from, to));
        if joined {
            return Ok(());
        }
        if !self.is_up(from) || !self.is_up(to) {
            if self.is_up(from) {
                self.network.after(300_000, Event::Dial { from, to });
            }
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
                let now = self.now();
                let Some(router) = &mut self.routers[index] else { return Ok(()) };
                let effects = router.connected(now, connection, &[identity]);
                self.apply_router(index, effects)
            }
            Node::Endpoint(index) => {
                let Node::Router(router) = other else { return Ok(()) };
                let now = self.endpoint_now();
                let effects = self.endpoints[index].connected(now, connection, router);
                self.apply_endpoint(index, effects)
            }
        }
    }

    fn on_send(&mut self) -> Result<(), String> {
        let number = self.next_message;
        self.next_message += 1;
        if self.down[PORTAL] {
            self.lost_with_the_portal += 1;
            return Ok(());
        }
        let now = self.endpoint_now();
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
        outgoing.timeout_ms = SEND_TIMEOUT_MS;
        match self.endpoints[PORTAL].core.handle_send(now, &outgoing) {
            Ok(_) => {
                self.open_sends += 1;
                self.facts.sent(outgoing.case.as_deref(), id);
            }
            Err(_) => self.lost_with_the_portal += 1,
        }
        let effects = self.endpoints[PORTAL].effects(now);
        self.apply_endpoint(PORTAL, effects)
    }

    fn on_wake(&mut self, at: Node, incarnation: u64) -> Result<(), String> {
        match at {
            Node::Router(usize::MAX) => self.publish(),
            Node::Router(index) => {
                let now = self.now();
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
                let now = self.endpoint_now();
                let effects = self.endpoints[index].woken(now);
                self.apply_endpoint(index, effects)
            }
        }
    }

    /// The same directory with a higher serial: generations change under messages in flight.
    fn publish(&mut self) -> Result<(), String> {
        let generation = self.table.generation() + 1;
        self.table = self.world.table(generation);
        let now = self.now();
        for at in 0..self.routers.len() {
            let table = Arc::clone(&self.table);
            if let Some(router) = &mut self.routers[at] {
                let effects = router.publish(now, &table);
                self.apply_router(at, effects)?;
            }
        }
        for at in 0..self.endpoints.len() {
            if !self.down[at] {
                let now = self.endpoint_now();
                let table = Arc::clone(&self.table);
                let effects = self.endpoints[at].install(now, &table);
                self.apply_endpoint(at, effects)?;
            }
        }
        Ok(())
    }

    fn on_crash(&mut self, node: Node) -> Result<(), String> {
        if !self.is_up(node) {
            return Ok(());
        }
        match node {
            Node::Router(index) => self.routers[index] = None,
            Node::Endpoint(index) => {
                self.down[index] = true;
                if index == PORTAL {
                    self.lost_with_the_portal += self.open_sends;
                    self.open_sends = 0;
                }
            }
        }
        for connection in self.network.connections_of(node) {
            self.network.break_connection(connection);
        }
        let back = self.network.rng.random_range(50_000..=3_000_000);
        self.network.after(back, Event::Start { node });
        Ok(())
    }

    fn on_start(&mut self, node: Node) -> Result<(), String> {
        match node {
            Node::Router(index) => {
                let id = ["de/router/r1", "de/router/r2"][index].parse().unwrap();
                let incarnation = self.network.now_us;
                self.routers[index] = Some(RouterNode::new(id, &self.table, 2, incarnation));
                if index == 0 {
                    self.network.after(1_000, Event::Dial { from: node, to: Node::Router(1) });
                }
            }
            Node::Endpoint(index) => {
                let old = &mut self.endpoints[index];
                let disk = std::mem::take(&mut old.disk);
                let routers = ["de/router/r1".parse().unwrap(), "de/router/r2".parse().unwrap()];
                let (id, identity, incarnation) = (old.id.clone(), old.identity.clone(), old.incarnation + 1);
                let seed = self.plan.seed ^ index as u64;
                self.endpoints[index] =
                    EndpointNode::new(&self.world, &id, &identity, &routers, disk, incarnation, seed);
                self.down[index] = false;
                let now = self.endpoint_now();
                let table = Arc::clone(&self.table);
                let effects = self.endpoints[index].install(now, &table);
                self.apply_endpoint(index, effects)?;
                self.network.after(1_000, Event::Dial { from: node, to: Node::Router(home(index)) });
            }
        }
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
            }
        }
        if let Some(router) = &self.routers[at]
            && let Some(deadline) = router.deadline()
        {
            let incarnation = router.incarnation;
            self.network.schedule(deadline, Event::Wake { at: Node::Router(at), incarnation });
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
                EndpointEffect::Deliver(delivery) => self.on_delivery(at, &delivery)?,
                EndpointEffect::Finished(ticket, outcome) => {
                    let (incarnation, sender) = (self.endpoints[at].incarnation, self.endpoints[at].id.clone());
                    self.facts.finished(incarnation, ticket, &outcome, &sender, &self.endpoints)?;
                    self.open_sends = self.open_sends.saturating_sub(1);
                }
                EndpointEffect::InvalidReceipt(why) => return Err(format!("an honest receipt did not verify: {why}")),
            }
        }
        if !self.down[at]
            && let Some(deadline) = self.endpoints[at].core.poll_deadline()
        {
            let incarnation = self.endpoints[at].incarnation;
            self.network.schedule(deadline, Event::Wake { at: Node::Endpoint(at), incarnation });
        }
        Ok(())
    }

    /// The application thinks for a while, rejects some, and sometimes hangs for good.
    fn on_delivery(&mut self, at: usize, delivery: &Delivery) -> Result<(), String> {
        debug_assert!(AUTHORITIES.contains(&at), "the portal is responsible for nothing");
        let message = &delivery.message;
        self.facts.handed_over(&self.endpoints[at], &message.sender, message.id, message.case.as_deref())?;
        let rng = &mut self.network.rng;
        let verdict = if rng.random_bool(0.1) {
            Verdict::Reject { code: Code(1_000), problem: Some("form 7b is missing".to_owned()) }
        } else {
            Verdict::Accept
        };
        if rng.random_bool(0.01) {
            return Ok(());
        }
        let after = rng.random_range(0..THINK_US);
        let incarnation = self.endpoints[at].incarnation;
        self.thinking.insert((at, incarnation, delivery.id), verdict);
        self.network.after(after, Event::Verdict { at, incarnation, delivery: delivery.id });
        Ok(())
    }

    fn is_up(&self, node: Node) -> bool {
        match node {
            Node::Router(index) => self.routers[index].is_some(),
            Node::Endpoint(index) => !self.down[index],
        }
    }
}

/// The router an endpoint dials.
fn home(endpoint: usize) -> usize {
    usize::from(endpoint == 1)
}

fn describe(event: &Event) -> String {
    match event {
        Event::Arrive { connection, to, stream, bytes } => {
            format!("{} bytes on {stream:?} of {connection:?} to {to:?}", bytes.len())
        }
        other => format!("{other:?}"),
    }
}
