//! What does the signature algorithm change for the router? Little, because one signature covers a bundle.

use anyhow::Result;

use super::load;
use super::ratio::LINKS;
use super::{Limit, Measure, Reading};
use crate::workspace::Programs;

pub(super) const MEASURE: Measure = Measure {
    name: "algorithms",
    what: "router CPU of a 1 KiB message by signature algorithm, as fast as it goes, bundle fill at least 64",
    run,
};

const RUNS: usize = 10;
const SHORT_RUNS: usize = 1;
/// Fill below which a comparison says nothing about bundles.
const LEAST_FILL: f64 = 64.0;

/// Name, and how much more CPU than ESP256 it may cost.
const ALGORITHMS: [(&str, f64); 5] =
    [("esp256", 1.0), ("ed25519", 1.2), ("esp384", f64::INFINITY), ("ml-dsa-65", 1.2), ("hybrid", 1.4)];

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let mut runs: [Runs; ALGORITHMS.len()] = Default::default();
    for _ in 0..if short { SHORT_RUNS } else { RUNS } {
        let mut first = None;
        for (runs, (name, _)) in runs.iter_mut().zip(ALGORITHMS) {
            let arguments = ["--payload", "1KiB", "--max", "--algorithm", name];
            let load = load::load(&programs, &[&LINKS[..], &arguments].concat())?;
            let us = load.router_us()?;
            runs.cpu.push(us);
            runs.ratio.push(us / *first.get_or_insert(us));
            runs.fill.push(load.bundle_fill.sent);
            runs.shape = load.shape();
        }
    }
    let mut readings = Vec::new();
    for (runs, (name, most)) in runs.iter().zip(ALGORITHMS) {
        let limit = (!short && most.is_finite()).then_some(Limit::AtMost(most));
        let least = (!short).then_some(Limit::AtLeast(LEAST_FILL));
        readings.push(load::reading(name, &runs.cpu, "µs CPU", None)?.of(&runs.shape));
        readings.push(load::reading(format!("{name} / esp256"), &runs.ratio, "×", limit)?.of(&runs.shape));
        readings.push(load::reading(format!("{name}, fill"), &runs.fill, "entries", least)?.of(&runs.shape));
    }
    Ok(readings)
}

/// Of one algorithm.
#[derive(Default)]
struct Runs {
    cpu: Vec<f64>,
    ratio: Vec<f64>,
    fill: Vec<f64>,
    shape: String,
}
