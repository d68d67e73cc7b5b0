//! One turn of an engine: a part of 64 entries from one sender to four recipients, one signature check included.
//!
//! Decode, admit, verify, digests, authorise, route, split, write; and what happens when the receipts come back.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kernpost_codecs::part::HopHeader;
use kernpost_codecs::{Class, EndpointId, LaneKind, Message, Outcome, UnixMs};
use kernpost_router_core::LinkId;
use kernpost_tests::rig::Rig;
use kernpost_tests::world::World;

const ENTRIES: usize = 64;
const RECIPIENTS: usize = 4;

struct Bench {
    rig: Rig,
    from: LinkId,
    /// Recipients with their links.
    to: Vec<(EndpointId, LinkId)>,
    portal: EndpointId,
}

fn bench() -> Bench {
    let mut world = World::new(UnixMs(1_790_000_000_000));
    world.router("r1");
    let portal = world.endpoint("portal", "portal");
    let names: Vec<String> = (0..RECIPIENTS).map(|nth| format!("city-{nth}")).collect();
    let cities: Vec<EndpointId> = names.iter().map(|name| world.endpoint(name, name)).collect();
    world.grant(&portal, "99", "*", None);
    for (nth, (name, city)) in names.iter().zip(&cities).enumerate() {
        world.route(name, "99", &format!("0{}", nth + 1), &[city]);
    }
    let mut rig = Rig::new(world, |_| {});
    let from = rig.endpoints_link("portal", &[&portal]);
    let to = names.iter().zip(cities).map(|(name, city)| (rig.endpoints_link(name, &[&city]), city));
    let to: Vec<(EndpointId, LinkId)> = to.map(|(link, city)| (city, link)).collect();
    for (_, link) in &to {
        rig.grant(*link, 1 << 40);
    }
    Bench { rig, from, to, portal }
}

/// The time of so many turns there (`forward`) or back.
fn time(bench: &mut Bench, rounds: u64, forward: bool, sequence: &mut u64) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        // Budgets refill with time.
        bench.rig.now_ms += 1;
        let messages: Vec<Message> = (0..ENTRIES)
            .map(|at| {
                let place = format!("0{}0000000000", 1 + at * RECIPIENTS / ENTRIES);
                bench.rig.message(&bench.portal, ("99050012104000", &place), |_| {})
            })
            .collect();
        let bundle = bench.rig.bundle(&bench.portal, &messages, &HopHeader::default());
        let mut outputs = Vec::new();
        let began = Instant::now();
        bench.rig.frames(bench.from, LaneKind::Bundle(Class::Interactive), bundle);
        bench.rig.poll(&mut outputs);
        if forward {
            spent += began.elapsed();
        }
        let written = bench.rig.decoded(outputs);
        let mut answers = Vec::new();
        for (link, part) in &written.parts {
            let (city, _) = bench.to.iter().find(|(_, held)| held == link).unwrap();
            answers.push((*link, bench.rig.receipts(city, part, *sequence, Outcome::Delivered)));
        }
        *sequence += 1;
        let mut outputs = Vec::new();
        let began = Instant::now();
        for (link, receipts) in answers {
            bench.rig.frames(link, LaneKind::Settlement, receipts);
        }
        bench.rig.poll(&mut outputs);
        if !forward {
            spent += began.elapsed();
        }
        assert_eq!(bench.rig.decoded(outputs).receipts.len(), RECIPIENTS);
    }
    spent
}

fn engine_turn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine turn");
    group.throughput(Throughput::Elements(ENTRIES as u64)).sample_size(20);
    for (name, forward) in [("64 entries to 4 recipients, one signature check", true), ("their receipts back", false)] {
        let (mut bench, mut sequence) = (bench(), 0);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| time(&mut bench, rounds, forward, &mut sequence));
        });
    }
    group.finish();
}

criterion_group!(benches, engine_turn);
criterion_main!(benches);
