//! A directory verified after another one, and a table compiled after another one, are what they would be alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/fixture.rs"]
mod fixture;

use bytes::Bytes;
use fixture::*;
use kernpost_codecs::{Ars, ServiceKey, UnixMs};
use kernpost_routing_table::generate::Random;
use kernpost_routing_table::model::{Acceptance, TrustAnchor};
use kernpost_routing_table::{Directory, DirectoryErrors, SerialFloor, Table};
use proptest::prelude::*;

const SERVICES: [&str; 7] = ["99", "99001", "99001001", "99001001001", "99001001001001", "99001002", "99002"];
const PLACES: [&str; 9] =
    ["*", "01", "011", "01101", "011010001", "011010001001", "011010001002", "01102", "000000000000"];
const KEYS: [&str; 5] = ["99001001001001", "99001001001002", "99001002000000", "99002000000000", "99003000000000"];
const ARS: [&str; 6] = ["011010001001", "011010001002", "011010002001", "011020000000", "021010000000", "000000000000"];

/// The root and three zones that may speak about everything, each with two endpoints.
fn world() -> World {
    let mut world = World::new();
    for zone in ["a", "b", "c"] {
        world.delegate(zone, &[("99", "*")]);
    }
    for zone in &mut world.zones {
        for name in ["x", "y"] {
            zone.endpoints.push(endpoint(&format!("{}/{name}", zone.zone)));
        }
    }
    world
}

/// Changes one zone at random; the directory may become wrong.
fn change(world: &mut World, random: &mut Random) {
    let count = world.zones.len();
    let zone = &mut world.zones[usize::try_from(random.below(count as u64)).unwrap()];
    let id = zone.zone.to_string();
    for number in 0..=random.below(4) {
        match random.below(12) {
            0..=5 => {
                let rule = format!("r{}-{number}", random.bits());
                let (service, place) = (random.pick(&SERVICES).unwrap(), random.pick(&PLACES).unwrap());
                let name = *random.pick(&["x", "y", "x", "y", "new", "de"]).unwrap();
                let named = if name == "de" { "de/x".to_owned() } else { format!("{id}/{name}") };
                let mut rule = route(&rule, service, place, &[&named]);
                rule.valid_from = UnixMs(NOW.0 + random.below(6));
                rule.valid_until = (random.below(2) == 0).then_some(UnixMs(rule.valid_from.0 + 1 + random.below(4)));
                zone.routes.push(rule);
            }
            6 | 7 if !zone.routes.is_empty() => {
                let place = usize::try_from(random.below(zone.routes.len() as u64)).unwrap();
                zone.routes.remove(place);
            }
            8 => zone.endpoints.push(endpoint(&format!("{id}/{}", *random.pick(&["new", "a0"]).unwrap()))),
            9 if zone.endpoints.len() > 2 => drop(zone.endpoints.pop()),
            10 => {
                let (old, new) = (random.pick(&ARS).unwrap(), random.pick(&ARS).unwrap());
                zone.successors.push(successor(old, new, UnixMs(NOW.0 + random.below(6))));
            }
            11 if id == "de" => {
                let zone_id = (*random.pick(&["a", "b"]).unwrap()).parse().unwrap();
                let endpoint = "de/x".parse().unwrap();
                zone.acceptances.push(Acceptance { zone: zone_id, scope: scope("99", "*"), endpoint });
            }
            _ => {}
        }
    }
    if random.below(10) > 0 {
        zone.serial += 1;
    }
}

fn named(signed: &[Bytes]) -> Vec<(String, Bytes)> {
    signed.iter().enumerate().map(|(place, bytes)| (format!("snapshot {place}"), bytes.clone())).collect()
}

fn both_ways(
    before: &Directory,
    anchor: &TrustAnchor,
    signed: &[Bytes],
    floor: &SerialFloor,
    now: UnixMs,
) -> Result<Directory, DirectoryErrors> {
    let alone = Directory::verify_named(anchor, named(signed), floor, now);
    let after = before.verify_after(anchor, named(signed), floor, now);
    match (&alone, &after) {
        (Ok(alone), Ok(after)) => {
            assert_eq!(alone.version(), after.version());
            assert_eq!((alone.versions(), alone.signed()), (after.versions(), after.signed()));
            assert!(alone.zones().eq(after.zones()));
        }
        (Err(alone), Err(after)) => assert_eq!(alone, after),
        (Ok(_), Err(errors)) => panic!("refused only after another: {errors}"),
        (Err(errors), Ok(_)) => panic!("accepted after another: {errors}"),
    }
    after
}

fn asked() -> Vec<(ServiceKey, Ars)> {
    KEYS.iter().flat_map(|key| ARS.iter().map(|place| (service(key), ars(place)))).collect()
}

/// Everything a table says, but for its generation.
fn says(table: &Table) -> String {
    let mut said = format!("{:?} {:?} {:?}\n", table.version(), table.valid_until(), table.compiled_for());
    let mut many = Vec::new();
    table.lookup_many(&asked(), &mut many);
    for ((service, place), found) in asked().into_iter().zip(many) {
        let single = table.lookup(service, place);
        assert_eq!(single.map(|route| route.rule()), found.map(|route| route.rule()));
        let names = single.map(|route| {
            let id = |index| table.endpoint_entry(index).unwrap().id.to_string();
            let endpoints: Vec<String> = route.endpoints.iter().map(|index| id(*index)).collect();
            (route.entry().clone(), route.zone().clone(), endpoints)
        });
        said += &format!("{service} {place} {names:?} {:?}\n", table.explain(service, place));
    }
    let endpoints: Vec<_> = table.endpoints().iter().map(|entry| (&entry.id, entry.may_reply)).collect();
    said + &format!("{} routes, {endpoints:?}", table.routes().len())
}

fn check(seed: u64, steps: usize) {
    let mut random = Random::new(seed);
    let mut world = world();
    let mut good = world.zones.clone();
    let mut signed = world.sign();
    let (mut directory, mut now) = (world.verify_signed(&signed).unwrap(), NOW);
    let mut table = Table::compile(&directory, now, 1).unwrap();
    for generation in 2..steps as u64 + 2 {
        for _ in 0..=random.below(3) / 2 {
            change(&mut world, &mut random);
        }
        // A zone that has not changed keeps its very bytes.
        let mut next = signed.clone();
        for ((zone, before), bytes) in world.zones.iter().zip(&good).zip(&mut next) {
            if zone != before {
                *bytes = world.sign_zone(zone);
            }
        }
        now = UnixMs(now.0 + random.below(3));
        match both_ways(&directory, &world.anchor, &next, &world.floor, now) {
            Ok(verified) => {
                let at = if random.below(8) == 0 { NOW } else { now };
                let alone = Table::compile(&verified, at, generation).unwrap();
                let after = table.compile_after(&verified, at, generation).unwrap();
                assert!(
                    says(&alone) == says(&after),
                    "seed {seed}, step {generation}:\n{}\n{}",
                    says(&alone),
                    says(&after)
                );
                world.floor.raise(&verified);
                (directory, table, signed, good) = (verified, after, next, world.zones.clone());
            }
            Err(_) => world.zones = good.clone(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whatever_changes_the_result_is_that_of_starting_anew(seed: u64) {
        check(seed, 25);
    }
}

#[test]
fn a_changed_delegation_or_a_lost_acceptance_is_seen() {
    let mut world = world();
    let acceptance =
        Acceptance { zone: "a".parse().unwrap(), scope: scope("99", "*"), endpoint: "de/x".parse().unwrap() };
    world.zones[0].acceptances.push(acceptance);
    world.zones[1].routes.push(route("r", "99001", "01", &["de/x"]));
    let signed = world.sign();
    let directory = world.verify_signed(&signed).unwrap();
    let refused = |root: &dyn Fn(&mut World)| {
        let mut changed = World { zones: world.zones.clone(), keys: Default::default(), ..World::new() };
        root(&mut changed);
        changed.zones[0].serial += 1;
        let mut next = signed.clone();
        next[0] = world.sign_zone(&changed.zones[0]);
        both_ways(&directory, &world.anchor, &next, &world.floor, NOW).map(drop).unwrap_err().to_string()
    };
    assert!(refused(&|world| world.zones[0].acceptances.clear()).contains("has not accepted it"));
    let narrower = |world: &mut World| world.zones[0].delegations[0].scopes = vec![scope("99002", "*")];
    assert!(refused(&narrower).contains("not within what is delegated to zone a"));
    assert!(refused(&|world| drop(world.zones[0].endpoints.remove(0))).contains("de/x is not in the directory"));
}
