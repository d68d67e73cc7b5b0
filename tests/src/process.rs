//! Real programs of this workspace: built once, started with their output in a file, waited for, stopped by their own id.
//!
//! Every wait is bounded and goes through [`wait_until`]. Dropping a [`Process`] kills that child and no other.
//! `process/network.rs` puts routers, certificates and a signed directory together.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

mod network;
mod operator;
mod router;

pub use network::{CredentialFiles, Network, wall};
pub use operator::{Operator, Said};
pub use router::{Books, Router, Settings};

/// How long anything may take that is expected to happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `found` gives something. Panics, naming `what`, when [`PATIENCE`] is over.
#[track_caller]
pub fn wait_until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < until, "waited {} s until {what}", PATIENCE.as_secs());
        thread::sleep(LOOK_EVERY);
    }
}

/// Where a program of this workspace is, after building it with the profile of the running test. `KERNPOST_PROGRAMS`
/// names a folder with programs that are built already.
pub fn program(package: &str, name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("KERNPOST_PROGRAMS") {
        return Path::new(&folder).join(name);
    }
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = profile_folder();
    if !built.iter().any(|held| held == name) {
        build(&folder, package, name);
        built.push(name.to_owned());
    }
    folder.join(name)
}

/// `target/<profile>`: the folder above the one this test lies in.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_path_buf()
}

/// Fresh programs cost a look at their sources; stale ones would test yesterday's code.
fn build(folder: &Path, package: &str, name: &str) {
    let profile = folder.file_name().unwrap().to_str().unwrap();
    let profile = if profile == "debug" { "dev" } else { profile };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", package, "--bin", name, "--profile", profile]);
    cargo.arg("--target-dir").arg(folder.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(cargo.status().unwrap().success(), "building {name} failed: {cargo:?}");
}

/// A program that was started here.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; both its outputs go to the file `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        let errors = file.try_clone().unwrap();
        let started = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        let child = started.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.to_owned(), child, log: log.to_path_buf() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Panics with its log when it has ended.
    #[track_caller]
    pub fn still_runs(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended with {status}:\n{}", self.name, self.log());
        }
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        // Whoever has ended needs no signal.
        let _ = kill_process(pid, signal);
    }

    /// Ends it without a chance to tidy up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end, at most [`PATIENCE`].
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait_until(&format!("{name} ends"), || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            println!("--- the last lines of {}", self.name);
            last.iter().rev().for_each(|line| println!("{line}"));
        }
        self.kill();
    }
}
