//! The result for a terminal at three in the morning: verdict first, then what it rests on.

use std::fmt::Write as _;

use crate::latencies::Summary;
use crate::measured::{LinkBytes, Measured, float};
use crate::units::{shown_bytes, shown_count, shown_us};

/// What stands before everything else when the generator was the bottleneck.
pub const NO_RESULTS: &str = "GENERATOR-BOUND: what follows are no results. The generator was the bottleneck; its numbers say nothing about the network.";

/// The whole page.
#[must_use]
pub fn page(measured: &Measured) -> String {
    let mut page = String::new();
    // Writing into a string cannot fail.
    let _ = write_page(&mut page, measured);
    page
}

fn write_page(page: &mut String, m: &Measured) -> std::fmt::Result {
    let asked = &m.asked;
    writeln!(page)?;
    if !m.valid {
        writeln!(page, "{NO_RESULTS}")?;
    }
    writeln!(page, "{}  {}", verdict(m), row(m))?;
    for judgement in &m.slo {
        let mark = match (m.valid, judgement.met) {
            (false, _) => "void  ",
            (true, true) => "met   ",
            (true, false) => "MISSED",
        };
        writeln!(page, "  {mark}  {}  (measured {})", judgement.objective, judgement.measured)?;
    }
    for failure in m.broken().iter().chain(&m.left_undone()) {
        writeln!(page, "  FAILED  {failure}")?;
    }
    for why in &m.limited.why {
        writeln!(page, "  limit   {why}")?;
    }
    writeln!(page)?;
    let shape = match asked.shape {
        "closed" => format!("closed loop, {} under way at most", shown_count(asked.in_flight as u64)),
        shape => format!("open loop, {shape}"),
    };
    writeln!(
        page,
        "  load       {shape}; payload {} mean; {} s after {} s of warm-up; seed {}",
        shown_bytes(asked.payload_mean_bytes),
        asked.duration_s,
        asked.warm_up_s,
        asked.seed
    )?;
    let counts = &m.outcomes.counts;
    writeln!(
        page,
        "  outcomes   {} intended: {} delivered, {} rejected, {} refused, {} undecided, {} expired, {} in custody, {} otherwise, {} not taken by the library, {} lost",
        shown_count(m.outcomes.intended),
        shown_count(counts.delivered),
        shown_count(counts.rejected),
        shown_count(counts.refused),
        shown_count(counts.undecided),
        shown_count(counts.expired),
        shown_count(counts.custody),
        shown_count(counts.other),
        shown_count(counts.not_taken),
        shown_count(m.outcomes.lost),
    )?;
    if m.outcomes.not_started > 0 {
        writeln!(
            page,
            "             {} of the lost were never started: no room came in time",
            shown_count(m.outcomes.not_started)
        )?;
    }
    if m.outcomes.attempts > m.checks.messages {
        writeln!(
            page,
            "             {} entries for {} messages of the whole run: busy recipients and resends",
            shown_count(m.outcomes.attempts),
            shown_count(m.checks.messages)
        )?;
    }
    for (code, count) in m.outcomes.codes.iter().take(8) {
        writeln!(page, "             {} × {code}", shown_count(*count))?;
    }
    let since = if asked.shape == "closed" { "start" } else { "intended start" };
    latency(page, &format!("latency    {since} to verified receipt"), &m.latency_us)?;
    if let Some(others) = &m.others_us {
        latency(page, "           of these to recipients that are not slow on purpose", others)?;
    }
    if asked.shape != "closed" {
        latency(page, "           actual start to receipt    ", &m.service_us)?;
    }
    if let Some(one_way) = &m.one_way_us {
        latency(page, &format!("           {since} to the sink         "), one_way)?;
    }
    if let Some(storms) = &m.reconnects {
        writeln!(
            page,
            "  storms     {} times {} links left at once: {} came back, {} did not; all were back after {} ms at worst",
            storms.storms,
            storms.links,
            shown_count(storms.attached),
            shown_count(storms.missed),
            shown_count(storms.worst_ms)
        )?;
    }
    for router in &m.routers {
        write!(page, "  router     {}:", router.name)?;
        if let (Some(us), Some(cores)) = (router.cpu_us_per_message, router.cpu_cores) {
            write!(page, " {us:.2} µs CPU a message, {:.0} % of a core;", cores * 100.0)?;
        }
        if let Some(checks) = router.signature_checks_per_message {
            write!(page, " {checks:.4} signature checks a message;")?;
        }
        if let (Some(now), Some(peak)) = (router.resident_bytes, router.peak_bytes) {
            write!(page, " {} resident, peak {};", shown_bytes(float(now)), shown_bytes(float(peak)))?;
        }
        if let Some(routes) = router.routes {
            write!(page, " {} routes", shown_count(routes))?;
        }
        writeln!(page)?;
    }
    link(page, "sender's link   ", m.links.sender.as_ref())?;
    link(page, "recipient's link", m.links.recipient.as_ref())?;
    link(page, "between routers ", m.links.between_routers.as_ref())?;
    let generator = &m.generator;
    writeln!(
        page,
        "  generator  source {:.2} cores, sink {:.2}; started late by p99 {}, max {}; {:.1} % waited for room; machine {:.0} % idle",
        generator.source_cores,
        generator.sink_cores,
        shown_us(float(generator.late_us.p99)),
        shown_us(float(generator.late_us.max)),
        generator.held_back * 100.0,
        generator.machine_idle * 100.0,
    )?;
    let checks = &m.checks;
    writeln!(
        page,
        "  checked    {} messages, each with one outcome; {} receipts verified, {} ({:.2} %) again offline{}{}",
        shown_count(checks.messages),
        shown_count(checks.receipts_verified),
        shown_count(checks.receipts_rechecked),
        checks.recheck_share * 100.0,
        match checks.sink_duplicates {
            Some(0) => "; none twice at the sink",
            Some(_) => "; SOME TWICE at the sink",
            None => "; the sink is elsewhere",
        },
        match checks.ledgers_balance {
            Some(true) => "; ledgers balance",
            Some(false) => "; LEDGERS DO NOT BALANCE",
            None => "",
        },
    )?;
    Ok(())
}

/// Whether it held, in one word or two.
#[must_use]
pub fn verdict(m: &Measured) -> &'static str {
    match m.exit_status {
        2 => "NO RESULT.",
        1 => "MISSED.",
        _ if m.slo.is_empty() => "DONE.",
        _ => "MET.",
    }
}

/// The verdict in one word.
#[must_use]
pub fn short(m: &Measured) -> &'static str {
    match m.exit_status {
        0 => "behind",
        2 => "generator",
        _ => "missed",
    }
}

/// One line with what every published number has to name: rate, senders, recipients, mean bundle fill.
#[must_use]
pub fn row(m: &Measured) -> String {
    let forwarded = m.bundle_fill.forwarded.map_or_else(String::new, |fill| format!(", {fill:.1} after splitting"));
    format!(
        "{}: {:.0}/s of {:.0}/s offered, p50 {}, p99 {}; {} sender{}, {} recipient{}, {} router{}, mean bundle fill {:.1}{forwarded}",
        m.asked.scenario,
        m.rate.achieved_per_s,
        m.rate.offered_per_s,
        shown_us(float(m.latency_us.p50)),
        shown_us(float(m.latency_us.p99)),
        m.asked.senders,
        plural(m.asked.senders),
        m.asked.recipients,
        plural(m.asked.recipients),
        m.asked.routers,
        plural(m.asked.routers),
        m.bundle_fill.sent,
    )
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn latency(page: &mut String, name: &str, summary: &Summary) -> std::fmt::Result {
    let shown = |us: u64| shown_us(float(us));
    writeln!(
        page,
        "  {name}: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        shown(summary.p50),
        shown(summary.p90),
        shown(summary.p99),
        shown(summary.p999),
        shown(summary.max)
    )
}

fn link(page: &mut String, name: &str, bytes: Option<&LinkBytes>) -> std::fmt::Result {
    let Some(bytes) = bytes else { return Ok(()) };
    writeln!(
        page,
        "  bytes      {name}: {:.0} to the router, {:.0} from it a message; {:.0} beyond the payload of {:.0}",
        bytes.to_router_per_message,
        bytes.from_router_per_message,
        bytes.overhead_per_message,
        bytes.payload_per_message
    )
}
