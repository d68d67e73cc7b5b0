//! Do simulated networks keep every promise, and does the simulation find the faults that are put in on purpose?

use anyhow::{Context, Result};
use serde_json::Value;

use super::links::number;
use super::{Limit, Measure, Reading};
use crate::simulate::{self, Options};

pub(super) const SEEDS: Measure = Measure {
    name: "simulate",
    what: "networks with custody in virtual time, kills, faulty disks and links: every invariant, seed by seed",
    run: seeds,
};

pub(super) const MUTANTS: Measure = Measure {
    name: "simulate-mutants",
    what: "faults put into custody on purpose, one after the other: each is found",
    run: mutants,
};

const FULL_SEEDS: u64 = 10_000;
const SHORT_SEEDS: u64 = 200;
/// Seeds at most for each fault.
const FAULT_SEEDS: u64 = 1_000;
const SHORT_FAULT_SEEDS: u64 = 200;

/// Whether it succeeded, and what it wrote.
fn simulated(options: &Options) -> Result<(f64, Value)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("found.json");
    let good = simulate::run(options, Some(&file))?;
    let text = std::fs::read_to_string(&file).context("simulate wrote no JSON")?;
    Ok((if good { 1.0 } else { 0.0 }, serde_json::from_str(&text)?))
}

fn seeds(short: bool) -> Result<Vec<Reading>> {
    let seeds = if short { SHORT_SEEDS } else { FULL_SEEDS };
    let (good, found) = simulated(&Options { seeds, first_seed: 1, threads: 0, mutants: false })?;
    let limit = Some(Limit::AtLeast(1.0));
    Ok(vec![
        Reading::single(format!("{seeds} seeds without a finding"), good, "yes = 1", limit),
        Reading::single("speed", number(&found, "/seeds_per_s")?, "seeds/s", None),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "a few dozen faults")]
fn mutants(short: bool) -> Result<Vec<Reading>> {
    let seeds = if short { SHORT_FAULT_SEEDS } else { FAULT_SEEDS };
    let (_, found) = simulated(&Options { seeds, first_seed: 1, threads: 0, mutants: true })?;
    let count = |name: &str| found.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    let most = found.get("found").and_then(Value::as_array).into_iter().flatten();
    let most = most.filter_map(|row| row.get("seeds").and_then(Value::as_f64)).fold(0.0, f64::max);
    Ok(vec![
        Reading::single("faults found", count("found") as f64, "faults", Some(Limit::AtLeast(1.0))),
        Reading::single(
            format!("faults not found in {seeds} seeds"),
            count("missed") as f64,
            "faults",
            Some(Limit::AtMost(0.0)),
        ),
        Reading::single("most seeds that a fault took", most, "seeds", None),
    ])
}
