//! The durable outbox on disk, in fjall: messages by (id, sender), their payloads, the open ones with their numbers, idempotency keys, and an
//! index by the instant at which they are forgotten.
//!
//! Everything that waits is written in one batch with one fsync. After a failed write the store stays failed until the process
//! restarts: the storage library recovers then.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use kernpost_codecs::time::SKEW_MS;
use kernpost_codecs::{EndpointId, MessageId, UnixMs};

use super::record::Record;
use super::{OutboxConfig, OutboxError, Stored};
use crate::core::{AcceptRecord, Accepted, FinalOutcome, OutcomeRecord, PayloadFile, Place, SendError};

/// Memory for cached blocks, in bytes.
const CACHE_BYTES: u64 = 16 << 20;

/// Messages on disk.
pub struct OutboxStore {
    config: OutboxConfig,
    database: Database,
    messages: Keyspace,
    payloads: Keyspace,
    open: Keyspace,
    keys: Keyspace,
    expiry: Keyspace,
    failed: AtomicBool,
    open_messages: AtomicU64,
    open_bytes: AtomicU64,
    kept: AtomicU64,
    /// Above the numbers of all open messages.
    next: AtomicU64,
}

/// What one batch does to the store, before it is written.
struct Batch<'a> {
    store: &'a OutboxStore,
    batch: fjall::OwnedWriteBatch,
    /// Records this batch has changed.
    changed: HashMap<Vec<u8>, Record>,
    /// Idempotency keys this batch has taken.
    taken: HashMap<Vec<u8>, Vec<u8>>,
    messages: u64,
    bytes: u64,
    kept: u64,
    next: u64,
}

impl OutboxStore {
    /// Opens the outbox in its folder, or makes an empty one.
    ///
    /// # Errors
    /// The folder cannot be used, or another process uses it.
    pub fn open(config: OutboxConfig) -> Result<Self, OutboxError> {
        let folder = config.folder.clone();
        let fault = |cause: fjall::Error| storage(&folder, &cause);
        let database = Database::builder(&folder).cache_size(CACHE_BYTES).open().map_err(fault)?;
        let open = |name: &str| database.keyspace(name, KeyspaceCreateOptions::default).map_err(fault);
        let store = Self {
            messages: open("messages")?,
            payloads: open("payloads")?,
            open: open("open")?,
            keys: open("keys")?,
            expiry: open("expiry")?,
            failed: AtomicBool::new(false),
            open_messages: AtomicU64::new(0),
            open_bytes: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            next: AtomicU64::new(0),
            database,
            config,
        };
        store.count().map_err(fault)?;
        Ok(store)
    }

    fn count(&self) -> Result<(), fjall::Error> {
        let (mut messages, mut bytes, mut next) = (0, 0, 0);
        for entry in self.open.iter() {
            let (number, length) = open_value(&entry.value()?);
            messages += 1;
            bytes += length;
            next = next.max(number.saturating_add(1));
        }
        self.next.store(next, Ordering::Relaxed);
        self.open_messages.store(messages, Ordering::Relaxed);
        self.open_bytes.store(bytes, Ordering::Relaxed);
        self.kept.store(self.expiry.len()? as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Open messages and their bytes.
    pub fn held(&self) -> (u64, u64) {
        (self.open_messages.load(Ordering::Relaxed), self.open_bytes.load(Ordering::Relaxed))
    }

    /// The record of a message.
    ///
    /// # Errors
    /// Storage fails or the record is damaged.
    pub fn find(&self, sender: &EndpointId, message: MessageId) -> Result<Option<Stored>, OutboxError> {
        let key = key(sender, message);
        Ok(self.record(&key)?.map(|record| stored(sender.clone(), message, record)))
    }

    /// The record of a message of whichever sender.
    ///
    /// # Errors
    /// Storage fails or a record is damaged.
    pub fn find_any(&self, message: MessageId) -> Result<Option<Stored>, OutboxError> {
        match self.messages.prefix(message.0).next() {
            Some(entry) => Ok(Some(self.parse(entry)?)),
            None => Ok(None),
        }
    }

    /// Messages without final outcome, in the order in which they were accepted.
    ///
    /// # Errors
    /// Storage fails or a record is damaged.
    pub fn open_messages(&self) -> Result<Vec<Stored>, OutboxError> {
        let mut found = Vec::new();
        for entry in self.open.iter() {
            let (key, value) = entry.into_inner().map_err(|cause| self.storage(&cause))?;
            let Some((sender, message)) = identity(&key) else { return Err(self.damaged(&key)) };
            if let Some(record) = self.record(&key)? {
                found.push((open_value(&value).0, stored(sender, message, record)));
            }
        }
        found.sort_by_key(|(number, _)| *number);
        Ok(found.into_iter().map(|(_, stored)| stored).collect())
    }

    /// The newest `most` messages, open or ended.
    ///
    /// # Errors
    /// Storage fails or a record is damaged.
    pub fn newest(&self, most: usize) -> Result<Vec<Stored>, OutboxError> {
        self.messages.iter().rev().take(most).map(|entry| self.parse(entry)).collect()
    }

    /// The payload of an open message; `None` when it is in a file, or erased.
    ///
    /// # Errors
    /// Storage fails.
    pub fn payload(&self, sender: &EndpointId, message: MessageId) -> Result<Option<Bytes>, OutboxError> {
        let found = self.payloads.get(key(sender, message)).map_err(|cause| self.storage(&cause))?;
        Ok(found.map(|bytes| Bytes::copy_from_slice(&bytes)))
    }

    /// Writes messages and outcomes in their order, with one fsync. Says what became of each message.
    ///
    /// # Errors
    /// Storage fails: whether anything is durable is unknown.
    pub fn write(
        &self,
        accepts: &[AcceptRecord],
        outcomes: &[OutcomeRecord],
        now: UnixMs,
    ) -> Result<Vec<Accepted>, OutboxError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(OutboxError::Failed);
        }
        let end = self.try_write(accepts, outcomes, now);
        end.inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    fn try_write(
        &self,
        accepts: &[AcceptRecord],
        outcomes: &[OutcomeRecord],
        now: UnixMs,
    ) -> Result<Vec<Accepted>, OutboxError> {
        let (messages, bytes) = self.held();
        let mut batch = Batch {
            store: self,
            batch: self.database.batch().durability(Some(PersistMode::SyncAll)),
            changed: HashMap::new(),
            taken: HashMap::new(),
            messages,
            bytes,
            kept: self.kept.load(Ordering::Relaxed),
            next: self.next.load(Ordering::Relaxed),
        };
        for outcome in outcomes {
            batch.outcome(outcome, now)?;
        }
        let answers = accepts.iter().map(|accept| batch.accept(accept)).collect::<Result<Vec<_>, _>>()?;
        let Batch { batch, messages, bytes, kept, next, .. } = batch;
        batch.commit().map_err(|cause| self.storage(&cause))?;
        self.open_messages.store(messages, Ordering::Relaxed);
        self.open_bytes.store(bytes, Ordering::Relaxed);
        self.kept.store(kept, Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
        Ok(answers)
    }

    /// Forgets at most `most` ended messages whose time has come, or that are more than are kept; returns how many.
    ///
    /// # Errors
    /// Storage fails.
    pub fn prune(&self, now: UnixMs, most: usize) -> Result<usize, OutboxError> {
        let fault = |cause: fjall::Error| self.storage(&cause);
        let kept = self.kept.load(Ordering::Relaxed);
        let surplus = usize::try_from(kept.saturating_sub(self.config.kept)).unwrap_or(usize::MAX);
        let mut batch = self.database.batch();
        let mut pruned = 0;
        for entry in self.expiry.iter().take(most) {
            let index = entry.key().map_err(fault)?;
            let Some((at, key)) = index.split_first_chunk::<8>() else { continue };
            if u64::from_be_bytes(*at) >= now.0 && pruned >= surplus {
                break;
            }
            if let Some(record) = self.record(key)? {
                if let (Some((sender, _)), Some(name)) = (identity(key), &record.key) {
                    let name = key_name(&sender, name);
                    let names_this = self.keys.get(&name).map_err(fault)?.is_some_and(|named| named.as_ref() == key);
                    if names_this {
                        batch.remove(&self.keys, name);
                    }
                }
                batch.remove(&self.messages, key);
            }
            batch.remove(&self.expiry, index.clone());
            pruned += 1;
        }
        batch.commit().map_err(fault)?;
        self.kept.store(kept.saturating_sub(pruned as u64), Ordering::Relaxed);
        Ok(pruned)
    }

    fn record(&self, key: &[u8]) -> Result<Option<Record>, OutboxError> {
        let Some(bytes) = self.messages.get(key).map_err(|cause| self.storage(&cause))? else { return Ok(None) };
        Record::decode(&bytes).map(Some).ok_or_else(|| self.damaged(key))
    }

    fn parse(&self, entry: fjall::Guard) -> Result<Stored, OutboxError> {
        let (key, value) = entry.into_inner().map_err(|cause| self.storage(&cause))?;
        let (sender, message) = identity(&key).ok_or_else(|| self.damaged(&key))?;
        let record = Record::decode(&value).ok_or_else(|| self.damaged(&key))?;
        Ok(stored(sender, message, record))
    }

    fn storage(&self, cause: &fjall::Error) -> OutboxError {
        storage(&self.config.folder, cause)
    }

    fn damaged(&self, key: &[u8]) -> OutboxError {
        let message = identity(key).map_or_else(|| hex::encode(key), |(_, message)| message.to_string());
        OutboxError::Damaged { folder: self.config.folder.display().to_string(), message }
    }
}

impl Batch<'_> {
    fn record(&self, key: &[u8]) -> Result<Option<Record>, OutboxError> {
        match self.changed.get(key) {
            Some(record) => Ok(Some(record.clone())),
            None => self.store.record(key),
        }
    }

    fn put(&mut self, key: Vec<u8>, record: Record) {
        self.batch.insert(&self.store.messages, key.clone(), record.encode());
        self.changed.insert(key, record);
    }

    fn accept(&mut self, accept: &AcceptRecord) -> Result<Accepted, OutboxError> {
        let key = key(&accept.sender, accept.message);
        let name = accept.key.as_ref().map(|name| key_name(&accept.sender, name));
        if let Some(name) = &name
            && let Some(answer) = self.known(name, accept)?
        {
            return Ok(answer);
        }
        let before = self.record(&key)?;
        if before.as_ref().is_some_and(|record| !is_refused(record)) {
            return Ok(Accepted::Refused(SendError::IdInUse(accept.message)));
        }
        let bytes = (accept.statement.len() + accept.payload.len()) as u64;
        let config = &self.store.config;
        if self.messages >= config.messages || self.bytes.saturating_add(bytes) > config.bytes {
            let held = format!("{} messages, {} bytes", self.messages, self.bytes);
            return Ok(Accepted::Refused(SendError::StoreFull(held)));
        }
        if let Some(at) = before.and_then(|record| record.forget_after) {
            self.batch.remove(&self.store.expiry, expiry_key(at, &key));
            self.kept = self.kept.saturating_sub(1);
        }
        self.messages += 1;
        self.bytes += bytes;
        let value = [self.next.to_be_bytes(), bytes.to_be_bytes()].concat();
        self.next += 1;
        self.batch.insert(&self.store.open, key.clone(), value);
        if !accept.payload.is_empty() {
            self.batch.insert(&self.store.payloads, key.clone(), accept.payload.as_ref());
        }
        if let Some(name) = name {
            self.batch.insert(&self.store.keys, name.clone(), key.clone());
            self.taken.insert(name, key.clone());
        }
        let record = Record {
            statement: accept.statement.clone(),
            content: accept.content,
            is_final: false,
            outcome: None,
            contradiction: None,
            key: accept.key.clone(),
            file: accept.file.clone().map(absolute),
            forget_after: None,
            bytes,
        };
        self.put(key, record);
        Ok(Accepted::Durable)
    }

    /// What an idempotency key that was used before means; `None`: it is free. A refused message frees it.
    fn known(&self, name: &[u8], accept: &AcceptRecord) -> Result<Option<Accepted>, OutboxError> {
        let named = match self.taken.get(name) {
            Some(key) => Some(key.clone()),
            None => {
                let found = self.store.keys.get(name).map_err(|cause| self.store.storage(&cause))?;
                found.map(|key| key.to_vec())
            }
        };
        let Some(named) = named else { return Ok(None) };
        let Some(record) = self.record(&named)?.filter(|record| !is_refused(record)) else { return Ok(None) };
        let Some((_, message)) = identity(&named) else { return Err(self.store.damaged(&named)) };
        if record.content != accept.content {
            return Ok(Some(Accepted::Refused(SendError::KeyReused(message))));
        }
        let (outcome, is_final) = (record.outcome.map(Box::new), record.is_final);
        Ok(Some(Accepted::Known { message, outcome, is_final }))
    }

    fn outcome(&mut self, outcome: &OutcomeRecord, now: UnixMs) -> Result<(), OutboxError> {
        let key = key(&outcome.sender, outcome.outcome.id);
        let Some(mut record) = self.record(&key)? else { return Ok(()) };
        match outcome.place {
            Place::Contradiction => record.contradiction = Some(outcome.outcome.clone()),
            Place::Stage if record.is_final => return Ok(()),
            Place::Stage => record.outcome = Some(outcome.outcome.clone()),
            Place::Final => {
                record.outcome = Some(outcome.outcome.clone());
                if !record.is_final {
                    self.close(&key, &mut record, outcome.expires, now);
                }
            }
        }
        self.put(key, record);
        Ok(())
    }

    /// The message ended: its payload is erased, its outcome kept for a time.
    fn close(&mut self, key: &[u8], record: &mut Record, expires: UnixMs, now: UnixMs) {
        let until = match self.store.config.retention_ms {
            Some(retention_ms) => now.plus_ms(retention_ms),
            None => UnixMs(expires.0.max(now.0)).plus_ms(2 * SKEW_MS),
        };
        record.is_final = true;
        record.file = None;
        record.forget_after = Some(until);
        self.batch.remove(&self.store.payloads, key);
        self.batch.remove(&self.store.open, key);
        self.batch.insert(&self.store.expiry, expiry_key(until, key), []);
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(record.bytes);
        self.kept += 1;
    }
}

impl std::fmt::Debug for OutboxStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxStore").field("folder", &self.config.folder).finish_non_exhaustive()
    }
}

fn is_refused(record: &Record) -> bool {
    record.is_final && record.outcome.as_ref().is_some_and(|outcome| outcome.outcome == FinalOutcome::Refused)
}

fn stored(sender: EndpointId, message: MessageId, record: Record) -> Stored {
    let Record { statement, is_final, outcome, contradiction, key, file, forget_after, .. } = record;
    Stored { sender, message, statement, outcome, is_final, contradiction, file, key, forget_after }
}

/// A later process may run in another folder.
fn absolute(file: PayloadFile) -> PayloadFile {
    let path = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
    PayloadFile { path, ..file }
}

/// The message id first: ids are UUIDv7, so that new keys lie together.
fn key(sender: &EndpointId, message: MessageId) -> Vec<u8> {
    let mut key = message.0.to_vec();
    key.extend_from_slice(sender.as_str().as_bytes());
    key
}

fn identity(key: &[u8]) -> Option<(EndpointId, MessageId)> {
    let (message, sender) = key.split_first_chunk::<16>()?;
    Some((std::str::from_utf8(sender).ok()?.parse().ok()?, MessageId(*message)))
}

/// Of an open message: its number, which orders messages as they were accepted, and its bytes.
fn open_value(value: &[u8]) -> (u64, u64) {
    let (numbers, _) = value.as_chunks::<8>();
    let at = |position: usize| numbers.get(position).map_or(0, |bytes| u64::from_be_bytes(*bytes));
    (at(0), at(1))
}

/// An endpoint id has no zero byte.
fn key_name(sender: &EndpointId, name: &[u8]) -> Vec<u8> {
    [sender.as_str().as_bytes(), &[0], name].concat()
}

fn expiry_key(at: UnixMs, key: &[u8]) -> Vec<u8> {
    [&at.0.to_be_bytes(), key].concat()
}

fn storage(folder: &Path, cause: &fjall::Error) -> OutboxError {
    OutboxError::Storage { folder: folder.display().to_string(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests;
