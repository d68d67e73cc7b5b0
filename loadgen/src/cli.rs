//! The command line: a scenario, what differs from it, where it runs, and where results go.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::find_max::Search;
use crate::live::Live;
use crate::measured::{FORMAT, Measured};
use crate::run;
use crate::scenario::{PayloadShare, Scenario, algorithms, file, ready};
use crate::schedule::Shape;
use crate::slo::Slo;
use crate::stand::{Building, Given, Stand};
use crate::{custody, exit_status, forger, interrupt, report, sink, source, storm, units};

#[derive(Debug, Parser)]
#[command(
    name = "kernpost-loadgen",
    version,
    about = "Load tests of a Kernpost network: open loop, every message accounted for, the generator itself watched",
    after_long_help = AFTER_HELP,
    args_conflicts_with_subcommands = true
)]
struct CommandLine {
    #[command(subcommand)]
    process: Option<Process>,
    #[command(flatten)]
    options: Options,
}

/// The other processes of a test; started by this program, not by people.
#[derive(Debug, Subcommand)]
enum Process {
    /// Sends
    #[command(hide = true)]
    Source { job: PathBuf },
    /// Receives
    #[command(hide = true)]
    Sink { job: PathBuf },
    /// Sends with broken signatures
    #[command(hide = true)]
    Forger { job: PathBuf },
    /// Leaves and comes back
    #[command(hide = true)]
    Storm { job: PathBuf },
    /// Sends, for a measure of custody
    #[command(hide = true)]
    CustodySource { job: PathBuf },
    /// Receives, for a measure of custody
    #[command(hide = true)]
    CustodySink { job: PathBuf },
    /// Measures what routers keep for those who are away; prints JSON
    Custody {
        /// Below which the network goes, on the disk to be measured; the temporary folder without it
        #[arg(long, value_name = "PATH")]
        below: Option<PathBuf>,
        #[command(subcommand)]
        task: custody::Task,
    },
}

const AFTER_HELP: &str = "\
EXAMPLES
  A first look, everything started here and taken down again:
    kernpost-loadgen --self-contained --rate 2000/s --duration 10s --slo 'p99<20ms,lost=0'
  As fast as it goes, results for a program:
    kernpost-loadgen --self-contained --max --recipients 4 --payload 1KiB --json result.json
  A ready scenario with its objectives, and a report for the browser:
    kernpost-loadgen --self-contained --scenario deadline-day --html report.html
  The highest rate that still answers in time:
    kernpost-loadgen --self-contained --find-max --rate 5k --slo 'p99<20ms,lost=0,refused=0'
  A network that is there already, with its router on this machine:
    kernpost-loadgen --config portal.toml --sink-config authority.toml --to 99050012104000:147130000000 \\
        --admin '[::1]:9713' --router-pid 4711 --rate 200/s

HOW TO READ THE RESULT
  Latency counts from the intended start of a message, not from when there was room for it: a network that stalls
  cannot hide it. The second line of latencies shows what a closed loop would have reported. Warm-up is not measured.
  Router CPU, memory and bytes are those of the router's own process. Compare numbers of one machine in turns only.

OBJECTIVES
  name operator value, separated by commas; operators < <= = >= >. Latencies with their unit (us, ms, s): p50 p90 p99
  p99.9 max others-p50 others-p99 one-way-p99 cpu-per-message. Counts: lost not-started duplicates rejected refused expired
  undecided custody other not-taken bad-accepted reconnects-missed. Rates: rate offered. Percent, of the intended messages:
  delivered refused-share; of a core: cpu. Bytes: memory overhead-sender overhead-recipient. Plain: checks-per-message
  bundle-fill.
  Messages that were never started, because no room came within 5 s after the end, are lost, and fail the run.

EXIT STATUS
  0  everything held
  1  an objective was missed, messages were never started, links did not come back, or a check of the results failed
  2  the generator itself was the bottleneck: the numbers are no results, they say nothing about the network
  3  nothing could be measured: wrong options, a process that did not start, told to stop";

#[derive(Debug, Args)]
struct Options {
    /// Start routers, source and sink here, with keys, certificates and directory of their own
    #[arg(long, help_heading = "Network")]
    self_contained: bool,
    /// The router's program [default: kernpost-router beside this program]
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    router_bin: Option<PathBuf>,
    /// Keep everything that is started in this new folder: configurations, keys, logs
    #[arg(long, value_name = "FOLDER", help_heading = "Network")]
    folder: Option<PathBuf>,
    /// Use a given network: the configuration of the endpoints that send
    #[arg(long, value_name = "FILE", conflicts_with = "self_contained", help_heading = "Network")]
    config: Option<PathBuf>,
    /// The configuration of the endpoints that receive; without it they receive elsewhere
    #[arg(long, value_name = "FILE", requires = "config", help_heading = "Network")]
    sink_config: Option<PathBuf>,
    /// Send to this service and jurisdiction of the given network; may be repeated
    #[arg(long, value_name = "SERVICE:ARS", requires = "config", help_heading = "Network")]
    to: Vec<String>,
    /// Admin interface of a router of the given network, host:port; may be repeated, the senders' router first
    #[arg(long, value_name = "ADDRESS", requires = "config", help_heading = "Network")]
    admin: Vec<String>,
    /// Process id of a router of the given network on this machine; may be repeated, in the order of --admin
    #[arg(long, value_name = "PID", requires = "config", help_heading = "Network")]
    router_pid: Vec<u32>,
    /// Routers between senders and recipients: 1 or 2
    #[arg(long, value_name = "N", help_heading = "Network")]
    routers: Option<usize>,
    /// Sending endpoints
    #[arg(long, value_name = "N", help_heading = "Network")]
    senders: Option<usize>,
    /// Links the senders are spread over
    #[arg(long, value_name = "N", help_heading = "Network")]
    sender_links: Option<usize>,
    /// Receiving endpoints
    #[arg(long, value_name = "N", help_heading = "Network")]
    recipients: Option<usize>,
    /// Links the recipients are spread over
    #[arg(long, value_name = "N", help_heading = "Network")]
    recipient_links: Option<usize>,
    /// Signing algorithm of every endpoint: esp256, ed25519, esp384, ml-dsa-65, or hybrid
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    algorithm: Option<String>,
    /// Routes in the directory; above 0 a directory of generated routes
    #[arg(long, value_name = "N", help_heading = "Network")]
    routes: Option<usize>,
    /// A key of the routers' configuration, such as 'router.workers=2'; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Network")]
    router_set: Vec<String>,
    /// Where the sink's journal lies
    #[arg(long, value_name = "PLACE", default_value = "disk", value_parser = ["disk", "memory"], help_heading = "Network")]
    journal: String,

    /// A scenario file, or the name of a ready one; see --list-scenarios
    #[arg(long, value_name = "FILE|NAME", help_heading = "Load")]
    scenario: Option<String>,
    /// Print the ready scenarios, what they show and what they require
    #[arg(long, help_heading = "Load")]
    list_scenarios: bool,
    /// Messages per second, such as 1500/s or 20k
    #[arg(long, value_name = "RATE", conflicts_with_all = ["max", "ramp"], help_heading = "Load")]
    rate: Option<String>,
    /// From one rate to another over the duration, such as 1k..20k
    #[arg(long, value_name = "FROM..TO", conflicts_with = "max", help_heading = "Load")]
    ramp: Option<String>,
    /// As fast as it goes: the next message starts as soon as fewer than --in-flight are under way
    #[arg(long, help_heading = "Load")]
    max: bool,
    /// Find the highest rate that meets the objectives, beginning at --rate; each step measures --duration
    #[arg(long, conflicts_with_all = ["max", "ramp"], help_heading = "Load")]
    find_max: bool,
    /// Steps that --find-max takes at most
    #[arg(long, value_name = "N", default_value_t = 12, requires = "find_max", help_heading = "Load")]
    steps: u32,
    /// How long is measured, such as 30s
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    duration: Option<String>,
    /// How long messages are sent before that, unmeasured
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    warm_up: Option<String>,
    /// Payload of every message, such as 1KiB
    #[arg(long, value_name = "SIZE", help_heading = "Load")]
    payload: Option<String>,
    /// Messages under way at most
    #[arg(long, value_name = "N", help_heading = "Load")]
    in_flight: Option<usize>,
    /// How long a message may take until its outcome is refused or undecided
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    timeout: Option<String>,
    /// Draws the same messages again
    #[arg(long, value_name = "N", help_heading = "Load")]
    seed: Option<u64>,
    /// Receipts per second that the generator verifies again, offline; 0: none
    #[arg(long, value_name = "N", default_value_t = 50, help_heading = "Load")]
    recheck: u32,

    /// Objectives, such as 'p99<5ms,lost=0,rate>=1000/s'; replaces those of the scenario
    #[arg(long, value_name = "OBJECTIVES", help_heading = "Results")]
    slo: Option<String>,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    json: Option<PathBuf>,
    /// Write the latencies as HdrHistogram percentile text
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    hgrm: Option<PathBuf>,
    /// Write a report with plots that any browser shows, one file, no network
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    html: Option<PathBuf>,
    /// No terminal view: one line a second on standard error
    #[arg(long, help_heading = "Results")]
    no_tui: bool,
    /// Nothing while it runs
    #[arg(long, short, help_heading = "Results")]
    quiet: bool,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            let _ = error.print();
            // 2 is taken: it says that the generator was the bottleneck.
            return if error.use_stderr() { ExitCode::from(exit_status::COULD_NOT_RUN) } else { ExitCode::SUCCESS };
        }
    };
    log();
    let done = match &line.process {
        Some(Process::Source { job }) => source::process(job).map(|()| 0),
        Some(Process::Sink { job }) => sink::process(job).map(|()| 0),
        Some(Process::Forger { job }) => forger::process(job).map(|()| 0),
        Some(Process::Storm { job }) => storm::process(job).map(|()| 0),
        Some(Process::CustodySource { job }) => custody::source::process(job).map(|()| 0),
        Some(Process::CustodySink { job }) => custody::sink::process(job).map(|()| 0),
        Some(Process::Custody { below, task }) => measure_custody(task, below.clone()),
        None => conduct(&line.options),
    };
    if let Err(error) = &done {
        eprintln!("kernpost-loadgen: {error:#}");
    }
    ExitCode::from(exit_status::of_program(&done))
}

fn measure_custody(task: &custody::Task, below: Option<PathBuf>) -> Result<u8> {
    interrupt::watch()?;
    let measured = custody::run(task, below)?;
    report::say(&serde_json::to_string_pretty(&measured)?);
    Ok(0)
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
}

fn conduct(options: &Options) -> Result<u8> {
    if options.list_scenarios {
        return list_scenarios().map(|()| 0);
    }
    let scenario = options.scenario()?;
    let building = options.building()?;
    interrupt::watch()?;
    let said = |what: &str| {
        if !options.quiet {
            eprintln!("kernpost-loadgen: {what}");
        }
    };
    let mut stand = Stand::build(&scenario, &building, &said)?;
    let done =
        if options.find_max { search(options, &mut stand, scenario) } else { once(options, &mut stand, &scenario) };
    let well = stand.take_down();
    let status = done?;
    if !well? {
        bail!("a router did not stop well");
    }
    Ok(status)
}

/// One run and its results.
fn once(options: &Options, stand: &mut Stand, scenario: &Scenario) -> Result<u8> {
    let mut live = options.live()?;
    let measured = run::run(stand, scenario, options.self_contained, &mut live);
    // The terminal is given back before anything is printed.
    drop(live);
    let measured = measured?;
    report::print(&measured);
    if let Some(path) = &options.json {
        report::write_json(path, &measured)?;
    }
    options.write_pages(&measured)?;
    Ok(measured.exit_status)
}

/// What `--find-max` writes as JSON.
#[derive(serde::Serialize)]
struct Found {
    format: u32,
    /// Highest rate that met the objectives, messages per second.
    best_per_s: Option<f64>,
    /// Whether the generator, not the network, ended the search.
    generator_bound: bool,
    /// Every run.
    runs: Vec<Measured>,
}

fn search(options: &Options, stand: &mut Stand, mut scenario: Scenario) -> Result<u8> {
    if scenario.slo.is_empty() {
        bail!("--find-max needs objectives: give --slo, such as 'p99<20ms,lost=0,refused=0'");
    }
    let first = match scenario.load.shape {
        Shape::Steady(rate) => rate,
        Shape::Ramp { from, .. } => from,
        Shape::Closed => FIRST_RATE,
    };
    let mut search = Search::new(first, options.steps, PRECISION);
    let mut found = Found { format: FORMAT, best_per_s: None, generator_bound: false, runs: Vec::new() };
    while let Some(rate) = search.next_rate() {
        scenario.load.shape = Shape::Steady(rate);
        let mut live = options.live()?;
        let measured = run::run(stand, &scenario, options.self_contained, &mut live);
        drop(live);
        let measured = measured?;
        let kept_up = measured.rate.achieved_per_s >= KEPT_UP * measured.rate.offered_per_s;
        let met = measured.exit_status == 0 && kept_up;
        report::say(&format!(
            "{:>9}  {}",
            if met { "met" } else { report::text::short(&measured) },
            report::text::row(&measured)
        ));
        // The lowest rate that missed decides whose limit it is.
        if !met && search.lowest_miss().is_none_or(|lowest| rate < lowest) {
            found.generator_bound = measured.limited.generator_bound();
        }
        search.on_result(rate, met);
        found.runs.push(measured);
    }
    found.best_per_s = search.best();
    let best = found.runs.iter().filter(|run| run.exit_status == 0);
    let best = best.max_by(|a, b| a.rate.achieved_per_s.total_cmp(&b.rate.achieved_per_s));
    if let Some(best) = best {
        report::print(best);
        options.write_pages(best)?;
    }
    if let Some(path) = &options.json {
        report::write_json(path, &found)?;
    }
    match (found.best_per_s, found.generator_bound) {
        (Some(best), false) => report::say(&format!("highest rate that meets {}: {best:.0}/s", scenario.slo)),
        (Some(best), true) => report::say(&format!(
            "{best:.0}/s meets {}; above that the generator was the bottleneck, so the network's limit was not found",
            scenario.slo
        )),
        (None, _) => report::say(&format!("no rate that was tried meets {}", scenario.slo)),
    }
    let failed = found.runs.iter().any(|run| !run.broken().is_empty());
    Ok(exit_status::of_run(failed, found.generator_bound, found.best_per_s.is_none()))
}

/// Where `--find-max` begins when no rate is given, messages per second.
const FIRST_RATE: f64 = 1_000.0;
/// It ends when both ends are as near as this share of the rate.
const PRECISION: f64 = 0.05;
/// A run that did less than this share of what was offered did not keep up.
const KEPT_UP: f64 = 0.98;

fn list_scenarios() -> Result<()> {
    for (name, text) in ready::READY {
        let scenario = file::parse(name, text)?;
        report::say(&format!("{name}\n    {}\n    requires {}\n", scenario.about, scenario.slo));
    }
    Ok(())
}

impl Options {
    fn live(&self) -> Result<Live> {
        if self.quiet {
            return Ok(Live::Quiet);
        }
        if self.no_tui || !std::io::stdout().is_terminal() {
            return Ok(Live::plain());
        }
        Live::terminal()
    }

    fn write_pages(&self, measured: &Measured) -> Result<()> {
        if let Some(path) = &self.hgrm {
            report::hgrm::write(path, measured)?;
        }
        if let Some(path) = &self.html {
            report::html::write(path, measured)?;
        }
        Ok(())
    }

    fn scenario(&self) -> Result<Scenario> {
        let mut scenario = match &self.scenario {
            Some(name) => file::load(name)?,
            None => Scenario::default(),
        };
        let wrong = |option: &'static str| move |error: String| anyhow::anyhow!("--{option}: {error}");
        let network = &mut scenario.network;
        set(&mut network.routers, self.routers);
        set(&mut network.senders, self.senders);
        set(&mut network.recipients, self.recipients);
        network.sender_links = self.sender_links.unwrap_or(network.sender_links.min(network.senders));
        network.recipient_links = self.recipient_links.unwrap_or(network.recipient_links.min(network.recipients));
        set(&mut network.routes, self.routes);
        if let Some(name) = &self.algorithm {
            network.algorithms = vec![algorithms(name).map_err(wrong("algorithm"))?];
        }
        for setting in &self.router_set {
            let table: toml::Table = setting.parse().with_context(|| format!("--router-set {setting}"))?;
            crate::network::config::merge(&mut network.router, &table);
        }
        let load = &mut scenario.load;
        if let Some(rate) = &self.rate {
            load.shape = Shape::Steady(units::rate(rate).map_err(wrong("rate"))?);
        }
        if let Some(ramp) = &self.ramp {
            let (from, to) = ramp.split_once("..").context("--ramp: write two rates, such as 1k..20k")?;
            let rate = |text: &str| units::rate(text).map_err(wrong("ramp"));
            load.shape = Shape::Ramp { from: rate(from)?, to: rate(to)? };
        }
        if self.max {
            (load.shape, load.burst) = (Shape::Closed, None);
        }
        let time = |slot: &mut Duration, text: &Option<String>, option: &'static str| -> Result<()> {
            if let Some(text) = text {
                *slot = units::duration(text).map_err(wrong(option))?;
            }
            Ok(())
        };
        time(&mut load.duration, &self.duration, "duration")?;
        time(&mut load.warm_up, &self.warm_up, "warm-up")?;
        time(&mut load.timeout, &self.timeout, "timeout")?;
        if let Some(payload) = &self.payload {
            load.payload = vec![PayloadShare::exactly(units::size(payload).map_err(wrong("payload"))?)];
        }
        set(&mut load.in_flight, self.in_flight);
        set(&mut load.seed, self.seed);
        if let Some(slo) = &self.slo {
            scenario.slo = slo.parse::<Slo>().map_err(wrong("slo"))?;
        }
        let problems = scenario.problems();
        if problems.is_empty() { Ok(scenario) } else { bail!("this cannot be run:\n  {}", problems.join("\n  ")) }
    }

    fn building(&self) -> Result<Building> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let beside = program.with_file_name("kernpost-router");
        let router_program = self.router_bin.clone().unwrap_or(beside);
        if !self.self_contained && self.config.is_none() {
            bail!("say where to run: --self-contained, or --config FILE for a given network");
        }
        if self.self_contained && !router_program.is_file() {
            bail!("there is no {}: build kernpost-router, or name it with --router-bin", router_program.display());
        }
        Ok(Building {
            program,
            router_program,
            folder: self.folder.clone(),
            journal_on_disk: self.journal == "disk",
            checks_per_s: self.recheck,
            given: self.given()?,
        })
    }

    fn given(&self) -> Result<Option<Given>> {
        let Some(senders) = &self.config else { return Ok(None) };
        if self.to.is_empty() {
            bail!("--config needs --to SERVICE:ARS, at least once: what to send, and where");
        }
        let target = |text: &String| {
            let (service, jurisdiction) = text.split_once(':').with_context(|| {
                format!("--to {text}: write a service key and an ARS, such as 99050012104000:147130000000")
            })?;
            Ok((service.to_owned(), jurisdiction.to_owned()))
        };
        Ok(Some(Given {
            senders: senders.clone(),
            recipients: self.sink_config.clone(),
            admins: self.admin.clone(),
            pids: self.router_pid.clone(),
            targets: self.to.iter().map(target).collect::<Result<_>>()?,
        }))
    }
}

fn set<T>(slot: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *slot = given;
    }
}
