//! Does the main job hold at volume: nothing lost, nothing twice, the books balanced, 8,000 messages a second?

use anyhow::Result;

use super::{Limit, Measure, Reading};
use crate::demo::{self, Options, Summary};

pub(super) const MEASURE: Measure = Measure {
    name: "demo",
    what: "100,000 signed applications over two routers, every signature checked at both, every receipt by its sender",
    run,
};

/// Applications of the full run.
const FULL: usize = 100_000;
/// Applications of a short run.
const SHORT: usize = 2_000;
/// Messages a second that the full run must reach.
const RATE: f64 = 8_000.0;
/// Endpoints with keys of their own.
const ENDPOINTS: f64 = 150.0;

fn run(short: bool) -> Result<Vec<Reading>> {
    let applications = if short { SHORT } else { FULL };
    let summary = demo::run(&Options { applications, ..Options::default() })?;
    Ok(readings(&summary, (!short).then_some(Limit::AtLeast(RATE))))
}

fn readings(summary: &Summary, rate: Option<Limit>) -> Vec<Reading> {
    let none = Some(Limit::AtMost(0.0));
    let all = Some(Limit::AtLeast(count(summary.sent)));
    let balanced = if summary.ledger_balanced { 1.0 } else { 0.0 };
    let latency = &summary.latency_ms;
    vec![
        Reading::single(
            "applications with a verified receipt",
            count(summary.delivered + summary.rejected),
            "messages",
            all,
        ),
        Reading::single("lost", count(summary.lost), "messages", none),
        Reading::single("handed over twice", count(summary.duplicates), "messages", none),
        Reading::single("every router's ledger balances", balanced, "yes = 1", Some(Limit::AtLeast(1.0))),
        Reading::single(
            "endpoints with keys of their own",
            count(summary.endpoints),
            "endpoints",
            Some(Limit::AtLeast(ENDPOINTS)),
        ),
        Reading::single("through two routers", summary.messages_per_second, "messages/s", rate),
        Reading::single("latency, median", latency.p50, "ms", None),
        Reading::single("latency, 99 of 100", latency.p99, "ms", None),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "counts of messages stay far below 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}
