//! How are thousands of seeds simulated, and the faults put in on purpose looked for? Builds `tests/simulation/src/bin/simulate.rs` in release,
//! with the faults only when they are asked for, and runs it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::{self, Programs};

/// What the command line asks for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Seeds to try; with --mutants: at most so many for each fault
    #[arg(long, default_value_t = 1_000)]
    pub seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    pub first_seed: u64,
    /// Threads; 0: one per core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// Put in every deliberate fault, one after the other, and see how soon it is found
    #[arg(long)]
    pub mutants: bool,
}

/// Runs it. False: a seed found something, or a fault was not found.
pub fn command(options: &Options) -> Result<bool> {
    run(options, None)
}

/// The same, with what was found as JSON in a file.
pub fn run(options: &Options, json: Option<&Path>) -> Result<bool> {
    let program = if options.mutants { build_with_faults()? } else { Programs::build_release()?.simulate };
    let mut simulate = std::process::Command::new(program);
    simulate.args(["--seeds", &options.seeds.to_string(), "--first-seed", &options.first_seed.to_string()]);
    simulate.args(["--threads", &options.threads.to_string()]);
    if options.mutants {
        simulate.arg("--mutants");
    }
    if let Some(file) = json {
        simulate.arg("--json").arg(file);
    }
    Ok(simulate.status().context("starting simulate")?.success())
}

/// In a folder of its own: nothing built with the faults lies where anything else looks for it.
fn build_with_faults() -> Result<PathBuf> {
    let target = workspace::target().join("mutants");
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--quiet", "--package", "kernpost-simulation", "--bin", "simulate"]);
    build.args(["--features", "mutants", "--target-dir"]).arg(&target);
    workspace::run(&mut build)?;
    Ok(target.join("release/simulate"))
}
