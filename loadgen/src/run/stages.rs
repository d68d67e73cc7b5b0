//! Where does the time of a message go? Five stages that add up to the mean latency from start to verified receipt.
//!
//! Measured: the whole, and the moment at which the sink has the message. The router reports the smoothed round trip of
//! its links. The cost of signing and of checking a signature is measured on this machine, now, by doing both; how often
//! each happens is counted. The rest follows by subtraction, and every definition says so.

use std::time::{Duration, Instant};

use kernpost_codecs::SigningKey;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::key::Algorithm;
use kernpost_codecs::root::sign_root;

use crate::layout::Part;
use crate::measured::{Measured, Stage};
use crate::metrics_page::Page;
use crate::scenario::Scenario;

/// How long each cost is measured.
const MEASURED_FOR: Duration = Duration::from_millis(30);

pub(super) fn of(measured: &Measured, scenario: &Scenario, pages: &[Option<Page>]) -> Vec<Stage> {
    let Some(one_way) = &measured.one_way_us else { return Vec::new() };
    if measured.latency_us.count == 0 || one_way.count == 0 {
        return Vec::new();
    }
    let (sign_us, check_us) = costs(&scenario.network.algorithms);
    let routers = measured.routers.len().max(1);
    // A message waits for the one signature of its bundle, not for its share of it.
    let sign = sign_us;
    let wire = wire(pages).min(one_way.mean);
    // Once at every router and once at the recipient, and a digest each time.
    let places = count(routers + 1);
    let verify = places * check_us;
    let route = (one_way.mean - sign - wire - verify).max(0.0);
    let settle = (measured.latency_us.mean - one_way.mean).max(0.0);
    let stage = |name, us, measured, definition: String| Stage { name, us, definition, measured };
    vec![
        stage(
            "sign",
            sign,
            false,
            format!("Derived: the one signature of a message's bundle, {sign_us:.0} µs, measured by itself on this machine after the run."),
        ),
        stage(
            "wire",
            wire,
            false,
            "Derived: half of the smoothed round trip that the routers report, for every link on the way to the recipient."
                .to_owned(),
        ),
        stage(
            "route",
            route,
            false,
            "Derived by subtraction: from the intended start until the sink had the message, less sign, wire and verify. It holds the time in the sender's outbox, the routers' lookup, splitting and queues, and the hand-over to the sink."
                .to_owned(),
        ),
        stage(
            "verify",
            verify,
            false,
            format!("Derived: one check of the root signature, {check_us:.0} µs, measured by itself, at each of {routers} router(s) and at the recipient. Roots checked before cost less than this."),
        ),
        stage(
            "settle",
            settle,
            true,
            "Measured, as a difference of means: from the hand-over to the sink until the sender had verified the receipt. It holds the journal's group commit, the receipt's signature, the way back and its verification."
                .to_owned(),
        ),
    ]
}

/// Half a round trip for each link on the way, µs.
fn wire(pages: &[Option<Page>]) -> f64 {
    let half = |number: usize, part: &str| {
        let page = pages.get(number).and_then(Option::as_ref)?;
        let at = |labels: &std::collections::BTreeMap<String, String>| {
            labels.get("peer").is_some_and(|peer| peer.contains(part))
        };
        page.largest("kernpost_quic_rtt_seconds", at).map(|seconds| seconds * 1e6 / 2.0)
    };
    let last = pages.len().saturating_sub(1);
    let between = if last > 0 { half(0, "router/") } else { None };
    [half(0, Part::Sender.prefix()), between, half(last, Part::Recipient.prefix())].into_iter().flatten().sum()
}

/// What signing and checking a root cost with the first algorithm asked for, µs.
fn costs(algorithms: &[Vec<Algorithm>]) -> (f64, f64) {
    let required = algorithms.first().map_or(&[Algorithm::Esp256][..], Vec::as_slice);
    let root = Digest::of(b"a root");
    let (mut sign_us, mut check_us) = (0.0, 0.0);
    for algorithm in required {
        let Ok(key) = SigningKey::generate(*algorithm) else { continue };
        let Ok(signature) = sign_root(&key, &root) else { continue };
        sign_us += repeated(|| sign_root(&key, &root).is_ok());
        check_us += repeated(|| signature.verify(key.public(), &root).is_ok());
    }
    (sign_us, check_us)
}

/// The fastest of many calls, µs: what it costs when nobody else takes the CPU.
fn repeated(mut call: impl FnMut() -> bool) -> f64 {
    let (began, mut fastest) = (Instant::now(), MEASURED_FOR);
    while began.elapsed() < MEASURED_FOR {
        let call_began = Instant::now();
        std::hint::black_box(call());
        fastest = fastest.min(call_began.elapsed());
    }
    fastest.as_secs_f64() * 1e6
}

fn count(number: usize) -> f64 {
    crate::measured::float(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_and_checking_take_some_time_but_not_long() {
        for required in [vec![Algorithm::Esp256], vec![Algorithm::Esp256, Algorithm::Ed25519]] {
            let (sign_us, check_us) = costs(&[required]);
            assert!(sign_us > 1.0 && check_us > 1.0 && sign_us + check_us < 1e6, "{sign_us} {check_us}");
        }
    }

    #[test]
    fn the_wire_is_half_of_each_links_round_trip() {
        let page = "kernpost_quic_rtt_seconds{peer=\"uri:spiffe://x/site/senders-0\",link=\"1\"} 0.0002\nkernpost_quic_rtt_seconds{peer=\"uri:spiffe://x/site/recipients-0\",link=\"2\"} 0.0004\n";
        let us = wire(&[Some(Page::parse(page))]);
        assert!((us - 300.0).abs() < 1e-6, "{us}");
        assert!(wire(&[None]).abs() < 1e-9);
    }
}
