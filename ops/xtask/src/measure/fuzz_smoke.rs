//! Do the fuzz targets run without a finding?
//!
//! The targets and their committed corpora are in `tests/fuzz`, a package of its own because libFuzzer needs its
//! coverage flags in every crate; it builds with the stable compiler, into a folder of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::{Limit, Measure, Reading};
use crate::workspace;

pub(super) const MEASURE: Measure = Measure {
    name: "fuzz-smoke",
    what: "every fuzz target runs 60 s from its committed corpus without a finding",
    run,
};

/// What libFuzzer needs in every crate; `--cfg fuzzing` is what cargo-fuzz sets, too.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on \
    --cfg fuzzing";
/// Every target, each a program of `tests/fuzz`.
pub const TARGETS: [&str; 2] = ["decoder", "directory"];
/// How long each runs.
const SECONDS: u64 = 60;
/// Largest input tried.
const LARGEST: usize = 8_192;

fn run(short: bool) -> Result<Vec<Reading>> {
    let seconds = if short { SECONDS / 10 } else { SECONDS };
    build()?;
    TARGETS.iter().map(|target| fuzz(target, seconds)).collect()
}

/// Runs every committed input of every target once.
pub fn replay() -> Result<()> {
    build()?;
    for target in TARGETS {
        workspace::run(Command::new(program(target)?).arg("-runs=0").arg(corpus(target)))
            .with_context(|| format!("the committed corpus of fuzz target {target}"))?;
    }
    Ok(())
}

fn fuzz(target: &str, seconds: u64) -> Result<Reading> {
    let found = tempfile::tempdir()?;
    let findings = workspace::target().join("fuzz/findings").join(target);
    std::fs::create_dir_all(&findings)?;
    let mut command = Command::new(program(target)?);
    // New inputs go to the first folder, so that the committed corpus stays as it is.
    command.arg(found.path()).arg(corpus(target));
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={LARGEST}"));
    command.arg(format!("-artifact_prefix={}/", findings.display()));
    // libFuzzer reports at length; what it says matters only when it found something.
    let log = findings.join("log");
    command.stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
    let started = Instant::now();
    let status = command.status().with_context(|| format!("cannot start fuzz target {target}"))?;
    let ran = started.elapsed().as_secs_f64();
    if !status.success() {
        println!("fuzz target {target} ended with {status}; input and log lie in {}", findings.display());
    }
    let fallen = if status.success() { 0.0 } else { 1.0 };
    let what = format!("findings of target {target} in {ran:.0} s");
    Ok(Reading::single(what, fallen, "findings", Some(Limit::AtMost(0.0))))
}

/// Builds for a named target, because only then build scripts and macros are spared the flags.
fn build() -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["build", "--quiet", "--release", "--manifest-path", "tests/fuzz/Cargo.toml"]);
    command.args(["--target", &workspace::host()?, "--target-dir"]).arg(workspace::target().join("fuzz"));
    workspace::run(command.env("RUSTFLAGS", FLAGS))
}

fn program(target: &str) -> Result<PathBuf> {
    Ok(workspace::target().join("fuzz").join(workspace::host()?).join("release").join(target))
}

fn corpus(target: &str) -> PathBuf {
    workspace::root().join("tests/fuzz/corpus").join(target)
}
