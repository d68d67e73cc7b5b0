//! The main job, from nothing: build, keys, directory, two routers, authorities, portals; send; count; stop.
//!
//! Every part is a process of its own on `[::1]`. The demo is good only when every application has a verified receipt,
//! nothing was handed over twice, and every router's ledger balances.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

mod books;
mod portals;
mod show;

use crate::draw;
use crate::network::Network;
use crate::plan;
use crate::workspace::Programs;
use kernpost_loadgen::interrupt;
use kernpost_loadgen::lists::Lists;
use kernpost_loadgen::network::Folder;
use kernpost_loadgen::network::plan::Plan;

/// What the command line asks for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How many applications to send
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub applications: usize,
    /// Draw the same applications again; printed by every run
    #[arg(long)]
    pub seed: Option<u64>,
    /// Leave the network running, and say how to talk to it
    #[arg(long)]
    pub keep: bool,
    /// Write the summary to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { applications: 1_000, seed: None, keep: false, json: None }
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Applications given to the portals.
    pub sent: u64,
    /// With a verified receipt *delivered*.
    pub delivered: u64,
    /// With a verified receipt *rejected*.
    pub rejected: u64,
    /// Certainly not handed over.
    pub refused: u64,
    /// Possibly handed over.
    pub undecided: u64,
    /// Without any outcome.
    pub lost: u64,
    /// Handed to an application more than once.
    pub duplicates: u64,
    /// Endpoints of the directory, each with its own key.
    pub endpoints: u64,
    /// From handing a message to the library until its verified receipt.
    pub latency_ms: Latency,
    /// Sent, by the time from the first message to the last receipt.
    pub messages_per_second: f64,
    /// Whether every router's ledger balances.
    pub ledger_balanced: bool,
    /// Draws the same applications again.
    pub seed: u64,
    /// How many crossed both routers.
    pub crossed: u64,
}

/// Milliseconds.
#[derive(Debug, Default, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// Slowest.
    pub max: f64,
}

impl Summary {
    /// Whether the demo showed what it set out to show.
    pub fn good(&self) -> bool {
        self.delivered + self.rejected == self.sent && self.lost == 0 && self.duplicates == 0 && self.ledger_balanced
    }
}

/// Runs the demo as the command line asks. False: something is missing.
pub fn command(options: &Options) -> Result<bool> {
    let summary = run(options)?;
    if let Some(path) = &options.json {
        write_json(path, &summary)?;
    }
    Ok(summary.good())
}

/// Runs the demo and prints what came of it.
pub fn run(options: &Options) -> Result<Summary> {
    interrupt::watch()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let lists = Lists::shipped()?;
    let plan = plan::draw(&lists)?;
    let applications = draw::applications(&lists, options.applications, seed)?;

    println!("building (release)");
    let programs = Programs::build_release()?;
    let place = tempfile::Builder::new().prefix("kernpost-demo-").tempdir()?;
    let folder = Folder::make(place.path())?;
    let mut network = start(&plan, programs, folder)?;
    let tally = portals::send(&mut network, &plan, &applications)?;

    show::explained(&network)?;
    show::receipt(&network)?;
    let balanced = books::balanced(&network)?;
    let summary = finish(options, network, &plan, tally, balanced, seed)?;
    if options.keep {
        // The folder stays: the network uses it.
        let _ = place.keep();
    }
    show::summary(&summary);
    Ok(summary)
}

fn start(plan: &Plan, programs: Programs, folder: Folder) -> Result<Network> {
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(100));
    let said = |what: &str| {
        spinner.set_message(what.to_owned());
        spinner.is_hidden().then(|| println!("{what}"));
    };
    let network = Network::start(plan, programs, folder, &said);
    spinner.finish_and_clear();
    network
}

fn finish(
    options: &Options,
    mut network: Network,
    plan: &Plan,
    tally: portals::Tally,
    ledger_balanced: bool,
    seed: u64,
) -> Result<Summary> {
    // What was handed over is known when the authorities end; with --keep they start again.
    network.stop_authorities()?;
    let duplicates = books::handed_twice(&network, plan)?;
    let summary = Summary {
        sent: tally.sent,
        delivered: tally.delivered,
        rejected: tally.rejected,
        refused: tally.refused,
        undecided: tally.undecided,
        lost: tally.lost(),
        duplicates,
        endpoints: plan.endpoints().count() as u64,
        latency_ms: tally.latency(),
        messages_per_second: tally.rate(),
        ledger_balanced,
        seed,
        crossed: tally.crossed,
    };
    if options.keep {
        network.start_authorities(plan)?;
        show::how_to_talk(&network);
        network.leave_running();
    } else {
        network.stop()?;
    }
    Ok(summary)
}

fn write_json(path: &Path, summary: &Summary) -> Result<()> {
    let text = serde_json::to_string_pretty(summary)?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A progress bar over all applications.
fn progress(total: u64) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} receipts, {per_sec}, {elapsed}")?;
    Ok(ProgressBar::new(total).with_style(style))
}
