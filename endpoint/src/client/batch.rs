//! Many messages at a time, for programs with a high rate: one hand-over to the client's thread instead of one per message.
//!
//! What is promised is the same as for [`Client::send`] and [`Delivery::accept`]. Outcomes come through a queue in the order in
//! which they became final; it holds no more than the outbox, because a message keeps its room until its outcome is taken.

use kernpost_codecs::MessageId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::driver::{Input, OutcomeSender, QueueSender};
use super::{Client, Delivery, DeliverySink, Ended, held_bytes};
use crate::core::{Outgoing, SendError, SendOutcome, Verdict};

/// Where outcomes of messages go that were sent together. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OutcomeQueue(QueueSender);

/// The reading end of an [`OutcomeQueue`].
#[derive(Debug)]
pub struct Outcomes {
    queue: mpsc::UnboundedReceiver<Queued>,
    taken: Vec<Queued>,
}

/// A message that settled or ended.
#[derive(Debug)]
pub struct Finished {
    /// Which message: with an idempotency key that was used before, that of the earlier sending.
    pub id: MessageId,
    /// How it stands or ended, or why it was not taken.
    pub outcome: Result<Box<SendOutcome>, SendError>,
    /// Whether that is its end; false for *custody*, and for *undecided* that a durable outbox follows.
    pub is_final: bool,
}

/// An outcome that nobody has taken yet: it still holds its message's room, which bounds the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    pub finished: Finished,
    pub _room: Option<Room>,
}

/// The room a message holds in the outbox: one message, and its bytes.
#[derive(Debug)]
pub(crate) struct Room {
    pub messages: OwnedSemaphorePermit,
    pub bytes: OwnedSemaphorePermit,
}

impl Room {
    /// Takes the room of one message of `bytes` out of that of many. A message larger than the whole outbox takes what there
    /// is. `None`: no message's room is left.
    pub fn take(&mut self, bytes: u32) -> Option<Self> {
        let bytes = self.bytes.num_permits().min(bytes as usize);
        Some(Self { messages: self.messages.split(1)?, bytes: self.bytes.split(bytes)? })
    }
}

/// A queue for outcomes and its reading end: one for every message, *custody* if that comes first.
#[must_use]
pub fn outcome_queue() -> (OutcomeQueue, Outcomes) {
    queue(false)
}

/// A queue that tells of every message's end, and of its custody before, and its reading end. A message that is followed after
/// it settled holds no room: at most [`Limits::parked_messages`](crate::core::Limits::parked_messages) ends can wait here.
#[must_use]
pub fn stage_queue() -> (OutcomeQueue, Outcomes) {
    queue(true)
}

fn queue(stages: bool) -> (OutcomeQueue, Outcomes) {
    let (queue, receiver) = mpsc::unbounded_channel();
    (OutcomeQueue(QueueSender { queue, stages, pending: None }), Outcomes { queue: receiver, taken: Vec::new() })
}

impl Outcomes {
    /// Waits for outcomes and appends at most `most` of them; says how many. 0: no message is open and every
    /// [`OutcomeQueue`] is gone.
    pub async fn receive_many(&mut self, into: &mut Vec<Finished>, most: usize) -> usize {
        let count = self.queue.recv_many(&mut self.taken, most).await;
        into.extend(self.taken.drain(..).map(|queued| queued.finished));
        count
    }
}

/// Most messages handed over at once; more are handed over in several steps.
const MOST: usize = 1_024;

impl Client {
    /// Sends messages in their order. Waits while the outbox is full; returns when all are in it, and with a durable outbox when
    /// all are durable there or were not taken. Their outcomes arrive in `outcomes`, also those of messages that were not taken.
    ///
    /// # Errors
    /// [`SendError::Closing`] when the client has ended: what was handed over until then may still get an outcome.
    pub async fn send_all(&self, messages: Vec<Outgoing>, outcomes: &OutcomeQueue) -> Result<(), SendError> {
        let mut rest = messages.into_iter().peekable();
        // Every message holds an end of this until it is durable or refused.
        let (pending, mut durable) = mpsc::channel::<()>(1);
        let pending = self.outbox.is_some().then_some(pending);
        loop {
            let messages = self.step(&mut rest);
            if messages.is_empty() {
                break;
            }
            let to = || OutcomeSender::Queue(QueueSender { pending: pending.clone(), ..outcomes.0.clone() });
            self.hand_over(messages.into_iter().map(|outgoing| (outgoing, to())).collect()).await?;
        }
        drop(pending);
        if self.outbox.is_some() {
            let _ = durable.recv().await;
        }
        Ok(())
    }

    /// As many messages as are handed over at once. They take their room at once too, so it must never be more than there is; a
    /// message larger than all of it goes alone.
    fn step(&self, rest: &mut std::iter::Peekable<impl Iterator<Item = Outgoing>>) -> Vec<Outgoing> {
        let most = MOST.min(self.message_room_total);
        let (mut step, mut bytes) = (Vec::new(), 0_u32);
        while step.len() < most
            && let Some(next) = rest.peek()
        {
            bytes = bytes.saturating_add(held_bytes(next));
            if bytes > self.byte_room_total && !step.is_empty() {
                break;
            }
            step.extend(rest.next());
        }
        step
    }

    /// The next messages, at most `most`, appended to `into`; says how many. 0: the client has ended or does not receive.
    pub async fn receive_many(&self, into: &mut Vec<Delivery>, most: usize) -> usize {
        self.deliveries.lock().await.recv_many(into, most).await
    }

    /// Accepts messages as [`Delivery::accept`] does each.
    ///
    /// # Errors
    /// [`Ended`]: the verdicts are lost, and repeats will be handed over again.
    pub async fn accept_all(&self, deliveries: impl IntoIterator<Item = Delivery>) -> Result<(), Ended> {
        let mut verdicts = Vec::new();
        for mut delivery in deliveries {
            if let Some(DeliverySink(_)) = delivery.sink.take() {
                verdicts.push((delivery.delivery.id, Verdict::Accept));
            }
        }
        self.inputs.send(Input::Verdicts(verdicts)).await.map_err(|_| Ended)
    }
}
