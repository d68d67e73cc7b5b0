//! The workplace of an endpoint process: its configuration file with everything it names, the command `kernpost` run
//! there, and the same configuration as a client of the library.
//!
//! A command's outputs go to files, its payload comes from one, and every wait is bounded by
//! [`wait_until`]. Dropping a [`Running`] command kills that child and no other.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kernpost_codecs::{EndpointId, SigningKey};
use kernpost_endpoint::Client;
use kernpost_endpoint::client::ClientConfig;
use kernpost_endpoint::config::{Purpose, load};
use serde_json::Value;

use crate::process::{PATIENCE, Process, program, wait_until};
use crate::scene::Scene;
use crate::world::TRUST_DOMAIN;

/// A folder with `kernpost.toml`, credentials, signing keys, state and journal of one endpoint process.
#[derive(Debug)]
pub struct Desk {
    folder: PathBuf,
    log_filter: String,
    started: AtomicUsize,
}

impl Desk {
    /// A desk named `name` below the network's folder, for endpoints that are attached over link `link` at these routers.
    /// The directory comes from the routers.
    pub fn new(scene: &Scene, name: &str, link: &str, endpoints: &[&EndpointId], routers: &[&str]) -> Self {
        let folder = scene.network.folder().join(name);
        std::fs::create_dir(&folder).unwrap();
        let tls = scene.network.write_credentials(&format!("{name}-link"), &scene.network.credentials(link));
        let anchor = scene.network.folder().join("trust-anchor.toml");
        let mut text = format!(
            "tls = {{ certificates = {:?}, key = {:?}, roots = [{:?}], trust_domain = {TRUST_DOMAIN:?} }}\n\
             directory = {{ trust_anchor = {anchor:?} }}\nstate = {{ folder = \"state\" }}\n",
            tls.certificates, tls.key, tls.roots
        );
        for name in routers {
            let router = scene.network.router(name);
            text += &format!("[[routers]]\nid = {:?}\naddress = \"{}\"\n", router.id, router.address);
        }
        for endpoint in endpoints {
            let mut keys = Vec::new();
            for (number, key) in scene.network.world.all_keys(endpoint).iter().enumerate() {
                let name = format!("{}-{number}.pem", endpoint.as_str().replace('/', "_"));
                std::fs::write(folder.join(&name), key.to_pkcs8_pem().unwrap()).unwrap();
                keys.push(name);
            }
            text += &format!("[[endpoints]]\nid = {:?}\nkeys = {keys:?}\n", endpoint.as_str());
        }
        std::fs::write(folder.join("kernpost.toml"), text).unwrap();
        Self { folder, log_filter: "info,kernpost=debug".to_owned(), started: AtomicUsize::new(0) }
    }

    /// The same desk with more in its configuration file.
    #[must_use]
    pub fn with(self, more: &str) -> Self {
        self.edit(|text| format!("{text}{more}\n"));
        self
    }

    /// The same desk with another preferred signing key for its only endpoint.
    #[must_use]
    pub fn with_preferred_key(self, key: &SigningKey) -> Self {
        std::fs::write(self.folder.join("preferred.pem"), key.to_pkcs8_pem().unwrap()).unwrap();
        self.edit(|text| text.replace("keys = [", "keys = [\"preferred.pem\", "));
        self
    }

    /// The same desk, reading the signed directory from where the routers read it.
    #[must_use]
    pub fn with_directory_folder(self) -> Self {
        let directory = self.network_folder().join("directory");
        self.edit(|text| text.replace("directory = {", &format!("directory = {{ folder = {directory:?},")));
        self
    }

    /// The same desk, whose commands log what this filter lets through.
    #[must_use]
    pub fn logging(self, filter: &str) -> Self {
        Self { log_filter: filter.to_owned(), ..self }
    }

    /// Rewrites the configuration file.
    pub fn edit(&self, change: impl FnOnce(&str) -> String) {
        let file = self.path("kernpost.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(&text)).unwrap();
    }

    /// A path at this desk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file at this desk and gives its path as text.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The names in a folder at this desk, sorted; hidden ones are left out.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    fn network_folder(&self) -> &Path {
        self.folder.parent().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("kernpost-endpoint", "kernpost"));
        command.args(arguments).current_dir(&self.folder).env("RUST_LOG", &self.log_filter);
        command
    }

    /// Starts `kernpost` with these arguments, in this folder, with this standard input.
    pub fn start(&self, arguments: &[&str], input: &[u8]) -> Running {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let at = |end: &str| self.folder.join(format!("{number}.{end}"));
        std::fs::write(at("in"), input).unwrap();
        let mut command = self.command(arguments);
        command.stdin(File::open(at("in")).unwrap());
        command.stdout(File::create(at("out")).unwrap()).stderr(File::create(at("err")).unwrap());
        Running { child: command.spawn().unwrap(), out: at("out"), err: at("err"), what: arguments.join(" ") }
    }

    /// Runs `kernpost` with these arguments and nothing on standard input.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments, b"").wait()
    }

    /// Starts `kernpost send` with this payload on standard input.
    pub fn start_send(&self, arguments: &[&str], payload: &[u8]) -> Running {
        self.start(&[&["send", "--config", "kernpost.toml"], arguments].concat(), payload)
    }

    /// Runs `kernpost send` with this payload on standard input.
    #[track_caller]
    pub fn send(&self, arguments: &[&str], payload: &[u8]) -> Ran {
        self.start_send(arguments, payload).wait()
    }

    /// Starts `kernpost receive` with the journal of this desk and waits until it is attached.
    #[track_caller]
    pub fn receive(&self, arguments: &[&str]) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let common = ["receive", "--config", "kernpost.toml", "--journal", "journal"];
        let mut command = self.command(&[&common, arguments].concat());
        let log = self.folder.join(format!("{number}.log"));
        let mut process = Process::start("kernpost receive", &mut command, &log);
        wait_until("kernpost receive is attached", || {
            process.still_runs();
            process.log().contains("attached: ").then_some(())
        });
        process
    }

    /// What the library makes of the configuration, for a process that receives with the desk's journal, or only sends, through
    /// the durable outbox if the configuration has one.
    pub fn config(&self, receive: bool) -> ClientConfig {
        let journal = receive.then(|| self.path("journal"));
        load(&self.path("kernpost.toml"), &Purpose { journal, receive, send: !receive, ..Purpose::default() }).unwrap()
    }

    /// A client that only sends, once it is attached.
    pub async fn sender(&self) -> Client {
        started(self.config(false)).await
    }

    /// A client that receives too, once it is attached.
    pub async fn recipient(&self) -> Client {
        started(self.config(true)).await
    }
}

/// A client of the library, once it is attached.
pub async fn started(config: ClientConfig) -> Client {
    let client = Client::start(config).unwrap();
    client.ready(PATIENCE).await.unwrap();
    client
}

/// Finishes what is under way and closes; panics unless every message it took is accounted for.
pub async fn ended(client: Client) {
    client.close(Duration::from_secs(5)).await;
    let ledger = client.status().ledger;
    assert!(ledger.balances() && ledger.open == 0, "{ledger:?}");
}

/// A command that was started and not waited for yet.
#[derive(Debug)]
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    what: String,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Running {
    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Ran {
        let what = format!("`kernpost {}` ends", self.what);
        let status = wait_until(&what, || self.child.try_wait().unwrap());
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        Ran { code: status.code().unwrap(), out: read(&self.out), err: read(&self.err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// Panics, showing everything, unless it ended with this exit status.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Panics unless standard error says each of these.
    #[track_caller]
    pub fn complains(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in {self:#?}");
        }
    }
}

/// A gate that shell commands wait at with `cat GATE`, until it is opened.
#[derive(Debug)]
pub struct Gate(PathBuf);

impl Gate {
    /// A closed gate.
    pub fn new(path: PathBuf) -> Self {
        assert!(Command::new("mkfifo").arg(&path).stdin(Stdio::null()).status().unwrap().success());
        Self(path)
    }

    /// Its path as a shell sees it.
    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Lets through whoever waits now; whether anybody did.
    pub fn let_through(&self) -> bool {
        use rustix::fs::{Mode, OFlags, open};
        open(&self.0, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).is_ok()
    }
}
