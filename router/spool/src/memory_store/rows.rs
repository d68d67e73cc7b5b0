//! What lies on a disk in memory, and how is it taken back when a crash loses what was not synced?
//!
//! Rows as they are seen, and for each change not yet synced what was there before it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::store::{Change, Space};

type Key = (Space, Bytes);

/// Rows, with an undo list as long as what has been written since the last sync.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: BTreeMap<Key, Bytes>,
    unsynced: Vec<(Key, Option<Bytes>)>,
    bytes: u64,
}

impl Rows {
    pub(super) fn apply(&mut self, change: &Change) {
        let key = (change.space, change.key.clone());
        let before = self.set(&key, change.value.clone());
        self.unsynced.push((key, before));
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
    }

    pub(super) fn lose_unsynced(&mut self) {
        while let Some((key, before)) = self.unsynced.pop() {
            self.set(&key, before);
        }
    }

    pub(super) fn get(&self, space: Space, key: &[u8]) -> Option<&Bytes> {
        self.rows.get(&(space, Bytes::copy_from_slice(key)))
    }

    /// Overwrites or removes a row behind everyone's back: no undo.
    pub(super) fn tamper(&mut self, space: Space, key: &[u8], value: Option<Bytes>) {
        self.set(&(space, Bytes::copy_from_slice(key)), value);
    }

    pub(super) fn range(&self, space: Space, from: &[u8], to: &[u8]) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        let (from, to) = (Bytes::copy_from_slice(from), Bytes::copy_from_slice(to));
        let ordered = (from < to).then(|| self.rows.range((space, from)..(space, to)));
        ordered.into_iter().flatten().map(|((_, key), value)| (key, value))
    }

    /// The keys of a keyspace, ascending.
    pub(super) fn keys(&self, space: Space) -> impl Iterator<Item = &Bytes> {
        self.rows.keys().filter(move |(of, _)| *of == space).map(|(_, key)| key)
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn set(&mut self, key: &Key, value: Option<Bytes>) -> Option<Bytes> {
        self.bytes += value.as_ref().map_or(0, |value| size(key, value));
        let before = match value {
            Some(value) => self.rows.insert(key.clone(), value),
            None => self.rows.remove(key),
        };
        self.bytes -= before.as_ref().map_or(0, |before| size(key, before));
        before
    }
}

/// What a row counts on disk, in bytes.
pub(super) const fn size(key: &Key, value: &Bytes) -> u64 {
    (key.1.len() + value.len()) as u64
}
