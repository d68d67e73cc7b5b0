//! One run on a stand: begin it everywhere at the same instant, look at the routers when the measured time begins and
//! ends, wait for every outcome, and put together what came of it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::child::Child;
use crate::clock::{micros, mono_us};
use crate::interrupt;
use crate::live::{Live, Now};
use crate::measured::{BadSignatures, Measured, Moment, Reconnects};
use crate::metrics_page::Page;
use crate::network::admin;
use crate::procfs::{self, Cpu, Memory};
use crate::scenario::Scenario;
use crate::stand::{RouterSeen, Stand};
use crate::talk::{Answer, Command, Progress, SinkResult, SourceResult, Start};

mod stages;
mod summing;

/// From the command until the run begins: every process has to have it by then.
const HEAD_START: Duration = Duration::from_millis(300);
/// After a run: outcomes are waited for as long as a message may take, and this.
const GRACE: Duration = Duration::from_secs(3);
/// How often answers are looked for, and at most how late the measured time's edges are met.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often a beginning is agreed upon anew when the sink confirmed it too late.
const AGREEMENTS: usize = 10;
/// A child reports within this after the end of a run.
const REPORTED_WITHIN: Duration = Duration::from_secs(60);
/// Moments shorter than this, µs, are not part of the series.
const SHORTEST_MOMENT_US: u64 = 50_000;
/// Within this a router publishes its counters after it has fallen idle.
const PUBLISHED_WITHIN: Duration = Duration::from_millis(1_200);

/// The machine and the processes at one edge of the measured time.
#[derive(Debug, Default)]
struct Look {
    at_us: u64,
    source: Option<Cpu>,
    sink: Option<Cpu>,
    routers: Vec<Option<Cpu>>,
    machine: Option<(u64, u64)>,
}

/// Everything gathered from one run.
#[derive(Debug)]
struct Gathered {
    began: jiff::Timestamp,
    source: SourceResult,
    sink: Option<SinkResult>,
    series: Vec<Moment>,
    first: Look,
    last: Look,
    before: Vec<Option<Page>>,
    /// At the end of the measured time, when as much is under way as at its beginning.
    after: Vec<Option<Page>>,
    /// When everything had settled.
    settled: Vec<Option<Page>>,
    memory: Vec<Option<Memory>>,
    ledgers_balance: Option<bool>,
    bad_signatures: Option<BadSignatures>,
    reconnects: Option<Reconnects>,
}

/// Does one run of a scenario.
///
/// # Errors
/// A process failed, or we were told to stop.
pub fn run(stand: &mut Stand, scenario: &Scenario, self_contained: bool, live: &mut Live) -> Result<Measured> {
    let gathered = gather(stand, scenario, live)?;
    Ok(summing::up(stand, scenario, self_contained, gathered))
}

fn gather(stand: &mut Stand, scenario: &Scenario, live: &mut Live) -> Result<Gathered> {
    stand.runs = stand.runs.wrapping_add(1);
    let began = jiff::Timestamp::now();
    let start = agreed(stand, scenario)?;
    for other in &mut stand.others {
        other.tell(&Command::Start(start.clone()))?;
    }
    stand.source.tell(&Command::Start(start.clone()))?;
    let (mut first, mut last, mut before, mut after) = (None, None, Vec::new(), Vec::new());
    let mut watch = Watch::new(stand, scenario);
    let deadline = Instant::now()
        + HEAD_START
        + Duration::from_micros(start.plan.length_us.saturating_add(start.drain_us))
        + Duration::from_secs(20);
    let source = loop {
        if let Err(stopped) = interrupt::check() {
            stand.source.tell(&Command::Stop)?;
            return Err(stopped);
        }
        if Instant::now() > deadline {
            bail!("the source did not end its run in time");
        }
        let now_us = mono_us().saturating_sub(start.at_us);
        if first.is_none() && mono_us() >= start.at_us + start.warm_up_us {
            first = Some(look(stand));
            before = pages(&stand.routers);
        }
        if last.is_none() && first.is_some() && now_us >= start.plan.length_us {
            last = Some(look(stand));
            after = pages(&stand.routers);
        }
        match stand.source.answer(LOOK_EVERY)? {
            Some(Answer::Progress(progress)) => {
                let now = watch.on_progress(stand, progress);
                live.show(&now)?;
                stand.still_runs()?;
            }
            Some(Answer::Sent(result)) => break *result,
            Some(other) => tracing::warn!(?other, "unexpected"),
            None => {}
        }
    };
    let last = last.unwrap_or_else(|| look(stand));
    let others = reports_of_others(stand)?;
    let ledgers_balance = stand.ledgers_balance(scenario.faults.slow.is_some());
    // A worker publishes about once a second, and when it falls idle.
    std::thread::sleep(PUBLISHED_WITHIN);
    Ok(Gathered {
        began,
        source,
        sink: report_of_sink(stand)?,
        series: watch.series,
        first: first.unwrap_or_default(),
        last,
        before,
        after,
        settled: pages(&stand.routers),
        memory: stand.routers.iter().map(|router| router.pid.and_then(procfs::memory)).collect(),
        ledgers_balance,
        bad_signatures: others.0,
        reconnects: others.1,
    })
}

/// When the run begins: the sink has confirmed it before the first message can reach it.
fn agreed(stand: &mut Stand, scenario: &Scenario) -> Result<Start> {
    for _ in 0..AGREEMENTS {
        let start = Start {
            run: stand.runs,
            at_us: mono_us() + micros(HEAD_START),
            warm_up_us: micros(scenario.load.warm_up),
            drain_us: micros(scenario.load.timeout.saturating_add(GRACE)),
            plan: scenario.schedule(),
        };
        if let Some(sink) = stand.sink.as_mut() {
            sink.tell(&Command::Start(start.clone()))?;
            sink.wait_ready(REPORTED_WITHIN)?;
        }
        if mono_us() + micros(HEAD_START) / 3 < start.at_us {
            return Ok(start);
        }
    }
    bail!("the sink takes longer than {} ms to begin a run; this machine is too busy", HEAD_START.as_millis())
}

/// What the forger and the storm counted.
fn reports_of_others(stand: &mut Stand) -> Result<(Option<BadSignatures>, Option<Reconnects>)> {
    let (mut bad, mut reconnects) = (None, None);
    for other in &mut stand.others {
        other.tell(&Command::Report)?;
        match report(other)? {
            Answer::Forged(counts) => bad = Some(counts),
            Answer::Reconnected(counts) => reconnects = Some(counts),
            _ => {}
        }
    }
    Ok((bad, reconnects))
}

/// The answer to a request for a report. A storm answers when it has blown over.
fn report(child: &mut Child) -> Result<Answer> {
    let until = Instant::now() + REPORTED_WITHIN;
    while Instant::now() < until {
        if let Some(answer) = child.answer(Duration::from_millis(100))? {
            return Ok(answer);
        }
    }
    bail!("the {} did not report within {} s", child.name(), REPORTED_WITHIN.as_secs())
}

fn report_of_sink(stand: &mut Stand) -> Result<Option<SinkResult>> {
    let Some(sink) = stand.sink.as_mut() else { return Ok(None) };
    sink.tell(&Command::Report)?;
    match report(sink)? {
        Answer::Received(result) => Ok(Some(*result)),
        other => bail!("the sink answered {other:?}"),
    }
}

fn look(stand: &Stand) -> Look {
    Look {
        at_us: mono_us(),
        source: procfs::cpu(stand.source.pid()),
        sink: stand.sink.as_ref().and_then(|sink| procfs::cpu(sink.pid())),
        routers: stand.routers.iter().map(|router| router.pid.and_then(procfs::cpu)).collect(),
        machine: procfs::machine(),
    }
}

fn pages(routers: &[RouterSeen]) -> Vec<Option<Page>> {
    let page = |router: &RouterSeen| {
        let text = admin::metrics(router.admin.as_deref()?);
        text.map_err(|error| tracing::warn!(%error, "no metrics")).ok().map(|text| Page::parse(&text))
    };
    routers.iter().map(page).collect()
}

/// What is seen while a run goes on.
struct Watch {
    series: Vec<Moment>,
    last: Progress,
    cpu: Vec<Option<Cpu>>,
    cpu_at: Instant,
    length_s: f64,
    warm_up_s: f64,
    name: String,
}

impl Watch {
    fn new(stand: &Stand, scenario: &Scenario) -> Self {
        Self {
            series: Vec::new(),
            last: Progress::default(),
            cpu: stand.routers.iter().map(|router| router.pid.and_then(procfs::cpu)).collect(),
            cpu_at: Instant::now(),
            length_s: (scenario.load.warm_up + scenario.load.duration).as_secs_f64(),
            warm_up_s: scenario.load.warm_up.as_secs_f64(),
            name: scenario.name.clone(),
        }
    }

    fn on_progress(&mut self, stand: &Stand, progress: Progress) -> Now {
        let cpu: Vec<_> = stand.routers.iter().map(|router| router.pid.and_then(procfs::cpu)).collect();
        let seconds = self.cpu_at.elapsed().as_secs_f64().max(1e-6);
        let used = |(now, before): (&Option<Cpu>, &Option<Cpu>)| {
            now.as_ref().zip(before.as_ref()).map_or(0, |(now, before)| now.since(before).total_ns)
        };
        let used: u64 = cpu.iter().zip(&self.cpu).map(used).sum();
        (self.cpu, self.cpu_at) = (cpu, Instant::now());
        let moment = Moment::between(&self.last, &progress, crate::measured::float(used) / 1e9 / seconds);
        // The last line of a run may come right after another one: its rates would say nothing.
        if progress.at_us.saturating_sub(self.last.at_us) >= SHORTEST_MOMENT_US {
            self.series.push(moment);
        }
        self.last = progress;
        Now {
            name: self.name.clone(),
            length_s: self.length_s,
            warm_up_s: self.warm_up_s,
            moment,
            counts: progress.counts,
            not_started: progress.intended.saturating_sub(progress.counts.started),
            latency: progress.latency,
        }
    }
}
