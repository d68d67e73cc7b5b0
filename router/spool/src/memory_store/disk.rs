//! A disk that fails on command: which fault does what?
//!
//! Faults are armed from outside through a clone of the handle, while a store has the disk open. Those that hit one
//! commit are used up by it; a lying fsync, a capacity and read-only stay until they are taken back.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::rows::{Rows, size};
use crate::store::{Batch, Change, Space, StoreError};

/// What happens to one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitFault {
    /// The write fails: an error, and the batch is gone.
    Lost,
    /// The fsync reports an error, and the batch is durable all the same: it appears when the disk is opened again.
    KeptThoughFailed,
}

/// Commits that failed, by what made them fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    /// By [`CommitFault::Lost`].
    pub lost: u64,
    /// By [`CommitFault::KeptThoughFailed`].
    pub kept: u64,
    /// By [`SimDisk::read_only`].
    pub read_only: u64,
    /// By [`SimDisk::fill_at`].
    pub full: u64,
}

/// A disk in memory; clones are the same disk. Bounded by what is written to it, or by [`SimDisk::fill_at`].
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    rows: Rows,
    attached: bool,
    random: u64,
    commits: VecDeque<Option<CommitFault>>,
    kept: Vec<Batch>,
    unreadable: BTreeSet<(Space, Bytes)>,
    capacity: Option<u64>,
    read_only: bool,
    lying: bool,
    failures: Failures,
}

impl SimDisk {
    /// An empty disk. The seed decides which row and bit [`SimDisk::flip_any_bit`] hits.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner { random: seed, ..Inner::default() })))
    }

    /// Makes the next commit fail.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        self.fail_next_commit_after(0, fault);
    }

    /// Makes a commit fail after `sound` more that succeed.
    pub fn fail_next_commit_after(&self, sound: usize, fault: CommitFault) {
        let mut inner = self.inner();
        inner.commits.clear();
        inner.commits.extend(std::iter::repeat_n(None, sound));
        inner.commits.push_back(Some(fault));
    }

    /// Takes back what was armed for coming commits.
    pub fn fail_no_commit(&self) {
        self.inner().commits.clear();
    }

    /// While on, a commit returns Ok without anything being durable, as a disk does whose cache ignores flushes.
    pub fn lie_about_fsync(&self, on: bool) {
        self.inner().lying = on;
    }

    /// The power fails: what was not synced is gone. Drop the store, then open the disk again.
    pub fn crash(&self) {
        let mut inner = self.inner();
        inner.rows.lose_unsynced();
        inner.commits.clear();
    }

    /// The power fails in the middle of committing a batch: it is there as a whole if `written`, else gone.
    pub fn crash_during(&self, batch: &Batch, written: bool) {
        let mut inner = self.inner();
        inner.rows.lose_unsynced();
        if written {
            inner.write_all(batch.changes());
        }
        inner.rows.sync();
    }

    /// Breaks the contract: the power fails and only the first `changes` of the batch are there.
    pub fn tear(&self, batch: &Batch, changes: usize) {
        let mut inner = self.inner();
        inner.rows.lose_unsynced();
        inner.write_all(batch.changes().get(..changes).unwrap_or(batch.changes()));
        inner.rows.sync();
    }

    /// From now on rows take at most this many bytes; `None` takes the limit away. Deleting always works.
    pub fn fill_at(&self, bytes: Option<u64>) {
        self.inner().capacity = bytes;
    }

    /// Takes no writes while on.
    pub fn read_only(&self, on: bool) {
        self.inner().read_only = on;
    }

    /// Flips a bit of a stored value, counted from the first byte's lowest, modulo its length. False when the row has no
    /// value to damage.
    pub fn flip_bit(&self, space: Space, key: &[u8], bit: usize) -> bool {
        let mut inner = self.inner();
        let Some(mut value) = inner.rows.get(space, key).map(|value| value.to_vec()) else { return false };
        let (byte, bit) = (bit / 8 % value.len().max(1), bit % 8);
        let Some(byte) = value.get_mut(byte) else { return false };
        *byte ^= 1 << bit;
        inner.rows.tamper(space, key, Some(value.into()));
        true
    }

    /// Flips one bit of one value of a keyspace, both chosen by the seed. The key that was hit, if there is a row.
    pub fn flip_any_bit(&self, space: Space) -> Option<Bytes> {
        let key = self.any_key(space)?;
        let bit = usize::try_from(self.inner().draw() >> 32).ok()?;
        self.flip_bit(space, &key, bit).then_some(key)
    }

    /// A key of a keyspace, chosen by the seed; `None`: it has no row.
    pub fn any_key(&self, space: Space) -> Option<Bytes> {
        let mut inner = self.inner();
        let row = inner.draw();
        let rows = inner.rows.keys(space).count();
        let row = usize::try_from(row % u64::try_from(rows).ok().filter(|rows| *rows > 0)?).ok()?;
        inner.rows.keys(space).nth(row).cloned()
    }

    /// How many commits failed since it was made: those that a fault hit, and those it had no room for or took no writes for.
    #[must_use]
    pub fn failures(&self) -> Failures {
        self.inner().failures
    }

    /// Reading this row reports damage, as a library does whose block checksum does not fit. Overwriting it repairs it.
    pub fn make_unreadable(&self, space: Space, key: &[u8]) {
        self.inner().unreadable.insert((space, Bytes::copy_from_slice(key)));
    }

    /// Forgets rows without a word, as when a file of the library was deleted. How many there were.
    pub fn forget(&self, space: Space, from: &[u8], to: &[u8]) -> usize {
        let mut inner = self.inner();
        let keys: Vec<Bytes> = inner.rows.range(space, from, to).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            inner.rows.tamper(space, key, None);
        }
        keys.len()
    }

    pub(super) fn attach(&self) -> Result<(), StoreError> {
        let mut inner = self.inner();
        if inner.attached {
            return Err(StoreError::Open { folder: PLACE.into(), cause: "another store has it open".to_owned() });
        }
        inner.attached = true;
        for batch in std::mem::take(&mut inner.kept) {
            inner.write_all(batch.changes());
        }
        inner.rows.sync();
        Ok(())
    }

    pub(super) fn detach(&self) {
        self.inner().attached = false;
    }

    pub(super) fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut inner = self.inner();
        inner.refuse(batch)?;
        inner.write_all(batch.changes());
        Ok(())
    }

    pub(super) fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut inner = self.inner();
        inner.refuse(batch)?;
        match inner.commits.pop_front().flatten() {
            None => {}
            Some(CommitFault::Lost) => {
                inner.failures.lost += 1;
                return Err(failed("the write failed"));
            }
            Some(CommitFault::KeptThoughFailed) => {
                inner.failures.kept += 1;
                inner.kept.push(batch.clone());
                return Err(failed("fsync failed"));
            }
        }
        inner.write_all(batch.changes());
        if !inner.lying {
            inner.rows.sync();
        }
        Ok(())
    }

    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let inner = self.inner();
        if inner.unreadable.contains(&(space, Bytes::copy_from_slice(key))) {
            return Err(unreadable(space));
        }
        Ok(inner.rows.get(space, key).cloned())
    }

    pub(super) fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: &[u8],
        most: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let inner = self.inner();
        let rows: Vec<(Bytes, Bytes)> =
            inner.rows.range(space, from, to).take(most).map(|(key, value)| (key.clone(), value.clone())).collect();
        let damaged = rows.iter().any(|(key, _)| inner.unreadable.contains(&(space, key.clone())));
        if damaged { Err(unreadable(space)) } else { Ok(rows) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.inner().rows.bytes()
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let inner = self.inner();
        inner.capacity.map_or(u64::MAX, |most| most.saturating_sub(inner.rows.bytes()))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write_all(&mut self, changes: &[Change]) {
        for change in changes {
            self.rows.apply(change);
            self.unreadable.remove(&(change.space, change.key.clone()));
        }
    }

    fn refuse(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let place = || PLACE.to_owned();
        if self.read_only {
            self.failures.read_only += 1;
            return Err(StoreError::ReadOnly { place: place(), cause: "made so".to_owned() });
        }
        let puts = batch
            .changes()
            .iter()
            .filter_map(|Change { space, key, value }| value.as_ref().map(|value| size(&(*space, key.clone()), value)));
        let wanted: u64 = puts.sum();
        match self.capacity {
            Some(most) if wanted > 0 && self.rows.bytes().saturating_add(wanted) > most => {
                self.failures.full += 1;
                Err(StoreError::Full { place: place(), cause: format!("{most} bytes are all there is") })
            }
            _ => Ok(()),
        }
    }

    /// SplitMix64.
    const fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn failed(cause: &str) -> StoreError {
    StoreError::Failed { place: PLACE.to_owned(), cause: cause.to_owned() }
}

fn unreadable(space: Space) -> StoreError {
    StoreError::Unreadable { space, cause: "made so".to_owned() }
}

const PLACE: &str = "a disk in memory";
