//! Networks started for a test: PKI, directory, configurations and router processes, in one folder.
//!
//! Every port is chosen by the kernel. A router writes what it bound to `addresses.json` in its state folder. Of two
//! routers the one with the smaller id dials (WIRE 2.1), so the other is started first and its address is known. The
//! demo of `cargo xtask` and the load generator start their networks with this.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use kernpost_codecs::UnixMs;
use serde::Deserialize;

pub mod admin;
pub mod config;
pub mod directory;
pub mod folder;
pub mod pki;
pub mod plan;
pub mod process;

pub use admin::Ledger;
pub use folder::Folder;
pub use process::Running;

use plan::{Plan, RouterPlan};

/// How long starting may take, per step. A table of millions of routes takes its time.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a router bound: the file `addresses.json` of its state folder.
#[derive(Debug, Clone, Deserialize)]
pub struct Addresses {
    /// UDP addresses.
    pub quic: Vec<String>,
    /// HTTP address of the admin interface.
    pub admin: String,
}

/// The running routers of a network.
#[derive(Debug)]
pub struct Routers {
    running: Vec<Running>,
    addresses: Vec<Addresses>,
}

impl Routers {
    /// Starts every router of the plan and waits until all are ready. `extra` goes into each configuration.
    ///
    /// # Errors
    /// A router does not start, or is not ready in time; its last words are part of the error.
    pub fn start(plan: &Plan, program: &Path, folder: &Folder, extra: &toml::Table) -> Result<Self> {
        let mut routers = Self { running: Vec::new(), addresses: Vec::new() };
        let mut peers: Vec<(&RouterPlan, String)> = Vec::new();
        for router in plan.routers.iter().rev() {
            let addresses = routers.start_one(router, &peers, program, folder, extra)?;
            peers.push((router, addresses.quic.first().context("the router bound no address")?.clone()));
            routers.addresses.push(addresses);
        }
        routers.addresses.reverse();
        routers.running.reverse();
        for addresses in &routers.addresses {
            process::wait_for("a router to be ready", PATIENCE, &mut routers.running, || {
                Ok(admin::is_ready(&addresses.admin).then_some(()))
            })?;
        }
        Ok(routers)
    }

    fn start_one(
        &mut self,
        router: &RouterPlan,
        peers: &[(&RouterPlan, String)],
        program: &Path,
        folder: &Folder,
        extra: &toml::Table,
    ) -> Result<Addresses> {
        let config = config::router(folder, router, peers, extra)?;
        let state = folder.state(router);
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let name = format!("router-{}", router.name());
        let mut command = Command::new(program);
        command.args(["run", "--dev", "--config"]).arg(config);
        self.running.push(Running::start(&name, &mut command, &folder.log(&name))?);
        let file = state.join("addresses.json");
        process::wait_for(&format!("{name} to bind"), PATIENCE, &mut self.running, || {
            // No file, or half a file, is no file yet.
            Ok(fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok()))
        })
    }

    /// What each bound, in the plan's order.
    pub fn addresses(&self) -> &[Addresses] {
        &self.addresses
    }

    /// Where a site dials the router with this index.
    ///
    /// # Errors
    /// There is no such router.
    pub fn address(&self, router: usize) -> Result<&str> {
        let addresses = self.addresses.get(router).context("a site's router is one of the plan's")?;
        Ok(addresses.quic.first().context("the router bound no address")?)
    }

    /// The processes, in the plan's order.
    pub fn running(&mut self) -> &mut Vec<Running> {
        &mut self.running
    }

    /// Gives the processes away, to be left running or stopped elsewhere.
    pub fn into_running(self) -> Vec<Running> {
        self.running
    }

    /// Their process ids, in the plan's order.
    pub fn pids(&self) -> Vec<u32> {
        self.running.iter().map(Running::pid).collect()
    }

    /// Stops them. True when all ended by themselves.
    ///
    /// # Errors
    /// A process cannot be asked.
    pub fn stop(&mut self) -> Result<bool> {
        process::stop_all(&mut self.running)
    }
}

/// The wall clock.
pub fn now() -> UnixMs {
    UnixMs(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default())
}
