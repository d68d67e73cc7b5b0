//! What an engine checks before it hands anything on, and how often: roots and their memory, budgets, expiry; and how much it grants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::{Bytes, BytesMut};
use kernpost_codecs::part::{BundleBuilder, HopHeader, Part};
use kernpost_codecs::{Class, Code, EndpointId, LaneKind, Message, RouterId};
use kernpost_router_core::config::ClassCredit;
use kernpost_router_core::event::Place;
use kernpost_router_core::{Crossing, EngineConfig, EngineEvent, Line, LinkId, LinkProfile};
use kernpost_tests::rig::{Rig, Written};
use kernpost_tests::world::{DRESDEN, LEIPZIG, Saxony, link_identity};

struct Cast {
    rig: Rig,
    portal: EndpointId,
    city: EndpointId,
    from: LinkId,
    to: LinkId,
}

fn cast(config: impl FnOnce(&mut EngineConfig)) -> Cast {
    let Saxony { world, portal, city, .. } = Saxony::new(&["r1"]);
    let mut rig = Rig::new(world, config);
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 1_000);
    Cast { rig, portal, city, from, to }
}

impl Cast {
    fn messages(&mut self, count: usize) -> Vec<Message> {
        let portal = self.portal.clone();
        (0..count).map(|_| self.rig.message(&portal, LEIPZIG, |_| {})).collect()
    }

    /// A part of two messages under one root.
    fn part(&mut self) -> Part {
        let mut builder = BundleBuilder::new();
        for message in self.messages(2) {
            builder.push(message.encode().into(), Bytes::from_static(b"application"), HopHeader::default()).unwrap();
        }
        builder.sign(&[&self.rig.world.key(&self.portal)]).unwrap()
    }

    /// One entry of a part arrives as a part of its own.
    fn arrives(&mut self, part: &Part, position: usize) -> Written {
        let mut bytes = BytesMut::new();
        part.encode_subset(&[position], |_| HopHeader::default(), &mut bytes).unwrap();
        self.bundle(bytes.freeze())
    }

    fn bundle(&mut self, bytes: Bytes) -> Written {
        self.rig.frames(self.from, LaneKind::Bundle(Class::default()), bytes);
        self.rig.written()
    }

    /// Signatures checked, roots found among those checked before.
    fn checks(&self) -> (u64, u64) {
        let stats = self.rig.engine.stats();
        (stats.signature_checks, stats.root_cache_hits)
    }
}

#[test]
fn the_second_part_under_a_root_finds_it_checked() {
    let mut cast = cast(|_| {});
    let part = cast.part();
    assert_eq!(cast.arrives(&part, 0).entries_on(cast.to), 1);
    assert_eq!(cast.checks(), (1, 0));
    assert_eq!(cast.arrives(&part, 1).entries_on(cast.to), 1);
    assert_eq!(cast.checks(), (1, 1));
}

#[test]
fn a_bad_root_is_checked_every_time_and_never_remembered() {
    let mut cast = cast(|_| {});
    let messages = cast.messages(1);
    let bytes = cast.rig.bundle(&cast.portal, &messages, &HopHeader::default());
    // Another id: the statement is sound, its root is not the one that was signed.
    let id = messages[0].id.0;
    let at = bytes.windows(id.len()).position(|window| window == id).unwrap();
    let mut forged = bytes.to_vec();
    forged[at + id.len() - 1] ^= 1;
    for checks in 1..=2 {
        let written = cast.bundle(forged.clone().into());
        assert_eq!(written.codes(cast.from), [Code::BAD_SIGNATURE]);
        assert_eq!(cast.checks(), (checks, 0));
        assert_eq!(cast.rig.engine.stats().signature_failures, checks);
    }
}

#[test]
fn a_revoked_key_is_refused_though_its_root_was_checked_before() {
    let mut cast = cast(|_| {});
    let part = cast.part();
    assert_eq!(cast.arrives(&part, 0).entries_on(cast.to), 1);
    let portal = cast.portal.clone();
    cast.rig.world.entry(&portal).keys[0].revoked = true;
    let table = cast.rig.world.table(2);
    cast.rig.event(EngineEvent::Table(table));
    let written = cast.arrives(&part, 1);
    assert_eq!((written.codes(cast.from), written.entries_on(cast.to)), (vec![Code::KEY_REVOKED], 0));
    assert_eq!(cast.checks(), (1, 0));
}

#[test]
fn no_more_roots_are_remembered_than_configured_and_the_oldest_go_first() {
    let mut cast = cast(|config| config.root_cache = 2);
    let parts = [cast.part(), cast.part(), cast.part()];
    for part in &parts {
        cast.arrives(part, 0);
    }
    assert_eq!(cast.checks(), (3, 0));
    cast.arrives(&parts[2], 1);
    cast.arrives(&parts[1], 1);
    assert_eq!(cast.checks(), (3, 2));
    cast.arrives(&parts[0], 1);
    assert_eq!(cast.checks(), (4, 2), "the first is forgotten");
}

#[test]
fn a_part_beyond_the_byte_budget_is_refused_before_any_signature_is_checked() {
    let mut cast = cast(|config| config.endpoint_budget.bytes_per_s = 1_000);
    let messages = cast.messages(1);
    let bytes = cast.rig.bundle(&cast.portal, &messages, &HopHeader::default());
    let fit = 1_000 / bytes.len();
    assert!(fit >= 1, "{} bytes", bytes.len());
    for _ in 0..fit {
        let messages = cast.messages(1);
        let bytes = cast.rig.bundle(&cast.portal, &messages, &HopHeader::default());
        assert_eq!(cast.bundle(bytes).entries_on(cast.to), 1);
    }
    let checks = cast.checks();
    let messages = cast.messages(1);
    let bytes = cast.rig.bundle(&cast.portal, &messages, &HopHeader::default());
    assert_eq!(cast.bundle(bytes).codes(cast.from), [Code::OVER_BUDGET]);
    assert_eq!(cast.checks(), checks);
    cast.rig.pass_ms(1_000);
    let messages = cast.messages(1);
    let bytes = cast.rig.bundle(&cast.portal, &messages, &HopHeader::default());
    assert_eq!(cast.bundle(bytes).entries_on(cast.to), 1);
}

#[test]
fn by_an_unsynchronised_clock_no_entry_is_refused_as_expired() {
    let mut cast = cast(|_| {});
    let portal = cast.portal.clone();
    let old = cast.rig.message(&portal, LEIPZIG, |message| message.lifetime_s = 1);
    cast.rig.pass_ms(5_000);
    let (from, hop) = (cast.from, HopHeader::default());
    let messages = std::slice::from_ref(&old);
    assert_eq!(cast.rig.send_messages(from, &portal, messages, &hop).codes(from), [Code::EXPIRED]);
    cast.rig.event(EngineEvent::Clock { synchronised: false });
    assert_eq!(cast.rig.send_messages(from, &portal, messages, &hop).entries_on(cast.to), 1);
    cast.rig.event(EngineEvent::Clock { synchronised: true });
    assert_eq!(cast.rig.send_messages(from, &portal, messages, &hop).codes(from), [Code::EXPIRED]);
}

#[test]
fn when_custody_takes_less_endpoint_sides_get_less_credit_and_never_less_than_a_quarter() {
    const WINDOW: u64 = 64;
    for (percent, expected) in [(0, WINDOW), (50, WINDOW / 2), (100, WINDOW / 4)] {
        let mut cast = cast(|config| {
            config.custody = true;
            config.credit = [ClassCredit { entries: WINDOW, bytes: 8 << 20 }; 3];
            (config.downstream_share, config.endpoint_share) = (1, 1);
        });
        cast.rig.engine.handle_crossing(cast.rig.now(), Crossing::Pressure { percent });
        cast.rig.written();
        // What was granted before stays granted: enough has to come and settle for the smaller window to show.
        let (mut limit, mut received) = (WINDOW, 0);
        for round in 0..4 * WINDOW {
            let (portal, city) = (cast.portal.clone(), cast.city.clone());
            let sent = cast.rig.send(cast.from, &portal, LEIPZIG, 1);
            received += 1;
            let (to, part) = sent.parts[0].clone();
            let answered = cast.rig.answer(to, &city, &part, round);
            for written in [&sent, &answered] {
                let granted =
                    written.credit.iter().filter(|(link, class, ..)| *link == cast.from && *class == Class::default());
                limit = granted.map(|(_, _, entries, _)| *entries).fold(limit, u64::max);
            }
        }
        let open = limit - received;
        // Credit is told in steps, when a part of the window has come back.
        assert!(open <= expected && open > expected / 2, "{percent} %: {open} of {expected}");
    }
}

#[test]
fn a_part_is_split_small_for_a_router_on_a_slow_line_and_stays_whole_for_the_others() {
    let Saxony { world, portal, city, land } = Saxony::new(&["r1", "r2", "r3"]);
    let [slow, fast]: [RouterId; 2] = ["de/router/r2", "de/router/r3"].map(|name| name.parse().unwrap());
    let largest = Line::usual(LinkProfile::Mbit1).largest_bundle_bytes();
    let mut rig = Rig::new(world, |config| {
        config.largest_bundle_of.insert(slow.clone(), largest);
        config.endpoint_share = 1;
    });
    let from = rig.endpoints_link("portal", &[&portal]);
    let links = [(&slow, &city), (&fast, &land)].map(|(router, endpoint)| {
        let link = rig.router_link(router);
        let place = Place::At { router: router.clone(), via: router.clone() };
        rig.attach(endpoint, &link_identity("provider"), place);
        rig.grant(link, 1_000);
        link
    });
    let frames = |written: &Written, link| written.parts.iter().filter(|(on, _)| *on == link).count();
    let to_slow = rig.send(from, &portal, LEIPZIG, 64);
    let to_fast = rig.send(from, &portal, DRESDEN, 64);
    assert_eq!((to_slow.entries_on(links[0]), to_fast.entries_on(links[1])), (64, 64));
    assert_eq!(frames(&to_fast, links[1]), 1);
    // Each has at least a statement of 100 bytes and its payload.
    let least = 64 * 100 / largest;
    assert!(frames(&to_slow, links[0]) > least, "{} frames", frames(&to_slow, links[0]));
    let bytes =
        |part: &Part| part.entries().iter().map(|entry| entry.statement.len() + entry.payload.len()).sum::<usize>();
    assert!(to_slow.parts.iter().all(|(_, part)| bytes(part) <= largest));
    assert!(to_slow.parts.iter().all(|(_, part)| part.root() == to_slow.parts[0].1.root()));
}
