//! `kernpost-router run`: the router itself. What `check` refuses is printed and nothing is bound.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use super::ConfigArgs;
use crate::check::{Intent, prepare_file};
use crate::config::{LogFormat, LogSection};

/// Returns when the router has stopped.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let prepared = match prepare_file(&args.config, args.dev, Intent::Run) {
        Ok(prepared) => prepared,
        Err(problems) => {
            writeln!(std::io::stderr(), "{problems}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    start_logging(&prepared.config.log)?;
    Ok(crate::run::run(prepared)?)
}

/// Everything goes to standard error: text for people, or JSON lines. The filter was parsed by the configuration.
fn start_logging(log: &LogSection) -> anyhow::Result<()> {
    // Acts of operators are always logged, whatever else is.
    let filter = EnvFilter::try_new(format!("{},audit=info", log.filter))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}
