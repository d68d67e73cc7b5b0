//! Does every ready scenario hold its own objectives on these cores?
//!
//! The files are run as they ship: rate, duration, payloads and objectives. `--short` cuts the time, never the rate. A run
//! in which the generator was the bottleneck is no result and is taken again a few times; one that misses an objective is
//! not.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kernpost_loadgen::exit_status::{COULD_NOT_RUN, GENERATOR_BOUND, HELD};
use kernpost_loadgen::scenario::ready::READY;
use serde_json::Value;

use super::links::number;
use super::{Limit, Measure, Reading};
use crate::workspace::{self, Programs};

pub(super) const MEASURE: Measure = Measure {
    name: "scenarios",
    what: "every ready scenario of ops/scenarios against its own objectives, as it ships: exit status of the load generator \
           (0 held, 1 missed or failed, 2 the generator was the bottleneck in every try)",
    run,
};

/// Tries of one scenario, as long as the generator was the bottleneck.
const TRIES: u32 = 3;
/// More than this, and a missed objective may be the fault of what else runs on the machine, cores.
const DISTURBED_CORES: f64 = 0.3;
/// Long enough for a storm of links, which comes after ten seconds, and for two bursts.
const SHORT: [&str; 4] = ["--duration", "10s", "--warm-up", "2s"];

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("result.json");
    READY.iter().map(|(name, _)| scenario(&programs, name, &file, short)).collect()
}

/// One scenario, and its exit status as a reading.
fn scenario(programs: &Programs, name: &str, file: &Path, short: bool) -> Result<Reading> {
    let mut tried = 1;
    let mut status = once(programs, name, file, short)?;
    while status == GENERATOR_BOUND && tried < TRIES {
        tried += 1;
        status = once(programs, name, file, short)?;
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} left no {}", file.display()))?;
    let result = serde_json::from_str(&text).with_context(|| format!("the result of {name} is no JSON"))?;
    let what = told(name, &result, tried)?;
    Ok(Reading::single(what, f64::from(status), "exit status", Some(Limit::AtMost(f64::from(HELD)))))
}

fn once(programs: &Programs, name: &str, file: &Path, short: bool) -> Result<u8> {
    let mut command = Command::new(&programs.loadgen);
    command.args(["--self-contained", "--quiet", "--no-tui", "--scenario", name, "--json"]).arg(file);
    if short {
        command.args(SHORT);
    }
    let status = command.stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {}", workspace::shown(&command)))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(COULD_NOT_RUN);
    ensure!(code < COULD_NOT_RUN, "{} ended with {status}", workspace::shown(&command));
    Ok(code)
}

/// What a person wants to know of a run besides whether it held, and what it missed.
fn told(name: &str, result: &Value, tries: u32) -> Result<String> {
    let at = |path: &str| number(result, path);
    let delivered = 100.0 * at("/outcomes/delivered")? / at("/outcomes/intended")?.max(1.0);
    let mut told = format!(
        "{name}, {} s, {} senders, {} recipients, fill {:.1}: {:.0}/s of {:.0}/s, p99 {:.1} ms, delivered {delivered:.2} %",
        at("/asked/duration_s")?,
        at("/asked/senders")?,
        at("/asked/recipients")?,
        at("/bundle_fill/sent")?,
        at("/rate/achieved_per_s")?,
        at("/rate/offered_per_s")?,
        at("/latency_us/p99")? / 1_000.0,
    );
    let others = others(result)?;
    if others > DISTURBED_CORES {
        told.push_str(&format!("; disturbed: other processes used {others:.1} cores"));
    }
    if tries > 1 {
        told.push_str(&format!("; try {tries}"));
    }
    let judged = result.pointer("/slo").and_then(Value::as_array).context("the result has no objectives")?;
    for judgement in judged.iter().filter(|judgement| judgement.get("met") != Some(&Value::Bool(true))) {
        let text = |key: &str| judgement.get(key).and_then(Value::as_str).unwrap_or("?");
        told.push_str(&format!("; MISSED {}: {}", text("objective"), text("measured")));
    }
    Ok(told)
}

/// CPU that went to neither the load generator nor the routers, cores. Forger and storm are among the others: a few percent.
fn others(result: &Value) -> Result<f64> {
    let at = |path: &str| number(result, path);
    let routers = result.pointer("/routers").and_then(Value::as_array).context("the result has no routers")?;
    let routers: f64 = routers.iter().filter_map(|router| router.get("cpu_cores")?.as_f64()).sum();
    let used = at("/generator/machine_cores")? * (1.0 - at("/generator/machine_idle")?);
    Ok((used - at("/generator/source_cores")? - at("/generator/sink_cores")? - routers).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_with_its_tries_and_what_it_missed() -> Result<()> {
        let mut result = serde_json::json!({
            "asked": { "duration_s": 30.0, "senders": 2, "recipients": 5 },
            "rate": { "achieved_per_s": 998.6, "offered_per_s": 1_000.0 },
            "outcomes": { "delivered": 29_700, "intended": 30_000 },
            "latency_us": { "p99": 4_321 },
            "bundle_fill": { "sent": 1.52 },
            "generator": { "machine_cores": 2, "machine_idle": 0.5, "source_cores": 0.4, "sink_cores": 0.2 },
            "routers": [{ "cpu_cores": 0.3 }],
            "slo": [{ "objective": "lost = 0", "measured": "0", "met": true }],
        });
        let good = told("baseline", &result, 1)?;
        let shape = "baseline, 30 s, 2 senders, 5 recipients, fill 1.5";
        assert_eq!(good, format!("{shape}: 999/s of 1000/s, p99 4.3 ms, delivered 99.00 %"));
        result["slo"] = serde_json::json!([{ "objective": "p99 < 1.00 ms", "measured": "4.32 ms", "met": false }]);
        assert_eq!(told("baseline", &result, 2)?, format!("{good}; try 2; MISSED p99 < 1.00 ms: 4.32 ms"));
        result["generator"]["machine_idle"] = 0.0.into();
        assert!(told("baseline", &result, 1)?.contains("; disturbed: other processes used 1.1 cores; MISSED"));
        Ok(())
    }
}
