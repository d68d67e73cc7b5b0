//! Whatever single row is damaged, unreadable or gone: what is read is right or missing, never wrong, and nothing else suffers.

use super::*;
use crate::store::Space;

const RECORDS: std::ops::RangeInclusive<u64> = 1..=6;

/// Six records in two queues, and an audit entry.
fn filled() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut spool = on(&disk, NOW);
    for n in RECORDS {
        let to = if n % 2 == 0 { "office" } else { "other" };
        committed(&mut spool, vec![keep(n, head(to, &[n as u8, 100 + n as u8]))]);
    }
    committed(&mut spool, vec![SpoolIntent::Audit { entry: Bytes::from_static(b"{}") }]);
    disk
}

fn rows(disk: &SimDisk, space: Space) -> Vec<Bytes> {
    let store = MemoryStore::open(disk).unwrap();
    store.scan(space, &[0], &[0xff; 64], 9_999).unwrap().into_iter().map(|(key, _)| key).collect()
}

/// Damages every row of a spool alone, and says in which way.
fn each_row(
    damage: impl Fn(&SimDisk, Space, &[u8]) -> bool,
    mut check: impl FnMut(Space, &mut Spool<MemoryStore>, u64),
) {
    let sound = filled();
    for space in Space::ALL {
        for (n, key) in rows(&sound, space).into_iter().enumerate() {
            let disk = filled();
            if damage(&disk, space, &key) {
                let mut spool = on(&disk, NOW.plus_s(1 + n as u64));
                check(space, &mut spool, n as u64 + 1);
                // It goes on.
                committed(&mut spool, vec![keep(1_000_000_000_000, head("office", &[99]))]);
                assert!(message_read(&mut spool, "portal", 99).is_some());
            }
        }
    }
}

/// Everything that is read is right, or missing and said to be; how many heads and bodies are missing.
fn right_or_missing(spool: &mut Spool<MemoryStore>) -> (usize, usize) {
    let (mut heads, mut bodies) = (0, 0);
    for n in RECORDS {
        let to = if n % 2 == 0 { "office" } else { "other" };
        match record_read(spool, n) {
            Some(stored) => {
                match stored.head {
                    Some(found) => assert_eq!(found, head(to, &[n as u8, 100 + n as u8])),
                    None => heads += 1,
                }
                match stored.body {
                    Some(found) => assert_eq!(found, body(n)),
                    None => bodies += 1,
                }
            }
            None => (heads, bodies) = (heads + 1, bodies + 1),
        }
    }
    (heads, bodies)
}

/// Every record is found through queues, messages and time.
fn all_found(space: Space, spool: &mut Spool<MemoryStore>) {
    assert_eq!(ids(&queue_read(spool, &queue("office"), None, 99).0), [2, 4, 6], "{space}");
    assert_eq!(ids(&queue_read(spool, &queue("other"), None, 99).0), [1, 3, 5], "{space}");
    assert_eq!(started(spool).1.len(), 2, "{space}");
    assert_eq!(started(spool).2.messages, 12, "{space}");
    let mut due = ids(&due_read(spool, NOW.plus_s(999), 99).0);
    due.sort_unstable();
    assert_eq!(due, [1, 2, 3, 4, 5, 6], "{space}");
    for n in RECORDS {
        for message in [n as u8, 100 + n as u8] {
            let found = message_read(spool, "portal", message).map(|stored| stored.record.0);
            assert_eq!(found, Some(n), "{space}");
        }
    }
}

fn expected_missing(space: Space) -> (usize, usize) {
    match space {
        Space::Heads => (1, 0),
        Space::Records => (0, 1),
        _ => (0, 0),
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_and_harms_one_record_at_most() {
    for bit in [0, 9, 8 * 20 + 3, 8 * 37] {
        each_row(
            |disk, space, key| disk.flip_bit(space, key, bit),
            |space, spool, _| {
                assert_eq!(right_or_missing(spool), expected_missing(space), "{space}, bit {bit}");
                if space != Space::Heads {
                    all_found(space, spool);
                }
            },
        );
    }
}

#[test]
fn an_unreadable_row_harms_one_record_at_most() {
    each_row(
        |disk, space, key| {
            disk.make_unreadable(space, key);
            true
        },
        |space, spool, _| {
            assert_eq!(right_or_missing(spool), expected_missing(space), "{space}");
            if space != Space::Heads {
                all_found(space, spool);
            }
        },
    );
}

#[test]
fn a_damaged_head_is_reported_by_its_queue_and_its_time() {
    let disk = filled();
    disk.flip_bit(Space::Heads, &4_u64.to_be_bytes(), 300);
    let mut spool = on(&disk, NOW.plus_s(1));
    for found in [queue_read(&mut spool, &queue("office"), None, 9).0, due_read(&mut spool, NOW.plus_s(999), 99).0] {
        let stored = found.iter().find(|stored| stored.record == RecordId(4)).unwrap();
        assert_eq!((stored.head.is_none(), stored.body.clone()), (true, Some(body(4))));
    }
}

#[test]
fn a_record_that_vanished_is_reported_and_not_passed_over() {
    let disk = filled();
    let key = 4_u64.to_be_bytes();
    let end = 5_u64.to_be_bytes();
    assert_eq!(disk.forget(Space::Heads, &key, &end) + disk.forget(Space::Records, &key, &end), 2);
    let mut spool = on(&disk, NOW.plus_s(1));
    let found = queue_read(&mut spool, &queue("office"), None, 9).0;
    assert_eq!(ids(&found), [2, 4, 6]);
    assert!(found[1].head.is_none() && found[1].body.is_none());
    committed(&mut spool, vec![SpoolIntent::Quarantine { record: RecordId(4), reason: "gone".to_owned() }]);
    assert_eq!(ids(&queue_read(&mut spool, &queue("office"), None, 9).0), [2, 6]);
    assert_eq!(due_read(&mut spool, NOW.plus_s(999), 99).0.len(), 5);
    assert_eq!(committed(&mut spool, vec![keep(7, head("office", &[4]))]), [], "it can be taken again");
}

#[test]
fn lost_index_rows_are_made_again() {
    for space in [Space::Queue, Space::Queues] {
        let disk = filled();
        assert!(disk.forget(space, &[0], &[0xff; 64]) > 0);
        all_found(space, &mut on(&disk, NOW.plus_s(1)));
    }
}

#[test]
fn a_restored_head_replaces_a_damaged_one_and_stale_rows_go() {
    let disk = filled();
    disk.flip_bit(Space::Heads, &4_u64.to_be_bytes(), 300);
    let mut spool = on(&disk, NOW.plus_s(1));
    // Custody makes it again from the body, by another table and time.
    let restored = Head { due: NOW.plus_s(500), ..head("elsewhere", &[4, 104]) };
    let before = restored.place();
    committed(
        &mut spool,
        vec![SpoolIntent::Update { record: RecordId(4), before, head: restored.clone(), body: None }],
    );
    assert_eq!(ids(&queue_read(&mut spool, &queue("office"), None, 9).0), [2, 6]);
    assert_eq!(ids(&due_read(&mut spool, NOW.plus_s(499), 99).0).len(), 5);
    assert_eq!(ids(&queue_read(&mut spool, &queue("elsewhere"), None, 9).0), [4]);
    committed(&mut spool, vec![]);
    committed(&mut spool, vec![keep(7, head("office", &[7]))]);
    assert_eq!(spool.totals().messages, 14 - 1);
    drop(spool);
    let mut spool = on(&disk, NOW.plus_s(2));
    assert_eq!(record_read(&mut spool, 4).unwrap().head, Some(restored));
    assert_eq!(started(&spool).2.messages, 13);
}

#[test]
fn a_damaged_epoch_or_name_counter_never_hides_what_is_held() {
    for name in [&b"index epoch"[..], b"next record", b"queue rows"] {
        let disk = filled();
        assert!(disk.flip_bit(Space::Meta, name, 60));
        let mut spool = on(&disk, NOW.plus_s(1));
        all_found(Space::Meta, &mut spool);
        assert!(started(&spool).0 > RecordId(6));
    }
}

#[test]
fn an_index_that_became_unreadable_is_made_again_while_running() {
    let disk = filled();
    let mut spool = on(&disk, NOW.plus_s(1));
    for space in [Space::Queue, Space::Due] {
        let (from, to) = (vec![0], vec![0xff; 64]);
        let keys = spool.store.scan(space, &from, &to, 999).unwrap();
        for (key, _) in keys {
            disk.make_unreadable(space, &key);
        }
        all_found(space, &mut spool);
    }
}

#[test]
fn a_crash_while_an_index_is_made_again_begins_anew_at_the_next_start() {
    let disk = filled();
    disk.forget(Space::Queues, &[0], &[0xff; 64]);
    disk.fail_next_commit_after(1, crate::memory_store::CommitFault::Lost);
    let store = MemoryStore::open(&disk).unwrap();
    assert!(Spool::open(store, masters(1), NOW.plus_s(1), random(5)).is_err());
    disk.crash();
    all_found(Space::Queues, &mut on(&disk, NOW.plus_s(2)));
}

#[test]
fn a_head_made_again_for_another_queue_leaves_the_one_nobody_knows_of_any_more() {
    let disk = filled();
    disk.flip_bit(Space::Heads, &4_u64.to_be_bytes(), 300);
    let mut spool = on(&disk, NOW.plus_s(1));
    let moved = head("other", &[4, 104]);
    committed(
        &mut spool,
        vec![SpoolIntent::Update { record: RecordId(4), before: moved.place(), head: moved, body: None }],
    );
    assert_eq!(ids(&queue_read(&mut spool, &queue("office"), None, 99).0), [2, 6]);
    assert_eq!(ids(&queue_read(&mut spool, &queue("other"), None, 99).0), [1, 3, 4, 5]);
    assert_eq!(started(&spool).2.messages, 12, "counted once");
}
