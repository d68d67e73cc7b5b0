//! The spool's thread: everything that waits becomes durable by one fsync, then what was read is answered.
//!
//! Commands come over one queue and are carried out in order: all intents that wait make one batch, so that a fsync is shared by
//! everything that arrived while the one before was under way. Nothing is timed: an idle spool adds no delay.

use std::io;
use std::sync::Arc;

use kernpost_router_core::custody::spool::{SpoolEvent, SpoolIntent, SpoolRead};
use kernpost_spool::{FjallStore, PayloadStore, Spool};
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
    let thread = SpoolThread { spool, payloads, clock, outputs };
    let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(move || thread.run(inputs))?;
    Ok((SpoolHandle { commands, events }, thread))
}

struct SpoolThread {
    spool: Spool<FjallStore>,
    payloads: Arc<PayloadStore>,
    clock: Clock,
    outputs: mpsc::UnboundedSender<SpoolEvent>,
}

impl SpoolThread {
    fn run(mut self, mut inputs: mpsc::UnboundedReceiver<SpoolCommand>) {
        let started = self.spool.started();
        self.answer(vec![started]);
        let mut commands = Vec::with_capacity(TURN);
        while inputs.blocking_recv_many(&mut commands, TURN) > 0 {
            self.carry_out(&mut commands);
        }
    }

    fn carry_out(&mut self, commands: &mut Vec<SpoolCommand>) {
        let (mut intents, mut bytes) = (Vec::new(), 0);
        for command in commands.drain(..) {
            match command {
                SpoolCommand::Intent(intent) => {
                    bytes += body_bytes(&intent);
                    intents.push(*intent);
                    if bytes >= BATCH_BYTES {
                        bytes = 0;
                        self.commit(std::mem::take(&mut intents));
                    }
                }
                // What was asked to be kept before need not be seen: no read waits for an fsync.
                SpoolCommand::Read(read) => {
                    let answer = self.spool.read(&read);
                    self.answer(vec![answer]);
                }
                SpoolCommand::Query(query) => {
                    if query.changes() {
                        bytes = 0;
                        self.commit(std::mem::take(&mut intents));
                    }
                    query.carry_out(&mut self.spool, &self.payloads, self.clock.now().wall);
                }
            }
        }
        self.commit(intents);
    }

    fn commit(&mut self, intents: Vec<SpoolIntent>) {
        if !intents.is_empty() {
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
