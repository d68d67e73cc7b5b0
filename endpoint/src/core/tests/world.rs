//! Two cores and a plain relay between them: enough of a router to test the endpoint side alone, in virtual time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::control::{ControlFrame, Hello, Role};
use kernpost_codecs::frame::{FrameDecoder, LONGEST_BODY};
use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_codecs::part::{HopHeader, Part};
use kernpost_codecs::receipts::{ReceiptsFrame, Subject};
use kernpost_codecs::settlement::{Detail, Label, Settle, SettlementFrame};
use kernpost_codecs::{Ars, Code, EndpointId, LinkIdentity, MessageId, RouterId, ServiceKey, UnixMs};
use kernpost_routing_table::model::{EndpointEntry, Grant, KeyEntry, Maintainers, RouteEntry, Scope};
use kernpost_routing_table::{Directory, SerialFloor, Table, TrustAnchor, ZoneSnapshot, snapshot};

use crate::core::PayloadOrder;
use crate::core::*;

pub const START: u64 = 1_800_000_000_000;

/// What the relay does with an entry towards the recipient.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    Forward,
    Refuse(Code),
    Swallow,
}

/// A process: its core, and the journal, clockwork and application around it.
pub struct Process {
    pub core: Core,
    pub session: SessionId,
    pub outcomes: Vec<SendOutcome>,
    pub payloads: Vec<PayloadOrder>,
    pub handed: Vec<Delivery>,
    pub events: Vec<Event>,
    pub journal: BTreeMap<(String, [u8; 16]), Earlier>,
    pub sent: Vec<MessageId>,
    /// Whether another process has every message in hand that is looked up.
    pub elsewhere: bool,
    pub released: Vec<MessageId>,
    pub closed: Option<kernpost_codecs::FrameFault>,
    sequence: [u64; 3],
}

struct Known {
    sender: EndpointId,
    id: MessageId,
    leaf: kernpost_codecs::Digest,
    label: Label,
    session: SessionId,
}

pub struct World {
    pub now: Now,
    pub table: Arc<Table>,
    pub portal: Process,
    pub authority: Process,
    pub relay: Relay,
    /// Entries are relayed, but settlements are lost.
    pub mute: bool,
    pub verdict: Verdict,
    /// Whether the application answers at all.
    pub answers: bool,
    pub recipient: EndpointId,
    /// What stands behind a label towards the recipient: the message, and its label on which of the portal's links.
    up: HashMap<Label, Known>,
    pub frames: usize,
    /// Whether the relay's credit reaches the portal before its hello.
    pub credit_first: bool,
    /// What the relay changes in the recipient's receipts.
    pub tamper: Option<fn(&mut ReceiptsFrame)>,
    next_session: u64,
}

pub fn id(text: &str) -> EndpointId {
    text.parse().unwrap()
}

pub fn service() -> ServiceKey {
    "99050012104000".parse().unwrap()
}

pub fn place() -> Ars {
    "147130000000".parse().unwrap()
}

pub fn keys(algorithm: Algorithm) -> (SigningKey, KeyEntry) {
    let key = SigningKey::generate(algorithm).unwrap();
    let far = UnixMs(START).plus_ms(400 * 86_400_000);
    let entry = KeyEntry {
        key: key.public().clone(),
        not_before: UnixMs(START - 86_400_000),
        sign_until: far,
        verify_until: far.plus_ms(40 * 86_400_000),
        revoked: false,
    };
    (key, entry)
}

pub fn identity(name: &str) -> LinkIdentity {
    format!("uri:spiffe://test/{name}").parse().unwrap()
}

pub fn endpoint(name: &str, key: KeyEntry) -> EndpointEntry {
    EndpointEntry {
        id: id(name),
        keys: vec![key],
        required_algorithms: Vec::new(),
        encryption_keys: Vec::new(),
        identities: vec![identity(name)],
        grants: vec![Grant {
            scope: Scope { service: "99".parse().unwrap(), jurisdiction: "".parse().unwrap() },
            max_assurance: None,
        }],
        reply_grant: Some(true),
        budgets: Default::default(),
    }
}

/// A directory with a portal and two authorities; the first is responsible for everything.
pub struct Parties {
    pub table: Arc<Table>,
    /// The same a serial later, where the other is responsible.
    pub moved: Arc<Table>,
    pub portal: SigningKey,
    /// One key, or one for each of the two algorithms that its entry requires.
    pub authority: Vec<SigningKey>,
    pub other: SigningKey,
}

pub fn parties(serial: u64) -> Parties {
    parties_with(serial, &[Algorithm::Ed25519])
}

/// The same with an authority whose entry requires these algorithms.
pub fn parties_with(serial: u64, required: &[Algorithm]) -> Parties {
    let (portal, portal_entry) = keys(Algorithm::Ed25519);
    let (authority, entries): (Vec<_>, Vec<_>) = required.iter().map(|algorithm| keys(*algorithm)).unzip();
    let (other, other_entry) = keys(Algorithm::Ed25519);
    let authority_entry = entries[0].clone();
    let maintainer = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let mut zone =
        ZoneSnapshot::empty("de".parse().unwrap(), serial, UnixMs(START - 1_000), UnixMs(START).plus_ms(86_400_000));
    zone.endpoints = vec![
        endpoint("de/authority", authority_entry),
        endpoint("de/other", other_entry),
        endpoint("de/portal", portal_entry),
    ];
    zone.endpoints[0].keys = entries;
    zone.endpoints[0].required_algorithms = required.to_vec();
    zone.routes = vec![RouteEntry {
        rule: "all".into(),
        scope: Scope { service: "99".parse().unwrap(), jurisdiction: "".parse().unwrap() },
        valid_from: UnixMs(0),
        valid_until: None,
        endpoints: [id("de/authority")].into(),
        min_assurance: None,
        encryption_required: false,
    }];
    let anchor = TrustAnchor {
        root_zone: "de".parse().unwrap(),
        maintainers: Maintainers { keys: vec![maintainer.public().clone()], threshold: 1 },
        minimum_serial: 0,
    };
    let compiled = |zone: &ZoneSnapshot, generation| {
        let signed = snapshot::sign(zone, &[&maintainer]).unwrap();
        let directory = Directory::verify(&anchor, &[signed], &SerialFloor::new(), UnixMs(START)).unwrap();
        Arc::new(Table::compile(&directory, UnixMs(START), generation).unwrap())
    };
    let table = compiled(&zone, 1);
    zone.serial += 1;
    zone.routes[0].endpoints = [id("de/other")].into();
    let moved = compiled(&zone, 2);
    Parties { table, moved, portal, authority, other }
}

pub fn router() -> RouterId {
    "de/router/a".parse().unwrap()
}

impl Process {
    pub fn new(name: &str, keys: Vec<SigningKey>, table: Arc<Table>, now: Now, largest_bundle: usize) -> Self {
        let mut core = Core::new(CoreConfig {
            endpoints: vec![EndpointSetup { id: id(name), keys }],
            links: vec![LinkSetup {
                identities: vec![identity(name)],
                endpoints: vec![0],
                routers: vec![router()],
                largest_bundle,
            }],
            journal: [7; 16],
            directory: DirectoryFrom::Shell,
            limits: Limits::default(),
            seed: 1,
            software: "test".to_owned(),
        });
        core.handle_table(now, table);
        Self {
            core,
            session: SessionId(0),
            outcomes: Vec::new(),
            payloads: Vec::new(),
            handed: Vec::new(),
            events: Vec::new(),
            journal: BTreeMap::new(),
            sent: Vec::new(),
            elsewhere: false,
            released: Vec::new(),
            closed: None,
            sequence: [0; 3],
        }
    }

    pub fn receive(&mut self, now: Now, stream: Stream, bytes: Bytes) {
        let mut decoder = FrameDecoder::new();
        decoder.push(bytes);
        while let Some(frame) = decoder.next().unwrap() {
            self.core.handle_frame(now, self.session, stream, frame.kind, frame.body);
        }
    }

    fn connect(&mut self, now: Now, session: u64, credit_first: bool) {
        self.session = SessionId(session);
        self.sequence = [0; 3];
        self.core.handle_link_up(now, self.session, 0, 0);
        let hello = ControlFrame::Hello(Hello {
            lowest_version: 1,
            highest_version: 1,
            role: Role::Router(router()),
            clock: now.wall,
            directory: Vec::new(),
            largest_frame_body: 262_144,
            largest_statement: 2_048,
            largest_payload: 65_536,
            software: "relay".to_owned(),
        });
        if !credit_first {
            self.receive(now, Stream::Control, control(&hello));
        }
        for class in kernpost_codecs::Class::ALL {
            let credit = SettlementFrame::Credit { class, entries: 4_096, bytes: 64 << 20 };
            self.receive(now, Stream::Settlement, settlement(&credit));
        }
        if credit_first {
            self.receive(now, Stream::Control, control(&hello));
        }
    }
}

pub fn control(frame: &ControlFrame) -> Bytes {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out.freeze()
}

pub fn settlement(frame: &SettlementFrame) -> Bytes {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out.freeze()
}

impl World {
    pub fn new() -> Self {
        Self::with(parties(1))
    }

    pub fn with(parties: Parties) -> Self {
        Self::over_line(parties, LONGEST_BODY)
    }

    /// As [`World::with`], over a line that carries bundles of so many bytes.
    pub fn over_line(parties: Parties, largest_bundle: usize) -> Self {
        let now = Now { mono_us: 1, wall: UnixMs(START) };
        let portal = Process::new("de/portal", vec![parties.portal], Arc::clone(&parties.table), now, largest_bundle);
        let authority =
            Process::new("de/authority", parties.authority, Arc::clone(&parties.table), now, largest_bundle);
        let mut world = Self {
            now,
            table: parties.table,
            portal,
            authority,
            relay: Relay::Forward,
            mute: false,
            verdict: Verdict::Accept,
            answers: true,
            recipient: id("de/authority"),
            up: HashMap::new(),
            frames: 0,
            credit_first: false,
            tamper: None,
            next_session: 1,
        };
        world.connect_portal();
        world.authority.connect(now, 1_000, false);
        world.run();
        world
    }

    pub fn connect_portal(&mut self) {
        self.portal.connect(self.now, self.next_session, self.credit_first);
        self.next_session += 1;
    }

    pub fn lose_portal_link(&mut self) {
        self.portal.core.handle_link_down(self.now, self.portal.session);
        self.portal.session = SessionId(0);
    }

    pub fn outgoing(&self, n: u8) -> Outgoing {
        let mut message = [n; 16];
        message[6] = 0x70;
        let payload = Bytes::from(format!("application {n}"));
        Outgoing::new(MessageId(message), id("de/portal"), service(), place(), payload)
    }

    pub fn send(&mut self, outgoing: &Outgoing) {
        self.portal.core.handle_send(self.now, outgoing).unwrap();
        self.run();
    }

    /// Lets `ms` pass, stopping at every deadline on the way.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.mono_us + ms * 1_000;
        loop {
            let next =
                [self.portal.core.poll_deadline(), self.authority.core.poll_deadline()].into_iter().flatten().min();
            let at = next.unwrap_or(end).clamp(self.now.mono_us, end);
            self.now = Now { mono_us: at, wall: UnixMs(START + at / 1_000) };
            self.portal.core.handle_timeout(self.now);
            self.authority.core.handle_timeout(self.now);
            self.run();
            if at >= end {
                return;
            }
            self.now.mono_us += 1;
        }
    }

    /// Carries everything until nobody has anything left to say.
    pub fn run(&mut self) {
        loop {
            let portal = self.drain(true);
            let authority = self.drain(false);
            if portal.is_empty() && authority.is_empty() {
                return;
            }
            for (stream, bytes) in portal {
                self.portal_said(stream, bytes);
            }
            for (stream, bytes) in authority {
                self.authority_said(stream, bytes);
            }
        }
    }

    fn drain(&mut self, portal: bool) -> VecDeque<(Stream, Bytes)> {
        let (now, answers, verdict) = (self.now, self.answers, self.verdict.clone());
        let process = if portal { &mut self.portal } else { &mut self.authority };
        let mut frames = VecDeque::new();
        loop {
            let (mut found, mut durable) = (Vec::new(), Vec::new());
            while let Some(output) = process.core.poll_output(now) {
                match output {
                    Output::Frame { session, stream, bytes } => {
                        process.core.handle_writable(session, stream);
                        if session == process.session {
                            frames.push_back((stream, bytes));
                        }
                    }
                    Output::Close { fault, .. } => process.closed = Some(fault),
                    Output::Lookup(lookup) => {
                        let key = (lookup.sender.to_string(), lookup.message.0);
                        let earlier = process.journal.get(&key).cloned();
                        let solicited = lookup.reply_to.is_none_or(|(_, message)| process.sent.contains(&message));
                        found.push(Found { id: lookup.id, earlier, elsewhere: process.elsewhere, solicited });
                    }
                    Output::Journal(record) => {
                        process.journal.insert((record.sender.to_string(), record.message.0), record.verdict);
                        durable.push(record.id);
                    }
                    Output::Payload(order) => process.payloads.push(order),
                    Output::Sent { message, .. } => process.sent.push(message),
                    Output::Finished { outcome, .. } => process.outcomes.push(*outcome),
                    Output::Event(event) => process.events.push(event),
                    Output::Stage { outcome, .. } => panic!("this relay has no custody: {outcome:?}"),
                    Output::Release { message, .. } => process.released.push(message),
                    Output::Store(_) | Output::Accepted { .. } | Output::NotAccepted { .. } => {}
                    Output::Verify { .. } | Output::Resolved { .. } => {}
                }
            }
            let mut idle = found.is_empty() && durable.is_empty();
            found.into_iter().for_each(|found| process.core.handle_found(found));
            durable.into_iter().for_each(|id| process.core.handle_journalled(id, true));
            while let Some(delivery) = process.core.poll_delivery() {
                idle = false;
                if answers {
                    process.core.handle_verdict(delivery.id, &verdict);
                }
                process.handed.push(delivery);
            }
            if idle {
                return frames;
            }
        }
    }

    fn portal_said(&mut self, stream: Stream, bytes: Bytes) {
        let mut decoder = FrameDecoder::new();
        decoder.push(bytes);
        while let Some(frame) = decoder.next().unwrap() {
            match stream {
                Stream::Control => self.answer_attach(true, frame.kind, &frame.body),
                Stream::Settlement => {}
                Stream::Bundle(class) => {
                    self.frames += 1;
                    let sequence = self.portal.sequence[class.index()];
                    self.portal.sequence[class.index()] += 1;
                    let part = Part::decode(frame.body).unwrap();
                    self.relay_part(class, sequence, &part);
                }
            }
        }
    }

    fn relay_part(&mut self, class: kernpost_codecs::Class, sequence: u64, part: &Part) {
        let label = |index| Label { class, sequence, index };
        match self.relay {
            Relay::Swallow => {}
            Relay::Refuse(code) => {
                let labels = part.entries().iter().map(|entry| label(entry.index)).collect();
                let detail = Detail { retry_after_ms: Some(50), ..Detail::default() };
                let settle = SettlementFrame::Settle(Settle::new(code, detail, labels));
                self.portal.receive(self.now, Stream::Settlement, settlement(&settle));
            }
            Relay::Forward => {
                let down = self.authority.sequence[class.index()];
                self.authority.sequence[class.index()] += 1;
                for entry in part.entries() {
                    let message = kernpost_codecs::MessageRef::parse(&entry.statement).unwrap();
                    let known = Known {
                        sender: id(message.sender),
                        id: message.id,
                        leaf: entry.leaf,
                        label: label(entry.index),
                        session: self.portal.session,
                    };
                    self.up.insert(Label { class, sequence: down, index: entry.index }, known);
                }
                let recipient = self.recipient.clone();
                let hop = |position: usize| {
                    let hop = part.entries()[position].hop.clone();
                    HopHeader { hops: 1, recipient: Some(recipient.clone()), ..hop }
                };
                let mut out = BytesMut::new();
                let all: Vec<usize> = (0..part.entries().len()).collect();
                assert_eq!(part.encode_subset(&all, hop, &mut out).unwrap(), all.len());
                self.authority.receive(self.now, Stream::Bundle(class), out.freeze());
            }
        }
    }

    fn authority_said(&mut self, stream: Stream, bytes: Bytes) {
        let mut decoder = FrameDecoder::new();
        decoder.push(bytes);
        while let Some(frame) = decoder.next().unwrap() {
            match stream {
                Stream::Control => self.answer_attach(false, frame.kind, &frame.body),
                Stream::Bundle(_) => {}
                Stream::Settlement => self.relay_settlement(frame.kind, frame.body),
            }
        }
    }

    fn relay_settlement(&mut self, kind: u64, body: Bytes) {
        let out = match SettlementFrame::decode(kind, body).unwrap() {
            Some(SettlementFrame::Settle(settle)) => {
                let labels: Vec<Label> = settle
                    .labels()
                    .filter_map(|label| self.up.get(&label))
                    .filter(|known| known.session == self.portal.session)
                    .map(|known| known.label)
                    .collect();
                if labels.is_empty() {
                    return;
                }
                settlement(&SettlementFrame::Settle(Settle::new(settle.code, settle.detail, labels)))
            }
            Some(SettlementFrame::Receipts(mut frame)) => {
                if let Some(tamper) = self.tamper {
                    tamper(&mut frame);
                }
                let known: Vec<&Known> = frame.entries.iter().map(|entry| self.up.get(&entry.label).unwrap()).collect();
                let subjects: Vec<Subject<'_>> = known
                    .iter()
                    .map(|known| Subject { addressee: &known.sender, message: known.id, leaf: known.leaf })
                    .collect();
                let rebuilt = frame.rebuild(&subjects).unwrap();
                let alive = |position: &usize| known[*position].session == self.portal.session;
                let positions: Vec<usize> = (0..known.len()).filter(alive).collect();
                let labels: Vec<Label> = positions.iter().map(|position| known[*position].label).collect();
                if labels.is_empty() {
                    return;
                }
                let mut out = BytesMut::new();
                rebuilt.encode_subset(&frame, &positions, &labels, &mut out).unwrap();
                out.freeze()
            }
            _ => return,
        };
        if !self.mute {
            self.portal.receive(self.now, Stream::Settlement, out);
        }
    }

    fn answer_attach(&mut self, portal: bool, kind: u64, body: &Bytes) {
        let Some(ControlFrame::Attach { req, .. }) = ControlFrame::decode(kind, body).unwrap() else { return };
        let answer = control(&ControlFrame::Attached { req, code: Code(0), detail: String::new() });
        let process = if portal { &mut self.portal } else { &mut self.authority };
        process.receive(self.now, Stream::Control, answer);
    }

    pub fn outcome(&self) -> (FinalOutcome, Code) {
        let one = self.portal.outcomes.last().expect("no outcome yet");
        (one.outcome, one.code)
    }

    pub fn balanced(&self) -> bool {
        self.portal.core.ledger().balances() && self.authority.core.ledger().balances()
    }
}
