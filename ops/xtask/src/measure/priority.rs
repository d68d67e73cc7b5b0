//! Does urgent overtake bulk on a full line?

use anyhow::Result;

use super::links::{number, spread, take};
use super::{Limit, Measure, Reading};

pub(super) const MEASURE: Measure = Measure {
    name: "priority",
    what: "urgent messages (1 KiB, 200/s) beside saturating bulk (32 KiB, 1.5 MiB under way) through one router, 1 sender, 1 \
           recipient, one of them behind 100 Mbit/s (tc tbf rate 100mbit burst 5000 limit 32768, both directions; 100mbit \
           profile); interleaved pairs with urgent alone; needs root",
    run,
};

/// What urgent may lose to bulk, ms at the 99th percentile.
const ABOVE_IDLE_MS: f64 = 8.0;
/// And at most this part of what bulk takes.
const OF_BULK: f64 = 0.25;
/// Less than this is no full line: 100 Mbit/s less headers, statements and receipts.
const FULL_MBIT_PER_S: f64 = 85.0;

fn run(short: bool) -> Result<Vec<Reading>> {
    let lengths: [&str; 4] =
        if short { ["--pairs", "2", "--seconds", "3"] } else { ["--pairs", "10", "--seconds", "5"] };
    let taken = take("priority", true, &lengths)?;
    let mut readings = Vec::new();
    for (place, who) in [("portal_behind_line", "portal"), ("authority_behind_line", "authority")] {
        let fill = number(&taken, &format!("/{place}/bundle_fill/median"))?;
        let shape = format!("1 sender, 1 recipient, fill {fill:.1}, both classes");
        let mut read = |name: &str, what: &str, unit, limit| -> Result<()> {
            let what = format!("{who} behind the line: {what}");
            readings.push(spread(&taken, &format!("/{place}/{name}"), what, unit, limit)?.of(&shape));
            Ok(())
        };
        read("urgent_idle_p99_ms", "urgent alone, 99 of 100", "ms", None)?;
        read("urgent_full_p99_ms", "urgent beside bulk, 99 of 100", "ms", None)?;
        read("bulk_p99_ms", "bulk, 99 of 100", "ms", None)?;
        let full = Some(Limit::AtLeast(FULL_MBIT_PER_S));
        read("bulk_mbit_per_s", "bulk payload", "Mbit/s", full)?;
        let above = Some(Limit::AtMost(ABOVE_IDLE_MS));
        read("urgent_above_idle_p99_ms", "urgent above idle, 99 of 100", "ms", above)?;
        read("urgent_of_bulk_p99", "urgent's 99 of 100 by bulk's", "ratio", Some(Limit::AtMost(OF_BULK)))?;
    }
    Ok(readings)
}
