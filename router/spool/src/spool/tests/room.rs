//! What happens when there is no room, and when a commit fails?

use super::*;
use crate::memory_store::CommitFault;
use crate::spool::Room;

fn kept<S: Store>(spool: &mut Spool<S>, intents: Vec<SpoolIntent>) -> (usize, Option<(usize, SpoolFault)>) {
    let (mut committed, mut refused) = (0, None);
    for event in spool.commit(NOW, intents) {
        match event {
            SpoolEvent::Committed { intents, .. } => committed += intents,
            SpoolEvent::NotCommitted { intents, fault } => refused = Some((intents, fault)),
            other => panic!("{other:?}"),
        }
    }
    (committed, refused)
}

fn receipts(record: u64) -> SpoolIntent {
    keep(record, Head { kind: Kind::Receipts, ..head("portal", &[record as u8]) })
}

#[test]
fn messages_are_refused_before_receipts_and_both_may_be_asked_for_again() {
    let disk = SimDisk::new(1);
    let mut spool = on(&disk, NOW);
    spool.keep_free(Room { messages: 100_000, anything: 20_000 });
    disk.fill_at(Some(90_000));
    assert_eq!(kept(&mut spool, vec![keep(1, head("office", &[1]))]), (0, Some((1, SpoolFault::Full))));
    assert_eq!(kept(&mut spool, vec![receipts(2)]), (1, None));
    disk.fill_at(Some(spool.totals().disk_bytes + 10_000));
    assert_eq!(kept(&mut spool, vec![receipts(3)]), (0, Some((1, SpoolFault::Full))));
    disk.fill_at(None);
    assert_eq!(kept(&mut spool, vec![keep(1, head("office", &[1])), receipts(3)]), (2, None));
    assert_eq!((spool.totals().messages, spool.totals().receipts), (1, 2));
}

#[test]
fn an_intent_without_room_takes_what_follows_it_along() {
    let disk = SimDisk::new(1);
    let mut spool = on(&disk, NOW);
    spool.keep_free(Room { messages: 100_000, anything: 20_000 });
    disk.fill_at(Some(90_000));
    let intents = vec![receipts(1), keep(2, head("office", &[1])), receipts(3)];
    assert_eq!(kept(&mut spool, intents), (1, Some((2, SpoolFault::Full))));
    assert!(record_read(&mut spool, 1).is_some());
    assert!(record_read(&mut spool, 2).is_none() && record_read(&mut spool, 3).is_none());
}

#[test]
fn after_a_failed_commit_nothing_is_taken_and_reads_go_on() {
    let disk = SimDisk::new(1);
    let mut spool = on(&disk, NOW);
    committed(&mut spool, vec![keep(1, head("office", &[1]))]);
    disk.fail_next_commit(CommitFault::KeptThoughFailed);
    let (_, refused) = kept(&mut spool, vec![keep(2, head("office", &[2]))]);
    assert!(matches!(refused, Some((1, SpoolFault::Failed { .. }))));
    let (_, refused) = kept(&mut spool, vec![keep(3, head("office", &[3])), receipts(4)]);
    assert!(matches!(refused, Some((2, SpoolFault::Failed { .. }))));
    assert!(record_read(&mut spool, 1).is_some() && record_read(&mut spool, 2).is_none());
    drop(spool);
    let mut spool = on(&disk, NOW.plus_s(1));
    assert!(record_read(&mut spool, 2).is_some(), "its fsync failed, and it was durable all the same");
    assert_eq!(started(&spool).2.messages, 2);
    assert_eq!(committed(&mut spool, vec![keep(3, head("office", &[2, 3]))]).len(), 1);
}

#[test]
fn many_intents_become_durable_in_several_groups_and_in_order() {
    let disk = SimDisk::new(1);
    let mut spool = on(&disk, NOW);
    let large = |record: u64| {
        let body = Bytes::from(vec![record as u8; 200 << 10]);
        SpoolIntent::Keep { record: RecordId(record), head: head("office", &[record as u8]), body }
    };
    let events = spool.commit(NOW, (1..=200).map(large).collect());
    assert!(events.len() >= 3);
    let counts = events.iter().map(|event| match event {
        SpoolEvent::Committed { intents, .. } => *intents,
        other => panic!("{other:?}"),
    });
    assert_eq!(counts.sum::<usize>(), 200);
    assert_eq!(started(&on_again(&disk, spool)).0, RecordId(201));
}

fn on_again(disk: &SimDisk, spool: Spool<MemoryStore>) -> Spool<MemoryStore> {
    drop(spool);
    disk.crash();
    on(disk, NOW.plus_s(1))
}
