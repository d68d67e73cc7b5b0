#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use kernpost_codecs::Ars;

use super::*;

fn plan() -> (Lists, Plan) {
    let lists = Lists::shipped().unwrap();
    let plan = draw(&lists).unwrap();
    (lists, plan)
}

#[test]
fn the_plan_has_the_promised_breadth() {
    let (_, plan) = plan();
    let ids: BTreeSet<_> = plan.endpoints().map(|endpoint| &endpoint.id).collect();
    assert_eq!(ids.len(), plan.endpoints().count(), "ids are unique");
    assert!(ids.len() >= 150, "{} endpoints", ids.len());
    assert_eq!(plan.zones.len(), 17);
    let kreise = ids.iter().filter(|id| id.as_str().contains("/kreis-")).count();
    assert!(kreise >= 10, "{kreise} Kreise");
    let portals = plan.sites().into_keys().filter(|site| site.role == Role::Portal).count();
    assert!(portals >= 3);
}

#[test]
fn a_provider_runs_many_endpoints_on_one_link() {
    let (_, plan) = plan();
    let sites = plan.sites();
    let largest = sites.values().map(Vec::len).max().unwrap();
    assert!(largest >= 30, "{largest}");
    assert!(plan.attached_to(0).len() < plan.attached_to(1).len());
}

#[test]
fn no_two_routes_of_the_plan_have_the_same_prefixes() {
    let (_, plan) = plan();
    let mut seen = BTreeSet::new();
    for route in plan.zones.iter().flat_map(|zone| &zone.routes) {
        let prefixes = (route.service.to_string(), route.jurisdiction.to_string());
        assert!(seen.insert(prefixes), "{} is a tie", route.rule);
    }
}

#[test]
fn every_land_has_a_catch_all_and_so_has_the_federal_level() {
    let (lists, plan) = plan();
    let catch_alls: Vec<_> =
        plan.zones.iter().flat_map(|zone| &zone.routes).filter(|route| route.rule == "auffang").collect();
    let mut asked: Vec<Ars> = lists.municipalities.iter().map(|m| m.digits.parse().unwrap()).collect();
    asked.push(Ars::FEDERAL);
    for ars in asked {
        assert!(catch_alls.iter().any(|route| route.jurisdiction.covers(ars)), "{ars} resolves");
    }
}

#[test]
fn some_kreise_register_businesses_and_some_do_not() {
    let (_, plan) = plan();
    let routes: Vec<_> = plan.zones.iter().flat_map(|zone| &zone.routes).collect();
    let with = routes.iter().filter(|r| r.rule.starts_with("kreis-") && r.rule.ends_with("-gewerbe")).count();
    let all: BTreeSet<_> = routes.iter().filter(|r| r.rule.starts_with("kreis-")).map(|r| &r.endpoint).collect();
    assert!(with >= 5 && all.len() >= with + 5, "{with} of {}", all.len());
}
