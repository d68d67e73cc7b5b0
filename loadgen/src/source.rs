//! The source process: one client with every sender, and one thread that starts messages when they are due.

use std::io::BufReader;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use kernpost_endpoint::Client;
use kernpost_endpoint::config::{Purpose, load};

use crate::talk::{self, Answer, Command, SourceJob};
use crate::waiting;

pub(crate) mod drawing;
mod offering;

use drawing::Drawing;

/// How long connecting and attaching may take.
pub const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long leaving may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Runs a source until its standard input ends.
///
/// # Errors
/// Nobody listens any more. Everything else is told as [`Answer::Failed`].
pub fn process(job: &Path) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if let Err(error) = serve(job, &mut out) {
        talk::say(&mut out, &Answer::Failed(format!("source: {error:#}")))?;
    }
    Ok(())
}

fn serve(job: &Path, out: &mut impl std::io::Write) -> Result<()> {
    let job: SourceJob = read_job(job)?;
    let commands = commands();
    let config = load(&job.config, &Purpose::default())?;
    let senders = config.endpoints.iter().map(|endpoint| endpoint.id.clone()).collect();
    let mut drawing = Drawing::new(&job, senders)?;
    let runtime = waiting::runtime()?;
    let client = Client::start(config)?;
    runtime.block_on(client.ready(READY_WITHIN))?;
    talk::say(out, &Answer::Ready)?;
    while let Some(command) = next(&commands) {
        let Command::Start(start) = command else { continue };
        // Nobody listens any more: then standard input has ended too, and the run stops by that.
        let tell = |progress| drop(talk::say(out, &Answer::Progress(progress)));
        let result = offering::run(&client, &job, &start, &mut drawing, &commands, tell)?;
        talk::say(out, &Answer::Sent(Box::new(result)))?;
    }
    runtime.block_on(client.close(LEAVE_WITHIN));
    Ok(())
}

/// Reads a job.
pub(crate) fn read_job<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no job", path.display()))
}

/// Commands from standard input; the channel closes with it.
pub(crate) fn commands() -> Receiver<Command> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        talk::listen(BufReader::new(std::io::stdin()), |command| sender.send(command).is_ok());
    });
    receiver
}

/// The next command; `None` when there will be none.
pub(crate) fn next(commands: &Receiver<Command>) -> Option<Command> {
    loop {
        match commands.recv_timeout(Duration::from_secs(3_600)) {
            Ok(command) => return Some(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}
