#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use super::*;
use crate::observed::tests::busy;

fn families_in(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_family_listed_is_exported_and_every_family_exported_is_listed() {
    let text = Metrics::new(busy()).unwrap().text().unwrap();
    let listed: BTreeSet<String> = exported().iter().map(|f| f.name.to_owned()).collect();
    assert_eq!(families_in(&text), listed);
}

#[test]
fn names_follow_the_conventions() {
    for family in exported() {
        let name = family.name;
        assert!(name.starts_with("kernpost_"), "{name}");
        let total = name.ends_with("_total");
        assert_eq!(total, family.kind == Kind::Counter, "{name}: _total if and only if counter");
        for unit in ["_ms", "_us", "_milliseconds", "_kib", "_mib"] {
            assert!(!name.contains(unit), "{name}: base units only");
        }
        assert!(family.help.ends_with('.'), "{name}: the help is a sentence");
    }
}

#[test]
fn samples_carry_the_counts_of_all_workers() {
    let text = Metrics::new(busy()).unwrap().text().unwrap();
    for line in [
        "kernpost_ledger_entries_total{outcome=\"accepted\"} 30",
        "kernpost_ledger_balanced 1",
        "kernpost_entries_received_total{worker=\"1\"} 20",
        "kernpost_refusals_total{code=\"busy\",fault=\"local\"} 3",
        "kernpost_refusals_total{code=\"no-route\",fault=\"policy\"} 0",
        "kernpost_links{role=\"router\"} 1",
        "kernpost_links_closed_total{by=\"here\",code=\"credit-exceeded\"} 0",
        "kernpost_link_credit_entries{peer=\"router kern/router/r2\",link=\"7\",class=\"bulk\"} 3",
        "kernpost_quic_rtt_seconds{peer=\"router kern/router/r2\",link=\"7\"} 0.0015",
        "kernpost_zone_serial{zone=\"kern\"} 1",
        "kernpost_not_ready{gate=\"directory\"} 1",
        "kernpost_clock_synchronised 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn peers_with_quotes_and_newlines_cannot_break_the_page() {
    let observed = busy();
    let mut worker = crate::observed::WorkerSnapshot::clone(&observed.workers[0].load());
    worker.links[0].peer = "evil\"} 1\nkernpost_ready 1".into();
    observed.workers[0].store(Arc::new(worker));
    let text = Metrics::new(observed).unwrap().text().unwrap();
    assert!(text.contains("peer=\"evil\\\"} 1\\nkernpost_ready 1\""), "{text}");
}
