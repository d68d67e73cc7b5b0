//! How does custody hold up with real processes: how fast does it take and give back, how long does a restart take, how much
//! memory does it need, and what do kills at random moments leave behind?
//!
//! A `bench::Bench` is one router with custody that can be killed and started again, and sources and sinks that can be too.
//! They write what they did into files (`custody/notes.rs`), because whoever is killed cannot answer. [`Task`] names what is
//! measured; each prints one JSON object. `cargo xtask measure custody-…` judges it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

mod bench;
mod drain;
mod kills;
mod memory;
mod notes;
mod rate;
mod restart;
pub mod sink;
pub mod source;

/// What is measured.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Task {
    /// Receipts *custody* a second with every recipient away, and their latency at a given rate
    Rate(rate::Options),
    /// How fast a returning recipient gets what waited for it, alone and beside live traffic
    Drain(drain::Options),
    /// From the start of the process until it is ready, with a full spool
    Restart(restart::Options),
    /// Resident memory with more and more messages held
    Memory(memory::Options),
    /// kill -9 of router, source and sinks at random moments
    Kill(kills::Options),
}

/// Measures, with a network in a temporary folder below `folder`.
///
/// # Errors
/// A process does not start or does not do what it should.
pub fn run(task: &Task, folder: Option<PathBuf>) -> Result<Value> {
    let below = folder.unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&below).with_context(|| format!("cannot make {}", below.display()))?;
    match task {
        Task::Rate(options) => rate::run(options, &below),
        Task::Drain(options) => drain::run(options, &below),
        Task::Restart(options) => restart::run(options, &below),
        Task::Memory(options) => memory::run(options, &below),
        Task::Kill(options) => kills::run(options, &below),
    }
}
