//! Certificates for a network started here: the router's own development CA makes them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::folder::Folder;
use super::plan::{Plan, RouterPlan, Site, TRUST_DOMAIN};

/// Identities named on one command line; more are made by further calls into the same folder.
const AT_ONCE: usize = 512;

/// Makes a CA, and a certificate for every router and site of the plan, with `kernpost-router pki dev`.
///
/// # Errors
/// The program cannot be started or refuses.
pub fn make(plan: &Plan, router_program: &Path, folder: &Folder) -> Result<()> {
    let sites = plan.sites();
    let names = plan.routers.iter().map(RouterPlan::certificate_name);
    let names: Vec<_> = names.chain(sites.keys().map(Site::certificate_name)).collect();
    for some in names.chunks(AT_ONCE) {
        let mut command = Command::new(router_program);
        command.args(["pki", "dev", "--trust-domain", TRUST_DOMAIN, "--ip", "::1", "--out"]).arg(folder.pki());
        for name in some {
            command.args(["--identity", name]);
        }
        let done = command.stdin(Stdio::null()).output();
        let done = done.with_context(|| format!("cannot start {}", router_program.display()))?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{} pki dev ended with {}: {said}", router_program.display(), done.status);
    }
    Ok(())
}
