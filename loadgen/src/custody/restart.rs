//! How long is a router away when it is killed with a full spool?

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::bench::{Bench, fill, wait};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Messages held
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 1_024)]
    payload: usize,
    /// How often it is killed
    #[arg(long, default_value_t = 3)]
    kills: u32,
    /// What differs from the router's defaults, as TOML
    #[arg(long, default_value = "")]
    router: String,
}

pub fn run(options: &Options, below: &Path) -> Result<Value> {
    let mut bench = Bench::start(below, 1, 1, &options.router)?;
    let filled_per_s = fill(&bench, options.messages, options.payload, 1)?;
    let mut ready_s = Vec::new();
    for _ in 0..options.kills {
        bench.kill_router();
        ready_s.push(bench.start_router()?.as_secs_f64());
        let held = wait("custody knows what it holds", Duration::from_secs(30), || {
            Ok(Some(bench.custody_number("held")?).filter(|held| *held > 0))
        })?;
        ensure!(held == options.messages, "{held} are held after the restart, not {}", options.messages);
    }
    Ok(json!({ "filled_per_s": filled_per_s, "ready_s": ready_s, "disk_bytes": bench.custody_number("disk_bytes")? }))
}
