//! One link seen from its dialling side (WIRE 12).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::frame::{encode_frame, frame_type};
use kernpost_codecs::{
    AttachToken, Attachment, Class, CloseCode, Code, ControlFrame, DirectoryVersion, EndpointId, Hello, Label,
    LinkIdentity, Message, MessageId, MessageRef, Outcome, Part, PayloadHead, ReceiptsBuilder, ReceiptsFrame, Role,
    RouterId, Settle, SettlementFrame, SigningKey, Subject, varint,
};
use quinn::{Connection, ConnectionError, SendStream};

use super::reading::{self, Arrival, FrameStream, Inbox};
use super::settled::{Receipt, Settled};
use super::{RawBundle, dial, within};
use crate::process::wall;

/// Credit granted at hello, per class: entries and bytes.
const FIRST_CREDIT: (u64, u64) = (4_096, 16 << 20);

/// An endpoint's id and key.
#[derive(Debug)]
pub struct Signer {
    /// Its id.
    pub id: EndpointId,
    /// Its key.
    pub key: SigningKey,
}

impl Signer {
    /// A message of this sender with a new id, created now.
    pub fn message(&self, service: &str, jurisdiction: &str, version: DirectoryVersion) -> Message {
        let id = MessageId(rand::random());
        let (service, jurisdiction) = (service.parse().unwrap(), jurisdiction.parse().unwrap());
        Message::new(id, self.id.clone(), service, jurisdiction, wall(), version)
    }
}

/// A frame sent: its labels are (class, sequence, index).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The lane.
    pub class: Class,
    /// Its sequence there.
    pub sequence: u64,
}

impl Sent {
    /// The label of one entry.
    pub fn label(self, index: u16) -> Label {
        Label { class: self.class, sequence: self.sequence, index }
    }
}

/// A link after hello.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub connection: Connection,
    /// The router's hello.
    pub hello: Hello,
    identity: LinkIdentity,
    control: SendStream,
    settlement: SendStream,
    lanes: [Option<SendStream>; 3],
    sequences: [u64; 3],
    spent: [(u64, u64); 3],
    granted: [(u64, u64); 3],
    inbox: Inbox,
    passed_over: VecDeque<ControlFrame>,
    /// Message ids, senders and leaves of what was sent, for rebuilding receipts.
    sent: HashMap<Label, (EndpointId, MessageId, kernpost_codecs::Digest)>,
    settled: HashMap<Label, Settled>,
    wants: VecDeque<(Label, u64)>,
    requests: u64,
}

/// This side's hello.
pub fn hello(role: Role) -> Hello {
    Hello {
        lowest_version: 1,
        highest_version: 1,
        role,
        clock: wall(),
        directory: Vec::new(),
        largest_frame_body: 262_144,
        largest_statement: 1_024,
        largest_payload: 65_536,
        software: "wire client".to_owned(),
    }
}

/// Getting there.
impl Link {
    /// Dials, exchanges hello, opens the settlement lane and grants credit for every class.
    pub async fn open(tls: rustls::ClientConfig, to: SocketAddr, identity: LinkIdentity, role: Role) -> Self {
        let connection = within("the handshake", dial(tls, to)).await.unwrap();
        Self::greet(connection, identity, hello(role)).await
    }

    /// Hello and settlement lane on a new connection.
    pub async fn greet(connection: Connection, identity: LinkIdentity, hello: Hello) -> Self {
        let (mut control, control_in) = connection.open_bi().await.unwrap();
        let mut frame = BytesMut::new();
        ControlFrame::Hello(hello).encode(&mut frame);
        control.write_all(&frame).await.unwrap();
        let mut inbox = reading::start(&connection, control_in);
        let first = within("the router's hello", inbox.control.recv()).await;
        let Some(ControlFrame::Hello(hello)) = first else {
            panic!("instead of a hello: {first:?}, {:?}", connection.close_reason());
        };
        let settlement = open_kind(&connection, 3).await;
        let mut link = Self {
            connection,
            hello,
            identity,
            control,
            settlement,
            lanes: [None, None, None],
            sequences: [0; 3],
            spent: [(0, 0); 3],
            granted: [(0, 0); 3],
            inbox,
            passed_over: VecDeque::new(),
            sent: HashMap::new(),
            settled: HashMap::new(),
            wants: VecDeque::new(),
            requests: 0,
        };
        for class in Class::ALL {
            link.grant(class, FIRST_CREDIT.0, FIRST_CREDIT.1).await;
        }
        link
    }

    /// The directory version the router stated.
    pub fn version(&self) -> DirectoryVersion {
        DirectoryVersion::of(&self.hello.directory)
    }

    /// The router's id.
    pub fn router(&self) -> RouterId {
        match &self.hello.role {
            Role::Router(router) => router.clone(),
            Role::Endpoint => panic!("the other side is no router"),
        }
    }

    /// What a good attach token of this link says.
    pub fn attachment(&self, endpoint: &EndpointId) -> Attachment {
        Attachment {
            endpoint: endpoint.clone(),
            router: self.router(),
            identity: self.identity.clone(),
            epoch: wall().0 * 1_000 + u64::from(rand::random::<u16>() % 1_000),
            expires: wall().plus_ms(3_600_000),
            journal: rand::random(),
        }
    }

    /// Attaches an endpoint; panics when that is refused.
    pub async fn attach(&mut self, signer: &Signer) -> Attachment {
        let attachment = self.attachment(&signer.id);
        let code = self.try_attach(&attachment, &signer.key).await;
        assert_eq!(code, Code(0), "attaching {}", signer.id);
        attachment
    }

    /// Asks to attach with this token; 0 is attached.
    pub async fn try_attach(&mut self, attachment: &Attachment, key: &SigningKey) -> Code {
        self.try_token(AttachToken::sign(attachment, &[key]).unwrap()).await
    }

    /// Asks to attach with these bytes as token.
    pub async fn try_token(&mut self, token: Bytes) -> Code {
        self.requests += 1;
        match self.ask(&ControlFrame::Attach { req: self.requests, token }).await {
            ControlFrame::Attached { req, code, .. } if req == self.requests => code,
            other => panic!("the answer to ATTACH is {other:?}"),
        }
    }
}

/// The control stream.
impl Link {
    /// Sends a control frame.
    pub async fn tell(&mut self, frame: &ControlFrame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.raw_control(&bytes).await;
    }

    /// Sends a control frame and waits for an answer of the kind that answers it.
    pub async fn ask(&mut self, frame: &ControlFrame) -> ControlFrame {
        self.tell(frame).await;
        let answer = frame.kind() + 1;
        self.control_frame(|frame| frame.kind() == answer).await
    }

    /// The next control frame that satisfies `wanted`; others are kept.
    pub async fn control_frame(&mut self, wanted: impl Fn(&ControlFrame) -> bool) -> ControlFrame {
        if let Some(at) = self.passed_over.iter().position(&wanted) {
            return self.passed_over.remove(at).unwrap();
        }
        loop {
            let next = within("a control frame", self.inbox.control.recv()).await;
            let frame = next.unwrap_or_else(|| panic!("the link ended: {:?}", self.connection.close_reason()));
            if wanted(&frame) {
                return frame;
            }
            self.passed_over.push_back(frame);
        }
    }

    /// Proves that the link is alive: PING and its PONG.
    pub async fn ping(&mut self) {
        let nonce = rand::random::<u32>().into();
        let answer = self.ask(&ControlFrame::Ping { nonce }).await;
        assert!(matches!(answer, ControlFrame::Pong { nonce: echoed, .. } if echoed == nonce));
    }
}

/// Sending.
impl Link {
    /// Sends a bundle on the interactive lane, waiting for credit.
    pub async fn send(&mut self, bundle: &RawBundle) -> Sent {
        self.send_on(Class::Interactive, bundle).await
    }

    /// Sends a bundle on a lane, waiting for credit.
    pub async fn send_on(&mut self, class: Class, bundle: &RawBundle) -> Sent {
        let (entries, bytes) = bundle.cost();
        let (spent_entries, spent_bytes) = self.spent[class.index()];
        let needed = (spent_entries + entries, spent_bytes + bytes);
        let enough = self.inbox.limits.wait_for(|limits| {
            let (entries, bytes) = limits[class.index()];
            entries >= needed.0 && bytes >= needed.1
        });
        within("credit", enough).await.expect("the router grants credit");
        self.send_beyond_credit(class, bundle).await
    }

    /// Sends a bundle whatever the router granted.
    pub async fn send_beyond_credit(&mut self, class: Class, bundle: &RawBundle) -> Sent {
        let (entries, bytes) = bundle.cost();
        let spent = &mut self.spent[class.index()];
        (spent.0, spent.1) = (spent.0 + entries, spent.1 + bytes);
        let body = bundle.body();
        let sent = Sent { class, sequence: self.sequences[class.index()] };
        self.sequences[class.index()] += 1;
        self.remember(sent, &body);
        let mut frame = BytesMut::new();
        encode_frame(frame_type::BUNDLE, &body, &mut frame);
        self.raw_bundle_lane(class, &frame).await;
        sent
    }

    fn remember(&mut self, sent: Sent, body: &[u8]) {
        let part = Part::decode(Bytes::copy_from_slice(body)).ok();
        for entry in part.iter().flat_map(Part::entries) {
            if let Ok(message) = MessageRef::parse(&entry.statement) {
                let subject = (message.sender.parse().unwrap(), message.id, entry.leaf);
                self.sent.insert(sent.label(entry.index), subject);
            }
        }
    }

    /// What became of one entry.
    pub async fn outcome(&mut self, label: Label) -> Settled {
        loop {
            if let Some(settled) = self.settled.get(&label) {
                return settled.clone();
            }
            let frame = within(&format!("a settlement for {label:?}"), self.inbox.settlements.recv()).await;
            self.take_settlement(frame.unwrap_or_else(|| panic!("lost: {:?}", self.connection.close_reason())));
        }
    }

    /// Sends one bundle and says what became of each entry, in order.
    pub async fn outcomes(&mut self, bundle: &RawBundle) -> Vec<Settled> {
        let sent = self.send(bundle).await;
        let mut outcomes = Vec::new();
        for entry in &bundle.entries {
            outcomes.push(self.outcome(sent.label(u16::try_from(entry.index).unwrap())).await);
        }
        outcomes
    }

    /// The next WANT: label and offset.
    pub async fn wanted(&mut self) -> (Label, u64) {
        loop {
            if let Some(wanted) = self.wants.pop_front() {
                return wanted;
            }
            let frame = within("a WANT", self.inbox.settlements.recv()).await;
            self.take_settlement(frame.unwrap_or_else(|| panic!("lost: {:?}", self.connection.close_reason())));
        }
    }

    /// The next payload stream the router opens, its head read.
    pub async fn payload(&mut self) -> (PayloadHead, FrameStream) {
        let mut stream = within("a payload stream", self.inbox.payloads.recv()).await.expect("the link is up");
        let head = within("its head", stream.payload_head()).await.expect("a head");
        (head, stream)
    }

    /// Opens a payload stream.
    pub async fn open_payload(&self, head: PayloadHead) -> SendStream {
        let mut stream = within("a stream", self.connection.open_uni()).await.unwrap();
        let mut bytes = BytesMut::new();
        head.encode(&mut bytes);
        stream.write_all(&bytes).await.unwrap();
        stream
    }

    /// Whether a label has settled as far as is known now.
    pub fn has_settled(&mut self, label: Label) -> bool {
        while let Ok(frame) = self.inbox.settlements.try_recv() {
            self.take_settlement(frame);
        }
        self.settled.contains_key(&label)
    }

    /// Every label settles at most once (WIRE 8.1).
    fn take_settlement(&mut self, frame: SettlementFrame) {
        match frame {
            SettlementFrame::Settle(settle) => {
                for label in settle.labels() {
                    self.close(label, Settled::Code(settle.code, settle.detail.clone()));
                }
            }
            SettlementFrame::Receipts(frame) => self.take_receipts(&frame),
            SettlementFrame::Want { label, offset } => self.wants.push_back((label, offset)),
            other => panic!("an unexpected settlement frame: {other:?}"),
        }
    }

    fn take_receipts(&mut self, frame: &ReceiptsFrame) {
        let sent: Vec<_> = frame.entries.iter().map(|entry| self.sent[&entry.label].clone()).collect();
        let subjects: Vec<Subject<'_>> = sent
            .iter()
            .map(|(addressee, message, leaf)| Subject { addressee, message: *message, leaf: *leaf })
            .collect();
        let root = frame.rebuild(&subjects).expect("receipts that rebuild").root();
        for entry in &frame.entries {
            let receipt = Receipt {
                outcome: entry.outcome,
                code: entry.code,
                problem: entry.problem.clone(),
                issuer: frame.issuer.clone(),
                root,
                signature: frame.signatures[0].clone(),
            };
            self.close(entry.label, Settled::Receipt(receipt));
        }
    }

    fn close(&mut self, label: Label, settled: Settled) {
        let before = self.settled.insert(label, settled);
        assert!(before.is_none(), "{label:?} settled twice: first {before:?}, then {:?}", self.settled[&label]);
    }

    /// Cumulative limits the router granted for a class: entries, bytes.
    pub fn limits(&self, class: Class) -> (u64, u64) {
        self.inbox.limits.borrow()[class.index()]
    }

    /// Entries and bytes sent on a class so far.
    pub fn spent(&self, class: Class) -> (u64, u64) {
        self.spent[class.index()]
    }

    /// Waits until the router has returned so much credit that its limits are at least these.
    pub async fn wait_limits(&mut self, class: Class, entries: u64, bytes: u64) {
        let enough = self.inbox.limits.wait_for(|limits| {
            let held = limits[class.index()];
            held.0 >= entries && held.1 >= bytes
        });
        within("credit to be returned", enough).await.expect("the link is up");
    }
}

/// Receiving.
impl Link {
    /// Raises the credit of a class by so much.
    pub async fn grant(&mut self, class: Class, entries: u64, bytes: u64) {
        let granted = &mut self.granted[class.index()];
        (granted.0, granted.1) = (granted.0 + entries, granted.1 + bytes);
        let frame = SettlementFrame::Credit { class, entries: granted.0, bytes: granted.1 };
        self.settlement_frame(&frame).await;
    }

    /// The next bundle.
    pub async fn receive(&mut self) -> Arrival {
        let next = within("a bundle", self.next_arrival()).await;
        next.unwrap_or_else(|| panic!("lost: {:?}", self.connection.close_reason()))
    }

    /// The next bundle, however long it takes; `None` when the link has ended.
    pub async fn next_arrival(&mut self) -> Option<Arrival> {
        self.inbox.arrivals.recv().await
    }

    /// Bundles that have arrived already.
    pub fn arrived(&mut self) -> Vec<Arrival> {
        std::iter::from_fn(|| self.inbox.arrivals.try_recv().ok()).collect()
    }

    /// Signs a receipt for every entry of `arrival` and returns its credit.
    pub async fn receipts(&mut self, signer: &Signer, arrival: &Arrival, outcome: Outcome) {
        let frame = self.receipts_frame(signer, arrival, outcome, None);
        self.settlement_frame(&SettlementFrame::Receipts(frame)).await;
        self.return_credit(arrival).await;
    }

    /// The RECEIPTS frame that answers every entry of `arrival`.
    pub fn receipts_frame(
        &self,
        signer: &Signer,
        arrival: &Arrival,
        outcome: Outcome,
        problem: Option<&str>,
    ) -> ReceiptsFrame {
        let mut builder = ReceiptsBuilder::new();
        for (entry, label) in arrival.part.entries().iter().zip(arrival.labels()) {
            let message = MessageRef::parse(&entry.statement).unwrap();
            let addressee = message.sender.parse().unwrap();
            let subject = Subject { addressee: &addressee, message: message.id, leaf: entry.leaf };
            assert!(builder.push(subject, outcome, 0, problem.map(str::to_owned), label));
        }
        let issuer = kernpost_codecs::Party::Endpoint(signer.id.clone());
        builder.sign(issuer, self.version(), wall(), &[&signer.key]).unwrap()
    }

    /// Settles every entry of `arrival` with a code and returns its credit.
    pub async fn settle(&mut self, arrival: &Arrival, code: Code) {
        let settle = Settle::new(code, Default::default(), arrival.labels());
        self.settlement_frame(&SettlementFrame::Settle(settle)).await;
        self.return_credit(arrival).await;
    }

    /// Returns the credit of what settled (WIRE 7.2).
    pub async fn return_credit(&mut self, arrival: &Arrival) {
        self.grant(arrival.class, arrival.part.entries().len() as u64, arrival.part.credit()).await;
    }

    /// Sends a frame of the settlement lane.
    pub async fn settlement_frame(&mut self, frame: &SettlementFrame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.raw_settlement_lane(&bytes).await;
    }
}

/// Raw bytes on any stream, and the end of a link. Writing to a link the router has just closed is no failure here.
impl Link {
    /// Bytes on the control stream.
    pub async fn raw_control(&mut self, bytes: &[u8]) {
        let _ = self.control.write_all(bytes).await;
    }

    /// Bytes on the settlement lane.
    pub async fn raw_settlement_lane(&mut self, bytes: &[u8]) {
        let _ = self.settlement.write_all(bytes).await;
    }

    /// Bytes on a bundle lane, which is opened at first use.
    pub async fn raw_bundle_lane(&mut self, class: Class, bytes: &[u8]) {
        let _ = self.bundle_lane(class).await.write_all(bytes).await;
    }

    /// A bundle lane, opened at first use.
    pub async fn bundle_lane(&mut self, class: Class) -> &mut SendStream {
        let lane = &mut self.lanes[class.index()];
        if lane.is_none() {
            *lane = Some(open_kind(&self.connection, class.index() as u64).await);
        }
        lane.as_mut().unwrap()
    }

    /// The control stream and the settlement lane, for ending them.
    pub fn streams(&mut self) -> (&mut SendStream, &mut SendStream) {
        (&mut self.control, &mut self.settlement)
    }

    /// Opens a stream of any kind.
    pub async fn open_stream(&self, kind: u64) -> SendStream {
        open_kind(&self.connection, kind).await
    }

    /// The code and reason with which the router closes.
    pub async fn closed(&self) -> (CloseCode, String) {
        closed(&self.connection).await
    }

    /// Leaves without a word.
    pub fn leave(self) {
        self.connection.close(0_u32.into(), b"");
    }
}

/// The code and reason with which the other side closes.
pub async fn closed(connection: &Connection) -> (CloseCode, String) {
    match within("the link to be closed", connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            let code = CloseCode::from_u64(close.error_code.into_inner());
            (code.expect("a code of WIRE 2.5"), String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => panic!("the link ended by {other:?}"),
    }
}

async fn open_kind(connection: &Connection, kind: u64) -> SendStream {
    let mut stream = within("a stream", connection.open_uni()).await.unwrap();
    let mut head = Vec::new();
    varint::encode(&mut head, kind);
    stream.write_all(&head).await.unwrap();
    stream
}
