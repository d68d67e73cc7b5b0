//! What of the indices is in memory: which queues hold something, how much waits, and where scans begin?
//!
//! One entry for each queue that holds something, about 200 bytes beside its name. The rows themselves are on disk. Where scans begin is
//! remembered because a log-structured store walks over every deleted row it passes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kernpost_codecs::UnixMs;
use kernpost_router_core::custody::spool::{Head, Kind, Queue, RecordId, Totals};

use super::layout::QueueHash;

/// What a row of a queue says: how much of a record waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) kind: Kind,
    pub(super) taken: UnixMs,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Waiting {
    pub(super) fn of(head: &Head) -> Self {
        let (entries, bytes) = head.waiting();
        Self { kind: head.kind, taken: head.taken, entries, bytes }
    }

    pub(super) fn encode(self) -> Bytes {
        let kind = match self.kind {
            Kind::Messages => 0_u64,
            Kind::Receipts => 1,
        };
        [kind, self.taken.0, self.entries, self.bytes].map(u64::to_be_bytes).concat().into()
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut numbers = row.chunks_exact(8).map(|bytes| bytes.try_into().map(u64::from_be_bytes).ok());
        let mut next = || numbers.next().flatten();
        let (kind, taken, entries, bytes) = (next()?, next()?, next()?, next()?);
        let kind = if kind == 0 { Kind::Messages } else { Kind::Receipts };
        (row.len() == 32).then_some(Self { kind, taken: UnixMs(taken), entries, bytes })
    }
}

/// A queue that holds something.
#[derive(Debug)]
struct Held {
    queue: Queue,
    /// Its oldest record, and when that was taken.
    first: Option<(RecordId, UnixMs)>,
}

/// The indices' part in memory.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Rows of other epochs are not read.
    pub(super) epoch: u64,
    queues: BTreeMap<QueueHash, Held>,
    oldest: BTreeSet<(UnixMs, QueueHash)>,
    /// Rows in all queues: fewer found at the start than counted show that some were lost.
    rows: u64,
    messages: u64,
    bytes: u64,
    receipts: u64,
    /// No due row lies before this.
    pub(super) due_from: UnixMs,
    /// Queues that lost their oldest record in this batch, and where the next may be.
    passed: BTreeMap<QueueHash, RecordId>,
    /// Queues that became empty; their names are still on disk.
    pub(super) emptied: BTreeSet<QueueHash>,
}

impl Index {
    pub(super) fn new(epoch: u64) -> Self {
        Self { epoch, ..Self::default() }
    }

    pub(super) fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values().map(|held| &held.queue)
    }

    pub(super) fn holds(&self, hash: &QueueHash) -> bool {
        self.queues.contains_key(hash)
    }

    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    /// Where the rows of a queue begin.
    pub(super) fn first_of(&self, hash: &QueueHash) -> RecordId {
        self.queues.get(hash).and_then(|held| held.first).map_or(RecordId(0), |(record, _)| record)
    }

    /// What waits, without the disk's part.
    pub(super) fn totals(&self) -> Totals {
        let oldest = self.oldest.first().map(|(taken, _)| *taken);
        Totals { messages: self.messages, bytes: self.bytes, receipts: self.receipts, oldest, ..Totals::default() }
    }

    pub(super) fn add(&mut self, hash: QueueHash, queue: &Queue, record: RecordId, waiting: Waiting) {
        self.count(waiting, u64::saturating_add);
        self.rows = self.rows.saturating_add(1);
        self.emptied.remove(&hash);
        let held = self.queues.entry(hash).or_insert_with(|| Held { queue: queue.clone(), first: None });
        let first = held.first;
        if let Some(from) = self.passed.get_mut(&hash) {
            *from = record.min(*from);
        } else if first.is_none_or(|(first, _)| record < first) {
            self.set_first(hash, Some((record, waiting.taken)));
        }
    }

    pub(super) fn remove(&mut self, hash: QueueHash, record: RecordId, waiting: Waiting) {
        self.count(waiting, u64::saturating_sub);
        self.rows = self.rows.saturating_sub(1);
        if self.first_of(&hash) == record {
            self.passed.entry(hash).or_insert(record);
        }
    }

    /// Queues whose oldest record has to be found again, and where to begin; to be asked once what was removed is durable.
    pub(super) fn take_passed(&mut self) -> BTreeMap<QueueHash, RecordId> {
        std::mem::take(&mut self.passed)
    }

    /// The oldest record that was found; `None`: the queue holds nothing any more.
    pub(super) fn set_first(&mut self, hash: QueueHash, first: Option<(RecordId, UnixMs)>) {
        let Some(held) = self.queues.get_mut(&hash) else { return };
        if let Some((_, taken)) = std::mem::replace(&mut held.first, first) {
            self.oldest.remove(&(taken, hash));
        }
        match first {
            Some((_, taken)) => {
                self.oldest.insert((taken, hash));
            }
            None => {
                self.queues.remove(&hash);
                self.emptied.insert(hash);
            }
        }
    }

    fn count(&mut self, waiting: Waiting, change: fn(u64, u64) -> u64) {
        match waiting.kind {
            Kind::Messages => {
                self.messages = change(self.messages, waiting.entries);
                self.bytes = change(self.bytes, waiting.bytes);
            }
            Kind::Receipts => self.receipts = change(self.receipts, waiting.entries),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kernpost_codecs::Class;

    use super::*;

    const HASH: QueueHash = [1; 16];

    fn queue() -> Queue {
        Queue { waits_for: Arc::from(["de/a".parse().unwrap()]), class: Class::Bulk }
    }

    fn waiting(taken: u64) -> Waiting {
        Waiting { kind: Kind::Messages, taken: UnixMs(taken), entries: 2, bytes: 10 }
    }

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        for kind in [Kind::Messages, Kind::Receipts] {
            let waiting = Waiting { kind, ..waiting(7) };
            assert_eq!(Waiting::decode(&waiting.encode()), Some(waiting));
        }
        assert_eq!(Waiting::decode(&[0; 31]), None);
    }

    #[test]
    fn the_oldest_is_found_again_when_it_leaves() {
        let mut index = Index::new(1);
        index.add(HASH, &queue(), RecordId(5), waiting(50));
        index.add(HASH, &queue(), RecordId(6), waiting(60));
        assert_eq!((index.totals().messages, index.totals().oldest), (4, Some(UnixMs(50))));
        index.remove(HASH, RecordId(5), waiting(50));
        assert_eq!(index.take_passed(), BTreeMap::from([(HASH, RecordId(5))]));
        index.set_first(HASH, Some((RecordId(6), UnixMs(60))));
        assert_eq!((index.totals().messages, index.totals().oldest), (2, Some(UnixMs(60))));
    }

    #[test]
    fn an_older_record_that_comes_back_is_not_passed_by() {
        let mut index = Index::new(1);
        index.add(HASH, &queue(), RecordId(5), waiting(50));
        index.remove(HASH, RecordId(5), waiting(50));
        index.add(HASH, &queue(), RecordId(3), waiting(30));
        assert_eq!(index.take_passed(), BTreeMap::from([(HASH, RecordId(3))]));
        index.add(HASH, &queue(), RecordId(2), waiting(20));
        assert_eq!(index.first_of(&HASH), RecordId(2));
    }

    #[test]
    fn an_empty_queue_is_not_held() {
        let mut index = Index::new(1);
        index.add(HASH, &queue(), RecordId(5), waiting(50));
        index.remove(HASH, RecordId(5), waiting(50));
        index.take_passed();
        index.set_first(HASH, None);
        assert!(!index.holds(&HASH) && index.emptied.contains(&HASH));
        assert_eq!(index.totals(), Totals::default());
    }
}
