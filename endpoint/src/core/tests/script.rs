//! A portal and two scripted routers with custody: the test says what each answers, and sees what the portal sends.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::control::{ControlFrame, Hello, Role};
use kernpost_codecs::frame::{FrameDecoder, LONGEST_BODY};
use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_codecs::part::{BundleBuilder, HopHeader, Part};
use kernpost_codecs::receipts::{ReceiptsBuilder, Subject};
use kernpost_codecs::settlement::{Detail, Label, Settle, SettlementFrame};
use kernpost_codecs::statement::Receipt;
use kernpost_codecs::tree::leaf_hash;
use kernpost_codecs::{Class, Code, MessageId, MessageRef, Outcome, Party, RouterId, UnixMs};
use kernpost_routing_table::model::{Maintainers, RouteEntry, RouterEntry, Scope};
use kernpost_routing_table::{Directory, SerialFloor, Table, TrustAnchor, ZoneSnapshot, snapshot};

use super::world::{START, control, endpoint, id, identity, keys, place, service, settlement};
use crate::core::*;

/// An entry the portal sent.
#[derive(Debug, Clone)]
pub struct Seen {
    pub router: usize,
    session: SessionId,
    pub label: Label,
    pub statement: Bytes,
    pub payload: Bytes,
    pub ask: bool,
    pub redelivered: bool,
}

impl Seen {
    pub fn id(&self) -> MessageId {
        MessageRef::parse(&self.statement).unwrap().id
    }
}

/// What a durable outbox in memory knows.
#[derive(Debug, Clone)]
pub struct Kept {
    pub accept: AcceptRecord,
    pub outcome: Option<(Place, SendOutcome)>,
    pub contradiction: Option<SendOutcome>,
}

pub struct Script {
    pub now: Now,
    pub core: Core,
    pub table: Arc<Table>,
    pub lost_table: Arc<Table>,
    pub seen: VecDeque<Seen>,
    pub stages: Vec<SendOutcome>,
    pub ended: Vec<SendOutcome>,
    pub events: Vec<Event>,
    pub settled: Vec<(Label, Code)>,
    pub handed: usize,
    pub accepted: Vec<MessageId>,
    pub not_accepted: Vec<SendError>,
    /// The durable outbox.
    pub disk: BTreeMap<MessageId, Kept>,
    pub broken_disk: bool,
    routers: Vec<(RouterId, SigningKey)>,
    authority: SigningKey,
    pub other: SigningKey,
    sessions: [Option<SessionId>; 2],
    sequences: HashMap<(SessionId, Class), u64>,
    down: HashMap<SessionId, u64>,
    next_session: u64,
    portal: Vec<u8>,
    stored: bool,
}

pub fn router(n: usize) -> RouterId {
    ["de/router/a", "de/router/b"][n].parse().unwrap()
}

impl Script {
    /// Both routers are connected.
    pub fn new(stored: bool) -> Self {
        let now = Now { mono_us: 1, wall: UnixMs(START) };
        let made: Vec<_> = (0..5).map(|_| keys(Algorithm::Ed25519)).collect();
        let maintainer = SigningKey::generate(Algorithm::Ed25519).unwrap();
        let table = |serial: u64, lost: bool| {
            let mut zone = ZoneSnapshot::empty(
                "de".parse().unwrap(),
                serial,
                UnixMs(START - 1_000),
                UnixMs(START).plus_ms(100 * 86_400_000),
            );
            zone.endpoints = vec![
                endpoint("de/authority", made[2].1.clone()),
                endpoint("de/other", made[4].1.clone()),
                endpoint("de/portal", made[3].1.clone()),
            ];
            zone.routers = (0..2)
                .map(|n| RouterEntry {
                    id: router(n),
                    identities: vec![identity(&format!("router-{n}"))],
                    addresses: vec!["[::1]:7070".to_owned()],
                    keys: vec![made[n].1.clone()],
                    lost: lost && n == 0,
                })
                .collect();
            zone.routes = vec![RouteEntry {
                rule: "all".into(),
                scope: Scope { service: "99".parse().unwrap(), jurisdiction: "".parse().unwrap() },
                valid_from: UnixMs(0),
                valid_until: None,
                endpoints: [id("de/authority")].into(),
                min_assurance: None,
                encryption_required: false,
            }];
            let signed = snapshot::sign(&zone, &[&maintainer]).unwrap();
            let anchor = TrustAnchor {
                root_zone: "de".parse().unwrap(),
                maintainers: Maintainers { keys: vec![maintainer.public().clone()], threshold: 1 },
                minimum_serial: 0,
            };
            let directory = Directory::verify(&anchor, &[signed], &SerialFloor::new(), UnixMs(START)).unwrap();
            Arc::new(Table::compile(&directory, UnixMs(START), serial).unwrap())
        };
        let (table, lost_table) = (table(1, false), table(2, true));
        let mut made = made.into_iter().map(|(key, _)| key);
        let routers = vec![(router(0), made.next().unwrap()), (router(1), made.next().unwrap())];
        let authority = made.next().unwrap();
        let portal = made.next().unwrap().to_pkcs8_der().unwrap().to_vec();
        let core = Self::process(now, &portal, &table, stored);
        let mut script = Self {
            now,
            core,
            table,
            lost_table,
            seen: VecDeque::new(),
            stages: Vec::new(),
            ended: Vec::new(),
            events: Vec::new(),
            settled: Vec::new(),
            handed: 0,
            accepted: Vec::new(),
            not_accepted: Vec::new(),
            disk: BTreeMap::new(),
            broken_disk: false,
            routers,
            authority,
            other: made.next().unwrap(),
            sessions: [None; 2],
            sequences: HashMap::new(),
            down: HashMap::new(),
            next_session: 1,
            portal,
            stored,
        };
        script.connect(0);
        script.connect(1);
        script
    }

    fn process(now: Now, portal: &[u8], table: &Arc<Table>, stored: bool) -> Core {
        let mut core = Core::new(CoreConfig {
            endpoints: vec![EndpointSetup {
                id: id("de/portal"),
                keys: vec![SigningKey::from_pkcs8_der(portal).unwrap()],
            }],
            links: vec![LinkSetup {
                identities: vec![identity("de/portal")],
                endpoints: vec![0],
                routers: vec![router(0), router(1)],
                largest_bundle: LONGEST_BODY,
            }],
            journal: [7; 16],
            directory: DirectoryFrom::Shell,
            limits: Limits::default(),
            seed: 1,
            software: "test".to_owned(),
        });
        if stored {
            core.keep_durably();
        }
        core.handle_table(now, Arc::clone(table));
        core
    }

    /// The process dies and another one starts over the same durable outbox.
    pub fn restart(&mut self) {
        self.core = Self::process(self.now, &self.portal, &self.table, self.stored);
        self.sessions = [None; 2];
        self.seen.clear();
        for kept in self.disk.values() {
            let stage = match &kept.outcome {
                Some((Place::Final, _)) => continue,
                stage => stage.as_ref().map(|(_, outcome)| Box::new(outcome.clone())),
            };
            let recovered = Recovered { statement: kept.accept.statement.clone(), file: None, stage };
            self.core.handle_recovered(self.now, recovered).unwrap();
        }
        self.connect(0);
        self.connect(1);
    }

    pub fn stored(&self) -> bool {
        self.stored
    }

    pub fn connect(&mut self, router: usize) {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions[router] = Some(session);
        self.core.handle_link_up(self.now, session, 0, router);
        let hello = ControlFrame::Hello(Hello {
            lowest_version: 1,
            highest_version: 1,
            role: Role::Router(self.routers[router].0.clone()),
            clock: self.now.wall,
            directory: Vec::new(),
            largest_frame_body: 262_144,
            largest_statement: 2_048,
            largest_payload: 65_536,
            software: "script".to_owned(),
        });
        self.receive(session, Stream::Control, control(&hello));
        for class in Class::ALL {
            let credit = SettlementFrame::Credit { class, entries: 4_096, bytes: 64 << 20 };
            self.receive(session, Stream::Settlement, settlement(&credit));
        }
        self.run();
    }

    pub fn disconnect(&mut self, router: usize) {
        if let Some(session) = self.sessions[router].take() {
            self.core.handle_link_down(self.now, session);
        }
        self.run();
    }

    fn receive(&mut self, session: SessionId, stream: Stream, bytes: Bytes) {
        let mut decoder = FrameDecoder::new();
        decoder.push(bytes);
        while let Some(frame) = decoder.next().unwrap() {
            self.core.handle_frame(self.now, session, stream, frame.kind, frame.body);
        }
    }

    pub fn outgoing(&self, n: u8) -> Outgoing {
        let mut message = [n; 16];
        message[6] = 0x70;
        Outgoing::new(MessageId(message), id("de/portal"), service(), place(), Bytes::from(format!("message {n}")))
    }

    pub fn send(&mut self, n: u8) -> Ticket {
        let outgoing = self.outgoing(n);
        self.send_this(&outgoing)
    }

    pub fn send_in_case(&mut self, n: u8) -> Ticket {
        let outgoing = Outgoing { case: Some(Bytes::from_static(b"case")), ..self.outgoing(n) };
        self.send_this(&outgoing)
    }

    pub fn send_this(&mut self, outgoing: &Outgoing) -> Ticket {
        let ticket = self.core.handle_send(self.now, outgoing).unwrap();
        self.run();
        ticket
    }

    /// The next entry the portal sent.
    pub fn next(&mut self) -> Seen {
        self.seen.pop_front().expect("the portal sent nothing")
    }

    pub fn settle(&mut self, seen: &Seen, code: Code) {
        let detail = Detail { retry_after_ms: Some(10), ..Detail::default() };
        let settle = SettlementFrame::Settle(Settle::new(code, detail, vec![seen.label]));
        self.receive(seen.session, Stream::Settlement, settlement(&settle));
        self.run();
    }

    /// A receipt for the label, by the router it was sent to, or by the authority.
    pub fn receipt(&mut self, seen: &Seen, outcome: Outcome) {
        let message = MessageRef::parse(&seen.statement).unwrap();
        let addressee = id(message.sender);
        let subject = Subject { addressee: &addressee, message: message.id, leaf: leaf_hash(&seen.statement) };
        let mut builder = ReceiptsBuilder::new();
        assert!(builder.push(subject, outcome, 0, None, seen.label));
        let (issuer, key) = self.issuer(outcome, seen.router);
        let frame = builder.sign(issuer, self.table.version(), self.now.wall, &[key]).unwrap();
        self.receive(seen.session, Stream::Settlement, settlement(&SettlementFrame::Receipts(frame)));
        self.run();
    }

    fn issuer(&self, outcome: Outcome, router: usize) -> (Party, &SigningKey) {
        if outcome.is_by_recipient() {
            return (id("de/authority").into(), &self.authority);
        }
        let (id, key) = &self.routers[router];
        (id.clone().into(), key)
    }

    pub fn router_key(&self, router: usize) -> SigningKey {
        SigningKey::from_pkcs8_der(&self.routers[router].1.to_pkcs8_der().unwrap()).unwrap()
    }

    /// The statement of a receipt about a message.
    pub fn receipt_about(&self, statement: &Bytes, outcome: Outcome, router: usize) -> Receipt {
        let message = MessageRef::parse(statement).unwrap();
        Receipt {
            message: message.id,
            issuer: self.issuer(outcome, router).0,
            addressee: id(message.sender),
            subject: leaf_hash(statement),
            outcome,
            code: 0,
            problem: None,
            directory_version: self.table.version(),
            time: self.now.wall,
        }
    }

    /// A late receipt over a router's link, under its issuer's root; gives what it was settled with, if it was.
    pub fn late(&mut self, statement: &Bytes, outcome: Outcome, router: usize) -> Option<Code> {
        let receipt = self.receipt_about(statement, outcome, router);
        let key = self.issuer(outcome, router).1.to_pkcs8_der().unwrap();
        let key = SigningKey::from_pkcs8_der(&key).unwrap();
        self.deliver(&receipt.encode().into(), &key, router)
    }

    /// An entry under this key's root to the portal, over a router's link; gives what it was settled with, if it was.
    pub fn deliver(&mut self, statement: &Bytes, key: &SigningKey, router: usize) -> Option<Code> {
        self.deliver_all(&[(statement.clone(), Bytes::new())], key, router).pop()
    }

    pub fn deliver_all(&mut self, entries: &[(Bytes, Bytes)], key: &SigningKey, router: usize) -> Vec<Code> {
        let session = self.sessions[router].expect("connected");
        let hop = HopHeader { hops: 1, recipient: Some(id("de/portal")), ..HopHeader::default() };
        let mut builder = BundleBuilder::new();
        for (statement, payload) in entries {
            builder.push(statement.clone(), payload.clone(), HopHeader::default()).unwrap();
        }
        let part = builder.sign(&[key]).unwrap();
        let mut out = BytesMut::new();
        let all: Vec<usize> = (0..entries.len()).collect();
        assert_eq!(part.encode_subset(&all, |_| hop.clone(), &mut out).unwrap(), entries.len());
        let sequence = self.down.entry(session).or_default();
        let (class, used) = (Class::Interactive, *sequence);
        *sequence += 1;
        self.receive(session, Stream::Bundle(class), out.freeze());
        self.run();
        let of = |index| {
            let label = Label { class, sequence: used, index };
            self.settled.iter().find(|(settled, _)| *settled == label).map(|(_, code)| *code)
        };
        (0..u16::try_from(entries.len()).unwrap()).filter_map(of).collect()
    }

    pub fn pass(&mut self, ms: u64) {
        let end = self.now.mono_us + ms * 1_000;
        loop {
            let at = self.core.poll_deadline().unwrap_or(end).clamp(self.now.mono_us, end);
            self.now = Now { mono_us: at, wall: UnixMs(START + at / 1_000) };
            self.core.handle_timeout(self.now);
            self.run();
            if at >= end {
                return;
            }
            self.now.mono_us += 1;
        }
    }

    pub fn run(&mut self) {
        while let Some(output) = self.core.poll_output(self.now) {
            match output {
                Output::Frame { session, stream, bytes } => {
                    self.core.handle_writable(session, stream);
                    self.said(session, stream, bytes);
                }
                Output::Store(order) => self.store(order),
                Output::Stage { outcome, .. } => self.stages.push(*outcome),
                Output::Finished { outcome, .. } => self.ended.push(*outcome),
                Output::Accepted { message, .. } => self.accepted.push(message),
                Output::NotAccepted { error, .. } => self.not_accepted.push(error),
                Output::Event(event) => self.events.push(event),
                Output::Close { fault, .. } => panic!("closed: {fault}"),
                _ => {}
            }
        }
        while self.core.poll_delivery().is_some() {
            self.handed += 1;
        }
    }

    fn store(&mut self, order: StoreOrder) {
        match order {
            StoreOrder::Accept(_) if self.broken_disk => {}
            StoreOrder::Accept(record) => {
                let ticket = record.ticket;
                let kept = Kept { accept: *record, outcome: None, contradiction: None };
                self.disk.insert(kept.accept.message, kept);
                self.core.handle_accepted(self.now, ticket, Accepted::Durable);
            }
            StoreOrder::Outcome(record) => {
                if let Some(kept) = self.disk.get_mut(&record.outcome.id).filter(|_| !self.broken_disk) {
                    match record.place {
                        Place::Contradiction => kept.contradiction = Some(record.outcome),
                        place => kept.outcome = Some((place, record.outcome)),
                    }
                }
                if let Some(id) = record.answer {
                    self.core.handle_outcome_stored(self.now, id, !self.broken_disk);
                }
            }
            StoreOrder::Load { ticket, message, .. } => {
                let payload = self.disk.get(&message).map(|kept| kept.accept.payload.clone());
                self.core.handle_loaded(self.now, ticket, payload);
            }
            StoreOrder::Recall { id, message, .. } => {
                let known = self.disk.get(&message).and_then(|kept| kept.outcome.clone());
                self.core.handle_recalled(self.now, id, known.map(|(_, outcome)| outcome).as_ref());
            }
        }
    }

    fn said(&mut self, session: SessionId, stream: Stream, bytes: Bytes) {
        let mut decoder = FrameDecoder::new();
        decoder.push(bytes);
        while let Some(frame) = decoder.next().unwrap() {
            match stream {
                Stream::Control => {
                    if let Some(ControlFrame::Attach { req, .. }) =
                        ControlFrame::decode(frame.kind, &frame.body).unwrap()
                    {
                        let answer = ControlFrame::Attached { req, code: Code(0), detail: String::new() };
                        self.receive(session, Stream::Control, control(&answer));
                    }
                }
                Stream::Settlement => {
                    if let Some(SettlementFrame::Settle(settle)) =
                        SettlementFrame::decode(frame.kind, frame.body).unwrap()
                    {
                        self.settled.extend(settle.labels().map(|label| (label, settle.code)));
                    }
                }
                Stream::Bundle(class) => self.sent(session, class, frame.body),
            }
        }
    }

    fn sent(&mut self, session: SessionId, class: Class, body: Bytes) {
        let sequence = self.sequences.entry((session, class)).or_default();
        let used = *sequence;
        *sequence += 1;
        let router = self.sessions.iter().position(|one| *one == Some(session)).expect("a link that is up");
        let part = Part::decode(body).unwrap();
        let mut cases = BTreeSet::new();
        for entry in part.entries() {
            let message = MessageRef::parse(&entry.statement).unwrap();
            if let Some(case) = message.case {
                assert!(cases.insert(case.to_vec()), "a case has two entries in one bundle");
            }
            self.seen.push_back(Seen {
                router,
                session,
                label: Label { class, sequence: used, index: entry.index },
                statement: entry.statement.clone(),
                payload: entry.payload.clone(),
                ask: entry.hop.ask,
                redelivered: entry.hop.redelivered,
            });
        }
    }

    pub fn last_stage(&self) -> (FinalOutcome, Option<String>) {
        let one = self.stages.last().expect("no stage yet");
        (one.outcome, one.issuer.as_ref().map(ToString::to_string))
    }

    pub fn end(&self) -> FinalOutcome {
        self.ended.last().expect("no outcome yet").outcome
    }
}
