//! The custody thread: who drives the sans-IO custody, and what does it exchange with workers, control and the spool?
//!
//! One thread, one [`Custody`]. It takes part in the workers' queues as one more of them ([`crate::channels`]); the spool has a
//! thread of its own ([`spool_thread`]), so that no message waits for an fsync that is not its own. Whatever arrives while an
//! fsync is under way shares the next one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kernpost_router_core::custody::spool::{EntryState, SpoolRead};
use kernpost_router_core::custody::{Act, CustodyAlarm, CustodyLedger, CustodyStats, PayloadEvent, spool};
use kernpost_router_core::{Crossing, Custody, CustodyConfig, CustodyOutput, EngineEvent, RouterSigner, WorkerId};
use kernpost_routing_table::Table;
use kernpost_spool::payloads::PayloadFault;
use kernpost_spool::{FjallStore, MasterKeys, PayloadStore, Spool, SpoolError};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::channels::{WorkerReceivers, WorkerSenders};
use crate::check::CustodyKeys;
use crate::clock::Clock;
use crate::config::CustodySection;
use crate::observed::Observed;
use crate::readiness::Gate;
use crate::run::StartError;

mod payloads;
pub mod query;
pub mod spool_thread;

use payloads::Payloads;
use spool::{SpoolEvent, Totals};
use spool_thread::{SpoolCommand, SpoolHandle};

/// Custody at an instant.
#[derive(Debug, Clone, Default)]
pub struct CustodySnapshot {
    /// Its books.
    pub ledger: CustodyLedger,
    /// Its counters.
    pub stats: CustodyStats,
    /// How much the spool holds.
    pub totals: Totals,
    /// Whether nothing is under way.
    pub idle: bool,
    /// When it was taken, monotonic µs of the router's clock.
    pub taken_us: u64,
}

/// What the custody thread is made of.
#[derive(Debug)]
pub struct CustodyParts {
    /// Configuration of the core.
    pub config: CustodyConfig,
    /// Signs receipts.
    pub signer: RouterSigner,
    /// The first table; later ones come as events.
    pub table: Arc<Table>,
    /// Its queues, as a worker has them.
    pub receivers: WorkerReceivers,
    /// The workers' queues, by number.
    pub workers: Vec<WorkerSenders>,
    /// The spool.
    pub spool: SpoolHandle,
    /// Large payloads.
    pub payloads: Arc<PayloadStore>,
    /// What operators decide.
    pub acts: mpsc::Receiver<Act>,
    /// One time for everybody.
    pub clock: Clock,
    /// What operators see.
    pub observed: Arc<Observed>,
}

/// What custody shares with the rest of the process.
#[derive(Debug)]
pub struct CustodySeat {
    /// Configuration of the core.
    pub core: CustodyConfig,
    /// Its queues, as a worker has them.
    pub receivers: WorkerReceivers,
    /// The workers' queues, by number.
    pub workers: Vec<WorkerSenders>,
    /// The first table.
    pub table: Arc<Table>,
    /// One time for everybody.
    pub clock: Clock,
}

/// The running threads, and how operators reach them.
#[derive(Debug)]
pub struct CustodyThreads {
    /// To custody.
    pub acts: mpsc::Sender<Act>,
    /// To the spool's thread, for questions. It ends when nobody holds a copy.
    pub spool_commands: mpsc::UnboundedSender<SpoolCommand>,
    /// Large payloads, for operators who export them.
    pub payloads: Arc<PayloadStore>,
    custody: std::thread::JoinHandle<()>,
    spool_thread: std::thread::JoinHandle<()>,
}

impl CustodyThreads {
    /// Opens the spool and starts both threads.
    ///
    /// # Errors
    /// The spool cannot be opened, or a thread cannot be had.
    pub fn start(
        section: &CustodySection,
        keys: CustodyKeys,
        seat: CustodySeat,
        observed: &Arc<Observed>,
    ) -> Result<Self, StartError> {
        let CustodyKeys { masters, signer } = keys;
        let CustodySeat { core, receivers, workers, table, clock } = seat;
        let store = FjallStore::open(&section.folder, &section.store()).map_err(SpoolError::from)?;
        let folder = section.folder.join("payloads");
        let payloads = open_payloads(&folder, masters.clone(), section.partial_bytes)?;
        let mut spool = Spool::open(store, masters, clock.now().wall, Box::new(fill_random))?;
        payloads.sweep(|sender, message| {
            let read = SpoolRead::Message { ticket: 0, sender: sender.clone(), message };
            let SpoolEvent::RecordRead { found: Some(found), .. } = spool.read(&read) else { return false };
            let named = found.head.as_ref().and_then(|head| head.entry_of(sender, message));
            // One whose index cannot be read may be waiting.
            named.is_none_or(|entry| entry.state == EntryState::Waiting)
        })?;
        let no_thread = |what| move |source| StartError::Thread { what, source };
        let (spool, spool_thread) =
            spool_thread::spawn(spool, Arc::clone(&payloads), clock).map_err(no_thread("the spool's thread"))?;
        let (acts, acts_taken) = mpsc::channel(ACTS);
        let spool_commands = spool.commands.clone();
        let observed = Arc::clone(observed);
        let parts = CustodyParts {
            config: core,
            signer,
            table,
            receivers,
            workers,
            spool,
            payloads: Arc::clone(&payloads),
            acts: acts_taken,
            clock,
            observed,
        };
        let custody = spawn(parts).map_err(no_thread("the custody thread"))?;
        Ok(Self { acts, spool_commands, payloads, custody, spool_thread })
    }

    /// To be joined, in this order: the spool ends when custody has.
    pub fn into_threads(self) -> [std::thread::JoinHandle<()>; 2] {
        [self.custody, self.spool_thread]
    }
}

fn open_payloads(folder: &Path, masters: MasterKeys, quota: u64) -> Result<Arc<PayloadStore>, PayloadFault> {
    Ok(Arc::new(PayloadStore::open(folder, masters, Box::new(fill_random), quota)?))
}

fn fill_random(bytes: &mut [u8]) {
    use rand::RngCore;
    rand::rng().fill_bytes(bytes);
}

/// Acts of operators that may wait.
const ACTS: usize = 64;
/// Crossings and answers taken in one turn.
const TURN: usize = 256;
/// How often partial payloads are looked through for old ones.
const EXPIRING: Duration = Duration::from_secs(3_600);
/// How often the state is published.
const PUBLISHING: Duration = Duration::from_millis(200);

/// Starts the thread. It ends when control does.
///
/// # Errors
/// The thread or its runtime cannot be had.
pub fn spawn(parts: CustodyParts) -> io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("custody".to_owned()).spawn(move || {
        runtime.block_on(run(parts));
    })
}

async fn run(parts: CustodyParts) {
    let CustodyParts { config, signer, table, receivers, workers, spool, payloads, mut acts, clock, observed } = parts;
    let WorkerReceivers { mut events, mut entries, mut settlements, payloads: mut streams } = receivers;
    let SpoolHandle { commands, events: mut answers } = spool;
    let custody = Custody::new(config, signer, table, clock.now());
    let (payloads, mut payload_events) = Payloads::new(payloads, workers.clone());
    let mut task = Task { custody, workers, commands, payloads, observed, clock };
    let mut expiring = tokio::time::interval(EXPIRING);
    let mut publishing = tokio::time::interval(PUBLISHING);
    publishing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut settled, mut handed_over, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let deadline = task.custody.poll_deadline();
        let wake = Instant::from_std(clock.instant(deadline.unwrap_or_default()));
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => task.take_events(Some(event), &mut events),
                None => break,
            },
            count = answers.recv_many(&mut answered, TURN) => {
                if count == 0 {
                    tracing::error!("the spool's thread has ended: report this");
                    break;
                }
                task.take_events(None, &mut events);
                task.take_answers(&mut answered);
            }
            _ = settlements.recv_many(&mut settled, TURN) => {
                task.take_events(None, &mut events);
                task.take_crossings(&mut settled);
            }
            _ = entries.recv_many(&mut handed_over, TURN) => {
                task.take_events(None, &mut events);
                task.take_crossings(&mut handed_over);
            }
            Some(stream) = streams.recv() => task.payloads.take(stream),
            Some(event) = payload_events.recv() => {
                if let PayloadEvent::Ended { label, .. } = &event {
                    task.payloads.forget(*label);
                }
                task.custody.handle_payload(clock.now(), event);
            }
            Some(act) = acts.recv() => {
                let now = clock.now();
                task.custody.handle_act(now, act);
            }
            () = tokio::time::sleep_until(wake), if deadline.is_some() => task.custody.handle_timeout(clock.now()),
            _ = publishing.tick() => task.publish(),
            _ = expiring.tick() => task.payloads.expire(),
        }
        task.carry_out();
    }
    task.publish();
}

struct Task {
    custody: Custody,
    workers: Vec<WorkerSenders>,
    commands: mpsc::UnboundedSender<SpoolCommand>,
    payloads: Payloads,
    observed: Arc<Observed>,
    clock: Clock,
}

impl Task {
    /// Events before crossings: presence of a link that control has announced is known when something comes from it.
    fn take_events(&mut self, first: Option<EngineEvent>, events: &mut mpsc::Receiver<EngineEvent>) {
        let more = std::iter::from_fn(|| events.try_recv().ok());
        for event in first.into_iter().chain(more).take(TURN) {
            self.custody.handle_event(self.clock.now(), event);
        }
    }

    fn take_crossings(&mut self, crossings: &mut Vec<Crossing>) {
        let now = self.clock.now();
        for crossing in crossings.drain(..) {
            self.custody.handle_crossing(now, crossing);
        }
    }

    fn take_answers(&mut self, answers: &mut Vec<SpoolEvent>) {
        let now = self.clock.now();
        for answer in answers.drain(..) {
            self.custody.handle_spool(now, answer);
        }
        if self.custody.is_ready() {
            self.observed.readiness.open(Gate::Custody);
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.custody.poll_output() {
            match output {
                CustodyOutput::Cross { worker, crossing } => self.cross(worker, crossing),
                CustodyOutput::Intent(intent) => self.ask_spool(SpoolCommand::Intent(Box::new(intent))),
                CustodyOutput::Read(read) => self.ask_spool(SpoolCommand::Read(read)),
                CustodyOutput::Payload(order) => self.payloads.carry_out(order),
                CustodyOutput::Alarm(alarm) => self.raise(&alarm),
            }
        }
    }

    /// As many wait as custody has not had an answer to: bounded by the workers' credit and the windows.
    fn ask_spool(&self, command: SpoolCommand) {
        if self.commands.send(command).is_err() {
            tracing::error!("the spool's thread has ended: report this");
        }
    }

    /// As a worker hands over: entries that find the queue full come back, settlements always find room.
    fn cross(&mut self, to: WorkerId, crossing: Crossing) {
        let Some(senders) = self.workers.get(usize::from(to.0)) else { return };
        let entries = matches!(crossing, Crossing::Entries(_));
        let queue = if entries { &senders.entries } else { &senders.settlements };
        match queue.try_send(crossing) {
            Ok(()) => {}
            Err(refused) if entries => {
                let now = self.clock.now();
                self.custody.handle_cross_refused(now, refused.into_inner());
            }
            Err(_) => tracing::error!(worker = to.0, "a settlement found no room to cross: report this"),
        }
    }

    fn raise(&self, alarm: &CustodyAlarm) {
        self.observed.alarms.on_custody(alarm);
        match alarm {
            CustodyAlarm::Stopped { cause } => {
                let reason = format!("custody stopped: {cause}; look at the disk, then start the router again");
                self.observed.readiness.close(Gate::Custody, &reason);
                tracing::error!(
                    cause,
                    "alarm: custody stopped, nothing more is taken or delivered; what waited is undecided"
                );
            }
            CustodyAlarm::Damaged { record } => {
                tracing::error!(
                    record = record.0,
                    "alarm: a record of the spool is damaged; it is put in order from what is left, or its senders get receipts damaged"
                );
            }
            CustodyAlarm::Unreadable { record } => {
                tracing::error!(
                    record = record.0,
                    "alarm: a record of the spool and its index cannot be read; its senders ask or send again: look at the disk"
                );
            }
            CustodyAlarm::NoKey => {
                tracing::warn!("alarm: the directory lists none of custody.signing_keys for now: no custody is taken");
            }
        }
    }

    fn publish(&self) {
        let custody = &self.custody;
        let mut totals = custody.totals();
        totals.disk_bytes = totals.disk_bytes.saturating_add(self.payloads.held_bytes());
        self.observed.publish_custody(CustodySnapshot {
            ledger: custody.ledger(),
            stats: custody.stats(),
            totals,
            idle: custody.is_idle(),
            taken_us: self.clock.now().mono_us,
        });
    }
}
