//! The demo network as processes: two routers, and the authorities' sites, in one folder.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use kernpost_loadgen::network::plan::{Plan, Role, Site};
use kernpost_loadgen::network::{Addresses, Folder, Ledger, PATIENCE, Routers, Running};
use kernpost_loadgen::network::{admin, config, directory, now, pki, process};

use crate::workspace::Programs;

/// A running network.
#[derive(Debug)]
pub struct Network {
    /// Where it lies.
    pub folder: Folder,
    /// Its programs.
    pub programs: Programs,
    /// The routers.
    routers: Routers,
    /// The authorities.
    sites: Vec<Running>,
}

impl Network {
    /// Makes keys, certificates and directory, and starts routers and authorities; returns when both are ready.
    pub fn start(plan: &Plan, programs: Programs, folder: Folder, said: &dyn Fn(&str)) -> Result<Self> {
        said("development PKI");
        pki::make(plan, &programs.router, &folder)?;
        said("directory: keys, two signatures per zone");
        directory::write(plan, folder.path(), now())?;
        said("two routers");
        let routers = Routers::start(plan, &programs.router, &folder, &toml::Table::new())?;
        let mut network = Self { folder, programs, routers, sites: Vec::new() };
        said("authorities");
        network.start_authorities(plan)?;
        Ok(network)
    }

    /// What each router bound, in the plan's order.
    pub fn addresses(&self) -> &[Addresses] {
        self.routers.addresses()
    }

    /// Starts every authority and waits until all of their endpoints are attached.
    pub fn start_authorities(&mut self, plan: &Plan) -> Result<()> {
        for (site, endpoints) in plan.sites() {
            let address = self.routers.address(site.router)?;
            let config = config::site(&self.folder, plan, &site, &endpoints, address, &toml::Table::new())?;
            if site.role == Role::Authority {
                self.start_authority(&site, &config)?;
            }
        }
        let awaited = plan.endpoints().filter(|endpoint| endpoint.site.role == Role::Authority).count();
        let addresses = self.routers.addresses();
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

    /// Fails when a router or an authority has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        self.routers.running().iter_mut().chain(&mut self.sites).try_for_each(Running::still_runs)
    }

    /// The ledger of each router, in the plan's order.
    pub fn ledgers(&self) -> Result<Vec<Ledger>> {
        self.addresses().iter().map(|addresses| admin::ledger(&addresses.admin)).collect()
    }

    /// Labels settled so far at the first router, where the portals are.
    pub fn settled(&self) -> Result<u64> {
        let first = self.addresses().first().context("there is a first router")?;
        Ok(admin::ledger(&first.admin)?.settled)
    }

    /// Process ids of everything that runs.
    pub fn pids(&self) -> Vec<u32> {
        self.routers.pids().into_iter().chain(self.sites.iter().map(Running::pid)).collect()
    }

    /// Stops the authorities, which then write their summaries. True when all ended by themselves.
    pub fn stop_authorities(&mut self) -> Result<bool> {
        process::stop_all(&mut self.sites)
    }

    /// Stops what still runs. True when everything ended by itself.
    pub fn stop(mut self) -> Result<bool> {
        let sites = process::stop_all(&mut self.sites)?;
        let routers = self.routers.stop()?;
        Ok(sites && routers)
    }

    /// Leaves everything running when we end.
    pub fn leave_running(self) {
        self.routers.into_running().into_iter().chain(self.sites).for_each(Running::leave_alone);
    }
}
