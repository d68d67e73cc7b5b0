//! Which storage library holds the spool? The same work for each through the contract they share.
//!
//! A workload commits groups of records with their index rows, one fsync a group, reads and scans them, fills a large spool
//! and opens it again. What is printed beside the times: bytes on disk for a byte kept, and the memory of the process.

mod custody;
mod measure;
mod redb_store;
mod workload;

pub use custody::{Custody, measure as measure_custody};
pub use measure::{Measured, StoreKind, run};
pub use redb_store::RedbStore;
