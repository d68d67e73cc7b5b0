//! Outcomes in two stages: what custody settles, and how it ends.

use kernpost_codecs::{Code, Outcome};

use super::script::{Script, Seen};
use crate::core::*;

#[test]
fn custody_is_a_stage_with_its_proof_and_the_recipients_word_is_the_end() {
    for stored in [false, true] {
        let mut script = Script::new(stored);
        script.send(1);
        let seen = script.next();
        script.receipt(&seen, Outcome::Custody);
        assert_eq!(script.last_stage(), (FinalOutcome::Custody, Some("de/router/a".to_owned())));
        assert!(script.stages[0].proof.is_some() && script.ended.is_empty());
        assert!(script.core.is_idle(), "nothing is under way, though not ended");
        assert_eq!((script.core.ledger().open, script.core.ledger().in_custody), (1, 1));
        script.late(&seen.statement, Outcome::Delivered, 0);
        assert_eq!(script.end(), FinalOutcome::Delivered);
        let file = script.ended[0].proof.as_ref().unwrap().to_file();
        let table = script.table.clone();
        file.verify(|kid| table.key(kid).map(|(_, key)| key.key.clone())).unwrap();
        assert!(script.core.ledger().balances());
    }
}

#[test]
fn custody_after_custody_is_told_once() {
    let mut script = Script::new(false);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    script.pass(31_000);
    let ask = script.next();
    assert!(ask.ask && ask.payload.is_empty() && ask.router == 0);
    script.receipt(&ask, Outcome::Custody);
    assert_eq!((script.stages.len(), script.ended.len()), (1, 0));
}

#[test]
fn an_ask_at_the_router_that_has_it_brings_the_end_when_the_late_receipt_was_lost() {
    let mut script = Script::new(true);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    script.pass(31_000);
    let ask = script.next();
    script.receipt(&ask, Outcome::Delivered);
    assert_eq!(script.end(), FinalOutcome::Delivered);
}

#[test]
fn asks_become_rare() {
    let mut script = Script::new(true);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    let mut asks = 0;
    for _ in 0..24 * 60 {
        script.pass(60_000);
        while let Some(ask) = script.seen.pop_front() {
            asks += 1;
            script.receipt(&ask, Outcome::Custody);
        }
    }
    assert!((25..40).contains(&asks), "{asks} asks in a day");
}

#[test]
fn the_send_timeout_does_not_end_a_message_in_custody() {
    let mut script = Script::new(false);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    script.disconnect(0);
    script.disconnect(1);
    script.pass(120_000);
    assert!(script.ended.is_empty());
}

#[test]
fn thirty_days_after_its_expiry_a_message_without_outcome_is_closed_as_undecided() {
    let mut script = Script::new(true);
    let outgoing = Outgoing { lifetime_s: 3_600, ..script.outgoing(1) };
    script.send_this(&outgoing);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    script.disconnect(0);
    script.disconnect(1);
    script.pass(30 * 86_400_000);
    assert!(script.ended.is_empty());
    script.pass(3_600_000);
    assert_eq!(script.end(), FinalOutcome::Undecided);
    assert!(script.core.ledger().balances());
}

#[test]
fn a_damaged_copy_is_sent_again_with_the_same_id_elsewhere() {
    for stored in [false, true] {
        let mut script = Script::new(stored);
        script.send(1);
        let first = script.next();
        script.receipt(&first, Outcome::Custody);
        assert_eq!(script.late(&first.statement, Outcome::Damaged, 0), Some(Code::NOTED));
        let again = script.next();
        assert_eq!((again.statement.clone(), again.payload.clone()), (first.statement, first.payload));
        assert!(again.redelivered && !again.ask && again.router == 1);
        assert!(script.ended.is_empty());
        assert_eq!(script.last_stage().0, FinalOutcome::Damaged);
        script.receipt(&again, Outcome::Delivered);
        assert_eq!(script.end(), FinalOutcome::Delivered);
    }
}

#[test]
fn the_same_damage_is_acted_upon_once() {
    let mut script = Script::new(true);
    script.send(1);
    let first = script.next();
    script.receipt(&first, Outcome::Custody);
    let damaged = script.receipt_about(&first.statement, Outcome::Damaged, 0);
    script.late(&first.statement, Outcome::Damaged, 0);
    let again = script.next();
    script.receipt(&again, Outcome::Custody);
    script.pass(5);
    let key = script.router_key(0);
    assert_eq!(script.deliver(&damaged.encode().into(), &key, 0), Some(Code::NOTED));
    assert_eq!((script.core.ledger().custody_resends, script.core.ledger().in_custody), (1, 1));
    assert!(script.seen.is_empty());
}

#[test]
fn a_damaged_copy_of_an_expired_message_is_its_end() {
    let mut script = Script::new(true);
    let outgoing = Outgoing { lifetime_s: 10, ..script.outgoing(1) };
    script.send_this(&outgoing);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    script.pass(20_000);
    script.late(&seen.statement, Outcome::Damaged, 0);
    assert_eq!(script.end(), FinalOutcome::Damaged);
}

/// Sent again after damage, but no longer taken before it expired; then asked for, also by another process.
fn damaged_and_expired(restart: bool) -> Script {
    let mut script = Script::new(true);
    let outgoing = Outgoing { lifetime_s: 10, ..script.outgoing(1) };
    script.send_this(&outgoing);
    let first = script.next();
    script.receipt(&first, Outcome::Custody);
    script.late(&first.statement, Outcome::Damaged, 0);
    let again = script.next();
    script.settle(&again, Code::NOT_ATTACHED);
    if restart {
        script.restart();
    }
    script
}

#[test]
fn damage_is_the_end_of_a_message_that_expired_before_it_could_be_sent_again() {
    for restart in [false, true] {
        let mut script = damaged_and_expired(restart);
        for seconds in 0..600 {
            while let Some(seen) = script.seen.pop_front() {
                let refusal = if seconds < 10 { Code::NOT_ATTACHED } else { Code::EXPIRED };
                script.settle(&seen, if seen.ask { Code::UNKNOWN_MESSAGE } else { refusal });
            }
            // Until then a router may have it again, whose receipt was lost.
            assert!(script.ended.is_empty() || seconds >= 130, "ended after {seconds} s");
            script.pass(1_000);
        }
        assert_eq!(script.end(), FinalOutcome::Damaged);
        assert!(script.ended[0].proof.is_some());
        assert!(script.core.ledger().balances());
    }
}

#[test]
fn a_message_that_is_closed_without_an_answer_after_damage_ended_damaged() {
    for restart in [false, true] {
        let mut script = damaged_and_expired(restart);
        script.disconnect(0);
        script.disconnect(1);
        script.pass(30 * 86_400_000);
        assert!(script.ended.is_empty());
        script.pass(60_000);
        assert_eq!(script.end(), FinalOutcome::Damaged);
    }
}

#[test]
fn what_a_lost_router_had_in_custody_is_sent_again() {
    let mut script = Script::new(true);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    script.disconnect(0);
    let table = script.lost_table.clone();
    script.core.handle_table(script.now, table);
    script.run();
    let again = script.next();
    assert!(again.redelivered && again.router == 1);
    assert!(script.events.iter().any(|event| matches!(event, Event::CustodyLost { .. })));
}

#[test]
fn a_router_that_denies_its_own_custody_gets_the_message_again() {
    let mut script = Script::new(true);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    script.pass(31_000);
    let ask = script.next();
    script.settle(&ask, Code::UNKNOWN_MESSAGE);
    let again = script.next();
    assert!(!again.ask && again.redelivered && !again.payload.is_empty());
    assert!(script.events.iter().any(|event| matches!(event, Event::CustodyLost { .. })));
}

#[test]
fn another_routers_ignorance_does_not_end_custody() {
    let mut script = Script::new(true);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    script.disconnect(0);
    script.pass(31_000);
    let ask = script.next();
    assert!(ask.ask && ask.router == 1);
    script.settle(&ask, Code::UNKNOWN_MESSAGE);
    script.pass(10_000);
    assert!(script.seen.is_empty());
    assert_eq!(script.core.ledger().in_custody, 1);
}

#[test]
fn nothing_leaves_before_it_is_durable() {
    let mut script = Script::new(true);
    script.broken_disk = true;
    let ticket = script.send(1);
    assert!(script.seen.is_empty());
    script.core.handle_accepted(script.now, ticket, Accepted::Refused(SendError::Store("no space".to_owned())));
    script.run();
    script.pass(120_000);
    assert!(script.seen.is_empty() && script.ended.is_empty());
    assert_eq!(script.not_accepted.len(), 1);
    assert!(script.core.ledger().balances());
}

#[test]
fn an_undecided_message_is_followed_after_its_timeout_when_it_is_durable() {
    let mut script = Script::new(true);
    script.send(1);
    let seen = script.next();
    script.pass(61_000);
    assert_eq!(script.last_stage().0, FinalOutcome::Undecided);
    assert!(script.ended.is_empty());
    script.seen.clear();
    while script.seen.is_empty() {
        script.pass(1_000);
    }
    let ask = script.next();
    assert!(ask.ask && ask.statement == seen.statement);
    script.receipt(&ask, Outcome::Delivered);
    assert_eq!(script.end(), FinalOutcome::Delivered);
    assert!(script.core.ledger().balances());
}

/// Asked for in vain for hours after its timeout, and now on its way to be asked for once more.
fn asked_for_long() -> (Script, Seen) {
    let mut script = Script::new(true);
    script.send(1);
    script.next();
    for _ in 0..600 {
        script.pass(60_000);
        for seen in std::mem::take(&mut script.seen) {
            script.settle(&seen, Code::UNDECIDED_LINK_LOST);
        }
    }
    while script.seen.is_empty() {
        script.pass(1_000);
    }
    let ask = script.next();
    assert!(ask.ask);
    (script, ask)
}

#[test]
fn what_the_recipient_denies_is_sent_again_at_once_however_long_it_was_asked_for() {
    let (mut script, ask) = asked_for_long();
    script.settle(&ask, Code::UNKNOWN_MESSAGE);
    script.pass(1);
    let again = script.next();
    assert!(again.redelivered && !again.ask);
    script.settle(&again, Code::UNDECIDED_LINK_LOST);
    script.pass(6_000);
    let ask = script.next();
    script.settle(&ask, Code::UNDECIDED_LINK_LOST);
    script.pass(600_000);
    assert!(script.seen.is_empty(), "then it is patient again");
}

#[test]
fn a_question_there_was_no_room_for_is_asked_again_soon_however_long_it_was_asked_before() {
    let (mut script, mut ask) = asked_for_long();
    for _ in 0..20 {
        script.settle(&ask, Code::BUSY);
        script.pass(31_000);
        ask = script.next();
        assert!(ask.ask && script.seen.is_empty(), "once in a while");
    }
    script.receipt(&ask, Outcome::Delivered);
    assert_eq!(script.end(), FinalOutcome::Delivered);
}

#[test]
fn after_a_restart_it_is_asked_for_and_sent_again_with_the_same_id() {
    let mut script = Script::new(true);
    script.send(1);
    let before = script.next();
    script.restart();
    let ask = script.next();
    assert!(ask.ask && ask.statement == before.statement);
    script.settle(&ask, Code::UNKNOWN_MESSAGE);
    script.pass(1);
    let again = script.next();
    assert!(again.redelivered && again.payload == before.payload);
    script.receipt(&again, Outcome::Delivered);
    assert_eq!(script.end(), FinalOutcome::Delivered);
    assert!(script.core.ledger().balances());
    assert_eq!(script.core.ledger().recovered, 1);
}

#[test]
fn after_a_restart_a_late_receipt_ends_what_was_in_custody() {
    let mut script = Script::new(true);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    script.restart();
    script.seen.clear();
    assert_eq!(script.late(&seen.statement, Outcome::Rejected, 0), Some(Code::NOTED));
    assert_eq!(script.end(), FinalOutcome::Rejected);
    let file = script.ended[0].proof.as_ref().unwrap().to_file();
    let table = script.table.clone();
    file.verify(|kid| table.key(kid).map(|(_, key)| key.key.clone())).unwrap();
}

#[test]
fn after_asks_in_vain_a_message_is_sent_again_so_that_a_router_may_take_custody() {
    let mut script = Script::new(true);
    script.send(1);
    let first = script.next();
    script.settle(&first, Code::UNDECIDED_LINK_LOST);
    let mut asks = 0;
    let again = loop {
        script.pass(100);
        match script.seen.pop_front() {
            Some(seen) if seen.ask => {
                asks += 1;
                script.settle(&seen, Code::NOT_ATTACHED);
            }
            Some(seen) => break seen,
            None => {}
        }
    };
    assert!(again.redelivered && (5..15).contains(&asks), "{asks} asks");
    script.receipt(&again, Outcome::Custody);
    assert_eq!(script.last_stage().0, FinalOutcome::Custody);
}

#[test]
fn a_question_is_answered_without_sending_anything() {
    let mut script = Script::new(true);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Custody);
    script.core.handle_ask(script.now, seen.statement.clone(), 10_000).unwrap();
    script.run();
    let ask = script.next();
    assert!(ask.ask && !ask.redelivered);
    script.receipt(&ask, Outcome::Delivered);
    let outcomes: Vec<FinalOutcome> = script.ended.iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [FinalOutcome::Delivered; 2], "the answer, and the end of the message itself");
    assert!(script.core.ledger().balances());
}

#[test]
fn a_question_nobody_can_answer_ends_with_the_code_that_says_so() {
    let mut script = Script::new(false);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Delivered);
    script.core.handle_ask(script.now, seen.statement.clone(), 10_000).unwrap();
    script.run();
    let ask = script.next();
    script.settle(&ask, Code::UNKNOWN_MESSAGE);
    let end = script.ended.last().unwrap();
    assert_eq!((end.outcome, end.code), (FinalOutcome::Undecided, Code::UNKNOWN_MESSAGE));
    script.core.handle_ask(script.now, seen.statement.clone(), 10_000).unwrap();
    script.run();
    let ask = script.next();
    script.settle(&ask, Code::NOT_ATTACHED);
    script.pass(20_000);
    assert_eq!(script.end(), FinalOutcome::Undecided);
    assert!(script.core.ledger().balances());
}

#[test]
fn a_question_about_somebody_elses_message_is_not_asked() {
    let mut script = Script::new(false);
    script.send(1);
    let statement = script.next().statement;
    let mut message = kernpost_codecs::MessageRef::parse(&statement).unwrap().to_owned();
    message.sender = "de/other".parse().unwrap();
    let asked = script.core.handle_ask(script.now, message.encode().into(), 1_000);
    assert!(matches!(asked, Err(SendError::NotAskable(_))));
}

#[test]
fn a_message_sent_again_by_its_key_while_it_ends_is_asked_for_once_more() {
    let mut script = Script::new(true);
    script.send(1);
    let seen = script.next();
    script.receipt(&seen, Outcome::Delivered);
    let ended = script.ended[0].id;
    script.broken_disk = true;
    let again = Outgoing { idempotency_key: Some(b"key"[..].into()), ..script.outgoing(2) };
    let ticket = script.send_this(&again);
    // The store answered before the outcome was written.
    let known = || Accepted::Known { message: ended, outcome: None, is_final: false };
    script.broken_disk = false;
    script.core.handle_accepted(script.now, ticket, known());
    script.run();
    assert!(script.not_accepted.is_empty());
    assert_eq!(script.seen.len(), 1, "the store was asked again, and took it here");
}
