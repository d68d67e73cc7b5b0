//! Where does the time of a message go? Six stages that add up to the mean latency from the intended start to the verified
//! receipt.
//!
//! Measured are the turns in which a message is dealt with, at the sender, at every router and at the recipient: how long
//! each takes, by message, because everything in a turn leaves it together. So are the whole and the moment at which the
//! sink has the message. The routers report the smoothed round trips of their links. What is left is waiting. Every definition
//! says which of these it is.

use crate::layout::Part;
use crate::measured::{Measured, Stage};
use crate::metrics_page::Page;
use crate::talk::{SinkResult, SourceResult};

/// `pages`: those of the routers, at the beginning of the measured time and at its end.
pub(super) fn of(
    measured: &Measured,
    source: &SourceResult,
    sink: Option<&SinkResult>,
    [before, after]: [&[Option<Page>]; 2],
) -> Vec<Stage> {
    let (Some(one_way), Some(sink)) = (&measured.one_way_us, sink) else { return Vec::new() };
    if measured.latency_us.count == 0 || one_way.count == 0 {
        return Vec::new();
    }
    let wire = wire(after).min(one_way.mean);
    let route = turns(before, after);
    let dealt_with = source.sealing_us + wire + route.unwrap_or_default() + sink.judging_us;
    let wait = (one_way.mean - dealt_with).max(0.0);
    let settle = (measured.latency_us.mean - one_way.mean).max(0.0);
    let routers = measured.routers.len();
    let stage = |name, us, measured, definition: &str| Stage { name, us, definition: definition.to_owned(), measured };
    vec![
        stage(
            "sign",
            source.sealing_us,
            true,
            "Measured at the sender, mean by message since the warm-up: the turn of the library that hashes, signs and lays out the bundle. A message waits for the last bundle of its turn.",
        ),
        stage(
            "wire",
            wire,
            false,
            "Derived: half of the smoothed round trip that the routers report, for every link on the way to the recipient.",
        ),
        stage(
            "route",
            route.unwrap_or_default(),
            route.is_some(),
            &match route {
                Some(_) => format!(
                    "Measured at {routers} router(s), mean by message over the measured time, added up: the turn from a read off a link until everything it brought was decoded, checked, looked up, split and handed to the transport. Checks of signatures at routers are in here."
                ),
                None => "Not known: the routers' metrics were not read. It is part of wait.".to_owned(),
            },
        ),
        stage(
            "verify",
            sink.judging_us,
            true,
            "Measured at the recipient, mean by message since the warm-up: the turn of the library that decodes what one read brought and checks signatures, proofs and digests.",
        ),
        stage(
            "wait",
            wait,
            false,
            "Derived by subtraction: from the intended start until the sink had the message, less sign, wire, route and verify. Waiting in the sender's outbox, in queues and buffers and for a CPU, looking up the journal, and the hand-over to the sink.",
        ),
        stage(
            "settle",
            settle,
            true,
            "Measured, as a difference of means: from the hand-over to the sink until the sender had verified the receipt. It holds the journal's group commit, the receipt's signature, the way back and its verification.",
        ),
    ]
}

/// What an entry was in the turns of the routers, one after the other, µs.
fn turns(before: &[Option<Page>], after: &[Option<Page>]) -> Option<f64> {
    let pages = before.iter().zip(after).map(|pages| Some((pages.0.as_ref()?, pages.1.as_ref()?)));
    let each = pages.map(|pages| {
        let (before, after) = pages?;
        let since = |name: &str| after.sum(name) - before.sum(name);
        let entries = since("kernpost_entries_received_total");
        (entries > 0.0).then(|| since("kernpost_entry_turn_seconds_total") * 1e6 / entries)
    });
    let each = each.collect::<Option<Vec<f64>>>()?;
    (!each.is_empty()).then(|| each.iter().sum())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routers_turns_are_added_up_by_entry() {
        let page = |seconds: f64, entries: u32| {
            let text = format!(
                "kernpost_entry_turn_seconds_total{{worker=\"0\"}} {seconds}\nkernpost_entries_received_total{{worker=\"0\"}} {entries}\n"
            );
            Some(Page::parse(&text))
        };
        let us = turns(&[page(1.0, 10), page(0.0, 0)], &[page(1.5, 1_010), page(0.25, 1_000)]);
        assert!(us.is_some_and(|us| (us - 750.0).abs() < 1e-6), "{us:?}");
        assert_eq!(turns(&[None], &[page(1.0, 1)]), None);
        assert_eq!(turns(&[], &[]), None);
    }

    #[test]
    fn the_wire_is_half_of_each_links_round_trip() {
        let page = "kernpost_quic_rtt_seconds{peer=\"uri:spiffe://x/site/senders-0\",link=\"1\"} 0.0002\nkernpost_quic_rtt_seconds{peer=\"uri:spiffe://x/site/recipients-0\",link=\"2\"} 0.0004\n";
        let us = wire(&[Some(Page::parse(page))]);
        assert!((us - 300.0).abs() < 1e-6, "{us}");
        assert!(wire(&[None]).abs() < 1e-9);
    }
}
