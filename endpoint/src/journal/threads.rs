//! The journal's own threads: lookups on one, group commits on the other, so that no lookup waits for an fsync and no
//! fsync stops the network.
//!
//! Everything that waits when a commit begins goes into it. The queues hold at most what the inbox holds: each message
//! has at most one question and one record under way.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use super::{Journal, SentLog};
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
    /// Whether these are durable is unknown, and the journal takes nothing more.
    Failed(Vec<DeliveryId>, String),
}

/// The way to the threads; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct JournalThreads {
    lookups: SyncSender<Vec<Lookup>>,
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
        lookups.is_empty() || self.lookups.try_send(lookups).is_ok()
    }

    /// Hands over records; false when the queue is full or the thread is gone.
    pub fn record(&self, records: Vec<JournalRecord>) -> bool {
        records.is_empty() || self.records.try_send(records).is_ok()
    }
}

fn look_up(journal: &Journal, sent: &SentLog, queue: &Receiver<Vec<Lookup>>, answer: impl Fn(JournalAnswer)) {
    while let Ok(lookups) = queue.recv() {
        let mut found = Vec::with_capacity(lookups.len());
        for lookup in lookups {
            match journal.find(&lookup.sender, lookup.message) {
                Ok(earlier) => {
                    let solicited = Journal::solicited(sent, &lookup);
                    found.push(Found { id: lookup.id, earlier, solicited });
                }
                Err(error) => answer(JournalAnswer::Failed(vec![lookup.id], error.to_string())),
            }
        }
        answer(JournalAnswer::Found(found));
    }
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
            Ok(()) => answer(JournalAnswer::Durable(ids)),
            Err(error) => answer(JournalAnswer::Failed(ids, error.to_string())),
        }
        if Instant::now() >= next_prune {
            next_prune = Instant::now() + PRUNE_EVERY;
            if let Err(error) = journal.prune(clock(), PRUNE_MOST) {
                tracing::warn!(%error, "the journal could not be pruned");
            }
        }
    }
}
