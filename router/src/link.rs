//! How does one link live on its worker, from the handshake to its end?
//!
//! ```text
//! handshake ─▶ identities ─▶ LinkUp to control ─▶ control stream ─▶ HELLO both ways ─▶ event LinkUp ─▶ lanes
//!                                                                                         (frames wait for it)
//! ```
//!
//! One task owns the link and ends when the connection does; the streams' tasks are its children and end with it. No task
//! is spawned per frame. Close codes are those of WIRE 2.5; which fault it is, the decoders, the engine or control say.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use kernpost_codecs::{CloseCode, FrameFault, Label, LaneKind, RouterId};
use kernpost_router_core::LinkId;
use quinn::{Connection, ConnectionError, VarInt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::channels::{CONTROL_BYTES, CONTROL_FRAMES, ControlInput};
use crate::identity::peer_identities;
use crate::observed::EndedBy;
use crate::worker::Worker;

mod control_stream;
mod incoming;
mod outgoing;
mod payload;

use outgoing::OutgoingLane;
use payload::PayloadStreams;
pub use payload::{PayloadPipe, Piece};

/// How any thread writes to a link's control stream and closes the link.
#[derive(Debug)]
pub struct LinkHandle {
    connection: Connection,
    control: mpsc::Sender<Bytes>,
    /// Bytes of control frames not yet taken by the transport.
    control_bytes: AtomicUsize,
    /// The code this side closed with, or [`OPEN`].
    closed_with: AtomicU64,
}

const OPEN: u64 = u64::MAX;

impl LinkHandle {
    fn new(connection: Connection, control: mpsc::Sender<Bytes>) -> Self {
        Self { connection, control, control_bytes: AtomicUsize::new(0), closed_with: AtomicU64::new(OPEN) }
    }

    /// Queues a whole frame for the control stream. A peer that does not read it until the queue is full loses the link.
    pub fn write_control(&self, frame: Bytes) {
        let length = frame.len();
        let waiting = self.control_bytes.fetch_add(length, Ordering::Relaxed) + length;
        if waiting > CONTROL_BYTES || matches!(self.control.try_send(frame), Err(mpsc::error::TrySendError::Full(_))) {
            let detail = format!("{waiting} bytes of control frames wait to be read by the peer");
            self.close(&FrameFault::new(CloseCode::OverLimit, "WIRE 3", detail));
        }
    }

    /// So many bytes of control frames left.
    fn on_control_written(&self, length: usize) {
        self.control_bytes.fetch_sub(length, Ordering::Relaxed);
    }

    /// Closes the connection because of a fault. The first call counts.
    pub fn close(&self, fault: &FrameFault) {
        self.close_with(fault.code, &format!("{}: {}", fault.clause, fault.detail));
    }

    /// Closes the connection; the reason phrase is cut to 256 bytes.
    pub fn close_with(&self, code: CloseCode, reason: &str) {
        let first = self.closed_with.compare_exchange(OPEN, code.as_u64(), Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            if code != CloseCode::Closed {
                let address = self.connection.remote_address();
                tracing::warn!(%address, code = code.name(), ?reason, "closing a link");
            }
            let reason = reason.as_bytes();
            let reason = reason.get(..LONGEST_REASON).unwrap_or(reason);
            self.connection.close(VarInt::from_u64(code.as_u64()).unwrap_or_default(), reason);
        }
    }

    fn closed_with(&self) -> Option<CloseCode> {
        CloseCode::from_u64(self.closed_with.load(Ordering::Relaxed))
    }
}

/// Bytes of a reason phrase; fits any packet.
const LONGEST_REASON: usize = 256;

/// One link, as the tasks of its worker see it.
#[derive(Debug)]
pub struct Link {
    /// Its name in this process.
    pub id: LinkId,
    /// Its connection.
    pub connection: Connection,
    /// For other threads.
    pub handle: Arc<LinkHandle>,
    /// The engine has taken in LinkUp: frames of lanes may be given to it.
    up: Cell<bool>,
    up_changed: Notify,
    peer: RefCell<Arc<str>>,
    incoming: RefCell<incoming::Seen>,
    outgoing: [OutgoingLane; 4],
    payloads: PayloadStreams,
    tasks: RefCell<JoinSet<()>>,
}

impl Link {
    fn new(id: LinkId, connection: Connection, handle: Arc<LinkHandle>, queued: usize) -> Self {
        Self {
            id,
            connection,
            handle,
            up: Cell::new(false),
            up_changed: Notify::new(),
            peer: RefCell::new("".into()),
            incoming: RefCell::default(),
            outgoing: LaneKind::LANES.map(|lane| OutgoingLane::new(lane, queued)),
            payloads: PayloadStreams::default(),
            tasks: RefCell::default(),
        }
    }

    /// The engine has taken in LinkUp; the settlement lane opens (WIRE 2.3).
    pub fn on_up(self: &Rc<Self>, peer: &str) {
        *self.peer.borrow_mut() = peer.into();
        self.up.set(true);
        self.up_changed.notify_waiters();
        self.outgoing_lane(LaneKind::Settlement).inspect(|lane| lane.start(self));
    }

    /// Queues whole frames for a lane.
    pub fn write(self: &Rc<Self>, lane: LaneKind, frames: Bytes) {
        let Some(lane) = self.outgoing_lane(lane) else { return };
        match lane.push(frames) {
            Ok(()) => lane.start(self),
            Err(fault) => self.handle.close(&fault),
        }
    }

    /// Begins to send a large payload on this link.
    pub fn send_payload(self: &Rc<Self>, worker: Rc<Worker>, pipe: PayloadPipe) {
        self.spawn_stream(payload::send(worker, Rc::clone(self), pipe));
    }

    /// The label of a large payload no longer stands: its stream on this link ends.
    pub fn end_payload(&self, incoming: bool, label: Label) {
        self.payloads.end(incoming, label);
    }

    /// Bytes queued for a lane and not yet taken by the transport.
    #[must_use]
    pub fn queued(&self, lane: LaneKind) -> u64 {
        self.outgoing_lane(lane).map_or(0, |lane| lane.queued() as u64)
    }

    /// Who is there, for labels and logs; empty before hello.
    #[must_use]
    pub fn peer(&self) -> Arc<str> {
        Arc::clone(&self.peer.borrow())
    }

    fn outgoing_lane(&self, lane: LaneKind) -> Option<&OutgoingLane> {
        self.outgoing.iter().find(|held| held.kind == lane)
    }

    /// Waits until the engine knows the link.
    async fn wait_up(&self) {
        while !self.up.get() {
            self.up_changed.notified().await;
        }
    }

    /// Runs a task that ends with the link; forgets children that have ended, so that streams that come and go leave
    /// nothing behind.
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(task);
    }

    /// Runs a stream's task; its fault closes the link.
    fn spawn_stream(self: &Rc<Self>, task: impl Future<Output = Result<(), StreamEnd>> + 'static) {
        let link = Rc::clone(self);
        self.spawn(async move {
            if let Err(StreamEnd::Fault(fault)) = task.await {
                link.handle.close(&fault);
            }
        });
    }
}

/// Why a stream's task ended before its link.
#[derive(Debug)]
enum StreamEnd {
    /// The peer's fault: the link closes.
    Fault(FrameFault),
    /// The connection is gone: whoever owns the link knows.
    Lost,
}

impl From<FrameFault> for StreamEnd {
    fn from(fault: FrameFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<ConnectionError> for StreamEnd {
    fn from(_: ConnectionError) -> Self {
        Self::Lost
    }
}

/// A stream of the link ended by FIN, reset or stop (WIRE 2.3).
fn ended(what: &str) -> StreamEnd {
    StreamEnd::Fault(FrameFault::unexpected("WIRE 2.3", format!("{what} ended")))
}

/// Carries a link from the end of its handshake to its end. `dialled` is the router this side meant to reach.
pub async fn run(worker: Rc<Worker>, connection: Connection, dialled: Option<RouterId>) {
    let (control, frames) = mpsc::channel(CONTROL_FRAMES);
    let handle = Arc::new(LinkHandle::new(connection.clone(), control));
    let identities = match peer_identities(&connection, worker.trust_domain()) {
        Ok(identities) => identities,
        Err(error) => {
            handle.close_with(CloseCode::IdentityUnknown, &format!("WIRE 2.2: {error}"));
            return note_end(&worker, &connection, &handle, "unknown").await;
        }
    };
    let id = worker.next_link();
    let link = Link::new(id, connection.clone(), Arc::clone(&handle), worker.queue_bound());
    let link = Rc::new(link);
    worker.add(Rc::clone(&link));
    let dials = dialled.is_some();
    let announcement =
        ControlInput::LinkUp { link: id, worker: worker.id(), identities, dialled, handle: Arc::clone(&handle) };
    worker.tell_control(announcement).await;
    let (of_worker, of_link) = (Rc::clone(&worker), Rc::clone(&link));
    link.spawn_stream(control_stream::run(of_worker, of_link, frames, dials));
    link.spawn_stream(incoming::run(Rc::clone(&worker), Rc::clone(&link)));
    connection.closed().await;
    link.tasks.borrow_mut().abort_all();
    worker.remove(id);
    worker.tell_control(ControlInput::LinkDown { link: id }).await;
    note_end(&worker, &connection, &handle, &link.peer()).await;
}

/// Says and counts who ended the link, and why.
async fn note_end(worker: &Worker, connection: &Connection, handle: &LinkHandle, peer: &str) {
    let address = connection.remote_address();
    let error = connection.closed().await;
    let closed = match (&error, handle.closed_with()) {
        (ConnectionError::LocallyClosed, Some(code)) => Some((EndedBy::Here, code)),
        (ConnectionError::ApplicationClosed(close), _) => {
            let reason = close.reason.get(..LONGEST_REASON).unwrap_or(&close.reason);
            tracing::debug!(peer, %address, reason = ?String::from_utf8_lossy(reason), "the peer closes the link");
            CloseCode::from_u64(close.error_code.into_inner()).map(|code| (EndedBy::Peer, code))
        }
        _ => None,
    };
    match closed {
        Some((by, code)) => tracing::info!(peer, %address, by = by.name(), code = code.name(), "link closed"),
        None => tracing::info!(peer, %address, %error, "link lost"),
    }
    worker.note_end(closed);
}
