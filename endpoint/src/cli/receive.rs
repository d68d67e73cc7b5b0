//! `kernpost receive`: into a folder, into a command whose exit status decides, or into the journal.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use kernpost_codecs::{Code, EndpointId, MessageId};
use kernpost_endpoint::client::JournalConfig;
use kernpost_endpoint::config::{Purpose, load};
use kernpost_endpoint::core::Ledger;
use kernpost_endpoint::{Client, Delivery};
use kernpost_routing_table::source::write_atomically;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::ConnectArgs;
use super::{folder, recipients};

/// How long messages in hand may take when the process is told to stop.
const GOODBYE: Duration = Duration::from_secs(30);
/// Identities remembered for counting messages handed over twice.
const MOST_REMEMBERED: usize = 4_000_000;
/// Longest problem taken from a command, in bytes (WIRE 4.3).
const LONGEST_PROBLEM: usize = 1_024;
/// Code of a rejection by a command: this plus its exit status.
const COMMAND_CODE: u64 = 1_000;

#[derive(Debug, Args)]
pub struct ReceiveArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    #[command(flatten)]
    pub sink: SinkArgs,
    /// Folder of the journal, which keeps messages from being handed over twice; one process at a time. Default: section journal of the
    /// configuration, which may name the socket of a journal that several processes share.
    #[arg(long, value_name = "FOLDER")]
    pub journal: Option<PathBuf>,
    /// Also follow what was sent: opens the durable outbox, so that late receipts of messages in custody reach it, and
    /// what is open is asked for and sent again.
    #[arg(long)]
    pub follow: bool,
    /// Receive only for these endpoints: ids separated by commas, or a file with one id a line.
    #[arg(long, value_name = "IDS|FILE")]
    pub endpoints: Option<String>,
    /// Messages worked on at once by --into and --exec.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub concurrency: usize,
    /// Write what was received as JSON at the end.
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SinkArgs {
    /// Store each message as a folder with payload and message.json, durably, then accept it.
    #[arg(long, value_name = "FOLDER")]
    pub into: Option<PathBuf>,
    /// Run this command for each message, payload on standard input: status 0 accepts, another rejects with its standard
    /// error as problem.
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
    /// Accept everything, storing it in the journal.
    #[arg(long)]
    pub accept: bool,
}

/// What a process received.
#[derive(Debug, Serialize)]
struct Summary {
    /// Entries that arrived.
    received: u64,
    /// Messages handed to the application.
    handed: u64,
    accepted: u64,
    rejected: u64,
    /// Messages handed over more than once; always 0 unless something is wrong.
    duplicates: u64,
    /// Repeats that were answered without handing over again.
    repeats: u64,
    refused: u64,
    receipts: u64,
    receipt_frames: u64,
    storage_faults: u64,
    endpoints: BTreeMap<String, EndpointSummary>,
}

#[derive(Debug, Default, Serialize)]
struct EndpointSummary {
    handed: u64,
    accepted: u64,
    rejected: u64,
}

#[derive(Debug, Default)]
struct Tally {
    seen: HashSet<(EndpointId, MessageId)>,
    duplicates: u64,
    endpoints: BTreeMap<EndpointId, EndpointSummary>,
}

impl Tally {
    fn handed(&mut self, delivery: &Delivery) {
        self.endpoints.entry(delivery.recipient.clone()).or_default().handed += 1;
        if self.seen.len() < MOST_REMEMBERED {
            let identity = (delivery.message.sender.clone(), delivery.message.id);
            self.duplicates += u64::from(!self.seen.insert(identity));
        }
    }

    fn answered(&mut self, recipient: &EndpointId, accepted: bool) {
        let endpoint = self.endpoints.entry(recipient.clone()).or_default();
        if accepted {
            endpoint.accepted += 1;
        } else {
            endpoint.rejected += 1;
        }
    }
}

/// Where messages go.
#[derive(Debug, Clone)]
enum Sink {
    Into(PathBuf),
    Exec(String),
    Accept,
}

pub async fn run(args: ReceiveArgs) -> Result<ExitCode> {
    let sink = sink(&args.sink)?;
    let purpose = Purpose {
        journal: args.journal.clone(),
        keep_messages: matches!(sink, Sink::Accept),
        receive: true,
        send: args.follow,
        only: args.endpoints.as_deref().map(recipients::parse).transpose()?,
    };
    let config = load(&args.connect.config, &purpose)?;
    if config.journal == JournalConfig::Memory {
        bail!("say where the journal is: --journal FOLDER, or [journal] in {}", args.connect.config.display());
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let client = Client::start(config)?;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let work = receive(&client, &sink, args.concurrency, &tally);
    let ready = announce(&client, &args.connect);
    let end = tokio::select! {
        end = work => end,
        Err(error) = ready => Err(error),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    client.close(GOODBYE).await;
    if let Some(path) = &args.summary {
        let summary = summarise(&client.status().ledger, &tally.lock().unwrap_or_else(PoisonError::into_inner));
        write_atomically(path, &serde_json::to_vec_pretty(&summary)?)?;
    }
    end.map(|()| ExitCode::SUCCESS)
}

/// Says when everything is attached, or ends with what is missing. Never ends otherwise.
async fn announce(client: &Client, args: &ConnectArgs) -> Result<()> {
    match client.ready(Duration::from_secs(args.connect_timeout)).await {
        Ok(()) => {
            let attached = client.status().attached;
            eprintln!("attached: {} endpoints", attached.len());
        }
        Err(missing) => eprintln!("kernpost: {missing}; still trying"),
    }
    std::future::pending().await
}

fn sink(args: &SinkArgs) -> Result<Sink> {
    if let Some(into) = &args.into {
        std::fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
        return Ok(Sink::Into(into.clone()));
    }
    Ok(args.exec.clone().map_or(Sink::Accept, Sink::Exec))
}

/// Hands messages to the sink until the client ends.
async fn receive(client: &Client, sink: &Sink, concurrency: usize, tally: &Arc<Mutex<Tally>>) -> Result<()> {
    let room = Arc::new(Semaphore::new(concurrency.clamp(1, 4_096)));
    while let Some(delivery) = client.receive().await {
        tally.lock().unwrap_or_else(PoisonError::into_inner).handed(&delivery);
        if let Sink::Accept = sink {
            let recipient = delivery.recipient.clone();
            delivery.accept().await?;
            tally.lock().unwrap_or_else(PoisonError::into_inner).answered(&recipient, true);
            continue;
        }
        let permit = Arc::clone(&room).acquire_owned().await?;
        tokio::spawn(work_on(sink.clone(), delivery, Arc::clone(tally), permit));
    }
    Ok(())
}

async fn work_on(sink: Sink, delivery: Delivery, tally: Arc<Mutex<Tally>>, _permit: OwnedSemaphorePermit) {
    let recipient = delivery.recipient.clone();
    let id = delivery.message.id;
    let end = match sink {
        Sink::Into(into) => store(into, delivery).await,
        Sink::Exec(command) => execute(&command, delivery).await,
        Sink::Accept => delivery.accept().await.map(|_| true).map_err(Into::into),
    };
    match end {
        Ok(accepted) => tally.lock().unwrap_or_else(PoisonError::into_inner).answered(&recipient, accepted),
        Err(error) => eprintln!("kernpost: {id} for {recipient}: {error:#}; its sender will ask or send it again"),
    }
}

async fn store(into: PathBuf, delivery: Delivery) -> Result<bool> {
    let message = (*delivery).clone();
    let stored = tokio::task::spawn_blocking(move || folder::store(&into, &message)).await?;
    stored?;
    delivery.accept().await?;
    Ok(true)
}

async fn execute(command: &str, delivery: Delivery) -> Result<bool> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .env("KERNPOST_MESSAGE_ID", delivery.message.id.to_string())
        .env("KERNPOST_SENDER", delivery.message.sender.as_str())
        .env("KERNPOST_RECIPIENT", delivery.recipient.as_str())
        .env("KERNPOST_SERVICE", delivery.message.service.to_string())
        .env("KERNPOST_JURISDICTION", delivery.message.jurisdiction.to_string())
        .env("KERNPOST_REDELIVERED", if delivery.redelivered { "1" } else { "0" })
        .env("KERNPOST_MESSAGE", serde_json::to_string(&folder::MessageJson::of(&delivery))?)
        .stdin(input(&delivery)?)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the command cannot be started")?;
    let (payload, stdin) = (folder::payload(&delivery), child.stdin.take());
    let feed = tokio::spawn(async move {
        if let Some(mut stdin) = stdin {
            // A command need not read its input.
            let _ = stdin.write_all(&payload).await;
        }
    });
    let output = child.wait_with_output().await.context("the command cannot be waited for")?;
    feed.await?;
    if output.status.success() {
        delivery.accept().await?;
        return Ok(true);
    }
    let status = output.status.code().and_then(|code| u64::try_from(code).ok());
    let status = status.context("the command was ended by a signal")?;
    let text =
        String::from_utf8_lossy(output.stderr.get(..LONGEST_PROBLEM.min(output.stderr.len())).unwrap_or_default());
    let problem = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    delivery.reject(Code(COMMAND_CODE + status), problem).await?;
    Ok(false)
}

/// A large payload is read from its file, others are written to the command.
fn input(delivery: &Delivery) -> Result<Stdio> {
    Ok(match &delivery.payload_file {
        Some(file) => Stdio::from(std::fs::File::open(file).context("the payload's file")?),
        None => Stdio::piped(),
    })
}

fn summarise(ledger: &Ledger, tally: &Tally) -> Summary {
    let sum = |of: fn(&EndpointSummary) -> u64| tally.endpoints.values().map(of).sum();
    let endpoint = |(id, one): (&EndpointId, &EndpointSummary)| {
        let copy = EndpointSummary { handed: one.handed, accepted: one.accepted, rejected: one.rejected };
        (id.to_string(), copy)
    };
    Summary {
        received: ledger.received,
        handed: sum(|one| one.handed),
        accepted: sum(|one| one.accepted),
        rejected: sum(|one| one.rejected),
        duplicates: tally.duplicates,
        repeats: ledger.repeats,
        refused: ledger.refused_entries,
        receipts: ledger.receipts_issued,
        receipt_frames: ledger.receipt_frames,
        storage_faults: ledger.storage_faults,
        endpoints: tally.endpoints.iter().map(endpoint).collect(),
    }
}
