//! How fast does a recipient that comes back get what waited for it? And does anybody else notice?

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::bench::{Bench, Party, Sending, fill, wait};
use super::source;

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Messages that wait
    #[arg(long, default_value_t = 500_000)]
    messages: u64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 1_024)]
    payload: usize,
    /// Messages a second to somebody else meanwhile; 0: none
    #[arg(long, default_value_t = 0.0)]
    live: f64,
    /// What differs from the router's defaults, as TOML
    #[arg(long, default_value = "")]
    router: String,
}

/// Live traffic alone, before the recipient comes back.
const ALONE: Duration = Duration::from_secs(4);
/// For everything that waited.
const PATIENCE: Duration = Duration::from_secs(170);

#[expect(clippy::cast_precision_loss, reason = "counts")]
pub fn run(options: &Options, below: &Path) -> Result<Value> {
    let bench = Bench::start(below, 2, 2, &options.router)?;
    let filled_per_s = fill(&bench, options.messages, options.payload, 1)?;
    let live = |warm_up, run| {
        let sending = Sending {
            sender: 1,
            to: vec![1],
            payload: options.payload,
            rate: Some(options.live),
            count: 10_000_000,
            warm_up,
            run,
            durable: false,
            in_flight: 65_536,
        };
        bench.source("live", &sending)
    };
    let mut beside = None;
    let mut before = None;
    if options.live > 0.0 {
        beside = Some(bench.sink(1)?);
        let source = live(Duration::from_secs(1), 100)?;
        std::thread::sleep(ALONE);
        before = Some(source.kill::<source::State>().delivered_us);
    }
    let mut during = (options.live > 0.0).then(|| live(Duration::ZERO, 101)).transpose()?;
    let mut returning = bench.sink(0)?;
    let seen = wait("everything that waited was handed over", PATIENCE, || {
        if let Some(source) = &mut during {
            source.sent()?;
        }
        let seen = returning.seen()?;
        Ok((seen.unique >= options.messages).then_some(seen))
    })?;
    let during = during.map(Party::kill::<source::State>);
    let held_us = seen.last_us - seen.first_us;
    let settled = wait("the router knows of all of it", PATIENCE, || {
        Ok((bench.custody_number("held")? == 0).then(crate::clock::mono_us))
    })?;
    drop((returning, beside));
    Ok(json!({
        "filled_per_s": filled_per_s,
        "per_s": seen.unique as f64 / (held_us as f64 / 1e6),
        "settled_per_s": seen.unique as f64 / (settled.saturating_sub(seen.first_us) as f64 / 1e6),
        "receipts_a_frame": seen.receipts as f64 / seen.receipt_frames.max(1) as f64,
        "repeats": seen.repeats_unjournalled + seen.repeats_journalled,
        "live_per_s": options.live,
        "live_before_us": before,
        "live_during_us": during.as_ref().map(|state| state.delivered_us),
        "live_others": during.as_ref().map(|state| (state.custody, state.others.clone())),
    }))
}
