//! The result as one HTML file: readable in a browser without network, in light and dark, and on paper.
//!
//! Everything is in the file: style, plots as SVG, numbers as tables. No script.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::measured::{Measured, Moment, Stage, float};
use crate::report::text;
use crate::units::{shown_bytes, shown_count, shown_us};

mod plot;

use plot::{Axis, Line, lines};

const STYLE: &str = include_str!("html/style.css");

/// Writes the page.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, measured: &Measured) -> Result<()> {
    std::fs::write(path, page(measured)).with_context(|| format!("cannot write {}", path.display()))
}

/// The page.
#[must_use]
pub fn page(m: &Measured) -> String {
    let mut page = String::with_capacity(64 << 10);
    // Writing into a string cannot fail.
    let _ = write_page(&mut page, m);
    page
}

fn write_page(page: &mut String, m: &Measured) -> std::fmt::Result {
    let name = escaped(&m.asked.scenario);
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{name} · Kernpost load test</title><style>{STYLE}</style></head><body><main>\n"
    )?;
    header(page, m)?;
    // What is no result is still shown, to find out why, and looks the part.
    page.push_str(if m.valid { "<div>" } else { "<div class=\"void\">" });
    cards(page, m)?;
    objectives(page, m)?;
    page.push_str("<section class=\"plots\">");
    percentiles(page, m);
    latency_over_time(page, m);
    rate_over_time(page, m);
    cost_over_time(page, m);
    page.push_str("</section>\n");
    stages(page, &m.stages)?;
    tables(page, m)?;
    write!(
        page,
        "</div><footer>kernpost-loadgen {} · began {} · seed {} · format {}</footer>\n</main></body></html>\n",
        m.version,
        escaped(&m.began),
        m.asked.seed,
        m.format
    )
}

fn header(page: &mut String, m: &Measured) -> std::fmt::Result {
    let class = match m.exit_status {
        0 => "good",
        2 => "doubt",
        _ => "bad",
    };
    let verdict = match m.exit_status {
        0 if m.slo.is_empty() => "done",
        0 => "objectives met",
        2 => "no result",
        _ if m.slo.iter().any(|judgement| !judgement.met) => "objectives missed",
        _ => "failed",
    };
    writeln!(
        page,
        "<header>{}<h1>{}</h1><span class=\"verdict {class}\">{verdict}</span><p>{}</p><p class=\"row\">{}</p>",
        if m.valid { String::new() } else { format!("<p class=\"banner\">{}</p>", escaped(text::NO_RESULTS)) },
        escaped(&m.asked.scenario),
        escaped(&m.asked.about),
        escaped(&text::row(m))
    )?;
    for why in m.limited.why.iter().chain(&m.broken()).chain(&m.left_undone()) {
        write!(page, "<p class=\"warning\">{}</p>", escaped(why))?;
    }
    page.push_str("</header>\n");
    Ok(())
}

fn cards(page: &mut String, m: &Measured) -> std::fmt::Result {
    let us = |us: u64| shown_us(float(us));
    let since = if m.asked.shape == "closed" { "actual" } else { "intended" };
    let mut cards = vec![
        ("done", format!("{:.0}/s", m.rate.achieved_per_s), format!("{:.0}/s offered", m.rate.offered_per_s)),
        ("p50", us(m.latency_us.p50), format!("{since} start to verified receipt")),
        ("p99", us(m.latency_us.p99), format!("p99.9 {}, max {}", us(m.latency_us.p999), us(m.latency_us.max))),
        (
            "bundle fill",
            format!("{:.1}", m.bundle_fill.sent),
            m.bundle_fill.forwarded.map_or_else(String::new, |fill| format!("{fill:.1} after splitting")),
        ),
    ];
    if let Some(cpu) = m.all_routers.cpu_us_per_message {
        let cores: f64 = m.routers.iter().filter_map(|router| router.cpu_cores).sum();
        cards.push(("router CPU", format!("{cpu:.2} µs"), format!("a message; {cores:.2} cores")));
    }
    if let Some(checks) = m.all_routers.signature_checks_per_message {
        cards.push(("signature checks", format!("{checks:.4}"), "a message, all routers".to_owned()));
    }
    if let Some(bytes) = m.all_routers.largest_resident_bytes {
        cards.push(("memory", shown_bytes(float(bytes)), "resident, largest router".to_owned()));
    }
    page.push_str("<section class=\"cards\">");
    for (name, value, more) in cards {
        write!(page, "<div><h2>{name}</h2><b>{}</b><small>{}</small></div>", escaped(&value), escaped(&more))?;
    }
    page.push_str("</section>\n");
    Ok(())
}

fn objectives(page: &mut String, m: &Measured) -> std::fmt::Result {
    if m.slo.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<section><h2>Objectives</h2><table class=\"slo\"><tr><th>objective</th><th>measured</th><th></th></tr>",
    );
    for judgement in &m.slo {
        let (class, word) = match (m.valid, judgement.met) {
            (false, _) => ("doubt", "void"),
            (true, true) => ("good", "met"),
            (true, false) => ("bad", "missed"),
        };
        write!(
            page,
            "<tr><td>{}</td><td>{}</td><td><span class=\"verdict {class}\">{word}</span></td></tr>",
            escaped(&judgement.objective),
            escaped(&judgement.measured)
        )?;
    }
    page.push_str("</table></section>\n");
    Ok(())
}

/// Latency by percentile: the distance to 100 % is halved at equal steps, so that the tail is seen.
fn percentiles(page: &mut String, m: &Measured) {
    let nines = |percentile: f64| -(1.0 - percentile).max(1e-7).log10();
    let points = m.percentiles.iter().filter(|(percentile, ..)| *percentile < 1.0);
    let points: Vec<_> = points.map(|(percentile, us, _)| (nines(*percentile), float(*us) / 1e3)).collect();
    let most = points.last().map_or(3.0, |point| point.0).clamp(1.0, 7.0);
    let marks =
        [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"), (0.99999, "99.999 %")];
    let ticks = marks.into_iter().map(|(p, text)| (nines(p), text.to_owned()));
    let x = Axis {
        label: "percentile",
        from: 0.0,
        to: most,
        log: false,
        ticks: ticks.filter(|(at, _)| *at <= most).collect(),
    };
    let y = Axis::logarithmic("latency, ms", points.iter().map(|point| point.1));
    let since = if m.asked.shape == "closed" { "actual" } else { "intended" };
    page.push_str(&lines(
        &format!("Latency by percentile, from the {since} start"),
        &x,
        &y,
        &[Line { name: "latency", class: "a", points }],
        None,
    ));
}

fn over_time(m: &Measured, value: impl Fn(&Moment) -> f64) -> Vec<(f64, f64)> {
    m.series.iter().map(|moment| (moment.at_s, value(moment))).collect()
}

fn seconds(m: &Measured) -> Axis {
    let end = m.series.last().map_or(1.0, |moment| moment.at_s);
    Axis::linear("seconds", 0.0, end)
}

fn warm_up(m: &Measured) -> Option<(f64, f64)> {
    (m.asked.warm_up_s > 0.0).then_some((0.0, m.asked.warm_up_s))
}

fn latency_over_time(page: &mut String, m: &Measured) {
    let ms = |us: u64| float(us) / 1e3;
    let drawn = [
        Line { name: "max", class: "c", points: over_time(m, |moment| ms(moment.max_us)) },
        Line { name: "p99", class: "b", points: over_time(m, |moment| ms(moment.p99_us)) },
        Line { name: "p50", class: "a", points: over_time(m, |moment| ms(moment.p50_us)) },
    ];
    let drawn =
        drawn.map(|line| Line { points: line.points.into_iter().filter(|point| point.1 > 0.0).collect(), ..line });
    let y = Axis::logarithmic("latency, ms", drawn.iter().flat_map(|line| line.points.iter().map(|point| point.1)));
    page.push_str(&lines("Latency over time", &seconds(m), &y, &drawn, warm_up(m)));
}

fn rate_over_time(page: &mut String, m: &Measured) {
    let drawn = [
        Line { name: "offered", class: "b", points: over_time(m, |moment| moment.offered_per_s) },
        Line { name: "done", class: "a", points: over_time(m, |moment| moment.ended_per_s) },
    ];
    let most = drawn.iter().flat_map(|line| line.points.iter().map(|point| point.1)).fold(1.0, f64::max);
    page.push_str(&lines("Rate over time", &seconds(m), &Axis::linear("messages/s", 0.0, most), &drawn, warm_up(m)));
}

fn cost_over_time(page: &mut String, m: &Measured) {
    let drawn = [Line { name: "router cores", class: "a", points: over_time(m, |moment| moment.router_cores) }];
    let most = drawn.iter().flat_map(|line| line.points.iter().map(|point| point.1)).fold(0.1, f64::max);
    page.push_str(&lines("Router CPU over time", &seconds(m), &Axis::linear("cores", 0.0, most), &drawn, warm_up(m)));
    let fill = [Line { name: "entries of a bundle", class: "a", points: over_time(m, |moment| moment.bundle_fill) }];
    // Nothing was sent in a moment without bundles.
    let fill =
        fill.map(|line| Line { points: line.points.into_iter().filter(|point| point.1 > 0.0).collect(), ..line });
    let most = fill.iter().flat_map(|line| line.points.iter().map(|point| point.1)).fold(1.0, f64::max);
    page.push_str(&lines("Bundle fill over time", &seconds(m), &Axis::linear("entries", 0.0, most), &fill, warm_up(m)));
}

fn stages(page: &mut String, stages: &[Stage]) -> std::fmt::Result {
    let total: f64 = stages.iter().map(|stage| stage.us).sum();
    if stages.is_empty() || total <= 0.0 {
        return Ok(());
    }
    write!(page, "<section><h2>Stages of the mean latency, {}</h2><div class=\"stages\">", shown_us(total))?;
    for stage in stages {
        let share = 100.0 * stage.us / total;
        let name = if share >= 7.0 { stage.name } else { "" };
        write!(page, "<i class=\"s-{}\" style=\"width:{share:.2}%\" title=\"{}\">{name}</i>", stage.name, stage.name)?;
    }
    page.push_str(
        "</div><table><tr><th>stage</th><th class=\"n\">time</th><th class=\"n\">share</th><th>what it is</th></tr>",
    );
    for stage in stages {
        write!(
            page,
            "<tr><td><i class=\"key s-{}\"></i>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.0} %</td><td>{}</td></tr>",
            stage.name,
            stage.name,
            shown_us(stage.us),
            100.0 * stage.us / total,
            escaped(&stage.definition)
        )?;
    }
    page.push_str("</table></section>\n");
    Ok(())
}

fn tables(page: &mut String, m: &Measured) -> std::fmt::Result {
    let counts = &m.outcomes.counts;
    let mut outcomes = vec![
        ("intended", shown_count(m.outcomes.intended)),
        ("started", shown_count(counts.started)),
        ("delivered, receipt verified", shown_count(counts.delivered)),
        ("rejected, receipt verified", shown_count(counts.rejected)),
        ("refused", shown_count(counts.refused)),
        ("undecided", shown_count(counts.undecided)),
        ("expired", shown_count(counts.expired)),
        ("in custody", shown_count(counts.custody)),
        ("otherwise: damaged, returned, discarded", shown_count(counts.other)),
        ("not taken by the library", shown_count(counts.not_taken)),
        ("lost: without any outcome", shown_count(m.outcomes.lost)),
        ("of these never started", shown_count(m.outcomes.not_started)),
    ];
    if let Some(duplicates) = m.outcomes.duplicates {
        outcomes.push(("handed over twice", shown_count(duplicates)));
    }
    if let Some(bad) = &m.bad_signatures {
        outcomes
            .push(("broken signatures refused", format!("{} of {}", shown_count(bad.refused), shown_count(bad.sent))));
    }
    if let Some(storms) = &m.reconnects {
        outcomes.push(("storms of links", format!("{} × {} links", storms.storms, storms.links)));
        outcomes.push(("all attached again, worst", format!("{} ms", shown_count(storms.worst_ms))));
        outcomes.push(("links that did not come back", shown_count(storms.missed)));
    }
    page.push_str("<section class=\"pair\">");
    table(page, "Outcomes", &outcomes)?;
    let checks = &m.checks;
    let yes = |value: Option<bool>| value.map_or("not asked", |yes| if yes { "yes" } else { "NO" }).to_owned();
    table(
        page,
        "Checked",
        &[
            ("messages, each with one outcome", shown_count(checks.messages)),
            (
                "receipts verified by the library",
                format!("{} of {}", shown_count(checks.receipts_verified), shown_count(checks.receipts_due)),
            ),
            (
                "of these again, offline",
                format!("{} ({:.2} %)", shown_count(checks.receipts_rechecked), 100.0 * checks.recheck_share),
            ),
            ("the sink saw the same messages", yes(checks.sink_agrees)),
            ("ledgers balance", yes(checks.ledgers_balance)),
            ("started late by, p99 (there was room)", shown_us(float(m.generator.late_us.p99))),
            ("waited for room", format!("{:.2} %", 100.0 * m.generator.held_back)),
            ("source, sink", format!("{:.2}, {:.2} cores", m.generator.source_cores, m.generator.sink_cores)),
            (
                "machine idle",
                format!("{:.0} % of {} cores", 100.0 * m.generator.machine_idle, m.generator.machine_cores),
            ),
        ],
    )?;
    page.push_str("</section><section class=\"pair\">");
    let asked = &m.asked;
    let signatures = if asked.self_contained { asked.algorithms.join(", ") } else { "not known".to_owned() };
    let on_links = |count: usize, links: usize| {
        if asked.self_contained { format!("{count}, {links}") } else { format!("{count}, not known") }
    };
    table(
        page,
        "Asked",
        &[
            ("senders, on links", on_links(asked.senders, asked.sender_links)),
            ("recipients, on links", on_links(asked.recipients, asked.recipient_links)),
            ("routers", asked.routers.to_string()),
            ("signatures", signatures),
            ("payload, mean", shown_bytes(asked.payload_mean_bytes)),
            ("under way at most", shown_count(asked.in_flight as u64)),
            ("measured, after warm-up", format!("{} s, {} s", asked.duration_s, asked.warm_up_s)),
            ("the sink's journal", asked.journal.to_owned()),
        ],
    )?;
    let mut links = Vec::new();
    for (name, link) in [
        ("sender's link", m.links.sender),
        ("between routers", m.links.between_routers),
        ("recipient's link", m.links.recipient),
    ] {
        if let Some(link) = link {
            links.push((
                name,
                format!(
                    "{:.0} → router, {:.0} ← router; {:.0} beyond {:.0}",
                    link.to_router_per_message,
                    link.from_router_per_message,
                    link.overhead_per_message,
                    link.payload_per_message
                ),
            ));
        }
    }
    table(page, "UDP payload bytes a message", &links)?;
    page.push_str("</section>\n");
    routers(page, m)
}

fn routers(page: &mut String, m: &Measured) -> std::fmt::Result {
    page.push_str("<section><h2>Routers</h2><div class=\"wide\"><table><tr><th>router</th><th class=\"n\">CPU a message</th><th class=\"n\">cores</th><th class=\"n\">checks a message</th><th class=\"n\">resident</th><th class=\"n\">peak</th><th class=\"n\">routes</th><th>busiest threads</th></tr>");
    let shown = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    for router in &m.routers {
        let threads: Vec<_> = router
            .threads
            .iter()
            .take(3)
            .map(|(name, share)| format!("{} {:.0} %", escaped(name), share * 100.0))
            .collect();
        write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            escaped(&router.name),
            shown(router.cpu_us_per_message.map(|us| format!("{us:.2} µs"))),
            shown(router.cpu_cores.map(|cores| format!("{cores:.2}"))),
            shown(router.signature_checks_per_message.map(|checks| format!("{checks:.4}"))),
            shown(router.resident_bytes.map(|bytes| shown_bytes(float(bytes)))),
            shown(router.peak_bytes.map(|bytes| shown_bytes(float(bytes)))),
            shown(router.routes.map(shown_count)),
            threads.join(", ")
        )?;
    }
    page.push_str("</table></div></section>\n");
    Ok(())
}

fn table(page: &mut String, title: &str, rows: &[(&str, String)]) -> std::fmt::Result {
    write!(page, "<div><h2>{title}</h2><table>")?;
    for (name, value) in rows {
        write!(page, "<tr><td>{}</td><td class=\"n\">{}</td></tr>", escaped(name), escaped(value))?;
    }
    page.push_str("</table></div>");
    Ok(())
}

/// Text that is safe in a page.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::measured;

    #[test]
    fn the_page_holds_everything_and_asks_for_nothing() {
        let page = page(&measured());
        for part in [
            "Latency by percentile",
            "Latency over time",
            "Rate over time",
            "Router CPU over time",
            "Bundle fill over time",
            "Stages",
            "Routers",
            "prefers-color-scheme",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for stage in ["sign", "wire", "route", "verify", "wait", "settle"] {
            assert!(page.contains(&format!("<i class=\"key s-{stage}\"></i>{stage}</td>")), "{stage}");
            assert!(STYLE.contains(&format!(".s-{stage}{{")), "{stage} has no colour");
        }
        for wrong in ["http:", "https:", "<script", "@import", "url("] {
            assert!(!page.contains(wrong), "{wrong} in the page");
        }
    }

    #[test]
    fn every_outcome_has_its_row() {
        let mut measured = measured();
        let counts = &mut measured.outcomes.counts;
        (counts.refused, counts.undecided, counts.expired) = (101, 102, 103);
        (counts.custody, counts.other, counts.not_taken) = (104, 105, 106);
        (measured.outcomes.lost, measured.outcomes.not_started) = (108, 107);
        let page = page(&measured);
        for count in 101..=108 {
            assert!(page.contains(&format!("<td class=\"n\">{count}</td>")), "{count} is missing");
        }
        assert!(page.contains("107 of 10000 intended messages were never started"));
    }

    #[test]
    fn a_generator_bound_page_begins_with_a_banner_and_calls_no_objective_met() {
        let mut measured = measured();
        assert!(!page(&measured).contains("class=\"banner\""));
        (measured.exit_status, measured.valid) = (2, false);
        let page = page(&measured);
        let banner = page.find("class=\"banner\"").unwrap();
        assert!(banner < page.find("<h1>").unwrap() && page.contains("class=\"void\""));
        assert!(!page.contains(">met<") && !page.contains("objectives met"), "{page}");
    }

    #[test]
    fn what_a_scenario_says_of_itself_is_escaped() {
        let mut measured = measured();
        measured.asked.scenario = "<b onload=\"x\">".to_owned();
        let page = page(&measured);
        assert!(!page.contains("<b onload") && page.contains("&lt;b onload=&quot;x&quot;&gt;"));
    }

    #[test]
    fn a_run_without_a_single_outcome_still_gives_a_page() {
        let mut measured = measured();
        measured.series.clear();
        measured.percentiles.clear();
        measured.stages.clear();
        let page = page(&measured);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
