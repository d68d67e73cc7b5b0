//! A portal that is told what to send: urgent messages at a fixed rate, and bulk as much as goes.
//!
//! One line asks, one line of JSON answers: `URGENT-PER-S BULK-BYTES SECONDS`. Urgent messages have intended instants and
//! their latency counts from there to the verified receipt; bulk is sent again as soon as an earlier one has its receipt,
//! so that BULK-BYTES are always under way. What falls into the first second is not counted.

use std::cell::RefCell;
use std::io::BufRead;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use kernpost_codecs::Class;
use kernpost_endpoint::client::fresh_id;
use kernpost_endpoint::config::{Purpose, load};
use kernpost_endpoint::{Client, FinalOutcome, Outgoing};
use serde_json::{Value, json};

use super::network::PORTAL;

/// What the role is started with.
#[derive(Debug, Args)]
pub struct Options {
    /// The endpoint's configuration.
    #[arg(long)]
    config: PathBuf,
}

const URGENT_BYTES: usize = 1_024;
const BULK_BYTES: usize = 32_768;
const WARM_UP: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers lines until its standard input closes.
pub async fn run(options: &Options) -> Result<()> {
    let config = load(&options.config, &Purpose::default())?;
    let client = Arc::new(Client::start(config)?);
    client.ready(PATIENCE).await?;
    println!("{}", json!({ "ready": true }));
    let (lines, mut asked) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.map_or(true, |line| lines.blocking_send(line).is_err()) {
                return;
            }
        }
    });
    while let Some(line) = asked.recv().await {
        println!("{}", phase(&client, &line).await?);
    }
    client.close(Duration::from_secs(2)).await;
    Ok(())
}

/// Latencies of one class within one phase, µs.
#[derive(Debug)]
struct Taken {
    latency: Histogram<u64>,
    bytes: u64,
}

impl Taken {
    fn new() -> Result<Self> {
        Ok(Self { latency: Histogram::new_with_bounds(1, 60_000_000, 3)?, bytes: 0 })
    }

    fn shown(&self, seconds: f64) -> Value {
        let at = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        json!({
            "messages": self.latency.len(),
            "p50_ms": at(0.5),
            "p99_ms": at(0.99),
            "max_ms": self.latency.max() as f64 / 1e3,
            "mbit_per_s": self.bytes as f64 * 8.0 / 1e6 / seconds,
        })
    }
}

async fn phase(client: &Arc<Client>, line: &str) -> Result<Value> {
    let words: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let &[urgent_per_s, bulk_bytes, seconds] = words.as_slice() else { bail!("three numbers, not {line:?}") };
    ensure!(urgent_per_s > 0, "no urgent messages");
    let began = Instant::now();
    let count_from = began + WARM_UP;
    let end = count_from + Duration::from_secs(seconds);
    let before = client.status().ledger;
    let bulk = Rc::new(RefCell::new(Taken::new()?));
    let urgent = Rc::new(RefCell::new(Taken::new()?));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..bulk_bytes.div_ceil(BULK_BYTES as u64) {
        let (client, taken) = (Arc::clone(client), Rc::clone(&bulk));
        tasks.spawn_local(async move {
            while Instant::now() < end {
                deliver(&client, Class::Bulk, BULK_BYTES, Instant::now(), [count_from, end], &taken).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    let gap = Duration::from_secs(1) / u32::try_from(urgent_per_s)?;
    let mut intended = began;
    while intended < end {
        tokio::time::sleep_until(intended.into()).await;
        let (client, taken, at) = (Arc::clone(client), Rc::clone(&urgent), intended);
        tasks.spawn_local(
            async move { deliver(&client, Class::Urgent, URGENT_BYTES, at, [count_from, end], &taken).await },
        );
        intended += gap;
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let after = client.status().ledger;
    let seconds = seconds as f64;
    let bundles = after.bundles.saturating_sub(before.bundles).max(1);
    Ok(json!({
        "urgent": urgent.borrow().shown(seconds),
        "bulk": bulk.borrow().shown(seconds),
        "bundle_fill": after.attempts.saturating_sub(before.attempts) as f64 / bundles as f64,
        "refusals": after.refusals.saturating_sub(before.refusals),
    }))
}

/// Sends one message and notes its latency from `intended` when that lies within the counted time.
async fn deliver(
    client: &Client,
    class: Class,
    length: usize,
    intended: Instant,
    counted: [Instant; 2],
    taken: &RefCell<Taken>,
) -> Result<()> {
    let payload = Bytes::from(vec![b'x'; length]);
    let (service, place) = ("99050012104000".parse()?, "147130000000".parse()?);
    let mut outgoing = Outgoing::new(fresh_id(), PORTAL.parse()?, service, place, payload);
    outgoing.class = class;
    let outcome = client.send(outgoing).await?.outcome().await?;
    ensure!(outcome.outcome == FinalOutcome::Delivered, "{class:?}: {outcome:?}");
    let now = Instant::now();
    let [from, to] = counted;
    let mut taken = taken.borrow_mut();
    if intended >= from {
        taken.latency.saturating_record(u64::try_from(now.saturating_duration_since(intended).as_micros())?);
    }
    // The rate counts what arrived within the time, whenever it was sent.
    taken.bytes += if now >= from && now <= to { length as u64 } else { 0 };
    Ok(())
}

/// Reads the answer that the role is ready.
pub fn expect_ready(answer: &Value) -> Result<()> {
    answer.get("ready").and_then(Value::as_bool).filter(|ready| *ready).map(drop).context("the portal is not ready")
}
