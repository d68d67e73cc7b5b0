//! One engine on a bench: links and presence by hand, parts signed with the world's keys, outputs sorted by kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::frame::frame_type;
use kernpost_codecs::part::{BundleBuilder, HopHeader, Part};
use kernpost_codecs::receipts::{ReceiptsBuilder, ReceiptsFrame, Subject};
use kernpost_codecs::settlement::{Label, Settle, SettlementFrame};
use kernpost_codecs::{
    Class, Code, EndpointId, FrameDecoder, LaneKind, LinkIdentity, Message, MessageId, Outcome, Party, RouterId, UnixMs,
};
use kernpost_router_core::event::Place;
use kernpost_router_core::{
    Crossing, Engine, EngineConfig, EngineEvent, EngineOutput, LinkId, Now, Peer, PresenceEvent, WorkerId,
};
use kernpost_routing_table::Table;

use crate::world::{World, link_identity};

/// What an engine wrote, decoded.
#[derive(Debug, Default)]
pub struct Written {
    pub parts: Vec<(LinkId, Part)>,
    pub settled: Vec<(LinkId, Label, Code)>,
    pub receipts: Vec<(LinkId, ReceiptsFrame)>,
    pub credit: Vec<(LinkId, Class, u64, u64)>,
    pub crossed: Vec<(WorkerId, Crossing)>,
    pub closed: Vec<(LinkId, String)>,
    /// Label and offset of every WANT.
    pub wants: Vec<(LinkId, Label, u64)>,
    /// Streams to be ended: label, and whether the payload arrives on the link.
    pub ended: Vec<(LinkId, Label, bool)>,
}

impl Written {
    /// Codes of everything settled on a link, in order.
    pub fn codes(&self, link: LinkId) -> Vec<Code> {
        self.settled.iter().filter(|(l, ..)| *l == link).map(|(.., code)| *code).collect()
    }

    /// How many entries were sent on a link.
    pub fn entries_on(&self, link: LinkId) -> usize {
        self.parts.iter().filter(|(l, _)| *l == link).map(|(_, part)| part.entries().len()).sum()
    }
}

/// See the module.
pub struct Rig {
    pub world: World,
    pub table: Arc<Table>,
    pub engine: Engine,
    pub now_ms: u64,
    next_link: u64,
    next_message: u64,
    number: u64,
    granted: BTreeMap<LinkId, (u64, u64)>,
}

impl Rig {
    /// Worker 0 of `de/router/r1`; compile the world before.
    pub fn new(mut world: World, config: impl FnOnce(&mut EngineConfig)) -> Self {
        let table = world.table(1);
        let mut engine_config = EngineConfig::new("de/router/r1".parse().unwrap());
        config(&mut engine_config);
        let engine = Engine::new(engine_config, WorkerId(0), Arc::clone(&table));
        let granted = BTreeMap::new();
        Self { world, table, engine, now_ms: 0, next_link: 0, next_message: 0, number: 0, granted }
    }

    pub fn now(&self) -> Now {
        Now { mono_us: self.now_ms * 1_000, wall: UnixMs(self.world.now.0 + self.now_ms) }
    }

    /// A link to an endpoint side with these endpoints attached.
    pub fn endpoints_link(&mut self, name: &str, endpoints: &[&EndpointId]) -> LinkId {
        let link = self.link_up(Peer::Endpoints(link_identity(name)), WorkerId(0));
        for endpoint in endpoints {
            self.attach(endpoint, &link_identity(name), Place::Here { worker: WorkerId(0), link });
        }
        link
    }

    pub fn router_link(&mut self, router: &RouterId) -> LinkId {
        self.link_up(Peer::Router(router.clone()), WorkerId(0))
    }

    pub fn link_up(&mut self, peer: Peer, worker: WorkerId) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.event(EngineEvent::LinkUp { link, worker, peer });
        // The turn ends: the peer has its first credit before it sends anything.
        self.written();
        link
    }

    pub fn attach(&mut self, endpoint: &EndpointId, identity: &LinkIdentity, place: Place) {
        self.attach_with(endpoint, identity, place, [1; 16]);
    }

    pub fn attach_with(&mut self, endpoint: &EndpointId, identity: &LinkIdentity, place: Place, journal: [u8; 16]) {
        self.number += 1;
        let event = PresenceEvent::Attached {
            endpoint: endpoint.clone(),
            identity: identity.clone(),
            place,
            journal,
            number: self.number,
        };
        self.event(EngineEvent::Presence(event));
    }

    pub fn event(&mut self, event: EngineEvent) {
        self.engine.handle_event(self.now(), event);
    }

    /// The peer of a link grants so many more entries (and plenty of bytes) in every class.
    pub fn grant(&mut self, link: LinkId, entries: u64) -> Written {
        let limit = self.granted.entry(link).or_insert((0, 0));
        limit.0 += entries;
        limit.1 += entries * 70_000;
        let (entries, bytes) = *limit;
        for class in Class::ALL {
            let mut frame = BytesMut::new();
            SettlementFrame::Credit { class, entries, bytes }.encode(&mut frame);
            self.frames(link, LaneKind::Settlement, frame.freeze());
        }
        self.written()
    }

    /// A statement from `sender` for the route key, with `edit` applied.
    pub fn message(&mut self, sender: &EndpointId, route: (&str, &str), edit: impl FnOnce(&mut Message)) -> Message {
        self.next_message += 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.next_message.to_be_bytes());
        let id = MessageId::from_parts(self.now().wall, random);
        let (service, jurisdiction) = (route.0.parse().unwrap(), route.1.parse().unwrap());
        let mut message =
            Message::new(id, sender.clone(), service, jurisdiction, self.now().wall, self.table.version())
                .with_payload(b"application");
        edit(&mut message);
        message
    }

    /// Signs `count` plain messages of one sender as one bundle and lets it arrive.
    pub fn send(&mut self, link: LinkId, sender: &EndpointId, route: (&str, &str), count: usize) -> Written {
        let messages: Vec<Message> = (0..count).map(|_| self.message(sender, route, |_| {})).collect();
        self.send_messages(link, sender, &messages, &HopHeader::default())
    }

    pub fn send_messages(
        &mut self,
        link: LinkId,
        signer: &EndpointId,
        messages: &[Message],
        hop: &HopHeader,
    ) -> Written {
        let bytes = self.bundle(signer, messages, hop);
        self.frames(link, LaneKind::Bundle(messages[0].class), bytes);
        self.written()
    }

    /// These messages as one signed BUNDLE frame.
    pub fn bundle(&self, signer: &EndpointId, messages: &[Message], hop: &HopHeader) -> Bytes {
        let mut builder = BundleBuilder::new();
        for message in messages {
            builder.push(message.encode().into(), Bytes::from_static(b"application"), hop.clone()).unwrap();
        }
        let keys = self.world.all_keys(signer);
        let part = builder.sign(&keys.iter().collect::<Vec<_>>()).unwrap();
        let positions: Vec<usize> = (0..messages.len()).collect();
        let mut bytes = BytesMut::new();
        part.encode_subset(&positions, |at| part.entries()[at].hop.clone(), &mut bytes).unwrap();
        bytes.freeze()
    }

    /// A detached entry whose statement announces a payload of `length` bytes arrives, alone in its bundle.
    pub fn send_detached(&mut self, link: LinkId, sender: &EndpointId, route: (&str, &str), length: u64) -> Written {
        let message = self.message(sender, route, |message| message.payload_len = length);
        let mut builder = BundleBuilder::new();
        let hop = HopHeader { detached: true, ..HopHeader::default() };
        builder.push(message.encode().into(), Bytes::new(), hop.clone()).unwrap();
        let part = builder.sign(&[&self.world.keys[sender]]).unwrap();
        let mut bytes = BytesMut::new();
        part.encode_subset(&[0], |_| hop.clone(), &mut bytes).unwrap();
        self.frames(link, LaneKind::Bundle(message.class), bytes.freeze());
        self.written()
    }

    /// The peer of a link says that it takes payloads of this length.
    pub fn accepts(&mut self, link: LinkId, bytes: u64) {
        self.event(EngineEvent::LargestPayload { link, bytes });
    }

    /// WANT arrives on a link.
    pub fn want(&mut self, link: LinkId, label: Label, offset: u64) -> Written {
        let mut frame = BytesMut::new();
        SettlementFrame::Want { label, offset }.encode(&mut frame);
        self.frames(link, LaneKind::Settlement, frame.freeze());
        self.written()
    }

    /// An unsigned settlement of one label arrives on a link.
    pub fn settle(&mut self, link: LinkId, label: Label, code: Code) -> Written {
        let mut frame = BytesMut::new();
        SettlementFrame::Settle(Settle::new(code, Default::default(), vec![label])).encode(&mut frame);
        self.frames(link, LaneKind::Settlement, frame.freeze());
        self.written()
    }

    /// `issuer` answers every entry of a part that was sent to it as BUNDLE frame `sequence`.
    pub fn answer(&mut self, link: LinkId, issuer: &EndpointId, part: &Part, sequence: u64) -> Written {
        self.answer_with(link, issuer, part, sequence, Outcome::Delivered)
    }

    pub fn answer_with(
        &mut self,
        link: LinkId,
        issuer: &EndpointId,
        part: &Part,
        sequence: u64,
        outcome: Outcome,
    ) -> Written {
        let bytes = self.receipts(issuer, part, sequence, outcome);
        self.frames(link, LaneKind::Settlement, bytes);
        self.written()
    }

    /// The answers of `issuer` to every entry of a part that was sent to it as BUNDLE frame `sequence`, as one RECEIPTS frame.
    pub fn receipts(&self, issuer: &EndpointId, part: &Part, sequence: u64, outcome: Outcome) -> Bytes {
        let mut builder = ReceiptsBuilder::new();
        for entry in part.entries() {
            let message = kernpost_codecs::MessageRef::parse(&entry.statement).unwrap().to_owned();
            let subject = Subject { addressee: &message.sender, message: message.id, leaf: entry.leaf };
            let label = Label { class: message.class, sequence, index: entry.index };
            assert!(builder.push(subject, outcome, 0, None, label));
        }
        let version = self.table.version();
        let keys = self.world.all_keys(issuer);
        let keys: Vec<_> = keys.iter().collect();
        let frame = builder.sign(Party::Endpoint(issuer.clone()), version, self.now().wall, &keys).unwrap();
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        bytes.freeze()
    }

    /// Whole frames arrive on a lane.
    pub fn frames(&mut self, link: LinkId, lane: LaneKind, bytes: Bytes) {
        let mut decoder = FrameDecoder::new();
        decoder.push(bytes);
        while let Some(frame) = decoder.next().unwrap() {
            self.engine.handle_frame(self.now(), link, lane, frame.kind, frame.body);
        }
    }

    /// Time passes and the engine acts on it.
    pub fn pass_ms(&mut self, ms: u64) -> Written {
        self.now_ms += ms;
        self.engine.handle_timeout(self.now());
        self.written()
    }

    /// Everything the engine wants done, and the books must balance.
    pub fn written(&mut self) -> Written {
        let mut outputs = Vec::new();
        self.poll(&mut outputs);
        self.decoded(outputs)
    }

    /// Everything the engine wants done, as it says it.
    pub fn poll(&mut self, outputs: &mut Vec<EngineOutput>) {
        while let Some(output) = self.engine.poll_output() {
            outputs.push(output);
        }
    }

    /// What the engine wanted done, sorted by kind; the books must balance.
    pub fn decoded(&self, outputs: Vec<EngineOutput>) -> Written {
        let mut written = Written::default();
        for output in outputs {
            match output {
                EngineOutput::Frame { link, bytes, .. } => note(&mut written, link, bytes),
                EngineOutput::Cross { worker, crossing } => written.crossed.push((worker, crossing)),
                EngineOutput::PayloadEnd { link, label, incoming } => written.ended.push((link, label, incoming)),
                EngineOutput::Close { link, fault } => written.closed.push((link, fault.to_string())),
            }
        }
        assert!(self.engine.ledger().balanced(), "{:?}", self.engine.ledger());
        written
    }
}

fn note(written: &mut Written, link: LinkId, bytes: Bytes) {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes);
    while let Some(frame) = decoder.next().unwrap() {
        if frame.kind == frame_type::BUNDLE {
            written.parts.push((link, Part::decode(frame.body).unwrap()));
            continue;
        }
        match SettlementFrame::decode(frame.kind, frame.body).unwrap().unwrap() {
            SettlementFrame::Credit { class, entries, bytes } => written.credit.push((link, class, entries, bytes)),
            SettlementFrame::Settle(settle) => {
                written.settled.extend(settle.labels().map(|label| (link, label, settle.code)));
            }
            SettlementFrame::Receipts(frame) => written.receipts.push((link, frame)),
            SettlementFrame::Want { label, offset } => written.wants.push((link, label, offset)),
        }
    }
}
