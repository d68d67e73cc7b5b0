//! How long did messages take? Microseconds in an HDR histogram of three significant digits, up to one hour.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency told apart, µs; longer ones count as this.
const SLOWEST_US: u64 = 3_600_000_000;

/// A histogram of microseconds.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// A histogram on its way between two processes: value and count of every bucket that is not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded(pub Vec<(u64, u64)>);

/// What is printed of a histogram; µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Values recorded.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Fastest.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 90 of 100 are below.
    pub p90: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// 999 of 1,000 are below.
    pub p999: u64,
    /// Slowest.
    pub max: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// An empty histogram.
    #[must_use]
    #[expect(clippy::expect_used, reason = "constants within the library's range")]
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, SLOWEST_US, 3).expect("1 us to 1 h with three digits is a histogram"))
    }

    /// Records one value.
    pub fn record(&mut self, us: u64) {
        self.0.saturating_record(us.max(1));
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that `quantile` (0..=1) of all stay below, µs.
    #[must_use]
    pub fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The slowest, µs.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// What is printed of it.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.0.len(),
            mean: self.0.mean(),
            min: if self.0.is_empty() { 0 } else { self.0.min() },
            p50: self.at(0.5),
            p90: self.at(0.9),
            p99: self.at(0.99),
            p999: self.at(0.999),
            max: self.0.max(),
        }
    }

    /// For another process.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        let buckets = self.0.iter_recorded();
        Recorded(buckets.map(|at| (at.value_iterated_to(), at.count_since_last_iteration())).collect())
    }

    /// Adds what another process recorded.
    pub fn add(&mut self, recorded: &Recorded) {
        for (value, count) in &recorded.0 {
            self.0.saturating_record_n(*value, *count);
        }
    }

    /// Percentile, value in µs and count, as the percentile text format lists them: five steps for every halving of the
    /// distance to 100 %.
    #[must_use]
    pub fn percentiles(&self) -> Vec<(f64, u64, u64)> {
        let mut total = 0;
        let steps = self.0.iter_quantiles(5);
        let line = steps.map(|step| {
            total += step.count_since_last_iteration();
            (step.quantile_iterated_to(), step.value_iterated_to(), total)
        });
        line.collect()
    }

    /// Standard deviation, µs.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.0.stdev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_survives_the_way_to_another_process() {
        let mut here = Latencies::new();
        for us in [0, 1, 250, 251, 4_000, 1_000_000, u64::MAX] {
            here.record(us);
        }
        let mut there = Latencies::new();
        there.add(&here.recorded());
        assert_eq!(there.count(), 7);
        for quantile in [0.1, 0.5, 0.9, 1.0] {
            assert_eq!(there.at(quantile), here.at(quantile));
        }
        assert!(there.max().abs_diff(SLOWEST_US) <= SLOWEST_US / 1_000);
    }

    #[test]
    fn percentiles_rise_and_end_with_everything() {
        let mut latencies = Latencies::new();
        (1..=10_000).for_each(|us| latencies.record(us));
        let lines = latencies.percentiles();
        assert!(lines.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1 && a.2 <= b.2));
        assert_eq!(lines.last().map(|line| line.2), Some(10_000));
    }
}
