//! One claim of the intents' and reads' documentation each.

use super::*;

fn spool() -> (SimDisk, Spool<MemoryStore>) {
    let disk = SimDisk::new(1);
    let spool = on(&disk, NOW);
    (disk, spool)
}

#[test]
fn what_is_kept_is_there_after_a_crash() {
    let (disk, mut spool) = spool();
    committed(&mut spool, vec![keep(1, head("office", &[1, 2]))]);
    drop(spool);
    disk.crash();
    let mut spool = on(&disk, NOW.plus_s(1));
    let (next, queues, totals) = started(&spool);
    assert_eq!((next, queues), (RecordId(2), vec![queue("office")]));
    assert_eq!((totals.messages, totals.bytes, totals.oldest), (2, 2_000, Some(NOW)));
    let stored = record_read(&mut spool, 1).unwrap();
    assert_eq!((stored.head, stored.body), (Some(head("office", &[1, 2])), Some(body(1))));
}

#[test]
fn an_empty_spool_holds_nothing() {
    let (_, mut spool) = spool();
    assert_eq!(started(&spool).1, []);
    assert!(record_read(&mut spool, 1).is_none());
    assert!(message_read(&mut spool, "portal", 1).is_none());
    assert!(queue_read(&mut spool, &queue("office"), None, 9).0.is_empty());
    assert!(due_read(&mut spool, NOW.plus_s(9_999), 9).0.is_empty());
}

#[test]
fn a_message_held_already_is_a_repeat() {
    let (_, mut spool) = spool();
    committed(&mut spool, vec![keep(1, head("office", &[1, 2]))]);
    let repeats = committed(&mut spool, vec![keep(2, head("office", &[3, 1]))]);
    assert_eq!(repeats, [Repeat { record: RecordId(2), index: 1, held: RecordId(1) }]);
    let written = record_read(&mut spool, 2).unwrap().head.unwrap();
    assert_eq!(written.entries[1].state, EntryState::Repeat);
    assert_eq!(spool.totals().messages, 3);
    assert_eq!(message_read(&mut spool, "portal", 1).unwrap().record, RecordId(1));
}

#[test]
fn a_message_in_the_same_batch_or_part_is_a_repeat() {
    let (_, mut spool) = spool();
    let repeats = committed(&mut spool, vec![keep(1, head("office", &[1, 1])), keep(2, head("office", &[2, 1]))]);
    let repeat = |record, index| Repeat { record: RecordId(record), index, held: RecordId(1) };
    assert_eq!(repeats, [repeat(1, 1), repeat(2, 1)]);
    assert_eq!(spool.totals().messages, 2);
}

#[test]
fn a_record_of_repeats_alone_is_not_written() {
    let (_, mut spool) = spool();
    committed(&mut spool, vec![keep(1, head("office", &[1]))]);
    assert_eq!(committed(&mut spool, vec![keep(2, head("office", &[1]))]).len(), 1);
    assert!(record_read(&mut spool, 2).is_none());
    assert_eq!(ids(&queue_read(&mut spool, &queue("office"), None, 9).0), [1]);
    assert_eq!(started(&spool).0, RecordId(3), "its name was used all the same");
}

#[test]
fn a_message_is_a_repeat_whatever_the_time_in_its_id_also_after_a_restart() {
    let (disk, mut spool) = spool();
    let times = [NOW.0 - 1_000_000, NOW.0 - 100, NOW.0, NOW.0 + 100, NOW.0 + 1_000_000];
    let sent = |record: u64, last: u8| {
        let mut head = head("office", &[0, 1, 2, 3, 4]);
        for (entry, at) in head.entries.iter_mut().zip(times) {
            entry.message = MessageId::from_parts(UnixMs(at), [last; 10]);
        }
        keep(record, head)
    };
    assert_eq!(committed(&mut spool, vec![sent(1, 7)]), []);
    assert_eq!(committed(&mut spool, vec![sent(2, 7)]).len(), times.len());
    drop(spool);
    let mut spool = on(&disk, NOW);
    let held: Vec<_> = committed(&mut spool, vec![sent(3, 7), sent(4, 8)]).iter().map(|repeat| repeat.held).collect();
    assert_eq!(held, [RecordId(1); 5], "what was sent before, and nothing else");
    assert_eq!(committed(&mut spool, vec![sent(5, 8)]).len(), times.len());
}

#[test]
fn the_same_id_of_another_sender_is_another_message() {
    let (_, mut spool) = spool();
    let mut other = head("office", &[1]);
    other.entries[0].sender = endpoint("other");
    assert_eq!(committed(&mut spool, vec![keep(1, head("office", &[1])), keep(2, other)]), []);
    assert_eq!(message_read(&mut spool, "other", 1).unwrap().record, RecordId(2));
}

#[test]
fn receipts_are_not_looked_up() {
    let (_, mut spool) = spool();
    let receipts = Head { kind: Kind::Receipts, ..head("portal", &[1]) };
    assert_eq!(committed(&mut spool, vec![keep(1, head("office", &[1])), keep(2, receipts)]), []);
    assert_eq!((spool.totals().messages, spool.totals().receipts), (1, 1));
    assert_eq!(message_read(&mut spool, "portal", 1).unwrap().record, RecordId(1));
}

#[test]
fn a_queue_is_read_oldest_first_within_its_bounds() {
    let (_, mut spool) = spool();
    let kept = (1..=5).map(|n| keep(n, head(if n == 3 { "other" } else { "office" }, &[n as u8]))).collect();
    committed(&mut spool, kept);
    let office = queue("office");
    let mut read = |after, most| {
        let (found, end) = queue_read(&mut spool, &office, after, most);
        (ids(&found), end)
    };
    assert_eq!(read(None, 9), (vec![1, 2, 4, 5], true));
    assert_eq!(read(None, 2), (vec![1, 2], false));
    assert_eq!(read(Some(2), 2), (vec![4, 5], true));
    assert_eq!(read(Some(5), 2), (vec![], true));
}

#[test]
fn a_queue_is_read_to_its_limit_of_bytes_but_at_least_one_record() {
    let (_, mut spool) = spool();
    committed(&mut spool, (1..=5).map(|n| keep(n, head("office", &[n as u8]))).collect());
    for (bytes, expected) in [(0, 1), (2_999, 1), (6_000, 2), (6_001, 2), (15_000, 5)] {
        let (purpose, queue) = (Purpose::Judge, queue("office"));
        let read = SpoolRead::Queue { purpose, queue, after: None, most: 99, bytes };
        let SpoolEvent::QueueRead { purpose: Purpose::Judge, found, .. } = spool.read(&read) else { panic!() };
        assert_eq!(found.len(), expected, "{bytes} bytes");
    }
}

#[test]
fn what_ended_leaves_its_queue_and_stays_to_be_asked_for() {
    let (disk, mut spool) = spool();
    committed(&mut spool, vec![keep(1, head("office", &[1, 2]))]);
    let before = head("office", &[1, 2]).place();
    let mut after = head("office", &[1, 2]);
    for entry in &mut after.entries {
        entry.state = EntryState::Final { outcome: kernpost_codecs::Outcome::Delivered, receipt: RecordId(2) };
    }
    after.due = NOW.plus_s(900);
    let receipt = Head { kind: Kind::Receipts, ..head("portal", &[1, 2]) };
    let update = SpoolIntent::Update {
        record: RecordId(1),
        before,
        head: after.clone(),
        body: Some(Bytes::from_static(b"proof")),
    };
    committed(&mut spool, vec![keep(2, receipt), update]);
    for at in [NOW, NOW.plus_s(1)] {
        let totals = spool.totals();
        assert_eq!((totals.messages, totals.bytes, totals.receipts), (0, 0, 2));
        assert!(queue_read(&mut spool, &queue("office"), None, 9).0.is_empty());
        let stored = message_read(&mut spool, "portal", 2).unwrap();
        assert_eq!((stored.head.as_ref(), stored.body.as_deref()), (Some(&after), Some(&b"proof"[..])));
        assert_eq!(ids(&due_read(&mut spool, NOW.plus_s(899), 9).0), [2]);
        assert_eq!(ids(&due_read(&mut spool, NOW.plus_s(900), 9).0), [2, 1]);
        assert_eq!(started(&spool).1, [queue("portal")]);
        drop(spool);
        spool = on(&disk, at);
    }
}

#[test]
fn what_is_due_comes_earliest_first() {
    let (_, mut spool) = spool();
    for (record, due) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
        committed(&mut spool, vec![keep(record, Head { due: NOW.plus_s(due), ..head("office", &[record as u8]) })]);
    }
    let mut read = |until, most| {
        let (found, more) = due_read(&mut spool, NOW.plus_s(until), most);
        (ids(&found), more)
    };
    assert_eq!(read(9, 9), (vec![], false));
    assert_eq!(read(30, 2), (vec![2, 3], true));
    assert_eq!(read(30, 9), (vec![2, 3, 1], false));
    committed(&mut spool, vec![keep(5, Head { due: NOW.plus_s(5), ..head("office", &[5]) })]);
    assert_eq!(ids(&due_read(&mut spool, NOW.plus_s(10), 9).0), [5, 2]);
}

#[test]
fn a_record_may_move_to_another_queue() {
    let (_, mut spool) = spool();
    committed(&mut spool, vec![keep(1, head("office", &[1])), keep(2, head("office", &[2]))]);
    let before = head("office", &[1]).place();
    let update = SpoolIntent::Update { record: RecordId(1), before, head: head("other", &[1]), body: None };
    committed(&mut spool, vec![update]);
    assert_eq!(ids(&queue_read(&mut spool, &queue("office"), None, 9).0), [2]);
    let moved = queue_read(&mut spool, &queue("other"), None, 9).0;
    assert_eq!((ids(&moved), moved[0].body.clone()), (vec![1], Some(body(1))));
    assert_eq!(spool.totals().messages, 2);
}

#[test]
fn what_is_forgotten_leaves_nothing() {
    let (disk, mut spool) = spool();
    committed(&mut spool, vec![keep(1, head("office", &[1, 2])), keep(2, head("office", &[3, 1]))]);
    let before = record_read(&mut spool, 2).unwrap().head.unwrap().place();
    let messages = [3, 1].map(|n| (endpoint("portal"), MessageId([n; 16]))).to_vec();
    committed(&mut spool, vec![SpoolIntent::Forget { record: RecordId(2), before, messages }]);
    assert!(record_read(&mut spool, 2).is_none());
    assert!(message_read(&mut spool, "portal", 3).is_none());
    let held = message_read(&mut spool, "portal", 1).map(|stored| stored.record);
    assert_eq!(held, Some(RecordId(1)), "a repeat is not forgotten with the record that repeated it");
    let before = head("office", &[1, 2]).place();
    let messages = [1, 2].map(|n| (endpoint("portal"), MessageId([n; 16]))).to_vec();
    committed(&mut spool, vec![SpoolIntent::Forget { record: RecordId(1), before, messages }]);
    assert_eq!(spool.totals().messages, 0);
    drop(spool);
    let mut spool = on(&disk, NOW.plus_s(1));
    assert_eq!((started(&spool).0, started(&spool).1), (RecordId(3), vec![]));
    assert!(due_read(&mut spool, NOW.plus_s(9_999), 9).0.is_empty());
    assert_eq!(committed(&mut spool, vec![keep(3, head("office", &[1]))]), []);
}

#[test]
fn quarantine_keeps_the_head_and_sets_the_body_aside() {
    let (disk, mut spool) = spool();
    committed(&mut spool, vec![keep(1, head("office", &[1]))]);
    committed(&mut spool, vec![SpoolIntent::Quarantine { record: RecordId(1), reason: "flipped".to_owned() }]);
    for at in [NOW, NOW.plus_s(1)] {
        let stored = record_read(&mut spool, 1).unwrap();
        assert_eq!((stored.head, stored.body), (Some(head("office", &[1])), None));
        assert!(queue_read(&mut spool, &queue("office"), None, 9).0.is_empty());
        assert_eq!(ids(&due_read(&mut spool, NOW.plus_s(999), 9).0), [1]);
        assert_eq!(spool.quarantined(None, 9).unwrap()[0].reason.as_deref(), Some("flipped"));
        assert_eq!(spool.totals().messages, 0);
        drop(spool);
        spool = on(&disk, at);
    }
}

#[test]
fn acts_are_chained_and_a_changed_one_shows() {
    let (disk, mut spool) = spool();
    let act = |n: u8| SpoolIntent::Audit { entry: Bytes::from(vec![n; 4]) };
    committed(&mut spool, vec![act(0), act(1)]);
    drop(spool);
    let mut spool = on(&disk, NOW.plus_s(1));
    committed(&mut spool, vec![act(2), act(3)]);
    let all = spool.audited(0, 9);
    assert!(all.iter().zip(0_u8..).all(|(entry, n)| entry.chained && entry.act.as_deref() == Some(&[n; 4][..])));
    assert_eq!((all.len(), spool.audit_end().entries), (4, 4));
    assert_eq!(spool.audited(2, 1), all[2..3]);
    disk.flip_bit(crate::store::Space::Audit, &1_u64.to_be_bytes(), 400);
    let damaged = spool.audited(0, 9);
    assert_eq!(damaged.iter().map(|entry| entry.chained).collect::<Vec<_>>(), [true, false, false, true]);
}

#[test]
fn segments_whose_rows_are_gone_are_destroyed() {
    let (disk, mut spool) = spool();
    committed(&mut spool, vec![keep(1, head("office", &[1]))]);
    let hour = |n: u64| NOW.plus_s(n * 3_600);
    spool.commit(hour(1), vec![keep(2, head("office", &[2]))]);
    assert_eq!(spool.vault.segments().collect::<Vec<_>>(), [1, 2]);
    let messages = vec![(endpoint("portal"), MessageId([1; 16]))];
    let before = head("office", &[1]).place();
    spool.commit(hour(1), vec![SpoolIntent::Forget { record: RecordId(1), before, messages }]);
    assert_eq!(spool.vault.segments().collect::<Vec<_>>(), [2]);
    drop(spool);
    let mut spool = on(&disk, hour(2));
    assert_eq!(spool.vault.segments().collect::<Vec<_>>(), [2]);
    assert_eq!(record_read(&mut spool, 2).unwrap().body, Some(body(2)));
    let messages = vec![(endpoint("portal"), MessageId([2; 16]))];
    let before = head("office", &[2]).place();
    spool.commit(hour(2), vec![SpoolIntent::Forget { record: RecordId(2), before, messages }]);
    assert_eq!(spool.vault.segments().collect::<Vec<_>>(), [3]);
}

#[test]
fn a_spool_is_read_under_another_master_key_after_rewrapping() {
    let (disk, mut spool) = spool();
    committed(&mut spool, vec![keep(1, head("office", &[1]))]);
    drop(spool);
    let both = MasterKeys::new(MasterKey::new(Zeroizing::new([2; 32])), vec![MasterKey::new(Zeroizing::new([1; 32]))]);
    let mut spool = Spool::open(MemoryStore::open(&disk).unwrap(), both, NOW, random(9)).unwrap();
    spool.rewrap().unwrap();
    drop(spool);
    let mut spool = Spool::open(MemoryStore::open(&disk).unwrap(), masters(2), NOW, random(9)).unwrap();
    assert_eq!(message_read(&mut spool, "portal", 1).unwrap().body, Some(body(1)));
}

#[test]
fn nobody_is_named_in_clear_on_disk() {
    let (disk, mut spool) = spool();
    committed(
        &mut spool,
        vec![keep(1, head("office", &[1])), SpoolIntent::Audit { entry: Bytes::from_static(b"portal") }],
    );
    drop(spool);
    let store = MemoryStore::open(&disk).unwrap();
    for space in crate::store::Space::ALL {
        for (key, value) in store.scan(space, &[0], &[0xff; 40], 999).unwrap() {
            let named = |bytes: &[u8]| bytes.windows(6).any(|window| window == b"portal" || window == b"office");
            assert!(!named(&key) && !named(&value), "{space}");
        }
    }
}
