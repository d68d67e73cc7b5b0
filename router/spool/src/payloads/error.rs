//! Why could a payload not be kept or read?

use std::io;

use crate::keys::MasterKeyId;
use crate::seal::SealError;

/// What failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadFault {
    /// The disk or the quota has no room for it now, or another attempt at it is under way.
    #[error("no room for a large payload now: raise custody.partial_bytes or free the disk")]
    Full,
    /// It is not there, or not as it was written.
    #[error("a large payload cannot be read back: check the disk")]
    Damaged,
    /// Its secret is wrapped by a master key that was not given.
    #[error("a large payload was sealed with master key {id}: configure it as current or previous key")]
    UnknownMaster {
        /// Its name.
        id: MasterKeyId,
    },
    /// The disk failed.
    #[error("a large payload: {0}")]
    Io(io::Error),
    /// The crypto library refused.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl From<io::Error> for PayloadFault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error),
        }
    }
}

impl From<aws_lc_rs::error::Unspecified> for PayloadFault {
    fn from(error: aws_lc_rs::error::Unspecified) -> Self {
        Self::Seal(error.into())
    }
}
