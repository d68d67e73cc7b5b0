//! What does a router add to a plain QUIC relay? CPU of one message, in interleaved pairs at the same offered load.
//!
//! Both sides move the same payloads between the same number of processes and connections. The relay's frames are 160 bytes
//! longer than the payload; nobody verifies, routes or answers there. The router checks every signature and every digest
//! and brings back signed receipts, which the sender checks.

use anyhow::Result;

use super::load::{self, Load};
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
    let (payload, rate) = (format!("{}B", case.payload), format!("{}/s", case.rate));
    let paced = ["--rate", &rate];
    let mut pairs = Pairs::default();
    let mut saturated = Pairs::default();
    let frame = case.payload + STATEMENT;
    for nth in 0..if short { PAIRS_SHORT } else { PAIRS } {
        let floor = load::relay(&programs, frame, 4, case.rate, 3)?;
        pairs.add(floor.cpu_us, load::load(&programs, &[&LINKS[..], &["--payload", &payload], &paced].concat())?)?;
        if nth >= SATURATED_PAIRS {
            continue;
        }
        let floor = load::relay(&programs, frame, 4, 0, 3)?;
        saturated
            .add(floor.cpu_us, load::load(&programs, &[&LINKS[..], &["--payload", &payload, "--max"]].concat())?)?;
    }
    let limit = (!short).then_some(Limit::AtMost(case.limit));
    let mut readings = pairs.readings(&format!("at {} messages/s", case.rate), limit)?;
    readings.extend(saturated.readings("as fast as each goes", None)?);
    Ok(readings)
}

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
    last: Option<Load>,
}

impl Pairs {
    fn add(&mut self, floor_us: f64, load: Load) -> Result<()> {
        let router_us = load.router_us()?;
        self.floor.push(floor_us);
        self.router.push(router_us);
        self.ratio.push(router_us / floor_us);
        self.rate.push(load.rate.achieved_per_s);
        self.last = Some(load);
        Ok(())
    }

    fn readings(&self, how: &str, limit: Option<Limit>) -> Result<Vec<Reading>> {
        let shape = self.last.as_ref().map(Load::shape).unwrap_or_default();
        Ok(vec![
            load::reading(format!("router / relay, {how}; {shape}"), &self.ratio, "×", limit)?,
            load::reading(format!("router, {how}"), &self.router, "µs CPU", None)?,
            load::reading(format!("relay, {how}"), &self.floor, "µs CPU", None)?,
            load::reading(format!("achieved, {how}"), &self.rate, "messages/s", None)?,
        ])
    }
}
