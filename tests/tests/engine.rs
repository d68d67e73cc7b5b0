//! What one engine does with credit, shares, deadlines, detours and other workers, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::BytesMut;
use kernpost_codecs::part::HopHeader;
use kernpost_codecs::settlement::{Detail, Label, Settle};
use kernpost_codecs::{Algorithm, Class, Code, EndpointId, LaneKind, Outcome, UnixMs};
use kernpost_router_core::config::ClassCredit;
use kernpost_router_core::event::Place;
use kernpost_router_core::{Crossing, EngineConfig, EngineEvent, LinkId, Peer, WorkerId};
use kernpost_tests::rig::{Rig, Written};
use kernpost_tests::world::{DRESDEN, LEIPZIG, Saxony, World, link_identity};

struct Cast {
    rig: Rig,
    portal: EndpointId,
    city: EndpointId,
    land: EndpointId,
}

fn cast(config: impl FnOnce(&mut EngineConfig)) -> Cast {
    let Saxony { world, portal, city, land } = Saxony::new(&["r1", "r2", "r3"]);
    Cast { rig: Rig::new(world, config), portal, city, land }
}

fn small_credit(config: &mut EngineConfig) {
    config.credit = [ClassCredit { entries: 64, bytes: 8 << 20 }; 3];
}

#[test]
fn a_message_reaches_the_most_specific_endpoint_and_its_receipt_comes_back() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 100);
    let written = rig.send(from, &portal, LEIPZIG, 3);
    assert_eq!(written.entries_on(to), 3);
    let (_, part) = &written.parts[0];
    assert!(part.entries().iter().all(|entry| entry.hop.hops == 1 && entry.hop.recipient.as_ref() == Some(&city)));
    let back = rig.answer(to, &city, part, 0);
    assert_eq!(back.receipts.len(), 1);
    assert_eq!(back.receipts[0].0, from);
    assert_eq!(back.receipts[0].1.entries.len(), 3);
    assert!(back.receipts[0].1.entries.iter().all(|receipt| receipt.outcome == Outcome::Delivered));
    assert_eq!((rig.engine.ledger().delivered, rig.engine.ledger().in_flight), (3, 0));
}

#[test]
fn a_part_is_split_by_link_and_both_halves_prove_the_same_root() {
    let Cast { mut rig, portal, city, land } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let left = rig.endpoints_link("provider", &[&city]);
    let right = rig.endpoints_link("provider", &[&land]);
    rig.grant(left, 100);
    rig.grant(right, 100);
    let messages: Vec<_> =
        [LEIPZIG, DRESDEN, LEIPZIG, DRESDEN, DRESDEN].map(|route| rig.message(&portal, route, |_| {})).into();
    let written = rig.send_messages(from, &portal, &messages, &HopHeader::default());
    assert_eq!((written.entries_on(left), written.entries_on(right)), (2, 3));
    assert_eq!(written.parts[0].1.root(), written.parts[1].1.root());
    assert_eq!(rig.engine.stats().signature_checks, 1);
}

#[test]
fn an_entry_waits_for_credit_and_leaves_when_it_comes() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 1);
    let written = rig.send(from, &portal, LEIPZIG, 3);
    assert_eq!(written.entries_on(to), 1);
    assert!(written.settled.is_empty());
    rig.pass_ms(50);
    let later = rig.grant(to, 10);
    assert_eq!(later.entries_on(to), 2);
    assert_eq!(rig.engine.stats().entries_waiting, 0);
}

#[test]
fn an_entry_that_waited_100_ms_is_refused_busy_with_its_retry_after() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    rig.endpoints_link("provider", &[&city]);
    rig.send(from, &portal, LEIPZIG, 2);
    assert!(rig.pass_ms(99).settled.is_empty());
    assert_eq!(rig.pass_ms(1).codes(from), vec![Code::BUSY; 2]);
    assert_eq!(rig.engine.ledger().refused, 2);
}

#[test]
fn an_endpoint_gets_an_eighth_of_a_shared_link_and_its_neighbour_is_untouched() {
    let Cast { mut rig, portal, city, land } = cast(|config| config.downstream_share = 1);
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city, &land]);
    rig.grant(to, 64);
    let flood = rig.send(from, &portal, LEIPZIG, 60);
    assert_eq!(flood.entries_on(to), 8);
    assert_eq!(flood.codes(from), vec![Code::BUSY; 52]);
    assert_eq!(rig.send(from, &portal, DRESDEN, 5).entries_on(to), 5);
}

#[test]
fn an_endpoint_behind_another_router_gets_an_eighth_of_the_link_to_it() {
    let Cast { mut rig, portal, city, land } = cast(|config| config.downstream_share = 1);
    let from = rig.endpoints_link("portal", &[&portal]);
    let r2 = "de/router/r2".parse().unwrap();
    let relay = rig.router_link(&r2);
    for endpoint in [&city, &land] {
        rig.attach(endpoint, &link_identity("provider"), Place::At { router: r2.clone(), via: r2.clone() });
    }
    rig.grant(relay, 64);
    let flood = rig.send(from, &portal, LEIPZIG, 60);
    assert_eq!(flood.entries_on(relay), 8);
    assert_eq!(rig.send(from, &portal, DRESDEN, 5).entries_on(relay), 5);
}

#[test]
fn a_link_of_one_endpoint_gives_it_everything() {
    let Cast { mut rig, portal, city, .. } = cast(|config| config.downstream_share = 1);
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 64);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 60).entries_on(to), 60);
}

#[test]
fn a_downstream_link_holds_at_most_a_quarter_of_an_upstream_links_credit() {
    let Cast { mut rig, portal, city, .. } = cast(small_credit);
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 1_000);
    let flood = rig.send(from, &portal, LEIPZIG, 40);
    assert_eq!(flood.entries_on(to), 16);
    assert_eq!(flood.codes(from), vec![Code::BUSY; 24]);
}

#[test]
fn a_hanging_recipient_is_undecided_at_the_deadline_and_the_senders_credit_returns() {
    let Cast { mut rig, portal, city, .. } = cast(small_credit);
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 100);
    let written = rig.send(from, &portal, LEIPZIG, 16);
    let (_, part) = &written.parts[0];
    assert!(rig.pass_ms(29_999).settled.is_empty());
    let late = rig.pass_ms(1);
    assert_eq!(late.codes(from), vec![Code::UNDECIDED_DEADLINE; 16]);
    assert!(
        late.credit.iter().any(|(link, class, entries, _)| (*link, *class, *entries) == (from, Class::Interactive, 80))
    );
    let ignored = rig.answer(to, &city, part, 0);
    assert!(ignored.receipts.is_empty(), "a receipt after the deadline reaches nobody");
    assert_eq!(rig.engine.stats().late_settlements, 16);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 16).entries_on(to), 16, "the recipient's credit is free again");
}

#[test]
fn a_lost_link_leaves_what_it_carried_undecided_and_refuses_what_only_waited() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 2);
    rig.send(from, &portal, LEIPZIG, 3);
    rig.event(EngineEvent::LinkDown { link: to });
    let mut codes = rig.written().codes(from);
    codes.sort();
    assert_eq!(codes, [Code::UNDECIDED_LINK_LOST, Code::UNDECIDED_LINK_LOST, Code::NOT_ATTACHED]);
}

#[test]
fn a_lost_sender_is_written_off_as_undecided() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 10);
    let written = rig.send(from, &portal, LEIPZIG, 3);
    rig.event(EngineEvent::LinkDown { link: from });
    assert_eq!((rig.engine.ledger().undecided, rig.engine.ledger().in_flight), (3, 0));
    assert!(rig.answer(to, &city, &written.parts[0].1, 0).receipts.is_empty());
}

#[test]
fn receipts_by_another_endpoint_of_the_same_link_are_set_aside() {
    let Cast { mut rig, portal, city, land } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city, &land]);
    rig.grant(to, 100);
    let written = rig.send(from, &portal, LEIPZIG, 1);
    let (_, part) = &written.parts[0];
    assert!(rig.answer(to, &land, part, 0).receipts.is_empty());
    assert_eq!(rig.engine.stats().receipt_frames_ignored, 1);
    assert_eq!(rig.answer(to, &city, part, 0).receipts.len(), 1, "the label is still open for its recipient");
}

#[test]
fn a_router_that_relays_busy_is_left_alone_until_retry_after() {
    use bytes::BytesMut;
    use kernpost_codecs::LaneKind;
    use kernpost_codecs::settlement::{Detail, Label, Settle};
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let r2 = "de/router/r2".parse().unwrap();
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.router_link(&r2);
    rig.attach(&city, &link_identity("provider"), Place::At { router: r2.clone(), via: r2.clone() });
    rig.grant(to, 100);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 1).entries_on(to), 1);
    let detail =
        Detail { endpoint: Some(city.clone()), router: Some(r2), retry_after_ms: Some(500), ..Detail::default() };
    let label = Label { class: Class::Interactive, sequence: 0, index: 0 };
    let mut busy = BytesMut::new();
    Settle::new(Code::BUSY, detail, vec![label]).encode(&mut busy);
    rig.frames(to, LaneKind::Settlement, busy.freeze());
    assert_eq!(rig.written().codes(from), [Code::BUSY]);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 1).codes(from), [Code::BUSY], "refused here, not sent there");
    rig.pass_ms(500);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 1).entries_on(to), 1);
}

#[test]
fn without_a_direct_link_one_relay_is_taken() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let (r2, r3): (kernpost_codecs::RouterId, kernpost_codecs::RouterId) =
        ("de/router/r2".parse().unwrap(), "de/router/r3".parse().unwrap());
    let from = rig.endpoints_link("portal", &[&portal]);
    let relay = rig.router_link(&r3);
    rig.attach(&city, &link_identity("provider"), Place::At { router: r2.clone(), via: r3 });
    rig.grant(relay, 100);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 1).entries_on(relay), 1);
    let direct = rig.router_link(&r2);
    rig.grant(direct, 100);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 1).entries_on(direct), 1, "the direct link is nearer");
}

#[test]
fn an_entry_that_came_too_far_is_refused() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let r2 = "de/router/r2".parse().unwrap();
    let from = rig.router_link(&r2);
    rig.endpoints_link("provider", &[&city]);
    let message = rig.message(&portal, LEIPZIG, |_| {});
    let hop = HopHeader { hops: 4, recipient: Some(city), ..HopHeader::default() };
    assert_eq!(rig.send_messages(from, &portal, &[message], &hop).codes(from), [Code::HOP_LIMIT]);
}

#[test]
fn egress_refuses_a_recipient_its_own_table_does_not_name() {
    let Cast { mut rig, portal, land, .. } = cast(|_| {});
    let r2 = "de/router/r2".parse().unwrap();
    let from = rig.router_link(&r2);
    rig.endpoints_link("provider", &[&land]);
    let message = rig.message(&portal, LEIPZIG, |_| {});
    let hop = HopHeader { hops: 1, recipient: Some(land), ..HopHeader::default() };
    assert_eq!(rig.send_messages(from, &portal, &[message], &hop).codes(from), [Code::STALE_ROUTE]);
}

#[test]
fn entries_for_another_worker_cross_and_a_full_channel_is_busy() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let link = rig.link_up(Peer::Endpoints(link_identity("provider")), WorkerId(1));
    rig.attach(&city, &link_identity("provider"), Place::Here { worker: WorkerId(1), link });
    let mut written = rig.send(from, &portal, LEIPZIG, 2);
    let (worker, crossing) = written.crossed.pop().unwrap();
    assert_eq!(worker, WorkerId(1));
    assert!(matches!(&crossing, Crossing::Entries(onward) if onward.moves.len() == 2 && onward.target == link));
    rig.engine.handle_cross_refused(crossing);
    assert_eq!(rig.written().codes(from), [Code::BUSY, Code::BUSY]);
}

#[test]
fn other_workers_hear_of_a_links_first_credit_and_of_its_end_in_this_order() {
    let Cast { mut rig, city, .. } = cast(|config| config.workers = 2);
    let to = rig.endpoints_link("provider", &[&city]);
    let granted = rig.grant(to, 100);
    let again = rig.grant(to, 100);
    rig.event(EngineEvent::LinkDown { link: to });
    let ended = rig.written();
    let crossed: Vec<_> = [granted, again, ended].into_iter().flat_map(|written| written.crossed).collect();
    let [(WorkerId(1), Crossing::Granted { link }), (WorkerId(1), Crossing::Ended { link: gone })] = crossed[..] else {
        panic!("{crossed:?}")
    };
    assert_eq!((link, gone), (to, to));
}

#[test]
fn a_queue_that_got_some_credit_is_watched_for_the_entry_that_is_now_in_front() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.send(from, &portal, LEIPZIG, 1);
    rig.pass_ms(60);
    rig.send(from, &portal, LEIPZIG, 1);
    assert_eq!(rig.grant(to, 1).entries_on(to), 1);
    assert!(rig.pass_ms(99).settled.is_empty());
    assert_eq!(rig.pass_ms(1).codes(from), [Code::BUSY]);
}

#[test]
fn a_budget_of_the_directory_is_charged_before_the_signature_is_checked() {
    let mut world = World::new(UnixMs(1_790_000_000_000));
    world.router("r1");
    let portal = world.endpoint("portal", "portal");
    let city = world.endpoint("city", "city");
    world.grant(&portal, "99", "*", None);
    world.entry(&portal).budgets.signatures_per_s = Some(2);
    world.route("city", "99", "14713", &[&city]);
    let mut rig = Rig::new(world, |_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("city", &[&city]);
    rig.grant(to, 100);
    for _ in 0..2 {
        assert_eq!(rig.send(from, &portal, LEIPZIG, 1).entries_on(to), 1);
    }
    assert_eq!(rig.send(from, &portal, LEIPZIG, 1).codes(from), [Code::OVER_BUDGET]);
    assert_eq!(rig.engine.stats().signature_checks, 2);
    rig.pass_ms(1_000);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 1).entries_on(to), 1);
}

#[test]
fn a_root_signed_twice_costs_two_signature_checks_or_none() {
    let mut world = World::new(UnixMs(1_790_000_000_000));
    world.router("r1");
    let portal = world.endpoint("portal", "portal");
    let city = world.endpoint("city", "city");
    world.sign_with(&portal, &Algorithm::HYBRID);
    world.sign_with(&city, &Algorithm::HYBRID);
    world.grant(&portal, "99", "*", None);
    world.route("city", "99", "14713", &[&city]);
    // The link may have five checks made a second: two roots, and not half of a third.
    let mut rig = Rig::new(world, |config| config.endpoint_budget.signatures_per_s = 5);
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("city", &[&city]);
    rig.grant(to, 100);
    for sequence in 0..2 {
        let written = rig.send(from, &portal, LEIPZIG, 3);
        assert_eq!(written.entries_on(to), 3);
        assert_eq!(written.parts[0].1.signatures().len(), 2);
        assert_eq!(rig.answer(to, &city, &written.parts[0].1, sequence).receipts[0].1.signatures.len(), 2);
    }
    assert_eq!(rig.engine.stats().signature_checks, 4);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 2).codes(from), [Code::OVER_BUDGET, Code::OVER_BUDGET]);
    assert_eq!(rig.engine.stats().signature_checks, 4);
    rig.pass_ms(1_000);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 1).entries_on(to), 1);
    assert_eq!(rig.engine.stats().signature_checks, 6);
}

#[test]
fn a_draining_router_refuses_new_entries_and_settles_old_ones() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 100);
    let written = rig.send(from, &portal, LEIPZIG, 1);
    rig.event(EngineEvent::Drain);
    assert_eq!(rig.send(from, &portal, LEIPZIG, 1).codes(from), [Code::DRAINING]);
    assert_eq!(rig.answer(to, &city, &written.parts[0].1, 0).receipts.len(), 1);
    assert_eq!(rig.engine.ledger().in_flight, 0);
}

#[test]
fn more_than_the_granted_credit_closes_the_link() {
    let Cast { mut rig, portal, city, .. } =
        cast(|config| config.credit = [ClassCredit { entries: 4, bytes: 8 << 20 }; 3]);
    let from = rig.endpoints_link("portal", &[&portal]);
    let other = rig.endpoints_link("portal", &[&portal]);
    rig.endpoints_link("provider", &[&city]);
    let written = rig.send(from, &portal, LEIPZIG, 5);
    assert_eq!(written.closed.len(), 1);
    assert!(written.closed[0].1.contains("credit-exceeded"), "{}", written.closed[0].1);
    assert_eq!(rig.send(other, &portal, DRESDEN, 1).codes(other), [Code::NOT_ATTACHED], "other links go on");
}

#[test]
fn nothing_is_watched_any_longer_once_everything_settled() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 100);
    let written = rig.send(from, &portal, LEIPZIG, 3);
    assert!(rig.engine.poll_deadline().is_some());
    rig.answer(to, &city, &written.parts[0].1, 0);
    assert_eq!(rig.engine.poll_deadline(), None);
}

#[test]
fn a_process_that_only_sends_is_not_preferred_as_a_recipient() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let sending = rig.endpoints_link("tool", &[&city]);
    let receiving = rig.endpoints_link("provider", &[&city]);
    rig.grant(receiving, 100);
    let written = rig.send(from, &portal, LEIPZIG, 50);
    assert_eq!((written.entries_on(receiving), written.entries_on(sending)), (50, 0));
}

/// Whatever arrives on the settlement lane of `link`.
fn settle(rig: &mut Rig, link: kernpost_router_core::LinkId, code: Code) -> kernpost_tests::rig::Written {
    use kernpost_codecs::settlement::{Detail, Label, Settle};
    let label = Label { class: Class::Interactive, sequence: 0, index: 0 };
    let mut bytes = bytes::BytesMut::new();
    Settle::new(code, Detail::default(), vec![label]).encode(&mut bytes);
    rig.frames(link, kernpost_codecs::LaneKind::Settlement, bytes.freeze());
    rig.written()
}

#[test]
fn noted_says_nothing_of_a_message_and_is_relayed_as_undecided() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 100);
    rig.send(from, &portal, LEIPZIG, 1);
    assert_eq!(settle(&mut rig, to, Code::NOTED).codes(from), [Code::UNDECIDED_UNCLEAR]);
    assert_eq!(rig.engine.ledger().undecided, 1);
}

#[test]
fn a_recipient_cannot_state_an_outcome_that_only_routers_may() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 100);
    let written = rig.send(from, &portal, LEIPZIG, 1);
    let (_, part) = &written.parts[0];
    assert!(rig.answer_with(to, &city, part, 0, Outcome::Custody).receipts.is_empty());
    assert_eq!((rig.engine.ledger().custody, rig.engine.stats().receipt_frames_ignored), (0, 1));
    assert_eq!(rig.answer(to, &city, part, 0).receipts.len(), 1);
}

#[test]
fn two_processes_of_one_endpoint_are_two_attachments_and_one_may_leave() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let r2: kernpost_codecs::RouterId = "de/router/r2".parse().unwrap();
    let to = rig.router_link(&r2);
    rig.grant(to, 100);
    let identity = link_identity("provider");
    let place = Place::At { router: r2.clone(), via: r2 };
    for journal in [[1; 16], [2; 16]] {
        rig.attach_with(&city, &identity, place.clone(), journal);
    }
    let gone = kernpost_router_core::PresenceEvent::Detached { endpoint: city, identity, place, journal: [2; 16] };
    rig.event(EngineEvent::Presence(gone));
    assert_eq!(rig.send(from, &portal, LEIPZIG, 1).entries_on(to), 1);
}

/// One SETTLE frame for the labels (sequence, index) of a link's interactive lane arrives.
fn settle_labels(rig: &mut Rig, link: LinkId, labels: impl Iterator<Item = (u64, u16)>) -> Written {
    let label = |(sequence, index)| Label { class: Class::Interactive, sequence, index };
    let mut bytes = BytesMut::new();
    Settle::new(Code::BUSY, Detail::default(), labels.map(label).collect()).encode(&mut bytes);
    rig.frames(link, LaneKind::Settlement, bytes.freeze());
    rig.written()
}

#[test]
fn a_label_settled_again_is_ignored_and_hundreds_in_one_frame_close_the_link() {
    let Cast { mut rig, portal, city, .. } = cast(|_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 1_000);
    let first = || (0..256).map(|index| (0, index));
    rig.send(from, &portal, LEIPZIG, 256);
    rig.send(from, &portal, LEIPZIG, 1);
    assert_eq!(settle_labels(&mut rig, to, first()).codes(from).len(), 256);
    let again = settle_labels(&mut rig, to, first().chain([(1, 0)]));
    assert_eq!(again.codes(from), [Code::BUSY], "what is open among them settles");
    assert!(again.closed.is_empty(), "{:?}", again.closed);
    assert_eq!(rig.engine.stats().late_settlements, 256);
    let once_more = settle_labels(&mut rig, to, first().chain([(1, 0)]));
    assert!(once_more.closed[0].1.contains("WIRE 8.1"), "{:?}", once_more.closed);
}
