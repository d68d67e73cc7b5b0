//! Measurements of links; see [`kernpost_benches::links`].

use std::process::ExitCode;

use clap::Parser;
use kernpost_benches::links::{Task, run};

#[derive(Parser)]
#[command(about = "Measurements of links: priority, handshakes, memory-links")]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

fn main() -> ExitCode {
    match run(&CommandLine::parse().task) {
        Ok(result) => {
            result.iter().for_each(|result| println!("{result}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("link-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
