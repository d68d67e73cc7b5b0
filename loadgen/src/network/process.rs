//! One program of a network: started with its output in a file, waited for, stopped by its own process id.
//!
//! Every wait is bounded. A program that does not end within its grace after SIGTERM is killed, and dropping a
//! [`Running`] stops it too, so that nothing outlives an interrupted demo.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;

/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a program may take to finish what is in flight after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(15);

/// A program that was started here.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    left_alone: bool,
}

impl Running {
    /// Starts `command`; both its outputs go to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file.try_clone().with_context(|| format!("cannot share {}", log.display()))?;
        let started = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        let child = started.with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_path_buf(), left_alone: false })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it is called here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Fails, with the end of its log, when it has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("cannot ask for {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} ended early with {status}; its log says:\n{}", self.name, self.last_words()),
        }
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask for {}", self.name))
    }

    /// Asks it to stop. It may take [`GRACE`].
    pub fn ask_to_stop(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself: then there is nobody to ask.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits, within bounds, for the end of a program that was asked to stop; SIGKILL after that. True when it ended by
    /// itself and without an error.
    pub fn stopped_well(mut self) -> Result<bool> {
        let status = self.wait(GRACE)?;
        Ok(status.is_some_and(|status| status.success()))
    }

    /// Waits at most `patience` for its end, then kills it. `None`: it had to be killed.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            thread::sleep(LOOK_EVERY);
        }
        self.kill();
        Ok(None)
    }

    /// Leaves it running when we end.
    pub fn leave_alone(mut self) {
        self.left_alone = true;
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let start = lines.len().saturating_sub(15);
        lines.get(start..).unwrap_or_default().join("\n")
    }

    /// Ends it without a chance to tidy up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.left_alone && matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// Asks all to stop, then waits for each. True when all ended by themselves and without an error.
///
/// # Errors
/// A process cannot be asked.
pub fn stop_all(programs: &mut Vec<Running>) -> Result<bool> {
    // Asked once: a second signal means "at once" to a router.
    programs.iter().for_each(Running::ask_to_stop);
    let mut good = true;
    for program in programs.drain(..) {
        let name = program.name().to_owned();
        if !program.stopped_well()? {
            eprintln!("{name} did not stop well");
            good = false;
        }
    }
    Ok(good)
}

/// Looks every few milliseconds until `ready` gives something, as long as every program runs.
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    programs: &mut [Running],
    mut ready: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        interrupt::check()?;
        if let Some(found) = ready()? {
            return Ok(found);
        }
        for program in programs.iter_mut() {
            program.still_runs()?;
        }
        if Instant::now() >= until {
            let words: Vec<_> = programs.iter().map(|p| format!("{}:\n{}", p.name(), p.last_words())).collect();
            bail!("waited {} s for {what}\n{}", patience.as_secs(), words.join("\n"));
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn start(script: &str) -> (tempfile::TempDir, Running) {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let running = Running::start("sh", Command::new("sh").args(["-c", script]), &log).unwrap();
        (folder, running)
    }

    #[test]
    fn a_program_that_obeys_stops_without_being_killed() {
        let (_folder, running) = start("exec cat /dev/zero >/dev/null");
        // `cat` dies of the signal: it ended by itself, though not with success.
        running.ask_to_stop();
        assert!(!running.stopped_well().unwrap());
    }

    #[test]
    fn a_program_that_ended_early_is_named_with_its_last_words() {
        let (_folder, mut running) = start("echo no such port; exit 3");
        running.wait(GRACE).unwrap();
        let said = format!("{:#}", running.still_runs().unwrap_err());
        assert!(said.contains("no such port") && said.contains("sh"), "{said}");
    }

    #[test]
    fn dropping_a_program_ends_it() {
        let (_folder, running) = start("exec cat /dev/zero >/dev/null");
        let proc_entry = PathBuf::from(format!("/proc/{}", running.pid()));
        assert!(proc_entry.exists());
        drop(running);
        assert!(!proc_entry.exists());
    }
}
