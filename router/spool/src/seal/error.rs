//! Why could a value not be sealed or opened?

use bytes::Bytes;

use super::Row;
use crate::keys::MasterKeyId;
use crate::store::{Space, StoreError};

/// What failed at the seal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The value is not what was sealed for this row: it was changed, moved, or its segment's secret is gone.
    #[error("a row of {space} is damaged (key {}): it is quarantined; check the disk", hex::encode(key))]
    Damaged {
        /// The keyspace.
        space: Space,
        /// The row.
        key: Bytes,
    },
    /// A secret is wrapped by a master key that was not given.
    #[error("the spool was sealed with master key {id}: configure it as current or previous key")]
    UnknownMaster {
        /// Its name.
        id: MasterKeyId,
    },
    /// No segment has begun, the one that has is full, or numbers are used up.
    #[error("no open segment to seal in: begin one")]
    Exhausted,
    /// The segment is written to now.
    #[error("segment {segment} is in use and cannot be destroyed: begin another first")]
    InUse {
        /// Which.
        segment: u32,
    },
    /// The crypto library refused; no input of ours should make it.
    #[error("the crypto library refused to seal: restart the router, and report it if it happens again")]
    Crypto,
    /// The secrets could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SealError {
    pub(super) fn damaged(row: Row<'_>) -> Self {
        Self::Damaged { space: row.space, key: Bytes::copy_from_slice(row.key) }
    }
}

impl From<aws_lc_rs::error::Unspecified> for SealError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto
    }
}
