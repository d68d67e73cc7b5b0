//! What does a person see while a run goes on? A terminal view, one plain line a second, or nothing.

use std::io::Write as _;

use anyhow::Result;

use crate::accounting::Counts;
use crate::latencies::Summary;
use crate::measured::Moment;
use crate::units;

pub mod terminal;

/// This moment of a run.
#[derive(Debug, Clone)]
pub struct Now {
    /// The scenario.
    pub name: String,
    /// Warm-up and measured time together.
    pub length_s: f64,
    /// Warm-up alone.
    pub warm_up_s: f64,
    /// Rates, latencies and bundles since the last moment.
    pub moment: Moment,
    /// Totals.
    pub counts: Counts,
    /// Intended by now and not yet started: waiting for room.
    pub not_started: u64,
    /// Latencies since the last moment.
    pub latency: Summary,
}

/// The view.
#[derive(Debug)]
pub enum Live {
    /// The whole terminal.
    Terminal(terminal::View),
    /// One line a second on standard error.
    Plain {
        /// When the last line was written, s.
        last_s: f64,
    },
    /// Nothing.
    Quiet,
}

impl Live {
    /// One plain line a second.
    #[must_use]
    pub fn plain() -> Self {
        Self::Plain { last_s: f64::NEG_INFINITY }
    }

    /// The whole terminal.
    ///
    /// # Errors
    /// Standard output is none.
    pub fn terminal() -> Result<Self> {
        terminal::View::open().map(Self::Terminal)
    }

    /// Shows a moment.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub fn show(&mut self, now: &Now) -> Result<()> {
        match self {
            Self::Terminal(view) => view.show(now)?,
            Self::Plain { last_s } if now.moment.at_s - *last_s >= 1.0 || now.moment.at_s < *last_s => {
                *last_s = now.moment.at_s;
                writeln!(std::io::stderr(), "{}", line(now))?;
            }
            Self::Plain { .. } | Self::Quiet => {}
        }
        Ok(())
    }
}

fn line(now: &Now) -> String {
    let Now { moment, counts, length_s, .. } = now;
    let latency = |us: u64| units::shown_us(crate::measured::float(us));
    format!(
        "{:5.1}/{:.0} s  {:>7.0}/s offered  {:>7.0}/s done  {:>6} open  p50 {:>8}  p99 {:>8}  fill {:>5.1}  routers {:>4.2} cores  delivered {} rejected {} refused {} undecided {} expired {} custody {} other {} not taken {} not started {}",
        moment.at_s,
        length_s,
        moment.offered_per_s,
        moment.ended_per_s,
        moment.open,
        latency(moment.p50_us),
        latency(moment.p99_us),
        moment.bundle_fill,
        moment.router_cores,
        counts.delivered,
        counts.rejected,
        counts.refused,
        counts.undecided,
        counts.expired,
        counts.custody,
        counts.other,
        counts.not_taken,
        now.not_started,
    )
}
