//! The sink process: receives, remembers what it has seen, accepts or rejects, as slowly as it is told to.
//!
//! One client with every ordinary recipient and one further client for each slow one, each with a journal of its own
//! whose group commits come before every receipt.

use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use kernpost_codecs::Code;
use kernpost_endpoint::client::TurnTimes;
use kernpost_endpoint::config::{Purpose, load};
use kernpost_endpoint::{Client, Delivery};

use crate::accounting::Seen;
use crate::clock::mono_us;
use crate::latencies::Latencies;
use crate::measured::waited_us;
use crate::message_id::Marks;
use crate::source::{READY_WITHIN, commands, read_job};
use crate::talk::{self, Answer, Command, SinkJob, SinkResult, Start};
use crate::waiting;

/// The code of rejections on purpose: the first one that belongs to applications (WIRE 8.4).
const REJECTED: Code = Code(1_000);
/// What is written into them.
const PROBLEM: &str = "rejected on purpose by the load generator";
/// Messages taken and answered together.
const AT_ONCE: usize = 256;
/// How long leaving may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
/// How long a command is waited for when nothing else is to be done.
const IDLE: Duration = Duration::from_secs(3_600);

/// What has come since a run began.
#[derive(Default)]
struct Tally {
    start: Option<Start>,
    seen: Seen,
    strange: u64,
    one_way: Latencies,
}

/// Runs a sink until its standard input ends.
///
/// # Errors
/// Nobody listens any more. Everything else is told as [`Answer::Failed`].
pub fn process(job: &Path) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if let Err(error) = serve(job, &mut out) {
        talk::say(&mut out, &Answer::Failed(format!("sink: {error:#}")))?;
    }
    Ok(())
}

fn serve(job: &Path, out: &mut impl std::io::Write) -> Result<()> {
    let job: SinkJob = read_job(job)?;
    let commands = commands();
    let tally = Arc::new(Mutex::new(Tally::default()));
    let runtime = waiting::runtime()?;
    let mut clients = Vec::new();
    for (number, (config, journal)) in std::iter::once(&(job.config, job.journal)).chain(&job.slow).enumerate() {
        let purpose = Purpose { journal: journal.clone(), receive: true, ..Purpose::default() };
        let client = Arc::new(Client::start(load(config, &purpose)?)?);
        let every = job.slowness.filter(|_| number > 0).map(|slow| Duration::from_secs_f64(1.0 / slow.rate));
        let (receiver, tally) = (Arc::clone(&client), Arc::clone(&tally));
        std::thread::Builder::new()
            .name(format!("sink-{number}"))
            .spawn(move || waiting::block_on(receive(&receiver, &tally, every)))?;
        clients.push(client);
    }
    for client in &clients {
        runtime.block_on(client.ready(READY_WITHIN))?;
    }
    talk::say(out, &Answer::Ready)?;
    let (mut before, mut warm) = (totals(&clients), totals(&clients));
    let mut warm_at_us: Option<u64> = None;
    loop {
        let wait = warm_at_us.map_or(IDLE, |at_us| Duration::from_micros(at_us.saturating_sub(mono_us())));
        let command = match commands.recv_timeout(wait) {
            Ok(command) => command,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if warm_at_us.take_if(|at_us| *at_us <= mono_us()).is_some() {
                    warm = totals(&clients);
                }
                continue;
            }
        };
        match command {
            Command::Start(start) => {
                before = totals(&clients);
                warm = before;
                warm_at_us = Some(start.at_us + start.warm_up_us);
                *tally.lock().unwrap_or_else(PoisonError::into_inner) =
                    Tally { start: Some(start), ..Tally::default() };
                talk::say(out, &Answer::Ready)?;
            }
            Command::Report => {
                let result = result(&tally.lock().unwrap_or_else(PoisonError::into_inner), &clients, [before, warm]);
                talk::say(out, &Answer::Received(Box::new(result)))?;
            }
            Command::Stop => {}
        }
    }
    for client in &clients {
        runtime.block_on(client.close(LEAVE_WITHIN));
    }
    Ok(())
}

/// Takes and answers messages until the client ends; `every` is the least time from one answer to the next.
async fn receive(client: &Client, tally: &Mutex<Tally>, every: Option<Duration>) {
    let at_once = if every.is_some() { 1 } else { AT_ONCE };
    let mut next = Instant::now();
    let mut deliveries = Vec::with_capacity(at_once);
    let mut rejected = Vec::new();
    while client.receive_many(&mut deliveries, at_once).await > 0 {
        if let Some(every) = every {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next = next.max(Instant::now()) + every;
        }
        {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            let now_us = mono_us();
            rejected.extend(deliveries.extract_if(.., |delivery| tally.note(now_us, delivery)));
        }
        // The client has ended when an answer fails: then there is nobody to answer.
        if !deliveries.is_empty() {
            let _ = client.accept_all(deliveries.drain(..)).await;
        }
        for delivery in rejected.drain(..) {
            let _ = delivery.reject(REJECTED, Some(PROBLEM.to_owned())).await;
        }
    }
}

impl Tally {
    /// Notes a message; true when it wants to be rejected.
    fn note(&mut self, now_us: u64, delivery: &Delivery) -> bool {
        let marks = Marks::of(delivery.message.id);
        let Some(start) = self.start.as_ref().filter(|start| start.run == marks.run) else {
            self.strange += 1;
            return marks.reject;
        };
        if self.seen.note(marks.number) && u64::from(marks.intended_us) >= start.warm_up_us {
            self.one_way.record(now_us.saturating_sub(start.at_us + u64::from(marks.intended_us)));
        }
        marks.reject
    }
}

/// Of all clients together since they started.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    receipts: u64,
    receipt_frames: u64,
    refused: u64,
    judging: TurnTimes,
}

fn totals(clients: &[Arc<Client>]) -> Totals {
    clients.iter().fold(Totals::default(), |mut totals, client| {
        let status = client.status();
        totals.receipts += status.ledger.receipts_issued;
        totals.receipt_frames += status.ledger.receipt_frames;
        totals.refused += status.ledger.refused_entries;
        totals.judging.messages += status.turns.judging.messages;
        totals.judging.waited_us += status.turns.judging.waited_us;
        totals
    })
}

/// `before`: when the run began, and at the end of its warm-up.
fn result(tally: &Tally, clients: &[Arc<Client>], [before, warm]: [Totals; 2]) -> SinkResult {
    let totals = totals(clients);
    SinkResult {
        endpoints: clients.iter().map(|client| client.status().attached.len()).sum(),
        unique: tally.seen.unique(),
        duplicates: tally.seen.duplicates(),
        strange: tally.strange,
        one_way: tally.one_way.recorded(),
        receipts: totals.receipts.saturating_sub(warm.receipts),
        receipt_frames: totals.receipt_frames.saturating_sub(warm.receipt_frames),
        judging_us: waited_us(totals.judging, warm.judging),
        refused: totals.refused.saturating_sub(before.refused),
    }
}
