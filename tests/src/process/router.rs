//! One router process: its configuration, its addresses, what its admin interface says, and its books at the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Process, program, wait_until};

/// A router's configuration, key by key.
#[derive(Debug, Clone, Default)]
pub struct Settings(toml::Table);

impl Settings {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `section.key`, for instance `deadlines.endpoint_ms`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        let (sections, key) = key.rsplit_once('.').unwrap();
        let mut table = &mut self.0;
        for section in sections.split('.') {
            let next = table.entry(section).or_insert_with(|| toml::Table::new().into());
            table = next.as_table_mut().unwrap();
        }
        table.insert(key.to_owned(), value.into());
        self
    }

    /// Links notice within three seconds that the other side is gone.
    #[must_use]
    pub fn watchful() -> Self {
        Self::new().with("link.idle_timeout_ms", 3_000).with("link.keep_alive_ms", 1_000)
    }

    /// Adds a router to be linked with.
    #[must_use]
    pub fn peer(mut self, router: &str, address: SocketAddr) -> Self {
        let mut peer = toml::Table::new();
        peer.insert("router".to_owned(), router.into());
        peer.insert("address".to_owned(), address.to_string().into());
        let peers = self.0.entry("peers").or_insert_with(|| toml::Value::Array(Vec::new()));
        peers.as_array_mut().unwrap().push(peer.into());
        self
    }

    /// Everything set here and not in `other`, and everything set in `other`.
    #[must_use]
    pub fn overridden_by(mut self, other: &Self) -> Self {
        merge(&mut self.0, &other.0);
        self
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, toml::to_string(&self.0).unwrap()).unwrap();
    }
}

fn merge(into: &mut toml::Table, from: &toml::Table) {
    for (key, value) in from {
        match (into.get_mut(key).and_then(toml::Value::as_table_mut), value.as_table()) {
            (Some(into), Some(from)) => merge(into, from),
            _ => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

/// A running router.
#[derive(Debug)]
pub struct Router {
    /// Its id.
    pub id: String,
    /// Where it accepts links.
    pub address: SocketAddr,
    /// Its admin interface.
    pub admin: SocketAddr,
    process: Process,
}

/// The books at the end of a router's life, as its last log lines give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Books {
    /// Labels opened.
    pub accepted: u64,
    /// Settled by a receipt.
    pub delivered: u64,
    /// Settled by a receipt *rejected*.
    pub rejected: u64,
    /// Settled refused.
    pub refused: u64,
    /// Settled undecided.
    pub undecided: u64,
}

impl Router {
    /// Starts a router with this configuration file and waits until it has bound. `state` is the folder the file names.
    pub(super) fn start(id: &str, config: &Path, state: &Path, log: &Path) -> Self {
        let file = state.join("addresses.json");
        // A router that was killed before left its addresses behind.
        let _ = std::fs::remove_file(&file);
        let mut process = Self::launch(id, config, log);
        let addresses: Value = wait_until(&format!("{id} has bound"), || {
            process.still_runs();
            // No file, or half a file, is no file yet.
            serde_json::from_str(&std::fs::read_to_string(&file).ok()?).ok()
        });
        let address = |value: &Value| value.as_str().unwrap().parse().unwrap();
        let (quic, admin) = (address(&addresses["quic"][0]), address(&addresses["admin"]));
        Self { id: id.to_owned(), address: quic, admin, process }
    }

    /// Starts its process and waits for nothing.
    pub(super) fn launch(id: &str, config: &Path, log: &Path) -> Process {
        let mut command = Command::new(program("kernpost-router", "kernpost-router"));
        command.args(["run", "--dev", "--config"]).arg(config);
        Process::start(id, &mut command, log)
    }

    /// Waits until it can route.
    pub fn wait_ready(&mut self) {
        let url = format!("http://{}/readyz", self.admin);
        wait_until(&format!("{} is ready", self.id), || {
            self.process.still_runs();
            ureq::get(&url).call().ok()
        });
    }

    /// `/status`.
    pub fn status(&self) -> Value {
        let url = format!("http://{}/status", self.admin);
        ureq::get(&url).call().unwrap().into_body().read_json().unwrap()
    }

    /// Waits until `/status` satisfies `is`.
    #[track_caller]
    pub fn wait_status(&self, what: &str, is: impl Fn(&Value) -> bool) {
        wait_until(&format!("{}: {what}", self.id), || is(&self.status()).then_some(()));
    }

    /// Waits until it knows that `endpoint` is attached at `router`.
    #[track_caller]
    pub fn wait_attached(&self, endpoint: &str, router: &str) {
        self.wait_status(&format!("{endpoint} is attached at {router}"), |status| {
            attachments(status).any(|(held, at)| held == endpoint && at == router)
        });
    }

    /// Waits until no attachment of `endpoint` at `router` is known.
    #[track_caller]
    pub fn wait_detached(&self, endpoint: &str, router: &str) {
        self.wait_status(&format!("{endpoint} is no longer attached at {router}"), |status| {
            !attachments(status).any(|(held, at)| held == endpoint && at == router)
        });
    }

    /// A metric, by its name without `kernpost_`, summed over its labels, or with all of them.
    pub fn metric(&self, name: &str) -> u64 {
        let url = format!("http://{}/metrics", self.admin);
        let page = ureq::get(&url).call().unwrap().into_body().read_to_string().unwrap();
        let name = format!("kernpost_{name}");
        let rest = |line: &str| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values = page.lines().filter(|line| rest(line)).map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<f64>().unwrap()).sum::<f64>() as u64
    }

    /// Alarms of a kind since it started.
    pub fn alarms(&self, kind: &str) -> u64 {
        self.status()["alarms"][kind].as_u64().unwrap()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops it in an orderly way. Panics unless it ends with success, nothing in flight, and balanced books.
    #[track_caller]
    pub fn stop(mut self) -> Books {
        self.process.terminate();
        self.await_end()
    }

    /// Waits for the end of a stop that was asked for already; as [`stop`](Self::stop).
    #[track_caller]
    pub fn await_end(&mut self) -> Books {
        let status = self.process.wait();
        let log = self.log();
        assert!(status.success(), "{} ended with {status}:\n{log}", self.id);
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let said = |message: &str| {
            let line = lines.iter().rev().find(|line| line["fields"]["message"] == message);
            line.unwrap_or_else(|| panic!("{} never said {message:?}:\n{log}", self.id))["fields"].clone()
        };
        said("drained");
        let ledger = said("ledger");
        let count = |name: &str| ledger[name].as_u64().unwrap();
        assert!(ledger["balanced"] == true && count("in_flight") == 0, "{}: {ledger}", self.id);
        Books {
            accepted: count("accepted"),
            delivered: count("delivered"),
            rejected: count("rejected"),
            refused: count("refused"),
            undecided: count("undecided"),
        }
    }
}

fn attachments(status: &Value) -> impl Iterator<Item = (&str, &str)> {
    let held = status["attachments"].as_array().into_iter().flatten();
    held.filter_map(|held| Some((held["endpoint"].as_str()?, held["router"].as_str()?)))
}

/// The files of one router below the network's folder.
pub(super) struct Files {
    pub config: PathBuf,
    pub state: PathBuf,
    pub log: PathBuf,
}

impl Files {
    pub fn below(folder: &Path, name: &str) -> Self {
        Self {
            config: folder.join(format!("{name}.toml")),
            state: folder.join(format!("{name}-state")),
            log: folder.join(format!("{name}.log")),
        }
    }
}
