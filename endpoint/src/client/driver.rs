//! The one task that owns the core: takes what arrives in batches, then carries out what the core wants.
//!
//! It never blocks and never waits for anything but its input channel and its deadline: the journal has threads of its
//! own, directories are verified on the blocking pool, and writers have bounded queues. The core decides everything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kernpost_codecs::frame::Frame;
use kernpost_codecs::{
    Ars, CloseCode, DirectoryVersion, EndpointId, FrameFault, MessageId, PayloadHead, RouterId, ServiceKey,
};
use kernpost_routing_table::Table;
use smallvec::{SmallVec, smallvec};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::clock::Clock;
use super::config::DirectoryConfig;
use super::directory;
use super::link::{LinkHandle, not_the_router};
use super::payloads::{Arriving, Payloads};
use super::status::{Status, Turns};
use super::{Delivery, DeliverySink, Finished, Queued, Room};
use crate::core::{
    Core, DeliveryId, Event, FinalOutcome, Incoming, JournalRecord, Lookup, Now, Opened, Outgoing, Output,
    PayloadOrder, Received, Recovered, Resolution, SendError, SendOutcome, SessionId, StoreOrder, Stream, Ticket,
    Verdict, Verified,
};
use crate::journal::{JournalAnswer, JournalThreads, SentLog};
use crate::outbox_store::{StoreAnswer, StoreThreads};

/// Inputs handled before outputs are carried out: what accumulates meanwhile is signed together.
const BATCH: usize = 512;

/// Everything that reaches the driver.
#[derive(Debug)]
pub(crate) enum Input {
    Send(Vec<(Outgoing, Waiting)>),
    Verdicts(Vec<(DeliveryId, Verdict)>),
    Abandoned { id: DeliveryId },
    Resolve { service: ServiceKey, jurisdiction: Ars, answer: oneshot::Sender<Resolution> },
    Close { patience: Duration },
    Up { session: SessionId, link: usize, router_index: usize, handle: Box<LinkHandle> },
    Frames { session: SessionId, stream: Stream, frames: Vec<Frame> },
    Writable { session: SessionId, stream: Stream },
    Down { session: SessionId },
    Journal(JournalAnswer),
    Store(StoreAnswer),
    Ask { statement: Bytes, timeout_ms: u64, waiting: Waiting },
    PayloadOpened { id: DeliveryId, opened: Opened },
    PayloadProgress { id: DeliveryId, offset: u64 },
    PayloadEnd { id: DeliveryId, received: Received },
    PayloadStream { session: SessionId, arriving: Box<Arriving> },
    Verified { version: DirectoryVersion, snapshots: Vec<Bytes>, result: Result<Verified, String> },
    Table(Arc<Table>),
}

/// Where the stages and the outcome of a message go.
#[derive(Debug)]
pub(crate) enum OutcomeSender {
    /// To the handle of this message alone.
    One(HandleSender),
    /// Into a queue, with others.
    Queue(QueueSender),
}

/// The driver's end of a handle.
#[derive(Debug)]
pub(crate) struct HandleSender {
    /// Only with a durable outbox: under which id the message is durable.
    pub accepted: Option<oneshot::Sender<Result<MessageId, SendError>>>,
    pub settled: Option<oneshot::Sender<Result<SendOutcome, SendError>>>,
    pub ended: oneshot::Sender<Result<SendOutcome, SendError>>,
}

/// The driver's end of a queue.
#[derive(Debug, Clone)]
pub(crate) struct QueueSender {
    pub queue: mpsc::UnboundedSender<Queued>,
    /// Whether the final outcome follows a stage that was told.
    pub stages: bool,
    /// Dropped when the message is durable: who sent it waits for that.
    pub pending: Option<mpsc::Sender<()>>,
}

/// Who waits for the outcome of one message, and the room it holds meanwhile.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub id: MessageId,
    pub to: OutcomeSender,
    pub room: Option<Room>,
    /// A stage was told.
    pub told: bool,
}

impl Waiting {
    /// The message is durable, perhaps under the id of an earlier sending.
    pub fn accepted(&mut self, id: MessageId) {
        self.id = id;
        match &mut self.to {
            OutcomeSender::One(handle) => {
                if let Some(accepted) = handle.accepted.take() {
                    let _ = accepted.send(Ok(id));
                }
            }
            OutcomeSender::Queue(to) => to.pending = None,
        }
    }

    /// Tells a stage: the first *custody* or *undecided*, which frees the message's room.
    pub fn stage(&mut self, outcome: &SendOutcome) {
        if self.told || !matches!(outcome.outcome, FinalOutcome::Custody | FinalOutcome::Undecided) {
            return;
        }
        self.told = true;
        let room = self.room.take();
        match &mut self.to {
            OutcomeSender::One(handle) => {
                if let Some(settled) = handle.settled.take() {
                    let _ = settled.send(Ok(outcome.clone()));
                }
            }
            OutcomeSender::Queue(to) => {
                let outcome = Ok(Box::new(outcome.clone()));
                let finished = Finished { id: self.id, outcome, is_final: false };
                let _ = to.queue.send(Queued { finished, _room: room });
            }
        }
    }

    /// Tells the outcome. Nobody listens when the handle was dropped.
    pub fn tell(self, outcome: Result<Box<SendOutcome>, SendError>) {
        match self.to {
            OutcomeSender::One(handle) => {
                let outcome = outcome.map(|outcome| *outcome);
                if let (Some(accepted), Err(error)) = (handle.accepted, &outcome) {
                    let _ = accepted.send(Err(error.clone()));
                }
                if let Some(settled) = handle.settled {
                    let _ = settled.send(outcome.clone());
                }
                let _ = handle.ended.send(outcome);
            }
            OutcomeSender::Queue(to) if to.stages || !self.told => {
                let finished = Finished { id: self.id, outcome, is_final: true };
                let _ = to.queue.send(Queued { finished, _room: self.room });
            }
            OutcomeSender::Queue(_) => {}
        }
    }
}

/// What the driver is made of.
pub(crate) struct Parts {
    pub core: Core,
    pub clock: Clock,
    pub inputs: mpsc::Receiver<Input>,
    pub own_inputs: mpsc::Sender<Input>,
    pub deliveries: mpsc::Sender<Delivery>,
    pub journal: JournalThreads,
    pub payloads: Payloads,
    pub store: Option<StoreThreads>,
    /// Messages of the durable outbox without final outcome.
    pub recovered: Vec<Recovered>,
    pub sent: Arc<SentLog>,
    pub directory: DirectoryConfig,
    pub floor: Option<std::path::PathBuf>,
    pub tables: watch::Sender<Option<Arc<Table>>>,
    pub status: watch::Sender<Status>,
    /// Closes when the client is dropped.
    pub dropped: watch::Receiver<()>,
    pub receive: bool,
}

/// The driver.
pub(crate) struct Driver {
    parts: Parts,
    links: HashMap<SessionId, LinkHandle>,
    /// Several only where an idempotency key was used several times.
    waiting: HashMap<Ticket, SmallVec<[Waiting; 1]>>,
    /// Outcomes to be told once the counters that include them are published.
    finished: Vec<(Waiting, Box<SendOutcome>)>,
    /// Let go without a verdict, for a shared journal.
    released: Vec<(EndpointId, MessageId)>,
    /// For the durable outbox, at the end of the turn.
    orders: Vec<StoreOrder>,
    /// Accepted, and to be noted before they leave.
    leaving: Vec<(EndpointId, MessageId)>,
    resolves: HashMap<u64, oneshot::Sender<Resolution>>,
    next_resolve: u64,
    closing: Option<Instant>,
    /// Attachments may have changed since the status was published.
    changed: bool,
    turns: Turns,
}

impl Driver {
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            links: HashMap::new(),
            waiting: HashMap::new(),
            finished: Vec::new(),
            released: Vec::new(),
            orders: Vec::new(),
            leaving: Vec::new(),
            resolves: HashMap::new(),
            next_resolve: 0,
            closing: None,
            changed: true,
            turns: Turns::default(),
        }
    }

    /// Runs until closed.
    pub async fn run(mut self) {
        self.recover();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wake = self.wake_at();
            let ready_for_delivery = self.parts.receive && self.parts.core.has_delivery();
            tokio::select! {
                count = self.parts.inputs.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                }
                permit = self.parts.deliveries.reserve(), if ready_for_delivery => {
                    if permit.is_err() {
                        self.parts.receive = false;
                    }
                }
                _ = self.parts.dropped.changed(), if self.closing.is_none() => {
                    self.closing = Some(Instant::now());
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            for input in batch.drain(..) {
                self.handle(input);
            }
            let now = self.parts.clock.now();
            if self.parts.core.poll_deadline().is_some_and(|at| at <= now.mono_us) {
                self.parts.core.handle_timeout(now);
            }
            self.pump();
            if self.finished() {
                break;
            }
        }
        self.parts.core.handle_detach();
        self.pump();
        self.let_leave().await;
        for handle in self.links.values() {
            handle.close(&FrameFault::new(CloseCode::Closed, "WIRE 3.4", "the endpoint closes"));
        }
        self.publish();
    }

    /// What was written last sits in send buffers: it gets three round trips to arrive before the links close. If it
    /// does not, its peers ask for it.
    async fn let_leave(&self) {
        let slowest = self.links.values().map(|handle| handle.rtt()).max();
        if let Some(rtt) = slowest.filter(|_| self.parts.core.ledger().receipts_issued > 0) {
            tokio::time::sleep((3 * rtt).clamp(Duration::from_millis(20), Duration::from_secs(1))).await;
        }
    }

    fn wake_at(&self) -> Instant {
        let clock = self.parts.clock;
        let core = self.parts.core.poll_deadline().map(|at| clock.instant(at));
        let far = Instant::now() + Duration::from_secs(3_600);
        [core, self.closing].into_iter().flatten().min().unwrap_or(far)
    }

    /// Closing ends when nothing is under way, or when patience does.
    fn finished(&self) -> bool {
        self.closing.is_some_and(|until| Instant::now() >= until || self.parts.core.is_idle())
    }

    fn handle(&mut self, input: Input) {
        let now = self.parts.clock.now();
        let core = &mut self.parts.core;
        match input {
            Input::Send(messages) => {
                for (outgoing, waiting) in messages {
                    match core.handle_send(now, &outgoing) {
                        Ok(ticket) => drop(self.waiting.insert(ticket, smallvec![waiting])),
                        Err(error) => waiting.tell(Err(error)),
                    }
                }
            }
            Input::Verdicts(verdicts) => {
                verdicts.iter().for_each(|(id, verdict)| core.handle_verdict(*id, verdict));
            }
            Input::Abandoned { id } => core.handle_abandoned(id),
            Input::Resolve { service, jurisdiction, answer } => {
                let ticket = self.next_resolve;
                self.next_resolve += 1;
                self.resolves.insert(ticket, answer);
                core.handle_resolve(ticket, service, jurisdiction);
            }
            Input::Close { patience } => {
                core.handle_close();
                self.closing = Some(Instant::now() + patience);
            }
            Input::Up { session, link, router_index, handle } => {
                self.links.insert(session, *handle);
                core.handle_link_up(now, session, link, router_index);
            }
            Input::Frames { session, stream, frames } => {
                let (began, before) = (Instant::now(), core.ledger().received);
                for frame in frames {
                    core.handle_frame(now, session, stream, frame.kind, frame.body);
                }
                match core.ledger().received - before {
                    0 => {}
                    came => self.turns.judging.add(began.elapsed(), came),
                }
            }
            Input::Writable { session, stream } => core.handle_writable(session, stream),
            Input::Down { session } => {
                self.links.remove(&session);
                self.parts.payloads.forget(session);
                self.changed = true;
                core.handle_link_down(now, session);
            }
            Input::Journal(answer) => self.on_journal(answer),
            Input::Store(answer) => self.on_store(answer),
            Input::Ask { statement, timeout_ms, waiting } => match core.handle_ask(now, statement, timeout_ms) {
                Ok(ticket) => drop(self.waiting.insert(ticket, smallvec![waiting])),
                Err(error) => waiting.tell(Err(error)),
            },
            Input::PayloadOpened { id, opened } => {
                self.parts.payloads.on_opened(id, opened);
                core.handle_payload_opened(now, id, opened);
            }
            Input::PayloadProgress { id, offset } => core.handle_payload_progress(now, id, offset),
            Input::PayloadEnd { id, received } => core.handle_payload_end(id, received),
            Input::PayloadStream { session, arriving } => self.on_payload_stream(session, *arriving),
            Input::Verified { version, snapshots, result } => core.handle_verified(now, version, &snapshots, result),
            Input::Table(table) => core.handle_table(now, table),
        }
    }

    /// A payload stream the router opened: to whoever awaits it. What is let go here is stopped.
    fn on_payload_stream(&mut self, session: SessionId, arriving: Arriving) {
        let right = match self.parts.core.payload_stream(session, &arriving.head.label) {
            Incoming::Awaited(id) => self.parts.payloads.arrive(id, arriving),
            Incoming::Settled => true,
            Incoming::Unwanted => false,
        };
        if let Some(handle) = self.links.get(&session).filter(|_| !right) {
            handle.close(&FrameFault::unexpected("WIRE 9.3", "a payload stream that nobody wanted"));
        }
    }

    fn on_payload(&mut self, order: PayloadOrder) {
        let payloads = &mut self.parts.payloads;
        match order {
            PayloadOrder::Send { session, label, offset, length, source } => {
                let Some(handle) = self.links.get(&session) else { return };
                payloads.send(handle.connection(), session, PayloadHead { label, offset }, length, source);
            }
            PayloadOrder::May { session, label, offset } => payloads.may(session, label, offset),
            PayloadOrder::End { session, label } => payloads.end(session, label),
            PayloadOrder::Open { id, leaf, length, digest } => payloads.open(id, leaf, length, digest),
            PayloadOrder::Leave { id } => payloads.leave(id),
            PayloadOrder::Drop { leaf } => payloads.drop_payload(leaf),
        }
    }

    fn on_journal(&mut self, answer: JournalAnswer) {
        let core = &mut self.parts.core;
        match answer {
            JournalAnswer::Found(found) => found.into_iter().for_each(|found| core.handle_found(found)),
            JournalAnswer::Durable(ids) => ids.into_iter().for_each(|id| core.handle_journalled(id, true)),
            JournalAnswer::Failed { ids, why, lasting } => {
                ids.into_iter().for_each(|id| core.handle_journalled(id, false));
                if lasting {
                    tracing::error!(%why, "the journal failed; nothing more is accepted until a restart");
                    self.parts.status.send_modify(|status| status.journal_failed = true);
                } else {
                    tracing::error!(%why, "the journal failed for some messages; they are undecided");
                }
            }
        }
    }

    /// What an earlier process promised to send goes on.
    fn recover(&mut self) {
        let now = self.parts.clock.now();
        for recovered in std::mem::take(&mut self.parts.recovered) {
            if let Err(error) = self.parts.core.handle_recovered(now, recovered) {
                tracing::warn!(%error, "a message of the durable outbox is left there");
            }
        }
    }

    fn on_store(&mut self, answer: StoreAnswer) {
        let now = self.parts.clock.now();
        let core = &mut self.parts.core;
        match answer {
            StoreAnswer::Written { accepted, outcomes } => {
                accepted.into_iter().for_each(|(ticket, accepted)| core.handle_accepted(now, ticket, accepted));
                outcomes.into_iter().for_each(|id| core.handle_outcome_stored(now, id, true));
            }
            StoreAnswer::Failed { accepts, outcomes, why } => {
                tracing::error!(%why, "the durable outbox failed; nothing more is sent until a restart");
                for ticket in accepts {
                    core.handle_accepted(now, ticket, StoreAnswer::refusal(&why));
                }
                outcomes.into_iter().for_each(|id| core.handle_outcome_stored(now, id, false));
                self.parts.status.send_modify(|status| status.outbox_failed = true);
            }
            StoreAnswer::Loaded { ticket, payload } => core.handle_loaded(now, ticket, payload),
            StoreAnswer::Recalled { id, known } => core.handle_recalled(now, id, known.as_deref()),
        }
    }

    /// Carries out what the core wants until it wants nothing more.
    fn pump(&mut self) {
        let (mut lookups, mut records) = (Vec::new(), Vec::new());
        loop {
            let now = self.parts.clock.now();
            while let Some(output) = self.poll_output(now) {
                self.carry_out(output, &mut lookups, &mut records);
            }
            if !self.deliver() {
                break;
            }
        }
        if let Some(store) = self.parts.store.as_ref().filter(|_| !self.orders.is_empty()) {
            store.order(std::mem::take(&mut self.orders));
        }
        let ids: Vec<DeliveryId> = records.iter().map(|record| record.id).collect();
        if !self.parts.journal.record(records) {
            let why = "its thread is gone or far behind".to_owned();
            self.on_journal(JournalAnswer::Failed { ids, why, lasting: true });
        }
        if !self.parts.journal.release(std::mem::take(&mut self.released)) {
            tracing::error!("the journal does not answer; messages let go stay reserved until this process ends");
        }
        if !self.parts.journal.look_up(lookups) {
            tracing::error!("the journal does not answer; entries pass their deadline");
        }
        self.publish();
    }

    /// The core's next wish. Whenever it has none left it seals what waits in bundles.
    fn poll_output(&mut self, now: Now) -> Option<Output> {
        let (began, before) = (Instant::now(), self.parts.core.ledger().attempts);
        let output = self.parts.core.poll_output(now);
        match self.parts.core.ledger().attempts - before {
            0 => {}
            sealed => self.turns.sealing.add(began.elapsed(), sealed),
        }
        output
    }

    /// Hands messages to the application while it has room; true when any was handed over.
    fn deliver(&mut self) -> bool {
        let mut any = false;
        while self.parts.receive && self.parts.core.has_delivery() {
            let Ok(permit) = self.parts.deliveries.try_reserve() else { break };
            let Some(delivery) = self.parts.core.poll_delivery() else { break };
            permit.send(Delivery::new(delivery, DeliverySink(self.parts.own_inputs.clone())));
            any = true;
        }
        any
    }

    fn carry_out(&mut self, output: Output, lookups: &mut Vec<Lookup>, records: &mut Vec<JournalRecord>) {
        match output {
            Output::Frame { session, stream, bytes } => {
                self.note_leaving();
                let Some(handle) = self.links.get(&session) else { return };
                if !handle.write(stream, bytes) {
                    handle.close(&FrameFault::new(CloseCode::Internal, "WIRE 2.3", "a stream cannot be written"));
                }
            }
            Output::Close { session, fault } => {
                if let Some(handle) = self.links.remove(&session) {
                    tracing::warn!(router = %handle.router, %fault, "closing a link");
                    handle.close(&fault);
                }
            }
            Output::Lookup(lookup) => lookups.push(lookup),
            Output::Journal(record) => records.push(record),
            Output::Release { sender, message } => self.released.push((sender, message)),
            Output::Payload(order) => self.on_payload(order),
            Output::Sent { sender, message } => self.leaving.push((sender, message)),
            Output::Verify { version, snapshots, at } => self.verify(version, snapshots, at),
            Output::Store(order) => self.orders.push(order),
            Output::Accepted { ticket, message, same_as } => self.on_accepted(ticket, message, same_as),
            Output::NotAccepted { ticket, error } => {
                for waiting in self.waiting.remove(&ticket).into_iter().flatten() {
                    waiting.tell(Err(error.clone()));
                }
            }
            Output::Stage { ticket, outcome } => {
                self.waiting.get_mut(&ticket).into_iter().flatten().for_each(|waiting| waiting.stage(&outcome));
            }
            Output::Finished { ticket, outcome } => {
                let mut waiting = self.waiting.remove(&ticket).unwrap_or_default();
                let last = waiting.pop();
                self.finished.extend(waiting.into_iter().map(|one| (one, outcome.clone())));
                self.finished.extend(last.map(|last| (last, outcome)));
            }
            Output::Resolved { ticket, answer } => {
                if let Some(waiting) = self.resolves.remove(&ticket) {
                    let _ = waiting.send(answer);
                }
            }
            Output::Event(event) => self.on_event(&event),
        }
    }

    /// A message is durable. Sent before under the same idempotency key, it has one more who waits for it.
    fn on_accepted(&mut self, ticket: Ticket, message: MessageId, same_as: Option<Ticket>) {
        let Some(mut waiting) = self.waiting.remove(&ticket) else { return };
        waiting.iter_mut().for_each(|waiting| waiting.accepted(message));
        match same_as.filter(|open| *open != ticket) {
            // Its stage is told under its own ticket at once, so it is there too.
            Some(open) => self.waiting.entry(open).or_default().extend(waiting),
            None => drop(self.waiting.insert(ticket, waiting)),
        }
    }

    /// Notes what was accepted since the last time, before any of it is written to a link.
    fn note_leaving(&mut self) {
        if !self.leaving.is_empty()
            && let Err(error) = self.parts.sent.note(self.leaving.drain(..))
        {
            tracing::warn!(%error, "the list of sent messages cannot be written; replies may be rejected");
        }
    }

    fn verify(&self, version: DirectoryVersion, snapshots: Vec<Bytes>, at: kernpost_codecs::UnixMs) {
        let anchor = match &self.parts.directory {
            DirectoryConfig::Folder { anchor, .. } | DirectoryConfig::Link { anchor } => Some(anchor.clone()),
            DirectoryConfig::Table(_) => None,
        };
        let (inputs, floor) = (self.parts.own_inputs.clone(), self.parts.floor.clone());
        tokio::spawn(async move {
            let held = snapshots.clone();
            let task = tokio::task::spawn_blocking(move || match anchor {
                Some(anchor) => directory::verify(&held, &anchor, floor.as_deref(), at),
                None => Err("this process has a fixed table and no trust anchor".to_owned()),
            });
            let result = task.await.unwrap_or_else(|error| Err(error.to_string()));
            let _ = inputs.send(Input::Verified { version, snapshots, result }).await;
        });
    }

    fn on_event(&mut self, event: &Event) {
        self.changed = true;
        match event {
            Event::LinkUp { router, clock_offset_ms, .. } if clock_offset_ms.unsigned_abs() > 5_000 => {
                tracing::warn!(%router, clock_offset_ms, "clocks differ by more than 5 s; check time synchronisation");
            }
            Event::LinkUp { router, .. } => tracing::info!(%router, "link up"),
            Event::Attached { endpoint, router } => tracing::debug!(%endpoint, %router, "attached"),
            Event::AttachRefused { endpoint, router, code, text } => {
                tracing::warn!(%endpoint, %router, %code, text, "not attached; trying again");
                self.parts.status.send_modify(|status| {
                    status.refused.insert(endpoint.clone(), format!("{router}: {code} {text}"));
                });
            }
            Event::Draining { router } => tracing::info!(%router, "the router drains"),
            Event::Directory { version } => self.on_directory(version),
            Event::DirectoryFault { version, why } => {
                tracing::warn!(%version, why, "a directory version cannot be used")
            }
            Event::CaseHeld { sender, router, .. } => {
                let router = router.as_ref().map_or("unknown here", RouterId::as_str);
                tracing::warn!(%sender, router, "case-held: a case waits for the router with its custody");
            }
            Event::CaseResumed { sender, .. } => tracing::info!(%sender, "a held case goes on in its order"),
            Event::CaseOrderEnded { sender, .. } => {
                tracing::warn!(%sender, "a case was held long enough and goes on; its order is no longer promised");
            }
            Event::CustodyLost { message, why } => {
                tracing::error!(%message, why, "a router's custody no longer counts; the message is sent again");
            }
            Event::PayloadLost { message } => {
                tracing::error!(%message, "the durable outbox has no payload to send again; asking its recipient further");
            }
            Event::OutcomeRevised { message, before, now, issuer, .. } => {
                tracing::warn!(%message, before = before.name(), now = now.name(), issuer, "an outcome was revised");
            }
            Event::Contradiction { message, stands, contradicts, issuer, .. } => {
                let (stands, contradicts) = (stands.name(), contradicts.name());
                tracing::error!(%message, stands, contradicts, issuer, "ALARM: a second receipt contradicts the first");
            }
            Event::InvalidReceipt { message, issuer, why } => {
                tracing::error!(%message, issuer, why, "ALARM: a receipt does not prove what it claims");
            }
        }
    }

    /// Another directory is in force: live links whose router it no longer lists are closed.
    fn on_directory(&mut self, version: &DirectoryVersion) {
        tracing::info!(%version, "directory in force");
        let table = self.parts.core.table().cloned();
        for handle in self.links.values() {
            if let Some(why) = not_the_router(table.as_deref(), &handle.router, &handle.identities) {
                tracing::warn!(router = %handle.router, why, "closing a link");
                handle.close(&FrameFault::new(CloseCode::Revoked, "WIRE 2.2", why));
            }
        }
        let _ = self.parts.tables.send(table);
    }

    fn publish(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        self.parts.status.send_if_modified(|status| {
            status.ledger = self.parts.core.ledger();
            status.turns = self.turns;
            if changed {
                status.refresh(&self.parts.core);
            }
            changed
        });
        for (waiting, outcome) in self.finished.drain(..) {
            waiting.tell(Ok(outcome));
        }
    }
}
