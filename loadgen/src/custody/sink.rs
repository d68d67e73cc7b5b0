//! A sink that can be killed: takes everything, notes what was handed to it before it answers, and finds out what came twice.
//!
//! A message that is handed over again although its verdict was in the journal breaks the promise; one whose verdict was lost with
//! a process is handed over again rightly. Which it was is asked of the journal itself, before the client opens it.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use kernpost_codecs::{EndpointId, MessageId};
use kernpost_endpoint::Client;
use kernpost_endpoint::config::{Purpose, load};
use kernpost_endpoint::core::{DeliveryId, Lookup};
use kernpost_endpoint::journal::{DiskJournal, Journal, LookedUp};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::notes::{self, List};
use crate::accounting::Seen;
use crate::clock::mono_us;
use crate::message_id::Marks;
use crate::source::{READY_WITHIN, read_job};

/// Messages taken and answered together.
const AT_ONCE: usize = 256;
/// How often the state is written.
const NOTE_EVERY: Duration = Duration::from_millis(20);
/// Ids looked up after a start: far more than can have been handed over and not journalled.
const LOOKED_UP: usize = 50_000;

/// What it has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Its client's configuration.
    pub config: PathBuf,
    /// Its journal.
    pub journal: PathBuf,
    /// Who sends to it.
    pub senders: Vec<String>,
    /// Where its state goes.
    pub state: PathBuf,
    /// Where the ids go that were handed over.
    pub list: PathBuf,
}

/// What it has seen so far; what earlier processes saw is not in it, unless said.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Connected and attached.
    pub ready: bool,
    /// Different messages, earlier processes included.
    pub unique: u64,
    /// Messages handed over.
    pub handed_over: u64,
    /// Handed over again, the verdict of the first time not being in the journal.
    pub repeats_unjournalled: u64,
    /// Handed over again although the journal had the verdict. Has to be 0.
    pub repeats_journalled: u64,
    /// When the first one came, µs of the machine's monotonic clock.
    pub first_us: u64,
    /// When the last one came.
    pub last_us: u64,
    /// Verdicts in the journal.
    pub journalled: u64,
    /// Receipts, and the frames they went in: what one group commit covers.
    pub receipts: u64,
    /// See `receipts`.
    pub receipt_frames: u64,
}

#[derive(Default)]
struct Tally {
    seen: BTreeMap<u8, Seen>,
    lost_verdicts: HashSet<MessageId>,
    state: State,
}

/// Runs a sink until it is killed or its parent has gone.
///
/// # Errors
/// It cannot start, or its client ends.
pub fn process(job: &Path) -> Result<()> {
    let job: Job = read_job(job)?;
    let tally = Mutex::new(Tally::of(&job)?);
    let purpose = Purpose { journal: Some(job.journal.clone()), receive: true, ..Purpose::default() };
    let runtime = crate::waiting::runtime()?;
    let client = Client::start(load(&job.config, &purpose)?)?;
    let mut list = List::open(&job.list)?;
    runtime.block_on(async {
        let receiving = async {
            let mut deliveries = Vec::with_capacity(AT_ONCE);
            while client.receive_many(&mut deliveries, AT_ONCE).await > 0 {
                list.append(deliveries.iter().map(|delivery| delivery.message.id))?;
                tally.lock().await.note(deliveries.iter().map(|delivery| delivery.message.id));
                client.accept_all(deliveries.drain(..)).await?;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(receiving, note(&job, &client, &tally))?;
        Ok(())
    })
}

async fn note(job: &Job, client: &Client, tally: &Mutex<Tally>) -> Result<()> {
    let parent = rustix::process::getppid();
    let mut ready = false;
    let until = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        anyhow::ensure!(rustix::process::getppid() == parent, "nobody is there any more");
        ready |= client.status().is_ready();
        anyhow::ensure!(ready || tokio::time::Instant::now() < until, "not attached within {READY_WITHIN:?}");
        let ledger = client.status().ledger;
        let mut state = tally.lock().await.state.clone();
        state.ready = ready;
        (state.journalled, state.receipts) = (ledger.journalled, ledger.receipts_issued);
        state.receipt_frames = ledger.receipt_frames;
        notes::put(&job.state, &state)?;
        tokio::time::sleep(NOTE_EVERY).await;
    }
}

impl Tally {
    /// What earlier processes saw, and which of it is not in the journal.
    fn of(job: &Job) -> Result<Self> {
        let mut tally = Self::default();
        let before = notes::ids(&job.list);
        for id in &before {
            tally.seen(*id);
        }
        if job.journal.exists() {
            let journal = Journal::Disk(DiskJournal::open(&job.journal, [0; 16], false)?);
            for id in before.iter().rev().take(LOOKED_UP) {
                if !is_known(&journal, &job.senders, *id)? {
                    tally.lost_verdicts.insert(*id);
                }
            }
        }
        Ok(tally)
    }

    /// Whether it is the first time.
    fn seen(&mut self, id: MessageId) -> bool {
        let marks = Marks::of(id);
        let first = self.seen.entry(marks.run).or_default().note(marks.number);
        self.state.unique += u64::from(first);
        first
    }

    fn note(&mut self, ids: impl Iterator<Item = MessageId>) {
        let now_us = mono_us();
        for id in ids {
            if self.state.handed_over == 0 {
                self.state.first_us = now_us;
            }
            (self.state.last_us, self.state.handed_over) = (now_us, self.state.handed_over + 1);
            if !self.seen(id) {
                // Once more is right, twice more is not: this process answers it now.
                let lost = self.lost_verdicts.remove(&id);
                self.state.repeats_unjournalled += u64::from(lost);
                self.state.repeats_journalled += u64::from(!lost);
            }
        }
    }
}

fn is_known(journal: &Journal, senders: &[String], message: MessageId) -> Result<bool> {
    for sender in senders {
        let sender: EndpointId = sender.parse()?;
        let lookup = Lookup { id: DeliveryId(0), sender, message, reply_to: None };
        if matches!(journal.look_up(&[lookup])?.first(), Some(LookedUp::Known(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}
