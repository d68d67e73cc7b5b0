//! How many messages a second come into custody, and how soon is the receipt there?

use anyhow::Result;

use super::custody::{milliseconds, take};
use super::links::number;
use super::load::reading;
use super::{Limit, Measure, Reading};
use crate::workspace::Programs;

pub(super) const MEASURE: Measure = Measure {
    name: "custody-rate",
    what: "receipts custody a second after their fsync, 1 KiB, 1 sender, 4 recipients that are away; and their p99 at half of \
           the bar",
    run,
};

/// Messages a second.
const RATE: f64 = 50_000.0;
const HALF: &str = "25000";
/// ms, at half of the bar.
const P99: f64 = 25.0;
const RUNS: usize = 3;
const SHORT_RUNS: usize = 1;

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let (mut rates, mut reached, mut p50, mut p99, mut router, mut source) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let seconds = if short { "5" } else { "10" };
    for _ in 0..if short { SHORT_RUNS } else { RUNS } {
        let most = take(&programs, "rate", &["--seconds", seconds])?;
        rates.push(number(&most, "/per_s")?);
        router.push(number(&most, "/router_us")?);
        source.push(number(&most, "/source_us")?);
        let half = take(&programs, "rate", &["--seconds", seconds, "--rate", HALF])?;
        reached.push(number(&half, "/per_s")?);
        p50.push(milliseconds(&half, "/custody_us/p50")?);
        p99.push(milliseconds(&half, "/custody_us/p99")?);
    }
    let judged = |limit| (!short).then_some(limit);
    Ok(vec![
        reading("receipts custody, as fast as it goes", &rates, "messages/s", judged(Limit::AtLeast(RATE)))?,
        reading("router, as fast as it goes", &router, "µs CPU", None)?,
        reading("source, as fast as it goes", &source, "µs CPU", None)?,
        reading(format!("achieved of {HALF}/s"), &reached, "messages/s", None)?,
        reading(format!("p50 from the intended start at {HALF}/s"), &p50, "ms", None)?,
        reading(format!("p99 from the intended start at {HALF}/s"), &p99, "ms", judged(Limit::AtMost(P99)))?,
    ])
}
