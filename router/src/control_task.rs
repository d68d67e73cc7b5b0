//! The control thread: who feeds the control side, and who carries out what it decides?
//!
//! One thread, one [`Control`]. Inputs come over one bounded queue in the order in which links sent them; events leave for
//! the workers in the order in which control decided them, and none is lost: control waits for a worker that is behind
//! (`channels.rs` says why that cannot become a circle).

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kernpost_codecs::{CloseCode, FrameFault, LinkIdentity, RouterId};
use kernpost_router_core::control::{Alarm, SnapshotSource};
use kernpost_router_core::{Control, ControlConfig, ControlOutput, EngineEvent, LinkId, Now, WorkerId};
use kernpost_routing_table::{IdentityUse, Table};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::channels::{ControlInput, WorkerSenders};
use crate::clock::Clock;
use crate::clock_watch::{self, ClockWatch};
use crate::link::LinkHandle;
use crate::observed::Observed;
use crate::readiness::Gate;

/// What the control thread is made of.
#[derive(Debug)]
pub struct ControlParts {
    /// Configuration of the control side.
    pub config: ControlConfig,
    /// The first table; later ones come as inputs.
    pub table: Arc<Table>,
    /// Older directory versions.
    pub snapshots: Arc<dyn SnapshotSource>,
    /// Its queue.
    pub inputs: mpsc::Receiver<ControlInput>,
    /// The workers' queues, by number.
    pub workers: Vec<WorkerSenders>,
    /// One time for everybody.
    pub clock: Clock,
    /// Whether that can be trusted; engines and custody have been told what it said last.
    pub clock_watch: ClockWatch,
    /// What operators see.
    pub observed: Arc<Observed>,
}

/// Inputs taken in one turn.
const TURN: usize = 64;
/// How often the state is published when it changed.
const PUBLISHING: Duration = Duration::from_millis(200);
/// A router further off makes this one not ready, ms (WIRE 3.1).
const CLOCK_LIMIT_MS: u64 = 60_000;

/// Starts the thread. It ends when all senders of its inputs are gone.
///
/// # Errors
/// The thread or its runtime cannot be had.
pub fn spawn(parts: ControlParts) -> io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        runtime.block_on(run(parts));
    })
}

async fn run(parts: ControlParts) {
    let ControlParts { config, table, snapshots, mut inputs, workers, clock, mut clock_watch, observed } = parts;
    let control = Control::new(config, Arc::clone(&table), snapshots);
    let links = HashMap::new();
    let mut task = ControlTask { control, table, links, workers, observed };
    task.observed.readiness.open(Gate::Control);
    let mut publishing = tokio::time::interval(PUBLISHING);
    publishing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looking = tokio::time::interval(clock_watch::EVERY);
    looking.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::new();
    let mut changed = true;
    loop {
        let deadline = task.control.poll_deadline();
        let sleep_until = Instant::from_std(clock.instant(deadline.unwrap_or_default()));
        tokio::select! {
            biased;
            _ = looking.tick() => {
                if let Some(event) = clock_watch.look(&task.observed) {
                    task.tell(None, event).await;
                }
            }
            count = inputs.recv_many(&mut batch, TURN) => {
                if count == 0 {
                    break;
                }
                let now = clock.now();
                for input in batch.drain(..) {
                    task.take(now, input);
                }
                changed = true;
            }
            () = tokio::time::sleep_until(sleep_until), if deadline.is_some() => {
                task.control.handle_timeout(clock.now());
                changed = true;
            }
            _ = publishing.tick(), if changed => {
                task.publish();
                changed = false;
            }
        }
        task.carry_out().await;
    }
    task.publish();
}

struct ControlTask {
    control: Control,
    table: Arc<Table>,
    links: HashMap<LinkId, Arc<LinkHandle>>,
    workers: Vec<WorkerSenders>,
    observed: Arc<Observed>,
}

impl ControlTask {
    fn take(&mut self, now: Now, input: ControlInput) {
        match input {
            ControlInput::LinkUp { link, worker, identities, dialled, handle } => {
                if let Some(fault) = self.not_whom_we_dialled(&identities, dialled.as_ref()) {
                    handle.close(&fault);
                    return;
                }
                self.links.insert(link, handle);
                self.control.handle_link_up(now, link, worker, &identities);
            }
            ControlInput::Frame { link, kind, body } => {
                self.control.handle_frame(now, link, kind, &body);
            }
            ControlInput::LinkDown { link } => {
                self.links.remove(&link);
                self.control.handle_link_down(link);
            }
            ControlInput::Table(table) => {
                self.table = Arc::clone(&table);
                self.control.handle_table(now, table);
            }
            ControlInput::Drain(until) => self.control.handle_drain(until),
        }
    }

    /// A dialled router has to be the one that was meant: the first identity any entry lists binds it (WIRE 2.2).
    fn not_whom_we_dialled(&self, identities: &[LinkIdentity], dialled: Option<&RouterId>) -> Option<FrameFault> {
        let meant = dialled?;
        let found = identities.iter().find_map(|identity| self.table.identity(identity));
        let detail = match found {
            Some(IdentityUse::Router(router)) if *router == *meant => return None,
            Some(IdentityUse::Router(router)) => format!("dialled {meant}, reached {router}"),
            Some(IdentityUse::Endpoints(_)) => format!("dialled {meant}, reached an endpoint side"),
            None => format!("dialled {meant}, reached a certificate no directory entry lists"),
        };
        tracing::warn!(detail, "not the router that was meant");
        Some(FrameFault::new(CloseCode::IdentityUnknown, "WIRE 2.2", detail))
    }

    async fn carry_out(&mut self) {
        while let Some(output) = self.control.poll_output() {
            match output {
                ControlOutput::Frame { link, bytes } => {
                    self.links.get(&link).inspect(|handle| handle.write_control(bytes));
                }
                ControlOutput::Close { link, fault } => {
                    self.links.get(&link).inspect(|handle| handle.close(&fault));
                }
                ControlOutput::Engine { worker, event } => self.tell(worker, event).await,
                ControlOutput::Alarm(alarm) => self.raise(&alarm),
            }
        }
    }

    /// Waits for a worker that is behind; one that has ended needs no more events.
    async fn tell(&self, worker: Option<WorkerId>, event: EngineEvent) {
        for (number, senders) in self.workers.iter().enumerate() {
            if worker.is_none_or(|worker| usize::from(worker.0) == number) {
                let _ = senders.events.send(event.clone()).await;
            }
        }
    }

    fn raise(&self, alarm: &Alarm) {
        self.observed.alarms.on_alarm(alarm);
        match alarm {
            Alarm::Clock { peer, offset_ms } => {
                tracing::warn!(peer, offset_ms, "alarm: a peer's clock is off");
            }
            Alarm::Equivocation { zone, peer } => {
                tracing::warn!(zone, peer, "alarm: two directories claim the same serial");
            }
            Alarm::PresenceRefused { router, what } => {
                tracing::warn!(router, what, "alarm: presence refused");
            }
        }
    }

    fn publish(&self) {
        let status = self.control.status();
        let far = status.links.iter().find(|link| link.router && link.clock_offset_ms.unsigned_abs() > CLOCK_LIMIT_MS);
        let readiness = &self.observed.readiness;
        match far {
            Some(link) => {
                let reason = format!("the clock of {} is {} ms off", link.peer, link.clock_offset_ms);
                readiness.close(Gate::Clock, &reason);
            }
            None => readiness.open(Gate::Clock),
        }
        self.observed.publish_control(status);
    }
}
