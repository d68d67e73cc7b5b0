//! What is written together?
//!
//! Puts and deletes in order; a later change of the same row wins. Bounds are checked once, before a store writes.

use bytes::Bytes;

use super::{MAX_BATCH_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Space, StoreError};

/// One row's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub space: Space,
    /// Which row.
    pub key: Bytes,
    /// Its new value; `None` deletes it, which is no error when there is none.
    pub value: Option<Bytes>,
}

/// Changes that become durable together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<Change>,
    bytes: usize,
}

impl Batch {
    /// An empty batch. Committing it does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a row.
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.push(Change { space, key: key.into(), value: Some(value.into()) });
    }

    /// Deletes a row, if there is one.
    pub fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        self.push(Change { space, key: key.into(), value: None });
    }

    /// The changes in order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing would change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether every key, every value and the whole are within the bounds of a store.
    ///
    /// # Errors
    /// [`StoreError::Oversized`] for the first that is not.
    pub fn check(&self) -> Result<(), StoreError> {
        let oversized = |space, what, bytes, most| Err(StoreError::Oversized { space, what, bytes, most });
        for Change { space, key, value } in &self.changes {
            if key.is_empty() || key.len() > MAX_KEY_BYTES {
                return oversized(*space, "a key", key.len(), MAX_KEY_BYTES);
            }
            let length = value.as_ref().map_or(0, Bytes::len);
            if length > MAX_VALUE_BYTES {
                return oversized(*space, "a value", length, MAX_VALUE_BYTES);
            }
        }
        match self.changes.first() {
            Some(first) if self.bytes > MAX_BATCH_BYTES => {
                oversized(first.space, "a batch", self.bytes, MAX_BATCH_BYTES)
            }
            _ => Ok(()),
        }
    }

    fn push(&mut self, change: Change) {
        let length = change.key.len().saturating_add(change.value.as_ref().map_or(0, Bytes::len));
        self.bytes = self.bytes.saturating_add(length);
        self.changes.push(change);
    }
}
