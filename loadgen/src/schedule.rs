//! When does each message have to start? Intended start times from a rate, a ramp or steps, with bursts on top.
//!
//! Open loop: the times depend on nothing that happens. They are computed by integrating the rate, so a thousand messages
//! a second are one every millisecond exactly, and a burst neither skips nor doubles one. Pure and without a clock.

use serde::{Deserialize, Serialize};

/// The rate over time, messages per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The same all the time.
    Steady(f64),
    /// From the first rate at the start to the second at the end, in a straight line.
    Ramp {
        /// At the start.
        from: f64,
        /// At the end.
        to: f64,
    },
    /// No intended times: the next message starts as soon as there is room for it.
    Closed,
}

/// More of everything for a while, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// From the start of one burst to the start of the next, µs; the first begins after this time.
    pub every_us: u64,
    /// How long each lasts, µs.
    pub length_us: u64,
    /// What the rate is multiplied with meanwhile.
    pub factor: f64,
}

/// A rate over time, for as long as messages are started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The rate.
    pub shape: Shape,
    /// Bursts on top of it.
    pub burst: Option<Burst>,
    /// How long messages are started, µs, the warm-up included.
    pub length_us: u64,
}

impl Plan {
    /// The rate at an instant, messages per second; 0 for [`Shape::Closed`].
    #[must_use]
    pub fn rate_at(&self, at_us: f64) -> f64 {
        let base = match self.shape {
            Shape::Steady(rate) => rate,
            Shape::Ramp { from, to } => from + (to - from) * (at_us / micros(self.length_us).max(1.0)).clamp(0.0, 1.0),
            Shape::Closed => 0.0,
        };
        let within = |burst: &Burst| {
            at_us >= micros(burst.every_us) && at_us % micros(burst.every_us).max(1.0) < micros(burst.length_us)
        };
        base * self.burst.as_ref().filter(|burst| within(burst)).map_or(1.0, |burst| burst.factor)
    }

    /// Messages intended to start within `from_us..until_us`; 0 for [`Shape::Closed`].
    #[must_use]
    pub fn intended(&self, from_us: u64, until_us: u64) -> u64 {
        let times = Times::new(self.clone());
        times.skip_while(|at| *at < from_us).take_while(|at| *at < until_us).count() as u64
    }

    /// Upper bound of the messages it starts; `None` for [`Shape::Closed`].
    #[must_use]
    pub fn most(&self) -> Option<f64> {
        let highest = match self.shape {
            Shape::Steady(rate) => rate,
            Shape::Ramp { from, to } => from.max(to),
            Shape::Closed => return None,
        };
        Some(highest * self.burst.map_or(1.0, |burst| burst.factor.max(1.0)) * micros(self.length_us) / 1e6)
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of hours stay far below 2^53")]
fn micros(us: u64) -> f64 {
    us as f64
}

/// The intended start times of a plan, µs after the start, in order; ends with the plan.
#[derive(Debug, Clone)]
pub struct Times {
    plan: Plan,
    /// Where the integral stands, µs.
    at_us: f64,
}

/// The integral is taken in steps of at most this, µs, so that a burst's edge is met within it.
const STEP_US: f64 = 1_000.0;

impl Times {
    /// From the start.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan, at_us: 0.0 }
    }
}

impl Iterator for Times {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // Ten nanoseconds are less than a rounding error may add up to, and more than any that does.
        let end = micros(self.plan.length_us) - 0.01;
        if self.at_us >= end || matches!(self.plan.shape, Shape::Closed) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0..end")]
        let intended = self.at_us as u64;
        // One message more, as the integral of the rate.
        let mut left = 1.0;
        while left > 0.0 && self.at_us < end {
            let per_us = self.plan.rate_at(self.at_us).max(1e-9) / 1e6;
            let step = (left / per_us).min(STEP_US.max(0.0));
            left -= step * per_us;
            self.at_us += step;
            if left < 1e-9 {
                break;
            }
        }
        Some(intended)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn steady(rate: f64, length_us: u64) -> Plan {
        Plan { shape: Shape::Steady(rate), burst: None, length_us }
    }

    #[test]
    fn a_thousand_a_second_are_one_every_millisecond() {
        let times: Vec<u64> = Times::new(steady(1_000.0, 1_000_000)).collect();
        assert_eq!(times.len(), 1_000);
        for (number, at) in times.iter().enumerate() {
            assert!(at.abs_diff(number as u64 * 1_000) <= 1, "{number} at {at}");
        }
    }

    #[test]
    fn high_and_low_rates_start_as_many_as_they_say() {
        assert_eq!(Times::new(steady(200_000.0, 1_000_000)).count(), 200_000);
        assert_eq!(Times::new(steady(0.5, 10_000_000)).count(), 5);
        assert_eq!(Times::new(steady(3.0, 1_000_000)).collect::<Vec<_>>(), [0, 333_333, 666_666]);
    }

    #[test]
    fn a_ramp_starts_the_area_below_it_and_gets_denser() {
        let ramp = Plan { shape: Shape::Ramp { from: 100.0, to: 1_900.0 }, burst: None, length_us: 2_000_000 };
        let times: Vec<u64> = Times::new(ramp).collect();
        assert!(times.len().abs_diff(2_000) <= 2, "{}", times.len());
        let first = times.iter().filter(|at| **at < 1_000_000).count();
        assert!(first.abs_diff(550) <= 2, "{first} of a mean of 550 in the first second");
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn a_burst_multiplies_the_rate_within_its_edges_only() {
        let burst = Burst { every_us: 1_000_000, length_us: 200_000, factor: 5.0 };
        let plan = Plan { burst: Some(burst), ..steady(1_000.0, 3_000_000) };
        // The first second has none; the other two have 200 ms of five times as much.
        assert!(plan.intended(0, 1_000_000).abs_diff(1_000) <= 5);
        assert!(plan.intended(1_000_000, 1_200_000).abs_diff(1_000) <= 10);
        assert!(plan.intended(1_200_000, 2_000_000).abs_diff(800) <= 10);
        assert!(Times::new(plan).count().abs_diff(4_600) <= 20);
    }

    #[test]
    fn a_closed_schedule_intends_nothing() {
        let plan = Plan { shape: Shape::Closed, burst: None, length_us: 1_000_000 };
        assert_eq!(Times::new(plan.clone()).next(), None);
        assert_eq!(plan.most(), None);
    }
}
