#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
//! The forwarding path allocates by part and by frame, never by message.
//!
//! A part of 16 entries and one of 240 are carried through the same engine. What grows with the entries are a few vectors,
//! each allocated once at its length; were anything allocated for each entry, the larger part would need hundreds more.

use allocation_counter::measure;
use kernpost_codecs::part::HopHeader;
use kernpost_codecs::{Class, LaneKind, Outcome, UnixMs};
use kernpost_router_core::LinkId;
use kernpost_tests::rig::Rig;
use kernpost_tests::world::World;

const LEIPZIG: (&str, &str) = ("99050012104000", "147130000000");

/// More allocations than this between the two parts are one for some of the 224 further entries. Growing vectors and maps
/// account for the rest: each doubles a few times.
const MOST: u64 = 40;

struct Bench {
    rig: Rig,
    from: LinkId,
    to: LinkId,
}

fn bench() -> (Bench, kernpost_codecs::EndpointId, kernpost_codecs::EndpointId) {
    let mut world = World::new(UnixMs(1_790_000_000_000));
    world.router("r1");
    let portal = world.endpoint("portal", "portal");
    let city = world.endpoint("city", "provider");
    world.grant(&portal, "99", "*", None);
    world.route("city", "99", "14713", &[&city]);
    let mut rig = Rig::new(world, |_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = rig.endpoints_link("provider", &[&city]);
    rig.grant(to, 4_096);
    (Bench { rig, from, to }, portal, city)
}

#[test]
fn allocations_of_the_engine_do_not_grow_with_the_entries_of_a_part() {
    let (Bench { mut rig, from, to }, portal, city) = bench();
    let mut counts = Vec::new();
    let mut outputs = Vec::with_capacity(1_024);
    // The first rounds let maps and queues reach their size.
    for (sequence, entries) in [240, 240, 16, 240].into_iter().enumerate() {
        let messages: Vec<_> = (0..entries).map(|_| rig.message(&portal, LEIPZIG, |_| {})).collect();
        let bundle = rig.bundle(&portal, &messages, &HopHeader::default());
        let forward = measure(|| {
            rig.frames(from, LaneKind::Bundle(Class::Interactive), bundle);
            rig.poll(&mut outputs);
        });
        let written = rig.decoded(std::mem::replace(&mut outputs, Vec::with_capacity(1_024)));
        assert_eq!(written.entries_on(to), entries);
        let receipts = rig.receipts(&city, &written.parts[0].1, sequence as u64, Outcome::Delivered);
        let back = measure(|| {
            rig.frames(to, LaneKind::Settlement, receipts);
            rig.poll(&mut outputs);
        });
        let written = rig.decoded(std::mem::replace(&mut outputs, Vec::with_capacity(1_024)));
        assert_eq!(written.receipts[0].1.entries.len(), entries);
        counts.push((forward.count_total, back.count_total));
    }
    println!("allocations (forwarding, receipts) by round: {counts:?}");
    let (small, large) = (counts[2], counts[3]);
    assert!(large.0 <= small.0 + MOST, "forwarding 16 entries: {} allocations, 240: {}", small.0, large.0);
    // A receipt's problem text is a string of its own; without one, receipts allocate by frame too.
    assert!(large.1 <= small.1 + MOST, "receipts for 16 entries: {} allocations, 240: {}", small.1, large.1);
}
