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

const RUNS: usize = 6;
const SHORT_RUNS: usize = 1;
/// Fill below which a comparison says nothing about bundles.
const LEAST_FILL: f64 = 64.0;

/// Name, and how much more CPU than ESP256 it may cost.
const ALGORITHMS: [(&str, f64); 5] =
    [("esp256", 1.0), ("ed25519", 1.2), ("esp384", f64::INFINITY), ("ml-dsa-65", 1.2), ("hybrid", 1.4)];

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let mut cpu: [Vec<f64>; ALGORITHMS.len()] = Default::default();
    let mut ratio: [Vec<f64>; ALGORITHMS.len()] = Default::default();
    let mut fill: [Vec<f64>; ALGORITHMS.len()] = Default::default();
    for _ in 0..if short { SHORT_RUNS } else { RUNS } {
        let mut first = None;
        for (nth, (name, _)) in ALGORITHMS.iter().enumerate() {
            let arguments = ["--payload", "1KiB", "--max", "--algorithm", name];
            let load = load::load(&programs, &[&LINKS[..], &arguments].concat())?;
            let us = load.router_us()?;
            let base = *first.get_or_insert(us);
            let push = |values: &mut [Vec<f64>], value| values.get_mut(nth).map(|values| values.push(value));
            push(&mut cpu, us);
            push(&mut ratio, us / base);
            push(&mut fill, load.bundle_fill.sent);
        }
    }
    let mut readings = Vec::new();
    for (((name, most), cpu), (ratio, fill)) in ALGORITHMS.iter().zip(&cpu).zip(ratio.iter().zip(&fill)) {
        let limit = (!short && most.is_finite()).then_some(Limit::AtMost(*most));
        readings.push(load::reading(format!("{name}, 1 sender, 4 recipients"), cpu, "µs CPU", None)?);
        readings.push(load::reading(format!("{name} / esp256"), ratio, "×", limit)?);
        let least = (!short).then_some(Limit::AtLeast(LEAST_FILL));
        readings.push(load::reading(format!("{name}, mean bundle fill"), fill, "entries", least)?);
    }
    Ok(readings)
}
