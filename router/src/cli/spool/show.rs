//! How do the answers of the spool's commands look to people? The worst first, times in UTC, nothing of a payload.

use std::io::{Result, Write};

use comfy_table::{Table as Grid, presets};

use crate::operators::pages::{
    AuditLine, AuditPage, DiscardPage, LeftAlone, ListPage, MessagePage, ProposalsPage, QuarantinePage, RedeliverPage,
    RotatePage,
};
use crate::operators::proposals::Proposal;

fn grid(header: &[&str]) -> Grid {
    let mut grid = Grid::new();
    grid.load_preset(presets::NOTHING);
    grid.set_header(header.iter().copied());
    grid
}

/// Names and ids are plain; what people wrote could draw on the reader's terminal.
fn plain(text: &str) -> String {
    text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

pub(super) fn list(page: &ListPage, out: &mut dyn Write) -> Result<()> {
    for record in &page.unreadable {
        writeln!(out, "! the index of record {record} cannot be read: see --quarantined and the log")?;
    }
    if page.lines.is_empty() {
        return writeln!(out, "nothing");
    }
    let mut grid = grid(&["MESSAGE", "WAITS FOR", "CLASS", "TAKEN", "EXPIRES", "BYTES", "STATE"]);
    for line in &page.lines {
        grid.add_row([
            line.message.to_string(),
            line.waits_for.join(" "),
            line.class.clone(),
            line.taken.clone(),
            line.expires.clone(),
            line.bytes.to_string(),
            line.state.clone(),
        ]);
    }
    writeln!(out, "{grid}")?;
    let bytes: u64 = page.lines.iter().map(|line| line.bytes).sum();
    writeln!(out, "{} shown, {bytes} bytes", page.lines.len())?;
    match page.next {
        Some(after) => writeln!(out, "there may be more: --after {after}"),
        None => Ok(()),
    }
}

pub(super) fn quarantined(page: &QuarantinePage, out: &mut dyn Write) -> Result<()> {
    if page.records.is_empty() {
        return writeln!(out, "nothing");
    }
    for line in &page.records {
        let reason = line.reason.as_deref().unwrap_or("the reason cannot be read either");
        writeln!(out, "record {}: {}", line.record, plain(reason))?;
        for message in &line.messages {
            writeln!(out, "  {message}")?;
        }
    }
    match page.next {
        Some(after) => writeln!(out, "there may be more: --after {after}"),
        None => Ok(()),
    }
}

pub(super) fn message(page: &MessagePage, out: &mut dyn Write) -> Result<()> {
    let held = &page.held;
    writeln!(out, "{}  {}", held.message, held.state)?;
    writeln!(out, "  waits for     {}", held.waits_for.join(" "))?;
    writeln!(out, "  class         {}", held.class)?;
    writeln!(out, "  taken         {}", held.taken)?;
    writeln!(out, "  expires       {}", held.expires)?;
    writeln!(out, "  record        {}, {} bytes of credit", held.record, held.bytes)?;
    match &page.statement {
        None => writeln!(out, "! its statement cannot be read: the record is damaged")?,
        Some(statement) => {
            let payload = if statement.payload_held { "held" } else { "erased with the final outcome" };
            writeln!(out, "statement")?;
            writeln!(out, "  about         service {}, jurisdiction {}", statement.service, statement.jurisdiction)?;
            writeln!(out, "  created       {}", statement.created)?;
            writeln!(
                out,
                "  payload       {} bytes, {payload}, {}, SHA-256 {}",
                statement.payload_length,
                plain(&statement.content_type),
                statement.payload_sha256
            )?;
            for (name, value) in [
                ("recipient", &statement.recipient),
                ("case", &statement.case_hex),
                ("mailbox", &statement.mailbox_hex),
                ("in reply to", &statement.in_reply_to),
                ("assurance", &statement.assurance),
            ] {
                if let Some(value) = value {
                    writeln!(out, "  {name:<13} {value}")?;
                }
            }
            writeln!(out, "  directory     {}", statement.directory_version)?;
            writeln!(out, "  leaf          {}", statement.leaf)?;
        }
    }
    if let Some(proof) = &page.proof {
        writeln!(out, "proof           root {}, entry {} of {}", proof.root, proof.index, proof.tree_size)?;
        for key in &proof.signed_by {
            writeln!(out, "  signed by     {key}")?;
        }
    }
    writeln!(out, "history")?;
    for line in &page.history {
        writeln!(out, "  {}  {} ({})", line.at, line.what, line.by)?;
    }
    Ok(())
}

fn left_alone(list: &[LeftAlone], out: &mut dyn Write) -> Result<()> {
    list.iter().try_for_each(|one| writeln!(out, "left alone: {}: {}", one.message, plain(&one.why)))
}

pub(super) fn redelivering(page: &RedeliverPage, out: &mut dyn Write) -> Result<()> {
    left_alone(&page.not_waiting, out)?;
    writeln!(out, "everything that waits is tried now")
}

pub(super) fn proposed(proposal: &Proposal, out: &mut dyn Write) -> Result<()> {
    describe(proposal, out)?;
    writeln!(out, "nothing has happened yet. Within an hour somebody else, under an account of their own, runs:")?;
    writeln!(out, "  kernpost-router spool discard --confirm {} …", proposal.number)
}

pub(super) fn proposals(page: &ProposalsPage, out: &mut dyn Write) -> Result<()> {
    if page.proposals.is_empty() {
        return writeln!(out, "nothing waits for somebody to agree");
    }
    page.proposals.iter().try_for_each(|proposal| describe(proposal, out))
}

fn describe(proposal: &Proposal, out: &mut dyn Write) -> Result<()> {
    let Proposal { number, by, messages, reason, .. } = proposal;
    let count = messages.len();
    writeln!(
        out,
        "proposal {number} by {}: give up {count} messages, because: {}",
        plain(&by.to_string()),
        plain(reason)
    )?;
    messages.iter().try_for_each(|message| writeln!(out, "  {message}"))
}

pub(super) fn discarding(page: &DiscardPage, out: &mut dyn Write) -> Result<()> {
    describe(&page.proposal, out)?;
    left_alone(&page.left_alone, out)?;
    let (count, by) = (page.discarding.len(), plain(&page.confirmed_by.to_string()));
    writeln!(out, "confirmed by {by}: {count} are given up, their senders get signed receipts")?;
    writeln!(out, "what is under way at this moment is left alone: look with `spool show`")
}

pub(super) fn rotated(page: &RotatePage, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{} secrets are wrapped by custody.master_key now", page.secrets)?;
    writeln!(out, "custody.previous_master_keys are not needed any more; backups of before still need them")
}

pub(super) fn act(line: &AuditLine, out: &mut dyn Write) -> Result<()> {
    let mark = if line.chained { "" } else { "  ! does not follow the entry before" };
    let Some(act) = &line.act else {
        return writeln!(out, "{}  ! cannot be read{mark}", line.number);
    };
    write!(out, "{}  {}  {} (uid {})  {}", line.number, act.at, plain(&act.user), act.uid, act.act.name())?;
    if let Some(second) = &act.confirmed_by {
        write!(out, ", confirmed by {}", plain(&second.to_string()))?;
    }
    if let Some(reason) = &act.reason {
        write!(out, ", because: {}", plain(reason))?;
    }
    writeln!(out, "{mark}")?;
    act.messages.iter().try_for_each(|message| writeln!(out, "     {message}"))
}

pub(super) fn verified(broken: u64, page: &AuditPage, out: &mut dyn Write) -> Result<()> {
    match broken {
        0 => writeln!(out, "{} entries, each follows the one before; keep the last hash elsewhere:", page.count)?,
        _ => {
            writeln!(out, "{broken} of {} entries were changed, damaged or follow one that was taken out", page.count)?
        }
    }
    writeln!(out, "{}", page.last_hash)
}

#[cfg(test)]
mod tests;
