//! Why can a spool not be opened or managed?

use crate::seal::SealError;
use crate::store::StoreError;

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The seal.
    #[error(transparent)]
    Seal(SealError),
    /// Something failed before: nothing more is taken.
    #[error("the spool takes nothing more ({cause}): restart the router")]
    Stopped {
        /// What failed.
        cause: String,
    },
}

impl From<SealError> for SpoolError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Store(error) => Self::Store(error),
            other => Self::Seal(other),
        }
    }
}
