//! What the portals do: each sends its share of the applications and reports an outcome for every one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Latency, progress};
use crate::draw::Application;
use crate::network::Network;
use crate::plan::portal_for;
use kernpost_loadgen::interrupt;
use kernpost_loadgen::network::Running;
use kernpost_loadgen::network::plan::{Plan, Role};

/// The portals may take this long, and this much longer per thousand applications.
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_PER_THOUSAND: Duration = Duration::from_secs(10);
/// How often the bar moves.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Histogram bound: ten minutes.
const SLOWEST_US: u64 = 600_000_000;
/// The router where no portal is.
const OTHER_ROUTER: usize = 1;

/// One line of a portal's batch.
#[derive(Serialize)]
struct BatchLine<'a> {
    service: &'a str,
    jurisdiction: &'a str,
    payload: &'a str,
}

/// What a portal writes when every application has an outcome.
#[derive(Debug, Deserialize)]
struct PortalSummary {
    sent: u64,
    delivered: u64,
    rejected: u64,
    refused: u64,
    undecided: u64,
    /// Unix microseconds of the first send and the last outcome.
    first_us: u64,
    last_us: u64,
    /// One per application with an outcome.
    latencies_us: Vec<u64>,
}

/// Everything the portals reported.
#[derive(Debug)]
pub struct Tally {
    pub sent: u64,
    pub delivered: u64,
    pub rejected: u64,
    pub refused: u64,
    pub undecided: u64,
    pub crossed: u64,
    first_us: u64,
    last_us: u64,
    latencies: Histogram<u64>,
}

impl Tally {
    fn new() -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1, SLOWEST_US, 3)?;
        Ok(Self {
            sent: 0,
            delivered: 0,
            rejected: 0,
            refused: 0,
            undecided: 0,
            crossed: 0,
            first_us: u64::MAX,
            last_us: 0,
            latencies,
        })
    }

    fn add(&mut self, portal: &PortalSummary) {
        self.sent += portal.sent;
        self.delivered += portal.delivered;
        self.rejected += portal.rejected;
        self.refused += portal.refused;
        self.undecided += portal.undecided;
        self.first_us = self.first_us.min(portal.first_us);
        self.last_us = self.last_us.max(portal.last_us);
        for latency in &portal.latencies_us {
            self.latencies.saturating_record(*latency);
        }
    }

    /// Applications without any outcome.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.delivered + self.rejected + self.refused + self.undecided)
    }

    pub fn latency(&self) -> Latency {
        Latency {
            p50: millis(self.latencies.value_at_quantile(0.5)),
            p99: millis(self.latencies.value_at_quantile(0.99)),
            max: millis(self.latencies.max()),
        }
    }

    /// Messages a second, from the first send to the last outcome.
    pub fn rate(&self) -> f64 {
        let micros = self.last_us.saturating_sub(self.first_us).max(1);
        self.sent as f64 * 1e6 / micros as f64
    }
}

/// Lets every portal send its share, and adds up what they report.
pub fn send(network: &mut Network, plan: &Plan, applications: &[Application]) -> Result<Tally> {
    let mut shares: BTreeMap<&str, Vec<&Application>> = BTreeMap::new();
    for application in applications {
        shares.entry(portal_for(&application.jurisdiction)).or_default().push(application);
    }
    let mut running = Vec::new();
    for (site, endpoints) in plan.sites() {
        let share = endpoints.iter().find_map(|endpoint| shares.get(endpoint.as_str()));
        if let (Role::Portal, Some(share)) = (site.role, share) {
            running.push(start(network, &site.name, share)?);
        }
    }
    wait(network, &mut running, applications.len() as u64)?;
    let mut tally = Tally::new()?;
    for portal in &running {
        tally.add(&read_summary(network, portal.name())?);
    }
    tally.crossed = crossed(network, plan, applications)?;
    Ok(tally)
}

fn start(network: &Network, portal: &str, share: &[&Application]) -> Result<Running> {
    let work = network.folder.work(portal)?;
    let batch = work.join("batch.jsonl");
    write_batch(&batch, share)?;
    let mut command = Command::new(&network.programs.kernpost);
    command.args(["send", "--config"]).arg(network.folder.config(portal));
    command.arg("--batch").arg(batch).arg("--summary").arg(work.join("summary.json"));
    command.arg("--receipts").arg(work.join("receipts"));
    Running::start(portal, &mut command, &network.folder.log(portal))
}

fn write_batch(path: &Path, share: &[&Application]) -> Result<()> {
    let mut text = String::new();
    for Application { service, jurisdiction, payload } in share {
        text.push_str(&serde_json::to_string(&BatchLine { service, jurisdiction, payload })?);
        text.push('\n');
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Waits for every portal to end, showing how many applications have an outcome.
fn wait(network: &mut Network, running: &mut [Running], total: u64) -> Result<()> {
    let bar = progress(total)?;
    let until = Instant::now() + PATIENCE + PATIENCE_PER_THOUSAND * u32::try_from(total / 1_000).unwrap_or(u32::MAX);
    let before = network.settled()?;
    while !all_ended(running)? {
        interrupt::check()?;
        network.still_runs()?;
        bar.set_position(network.settled()?.saturating_sub(before).min(total));
        if Instant::now() > until {
            bail!("the portals did not end in time; their logs are in {}", network.folder.path().display());
        }
        thread::sleep(LOOK_EVERY);
    }
    bar.finish_and_clear();
    Ok(())
}

fn all_ended(running: &mut [Running]) -> Result<bool> {
    let mut all = true;
    for portal in running {
        match portal.ended()? {
            None => all = false,
            // A portal that had refusals says so by its status; its summary has the numbers.
            Some(status) if status.code().is_some() => {}
            Some(status) => bail!("{} ended with {status}:\n{}", portal.name(), portal.last_words()),
        }
    }
    Ok(all)
}

fn read_summary(network: &Network, portal: &str) -> Result<PortalSummary> {
    let path = network.folder.work(portal)?.join("summary.json");
    let text = fs::read_to_string(&path);
    let text =
        text.with_context(|| format!("{portal} left no summary; its log is {}", network.folder.log(portal).display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
}

/// How many applications the directory sends to an endpoint at the other router than the portals'.
fn crossed(network: &Network, plan: &Plan, applications: &[Application]) -> Result<u64> {
    let table = kernpost_loadgen::network::directory::compiled(&network.folder.files())?;
    let elsewhere = plan.attached_to(OTHER_ROUTER);
    let mut crossed = 0;
    for application in applications {
        let route = table.lookup(application.service.parse()?, application.jurisdiction.parse()?);
        let first = route.and_then(|route| route.endpoints.first());
        let endpoint = first.and_then(|index| table.endpoint_entry(*index));
        crossed += u64::from(endpoint.is_some_and(|endpoint| elsewhere.contains(&endpoint.id)));
    }
    Ok(crossed)
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}
