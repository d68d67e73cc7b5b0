//! What did this recipient decide about which message, durably (WIRE 10.4)? And what did it send, so that replies count?
//!
//! [`Journal::Disk`] survives restarts: a record is only reported after one fsync for everything that waited with it.
//! [`Journal::Memory`] is for unit tests of users and for processes that only send.

mod disk;
mod memory;
mod record;
mod sent;
mod threads;

use kernpost_codecs::{EndpointId, MessageId, UnixMs};

use crate::core::{Earlier, JournalRecord, Lookup};

pub use disk::DiskJournal;
pub use memory::MemoryJournal;
pub use sent::SentLog;
pub(crate) use threads::{JournalAnswer, JournalThreads};

/// Why the journal cannot be used. After an error in writing it takes nothing more: whether the record is durable is
/// unknown, and only a restart can tell.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The storage library failed.
    #[error("journal in {folder}: {cause}; check the disk, then start again (no other process may use this folder)")]
    Storage {
        /// The journal's folder.
        folder: String,
        /// What the library says.
        cause: String,
    },
    /// A record cannot be read.
    #[error("journal in {folder}: a record of {sender} is damaged; restore the folder or start with an empty one")]
    Damaged {
        /// The journal's folder.
        folder: String,
        /// The sender of the message.
        sender: String,
    },
    /// An earlier write failed.
    #[error("journal: an earlier write failed, nothing more is taken; start again")]
    Failed,
}

/// A recipient's journal.
#[derive(Debug)]
pub enum Journal {
    /// On disk.
    Disk(DiskJournal),
    /// In memory.
    Memory(MemoryJournal),
}

impl Journal {
    /// The 16 bytes that name it in attach tokens (WIRE 3.2).
    pub fn id(&self) -> [u8; 16] {
        match self {
            Self::Disk(journal) => journal.id(),
            Self::Memory(journal) => journal.id(),
        }
    }

    /// The verdict on this message, if one is durable.
    ///
    /// # Errors
    /// Storage fails or the record is damaged.
    pub fn find(&self, sender: &EndpointId, message: MessageId) -> Result<Option<Earlier>, JournalError> {
        match self {
            Self::Disk(journal) => journal.find(sender, message),
            Self::Memory(journal) => Ok(journal.find(sender, message)),
        }
    }

    /// Makes all records durable, with one fsync.
    ///
    /// # Errors
    /// Storage fails: whether the records are durable is unknown.
    pub fn record(&self, records: &[JournalRecord]) -> Result<(), JournalError> {
        match self {
            Self::Disk(journal) => journal.record(records),
            Self::Memory(journal) => {
                journal.record(records);
                Ok(())
            }
        }
    }

    /// Forgets at most `most` records whose time has come; returns how many.
    ///
    /// # Errors
    /// Storage fails.
    pub fn prune(&self, now: UnixMs, most: usize) -> Result<usize, JournalError> {
        match self {
            Self::Disk(journal) => journal.prune(now, most),
            Self::Memory(journal) => Ok(journal.prune(now, most)),
        }
    }

    /// Whether a lookup's reply answers something that was sent.
    pub(crate) fn solicited(sent: &SentLog, lookup: &Lookup) -> bool {
        lookup.reply_to.as_ref().is_none_or(|(endpoint, message)| sent.contains(endpoint, *message))
    }
}
