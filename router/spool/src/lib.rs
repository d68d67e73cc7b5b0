//! How does a router keep what it promised, across crashes, bad disks and curious readers of the disk?
//!
//! [`store`] is the contract of a storage library, [`fjall_store`] the one in use, [`memory_store`] a faulty disk for
//! simulations, `conformance` the suite all of them pass. [`seal`] encrypts every row; [`keys`] says with what.
//! [`spool`] carries out over them what custody asks; [`payloads`] keeps what is too large for a row in files beside it.
//! Nothing here reads a clock or draws randomness: callers give both.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may"))]

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod fjall_store;
pub mod keys;
pub mod memory_store;
pub mod payloads;
pub mod seal;
pub mod spool;
pub mod store;

pub use fjall_store::{FjallOptions, FjallStore};
pub use keys::{MasterKey, MasterKeys};
pub use payloads::PayloadStore;
pub use seal::{SealError, Vault};
pub use spool::{Spool, SpoolError};
pub use store::{Batch, Space, Store, StoreError};
