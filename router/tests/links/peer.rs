//! A bare QUIC peer that speaks just enough of the protocol, and breaks it on purpose.

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kernpost_codecs::{
    AttachToken, Attachment, CloseCode, ControlFrame, DirectoryVersion, Frame, FrameDecoder, Hello, LaneKind, Role,
    SigningKey, UnixMs, varint,
};
use kernpost_router::clock::wall;
use kernpost_router::tls::SERVER_NAME;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig};

use super::network::{Network, identity_of};

/// How long anything may take here.
pub const LIMIT: Duration = Duration::from_secs(20);

pub fn endpoint(tls: rustls::ClientConfig) -> Endpoint {
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(LIMIT.try_into().unwrap()));
    transport.send_window(64 << 20);
    client.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client((Ipv6Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.set_default_client_config(client);
    endpoint
}

/// What a client behind a NAT or on another network looks like: the same connections from another port.
pub fn take_another_address(endpoint: &Endpoint) {
    endpoint.rebind(std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap()).unwrap();
}

/// A link seen from its dialling side.
pub struct Peer {
    pub endpoint: Endpoint,
    pub connection: Connection,
    control: SendStream,
    control_in: Lane,
    pub hello: Option<Hello>,
}

impl Peer {
    /// Connects and opens the control stream; says nothing yet.
    pub async fn connect(network: &Network, identity: &str, to: SocketAddr) -> Self {
        let endpoint = endpoint(network.client_tls(identity));
        let connection = endpoint.connect(to, SERVER_NAME).unwrap().await.unwrap();
        let (control, recv) = connection.open_bi().await.unwrap();
        Self { endpoint, connection, control, control_in: Lane::new(recv), hello: None }
    }

    /// Connects and exchanges HELLO.
    pub async fn greet(network: &Network, identity: &str, to: SocketAddr) -> Self {
        let mut peer = Self::connect(network, identity, to).await;
        peer.send(&hello(Role::Endpoint)).await;
        match peer.receive().await {
            ControlFrame::Hello(hello) => peer.hello = Some(hello),
            other => panic!("the first frame is {other:?}"),
        }
        peer
    }

    pub async fn send(&mut self, frame: &ControlFrame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.send_raw(&bytes).await;
    }

    /// As [`Peer::send`], when the link may be gone.
    pub async fn try_send(&mut self, frame: &ControlFrame) -> Result<(), quinn::WriteError> {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.control.write_all(&bytes).await
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.control.write_all(bytes).await.unwrap();
    }

    pub async fn receive(&mut self) -> ControlFrame {
        let frame = self.control_in.frame().await;
        ControlFrame::decode(frame.kind, &frame.body).unwrap().unwrap()
    }

    /// Attaches an endpoint at router `name`.
    pub async fn attach(&mut self, id: &str, identity: &str, name: &str, key: &SigningKey) {
        let attachment = Attachment {
            endpoint: id.parse().unwrap(),
            router: format!("kern/router/{name}").parse().unwrap(),
            identity: identity_of(identity),
            epoch: wall().0,
            expires: UnixMs(wall().0 + 3_600_000),
            journal: [7; 16],
        };
        let token = AttachToken::sign(&attachment, &[key]).unwrap();
        self.send(&ControlFrame::Attach { req: 1, token }).await;
        match self.receive().await {
            ControlFrame::Attached { code, .. } => assert_eq!(code.0, 0, "attached"),
            other => panic!("the answer to ATTACH is {other:?}"),
        }
    }

    pub async fn open(&self, lane: LaneKind) -> SendStream {
        self.open_kind(lane.as_u64()).await
    }

    pub async fn open_kind(&self, kind: u64) -> SendStream {
        let mut stream = self.connection.open_uni().await.unwrap();
        let mut head = Vec::new();
        varint::encode(&mut head, kind);
        stream.write_all(&head).await.unwrap();
        stream
    }

    /// The next lane the router opens.
    pub async fn accept(&self) -> (LaneKind, Lane) {
        let mut lane = Lane::new(self.connection.accept_uni().await.unwrap());
        let kind = lane.varint().await;
        (LaneKind::from_u64(kind).unwrap().unwrap(), lane)
    }

    /// The code with which the router closes, and its reason.
    pub async fn closed(&self) -> (CloseCode, String) {
        let closed = tokio::time::timeout(LIMIT, self.connection.closed()).await.unwrap();
        let ConnectionError::ApplicationClosed(close) = closed else {
            panic!("closed by {closed:?}");
        };
        let code = CloseCode::from_u64(close.error_code.into_inner()).unwrap();
        (code, String::from_utf8_lossy(&close.reason).into_owned())
    }

    pub fn version(&self) -> DirectoryVersion {
        DirectoryVersion::of(&self.hello.as_ref().unwrap().directory)
    }
}

pub fn hello(role: Role) -> ControlFrame {
    ControlFrame::Hello(Hello {
        lowest_version: 1,
        highest_version: 1,
        role,
        clock: wall(),
        directory: vec![],
        largest_frame_body: 262_144,
        largest_statement: 1_024,
        largest_payload: 65_536,
        software: "bare peer".to_owned(),
    })
}

/// A stream that is read frame by frame.
pub struct Lane {
    stream: RecvStream,
    decoder: FrameDecoder,
    frames: VecDeque<Frame>,
}

impl Lane {
    fn new(stream: RecvStream) -> Self {
        Self { stream, decoder: FrameDecoder::new(), frames: VecDeque::new() }
    }

    async fn read(&mut self) {
        let chunk = tokio::time::timeout(LIMIT, self.stream.read_chunk(1 << 20, true)).await;
        self.decoder.push(chunk.unwrap().unwrap().unwrap().bytes);
    }

    async fn varint(&mut self) -> u64 {
        loop {
            if let Some(value) = self.decoder.next_varint().unwrap() {
                return value;
            }
            self.read().await;
        }
    }

    pub async fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            while let Some(frame) = self.decoder.next().unwrap() {
                self.frames.push_back(frame);
            }
            if self.frames.is_empty() {
                self.read().await;
            }
        }
    }
}
