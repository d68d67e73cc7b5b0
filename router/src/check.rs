//! Can this configuration run? Looks at every file it names and says everything that is wrong, at once.
//!
//! `check` and `run` share this: what `check` accepts is what `run` starts with. Nothing is written and no port is bound.

use std::path::Path;
use std::sync::Arc;

use kernpost_codecs::{LinkIdentity, UnixMs};

use crate::config::Config;
use crate::directory::Loaded;
use crate::operators::account::group_id;
use crate::problem::{Problem, Problems};
use crate::tls::{Credentials, Trust};

mod certificate;
mod custody;
mod directory;
mod files;
mod pki;

pub use custody::CustodyKeys;

/// A configuration whose files were found sound, with what was loaded from them.
#[derive(Debug)]
pub struct Prepared {
    /// The configuration.
    pub config: Config,
    /// Own chain and key.
    pub credentials: Credentials,
    /// Roots and revocation lists.
    pub trust: Arc<Trust>,
    /// The link identities of the own certificate, in the order of WIRE 2.2.
    pub identities: Vec<LinkIdentity>,
    /// The verified directory and its table.
    pub directory: Loaded,
    /// The keys of custody, when it is configured.
    pub custody: Option<CustodyKeys>,
    /// What is not wrong yet.
    pub warnings: Vec<String>,
}

/// Collects findings while files are looked at.
#[derive(Debug)]
struct Findings<'c> {
    config: &'c Config,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Findings<'_> {
    /// A problem with a file named by a key of the configuration.
    fn wrong(&mut self, key: &str, file: &Path, what: impl std::fmt::Display, remedy: impl Into<String>) {
        let what = format!("{}: {what}", file.display());
        self.problems.push(self.config.problem(key, what, remedy));
    }
}

/// What a configuration is looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// To tell the operator everything.
    Check,
    /// To start: a directory that is refused is a warning when the last good copy can take its place.
    Run,
}

/// Reads the configuration `file` and prepares it; `dev` tolerates a development PKI as `router.dev` does.
///
/// # Errors
/// Everything that is wrong with the text; if the text is sound, everything that is wrong with the files it names.
pub fn prepare_file(file: &Path, dev: bool, intent: Intent) -> Result<Prepared, Problems> {
    let mut config = Config::load(file)?;
    config.router.dev |= dev;
    prepare(config, crate::clock::wall(), intent)
}

/// Looks at every file `config` names, as of `now`.
///
/// # Errors
/// Everything that is wrong.
pub fn prepare(config: Config, now: UnixMs, intent: Intent) -> Result<Prepared, Problems> {
    let mut findings = Findings { config: &config, problems: Vec::new(), warnings: Vec::new() };
    let pki = pki::load(&mut findings, now);
    let own = pki.as_ref().map(|pki| pki.identities.as_slice());
    let directory = directory::load(&mut findings, own, now, intent);
    let table = directory.as_ref().map(|loaded| &loaded.table);
    let custody = custody::load(&mut findings, table, now);
    check_state(&mut findings);
    check_operators(&mut findings);
    check_memory(&mut findings);
    let Findings { problems, warnings, .. } = findings;
    match (pki, directory) {
        (Some(pki), Some(directory)) if problems.is_empty() => Ok(Prepared {
            credentials: pki.credentials,
            trust: Arc::new(pki.trust),
            identities: pki.identities,
            directory,
            custody,
            warnings,
            config,
        }),
        _ => Err(Problems(problems)),
    }
}

/// The state folder is there and writable, or can be made.
fn check_state(findings: &mut Findings<'_>) {
    use rustix::fs::{Access, access};
    let state = &findings.config.router.state;
    let writable = |path: &Path| access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    let trouble = if state.is_dir() {
        (!writable(state)).then_some("is not writable for this user")
    } else if state.exists() {
        Some("is not a folder")
    } else {
        let parent = state.parent().filter(|parent| parent.is_dir());
        match parent {
            Some(parent) if writable(parent) => None,
            _ => Some("does not exist and cannot be created by this user"),
        }
    };
    if let Some(trouble) = trouble {
        let remedy = "create the folder, owned by the user the router runs as";
        findings.wrong("router.state", &state.clone(), trouble, remedy);
    }
}

/// The group of operators exists, and the folder of their socket.
fn check_operators(findings: &mut Findings<'_>) {
    let (config, admin) = (findings.config, &findings.config.admin);
    if let Some(group) = admin.operators_group.as_ref().filter(|group| group_id(group).is_none()) {
        let what = format!("this machine has no group {group}");
        findings.problems.push(config.problem("admin.operators_group", what, "make it with groupadd, or name another"));
    }
    let folder = admin.socket.parent().filter(|folder| *folder != config.router.state && !folder.is_dir());
    if let Some(folder) = folder.filter(|_| config.custody.is_some()) {
        let remedy = "make the folder, for instance by RuntimeDirectory= of systemd";
        findings.wrong("admin.socket", folder, "is not a folder", remedy);
    }
}

/// Warns when full links need more memory than the machine has.
fn check_memory(findings: &mut Findings<'_>) {
    let worst = findings.config.worst_case_link_memory();
    let Some(total) = machine_memory() else {
        return;
    };
    if worst > total {
        findings.warnings.push(format!(
            "with every link full, links need {} MiB, the machine has {} MiB: lower limits.links ({}) or credit",
            worst >> 20,
            total >> 20,
            findings.config.limits.links
        ));
    }
}

/// Bytes of memory, from `/proc/meminfo`.
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests;
