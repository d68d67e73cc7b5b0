//! How many instructions do a lookup and an entry's way through the engine take, and are these more than before?
//!
//! Callgrind counts what `benches/src/bin/counts.rs` does within its function `counted`. Unlike time, the counts hardly
//! depend on the machine or on what else it does. Left out is the crypto library, which picks its code by the processor:
//! counted are Rust's functions and those of the C library.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};

use crate::workspace::{self, Programs};

/// What the command line asks for.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Write the counts to benches/counts.toml instead of comparing
    #[arg(long)]
    record: bool,
}

/// What `benches/counts.toml` says.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The compiler that was counted with; another one may well differ.
    rustc: String,
    profile: String,
    /// More than this much above the record is a regression, in percent.
    tolerance_percent: f64,
    /// Instructions of one lookup, entry or receipt.
    instructions: BTreeMap<String, f64>,
}

/// Argument of the program, and what one of the counted things is called.
const CASES: [(&str, &str); 4] = [
    ("lookup", "a lookup, one by one"),
    ("lookup-many", "a lookup of a part of 256"),
    ("turn", "an entry of a part of 64 to 4 recipients"),
    ("receipts", "a receipt of 16 that one recipient signs together"),
];
/// Tolerance of a new record. Seeds of hash maps differ from run to run and move the counts by less than 1 %.
const TOLERANCE_PERCENT: f64 = 3.0;
/// Names of the crypto library's Rust functions contain it; of its C functions only the public ones do.
const CRYPTO: &str = "aws_lc";
/// Functions in other objects than the program are the C library's and the loader's.
const PROGRAM: &str = "/counts";

/// Counts and compares, or records. False: more instructions than on record.
pub fn command(options: &Options) -> Result<bool> {
    let program = Programs::build_release()?.counts;
    let mut counted = BTreeMap::new();
    for (case, _) in CASES {
        counted.insert(case.to_owned(), count(&program, case).with_context(|| format!("counting {case}"))?);
    }
    let path = workspace::root().join("benches/counts.toml");
    if options.record {
        let rustc = workspace::output(Command::new("rustc").arg("--version"))?.trim().to_owned();
        let profile = "release".to_owned();
        let record = Record { rustc, profile, tolerance_percent: TOLERANCE_PERCENT, instructions: counted };
        let text = format!("# Written by `cargo xtask counts --record`.\n{}", toml::to_string(&record)?);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("recorded in {}", path.display());
        return Ok(true);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let record: Record = toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(compare(&record, &counted))
}

fn compare(record: &Record, counted: &BTreeMap<String, f64>) -> bool {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["instructions of", "on record", "now", "change", "verdict"]);
    let mut good = true;
    for (case, what) in CASES {
        let (before, now) = (record.instructions.get(case), counted.get(case));
        let change = before.zip(now).map(|(before, now)| (now / before - 1.0) * 100.0);
        let verdict = verdict(change, record.tolerance_percent);
        good &= verdict != Verdict::More;
        let shown = |value: Option<&f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"));
        let change = change.map_or_else(|| "–".to_owned(), |change| format!("{change:+.1} %"));
        table.add_row([what, &shown(before), &shown(now), &change, verdict.text()]);
    }
    println!("{table}");
    println!("record: {}, profile {}, tolerance {} %", record.rustc, record.profile, record.tolerance_percent);
    good
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Less,
    More,
}

impl Verdict {
    fn text(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Less => "fewer: record it (cargo xtask counts --record)",
            Self::More => "MORE",
        }
    }
}

/// What is not on record yet counts as more.
fn verdict(change: Option<f64>, tolerance: f64) -> Verdict {
    match change {
        Some(change) if change < -tolerance => Verdict::Less,
        Some(change) if change <= tolerance => Verdict::Good,
        _ => Verdict::More,
    }
}

/// Instructions of one thing of a case.
fn count(program: &Path, case: &str) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=counts::counted*"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(program).arg(case);
    let said = workspace::output(&mut valgrind)?;
    let things: f64 = said.trim().parse().with_context(|| format!("the program said {said:?}"))?;
    let instructions = instructions(&read(&out)?);
    ensure!(instructions > 0, "nothing was collected: is `counted` inlined?");
    Ok((instructions as f64 / things * 10.0).round() / 10.0)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Sums the instructions of every function but those of the crypto library. Lines after `calls=` repeat what the called
/// function took and are left out; names are stated once and then by number.
fn instructions(out: &str) -> u64 {
    let (mut functions, mut objects) = (Names::default(), Names::default());
    let (mut rust, mut program, mut called, mut sum) = (false, true, false, 0);
    for line in out.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            let name = functions.name(name);
            rust = name.contains("::") && !name.contains(CRYPTO);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            functions.name(name);
        } else if let Some(name) = line.strip_prefix("cob=") {
            objects.name(name);
        } else if let Some(name) = line.strip_prefix("ob=") {
            program = objects.name(name).ends_with(PROGRAM);
        } else if line.starts_with("calls=") {
            called = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost: u64 = line.split(' ').nth(1).and_then(|cost| cost.parse().ok()).unwrap_or(0);
            if !std::mem::take(&mut called) && (rust || !program) {
                sum += cost;
            }
        }
    }
    sum
}

/// Names by their numbers.
#[derive(Default)]
struct Names<'a>(HashMap<&'a str, &'a str>);

impl<'a> Names<'a> {
    /// The name of `(number) name` or `(number)`.
    fn name(&mut self, stated: &'a str) -> &'a str {
        match stated.split_once(' ') {
            Some((number, name)) => {
                self.0.insert(number, name);
                name
            }
            None => self.0.get(stated).copied().unwrap_or(stated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_functions_own_instructions_outside_the_crypto_library_count() {
        let out = "ob=(1) /target/release/counts\nfn=(1) core::turn\n10 5\n+2 7\ncob=(2) /lib/libc.so.6\ncfn=(4) memcpy\n\
                   calls=1 0\n* 900\nfn=(2) aws_lc_rs::digest\n0 900\nfn=(5) p256_mul\n0 70\n\nob=(2)\nfn=(4)\n0 3\n\
                   ob=(1)\nfn=(1)\n11 1\ntotals: 986\n";
        assert_eq!(instructions(out), 16);
    }

    #[test]
    fn more_than_the_tolerance_above_the_record_or_no_record_is_a_regression() {
        let cases = [
            (Some(3.1), Verdict::More),
            (None, Verdict::More),
            (Some(3.0), Verdict::Good),
            (Some(-3.1), Verdict::Less),
        ];
        for (change, expected) in cases {
            assert_eq!(verdict(change, 3.0), expected, "{change:?}");
        }
    }
}
