//! How fast does a recipient that comes back get what waited, and does live traffic notice?

use anyhow::Result;

use super::custody::{milliseconds, take};
use super::links::number;
use super::{Limit, Measure, Reading};
use crate::workspace::Programs;

pub(super) const MEASURE: Measure = Measure {
    name: "custody-drain",
    what: "500,000 messages (1 KiB) that waited for one recipient: handed to its process, journal with group fsync, alone; and \
           beside live traffic of another sender to another recipient, 2,000 a second",
    run,
};

/// Messages a second to a returning recipient alone.
const RATE: f64 = 50_000.0;
/// ms, live traffic meanwhile.
const P99: f64 = 10.0;
/// Live messages a second.
const LIVE: &str = "2000";

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let messages = if short { "50000" } else { "500000" };
    let alone = take(&programs, "drain", &["--messages", messages])?;
    let beside = take(&programs, "drain", &["--messages", messages, "--live", LIVE])?;
    let judged = |limit| (!short).then_some(limit);
    let live = |what: &str| format!("p99 of live traffic, {LIVE}/s, {what}");
    Ok(vec![
        Reading::single("handed over, alone", number(&alone, "/per_s")?, "messages/s", judged(Limit::AtLeast(RATE))),
        Reading::single("settled at the router, alone", number(&alone, "/settled_per_s")?, "messages/s", None),
        Reading::single("receipts a frame, alone", number(&alone, "/receipts_a_frame")?, "receipts", None),
        Reading::single("handed over twice", number(&alone, "/repeats")?, "messages", Some(Limit::AtMost(0.0))),
        Reading::single("handed over, beside live traffic", number(&beside, "/per_s")?, "messages/s", None),
        Reading::single(live("before"), milliseconds(&beside, "/live_before_us/p99")?, "ms", None),
        Reading::single(
            live("meanwhile"),
            milliseconds(&beside, "/live_during_us/p99")?,
            "ms",
            judged(Limit::AtMost(P99)),
        ),
    ])
}
