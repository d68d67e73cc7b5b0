//! Runs of the load generator and of the relay floor, and what the load measures read from them.
//!
//! Load runs start their router, source and sink as processes of their own and end by themselves. A run whose checks fail
//! fails the measure; one that only shows that the generator was the bottleneck is kept where neither rate nor latency is
//! judged, because CPU time and bytes of a message do not depend on who waited for whom.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Limit, Reading, Spread};
use crate::workspace::{self, Programs};

/// What the measures use of the load generator's JSON; see its crate documentation for the whole.
#[derive(Debug, Clone, Deserialize)]
pub struct Load {
    pub asked: Asked,
    pub rate: Rate,
    pub outcomes: Outcomes,
    pub latency_us: Latency,
    pub service_us: Latency,
    /// Of messages to recipients that are not slow on purpose.
    pub others_us: Option<Latency>,
    pub bundle_fill: Fill,
    pub routers: Vec<Router>,
    pub links: Links,
    pub exit_status: u8,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Asked {
    pub senders: usize,
    pub recipients: usize,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Rate {
    pub achieved_per_s: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Outcomes {
    pub delivered: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Fill {
    pub sent: f64,
    pub forwarded: Option<f64>,
    pub receipts: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Router {
    pub cpu_us_per_message: Option<f64>,
    pub signature_checks_per_message: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Links {
    pub sender: Option<LinkBytes>,
    pub recipient: Option<LinkBytes>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LinkBytes {
    pub overhead_per_message: f64,
}

impl Load {
    /// CPU of the first router, µs a message.
    pub fn router_us(&self) -> Result<f64> {
        self.routers.first().and_then(|router| router.cpu_us_per_message).context("the run names no router CPU")
    }

    /// Senders, recipients and mean bundle fill.
    pub fn shape(&self) -> String {
        let Fill { sent, forwarded, receipts } = &self.bundle_fill;
        let shown = |fill: &Option<f64>| fill.map_or_else(|| "?".to_owned(), |fill| format!("{fill:.0}"));
        let Asked { senders, recipients } = self.asked;
        let plural = if senders == 1 { "" } else { "s" };
        let bound = if self.exit_status == GENERATOR_BOUND { "; the generator was the bottleneck" } else { "" };
        format!(
            "{senders} sender{plural}, {recipients} recipients, fill {sent:.0} sent / {} handed on / {} receipts{bound}",
            shown(forwarded),
            shown(receipts)
        )
    }
}

/// What the relay floor prints.
#[derive(Debug, Clone, Deserialize)]
pub struct Relay {
    pub cpu_us: f64,
    /// Frames a second.
    pub rate: f64,
}

/// Exit status of the load generator when it was the bottleneck itself.
const GENERATOR_BOUND: u8 = 2;

/// Runs of which the generator was the bottleneck before a measure gives up.
const TRIES: usize = 4;

/// As [`load`], where rate or latency is judged: a run in which the generator was the bottleneck says nothing of the router's
/// and is taken again.
///
/// # Errors
/// As [`load`], or the generator was the bottleneck every time.
pub fn unhindered(programs: &Programs, arguments: &[&str]) -> Result<Load> {
    for tried in 1..=TRIES {
        let load = load(programs, arguments)?;
        if load.exit_status != GENERATOR_BOUND {
            return Ok(load);
        }
        let rate = load.rate.achieved_per_s;
        eprintln!("the load generator was the bottleneck at {rate:.0} messages/s: no result, try {tried} of {TRIES}");
    }
    bail!("the load generator was the bottleneck in {TRIES} runs of {}: nothing can be judged", arguments.join(" "))
}

/// Runs the load generator with a network of its own.
///
/// # Errors
/// It cannot be started, its checks fail, or messages were lost.
pub fn load(programs: &Programs, arguments: &[&str]) -> Result<Load> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("result.json");
    let mut command = Command::new(&programs.loadgen);
    command.args(["--self-contained", "--quiet", "--no-tui", "--json"]).arg(&file).args(arguments);
    let status = command.stdout(std::process::Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {}", workspace::shown(&command)))?;
    let code = status.code().unwrap_or(3);
    ensure!(code == 0 || code == i32::from(GENERATOR_BOUND), "{} ended with {status}", workspace::shown(&command));
    let text = std::fs::read_to_string(&file).with_context(|| format!("no result in {}", file.display()))?;
    let load: Load = parse(&text)?;
    ensure!(load.outcomes.delivered > 0, "{} delivered no message", workspace::shown(&command));
    Ok(load)
}

/// Runs the relay floor.
///
/// # Errors
/// It cannot be started or says nothing.
pub fn relay(programs: &Programs, frame_bytes: u32, sinks: u32, rate: u64, seconds: u64) -> Result<Relay> {
    let mut command = Command::new(&programs.relay);
    for (option, value) in
        [("--frame-bytes", frame_bytes.into()), ("--sinks", sinks.into()), ("--rate", rate), ("--seconds", seconds)]
    {
        command.args([option, &value.to_string()]);
    }
    parse(&workspace::output(&mut command)?)
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("not what was expected: {text:.200}"))
}

/// The median of some values, and the interquartile range as spread.
///
/// # Errors
/// There is no value.
fn median(values: &[f64]) -> Result<(f64, Spread)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a few dozen values"
        )]
        let place = (share * (sorted.len().saturating_sub(1)) as f64).round() as usize;
        sorted.get(place).copied().context("no run to take a median of")
    };
    Ok((at(0.5)?, Spread { low: at(0.25)?, high: at(0.75)? }))
}

/// The median of some runs as a reading, with the interquartile range as spread.
///
/// # Errors
/// There is no run.
pub fn reading(what: impl Into<String>, values: &[f64], unit: &'static str, limit: Option<Limit>) -> Result<Reading> {
    let (value, spread) = median(values)?;
    Ok(Reading::spread(what, value, spread, unit, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_of_runs_is_the_one_in_the_middle() {
        let found = median(&[5.0, 1.0, 9.0, 2.0, 3.0]).ok();
        assert_eq!(found, Some((3.0, Spread { low: 2.0, high: 5.0 })));
        assert!(median(&[]).is_err());
    }
}
