//! A source or sink as a child process: commands go to its standard input, answers come from its standard output.
//!
//! It ends with its standard input, and dropping it kills it, so that nothing outlives an interrupted test.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, Command as Program, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;
use crate::talk::{self, Answer, Command};

/// How long a child may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// How often a wait looks for a signal.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A running source or sink.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    process: Process,
    commands: Option<ChildStdin>,
    answers: Receiver<Answer>,
    log: PathBuf,
}

impl Child {
    /// Starts this program again as `name` with a job.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, name: &'static str, job: &Path, log: &Path) -> Result<Self> {
        let errors = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut process = Program::new(program)
            .arg(name)
            .arg(job)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // A Ctrl-C is for the conductor, which lets its children go in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {} {name}", program.display()))?;
        let commands = process.stdin.take();
        let output = process.stdout.take().context("a piped child has an output")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || talk::listen(BufReader::new(output), |answer| sender.send(answer).is_ok()));
        Ok(Self { name, process, commands, answers, log: log.to_path_buf() })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Tells it something.
    ///
    /// # Errors
    /// It has ended.
    pub fn tell(&mut self, command: &Command) -> Result<()> {
        let to = self.commands.as_mut().context("it has been let go")?;
        talk::say(to, command).with_context(|| format!("the {} has ended; its log: {}", self.name, self.log.display()))
    }

    /// The next answer within `patience`; `None` when there is none yet.
    ///
    /// # Errors
    /// It has failed or ended.
    pub fn answer(&mut self, patience: Duration) -> Result<Option<Answer>> {
        match self.answers.recv_timeout(patience) {
            Ok(Answer::Failed(why)) => bail!("{why}"),
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the {} has ended; its log says:\n{}", self.name, last_lines(&log))
            }
        }
    }

    /// Waits until it has connected.
    ///
    /// # Errors
    /// It failed, took too long, or we were told to stop.
    pub fn wait_ready(&mut self, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            interrupt::check()?;
            if matches!(self.answer(LOOK_EVERY)?, Some(Answer::Ready)) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!(
                    "the {} was not ready within {} s; its log: {}",
                    self.name,
                    patience.as_secs(),
                    self.log.display()
                );
            }
        }
    }

    /// Lets it go and waits for its end; kills it when that takes too long.
    pub fn stop(&mut self) {
        drop(self.commands.take());
        let until = Instant::now() + LEAVE_WITHIN;
        while Instant::now() < until {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
}
