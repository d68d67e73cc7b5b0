//! How much memory does a router need for a thousand links and a million routes?

use anyhow::Result;

use super::links::{number, take};
use super::{Limit, Measure, Reading};

pub(super) const MEASURE: Measure = Measure {
    name: "memory-links",
    what: "resident memory of a router process with 1,000 attached endpoints on 1,000 links (0 senders, 1,000 recipients, \
           nothing in flight) and 1 million routes (generated, Shape::MILLION), also while the next table is loaded",
    run,
};

const MOST_MIB: f64 = 768.0;

fn run(short: bool) -> Result<Vec<Reading>> {
    let sizes: [&str; 4] =
        if short { ["--links", "100", "--routes", "20000"] } else { ["--links", "1000", "--routes", "1000000"] };
    let taken = take("memory-links", false, &sizes)?;
    let limit = (!short).then_some(Limit::AtMost(MOST_MIB));
    let shape = format!("0 senders, {} recipients, nothing sent", sizes[1]);
    let read = |path: &str, what: &str, unit, limit| -> Result<Reading> {
        Ok(Reading::single(what, number(&taken, path)?, unit, limit).of(&shape))
    };
    Ok(vec![
        read("/mib_with_table", "with the table", "MiB", None)?,
        read("/mib_peak_at_start", "at its highest while it starts", "MiB", limit)?,
        read("/mib_attached", "with all endpoints attached", "MiB", limit)?,
        read("/mib_peak_while_published", "at its highest while a table is published", "MiB", limit)?,
        read("/kib_per_link", "per link", "KiB", None)?,
        read("/bytes_per_route", "per route, everything else included", "bytes", None)?,
    ])
}
