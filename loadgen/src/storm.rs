//! The storm process: many links that leave all at once and come back all at once, again and again during a run.
//!
//! One client with a link for each of its endpoints. It is started anew for every storm, so every link dials, shakes
//! hands, says hello and attaches again.

use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::Result;
use kernpost_endpoint::Client;
use kernpost_endpoint::config::{Purpose, load};

use crate::clock::mono_us;
use crate::measured::Reconnects;
use crate::source::{READY_WITHIN, commands, next, read_job};
use crate::talk::{self, Answer, Command, Start, StormJob};
use crate::waiting;

/// How long leaving may take: a storm does not say goodbye for long.
const LEAVE_WITHIN: Duration = Duration::from_millis(100);
/// How often the next storm is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Runs a storm until its standard input ends.
///
/// # Errors
/// Nobody listens any more. Everything else is told as [`Answer::Failed`].
pub fn process(job: &Path) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if let Err(error) = serve(job, &mut out) {
        talk::say(&mut out, &Answer::Failed(format!("storm: {error:#}")))?;
    }
    Ok(())
}

fn serve(job: &Path, out: &mut impl std::io::Write) -> Result<()> {
    let job: StormJob = read_job(job)?;
    let commands = commands();
    let runtime = waiting::runtime()?;
    let mut client = Client::start(load(&job.config, &Purpose::default())?)?;
    runtime.block_on(client.ready(READY_WITHIN))?;
    talk::say(out, &Answer::Ready)?;
    let mut counts = Reconnects::default();
    while let Some(command) = next(&commands) {
        match command {
            Command::Start(start) => {
                client = blow(&job, &start, client, &runtime, &mut counts, &commands)?;
            }
            Command::Report => talk::say(out, &Answer::Reconnected(counts))?,
            Command::Stop => {}
        }
    }
    runtime.block_on(client.close(LEAVE_WITHIN));
    Ok(())
}

/// Storms until the end of the run's plan.
fn blow(
    job: &StormJob,
    start: &Start,
    mut client: Client,
    runtime: &tokio::runtime::Runtime,
    counts: &mut Reconnects,
    commands: &Receiver<Command>,
) -> Result<Client> {
    let links = client.status().attached.len() as u64;
    *counts = Reconnects { links, ..Reconnects::default() };
    let every = Duration::from_millis(job.every_ms);
    let mut next_us = start.at_us + job.every_ms * 1_000;
    let end_us = start.at_us + start.plan.length_us;
    while next_us < end_us {
        while mono_us() < next_us {
            if matches!(commands.try_recv(), Ok(Command::Stop) | Err(TryRecvError::Disconnected)) {
                return Ok(client);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        runtime.block_on(client.close(LEAVE_WITHIN));
        let began = Instant::now();
        client = Client::start(load(&job.config, &Purpose::default())?)?;
        let ready = runtime.block_on(client.ready(every)).is_ok();
        let attached = client.status().attached.values().filter(|on| **on > 0).count() as u64;
        counts.storms += 1;
        counts.attached += attached;
        counts.missed += links.saturating_sub(attached);
        if ready {
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            counts.worst_ms = counts.worst_ms.max(took_ms);
        }
        next_us += job.every_ms * 1_000;
    }
    Ok(client)
}
