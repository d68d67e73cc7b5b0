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
    let begun = SystemTime::now();
    let mut command = workspace::cargo();
    command.args(["bench", "--quiet", "--package", "kernpost-benches", "--bench", "lookup", "--"]);
    if short {
        command.args(["--warm-up-time", "1", "--measurement-time", "2"]);
    }
    workspace::run(&mut command)?;
    readings(&workspace::target().join("criterion"), begun)
}

/// A reading for every lookup bench that was run since `begun`, by name.
fn readings(folder: &Path, begun: SystemTime) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("the bench left no {}", folder.display()))?;
    for entry in entries {
        let place = entry?.path().join("new");
        let file = place.join("estimates.json");
        let fresh = file.metadata().and_then(|file| file.modified()).is_ok_and(|written| written >= begun);
        if fresh {
            readings.extend(reading(&place)?);
        }
    }
    ensure!(!readings.is_empty(), "the bench left no estimates in {}", folder.display());
    readings.sort_by(|a, b| a.what.cmp(&b.what));
    Ok(readings)
}

fn reading(place: &Path) -> Result<Option<Reading>> {
    let bench: Bench = json(&place.join("benchmark.json"))?;
    if !bench.full_id.starts_with("lookup") {
        return Ok(None);
    }
    let Estimate { point_estimate, confidence_interval } = json::<Estimates>(&place.join("estimates.json"))?.median;
    let spread = Spread { low: confidence_interval.lower_bound, high: confidence_interval.upper_bound };
    Ok(Some(Reading::spread(bench.full_id, point_estimate, spread, "ns", Some(Limit::AtMost(LIMIT_NS)))))
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
}
