//! Does fjall keep the contract on a real folder, and what does damage of its files look like?

use std::fs::{File, OpenOptions, read, write};

use tempfile::TempDir;

use super::*;
use crate::conformance::{MOMENTS, Rig, check_all};

fn small() -> FjallOptions {
    FjallOptions {
        cache_bytes: 4 << 20,
        records_memtable_bytes: 4 << 20,
        index_memtable_bytes: 1 << 20,
        ..Default::default()
    }
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The journal written last, and where its last batch ends.
    fn journal(&self) -> (PathBuf, u64) {
        let numbered = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        let paths = self.0.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
        let path = paths.filter(|path| path.extension().is_some_and(|ext| ext == "jnl")).max_by_key(numbered).unwrap();
        let end = read(&path).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        (path, end)
    }
}

impl Rig for Folder {
    type Store = FjallStore;

    fn open(&mut self) -> FjallStore {
        FjallStore::open(self.0.path(), &small()).unwrap()
    }

    /// Cuts the journal inside the batch, as a crash does while its pages are on their way.
    fn die_during(&mut self, mut store: FjallStore, batch: &Batch, moment: usize) {
        let (_, before) = self.journal();
        store.commit(batch).unwrap();
        drop(store);
        let (path, after) = self.journal();
        let cut = before + (after - before) * moment as u64 / (MOMENTS as u64 - 1);
        OpenOptions::new().write(true).open(path).unwrap().set_len(cut).unwrap();
    }

    fn die(&mut self, store: FjallStore) {
        drop(store);
    }
}

#[test]
fn fjall_keeps_the_contract() {
    check_all(Folder::new);
}

#[test]
fn a_folder_is_open_once() {
    let mut folder = Folder::new();
    let _first = folder.open();
    assert!(matches!(FjallStore::open(folder.0.path(), &small()), Err(StoreError::Open { .. })));
}

fn three_commits(folder: &mut Folder) -> [u64; 3] {
    let mut store = folder.open();
    [1, 2, 3].map(|n: u8| {
        let mut batch = Batch::new();
        batch.put(Space::Due, vec![n], vec![n; 100]);
        store.commit(&batch).unwrap();
        folder.journal().1
    })
}

fn flip(path: &Path, at: u64) {
    let mut bytes = read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 0x40;
    write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_journal_never_loses_batches_silently() {
    let mut folder = Folder::new();
    let [first, second, third] = three_commits(&mut folder);
    let (path, _) = folder.journal();
    // Without the zeroes behind it, which are many.
    let sound = read(&path).unwrap()[..usize::try_from(third).unwrap()].to_vec();
    write(&path, &sound).unwrap();
    for at in first..second {
        flip(&path, at);
        match FjallStore::open(folder.0.path(), &small()) {
            Err(StoreError::Open { .. }) => {}
            Err(other) => panic!("byte {at}: {other}"),
            Ok(store) => {
                let there = |n: u8| store.get(Space::Due, &[n]).unwrap() == Some(vec![n; 100].into());
                assert!(there(1) && there(2) && there(3), "byte {at}: opened, and a batch is missing");
            }
        }
        write(&path, &sound).unwrap();
    }
}

#[test]
fn a_damaged_journal_opens_when_someone_decided_so() {
    let mut folder = Folder::new();
    let [first, ..] = three_commits(&mut folder);
    let (path, _) = folder.journal();
    flip(&path, first);
    let refused = FjallStore::open(folder.0.path(), &small()).unwrap_err().to_string();
    assert!(refused.contains("damaged at byte") && refused.contains("empty folder"), "{refused}");
    let store = FjallStore::open(folder.0.path(), &FjallOptions { accept_damaged_journal: true, ..small() }).unwrap();
    assert!(store.get(Space::Due, &[1]).unwrap().is_some());
    assert!(store.get(Space::Due, &[3]).unwrap().is_none());
}

#[test]
fn a_torn_tail_is_cut_off_without_a_word() {
    let mut folder = Folder::new();
    let [_, second, third] = three_commits(&mut folder);
    let (path, _) = folder.journal();
    File::options().write(true).open(&path).unwrap().set_len((second + third) / 2).unwrap();
    let store = folder.open();
    assert!(store.get(Space::Due, &[2]).unwrap().is_some());
    assert!(store.get(Space::Due, &[3]).unwrap().is_none());
}

/// Record values after a flush, in blob files.
fn flushed_records(folder: &mut Folder) -> Vec<PathBuf> {
    let mut store = folder.open();
    let mut batch = Batch::new();
    for n in 0..20_u8 {
        batch.put(Space::Records, vec![n], vec![n; 2_000]);
    }
    store.commit(&batch).unwrap();
    let path = store.flush_for_test(Space::Records).join("blobs");
    path.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_flipped_bit_in_a_record_on_disk_is_unreadable() {
    let mut folder = Folder::new();
    let files = flushed_records(&mut folder);
    assert_eq!(files.len(), 1);
    let length = std::fs::metadata(&files[0]).unwrap().len();
    flip(&files[0], length / 2);
    let store = folder.open();
    let reads: Vec<_> = (0..20_u8).map(|n| store.get(Space::Records, &[n])).collect();
    let damaged = reads.iter().filter(|read| matches!(read, Err(StoreError::Unreadable { .. }))).count();
    let right = reads.iter().zip(0_u8..).filter(|(read, n)| **read == Ok(Some(vec![*n; 2_000].into()))).count();
    assert_eq!((damaged, right), (1, 19));
}

#[test]
fn a_deleted_file_refuses_to_open_and_says_what_is_to_be_done() {
    for below in ["blobs", "tables"] {
        let mut folder = Folder::new();
        let blobs = flushed_records(&mut folder);
        let keyspace = blobs[0].parent().unwrap().parent().unwrap();
        for file in keyspace.join(below).read_dir().unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        let refused = FjallStore::open(folder.0.path(), &small()).unwrap_err();
        assert!(matches!(refused, StoreError::Open { .. }));
        assert!(refused.to_string().contains("start with an empty folder"), "{below}: {refused}");
    }
}
