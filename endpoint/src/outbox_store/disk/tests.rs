//! What was accepted survives, ends once, and is forgotten in time.

use kernpost_codecs::digest::Digest;
use kernpost_codecs::{Ars, Code, DirectoryVersion, ServiceKey};

use super::*;
use crate::core::{Outgoing, SendOutcome, Ticket};

fn outgoing(n: u8, payload: &'static str) -> Outgoing {
    let sender = "de/portal".parse().unwrap();
    let service = ServiceKey::try_from(99_050_012_104_000).unwrap();
    Outgoing::new(MessageId([n; 16]), sender, service, Ars::FEDERAL, Bytes::from_static(payload.as_bytes()))
}

fn accept(outgoing: &Outgoing, key: Option<&'static str>) -> AcceptRecord {
    let statement = outgoing.statement(UnixMs(1_000), DirectoryVersion(Digest([0; 32]))).encode();
    AcceptRecord {
        ticket: Ticket(0),
        sender: outgoing.sender.clone(),
        message: outgoing.id,
        statement: statement.into(),
        payload: outgoing.payload.clone(),
        file: None,
        key: key.map(|key| Bytes::from_static(key.as_bytes())),
        content: outgoing.content(),
        expires: UnixMs(2_000),
    }
}

fn ended(accept: &AcceptRecord, outcome: FinalOutcome, place: Place) -> OutcomeRecord {
    OutcomeRecord {
        answer: None,
        sender: accept.sender.clone(),
        place,
        outcome: SendOutcome {
            outcome,
            id: accept.message,
            code: Code(0),
            problem: Some("incomplete".to_owned()),
            text: None,
            issuer: Some("de/router/a".parse().unwrap()),
            attempts: 3,
            proof: None,
            statement: accept.statement.clone(),
        },
        expires: accept.expires,
    }
}

fn open(folder: &tempfile::TempDir) -> OutboxStore {
    OutboxStore::open(OutboxConfig::new(folder.path().join("outbox"))).unwrap()
}

fn one(store: &OutboxStore, accept: &AcceptRecord) -> Accepted {
    store.write(std::slice::from_ref(accept), &[], UnixMs(1_500)).unwrap().pop().unwrap()
}

#[test]
fn what_was_accepted_survives_a_restart_with_its_payload_and_stage() {
    let folder = tempfile::tempdir().unwrap();
    let first = accept(&outgoing(1, "payload"), Some("key"));
    {
        let store = open(&folder);
        assert!(matches!(one(&store, &first), Accepted::Durable));
        store.write(&[], &[ended(&first, FinalOutcome::Custody, Place::Stage)], UnixMs(1_500)).unwrap();
    }
    let store = open(&folder);
    let found = store.open_messages().unwrap();
    assert_eq!((found.len(), &found[0].statement), (1, &first.statement));
    assert_eq!(found[0].outcome.as_ref().unwrap().outcome, FinalOutcome::Custody);
    assert_eq!(store.payload(&first.sender, first.message).unwrap().unwrap(), first.payload);
    assert_eq!(store.held().0, 1);
}

#[test]
fn open_messages_come_back_in_the_order_in_which_they_were_accepted() {
    let folder = tempfile::tempdir().unwrap();
    for (first, second) in [(9, 3), (7, 1)] {
        let store = open(&folder);
        let both = [accept(&outgoing(first, "a"), None), accept(&outgoing(second, "b"), None)];
        store.write(&both, &[], UnixMs(1_500)).unwrap();
    }
    let order: Vec<u8> = open(&folder).open_messages().unwrap().iter().map(|stored| stored.message.0[0]).collect();
    assert_eq!(order, [9, 3, 7, 1]);
}

#[test]
fn the_end_erases_the_payload_and_keeps_the_outcome_until_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let first = accept(&outgoing(1, "payload"), Some("key"));
    one(&store, &first);
    store.write(&[], &[ended(&first, FinalOutcome::Delivered, Place::Final)], UnixMs(1_500)).unwrap();
    assert!(store.payload(&first.sender, first.message).unwrap().is_none());
    assert_eq!((store.open_messages().unwrap().len(), store.held()), (0, (0, 0)));
    let kept = store.find_any(first.message).unwrap().unwrap();
    assert!(kept.is_final);
    assert_eq!(kept.outcome.unwrap().problem.as_deref(), Some("incomplete"));
    assert_eq!(store.prune(UnixMs(2_000 + 120_000), 10).unwrap(), 0);
    assert_eq!(store.prune(UnixMs(2_001 + 120_000), 10).unwrap(), 1);
    assert!(store.find(&first.sender, first.message).unwrap().is_none());
    // And its key is free again.
    let other = accept(&outgoing(2, "other"), Some("key"));
    assert!(matches!(one(&store, &other), Accepted::Durable));
}

#[test]
fn a_stage_after_the_end_changes_nothing_and_a_contradiction_stands_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let first = accept(&outgoing(1, "payload"), None);
    one(&store, &first);
    let outcomes = [
        ended(&first, FinalOutcome::Delivered, Place::Final),
        ended(&first, FinalOutcome::Custody, Place::Stage),
        ended(&first, FinalOutcome::Rejected, Place::Contradiction),
    ];
    store.write(&[], &outcomes, UnixMs(1_500)).unwrap();
    let kept = store.find(&first.sender, first.message).unwrap().unwrap();
    assert_eq!(kept.outcome.unwrap().outcome, FinalOutcome::Delivered);
    assert_eq!(kept.contradiction.unwrap().outcome, FinalOutcome::Rejected);
}

#[test]
fn the_same_key_with_the_same_content_is_the_same_message() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let first = accept(&outgoing(1, "payload"), Some("key"));
    let again = accept(&outgoing(2, "payload"), Some("key"));
    // Also within one commit.
    let answers = store.write(&[first.clone(), again.clone()], &[], UnixMs(1_500)).unwrap();
    assert!(matches!(&answers[1], Accepted::Known { message, outcome: None, .. } if *message == first.message));
    store.write(&[], &[ended(&first, FinalOutcome::Delivered, Place::Final)], UnixMs(1_500)).unwrap();
    let Accepted::Known { message, outcome: Some(outcome), is_final: true } = one(&store, &again) else {
        panic!("not known")
    };
    assert_eq!((message, outcome.outcome), (first.message, FinalOutcome::Delivered));
}

#[test]
fn the_same_key_with_other_content_is_refused_and_so_is_an_id_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let first = accept(&outgoing(1, "payload"), Some("key"));
    one(&store, &first);
    let other = one(&store, &accept(&outgoing(2, "other"), Some("key")));
    assert!(matches!(other, Accepted::Refused(SendError::KeyReused(message)) if message == first.message));
    let same_id = one(&store, &accept(&outgoing(1, "payload"), None));
    assert!(matches!(same_id, Accepted::Refused(SendError::IdInUse(_))));
}

#[test]
fn a_refused_message_frees_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let first = accept(&outgoing(1, "payload"), Some("key"));
    one(&store, &first);
    store.write(&[], &[ended(&first, FinalOutcome::Refused, Place::Final)], UnixMs(1_500)).unwrap();
    let again = accept(&outgoing(2, "payload"), Some("key"));
    assert!(matches!(one(&store, &again), Accepted::Durable));
    assert!(matches!(one(&store, &accept(&outgoing(3, "payload"), Some("key"))), Accepted::Known { .. }));
    // Forgetting the refused one leaves the key to the other.
    store.prune(UnixMs(10_000_000), 10).unwrap();
    assert!(matches!(one(&store, &accept(&outgoing(3, "payload"), Some("key"))), Accepted::Known { .. }));
}

#[test]
fn a_full_outbox_takes_nothing_more_until_something_ends() {
    let folder = tempfile::tempdir().unwrap();
    let config = OutboxConfig { messages: 1, ..OutboxConfig::new(folder.path().join("outbox")) };
    let store = OutboxStore::open(config).unwrap();
    let (first, second) = (accept(&outgoing(1, "a"), None), accept(&outgoing(2, "b"), None));
    one(&store, &first);
    assert!(matches!(one(&store, &second), Accepted::Refused(SendError::StoreFull(_))));
    store.write(&[], &[ended(&first, FinalOutcome::Delivered, Place::Final)], UnixMs(1_500)).unwrap();
    assert!(matches!(one(&store, &second), Accepted::Durable));
}

#[test]
fn of_more_ended_messages_than_are_kept_the_oldest_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let config = OutboxConfig { kept: 1, ..OutboxConfig::new(folder.path().join("outbox")) };
    let store = OutboxStore::open(config).unwrap();
    for n in 1..=3 {
        let one = accept(&outgoing(n, "a"), None);
        store.write(std::slice::from_ref(&one), &[], UnixMs(1_500)).unwrap();
        store.write(&[], &[ended(&one, FinalOutcome::Delivered, Place::Final)], UnixMs(1_500)).unwrap();
    }
    assert_eq!(store.prune(UnixMs(1_600), 10).unwrap(), 2);
    assert_eq!(store.newest(10).unwrap().len(), 1);
}

#[test]
fn a_folder_serves_one_process_only() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(&folder);
    let second = OutboxStore::open(OutboxConfig::new(folder.path().join("outbox")));
    assert!(matches!(second, Err(OutboxError::Storage { .. })));
}
