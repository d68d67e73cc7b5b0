//! A wrong directory is refused with everything that is wrong with it, each error naming zone, entry and remedy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/fixture.rs"]
mod fixture;

use std::sync::Arc;

use fixture::*;
use kernpost_codecs::UnixMs;
use kernpost_codecs::key::Algorithm;
use kernpost_routing_table::model::{Acceptance, Maintainers, RouteEntry};
use kernpost_routing_table::{SerialFloor, check_zone, snapshot};

/// "de" with an endpoint and a catch-all, and "sn" for everything in Land 14 with an endpoint and a route.
fn good() -> World {
    let mut world = World::new();
    let sn = world.delegate("sn", &[("99", "14")]);
    world.zones[0].endpoints.push(endpoint("de/bund"));
    world.zones[0].routes.push(route("all", "99", "*", &["de/bund"]));
    world.zones[0].routers.push(router("de/router/r1", "dns:r1.example"));
    world.zones[sn].endpoints.push(endpoint("sn/leipzig"));
    world.zones[sn].routes.push(route("leipzig", "99050", "14713", &["sn/leipzig"]));
    world
}

fn also_lead_to(route: &mut RouteEntry, endpoint: &str) {
    route.endpoints = route.endpoints.iter().cloned().chain([endpoint.parse().unwrap()]).collect();
}

/// The world after one change is refused, and the errors contain each of `expected`.
#[track_caller]
fn refused(change: impl FnOnce(&mut World), expected: &[&str]) {
    let mut world = good();
    assert!(world.verify().is_ok(), "{}", world.refused());
    change(&mut world);
    let errors = world.refused();
    for text in expected {
        assert!(errors.contains(text), "missing {text:?} in:\n{errors}");
    }
}

#[test]
fn two_routes_for_the_same_prefixes_at_overlapping_times() {
    let again = |from, until| {
        let mut twin = route("twin", "99050", "14713", &["de/bund"]);
        (twin.valid_from, twin.valid_until) = (UnixMs(from), until);
        twin
    };
    let overlap = "has the same prefixes (99050 × 14713) as route";
    refused(|world| world.zones[0].routes.push(again(0, None)), &["zone sn, route leipzig: ", overlap]);
    refused(
        |world| world.zones[0].routes.push(again(5, Some(UnixMs(9)))),
        &["zone de, route twin", overlap, "zone sn"],
    );
    let mut world = good();
    world.zones[1].routes[0].valid_until = Some(UnixMs(5));
    world.zones[0].routes.push(again(5, None));
    assert!(world.verify().is_ok(), "one begins when the other ends");
}

#[test]
fn an_overlap_hidden_behind_a_short_rule_is_found() {
    let rule = |name: &str, from, until| {
        let mut rule = route(name, "99051", "*", &["de/bund"]);
        (rule.valid_from, rule.valid_until) = (UnixMs(from), Some(UnixMs(until)));
        rule
    };
    refused(
        |world| world.zones[0].routes.extend([rule("long", 1, 100), rule("short", 100, 110), rule("late", 50, 60)]),
        &["route late", "as route long"],
    );
}

#[test]
fn an_unknown_endpoint() {
    refused(
        |world| also_lead_to(&mut world.zones[1].routes[0], "sn/dresden"),
        &["zone sn, route leipzig: endpoint sn/dresden is not in the directory; add it"],
    );
}

#[test]
fn a_route_outside_its_zones_delegation() {
    for (service, place) in [("99050", "15"), ("99050", "*"), ("99", "*")] {
        refused(
            |world| world.zones[1].routes.push(route("far", service, place, &["sn/leipzig"])),
            &["zone sn, route far: its prefixes", "are not within what is delegated to zone sn"],
        );
    }
}

#[test]
fn a_route_to_another_zones_endpoint_without_acceptance() {
    let foreign = |world: &mut World| world.zones[1].routes.push(route("to-bund", "99060", "14", &["de/bund"]));
    refused(foreign, &["zone sn, route to-bund: endpoint de/bund belongs to zone de, which has not accepted it"]);
    let accept = |service: &str| Acceptance {
        zone: "sn".parse().unwrap(),
        scope: scope(service, "14"),
        endpoint: "de/bund".parse().unwrap(),
    };
    let mut world = good();
    foreign(&mut world);
    world.zones[0].acceptances.push(accept("99"));
    assert!(world.verify().is_ok(), "{}", world.refused());
    world.zones[0].acceptances[0] = accept("99061");
    assert!(world.refused().contains("not accepted"));
    world.zones[0].acceptances.clear();
    world.zones[1].acceptances.push(accept("99"));
    let errors = world.refused();
    assert!(errors.contains("only its own zone can accept") && errors.contains("not accepted"), "{errors}");
}

#[test]
fn wrong_signatures_and_too_few_maintainers() {
    let world = good();
    let keys = &world.keys[&world.zones[1].zone];
    let mut signed = world.sign();
    signed[1] = snapshot::sign(&world.zones[1], &[&keys[0]]).unwrap();
    let errors = world.verify_signed(&signed).unwrap_err().to_string();
    assert!(errors.contains("zone sn: signed by 1 of 2 maintainers, 2 are needed; have further"), "{errors}");
    signed[1] = snapshot::cosign(&signed[1], &[&keys[1]]).unwrap();
    assert!(world.verify_signed(&signed).is_ok(), "the second maintainer cosigned");
    signed[1] = snapshot::cosign(&snapshot::sign(&world.zones[1], &[&keys[0]]).unwrap(), &[&keys[0]]).unwrap();
    assert!(world.verify_signed(&signed).is_err(), "one maintainer twice is one");
    let strangers = maintainer_keys();
    signed[1] = snapshot::sign(&world.zones[1], &[&strangers[0], &strangers[1]]).unwrap();
    assert!(world.verify_signed(&signed).unwrap_err().to_string().contains("signed by 0 of 2"));
}

#[test]
fn a_tampered_snapshot_names_the_wrong_signatures() {
    let world = good();
    let mut signed = world.sign();
    let mut bytes = signed[1].to_vec();
    let place = bytes.windows(7).position(|window| window == b"leipzig").unwrap();
    bytes[place] = b'm';
    signed[1] = bytes.into();
    let errors = world.verify_signed(&signed).unwrap_err().to_string();
    assert!(errors.contains("zone sn: signed by 0 of 2") && errors.contains("wrong signatures by"), "{errors}");
}

#[test]
fn an_older_serial_and_an_equal_serial_with_another_digest() {
    let mut world = good();
    world.zones[1].serial = 5;
    let directory = world.verify().unwrap();
    world.floor.raise(&directory);
    assert_eq!(world.verify_signed(directory.signed()).unwrap().version(), directory.version());
    world.zones[0].serial = 2; // signing again gives another digest, so it needs another serial
    world.zones[1].serial = 4;
    assert!(world.refused().contains("zone sn: serial 4 is older than 5"));
    world.zones[1].serial = 5;
    world.zones[1].not_after = days(300);
    assert!(world.refused().contains("two documents with one serial"));
    world.zones[1].serial = 6;
    assert!(world.verify().is_ok(), "{}", world.refused());
    let only_root = [world.sign_zone(&world.zones[0])];
    let errors = world.verify_signed(&only_root).unwrap_err().to_string();
    assert!(errors.contains("its snapshot is missing"), "leaving a zone out is a rollback: {errors}");
    world.floor = SerialFloor::new();
    assert!(world.verify_signed(&only_root).is_ok(), "a delegated zone need not have spoken yet");
}

#[test]
fn the_trust_anchors_minimum_serial_holds() {
    let mut world = good();
    world.anchor.minimum_serial = 2;
    assert!(world.refused().contains("zone de: serial 1 is below 2"));
}

#[test]
fn a_new_root_needs_the_old_and_the_new_maintainers() {
    let mut world = good();
    let new = maintainer_keys();
    world.zones[0].root = Some(public(&new));
    assert!(world.refused().contains("signed by 0 of the 2 new root maintainers"));
    let old = &world.keys[&world.zones[0].zone];
    let mut signed = world.sign();
    signed[0] = snapshot::sign(&world.zones[0], &[&old[0], &old[1], &new[0], &new[1]]).unwrap();
    assert!(world.verify_signed(&signed).is_ok());
    signed[0] = snapshot::sign(&world.zones[0], &[&new[0], &new[1]]).unwrap();
    assert!(world.verify_signed(&signed).unwrap_err().to_string().contains("signed by 0 of 2 maintainers"));
    world.anchor.maintainers = public(&new);
    assert!(world.verify_signed(&signed).is_ok(), "with the new anchor the new maintainers suffice");
}

#[test]
fn dates_and_zones_that_do_not_fit() {
    refused(|world| world.zones[1].not_before = days(1), &["zone sn: is not in force before 2026-01-02T00:00:00Z"]);
    refused(|world| world.zones[1].not_after = NOW, &["zone sn: not after"]);
    refused(|world| drop(world.zones[0].delegations.pop()), &["zone sn: no zone that is reached from the root"]);
    refused(|world| world.zones[0].delegations[0].scopes.clear(), &["delegation to sn: delegates nothing"]);
    refused(|world| world.zones[0].delegations[0].maintainers.threshold = 3, &["threshold 3 with 2 keys"]);
    let root = |world: &mut World| world.zones[1].root = Some(public(&maintainer_keys()));
    refused(root, &["only the root zone names new root maintainers"]);
    refused(
        |world| {
            let again = world.zones[0].delegations[0].clone();
            world.zones[0].delegations.push(again);
        },
        &["delegation to sn: is delegated to by de already"],
    );
    let world = good();
    let mut signed = world.sign();
    signed.remove(0);
    assert!(
        world.verify_signed(&signed).unwrap_err().to_string().contains("no snapshot of the root zone; add de.zone")
    );
    signed = world.sign();
    signed.push(signed[1].clone());
    assert!(world.verify_signed(&signed).unwrap_err().to_string().contains("zone sn: two snapshots"));
}

#[test]
fn a_zone_delegates_only_what_it_has_and_never_upward() {
    let below = |world: &mut World, zone: &str, service: &str, place: &str| {
        let keys = maintainer_keys();
        world.zones[1].delegations.push(kernpost_routing_table::model::Delegation {
            zone: zone.parse().unwrap(),
            scopes: vec![scope(service, place)],
            maintainers: public(&keys),
        });
    };
    refused(|world| below(world, "le.sn", "99", "15"), &["zone sn, delegation to le.sn: scope 99 × 15 is not within"]);
    refused(|world| below(world, "de", "99", "14"), &["delegates to the root zone"]);
    let mut world = good();
    below(&mut world, "le.sn", "99", "14713");
    assert!(world.verify().is_ok(), "{}", world.refused());
}

#[test]
fn ids_keys_and_identities() {
    refused(
        |world| world.zones[1].endpoints.push(endpoint("de/bund2")),
        &["endpoint de/bund2: is not in the namespace"],
    );
    refused(
        |world| world.zones[1].routers.push(router("de/router/r2", "dns:x.example")),
        &["router de/router/r2: is not"],
    );
    refused(|world| world.zones[1].endpoints.push(endpoint("sn/leipzig")), &["endpoint sn/leipzig: is listed twice"]);
    refused(|world| world.zones[1].endpoints[0].keys.clear(), &["endpoint sn/leipzig: has no signing key"]);
    refused(
        |world| {
            let key = world.zones[0].endpoints[0].keys[0].clone();
            world.zones[1].endpoints[0].keys.push(key);
        },
        &["endpoint sn/leipzig: key", "is also listed by endpoint de/bund"],
    );
    refused(
        |world| {
            let maintainer = world.anchor.maintainers.keys[0].clone();
            world.zones[1].endpoints[0].keys[0].key = maintainer;
        },
        &["is also listed by the maintainers of zone de"],
    );
    refused(|world| world.zones[1].endpoints[0].keys[0].sign_until = NOW, &["have to ascend"]);
    refused(|world| world.zones[1].endpoints[0].keys[0].verify_until = days(101), &["at least 30 days and 60 s"]);
    refused(
        |world| world.zones[1].endpoints[0].required_algorithms = vec![Algorithm::Ed25519],
        &["requires Ed25519 but lists no key for it"],
    );
    refused(
        |world| world.zones[1].endpoints[0].identities.push("dns:r1.example".parse().unwrap()),
        &["link identity dns:r1.example, which is also de/router/r1's"],
    );
    refused(
        |world| world.zones[0].routers[0].addresses.push("nowhere".into()),
        &["address \"nowhere\" is not host:port"],
    );
}

#[test]
fn routes_that_are_wrong_in_themselves() {
    refused(|world| world.zones[1].routes[0].rule = "a b".into(), &["visible ASCII"]);
    refused(|world| world.zones[0].routes.push(route("all", "99051", "*", &["de/bund"])), &["has this name"]);
    refused(|world| world.zones[1].routes[0].endpoints = Arc::default(), &["names no endpoint"]);
    refused(
        |world| {
            world.zones[1].routes[0].valid_from = UnixMs(9);
            world.zones[1].routes[0].valid_until = Some(UnixMs(9));
        },
        &["ends before it begins"],
    );
    let twice = |world: &mut World| also_lead_to(&mut world.zones[1].routes[0], "sn/leipzig");
    refused(twice, &["names endpoint sn/leipzig twice"]);
}

#[test]
fn successions_that_cannot_be() {
    let add = |old: &'static str, new: &'static str| {
        move |world: &mut World| world.zones[1].successors.push(successor(old, new, NOW))
    };
    refused(
        add("145230010010", "150010000000"),
        &["zone sn, successor of 145230010010", "150010000000 needs a delegation"],
    );
    refused(add("145230010010", "145230010010"), &["does not end within 64 steps"]);
    refused(
        |world| {
            add("145230010010", "145230020020")(world);
            world.zones[0].successors.push(successor("145230010010", "145230030030", NOW));
        },
        &["another successor of 145230010010"],
    );
    refused(
        |world| world.zones[0].successors.push(successor("000000000000", "145230030030", NOW)),
        &["the federal level has no successor"],
    );
}

#[test]
fn all_errors_come_at_once_and_a_zone_can_be_checked_alone() {
    let mut world = good();
    also_lead_to(&mut world.zones[1].routes[0], "sn/dresden");
    world.zones[1].endpoints[0].keys.clear();
    world.zones[0].routes.push(route("far", "99050", "14713", &["de/nobody"]));
    world.zones[0].delegations[0].maintainers = Maintainers { keys: Vec::new(), threshold: 2 };
    let errors = world.verify().unwrap_err();
    assert!(errors.count() >= 6, "{errors}");
    let alone = check_zone(&world.zones[1]).unwrap_err().to_string();
    assert!(alone.contains("sn/dresden") && alone.contains("no signing key"), "{alone}");
    assert!(check_zone(&good().zones[1]).is_ok());
}
