//! A router process of the simulation: one control side, two engines, and the plumbing that the shell does for real.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::{Digest, DirectoryVersion, FrameDecoder, LinkIdentity, RouterId, ZoneVersion};
use kernpost_router_core::control::SnapshotSource;
use kernpost_router_core::{
    Control, ControlConfig, ControlOutput, Engine, EngineConfig, EngineEvent, EngineOutput, Ledger, LinkId, Now,
    WorkerId,
};
use kernpost_routing_table::Table;

use super::network::{Connection, Stream};

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
    Send { connection: Connection, stream: Stream, bytes: Bytes },
    Close { connection: Connection, why: String },
}

struct Conn {
    link: LinkId,
    worker: usize,
    decoders: BTreeMap<Stream, FrameDecoder>,
    /// Frames of lanes that arrived before this side's hello was done.
    early: Vec<(Stream, u64, Bytes)>,
    up: bool,
}

pub struct RouterNode {
    pub id: RouterId,
    pub control: Control,
    pub engines: Vec<Engine>,
    pub incarnation: u64,
    conns: BTreeMap<Connection, Conn>,
    by_link: BTreeMap<LinkId, Connection>,
    next_link: u64,
}

impl RouterNode {
    pub fn new(id: RouterId, table: &Arc<Table>, workers: u16, incarnation: u64) -> Self {
        let engines = (0..workers)
            .map(|worker| {
                let config = EngineConfig { workers, ..EngineConfig::new(id.clone()) };
                Engine::new(config, WorkerId(worker), Arc::clone(table))
            })
            .collect();
        let control = Control::new(ControlConfig::new(id.clone(), workers), Arc::clone(table), Arc::new(NoSnapshots));
        Self { id, control, engines, incarnation, conns: BTreeMap::new(), by_link: BTreeMap::new(), next_link: 0 }
    }

    /// The books of all engines together.
    pub fn ledger(&self) -> Ledger {
        self.engines.iter().map(Engine::ledger).fold(Ledger::default(), |sum, ledger| sum.plus(&ledger))
    }

    pub fn connected(&mut self, now: Now, connection: Connection, identities: &[LinkIdentity]) -> Vec<Effect> {
        let link = LinkId(self.next_link);
        let worker = (self.next_link % self.engines.len() as u64) as usize;
        self.next_link += 1;
        let conn = Conn { link, worker, decoders: BTreeMap::new(), early: Vec::new(), up: false };
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
        self.effects(now)
    }

    pub fn publish(&mut self, now: Now, table: &Arc<Table>) -> Vec<Effect> {
        self.control.handle_table(now, Arc::clone(table));
        self.effects(now)
    }

    pub fn deadline(&self) -> Option<u64> {
        let engines = self.engines.iter().filter_map(Engine::poll_deadline);
        engines.chain(self.control.poll_deadline()).min()
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
            EngineOutput::Cross { worker, crossing } => {
                self.engines[usize::from(worker.0)].handle_crossing(now, crossing);
            }
            // Nobody here states that it takes large payloads, so none begins.
            EngineOutput::PayloadEnd { link, label, .. } => panic!("no payload of {link:?} {label:?} ever began"),
            EngineOutput::Close { link, fault } => self.close(link, fault.to_string(), effects),
        }
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
