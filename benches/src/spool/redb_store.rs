//! Would redb do? A store over redb 4: one table per keyspace, one transaction with immediate durability per batch.
//!
//! Only for the comparison. It passes the suite of the spool's contract, so that what is compared keeps the same promises.

use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;
use kernpost_spool::store::Change;
use kernpost_spool::{Batch, Space, Store, StoreError};
use redb::{Database, ReadableDatabase, StorageError, TableDefinition};

/// A file with a redb database.
pub struct RedbStore {
    place: String,
    file: std::path::PathBuf,
    database: Database,
    failed: Option<StoreError>,
}

impl RedbStore {
    /// Opens the file `spool.redb` in a folder, with a page cache of at most `cache_bytes`.
    ///
    /// # Errors
    /// The file cannot be used or another process uses it.
    pub fn open(folder: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let refuse = |cause: String| StoreError::Open { folder: folder.to_owned(), cause };
        let file = folder.join("spool.redb");
        let database = Database::builder().set_cache_size(cache_bytes).create(&file);
        let store = Self {
            place: folder.display().to_string(),
            file,
            database: database.map_err(|cause| refuse(cause.to_string()))?,
            failed: None,
        };
        store.write(&[]).map_err(|cause| refuse(cause.to_string()))?;
        Ok(store)
    }

    /// Makes every table, so that reading an untouched one is no error, and changes rows.
    fn write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        if changes.is_empty() {
            for space in Space::ALL {
                transaction.open_table(table(space))?;
            }
        }
        for space in Space::ALL {
            let mut of_space = changes.iter().filter(|change| change.space == space).peekable();
            if of_space.peek().is_none() {
                continue;
            }
            let mut rows = transaction.open_table(table(space))?;
            for Change { key, value, .. } in of_space {
                match value {
                    Some(value) => drop(rows.insert(&key[..], &value[..])?),
                    None => drop(rows.remove(&key[..])?),
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn read<T>(
        &self,
        space: Space,
        read: impl FnOnce(&redb::ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, StorageError>,
    ) -> Result<T, StoreError> {
        let unreadable = |cause: redb::Error| StoreError::Unreadable { space, cause: cause.to_string() };
        let transaction = self.database.begin_read().map_err(|cause| unreadable(cause.into()))?;
        let rows = transaction.open_table(table(space)).map_err(|cause| unreadable(cause.into()))?;
        read(&rows).map_err(|cause| unreadable(cause.into()))
    }
}

impl Store for RedbStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        batch.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        let written = self.write(batch.changes()).map_err(|cause| match cause {
            redb::Error::Io(io) => StoreError::of_write(self.place.clone(), &io),
            other => StoreError::Failed { place: self.place.clone(), cause: other.to_string() },
        });
        self.failed = written.as_ref().err().cloned();
        written
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(space, |rows| Ok(rows.get(key)?.map(|value| Bytes::copy_from_slice(value.value()))))
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], most: usize) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let copied = Bytes::copy_from_slice;
        self.read(space, |rows| {
            let range = rows.range::<&[u8]>((Bound::Included(from), Bound::Excluded(to)))?.take(most);
            range.map(|row| row.map(|(key, value)| (copied(key.value()), copied(value.value())))).collect()
        })
    }

    fn disk_bytes(&self) -> u64 {
        self.file.metadata().map_or(u64::MAX, |about| about.len())
    }

    /// Not compared.
    fn free_bytes(&self) -> u64 {
        u64::MAX
    }
}

fn table(space: Space) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(space.name())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use kernpost_spool::conformance::{MOMENTS, Rig, check_all};

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Rig for Folder {
        type Store = RedbStore;

        fn open(&mut self) -> RedbStore {
            RedbStore::open(self.0.path(), 4 << 20).unwrap()
        }

        /// redb writes in place with its own ordering, which a cut file would not imitate: before and after are tried.
        fn die_during(&mut self, mut store: RedbStore, batch: &Batch, moment: usize) {
            if moment >= MOMENTS / 2 {
                store.commit(batch).unwrap();
            }
        }

        fn die(&mut self, store: RedbStore) {
            drop(store);
        }
    }

    #[test]
    fn redb_keeps_the_contract() {
        check_all(|| Folder(tempfile::tempdir().unwrap()));
    }
}
