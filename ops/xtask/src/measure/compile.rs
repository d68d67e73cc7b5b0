//! Is a table of one million rules made within a second, and a change to one of its zones in force within 50 ms?

use anyhow::Result;

use super::lookup::benched;
use super::{Limit, Measure, Reading};

pub(super) const MEASURE: Measure = Measure {
    name: "compile",
    what: "compile 1 million routes in 46 zones; apply a new snapshot of one zone of about 20,000 (decoding, signatures, \
           checks, table, publication)",
    run,
};

/// Longest for the whole table, and for one zone, in ms.
const LIMITS_MS: [(&str, f64); 2] = [("compile/1M routes", 1_000.0), ("compile/one zone", 50.0)];

fn run(short: bool) -> Result<Vec<Reading>> {
    let mut readings = benched("compile", "", short)?;
    for reading in &mut readings {
        reading.in_milliseconds();
        if let Some((_, limit)) = LIMITS_MS.iter().find(|(name, _)| reading.what.starts_with(name)) {
            reading.judge(Limit::AtMost(*limit));
        }
    }
    Ok(readings)
}
