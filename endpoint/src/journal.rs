//! What did this recipient decide about which message, durably (WIRE 10.4)? And what did it send, so that replies count?
//!
//! [`Journal::Disk`] survives restarts: a record is only reported after one fsync for everything that waited with it.
//! [`Journal::Shared`] is that of several processes of one endpoint. [`Journal::Memory`] is for unit tests of users and for processes that only send.

mod disk;
mod memory;
mod record;
mod sent;
mod shared;
mod threads;

use kernpost_codecs::{EndpointId, MessageId, UnixMs};

use crate::core::{Earlier, JournalRecord, Lookup};

pub use disk::DiskJournal;
pub use memory::MemoryJournal;
pub use sent::SentLog;
pub use shared::{JournalServer, SharedJournal, serve};
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
    /// The shared journal cannot be reached, or failed. Tried again with the next message.
    #[error("shared journal at {socket}: {cause}; is `kernpost journal serve` running?")]
    Shared {
        /// Its socket.
        socket: String,
        /// What is wrong.
        cause: String,
    },
    /// An earlier write failed.
    #[error("journal: an earlier write failed, nothing more is taken; start again")]
    Failed,
}

impl JournalError {
    /// Whether only a restart helps.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::Shared { .. })
    }
}

/// What a lookup found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookedUp {
    /// The durable verdict.
    Known(Earlier),
    /// Nothing: where the journal is shared, the message is reserved for this process now.
    Unknown,
    /// Another process that shares the journal has it in hand.
    Elsewhere,
}

/// A recipient's journal.
#[derive(Debug)]
pub enum Journal {
    /// On disk.
    Disk(DiskJournal),
    /// Served by another process, for several.
    Shared(SharedJournal),
    /// In memory.
    Memory(MemoryJournal),
}

impl Journal {
    /// The 16 bytes that name it in attach tokens (WIRE 3.2).
    pub fn id(&self) -> [u8; 16] {
        match self {
            Self::Disk(journal) => journal.id(),
            Self::Shared(journal) => journal.id(),
            Self::Memory(journal) => journal.id(),
        }
    }

    /// What is known of these messages, in their order.
    ///
    /// # Errors
    /// Storage fails, a record is damaged, or the shared journal cannot be reached.
    pub fn look_up(&self, lookups: &[Lookup]) -> Result<Vec<LookedUp>, JournalError> {
        let known = |earlier: Option<Earlier>| earlier.map_or(LookedUp::Unknown, LookedUp::Known);
        let each = lookups.iter();
        match self {
            Self::Disk(journal) => each.map(|one| Ok(known(journal.find(&one.sender, one.message)?))).collect(),
            Self::Shared(journal) => journal.look_up(lookups),
            Self::Memory(journal) => Ok(each.map(|one| known(journal.find(&one.sender, one.message))).collect()),
        }
    }

    /// No verdict on these messages will follow from this process.
    ///
    /// # Errors
    /// The shared journal cannot be reached.
    pub fn release(&self, messages: &[(EndpointId, MessageId)]) -> Result<(), JournalError> {
        match self {
            Self::Shared(journal) => journal.release(messages),
            Self::Disk(_) | Self::Memory(_) => Ok(()),
        }
    }

    /// Makes all records durable, with one fsync. Says of each whether it is; false: another process that shares the journal
    /// decided about that message.
    ///
    /// # Errors
    /// Storage fails: whether the records are durable is unknown.
    pub fn record(&self, records: &[JournalRecord]) -> Result<Vec<bool>, JournalError> {
        match self {
            Self::Disk(journal) => journal.record(records)?,
            Self::Shared(journal) => return journal.record(records),
            Self::Memory(journal) => journal.record(records),
        }
        Ok(vec![true; records.len()])
    }

    /// Forgets at most `most` records whose time has come; returns how many.
    ///
    /// # Errors
    /// Storage fails.
    pub fn prune(&self, now: UnixMs, most: usize) -> Result<usize, JournalError> {
        match self {
            Self::Disk(journal) => journal.prune(now, most),
            // Its server does.
            Self::Shared(_) => Ok(0),
            Self::Memory(journal) => Ok(journal.prune(now, most)),
        }
    }

    /// Whether a lookup's reply answers something that was sent.
    pub(crate) fn solicited(sent: &SentLog, lookup: &Lookup) -> bool {
        lookup.reply_to.as_ref().is_none_or(|(endpoint, message)| sent.contains(endpoint, *message))
    }
}
