//! An endpoint process of the simulation: the real core, a journal that survives crashes, and a simple application.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::{EndpointId, FrameDecoder, LaneKind, LinkIdentity, MessageId, RouterId};
use kernpost_endpoint::core::{
    Core, CoreConfig, DeliveryId, DirectoryFrom, Earlier, EndpointSetup, Event, Found, JournalRecord, Limits, Lookup,
    Now, Output, SendOutcome, SessionId, Stream as CoreStream, Ticket,
};
use kernpost_routing_table::Table;

use super::network::{Connection, Stream};
use crate::world::World;

/// What the node wants from the network and the run.
pub enum Effect {
    Send { connection: Connection, stream: Stream, bytes: Bytes },
    Close { connection: Connection, why: String },
    Journal(DeliveryId),
    Deliver(Box<kernpost_endpoint::core::Delivery>),
    Finished(Ticket, Box<SendOutcome>),
    InvalidReceipt(String),
}

struct Conn {
    session: SessionId,
    decoders: BTreeMap<Stream, FrameDecoder>,
    early: Vec<(CoreStream, u64, Bytes)>,
    up: bool,
}

/// What survives a crash.
#[derive(Default)]
pub struct Disk {
    pub journal: BTreeMap<(EndpointId, MessageId), Earlier>,
    pub sent: BTreeSet<(EndpointId, MessageId)>,
}

pub struct EndpointNode {
    pub id: EndpointId,
    pub identity: LinkIdentity,
    pub core: Core,
    pub incarnation: u64,
    pub disk: Disk,
    /// Written, not yet durable: lost by a crash.
    pending: BTreeMap<DeliveryId, JournalRecord>,
    conns: BTreeMap<Connection, Conn>,
    by_session: BTreeMap<SessionId, Connection>,
    next_session: u64,
}

impl EndpointNode {
    pub fn new(
        world: &World,
        id: &EndpointId,
        identity: &LinkIdentity,
        routers: &[RouterId],
        disk: Disk,
        incarnation: u64,
        seed: u64,
    ) -> Self {
        let mut journal = [0; 16];
        journal[..8].copy_from_slice(&seed.to_be_bytes());
        let core = Core::new(CoreConfig {
            endpoints: vec![EndpointSetup { id: id.clone(), keys: vec![world.key(id)] }],
            links: vec![kernpost_endpoint::core::LinkSetup {
                identities: vec![identity.clone()],
                endpoints: vec![0],
                routers: routers.to_vec(),
                largest_bundle: kernpost_codecs::frame::LONGEST_BODY,
            }],
            journal,
            directory: DirectoryFrom::Shell,
            limits: Limits::default(),
            seed,
            software: "simulation".to_owned(),
        });
        Self {
            id: id.clone(),
            identity: identity.clone(),
            core,
            incarnation,
            disk,
            pending: BTreeMap::new(),
            conns: BTreeMap::new(),
            by_session: BTreeMap::new(),
            // Sessions are never reused, also not by a later process: a late event of the old one finds nothing.
            next_session: incarnation << 32,
        }
    }

    pub fn install(&mut self, now: Now, table: &Arc<Table>) -> Vec<Effect> {
        self.core.handle_table(now, Arc::clone(table));
        self.effects(now)
    }

    pub fn connected(&mut self, now: Now, connection: Connection, router: usize) -> Vec<Effect> {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.conns.insert(connection, Conn { session, decoders: BTreeMap::new(), early: Vec::new(), up: false });
        self.by_session.insert(session, connection);
        self.core.handle_link_up(now, session, 0, router);
        self.effects(now)
    }

    pub fn lost(&mut self, now: Now, connection: Connection) -> Vec<Effect> {
        if let Some(conn) = self.conns.remove(&connection) {
            self.by_session.remove(&conn.session);
            self.core.handle_link_down(now, conn.session);
        }
        self.effects(now)
    }

    pub fn arrived(&mut self, now: Now, connection: Connection, stream: Stream, bytes: Bytes) -> Vec<Effect> {
        let Some(conn) = self.conns.get_mut(&connection) else { return Vec::new() };
        let (session, up) = (conn.session, conn.up);
        let decoder = conn.decoders.entry(stream).or_default();
        decoder.push(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next().expect("engines and cores write whole frames") {
            frames.push(frame);
        }
        for frame in frames {
            let stream = core_stream(stream);
            if up || stream == CoreStream::Control {
                self.core.handle_frame(now, session, stream, frame.kind, frame.body);
            } else if let Some(conn) = self.conns.get_mut(&connection) {
                conn.early.push((stream, frame.kind, frame.body));
            }
        }
        self.effects(now)
    }

    pub fn writable(&mut self, now: Now, connection: Connection, stream: Stream) -> Vec<Effect> {
        if let Some(conn) = self.conns.get(&connection) {
            self.core.handle_writable(conn.session, core_stream(stream));
        }
        self.effects(now)
    }

    pub fn woken(&mut self, now: Now) -> Vec<Effect> {
        self.core.handle_timeout(now);
        self.effects(now)
    }

    pub fn verdict(
        &mut self,
        now: Now,
        delivery: DeliveryId,
        verdict: &kernpost_endpoint::core::Verdict,
    ) -> Vec<Effect> {
        self.core.handle_verdict(delivery, verdict);
        self.effects(now)
    }

    /// The fsync of one record is done.
    pub fn journalled(&mut self, now: Now, delivery: DeliveryId) -> Vec<Effect> {
        if let Some(record) = self.pending.remove(&delivery) {
            self.disk.journal.insert((record.sender, record.message), record.verdict);
            self.core.handle_journalled(delivery, true);
        }
        self.effects(now)
    }

    /// Outputs until there are none, then deliveries.
    pub fn effects(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(output) = self.core.poll_output(now) {
            self.on_output(now, output, &mut effects);
        }
        while let Some(delivery) = self.core.poll_delivery() {
            effects.push(Effect::Deliver(Box::new(delivery)));
        }
        effects
    }

    fn on_output(&mut self, now: Now, output: Output, effects: &mut Vec<Effect>) {
        match output {
            Output::Frame { session, stream, bytes } => {
                if let Some(connection) = self.by_session.get(&session) {
                    effects.push(Effect::Send { connection: *connection, stream: wire_stream(stream), bytes });
                }
            }
            Output::Close { session, fault } => {
                if let Some(connection) = self.by_session.remove(&session) {
                    self.conns.remove(&connection);
                    effects.push(Effect::Close { connection, why: fault.to_string() });
                }
            }
            Output::Lookup(lookup) => self.core.handle_found(self.look_up(lookup)),
            Output::Journal(record) => {
                effects.push(Effect::Journal(record.id));
                self.pending.insert(record.id, record);
            }
            Output::Sent { sender, message } => {
                self.disk.sent.insert((sender, message));
            }
            Output::Finished { ticket, outcome } => effects.push(Effect::Finished(ticket, outcome)),
            Output::Event(Event::LinkUp { session, .. }) => self.release_early(now, session),
            Output::Event(Event::InvalidReceipt { why, .. }) => effects.push(Effect::InvalidReceipt(why)),
            // No durable outbox here: what is in custody is open as long as its sender lives.
            Output::Stage { .. } | Output::Store(_) | Output::Accepted { .. } | Output::NotAccepted { .. } => {}
            Output::Event(_) | Output::Verify { .. } | Output::Resolved { .. } => {}
            Output::Payload(order) => panic!("nobody sends large payloads here: {order:?}"),
        }
    }

    fn look_up(&self, lookup: Lookup) -> Found {
        let earlier = self.disk.journal.get(&(lookup.sender, lookup.message)).cloned();
        let solicited = lookup.reply_to.is_none_or(|key| self.disk.sent.contains(&key));
        Found { id: lookup.id, earlier, solicited }
    }

    fn release_early(&mut self, now: Now, session: SessionId) {
        let Some(conn) = self.by_session.get(&session).and_then(|c| self.conns.get_mut(c)) else { return };
        conn.up = true;
        for (stream, kind, body) in std::mem::take(&mut conn.early) {
            self.core.handle_frame(now, session, stream, kind, body);
        }
    }
}

fn core_stream(stream: Stream) -> CoreStream {
    match stream {
        Stream::Control => CoreStream::Control,
        Stream::Lane(LaneKind::Bundle(class)) => CoreStream::Bundle(class),
        Stream::Lane(_) => CoreStream::Settlement,
    }
}

fn wire_stream(stream: CoreStream) -> Stream {
    match stream {
        CoreStream::Control => Stream::Control,
        CoreStream::Bundle(class) => Stream::Lane(LaneKind::Bundle(class)),
        CoreStream::Settlement => Stream::Lane(LaneKind::Settlement),
    }
}
