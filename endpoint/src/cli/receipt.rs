//! `kernpost receipt`: does this file prove its outcome, offline, and how does one see that?
//!
//! `verify` exits with 0 when everything holds, 4 when something does not, 1 when file or directory cannot be read.

mod directories;
mod report;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use kernpost_codecs::UnixMs;
use kernpost_codecs::archive::ProofFile;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::statement::{MessageRef, Receipt};
use kernpost_endpoint::client::now;
use kernpost_endpoint::offline::audit::{Audit, Check, Tables, audit};

use super::directory::FolderArgs;
use directories::{Directories, Stated};

/// The receipt does not count.
const EXIT_NOT_VERIFIED: u8 = 4;

#[derive(Debug, Subcommand)]
pub enum ReceiptCommand {
    /// Verify a receipt with nothing but the signed directory of its time. Exit status 4 when it does not count.
    Verify(VerifyArgs),
    /// Show what a proof file claims, without checking any of it.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The proof file, as `kernpost send --receipt` wrote it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub directory: FolderArgs,
    /// Folder with older signed zones, for receipts in an older directory version; a router's history serves too.
    #[arg(long, value_name = "FOLDER")]
    pub snapshots: Option<PathBuf>,
    /// Check that the message carried this payload.
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The proof file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
}

pub fn run(command: ReceiptCommand) -> Result<ExitCode> {
    run_to(command, now(), &mut std::io::stdout().lock())
}

fn run_to(command: ReceiptCommand, now: UnixMs, out: &mut impl Write) -> Result<ExitCode> {
    match command {
        ReceiptCommand::Verify(args) => verify(&args, now, out),
        ReceiptCommand::Show(args) => show(&args, out),
    }
}

fn read(path: &PathBuf) -> Result<(ProofFile, Receipt)> {
    let name = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    let file = ProofFile::parse(&bytes).with_context(|| format!("{name} is no proof file"))?;
    let receipt = Receipt::parse(&file.receipt).with_context(|| format!("{name} holds no receipt"))?;
    Ok((file, receipt))
}

fn verify(args: &VerifyArgs, now: UnixMs, out: &mut impl Write) -> Result<ExitCode> {
    let (file, receipt) = read(&args.file)?;
    let created = match &file.message {
        Some((statement, _)) => MessageRef::parse(statement).map(|message| message.created),
        None => Ok(receipt.time),
    };
    let created = created.with_context(|| format!("{} holds no readable message", args.file.display()))?;
    let payload = args.payload.as_ref().map(std::fs::read).transpose().context("cannot read the payload")?;

    let directories = Directories::read(&args.directory, args.snapshots.as_deref())?;
    let (mut checks, stated) = directories.judge(&receipt, created, now);
    let mut found = match &stated {
        Some(Stated { at_receipt, at_sending, current, .. }) => {
            audit(&file, &Tables { at_receipt, at_sending, current }, now)?
        }
        None => Audit {
            message: file.message.as_ref().and_then(|(bytes, _)| MessageRef::parse(bytes).ok()).map(|m| m.to_owned()),
            receipt,
            responsible: None,
            checks: Vec::new(),
        },
    };
    checks.append(&mut found.checks);
    if let Some(payload) = payload {
        checks.push(Check::of("payload", same_payload(&found, &payload)));
    }
    found.checks = checks;
    if args.json {
        writeln!(out, "{}", report::json(&found, stated.as_ref()))?;
    } else {
        report::verdict(&found, stated.is_some(), out)?;
    }
    Ok(if found.verified() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_VERIFIED) })
}

fn same_payload(audit: &Audit, payload: &[u8]) -> Result<String, String> {
    let message = audit.message.as_ref().ok_or("the file does not hold the message")?;
    let digest = Digest::of(payload);
    if digest == message.payload_digest {
        Ok(format!("the message carried this payload, SHA-256 {digest}"))
    } else {
        Err(format!("this payload has SHA-256 {digest}, the message carried {}", message.payload_digest))
    }
}

fn show(args: &ShowArgs, out: &mut impl Write) -> Result<ExitCode> {
    let (file, receipt) = read(&args.file)?;
    let message = file.message.as_ref().map(|(statement, _)| MessageRef::parse(statement).map(|one| one.to_owned()));
    let message = message.transpose().with_context(|| format!("{} holds no readable message", args.file.display()))?;
    if args.json {
        writeln!(out, "{}", report::claims_json(&receipt, message.as_ref()))?;
    } else {
        writeln!(out, "CLAIMS, not checked: use `kernpost receipt verify`")?;
        report::claims(&receipt, message.as_ref(), out)?;
        for (whose, proofs) in
            [("receipt", Some(&file.receipt_proofs)), ("message", file.message.as_ref().map(|m| &m.1))]
        {
            for proof in proofs.into_iter().flatten() {
                writeln!(out, "{:<13}{}", format!("{whose} key"), report::kid(proof))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
