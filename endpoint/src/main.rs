//! `kernpost`: send, receive, reply, ask for outcomes, resolve, verify receipts, and work on directories, from the command line.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
