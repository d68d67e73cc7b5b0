//! Does the disk in memory keep the contract, and does each of its faults show?

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::*;
use crate::conformance::{MOMENTS, Rig, check_all, checks};

struct Sound(SimDisk);

impl Rig for Sound {
    type Store = MemoryStore;

    fn open(&mut self) -> MemoryStore {
        MemoryStore::open(&self.0).unwrap()
    }

    fn die_during(&mut self, store: MemoryStore, batch: &Batch, moment: usize) {
        drop(store);
        self.0.crash_during(batch, moment >= MOMENTS / 2);
    }

    fn die(&mut self, store: MemoryStore) {
        drop(store);
        self.0.crash();
    }
}

#[test]
fn the_disk_in_memory_keeps_the_contract() {
    check_all(|| Sound(SimDisk::new(1)));
}

/// A disk on which a crash leaves the first changes of a batch.
struct Tearing(Sound);

impl Rig for Tearing {
    type Store = MemoryStore;

    fn open(&mut self) -> MemoryStore {
        self.0.open()
    }

    fn die_during(&mut self, store: MemoryStore, batch: &Batch, moment: usize) {
        drop(store);
        self.0.0.tear(batch, batch.changes().len() * moment / MOMENTS);
    }

    fn die(&mut self, store: MemoryStore) {
        self.0.die(store);
    }
}

#[test]
fn the_suite_notices_torn_batches() {
    assert_eq!(failing(|| Tearing(Sound(SimDisk::new(1)))), ["a commit is whole or absent at every moment of a crash"]);
}

/// A store that acknowledges before fsync.
struct Hasty(MemoryStore);

impl Store for Hasty {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.0.write_unsynced(batch)
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(space, key)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], most: usize) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.0.scan(space, from, to, most)
    }

    fn disk_bytes(&self) -> u64 {
        self.0.disk_bytes()
    }

    fn free_bytes(&self) -> u64 {
        self.0.free_bytes()
    }
}

struct HastyRig(Sound);

impl Rig for HastyRig {
    type Store = Hasty;

    fn open(&mut self) -> Hasty {
        Hasty(self.0.open())
    }

    fn die_during(&mut self, store: Hasty, batch: &Batch, moment: usize) {
        self.0.die_during(store.0, batch, moment);
    }

    fn die(&mut self, store: Hasty) {
        self.0.die(store.0);
    }
}

const NEEDS_FSYNC: [&str; 3] = [
    "20,000 rows come back after a restart",
    "a committed batch survives a crash",
    "a commit is whole or absent at every moment of a crash",
];

#[test]
fn the_suite_notices_an_acknowledgement_before_fsync() {
    assert_eq!(failing(|| HastyRig(Sound(SimDisk::new(1)))), NEEDS_FSYNC);
}

#[test]
fn the_suite_notices_a_disk_that_lies_about_fsync() {
    let lying = || {
        let disk = SimDisk::new(1);
        disk.lie_about_fsync(true);
        Sound(disk)
    };
    assert_eq!(failing(lying), NEEDS_FSYNC);
}

fn failing<R: Rig>(fresh: impl Fn() -> R) -> Vec<&'static str> {
    let fails = |check: fn(&mut R)| catch_unwind(AssertUnwindSafe(|| check(&mut fresh()))).is_err();
    checks::<R>().into_iter().filter(|(_, check)| fails(*check)).map(|(name, _)| name).collect()
}

fn row(key: &'static str, value: &'static str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Space::Meta, key, value);
    batch
}

fn there(store: &MemoryStore, key: &str) -> bool {
    store.get(Space::Meta, key.as_bytes()).unwrap().is_some()
}

#[test]
fn after_a_failed_commit_nothing_is_taken_until_the_disk_is_opened_again() {
    let disk = SimDisk::new(1);
    let mut store = MemoryStore::open(&disk).unwrap();
    disk.fail_next_commit(CommitFault::Lost);
    let first = store.commit(&row("a", "1")).unwrap_err();
    assert!(matches!(first, StoreError::Failed { .. }));
    assert_eq!(store.commit(&row("b", "1")), Err(first));
    drop(store);
    let mut store = MemoryStore::open(&disk).unwrap();
    assert!(!there(&store, "a") && !there(&store, "b"));
    store.commit(&row("c", "1")).unwrap();
}

#[test]
fn a_batch_whose_fsync_failed_may_appear_when_the_disk_is_opened_again() {
    let disk = SimDisk::new(1);
    let mut store = MemoryStore::open(&disk).unwrap();
    disk.fail_next_commit(CommitFault::KeptThoughFailed);
    assert!(store.commit(&row("a", "1")).is_err());
    assert!(!there(&store, "a"));
    drop(store);
    disk.crash();
    assert!(there(&MemoryStore::open(&disk).unwrap(), "a"));
}

#[test]
fn a_full_disk_says_so_and_keeps_what_it_has() {
    let disk = SimDisk::new(1);
    let mut store = MemoryStore::open(&disk).unwrap();
    store.commit(&row("a", "1")).unwrap();
    disk.fill_at(Some(3));
    assert_eq!(store.free_bytes(), 1);
    assert!(matches!(store.commit(&row("b", "22")), Err(StoreError::Full { .. })));
    assert!(there(&store, "a"));
}

#[test]
fn a_read_only_disk_says_so() {
    let disk = SimDisk::new(1);
    let mut store = MemoryStore::open(&disk).unwrap();
    disk.read_only(true);
    assert!(matches!(store.commit(&row("a", "1")), Err(StoreError::ReadOnly { .. })));
}

#[test]
fn the_seed_decides_which_bit_flips() {
    let flipped = |seed| {
        let disk = SimDisk::new(seed);
        let mut store = MemoryStore::open(&disk).unwrap();
        for key in ["a", "b", "c", "d"] {
            store.commit(&row(key, "value")).unwrap();
        }
        let key = disk.flip_any_bit(Space::Meta).unwrap();
        let value = store.get(Space::Meta, &key).unwrap().unwrap();
        assert_eq!(value.iter().zip(b"value").map(|(a, b)| (a ^ b).count_ones()).sum::<u32>(), 1);
        (key, value)
    };
    assert_eq!(flipped(7), flipped(7));
    assert!((0..20).any(|seed| flipped(seed) != flipped(7)));
}

#[test]
fn an_unreadable_row_fails_its_reads_until_it_is_overwritten() {
    let disk = SimDisk::new(1);
    let mut store = MemoryStore::open(&disk).unwrap();
    store.commit(&row("a", "1")).unwrap();
    disk.make_unreadable(Space::Meta, b"a");
    assert!(matches!(store.get(Space::Meta, b"a"), Err(StoreError::Unreadable { .. })));
    assert!(store.scan(Space::Meta, b"a", b"b", 9).is_err());
    store.commit(&row("a", "2")).unwrap();
    assert!(there(&store, "a"));
}

#[test]
fn forgotten_rows_are_gone_without_a_word() {
    let disk = SimDisk::new(1);
    let mut store = MemoryStore::open(&disk).unwrap();
    store.commit(&row("a", "1")).unwrap();
    assert_eq!(disk.forget(Space::Meta, b"a", b"z"), 1);
    assert!(!there(&store, "a"));
}

#[test]
fn a_disk_is_open_once() {
    let disk = SimDisk::new(1);
    let store = MemoryStore::open(&disk).unwrap();
    assert!(matches!(MemoryStore::open(&disk), Err(StoreError::Open { .. })));
    drop(store);
    assert!(MemoryStore::open(&disk).is_ok());
}
