//! Late receipts: verified, durable, noted, and never a message for the application.

use bytes::Bytes;
use kernpost_codecs::{Code, Outcome};

use super::script::Script;
use crate::core::*;

fn in_custody(stored: bool) -> (Script, Bytes) {
    let mut script = Script::new(stored);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    (script, seen.statement)
}

#[test]
fn a_late_receipt_is_noted_after_it_is_durable_and_is_no_message() {
    for outcome in [Outcome::Delivered, Outcome::Rejected, Outcome::Expired, Outcome::Returned, Outcome::Discarded] {
        let (mut script, statement) = in_custody(true);
        assert_eq!(script.late(&statement, outcome, 0), Some(Code::NOTED));
        assert_eq!(script.end(), FinalOutcome::from(outcome));
        assert!(matches!(script.disk.values().next().unwrap().outcome, Some((Place::Final, _))));
        assert_eq!(script.handed, 0);
    }
}

#[test]
fn a_receipt_that_cannot_be_made_durable_is_not_noted() {
    let (mut script, statement) = in_custody(true);
    script.broken_disk = true;
    assert_eq!(script.late(&statement, Outcome::Delivered, 0), Some(Code::UNDECIDED_STORAGE));
    assert!(script.ended.is_empty());
    script.broken_disk = false;
    assert_eq!(script.late(&statement, Outcome::Delivered, 0), Some(Code::NOTED));
}

#[test]
fn a_receipt_for_what_is_unknown_or_known_already_is_noted() {
    let (mut script, statement) = in_custody(true);
    let mut other = kernpost_codecs::MessageRef::parse(&statement).unwrap().to_owned();
    other.id.0[0] = 99;
    assert_eq!(script.late(&other.encode().into(), Outcome::Delivered, 0), Some(Code::NOTED));
    assert!(script.ended.is_empty());
    for _ in 0..2 {
        assert_eq!(script.late(&statement, Outcome::Delivered, 0), Some(Code::NOTED));
    }
    assert_eq!(script.ended.len(), 1);
}

#[test]
fn what_does_not_count_is_refused_and_changes_nothing() {
    let (mut script, statement) = in_custody(true);
    let receipt = script.receipt_about(&statement, Outcome::Delivered, 0);
    let other = kernpost_codecs::SigningKey::from_pkcs8_der(&script.other.to_pkcs8_der().unwrap()).unwrap();
    // Another key than its issuer's.
    assert_eq!(script.deliver(&receipt.encode().into(), &other, 0), Some(Code::BAD_SIGNATURE));
    // An issuer who is not responsible.
    let mut foreign = receipt.clone();
    foreign.issuer = "de/other".parse::<kernpost_codecs::EndpointId>().unwrap().into();
    assert_eq!(script.deliver(&foreign.encode().into(), &other, 0), Some(Code::BAD_STATEMENT));
    // Another content under the same identity.
    let mut message = kernpost_codecs::MessageRef::parse(&statement).unwrap().to_owned();
    message.mailbox = Some(Bytes::from_static(b"x"));
    assert_eq!(script.late(&message.encode().into(), Outcome::Delivered, 0), Some(Code::BAD_STATEMENT));
    // Custody is never late.
    assert_eq!(script.late(&statement, Outcome::Custody, 0), Some(Code::BAD_STATEMENT));
    assert!(script.ended.is_empty());
    assert!(script.events.iter().any(|event| matches!(event, Event::InvalidReceipt { .. })));
}

#[test]
fn a_part_carries_one_kind_of_statement() {
    let (mut script, statement) = in_custody(true);
    let receipt = Bytes::from(script.receipt_about(&statement, Outcome::Expired, 0).encode());
    let key = kernpost_codecs::SigningKey::from_pkcs8_der(&script.other.to_pkcs8_der().unwrap()).unwrap();
    let codes = script.deliver_all(&[(receipt, Bytes::new()), (statement, Bytes::from_static(b"message 1"))], &key, 0);
    assert_eq!(codes, [Code::BAD_SIGNATURE, Code::BAD_STATEMENT]);
}

#[test]
fn a_receipt_under_a_directory_that_is_not_at_hand_comes_again_later() {
    let (mut script, statement) = in_custody(true);
    let mut receipt = script.receipt_about(&statement, Outcome::Expired, 0);
    receipt.directory_version = script.lost_table.version();
    let key = kernpost_codecs::SigningKey::from_pkcs8_der(&script.other.to_pkcs8_der().unwrap()).unwrap();
    assert_eq!(script.deliver(&receipt.encode().into(), &key, 0), Some(Code::BUSY));
}

#[test]
fn the_first_word_of_a_recipient_stands_and_a_contradiction_is_stored_and_told() {
    for restart in [false, true] {
        let (mut script, statement) = in_custody(true);
        script.late(&statement, Outcome::Delivered, 0);
        if restart {
            script.restart();
        }
        assert_eq!(script.late(&statement, Outcome::Rejected, 0), Some(Code::NOTED));
        assert!(script.events.iter().any(|event| matches!(
            event,
            Event::Contradiction { stands: FinalOutcome::Delivered, contradicts: FinalOutcome::Rejected, .. }
        )));
        let kept = script.disk.values().next().unwrap();
        assert!(kept.contradiction.is_some());
        assert_eq!(kept.outcome.as_ref().unwrap().1.outcome, FinalOutcome::Delivered);
        assert_eq!((script.ended.len(), script.core.ledger().contradictions), (1, 1));
    }
}

#[test]
fn a_recipients_word_replaces_a_routers_also_after_a_restart() {
    for restart in [false, true] {
        let (mut script, statement) = in_custody(true);
        script.late(&statement, Outcome::Expired, 0);
        if restart {
            script.restart();
        }
        assert_eq!(script.late(&statement, Outcome::Delivered, 0), Some(Code::NOTED));
        let revised = |event: &Event| matches!(event, Event::OutcomeRevised { now: FinalOutcome::Delivered, .. });
        assert!(script.events.iter().any(revised));
        let kept = script.disk.values().next().unwrap().outcome.as_ref().unwrap();
        assert_eq!((kept.0, kept.1.outcome), (Place::Final, FinalOutcome::Delivered));
        // And a router's word after it changes nothing.
        script.late(&statement, Outcome::Returned, 1);
        assert_eq!(script.core.ledger().revised, 1);
    }
}
