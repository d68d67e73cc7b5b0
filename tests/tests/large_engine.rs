//! Large payloads in one engine, in virtual time: what is announced, wanted, refused, ended, and when (WIRE 9).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use kernpost_codecs::payload::WINDOW;
use kernpost_codecs::{Class, CloseCode, Code, EndpointId, Label, PayloadHead};
use kernpost_router_core::event::Place;
use kernpost_router_core::large::{Downstream, PayloadStep, PayloadWay};
use kernpost_router_core::{Crossing, EngineConfig, EngineEvent, LinkId, Peer, WorkerId};
use kernpost_tests::rig::{Rig, Written};
use kernpost_tests::world::{DRESDEN, LEIPZIG, Saxony, link_identity};

const GIB: u64 = 1 << 30;

/// A portal, and a provider that attaches `city` and `land` on one link and takes everything.
struct Cast {
    rig: Rig,
    portal: EndpointId,
    city: EndpointId,
    from: LinkId,
    to: LinkId,
}

fn cast(config: impl FnOnce(&mut EngineConfig)) -> Cast {
    let Saxony { world, portal, city, land } = Saxony::new(&["r1"]);
    let mut rig = Rig::new(world, config);
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city, &land]);
    rig.grant(to, 100);
    rig.accepts(to, GIB);
    Cast { rig, portal, city, from, to }
}

fn label(sequence: u64) -> Label {
    Label { class: Class::Interactive, sequence, index: 0 }
}

impl Cast {
    /// Announces a payload; panics unless it went on.
    fn announce(&mut self, length: u64) -> Written {
        let written = self.rig.send_detached(self.from, &self.portal, LEIPZIG, length);
        assert_eq!(written.entries_on(self.to), 1, "{written:?}");
        written
    }

    fn open(&mut self, sequence: u64, offset: u64) -> Result<PayloadWay, CloseCode> {
        let head = PayloadHead { label: label(sequence), offset };
        self.rig.engine.open_payload(self.from, head).map_err(|fault| fault.code)
    }

    fn take(&mut self, bytes: u64) -> Result<PayloadStep, CloseCode> {
        let now = self.rig.now();
        self.rig.engine.take_payload(now, self.from, label(0), bytes).map_err(|fault| fault.code)
    }
}

#[test]
fn a_payload_that_is_wanted_flows_to_where_it_was_announced() {
    let mut cast = cast(|_| {});
    let written = cast.announce(10 * WINDOW);
    let entry = &written.parts[0].1.entries()[0];
    assert!(entry.hop.detached && entry.hop.recipient.as_ref() == Some(&cast.city));
    let wanted = cast.rig.want(cast.to, label(0), 1_000);
    assert_eq!(wanted.wants, [(cast.from, label(0), 1_000)]);
    let onward = Downstream { worker: WorkerId(0), link: cast.to, label: label(0) };
    assert_eq!(cast.open(0, 1_000), Ok(PayloadWay::Onward(onward)));
    assert_eq!(cast.take(WINDOW), Ok(PayloadStep::More));
    assert!(cast.rig.engine.on_payload_sent(cast.to, label(0), WINDOW));
    assert_eq!(cast.rig.engine.stats().payloads_in_progress, 1);
    // Half of it was taken in: so much more may come.
    assert_eq!(cast.rig.want(cast.to, label(0), 1_000 + WINDOW / 2).wants.len(), 1);
    assert_eq!(cast.take(WINDOW / 2), Ok(PayloadStep::More));
    assert_eq!(cast.take(1), Err(CloseCode::CreditExceeded));
}

#[test]
fn the_last_byte_ends_the_stream_and_the_receipt_settles_the_label() {
    let mut cast = cast(|_| {});
    let part = cast.announce(100_000).parts.remove(0).1;
    cast.rig.want(cast.to, label(0), 0);
    cast.open(0, 0).unwrap();
    assert_eq!(cast.take(99_999), Ok(PayloadStep::More));
    assert_eq!(cast.take(1), Ok(PayloadStep::Last));
    let city = cast.city.clone();
    let back = cast.rig.answer(cast.to, &city, &part, 0);
    assert_eq!(back.receipts.len(), 1);
    let stats = cast.rig.engine.stats();
    assert_eq!((stats.payloads_finished, stats.payloads_aborted, stats.payloads_in_progress), (1, 0, 0));
    assert_eq!(cast.rig.engine.ledger().delivered, 1);
}

#[test]
fn a_stream_that_nobody_wanted_closes_the_link_and_one_too_late_is_stopped() {
    let mut cast = cast(|_| {});
    assert_eq!(cast.open(0, 0), Err(CloseCode::UnexpectedFrame), "never announced");
    cast.announce(100_000);
    assert_eq!(cast.open(0, 0), Err(CloseCode::UnexpectedFrame), "never wanted");
    cast.rig.want(cast.to, label(0), 50_000);
    assert_eq!(cast.open(0, 0), Err(CloseCode::UnexpectedFrame), "wanted from elsewhere");
    assert!(cast.open(0, 50_000).is_ok());
    assert_eq!(cast.open(0, 50_000), Err(CloseCode::UnexpectedFrame), "twice");
    cast.rig.settle(cast.to, label(0), Code::DIGEST_MISMATCH);
    assert_eq!(cast.open(0, 50_000), Ok(PayloadWay::Settled));
}

#[test]
fn a_settlement_ends_the_streams_on_both_links() {
    let mut cast = cast(|_| {});
    cast.announce(100_000);
    cast.rig.want(cast.to, label(0), 0);
    cast.open(0, 0).unwrap();
    cast.take(10).unwrap();
    let written = cast.rig.settle(cast.to, label(0), Code::DIGEST_MISMATCH);
    assert_eq!(written.codes(cast.from), [Code::DIGEST_MISMATCH]);
    assert_eq!(written.ended, [(cast.to, label(0), false), (cast.from, label(0), true)]);
    assert_eq!(cast.take(10), Ok(PayloadStep::Settled));
    assert!(!cast.rig.engine.on_payload_sent(cast.to, label(0), 10));
    assert_eq!(cast.rig.engine.stats().payloads_aborted, 1);
}

#[test]
fn without_progress_the_label_settles_undecided_and_progress_moves_the_deadline() {
    let mut cast = cast(|_| {});
    cast.announce(10 * WINDOW);
    assert!(cast.rig.pass_ms(29_000).settled.is_empty());
    cast.rig.want(cast.to, label(0), 0);
    cast.open(0, 0).unwrap();
    cast.take(WINDOW).unwrap();
    cast.rig.engine.on_payload_sent(cast.to, label(0), WINDOW);
    assert!(cast.rig.pass_ms(29_000).settled.is_empty(), "wanted is progress");
    cast.rig.want(cast.to, label(0), 7);
    assert!(cast.rig.pass_ms(29_999).settled.is_empty(), "bytes taken in are progress");
    let late = cast.rig.pass_ms(1);
    assert_eq!(late.codes(cast.from), [Code::UNDECIDED_DEADLINE]);
    assert_eq!(late.ended.len(), 2);
    // What the recipient says now is too late, and no fault.
    let ignored = cast.rig.want(cast.to, label(0), 8);
    assert!(ignored.closed.is_empty() && ignored.wants.is_empty());
    assert_eq!(cast.rig.engine.stats().wants_ignored, 1);
}

#[test]
fn wants_that_say_nothing_new_are_counted_and_impossible_ones_close_the_link() {
    let mut ok = cast(|_| {});
    ok.announce(100_000);
    ok.rig.want(ok.to, label(0), 10);
    for stale in [10, 9] {
        assert!(ok.rig.want(ok.to, label(0), stale).closed.is_empty());
    }
    assert_eq!(ok.rig.engine.stats().wants_ignored, 2);
    let closes = |what: &str, prepare: &dyn Fn(&mut Cast), sequence, offset, name: &str| {
        let mut cast = cast(|_| {});
        prepare(&mut cast);
        let written = cast.rig.want(cast.to, label(sequence), offset);
        let [(link, fault)] = &written.closed[..] else { panic!("{what}: {written:?}") };
        assert!(*link == cast.to && fault.contains(name), "{what}: {fault}");
    };
    let announced = |cast: &mut Cast| drop(cast.announce(100_000));
    closes("a label never used", &|_| {}, 0, 0, "label-unknown");
    closes(
        "an inline entry",
        &|cast| drop(cast.rig.send(cast.from, &cast.portal.clone(), LEIPZIG, 1)),
        0,
        0,
        "unexpected",
    );
    closes("beyond the payload", &announced, 0, 100_000, "unexpected");
    let unsent = |cast: &mut Cast| {
        announced(cast);
        cast.rig.want(cast.to, label(0), 0);
    };
    closes("bytes that were never sent", &unsent, 0, 1, "unexpected");
}

#[test]
fn shares_of_the_large_payloads_hold_back_no_small_message() {
    let mut cast = cast(|config| config.large_payloads_per_link = 16);
    // An eighth of 16 for one of two endpoints on the link.
    cast.announce(100_000);
    cast.announce(100_000);
    let third = cast.rig.send_detached(cast.from, &cast.portal, LEIPZIG, 100_000);
    assert_eq!(third.codes(cast.from), [Code::PAYLOAD_NOT_WANTED]);
    let other = cast.rig.send_detached(cast.from, &cast.portal, DRESDEN, 100_000);
    assert_eq!(other.entries_on(cast.to), 1);
    // A quarter of 16 for one upstream link.
    cast.rig.send_detached(cast.from, &cast.portal, DRESDEN, 100_000);
    let portal = cast.portal.clone();
    assert_eq!(cast.rig.send(cast.from, &portal, LEIPZIG, 3).entries_on(cast.to), 3);
    // What settles makes room.
    cast.rig.settle(cast.to, label(0), Code::DIGEST_MISMATCH);
    cast.announce(100_000);
}

#[test]
fn what_a_peer_does_not_take_is_oversized() {
    let mut cast = cast(|_| {});
    let too_large = cast.rig.send_detached(cast.from, &cast.portal, LEIPZIG, GIB + 1);
    assert_eq!(too_large.codes(cast.from), [Code::OVERSIZED]);
    cast.announce(GIB);
    let small = cast.rig.send_detached(cast.from, &cast.portal, LEIPZIG, 65_536);
    assert_eq!(small.codes(cast.from), [Code::BAD_STATEMENT]);
}

#[test]
fn a_lost_downstream_link_ends_the_stream_that_comes_in() {
    let mut cast = cast(|_| {});
    cast.announce(100_000);
    cast.rig.want(cast.to, label(0), 0);
    cast.open(0, 0).unwrap();
    cast.rig.event(EngineEvent::LinkDown { link: cast.to });
    let written = cast.rig.written();
    assert_eq!(written.codes(cast.from), [Code::UNDECIDED_LINK_LOST]);
    assert_eq!(written.ended, [(cast.from, label(0), true)]);
    assert_eq!(cast.rig.engine.stats().payloads_in_progress, 0);
}

#[test]
fn a_lost_upstream_link_leaves_nothing_in_progress() {
    let mut cast = cast(|_| {});
    cast.announce(100_000);
    cast.rig.want(cast.to, label(0), 0);
    cast.open(0, 0).unwrap();
    cast.rig.event(EngineEvent::LinkDown { link: cast.from });
    cast.rig.written();
    let stats = cast.rig.engine.stats();
    assert_eq!((stats.payloads_in_progress, stats.payloads_aborted), (0, 1));
    assert!(cast.rig.want(cast.to, label(0), 0).closed.is_empty());
}

#[test]
fn want_and_bytes_cross_to_the_worker_of_the_other_link() {
    let Cast { mut rig, portal, city, from, .. } = cast(|config| config.workers = 2);
    let there = rig.link_up(Peer::Endpoints(link_identity("provider")), WorkerId(1));
    rig.attach_with(&city, &link_identity("provider"), Place::Here { worker: WorkerId(1), link: there }, [9; 16]);
    rig.engine.handle_crossing(rig.now(), Crossing::Granted { link: there });
    // Which of the two attachments is preferred depends on the message: one of some goes across.
    let crossed = (0..32).find_map(|_| {
        let written = rig.send_detached(from, &portal, LEIPZIG, 100_000);
        written.crossed.into_iter().find_map(|(worker, crossing)| match crossing {
            Crossing::Entries(onward) => Some((worker, onward)),
            _ => None,
        })
    });
    let (worker, onward) = crossed.expect("one of 32 messages prefers the other journal");
    assert_eq!(worker, WorkerId(1));
    let upstream = Label { class: onward.class, sequence: onward.sequence, index: 0 };
    // The other worker's engine would say this once its recipient wants the payload.
    let onward = Downstream { worker, link: there, label: label(7) };
    let crossing = Crossing::Want { link: from, label: upstream, offset: 5, length: 100_000, onward };
    rig.engine.handle_crossing(rig.now(), crossing);
    assert_eq!(rig.written().wants, [(from, upstream, 5)]);
    let opened = rig.engine.open_payload(from, PayloadHead { label: upstream, offset: 5 }).unwrap();
    assert_eq!(opened, PayloadWay::Onward(onward));
}
