//! What must a storage library promise before a router may promise anything?
//!
//! Batches that apply whole or not at all, an Ok that means fsync, ascending scans, and errors that say what is known.
//! One writer: the spool owns its store. Implementations pass the suite `conformance`; a replicated engine
//! would be one more.

mod batch;
mod error;
mod space;

pub use batch::{Batch, Change};
pub use error::StoreError;
pub use space::Space;

use bytes::Bytes;

/// Longest key, in bytes; the shortest is 1.
pub const MAX_KEY_BYTES: usize = 1_024;
/// Longest value, in bytes: 16 MiB. Larger payloads are files beside the store.
pub const MAX_VALUE_BYTES: usize = 16 << 20;
/// Most bytes of keys and values in one batch: 64 MiB. What is written between two fsyncs lies in memory until then.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

/// Rows by key, in keyspaces, durable when a commit says so.
///
/// Order of calls: any. A store is opened by its own constructor and closed by dropping it, and one folder or disk is
/// open at most once. Within the bounds above every key and value is taken as it is; a value may be empty.
pub trait Store: Send {
    /// Applies all of the batch, in its order, or nothing. Ok means that it survives a crash: fsync is done.
    ///
    /// # Errors
    /// [`StoreError::Oversized`]: a bound is exceeded, nothing was written, the store goes on. After any other error the
    /// batch may appear, whole, when the store is opened again, or it is gone; until then reads answer without
    /// it and every further commit fails with the same error.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// The value last committed under this key.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]: the library knows that what it read is damaged. That says nothing about other rows.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Rows with keys in `from..to`, ascending, at most `most` of them. Nothing lies between when `from >= to`.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], for the whole scan: read the rows one by one, or in smaller ranges, to find which.
    fn scan(&self, space: Space, from: &[u8], to: &[u8], most: usize) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Bytes occupied on disk, with what is deleted but not yet reclaimed; `u64::MAX` when that cannot be found out, so
    /// that watermarks stop what depends on it.
    fn disk_bytes(&self) -> u64;

    /// Bytes that can still be written, of the disk or of a quota; 0 when that cannot be found out.
    fn free_bytes(&self) -> u64;
}
