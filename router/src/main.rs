//! The command `kernpost-router`. See [`kernpost_router::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kernpost_router::cli::main()
}
