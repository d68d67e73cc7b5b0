//! The relay floor: what a message costs when nobody verifies, routes or answers.
//!
//! `relay-floor --frame-bytes 1184 --sinks 4 --rate 50000 --seconds 3` starts a relay, its sinks and a source as processes of
//! their own and prints one JSON object: frames and CPU of the relay within the window, and the latency at the sinks. Used by
//! `cargo xtask measure ratio-*`; see [`kernpost_benches::relay`] for what exactly is relayed.

use std::process::ExitCode;

use clap::Parser;
use kernpost_benches::relay::{Role, RunOptions, play, run};

#[derive(Parser)]
#[command(about = "A plain QUIC relay to compare the router with")]
struct CommandLine {
    #[command(flatten)]
    run: RunOptions,
    /// What this process plays; the parent starts the others.
    #[arg(long, hide = true)]
    role: Option<Role>,
}

fn main() -> ExitCode {
    let CommandLine { run: options, role } = CommandLine::parse();
    let played = match role {
        Some(role) => play(role, &options),
        None => run(&options),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay-floor: {error:#}");
            ExitCode::FAILURE
        }
    }
}
