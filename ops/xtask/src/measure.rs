//! Does the project reach its bars? Each bar is one named measure with readings against limits.
//!
//! `cargo xtask measure NAME` runs one, prints value, unit, spread, limit and verdict, and exits 1 when it falls
//! short. To add a bar: one file below `measure/` with a `MEASURE`, and its name in [`ALL`].

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use serde::Serialize;

mod algorithms;
mod bulk_custody;
mod compile;
mod custody;
mod custody_drain;
mod custody_kill;
mod custody_memory;
mod custody_rate;
mod custody_restart;
mod demo;
mod disk_faults;
mod explain;
mod fanout;
mod fuzz_smoke;
mod handshakes;
mod isolation;
mod links;
mod load;
mod lookup;
mod lookup_large;
mod memory_links;
mod priority;
mod ratio;
mod scenarios;
mod simulate;
mod throughput;
mod wire_overhead;

pub use fuzz_smoke::replay as replay_fuzz_corpora;

/// Every measure, in the order `--list` shows.
const ALL: [&Measure; 29] = [
    &demo::MEASURE,
    &explain::MEASURE,
    &lookup::MEASURE,
    &lookup_large::MEASURE,
    &compile::MEASURE,
    &fuzz_smoke::MEASURE,
    &ratio::RATIO_1K,
    &ratio::RATIO_256,
    &ratio::RATIO_64K,
    &fanout::MEASURE,
    &wire_overhead::MEASURE,
    &throughput::THROUGHPUT,
    &throughput::LATENCY_IDLE,
    &throughput::LATENCY_HALF,
    &algorithms::MEASURE,
    &isolation::MEASURE,
    &scenarios::MEASURE,
    &priority::MEASURE,
    &handshakes::MEASURE,
    &memory_links::MEASURE,
    &custody_rate::MEASURE,
    &custody_drain::MEASURE,
    &custody_restart::MEASURE,
    &custody_memory::MEASURE,
    &custody_kill::MEASURE,
    &bulk_custody::MEASURE,
    &simulate::SEEDS,
    &simulate::MUTANTS,
    &disk_faults::MEASURE,
];

/// One bar of the project.
#[derive(Debug)]
pub struct Measure {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What is measured, and how.
    pub what: &'static str,
    /// Takes the readings. `short` asks for the quickest run that still says something: limits that only hold for
    /// the full size are then left out.
    pub run: fn(short: bool) -> Result<Vec<Reading>>,
}

/// One value against one limit.
#[derive(Debug, Clone, Serialize)]
pub struct Reading {
    /// What was read.
    pub what: String,
    /// The value judged: a median when there are several runs.
    pub value: f64,
    /// Senders, recipients and mean bundle fill, where messages were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// Its unit.
    pub unit: &'static str,
    /// Lowest and highest of the runs, or the bench's confidence interval.
    pub spread: Spread,
    /// What it must reach; none: told, not judged.
    pub limit: Option<Limit>,
    /// Whether it does.
    pub passed: bool,
}

/// How far the single values lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Lowest.
    pub low: f64,
    /// Highest.
    pub high: f64,
}

/// What a value must reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    what: &'a str,
    passed: bool,
    readings: &'a [Reading],
}

/// What the command line asks for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which measure; see --list
    name: Option<String>,
    /// Show every measure and what it measures
    #[arg(long)]
    list: bool,
    /// Write the readings to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The quickest run that still says something, without the limits that need the full size
    #[arg(long)]
    short: bool,
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, "≥ {}", shown(*limit)),
            Self::AtMost(limit) => write!(f, "≤ {}", shown(*limit)),
        }
    }
}

impl Reading {
    /// One value, judged against `limit`.
    pub fn single(what: impl Into<String>, value: f64, unit: &'static str, limit: Option<Limit>) -> Self {
        Self::spread(what, value, Spread { low: value, high: value }, unit, limit)
    }

    /// A value with its spread, judged against `limit`.
    pub fn spread(
        what: impl Into<String>,
        value: f64,
        spread: Spread,
        unit: &'static str,
        limit: Option<Limit>,
    ) -> Self {
        let passed = limit.is_none_or(|limit| limit.holds(value));
        Self { what: what.into(), value, unit, spread, limit, passed, shape: None }
    }

    /// Says who sent to whom, and how full bundles were.
    pub fn of(mut self, shape: &str) -> Self {
        self.shape = Some(shape.to_owned());
        self
    }

    /// Judges the value against `limit`.
    pub fn judge(&mut self, limit: Limit) {
        (self.limit, self.passed) = (Some(limit), limit.holds(self.value));
    }

    /// States in milliseconds what was read in nanoseconds.
    pub fn in_milliseconds(&mut self) {
        let milliseconds = |nanoseconds: f64| nanoseconds / 1e6;
        self.value = milliseconds(self.value);
        self.spread = Spread { low: milliseconds(self.spread.low), high: milliseconds(self.spread.high) };
        self.unit = "ms";
    }
}

/// Runs what the command line asks for. False: a reading fell short.
pub fn command(arguments: &Arguments) -> Result<bool> {
    if arguments.list {
        list();
        return Ok(true);
    }
    let Some(name) = &arguments.name else {
        bail!("name a measure, or see `cargo xtask measure --list`");
    };
    run(name, arguments.short, arguments.json.as_deref())
}

/// Runs one measure and prints its table. False: a reading fell short.
pub fn run(name: &str, short: bool, json: Option<&Path>) -> Result<bool> {
    let Some(measure) = ALL.iter().find(|measure| measure.name == name) else {
        let names: Vec<_> = ALL.iter().map(|measure| measure.name).collect();
        bail!("there is no measure `{name}`; there are {}", names.join(", "));
    };
    let readings = (measure.run)(short).with_context(|| format!("measure {name}"))?;
    let passed = !readings.is_empty() && readings.iter().all(|reading| reading.passed);
    print(measure, &readings, passed);
    if let Some(path) = json {
        let report = Report { name: measure.name, what: measure.what, passed, readings: &readings };
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(passed)
}

fn list() {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(["measure", "what"]);
    for measure in ALL {
        table.add_row([measure.name, measure.what]);
    }
    println!("{table}");
}

fn print(measure: &Measure, readings: &[Reading], passed: bool) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["reading", "value", "unit", "spread", "limit", "verdict", "of"]);
    for reading in readings {
        let spread = format!("{} .. {}", shown(reading.spread.low), shown(reading.spread.high));
        let limit = reading.limit.map_or_else(|| "–".to_owned(), |limit| limit.to_string());
        let verdict = if reading.passed { "good" } else { "FALLS SHORT" };
        let shape = reading.shape.as_deref().unwrap_or("–");
        table.add_row([&reading.what, &shown(reading.value), reading.unit, &spread, &limit, verdict, shape]);
    }
    println!("{}: {}\n{table}", measure.name, measure.what);
    println!("{}: {}", measure.name, if passed { "good" } else { "FALLS SHORT" });
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_its_limit_is_good() {
        assert!(Reading::single("rate", 8_000.0, "messages/s", Some(Limit::AtLeast(8_000.0))).passed);
        assert!(!Reading::single("time", 100.1, "ns", Some(Limit::AtMost(100.0))).passed);
    }

    #[test]
    fn an_unknown_measure_is_refused_with_the_known_names() {
        let said = run("speed", true, None).map_err(|error| error.to_string());
        assert_eq!(said.err().as_deref().map(|text| text.contains("lookup")), Some(true));
    }
}
