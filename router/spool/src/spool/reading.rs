//! How are reads answered?
//!
//! From what is durable. What does not open under its seal is left out of a [`Stored`], never guessed. An index row whose
//! record says otherwise is passed over and deleted with the next batch; one whose record is gone is reported like a damaged record. An index that cannot
//! be read is made again.

use bytes::Bytes;
use kernpost_codecs::{EndpointId, MessageId, UnixMs};
use kernpost_router_core::custody::spool::{Head, Purpose, Queue, RecordId, SpoolEvent, SpoolRead, Stored};

use super::carry::read_record;
use super::group::{Before, Group, Stale, no_identity};
use super::{Spool, head, layout};
use crate::store::{Space, Store, StoreError};

/// How much a queue's reader wants.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    after: Option<RecordId>,
    most: usize,
    bytes: usize,
}

impl<S: Store> Spool<S> {
    /// Answers a read. Bounded by what it asks for; a body that is asked for is read whole.
    pub fn read(&mut self, read: &SpoolRead) -> SpoolEvent {
        match read {
            SpoolRead::Queue { purpose, queue, after, most, bytes } => {
                self.read_queue(*purpose, queue, Wanted { after: *after, most: *most, bytes: *bytes })
            }
            SpoolRead::Record { ticket, record } => {
                SpoolEvent::RecordRead { ticket: *ticket, found: self.stored(*record) }
            }
            SpoolRead::Message { ticket, sender, message } => {
                let record = self.find(sender, *message);
                SpoolEvent::RecordRead { ticket: *ticket, found: record.and_then(|record| self.stored(record)) }
            }
            SpoolRead::Due { until, most } => self.read_due(*until, *most),
        }
    }

    fn read_queue(&mut self, purpose: Purpose, queue: &Queue, wanted: Wanted) -> SpoolEvent {
        let (found, end) = match self.queue_page(queue, wanted) {
            Ok(page) => page,
            // Once more, over an index made again.
            Err(cause) if self.mend(&cause) => self.queue_page(queue, wanted).unwrap_or_default(),
            Err(_) => (Vec::new(), true),
        };
        SpoolEvent::QueueRead { purpose, queue: queue.clone(), after: wanted.after, found, end }
    }

    fn queue_page(&mut self, queue: &Queue, wanted: Wanted) -> Result<(Vec<Stored>, bool), StoreError> {
        let Ok(hash) = self.hash_of(queue) else { return Ok((Vec::new(), true)) };
        let first = wanted.after.map_or(RecordId(0), |after| RecordId(after.0.saturating_add(1)));
        let mut from = layout::queue_row(self.index.epoch, &hash, first.max(self.index.first_of(&hash)));
        let to = layout::queue_end(self.index.epoch, &hash);
        let (mut found, mut bytes, mut rows) = (Vec::new(), 0_usize, FIRST_PAGE);
        loop {
            let page = self.store.scan(Space::Queue, &from, &to, rows.min(wanted.most).clamp(1, PAGE))?;
            rows = rows.saturating_mul(2);
            let Some((last, _)) = page.last() else { return Ok((found, true)) };
            from = [last, &[0][..]].concat();
            for (_, record) in page.iter().filter_map(|(key, _)| layout::read_queue_row(key)) {
                if found.len() >= wanted.most.max(1) || (bytes >= wanted.bytes && !found.is_empty()) {
                    return Ok((found, false));
                }
                let stored = self.stored_or_lost(record);
                if stored.head.as_ref().is_some_and(|head| !waits_in(head, queue)) {
                    self.note_stale(Stale::Queue(hash, record));
                    continue;
                }
                bytes = bytes.saturating_add(stored.body.as_ref().map_or(0, Bytes::len));
                if bytes > wanted.bytes && !found.is_empty() {
                    return Ok((found, false));
                }
                found.push(stored);
            }
        }
    }

    fn read_due(&mut self, until: UnixMs, most: usize) -> SpoolEvent {
        let (found, more) = match self.due_page(until, most) {
            Ok(page) => page,
            Err(cause) if self.mend(&cause) => self.due_page(until, most).unwrap_or_default(),
            Err(_) => (Vec::new(), false),
        };
        SpoolEvent::DueRead { found, more, totals: self.totals() }
    }

    fn due_page(&mut self, until: UnixMs, most: usize) -> Result<(Vec<Stored>, bool), StoreError> {
        let epoch = self.index.epoch;
        let mut from = layout::due_row(epoch, self.index.due_from, RecordId(0));
        let to = layout::due_row(epoch, until.plus_ms(1), RecordId(0));
        let (mut found, mut first) = (Vec::new(), None);
        loop {
            let page = self.store.scan(Space::Due, &from, &to, most.clamp(1, PAGE))?;
            let Some((last, _)) = page.last() else {
                // Nothing lies before what is due after this.
                let passed = first.unwrap_or(until.plus_ms(1));
                self.index.due_from = passed.max(self.index.due_from);
                return Ok((found, false));
            };
            from = [last, &[0][..]].concat();
            for (key, _) in page {
                let Some((at, record)) = layout::read_due_row(&key) else { continue };
                if found.len() >= most.max(1) {
                    self.index.due_from = first.unwrap_or(at).max(self.index.due_from);
                    return Ok((found, true));
                }
                first.get_or_insert(at);
                let stored = self.stored_or_lost(record);
                match stored.head.as_ref().is_some_and(|head| head.due != at) {
                    true => self.note_stale(Stale::Due(key)),
                    false => found.push(stored),
                }
            }
        }
    }

    /// A record that an index names: when it is not there at all, it was lost, and custody is told so.
    fn stored_or_lost(&self, record: RecordId) -> Stored {
        self.stored(record).unwrap_or(Stored { record, head: None, body: None })
    }

    /// A record, as far as it can be read; `None`: the spool does not hold it.
    pub(super) fn stored(&self, record: RecordId) -> Option<Stored> {
        let (key, nothing) = (layout::record(record), Group::default());
        let head = self.before(&nothing, no_identity(Space::Heads, &key));
        let body = self.before(&nothing, no_identity(Space::Records, &key));
        if head == Before::Absent && body == Before::Absent {
            return None;
        }
        let head = head.plain().and_then(|plain| head::decode(plain)).map(|stored| stored.head);
        Some(Stored { record, head, body: body.plain().cloned() })
    }

    /// The record that holds a message. When its row is damaged, all heads are looked through.
    fn find(&self, sender: &EndpointId, message: MessageId) -> Option<RecordId> {
        let key = self.vault.lookup_key(sender, message).ok()?;
        match self.message(&Group::default(), &key, sender, message) {
            Before::Absent => None,
            Before::Value { plain, .. } => read_record(&plain),
            Before::Damaged { .. } => {
                self.heads().find(|(_, head)| holds(head, sender, message)).map(|(record, _)| record)
            }
        }
    }
}

fn waits_in(head: &Head, queue: &Queue) -> bool {
    head.waits() && head.queue == *queue
}

fn holds(head: &Head, sender: &EndpointId, message: MessageId) -> bool {
    head.kind == kernpost_router_core::custody::spool::Kind::Messages && head.entry_of(sender, message).is_some()
}

/// Rows of a queue scanned first, twice as many each time: usually the bytes asked for are a few records.
const FIRST_PAGE: usize = 16;
/// Index rows scanned at once.
const PAGE: usize = 1_024;
