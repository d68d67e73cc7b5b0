//! A router process of the simulation: one control side, two engines, and the plumbing that the shell does for real.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::{Digest, DirectoryVersion, FrameDecoder, LinkIdentity, RouterId, ZoneVersion};
use kernpost_router_core::config::ClassCredit;
use kernpost_router_core::control::SnapshotSource;
use kernpost_router_core::custody::CustodyAlarm;
use kernpost_router_core::{
    Control, ControlConfig, ControlOutput, Crossing, CustodyConfig, Engine, EngineConfig, EngineEvent, EngineOutput,
    Ledger, LinkId, Now, WorkerId,
};
use kernpost_routing_table::Table;
use kernpost_spool::memory_store::SimDisk;

use super::custody_node::{CustodyNode, Wish};
use super::network::{Connection, Stream};
use crate::world::{World, copy_of};

/// No snapshots: the simulated endpoints are given their tables.
#[derive(Debug)]
struct NoSnapshots;

impl SnapshotSource for NoSnapshots {
    fn version(&self, _: &DirectoryVersion) -> Option<Vec<ZoneVersion>> {
        None
    }
    fn snapshot(&self, _: &Digest) -> Option<Bytes> {
        None
    }
}

/// What the node wants from the network.
pub enum Effect {
    Send {
        connection: Connection,
        stream: Stream,
        bytes: Bytes,
    },
    Close {
        connection: Connection,
        why: String,
    },
    /// The spool's thread has begun with something.
    Spool,
    Alarm(CustodyAlarm),
    /// Something no router may do.
    Wrong(String),
}

struct Conn {
    link: LinkId,
    worker: usize,
    /// The peer is a router.
    router: bool,
    decoders: BTreeMap<Stream, FrameDecoder>,
    /// Frames of lanes that arrived before this side's hello was done.
    early: Vec<(Stream, u64, Bytes)>,
    up: bool,
}

pub struct RouterNode {
    pub id: RouterId,
    pub control: Control,
    pub engines: Vec<Engine>,
    pub custody: CustodyNode,
    pub incarnation: u64,
    conns: BTreeMap<Connection, Conn>,
    by_link: BTreeMap<LinkId, Connection>,
    next_link: u64,
}

/// What a router process is made of.
pub struct RouterSetup<'a> {
    pub world: &'a World,
    pub id: &'a RouterId,
    pub table: &'a Arc<Table>,
    pub disk: &'a SimDisk,
    pub incarnation: u64,
    /// Credit a link gets per class.
    pub credit: ClassCredit,
    /// Entries of one queue that custody has under way at most.
    pub most_flying: u64,
    pub seed: u64,
}

pub const WORKERS: u16 = 2;
/// Small windows, so that reading on is exercised.
pub const QUEUE_WINDOW_BYTES: u64 = 8 << 10;
pub const WINDOW_BYTES: u64 = 32 << 10;

impl RouterNode {
    /// `None`: its spool cannot be opened just now.
    pub fn new(setup: &RouterSetup<'_>, now: Now) -> Option<Self> {
        let RouterSetup { world, id, table, disk, incarnation, credit, most_flying, seed } = *setup;
        let engines = (0..WORKERS)
            .map(|worker| {
                let base = EngineConfig::new(id.clone());
                let config = EngineConfig { workers: WORKERS, custody: true, credit: [credit; 3], ..base };
                Engine::new(config, WorkerId(worker), Arc::clone(table))
            })
            .collect();
        let control = Control::new(ControlConfig::new(id.clone(), WORKERS), Arc::clone(table), Arc::new(NoSnapshots));
        let base = CustodyConfig::new(id.clone(), WORKERS);
        let (queue_window_bytes, window_bytes) = (QUEUE_WINDOW_BYTES, WINDOW_BYTES);
        let config = CustodyConfig { queue_window_bytes, window_bytes, most_flying, ..base };
        let key = copy_of(&world.router_keys[id]);
        let custody = CustodyNode::start(config, key, table, disk, now, seed)?;
        let (conns, by_link) = (BTreeMap::new(), BTreeMap::new());
        Some(Self { id: id.clone(), control, engines, custody, incarnation, conns, by_link, next_link: 1 })
    }

    /// What a process does before anything reaches it.
    pub fn begin(&mut self, now: Now) -> Vec<Effect> {
        self.effects(now)
    }

    /// The spool's thread is done with what it began.
    pub fn spooled(&mut self, now: Now) -> Vec<Effect> {
        self.custody.done(now);
        self.effects(now)
    }

    /// The books of all engines together.
    pub fn ledger(&self) -> Ledger {
        self.engines.iter().map(Engine::ledger).fold(Ledger::default(), |sum, ledger| sum.plus(&ledger))
    }

    pub fn connected(&mut self, now: Now, connection: Connection, identities: &[LinkIdentity]) -> Vec<Effect> {
        let link = LinkId(self.next_link);
        let worker = (self.next_link % self.engines.len() as u64) as usize;
        self.next_link += 1;
        let router = identities.iter().any(|identity| identity.to_string().contains("/router/"));
        let conn = Conn { link, worker, router, decoders: BTreeMap::new(), early: Vec::new(), up: false };
        self.conns.insert(connection, conn);
        self.by_link.insert(link, connection);
        self.control.handle_link_up(now, link, WorkerId(worker as u16), identities);
        self.effects(now)
    }

    pub fn lost(&mut self, now: Now, connection: Connection) -> Vec<Effect> {
        if let Some(conn) = self.conns.remove(&connection) {
            self.by_link.remove(&conn.link);
            self.control.handle_link_down(conn.link);
        }
        self.effects(now)
    }

    pub fn arrived(&mut self, now: Now, connection: Connection, stream: Stream, bytes: Bytes) -> Vec<Effect> {
        let Some(conn) = self.conns.get_mut(&connection) else { return Vec::new() };
        let decoder = conn.decoders.entry(stream).or_default();
        decoder.push(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next().expect("engines and cores write whole frames") {
            frames.push(frame);
        }
        let (link, worker, up) = (conn.link, conn.worker, conn.up);
        for frame in frames {
            match stream {
                Stream::Control => self.control.handle_frame(now, link, frame.kind, &frame.body),
                Stream::Lane(lane) if up => self.engines[worker].handle_frame(now, link, lane, frame.kind, frame.body),
                Stream::Lane(_) => {
                    let conn = self.conns.get_mut(&connection).expect("looked up above");
                    conn.early.push((stream, frame.kind, frame.body));
                }
            }
        }
        self.effects(now)
    }

    pub fn woken(&mut self, now: Now) -> Vec<Effect> {
        self.control.handle_timeout(now);
        for engine in &mut self.engines {
            engine.handle_timeout(now);
        }
        self.custody.custody.handle_timeout(now);
        self.effects(now)
    }

    pub fn publish(&mut self, now: Now, table: &Arc<Table>) -> Vec<Effect> {
        self.control.handle_table(now, Arc::clone(table));
        self.effects(now)
    }

    pub fn deadline(&self) -> Option<u64> {
        let engines = self.engines.iter().filter_map(Engine::poll_deadline);
        engines.chain(self.control.poll_deadline()).chain(self.custody.custody.poll_deadline()).min()
    }

    /// Runs control and engines against each other until nothing is left to do inside the process.
    fn effects(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        loop {
            let mut idle = true;
            while let Some(output) = self.control.poll_output() {
                idle = false;
                self.on_control(now, output, &mut effects);
            }
            for worker in 0..self.engines.len() {
                while let Some(output) = self.engines[worker].poll_output() {
                    idle = false;
                    self.on_engine(now, output, &mut effects);
                }
            }
            while let Some(wish) = self.custody.poll() {
                idle = false;
                match wish {
                    Wish::Cross(worker, crossing) => {
                        self.engines[usize::from(worker.0)].handle_crossing(now, crossing);
                    }
                    Wish::Alarm(alarm) => effects.push(Effect::Alarm(alarm)),
                }
            }
            if self.custody.answer(now) {
                idle = false;
            } else if self.custody.begin() {
                effects.push(Effect::Spool);
            }
            if idle {
                return effects;
            }
        }
    }

    fn on_control(&mut self, now: Now, output: ControlOutput, effects: &mut Vec<Effect>) {
        match output {
            ControlOutput::Frame { link, bytes } => {
                if let Some(connection) = self.by_link.get(&link) {
                    effects.push(Effect::Send { connection: *connection, stream: Stream::Control, bytes });
                }
            }
            ControlOutput::Engine { worker, event } => {
                let up = match &event {
                    EngineEvent::LinkUp { link, .. } => Some(*link),
                    _ => None,
                };
                for (at, engine) in self.engines.iter_mut().enumerate() {
                    if worker.is_none_or(|worker| usize::from(worker.0) == at) {
                        engine.handle_event(now, event.clone());
                    }
                }
                if worker.is_none() {
                    self.custody.custody.handle_event(now, event.clone());
                }
                if let Some(link) = up {
                    self.release_early(now, link);
                }
            }
            ControlOutput::Close { link, fault } => self.close(link, fault.to_string(), effects),
            ControlOutput::Alarm(_) => {}
        }
    }

    fn on_engine(&mut self, now: Now, output: EngineOutput, effects: &mut Vec<Effect>) {
        match output {
            EngineOutput::Frame { link, lane, bytes } => {
                if let Some(connection) = self.by_link.get(&link) {
                    effects.push(Effect::Send { connection: *connection, stream: Stream::Lane(lane), bytes });
                }
            }
            EngineOutput::Cross { worker, crossing } if worker.0 == WORKERS => {
                if let Crossing::Entries(onward) = &crossing
                    && self.is_router_link(onward.from_link)
                {
                    effects.push(Effect::Wrong(format!("{} takes custody of what another router sent", self.id)));
                }
                self.custody.custody.handle_crossing(now, crossing);
            }
            EngineOutput::Cross { worker, crossing } => {
                self.engines[usize::from(worker.0)].handle_crossing(now, crossing);
            }
            // Nobody here states that it takes large payloads, so none begins.
            EngineOutput::PayloadEnd { link, label, .. } => panic!("no payload of {link:?} {label:?} ever began"),
            EngineOutput::Close { link, fault } => self.close(link, fault.to_string(), effects),
        }
    }

    fn is_router_link(&self, link: LinkId) -> bool {
        self.by_link.get(&link).and_then(|connection| self.conns.get(connection)).is_some_and(|conn| conn.router)
    }

    fn close(&mut self, link: LinkId, why: String, effects: &mut Vec<Effect>) {
        if let Some(connection) = self.by_link.remove(&link) {
            self.conns.remove(&connection);
            self.control.handle_link_down(link);
            effects.push(Effect::Close { connection, why });
        }
    }

    fn release_early(&mut self, now: Now, link: LinkId) {
        let Some(connection) = self.by_link.get(&link) else { return };
        let Some(conn) = self.conns.get_mut(connection) else { return };
        conn.up = true;
        let worker = conn.worker;
        for (stream, kind, body) in std::mem::take(&mut conn.early) {
            if let Stream::Lane(lane) = stream {
                self.engines[worker].handle_frame(now, link, lane, kind, body);
            }
        }
    }
}
