//! `kernpost send`: one message from a file or standard input, or a batch.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use kernpost_codecs::statement::{Assurance, ContentType};
use kernpost_codecs::{Ars, Class, EndpointId, MessageId, ServiceKey};
use kernpost_endpoint::client::fresh_id;
use kernpost_endpoint::{Client, FinalOutcome, Outgoing};

use super::batch::{self, BatchArgs};
use super::connect::{self, ConnectArgs};
use super::payload::Payload;
use super::report::{self, Wait};

/// How long the end of the process may take.
const GOODBYE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct SendArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The payload; standard input (at most 32 MiB) when missing or `-`. A file has at most 2 GiB; above 64 KiB it is read
    /// as it is sent, and must not change until the outcome is known.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The sending endpoint, when the configuration has several.
    #[arg(long, value_name = "ENDPOINT")]
    pub from: Option<EndpointId>,
    #[command(flatten)]
    pub envelope: EnvelopeArgs,
    #[command(flatten)]
    pub waiting: WaitArgs,
    #[command(flatten)]
    pub batch: BatchArgs,
}

/// What the message says besides its payload.
#[derive(Debug, Args)]
pub struct EnvelopeArgs {
    /// Service key, 14 digits.
    #[arg(long, value_name = "KEY")]
    pub service: Option<ServiceKey>,
    /// Jurisdiction (ARS), 12 digits; 000000000000 is the federal level.
    #[arg(long, value_name = "ARS")]
    pub jurisdiction: Option<Ars>,
    /// Explicit recipient instead of whoever is responsible.
    #[arg(long, value_name = "ENDPOINT")]
    pub to: Option<EndpointId>,
    /// Opaque case id, 1 to 32 bytes: messages of one case arrive in order.
    #[arg(long)]
    pub case: Option<String>,
    /// Asserted level of assurance: low, substantial or high.
    #[arg(long)]
    pub assurance: Option<Assurance>,
    /// Mailbox handle, 1 to 64 bytes; replies repeat it.
    #[arg(long)]
    pub mailbox: Option<String>,
    /// The message this one answers.
    #[arg(long, value_name = "MESSAGE ID")]
    pub in_reply_to: Option<MessageId>,
    /// Priority: urgent, interactive or bulk.
    #[arg(long, default_value = "interactive")]
    pub class: Class,
    /// Media type of the payload.
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Your own name for this sending, 1 to 64 bytes: sent again with the same key and content it is the same message, with the
    /// same receipt. Needs the durable outbox (section outbox of the configuration).
    #[arg(long, value_name = "K")]
    pub idempotency_key: Option<String>,
    /// Seconds until the message expires; at most 2,592,000.
    #[arg(long, value_name = "SECONDS", default_value_t = 2_592_000)]
    pub lifetime: u32,
}

/// How long to wait, and how the outcome is told.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// What to wait for. custody: done when a router keeps it durably (printed as "in custody", exit status 0). final: until its
    /// recipient has taken or rejected it, or the timeout is over (then exit status 5 while in custody).
    #[arg(long, value_enum, default_value_t = Wait::Custody)]
    pub wait: Wait,
    /// Seconds to try; afterwards the outcome is refused or undecided, whichever is true, or it is in custody. A large payload
    /// has this long from its last progress.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
    /// Keep the receipt and its proof in this file.
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// Tell the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

pub async fn run(args: SendArgs) -> Result<ExitCode> {
    if let Some(file) = args.batch.batch.clone() {
        let (client, from) = connect::sender(&args.connect, args.from.as_ref()).await?;
        let end = batch::run(&client, &from, &file, &args.batch, &args.waiting).await;
        client.close(GOODBYE).await;
        return end;
    }
    let payload = Payload::of(args.file.as_deref()).await?;
    let outgoing = |from: EndpointId| args.envelope.outgoing(from, payload, args.waiting.timeout);
    if args.envelope.to.is_none() && (args.envelope.service.is_none() || args.envelope.jurisdiction.is_none()) {
        bail!("say who shall get it: --service and --jurisdiction, or --to ENDPOINT");
    }
    let (client, from) = connect::sender(&args.connect, args.from.as_ref()).await?;
    let end = send_one(&client, outgoing(from)?, &args.waiting).await;
    client.close(GOODBYE).await;
    end
}

/// Sends one message, waits and tells the outcome.
pub async fn send_one(client: &Client, outgoing: Outgoing, waiting: &WaitArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let mut sent = client.send(outgoing).await?;
    let mut outcome = sent.settled().await?;
    if waiting.wait == Wait::Final && outcome.outcome == FinalOutcome::Custody {
        let rest = Duration::from_secs(waiting.timeout).saturating_sub(start.elapsed());
        if let Ok(end) = tokio::time::timeout(rest, sent.final_outcome()).await {
            outcome = end?;
        }
    }
    let latency_ms = start.elapsed().as_secs_f64() * 1e3;
    report::tell(&outcome, latency_ms, waiting.json, waiting.receipt.as_deref(), waiting.wait)
}

impl EnvelopeArgs {
    fn outgoing(&self, from: EndpointId, payload: Payload, timeout_s: u64) -> Result<Outgoing> {
        let service = match self.service {
            Some(service) => service,
            None => any_service()?,
        };
        let jurisdiction = self.jurisdiction.unwrap_or(Ars::FEDERAL);
        let mut outgoing = payload.put(Outgoing::new(fresh_id(), from, service, jurisdiction, Bytes::new()));
        outgoing.recipient.clone_from(&self.to);
        outgoing.case = self.case.clone().map(Bytes::from);
        outgoing.assurance = self.assurance;
        outgoing.mailbox = self.mailbox.clone().map(Bytes::from);
        outgoing.in_reply_to = self.in_reply_to;
        outgoing.class = self.class;
        outgoing.lifetime_s = self.lifetime;
        outgoing.idempotency_key = self.idempotency_key.clone().map(Bytes::from);
        outgoing.timeout_ms = timeout_s.saturating_mul(1_000);
        if let Some(text) = &self.content_type {
            outgoing.content_type = ContentType::Text(text.clone());
        }
        Ok(outgoing)
    }
}

/// What an explicit recipient is sent under when no service is named: the route key then only informs (WIRE 4.2).
pub fn any_service() -> Result<ServiceKey> {
    ServiceKey::try_from(99_000_000_000_000).context("the service key of any service")
}
