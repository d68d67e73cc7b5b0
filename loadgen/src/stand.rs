//! The test stand: routers, source and sink as processes of their own, ready for runs.
//!
//! Either everything is started here (PKI, keys, directory, configurations in a folder that goes away), or a given
//! network is used through the configurations of its endpoints.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child::Child;
use crate::layout::{Layout, Part, RouteKey};
use crate::network::{Folder, Ledger, Routers, admin, config, directory, now, pki};
use crate::scenario::Scenario;
use crate::source::READY_WITHIN;
use crate::talk::{ForgerJob, SinkJob, SourceJob, StormJob};

/// How the stand is built.
#[derive(Debug, Clone)]
pub struct Building {
    /// This program.
    pub program: PathBuf,
    /// The router's program.
    pub router_program: PathBuf,
    /// Where the network's folder goes; none: a temporary one that is removed.
    pub folder: Option<PathBuf>,
    /// Whether the sink's journal is on disk.
    pub journal_on_disk: bool,
    /// Receipts checked again per second at most.
    pub checks_per_s: u32,
    /// A network that is there already.
    pub given: Option<Given>,
}

/// A network that is there already.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Configuration of the endpoints that send.
    pub senders: PathBuf,
    /// Configuration of the endpoints that receive; none: they receive elsewhere.
    pub recipients: Option<PathBuf>,
    /// Admin interfaces of the routers, `host:port`.
    pub admins: Vec<String>,
    /// Process ids of routers on this machine.
    pub pids: Vec<u32>,
    /// Route keys to send to.
    pub targets: Vec<RouteKey>,
}

/// A router under test, as far as it can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSeen {
    /// Its id, or where its admin interface is.
    pub name: String,
    /// Admin interface, `host:port`.
    pub admin: Option<String>,
    /// Process id, when it runs on this machine.
    pub pid: Option<u32>,
}

/// A network with a source and a sink, ready for runs.
#[derive(Debug)]
pub struct Stand {
    /// Routers, the senders' first.
    pub routers: Vec<RouterSeen>,
    /// The source process.
    pub source: Child,
    /// The sink process; none when recipients are elsewhere.
    pub sink: Option<Child>,
    /// Further processes: what goes wrong on purpose.
    pub others: Vec<Child>,
    /// Runs done.
    pub runs: u8,
    /// Whether the sink's journal is on disk.
    pub journal_on_disk: bool,
    /// Receipts checked again per second at most.
    pub recheck_per_s: u32,
    processes: Option<Routers>,
    /// Removed when the stand is taken down.
    _folder: Option<tempfile::TempDir>,
}

impl Stand {
    /// Builds it; `said` hears what is being done.
    ///
    /// # Errors
    /// Something does not start; what was started is stopped.
    pub fn build(scenario: &Scenario, building: &Building, said: &dyn Fn(&str)) -> Result<Self> {
        let (temporary, path) = place(building)?;
        let folder = Folder::make(&path)?;
        match &building.given {
            None => Self::self_contained(scenario, building, folder, temporary, said),
            Some(given) => Self::beside(scenario, building, given, &folder, temporary, said),
        }
    }

    fn self_contained(
        scenario: &Scenario,
        building: &Building,
        folder: Folder,
        temporary: Option<tempfile::TempDir>,
        said: &dyn Fn(&str),
    ) -> Result<Self> {
        let layout = Layout::of(scenario)?;
        said("certificates");
        pki::make(&layout.plan, &building.router_program, &folder)?;
        said("directory: keys, two signatures");
        directory::write(&layout.plan, folder.path(), now())?;
        said(if layout.plan.routers.len() == 1 { "router" } else { "two routers" });
        let extra = router_settings(scenario, &layout)?;
        let routers = Routers::start(&layout.plan, &building.router_program, &folder, &extra)?;
        said("source and sink");
        let source = source_config(scenario, &layout, &routers, &folder)?;
        let slow = (!layout.slow_targets.is_empty())
            .then(|| (layout.slow_targets.clone(), scenario.faults.slow.map_or(0.0, |slow| slow.share)));
        let source = SourceJob { config: source, targets: layout.targets.clone(), slow, ..job(scenario, building) };
        let sink = sink_job(scenario, &layout, &routers, &folder, building)?;
        let seen = layout.plan.routers.iter().zip(routers.addresses()).zip(routers.pids());
        let seen = seen.map(|((router, addresses), pid)| RouterSeen {
            name: router.id.to_string(),
            admin: Some(addresses.admin.clone()),
            pid: Some(pid),
        });
        let seen = seen.collect();
        let forger = forger_job(scenario, &layout, &routers, &folder, &source)?;
        let storm = storm_job(scenario, &layout, &routers, &folder)?;
        let mut stand = Self::launch(building, &folder, &source, Some(&sink), seen, Some(routers), temporary)?;
        let mut others: Vec<(&'static str, String)> = Vec::new();
        if let Some(job) = forger {
            others.push(("forger", serde_json::to_string(&job)?));
        }
        if let Some(job) = storm {
            others.push(("storm", serde_json::to_string(&job)?));
        }
        for (name, job) in others {
            said(name);
            let mut child = started(building, &folder, name, &job)?;
            child.wait_ready(READY_WITHIN)?;
            stand.others.push(child);
        }
        Ok(stand)
    }

    fn beside(
        scenario: &Scenario,
        building: &Building,
        given: &Given,
        folder: &Folder,
        temporary: Option<tempfile::TempDir>,
        said: &dyn Fn(&str),
    ) -> Result<Self> {
        said("source and sink");
        let absolute = |path: &Path| {
            fs::canonicalize(path).with_context(|| format!("cannot find the configuration {}", path.display()))
        };
        let source =
            SourceJob { config: absolute(&given.senders)?, targets: given.targets.clone(), ..job(scenario, building) };
        let sink = given.recipients.as_deref().map(absolute).transpose()?.map(|config| SinkJob {
            config,
            journal: journal(building, folder, "journal"),
            slow: Vec::new(),
            slowness: None,
        });
        let count = given.admins.len().max(given.pids.len());
        let seen = (0..count).map(|number| {
            let admin = given.admins.get(number).cloned();
            let name = admin.clone().unwrap_or_else(|| format!("router {}", number + 1));
            RouterSeen { name, admin, pid: given.pids.get(number).copied() }
        });
        Self::launch(building, folder, &source, sink.as_ref(), seen.collect(), None, temporary)
    }

    fn launch(
        building: &Building,
        folder: &Folder,
        source: &SourceJob,
        sink: Option<&SinkJob>,
        routers: Vec<RouterSeen>,
        processes: Option<Routers>,
        temporary: Option<tempfile::TempDir>,
    ) -> Result<Self> {
        let sink = sink.map(serde_json::to_string).transpose()?;
        let mut sink = sink.map(|job| started(building, folder, "sink", &job)).transpose()?;
        let mut source = started(building, folder, "source", &serde_json::to_string(source)?)?;
        if let Some(sink) = sink.as_mut() {
            sink.wait_ready(READY_WITHIN)?;
        }
        source.wait_ready(READY_WITHIN)?;
        Ok(Self {
            routers,
            source,
            sink,
            others: Vec::new(),
            runs: 0,
            journal_on_disk: building.journal_on_disk,
            recheck_per_s: building.checks_per_s,
            processes,
            _folder: temporary,
        })
    }

    /// Whether every router's books balance; waits a little for what is just settling. Nothing may be in flight any more,
    /// unless some recipients are slow on purpose: what they hold is settled at its deadline. `None` when no router can
    /// be asked.
    pub fn ledgers_balance(&self, slow_on_purpose: bool) -> Option<bool> {
        let admins: Vec<_> = self.routers.iter().filter_map(|router| router.admin.as_deref()).collect();
        if admins.is_empty() {
            return None;
        }
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let fits = |ledger: &Ledger| ledger.balanced || (slow_on_purpose && ledger.consistent);
            let balanced = admins.iter().all(|admin| admin::ledger(admin).is_ok_and(|ledger| fits(&ledger)));
            if balanced || Instant::now() > until {
                return Some(balanced);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Fails when a router started here has ended.
    ///
    /// # Errors
    /// With its last words.
    pub fn still_runs(&mut self) -> Result<()> {
        let routers = self.processes.as_mut().map(Routers::running);
        routers.into_iter().flatten().try_for_each(crate::network::Running::still_runs)
    }

    /// Stops everything that was started here, the endpoints first.
    ///
    /// # Errors
    /// A router cannot be asked to stop.
    pub fn take_down(mut self) -> Result<bool> {
        self.source.stop();
        if let Some(sink) = self.sink.as_mut() {
            sink.stop();
        }
        self.others.iter_mut().for_each(Child::stop);
        self.processes.as_mut().map_or(Ok(true), Routers::stop)
    }
}

/// Starts a child with its job in a file.
fn started(building: &Building, folder: &Folder, name: &'static str, job: &str) -> Result<Child> {
    let file = folder.path().join(format!("{name}.json"));
    fs::write(&file, job).with_context(|| format!("cannot write {}", file.display()))?;
    Child::start(&building.program, name, &file, &folder.log(name))
}

fn place(building: &Building) -> Result<(Option<tempfile::TempDir>, PathBuf)> {
    match &building.folder {
        Some(path) => {
            fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
            if fs::read_dir(path)?.next().is_some() {
                bail!("{} is not empty; name a new folder", path.display());
            }
            Ok((None, fs::canonicalize(path)?))
        }
        None => {
            let made = tempfile::Builder::new().prefix("kernpost-loadgen-").tempdir()?;
            let path = made.path().to_path_buf();
            Ok((Some(made), path))
        }
    }
}

fn job(scenario: &Scenario, building: &Building) -> SourceJob {
    let load = &scenario.load;
    SourceJob {
        config: PathBuf::new(),
        targets: Vec::new(),
        slow: None,
        payload: load.payload.clone(),
        classes: load.classes,
        rejected: scenario.faults.rejected,
        in_flight: load.in_flight,
        timeout_ms: u64::try_from(load.timeout.as_millis()).unwrap_or(u64::MAX),
        checks_per_s: building.checks_per_s,
        seed: load.seed,
    }
}

fn journal(building: &Building, folder: &Folder, name: &str) -> Option<PathBuf> {
    building.journal_on_disk.then(|| folder.path().join("work").join(name))
}

/// What differs from a router's defaults: as many links as there are, all from one address.
fn router_settings(scenario: &Scenario, layout: &Layout) -> Result<toml::Table> {
    let links = layout.links() + 16;
    let mut text = String::new();
    if links > 200 {
        // Every link comes from ::1, so the limits per address would say nothing here.
        text = format!(
            "[limits]\nlinks = {}\nlinks_per_identity = 64\n[handshakes]\nin_progress = {}\nretry_above = {}\nstrangers_per_s = 5000\nstrangers_burst = {}\nper_prefix_per_s = 5000\nper_prefix_burst = {}\n",
            links.max(256),
            links.clamp(256, 65_536),
            links.clamp(256, 65_536),
            links.max(200),
            links.max(200),
        );
    }
    let mut table: toml::Table = text.parse()?;
    config::merge(&mut table, &scenario.network.router);
    Ok(table)
}

/// The sending client's bounds follow from what may be under way.
fn source_config(scenario: &Scenario, layout: &Layout, routers: &Routers, folder: &Folder) -> Result<PathBuf> {
    let load = &scenario.load;
    let largest = load.payload.iter().map(|share| share.to).max().unwrap_or(0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes")]
    let usual = (load.mean_payload() * 2.0 + 1_024.0) as u64 * load.in_flight as u64;
    let messages = (load.in_flight + 256).min(1 << 20);
    let bytes = usual.max(4 * largest).clamp(64 << 20, 8 << 30);
    let mut extra: toml::Table = format!("[limits]\noutbox_messages = {messages}\noutbox_bytes = {bytes}\n").parse()?;
    config::merge(&mut extra, &scenario.network.sender);
    let sites = layout.sites(Part::Sender);
    let sites: Vec<_> = sites.iter().map(|(site, ids)| (site, ids.as_slice())).collect();
    config::sites(folder, &layout.plan, "source", &sites, |router| routers.address(router), &extra)
}

fn sink_job(
    scenario: &Scenario,
    layout: &Layout,
    routers: &Routers,
    folder: &Folder,
    building: &Building,
) -> Result<SinkJob> {
    let extra = &scenario.network.recipient;
    let address = |router| routers.address(router);
    let ordinary = layout.sites(Part::Recipient);
    let sites: Vec<_> = ordinary.iter().map(|(site, ids)| (site, ids.as_slice())).collect();
    let mut slow = Vec::new();
    for (site, ids) in layout.sites(Part::Slow) {
        let config = config::sites(folder, &layout.plan, &site.name, &[(&site, ids.as_slice())], address, extra)?;
        slow.push((config, journal(building, folder, &site.name)));
    }
    Ok(SinkJob {
        config: config::sites(folder, &layout.plan, "sink", &sites, address, extra)?,
        journal: journal(building, folder, "journal"),
        slow,
        slowness: scenario.faults.slow,
    })
}

fn forger_job(
    scenario: &Scenario,
    layout: &Layout,
    routers: &Routers,
    folder: &Folder,
    source: &SourceJob,
) -> Result<Option<ForgerJob>> {
    let sites = layout.sites(Part::Forger);
    let Some((site, ids)) = sites.first() else { return Ok(None) };
    let none = toml::Table::new();
    let address = |router| routers.address(router);
    let config = config::sites(folder, &layout.plan, "forger", &[(site, ids.as_slice())], address, &none)?;
    let source = SourceJob { config, slow: None, rejected: 0.0, ..source.clone() };
    let identity = site.identity()?.to_string();
    Ok(Some(ForgerJob { source, share: scenario.faults.bad_signatures, identity }))
}

fn storm_job(scenario: &Scenario, layout: &Layout, routers: &Routers, folder: &Folder) -> Result<Option<StormJob>> {
    let Some(reconnect) = scenario.faults.reconnect else { return Ok(None) };
    let sites = layout.sites(Part::Bystander);
    let sites: Vec<_> = sites.iter().map(|(site, ids)| (site, ids.as_slice())).collect();
    let none = toml::Table::new();
    let config = config::sites(folder, &layout.plan, "storm", &sites, |router| routers.address(router), &none)?;
    Ok(Some(StormJob { config, every_ms: u64::try_from(reconnect.every.as_millis()).unwrap_or(u64::MAX) }))
}
