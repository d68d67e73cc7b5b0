//! Order within a case: through custody, through a router that is away, and when order ends (WIRE 10.5).

use kernpost_codecs::{Code, Outcome};

use super::script::Script;
use crate::core::*;

fn next_id(script: &mut Script) -> (u8, usize) {
    let seen = script.next();
    (seen.id().0[0], seen.router)
}

#[test]
fn after_custody_the_next_message_of_the_case_goes_to_the_same_router() {
    let mut script = Script::new(true);
    script.disconnect(0);
    script.send_in_case(1);
    let first = script.next();
    assert_eq!(first.router, 1);
    script.receipt(&first, Outcome::Custody);
    script.connect(0);
    script.send_in_case(2);
    script.send(3);
    let mut sent = [next_id(&mut script), next_id(&mut script)];
    sent.sort_unstable();
    assert_eq!(sent, [(2, 1), (3, 0)], "the case stays, others go to the preferred router");
    script.late(&first.statement, Outcome::Delivered, 1);
    script.send_in_case(4);
    assert!(script.seen.is_empty(), "2 is not settled");
}

#[test]
fn a_case_goes_wherever_it_may_once_nothing_of_it_is_in_custody() {
    let mut script = Script::new(true);
    script.disconnect(0);
    script.send_in_case(1);
    let first = script.next();
    script.receipt(&first, Outcome::Custody);
    script.connect(0);
    script.late(&first.statement, Outcome::Delivered, 1);
    script.send_in_case(2);
    assert_eq!(next_id(&mut script), (2, 0));
}

#[test]
fn while_the_router_with_its_custody_is_away_the_case_is_held_and_then_goes_on() {
    let mut script = Script::new(true);
    script.send_in_case(1);
    let first = script.next();
    script.receipt(&first, Outcome::Custody);
    script.disconnect(0);
    script.send_in_case(2);
    assert!(script.seen.is_empty());
    assert_eq!(script.core.held_cases(), 1);
    assert!(script.events.iter().any(|event| matches!(event, Event::CaseHeld { .. })));
    // Far beyond the send timeout: the time for which a case is held does not count.
    script.pass(600_000);
    assert!(script.ended.is_empty());
    script.seen.clear();
    script.connect(0);
    assert!(script.events.iter().any(|event| matches!(event, Event::CaseResumed { .. })));
    let seen: Vec<_> = std::iter::from_fn(|| script.seen.pop_front()).filter(|seen| !seen.ask).collect();
    assert_eq!((seen.len(), seen[0].id().0[0], seen[0].router), (1, 2, 0));
    assert_eq!(script.core.held_cases(), 0);
}

#[test]
fn a_case_held_for_its_time_goes_on_without_promise_of_order() {
    let mut script = Script::new(true);
    script.send_in_case(1);
    let first = script.next();
    script.receipt(&first, Outcome::Custody);
    script.disconnect(0);
    script.send_in_case(2);
    script.pass(3_599_000);
    assert!(script.seen.iter().all(|seen| seen.ask));
    script.pass(2_000);
    assert!(script.events.iter().any(|event| matches!(event, Event::CaseOrderEnded { .. })));
    let sent = script.seen.iter().find(|seen| !seen.ask).cloned().expect("goes on");
    assert_eq!((sent.id().0[0], sent.router), (2, 1));
    assert_eq!(script.core.ledger().case_orders_ended, 1);
}

#[test]
fn a_message_sent_again_never_shares_the_line_with_a_later_one_of_its_case() {
    let mut script = Script::new(true);
    script.send_in_case(1);
    let first = script.next();
    script.receipt(&first, Outcome::Custody);
    script.send_in_case(2);
    let second = script.next();
    script.send_in_case(3);
    script.late(&first.statement, Outcome::Damaged, 0);
    assert!(script.seen.is_empty(), "2 is under way");
    script.receipt(&second, Outcome::Delivered);
    assert_eq!(next_id(&mut script).0, 1);
    assert!(script.seen.is_empty());
}

#[test]
fn an_ask_and_the_next_message_of_a_case_never_share_a_bundle() {
    let mut script = Script::new(true);
    script.send_in_case(1);
    let first = script.next();
    script.receipt(&first, Outcome::Custody);
    script.send_in_case(2);
    let second = script.next();
    // Both become due at the same instant; the script checks every bundle.
    script.settle(&second, Code::BUSY);
    script.pass(120_000);
    assert!(script.seen.len() > 2);
}

#[test]
fn a_restarted_sender_keeps_the_case_with_its_router() {
    let mut script = Script::new(true);
    script.disconnect(0);
    script.send_in_case(1);
    let first = script.next();
    script.receipt(&first, Outcome::Custody);
    script.restart();
    script.seen.clear();
    script.send_in_case(2);
    assert_eq!(next_id(&mut script), (2, 1));
}
