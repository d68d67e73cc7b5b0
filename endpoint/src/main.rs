//! `kernpost`: send, receive, reply, resolve, verify receipts, and work on directories, from the command line.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
