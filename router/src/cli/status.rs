//! `kernpost-router status`: what is this router doing right now? The worst news comes first.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use comfy_table::{Table as Grid, presets};

use super::{StatusArgs, fetch};
use crate::admin::{CustodyPage, LinkLine, StatusPage};

/// Attachments shown; a mesh has thousands, and `--json` shows them all.
const MOST_ATTACHMENTS: usize = 40;

/// Prints the status.
pub(super) fn run(args: &StatusArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (status, body) = fetch::page(&args.admin, "/status")?;
    if status != 200 {
        bail!("{}/status: status {status}: {}", args.admin, body.trim());
    }
    let page: StatusPage = serde_json::from_str(&body).context("the answer is not a status page; is this a router?")?;
    if args.json {
        writeln!(out, "{body}")?;
    } else {
        show(&page, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_custody(custody: &CustodyPage, out: &mut impl Write) -> std::io::Result<()> {
    let count = |outcome: &str| custody.outcomes.get(outcome).copied().unwrap_or(0);
    if !custody.balanced {
        writeln!(out, "  ! the books of custody do not balance: keep the logs and report this")?;
    }
    if custody.pressure_percent > 0 {
        let why = "the disk is filling, or what waits is old: see disk and oldest below";
        writeln!(out, "  ! custody takes {} % less than it could: {why}", custody.pressure_percent)?;
    }
    let ended = ["delivered", "rejected", "expired", "damaged", "returned", "discarded", "unreadable"];
    let ended: Vec<String> = ended
        .into_iter()
        .filter(|outcome| count(outcome) > 0)
        .map(|outcome| format!("{} {outcome}", count(outcome)))
        .collect();
    writeln!(
        out,
        "custody    {} held ({} MiB, oldest {}, {} queues, {} in flight), {} receipts for their senders",
        custody.held,
        custody.bytes >> 20,
        custody.oldest.as_deref().unwrap_or("-"),
        custody.queues,
        custody.in_flight,
        custody.late_receipts,
    )?;
    writeln!(
        out,
        "           {} taken + {} recovered; ended: {}; disk {} MiB, {} MiB free",
        count("taken"),
        count("recovered"),
        if ended.is_empty() { "none".to_owned() } else { ended.join(", ") },
        custody.disk_bytes >> 20,
        custody.disk_free_bytes >> 20,
    )
}

pub(super) fn show(page: &StatusPage, out: &mut impl Write) -> std::io::Result<()> {
    let state = match (page.ready, page.draining) {
        (_, true) => "DRAINING",
        (true, false) => "ready",
        (false, false) => "NOT READY",
    };
    writeln!(out, "{}  {state}  (version {}, up since {})", page.router, page.version, page.started)?;
    for reason in &page.reasons {
        writeln!(out, "  ! {}: {}", reason.gate, reason.reason)?;
    }
    if !page.clock_synchronised {
        writeln!(out, "  ! the kernel's clock is not synchronised: nothing expires until it is")?;
    }
    if !page.ledger.balanced {
        writeln!(out, "  ! the ledger does not balance: keep the logs and report this")?;
    }
    let directory = &page.directory;
    for zone in directory.zones.iter().filter(|zone| zone.degraded) {
        writeln!(out, "  ! zone {} is past its not-after: get a new snapshot", zone.zone)?;
    }
    if let Some(refusal) = &directory.last_refusal {
        writeln!(out, "  ! the last directory was refused: {refusal}")?;
    }
    for (kind, count) in page.alarms.iter().filter(|(_, count)| **count > 0) {
        writeln!(out, "  ! {count} alarms {kind} since the start: see the log")?;
    }
    let zones: Vec<String> = directory.zones.iter().map(|zone| format!("{} {}", zone.zone, zone.serial)).collect();
    writeln!(
        out,
        "directory  generation {}, {} routes, {} endpoints; zones {}",
        directory.generation,
        directory.routes,
        directory.endpoints,
        zones.join(", ")
    )?;
    let outcomes: Vec<String> = page
        .ledger
        .outcomes
        .iter()
        .filter(|(name, count)| **count > 0 && *name != "accepted")
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    writeln!(
        out,
        "ledger     {} accepted = {} in flight{}{}",
        page.ledger.outcomes.get("accepted").copied().unwrap_or(0),
        page.ledger.in_flight,
        if outcomes.is_empty() { "" } else { " + " },
        outcomes.join(" + ")
    )?;
    if let Some(custody) = &page.custody {
        show_custody(custody, out)?;
    }
    if !page.refusals.is_empty() {
        let refusals: Vec<String> = page.refusals.iter().map(|(code, count)| format!("{count} {code}")).collect();
        writeln!(out, "refusals   {}", refusals.join(", "))?;
    }
    show_workers(page, out)?;
    show_links(&page.links, out)?;
    show_attachments(page, out)
}

fn grid(header: &[&str]) -> Grid {
    let mut grid = Grid::new();
    grid.load_preset(presets::NOTHING);
    grid.set_header(header.iter().copied());
    grid
}

fn show_workers(page: &StatusPage, out: &mut impl Write) -> std::io::Result<()> {
    let mut grid =
        grid(&["WORKER", "LISTENS", "LINKS", "RECEIVED", "FORWARDED", "CHECKED", "CACHED", "WAITING", "LARGE", "OPEN"]);
    for worker in &page.workers {
        grid.add_row([
            worker.worker.to_string(),
            worker.listening.join(" "),
            worker.links.to_string(),
            worker.entries_received.to_string(),
            worker.entries_forwarded.to_string(),
            worker.signature_checks.to_string(),
            worker.root_cache_hits.to_string(),
            worker.entries_waiting.to_string(),
            worker.large_payloads.to_string(),
            worker.in_flight.to_string(),
        ]);
    }
    writeln!(out, "\n{grid}")
}

fn show_links(links: &[LinkLine], out: &mut impl Write) -> std::io::Result<()> {
    if links.is_empty() {
        return writeln!(out, "\nno links");
    }
    let mut grid = grid(&["LINK", "PEER", "ADDRESS", "STATE", "ATTACHED", "RTT", "CLOCK", "OPEN", "SENT", "WAITING"]);
    for link in links {
        let state = match (link.ready, link.draining) {
            (_, true) => "draining",
            (true, false) => "up",
            (false, false) => "hello",
        };
        grid.add_row([
            link.link.to_string(),
            link.peer.clone(),
            link.remote.clone().unwrap_or_else(|| "-".to_owned()),
            state.to_owned(),
            (link.attachments + link.remote_attachments).to_string(),
            link.rtt_us.map_or_else(|| "-".to_owned(), milliseconds),
            format!("{:+} ms", link.clock_offset_ms),
            link.open_labels.to_string(),
            link.sent_in_flight.to_string(),
            link.waiting.to_string(),
        ]);
    }
    writeln!(out, "\n{grid}")
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:02} ms", us / 1_000, us % 1_000 / 10)
}

fn show_attachments(page: &StatusPage, out: &mut impl Write) -> std::io::Result<()> {
    if page.attachments.is_empty() {
        return writeln!(out, "\nno attachments");
    }
    let mut grid = grid(&["ENDPOINT", "AT", "BY", "UNTIL"]);
    for attachment in page.attachments.iter().take(MOST_ATTACHMENTS) {
        grid.add_row([&attachment.endpoint, &attachment.router, &attachment.identity, &attachment.expires]);
    }
    writeln!(out, "\n{grid}")?;
    let hidden = page.attachments.len().saturating_sub(MOST_ATTACHMENTS);
    if hidden > 0 {
        writeln!(out, "and {hidden} more attachments: --json shows them")?;
    }
    Ok(())
}
