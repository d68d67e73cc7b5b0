//! An endpoint process of the simulation: the real core, a journal that survives crashes, and a simple application.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::{EndpointId, FrameDecoder, LaneKind, LinkIdentity, MessageId, RouterId};
use kernpost_endpoint::core::{
    AcceptRecord, Accepted, Core, CoreConfig, DeliveryId, DirectoryFrom, Earlier, EndpointSetup, Event, FinalOutcome,
    Found, JournalRecord, Limits, Lookup, Now, OutcomeRecord, Output, Place, Recovered, SendError, SendOutcome,
    SessionId, StoreOrder, Stream as CoreStream, Ticket,
};
use kernpost_router_core::mutant::{self, Mutant};
use kernpost_routing_table::Table;

use super::mishap::{Mishap, Mishaps};
use super::network::{Connection, EndpointDiskFault, Stream};
use crate::world::World;

/// What the node wants from the network and the run.
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
    Journal(DeliveryId),
    /// A write to the durable outbox has begun.
    Store(u64),
    /// A message is durable in the outbox.
    Accepted(MessageId),
    NotAccepted(SendError),
    /// The custody of a message no longer counts.
    CustodyLost(MessageId),
    Stage(Box<SendOutcome>),
    /// The order of a case is no longer promised.
    OrderEnded(Vec<u8>),
    /// The outcome of a message that ended is another one now.
    Revised {
        message: MessageId,
        before: FinalOutcome,
        now: FinalOutcome,
    },
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
    pub outbox: BTreeMap<MessageId, Kept>,
    /// It takes no writes until the process is started again.
    failing: Option<EndpointDiskFault>,
    /// What is there after the next start though its write failed.
    journal_though_failed: Vec<JournalRecord>,
    outbox_though_failed: Vec<StoreWrite>,
}

impl Disk {
    pub fn begin_to_fail(&mut self, fault: EndpointDiskFault) {
        self.failing = Some(fault);
    }

    /// The process starts: the disk works again.
    fn mount(&mut self) {
        self.failing = None;
        for record in std::mem::take(&mut self.journal_though_failed) {
            self.journal.insert((record.sender, record.message), record.verdict);
        }
        for write in std::mem::take(&mut self.outbox_though_failed) {
            self.write(write);
        }
    }

    fn write(&mut self, write: StoreWrite) {
        match write {
            StoreWrite::Accept(record) => {
                let kept = Kept { statement: record.statement, payload: record.payload, stage: None, outcome: None };
                self.outbox.insert(record.message, kept);
            }
            StoreWrite::Outcome(record) => {
                let Some(kept) = self.outbox.get_mut(&record.outcome.id) else { return };
                match record.place {
                    Place::Final => kept.outcome = Some(record.outcome),
                    Place::Stage => kept.stage = Some(Box::new(record.outcome)),
                    Place::Contradiction => {}
                }
            }
        }
    }

    /// Whether a write fails now, and is there all the same after the next start.
    fn fails(&mut self) -> Option<bool> {
        let fault = self.failing.as_mut()?;
        Some(std::mem::take(&mut fault.kept))
    }
}

/// A message in the durable outbox.
pub struct Kept {
    pub statement: Bytes,
    pub payload: Bytes,
    /// The last stage.
    pub stage: Option<Box<SendOutcome>>,
    pub outcome: Option<SendOutcome>,
}

/// A write to the durable outbox that is under way.
enum StoreWrite {
    Accept(Box<AcceptRecord>),
    Outcome(Box<OutcomeRecord>),
}

pub struct EndpointNode {
    pub id: EndpointId,
    pub identity: LinkIdentity,
    pub core: Core,
    pub incarnation: u64,
    pub disk: Disk,
    /// Written, not yet durable: lost by a crash.
    pending: BTreeMap<DeliveryId, JournalRecord>,
    /// Likewise, by number.
    writes: BTreeMap<u64, StoreWrite>,
    next_write: u64,
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
        mut disk: Disk,
        incarnation: u64,
        (seed, credit_entries): (u64, u64),
    ) -> Self {
        disk.mount();
        let mut journal = [0; 16];
        journal[..8].copy_from_slice(&seed.to_be_bytes());
        let mut core = Core::new(CoreConfig {
            endpoints: vec![EndpointSetup { id: id.clone(), keys: vec![world.key(id)] }],
            links: vec![kernpost_endpoint::core::LinkSetup {
                identities: vec![identity.clone()],
                endpoints: vec![0],
                routers: routers.to_vec(),
                largest_bundle: kernpost_codecs::frame::LONGEST_BODY,
            }],
            journal,
            directory: DirectoryFrom::Shell,
            limits: Limits { case_hold_ms: CASE_HOLD_MS, credit_entries, ..Limits::default() },
            seed,
            software: "simulation".to_owned(),
        });
        core.keep_durably();
        Self {
            id: id.clone(),
            identity: identity.clone(),
            core,
            incarnation,
            disk,
            pending: BTreeMap::new(),
            writes: BTreeMap::new(),
            next_write: 0,
            conns: BTreeMap::new(),
            by_session: BTreeMap::new(),
            // Sessions are never reused, also not by a later process: a late event of the old one finds nothing.
            next_session: incarnation << 32,
        }
    }

    /// What a process finds in its outbox when it starts.
    pub fn recover(&mut self, now: Now) -> Vec<Effect> {
        for kept in self.disk.outbox.values().filter(|kept| kept.outcome.is_none()) {
            let recovered = Recovered { statement: kept.statement.clone(), file: None, stage: kept.stage.clone() };
            self.core.handle_recovered(now, recovered).expect("a message of this process, once");
        }
        self.effects(now)
    }

    /// A write to the durable outbox is done, or has failed.
    pub fn stored(&mut self, now: Now, number: u64, mishaps: &mut Mishaps) -> Vec<Effect> {
        let Some(write) = self.writes.remove(&number) else { return self.effects(now) };
        let failed = self.disk.fails();
        match &write {
            StoreWrite::Accept(record) if failed.is_some() => {
                mishaps.note(Mishap::OutboxRefused);
                let refused = Accepted::Refused(SendError::Store(FAILED.to_owned()));
                self.core.handle_accepted(now, record.ticket, refused);
            }
            StoreWrite::Accept(record) => self.core.handle_accepted(now, record.ticket, Accepted::Durable),
            StoreWrite::Outcome(record) => {
                if let Some(id) = record.answer {
                    mishaps.add(Mishap::OutboxFailed, u64::from(failed.is_some()));
                    self.core.handle_outcome_stored(now, id, failed.is_none());
                }
            }
        }
        match failed {
            None => self.disk.write(write),
            Some(true) => {
                mishaps.note(Mishap::KeptThoughFailed);
                self.disk.outbox_though_failed.push(write);
            }
            Some(false) => {}
        }
        self.effects(now)
    }

    /// Whether a write of this process is under way.
    pub fn is_writing(&self) -> bool {
        !self.writes.is_empty() || !self.pending.is_empty()
    }

    fn on_store(&mut self, now: Now, order: StoreOrder, effects: &mut Vec<Effect>) {
        let write = match order {
            StoreOrder::Accept(record) if mutant::is(Mutant::OutboxNotDurable) => {
                self.core.handle_accepted(now, record.ticket, Accepted::Durable);
                StoreWrite::Accept(record)
            }
            StoreOrder::Accept(record) => StoreWrite::Accept(record),
            StoreOrder::Outcome(record) => StoreWrite::Outcome(record),
            StoreOrder::Load { ticket, message, .. } => {
                let payload = self.disk.outbox.get(&message).map(|kept| kept.payload.clone());
                return self.core.handle_loaded(now, ticket, payload);
            }
            StoreOrder::Recall { id, message, .. } => {
                let known = self.disk.outbox.get(&message).and_then(|kept| kept.outcome.as_ref());
                return self.core.handle_recalled(now, id, known);
            }
        };
        self.next_write += 1;
        self.writes.insert(self.next_write, write);
        effects.push(Effect::Store(self.next_write));
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

    /// The fsync of one record is done, or has failed.
    pub fn journalled(&mut self, now: Now, delivery: DeliveryId, mishaps: &mut Mishaps) -> Vec<Effect> {
        let Some(record) = self.pending.remove(&delivery) else { return self.effects(now) };
        let failed = self.disk.fails();
        match failed {
            None => drop(self.disk.journal.insert((record.sender, record.message), record.verdict)),
            Some(true) => {
                mishaps.note(Mishap::KeptThoughFailed);
                self.disk.journal_though_failed.push(record);
            }
            Some(false) => {}
        }
        mishaps.add(Mishap::JournalFailed, u64::from(failed.is_some()));
        if !mutant::is(Mutant::ReceiptBeforeJournal) {
            self.core.handle_journalled(delivery, failed.is_none());
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
                let id = record.id;
                effects.push(Effect::Journal(id));
                self.pending.insert(id, record);
                if mutant::is(Mutant::ReceiptBeforeJournal) {
                    self.core.handle_journalled(id, true);
                }
            }
            Output::Sent { sender, message } => {
                self.disk.sent.insert((sender, message));
            }
            Output::Finished { ticket, outcome } => effects.push(Effect::Finished(ticket, outcome)),
            Output::Event(Event::LinkUp { session, .. }) => self.release_early(now, session),
            Output::Event(Event::InvalidReceipt { why, .. }) => effects.push(Effect::InvalidReceipt(why)),
            Output::Store(order) => self.on_store(now, order, effects),
            Output::Accepted { message, .. } => effects.push(Effect::Accepted(message)),
            Output::NotAccepted { error, .. } => effects.push(Effect::NotAccepted(error)),
            Output::Stage { outcome, .. } => effects.push(Effect::Stage(outcome)),
            Output::Event(Event::CustodyLost { message, .. }) => effects.push(Effect::CustodyLost(message)),
            Output::Event(Event::CaseOrderEnded { case, .. }) => effects.push(Effect::OrderEnded(case.to_vec())),
            Output::Event(Event::OutcomeRevised { message, before, now, .. }) => {
                effects.push(Effect::Revised { message, before, now });
            }
            // Nobody shares a journal here.
            Output::Release { .. } => {}
            Output::Event(_) | Output::Verify { .. } | Output::Resolved { .. } => {}
            Output::Payload(order) => panic!("nobody sends large payloads here: {order:?}"),
        }
    }

    fn look_up(&self, lookup: Lookup) -> Found {
        let earlier = self.disk.journal.get(&(lookup.sender, lookup.message)).cloned();
        let earlier = earlier.filter(|_| !mutant::is(Mutant::SkipDeduplication));
        let solicited = lookup.reply_to.is_none_or(|key| self.disk.sent.contains(&key));
        Found { id: lookup.id, elsewhere: false, earlier, solicited }
    }

    fn release_early(&mut self, now: Now, session: SessionId) {
        let Some(conn) = self.by_session.get(&session).and_then(|c| self.conns.get_mut(c)) else { return };
        conn.up = true;
        for (stream, kind, body) in std::mem::take(&mut conn.early) {
            self.core.handle_frame(now, session, stream, kind, body);
        }
    }
}

const FAILED: &str = "the disk takes no writes";
/// Shorter than the default of an hour, so that runs end.
const CASE_HOLD_MS: u64 = 60_000;

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
