//! Does a store keep the contract? A suite that every implementation runs in its own tests.
//!
//! A store's test brings a [`Rig`]: how to open what lies on its disk, and how to die in the middle of a commit. Every
//! check panics with its reason; [`check_all`] runs them, each on an empty disk.
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is a test suite")]

mod durability;
mod oracle;
mod rows;

use crate::store::{Batch, Store};

/// One disk of the kind under test.
pub trait Rig {
    /// What opens it.
    type Store: Store;

    /// Opens what lies on the disk. The store opened before has been dropped.
    fn open(&mut self) -> Self::Store;

    /// Dies while committing `batch`, at one of [`MOMENTS`] from before the first byte to after the last.
    fn die_during(&mut self, store: Self::Store, batch: &Batch, moment: usize);

    /// Dies between two commits: nothing is flushed or closed in order, if the kind of disk can do that.
    fn die(&mut self, store: Self::Store);
}

/// How many moments of a commit the suite dies at.
pub const MOMENTS: usize = 16;

/// Runs every check, each on a fresh disk.
///
/// # Panics
/// When the store breaks the contract.
pub fn check_all<R: Rig>(mut fresh: impl FnMut() -> R) {
    for (name, check) in checks::<R>() {
        println!("conformance: {name}");
        check(&mut fresh());
    }
    oracle::agrees_with_a_map(fresh);
}

/// One claim of the contract, and what panics unless it holds.
pub type Check<R> = (&'static str, fn(&mut R));

/// The checks by name, for tests that show one of them fails.
#[must_use]
pub fn checks<R: Rig>() -> Vec<Check<R>> {
    vec![
        ("what is committed is there", rows::what_is_committed_is_there),
        ("what is deleted is gone", rows::what_is_deleted_is_gone),
        ("the last change of a row in a batch wins", rows::the_last_change_wins),
        ("spaces do not share rows", rows::spaces_do_not_share_rows),
        ("an empty value is a value", rows::an_empty_value_is_a_value),
        ("an empty batch does nothing", rows::an_empty_batch_does_nothing),
        ("scans ascend by bytes", rows::scans_ascend_by_bytes),
        ("scans keep their bounds", rows::scans_keep_their_bounds),
        ("a value of 8 MiB comes back", rows::a_large_value_comes_back),
        ("keys and values at their limits come back", rows::limits_are_taken),
        ("what is too large is refused and nothing else", rows::too_large_is_refused_alone),
        ("disk bytes grow with what is written", rows::disk_bytes_grow),
        ("20,000 rows come back after a restart", durability::many_rows_survive),
        ("a committed batch survives a crash", durability::a_committed_batch_survives),
        ("a commit is whole or absent at every moment of a crash", durability::a_commit_is_whole_or_absent),
    ]
}
