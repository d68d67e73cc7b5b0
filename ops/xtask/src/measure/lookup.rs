//! Does finding the responsible authority stay within 100 ns, and does a new table never make a reader wait?
//!
//! Runs the criterion bench `lookup` of `benches/` and reads the estimates it leaves; every bench of it is a reading, so
//! one that looks up while tables are published is held to the same limit.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Limit, Measure, Reading, Spread};
use crate::workspace;

pub(super) const MEASURE: Measure = Measure {
    name: "lookup",
    what: "one lookup in a table of 1 million generated routes, also while new tables are published",
    run,
};

/// Longest a lookup may take.
const LIMIT_NS: f64 = 100.0;

/// What criterion writes beside its estimates.
#[derive(Deserialize)]
struct Bench {
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

fn run(short: bool) -> Result<Vec<Reading>> {
    let mut readings = benched("lookup", "1M", short)?;
    for reading in &mut readings {
        reading.judge(Limit::AtMost(LIMIT_NS));
    }
    Ok(readings)
}

/// Runs the benches whose names contain `filter` and gives a reading in ns for each, by name, not judged yet.
pub(super) fn benched(bench: &str, filter: &str, short: bool) -> Result<Vec<Reading>> {
    let begun = SystemTime::now();
    let mut command = workspace::cargo();
    command.args(["bench", "--quiet", "--workspace", "--exclude", "xtask", "--bench", bench, "--", filter]);
    if short {
        command.args(["--warm-up-time", "1", "--measurement-time", "2"]);
    }
    // As the router's unit does: large tables lie on huge pages.
    workspace::run(command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"))?;
    let mut readings = Vec::new();
    let folder = workspace::target().join("criterion");
    collect(&folder, begun, &mut readings)?;
    ensure!(!readings.is_empty(), "the bench left no estimates in {}", folder.display());
    readings.sort_by(|a, b| a.what.cmp(&b.what));
    Ok(readings)
}

/// A reading for every bench below `folder` that was run since `begun`.
fn collect(folder: &Path, begun: SystemTime, readings: &mut Vec<Reading>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("the bench left no {}", folder.display()))?;
    for entry in entries {
        let place = entry?.path();
        let file = place.join("new/estimates.json");
        let fresh = file.metadata().and_then(|file| file.modified()).is_ok_and(|written| written >= begun);
        if fresh {
            readings.push(reading(&place.join("new"))?);
        } else if place.is_dir() && !file.exists() {
            collect(&place, begun, readings)?;
        }
    }
    Ok(())
}

fn reading(place: &Path) -> Result<Reading> {
    let bench: Bench = json(&place.join("benchmark.json"))?;
    let Estimate { point_estimate, confidence_interval } = json::<Estimates>(&place.join("estimates.json"))?.median;
    let spread = Spread { low: confidence_interval.lower_bound, high: confidence_interval.upper_bound };
    Ok(Reading::spread(bench.full_id, point_estimate, spread, "ns", None))
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
}
