//! The project's own tasks: `cargo xtask demo`, `cargo xtask test`, `cargo xtask measure NAME`.
//!
//! Nothing here ships. A task exits 0 only when everything it set out to show holds, and 1 otherwise.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod counts;
mod demo;
mod draw;
mod measure;
mod network;
mod plan;
mod seeds;
mod simulate;
mod test;
mod workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Kernpost's own tasks")]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Send signed applications over two routers, on real keys and real processes
    Demo(demo::Options),
    /// Install or name what the tests need, then run every test
    Test(test::Options),
    /// Write the fuzz targets' seed corpora again, from the test vectors
    FuzzSeeds,
    /// Measure one of the project's bars; exits 1 when it falls short
    Measure(measure::Arguments),
    /// Count instructions of lookups and engine turns with callgrind and compare them with benches/counts.toml
    Counts(counts::Options),
    /// Simulate routers and endpoints with failing links, processes and disks, one run per seed
    Simulate(simulate::Options),
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().task {
        Task::Demo(options) => demo::command(&options),
        Task::Test(options) => test::command(&options).map(|()| true),
        Task::FuzzSeeds => seeds::command().map(|()| true),
        Task::Measure(arguments) => measure::command(&arguments),
        Task::Counts(options) => counts::command(&options),
        Task::Simulate(options) => simulate::command(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
