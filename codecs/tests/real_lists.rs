//! Do the rules for keys hold on the real lists that are shipped? (WIRE 1.4, 1.5)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashSet;
use std::path::Path;

use kernpost_codecs::{Ags, Ars, JurisdictionLevel, ServiceKey, ServiceLevel, ServicePrefix};

/// The first `N` columns of every row; they hold digits only, so commas in names do not matter.
fn rows<const N: usize>(file: &str) -> Vec<[String; N]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/data").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let columns = |line: &str| {
        let mut columns = line.split(',').map(str::to_owned);
        std::array::from_fn(|_| columns.next().unwrap_or_default())
    };
    text.lines().skip(1).map(columns).collect()
}

#[test]
fn every_municipality_parses_and_its_ags_follows_from_its_ars() {
    let rows = rows::<2>("municipalities-2025-08-31.csv");
    assert_eq!(rows.len(), 10_952);
    let mut places = HashSet::new();
    for [ars, ags] in &rows {
        let place: Ars = ars.parse().unwrap_or_else(|error| panic!("{ars}: {error}"));
        let ags: Ags = ags.parse().unwrap_or_else(|error| panic!("{ags}: {error}"));
        assert_eq!(place.to_ags(), ags, "{ars}");
        assert_eq!(place.to_string(), *ars);
        places.insert(place);
    }
    let distinct = |level| places.iter().map(|place| place.prefix(level)).collect::<HashSet<_>>().len();
    assert_eq!(JurisdictionLevel::MOST_SPECIFIC_FIRST.map(distinct), [10_952, 4_590, 402, 39, 16, 1],);
}

#[test]
fn every_service_key_parses_and_has_no_group_after_a_zero_group() {
    let rows = rows::<1>("services.csv");
    assert_eq!(rows.len(), 4_813);
    for [text] in &rows {
        let key: ServiceKey = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(key.to_string(), *text);
        assert_eq!(text.parse::<ServicePrefix>(), Ok(key.natural_prefix()));
        assert!(key.natural_prefix().level() > ServiceLevel::Any);
        for level in ServiceLevel::MOST_SPECIFIC_FIRST {
            assert!(key.prefix(level).covers(key));
        }
    }
}
