//! What does a router add to a plain QUIC relay? CPU of one message, in interleaved pairs at the same offered load.
//!
//! Both sides move the same payloads between the same number of processes and connections. The relay's frames are 160 bytes
//! longer than the payload; nobody verifies, routes or answers there. The router checks every signature and every digest
//! and brings back signed receipts, which the sender checks.

use anyhow::Result;

use super::load::{self, Load, Relay};
use super::{Limit, Measure, Reading};
use crate::workspace::Programs;

pub(super) const RATIO_256: Measure = Measure {
    name: "ratio-256",
    what: "router CPU of a 256 B message against the relay floor, 1 sender, 4 recipients, one router, 1 worker",
    run: |short| run(&Case { payload: 256, rate: 50_000, limit: 3.0 }, short),
};

pub(super) const RATIO_1K: Measure = Measure {
    name: "ratio-1k",
    what: "router CPU of a 1 KiB message against the relay floor, 1 sender, 4 recipients, one router, 1 worker",
    run: |short| run(&Case { payload: 1_024, rate: 40_000, limit: 2.0 }, short),
};

pub(super) const RATIO_64K: Measure = Measure {
    name: "ratio-64k",
    what: "router CPU of a 64 KiB message against the relay floor, 1 sender, 4 recipients, one router, 1 worker",
    run: |short| run(&Case { payload: 65_536, rate: 1_000, limit: 1.5 }, short),
};

struct Case {
    /// Bytes.
    payload: u32,
    /// Messages a second offered to both.
    rate: u64,
    limit: f64,
}

/// What a message is longer than its payload in the relay, bytes.
pub(super) const STATEMENT: u32 = 160;

const PAIRS: usize = 11;
const PAIRS_SHORT: usize = 1;
/// Pairs that are told beside those that are judged.
const SATURATED_PAIRS: usize = 3;

fn run(case: &Case, short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let payload = format!("{}B", case.payload);
    let router = |pace: &[&str]| load::load(&programs, &[&LINKS[..], &["--payload", &payload], pace].concat());
    let relay = |rate| load::relay(&programs, case.payload + STATEMENT, 4, rate, 3);
    // What this machine brings through the router with some room, so that both sides really move the same.
    let reached = router(&["--max"])?.rate.achieved_per_s * PART_OF_REACHED;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, far from both ends")]
    let rate = case.rate.min(reached as u64);
    let (offered, mut pairs, mut saturated) = (format!("{rate}/s"), Pairs::default(), Pairs::default());
    for nth in 0..if short { PAIRS_SHORT } else { PAIRS } {
        // Whoever comes first takes turns.
        let (floor, load) = if nth % 2 == 0 {
            let floor = relay(rate)?;
            (floor, router(&["--rate", &offered])?)
        } else {
            let load = router(&["--rate", &offered])?;
            (relay(rate)?, load)
        };
        pairs.add(&floor, load)?;
        if nth < SATURATED_PAIRS {
            saturated.add(&relay(0)?, router(&["--max"])?)?;
        }
    }
    let limit = (!short).then_some(Limit::AtMost(case.limit));
    let mut readings = pairs.readings(&format!("{rate} messages/s offered to both"), limit)?;
    readings.extend(saturated.readings("as fast as each goes", None)?);
    Ok(readings)
}

/// Part of the highest rate that is offered: less, and neither side would be sure to reach it.
const PART_OF_REACHED: f64 = 0.85;

/// One sender and four recipients, each on a link of its own, as the relay has it.
pub(super) const LINKS: [&str; 12] = [
    "--senders",
    "1",
    "--recipients",
    "4",
    "--recipient-links",
    "4",
    "--router-set",
    "router.workers=1",
    "--duration",
    "3s",
    "--warm-up",
    "2s",
];

/// Runs of the relay and of the router, side by side.
#[derive(Default)]
struct Pairs {
    floor: Vec<f64>,
    router: Vec<f64>,
    ratio: Vec<f64>,
    rate: Vec<f64>,
    floor_rate: Vec<f64>,
    last: Option<Load>,
}

impl Pairs {
    fn add(&mut self, floor: &Relay, load: Load) -> Result<()> {
        let router_us = load.router_us()?;
        self.floor.push(floor.cpu_us);
        self.router.push(router_us);
        self.ratio.push(router_us / floor.cpu_us);
        self.rate.push(load.rate.achieved_per_s);
        self.floor_rate.push(floor.rate);
        self.last = Some(load);
        Ok(())
    }

    fn readings(&self, how: &str, limit: Option<Limit>) -> Result<Vec<Reading>> {
        let shape = self.last.as_ref().map(Load::shape).unwrap_or_default();
        let rows = [
            ("router / relay", &self.ratio, "×", limit),
            ("router", &self.router, "µs CPU", None),
            ("relay", &self.floor, "µs CPU", None),
            ("reached through the router", &self.rate, "messages/s", None),
            ("reached through the relay", &self.floor_rate, "frames/s", None),
        ];
        let row = |(what, values, unit, limit): (&str, &Vec<f64>, _, _)| {
            Ok(load::reading(format!("{what}, {how}"), values, unit, limit)?.of(&shape))
        };
        rows.into_iter().map(row).collect()
    }
}
