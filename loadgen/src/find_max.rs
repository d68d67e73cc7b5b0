//! Which is the highest rate that meets the objectives? Double until one is missed, then halve the interval; bounded in
//! steps. Pure: whoever asks does the runs.

/// The search.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Highest rate that met them.
    good: Option<f64>,
    /// Lowest rate that missed them.
    bad: Option<f64>,
    next: f64,
    left: u32,
    /// Both ends nearer than this share of the rate end the search.
    precision: f64,
}

/// The lowest rate that is tried, messages per second.
const LEAST: f64 = 1.0;

impl Search {
    /// Begins at a rate; at most `steps` runs.
    #[must_use]
    pub fn new(first: f64, steps: u32, precision: f64) -> Self {
        Self { good: None, bad: None, next: first.max(LEAST), left: steps, precision }
    }

    /// The next rate to try; `None` when the search is over.
    #[must_use]
    pub fn next_rate(&self) -> Option<f64> {
        let near = self.good.zip(self.bad).is_some_and(|(good, bad)| bad - good <= self.precision * bad);
        (self.left > 0 && !near && self.next >= LEAST).then_some(self.next)
    }

    /// Tells what came of the last rate.
    pub fn on_result(&mut self, rate: f64, met: bool) {
        self.left = self.left.saturating_sub(1);
        if met {
            self.good = Some(self.good.map_or(rate, |good| good.max(rate)));
        } else {
            self.bad = Some(self.bad.map_or(rate, |bad| bad.min(rate)));
        }
        self.next = match (self.good, self.bad) {
            (Some(good), Some(bad)) => f64::midpoint(good, bad),
            (Some(good), None) => good * 2.0,
            (None, Some(bad)) => bad / 4.0,
            (None, None) => rate,
        };
    }

    /// The lowest rate that missed them.
    #[must_use]
    pub fn lowest_miss(&self) -> Option<f64> {
        self.bad
    }

    /// The highest rate that met the objectives.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        self.good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(limit: f64, first: f64, steps: u32) -> (Option<f64>, u32) {
        let mut search = Search::new(first, steps, 0.05);
        let mut runs = 0;
        while let Some(rate) = search.next_rate() {
            search.on_result(rate, rate <= limit);
            runs += 1;
        }
        (search.best(), runs)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for first in [10.0, 1_000.0, 50_000.0] {
            let (best, _) = found(3_700.0, first, 40);
            assert!(best.is_some_and(|best| (3_500.0..=3_700.0).contains(&best)), "{first}: {best:?}");
        }
    }

    #[test]
    fn the_search_ends_after_its_steps() {
        assert_eq!(found(1e9, 100.0, 5), (Some(1_600.0), 5));
        assert_eq!(found(0.0, 100.0, 3), (None, 3));
    }

    #[test]
    fn nothing_below_one_message_a_second_is_tried() {
        let (best, runs) = found(0.0, 10.0, 40);
        assert!(best.is_none() && runs < 10, "{runs}");
    }
}
