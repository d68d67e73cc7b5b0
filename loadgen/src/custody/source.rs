//! A source that can be killed: sends at a rate or as fast as it may, notes what its outbox took, and counts stages and ends.
//!
//! What it took responsibility for is what [`Client::send_all`] reported: with a durable outbox that survives its death.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use kernpost_codecs::MessageId;
use kernpost_endpoint::client::{self, Finished, Outcomes, stage_queue};
use kernpost_endpoint::config::{Purpose, load};
use kernpost_endpoint::{Client, FinalOutcome, OutcomeQueue, Outgoing};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::notes::{self, List};
use crate::clock::mono_us;
use crate::latencies::{Latencies, Summary};
use crate::message_id::Marks;
use crate::source::{READY_WITHIN, read_job};

/// Messages handed over together.
const AT_ONCE: u64 = 256;
/// How often the state is written.
const NOTE_EVERY: Duration = Duration::from_millis(50);
/// Messages in custody that one source follows at most: the library's bound.
pub const MOST_FOLLOWED: u64 = 1 << 20;

/// What it has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Its client's configuration.
    pub config: PathBuf,
    /// Route keys, taken in turn.
    pub targets: Vec<(String, String)>,
    /// Bytes of a payload.
    pub payload: usize,
    /// Messages a second; none: as fast as room comes.
    pub rate: Option<f64>,
    /// Messages at most.
    pub count: u64,
    /// Latencies count from this time on, ms after the start.
    pub warm_up_ms: u64,
    /// How long the library tries, ms.
    pub timeout_ms: u64,
    /// Marks its messages.
    pub run: u8,
    /// Where its state goes.
    pub state: PathBuf,
    /// Where the ids go that its outbox took; none: nowhere.
    pub list: Option<PathBuf>,
}

/// What it has done so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Connected and attached.
    pub ready: bool,
    /// When this was written, µs of the machine's monotonic clock.
    pub at_us: u64,
    /// Messages its outbox took.
    pub taken: u64,
    /// Whether everything asked for was taken.
    pub done: bool,
    /// Receipts *custody*.
    pub custody: u64,
    /// Delivered, in custody before or not.
    pub delivered: u64,
    /// Every other end, and every other stage, by name and code.
    pub others: BTreeMap<String, u64>,
    /// By the library's count since it started, what an earlier process left included: still open.
    pub open: u64,
    /// Of these, in custody.
    pub in_custody: u64,
    /// Found in the durable outbox at the start.
    pub recovered: u64,
    /// From the intended start to the receipt *custody*, µs.
    pub custody_us: Summary,
    /// From the intended start to the receipt *delivered* of messages that never were in custody, µs.
    pub delivered_us: Summary,
}

#[derive(Default)]
struct Tally {
    custody: u64,
    delivered: u64,
    others: BTreeMap<String, u64>,
    custody_us: Latencies,
    delivered_us: Latencies,
}

/// Runs a source until it is killed or its parent has gone.
///
/// # Errors
/// It cannot start, or its client ends.
pub fn process(job: &Path) -> Result<()> {
    let job: Job = read_job(job)?;
    let mut config = load(&job.config, &Purpose { send: true, ..Purpose::default() })?;
    config.limits.parked_messages = usize::try_from(MOST_FOLLOWED)?;
    let senders = config.endpoints.iter().map(|endpoint| endpoint.id.clone()).collect();
    let runtime = crate::waiting::runtime()?;
    let client = Client::start(config)?;
    runtime.block_on(client.ready(READY_WITHIN))?;
    let (queue, outcomes) = stage_queue();
    let source = Source { job, client, senders, tally: Mutex::default(), started_us: mono_us() };
    runtime.block_on(async {
        tokio::try_join!(source.send(queue), source.listen(outcomes), source.note())?;
        Ok(())
    })
}

struct Source {
    job: Job,
    client: Client,
    senders: Vec<kernpost_codecs::EndpointId>,
    tally: Mutex<Tally>,
    started_us: u64,
}

/// What was taken, for the state.
static TAKEN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

impl Source {
    async fn send(&self, queue: OutcomeQueue) -> Result<()> {
        let mut list = self.job.list.as_deref().map(List::open).transpose()?;
        let payload = Bytes::from(vec![0x5a; self.job.payload]);
        let mut targets = Vec::new();
        for (service, jurisdiction) in &self.job.targets {
            targets.push((service.parse()?, jurisdiction.parse()?));
        }
        let mut next = 0;
        while next < self.job.count {
            let mut due = Vec::new();
            while next < self.job.count && (due.len() as u64) < AT_ONCE {
                let intended_us = self.intended_us(next);
                if intended_us > self.since_us() {
                    break;
                }
                let index = usize::try_from(next)?;
                let (Some(sender), Some((service, place))) =
                    (self.senders.get(index % self.senders.len()), targets.get(index % targets.len()))
                else {
                    anyhow::bail!("there is nobody to send, or to send to");
                };
                let marks =
                    Marks { run: self.job.run, reject: false, number: next, intended_us: u32::try_from(intended_us)? };
                let id = marks.id(client::now());
                let outgoing = Outgoing::new(id, sender.clone(), *service, *place, payload.clone());
                due.push(Outgoing { timeout_ms: self.job.timeout_ms, ..outgoing });
                next += 1;
            }
            if due.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let ids: Vec<MessageId> = due.iter().map(|outgoing| outgoing.id).collect();
            self.client.send_all(due, &queue).await?;
            if let Some(list) = &mut list {
                list.append(ids.iter().copied())?;
            }
            TAKEN.fetch_add(ids.len() as u64, std::sync::atomic::Ordering::Relaxed);
        }
        // Outcomes are listened for as long as somebody might still send.
        std::future::pending::<()>().await;
        drop(queue);
        Ok(())
    }

    fn since_us(&self) -> u64 {
        mono_us().saturating_sub(self.started_us)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an hour")]
    fn intended_us(&self, number: u64) -> u64 {
        self.job.rate.map_or_else(|| self.since_us(), |rate| (number as f64 * 1e6 / rate) as u64)
    }

    async fn listen(&self, mut outcomes: Outcomes) -> Result<()> {
        let mut finished = Vec::new();
        loop {
            outcomes.receive_many(&mut finished, 1_024).await;
            let now_us = self.since_us();
            let mut tally = self.tally.lock().await;
            for ended in finished.drain(..) {
                tally.count(now_us, self.job.warm_up_ms * 1_000, &ended);
            }
        }
    }

    async fn note(&self) -> Result<()> {
        let parent = rustix::process::getppid();
        loop {
            // Whoever has lost its parent has nobody to work for.
            anyhow::ensure!(rustix::process::getppid() == parent, "nobody is there any more");
            let ledger = self.client.status().ledger;
            let state = {
                let tally = self.tally.lock().await;
                let taken = TAKEN.load(std::sync::atomic::Ordering::Relaxed);
                State {
                    ready: true,
                    at_us: mono_us(),
                    taken,
                    done: taken >= self.job.count,
                    custody: tally.custody,
                    delivered: tally.delivered,
                    others: tally.others.clone(),
                    open: ledger.open,
                    in_custody: ledger.in_custody,
                    recovered: ledger.recovered,
                    custody_us: tally.custody_us.summary(),
                    delivered_us: tally.delivered_us.summary(),
                }
            };
            notes::put(&self.job.state, &state)?;
            tokio::time::sleep(NOTE_EVERY).await;
        }
    }
}

impl Tally {
    fn count(&mut self, now_us: u64, warm_up_us: u64, ended: &Finished) {
        let intended_us = u64::from(Marks::of(ended.id).intended_us);
        let took_us = now_us.saturating_sub(intended_us);
        let measured = intended_us >= warm_up_us;
        match ended.outcome.as_ref().map(|outcome| (outcome.outcome, outcome.code)) {
            Ok((FinalOutcome::Custody, _)) => {
                self.custody += 1;
                if measured {
                    self.custody_us.record(took_us);
                }
            }
            Ok((FinalOutcome::Delivered, _)) => {
                self.delivered += 1;
                if measured {
                    self.delivered_us.record(took_us);
                }
            }
            Ok((outcome, code)) => *self.others.entry(format!("{} {}", outcome.name(), code.name())).or_default() += 1,
            Err(error) => *self.others.entry(format!("not taken: {error}")).or_default() += 1,
        }
    }
}
