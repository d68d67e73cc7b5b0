//! How many messages a second come into custody, and how soon is each receipt there? Every recipient is away.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::bench::{Bench, Sending};
use super::source::{self, MOST_FOLLOWED};
use crate::procfs;

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Seconds measured
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 1_024)]
    payload: usize,
    /// Messages a second; without it as fast as it goes
    #[arg(long)]
    rate: Option<f64>,
    /// Messages under way at most
    #[arg(long, default_value_t = 8_192)]
    in_flight: usize,
    /// Recipients, all of them away
    #[arg(long, default_value_t = 4)]
    recipients: usize,
    /// What differs from the router's defaults, as TOML
    #[arg(long, default_value = "")]
    router: String,
}

/// Sent before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);

#[expect(clippy::cast_precision_loss, reason = "counts")]
pub fn run(options: &Options, below: &Path) -> Result<Value> {
    let bench = Bench::start(below, 1, options.recipients, &options.router)?;
    let sending = Sending {
        sender: 0,
        to: (0..options.recipients).collect(),
        payload: options.payload,
        rate: options.rate,
        count: MOST_FOLLOWED - 10_000,
        warm_up: WARM_UP,
        run: 1,
        durable: false,
        in_flight: options.in_flight,
    };
    let mut source = bench.source("source", &sending)?;
    std::thread::sleep(WARM_UP);
    let before = source.sent()?;
    let cpu = |pid: Option<u32>| pid.and_then(procfs::cpu);
    let (router_before, source_before) = (cpu(bench.router_pid()), procfs::cpu(source.pid()));
    std::thread::sleep(Duration::from_secs(options.seconds));
    let (router_after, source_after) = (cpu(bench.router_pid()), procfs::cpu(source.pid()));
    let after = source.sent()?;
    ensure!(!after.done, "everything was sent before the time was over; measure for a shorter time");
    let custody = bench.custody()?;
    let taken = (after.custody - before.custody) as f64;
    let used = |after: Option<procfs::Cpu>, before: Option<procfs::Cpu>| {
        after.zip(before).map(|(after, before)| after.since(&before).total_ns as f64 / 1e3 / taken)
    };
    let state: source::State = source.kill();
    ensure!(state.delivered == 0, "something was delivered although nobody is there");
    Ok(json!({
        "per_s": taken / ((after.at_us - before.at_us) as f64 / 1e6),
        "custody_us": state.custody_us,
        "others": state.others,
        "router_us": used(router_after, router_before),
        "source_us": used(source_after, source_before),
        "held": custody.get("held"),
        "bytes_a_message": custody.get("disk_bytes").and_then(Value::as_f64).zip(custody.get("held").and_then(Value::as_f64))
            .map(|(bytes, held)| bytes / held),
    }))
}
