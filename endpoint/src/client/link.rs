//! One connection to one router, kept up: resolve, dial, check who answers, carry frames, wait, dial again.
//!
//! Readers hand whole frames to the driver; a writer per stream writes everything that accumulated in one call, then says
//! so. All channels are bounded; readers wait when the driver is behind, so that flow control reaches the router.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kernpost_codecs::frame::{CONTROL_PRIORITY, FrameDecoder, LaneKind};
use kernpost_codecs::{Class, CloseCode, FrameFault, LinkIdentity, PayloadHeadReader, RouterId};
use kernpost_routing_table::{IdentityUse, Table};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, watch};

use super::driver::Input;
use super::identity::link_identities;
use super::payloads::Arriving;
use super::sockets::Sockets;
use super::tls::SERVER_NAME;
use crate::core::{SessionId, Stream, Waits};

/// How long dialling may take.
const DIAL: Duration = Duration::from_secs(10);
/// First and longest wait between attempts, ms.
const FIRST_WAIT_MS: u64 = 100;
const LONGEST_WAIT_MS: u64 = 15_000;
/// A connection that lived this long starts the backoff anew.
const SETTLED: Duration = Duration::from_secs(10);
/// Chunks taken from quinn at once.
const CHUNKS: usize = 64;

/// What a connection needs to be dialled.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    pub link: usize,
    pub router_index: usize,
    pub router: RouterId,
    pub address: String,
    pub tls: quinn::ClientConfig,
    pub trust_domain: Option<String>,
}

/// The way to a live connection.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    connection: Connection,
    pub router: RouterId,
    /// What the router's certificate carries; checked again when another directory comes into force.
    pub identities: Vec<LinkIdentity>,
    control: mpsc::Sender<Bytes>,
    lanes: [mpsc::Sender<Bytes>; 4],
}

impl LinkHandle {
    /// Hands bytes to a stream's writer; false when it is gone or behind, which only a broken link can be.
    pub fn write(&self, stream: Stream, bytes: Bytes) -> bool {
        let writer = match stream {
            Stream::Control => &self.control,
            Stream::Bundle(class) => self.lanes.get(class.index()).unwrap_or(&self.control),
            Stream::Settlement => self.lanes.get(3).unwrap_or(&self.control),
        };
        writer.try_send(bytes).is_ok()
    }

    /// The connection, for streams of large payloads.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// The round-trip time of the connection.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Closes the connection with a frame fault's code and clause.
    pub fn close(&self, fault: &FrameFault) {
        self.connection.close(close_code(fault.code), fault.clause.as_bytes());
    }
}

/// What all link tasks of a client share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub inputs: mpsc::Sender<Input>,
    pub tables: watch::Receiver<Option<Arc<Table>>>,
    pub stop: watch::Receiver<bool>,
    pub sockets: Arc<Sockets>,
}

/// Keeps one connection up until told to stop. `sessions` gives a new id for every connection.
pub(crate) async fn keep(dial: Dial, mut shared: Shared, seed: u64, sessions: Arc<std::sync::atomic::AtomicU64>) {
    let mut waits = Waits::new(FIRST_WAIT_MS, LONGEST_WAIT_MS, seed);
    let mut setbacks = 0;
    while !*shared.stop.borrow() {
        let session = SessionId(sessions.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let started = std::time::Instant::now();
        let mut stop = shared.stop.clone();
        tokio::select! {
            end = connect_and_carry(&dial, &shared, session) => match end {
                Ok(()) => tracing::debug!(router = %dial.router, "link closed"),
                Err(why) => tracing::warn!(router = %dial.router, address = %dial.address, %why, "no link; trying again"),
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        setbacks = if started.elapsed() >= SETTLED { 0 } else { setbacks + 1 };
        let wait = Duration::from_millis(waits.draw(setbacks));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = shared.stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// One connection from dialling to its end.
async fn connect_and_carry(dial: &Dial, shared: &Shared, session: SessionId) -> Result<(), String> {
    let connection = tokio::time::timeout(DIAL, connect(dial, shared))
        .await
        .map_err(|_| format!("no answer within {} s", DIAL.as_secs()))??;
    let identities = peer_identities(&connection, dial.trust_domain.as_deref());
    if let Some(why) = not_the_router(shared.tables.borrow().as_deref(), &dial.router, &identities) {
        connection.close(close_code(CloseCode::IdentityUnknown), b"WIRE 2.2");
        return Err(why);
    }
    let (send, receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    // Fails only for a stream that was reset, which the write finds out; so below.
    let _ = send.set_priority(CONTROL_PRIORITY);
    let (control, control_queue) = mpsc::channel(1_024);
    tokio::spawn(write_control(send, control_queue, connection.clone()));
    let inputs = &shared.inputs;
    let lane = |kind: LaneKind, stream: Stream| {
        let (lane, queue) = mpsc::channel(4);
        tokio::spawn(write_lane(connection.clone(), kind, stream, session, queue, inputs.clone()));
        lane
    };
    let lanes = [
        lane(LaneKind::Bundle(Class::Urgent), Stream::Bundle(Class::Urgent)),
        lane(LaneKind::Bundle(Class::Interactive), Stream::Bundle(Class::Interactive)),
        lane(LaneKind::Bundle(Class::Bulk), Stream::Bundle(Class::Bulk)),
        lane(LaneKind::Settlement, Stream::Settlement),
    ];
    let handle = LinkHandle { connection: connection.clone(), router: dial.router.clone(), identities, control, lanes };
    let up = Input::Up { session, link: dial.link, router_index: dial.router_index, handle: Box::new(handle) };
    inputs.send(up).await.map_err(|_| "the client has ended".to_owned())?;
    tokio::spawn(read(receive, FrameDecoder::new(), Stream::Control, session, inputs.clone(), connection.clone()));
    let end = accept_lanes(&connection, session, inputs).await;
    let _ = inputs.send(Input::Down { session }).await;
    match end {
        quinn::ConnectionError::LocallyClosed => Ok(()),
        quinn::ConnectionError::ApplicationClosed(closed) if closed.error_code == close_code(CloseCode::Closed) => {
            Ok(())
        }
        quinn::ConnectionError::ApplicationClosed(closed) => {
            let code = CloseCode::from_u64(closed.error_code.into_inner()).map_or("unknown", CloseCode::name);
            Err(format!("the router closed the link: {code}, {}", String::from_utf8_lossy(&closed.reason)))
        }
        error => Err(error.to_string()),
    }
}

async fn connect(dial: &Dial, shared: &Shared) -> Result<Connection, String> {
    let found = tokio::net::lookup_host(&dial.address).await;
    let mut addresses: Vec<SocketAddr> = found.map_err(|error| format!("cannot resolve: {error}"))?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv4);
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        let attempt = shared.sockets.for_address(address).map_err(|error| error.to_string())?;
        match attempt.connect_with(dial.tls.clone(), address, SERVER_NAME) {
            Ok(connecting) => match connecting.await {
                Ok(connection) => return Ok(connection),
                Err(error) => why = error.to_string(),
            },
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

/// The identities of the router's leaf certificate.
fn peer_identities(connection: &Connection, trust_domain: Option<&str>) -> Vec<LinkIdentity> {
    let chain = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    chain.and_then(|chain| chain.first().map(|leaf| link_identities(leaf, trust_domain))).unwrap_or_default()
}

/// Why the peer is not the router it should be; `None` when it is, or when no directory is at hand to tell.
pub(crate) fn not_the_router(table: Option<&Table>, router: &RouterId, identities: &[LinkIdentity]) -> Option<String> {
    let table = table?;
    match identities.iter().find_map(|identity| table.identity(identity)) {
        Some(IdentityUse::Router(found)) if found == router => None,
        Some(_) => {
            Some(format!("the certificate of the peer is bound to somebody else than {router} in the directory"))
        }
        None => Some(format!("no directory entry lists the certificate of the peer as {router}")),
    }
}

async fn accept_lanes(
    connection: &Connection,
    session: SessionId,
    inputs: &mpsc::Sender<Input>,
) -> quinn::ConnectionError {
    let mut taken = Vec::new();
    loop {
        let mut stream = match connection.accept_uni().await {
            Ok(stream) => stream,
            Err(end) => return end,
        };
        let mut decoder = FrameDecoder::new();
        let kind = match read_kind(&mut stream, &mut decoder).await {
            Ok(Some(kind)) => kind,
            Ok(None) => {
                let _ = stream.stop(VarInt::from_u32(0));
                continue;
            }
            Err(fault) => {
                connection.close(close_code(fault.code), fault.clause.as_bytes());
                continue;
            }
        };
        let lane = match kind {
            LaneKind::Bundle(class) => Stream::Bundle(class),
            LaneKind::Settlement => Stream::Settlement,
            LaneKind::LargePayload => {
                tokio::spawn(read_payload_head(stream, decoder, session, inputs.clone(), connection.clone()));
                continue;
            }
        };
        if taken.contains(&lane) {
            connection.close(close_code(CloseCode::LaneDuplicate), b"WIRE 2.3");
            continue;
        }
        taken.push(lane);
        tokio::spawn(read(stream, decoder, lane, session, inputs.clone(), connection.clone()));
    }
}

/// The varint a unidirectional stream begins with; `None`: to be ignored.
async fn read_kind(stream: &mut RecvStream, decoder: &mut FrameDecoder) -> Result<Option<LaneKind>, FrameFault> {
    loop {
        if let Some(kind) = decoder.next_varint()? {
            return LaneKind::from_u64(kind);
        }
        match stream.read_chunk(64 << 10, true).await {
            Ok(Some(chunk)) => decoder.push(chunk.bytes),
            Ok(None) | Err(_) => return Ok(None),
        }
    }
}

/// Reads what a payload stream says of itself; the driver knows what to do with it.
async fn read_payload_head(
    mut stream: RecvStream,
    mut decoder: FrameDecoder,
    session: SessionId,
    inputs: mpsc::Sender<Input>,
    connection: Connection,
) {
    let mut reader = PayloadHeadReader::default();
    loop {
        match reader.next(&mut decoder) {
            Ok(Some(head)) => {
                let arriving = Box::new(Arriving { head, stream, decoder });
                let _ = inputs.send(Input::PayloadStream { session, arriving }).await;
                return;
            }
            Ok(None) => {}
            Err(fault) => return connection.close(close_code(fault.code), fault.clause.as_bytes()),
        }
        match stream.read_chunk(LONGEST_HEAD, true).await {
            Ok(Some(chunk)) => decoder.push(chunk.bytes),
            // Reset before it said what it is.
            Ok(None) | Err(_) => return,
        }
    }
}

/// Bytes read at a time until a payload's head is whole.
const LONGEST_HEAD: usize = 32;

/// Hands whole frames to the driver until the stream ends; a lane that ends closes the link (WIRE 2.3).
async fn read(
    mut stream: RecvStream,
    mut decoder: FrameDecoder,
    lane: Stream,
    session: SessionId,
    inputs: mpsc::Sender<Input>,
    connection: Connection,
) {
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    loop {
        let mut frames = Vec::new();
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(fault) => return connection.close(close_code(fault.code), fault.clause.as_bytes()),
            }
        }
        if !frames.is_empty() && inputs.send(Input::Frames { session, stream: lane, frames }).await.is_err() {
            return;
        }
        match stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => {
                for chunk in chunks.iter_mut().take(count) {
                    decoder.push(std::mem::take(chunk));
                }
            }
            Ok(None) => return connection.close(close_code(CloseCode::UnexpectedFrame), b"WIRE 2.3"),
            Err(_) => return,
        }
    }
}

async fn write_control(mut stream: SendStream, mut queue: mpsc::Receiver<Bytes>, connection: Connection) {
    while let Some(first) = queue.recv().await {
        let mut gathered = BytesMut::from(first);
        while let Ok(more) = queue.try_recv() {
            gathered.put(more);
        }
        if stream.write_chunk(gathered.freeze()).await.is_err() {
            connection.close(close_code(CloseCode::Internal), b"WIRE 2.3");
            return;
        }
    }
    // The driver has let go of the link.
    let _ = stream.finish();
}

/// Opens the lane at its first bytes, writes them whole, and says when they have left.
async fn write_lane(
    connection: Connection,
    kind: LaneKind,
    stream: Stream,
    session: SessionId,
    mut queue: mpsc::Receiver<Bytes>,
    inputs: mpsc::Sender<Input>,
) {
    let Some(mut bytes) = queue.recv().await else { return };
    let Ok(mut lane) = connection.open_uni().await else { return };
    let _ = lane.set_priority(kind.sending_priority());
    let mut head = BytesMut::new();
    kernpost_codecs::varint::encode(&mut head, kind.as_u64());
    if lane.write_chunk(head.freeze()).await.is_err() {
        return;
    }
    loop {
        if lane.write_chunk(bytes).await.is_err() || inputs.send(Input::Writable { session, stream }).await.is_err() {
            return;
        }
        match queue.recv().await {
            Some(more) => bytes = more,
            None => return,
        }
    }
}

fn close_code(code: CloseCode) -> VarInt {
    VarInt::from_u64(code.as_u64()).unwrap_or_default()
}
