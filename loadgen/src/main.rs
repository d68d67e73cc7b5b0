//! `kernpost-loadgen`: load tests of a Kernpost network.

use std::process::ExitCode;

fn main() -> ExitCode {
    kernpost_loadgen::cli::main()
}
