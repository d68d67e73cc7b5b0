//! `kernpost outcome`: what became of a message? From the durable outbox when it knows the end, else asked of the network.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use kernpost_codecs::archive::ProofFile;
use kernpost_codecs::{EndpointId, MessageId, MessageRef};
use kernpost_endpoint::Client;
use kernpost_endpoint::client::ClientConfig;
use kernpost_endpoint::config::{Purpose, load};
use kernpost_endpoint::core::SendOutcome;
use kernpost_endpoint::outbox_store::{OutboxStore, Stored};

use super::connect::ConnectArgs;
use super::report;

/// How long the end of the process may take.
const GOODBYE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct OutcomeArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The message id, as `kernpost send` printed it.
    #[arg(value_name = "MESSAGE ID")]
    pub message: MessageId,
    /// The message's statement, or a proof file that holds it, for a message that is not in the durable outbox.
    #[arg(long, value_name = "FILE")]
    pub statement: Option<PathBuf>,
    /// Keep the receipt and its proof in this file, as `kernpost send --receipt` does.
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
    /// Seconds to ask for.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
}

pub async fn run(args: OutcomeArgs) -> Result<ExitCode> {
    let everyone = load(&args.connect.config, &Purpose { send: true, ..Purpose::default() })?;
    let stored = recorded(&everyone, args.message)?;
    if let Some(outcome) = stored.as_ref().filter(|stored| stored.is_final).and_then(|stored| stored.outcome.as_ref()) {
        return report::answer(outcome, args.json, args.proof.as_deref());
    }
    let statement = match (&args.statement, &stored) {
        (Some(file), _) => read_statement(file)?,
        (None, Some(stored)) => stored.statement.clone(),
        (None, None) => bail!(
            "message {} is not in the durable outbox{}; give its statement, or a proof file that holds it, with --statement",
            args.message,
            if everyone.outbox.is_some() { "" } else { " (none is configured: see [outbox])" }
        ),
    };
    let message = MessageRef::parse(&statement).context("the statement")?;
    if message.id != args.message {
        bail!("the statement is that of message {}, not of {}", message.id, args.message);
    }
    let sender: EndpointId = message.sender.parse().context("the sender of the message")?;
    drop(everyone);
    let answer = ask(&args, sender, statement, stored).await?;
    report::answer(&answer, args.json, args.proof.as_deref())
}

/// What the durable outbox knows. It is closed again, so that the client can open it.
fn recorded(config: &ClientConfig, message: MessageId) -> Result<Option<Stored>> {
    let Some(outbox) = &config.outbox else { return Ok(None) };
    Ok(OutboxStore::open(outbox.clone())?.find_any(message)?)
}

async fn ask(args: &OutcomeArgs, sender: EndpointId, statement: Bytes, stored: Option<Stored>) -> Result<SendOutcome> {
    let purpose = Purpose { only: Some(vec![sender.clone()]), send: stored.is_some(), ..Purpose::default() };
    let client: Client = super::connect::start(load(&args.connect.config, &purpose)?, &args.connect).await?;
    let patience = Duration::from_secs(args.timeout);
    let answer = match stored {
        Some(_) => client.ask(&sender, args.message, patience).await,
        None => client.ask_about(statement, patience).await,
    };
    client.close(GOODBYE).await;
    Ok(answer?)
}

/// A statement as it is, or the one in a proof file.
fn read_statement(file: &Path) -> Result<Bytes> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if MessageRef::parse(&bytes).is_ok() {
        return Ok(bytes.into());
    }
    let proof = ProofFile::parse(&bytes).ok().and_then(|proof| proof.message);
    let (statement, _) = proof.with_context(|| {
        format!("{} is neither a message's statement nor a proof file that holds one", file.display())
    })?;
    Ok(statement)
}
