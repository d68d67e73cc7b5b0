//! How does a router start, run and stop? Reads aloud: configuration before any port, bind everything, start the threads,
//! say what was bound, wait, drain with a limit, close the books.
//!
//! [`Router`] is the running process without signals (tests use it); [`run`] adds them: SIGTERM and SIGINT drain, a second
//! one ends at once, SIGHUP looks for a new directory.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use kernpost_codecs::UnixMs;
use kernpost_router_core::{Ledger, WorkerId};
use kernpost_routing_table::Published;
use kernpost_spool::SpoolError;
use kernpost_spool::payloads::PayloadFault;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::admin::{AdminError, AdminServer};
use crate::channels::{self, CONTROL_INPUTS, ControlInput};
use crate::check::Prepared;
use crate::clock::{Clock, wall};
use crate::clock_watch::ClockWatch;
use crate::config::Config;
use crate::connection_id::{ConnectionIds, Mask};
use crate::control_task::{self, ControlParts};
use crate::custody::{CustodySeat, CustodyThreads};
use crate::directory::{DirectoryPaths, DirectoryTrouble, LiveDirectory};
use crate::directory_task::{self, DirectoryParts};
use crate::drain::{self, Drained};
use crate::observed::Observed;
use crate::operators::{Desk, OperatorError, OperatorSocket};
use crate::peer_addresses::PeerAddresses;
use crate::readiness::Gate;
use crate::socket::{Buffers, SocketError, SocketGroup, bind_group};
use crate::state_folder::{Addresses, StateError, StateFolder};
use crate::steering;
use crate::tls::TlsError;
use crate::tls::quic::QuicConfigs;
use crate::worker::{self, Phase, Shared, WorkerParts};

/// Why a router does not start. Nothing was announced, every port is free again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state folder.
    #[error("{0}")]
    State(#[from] StateError),
    /// The directory's memory in the state folder.
    #[error("{0}")]
    Directory(#[from] DirectoryTrouble),
    /// Certificates or TLS.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The spool.
    #[error("{0}")]
    Spool(#[from] SpoolError),
    /// Large payloads in custody.
    #[error("{0}")]
    Payloads(#[from] PayloadFault),
    /// A listen address.
    #[error("{0}")]
    Socket(#[from] SocketError),
    /// The admin interface.
    #[error("{0}")]
    Admin(#[from] AdminError),
    /// The socket of operators.
    #[error("{0}")]
    Operators(#[from] OperatorError),
    /// A thread, a runtime or a quinn endpoint.
    #[error("cannot start {what}: {source}; the machine is short of threads, files or memory")]
    Thread {
        /// Which part.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn thread(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Thread { what, source }
}

/// A running router.
#[derive(Debug)]
pub struct Router {
    clock: Clock,
    addresses: Addresses,
    observed: Arc<Observed>,
    state: StateFolder,
    control: mpsc::Sender<ControlInput>,
    phase: watch::Sender<Phase>,
    look: std_mpsc::Sender<()>,
    workers: Vec<JoinHandle<()>>,
    control_thread: JoinHandle<()>,
    directory_thread: JoinHandle<()>,
    custody: Option<CustodyThreads>,
    operators: Option<OperatorSocket>,
    admin: AdminServer,
}

/// How a router ended.
#[derive(Debug, Clone, Copy)]
pub struct Stopped {
    /// The drain.
    pub drained: Drained,
    /// The books at the end.
    pub ledger: Ledger,
}

impl Router {
    /// Binds everything, then starts the threads; returns when links are accepted.
    ///
    /// # Errors
    /// Something cannot be had; what was started has ended again.
    pub fn start(prepared: Prepared) -> Result<Self, StartError> {
        let Prepared { config, credentials, trust, directory: loaded, custody, .. } = prepared;
        let clock = Clock::start();
        let state = StateFolder::open(&config.router.state)?;
        let secret = state.link_secret()?;
        let mut groups = bind(&config)?;
        let steered = steer_groups(&groups, secret.mask());
        let ids = ConnectionIds::new(&secret, config.workers(), steered);
        let quic = QuicConfigs::new(&config, &credentials, &trust, ids, secret.reset_key())?;
        let live = LiveDirectory::start(DirectoryPaths::of(&config), &loaded)?;
        let published = Published::new(loaded.table);
        let table = published.current();
        let workers = config.workers();
        let observed = Arc::new(Observed::new(config.router.id.clone(), wall(), published.clone(), workers));
        directory_task::log_table(&table);
        directory_task::show(&observed, &config.router.id, &table, wall());
        let admin = AdminServer::start(config.admin.listen, Arc::clone(&observed))?;

        let (control, inputs) = mpsc::channel(CONTROL_INPUTS);
        let (phase, phases) = watch::channel(Phase::Running);
        let seats = workers + u16::from(custody.is_some());
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..seats).map(|_| channels::worker(&config)).unzip();
        let mut clock_watch = ClockWatch::new(config.clock());
        // Before any thread begins: nothing may expire by a clock nobody has asked about.
        if let Some(event) = clock_watch.look(&observed) {
            for senders in &senders {
                // The queue is new: there is room.
                let _ = senders.events.try_send(event.clone());
            }
        }
        let mut receivers = receivers.into_iter();
        let worker_receivers: Vec<_> = receivers.by_ref().take(usize::from(workers)).collect();
        let custody = match custody.zip(receivers.next()).zip(config.custody.as_ref()) {
            Some(((keys, receivers), section)) => {
                let core = section.core(config.router.id.clone(), workers, &config.deadlines);
                // Not its own queues: custody ends when nobody else can send to it.
                let others = senders.iter().take(usize::from(workers)).cloned().collect();
                let parts = CustodySeat { core, receivers, workers: others, table: Arc::clone(&table), clock };
                Some(CustodyThreads::start(section, keys, parts, &observed)?)
            }
            None => None,
        };
        let operators = match &custody {
            Some(threads) => {
                let (spool, acts) = (threads.spool_commands.clone(), threads.acts.clone());
                let payloads = Arc::clone(&threads.payloads);
                let desk = Desk::new(spool, acts, payloads, clock, Arc::clone(&observed));
                let group = config.admin.operators_group.as_deref();
                Some(OperatorSocket::start(&config.admin.socket, group, desk)?)
            }
            None => None,
        };
        let control_thread = control_task::spawn(ControlParts {
            config: config.control(),
            table: Arc::clone(&table),
            snapshots: live.history(),
            inputs,
            workers: senders.clone(),
            clock,
            clock_watch,
            observed: Arc::clone(&observed),
        })
        .map_err(thread("the control thread"))?;
        let (look, looks) = std_mpsc::channel();
        let directory_thread = directory_task::spawn(DirectoryParts {
            live,
            published,
            control: control.clone(),
            observed: Arc::clone(&observed),
            look: looks,
            poll: Duration::from_millis(config.directory.poll_ms),
        })
        .map_err(thread("the directory thread"))?;
        let quic_addresses = groups.iter().map(|group| group.address).collect();
        let shared = Arc::new(Shared {
            clock,
            link_names: AtomicU64::new(1),
            links: AtomicUsize::new(0),
            peer_addresses: PeerAddresses::new(&config.peers, config.listen.ipv4),
            observed: Arc::clone(&observed),
            config,
        });
        let mut threads = Vec::new();
        for (number, receivers) in (0..workers).zip(worker_receivers) {
            let parts = WorkerParts {
                id: WorkerId(number),
                shared: Arc::clone(&shared),
                sockets: groups.iter_mut().filter_map(|group| group.sockets.pop_front()).collect(),
                buffers: smallest_buffers(&groups),
                quic: quic.clone(),
                table: Arc::clone(&table),
                receivers,
                workers: senders.clone(),
                control: control.clone(),
                phase: phases.clone(),
            };
            threads.push(worker::spawn(parts).map_err(thread("a worker"))?);
        }
        if custody.is_none() {
            observed.readiness.open(Gate::Custody);
        }
        observed.readiness.open(Gate::Listening);
        let addresses = Addresses { quic: quic_addresses, admin: admin.address().into() };
        state.write_addresses(&addresses)?;
        tracing::info!(router = %observed.router, quic = ?addresses.quic, admin = %addresses.admin, workers, "listening");
        Ok(Self {
            clock,
            addresses,
            observed,
            state,
            control,
            phase,
            look,
            workers: threads,
            control_thread,
            directory_thread,
            custody,
            operators,
            admin,
        })
    }

    /// What was bound.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What operators see.
    #[must_use]
    pub fn observed(&self) -> &Arc<Observed> {
        &self.observed
    }

    /// Looks for a new directory now.
    pub fn look_for_directory(&self) {
        // The thread is there as long as this sender.
        let _ = self.look.send(());
    }

    /// Refuses new entries, waits for what is in flight at most `limit`, closes every link with `closed`.
    pub async fn stop(self, limit: Duration) -> Stopped {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let until = UnixMs(wall().0.saturating_add(limit_ms));
        self.observed.readiness.close(Gate::Drain, "draining");
        self.phase.send_replace(Phase::Draining);
        // Control lives as long as its queue has senders.
        let _ = self.control.send(ControlInput::Drain(until)).await;
        let drained = drain::wait(&self.observed, self.clock, limit).await;
        self.phase.send_replace(Phase::Closing);
        self.state.remove_addresses();
        let Self {
            workers, control, look, control_thread, directory_thread, custody, operators, admin, observed, ..
        } = self;
        drop((control, look));
        let joined = tokio::task::spawn_blocking(move || {
            // It holds the way to the spool's thread, which ends when nobody does.
            drop(operators);
            let custody = custody.map(CustodyThreads::into_threads);
            let threads = workers.into_iter().chain([directory_thread, control_thread]);
            for thread in threads.chain(custody.into_iter().flatten()) {
                if thread.join().is_err() {
                    tracing::error!("a thread of this router ended by panic: report this");
                }
            }
        });
        // Cannot fail: the closure does not panic and nobody aborts it.
        let _ = joined.await;
        drop(admin);
        let ledger = observed.ledger();
        Stopped { drained, ledger }
    }
}

/// The whole group of every listen address, before anybody reads.
fn bind(config: &Config) -> Result<Vec<SocketGroup>, SocketError> {
    let buffer = config.listen.socket_buffer_bytes;
    let bind_one = |address: &std::net::SocketAddr| bind_group(*address, config.workers(), buffer);
    let groups: Vec<SocketGroup> = config.listen.addresses.iter().map(bind_one).collect::<Result<_, _>>()?;
    // All sockets get the same: say it once.
    for shortfall in groups.first().map(|group| group.buffers.shortfalls()).unwrap_or_default() {
        tracing::warn!("{shortfall}");
    }
    Ok(groups)
}

/// Has the kernel bring packets to the worker their connection id names. False: it will not; links are then lost when their
/// peer's address changes, and nothing else.
fn steer_groups(groups: &[SocketGroup], mask: Mask) -> bool {
    let alone = |group: &SocketGroup| group.sockets.len() < 2;
    let mut several = groups.iter().filter(|group| !alone(group));
    let steered = several.try_for_each(|group| match group.sockets.front() {
        Some(first) => steering::steer(first, mask),
        None => Ok(()),
    });
    match steered {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(
                %error,
                "the kernel takes no program that chooses sockets by connection id (SO_ATTACH_REUSEPORT_CBPF): a link \
                 whose peer's address changes may be lost and come back; router.workers = 1 avoids that"
            );
            false
        }
    }
}

fn smallest_buffers(groups: &[SocketGroup]) -> Buffers {
    let buffers = groups.iter().map(|group| group.buffers);
    buffers.min_by_key(|buffers| buffers.receive).unwrap_or(Buffers { asked: 0, receive: 0, send: 0 })
}

/// Runs a router until a signal stops it. Success: everything in flight settled.
///
/// # Errors
/// It does not start.
pub fn run(prepared: Prepared) -> Result<ExitCode, StartError> {
    for warning in &prepared.warnings {
        tracing::warn!("{warning}");
    }
    let limit = Duration::from_millis(prepared.config.deadlines.drain_ms);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread("the main runtime"))?;
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(thread("signal handling"))?;
        let router = Router::start(prepared)?;
        until_stopped(&router, &mut signals).await;
        tracing::info!(?limit, "draining; a second signal ends at once");
        tokio::select! {
            stopped = router.stop(limit) => {
                log_stopped(&stopped);
                Ok(ExitCode::SUCCESS)
            }
            () = signals.stop() => {
                tracing::warn!("ended before the drain did; what was in flight is undecided for its senders");
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

async fn until_stopped(router: &Router, signals: &mut Signals) {
    loop {
        tokio::select! {
            biased;
            _ = signals.hangup.recv() => {
                tracing::info!("looking for a new directory");
                router.look_for_directory();
            }
            () = signals.stop.either() => return,
        }
    }
}

fn log_stopped(stopped: &Stopped) {
    let Stopped { drained, ledger } = stopped;
    if drained.left == 0 {
        tracing::info!(took = ?drained.took, "drained");
    } else {
        tracing::warn!(took = ?drained.took, left = drained.left, "the drain's limit passed; what is left is undecided");
    }
    let balanced = ledger.balanced();
    tracing::info!(
        accepted = ledger.accepted,
        delivered = ledger.delivered,
        rejected = ledger.rejected,
        refused = ledger.refused,
        undecided = ledger.undecided,
        custody = ledger.custody,
        expired = ledger.expired,
        damaged = ledger.damaged,
        returned = ledger.returned,
        discarded = ledger.discarded,
        noted = ledger.noted,
        in_flight = ledger.in_flight,
        balanced,
        "ledger"
    );
}

/// The signals a router listens to.
#[derive(Debug)]
struct Signals {
    hangup: Signal,
    stop: StopSignals,
}

#[derive(Debug)]
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let stop = StopSignals { terminate, interrupt };
        Ok(Self { hangup: signal(SignalKind::hangup())?, stop })
    }

    async fn stop(&mut self) {
        self.stop.either().await;
    }
}

impl StopSignals {
    async fn either(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
