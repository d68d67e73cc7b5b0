//! What is a worker? One OS thread with its own sockets, runtime, links and engine; nothing on the message path is shared.
//!
//! Frames come in from `link/incoming.rs` ([`Worker::take_frames`]), events, crossings and deadlines from `pump.rs`; each
//! such turn ends in `flush`, which carries out what the engine decided. The engine is borrowed for one call at a
//! time and never across an await. Connections come from `accept.rs` and `dial.rs`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use kernpost_codecs::{FrameDecoder, FrameFault, LaneKind};
use kernpost_router_core::event::EngineOutput;
use kernpost_router_core::{Crossing, Engine, EngineEvent, LinkId, Now, Peer, WorkerId};
use tokio::sync::{Notify, mpsc, watch};

use crate::channels::{ControlInput, WorkerSenders};
use crate::clock::Clock;
use crate::config::Config;
use crate::handshakes::HandshakeGate;
use crate::identity::TrustDomain;
use crate::link::Link;
use crate::observed::{HandshakeCounts, LinkEnds, Observed};
use crate::peer_addresses::PeerAddresses;
use crate::socket::Buffers;

mod accept;
mod dial;
mod payload;
mod pump;
mod snapshot;
mod thread;

pub use thread::{WorkerParts, spawn};

/// What all workers share. Read seldom, never on the message path.
#[derive(Debug)]
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// One time for everybody.
    pub clock: Clock,
    /// Links given a name so far.
    pub link_names: AtomicU64,
    /// Links that are up or being set up, in the process.
    pub links: AtomicUsize,
    /// Addresses of the configured peers.
    pub peer_addresses: PeerAddresses,
    /// What operators see.
    pub observed: Arc<Observed>,
}

/// Where the router is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Links come and go.
    Running,
    /// No new links.
    Draining,
    /// All links close now.
    Closing,
}

/// One worker. Lives on its thread; tasks share it through `Rc`.
#[derive(Debug)]
pub struct Worker {
    id: WorkerId,
    shared: Arc<Shared>,
    engine: RefCell<Engine>,
    links: RefCell<HashMap<LinkId, Rc<Link>>>,
    /// All workers' senders, by id; the own ones are not used.
    workers: Vec<WorkerSenders>,
    control: mpsc::Sender<ControlInput>,
    phase: watch::Receiver<Phase>,
    gate: RefCell<HandshakeGate>,
    /// When the pump wakes by itself, monotonic µs.
    armed_us: Cell<u64>,
    rearm: Notify,
    handshakes: Cell<HandshakeCounts>,
    /// How long entries were in the turns in which they arrived, summed over entries, µs.
    turned_us: Cell<u64>,
    ended: RefCell<LinkEnds>,
    /// Addresses listened on, and the buffers the kernel gave.
    listening: Vec<SocketAddr>,
    buffers: Buffers,
}

impl Worker {
    /// This worker's number.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Trust domain of URI identities.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.shared.config.tls.trust_domain
    }

    /// Bytes one outgoing lane may queue.
    #[must_use]
    pub fn queue_bound(&self) -> usize {
        self.shared.config.limits.queued_bytes
    }

    /// A name no link of this process had before.
    #[must_use]
    pub fn next_link(&self) -> LinkId {
        LinkId(self.shared.link_names.fetch_add(1, Ordering::Relaxed))
    }

    /// A link whose handshake is done.
    pub fn add(&self, link: Rc<Link>) {
        self.links.borrow_mut().insert(link.id, link);
    }

    /// A link that is gone; the engine hears of it from control.
    pub fn remove(&self, link: LinkId) {
        self.links.borrow_mut().remove(&link);
    }

    /// Waits for room in control's queue. Nobody waits for the caller meanwhile (see [`crate::channels`]).
    pub async fn tell_control(&self, input: ControlInput) {
        // Control outlives the workers; when it is gone, so is the process.
        let _ = self.control.send(input).await;
    }

    /// Gives the engine all whole frames of a lane, then carries out what it decided.
    ///
    /// # Errors
    /// The lane's bytes cannot be cut into frames; the frames before count.
    pub fn take_frames(&self, link: LinkId, lane: LaneKind, decoder: &mut FrameDecoder) -> Result<(), FrameFault> {
        let (now, began) = (self.shared.clock.now(), Instant::now());
        let before = self.engine.borrow().stats().entries_received;
        let taken = self.decode(now, link, lane, decoder);
        self.flush();
        let entries = self.engine.borrow().stats().entries_received.saturating_sub(before);
        if entries > 0 {
            let turn_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let turned_us = turn_ns.saturating_mul(entries) / 1_000;
            self.turned_us.set(self.turned_us.get().saturating_add(turned_us));
        }
        taken
    }

    fn decode(&self, now: Now, link: LinkId, lane: LaneKind, decoder: &mut FrameDecoder) -> Result<(), FrameFault> {
        let mut engine = self.engine.borrow_mut();
        while let Some(frame) = decoder.next()? {
            engine.handle_frame(now, link, lane, frame.kind, frame.body);
        }
        Ok(())
    }

    /// Takes in an event of the control side. Its link's lanes are read from here on, and not before.
    fn take_event(&self, now: Now, event: EngineEvent) {
        let up = match &event {
            EngineEvent::LinkUp { link, worker, peer } if *worker == self.id => {
                self.links.borrow().get(link).cloned().map(|link| (link, peer_name(peer)))
            }
            _ => None,
        };
        self.engine.borrow_mut().handle_event(now, event);
        if let Some((link, peer)) = up {
            link.on_up(&peer);
        }
    }

    /// Carries out everything the engine decided, in its order.
    fn flush(&self) {
        loop {
            let output = self.engine.borrow_mut().poll_output();
            match output {
                None => break,
                Some(EngineOutput::Frame { link, lane, bytes }) => self.write(link, lane, bytes),
                Some(EngineOutput::Cross { worker, crossing }) => self.cross(worker, crossing),
                Some(EngineOutput::PayloadEnd { link, label, incoming }) => self.end_stream(link, label, incoming),
                Some(EngineOutput::Close { link, fault }) => self.close(link, &fault),
            }
        }
        self.arm();
    }

    fn write(&self, link: LinkId, lane: LaneKind, bytes: Bytes) {
        if let Some(link) = self.links.borrow().get(&link) {
            link.write(lane, bytes);
        }
    }

    fn close(&self, link: LinkId, fault: &FrameFault) {
        if let Some(link) = self.links.borrow().get(&link) {
            link.handle.close(fault);
        }
    }

    /// Hands a crossing over without waiting: entries that find the queue full go back to the engine.
    fn cross(&self, to: WorkerId, crossing: Crossing) {
        let Some(senders) = self.workers.get(usize::from(to.0)) else { return };
        let entries = matches!(crossing, Crossing::Entries(_));
        let queue = if entries { &senders.entries } else { &senders.settlements };
        match queue.try_send(crossing) {
            Ok(()) => {}
            Err(refused) if entries => {
                self.engine.borrow_mut().handle_cross_refused(refused.into_inner());
            }
            Err(_) => {
                // Beyond the bound of `channels.rs`, or that worker is gone. The upstream labels stay open until their link ends.
                tracing::error!(worker = to.0, "a settlement found no room to cross: report this");
            }
        }
    }

    /// Wakes the pump when the engine's next deadline is earlier than it sleeps.
    fn arm(&self) {
        let deadline = self.engine.borrow().poll_deadline().unwrap_or(u64::MAX);
        if deadline < self.armed_us.get() {
            self.armed_us.set(deadline);
            self.rearm.notify_one();
        }
    }
}

/// Who is there, for labels and logs.
fn peer_name(peer: &Peer) -> String {
    match peer {
        Peer::Router(router) => format!("router {router}"),
        Peer::Endpoints(identity) => format!("endpoints {identity}"),
    }
}
