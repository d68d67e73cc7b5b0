//! One custody on a bench.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::part::{BundleBuilder, HopHeader, Part};
use kernpost_codecs::receipts::{ReceiptsBuilder, Subject};
use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::{Code, EndpointId, Message, MessageId, Outcome, Party};
use kernpost_router_core::crossing::{Move, Onward, Receipts};
use kernpost_router_core::custody::spool::{Kind, RecordId, SpoolEvent, SpoolIntent, SpoolRead};
use kernpost_router_core::custody::{CUSTODY_LINK, CustodyAlarm, PayloadOrder};
use kernpost_router_core::event::Place;
use kernpost_router_core::{
    Crossing, Custody, CustodyConfig, CustodyOutput, EngineEvent, LinkId, Now, PresenceEvent, RouterSigner, WorkerId,
};
use kernpost_routing_table::Table;
use kernpost_spool::memory_store::{MemoryStore, SimDisk};
use kernpost_spool::{MasterKey, MasterKeys, Space, Spool};
use kernpost_tests::world::{LEIPZIG, Saxony, World, copy_of, link_identity};

pub const DAY_MS: u64 = 86_400_000;
/// The upstream link of everything that is handed over.
const FROM: LinkId = LinkId(7);

/// See the module.
pub struct Bench {
    pub world: World,
    pub table: Arc<Table>,
    pub custody: Custody,
    pub disk: SimDisk,
    pub portal: EndpointId,
    pub city: EndpointId,
    pub land: EndpointId,
    /// What the disk is said to have left.
    pub free_bytes: u64,
    /// What crossed to the worker and was not taken by a method of this bench.
    pub crossed: Vec<Crossing>,
    pub alarms: Vec<CustodyAlarm>,
    pub orders: Vec<PayloadOrder>,
    /// Every record that was asked to be kept.
    pub kept: Vec<(RecordId, Kind)>,
    config: CustodyConfig,
    spool: Option<Spool<MemoryStore>>,
    at_ms: u64,
    tables: u64,
    messages: u64,
    sequence: u64,
    number: u64,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(config: impl FnOnce(&mut CustodyConfig)) -> Self {
        let Saxony { mut world, portal, city, land } = Saxony::new(&["r1"]);
        let table = world.table(1);
        let disk = SimDisk::new(1);
        let mut custody_config = CustodyConfig::new("de/router/r1".parse().unwrap(), 1);
        config(&mut custody_config);
        let now = Now { mono_us: 0, wall: world.now };
        let custody = Custody::new(custody_config.clone(), signer(&world), Arc::clone(&table), now);
        let mut bench = Self {
            world,
            table,
            custody,
            disk,
            portal,
            city,
            land,
            free_bytes: u64::MAX,
            crossed: Vec::new(),
            alarms: Vec::new(),
            orders: Vec::new(),
            kept: Vec::new(),
            config: custody_config,
            spool: None,
            at_ms: 0,
            tables: 1,
            messages: 0,
            sequence: 0,
            number: 0,
        };
        bench.open();
        bench
    }

    pub fn now(&self) -> Now {
        Now { mono_us: self.at_ms * 1_000, wall: self.world.now.plus_ms(self.at_ms) }
    }

    /// The process ends and starts again: what is on the disk stays.
    pub fn restart(&mut self) {
        self.spool = None;
        self.custody = Custody::new(self.config.clone(), signer(&self.world), Arc::clone(&self.table), self.now());
        self.crossed.clear();
        self.open();
    }

    fn open(&mut self) {
        let store = MemoryStore::open(&self.disk).unwrap();
        let masters = MasterKeys::new(MasterKey::new([9; 32].into()), Vec::new());
        let mut next = 0_u8;
        let random = Box::new(move |bytes: &mut [u8]| {
            next = next.wrapping_add(1);
            bytes.fill(next);
        });
        let spool = Spool::open(store, masters, self.now().wall, random).unwrap();
        let started = spool.started();
        self.spool = Some(spool);
        self.answer(started);
        self.run();
    }

    fn answer(&mut self, mut event: SpoolEvent) {
        match &mut event {
            SpoolEvent::Started { totals, .. }
            | SpoolEvent::Committed { totals, .. }
            | SpoolEvent::DueRead { totals, .. } => totals.free_bytes = self.free_bytes,
            _ => {}
        }
        self.custody.handle_spool(self.now(), event);
    }

    /// Everything custody wants now, and what follows from it.
    pub fn run(&mut self) {
        loop {
            let (mut intents, mut reads) = (Vec::new(), Vec::new());
            while let Some(output) = self.custody.poll_output() {
                match output {
                    CustodyOutput::Cross { crossing, .. } => self.crossed.push(crossing),
                    CustodyOutput::Alarm(alarm) => self.alarms.push(alarm),
                    CustodyOutput::Payload(order) => self.orders.push(order),
                    CustodyOutput::Intent(intent) => intents.push(intent),
                    CustodyOutput::Read(read) => reads.push(read),
                }
            }
            if intents.is_empty() && reads.is_empty() {
                assert!(self.custody.ledger().balanced(), "{:?}", self.custody.ledger());
                return;
            }
            for intent in &intents {
                if let SpoolIntent::Keep { record, head, .. } = intent {
                    self.kept.push((*record, head.kind));
                }
            }
            let wall = self.now().wall;
            let spool = self.spool.as_mut().unwrap();
            let mut events = if intents.is_empty() { Vec::new() } else { spool.commit(wall, intents) };
            events.extend(reads.iter().map(|read| spool.read(read)));
            for event in events {
                self.answer(event);
            }
        }
    }

    pub fn event(&mut self, event: EngineEvent) {
        self.custody.handle_event(self.now(), event);
        self.run();
    }

    pub fn cross(&mut self, crossing: Crossing) {
        self.custody.handle_crossing(self.now(), crossing);
        self.run();
    }

    pub fn clock(&mut self, synchronised: bool) {
        self.event(EngineEvent::Clock { synchronised });
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.at_ms += ms;
        self.custody.handle_timeout(self.now());
        self.run();
    }

    pub fn message(&mut self, route: (&str, &str), edit: impl FnOnce(&mut Message)) -> Message {
        self.messages += 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.messages.to_be_bytes());
        let now = self.now().wall;
        let id = MessageId::from_parts(now, random);
        let (service, place) = (route.0.parse().unwrap(), route.1.parse().unwrap());
        let mut message = Message::new(id, self.portal.clone(), service, place, now, self.table.version());
        message = message.with_payload(PAYLOAD);
        edit(&mut message);
        message
    }

    /// These messages as one part of the portal's, for somebody who is not there.
    pub fn part(&mut self, messages: &[Message], hop: &HopHeader) -> Onward {
        let mut builder = BundleBuilder::new();
        for message in messages {
            let payload = if hop.is_bare() { Bytes::new() } else { Bytes::from_static(PAYLOAD) };
            builder.push(message.encode().into(), payload, hop.clone()).unwrap();
        }
        let part = Arc::new(builder.sign(&[&self.world.keys[&self.portal]]).unwrap());
        let step = |(position, message): (usize, &Message)| Move {
            position,
            hop: hop.clone(),
            recipient: self.city.clone(),
            sender: message.sender.clone(),
            message: message.id,
            cost: part.entries()[position].credit(),
            payload_len: message.payload_len,
            custody: true,
            late: false,
        };
        let moves = messages.iter().enumerate().map(step).collect();
        self.sequence += 1;
        Onward {
            moves,
            part,
            from_worker: WorkerId(0),
            from_link: FROM,
            class: messages[0].class,
            sequence: self.sequence,
            target: CUSTODY_LINK,
            deadline_ms: 30_000,
        }
    }

    pub fn hand_over(&mut self, messages: &[Message]) {
        let onward = self.part(messages, &HopHeader::default());
        self.cross(Crossing::Entries(onward));
    }

    /// A message for Leipzig is handed over.
    pub fn hand_over_one(&mut self) -> Message {
        let message = self.message(LEIPZIG, |_| {});
        self.hand_over(std::slice::from_ref(&message));
        message
    }

    /// From now on this endpoint alone is responsible for everything.
    pub fn lead_routes_to(&mut self, endpoint: &EndpointId) {
        self.world.zone.routes.iter_mut().for_each(|route| route.endpoints = [endpoint.clone()].into());
        self.tables += 1;
        self.table = self.world.table(self.tables);
        let table = Arc::clone(&self.table);
        self.event(EngineEvent::Table(table));
    }

    /// Asks for a message; the answer is in what settles next.
    pub fn ask(&mut self, message: &Message) {
        let onward = self.part(std::slice::from_ref(message), &HopHeader { ask: true, ..HopHeader::default() });
        self.cross(Crossing::Entries(onward));
    }

    /// An endpoint comes on this link and grants credit.
    pub fn attach(&mut self, endpoint: &EndpointId, link: LinkId) {
        self.number += 1;
        self.custody.handle_crossing(self.now(), Crossing::Granted { link });
        self.event(EngineEvent::Presence(PresenceEvent::Attached {
            endpoint: endpoint.clone(),
            identity: link_identity("provider"),
            place: Place::Here { worker: WorkerId(0), link },
            journal: [1; 16],
            number: self.number,
        }));
    }

    pub fn detach(&mut self, endpoint: &EndpointId, link: LinkId) {
        self.event(EngineEvent::Presence(PresenceEvent::Detached {
            endpoint: endpoint.clone(),
            identity: link_identity("provider"),
            place: Place::Here { worker: WorkerId(0), link },
            journal: [1; 16],
        }));
    }

    /// What custody sends to links, taken out of what crossed, in order.
    pub fn sent(&mut self) -> Vec<Onward> {
        let (sent, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.crossed)
            .into_iter()
            .partition(|crossing| matches!(crossing, Crossing::Entries(_)));
        self.crossed = rest;
        sent.into_iter()
            .filter_map(|crossing| if let Crossing::Entries(onward) = crossing { Some(onward) } else { None })
            .collect()
    }

    /// How labels of the upstream link settled, taken out of what crossed: outcomes of receipts, else codes.
    pub fn settled(&mut self) -> Vec<Result<Outcome, Code>> {
        let mut settled = Vec::new();
        self.crossed.retain(|crossing| match crossing {
            Crossing::Settled { link: FROM, labels, code, .. } => {
                settled.extend(labels.iter().map(|_| Err(*code)));
                false
            }
            Crossing::Receipts { link: FROM, receipts: Receipts::Whole(frame), .. } => {
                settled.extend(frame.entries.iter().map(|receipt| Ok(receipt.outcome)));
                false
            }
            _ => true,
        });
        settled
    }

    /// The messages of what custody sent.
    pub fn ids(sent: &[Onward]) -> Vec<MessageId> {
        sent.iter().flat_map(|onward| onward.moves.iter().map(|step| step.message)).collect()
    }

    /// `issuer` answers these entries of an attempt.
    pub fn answer_with(&mut self, issuer: &EndpointId, onward: &Onward, which: &[usize], outcome: Outcome) {
        let mut builder = ReceiptsBuilder::new();
        let mut labels = Vec::new();
        for at in which {
            let step = &onward.moves[*at];
            let entry = &onward.part.entries()[step.position];
            let label = Label { class: onward.class, sequence: onward.sequence, index: entry.index };
            let subject = Subject { addressee: &step.sender, message: step.message, leaf: entry.leaf };
            assert!(builder.push(subject, outcome, 0, None, label));
            labels.push(label);
        }
        let key = copy_of(&self.world.keys[issuer]);
        let party = Party::Endpoint(issuer.clone());
        let frame = builder.sign(party, self.table.version(), self.now().wall, &[&key]).unwrap();
        let receipts = Receipts::Whole(Arc::new(frame));
        self.cross(Crossing::Receipts { link: CUSTODY_LINK, receipts, labels });
    }

    /// These entries of an attempt settle without a receipt.
    pub fn settle(&mut self, onward: &Onward, which: &[usize], code: Code) {
        let label = |at: &usize| {
            let index = onward.part.entries()[onward.moves[*at].position].index;
            Label { class: onward.class, sequence: onward.sequence, index }
        };
        let labels = which.iter().map(label).collect();
        self.cross(Crossing::Settled { link: CUSTODY_LINK, labels, code, detail: Detail::default() });
    }

    /// The record as the disk has it: head and part.
    pub fn record(&mut self, record: RecordId) -> Option<(kernpost_router_core::custody::spool::Head, Part)> {
        let read = SpoolRead::Record { ticket: 0, record };
        let SpoolEvent::RecordRead { found, .. } = self.spool.as_mut().unwrap().read(&read) else { unreachable!() };
        let found = found?;
        Some((found.head?, Part::decode(found.body?).unwrap()))
    }

    /// A bit of the index of this record flips.
    pub fn damage_head(&self, record: RecordId) {
        assert!(self.disk.flip_bit(Space::Heads, &record.0.to_be_bytes(), 100));
    }

    pub fn kept_of(&self, kind: Kind) -> Vec<RecordId> {
        self.kept.iter().filter(|(_, held)| *held == kind).map(|(record, _)| *record).collect()
    }

    pub fn pressure(&self) -> Option<u8> {
        self.crossed.iter().rev().find_map(|crossing| match crossing {
            Crossing::Pressure { percent } => Some(*percent),
            _ => None,
        })
    }
}

pub const PAYLOAD: &[u8] = b"application";

fn signer(world: &World) -> RouterSigner {
    let id = "de/router/r1".parse().unwrap();
    let key = copy_of(&world.router_keys[&id]);
    RouterSigner::new(id, vec![key])
}
