//! What is there to test, and what does it need? Every kind of test of the project, one after the other.
//!
//! Needs that are missing are installed when we are root on a Debian system, and named with their command otherwise.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::counts;
use crate::measure::{self, replay_fuzz_corpora};
use crate::simulate;
use crate::workspace;

/// What the command line asks for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only the steps whose name contains this word
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Also the tests that take minutes and gigabytes of disk
    #[arg(long)]
    long: bool,
}

/// One kind of test.
struct Step {
    name: &'static str,
    run: fn() -> Result<()>,
}

/// With `--long`, after all others.
const LONG: Step = Step { name: "long", run: long_tests };

/// Every kind of test, the quickest first.
const STEPS: [Step; 8] = [
    Step { name: "needs", run: needs },
    Step { name: "prometheus rules", run: prometheus_rules },
    Step { name: "workspace", run: workspace_tests },
    Step { name: "loom", run: loom },
    Step { name: "fuzz corpora", run: replay_fuzz_corpora },
    Step { name: "counts", run: instruction_counts },
    Step { name: "simulation", run: simulation },
    Step { name: "measures", run: short_measures },
];

/// A program the tests need, and how to get it.
struct Need {
    program: &'static str,
    argument: &'static str,
    package: &'static str,
    why: &'static str,
}

const NEEDS: [Need; 5] = [
    Need { program: "cc", argument: "--version", package: "gcc", why: "the crypto library is C" },
    Need { program: "c++", argument: "--version", package: "g++", why: "libFuzzer is C++" },
    Need { program: "openssl", argument: "version", package: "openssl", why: "tests make certificate chains with it" },
    Need { program: "promtool", argument: "--version", package: "prometheus", why: "it tests the alert rules" },
    Need { program: "valgrind", argument: "--version", package: "valgrind", why: "it counts instructions" },
];

/// Runs every step, or those whose name contains the word asked for.
pub fn command(options: &Options) -> Result<()> {
    let word = options.only.as_deref().unwrap_or_default();
    let long = options.long.then_some(&LONG);
    let chosen: Vec<_> = STEPS.iter().chain(long).filter(|step| step.name.contains(word)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        bail!("no step is called `{word}`; there are {}", names.join(", "));
    }
    for step in chosen {
        let started = Instant::now();
        println!("\n== {} ==", step.name);
        (step.run)().with_context(|| format!("step `{}`", step.name))?;
        println!("== {}: good, {:.0} s ==", step.name, started.elapsed().as_secs_f64());
    }
    Ok(())
}

fn needs() -> Result<()> {
    let missing: Vec<_> = NEEDS.iter().filter(|need| !workspace::answers(need.program, need.argument)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        println!("missing: {} ({}), Debian package {}", need.program, need.why, need.package);
    }
    let packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    if !rustix::process::geteuid().is_root() || !workspace::answers("apt-get", "--version") {
        bail!("install what is missing: sudo apt-get install --yes --no-install-recommends {}", packages.join(" "));
    }
    let quiet = ("DEBIAN_FRONTEND", "noninteractive");
    workspace::run(Command::new("apt-get").args(["update", "--quiet"]).env(quiet.0, quiet.1))?;
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    workspace::run(Command::new("apt-get").args(install).args(packages).env(quiet.0, quiet.1))
}

fn prometheus_rules() -> Result<()> {
    let folder = workspace::root().join("ops/prometheus");
    let promtool = || {
        let mut command = Command::new("promtool");
        command.current_dir(&folder);
        command
    };
    workspace::run(promtool().args(["check", "config", "--syntax-only", "prometheus.yml"]))?;
    workspace::run(promtool().args(["check", "rules", "kernpost.rules.yml"]))?;
    workspace::run(promtool().args(["test", "rules", "kernpost.rules.test.yml"]))
}

/// Building for `--workspace` also builds the programs that the end-to-end tests start; told where they are, the tests do
/// not build them again for one package, whose dependencies would have other features.
fn workspace_tests() -> Result<()> {
    workspace::run(workspace::cargo().args(["test", "--workspace", "--no-run"]))?;
    let programs = workspace::target().join("debug");
    workspace::run(workspace::cargo().args(["test", "--workspace"]).env("KERNPOST_PROGRAMS", programs))
}

/// What the tests themselves call long, or a measurement: every ignored test.
fn long_tests() -> Result<()> {
    workspace::run(workspace::cargo().args(["test", "--workspace", "--no-run"]))?;
    let programs = workspace::target().join("debug");
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--tests", "--", "--ignored", "--nocapture"]);
    workspace::run(command.env("KERNPOST_PROGRAMS", programs))
}

/// The table's publish and read under every interleaving loom can think of.
fn loom() -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["test", "--release", "--package", "kernpost-routing-table", "--lib", "--target-dir"]);
    command.arg(workspace::target().join("loom")).env("RUSTFLAGS", "--cfg loom");
    workspace::run(&mut command)
}

/// Instructions of lookups and engine turns, against those on record.
fn instruction_counts() -> Result<()> {
    if !counts::command(&counts::Options::default())? {
        bail!("more instructions than on record");
    }
    Ok(())
}

/// Thousands of simulated networks. In release, although that has to be built first: it is ten times as fast, and the measures that
/// follow use most of what is built for it.
fn simulation() -> Result<()> {
    let options = simulate::Options { seeds: SEEDS, first_seed: 1, threads: 0, mutants: false };
    if !simulate::run(&options, None)? {
        bail!("a seed found something");
    }
    Ok(())
}

/// Seeds simulated with every test run: under a minute on two cores.
const SEEDS: u64 = 2_000;

/// The measures that are quick and need no quiet machine; the others are run by hand and stated with their numbers.
fn short_measures() -> Result<()> {
    for name in ["explain", "demo"] {
        if !measure::run(name, true, None)? {
            bail!("measure `{name}` falls short");
        }
    }
    Ok(())
}
