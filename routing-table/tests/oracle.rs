//! Lookup and explain answer like a plain scan over all rules, whatever the rules, validities and successions are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/fixture.rs"]
mod fixture;

use std::collections::HashSet;

use fixture::*;
use kernpost_codecs::{Ars, ServiceKey, UnixMs};
use kernpost_routing_table::model::RouteEntry;
use kernpost_routing_table::{Rejection, Table};
use proptest::prelude::*;

/// Few digits, so that prefixes nest and collide.
const SERVICE: &str = "99(00[1-2](00[1-2](00[1-2](00[1-2])?)?)?)?";
const PLACE: &str = "|000000000000|0[1-2]([0-1](0[0-1](000[0-1](00[0-1])?)?)?)?";
const SERVICE_KEY: &str = "99(000000000000|00[1-2](000000000|00[1-3](000000|00[1-2](000|00[1-2]))))";
const ARS: &str = "000000000000|0[1-3][0-1]0[0-1]000[0-1]00[0-2]";

/// (service prefix, jurisdiction prefix, begin, length of validity or none)
type Rule = (String, String, u64, Option<u64>);

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec((SERVICE, PLACE, 0u64..6, prop::option::of(1u64..6)), 0..60)
}

/// Rules of one zone without ties: a rule that would overlap an earlier one with its prefixes is left out.
fn world(rules: &[Rule], successions: &[(String, String, u64)]) -> World {
    let mut world = World::new();
    world.zones[0].endpoints.push(endpoint("de/a"));
    for (number, (service, place, begin, length)) in rules.iter().enumerate() {
        let mut rule = route(&format!("r{number}"), service, place, &["de/a"]);
        rule.valid_from = UnixMs(NOW.0 + begin);
        rule.valid_until = length.map(|length| UnixMs(NOW.0 + begin + length));
        let end = |rule: &RouteEntry| rule.valid_until.unwrap_or(UnixMs(u64::MAX));
        let overlaps = |other: &RouteEntry| {
            other.scope == rule.scope && other.valid_from < end(&rule) && rule.valid_from < end(other)
        };
        if !world.zones[0].routes.iter().any(overlaps) {
            world.zones[0].routes.push(rule);
        }
    }
    let mut seen = HashSet::new();
    for (old, new, from) in successions {
        // Towards larger numbers only, so that no circle arises.
        if old < new && *old != "000000000000" && seen.insert(old.clone()) {
            world.zones[0].successors.push(successor(old, new, UnixMs(NOW.0 + from)));
        }
    }
    world
}

fn current(world: &World, mut ars: Ars, at: UnixMs) -> Ars {
    while let Some(next) = world.zones[0].successors.iter().find(|s| s.old == ars && s.from <= at) {
        ars = next.new;
    }
    ars
}

/// How specific a rule is: number of service digits, then of jurisdiction digits.
fn specificity(rule: &RouteEntry) -> (usize, usize) {
    (rule.scope.service.level().digits(), rule.scope.jurisdiction.level().digits())
}

fn check(world: &World, table: &Table, service: ServiceKey, asked: Ars, at: UnixMs) -> Result<(), TestCaseError> {
    let ars = current(world, asked, at);
    let covering: Vec<&RouteEntry> = world.zones[0]
        .routes
        .iter()
        .filter(|rule| {
            let (prefix, place) = (rule.scope.service.to_string(), rule.scope.jurisdiction.to_string());
            service.to_string().starts_with(&prefix) && (place == "*" || ars.to_string().starts_with(&place))
        })
        .collect();
    let expected = covering.iter().filter(|rule| rule.in_force(at)).max_by_key(|rule| specificity(rule));
    let found = table.lookup(service, asked);
    let mut many = Vec::new();
    table.lookup_many(&[(service, asked)], &mut many);
    prop_assert_eq!(many[0].map(|route| route.rule()), found.map(|route| route.rule()));
    prop_assert_eq!(found.map(|route| route.rule()), expected.map(|rule| rule.rule.as_str()));

    let explanation = table.explain(service, asked);
    prop_assert_eq!(explanation.decision.as_ref().map(|d| d.rule.as_str()), expected.map(|rule| rule.rule.as_str()));
    prop_assert_eq!(explanation.candidates.len() + usize::from(expected.is_some()), covering.len());
    for candidate in &explanation.candidates {
        let rule = covering.iter().find(|rule| rule.rule == candidate.rule).unwrap();
        let reason = if rule.valid_from > at {
            Rejection::NotYetValid
        } else if !rule.in_force(at) {
            Rejection::NoLongerValid
        } else if specificity(rule).0 < specificity(expected.unwrap()).0 {
            Rejection::LessSpecificService
        } else {
            prop_assert!(specificity(rule).1 < specificity(expected.unwrap()).1);
            Rejection::ShorterJurisdictionPrefix
        };
        prop_assert_eq!(candidate.rejected_because, reason);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn lookup_and_explain_answer_like_a_scan(
        rules in rules(),
        successions in prop::collection::vec((ARS, ARS, 0u64..6), 0..4),
        asked in prop::collection::vec((SERVICE_KEY, ARS), 1..60),
        at in 0u64..8,
    ) {
        let world = world(&rules, &successions);
        let at = UnixMs(NOW.0 + at);
        let table = world.table(at);
        for (key, place) in &asked {
            check(&world, &table, service(key), ars(place), at)?;
        }
        for successor in &world.zones[0].successors {
            check(&world, &table, service("99001001001001"), successor.old, at)?;
        }
    }

    #[test]
    fn a_table_answers_the_same_until_its_end_and_not_longer_than_that(rules in rules(), at in 0u64..8) {
        let world = world(&rules, &[]);
        let at = UnixMs(NOW.0 + at);
        let directory = world.verify().unwrap();
        let table = Table::compile(&directory, at, 1).unwrap();
        let in_force = |at| world.zones[0].routes.iter().map(|rule| rule.in_force(at)).collect::<Vec<_>>();
        match table.valid_until() {
            Some(end) => {
                prop_assert_eq!(in_force(at), in_force(UnixMs(end.0 - 1)));
                prop_assert_ne!(in_force(at), in_force(end));
            }
            None => prop_assert_eq!(in_force(at), in_force(UnixMs(u64::MAX - 1))),
        }
    }
}
