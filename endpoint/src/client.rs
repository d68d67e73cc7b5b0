//! Kernpost for a program: attach endpoints, send with a handle that resolves to a proven outcome, receive, reply.
//!
//! A [`Client`] runs on a thread of its own, so it works under any async runtime and under none of the caller's load.
//! Sending waits for room in the bounded outbox; receiving takes no more than the application answers.

pub(crate) mod bare;
mod batch;
mod clock;
mod config;
mod directory;
mod driver;
mod identity;
mod link;
mod partials;
mod payload_file;
mod payloads;
mod sockets;
mod start;
mod status;
mod tls;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kernpost_codecs::{Ars, Code, EndpointId, MessageId, ServiceKey, UnixMs};
use kernpost_routing_table::Table;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot, watch};

pub use batch::{Finished, OutcomeQueue, Outcomes, outcome_queue, stage_queue};
pub(crate) use batch::{Queued, Room};
pub use config::{ClientConfig, DirectoryConfig, EndpointConfig, JournalConfig, LinkConfig, RouterConfig, TlsProfile};
pub use payload_file::payload_file;
pub use start::StartError;
pub use status::{Status, TurnTimes, Turns};
pub use tls::{TlsError, client_config};

use crate::core::{self, Outgoing, Resolution, SendError, SendOutcome, Verdict};
use crate::outbox_store::OutboxStore;
use driver::{HandleSender, Input, OutcomeSender, Waiting};

/// The client has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has ended")]
pub struct Ended;

/// A running client. Cheap to share behind an [`Arc`]; dropping it closes at once what [`Client::close`] would finish.
#[derive(Debug)]
pub struct Client {
    inputs: mpsc::Sender<Input>,
    deliveries: Mutex<mpsc::Receiver<Delivery>>,
    message_room: Arc<Semaphore>,
    byte_room: Arc<Semaphore>,
    message_room_total: usize,
    byte_room_total: u32,
    status: watch::Receiver<Status>,
    tables: watch::Receiver<Option<Arc<Table>>>,
    ended: watch::Receiver<bool>,
    /// The durable outbox behind the one in memory.
    outbox: Option<Arc<OutboxStore>>,
    /// The driver ends when this is dropped.
    _held: watch::Sender<()>,
}

impl Client {
    /// Checks the configuration, opens the journal, and starts connecting. Returns before any link is up.
    ///
    /// # Errors
    /// [`StartError`]: nothing runs.
    pub fn start(config: ClientConfig) -> Result<Self, StartError> {
        start::start(config)
    }

    /// Sends a message. Waits while the outbox is full; returns when the message is in it, and with a durable outbox when it is
    /// durable there.
    ///
    /// # Errors
    /// [`SendError::Closing`] when the client has ended. With a durable outbox also what is wrong with the message; without
    /// one that shows in [`Sent::outcome`].
    pub async fn send(&self, outgoing: Outgoing) -> Result<Sent, SendError> {
        let mut sent = self.enqueue(outgoing).await?;
        sent.accepted().await?;
        Ok(sent)
    }

    /// As [`Client::send`], but returns when the message is in the outbox in memory: [`Sent::accepted`] says when it is durable.
    /// Messages are made durable together that way, and keep the order of these calls.
    ///
    /// # Errors
    /// [`SendError::Closing`] when the client has ended.
    pub async fn enqueue(&self, outgoing: Outgoing) -> Result<Sent, SendError> {
        let (accepted, durable) = oneshot::channel();
        let (settled, settled_receiver) = oneshot::channel();
        let (ended, ended_receiver) = oneshot::channel();
        let id = outgoing.id;
        let durable = self.outbox.is_some().then_some(durable);
        let accepted = self.outbox.is_some().then_some(accepted);
        let to = HandleSender { accepted, settled: Some(settled), ended };
        self.hand_over(vec![(outgoing, OutcomeSender::One(to))]).await?;
        Ok(Sent { id, durable, settled: settled_receiver, ended: ended_receiver })
    }

    /// Waits for room in the outbox for all of these, and hands them to the driver, each with its own share of the room. Messages
    /// first, then bytes, always in this order, so that no two senders wait for each other.
    async fn hand_over(&self, messages: Vec<(Outgoing, OutcomeSender)>) -> Result<(), SendError> {
        let closing = |_| SendError::Closing;
        let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        let bytes = messages.iter().map(|(outgoing, _)| held_bytes(outgoing)).fold(0, u32::saturating_add);
        let room = Arc::clone(&self.message_room).acquire_many_owned(count).await.map_err(closing)?;
        let bytes = bytes.min(self.byte_room_total);
        let bytes = Arc::clone(&self.byte_room).acquire_many_owned(bytes).await.map_err(closing)?;
        let mut room = Room { messages: room, bytes };
        let each = messages.into_iter().map(|(outgoing, to)| {
            let room = room.take(held_bytes(&outgoing));
            let waiting = Waiting { id: outgoing.id, to, room, told: false };
            (outgoing, waiting)
        });
        self.inputs.send(Input::Send(each.collect())).await.map_err(|_| SendError::Closing)
    }

    /// What became of a message that an endpoint of this process sent: from the durable outbox when it knows the end, else
    /// asked of the network, for at most `patience`. *undecided* with `unknown-message`: nobody asked knows it.
    ///
    /// # Errors
    /// [`SendError::NotAskable`]: the durable outbox does not have the message, or there is none: give its statement to
    /// [`Client::ask_about`]. [`SendError::Store`]: it cannot be read.
    pub async fn ask(
        &self,
        sender: &EndpointId,
        message: MessageId,
        patience: Duration,
    ) -> Result<SendOutcome, SendError> {
        let missing = || SendError::NotAskable(format!("message {message} of {sender} is not in the durable outbox"));
        let store = self.outbox.as_ref().ok_or_else(missing)?;
        let stored = store.find(sender, message).map_err(|error| SendError::Store(error.to_string()))?;
        let stored = stored.ok_or_else(missing)?;
        if let Some(outcome) = stored.outcome.clone().filter(|_| stored.is_final) {
            return Ok(outcome);
        }
        let answer = self.ask_about(stored.statement, patience).await?;
        // Nobody knows more than the stage that is known here.
        Ok(if answer.proof.is_none() { stored.outcome.unwrap_or(answer) } else { answer })
    }

    /// As [`Client::ask`], of the network alone, by the message's statement.
    ///
    /// # Errors
    /// [`SendError::NotAskable`]: no statement of a message of this process. [`SendError::Closing`].
    pub async fn ask_about(&self, statement: Bytes, patience: Duration) -> Result<SendOutcome, SendError> {
        let (ended, answer) = oneshot::channel();
        let id = kernpost_codecs::MessageRef::parse(&statement).map(|message| message.id);
        let id = id.map_err(|fault| SendError::NotAskable(format!("no statement of a message: {fault}")))?;
        let to = OutcomeSender::One(HandleSender { accepted: None, settled: None, ended });
        let waiting = Waiting { id, to, room: None, told: false };
        let timeout_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let ask = Input::Ask { statement, timeout_ms, waiting };
        self.inputs.send(ask).await.map_err(|_| SendError::Closing)?;
        answer.await.unwrap_or(Err(SendError::Closing))
    }

    /// The durable outbox, to be read.
    pub fn outbox(&self) -> Option<&OutboxStore> {
        self.outbox.as_deref()
    }

    /// The next message; `None` when the client has ended or does not receive.
    pub async fn receive(&self) -> Option<Delivery> {
        self.deliveries.lock().await.recv().await
    }

    /// Replies to a message: its sender as explicit recipient, in-reply-to, case, mailbox handle and route key repeated.
    /// Accept the message first, or the reply may arrive before the receipt.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn reply(&self, to: &core::Delivery, payload: Bytes) -> Result<Sent, SendError> {
        self.send(reply_to(to.recipient.clone(), &to.message, payload)).await
    }

    /// Asks a router who is responsible, and for which key to encrypt.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn resolve(&self, service: ServiceKey, jurisdiction: Ars) -> Result<Resolution, Ended> {
        let (answer, receiver) = oneshot::channel();
        self.inputs.send(Input::Resolve { service, jurisdiction, answer }).await.map_err(|_| Ended)?;
        receiver.await.map_err(|_| Ended)
    }

    /// Waits until a directory is in force and every endpoint is attached somewhere.
    ///
    /// # Errors
    /// What is missing after `patience`.
    pub async fn ready(&self, patience: Duration) -> Result<(), NotReady> {
        let mut status = self.status.clone();
        let waited = tokio::time::timeout(patience, status.wait_for(Status::is_ready)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotReady::of(&self.status.borrow())),
        }
    }

    /// What the client knows about itself now.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The directory in force.
    pub fn table(&self) -> Option<Arc<Table>> {
        self.tables.borrow().clone()
    }

    /// Takes no more messages, finishes what is under way for at most `patience`, withdraws the attachments and closes
    /// the links.
    pub async fn close(&self, patience: Duration) {
        self.message_room.close();
        self.byte_room.close();
        if self.inputs.send(Input::Close { patience }).await.is_ok() {
            let mut ended = self.ended.clone();
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }
}

/// What a message takes of the outbox's bytes: its payload and the longest statement.
pub(crate) fn held_bytes(outgoing: &Outgoing) -> u32 {
    u32::try_from(outgoing.payload.len() + 1_024).unwrap_or(u32::MAX)
}

/// A message in the outbox.
#[derive(Debug)]
pub struct Sent {
    id: MessageId,
    durable: Option<oneshot::Receiver<Result<MessageId, SendError>>>,
    settled: oneshot::Receiver<Result<SendOutcome, SendError>>,
    ended: oneshot::Receiver<Result<SendOutcome, SendError>>,
}

impl Sent {
    /// The message's id, also its trace id. With an idempotency key that was used before, that of the earlier sending.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Waits until the message is durable; without a durable outbox there is nothing to wait for. From then on [`Self::id`] is
    /// that under which it is durable.
    ///
    /// # Errors
    /// It was not taken, or the client ended first.
    pub async fn accepted(&mut self) -> Result<MessageId, SendError> {
        if let Some(durable) = self.durable.take() {
            self.id = durable.await.unwrap_or(Err(SendError::Closing))?;
        }
        Ok(self.id)
    }

    /// Waits until the message settled: in custody of a router, or ended. At the latest when its send timeout has passed.
    ///
    /// # Errors
    /// As [`Self::final_outcome`].
    pub async fn settled(&mut self) -> Result<SendOutcome, SendError> {
        (&mut self.settled).await.unwrap_or(Err(SendError::Closing))
    }

    /// As [`Self::settled`], for who does not wait for more.
    ///
    /// # Errors
    /// As [`Self::final_outcome`].
    pub async fn outcome(mut self) -> Result<SendOutcome, SendError> {
        self.settled().await
    }

    /// Waits for the end: after custody that may take until the message expires, and 30 days more.
    ///
    /// # Errors
    /// The message was not taken, or the client ended first: then the outcome is unknown here.
    pub async fn final_outcome(self) -> Result<SendOutcome, SendError> {
        self.ended.await.unwrap_or(Err(SendError::Closing))
    }
}

/// The way back to the driver for a delivery's verdict.
#[derive(Debug, Clone)]
pub(crate) struct DeliverySink(mpsc::Sender<Input>);

/// A received message that waits for accept or reject. Dropped without either, its sender learns that the outcome is
/// undecided, and a repeat is handed over again.
#[derive(Debug)]
pub struct Delivery {
    delivery: core::Delivery,
    sink: Option<DeliverySink>,
}

impl Deref for Delivery {
    type Target = core::Delivery;

    fn deref(&self) -> &core::Delivery {
        &self.delivery
    }
}

impl Delivery {
    pub(crate) fn new(delivery: core::Delivery, sink: DeliverySink) -> Self {
        Self { delivery, sink: Some(sink) }
    }

    /// Takes responsibility: the journal makes the verdict durable, then the receipt *delivered* leaves. Returns the
    /// message, for replies.
    ///
    /// # Errors
    /// [`Ended`]: the verdict is lost, and a repeat will be handed over again.
    pub async fn accept(self) -> Result<core::Delivery, Ended> {
        self.answer(Verdict::Accept).await
    }

    /// Rejects it: the receipt *rejected* carries code (from 1,000 on the application's own) and problem (at most 1,024
    /// bytes; RFC 9457 JSON recommended).
    ///
    /// # Errors
    /// [`Ended`]: the verdict is lost, and a repeat will be handed over again.
    pub async fn reject(self, code: Code, problem: Option<String>) -> Result<core::Delivery, Ended> {
        self.answer(Verdict::Reject { code, problem }).await
    }

    async fn answer(mut self, verdict: Verdict) -> Result<core::Delivery, Ended> {
        let id = self.delivery.id;
        let Some(DeliverySink(inputs)) = self.sink.take() else { return Err(Ended) };
        inputs.send(Input::Verdicts(vec![(id, verdict)])).await.map_err(|_| Ended)?;
        Ok(self.delivery.clone())
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(DeliverySink(inputs)) = self.sink.take() {
            let _ = inputs.try_send(Input::Abandoned { id: self.delivery.id });
        }
    }
}

/// The message that answers another one (WIRE 4.5).
pub fn reply_to(from: EndpointId, message: &kernpost_codecs::Message, payload: Bytes) -> Outgoing {
    let mut reply = Outgoing::new(fresh_id(), from, message.service, message.jurisdiction, payload);
    reply.recipient = Some(message.sender.clone());
    reply.in_reply_to = Some(message.id);
    reply.mailbox.clone_from(&message.mailbox);
    reply.case.clone_from(&message.case);
    reply.class = message.class;
    reply
}

/// A fresh message id (UUIDv7).
pub fn fresh_id() -> MessageId {
    MessageId::from_parts(now(), rand::random())
}

/// Unix milliseconds now, as this process sees them.
pub fn now() -> UnixMs {
    clock::wall()
}

/// What a client still lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not ready: {}", .missing.join("; "))]
pub struct NotReady {
    /// One line each.
    pub missing: Vec<String>,
}

impl NotReady {
    fn of(status: &Status) -> Self {
        let mut missing = Vec::new();
        if !status.directory {
            missing.push("no directory yet".to_owned());
        }
        for (endpoint, _) in status.attached.iter().filter(|(_, links)| **links == 0) {
            let why = status.refused.get(endpoint).map_or("no link to a router", String::as_str);
            missing.push(format!("{endpoint} is not attached ({why})"));
        }
        Self { missing }
    }
}
