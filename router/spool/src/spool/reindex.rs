//! What if an index cannot be read? It is made again from the heads, in a new epoch whose rows share no block with the old.
//!
//! Costs a walk over all heads: seconds for a million messages. Old rows are left behind. Counts of live rows are made again
//! too; while a row hides in a damaged block, no segment's count is trusted. A mark in Meta makes the next start begin anew when this one does not get to its end.

use std::collections::BTreeSet;

use kernpost_codecs::UnixMs;
use kernpost_router_core::custody::spool::{EntryState, Head, Kind, RecordId};

use super::carry::read_record;
use super::group::{Before, Group, no_identity};
use super::head::StoredHead;
use super::index::Index;
use super::live::Live;
use super::{Spool, SpoolError, head, layout};
use crate::seal::Vault;
use crate::store::{Batch, Space, Store, StoreError};

impl<S: Store> Spool<S> {
    /// Whether an index that could not be read was made again. If that fails too, the spool takes nothing more.
    pub(super) fn mend(&mut self, cause: &StoreError) -> bool {
        if !matches!(cause, StoreError::Unreadable { .. }) || self.failed.is_some() {
            return false;
        }
        let mended = self.reindex();
        if let Err(error) = &mended {
            self.failed = Some(error.to_string());
        }
        mended.is_ok()
    }

    /// Makes Queue, Queues, Due and Messages again, with the counts of live rows.
    pub(super) fn reindex(&mut self) -> Result<(), SpoolError> {
        let mut first = Batch::new();
        first.put(Space::Meta, layout::REINDEXING, layout::number(1));
        if self.vault.lost_lookup() {
            self.vault.renew_lookup(&mut self.random, &mut first)?;
        }
        self.store.commit(&first)?;
        // Later than every epoch before, unless the clock went back.
        self.index = Index::new(self.now.0.max(self.index.epoch.saturating_add(1)));
        self.index.due_from = UnixMs(u64::MAX);
        (self.live, self.doubt) = (Live::default(), false);
        self.stale.clear();
        let mut group = Group::default();
        for record in self.record_ids() {
            self.reindex_record(&mut group, record)?;
            if group.batch.bytes() >= BATCH_BYTES {
                self.store.commit(&std::mem::take(&mut group).batch)?;
            }
        }
        self.index.take_passed();
        group.put(Space::Meta, layout::EPOCH, layout::number(self.index.epoch));
        group.put(Space::Meta, layout::QUEUED, layout::number(self.index.rows()));
        group.put(Space::Meta, layout::NEXT, layout::number(self.next.0));
        group.delete(Space::Meta, layout::REINDEXING);
        if std::mem::take(&mut self.doubt) {
            self.live = Live::new(std::iter::empty(), self.vault.segments());
        } else {
            self.vault.segments().for_each(|segment| self.live.begin(segment));
        }
        self.live.write(&mut self.vault, &mut group.batch)?;
        Ok(self.store.commit(&group.batch)?)
    }

    fn reindex_record(&mut self, group: &mut Group, record: RecordId) -> Result<(), SpoolError> {
        let key = layout::record(record);
        self.next = self.next.max(RecordId(record.0.saturating_add(1)));
        let held = self.before(group, no_identity(Space::Heads, &key));
        self.doubt |= held == Before::Damaged { segment: None };
        held.segment().into_iter().for_each(|segment| self.live.add(segment));
        let Some(StoredHead { head, body_segment }) = held.plain().and_then(|plain| head::decode(plain)) else {
            let body = self.raw(group, Space::Records, &key);
            self.doubt |= body.is_err();
            let body = body.ok().flatten().and_then(|body| Vault::segment_of(&body));
            body.into_iter().for_each(|segment| self.live.add(segment));
            // Found by its time, at once: whoever reads it restores it, or sets it aside.
            let due = layout::due_row(self.index.epoch, UnixMs(0), record);
            self.index.due_from = UnixMs(0);
            group.put(Space::Due, due, bytes::Bytes::new());
            return Ok(());
        };
        if body_segment != super::carry::NO_BODY {
            self.live.add(body_segment);
        }
        self.reindex_messages(group, record, &head)?;
        self.enter(group, record, &head)
    }

    fn reindex_messages(&mut self, group: &mut Group, record: RecordId, head: &Head) -> Result<(), SpoolError> {
        if head.kind == Kind::Receipts {
            return Ok(());
        }
        for entry in head.entries.iter().filter(|entry| entry.state != EntryState::Repeat) {
            let key = self.vault.lookup_key(&entry.sender, entry.message)?;
            // The old row was never counted in this epoch.
            self.put_message(group, &key, (&entry.sender, entry.message), record, None)?;
        }
        Ok(())
    }

    /// Every record with a readable head.
    pub(super) fn heads(&self) -> impl Iterator<Item = (RecordId, Head)> + '_ {
        self.ids_in(Space::Heads, 0).certain.into_iter().filter_map(|record| {
            let held = self.before(&Group::default(), no_identity(Space::Heads, &layout::record(record)));
            Some((record, head::decode(held.plain()?)?.head))
        })
    }

    /// The name of every record of which there is a head or a body; 8 bytes each in memory. What neither keyspace can rule
    /// out counts as there.
    fn record_ids(&self) -> BTreeSet<RecordId> {
        let spaces = [Space::Heads, Space::Records];
        // Names far below the first are not tried one by one.
        let first =
            |space| self.store.scan(space, &[0], &[0xff; 9], 1).ok()?.first().and_then(|(key, _)| read_record(key));
        let low = spaces.into_iter().filter_map(first).min().map_or(0, |record| record.0);
        let [heads, bodies] = spaces.map(|space| self.ids_in(space, low));
        let doubtful = heads.doubtful.intersection(&bodies.doubtful).copied();
        heads.certain.iter().chain(&bodies.certain).copied().chain(doubtful).collect()
    }

    fn ids_in(&self, space: Space, low: u64) -> Ids {
        let mut ids = Ids::default();
        self.ids_between(space, low, u64::MAX, &mut ids);
        ids
    }

    /// Names in `from..to`. Where a block cannot be read, the range is halved until single names are left.
    fn ids_between(&self, space: Space, mut from: u64, to: u64, ids: &mut Ids) {
        while from < to {
            match self.store.scan(space, &from.to_be_bytes(), &to.to_be_bytes(), PAGE) {
                Ok(rows) => {
                    ids.certain.extend(rows.iter().filter_map(|(key, _)| read_record(key)));
                    let last = rows.last().and_then(|(key, _)| read_record(key)).filter(|_| rows.len() == PAGE);
                    let Some(last) = last else { return };
                    from = last.0.saturating_add(1);
                }
                Err(_) if to - from == 1 => {
                    ids.doubtful.insert(RecordId(from));
                    return;
                }
                Err(_) => {
                    let middle = from + (to - from) / 2;
                    self.ids_between(space, from, middle, ids);
                    from = middle;
                }
            }
        }
    }
}

/// Names found in a keyspace.
#[derive(Debug, Default)]
struct Ids {
    certain: BTreeSet<RecordId>,
    /// In a block that cannot be read: there may be a row, or none.
    doubtful: BTreeSet<RecordId>,
}

/// A batch of the new index, in bytes.
const BATCH_BYTES: usize = 4 << 20;
/// Heads scanned at once.
const PAGE: usize = 256;
