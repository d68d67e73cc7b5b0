//! What came of it, for people and for programs.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::measured::Measured;

pub mod hgrm;
pub mod html;
pub mod text;

/// Writes the JSON form.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, measured: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(measured)?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Prints a run for people.
pub fn print(measured: &Measured) {
    say(&text::page(measured));
}

/// Prints a line. Whoever closed standard output does not want it; files are written all the same.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::accounting::Counts;
    use crate::bottleneck::{Limit, Verdict};
    use crate::latencies::{Latencies, Summary};
    use crate::measured::*;
    use crate::slo::Slo;

    /// A run as it could have been.
    pub(crate) fn measured() -> Measured {
        let mut latencies = Latencies::new();
        (1..=10_000_u64).for_each(|number| latencies.record(300 + number * number / 20_000));
        let counts = Counts { started: 10_000, delivered: 9_990, rejected: 10, ..Counts::default() };
        let mut measured = Measured {
            format: FORMAT,
            version: "0.1.0",
            began: "2026-01-01T00:00:00Z".to_owned(),
            asked: Asked {
                scenario: "baseline".to_owned(),
                about: "A steady load.".to_owned(),
                senders: 1,
                recipients: 4,
                sender_links: 1,
                recipient_links: 1,
                routers: 1,
                self_contained: true,
                algorithms: vec!["ESP256".to_owned()],
                shape: "steady",
                payload_mean_bytes: 1_024.0,
                in_flight: 4_096,
                duration_s: 10.0,
                warm_up_s: 2.0,
                recheck_per_s: 50,
                seed: 1,
                journal: "disk",
            },
            rate: Rate { offered_per_s: 1_000.0, achieved_per_s: 999.0 },
            outcomes: Outcomes {
                counts,
                intended: 10_000,
                lost: 0,
                not_started: 0,
                duplicates: Some(0),
                attempts: 12_000,
                resends: 0,
                codes: BTreeMap::new(),
            },
            latency_us: latencies.summary(),
            others_us: None,
            latency_deviation_us: latencies.deviation(),
            service_us: latencies.summary(),
            one_way_us: Some(Summary { count: 10_000, p99: 2_000, ..Summary::default() }),
            bundle_fill: Fill { sent: 12.5, sent_entries: 10_000, forwarded: Some(11.0), receipts: Some(10.0) },
            routers: vec![Router {
                name: "de/router/a".to_owned(),
                cpu_us_per_message: Some(4.2),
                cpu_cores: Some(0.31),
                threads: vec![("kp-worker-0".to_owned(), 0.3)],
                resident_bytes: Some(20 << 20),
                ..Router::default()
            }],
            all_routers: AllRouters { cpu_us_per_message: Some(4.2), ..AllRouters::default() },
            links: Links::default(),
            generator: Generator { machine_cores: 2, machine_idle: 0.4, ..Generator::default() },
            checks: Checks {
                messages: 12_000,
                receipts_due: 12_000,
                receipts_verified: 12_000,
                recheck_asked: true,
                receipts_rechecked: 500,
                ledgers_balance: Some(true),
                sink_duplicates: Some(0),
                ..Checks::default()
            },
            bad_signatures: None,
            reconnects: None,
            stages: [
                ("sign", 20.0),
                ("wire", 50.0),
                ("route", 90.0),
                ("verify", 60.0),
                ("wait", 40.0),
                ("settle", 300.0),
            ]
            .map(|(name, us)| Stage { name, us, definition: format!("What {name} is."), measured: name != "wait" })
            .to_vec(),
            series: (1..60)
                .map(|number| Moment {
                    at_s: f64::from(number) / 5.0,
                    offered_per_s: 1_000.0,
                    ended_per_s: 990.0,
                    p50_us: 300,
                    p99_us: 5_000,
                    max_us: 9_000,
                    bundle_fill: 12.0,
                    router_cores: 0.3,
                    open: 3,
                })
                .collect(),
            percentiles: latencies.percentiles(),
            slo: Vec::new(),
            limited: Verdict { limit: Limit::Offered, why: Vec::new() },
            valid: true,
            exit_status: 0,
        };
        measured.slo = "p99<50ms,lost=0".parse::<Slo>().unwrap().judge(&measured.values());
        measured
    }

    #[test]
    fn every_result_names_senders_recipients_and_bundle_fill() {
        let page = text::page(&measured());
        for part in
            ["MET.", "1 sender, 4 recipients, 1 router", "mean bundle fill 12.5", "999/s of 1000/s", "ledgers balance"]
        {
            assert!(page.contains(part), "{part} is missing:\n{page}");
        }
    }

    #[test]
    fn a_generator_bound_run_says_so_before_any_number() {
        let mut measured = measured();
        (measured.exit_status, measured.valid) = (2, false);
        measured.limited = Verdict { limit: Limit::Generator, why: vec!["thread x is saturated".to_owned()] };
        let page = text::page(&measured);
        assert!(page.trim_start().starts_with("GENERATOR-BOUND"), "{page}");
        assert!(page.contains("thread x is saturated") && !page.contains("  met "), "{page}");
        assert!(hgrm::page(&measured).contains("#[GENERATOR-BOUND"));
        assert_eq!(serde_json::to_value(measured).unwrap()["valid"], false);
    }

    #[test]
    fn a_failed_check_beside_a_slow_generator_is_told_with_both() {
        let mut measured = measured();
        (measured.exit_status, measured.valid) = (1, false);
        measured.checks.open = 5;
        let page = text::page(&measured);
        assert!(page.trim_start().starts_with("GENERATOR-BOUND"), "{page}");
        assert!(page.contains("FAILED  5 messages without an outcome"), "{page}");
    }

    #[test]
    fn every_outcome_is_told() {
        let mut measured = measured();
        let counts = &mut measured.outcomes.counts;
        (counts.refused, counts.undecided, counts.expired) = (101, 102, 103);
        (counts.custody, counts.other, counts.not_taken) = (104, 105, 106);
        (measured.outcomes.lost, measured.outcomes.not_started) = (108, 107);
        let page = text::page(&measured);
        for count in 101..=108 {
            assert!(page.contains(&format!(" {count} ")), "{count} is missing:\n{page}");
        }
        assert!(page.contains("FAILED  107 of 10000 intended messages were never started"), "{page}");
    }

    #[test]
    fn a_failed_check_is_told_and_a_missed_objective_too() {
        let mut measured = measured();
        measured.checks.sink_duplicates = Some(3);
        measured.exit_status = 1;
        measured.slo = "p99<1us".parse::<Slo>().unwrap().judge(&measured.values());
        let page = text::page(&measured);
        assert!(page.contains("FAILED  messages were handed over twice") && page.contains("MISSED  p99"), "{page}");
    }

    #[test]
    fn json_has_its_format_and_units_in_its_names() {
        let json = serde_json::to_value(measured()).unwrap();
        assert_eq!(json["format"], 1);
        assert_eq!(json["outcomes"]["delivered"], 9_990);
        assert_eq!(json["routers"][0]["cpu_us_per_message"], 4.2);
        assert_eq!(json["limited"]["limit"], "offered");
        assert!(json["latency_us"]["p99"].as_u64().unwrap() > 300);
    }

    #[test]
    fn the_percentile_file_ends_with_everything() {
        let page = hgrm::page(&measured());
        assert!(page.contains("1.000000000000      10000"), "{page}");
        assert!(page.trim_end().ends_with(']'));
        assert!(page.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)"));
    }
}
