//! Measurements of links: priorities on a slow line, a flood of strangers, a thousand links at once.
//!
//! `link-bench NAME` starts router, senders and recipients as processes of their own (this program again, in another role)
//! and prints one JSON object. `cargo xtask measure` judges it.

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::Value;

mod crowd;
mod fetch;
mod handshakes;
mod memory;
mod namespaces;
mod network;
mod portal;
mod priority;
mod process;
mod refuser;
mod strangers;

/// What a process does.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Urgent messages beside saturating bulk, on a line shaped to 100 Mbit/s (needs root)
    Priority(priority::Options),
    /// Established links while strangers knock 500 times a second (needs root)
    Handshakes(handshakes::Options),
    /// Router memory with many links and a large table
    MemoryLinks(memory::Options),
    /// Sends and measures
    #[command(hide = true)]
    Portal(portal::Options),
    /// Knocks
    #[command(hide = true)]
    Strangers(strangers::Options),
    /// A plain QUIC endpoint that refuses whom it does not know
    #[command(hide = true)]
    Refuser(refuser::Options),
    /// Reads one page of an admin interface
    #[command(hide = true)]
    Fetch(fetch::Options),
    /// Many links of one process
    #[command(hide = true)]
    Crowd(crowd::Options),
}

/// Does it; what comes back is printed.
///
/// # Errors
/// Whatever kept it from a result.
pub fn run(task: &Task) -> Result<Option<Value>> {
    match task {
        Task::Priority(options) => priority::run(options).map(Some),
        Task::Handshakes(options) => handshakes::run(options).map(Some),
        Task::MemoryLinks(options) => memory::run(options).map(Some),
        Task::Portal(options) => in_runtime(portal::run(options)).map(|()| None),
        Task::Strangers(options) => in_runtime(strangers::run(options)).map(Some),
        Task::Refuser(options) => in_runtime(refuser::run(options)).map(|()| None),
        Task::Fetch(options) => fetch::run(options).map(Some),
        Task::Crowd(options) => in_runtime(crowd::run(options)).map(|()| None),
    }
}

fn in_runtime<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("async runtime")?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(task))
}

/// The middle of some values; of an even number the upper of the two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A number of a JSON object.
fn number(value: &Value, path: &str) -> Result<f64> {
    value.pointer(path).and_then(Value::as_f64).with_context(|| format!("no number at {path} in {value}"))
}
