//! The durable outbox's own threads: questions on one, group commits on the other, so that no fsync stops the network.
//!
//! Everything that waits when a commit begins goes into it. The queues hold whole turns of the core; what is under way is
//! bounded by the outbox in memory, whose messages each wait for one answer at most.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kernpost_codecs::UnixMs;

use super::OutboxStore;
use crate::core::{Accepted, OutcomeRecord, SendError, SendOutcome, StoreId, StoreOrder, Ticket};

/// Most turns in one commit, which share one fsync.
const MOST: usize = 4_096;
/// How often what is past its time is forgotten, and how much at once.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_MOST: usize = 10_000;

/// What the threads report.
#[derive(Debug)]
pub(crate) enum StoreAnswer {
    /// One commit: what became of each message, and which outcomes are durable.
    Written {
        accepted: Vec<(Ticket, Accepted)>,
        outcomes: Vec<StoreId>,
    },
    /// Whether these are durable is unknown, and the outbox takes nothing more.
    Failed {
        accepts: Vec<Ticket>,
        outcomes: Vec<StoreId>,
        why: String,
    },
    Loaded {
        ticket: Ticket,
        payload: Option<Bytes>,
    },
    Recalled {
        id: StoreId,
        known: Option<Box<SendOutcome>>,
    },
}

/// The way to the threads. Dropping it waits until everything handed over is written.
#[derive(Debug)]
pub(crate) struct StoreThreads {
    writes: Option<Sender<Vec<StoreOrder>>>,
    questions: Option<Sender<Vec<StoreOrder>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for StoreThreads {
    fn drop(&mut self) {
        (self.writes, self.questions) = (None, None);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the durable outbox panicked");
            }
        }
    }
}

impl StoreThreads {
    /// Starts both threads. `answer` must not block for long.
    pub fn start(
        store: Arc<OutboxStore>,
        answer: impl Fn(StoreAnswer) + Send + Clone + 'static,
        clock: fn() -> UnixMs,
    ) -> std::io::Result<Self> {
        let (writes, write_queue) = channel();
        let (questions, question_queue) = channel();
        let (reader, reader_answer) = (Arc::clone(&store), answer.clone());
        let read = std::thread::Builder::new()
            .name("kp-outbox-read".to_owned())
            .spawn(move || look_up(&reader, &question_queue, reader_answer))?;
        let write = std::thread::Builder::new()
            .name("kp-outbox-write".to_owned())
            .spawn(move || commit(&store, &write_queue, answer, clock))?;
        Ok(Self { writes: Some(writes), questions: Some(questions), threads: vec![read, write] })
    }

    /// Hands over what a turn of the core wants.
    pub fn order(&self, orders: Vec<StoreOrder>) {
        let is_question = |order: &StoreOrder| matches!(order, StoreOrder::Load { .. } | StoreOrder::Recall { .. });
        let (questions, writes): (Vec<_>, Vec<_>) = orders.into_iter().partition(is_question);
        // They end only with this handle, or by a panic that the process reports.
        for (orders, thread) in [(questions, &self.questions), (writes, &self.writes)] {
            if !orders.is_empty() && thread.as_ref().is_none_or(|thread| thread.send(orders).is_err()) {
                tracing::error!("a thread of the durable outbox is gone");
            }
        }
    }
}

fn look_up(store: &OutboxStore, queue: &Receiver<Vec<StoreOrder>>, answer: impl Fn(StoreAnswer)) {
    while let Ok(orders) = queue.recv() {
        for order in orders {
            match order {
                StoreOrder::Load { ticket, sender, message } => {
                    let payload = store.payload(&sender, message).unwrap_or_else(|error| {
                        tracing::error!(%message, %error, "a payload of the durable outbox cannot be read");
                        None
                    });
                    answer(StoreAnswer::Loaded { ticket, payload });
                }
                StoreOrder::Recall { id, sender, message } => {
                    let known = store.find(&sender, message).unwrap_or_else(|error| {
                        tracing::error!(%message, %error, "a record of the durable outbox cannot be read");
                        None
                    });
                    let known = known.filter(|known| known.is_final).and_then(|known| known.outcome).map(Box::new);
                    answer(StoreAnswer::Recalled { id, known });
                }
                StoreOrder::Accept(_) | StoreOrder::Outcome(_) => {}
            }
        }
    }
}

fn commit(store: &OutboxStore, queue: &Receiver<Vec<StoreOrder>>, answer: impl Fn(StoreAnswer), clock: fn() -> UnixMs) {
    let mut next_prune = Instant::now();
    loop {
        // What is past its time is forgotten also where nothing is sent.
        match queue.recv_timeout(PRUNE_EVERY) {
            Ok(mut orders) => {
                orders.extend(queue.try_iter().take(MOST).flatten());
                answer(write(store, orders, clock()));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next_prune {
            next_prune = Instant::now() + PRUNE_EVERY;
            if let Err(error) = store.prune(clock(), PRUNE_MOST) {
                tracing::warn!(%error, "the durable outbox could not be pruned");
            }
        }
    }
}

fn write(store: &OutboxStore, orders: Vec<StoreOrder>, now: UnixMs) -> StoreAnswer {
    let (mut accepts, mut outcomes) = (Vec::new(), Vec::new());
    for order in orders {
        match order {
            StoreOrder::Accept(record) => accepts.push(*record),
            StoreOrder::Outcome(record) => outcomes.push(*record),
            StoreOrder::Load { .. } | StoreOrder::Recall { .. } => {}
        }
    }
    let tickets: Vec<Ticket> = accepts.iter().map(|record| record.ticket).collect();
    let ids = |outcomes: &[OutcomeRecord]| outcomes.iter().filter_map(|record| record.answer).collect();
    match store.write(&accepts, &outcomes, now) {
        Ok(accepted) => {
            StoreAnswer::Written { accepted: tickets.into_iter().zip(accepted).collect(), outcomes: ids(&outcomes) }
        }
        Err(error) => StoreAnswer::Failed { accepts: tickets, outcomes: ids(&outcomes), why: error.to_string() },
    }
}

impl StoreAnswer {
    /// The refusal of a message that could not be written.
    pub fn refusal(why: &str) -> Accepted {
        Accepted::Refused(SendError::Store(why.to_owned()))
    }
}
