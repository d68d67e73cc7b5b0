//! How do rows lie on disk? In fjall: a journal with one fsync per batch, one tree per keyspace, record values apart.
//!
//! Opening replays the journal: a batch whose end marker is missing was torn by a crash and is cut off. Because fjall
//! cuts at the first entry it cannot decode, `journal` looks first whether complete batches follow it.

mod fault;
mod journal;
mod options;

pub use options::FjallOptions;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use crate::store::{Batch, Change, Space, Store, StoreError};

/// A folder that holds a store. fjall's lock file makes it exclusive to one process and one instance.
pub struct FjallStore {
    folder: PathBuf,
    database: Database,
    spaces: Vec<Keyspace>,
    /// The error that stays until the store is opened again.
    failed: Option<StoreError>,
}

impl FjallStore {
    /// Opens the store in a folder, or makes an empty one.
    ///
    /// # Errors
    /// [`StoreError::Open`]: the folder cannot be used, another instance uses it, or its journal lost committed batches.
    pub fn open(folder: &Path, options: &FjallOptions) -> Result<Self, StoreError> {
        let options = options.within_bounds();
        if !options.accept_damaged_journal {
            journal::refuse_lost_batches(folder)?;
        }
        let refuse = |cause: fjall::Error| fault::on_open(folder, &cause);
        let database = Database::builder(folder)
            .cache_size(options.cache_bytes)
            .journal_compression(CompressionType::None)
            .max_journaling_size(options.journal_bytes)
            .max_cached_files(Some(options.open_files))
            .worker_threads(options.worker_threads)
            .open()
            .map_err(refuse)?;
        let open = |space: Space| database.keyspace(space.name(), || shape(space, &options));
        let spaces = Space::ALL.into_iter().map(open).collect::<Result<_, _>>().map_err(refuse)?;
        Ok(Self { folder: folder.to_owned(), database, spaces, failed: None })
    }

    /// Writes a keyspace's memtable out: where its files are.
    #[cfg(test)]
    pub(crate) fn flush_for_test(&self, space: Space) -> PathBuf {
        let keyspace = self.space(space).unwrap();
        keyspace.rotate_memtable_and_wait().unwrap();
        keyspace.path().to_owned()
    }

    fn space(&self, space: Space) -> Result<&Keyspace, StoreError> {
        self.spaces
            .get(usize::from(space.number()))
            .ok_or_else(|| StoreError::Unreadable { space, cause: "this keyspace is not open".to_owned() })
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        self.wait_for_room()?;
        let mut writes = self.database.batch().durability(Some(PersistMode::SyncAll));
        for Change { space, key, value } in batch.changes() {
            let keyspace = self.space(*space)?;
            match value {
                Some(value) => writes.insert(keyspace, &key[..], &value[..]),
                None => writes.remove(keyspace, &key[..]),
            }
        }
        writes.commit().map_err(|cause| fault::on_write(&self.folder, &cause))
    }

    /// Waits until flushing and compaction have caught up: that bounds memory. fjall waits too, but later, and for ever
    /// when its threads have died of a full disk; asking it to persist shows that they have.
    fn wait_for_room(&self) -> Result<(), StoreError> {
        let behind = |keyspace: &Keyspace| {
            keyspace.sealed_memtable_count() >= MOST_SEALED || keyspace.l0_table_count() >= MOST_UNSORTED
        };
        while self.spaces.iter().any(behind) {
            self.database.persist(PersistMode::Buffer).map_err(|cause| fault::on_write(&self.folder, &cause))?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Store for FjallStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        batch.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        let written = self.write(batch);
        self.failed = written.as_ref().err().filter(|error| error.stays()).cloned();
        written
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if key.is_empty() {
            return Ok(None);
        }
        let found = self.space(space)?.get(key).map_err(|cause| fault::on_read(space, &cause))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], most: usize) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.space(space)?.range(from..to).take(most);
        let copied = |slice: &[u8]| Bytes::copy_from_slice(slice);
        let read = |row: fjall::Guard| row.into_inner().map(|(key, value)| (copied(&key), copied(&value)));
        rows.map(read).collect::<Result<_, _>>().map_err(|cause| fault::on_read(space, &cause))
    }

    fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(u64::MAX)
    }

    /// What the file system leaves to users that are not root.
    fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.folder).map_or(0, |about| about.f_bavail.saturating_mul(about.f_frsize))
    }
}

impl std::fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallStore").field("folder", &self.folder).field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// How a new keyspace is laid out. fjall remembers it: later options do not change it. Nothing is compressed, because
/// sealed values do not shrink.
fn shape(space: Space, options: &FjallOptions) -> KeyspaceCreateOptions {
    let plain = KeyspaceCreateOptions::default();
    if space == Space::Messages {
        plain.max_memtable_size(options.messages_memtable_bytes)
    } else if space == Space::Records {
        let apart = KvSeparationOptions::default()
            .compression(CompressionType::None)
            .separation_threshold(SEPARATE_FROM)
            .file_target_size(BLOB_FILE_BYTES);
        plain.max_memtable_size(options.records_memtable_bytes).with_kv_separation(Some(apart))
    } else {
        plain.max_memtable_size(options.index_memtable_bytes)
    }
}

/// Record values from this length on lie in files of their own, in bytes: compaction moves their addresses only.
const SEPARATE_FROM: u32 = 1_024;
/// A file of record values, in bytes. Its space returns when it is mostly stale and compaction reaches it. Each is fsynced when
/// it is full: a commit waits for at most about that much of a memtable being written out, not for all of it.
const BLOB_FILE_BYTES: u64 = 8 << 20;
/// Full memtables of a keyspace that may wait for their flush. fjall itself halts at 4.
const MOST_SEALED: usize = 2;
/// Tables of a keyspace that may wait for compaction. fjall itself slows down at 20 and halts at 30.
const MOST_UNSORTED: usize = 16;
/// Between two looks at a backlog.
const PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
