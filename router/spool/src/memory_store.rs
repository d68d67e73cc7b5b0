//! How does the spool behave when its disk fails, lies, fills or forgets? A disk in memory that does so on command.
//!
//! [`SimDisk`] is the disk, with its faults; [`MemoryStore`] is a process that has it open. Everything follows from the
//! seed and the order of calls. For simulations and tests: nothing survives the real process.

mod disk;
mod rows;

pub use disk::{CommitFault, Failures, SimDisk};

use bytes::Bytes;

use crate::store::{Batch, Space, Store, StoreError};

/// A store on a [`SimDisk`].
#[derive(Debug)]
pub struct MemoryStore {
    disk: SimDisk,
    failed: Option<StoreError>,
}

impl MemoryStore {
    /// Opens the disk as after a start of the process: what an earlier failed commit left behind appears now.
    ///
    /// # Errors
    /// [`StoreError::Open`] when another store has the disk open.
    pub fn open(disk: &SimDisk) -> Result<Self, StoreError> {
        disk.attach()?;
        Ok(Self { disk: disk.clone(), failed: None })
    }

    /// Writes without fsync: visible at once, lost at the next crash unless a later commit syncs it. Only for mutants that
    /// acknowledge too early, so that tests can show they would notice.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn write_unsynced(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.attempt(batch, SimDisk::write)
    }

    fn attempt(
        &mut self,
        batch: &Batch,
        write: impl FnOnce(&SimDisk, &Batch) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        batch.check()?;
        let written = write(&self.disk, batch);
        self.failed = written.as_ref().err().filter(|error| error.stays()).cloned();
        written
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.attempt(batch, SimDisk::commit)
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.disk.get(space, key)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], most: usize) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.disk.scan(space, from, to, most)
    }

    fn disk_bytes(&self) -> u64 {
        self.disk.bytes()
    }

    fn free_bytes(&self) -> u64 {
        self.disk.free_bytes()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.disk.detach();
    }
}

#[cfg(test)]
mod tests;
