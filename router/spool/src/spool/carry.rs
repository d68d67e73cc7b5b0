//! How is each intent carried out?
//!
//! Heads are the truth: what a record holds and where it waits. Index rows follow them in the same batch. Nothing is
//! committed here.

use bytes::Bytes;
use kernpost_codecs::{EndpointId, MessageId, Outcome};
use kernpost_router_core::custody::spool::{EntryState, Head, Kind, Place, Queue, RecordId, Repeat, SpoolIntent};

use super::group::{Before, Group, no_identity};
use super::head::{self, Front, StoredHead};
use super::index::Waiting;
use super::layout::{self, QueueHash};
use super::{Spool, SpoolError};
use crate::seal::Vault;
use crate::store::{Space, Store};

impl<S: Store> Spool<S> {
    pub(super) fn carry_out(&mut self, group: &mut Group, intent: SpoolIntent) -> Result<(), SpoolError> {
        match intent {
            SpoolIntent::Keep { record, head, body } => self.keep(group, record, head, &body),
            SpoolIntent::Update { record, before, head, body } => {
                self.update(group, record, &before, &head, body.as_deref())
            }
            SpoolIntent::Forget { record, before, messages } => self.forget(group, record, &before, &messages),
            SpoolIntent::Quarantine { record, reason } => self.quarantine(group, record, &reason),
            SpoolIntent::Audit { entry } => {
                Ok(self.audit.append(&entry, &self.vault, &mut self.random, &mut group.batch)?)
            }
        }
    }

    fn keep(&mut self, group: &mut Group, record: RecordId, mut head: Head, body: &[u8]) -> Result<(), SpoolError> {
        self.next = self.next.max(RecordId(record.0.saturating_add(1)));
        if head.kind == Kind::Messages {
            self.keep_messages(group, record, &mut head)?;
            if head.entries.iter().all(|entry| entry.state == EntryState::Repeat) {
                return Ok(());
            }
        }
        let key = layout::record(record);
        let body_segment = self.put_sealed(group, no_identity(Space::Records, &key), body, None)?;
        self.put_head(group, record, &head, body_segment, None)?;
        self.enter(group, record, &head)
    }

    /// Looks every message up; what is held already becomes a repeat, the others are found under this record from now on.
    fn keep_messages(&mut self, group: &mut Group, record: RecordId, head: &mut Head) -> Result<(), SpoolError> {
        for entry in &mut head.entries {
            let key = self.vault.lookup_key(&entry.sender, entry.message)?;
            let before = self.message(group, &key, &entry.sender, entry.message);
            let named = before.plain().and_then(|plain| read_record(plain));
            // Under this record itself: a second time within this part.
            let counts = |held: &RecordId| {
                *held == record || (self.is_held(group, *held) && !self.was_damaged(group, *held, entry.message))
            };
            match named.filter(counts) {
                Some(held) => {
                    entry.state = EntryState::Repeat;
                    group.repeats.push(Repeat { record, index: entry.index, held });
                }
                None => {
                    self.put_message(group, &key, (&entry.sender, entry.message), record, before.segment())?;
                }
            }
        }
        Ok(())
    }

    fn update(
        &mut self,
        group: &mut Group,
        record: RecordId,
        before: &Place,
        head: &Head,
        body: Option<&[u8]>,
    ) -> Result<(), SpoolError> {
        let key = layout::record(record);
        let held = self.before(group, no_identity(Space::Heads, &key));
        // Of repeats alone, or forgotten: there is nothing to change.
        if held == Before::Absent && self.raw(group, Space::Records, &key).is_ok_and(|body| body.is_none()) {
            return Ok(());
        }
        let stored = held.plain().and_then(|plain| head::decode_front(plain));
        let mut body_segment = self.body_segment(group, record, stored.as_ref());
        if let Some(body) = body {
            let row = no_identity(Space::Records, &key);
            let old = Some(body_segment).filter(|segment| *segment != NO_BODY);
            body_segment = self.put_sealed(group, row, body, old)?;
        }
        self.leave(group, record, before, head.kind)?;
        self.leave_elsewhere(group, record, before, head.kind, (&held, stored))?;
        self.put_head(group, record, head, body_segment, held.segment())?;
        self.enter(group, record, head)
    }

    fn forget(
        &mut self,
        group: &mut Group,
        record: RecordId,
        before: &Place,
        messages: &[(EndpointId, MessageId)],
    ) -> Result<(), SpoolError> {
        let key = layout::record(record);
        let held = self.before(group, no_identity(Space::Heads, &key));
        let stored = held.plain().and_then(|plain| head::decode_front(plain));
        let body_segment = self.body_segment(group, record, stored.as_ref());
        let kind = if messages.is_empty() { Kind::Receipts } else { Kind::Messages };
        self.leave(group, record, before, kind)?;
        self.leave_elsewhere(group, record, before, kind, (&held, stored))?;
        self.delete_sealed(
            group,
            Space::Records,
            key.clone(),
            Some(body_segment).filter(|segment| *segment != NO_BODY),
        );
        self.delete_sealed(group, Space::Heads, key, held.segment());
        for (sender, message) in messages {
            let key = self.vault.lookup_key(sender, *message)?;
            let row = self.message(group, &key, sender, *message);
            // Under another record it is not ours to forget.
            if row.plain().and_then(|plain| read_record(plain)).is_none_or(|held| held == record)
                && row != Before::Absent
            {
                self.delete_message(group, &key, row.segment());
            }
        }
        Ok(())
    }

    /// Sets aside what is left of a record. Its head stays when it can be read; else nothing leads to it any more.
    fn quarantine(&mut self, group: &mut Group, record: RecordId, reason: &str) -> Result<(), SpoolError> {
        let key = layout::record(record);
        let held = self.before(group, no_identity(Space::Heads, &key));
        let stored = held.plain().and_then(|plain| head::decode(plain));
        let front = held.plain().and_then(|plain| head::decode_front(plain));
        let body_segment = self.body_segment(group, record, front.as_ref());
        self.set_aside(group, record, Space::Records, BODY);
        self.delete_sealed(
            group,
            Space::Records,
            key.clone(),
            Some(body_segment).filter(|segment| *segment != NO_BODY),
        );
        match stored {
            Some(StoredHead { head, .. }) => {
                let hash = self.hash_of(&head.queue)?;
                self.leave_queue(group, hash, record, Some(Waiting::of(&head)));
                self.put_head(group, record, &head, NO_BODY, held.segment())?;
            }
            None => {
                self.set_aside(group, record, Space::Heads, HEAD);
                self.delete_sealed(group, Space::Heads, key, held.segment());
                self.leave_everywhere(group, record);
            }
        }
        let key = quarantine_key(record, REASON);
        let row = no_identity(Space::Quarantine, &key);
        let reason = self.vault.seal_standing(row, reason.as_bytes(), &mut self.random)?;
        group.put(Space::Quarantine, key.clone(), reason);
        Ok(())
    }

    /// Copies a row as it lies on disk, if any of it can be had.
    fn set_aside(&mut self, group: &mut Group, record: RecordId, space: Space, what: u8) {
        if let Ok(Some(raw)) = self.raw(group, space, &layout::record(record)) {
            group.put(Space::Quarantine, quarantine_key(record, what), raw);
        }
    }

    /// Deletes every index row that names a record whose head cannot say where it is. Rows in a damaged block stay, until the
    /// index is made again.
    fn leave_everywhere(&mut self, group: &mut Group, record: RecordId) {
        let queued = self.index_keys(Space::Queue).into_iter().filter_map(|key| layout::read_queue_row(&key));
        for (hash, id) in queued.filter(|(_, id)| *id == record).collect::<Vec<_>>() {
            self.leave_queue(group, hash, id, None);
        }
        for key in self.index_keys(Space::Due) {
            if layout::read_due_row(&key).is_some_and(|(_, id)| id == record) {
                group.delete(Space::Due, key);
            }
        }
    }

    /// Keys of an index, as far as they can be read.
    fn index_keys(&self, space: Space) -> Vec<Bytes> {
        let (mut from, to) = layout::epoch_bounds(self.index.epoch);
        let mut keys = Vec::new();
        while let Ok(page) = self.store.scan(space, &from, &to, PAGE) {
            let Some((last, _)) = page.last() else { break };
            from = [last, &[0][..]].concat();
            keys.extend(page.into_iter().map(|(key, _)| key));
        }
        keys
    }

    fn put_head(
        &mut self,
        group: &mut Group,
        record: RecordId,
        head: &Head,
        body_segment: u32,
        before: Option<u32>,
    ) -> Result<(), SpoolError> {
        let key = layout::record(record);
        self.put_sealed(group, no_identity(Space::Heads, &key), &head::encode(head, body_segment), before)?;
        Ok(())
    }

    /// Into the indices.
    pub(super) fn enter(&mut self, group: &mut Group, record: RecordId, head: &Head) -> Result<(), SpoolError> {
        group.put(Space::Due, layout::due_row(self.index.epoch, head.due, record), Bytes::new());
        self.index.due_from = self.index.due_from.min(head.due);
        if !head.waits() {
            return Ok(());
        }
        let (hash, waiting) = (self.hash_of(&head.queue)?, Waiting::of(head));
        if !self.index.holds(&hash) {
            let key = layout::queue_name(self.index.epoch, &hash);
            let name = head::encode_queue(&head.queue);
            let sealed = self.vault.seal_standing(no_identity(Space::Queues, &key), &name, &mut self.random)?;
            group.put(Space::Queues, key.clone(), sealed);
        }
        let key = layout::queue_row(self.index.epoch, &hash, record);
        self.put_sealed(group, no_identity(Space::Queue, &key), &waiting.encode(), None)?;
        self.index.add(hash, &head.queue, record, waiting);
        Ok(())
    }

    /// Out of the indices.
    fn leave(&mut self, group: &mut Group, record: RecordId, place: &Place, kind: Kind) -> Result<(), SpoolError> {
        let hash = self.hash_of(&place.queue)?;
        group.delete(Space::Due, layout::due_row(self.index.epoch, place.due, record));
        let (entries, bytes) = place.waiting;
        // Only counts when the row itself cannot be read.
        let stated = Waiting { kind, taken: self.now, entries, bytes };
        self.leave_queue(group, hash, record, Some(stated));
        Ok(())
    }

    /// Out of the indices where the head on disk says otherwise than custody does.
    fn leave_elsewhere(
        &mut self,
        group: &mut Group,
        record: RecordId,
        before: &Place,
        kind: Kind,
        (held, front): (&Before, Option<Front>),
    ) -> Result<(), SpoolError> {
        if matches!(held, Before::Damaged { .. }) {
            // What it said is lost, and routes may have changed since: it would be counted twice until it is come across.
            self.leave_everywhere(group, record);
            return Ok(());
        }
        let elsewhere = front.is_some_and(|front| front.queue != before.queue || front.due != before.due);
        match held.plain().filter(|_| elsewhere).and_then(|plain| head::decode(plain)) {
            Some(stored) => self.leave(group, record, &stored.head.place(), kind),
            None => Ok(()),
        }
    }

    /// Deletes a queue's row, if it is there, and takes what it says from the totals; `stated` counts when it is damaged.
    pub(super) fn leave_queue(
        &mut self,
        group: &mut Group,
        hash: QueueHash,
        record: RecordId,
        stated: Option<Waiting>,
    ) {
        let key = layout::queue_row(self.index.epoch, &hash, record);
        let row = self.before(group, no_identity(Space::Queue, &key));
        if row == Before::Absent {
            return;
        }
        let nothing = Waiting { kind: Kind::Messages, taken: self.now, entries: 0, bytes: 0 };
        let waiting = row.plain().and_then(|plain| Waiting::decode(plain)).or(stated).unwrap_or(nothing);
        self.delete_sealed(group, Space::Queue, key, row.segment());
        self.index.remove(hash, record, waiting);
    }

    pub(super) fn hash_of(&self, queue: &Queue) -> Result<QueueHash, SpoolError> {
        Ok(self.vault.index_key(b"queue", &[&head::encode_queue(queue)])?)
    }

    /// Whether a record is there, readable or not: a damaged one may still be restored.
    fn is_held(&self, group: &Group, record: RecordId) -> bool {
        let there = |space| !matches!(self.raw(group, space, &layout::record(record)), Ok(None));
        there(Space::Heads) || there(Space::Records)
    }

    /// Whether what is held of a message ended *damaged*: its sender sends it again, and it is taken anew.
    fn was_damaged(&self, group: &Group, record: RecordId, message: MessageId) -> bool {
        let key = layout::record(record);
        let held = self.before(group, no_identity(Space::Heads, &key));
        let Some(stored) = held.plain().and_then(|plain| head::decode(plain)) else { return false };
        let damaged = |state| matches!(state, EntryState::Final { outcome: Outcome::Damaged, .. });
        stored.head.entries.iter().any(|entry| entry.message == message && damaged(entry.state))
    }

    /// The segment of a record's body: as its head says, else as the body itself says.
    fn body_segment(&self, group: &Group, record: RecordId, stored: Option<&Front>) -> u32 {
        match stored {
            Some(stored) => stored.body_segment,
            None => {
                let raw = self.raw(group, Space::Records, &layout::record(record)).ok().flatten();
                raw.and_then(|raw| Vault::segment_of(&raw)).unwrap_or(NO_BODY)
            }
        }
    }
}

pub(super) fn read_record(plain: &[u8]) -> Option<RecordId> {
    plain.try_into().map(u64::from_be_bytes).map(RecordId).ok()
}

pub(super) fn quarantine_key(record: RecordId, what: u8) -> Vec<u8> {
    [&record.0.to_be_bytes()[..], &[what]].concat()
}

/// The body's segment in a head without body.
pub(super) const NO_BODY: u32 = 0;
/// What lies in quarantine: why, and the rows as they were found.
pub(super) const REASON: u8 = 0;
const HEAD: u8 = 1;
const BODY: u8 = 2;
/// Index rows scanned at once.
const PAGE: usize = 4_096;
