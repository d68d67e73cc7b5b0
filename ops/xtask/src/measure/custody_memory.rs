//! Does a router's memory stay within what CUSTODY.md states, however much it holds?

use anyhow::{Context, Result};
use serde_json::Value;

use super::custody::take;
use super::links::number;
use super::{Limit, Measure, Reading};
use crate::workspace::Programs;

pub(super) const MEASURE: Measure = Measure {
    name: "custody-memory",
    what: "resident memory of a router that holds 1, 2, 4 and 10 million messages (256 B) for one recipient, against window, cache and \
           memtables",
    run,
};

/// `window_bytes` of 64 MiB, what `FjallOptions` states for its defaults at worst, and the latest messages' keys, MiB.
const FORMULA: f64 = 64.0 + 560.0 + 8.0;

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let steps = if short { "100000,200000" } else { "1000000,2000000,4000000,10000000" };
    let taken = take(&programs, "memory", &["--steps", steps])?;
    let empty = number(&taken, "/empty_resident")? / MIB;
    let mut readings = vec![Reading::single("holding nothing", empty, "MiB", None)];
    for step in taken.get("steps").and_then(Value::as_array).context("no steps")? {
        let (held, resident) = (number(step, "/held")?, number(step, "/resident")? / MIB);
        let peak = number(step, "/peak")? / MIB;
        readings.push(Reading::single(format!("holding {held:.0}"), resident, "MiB", None));
        let limit = Some(Limit::AtMost(FORMULA));
        readings.push(Reading::single(
            format!("peak until {held:.0}, beyond nothing held"),
            peak - empty,
            "MiB",
            limit,
        ));
    }
    Ok(readings)
}

const MIB: f64 = 1_048_576.0;
