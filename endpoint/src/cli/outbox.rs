//! `kernpost outbox`: what stands in the durable outbox? Only while no other process uses it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use kernpost_codecs::{MessageId, MessageRef};
use kernpost_endpoint::config::{Purpose, load};
use kernpost_endpoint::outbox_store::{OutboxStore, Stored};
use serde::Serialize;

use super::report::{self, OutcomeJson, when};

#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// List messages: the newest, or with --open those without final outcome.
    List(ListArgs),
    /// Show one message with everything that is known about it.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: std::path::PathBuf,
    /// Only messages without final outcome, the oldest first.
    #[arg(long)]
    pub open: bool,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub most: usize,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: std::path::PathBuf,
    /// The message id.
    #[arg(value_name = "MESSAGE ID")]
    pub message: MessageId,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A message of the outbox as JSON. Payload, case and mailbox are left out.
#[derive(Debug, Serialize)]
struct StoredJson {
    id: String,
    sender: String,
    /// *waiting*, a stage, or the final outcome.
    state: &'static str,
    #[serde(rename = "final")]
    is_final: bool,
    created: u64,
    expires: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<OutcomeJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contradiction: Option<OutcomeJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten_after: Option<u64>,
}

impl StoredJson {
    fn of(stored: &Stored) -> Result<Self> {
        let message = MessageRef::parse(&stored.statement).context("a statement of the outbox")?;
        Ok(Self {
            id: stored.message.to_string(),
            sender: stored.sender.to_string(),
            state: stored.outcome.as_ref().map_or("waiting", |outcome| outcome.outcome.name()),
            is_final: stored.is_final,
            created: message.created.0,
            expires: message.expires().0,
            idempotency_key: stored.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned()),
            outcome: stored.outcome.as_ref().map(OutcomeJson::kept),
            contradiction: stored.contradiction.as_ref().map(OutcomeJson::kept),
            forgotten_after: stored.forget_after.map(|at| at.0),
        })
    }
}

pub fn run(command: OutboxCommand) -> Result<ExitCode> {
    match command {
        OutboxCommand::List(args) => list(&args),
        OutboxCommand::Show(args) => show(&args),
    }
}

fn open(config: &std::path::Path) -> Result<OutboxStore> {
    let config = load(config, &Purpose { send: true, ..Purpose::default() })?;
    Ok(OutboxStore::open(config.outbox.context("no durable outbox is configured: see [outbox]")?)?)
}

fn list(args: &ListArgs) -> Result<ExitCode> {
    let store = open(&args.config)?;
    let mut found = if args.open { store.open_messages()? } else { store.newest(args.most)? };
    found.truncate(args.most);
    let mut out = std::io::stdout().lock();
    for stored in &found {
        let json = StoredJson::of(stored)?;
        if args.json {
            serde_json::to_writer(&mut out, &json)?;
            writeln!(out)?;
        } else {
            let end = if json.is_final { "ended" } else { "open " };
            writeln!(out, "{}  {end}  {:<10}  {}  created {}", json.id, json.state, json.sender, when(json.created))?;
        }
    }
    let (messages, bytes) = store.held();
    eprintln!("{messages} open messages, {bytes} bytes");
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> Result<ExitCode> {
    let stored = open(&args.config)?.find_any(args.message)?;
    let stored = stored.with_context(|| format!("message {} is not in the durable outbox", args.message))?;
    let json = StoredJson::of(&stored)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &json)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "message   {}\nsender    {}\ncreated   {}", json.id, json.sender, when(json.created))?;
    writeln!(out, "expires   {}", when(json.expires))?;
    match &stored.outcome {
        Some(outcome) => report::describe(outcome, &mut out)?,
        None => writeln!(
            out,
            "state     waiting: nobody has said anything yet; it is sent, or asked for, while a process runs"
        )?,
    }
    if let Some(second) = &stored.contradiction {
        writeln!(out, "ALARM     a second receipt contradicts it:")?;
        report::describe(second, &mut out)?;
    }
    if let Some(at) = json.forgotten_after {
        writeln!(out, "kept      until {}", when(at))?;
    }
    Ok(ExitCode::SUCCESS)
}
