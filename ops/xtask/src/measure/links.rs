//! The measures of links: `link-bench` (in `benches`) takes them, here they are judged.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Limit, Reading, Spread};
use crate::workspace::{self, Programs};

/// Builds everything as it ships and runs `link-bench TASK` with the router and `arguments`.
pub(super) fn take(task: &str, with_kernpost: bool, arguments: &[&str]) -> Result<Value> {
    let programs = Programs::build_release()?;
    let mut command = Command::new(programs.link_bench);
    command.arg(task).arg("--router").arg(programs.router);
    if with_kernpost {
        command.arg("--kernpost").arg(programs.kernpost);
    }
    let printed = workspace::output(command.args(arguments))?;
    println!("{printed}");
    serde_json::from_str(&printed).context("link-bench prints no JSON")
}

/// A reading from an object with `median`, `low` and `high` at `path`.
pub(super) fn spread(
    of: &Value,
    path: &str,
    what: impl Into<String>,
    unit: &'static str,
    limit: Option<Limit>,
) -> Result<Reading> {
    let at = |name: &str| number(of, &format!("{path}/{name}"));
    let spread = Spread { low: at("low")?, high: at("high")? };
    Ok(Reading::spread(what, at("median")?, spread, unit, limit))
}

/// A number at `path`.
pub(super) fn number(of: &Value, path: &str) -> Result<f64> {
    let number = of.pointer(path).and_then(Value::as_f64);
    let number = number.with_context(|| format!("no number at {path} in {of}"))?;
    ensure!(number.is_finite(), "{path} is {number}");
    Ok(number)
}
