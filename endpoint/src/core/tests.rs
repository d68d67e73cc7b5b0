//! The endpoint side end to end in virtual time: two cores and a plain relay.

mod custody;
mod late;
mod order;
mod script;
mod storm;
mod world;

use bytes::Bytes;
use kernpost_codecs::key::Algorithm;
use kernpost_codecs::receipts::ReceiptsFrame;
use kernpost_codecs::{CloseCode, Code, MessageId};

use super::*;
use world::{Parties, Relay, World, id, parties, parties_with};

#[test]
fn a_message_is_delivered_and_its_receipt_proves_it_offline() {
    let mut world = World::new();
    world.send(&world.outgoing(1));
    assert_eq!(world.outcome(), (FinalOutcome::Delivered, Code(0)));
    let proof = world.portal.outcomes[0].proof.clone().unwrap().to_file();
    let table = world.portal.core.table().unwrap().clone();
    let proven = proof.verify(|kid| table.key(kid).map(|(_, key)| key.key.clone())).unwrap();
    assert_eq!(proven.receipt.issuer.as_str(), "de/authority");
    assert!(world.balanced());
}

#[test]
fn a_verdict_given_after_the_route_has_moved_counts_all_the_same() {
    let parties = parties(1);
    let moved = parties.moved.clone();
    let mut world = World::with(parties);
    world.answers = false;
    for n in 1..=2 {
        world.send(&world.outgoing(n));
    }
    world.portal.core.handle_table(world.now, moved.clone());
    world.authority.core.handle_table(world.now, moved);
    for delivery in std::mem::take(&mut world.authority.handed) {
        world.authority.core.handle_verdict(delivery.id, &Verdict::Accept);
    }
    world.run();
    assert_eq!(world.portal.outcomes.len(), 2, "{:?}", world.portal.events);
    assert_eq!(world.outcome(), (FinalOutcome::Delivered, Code(0)));
    assert_eq!(world.authority.core.ledger().receipt_frames, 1, "one table covers both");
    assert!(world.balanced());
}

#[test]
fn what_accumulates_goes_out_under_one_signature_and_comes_back_under_one() {
    let mut world = World::new();
    for n in 0..200 {
        let outgoing = world.outgoing(n);
        world.portal.core.handle_send(world.now, &outgoing).unwrap();
    }
    world.run();
    assert_eq!(world.portal.outcomes.len(), 200);
    let (sender, recipient) = (world.portal.core.ledger(), world.authority.core.ledger());
    assert_eq!((sender.bundles, recipient.receipt_frames), (1, 1));
    assert_eq!(world.authority.core.root_checks().0, 1);
}

#[test]
fn a_slow_line_gets_small_bundles_and_always_at_least_one_entry() {
    for (payload, largest, bundles) in [(700, 2_500, 20), (700, 25_000, 2), (60_000, 2_500, 40), (100, 262_144, 1)] {
        let mut world = World::over_line(parties(1), largest);
        for n in 0..40 {
            let outgoing = Outgoing { payload: Bytes::from(vec![n; payload]), ..world.outgoing(n) };
            world.portal.core.handle_send(world.now, &outgoing).unwrap();
        }
        world.run();
        assert_eq!(world.portal.outcomes.len(), 40);
        assert_eq!(world.portal.core.ledger().bundles, bundles, "{payload} bytes, bundles of {largest}");
    }
}

#[test]
fn a_rejection_carries_its_problem_to_the_sender() {
    let mut world = World::new();
    world.verdict = Verdict::Reject { code: Code(1_001), problem: Some("incomplete".to_owned()) };
    world.send(&world.outgoing(1));
    assert_eq!(world.outcome(), (FinalOutcome::Rejected, Code(1_001)));
    assert_eq!(world.portal.outcomes[0].problem.as_deref(), Some("incomplete"));
}

#[test]
fn a_message_whose_settlement_was_lost_is_asked_for_and_not_handed_over_again() {
    let mut world = World::new();
    world.mute = true;
    world.send(&world.outgoing(1));
    world.lose_portal_link();
    world.mute = false;
    world.connect_portal();
    world.pass(2_000);
    assert_eq!(world.outcome().0, FinalOutcome::Delivered);
    assert_eq!(world.authority.handed.len(), 1);
    let ledger = world.portal.core.ledger();
    assert_eq!((ledger.asks, ledger.resends), (1, 0));
}

#[test]
fn a_message_the_recipient_never_saw_is_sent_again_as_redelivered() {
    let mut world = World::new();
    world.relay = Relay::Swallow;
    world.send(&world.outgoing(1));
    world.lose_portal_link();
    world.relay = Relay::Forward;
    world.connect_portal();
    world.pass(2_000);
    assert_eq!(world.outcome().0, FinalOutcome::Delivered);
    assert!(world.authority.handed[0].redelivered);
    let ledger = world.portal.core.ledger();
    assert_eq!((ledger.asks, ledger.resends), (1, 1));
}

#[test]
fn a_label_past_its_deadline_counts_as_undecided() {
    let mut world = World::new();
    world.relay = Relay::Swallow;
    world.send(&world.outgoing(1));
    world.pass(36_000);
    assert_eq!(world.portal.core.ledger().undecided_attempts, 1);
    world.pass(30_000);
    assert_eq!(world.outcome(), (FinalOutcome::Undecided, Code::UNDECIDED_DEADLINE));
    assert!(world.balanced());
}

#[test]
fn a_lasting_refusal_is_final_at_once() {
    let mut world = World::new();
    world.relay = Relay::Refuse(Code::NO_ROUTE);
    world.send(&world.outgoing(1));
    assert_eq!(world.outcome(), (FinalOutcome::Refused, Code::NO_ROUTE));
    assert!(world.balanced());
}

#[test]
fn a_busy_recipient_is_tried_again_until_it_takes_the_message() {
    let mut world = World::new();
    world.relay = Relay::Refuse(Code::BUSY);
    world.send(&world.outgoing(1));
    world.pass(300);
    assert!(world.portal.outcomes.is_empty());
    world.relay = Relay::Forward;
    world.pass(5_000);
    assert_eq!(world.outcome().0, FinalOutcome::Delivered);
}

#[test]
fn a_recipient_busy_until_the_timeout_is_a_refusal() {
    let mut world = World::new();
    world.relay = Relay::Refuse(Code::NOT_ATTACHED);
    world.send(&world.outgoing(1));
    world.pass(60_000);
    assert_eq!(world.outcome(), (FinalOutcome::Refused, Code::NOT_ATTACHED));
    assert!(world.balanced());
}

#[test]
fn a_refusal_after_an_undecided_attempt_does_not_make_it_refused() {
    let mut world = World::new();
    world.relay = Relay::Swallow;
    world.send(&world.outgoing(1));
    world.lose_portal_link();
    world.relay = Relay::Refuse(Code::NO_ROUTE);
    world.connect_portal();
    world.pass(60_000);
    assert_eq!(world.outcome().0, FinalOutcome::Undecided);
}

#[test]
fn the_next_message_of_a_case_waits_for_the_previous_one() {
    let mut world = World::new();
    world.answers = false;
    for n in 1..=3 {
        let mut outgoing = world.outgoing(n);
        outgoing.case = Some(Bytes::from_static(b"case"));
        world.send(&outgoing);
    }
    for handed in 1..=3 {
        assert_eq!(world.authority.handed.len(), handed);
        let delivery = world.authority.handed.last().unwrap().id;
        world.authority.core.handle_verdict(delivery, &Verdict::Accept);
        world.run();
    }
    let order: Vec<u8> = world.authority.handed.iter().map(|delivery| delivery.message.id.0[0]).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn a_repeat_of_a_pending_message_joins_it() {
    let mut world = World::new();
    world.answers = false;
    world.send(&world.outgoing(1));
    world.lose_portal_link();
    world.connect_portal();
    world.pass(1_000);
    let delivery = world.authority.handed[0].id;
    world.authority.core.handle_verdict(delivery, &Verdict::Accept);
    world.run();
    assert_eq!(world.authority.handed.len(), 1);
    assert_eq!(world.outcome().0, FinalOutcome::Delivered);
}

#[test]
fn a_receipt_by_somebody_not_responsible_is_not_believed() {
    let mut all = parties(1);
    std::mem::swap(&mut all.authority[0], &mut all.other);
    let mut world = World::with(all);
    world.send(&world.outgoing(1));
    assert!(world.portal.outcomes.is_empty());
    assert_eq!(world.portal.core.ledger().invalid_receipts, 1);
    assert!(world.portal.events.iter().any(|event| matches!(event, Event::InvalidReceipt { .. })));
}

#[test]
fn a_hybrid_recipients_receipt_counts_with_both_signatures_and_proves_itself_with_both() {
    let mut world = World::with(parties_with(1, &Algorithm::HYBRID));
    world.send(&world.outgoing(1));
    assert_eq!(world.outcome().0, FinalOutcome::Delivered);
    let file = world.portal.outcomes[0].proof.as_ref().unwrap().to_file();
    let proven = file.verify(|kid| Some(world.table.key(kid)?.1.key.clone())).unwrap();
    let algorithms: Vec<Algorithm> = proven.receipt_signers.iter().map(|facts| facts.algorithm).collect();
    assert_eq!(algorithms, Algorithm::HYBRID);
}

#[test]
fn a_hybrid_recipients_receipt_with_one_signature_missing_changed_or_doubled_is_not_believed() {
    let believed = |all: Parties, tamper: Option<fn(&mut ReceiptsFrame)>| {
        let mut world = World::with(all);
        world.tamper = tamper;
        world.send(&world.outgoing(1));
        assert_eq!(world.portal.core.ledger().invalid_receipts, u64::from(world.portal.outcomes.is_empty()));
        !world.portal.outcomes.is_empty()
    };
    let hybrid = || parties_with(1, &Algorithm::HYBRID);
    assert!(believed(hybrid(), None));
    for missing in 0..2 {
        let mut all = hybrid();
        all.authority.remove(missing);
        assert!(!believed(all, None), "signature {missing} missing");
    }
    assert!(!believed(hybrid(), Some(|frame| frame.signatures.truncate(1))));
    assert!(!believed(hybrid(), Some(|frame| drop(frame.signatures.remove(0)))));
    assert!(!believed(hybrid(), Some(|frame| frame.signatures[1] = frame.signatures[0].clone())));
    for at in 0..2 {
        let flips: [fn(&mut ReceiptsFrame); 2] = [|frame| flip(frame, 0), |frame| flip(frame, 1)];
        assert!(!believed(hybrid(), Some(flips[at])), "signature {at} changed");
    }
    // Where one is enough, the same key twice is still no pair.
    assert!(!believed(parties(1), Some(|frame| frame.signatures.push(frame.signatures[0].clone()))));
}

fn flip(frame: &mut ReceiptsFrame, at: usize) {
    let mut bytes = frame.signatures[at].signature.to_vec();
    bytes[9] ^= 1;
    frame.signatures[at].signature = bytes.into();
}

#[test]
fn a_reply_to_what_was_never_sent_is_rejected_without_the_application() {
    let mut world = World::new();
    let mut outgoing = world.outgoing(1);
    outgoing.in_reply_to = Some(MessageId([9; 16]));
    outgoing.recipient = Some(id("de/authority"));
    world.send(&outgoing);
    assert_eq!(world.outcome(), (FinalOutcome::Rejected, Code::UNSOLICITED_REPLY));
    assert!(world.authority.handed.is_empty());
}

#[test]
fn an_entry_for_an_endpoint_not_attached_here_is_refused() {
    let mut world = World::new();
    world.recipient = id("de/other");
    let mut outgoing = world.outgoing(1);
    outgoing.timeout_ms = 100;
    world.send(&outgoing);
    world.pass(200);
    assert_eq!(world.outcome(), (FinalOutcome::Refused, Code::WRONG_RECIPIENT));
}

#[test]
fn an_identity_with_other_content_is_refused() {
    let mut world = World::new();
    world.send(&world.outgoing(1));
    let mut outgoing = world.outgoing(1);
    outgoing.payload = Bytes::from_static(b"something else");
    world.send(&outgoing);
    assert_eq!(world.outcome(), (FinalOutcome::Refused, Code::ID_REUSED));
}

#[test]
fn a_full_outbox_takes_nothing_more() {
    let mut world = World::new();
    world.lose_portal_link();
    let mut refused = None;
    for n in 0..=u16::MAX {
        let mut outgoing = world.outgoing(0);
        outgoing.id.0[..2].copy_from_slice(&n.to_be_bytes());
        refused = world.portal.core.handle_send(world.now, &outgoing).err();
        if refused.is_some() {
            break;
        }
    }
    assert!(matches!(refused, Some(SendError::OutboxFull { messages: 16_384, .. })));
    assert!(world.balanced());
}

#[test]
fn a_control_frame_before_hello_closes_the_link() {
    let mut world = World::new();
    let session = SessionId(77);
    world.portal.core.handle_link_up(world.now, session, 0, 0);
    world.portal.core.handle_frame(world.now, session, Stream::Control, 0x0a, Bytes::from_static(&[0xa1, 1, 0]));
    world.run();
    assert_eq!(world.portal.closed.map(|fault| fault.code), Some(CloseCode::UnexpectedFrame));
}

#[test]
fn credit_that_overtakes_hello_counts() {
    let mut world = World::new();
    world.lose_portal_link();
    world.credit_first = true;
    world.connect_portal();
    world.send(&world.outgoing(1));
    assert_eq!(world.outcome().0, FinalOutcome::Delivered);
}

#[test]
fn a_router_that_never_says_hello_is_left() {
    let mut world = World::new();
    world.portal.core.handle_link_up(world.now, SessionId(77), 0, 0);
    world.pass(10_000);
    assert_eq!(world.portal.closed.map(|fault| fault.code), Some(CloseCode::HelloTimeout));
}

#[test]
fn credit_comes_back_when_a_recipient_hangs() {
    let mut world = World::new();
    world.answers = false;
    world.send(&world.outgoing(1));
    world.pass(31_000);
    let delivery = world.authority.handed[0].id;
    world.authority.core.handle_verdict(delivery, &Verdict::Accept);
    world.run();
    assert_eq!(world.authority.core.ledger().late_verdicts, 1);
    world.pass(20_000);
    assert_eq!(world.outcome().0, FinalOutcome::Delivered, "the ask after the deadline finds the journalled verdict");
}

#[test]
fn an_ask_of_a_message_that_nobody_decided_yet_is_refused_and_never_handed_over() {
    let mut world = World::new();
    world.answers = false;
    world.send(&world.outgoing(1));
    world.lose_portal_link();
    world.connect_portal();
    world.run();
    let refused = world.authority.core.ledger().refused_entries;
    world.pass(1_000);
    assert!(world.authority.core.ledger().refused_entries > refused);
    assert_eq!((world.authority.handed.len(), world.portal.core.ledger().resends), (1, 1));
    let delivery = world.authority.handed[0].id;
    world.authority.core.handle_verdict(delivery, &Verdict::Accept);
    world.run();
    assert_eq!(world.outcome().0, FinalOutcome::Delivered, "the resend joined the message in hand");
}

#[test]
fn a_message_another_process_has_in_hand_is_undecided_here_and_is_not_handed_over() {
    let mut world = World::new();
    world.authority.elsewhere = true;
    world.send(&world.outgoing(1));
    assert!(world.authority.handed.is_empty());
    assert_eq!(world.portal.core.ledger().undecided_attempts, 1);
    world.authority.elsewhere = false;
    world.pass(5_000);
    assert_eq!(world.outcome().0, FinalOutcome::Delivered);
}

#[test]
fn what_is_let_go_without_a_verdict_is_released() {
    let mut world = World::new();
    world.answers = false;
    world.send(&world.outgoing(1));
    let delivery = world.authority.handed[0].id;
    world.authority.core.handle_abandoned(delivery);
    world.run();
    assert_eq!(world.authority.released.len(), 1);
}
