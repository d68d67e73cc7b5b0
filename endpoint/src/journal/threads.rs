//! The journal's own threads: lookups on one, group commits on the other, so that no lookup waits for an fsync and no
//! fsync stops the network.
//!
//! Everything that waits when a commit begins goes into it. The queues hold at most what the inbox holds: each message
//! has at most one question and one record under way.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use kernpost_codecs::{EndpointId, MessageId};

use super::{Journal, LookedUp, SentLog};
use crate::core::{DeliveryId, Found, JournalRecord, Lookup};

/// Most records in one commit.
const MOST: usize = 4_096;
/// How often what is past its time is forgotten, and how much at once.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_MOST: usize = 10_000;

/// What the threads report.
#[derive(Debug)]
pub(crate) enum JournalAnswer {
    Found(Vec<Found>),
    Durable(Vec<DeliveryId>),
    /// Nothing certain is known of these; `lasting`: and the journal takes nothing more.
    Failed {
        ids: Vec<DeliveryId>,
        why: String,
        lasting: bool,
    },
}

/// What the reading thread does.
#[derive(Debug)]
enum Question {
    LookUp(Vec<Lookup>),
    Release(Vec<(EndpointId, MessageId)>),
}

/// The way to the threads; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct JournalThreads {
    lookups: SyncSender<Question>,
    records: SyncSender<Vec<JournalRecord>>,
}

impl JournalThreads {
    /// Starts both threads. `answer` must not block for long.
    pub fn start(
        journal: Arc<Journal>,
        sent: Arc<SentLog>,
        queue: usize,
        answer: impl Fn(JournalAnswer) + Send + Clone + 'static,
        clock: fn() -> kernpost_codecs::UnixMs,
    ) -> std::io::Result<Self> {
        let (lookups, lookup_queue) = sync_channel(queue);
        let (records, record_queue) = sync_channel(queue);
        let (reader, reader_answer) = (Arc::clone(&journal), answer.clone());
        std::thread::Builder::new()
            .name("kp-journal-read".to_owned())
            .spawn(move || look_up(&reader, &sent, &lookup_queue, reader_answer))?;
        std::thread::Builder::new()
            .name("kp-journal-write".to_owned())
            .spawn(move || commit(&journal, &record_queue, answer, clock))?;
        Ok(Self { lookups, records })
    }

    /// Hands over questions; false when the queue is full or the thread is gone.
    pub fn look_up(&self, lookups: Vec<Lookup>) -> bool {
        lookups.is_empty() || self.lookups.try_send(Question::LookUp(lookups)).is_ok()
    }

    /// Hands over messages that are let go; false when the queue is full or the thread is gone.
    pub fn release(&self, messages: Vec<(EndpointId, MessageId)>) -> bool {
        messages.is_empty() || self.lookups.try_send(Question::Release(messages)).is_ok()
    }

    /// Hands over records; false when the queue is full or the thread is gone.
    pub fn record(&self, records: Vec<JournalRecord>) -> bool {
        records.is_empty() || self.records.try_send(records).is_ok()
    }
}

fn look_up(journal: &Journal, sent: &SentLog, queue: &Receiver<Question>, answer: impl Fn(JournalAnswer)) {
    while let Ok(question) = queue.recv() {
        let lookups = match question {
            Question::LookUp(lookups) => lookups,
            Question::Release(messages) => {
                if let Err(error) = journal.release(&messages) {
                    tracing::warn!(%error, "messages could not be released; they are when this process ends");
                }
                continue;
            }
        };
        match journal.look_up(&lookups) {
            Ok(looked) => {
                let found = lookups.into_iter().zip(looked).map(|(lookup, looked)| found(sent, &lookup, looked));
                answer(JournalAnswer::Found(found.collect()));
            }
            // One damaged record must not stop the others.
            Err(error) if lookups.len() > 1 && error.is_lasting() => {
                for lookup in lookups {
                    answer(one_by_one(journal, sent, lookup));
                }
            }
            Err(error) => {
                let ids = lookups.iter().map(|lookup| lookup.id).collect();
                answer(JournalAnswer::Failed { ids, why: error.to_string(), lasting: error.is_lasting() });
            }
        }
    }
}

fn one_by_one(journal: &Journal, sent: &SentLog, lookup: Lookup) -> JournalAnswer {
    match journal.look_up(std::slice::from_ref(&lookup)) {
        Ok(looked) => JournalAnswer::Found(looked.into_iter().map(|looked| found(sent, &lookup, looked)).collect()),
        Err(error) => {
            JournalAnswer::Failed { ids: vec![lookup.id], why: error.to_string(), lasting: error.is_lasting() }
        }
    }
}

fn found(sent: &SentLog, lookup: &Lookup, looked: LookedUp) -> Found {
    let (earlier, elsewhere) = match looked {
        LookedUp::Known(earlier) => (Some(earlier), false),
        LookedUp::Unknown => (None, false),
        LookedUp::Elsewhere => (None, true),
    };
    Found { id: lookup.id, earlier, elsewhere, solicited: Journal::solicited(sent, lookup) }
}

fn commit(
    journal: &Journal,
    queue: &Receiver<Vec<JournalRecord>>,
    answer: impl Fn(JournalAnswer),
    clock: fn() -> kernpost_codecs::UnixMs,
) {
    let mut next_prune = Instant::now();
    while let Ok(mut records) = queue.recv() {
        while records.len() < MOST {
            match queue.try_recv() {
                Ok(more) => records.extend(more),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let ids: Vec<DeliveryId> = records.iter().map(|record| record.id).collect();
        match journal.record(&records) {
            Ok(durable) => {
                let of =
                    |wanted: bool| ids.iter().zip(&durable).filter(move |(_, is)| **is == wanted).map(|(id, _)| *id);
                let others: Vec<DeliveryId> = of(false).collect();
                answer(JournalAnswer::Durable(of(true).collect()));
                if !others.is_empty() {
                    let why = "another process that shares the journal decided first".to_owned();
                    answer(JournalAnswer::Failed { ids: others, why, lasting: false });
                }
            }
            Err(error) => answer(JournalAnswer::Failed { ids, why: error.to_string(), lasting: error.is_lasting() }),
        }
        if Instant::now() >= next_prune {
            next_prune = Instant::now() + PRUNE_EVERY;
            if let Err(error) = journal.prune(clock(), PRUNE_MOST) {
                tracing::warn!(%error, "the journal could not be pruned");
            }
        }
    }
}
