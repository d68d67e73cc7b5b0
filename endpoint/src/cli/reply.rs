//! `kernpost reply`: answer a message that `kernpost receive --into` stored.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use kernpost_codecs::EndpointId;
use kernpost_codecs::statement::Assurance;
use kernpost_endpoint::client::reply_to;

use super::connect::{self, ConnectArgs};
use super::folder;
use super::payload::Payload;
use super::send::{WaitArgs, send_one};

#[derive(Debug, Args)]
pub struct ReplyArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The message: its folder, or its message.json.
    #[arg(value_name = "MESSAGE")]
    pub message: PathBuf,
    /// The payload; standard input when missing or `-`.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Asserted level of assurance: low, substantial or high.
    #[arg(long)]
    pub assurance: Option<Assurance>,
    #[command(flatten)]
    pub waiting: WaitArgs,
}

pub async fn run(args: ReplyArgs) -> Result<ExitCode> {
    let original = folder::read(&args.message)?;
    let from: EndpointId = original.recipient.parse().context("recipient of the message")?;
    let message = original.message()?;
    let payload = Payload::of(args.file.as_deref()).await?;
    let (client, from) = connect::sender(&args.connect, Some(&from)).await?;
    let mut outgoing = payload.put(reply_to(from, &message, Bytes::new()));
    outgoing.assurance = args.assurance;
    outgoing.timeout_ms = args.waiting.timeout.saturating_mul(1_000);
    let end = send_one(&client, outgoing, &args.waiting).await;
    client.close(Duration::from_secs(5)).await;
    end
}
