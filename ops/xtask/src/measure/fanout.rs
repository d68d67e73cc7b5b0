//! What does a message cost when bundles do not help? 20 senders, 1,000 recipients at random.
//!
//! Every message goes to another recipient than its neighbours, so parts have one entry or two: each carries the root's
//! signature and a path of siblings, and each receipt comes alone. Compared with the formula of `ops/PERFORMANCE.md`.

use anyhow::{Context, Result};

use super::load;
use super::ratio::STATEMENT;
use super::{Limit, Measure, Reading};
use crate::workspace::Programs;

pub(super) const MEASURE: Measure = Measure {
    name: "ratio-fanout",
    what: "1 KiB, 20 senders, 1,000 recipients at random: CPU, signature checks and bytes against relay and formula",
    run,
};

const PAYLOAD: u32 = 1_024;
const RATE: u64 = 3_000;
const RUNS: usize = 10;
const SHORT_RUNS: usize = 1;

/// The cost formula: `ops/PERFORMANCE.md`, "What a message costs".
mod formula {
    /// Bytes of a message's statement and entry head.
    const STATEMENT: f64 = 185.0;
    /// Bytes of a part's head: signature, protected header, counts, frame header.
    const PART_HEAD: f64 = 170.0;
    /// Bytes of a RECEIPTS frame without its entries: issuer, version, time, part head.
    const RECEIPTS_HEAD: f64 = 240.0;
    /// Bytes of one receipt.
    const RECEIPT: f64 = 9.0;
    /// Bytes of one sibling hash.
    const SIBLING: f64 = 32.0;
    /// Share that QUIC adds: headers, tags, acknowledgements.
    const QUIC: f64 = 1.05;

    /// Siblings a part needs that keeps `kept` of the `signed` leaves of a tree: a path to each run of entries that stays
    /// together, as deep as the tree is larger than the part.
    fn siblings(signed: f64, kept: f64) -> f64 {
        if kept >= signed { 0.0 } else { (signed / kept).log2().max(1.0) * kept.min(signed / kept) }
    }

    /// Signature checks a message: one for each part that arrives from senders; receipts pass unverified.
    pub fn signature_checks(sent: f64) -> f64 {
        1.0 / sent
    }

    /// UDP payload bytes of one message beyond its payload on a recipient's link, both directions.
    pub fn recipient_bytes(sent: f64, handed_on: f64, receipts: f64) -> f64 {
        let down = STATEMENT + (PART_HEAD + SIBLING * siblings(sent, handed_on)) / handed_on;
        let up = RECEIPT + RECEIPTS_HEAD / receipts;
        (down + up) * QUIC + PACKETS / handed_on
    }

    /// Bytes of packets that carry little: one each way for a part that travels alone.
    const PACKETS: f64 = 90.0;

    /// Router CPU of one message, µs: a relay of as many bytes at its best, parsing, hashing and bookkeeping, the digest of the
    /// payload, its share of a signature check, of a part and of a RECEIPTS frame.
    pub fn cpu_us(relay_at_its_best: f64, sent: f64, handed_on: f64, receipts: f64) -> f64 {
        relay_at_its_best + 2.0 + DIGEST_US + CHECK_US / sent + FRAME_US / handed_on + FRAME_US / receipts
    }

    /// Digest of 1 KiB.
    const DIGEST_US: f64 = 0.8;
    /// An ESP256 check.
    const CHECK_US: f64 = 64.0;
    /// A frame in packets of its own: waking up, system calls, encryption, acknowledgement.
    const FRAME_US: f64 = 70.0;
}

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let (payload, rate) = (format!("{PAYLOAD}B"), format!("{RATE}/s"));
    let arguments = [
        "--senders",
        "20",
        "--sender-links",
        "20",
        "--recipients",
        "1000",
        "--recipient-links",
        "1000",
        "--rate",
        &rate,
        "--payload",
        &payload,
        "--duration",
        "3s",
        "--warm-up",
        "2s",
        "--router-set",
        "router.workers=1",
        "--router-set",
        "limits.links=2048",
    ];
    let [
        mut floor,
        mut cpu,
        mut ratio,
        mut checks,
        mut bytes,
        mut against,
        mut checks_read,
        mut bytes_read,
        mut sent_bytes,
    ] = [const { Vec::new() }; 9];
    let mut shape = String::new();
    for _ in 0..if short { SHORT_RUNS } else { RUNS } {
        let best = load::relay(&programs, PAYLOAD + STATEMENT, 4, 0, 3)?;
        let relay = load::relay(&programs, PAYLOAD + STATEMENT, 4, RATE, 3)?;
        let load = load::load(&programs, &arguments)?;
        let router = load.routers.first().context("no router in the result")?;
        let us = load.router_us()?;
        let sent = load.bundle_fill.sent;
        let handed_on = load.bundle_fill.forwarded.context("the router does not say how full its bundles are")?;
        let receipts = load.bundle_fill.receipts.context("the sink does not say how full its frames are")?;
        let checked = router.signature_checks_per_message.context("no signature checks in the result")?;
        let overhead = load.links.recipient.as_ref().context("no bytes in the result")?.overhead_per_message;
        floor.push(relay.cpu_us);
        cpu.push(us);
        ratio.push(us / relay.cpu_us);
        checks_read.push(checked);
        bytes_read.push(overhead);
        sent_bytes.push(load.links.sender.as_ref().context("no bytes in the result")?.overhead_per_message);
        checks.push(checked / formula::signature_checks(sent));
        bytes.push(overhead / formula::recipient_bytes(sent, handed_on, receipts));
        against.push(us / formula::cpu_us(best.cpu_us, sent, handed_on, receipts));
        shape = load.shape();
    }
    let judged = |limit: f64| (!short).then_some(Limit::AtMost(limit));
    let mut readings = Vec::new();
    let mut add = |what: String, values: &[f64], unit, limit| -> Result<()> {
        readings.push(load::reading(what, values, unit, limit)?.of(&shape));
        Ok(())
    };
    add(format!("router / relay at {RATE} messages/s"), &ratio, "×", judged(8.0))?;
    add("router".to_owned(), &cpu, "µs CPU", None)?;
    add("relay".to_owned(), &floor, "µs CPU", None)?;
    add("signature checks a message".to_owned(), &checks_read, "checks", None)?;
    add("beyond the payload on the recipient's link".to_owned(), &bytes_read, "bytes a message", None)?;
    add("beyond the payload on the sender's link".to_owned(), &sent_bytes, "bytes a message", None)?;
    for (what, values) in [("CPU", &against), ("signature checks", &checks), ("bytes on the recipient's link", &bytes)]
    {
        let off: Vec<f64> = values.iter().map(|ratio| (ratio - 1.0).abs() * 100.0).collect();
        add(format!("{what}, measured / formula"), values, "×", None)?;
        add(format!("{what}, off the formula by"), &off, "%", judged(25.0))?;
    }
    Ok(readings)
}
