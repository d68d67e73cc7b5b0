//! `kernpost send --batch`: many messages from a file of JSON lines, with a summary of outcomes and latencies.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use kernpost_codecs::statement::Assurance;
use kernpost_codecs::{Ars, Class, EndpointId, ServiceKey};
use kernpost_endpoint::client::fresh_id;
use kernpost_endpoint::core::{FinalOutcome, SendOutcome};
use kernpost_endpoint::{Client, Outgoing, SendError};
use kernpost_routing_table::source::write_atomically;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

use super::payload::Payload;
use super::report::Wait;
use super::send::{WaitArgs, any_service};

/// Longest latency told apart, one hour.
const SLOWEST_US: u64 = 3_600_000_000;
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct BatchArgs {
    /// Send every line of this file instead: {"service", "jurisdiction" | "to", "payload" | "payload_file", "case",
    /// "assurance", "mailbox", "class", "idempotency_key"}.
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["file", "service", "jurisdiction", "to", "receipt"])]
    pub batch: Option<PathBuf>,
    /// Messages under way at most.
    #[arg(long, value_name = "N", default_value_t = 1_000, requires = "batch")]
    pub concurrency: usize,
    /// Write counts and latencies as JSON.
    #[arg(long, value_name = "FILE", requires = "batch")]
    pub summary: Option<PathBuf>,
    /// Keep receipts with their proofs in this folder, one file per message.
    #[arg(long, value_name = "FOLDER", requires = "batch")]
    pub receipts: Option<PathBuf>,
    /// Keep at most this many receipts.
    #[arg(long, value_name = "N", default_value_t = 1_000, requires = "receipts")]
    pub receipts_limit: u64,
    /// Write a JSON line with counts to this file (`-`: standard output) five times a second.
    #[arg(long, value_name = "FILE", requires = "batch")]
    pub progress_file: Option<PathBuf>,
}

/// One line of a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    service: Option<String>,
    jurisdiction: Option<String>,
    to: Option<String>,
    payload: Option<String>,
    payload_file: Option<PathBuf>,
    case: Option<String>,
    assurance: Option<String>,
    mailbox: Option<String>,
    class: Option<String>,
    idempotency_key: Option<String>,
}

/// Counts of a batch, and its latencies.
#[derive(Debug, Serialize)]
struct Summary {
    sent: u64,
    delivered: u64,
    rejected: u64,
    refused: u64,
    undecided: u64,
    /// In custody of a router, not yet delivered.
    custody: u64,
    other: u64,
    /// Messages whose outcome this process never learned.
    unknown: u64,
    first_us: u64,
    last_us: u64,
    messages_per_second: f64,
    latency_ms: LatencyJson,
    codes: BTreeMap<&'static str, u64>,
    bundles: u64,
    attempts: u64,
    resends: u64,
    asks: u64,
    invalid_receipts: u64,
    latencies_us: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct LatencyJson {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Progress {
    sent: u64,
    done: u64,
    delivered: u64,
}

struct Tally {
    counts: BTreeMap<&'static str, u64>,
    codes: BTreeMap<&'static str, u64>,
    latencies: Histogram<u64>,
    latencies_us: Vec<u64>,
    sent: u64,
    unknown: u64,
    first_us: u64,
    last_us: u64,
    kept: u64,
}

impl Tally {
    fn count(&self, outcome: FinalOutcome) -> u64 {
        self.counts.get(outcome.name()).copied().unwrap_or(0)
    }

    fn done(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.unknown
    }

    fn add(&mut self, outcome: &Result<SendOutcome, SendError>, latency: Duration) {
        let Ok(outcome) = outcome else {
            self.unknown += 1;
            return;
        };
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        *self.counts.entry(outcome.outcome.name()).or_default() += 1;
        if outcome.outcome != FinalOutcome::Delivered {
            *self.codes.entry(outcome.code.name()).or_default() += 1;
        }
        self.latencies.saturating_record(latency_us.max(1));
        self.latencies_us.push(latency_us);
        self.last_us = unix_us();
    }
}

/// Sends the batch and waits for every outcome. The exit status is 0 only when all were delivered.
pub async fn run(
    client: &Client,
    from: &EndpointId,
    file: &Path,
    args: &BatchArgs,
    waiting: &WaitArgs,
) -> Result<ExitCode> {
    let timeout_s = waiting.timeout;
    let tally = Arc::new(Mutex::new(Tally {
        counts: BTreeMap::new(),
        codes: BTreeMap::new(),
        latencies: Histogram::new_with_bounds(1, SLOWEST_US, 3)?,
        latencies_us: Vec::new(),
        sent: 0,
        unknown: 0,
        first_us: 0,
        last_us: 0,
        kept: 0,
    }));
    let keeper = keeper(args)?;
    let progress = args.progress_file.clone().map(|path| tokio::spawn(report_progress(path, Arc::clone(&tally))));
    let room = Arc::new(Semaphore::new(args.concurrency.clamp(1, Semaphore::MAX_PERMITS)));
    let lines = BufReader::new(std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?);
    for (number, line) in lines.lines().enumerate() {
        let place = || format!("{} line {}", file.display(), number + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let outgoing = parse(&line, from, file, timeout_s).with_context(place)?;
        let permit = Arc::clone(&room).acquire_owned().await?;
        let start = Instant::now();
        {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.sent += 1;
            if tally.first_us == 0 {
                tally.first_us = unix_us();
            }
        }
        let mut sent = client.enqueue(outgoing).await?;
        let wait = waiting.wait;
        let (tally, keeper, limit) = (Arc::clone(&tally), keeper.clone(), args.receipts_limit);
        tokio::spawn(async move {
            let mut outcome = sent.settled().await;
            let in_custody = outcome.as_ref().is_ok_and(|outcome| outcome.outcome == FinalOutcome::Custody);
            let rest = Duration::from_secs(timeout_s).saturating_sub(start.elapsed());
            if wait == Wait::Final
                && in_custody
                && let Ok(end) = tokio::time::timeout(rest, sent.final_outcome()).await
            {
                outcome = end;
            }
            let latency = start.elapsed();
            let keep = {
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.add(&outcome, latency);
                tally.kept += 1;
                tally.kept <= limit
            };
            if let (Some(keeper), Ok(outcome), true) = (keeper, outcome, keep) {
                let _ = keeper.send(outcome).await;
            }
            drop(permit);
        });
    }
    let everyone = u32::try_from(args.concurrency.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
    let _all = room.acquire_many(everyone).await?;
    drop(keeper);
    if let Some(progress) = progress {
        progress.abort();
    }
    finish(client, &tally.lock().unwrap_or_else(PoisonError::into_inner), args, waiting.wait)
}

fn finish(client: &Client, tally: &Tally, args: &BatchArgs, wait: Wait) -> Result<ExitCode> {
    let summary = summarise(client, tally);
    if let Some(path) = &args.progress_file {
        write_progress(path, tally)?;
    }
    if let Some(path) = &args.summary {
        write_atomically(path, &serde_json::to_vec(&summary)?)?;
    }
    eprintln!(
        "{} sent: {} delivered, {} in custody, {} rejected, {} refused, {} undecided; p50 {:.1} ms, p99 {:.1} ms, {:.0} messages/s",
        summary.sent,
        summary.delivered,
        summary.custody,
        summary.rejected,
        summary.refused,
        summary.undecided,
        summary.latency_ms.p50,
        summary.latency_ms.p99,
        summary.messages_per_second
    );
    let worst = [
        (summary.unknown > 0, 1),
        (summary.undecided + summary.other > 0, 4),
        (summary.custody > 0 && wait == Wait::Final, 5),
        (summary.refused > 0, 3),
        (summary.rejected > 0, 2),
    ];
    Ok(ExitCode::from(worst.into_iter().find(|(any, _)| *any).map_or(0, |(_, code)| code)))
}

fn summarise(client: &Client, tally: &Tally) -> Summary {
    let quantile = |q: f64| tally.latencies.value_at_quantile(q) as f64 / 1e3;
    let (delivered, rejected) = (tally.count(FinalOutcome::Delivered), tally.count(FinalOutcome::Rejected));
    let (refused, undecided) = (tally.count(FinalOutcome::Refused), tally.count(FinalOutcome::Undecided));
    let custody = tally.count(FinalOutcome::Custody);
    let micros = tally.last_us.saturating_sub(tally.first_us).max(1);
    let ledger = client.status().ledger;
    Summary {
        sent: tally.sent,
        delivered,
        rejected,
        refused,
        undecided,
        custody,
        other: tally.counts.values().sum::<u64>() - delivered - rejected - refused - undecided - custody,
        unknown: tally.unknown,
        first_us: tally.first_us,
        last_us: tally.last_us,
        messages_per_second: tally.sent as f64 * 1e6 / micros as f64,
        latency_ms: LatencyJson {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: tally.latencies.max() as f64 / 1e3,
        },
        codes: tally.codes.clone(),
        bundles: ledger.bundles,
        attempts: ledger.attempts,
        resends: ledger.resends,
        asks: ledger.asks,
        invalid_receipts: ledger.invalid_receipts,
        latencies_us: tally.latencies_us.clone(),
    }
}

fn parse(line: &str, from: &EndpointId, file: &Path, timeout_s: u64) -> Result<Outgoing> {
    let line: Line = serde_json::from_str(line)?;
    let to = line.to.as_deref().map(str::parse::<EndpointId>).transpose().context("to")?;
    let service = match (&line.service, &to) {
        (Some(text), _) => text.parse::<ServiceKey>().context("service")?,
        (None, Some(_)) => any_service()?,
        (None, None) => anyhow::bail!("service is missing; or name a recipient with \"to\""),
    };
    let jurisdiction = match (&line.jurisdiction, &to) {
        (Some(text), _) => text.parse::<Ars>().context("jurisdiction")?,
        (None, Some(_)) => Ars::FEDERAL,
        (None, None) => anyhow::bail!("jurisdiction is missing; or name a recipient with \"to\""),
    };
    let payload = match (line.payload, line.payload_file) {
        (Some(text), None) => Payload::Memory(text.into()),
        (None, Some(path)) => {
            let path = file.parent().unwrap_or(Path::new(".")).join(path);
            Payload::of_file(&path).context("payload_file")?
        }
        _ => anyhow::bail!("give exactly one of payload and payload_file"),
    };
    let mut outgoing = payload.put(Outgoing::new(fresh_id(), from.clone(), service, jurisdiction, Bytes::new()));
    outgoing.recipient = to;
    outgoing.case = line.case.map(Bytes::from);
    outgoing.mailbox = line.mailbox.map(Bytes::from);
    outgoing.assurance = line.assurance.as_deref().map(str::parse::<Assurance>).transpose().context("assurance")?;
    outgoing.idempotency_key = line.idempotency_key.map(Bytes::from);
    outgoing.class = line.class.as_deref().map_or(Ok(Class::Interactive), str::parse).context("class")?;
    outgoing.timeout_ms = timeout_s.saturating_mul(1_000);
    Ok(outgoing)
}

/// A thread that writes proof files, so that the disk does not slow the sending.
fn keeper(args: &BatchArgs) -> Result<Option<mpsc::Sender<SendOutcome>>> {
    let Some(folder) = args.receipts.clone() else { return Ok(None) };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (keeper, mut queue) = mpsc::channel::<SendOutcome>(1_024);
    std::thread::Builder::new().name("kp-receipts".to_owned()).spawn(move || {
        while let Some(outcome) = queue.blocking_recv() {
            let Some(proof) = &outcome.proof else { continue };
            let path = folder.join(format!("{}.receipt", outcome.id));
            if let Err(error) = std::fs::write(&path, proof.to_file().encode()) {
                eprintln!("kernpost: cannot keep {}: {error}", path.display());
            }
        }
    })?;
    Ok(Some(keeper))
}

async fn report_progress(path: PathBuf, tally: Arc<Mutex<Tally>>) {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        let written = write_progress(&path, &tally.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = written {
            eprintln!("kernpost: cannot write progress: {error:#}");
            return;
        }
    }
}

fn write_progress(path: &Path, tally: &Tally) -> Result<()> {
    let delivered = tally.count(FinalOutcome::Delivered);
    let line = serde_json::to_string(&Progress { sent: tally.sent, done: tally.done(), delivered })?;
    if path == Path::new("-") {
        writeln!(std::io::stdout().lock(), "{line}")?;
    } else {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{line}")?;
    }
    Ok(())
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
