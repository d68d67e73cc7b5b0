//! What do the processes of one load test say to each other? Lines of JSON: commands on standard input, answers on
//! standard output. Log lines go to standard error.
//!
//! Source and sink do nothing without a command and end with their standard input, so that nothing outlives the
//! conductor.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::accounting::{Counts, Fingerprint};
use crate::latencies::{Recorded, Summary};
use crate::measured::{BadSignatures, Reconnects};
use crate::scenario::{PayloadShare, Slow};
use crate::schedule::Plan;

/// What a source has to know before it connects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceJob {
    /// Its client's configuration.
    pub config: PathBuf,
    /// Route keys to draw from: service, jurisdiction.
    pub targets: Vec<(String, String)>,
    /// Route keys of the slow recipients, and which share of the messages goes there.
    pub slow: Option<(Vec<(String, String)>, f64)>,
    /// How large payloads are.
    pub payload: Vec<PayloadShare>,
    /// Weights of urgent, interactive, bulk.
    pub classes: [u32; 3],
    /// Share to be rejected.
    pub rejected: f64,
    /// Messages under way at most.
    pub in_flight: usize,
    /// Until an outcome is undecided or refused, ms.
    pub timeout_ms: u64,
    /// Receipts checked again per second at most, besides the library's own check of every one.
    pub checks_per_s: u32,
    /// Draws the same messages again.
    pub seed: u64,
}

/// What a sink has to know before it connects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SinkJob {
    /// Its client's configuration, and its journal's folder; none: in memory.
    pub config: PathBuf,
    /// Journal folder; none: in memory.
    pub journal: Option<PathBuf>,
    /// Further clients, one for each slow recipient: configuration and journal.
    pub slow: Vec<(PathBuf, Option<PathBuf>)>,
    /// How slow.
    pub slowness: Option<Slow>,
}

/// What a forger has to know before it connects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForgerJob {
    /// What it would send if it were honest.
    pub source: SourceJob,
    /// Its rate, as a share of the honest one.
    pub share: f64,
    /// What its certificate says.
    pub identity: String,
}

/// What a storm has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StormJob {
    /// The configuration of its client: one link for each endpoint.
    pub config: PathBuf,
    /// From one storm to the next, ms.
    pub every_ms: u64,
}

/// A run to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// Its number.
    pub run: u8,
    /// When it begins, µs of the machine's monotonic clock.
    pub at_us: u64,
    /// When messages start.
    pub plan: Plan,
    /// The measured time begins this much after the beginning, µs; it ends with the plan.
    pub warm_up_us: u64,
    /// After the plan's end outcomes are waited for at most this long, µs.
    pub drain_us: u64,
}

/// To a source or a sink.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Begin a run.
    Start(Start),
    /// To a sink: say what came since the run began.
    Report,
    /// To a source: end the run now.
    Stop,
}

/// From a source or a sink.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Connected and attached; from the sink also: what comes from now on belongs to the run.
    Ready,
    /// Several times a second during a run, from the source.
    Progress(Progress),
    /// The end of a run, from the source.
    Sent(Box<SourceResult>),
    /// To [`Command::Report`], from the sink.
    Received(Box<SinkResult>),
    /// To [`Command::Report`], from the forger.
    Forged(BadSignatures),
    /// To [`Command::Report`], from the storm.
    Reconnected(Reconnects),
    /// The end of this process.
    Failed(String),
}

/// A moment of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// After the beginning of the run, µs.
    pub at_us: u64,
    /// Totals so far, the warm-up included.
    pub counts: Counts,
    /// Intended so far; as many as started in a closed run.
    pub intended: u64,
    /// Latencies of the messages that ended since the last moment, µs.
    pub latency: Summary,
    /// Entries and bundles sent so far.
    pub attempts: u64,
    /// See `attempts`.
    pub bundles: u64,
}

/// What a source measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SourceResult {
    /// Endpoints that sent.
    pub endpoints: usize,
    /// Every message of the run, warm-up included.
    pub all: Counts,
    /// Those intended in the measured time.
    pub measured: Counts,
    /// Intended in the measured time; more than started when no room came for some.
    pub intended: u64,
    /// The measured time, µs: from its beginning to the end of the plan.
    pub window_us: u64,
    /// Outcomes within the measured time, whenever the message was intended.
    pub ended_in_window: u64,
    /// From the intended start to the verified receipt, of those intended in the measured time.
    pub latency: Recorded,
    /// The same from the actual start: what a closed loop would have reported.
    pub service: Recorded,
    /// From the intended start, of messages to recipients that are not slow on purpose.
    pub others: Recorded,
    /// How late messages started although there was room for them, of those intended in the measured time.
    pub late: Recorded,
    /// Measured messages that started late because as many as allowed were under way.
    pub held_back: u64,
    /// Codes of everything but deliveries.
    pub codes: BTreeMap<String, u64>,
    /// Payload bytes of the measured messages.
    pub payload_bytes: u64,
    /// Receipts checked again by the generator itself, and how many of them failed.
    pub rechecked: u64,
    /// See `rechecked`.
    pub recheck_failures: u64,
    /// Receipts the library did not believe.
    pub invalid_receipts: u64,
    /// Receipts the library verified.
    pub receipts: u64,
    /// Receipts that were to be checked again and could not be: no proof, or no directory.
    pub recheck_impossible: u64,
    /// Entries sent in the run.
    pub attempts: u64,
    /// Entries and bundles sent since the end of the warm-up.
    pub attempts_measured: u64,
    /// See `attempts_measured`.
    pub bundles_measured: u64,
    /// Mean time of the turns in which messages were hashed, signed and laid out, by message, since the end of the warm-up, µs.
    pub sealing_us: f64,
    /// Entries sent again.
    pub resends: u64,
    /// Outcomes for messages that had one. Has to be 0.
    pub faults: u64,
    /// Messages with a receipt of their recipient.
    pub receipted: Fingerprint,
}

/// What a sink saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SinkResult {
    /// Endpoints that received.
    pub endpoints: usize,
    /// Different messages of the run.
    pub unique: Fingerprint,
    /// Messages handed over more than once.
    pub duplicates: u64,
    /// Messages that are no part of the run.
    pub strange: u64,
    /// From the intended start until the sink had it, of those intended in the measured time.
    pub one_way: Recorded,
    /// Receipts issued, and the frames they went in, since the end of the warm-up.
    pub receipts: u64,
    /// See `receipts`.
    pub receipt_frames: u64,
    /// Mean time of the turns in which messages were decoded and checked, by message, since the end of the warm-up, µs.
    pub judging_us: f64,
    /// Entries refused by the sink's library.
    pub refused: u64,
}

/// Writes one line for the other process.
///
/// # Errors
/// The other process has gone.
pub fn say<T: Serialize>(out: &mut impl Write, what: &T) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// Reads lines until the other process has gone, and hands each to `take`; stops when `take` says false.
pub fn listen<T: DeserializeOwned>(from: impl BufRead, mut take: impl FnMut(T) -> bool) {
    for line in from.lines() {
        let Ok(line) = line else { return };
        match serde_json::from_str(&line) {
            Ok(said) => {
                if !take(said) {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, line, "a line that is no answer"),
        }
    }
}
