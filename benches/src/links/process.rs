//! A program that was started here: asked by lines on its standard input, answering by JSON lines, ended by its own id.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

/// The programs that are measured.
#[derive(Debug, Args)]
pub struct Programs {
    /// `kernpost-router`
    #[arg(long)]
    pub router: PathBuf,
    /// `kernpost`
    #[arg(long)]
    pub kernpost: PathBuf,
}

/// How long a program may take to end by itself once its standard input has closed.
const GRACE: Duration = Duration::from_secs(10);

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    log: PathBuf,
    child: Child,
    asked: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Running {
    /// Starts it; what it says on standard error goes to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let answers = child.stdout.take().context("standard output")?;
        Ok(Self { log: log.to_owned(), asked: child.stdin.take(), answers: BufReader::new(answers), child })
    }

    /// This program again, in another role.
    pub fn role(prefix: &[String], arguments: &[String], log: &Path) -> Result<Self> {
        let this = std::env::current_exe().context("own program")?;
        Self::start(prefixed(prefix, &this).args(arguments), log)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Says a line and waits for its answer.
    pub fn ask(&mut self, line: &str) -> Result<Value> {
        let asked = self.asked.as_mut().context("standard input is closed")?;
        writeln!(asked, "{line}").context("it does not listen any more")?;
        asked.flush()?;
        self.answer()
    }

    /// Waits for a line of JSON.
    pub fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!("it ended: {}: {said}", self.child.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))
    }

    /// One line of `/proc/<pid>/status`, such as `VmRSS`, in KiB.
    pub fn memory_kib(&self, what: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)).with_context(|| what.to_owned())?;
        Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").trim().parse()?)
    }

    /// Closes its standard input, and waits a while for its end.
    pub fn end(mut self) {
        drop(self.asked.take());
        let until = Instant::now() + GRACE;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// `program`, started through `prefix` (such as `ip netns exec NAME`).
pub fn prefixed(prefix: &[String], program: &Path) -> Command {
    match prefix.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    }
}
