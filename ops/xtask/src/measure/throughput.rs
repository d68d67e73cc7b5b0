//! How many messages a second pass when source, router and sink share two cores, and how long do they take at half of it?

use anyhow::Result;

use super::load::{self, Load};
use super::ratio::LINKS;
use super::{Limit, Measure, Reading};
use crate::workspace::Programs;

pub(super) const THROUGHPUT: Measure = Measure {
    name: "throughput-1k",
    what: "1 KiB messages a second; source, router and sink on these cores, 4 recipients, journal with group fsync",
    run: throughput,
};

pub(super) const LATENCY_HALF: Measure = Measure {
    name: "latency-half",
    what: "latency at half the highest rate just measured, 1 KiB, 1 sender, 4 recipients, one router",
    run: latency_half,
};

pub(super) const LATENCY_IDLE: Measure = Measure {
    name: "latency-idle",
    what: "latency of single messages on an idle network: 20 a second, 1 KiB, one router, journal with fsync",
    run: latency_idle,
};

const RUNS: usize = 10;
const SHORT_RUNS: usize = 1;

fn saturated(programs: &Programs) -> Result<Load> {
    load::load(programs, &[&LINKS[..], &["--payload", "1KiB", "--max"]].concat())
}

fn throughput(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let (mut rates, mut shape) = (Vec::new(), String::new());
    for _ in 0..if short { SHORT_RUNS } else { RUNS } {
        let load = saturated(&programs)?;
        rates.push(load.rate.achieved_per_s);
        shape = load.shape();
    }
    let limit = (!short).then_some(Limit::AtLeast(120_000.0));
    Ok(vec![load::reading("delivered", &rates, "messages/s", limit)?.of(&shape)])
}

fn latency_half(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let (mut p50, mut p99, mut rates, mut shape) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    for _ in 0..if short { SHORT_RUNS } else { RUNS } {
        let half = saturated(&programs)?.rate.achieved_per_s / 2.0;
        let rate = format!("{half:.0}/s");
        let load = load::unhindered(&programs, &[&LINKS[..], &["--payload", "1KiB", "--rate", &rate]].concat())?;
        rates.push(half);
        p50.push(load.latency_us.p50 / 1_000.0);
        p99.push(load.latency_us.p99 / 1_000.0);
        shape = load.shape();
    }
    let mut readings = Vec::new();
    for (what, values, unit, limit) in [
        ("offered", &rates, "messages/s", None),
        ("p50 from the intended start", &p50, "ms", None),
        ("p99 from the intended start", &p99, "ms", Some(Limit::AtMost(5.0))),
    ] {
        readings.push(load::reading(what, values, unit, limit.filter(|_| !short))?.of(&shape));
    }
    Ok(readings)
}

fn latency_idle(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let [mut p50, mut p99, mut started_p50, mut started_p99] = [const { Vec::new() }; 4];
    let mut shape = String::new();
    for _ in 0..if short { SHORT_RUNS } else { RUNS } {
        let arguments = ["--payload", "1KiB", "--rate", "20/s", "--duration", "10s"];
        let load = load::unhindered(&programs, &[&LINKS[..8], &arguments, &["--warm-up", "2s"]].concat())?;
        p50.push(load.latency_us.p50 / 1_000.0);
        p99.push(load.latency_us.p99 / 1_000.0);
        started_p50.push(load.service_us.p50 / 1_000.0);
        started_p99.push(load.service_us.p99 / 1_000.0);
        shape = load.shape();
    }
    let mut readings = Vec::new();
    for (what, values, limit) in [
        ("p50 from the intended start", &p50, Some(0.6)),
        ("p99 from the intended start", &p99, Some(2.0)),
        ("p50 from the real start", &started_p50, None),
        ("p99 from the real start", &started_p99, None),
    ] {
        let limit = limit.filter(|_| !short).map(Limit::AtMost);
        readings.push(load::reading(what, values, "ms", limit)?.of(&shape));
    }
    Ok(readings)
}
