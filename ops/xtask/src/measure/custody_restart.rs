//! How long is a router away when it is killed with a full spool?

use anyhow::{Context, Result};
use serde_json::Value;

use super::custody::take;
use super::links::number;
use super::load::reading;
use super::{Limit, Measure, Reading};
use crate::workspace::Programs;

pub(super) const MEASURE: Measure = Measure {
    name: "custody-restart",
    what: "from the start of the process until /readyz after kill -9, with 1,000,000 messages (1 KiB) in custody",
    run,
};

/// Seconds.
const READY: f64 = 2.0;

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let messages = if short { "100000" } else { "1000000" };
    let taken = take(&programs, "restart", &["--messages", messages, "--kills", if short { "2" } else { "5" }])?;
    let times = taken.get("ready_s").and_then(Value::as_array).context("no times")?;
    let times: Vec<f64> = times.iter().filter_map(Value::as_f64).collect();
    let slowest = times.iter().copied().fold(0.0, f64::max);
    let limit = (!short).then_some(Limit::AtMost(READY));
    Ok(vec![
        reading("until it is ready", &times, "s", None)?,
        Reading::single("until it is ready, slowest", slowest, "s", limit),
        Reading::single("disk", number(&taken, "/disk_bytes")? / MIB, "MiB", None),
    ])
}

const MIB: f64 = 1_048_576.0;
