//! Does any seed find a message lost, a lie or a deadlock? And do the seeds find what was put in on purpose?
//!
//! `cargo xtask simulate` builds and runs this. Exit status: 0 nothing found (with `--mutants`: everything put in was found),
//! 1 otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a tool of the tests")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kernpost_simulation::{Finding, Mishaps, Plan, run, shrink};

/// What is asked for.
#[derive(Debug, clap::Parser)]
struct Options {
    /// Seeds to try; with --mutants: at most so many for each fault.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Threads; 0: one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Put in every deliberate fault, one after the other, and look how soon it is found.
    #[arg(long)]
    mutants: bool,
    /// Go on after a finding, and write all that is remembered of each into this folder
    #[arg(long)]
    traces: Option<std::path::PathBuf>,
    /// Write what was found as JSON to this file.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    let options = <Options as clap::Parser>::parse();
    if options.mutants { mutants(&options) } else { honest(&options) }
}

fn threads(options: &Options) -> usize {
    match options.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

/// Every seed of the range, on all threads; the first finding ends the run.
fn honest(options: &Options) -> ExitCode {
    let threads = threads(options);
    let (began, next) = (Instant::now(), AtomicU64::new(options.first_seed));
    let last = options.first_seed + options.seeds;
    println!("seeds {}..{last} on {threads} threads", options.first_seed);
    let sums = std::thread::scope(|scope| {
        let work = || {
            let mut sum = Sum::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= last {
                    return sum;
                }
                match run(&Plan::of_seed(seed)) {
                    Ok(report) => sum.add(&report),
                    Err(finding) => {
                        if let Some(folder) = &options.traces {
                            println!("FOUND {}", finding.what.lines().next().unwrap_or_default());
                            let file = folder.join(format!("{seed}.txt"));
                            std::fs::write(file, finding.long_trace()).expect("the folder of --traces can be written");
                        } else {
                            // The others stop at their next seed.
                            next.store(last, Ordering::Relaxed);
                        }
                        sum.finding = Some(*finding);
                    }
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a simulation does not panic")).collect::<Vec<_>>()
    });
    let seconds = began.elapsed().as_secs_f64();
    let mut sum = Sum::default();
    for one in sums {
        sum.merge(one);
    }
    if let Some(finding) = sum.finding.as_ref().filter(|_| options.traces.is_none()) {
        println!("FOUND {}", finding.what);
        println!("looking for a smaller run that fails too ...");
        let small = shrink(finding.clone());
        println!("smallest: {} events\n{}", small.plan.items.len(), small.trace());
        for item in &small.plan.items {
            println!("{item:?}: {:?}", small.plan.events_of(*item));
        }
        println!("repeat: cargo xtask simulate --seeds 1 --first-seed {}", finding.plan.seed);
    }
    let seeds_per_s = sum.seeds as f64 / seconds;
    println!(
        "{} seeds in {seconds:.1} s, {seeds_per_s:.1} seeds/s: {} steps, {} messages ended ({:?}), {} receipts custody, {} records damaged",
        sum.seeds,
        sum.steps,
        sum.outcomes.values().sum::<u64>(),
        sum.outcomes,
        sum.custodies,
        sum.damaged,
    );
    for (mishap, count) in sum.mishaps.all() {
        println!("{:>10} {mishap:?}", count);
    }
    if let Some(file) = &options.json {
        let found = u64::from(sum.finding.is_some());
        let json = serde_json::json!({ "seeds": sum.seeds, "seeds_per_s": seeds_per_s, "findings": found });
        std::fs::write(file, json.to_string()).expect("the file of --json can be written");
    }
    if sum.finding.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    steps: u64,
    custodies: u64,
    damaged: u64,
    outcomes: std::collections::BTreeMap<&'static str, u64>,
    mishaps: Mishaps,
    finding: Option<Finding>,
}

impl Sum {
    fn add(&mut self, report: &kernpost_simulation::Report) {
        self.seeds += 1;
        self.steps += report.steps;
        self.custodies += report.custodies;
        self.damaged += report.damaged;
        self.mishaps.merge(&report.mishaps);
        for (name, count) in &report.outcomes {
            *self.outcomes.entry(name).or_default() += count;
        }
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.custodies += other.custodies;
        self.damaged += other.damaged;
        self.mishaps.merge(&other.mishaps);
        for (name, count) in other.outcomes {
            *self.outcomes.entry(name).or_default() += count;
        }
        self.finding = self.finding.take().or(other.finding);
    }
}

#[cfg(not(feature = "mutants"))]
fn mutants(_: &Options) -> ExitCode {
    println!("built without the faults: cargo xtask simulate --mutants builds with them");
    ExitCode::FAILURE
}

/// Each fault by itself, until a seed finds it; several faults at a time.
#[cfg(feature = "mutants")]
fn mutants(options: &Options) -> ExitCode {
    use kernpost_router_core::mutant::{self, Mutant};
    let next = std::sync::atomic::AtomicUsize::new(0);
    let found = std::sync::Mutex::new(std::collections::BTreeMap::new());
    let work = || {
        while let Some(fault) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            mutant::set(Some(*fault));
            let mut seeds = options.first_seed..options.first_seed + options.seeds;
            let finding = seeds.find_map(|seed| run(&Plan::of_seed(seed)).err());
            mutant::set(None);
            // Said at once: the last of them may take long.
            match &finding {
                Some(finding) => println!("{fault:?}: seed {}", finding.plan.seed),
                None => println!("{fault:?}: not found"),
            }
            found.lock().expect("no thread panics").insert(*fault, finding);
        }
    };
    std::thread::scope(|scope| (0..threads(options)).for_each(|_| drop(scope.spawn(work))));
    let (mut missed, mut rows) = (Vec::new(), Vec::new());
    for (fault, finding) in found.into_inner().expect("no thread panics") {
        let name = format!("{fault:?}");
        match finding {
            Some(finding) => {
                let after = finding.plan.seed - options.first_seed + 1;
                let what = finding.what.lines().next().unwrap_or_default().to_owned();
                println!("{name:<28} found after {after:>4} seeds: {what}");
                rows.push(serde_json::json!({ "fault": name, "seeds": after, "what": what }));
            }
            None => {
                println!("{name:<28} NOT found in {} seeds", options.seeds);
                missed.push(name);
            }
        }
    }
    println!("{} of {} faults found", rows.len(), Mutant::ALL.len());
    if let Some(file) = &options.json {
        let json = serde_json::json!({ "found": rows, "missed": missed });
        std::fs::write(file, json.to_string()).expect("the file of --json can be written");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
