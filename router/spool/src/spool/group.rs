//! What becomes durable together, and what does a row hold in the middle of it?
//!
//! Intents of one group see each other's changes. Every sealed row is counted to its segment here, when it is put and when it
//! goes.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::FixedState;
use kernpost_codecs::{EndpointId, MessageId};
use kernpost_router_core::custody::spool::{RecordId, Repeat};

use super::Spool;
use super::layout::{self, QueueHash};
use crate::seal::{LookupKey, Row, SealError, Vault};
use crate::store::{Batch, Space, Store, StoreError};

/// A batch under way.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) batch: Batch,
    /// Rows changed in it, by the number of their space; `None` was deleted. Values are shared with the batch. Their keys are
    /// numbers and keyed hashes, which nobody chooses: a fixed seed is safe.
    changed: [HashMap<Bytes, Option<Bytes>, FixedState>; Space::ALL.len()],
    /// Rows of [`Space::Messages`] changed in it, which are many: the record and the segment of the row.
    messages: HashMap<LookupKey, Option<(RecordId, u32)>, FixedState>,
    pub(super) intents: usize,
    pub(super) repeats: Vec<Repeat>,
}

impl Group {
    pub(super) fn put(&mut self, space: Space, key: impl Into<Bytes>, value: Bytes) {
        let key = key.into();
        self.note(space, &key, Some(&value));
        self.batch.put(space, key, value);
    }

    pub(super) fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        let key = key.into();
        self.note(space, &key, None);
        self.batch.delete(space, key);
    }

    fn note(&mut self, space: Space, key: &Bytes, value: Option<&Bytes>) {
        if let Some(changed) = self.changed.get_mut(usize::from(space.number())) {
            changed.insert(key.clone(), value.cloned());
        }
    }
}

/// What is known of a row that is about to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Before {
    /// There is none.
    Absent,
    /// There is one; it cannot be read.
    Damaged {
        /// The segment it says it is in.
        segment: Option<u32>,
    },
    /// What it holds.
    Value {
        /// The segment it is in.
        segment: u32,
        /// Unsealed.
        plain: Bytes,
    },
}

impl Before {
    pub(super) fn plain(&self) -> Option<&Bytes> {
        match self {
            Self::Value { plain, .. } => Some(plain),
            _ => None,
        }
    }

    pub(super) const fn segment(&self) -> Option<u32> {
        match self {
            Self::Absent => None,
            Self::Damaged { segment } => *segment,
            Self::Value { segment, .. } => Some(*segment),
        }
    }
}

impl<S: Store> Spool<S> {
    /// A row as the group leaves it until now.
    pub(super) fn raw(&self, group: &Group, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match group.changed.get(usize::from(space.number())).and_then(|changed| changed.get(key)) {
            Some(changed) => Ok(changed.clone()),
            None => self.store.get(space, key),
        }
    }

    pub(super) fn before(&self, group: &Group, row: Row<'_>) -> Before {
        match self.raw(group, row.space, row.key) {
            Ok(None) => Before::Absent,
            Ok(Some(sealed)) => match (Vault::segment_of(&sealed), self.vault.unseal(row, &sealed)) {
                (Some(segment), Ok(plain)) => Before::Value { segment, plain },
                (segment, _) => Before::Damaged { segment },
            },
            Err(_) => Before::Damaged { segment: None },
        }
    }

    /// Seals a row; `before` is the segment of what it replaces. The segment it is in now.
    pub(super) fn put_sealed(
        &mut self,
        group: &mut Group,
        row: Row<'_>,
        plain: &[u8],
        before: Option<u32>,
    ) -> Result<u32, SealError> {
        let (sealed, segment) = self.seal(group, row, plain, before)?;
        group.put(row.space, row.key.to_vec(), sealed);
        Ok(segment)
    }

    fn seal(
        &mut self,
        group: &mut Group,
        row: Row<'_>,
        plain: &[u8],
        before: Option<u32>,
    ) -> Result<(Bytes, u32), SealError> {
        self.ensure_segment(group)?;
        let sealed = self.vault.seal(row, plain)?;
        let segment = Vault::segment_of(&sealed).ok_or(SealError::Crypto)?;
        self.live.add(segment);
        if let Some(before) = before {
            self.live.remove(before);
        }
        Ok((sealed, segment))
    }

    /// The row of a message, as the group leaves it until now: the record that holds it.
    pub(super) fn message(&self, group: &Group, key: &LookupKey, sender: &EndpointId, message: MessageId) -> Before {
        match group.messages.get(key) {
            Some(Some((record, segment))) => {
                Before::Value { segment: *segment, plain: Bytes::copy_from_slice(&record.0.to_be_bytes()) }
            }
            Some(None) => Before::Absent,
            None if self.recent.is_new(key) => Before::Absent,
            None => {
                let identity = identity(sender, message);
                self.before(group, Row { space: Space::Messages, key, identity: &identity })
            }
        }
    }

    /// From now on this record holds the message; `before` is the segment of the row until now.
    pub(super) fn put_message(
        &mut self,
        group: &mut Group,
        key: &LookupKey,
        (sender, message): (&EndpointId, MessageId),
        record: RecordId,
        before: Option<u32>,
    ) -> Result<(), SealError> {
        let identity = identity(sender, message);
        let row = Row { space: Space::Messages, key, identity: &identity };
        let (sealed, segment) = self.seal(group, row, &record.0.to_be_bytes(), before)?;
        self.recent.note(key);
        group.messages.insert(*key, Some((record, segment)));
        group.batch.put(Space::Messages, Bytes::copy_from_slice(key), sealed);
        Ok(())
    }

    /// Nothing holds the message any more.
    pub(super) fn delete_message(&mut self, group: &mut Group, key: &LookupKey, before: Option<u32>) {
        if let Some(before) = before {
            self.live.remove(before);
        }
        group.messages.insert(*key, None);
        group.batch.delete(Space::Messages, Bytes::copy_from_slice(key));
    }

    /// Begins a segment when it is time to. Lookup keys exist after the first.
    pub(super) fn ensure_segment(&mut self, group: &mut Group) -> Result<(), SealError> {
        if self.vault.wants_segment(self.now) {
            let segment = self.vault.begin_segment(self.now, &mut self.random, &mut group.batch)?;
            self.live.begin(segment);
        }
        Ok(())
    }

    /// Deletes a sealed row that was in this segment.
    pub(super) fn delete_sealed(&mut self, group: &mut Group, space: Space, key: Vec<u8>, before: Option<u32>) {
        if let Some(before) = before {
            self.live.remove(before);
        }
        group.delete(space, key);
    }

    /// Deletes names of queues that hold nothing, and rows that were found to lead nowhere.
    pub(super) fn tidy(&mut self, group: &mut Group) {
        for hash in std::mem::take(&mut self.index.emptied) {
            group.delete(Space::Queues, layout::queue_name(self.index.epoch, &hash));
        }
        for stale in std::mem::take(&mut self.stale) {
            match stale {
                Stale::Queue(hash, record) => self.leave_queue(group, hash, record, None),
                Stale::Due(key) => group.delete(Space::Due, key),
            }
        }
    }

    pub(super) fn note_stale(&mut self, stale: Stale) {
        if self.stale.len() < MOST_STALE {
            self.stale.push(stale);
        }
    }
}

/// An index row whose record says otherwise.
#[derive(Debug)]
pub(super) enum Stale {
    /// In a queue the record does not wait in.
    Queue(QueueHash, RecordId),
    /// At a time the record is not due.
    Due(Bytes),
}

/// A row whose key says all of what it belongs to.
pub(super) fn no_identity(space: Space, key: &[u8]) -> Row<'_> {
    Row { space, key, identity: b"" }
}

/// What a message's row is bound to beside its key.
fn identity(sender: &EndpointId, message: MessageId) -> Vec<u8> {
    [&message.0[..], sender.as_str().as_bytes()].concat()
}

/// Rows remembered to be deleted with the next batch; the others are found again.
const MOST_STALE: usize = 1_024;
