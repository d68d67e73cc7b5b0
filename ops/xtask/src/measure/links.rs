//! The measures of links: `link-bench` (in `benches`) takes them, here they are judged.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Limit, Reading, Spread};
use crate::workspace;

/// Builds everything as it ships and runs `link-bench TASK` with the router and `arguments`.
pub(super) fn take(task: &str, with_kernpost: bool, arguments: &[&str]) -> Result<Value> {
    // At once: built one by one they would ask for different features of what they share.
    let packages = ["--package", "kernpost-router", "--package", "kernpost-endpoint", "--package", "kernpost-benches"];
    workspace::run(workspace::cargo().args(["build", "--release", "--bins"]).args(packages))?;
    let program = |name: &str| workspace::target().join("release").join(name);
    let mut command = Command::new(program("link-bench"));
    command.arg(task).arg("--router").arg(program("kernpost-router"));
    if with_kernpost {
        command.arg("--kernpost").arg(program("kernpost"));
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
