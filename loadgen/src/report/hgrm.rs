//! The HdrHistogram percentile text format, as its plotting tools read it. Values are milliseconds.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::measured::{Measured, float};

/// Writes the latencies of a run.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, measured: &Measured) -> Result<()> {
    std::fs::write(path, page(measured)).with_context(|| format!("cannot write {}", path.display()))
}

/// The text.
#[must_use]
pub fn page(measured: &Measured) -> String {
    let mut page = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    for (percentile, us, total) in &measured.percentiles {
        let value = float(*us) / 1e3;
        // Writing into a string cannot fail.
        let _ = if *percentile < 1.0 {
            writeln!(page, "{value:12.3} {percentile:14.12} {total:10} {:14.2}", 1.0 / (1.0 - percentile))
        } else {
            writeln!(page, "{value:12.3} {percentile:14.12} {total:10}")
        };
    }
    let latency = &measured.latency_us;
    let _ = writeln!(
        page,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {:12}]\n#[Buckets = {:12}, SubBuckets     = {:12}]",
        latency.mean / 1e3,
        measured.latency_deviation_us / 1e3,
        float(latency.max) / 1e3,
        latency.count,
        // One hour in µs at three significant digits.
        22,
        2_048,
    );
    if !measured.valid {
        // Readers of the format skip lines that begin like this.
        let _ = writeln!(page, "#[{}]", super::text::NO_RESULTS);
    }
    page
}
