//! How does a worker's thread begin and end?
//!
//! It opens one quinn endpoint per listen address on its own sockets and, when it dials, one per address family outside
//! the groups; says so; then runs until the router closes, when every link gets `closed` (WIRE 2.5).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kernpost_codecs::CloseCode;
use kernpost_router_core::{Engine, WorkerId};
use kernpost_routing_table::Table;
use quinn::{Endpoint, TokioRuntime};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{LocalSet, spawn_local};

use super::dial::DialEndpoints;
use super::{Phase, Shared, Worker, accept, dial, pump};
use crate::channels::{ControlInput, WorkerReceivers, WorkerSenders};
use crate::config::PeerSection;
use crate::handshakes::HandshakeGate;
use crate::socket::{Buffers, bind_alone};
use crate::tls::quic::QuicConfigs;

/// What a worker is made of.
#[derive(Debug)]
pub struct WorkerParts {
    /// Its number.
    pub id: WorkerId,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Its socket of each listen group.
    pub sockets: Vec<UdpSocket>,
    /// What the kernel gave these sockets.
    pub buffers: Buffers,
    /// QUIC configurations, the same for all workers.
    pub quic: QuicConfigs,
    /// The first table; later ones come as events.
    pub table: Arc<Table>,
    /// Its queues.
    pub receivers: WorkerReceivers,
    /// Everybody's queues, by number.
    pub workers: Vec<WorkerSenders>,
    /// To the control thread.
    pub control: mpsc::Sender<ControlInput>,
    /// Where the router is in its life.
    pub phase: watch::Receiver<Phase>,
}

/// Time for the last packets of closed connections.
const LAST_PACKETS: Duration = Duration::from_secs(2);

/// Starts the thread and waits until it listens.
///
/// # Errors
/// The thread, its runtime or its endpoints cannot be had.
pub fn spawn(parts: WorkerParts) -> io::Result<std::thread::JoinHandle<()>> {
    let (listens, listening) = std::sync::mpsc::channel();
    let name = format!("worker-{}", parts.id.0);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => LocalSet::new().block_on(&runtime, serve(parts, &listens)),
            Err(error) => drop(listens.send(Err(error))),
        }
    })?;
    let gone = || io::Error::other("the worker ended before it listened");
    listening.recv().map_err(|_| gone())??;
    Ok(thread)
}

/// Everything between the first packet and the last.
async fn serve(parts: WorkerParts, listens: &std::sync::mpsc::Sender<io::Result<()>>) {
    let id = parts.id.0;
    match open(parts) {
        Ok((worker, endpoints, phase)) => {
            // Whoever started the thread waits for this.
            let _ = listens.send(Ok(()));
            until_closing(phase).await;
            close(&worker, &endpoints).await;
            worker.publish();
            tracing::debug!(worker = id, "worker ended");
        }
        Err(error) => drop(listens.send(Err(error))),
    }
}

type Opened = (Rc<Worker>, Vec<Endpoint>, watch::Receiver<Phase>);

fn open(parts: WorkerParts) -> io::Result<Opened> {
    let WorkerParts { id, shared, sockets, quic, table, receivers, .. } = parts;
    let mut endpoints = Vec::new();
    let mut listening = Vec::new();
    for socket in sockets {
        listening.push(socket.local_addr()?);
        let server = Some(quic.server.clone());
        endpoints.push(endpoint(&quic, id, server, socket)?);
    }
    let dialling = dial_endpoints(&shared, &quic, id)?;
    let worker = Rc::new(Worker {
        id,
        engine: RefCell::new(Engine::new(shared.config.engine(), id, table)),
        links: RefCell::default(),
        workers: parts.workers,
        control: parts.control,
        phase: parts.phase.clone(),
        gate: RefCell::new(HandshakeGate::new(shared.config.handshakes.clone())),
        armed_us: Cell::new(u64::MAX),
        rearm: Notify::new(),
        handshakes: Cell::default(),
        turned_us: Cell::default(),
        ended: RefCell::default(),
        listening,
        buffers: parts.buffers,
        shared,
    });
    spawn_local(pump::run(Rc::clone(&worker), receivers));
    for endpoint in &endpoints {
        spawn_local(accept::run(Rc::clone(&worker), endpoint.clone(), quic.clone()));
    }
    let Dialling { endpoints: from, peers } = dialling;
    for peer in peers {
        let client = quic.client(&peer);
        spawn_local(dial::run(Rc::clone(&worker), from.clone(), client, peer));
    }
    let named = worker.shared.config.peers.iter().filter(|peer| peer.address.literal().is_none());
    let dial_us: Vec<PeerSection> = named.filter(|peer| !dial::dials(&worker.shared.config, peer)).cloned().collect();
    if id.0 == 0 && !dial_us.is_empty() {
        spawn_local(dial::know(Rc::clone(&worker), dial_us));
    }
    endpoints.extend(from.v6.into_iter().chain(from.v4));
    Ok((worker, endpoints, parts.phase))
}

struct Dialling {
    endpoints: DialEndpoints,
    peers: Vec<PeerSection>,
}

/// The peers this worker dials, and sockets for it when there are any. Their address is that of a listen address, so that
/// a firewall sees one host; the port is the kernel's choice.
fn dial_endpoints(shared: &Shared, quic: &QuicConfigs, id: WorkerId) -> io::Result<Dialling> {
    let config = &shared.config;
    let workers = config.workers();
    let mine = config.peers.iter().filter(|peer| dial::is_mine(config, peer, id.0, workers));
    let peers: Vec<PeerSection> = mine.cloned().collect();
    let mut endpoints = DialEndpoints::default();
    if !peers.is_empty() {
        let local = |v6: bool| {
            let mut own = config.listen.addresses.iter().map(SocketAddr::ip);
            own.find(|address| address.is_ipv6() == v6)
        };
        let from = |local: IpAddr| {
            let socket = bind_alone(local, config.listen.socket_buffer_bytes);
            endpoint(quic, id, None, socket.map_err(io::Error::other)?)
        };
        endpoints.v6 = Some(from(local(true).unwrap_or(Ipv6Addr::UNSPECIFIED.into()))?);
        if config.listen.ipv4 {
            endpoints.v4 = Some(from(local(false).unwrap_or(Ipv4Addr::UNSPECIFIED.into()))?);
        }
    }
    Ok(Dialling { endpoints, peers })
}

fn endpoint(
    quic: &QuicConfigs,
    worker: WorkerId,
    server: Option<quinn::ServerConfig>,
    socket: UdpSocket,
) -> io::Result<Endpoint> {
    Endpoint::new(quic.endpoint(worker), server, socket, Arc::new(TokioRuntime))
}

/// Also ends when whoever started the worker is gone.
async fn until_closing(mut phase: watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase >= Phase::Closing).await;
}

async fn close(worker: &Worker, endpoints: &[Endpoint]) {
    for link in worker.links.borrow().values() {
        link.handle.close_with(CloseCode::Closed, "WIRE 3.4: drained");
    }
    let all_idle = async {
        for endpoint in endpoints {
            endpoint.close(quinn::VarInt::from_u32(0), b"WIRE 3.4: drained");
            endpoint.wait_idle().await;
        }
    };
    if tokio::time::timeout(LAST_PACKETS, all_idle).await.is_err() {
        tracing::debug!(worker = worker.id.0, "some connections did not end in time");
    }
}
