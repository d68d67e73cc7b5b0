//! The journal on disk, in fjall: verdicts by (sender, id), an index by expiry, and messages when asked to keep them.
//!
//! One process per folder (fjall locks it). Everything that waits is written in one batch and made durable by one
//! fsync. After a failed write the journal stays failed until the process restarts: the storage library recovers then.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use kernpost_codecs::{EndpointId, MessageId, Outcome, UnixMs};

use super::JournalError;
use super::record::{decode, encode};
use crate::core::{Earlier, JournalRecord};

/// Memory for cached blocks, in bytes.
const CACHE_BYTES: u64 = 16 << 20;

/// Verdicts on disk.
pub struct DiskJournal {
    folder: PathBuf,
    id: [u8; 16],
    database: Database,
    verdicts: Keyspace,
    expiry: Keyspace,
    messages: Option<Keyspace>,
    failed: AtomicBool,
}

impl DiskJournal {
    /// Opens the journal in a folder, or makes an empty one that is named `fresh_id`. With `keep_messages`, accepted
    /// messages are stored with their verdict, statement and payload; large payloads as files in `<folder>.payloads`.
    ///
    /// # Errors
    /// The folder cannot be used, or another process uses it.
    pub fn open(folder: &Path, fresh_id: [u8; 16], keep_messages: bool) -> Result<Self, JournalError> {
        let fault = |cause: fjall::Error| storage(folder, &cause);
        let database = Database::builder(folder).cache_size(CACHE_BYTES).open().map_err(fault)?;
        let open = |name: &str| database.keyspace(name, KeyspaceCreateOptions::default).map_err(fault);
        let (meta, verdicts, expiry) = (open("meta")?, open("verdicts")?, open("expiry")?);
        let messages = if keep_messages { Some(open("messages")?) } else { None };
        let known = meta.get("journal-id").map_err(fault)?;
        let id = match known.as_deref().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) {
            Some(id) => id,
            None => {
                meta.insert("journal-id", fresh_id).map_err(fault)?;
                database.persist(PersistMode::SyncAll).map_err(fault)?;
                fresh_id
            }
        };
        let failed = AtomicBool::new(false);
        Ok(Self { folder: folder.to_owned(), id, database, verdicts, expiry, messages, failed })
    }

    pub(in crate::journal) fn id(&self) -> [u8; 16] {
        self.id
    }

    pub(super) fn find(&self, sender: &EndpointId, message: MessageId) -> Result<Option<Earlier>, JournalError> {
        Ok(self.find_record(sender, message)?.map(|(earlier, _)| earlier))
    }

    /// The verdict on this message, and when it is forgotten.
    pub(in crate::journal) fn find_record(
        &self,
        sender: &EndpointId,
        message: MessageId,
    ) -> Result<Option<(Earlier, UnixMs)>, JournalError> {
        let found = self.verdicts.get(key(sender, message)).map_err(|cause| storage(&self.folder, &cause))?;
        let Some(bytes) = found else { return Ok(None) };
        decode(&bytes).map(Some).ok_or_else(|| JournalError::Damaged {
            folder: self.folder.display().to_string(),
            sender: sender.to_string(),
        })
    }

    pub(in crate::journal) fn record(&self, records: &[JournalRecord]) -> Result<(), JournalError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(JournalError::Failed);
        }
        self.keep_payloads(records).inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for record in records {
            let key = key(&record.sender, record.message);
            batch.insert(&self.verdicts, key.clone(), encode(&record.verdict, record.forget_after));
            batch.insert(&self.expiry, expiry_key(record.forget_after, &key), []);
            if let Some(messages) = self.messages.as_ref().filter(|_| record.verdict.outcome == Outcome::Delivered) {
                batch.insert(messages, key, stored_message(record));
            }
        }
        batch.commit().map_err(|cause| {
            self.failed.store(true, Ordering::Release);
            storage(&self.folder, &cause)
        })
    }

    /// Large payloads of accepted messages move beside the journal, durably, before the record that needs them.
    fn keep_payloads(&self, records: &[JournalRecord]) -> Result<(), JournalError> {
        let kept = records.iter().filter(|record| record.verdict.outcome == Outcome::Delivered);
        let files =
            kept.filter_map(|record| Some((record.payload_file.as_ref()?, key(&record.sender, record.message))));
        for (file, key) in files.filter(|_| self.messages.is_some()) {
            let moved = move_durably(file, &payload_path(&self.folder, &key));
            moved.map_err(|cause| JournalError::Storage {
                folder: self.folder.display().to_string(),
                cause: format!("{}: {cause}", file.display()),
            })?;
        }
        Ok(())
    }

    pub(in crate::journal) fn prune(&self, now: UnixMs, most: usize) -> Result<usize, JournalError> {
        let fault = |cause: fjall::Error| storage(&self.folder, &cause);
        let mut batch = self.database.batch();
        let mut pruned = 0;
        for entry in self.expiry.range(..now.0.to_be_bytes().to_vec()).take(most) {
            let key = entry.key().map_err(fault)?;
            let Some(identity) = key.get(8..) else { continue };
            batch.remove(&self.verdicts, identity);
            if let Some(messages) = &self.messages {
                batch.remove(messages, identity);
                let kept = payload_path(&self.folder, identity);
                if let Err(error) = std::fs::remove_file(&kept)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    tracing::warn!(path = %kept.display(), %error, "a kept payload could not be deleted");
                }
            }
            batch.remove(&self.expiry, key.clone());
            pruned += 1;
        }
        batch.commit().map_err(fault)?;
        Ok(pruned)
    }
}

impl std::fmt::Debug for DiskJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskJournal").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Where the large payload of this message is kept: beside the folder, which belongs to the storage library alone.
fn payload_path(folder: &Path, key: &[u8]) -> PathBuf {
    let mut beside = folder.as_os_str().to_owned();
    beside.push(".payloads");
    PathBuf::from(beside).join(hex::encode(key))
}

/// Moves a file, by copying where the two places are on different disks.
fn move_durably(from: &Path, to: &Path) -> std::io::Result<()> {
    let parent = to.parent().unwrap_or(to);
    std::fs::create_dir_all(parent)?;
    if std::fs::rename(from, to).is_err() {
        std::fs::copy(from, to)?;
        std::fs::File::open(to)?.sync_all()?;
        std::fs::remove_file(from)?;
    }
    std::fs::File::open(parent)?.sync_all()
}

/// The message id first: ids are UUIDv7, so that new keys lie together.
fn key(sender: &EndpointId, message: MessageId) -> Vec<u8> {
    let mut key = message.0.to_vec();
    key.extend_from_slice(sender.as_str().as_bytes());
    key
}

fn expiry_key(at: UnixMs, key: &[u8]) -> Vec<u8> {
    let mut bytes = at.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(key);
    bytes
}

/// Statement length (2 bytes), statement, payload; a large payload is a file of its own.
fn stored_message(record: &JournalRecord) -> Vec<u8> {
    let length = u16::try_from(record.statement.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(2 + record.statement.len() + record.payload.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&record.statement);
    bytes.extend_from_slice(&record.payload);
    bytes
}

fn storage(folder: &Path, cause: &fjall::Error) -> JournalError {
    JournalError::Storage { folder: folder.display().to_string(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kernpost_codecs::digest::Digest;

    use super::*;
    use crate::core::DeliveryId;

    fn record(n: u8, forget_after: u64) -> JournalRecord {
        JournalRecord {
            id: DeliveryId(n.into()),
            sender: "de/portal".parse().unwrap(),
            message: MessageId([n; 16]),
            verdict: Earlier { leaf: Digest([n; 32]), outcome: Outcome::Delivered, code: 0, problem: None },
            forget_after: UnixMs(forget_after),
            statement: Bytes::from_static(b"statement"),
            payload: Bytes::from_static(b"payload"),
            payload_file: None,
        }
    }

    #[test]
    fn a_journal_survives_a_restart_with_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let sender: EndpointId = "de/portal".parse().unwrap();
        {
            let journal = DiskJournal::open(folder.path(), [1; 16], true).unwrap();
            journal.record(&[record(1, 10), record(2, 20)]).unwrap();
        }
        let journal = DiskJournal::open(folder.path(), [2; 16], true).unwrap();
        assert_eq!(journal.id(), [1; 16]);
        assert_eq!(journal.find(&sender, MessageId([1; 16])).unwrap(), Some(record(1, 10).verdict));
        assert_eq!(journal.find(&sender, MessageId([3; 16])).unwrap(), None);
    }

    #[test]
    fn what_is_past_its_time_is_forgotten_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let sender: EndpointId = "de/portal".parse().unwrap();
        let journal = DiskJournal::open(folder.path(), [1; 16], true).unwrap();
        journal.record(&[record(1, 10), record(2, 20)]).unwrap();
        assert_eq!(journal.prune(UnixMs(15), 100).unwrap(), 1);
        assert_eq!(journal.find(&sender, MessageId([1; 16])).unwrap(), None);
        assert!(journal.find(&sender, MessageId([2; 16])).unwrap().is_some());
    }

    #[test]
    fn a_folder_serves_one_process_only() {
        let folder = tempfile::tempdir().unwrap();
        let _first = DiskJournal::open(folder.path(), [1; 16], false).unwrap();
        assert!(matches!(DiskJournal::open(folder.path(), [1; 16], false), Err(JournalError::Storage { .. })));
    }
}
