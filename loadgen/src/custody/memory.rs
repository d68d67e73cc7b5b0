//! Does the router's memory grow with what it holds?

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::bench::{Bench, fill};
use crate::procfs;

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Messages held, in the order in which they are reached
    #[arg(long, value_delimiter = ',', default_value = "1000000,2000000,4000000")]
    steps: Vec<u64>,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256)]
    payload: usize,
    /// What differs from the router's defaults, as TOML
    #[arg(long, default_value = "")]
    router: String,
}

/// Until what was written in the background is written.
const CALM: Duration = Duration::from_secs(3);

pub fn run(options: &Options, below: &Path) -> Result<Value> {
    let bench = Bench::start(below, 1, 1, &options.router)?;
    let memory = || bench.router_pid().and_then(procfs::memory).unwrap_or_default();
    let empty = memory();
    let (mut held, mut run, mut steps) = (0, 1, Vec::new());
    for step in &options.steps {
        let per_s = fill(&bench, step.saturating_sub(held), options.payload, run)?;
        (held, run) = (*step, run.wrapping_add(u8::try_from(step / 1_000_000 + 1)?));
        std::thread::sleep(CALM);
        let now = memory();
        steps.push(json!({
            "held": bench.custody_number("held")?, "resident": now.resident, "peak": now.peak, "filled_per_s": per_s,
            "disk_bytes": bench.custody_number("disk_bytes")?,
        }));
    }
    Ok(json!({ "empty_resident": empty.resident, "steps": steps }))
}
