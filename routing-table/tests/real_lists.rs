//! On the real municipalities and services: every pair resolves, the longest prefix wins, and ended ARS find their
//! successors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/fixture.rs"]
mod fixture;

use std::collections::{BTreeMap, BTreeSet};

use fixture::*;
use kernpost_codecs::{Ags, Ars, JurisdictionLevel, ServiceKey};
use kernpost_routing_table::generate::Random;
use kernpost_routing_table::model::{RouteEntry, Successor};
use kernpost_routing_table::{Explanation, Published, Table};

const SEED: u64 = 20_250_831;

struct Municipality {
    ars: Ars,
    ags: Ags,
    population: u64,
}

fn rows(file: &str) -> Vec<csv::StringRecord> {
    let path = format!("{}/../ops/data/{file}", env!("CARGO_MANIFEST_DIR"));
    let mut reader = csv::Reader::from_path(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    reader.records().map(Result::unwrap).collect()
}

fn municipalities(file: &str) -> Vec<Municipality> {
    let parse = |row: &csv::StringRecord| Municipality {
        ars: row[0].parse().unwrap(),
        ags: row[1].parse().unwrap(),
        population: row[4].parse().unwrap_or(0),
    };
    rows(file).iter().map(parse).collect()
}

fn services() -> Vec<ServiceKey> {
    rows("services.csv").iter().map(|row| row[0].parse().unwrap()).collect()
}

/// The federal catch-all, one catch-all per Land, Gewerbe in every second Kreis and in the 100 largest municipalities,
/// one activity of it in Leipzig, and every municipality that kept its AGS under a new ARS as succession.
fn germany(now: &[Municipality], before: &[Municipality]) -> World {
    let mut world = World::new();
    let zone = &mut world.zones[0];
    for name in ["de/bund", "de/land", "de/kreis", "de/stadt", "de/leipzig"] {
        zone.endpoints.push(endpoint(name));
    }
    let prefixes = |level| now.iter().map(move |m| m.ars.prefix(level)).collect::<BTreeSet<_>>();
    zone.routes.push(route("federal", "99", "000000000000", &["de/bund"]));
    for land in prefixes(JurisdictionLevel::Land) {
        zone.routes.push(route(&format!("land-{land}"), "99", &land.to_string(), &["de/land"]));
    }
    for kreis in prefixes(JurisdictionLevel::Kreis).into_iter().step_by(2) {
        zone.routes.push(route(&format!("gewerbe-{kreis}"), "99050", &kreis.to_string(), &["de/kreis"]));
    }
    let mut largest: Vec<&Municipality> = now.iter().collect();
    largest.sort_by_key(|municipality| std::cmp::Reverse(municipality.population));
    for city in largest.iter().take(100) {
        zone.routes.push(route(&format!("stadt-{}", city.ars), "99050", &city.ars.to_string(), &["de/stadt"]));
    }
    zone.routes.push(route("leipzig-anmeldung", "99050012104", "14713", &["de/leipzig"]));
    let (current, past): (BTreeSet<Ars>, BTreeSet<Ars>) =
        (now.iter().map(|m| m.ars).collect(), before.iter().map(|m| m.ars).collect());
    let by_ags: BTreeMap<Ags, Ars> = now.iter().map(|m| (m.ags, m.ars)).collect();
    for gone in past.difference(&current) {
        if let Some(new) = by_ags.get(&gone.to_ags()) {
            zone.successors.push(Successor { old: *gone, new: *new, from: days(10) });
        }
    }
    world
}

fn scan(world: &World, service: ServiceKey, ars: Ars) -> Option<&RouteEntry> {
    let rules = world.zones[0].routes.iter().filter(|rule| rule.scope.covers(service, ars));
    rules.max_by_key(|rule| (rule.scope.service.level(), rule.scope.jurisdiction.level()))
}

#[test]
fn every_service_in_every_municipality_resolves_as_a_scan_says() {
    let (now, before) =
        (municipalities("municipalities-2025-08-31.csv"), municipalities("municipalities-2018-09-30.csv"));
    let services = services();
    let world = germany(&now, &before);
    let table = world.table(days(11));
    println!("seed {SEED}");
    let mut random = Random::new(SEED);
    for municipality in &now {
        let key = *random.pick(&services).unwrap();
        for key in [key, service("99050012104000"), service("99050012000000")] {
            let expected = scan(&world, key, municipality.ars).unwrap();
            assert_eq!(
                table.lookup(key, municipality.ars).unwrap().rule(),
                expected.rule,
                "{key} {}",
                municipality.ars
            );
        }
    }
    for key in &services {
        assert_eq!(table.lookup(*key, Ars::FEDERAL).unwrap().rule(), "federal");
        assert!(now.iter().step_by(97).all(|m| table.lookup(*key, m.ars).is_some()), "{key}");
    }
}

#[test]
fn an_ars_that_ended_goes_to_its_successor_from_the_date_on() {
    let (now, before) =
        (municipalities("municipalities-2025-08-31.csv"), municipalities("municipalities-2018-09-30.csv"));
    let world = germany(&now, &before);
    let successors = world.zones[0].successors.clone();
    assert_eq!(successors.len(), 536, "municipalities that kept their AGS and changed their ARS");
    let directory = world.verify().unwrap();
    let (early, late) =
        (Table::compile(&directory, days(9), 1).unwrap(), Table::compile(&directory, days(10), 2).unwrap());
    assert_eq!((early.valid_until(), late.valid_until()), (Some(days(10)), None));
    let key = service("99050012104000");
    for Successor { old, new, .. } in successors {
        assert_eq!(early.lookup(key, old).map(|r| r.rule()), scan(&world, key, old).map(|r| r.rule.as_str()));
        assert_eq!(late.lookup(key, old).map(|r| r.rule()), late.lookup(key, new).map(|r| r.rule()), "{old} → {new}");
        let explanation = late.explain(key, old);
        assert_eq!((explanation.jurisdiction, explanation.successor), (old.to_string(), Some(new.to_string())));
    }
}

#[test]
fn explain_names_the_rule_and_the_rejected_candidates() {
    let now = municipalities("municipalities-2025-08-31.csv");
    let world = germany(&now, &now);
    let table = world.table(NOW);
    let summary = |service_key: &str, place: &str| {
        let Explanation { decision, candidates, .. } = table.explain(service(service_key), ars(place));
        let lost = candidates.iter().map(|c| format!("{}: {}", c.rule, c.rejected_because));
        (decision.map(|d| d.rule), lost.collect::<Vec<_>>())
    };
    let leipzig = summary("99050012104000", "147130000000");
    assert_eq!(leipzig.0.as_deref(), Some("leipzig-anmeldung"));
    assert!(leipzig.1.contains(&"stadt-147130000000: less specific service".to_owned()), "{leipzig:?}");
    assert_eq!(leipzig.1.last().map(String::as_str), Some("land-14: less specific service"));
    let json = serde_json::to_value(table.explain(service("99123000000000"), ars("147130000000"))).unwrap();
    let expected = serde_json::json!({
        "service": "99123000000000", "jurisdiction": "147130000000", "generation": 1,
        "decision": {
            "rule": "land-14", "zone": "de", "service_prefix": "99", "jurisdiction_prefix": "14",
            "endpoints": ["de/land"],
        },
        "candidates": [],
    });
    assert_eq!(json, expected);
    let federal = summary("99050012104000", "000000000000");
    assert_eq!((federal.0.as_deref(), federal.1.len()), (Some("federal"), 0));
    let nobody = table.explain(service("99050012104000"), ars("169990000000"));
    assert_eq!(nobody.decision.map(|d| d.rule).as_deref(), Some("land-16"));
    let text = table.explain(service("99050012104000"), ars("147130000000")).to_string();
    assert!(text.contains("→ rule leipzig-anmeldung of zone de (99050012104 × 14713)"), "{text}");
    let empty = serde_json::to_value(Table::empty(4).explain(service("99050012104000"), ars("147130000000"))).unwrap();
    assert_eq!((&empty["decision"], &empty["generation"]), (&serde_json::Value::Null, &serde_json::json!(4)));
}

#[test]
fn a_reader_sees_a_new_table_of_the_real_lists() {
    let now = municipalities("municipalities-2025-08-31.csv");
    let mut world = germany(&now, &now);
    let published = Published::new(world.table(NOW));
    let mut reader = published.reader();
    let (key, place) = (service("99050012104000"), ars("147130000000"));
    let rule = |reader: &mut kernpost_routing_table::TableReader| {
        reader.current().lookup(key, place).unwrap().rule().to_owned()
    };
    assert_eq!(rule(&mut reader), "leipzig-anmeldung");
    world.zones[0].routes.retain(|rule| rule.rule != "leipzig-anmeldung");
    published.publish(Table::compile(&world.verify().unwrap(), NOW, 2).unwrap()).unwrap();
    assert!(rule(&mut reader).starts_with("stadt-"));
}
