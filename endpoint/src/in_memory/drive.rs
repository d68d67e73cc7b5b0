//! Carries everything between the clients and the router of an in-memory network, in order, on one thread.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use kernpost_codecs::key::KeyError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::plan::{Plan, World};
use super::process::{Packet, Process};
use super::router::{Effect, Router};
use crate::client::Client;
use crate::client::bare::Clock;
use crate::core::{Now, SessionId};

/// What a test does to a link.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Connect,
    Disconnect,
}

/// A change of one client's link; answered when it is done.
#[derive(Debug)]
pub(super) struct Command {
    pub process: usize,
    pub change: Change,
    pub done: oneshot::Sender<()>,
}

/// All parts of the network.
pub(super) struct Network {
    clock: Clock,
    router: Router,
    processes: Vec<Process>,
    by_session: BTreeMap<SessionId, usize>,
    next_session: u64,
    problems: Vec<String>,
}

impl Network {
    pub fn new(plan: &Plan, world: &World) -> (Self, Vec<Client>) {
        let mut network = Self {
            clock: Clock::start(),
            router: Router::new(&plan.router, &world.table, world.directory.clone()),
            processes: Vec::new(),
            by_session: BTreeMap::new(),
            next_session: 1,
            problems: Vec::new(),
        };
        let mut clients = Vec::new();
        for (place, endpoints) in plan.links.iter().enumerate() {
            match Process::new(plan, place, endpoints) {
                Ok((mut process, client)) => {
                    process.install(network.clock.now(), &world.table);
                    network.processes.push(process);
                    clients.push(client);
                }
                Err(error) => network.key_problem(&error),
            }
        }
        (network, clients)
    }

    fn key_problem(&mut self, error: &KeyError) {
        self.problems.push(format!("keys: {error}"));
    }

    /// Brings every link up and carries everything until all is quiet: then everybody is attached.
    pub fn connect_all(&mut self) {
        for place in 0..self.processes.len() {
            self.connect(place);
        }
        self.carry();
    }

    /// What keeps somebody from being attached.
    pub fn problems(&self) -> Vec<String> {
        self.problems.iter().cloned().chain(self.processes.iter().flat_map(Process::problems)).collect()
    }

    fn connect(&mut self, place: usize) {
        let now = self.clock.now();
        let Some(process) = self.processes.get_mut(place).filter(|process| process.session.is_none()) else { return };
        let session = SessionId(self.next_session);
        self.next_session = self.next_session.wrapping_add(1);
        self.by_session.insert(session, place);
        process.connected(now, session);
        self.router.connected(now, session, &process.identity);
    }

    fn disconnect(&mut self, place: usize) {
        let now = self.clock.now();
        let Some(session) = self.processes.get_mut(place).and_then(|process| process.lost(now)) else { return };
        self.by_session.remove(&session);
        self.router.lost(session);
    }

    fn change(&mut self, command: Command) {
        match command.change {
            Change::Connect if self.processes.get(command.process).is_some_and(|one| !one.has_ended()) => {
                self.connect(command.process);
            }
            Change::Connect => {}
            Change::Disconnect => self.disconnect(command.process),
        }
        self.carry();
        let _ = command.done.send(());
    }

    /// Carries packets both ways until nobody has anything left to say.
    fn carry(&mut self) {
        loop {
            let now = self.clock.now();
            let sent: Vec<Packet> = self.processes.iter_mut().flat_map(|process| process.effects(now)).collect();
            let mut quiet = sent.is_empty();
            for packet in sent {
                let session = packet.session;
                if !self.by_session.contains_key(&session) {
                    continue;
                }
                if let Err(fault) = self.router.arrived(now, packet) {
                    self.router.lost(session);
                    self.close(now, session, &fault);
                }
            }
            for effect in self.router.effects(now) {
                quiet = false;
                self.carry_out(now, effect);
            }
            if quiet {
                return;
            }
        }
    }

    fn carry_out(&mut self, now: Now, effect: Effect) {
        match effect {
            Effect::Send(packet) => {
                let session = packet.session;
                let Some(process) = self.by_session.get(&session).and_then(|at| self.processes.get_mut(*at)) else {
                    return;
                };
                if let Err(fault) = process.arrived(now, packet) {
                    self.router.lost(session);
                    self.close(now, session, &fault);
                }
            }
            Effect::Close(session, fault) => self.close(now, session, &fault),
        }
    }

    fn close(&mut self, now: Now, session: SessionId, fault: &kernpost_codecs::FrameFault) {
        if let Some(process) = self.by_session.remove(&session).and_then(|at| self.processes.get_mut(at)) {
            process.closed_by_router(now, fault);
        }
    }

    fn timeout(&mut self) {
        let now = self.clock.now();
        for process in &mut self.processes {
            process.timeout(now);
        }
        if self.router.deadline().is_some_and(|at| at <= now.mono_us) {
            self.router.timeout(now);
        }
    }

    fn deadline(&self) -> Instant {
        let deadlines = self.processes.iter().filter_map(Process::deadline).chain(self.router.deadline());
        let far = Instant::now() + Duration::from_secs(3_600);
        deadlines.min().map_or(far, |at| self.clock.instant(at))
    }

    /// Ready when any application asked for something.
    fn poll_inputs(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        let mut any = false;
        for process in &mut self.processes {
            any |= process.poll_inputs(context, now);
        }
        if any { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ends clients that have nothing left to do, and cuts the links of those that have ended.
    fn end_closed(&mut self) {
        for place in 0..self.processes.len() {
            let now = self.clock.now();
            let Some(process) = self.processes.get_mut(place) else { continue };
            if process.is_done(now) {
                process.detach();
                self.carry();
            }
            let Some(process) = self.processes.get_mut(place) else { continue };
            if process.is_done(now) {
                process.end(now);
            }
            if process.has_ended() {
                self.disconnect(place);
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.processes.iter().all(Process::has_ended)
    }
}

/// Runs until every client has ended.
pub(super) async fn run(mut network: Network, mut commands: mpsc::Receiver<Command>) {
    while !network.has_ended() {
        let wake = network.deadline();
        tokio::select! {
            () = poll_fn(|context| network.poll_inputs(context)) => {}
            Some(command) = commands.recv() => network.change(command),
            () = tokio::time::sleep_until(wake) => {}
        }
        network.timeout();
        network.carry();
        network.end_closed();
        network.carry();
    }
}
