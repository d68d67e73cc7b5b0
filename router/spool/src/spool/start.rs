//! What is found at the start?
//!
//! Numbers from Meta, every queue's rows for the totals, and nothing of the messages. An index that cannot be read, or does not
//! open under its seal, is made again from the heads.

use std::collections::BTreeMap;

use kernpost_codecs::UnixMs;
use kernpost_router_core::custody::spool::{Queue, RecordId, SpoolEvent};

use super::audit::AuditEnd;
use super::group::no_identity;
use super::index::{Index, Waiting};
use super::layout::{self, QueueHash};
use super::live::Live;
use super::recent::Recent;
use super::{Random, Room, Spool, SpoolError, head};
use crate::keys::MasterKeys;
use crate::seal::{LOOKUP_KEY, LookupKey, Vault, lookup_key_at};
use crate::store::{Space, Store, StoreError};

impl<S: Store> Spool<S> {
    /// Opens the spool that lies in a store, or begins one. `random` fills slices with random bytes; `now` names a new index.
    ///
    /// # Errors
    /// A master key is missing, or an index could neither be read nor made again.
    pub fn open(store: S, masters: MasterKeys, now: UnixMs, random: Random) -> Result<Self, SpoolError> {
        let vault = Vault::open(&store, masters)?;
        let audit = AuditEnd::find(&store, &vault)?;
        let mut spool = Self {
            index: Index::default(),
            live: Live::default(),
            recent: Recent::unknown(),
            next: RecordId(1),
            stale: Vec::new(),
            doubt: false,
            failed: None,
            room: Room::default(),
            store,
            vault,
            random,
            now,
            audit,
        };
        if spool.vault.is_new() {
            spool.index.epoch = now.0;
            spool.recent = Recent::of_nothing();
            let mut first = crate::store::Batch::new();
            first.put(Space::Meta, layout::EPOCH, layout::number(now.0));
            spool.store.commit(&first)?;
            return Ok(spool);
        }
        let next = spool.number(layout::NEXT);
        spool.next = RecordId(next.unwrap_or(1));
        if spool.find_index().is_none() {
            spool.reindex()?;
            if next.is_none() {
                // Names that were used and forgotten are not known any more: beyond all of them.
                spool.next = RecordId(spool.next.0.saturating_add(SKIP));
            }
        }
        spool.recent = spool.latest_messages(now);
        Ok(spool)
    }

    /// What was found, for custody; before anything else.
    pub fn started(&self) -> SpoolEvent {
        let queues = self.index.queues().cloned().collect();
        SpoolEvent::Started { next: self.next, queues, totals: self.totals() }
    }

    /// Takes in indices and counts as they lie; `None` when they have to be made again.
    fn find_index(&mut self) -> Option<()> {
        if self.vault.lost_lookup() || !matches!(self.store.get(Space::Meta, layout::REINDEXING), Ok(None)) {
            return None;
        }
        self.number(layout::NEXT)?;
        self.index = Index::new(self.number(layout::EPOCH)?);
        let names = self.queue_names().ok()??;
        let (mut from, to) = layout::epoch_bounds(self.index.epoch);
        loop {
            let page = self.store.scan(Space::Queue, &from, &to, PAGE).ok()?;
            let Some((last, _)) = page.last() else { break };
            from = [last, &[0][..]].concat();
            for (key, row) in page {
                let (hash, record) = layout::read_queue_row(&key)?;
                let plain = self.vault.unseal(no_identity(Space::Queue, &key), &row).ok()?;
                self.index.add(hash, names.get(&hash)?, record, Waiting::decode(&plain)?);
            }
        }
        if self.number(layout::QUEUED)? != self.index.rows() {
            return None;
        }
        let empty = names.into_keys().filter(|hash| !self.index.holds(hash)).collect();
        self.index.emptied = empty;
        self.live = Live::new(self.live_counts().ok()?.into_iter(), self.vault.segments());
        Some(())
    }

    /// Keys of the messages whose ids are from now on, by the clock; usually there is none. When there are too many, or they cannot
    /// be read, every message is looked for.
    fn latest_messages(&self, now: UnixMs) -> Recent {
        let from = lookup_key_at(now);
        let Ok(rows) = self.store.scan(Space::Messages, &from, &[0xff; LOOKUP_KEY + 1], MOST_LATEST) else {
            return Recent::unknown();
        };
        let keys: Vec<LookupKey> = rows.iter().filter_map(|(key, _)| key[..].try_into().ok()).collect();
        if rows.len() == MOST_LATEST { Recent::unknown() } else { Recent::of(&from, keys.iter()) }
    }

    /// `None` when one does not open.
    fn queue_names(&self) -> Result<Option<BTreeMap<QueueHash, Queue>>, StoreError> {
        let (mut from, to) = layout::epoch_bounds(self.index.epoch);
        let mut names = BTreeMap::new();
        loop {
            let page = self.store.scan(Space::Queues, &from, &to, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(Some(names)) };
            from = [last, &[0][..]].concat();
            for (key, row) in page {
                let plain = self.vault.unseal_standing(no_identity(Space::Queues, &key), &row).ok();
                let queue = plain.and_then(|plain| head::decode_queue(&plain));
                let Some((hash, queue)) = layout::read_queue_name(&key).zip(queue) else { return Ok(None) };
                names.insert(hash, queue);
            }
        }
    }

    /// Only those that can be trusted.
    fn live_counts(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        let to = [layout::LIVE, &[0xff; 5]].concat();
        let rows = self.store.scan(Space::Meta, layout::LIVE, &to, usize::MAX)?;
        let known = rows.iter().filter_map(|(key, row)| Some((layout::read_live(key)?, layout::read_number(row)?)));
        Ok(known.collect())
    }

    fn number(&self, name: &[u8]) -> Option<u64> {
        self.store.get(Space::Meta, name).ok().flatten().and_then(|row| layout::read_number(&row))
    }
}

/// Messages with an id from the future of this clock that are read at the start.
const MOST_LATEST: usize = 1 << 16;
/// Rows scanned at once.
const PAGE: usize = 4_096;
/// More names than any spool forgets between two starts.
const SKIP: u64 = 1 << 32;
