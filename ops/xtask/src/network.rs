//! The demo network as processes: PKI, directory, two routers, and the authorities' sites, in one folder.
//!
//! Every port is chosen by the kernel. A router writes what it bound to `addresses.json` in its state folder. Of two
//! routers the one with the smaller id dials (WIRE 2.1), so the other is started first and its address is known.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use kernpost_codecs::UnixMs;
use serde::Deserialize;

mod admin;
mod config;
mod folder;
mod process;

pub use admin::Ledger;
pub use folder::Folder;
pub use process::Running;

use crate::directory;
use crate::plan::{Plan, Role, RouterPlan, Site, TRUST_DOMAIN};
use crate::workspace::{self, Programs};

/// How long starting may take, per step.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a router bound: the file `addresses.json` of its state folder.
#[derive(Debug, Clone, Deserialize)]
pub struct Addresses {
    /// UDP addresses.
    pub quic: Vec<String>,
    /// HTTP address of the admin interface.
    pub admin: String,
}

/// A running network.
#[derive(Debug)]
pub struct Network {
    /// Where it lies.
    pub folder: Folder,
    /// Its programs.
    pub programs: Programs,
    /// What each router bound, in the plan's order.
    pub addresses: Vec<Addresses>,
    /// The routers, in the plan's order.
    routers: Vec<Running>,
    /// The authorities.
    sites: Vec<Running>,
}

impl Network {
    /// Makes keys, certificates and directory, and starts routers and authorities; returns when both are ready.
    pub fn start(plan: &Plan, programs: Programs, folder: Folder, said: &dyn Fn(&str)) -> Result<Self> {
        said("development PKI");
        make_pki(plan, &programs, &folder)?;
        said("directory: keys, two signatures per zone");
        directory::write(plan, folder.path(), now())?;
        let mut network = Self { folder, programs, addresses: Vec::new(), routers: Vec::new(), sites: Vec::new() };
        said("two routers");
        network.start_routers(plan)?;
        said("authorities");
        network.start_authorities(plan)?;
        Ok(network)
    }

    fn start_routers(&mut self, plan: &Plan) -> Result<()> {
        let [dialer, listener] = &plan.routers;
        let listening = self.start_router(listener, None)?;
        let address = listening.quic.first().context("the router bound no address")?.clone();
        let dialing = self.start_router(dialer, Some((listener, &address)))?;
        self.addresses = vec![dialing, listening];
        self.routers.reverse();
        for addresses in &self.addresses {
            process::wait_for("a router to be ready", PATIENCE, &mut self.routers, || {
                Ok(admin::is_ready(&addresses.admin).then_some(()))
            })?;
        }
        Ok(())
    }

    fn start_router(&mut self, router: &RouterPlan, peer: Option<(&RouterPlan, &str)>) -> Result<Addresses> {
        let config = config::router(&self.folder, router, peer)?;
        let state = self.folder.state(router);
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let name = format!("router-{}", router.name());
        let mut command = Command::new(&self.programs.router);
        command.args(["run", "--dev", "--config"]).arg(config);
        self.routers.push(Running::start(&name, &mut command, &self.folder.log(&name))?);
        let file = state.join("addresses.json");
        process::wait_for(&format!("{name} to bind"), PATIENCE, &mut self.routers, || {
            // No file, or half a file, is no file yet.
            Ok(fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok()))
        })
    }

    /// Starts every authority and waits until all of their endpoints are attached.
    pub fn start_authorities(&mut self, plan: &Plan) -> Result<()> {
        for (site, endpoints) in plan.sites() {
            let address = self.address_for(&site)?;
            let config = config::site(&self.folder, plan, &site, &endpoints, &address)?;
            if site.role == Role::Authority {
                self.start_authority(&site, &config)?;
            }
        }
        let awaited = plan.endpoints().filter(|endpoint| endpoint.site.role == Role::Authority).count();
        let addresses = &self.addresses;
        process::wait_for("every authority to be attached", PATIENCE, &mut self.sites, || {
            let attached =
                addresses.iter().map(|addresses| admin::attachments(&addresses.admin)).sum::<Result<usize>>()?;
            Ok((attached >= awaited).then_some(()))
        })
    }

    fn start_authority(&mut self, site: &Site, config: &Path) -> Result<()> {
        let work = self.folder.work(&site.name)?;
        let mut command = Command::new(&self.programs.kernpost);
        command.args(["receive", "--accept", "--config"]).arg(config);
        command.arg("--journal").arg(work.join("journal")).arg("--summary").arg(work.join("summary.json"));
        self.sites.push(Running::start(&site.name, &mut command, &self.folder.log(&site.name))?);
        Ok(())
    }

    fn address_for(&self, site: &Site) -> Result<String> {
        let addresses = self.addresses.get(site.router).context("a site's router is one of the two")?;
        Ok(addresses.quic.first().context("the router bound no address")?.clone())
    }

    /// Fails when a router or an authority has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        self.routers.iter_mut().chain(&mut self.sites).try_for_each(Running::still_runs)
    }

    /// The ledger of each router, in the plan's order.
    pub fn ledgers(&self) -> Result<Vec<Ledger>> {
        self.addresses.iter().map(|addresses| admin::ledger(&addresses.admin)).collect()
    }

    /// Labels settled so far at the first router, where the portals are.
    pub fn settled(&self) -> Result<u64> {
        let first = self.addresses.first().context("there is a first router")?;
        Ok(admin::ledger(&first.admin)?.settled)
    }

    /// Process ids of everything that runs.
    pub fn pids(&self) -> Vec<u32> {
        self.routers.iter().chain(&self.sites).map(Running::pid).collect()
    }

    /// Stops the authorities, which then write their summaries. True when all ended by themselves.
    pub fn stop_authorities(&mut self) -> Result<bool> {
        stop_all(&mut self.sites)
    }

    /// Stops what still runs. True when everything ended by itself.
    pub fn stop(mut self) -> Result<bool> {
        let sites = stop_all(&mut self.sites)?;
        let routers = stop_all(&mut self.routers)?;
        Ok(sites && routers)
    }

    /// Leaves everything running when we end.
    pub fn leave_running(self) {
        self.routers.into_iter().chain(self.sites).for_each(Running::leave_alone);
    }
}

/// Asks all to stop, then waits for each.
fn stop_all(programs: &mut Vec<Running>) -> Result<bool> {
    // Asked once: a second signal means "at once" to a router.
    programs.iter().for_each(Running::ask_to_stop);
    let mut good = true;
    for program in programs.drain(..) {
        let name = program.name().to_owned();
        if !program.stopped_well()? {
            println!("{name} did not stop well");
            good = false;
        }
    }
    Ok(good)
}

fn make_pki(plan: &Plan, programs: &Programs, folder: &Folder) -> Result<()> {
    let mut command = Command::new(&programs.router);
    command.args(["pki", "dev", "--trust-domain", TRUST_DOMAIN, "--ip", "::1", "--out"]).arg(folder.pki());
    let routers = plan.routers.iter().map(RouterPlan::certificate_name);
    for name in routers.chain(plan.sites().into_keys().map(|site| site.certificate_name())) {
        command.args(["--identity", &name]);
    }
    workspace::output(&mut command).map(drop)
}

/// The wall clock.
pub fn now() -> UnixMs {
    UnixMs(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default())
}
