//! The measures of custody: `kernpost-loadgen custody` takes them, on the disk that cargo builds on; here they are read.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workspace::{self, Programs};

/// Builds everything as it ships and runs `kernpost-loadgen custody TASK` with `arguments`.
pub(super) fn take(programs: &Programs, task: &str, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(&programs.loadgen);
    command.args(["custody", "--below"]).arg(workspace::target().join("custody")).arg(task);
    let printed = workspace::output(command.args(arguments))?;
    println!("{printed}");
    serde_json::from_str(&printed).context("kernpost-loadgen prints no JSON")
}

/// Microseconds at `path`, in ms.
pub(super) fn milliseconds(of: &Value, path: &str) -> Result<f64> {
    Ok(super::links::number(of, path)? / 1_000.0)
}

/// 1 for true.
pub(super) fn yes(of: &Value, path: &str) -> f64 {
    if of.pointer(path) == Some(&Value::Bool(true)) { 1.0 } else { 0.0 }
}
