//! What went wrong in the store, where, and what is to be done?
//!
//! Commit errors except [`StoreError::Oversized`] stay until the store is opened again: after a failed fsync the kernel may
//! have forgotten what was not written, so that nothing later could be trusted.

use std::io;
use std::path::PathBuf;

use super::Space;

/// Why a store refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk or its quota is used up.
    #[error("the spool in {place} has no room left on its disk ({cause}): free space, then restart the router")]
    Full {
        /// The folder or disk.
        place: String,
        /// What the system said.
        cause: String,
    },
    /// The file system takes no writes.
    #[error(
        "the spool in {place} lies on a read-only file system ({cause}): mount it writable, then restart the router"
    )]
    ReadOnly {
        /// The folder or disk.
        place: String,
        /// What the system said.
        cause: String,
    },
    /// A write or an fsync failed: whether the batch is durable is unknown until the store is opened again.
    #[error(
        "writing the spool in {place} failed ({cause}): check the disk, then restart the router, which recovers it"
    )]
    Failed {
        /// The folder or disk.
        place: String,
        /// What the library said.
        cause: String,
    },
    /// What was read is damaged, and the library knows it.
    #[error("a row of {space} in the spool cannot be read ({cause}): it is quarantined; check the disk")]
    Unreadable {
        /// The keyspace read.
        space: Space,
        /// What the library said.
        cause: String,
    },
    /// A bound of the store is exceeded. Nothing was written, and nothing else is wrong.
    #[error("{what} of {bytes} bytes for {space} is outside 1..={most} bytes: the spool must split it")]
    Oversized {
        /// The keyspace written.
        space: Space,
        /// Key, value or batch.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The most that is taken, in bytes.
        most: usize,
    },
    /// The store cannot be opened.
    #[error("the spool in {} cannot be opened: {cause}", folder.display())]
    Open {
        /// Where.
        folder: PathBuf,
        /// What is wrong and what to do.
        cause: String,
    },
}

impl StoreError {
    /// What a failed write means.
    #[must_use]
    pub fn of_write(place: impl Into<String>, error: &io::Error) -> Self {
        let (place, cause) = (place.into(), error.to_string());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { place, cause },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { place, cause },
            _ => Self::Failed { place, cause },
        }
    }

    /// Whether every later commit fails as well, until the store is opened again.
    #[must_use]
    pub const fn stays(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::ReadOnly { .. } | Self::Failed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: io::ErrorKind) -> StoreError {
        StoreError::of_write("/spool", &io::Error::from(kind))
    }

    #[test]
    fn a_full_disk_and_a_used_up_quota_are_full() {
        assert!(matches!(of(io::ErrorKind::StorageFull), StoreError::Full { .. }));
        assert!(matches!(of(io::ErrorKind::QuotaExceeded), StoreError::Full { .. }));
    }

    #[test]
    fn a_read_only_file_system_is_named() {
        assert!(matches!(of(io::ErrorKind::ReadOnlyFilesystem), StoreError::ReadOnly { .. }));
    }

    #[test]
    fn any_other_failed_write_leaves_durability_unknown() {
        assert!(matches!(of(io::ErrorKind::Other), StoreError::Failed { .. }));
    }

    #[test]
    fn a_message_says_what_where_and_what_to_do() {
        let said = of(io::ErrorKind::StorageFull).to_string();
        assert!(["no room", "/spool", "free space"].iter().all(|part| said.contains(part)), "{said}");
    }
}
