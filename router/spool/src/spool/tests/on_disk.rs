//! Does all of it hold on a real folder?

use std::path::Path;

use super::*;
use crate::store::Space;
use crate::{FjallOptions, FjallStore};

fn at(folder: &Path, now: UnixMs) -> Spool<FjallStore> {
    let options = FjallOptions {
        cache_bytes: 4 << 20,
        records_memtable_bytes: 1 << 20,
        index_memtable_bytes: 1 << 20,
        ..Default::default()
    };
    opened(FjallStore::open(folder, &options).unwrap(), now)
}

#[test]
fn a_spool_on_disk_holds_what_it_said_over_many_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut held = std::collections::VecDeque::new();
    for start in 0..6_u64 {
        let mut spool = at(folder.path(), NOW.plus_s(3_600 * start));
        let (next, ..) = started(&spool);
        assert_eq!(spool.totals().messages, 10 * held.len() as u64);
        let kept: Vec<u64> = (next.0..next.0 + 60).collect();
        let large = |record: &u64| SpoolIntent::Keep {
            record: RecordId(*record),
            head: unlike(*record),
            body: Bytes::from(vec![*record as u8; 60_000]),
        };
        assert_eq!(committed(&mut spool, kept.iter().map(large).collect()), []);
        held.extend(kept);
        let forgotten: Vec<u64> = held.drain(..40).collect();
        let forget = |record: &u64| {
            let head = unlike(*record);
            let messages = head.entries.iter().map(|entry| (entry.sender.clone(), entry.message)).collect();
            SpoolIntent::Forget { record: RecordId(*record), before: head.place(), messages }
        };
        committed(&mut spool, forgotten.iter().map(forget).collect());
        let found = queue_read(&mut spool, &queue("office"), None, 17).0;
        assert_eq!(ids(&found), held.iter().take(17).copied().collect::<Vec<_>>());
        for stored in found {
            assert_eq!(stored.head.unwrap(), unlike(stored.record.0));
            assert!(stored.body.unwrap().iter().all(|byte| *byte == stored.record.0 as u8));
        }
        let last = spool.list(None, 999).unwrap().last().map(|listed| listed.record.0);
        assert_eq!(last, held.back().copied());
    }
}

/// Ten messages that no other record has.
fn unlike(record: u64) -> Head {
    let mut head = head("office", &[0; 10]);
    for (n, entry) in (0..).zip(&mut head.entries) {
        let id = record * 16 + n;
        entry.message = MessageId([id.to_be_bytes(), id.to_be_bytes()].concat().try_into().unwrap());
    }
    head
}

#[test]
fn a_record_damaged_on_disk_is_missing_and_its_neighbours_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = at(folder.path(), NOW);
    committed(&mut spool, (1..=20).map(|n| keep(n, unlike(n))).collect());
    let path = spool.store.flush_for_test(Space::Records).join("blobs");
    drop(spool);
    let file = path.read_dir().unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let mut spool = at(folder.path(), NOW.plus_s(1));
    let found = queue_read(&mut spool, &queue("office"), None, 99).0;
    assert_eq!(found.len(), 20);
    assert_eq!(found.iter().filter(|stored| stored.body.is_none()).count(), 1);
    assert!(found.iter().all(|stored| stored.head.is_some()));
}
