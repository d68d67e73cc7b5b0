//! One router with custody, and sources and sinks, all of which can be killed and started again.
//!
//! The router keeps the addresses that it got the first time, so that everybody finds it again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::notes;
use super::{sink, source};
use crate::layout::{Layout, Part, RouteKey};
use crate::network::plan::{RouterPlan, Site};
use crate::network::{Addresses, Folder, PATIENCE, Running, admin, config, directory, now, pki, process};
use crate::scenario::Scenario;

/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The network.
#[derive(Debug)]
pub struct Bench {
    folder: Folder,
    layout: Layout,
    program: PathBuf,
    router_program: PathBuf,
    /// What differs from the router's defaults; its addresses, once they are known.
    settings: toml::Table,
    addresses: Option<Addresses>,
    router: Option<Running>,
    recipients: usize,
    _removed: tempfile::TempDir,
}

/// How a source sends.
#[derive(Debug, Clone)]
pub struct Sending {
    /// Which sender; each has a link and a client of its own.
    pub sender: usize,
    /// Recipients it sends to.
    pub to: Vec<usize>,
    /// Bytes of a payload.
    pub payload: usize,
    /// Messages a second; none: as fast as room comes.
    pub rate: Option<f64>,
    /// Messages at most.
    pub count: u64,
    /// Latencies count from here on.
    pub warm_up: Duration,
    /// Marks its messages.
    pub run: u8,
    /// Whether its outbox is on disk.
    pub durable: bool,
    /// Messages under way at most.
    pub in_flight: usize,
}

/// A running source or sink.
#[derive(Debug)]
pub struct Party {
    running: Running,
    state: PathBuf,
}

impl Bench {
    /// A network below `below` with so many senders and recipients, its router started. `settings`: what differs from the
    /// router's defaults, as TOML.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start(below: &Path, senders: usize, recipients: usize, settings: &str) -> Result<Self> {
        let removed = tempfile::Builder::new().prefix("kernpost-custody-").tempdir_in(below)?;
        let folder = Folder::make(removed.path())?;
        let mut scenario = Scenario::default();
        let network = &mut scenario.network;
        (network.senders, network.sender_links) = (senders, senders);
        (network.recipients, network.recipient_links) = (recipients, recipients);
        network.custody = true;
        let layout = Layout::of(&scenario)?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let router_program = program.with_file_name("kernpost-router");
        pki::make(&layout.plan, &router_program, &folder)?;
        directory::write(&layout.plan, folder.path(), now())?;
        let settings = settings.parse()?;
        let mut bench = Self {
            folder,
            layout,
            program,
            router_program,
            settings,
            addresses: None,
            router: None,
            recipients,
            _removed: removed,
        };
        bench.start_router()?;
        Ok(bench)
    }

    fn plan(&self) -> Result<&RouterPlan> {
        self.layout.plan.routers.first().context("the plan has a router")
    }

    /// Starts the router; says how long it took from there until it was ready.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_router(&mut self) -> Result<Duration> {
        let router = self.plan()?.clone();
        let mut extra = self.settings.clone();
        if let Some(addresses) = &self.addresses {
            let known: toml::Table =
                format!("[listen]\naddresses = {:?}\n[admin]\nlisten = {:?}\n", addresses.quic, addresses.admin)
                    .parse()?;
            config::merge(&mut extra, &known);
        }
        let config = config::router(&self.folder, &router, &[], &extra)?;
        let state = self.folder.state(&router);
        std::fs::create_dir_all(&state)?;
        let file = state.join("addresses.json");
        // One that was killed left its addresses behind.
        let _ = std::fs::remove_file(&file);
        let mut command = Command::new(&self.router_program);
        command.args(["run", "--dev", "--config"]).arg(config);
        let begun = Instant::now();
        let mut running = vec![Running::start("router", &mut command, &self.folder.log("router"))?];
        let addresses: Addresses = process::wait_for("the router to bind", PATIENCE, &mut running, || {
            Ok(std::fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok()))
        })?;
        process::wait_for("the router to be ready", PATIENCE, &mut running, || {
            Ok(admin::is_ready(&addresses.admin).then_some(()))
        })?;
        let took = begun.elapsed();
        self.addresses = Some(addresses);
        self.router = running.pop();
        Ok(took)
    }

    /// kill -9.
    pub fn kill_router(&mut self) {
        if let Some(mut router) = self.router.take() {
            router.kill();
        }
    }

    /// The router's process id.
    pub fn router_pid(&self) -> Option<u32> {
        self.router.as_ref().map(Running::pid)
    }

    /// `custody` of the router's `/status`.
    ///
    /// # Errors
    /// It does not answer, or has no custody.
    pub fn custody(&self) -> Result<Value> {
        let addresses = self.addresses.as_ref().context("the router has been started")?;
        let mut status = admin::status(&addresses.admin)?;
        Ok(status.get_mut("custody").map(Value::take).unwrap_or_default())
    }

    /// A number of [`custody`](Self::custody).
    ///
    /// # Errors
    /// There is none.
    pub fn custody_number(&self, name: &str) -> Result<u64> {
        let custody = self.custody()?;
        custody.get(name).and_then(Value::as_u64).with_context(|| format!("no number {name} in {custody}"))
    }

    fn config(&self, name: &str, part: Part, number: usize, extra: &str) -> Result<PathBuf> {
        let all = self.layout.sites(part);
        let prefix = part.prefix();
        let found = all.iter().find(|(site, _): &&(Site, _)| site.name == format!("{prefix}{number}"));
        let (site, ids) = found.with_context(|| format!("there is no {prefix}{number}"))?;
        let address = self.addresses.as_ref().and_then(|addresses| addresses.quic.first());
        let address = address.context("the router bound no address")?;
        let ids = [(site, ids.as_slice())];
        config::sites(&self.folder, &self.layout.plan, name, &ids, |_| Ok(address), &extra.parse()?)
    }

    /// Route keys of these recipients.
    fn targets(&self, to: &[usize]) -> Vec<RouteKey> {
        let all = self.layout.targets.iter().enumerate();
        all.filter(|(index, _)| to.contains(&(index % self.recipients))).map(|(_, key)| key.clone()).collect()
    }

    /// Where a source or sink of this name leaves its list of ids.
    pub fn list(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(format!("{name}.ids"))
    }

    /// Starts a source and waits until it is attached.
    ///
    /// # Errors
    /// It does not start.
    pub fn source(&self, name: &str, sending: &Sending) -> Result<Party> {
        let party = self.start_source(name, sending)?;
        self.when_ready(party)
    }

    /// Starts a source.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_source(&self, name: &str, sending: &Sending) -> Result<Party> {
        let bytes = (sending.in_flight as u64 * (sending.payload as u64 + 2_048)).max(64 << 20);
        let mut extra =
            format!("[limits]\noutbox_messages = {}\noutbox_bytes = {bytes}\n", sending.in_flight.min(1 << 20));
        if sending.durable {
            let folder = self.folder.work(&format!("{name}-outbox"))?;
            extra +=
                &format!("[outbox]\nfolder = {folder:?}\nmessages = {}\nbytes = 4000000000\n", source::MOST_FOLLOWED);
        }
        let state = self.state(name);
        let job = source::Job {
            config: self.config(name, Part::Sender, sending.sender, &extra)?,
            targets: self.targets(&sending.to),
            payload: sending.payload,
            rate: sending.rate,
            count: sending.count,
            warm_up_ms: u64::try_from(sending.warm_up.as_millis())?,
            timeout_ms: 600_000,
            run: sending.run,
            state: state.clone(),
            list: sending.durable.then(|| self.list(name)),
        };
        self.launch("custody-source", name, state, &job)
    }

    /// Starts a sink and waits until it is attached.
    ///
    /// # Errors
    /// It does not start.
    pub fn sink(&self, recipient: usize) -> Result<Party> {
        let party = self.start_sink(recipient)?;
        self.when_ready(party)
    }

    /// Starts a sink.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_sink(&self, recipient: usize) -> Result<Party> {
        let name = format!("sink-{recipient}");
        let state = self.state(&name);
        let senders = self.layout.sites(Part::Sender).into_iter().flat_map(|(_, ids)| ids);
        let job = sink::Job {
            config: self.config(&name, Part::Recipient, recipient, "")?,
            journal: self.folder.work(&name)?.join("journal"),
            senders: senders.map(|id| id.to_string()).collect(),
            state: state.clone(),
            list: self.list(&name),
        };
        self.launch("custody-sink", &name, state, &job)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(format!("{name}.state"))
    }

    fn launch(&self, what: &str, name: &str, state: PathBuf, job: &impl serde::Serialize) -> Result<Party> {
        let _ = std::fs::remove_file(&state);
        let file = self.folder.path().join("work").join(format!("{name}.job"));
        std::fs::write(&file, serde_json::to_vec(job)?)?;
        let mut command = Command::new(&self.program);
        command.arg(what).arg(file);
        Ok(Party { running: Running::start(name, &mut command, &self.folder.log(name))?, state })
    }

    fn when_ready(&self, mut party: Party) -> Result<Party> {
        wait(&format!("{} is attached", party.running.name()), PATIENCE, || {
            party.running.still_runs()?;
            Ok(party.is_ready().then_some(()))
        })?;
        Ok(party)
    }
}

impl Party {
    /// Whether it is attached.
    pub fn is_ready(&self) -> bool {
        notes::get::<Value>(&self.state).is_some_and(|state| state.get("ready") == Some(&Value::Bool(true)))
    }

    /// What it is doing; nothing before it wrote anything.
    pub fn sent(&mut self) -> Result<source::State> {
        self.running.still_runs()?;
        Ok(notes::get(&self.state).unwrap_or_default())
    }

    /// What it has seen; nothing before it wrote anything.
    pub fn seen(&mut self) -> Result<sink::State> {
        self.running.still_runs()?;
        Ok(notes::get(&self.state).unwrap_or_default())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// kill -9; gives the last state it wrote.
    pub fn kill<State: serde::de::DeserializeOwned + Default>(mut self) -> State {
        self.running.kill();
        notes::get(&self.state).unwrap_or_default()
    }
}

/// Looks until `found` gives something.
///
/// # Errors
/// It took longer than `patience`, or `found` failed.
pub fn wait<T>(what: &str, patience: Duration, mut found: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        crate::interrupt::check()?;
        if let Some(found) = found()? {
            return Ok(found);
        }
        if Instant::now() > until {
            bail!("waited {} s until {what}", patience.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Fills the spool with messages for recipient 0, a source after the other because each follows a bounded number; gives messages
/// a second.
///
/// # Errors
/// A source fails, or it does not go on for a long time.
pub fn fill(bench: &Bench, count: u64, payload: usize, first_run: u8) -> Result<f64> {
    let begun = Instant::now();
    let (mut left, mut run) = (count, first_run);
    while left > 0 {
        let some = left.min(1_000_000);
        let sending = Sending {
            sender: 0,
            to: vec![0],
            payload,
            rate: None,
            count: some,
            warm_up: Duration::ZERO,
            run,
            durable: false,
            in_flight: 8_192,
        };
        let mut source = bench.source("filling", &sending)?;
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            let state = source.sent()?;
            if !state.others.is_empty() {
                bail!("while the spool was filled: {:?}", state.others);
            }
            if state.custody >= some {
                break;
            }
            if state.custody > last {
                (last, moved) = (state.custody, Instant::now());
            }
            anyhow::ensure!(moved.elapsed() < PATIENCE, "no message was taken for {} s: {state:?}", PATIENCE.as_secs());
            std::thread::sleep(LOOK_EVERY);
        }
        source.kill::<source::State>();
        (left, run) = (left - some, run.wrapping_add(1));
    }
    #[expect(clippy::cast_precision_loss, reason = "millions")]
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
