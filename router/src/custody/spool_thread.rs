//! The spool's thread: everything that waits becomes durable by one fsync, then what was read is answered.
//!
//! Commands come over one queue and intents are carried out in order: all that wait make one batch, so that a fsync is shared by
//! everything that arrived while the one before was under way. Batches begin at most every `PACE`: what comes to an idle
//! spool is written at once, and a busy one does not fsync, sign and send a frame of receipts for a handful of messages each.
//! Reads do not wait for a batch.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernpost_router_core::custody::spool::{SpoolEvent, SpoolIntent, SpoolRead};
use kernpost_spool::{FjallStore, PayloadStore, Spool};
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc;

use super::query::SpoolQuery;
use crate::clock::Clock;

/// To the spool.
#[derive(Debug)]
pub enum SpoolCommand {
    /// Make this durable.
    Intent(Box<SpoolIntent>),
    /// Read this.
    Read(SpoolRead),
    /// An operator asks.
    Query(SpoolQuery),
}

/// How custody reaches the spool. Neither queue is bounded by itself: what waits in the first is what custody has no answer
/// to, which the workers' credit and the windows bound, and one question of each operator's connection; the second holds the
/// answers to custody.
#[derive(Debug)]
pub struct SpoolHandle {
    /// To the spool.
    pub commands: mpsc::UnboundedSender<SpoolCommand>,
    /// From the spool.
    pub events: mpsc::UnboundedReceiver<SpoolEvent>,
}

/// Commands taken at once; more wait for the next batch.
const TURN: usize = 4_096;
/// Bytes of bodies in one batch, about.
const BATCH_BYTES: usize = 16 << 20;
/// From the beginning of a batch to that of the next, unless it is full before: added to a receipt's latency at worst.
const PACE: Duration = Duration::from_millis(3);

/// Starts the thread. It ends when the handle is gone, after everything asked for is durable.
///
/// # Errors
/// The thread cannot be had.
pub fn spawn(
    spool: Spool<FjallStore>,
    payloads: Arc<PayloadStore>,
    clock: Clock,
) -> io::Result<(SpoolHandle, std::thread::JoinHandle<()>)> {
    let (commands, inputs) = mpsc::unbounded_channel();
    let (outputs, events) = mpsc::unbounded_channel();
    let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = SpoolThread { spool, payloads, clock, outputs, waiting: Vec::new(), bytes: 0, next: Instant::now() };
    let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(move || thread.run(&runtime, inputs))?;
    Ok((SpoolHandle { commands, events }, thread))
}

struct SpoolThread {
    spool: Spool<FjallStore>,
    payloads: Arc<PayloadStore>,
    clock: Clock,
    outputs: mpsc::UnboundedSender<SpoolEvent>,
    /// Intents of the next batch, and the bytes of their bodies.
    waiting: Vec<SpoolIntent>,
    bytes: usize,
    /// No batch before this.
    next: Instant,
}

impl SpoolThread {
    fn run(mut self, runtime: &Runtime, mut inputs: mpsc::UnboundedReceiver<SpoolCommand>) {
        let started = self.spool.started();
        self.answer(vec![started]);
        let mut commands = Vec::with_capacity(TURN);
        loop {
            let received = if self.waiting.is_empty() {
                Some(inputs.blocking_recv_many(&mut commands, TURN))
            } else {
                let until = tokio::time::Instant::from_std(self.next);
                let more = async { tokio::time::timeout_at(until, inputs.recv_many(&mut commands, TURN)).await.ok() };
                runtime.block_on(more)
            };
            if received == Some(0) {
                // Nobody asks any more.
                return self.commit();
            }
            self.carry_out(&mut commands);
            if Instant::now() >= self.next {
                self.commit();
            }
        }
    }

    fn carry_out(&mut self, commands: &mut Vec<SpoolCommand>) {
        for command in commands.drain(..) {
            match command {
                SpoolCommand::Intent(intent) => {
                    self.bytes += body_bytes(&intent);
                    self.waiting.push(*intent);
                    if self.bytes >= BATCH_BYTES {
                        self.commit();
                    }
                }
                // What was asked to be kept before need not be seen: no read waits for an fsync.
                SpoolCommand::Read(read) => {
                    let answer = self.spool.read(&read);
                    self.answer(vec![answer]);
                }
                SpoolCommand::Query(query) => {
                    if query.changes() {
                        self.commit();
                    }
                    query.carry_out(&mut self.spool, &self.payloads, self.clock.now().wall);
                }
            }
        }
    }

    fn commit(&mut self) {
        let intents = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        if !intents.is_empty() {
            self.next = Instant::now() + PACE;
            let answers = self.spool.commit(self.clock.now().wall, intents);
            self.answer(answers);
        }
    }

    fn answer(&self, answers: Vec<SpoolEvent>) {
        for answer in answers {
            // Custody has ended: nobody needs the answer.
            let _ = self.outputs.send(answer);
        }
    }
}

fn body_bytes(intent: &SpoolIntent) -> usize {
    match intent {
        SpoolIntent::Keep { body, .. } | SpoolIntent::Update { body: Some(body), .. } => body.len(),
        _ => 0,
    }
}
