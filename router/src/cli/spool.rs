//! `kernpost-router spool`: what does this router keep for others, and what do operators do about it?
//!
//! Every command asks the running router, which holds the spool. What is read is shown by `show`; files of an export are
//! written by `files`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use kernpost_codecs::{Class, EndpointId};
use serde::Serialize;

use super::ask::ask;
use crate::config::Config;
use crate::operators::MessageName;
use crate::operators::pages::{
    AuditLine, AuditPage, AuditQuestion, ConfirmQuestion, DiscardPage, DiscardQuestion, ExportPage, ListOf, ListPage,
    ListQuestion, MessagePage, MessageQuestion, PayloadQuestion, ProposalsPage, QuarantinePage, QuarantineQuestion,
    RedeliverPage, RedeliverQuestion, RotatePage,
};
use crate::operators::proposals::Proposal;

mod age;
mod files;
mod show;

use age::Age;

#[derive(Debug, Subcommand)]
pub(super) enum SpoolCommand {
    /// What is held, the oldest first; never payloads.
    List(ListArgs),
    /// One message: what its sender signed, its proof and its history; not the payload. On record.
    Show(OneArgs),
    /// One message as files: statement, payload, proofs. On record.
    Export(ExportArgs),
    /// Have everything that waits tried again at once.
    Redeliver(RedeliverArgs),
    /// Give messages up: one operator proposes, another confirms. Their senders get signed receipts.
    Discard(DiscardArgs),
    /// Wrap the spool's keys by the current master key, so that previous ones are not needed any more.
    Rotate(WhereArgs),
    /// The log of acts.
    Audit(AuditArgs),
}

#[derive(Debug, Args)]
pub(super) struct WhereArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PlaceArgs {
    /// The router's configuration file; it names the socket.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The router's socket, for those who may not read its configuration.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    of: ListOfArgs,
    /// What waits for this endpoint.
    #[arg(long, value_name = "ENDPOINT")]
    recipient: Option<EndpointId>,
    /// What this endpoint sent.
    #[arg(long, value_name = "ENDPOINT")]
    sender: Option<EndpointId>,
    /// Priority: urgent, interactive or bulk.
    #[arg(long)]
    class: Option<Class>,
    /// Taken at least so long ago: 30m, 12h, 3d.
    #[arg(long, value_name = "AGE")]
    older_than: Option<Age>,
    /// About how many lines; a record's messages are never torn.
    #[arg(long, value_name = "N", default_value_t = 100)]
    most: usize,
    /// Records after this one, as the page before says.
    #[arg(long, value_name = "RECORD")]
    after: Option<u64>,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct ListOfArgs {
    /// Messages that have ended, until their retention is over.
    #[arg(long)]
    ended: bool,
    /// Receipts that wait for the senders of messages.
    #[arg(long)]
    receipts: bool,
    /// Records that could not be read.
    #[arg(long, conflicts_with_all = ["recipient", "sender", "class", "older_than"])]
    quarantined: bool,
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// The message, as lists print it.
    #[arg(value_name = "SENDER:ID")]
    message: MessageName,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    one: OneArgs,
    /// A new folder for the files; only you can read it.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RedeliverArgs {
    /// Because of these messages; everything that waits is tried.
    #[arg(value_name = "SENDER:ID", required_unless_present = "all", conflicts_with = "all")]
    messages: Vec<MessageName>,
    /// Because of all of them.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Args)]
pub(super) struct DiscardArgs {
    /// Propose to give these up.
    #[arg(value_name = "SENDER:ID", required_unless_present_any = ["confirm", "list"], requires = "reason")]
    messages: Vec<MessageName>,
    /// Why. The senders read it: no personal data.
    #[arg(long, value_name = "TEXT", requires = "messages")]
    reason: Option<String>,
    /// Agree to what somebody else proposed; it is carried out at once.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["messages", "list"])]
    confirm: Option<u64>,
    /// Show what waits for somebody to agree.
    #[arg(long, conflicts_with = "messages")]
    list: bool,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// Check that no entry was changed or taken out. Exit status 1 if one was.
    #[arg(long)]
    verify: bool,
    /// From this entry on.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, conflicts_with = "verify")]
    from: u64,
    #[command(flatten)]
    place: WhereArgs,
}

impl WhereArgs {
    fn socket(&self) -> anyhow::Result<PathBuf> {
        match (&self.place.socket, &self.place.config) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(file)) => match Config::load(file) {
                Ok(config) => Ok(config.admin.socket),
                Err(problems) => bail!("{problems}"),
            },
            (None, None) => bail!("name --config FILE or --socket PATH"),
        }
    }

    /// The answer, printed as JSON when that is wanted, else by `show`.
    fn tell<A: Serialize>(
        &self,
        answer: &A,
        out: &mut impl Write,
        show: impl FnOnce(&A, &mut dyn Write) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        if self.json {
            writeln!(out, "{}", serde_json::to_string(answer)?)?;
        } else {
            show(answer, out)?;
        }
        Ok(())
    }
}

/// Runs one of the commands.
pub(super) fn run(command: SpoolCommand, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        SpoolCommand::List(args) if args.of.quarantined => quarantined(&args, out)?,
        SpoolCommand::List(args) => list(&args, out)?,
        SpoolCommand::Show(OneArgs { message, place }) => {
            let page: MessagePage = ask(&place.socket()?, "/spool/show", &MessageQuestion { message })?;
            place.tell(&page, out, show::message)?;
        }
        SpoolCommand::Export(args) => export(args, out)?,
        SpoolCommand::Redeliver(RedeliverArgs { messages, place, .. }) => {
            let page: RedeliverPage = ask(&place.socket()?, "/spool/redeliver", &RedeliverQuestion { messages })?;
            place.tell(&page, out, show::redelivering)?;
        }
        SpoolCommand::Discard(args) => discard(args, out)?,
        SpoolCommand::Rotate(place) => {
            let page: RotatePage = ask(&place.socket()?, "/spool/rotate", &())?;
            place.tell(&page, out, show::rotated)?;
        }
        SpoolCommand::Audit(args) => return audit(&args, out),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &ListArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let socket = args.place.socket()?;
    let mut question = ListQuestion {
        of: match (args.of.ended, args.of.receipts) {
            (true, _) => ListOf::Ended,
            (_, true) => ListOf::Receipts,
            _ => ListOf::Waiting,
        },
        recipient: args.recipient.as_ref().map(ToString::to_string),
        sender: args.sender.as_ref().map(ToString::to_string),
        class: args.class.map(|class| class.name().to_owned()),
        older_than_ms: args.older_than.map(|age| age.0),
        after: args.after,
        most: args.most,
    };
    let mut all = ListPage::default();
    loop {
        let page: ListPage = ask(&socket, "/spool/list", &question)?;
        all.lines.extend(page.lines);
        all.unreadable.extend(page.unreadable);
        all.next = page.next;
        if all.next.is_none() || all.lines.len() >= args.most {
            break;
        }
        question.after = all.next;
        question.most = args.most.saturating_sub(all.lines.len());
    }
    args.place.tell(&all, out, show::list)
}

fn quarantined(args: &ListArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let question = QuarantineQuestion { after: args.after };
    let page: QuarantinePage = ask(&args.place.socket()?, "/spool/quarantined", &question)?;
    args.place.tell(&page, out, show::quarantined)
}

fn export(args: ExportArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let ExportArgs { one: OneArgs { message, place }, out: folder } = args;
    files::make_folder(&folder)?;
    let page: ExportPage = ask(&place.socket()?, "/spool/export", &MessageQuestion { message })?;
    let mut written = files::write(&folder, &page).with_context(|| format!("into {}", folder.display()))?;
    if page.payload_apart.is_some() {
        let socket = place.socket()?;
        written.push(files::write_payload(&folder, |offset| {
            let message = page.message.clone();
            ask(&socket, "/spool/payload", &PayloadQuestion { message, offset })
        })?);
    }
    place.tell(&written, out, |written, out| written.iter().try_for_each(|file| writeln!(out, "{}", file.display())))
}

fn discard(args: DiscardArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let DiscardArgs { messages, reason, confirm, list, place } = args;
    let socket = place.socket()?;
    if list {
        let page: ProposalsPage = ask(&socket, "/spool/proposals", &())?;
        return place.tell(&page, out, show::proposals);
    }
    if let Some(number) = confirm {
        let page: DiscardPage = ask(&socket, "/spool/confirm", &ConfirmQuestion { number })?;
        return place.tell(&page, out, show::discarding);
    }
    let reason = reason.unwrap_or_default();
    let page: Proposal = ask(&socket, "/spool/discard", &DiscardQuestion { messages, reason })?;
    place.tell(&page, out, show::proposed)
}

/// The whole log from a number on, page by page.
fn audit(args: &AuditArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let socket = args.place.socket()?;
    let mut from = args.from;
    let mut broken = 0_u64;
    loop {
        let page: AuditPage = ask(&socket, "/spool/audit", &AuditQuestion { from, most: AUDIT_PAGE })?;
        let wrong = |line: &&AuditLine| !line.chained || line.act.is_none();
        let shown = page.entries.iter().filter(|line| !args.verify || wrong(line));
        for line in shown {
            args.place.tell(line, out, show::act)?;
        }
        broken += page.entries.iter().filter(wrong).count() as u64;
        from += page.entries.len() as u64;
        if page.entries.is_empty() || from >= page.count {
            if args.verify {
                show::verified(broken, &page, out)?;
            }
            break;
        }
    }
    Ok(if args.verify && broken > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

const AUDIT_PAGE: usize = 500;
