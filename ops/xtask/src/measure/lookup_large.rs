//! Does a lookup among one and six million rules stay within 50 and 80 ns, also while a table is published every 100 ms?
//!
//! Judged is a lookup within a part of 256 entries, as a router asks (`Table::lookup_many`), of known route keys; single
//! lookups are told beside it. Shape and seeds are printed by the benches.

use anyhow::{Result, ensure};

use super::lookup::benched;
use super::{Limit, Measure, Reading, Spread};

pub(super) const MEASURE: Measure = Measure {
    name: "lookup-large",
    what: "one lookup of a part of 256 in tables of 1 and 6 million generated routes, known keys, median; also while a \
           table with a changed zone is published every 100 ms",
    run,
};

/// Which benches are judged, and the longest a lookup may take, in ns.
const LIMITS: [(&str, f64); 2] = [("1M known keys, a part", 50.0), ("6M known keys, a part", 80.0)];
/// How much longer it may take while tables are published.
const PUBLISHING: f64 = 1.10;
/// Pairs of runs without and with publishing.
const PAIRS: usize = 3;

fn run(short: bool) -> Result<Vec<Reading>> {
    let mut readings = benched("lookup", if short { "1M" } else { "M" }, short)?;
    for reading in &mut readings {
        let limit = LIMITS.iter().find(|(name, _)| reading.what == format!("lookup/{name}"));
        if let Some((_, limit)) = limit {
            reading.judge(Limit::AtMost(*limit));
        }
    }
    let mut ratios = Vec::new();
    for _ in 0..if short { 1 } else { PAIRS } {
        let pair = benched("publish", "M", short)?;
        let value = |name: &str| pair.iter().find(|reading| reading.what.ends_with(name)).map(|reading| reading.value);
        let (alone, beside) = (value("nothing published"), value("a table every 100 ms"));
        ratios.extend(alone.zip(beside).map(|(alone, beside)| beside / alone));
        readings.extend(pair);
    }
    ensure!(!ratios.is_empty(), "the bench `publish` left no pair");
    ratios.sort_by(f64::total_cmp);
    let spread = Spread { low: ratios[0], high: ratios[ratios.len() - 1] };
    let what = "a table every 100 ms / nothing published, median of pairs";
    let limit = Some(Limit::AtMost(PUBLISHING));
    readings.push(Reading::spread(what, ratios[ratios.len() / 2], spread, "×", limit));
    Ok(readings)
}
