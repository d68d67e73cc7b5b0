//! What did this process promise to send, and what became of it? Durable, so that a power failure does not break the promise.
//!
//! A message is in the store before [`crate::Client::send`] reports it accepted, and stays with its payload until its final
//! outcome; then the payload is erased, and outcome and proof are kept for a time. The core decides what is written
//! ([`crate::core::StoreOrder`]). One process per folder. Bounds: open messages and their bytes, beyond which nothing is
//! accepted; and kept outcomes, of which those that would be forgotten first go first.

mod disk;
mod record;
mod threads;

use std::path::PathBuf;

use bytes::Bytes;
use kernpost_codecs::{EndpointId, MessageId, UnixMs};

use crate::core::{PayloadFile, SendOutcome};

pub use disk::OutboxStore;
pub(crate) use threads::{StoreAnswer, StoreThreads};

/// Where a durable outbox is and how much it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxConfig {
    /// Its folder; one process at a time.
    pub folder: PathBuf,
    /// Open messages at most. Default 65,536.
    pub messages: u64,
    /// Bytes of their statements and payloads at most; payloads sent from a file are not copied and do not count. Default 4 GiB.
    pub bytes: u64,
    /// How long outcome and proof are kept after the final outcome, ms. `None`: until the message expired, and 120 s more.
    pub retention_ms: Option<u64>,
    /// Ended messages kept at most. Default 1,000,000 (about 1 KiB each).
    pub kept: u64,
}

impl OutboxConfig {
    /// The defaults, in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, messages: 65_536, bytes: 4 << 30, retention_ms: None, kept: 1_000_000 }
    }
}

/// Why the durable outbox cannot be used. After an error in writing it takes nothing more: whether the record is durable is
/// unknown, and only a restart can tell.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The storage library failed.
    #[error("outbox in {folder}: {cause}; check the disk, then start again (no other process may use this folder)")]
    Storage {
        /// Its folder.
        folder: String,
        /// What the library says.
        cause: String,
    },
    /// A record cannot be read.
    #[error(
        "outbox in {folder}: the record of message {message} is damaged; restore the folder or start with an empty one"
    )]
    Damaged {
        /// Its folder.
        folder: String,
        /// The message, as far as its key tells.
        message: String,
    },
    /// An earlier write failed.
    #[error("outbox: an earlier write failed, nothing more is taken; start again")]
    Failed,
}

/// A message in the store.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Who sent it.
    pub sender: EndpointId,
    /// Its id.
    pub message: MessageId,
    /// Its statement.
    pub statement: Bytes,
    /// Its stage or outcome; `None`: nobody has said anything yet.
    pub outcome: Option<SendOutcome>,
    /// Whether that is its end.
    pub is_final: bool,
    /// A second receipt that contradicts the outcome.
    pub contradiction: Option<SendOutcome>,
    /// The file with its payload, when it came from one.
    pub file: Option<PayloadFile>,
    /// The caller's idempotency key.
    pub key: Option<Bytes>,
    /// When the record is forgotten; `None` while it is open.
    pub forget_after: Option<UnixMs>,
}
