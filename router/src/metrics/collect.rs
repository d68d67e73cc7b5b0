//! How do published snapshots become samples? One pass over everything an operator can see.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernpost_codecs::{Class, CloseCode, Code, UnixMs};
use kernpost_router_core::{ControlStatus, EngineStats, Ledger};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::custody::custody;
use super::families::{self as f, Family, Kind};
use crate::observed::{EndedBy, LinkSnapshot, Observed, WorkerSnapshot};

/// Samples being gathered, by family.
#[derive(Default)]
pub(super) struct Page(BTreeMap<&'static str, MetricFamily>);

impl Page {
    /// Adds a sample; `labels` are the values in the order of the family's names.
    pub(super) fn add(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        let pairs = family.labels.iter().zip(labels);
        let mut metric = Metric::from_label(pairs.map(|(name, value)| pair(name, value)).collect());
        match family.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        let slot = self.0.entry(family.name).or_insert_with(|| empty(family));
        slot.mut_metric().push(metric);
    }

    pub(super) fn count(&mut self, family: &'static Family, labels: &[&str], value: u64) {
        self.add(family, labels, float(value));
    }

    pub(super) fn flag(&mut self, family: &'static Family, labels: &[&str], value: bool) {
        self.add(family, labels, f64::from(u8::from(value)));
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn empty(family: &Family) -> MetricFamily {
    let mut empty = MetricFamily::default();
    empty.set_name(family.name.to_owned());
    empty.set_help(family.help.to_owned());
    empty.set_field_type(match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
    });
    empty
}

/// Prometheus knows only floats: exact up to 2^53, which no counter here reaches in centuries.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}

pub(super) fn seconds(time: UnixMs) -> f64 {
    float(time.0) / 1_000.0
}

/// All samples at this instant.
pub(super) fn collect(observed: &Observed) -> Vec<MetricFamily> {
    let mut page = Page::default();
    let control = observed.control.load();
    process(&mut page, observed, &control);
    let mut ledger = Ledger::default();
    let mut balanced = true;
    for (number, worker) in observed.workers.iter().enumerate() {
        let worker = worker.load();
        let label = number.to_string();
        ledger = ledger.plus(&worker.ledger);
        balanced &= worker.ledger.balanced();
        engine(&mut page, &label, &worker.stats);
        page.add(&f::ENTRY_TURNS, &[&label], float(worker.turned_us) / 1e6);
        sockets(&mut page, &label, &worker);
        for link in &worker.links {
            link_and_path(&mut page, link);
        }
    }
    books(&mut page, &ledger, balanced);
    refusals(&mut page, observed);
    ended_links(&mut page, observed);
    links(&mut page, &control);
    if let Some(snapshot) = observed.custody.load().as_deref() {
        custody(&mut page, snapshot);
    }
    directory(&mut page, observed);
    page.0.into_values().collect()
}

fn process(page: &mut Page, observed: &Observed, control: &ControlStatus) {
    page.count(&f::BUILD, &[env!("CARGO_PKG_VERSION")], 1);
    page.add(&f::START_TIME, &[], seconds(observed.started));
    if let Some(bytes) = resident_memory() {
        page.count(&f::MEMORY, &[], bytes);
    }
    page.flag(&f::READY, &[], observed.readiness.is_ready());
    let reasons = observed.readiness.reasons();
    for gate in crate::readiness::Gate::ALL {
        let closed = reasons.iter().any(|reason| reason.gate == gate.name());
        page.flag(&f::NOT_READY, &[gate.name()], closed);
    }
    page.flag(&f::DRAINING, &[], control.draining);
    page.flag(&f::CLOCK, &[], observed.clock_synchronised());
}

/// Bytes, from `/proc/self/status`.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn books(page: &mut Page, ledger: &Ledger, balanced: bool) {
    for (outcome, count) in outcomes(ledger) {
        page.count(&f::LEDGER, &[outcome], count);
    }
    page.count(&f::IN_FLIGHT, &[], ledger.in_flight);
    page.flag(&f::BALANCED, &[], balanced);
}

/// The ledger by the names used in metrics and status.
pub(crate) fn outcomes(ledger: &Ledger) -> [(&'static str, u64); 11] {
    [
        ("accepted", ledger.accepted),
        ("delivered", ledger.delivered),
        ("rejected", ledger.rejected),
        ("refused", ledger.refused),
        ("undecided", ledger.undecided),
        ("custody", ledger.custody),
        ("expired", ledger.expired),
        ("damaged", ledger.damaged),
        ("returned", ledger.returned),
        ("discarded", ledger.discarded),
        ("noted", ledger.noted),
    ]
}

/// One sample for every code of WIRE 2.5 and side, also those at zero.
fn ended_links(page: &mut Page, observed: &Observed) {
    let workers: Vec<_> = observed.workers.iter().map(|worker| worker.load_full()).collect();
    for by in [EndedBy::Here, EndedBy::Peer] {
        for code in CloseCode::ALL {
            let count = |worker: &Arc<WorkerSnapshot>| worker.ended.closed.get(&(by, *code)).copied().unwrap_or(0);
            page.count(&f::LINKS_CLOSED, &[by.name(), code.name()], workers.iter().map(count).sum());
        }
    }
    page.count(&f::LINKS_LOST, &[], workers.iter().map(|worker| worker.ended.lost).sum());
}

/// One sample for every code of WIRE 8.4, also those at zero: an alert can take a rate from the first one on.
fn refusals(page: &mut Page, observed: &Observed) {
    let counts = observed.refusals();
    for code in Code::ALL {
        let count = counts.get(&code.0).copied().unwrap_or(0);
        page.count(&f::REFUSALS, &[code.name(), code.fault().name()], count);
    }
}

fn engine(page: &mut Page, worker: &str, stats: &EngineStats) {
    let samples: [(&'static Family, u64); 21] = [
        (&f::PARTS_RECEIVED, stats.parts_received),
        (&f::PARTS_SENT, stats.parts_sent),
        (&f::ENTRIES_RECEIVED, stats.entries_received),
        (&f::ENTRIES_FORWARDED, stats.entries_forwarded),
        (&f::PAYLOAD_BYTES, stats.payload_bytes_received),
        (&f::LARGE_IN_PROGRESS, stats.payloads_in_progress),
        (&f::LARGE_FINISHED, stats.payloads_finished),
        (&f::LARGE_ABORTED, stats.payloads_aborted),
        (&f::LARGE_BYTES, stats.payload_bytes_streamed),
        (&f::WANTS_IGNORED, stats.wants_ignored),
        (&f::SIGNATURE_CHECKS, stats.signature_checks),
        (&f::ROOT_CACHE_HITS, stats.root_cache_hits),
        (&f::SIGNATURE_FAILURES, stats.signature_failures),
        (&f::DIGEST_CHECKS, stats.digest_checks),
        (&f::RECEIPTS_FORWARDED, stats.receipts_forwarded),
        (&f::RECEIPTS_IGNORED, stats.receipt_frames_ignored),
        (&f::LATE_SETTLEMENTS, stats.late_settlements),
        (&f::ENTRIES_WAITED, stats.entries_waited),
        (&f::ENTRIES_WAITING, stats.entries_waiting),
        (&f::CROSSINGS_SENT, stats.crossings_sent),
        (&f::CROSSINGS_REFUSED, stats.crossings_refused),
    ];
    for (family, value) in samples {
        page.count(family, &[worker], value);
    }
}

fn sockets(page: &mut Page, worker: &str, snapshot: &WorkerSnapshot) {
    let handshakes = &snapshot.handshakes;
    for (result, count) in [
        ("finished", handshakes.finished),
        ("failed", handshakes.failed),
        ("refused", handshakes.refused),
        ("retried", handshakes.retried),
    ] {
        page.count(&f::HANDSHAKES, &[worker, result], count);
    }
    page.count(&f::HANDSHAKES_IN_PROGRESS, &[worker], handshakes.in_progress);
    page.count(&f::HANDSHAKES_MOST, &[worker], handshakes.most_in_progress);
    let [receive, send] = snapshot.socket_buffer_bytes;
    page.count(&f::SOCKET_BUFFER, &[worker, "receive"], receive);
    page.count(&f::SOCKET_BUFFER, &[worker, "send"], send);
}

fn link_and_path(page: &mut Page, link: &LinkSnapshot) {
    let id = link.counts.link.0.to_string();
    let labels = [&*link.peer, id.as_str()];
    let attached = u64::try_from(link.counts.attached).unwrap_or(u64::MAX);
    let quic = &link.quic;
    let samples: [(&'static Family, u64); 13] = [
        (&f::LINK_ATTACHED, attached),
        (&f::LINK_OPEN, link.counts.open_labels),
        (&f::LINK_SENT, link.counts.sent_in_flight),
        (&f::LINK_WAITING, link.counts.waiting),
        (&f::QUIC_WINDOW, quic.congestion_window),
        (&f::QUIC_CONGESTION, quic.congestion_events),
        (&f::QUIC_SENT_PACKETS, quic.sent_packets),
        (&f::QUIC_LOST_PACKETS, quic.lost_packets),
        (&f::QUIC_LOST_BYTES, quic.lost_bytes),
        (&f::QUIC_BLACK_HOLES, quic.black_holes),
        (&f::QUIC_MTU, quic.mtu),
        (&f::QUIC_SENT_BYTES, quic.sent_bytes),
        (&f::QUIC_RECEIVED_BYTES, quic.received_bytes),
    ];
    for (family, value) in samples {
        page.count(family, &labels, value);
    }
    page.add(&f::QUIC_RTT, &labels, float(quic.rtt_us) / 1e6);
    let per_class = link.counts.credit_entries.iter().zip(&link.queued_bytes);
    for (class, (credit, queued)) in Class::ALL.into_iter().zip(per_class) {
        let labels = [&*link.peer, id.as_str(), class.name()];
        page.count(&f::LINK_CREDIT, &labels, *credit);
        page.count(&f::LINK_QUEUED, &labels, *queued);
    }
}

fn links(page: &mut Page, control: &ControlStatus) {
    let routers = control.links.iter().filter(|link| link.router).count();
    let endpoints = control.links.len().saturating_sub(routers);
    for (role, count) in [("router", routers), ("endpoints", endpoints)] {
        page.count(&f::LINKS, &[role], u64::try_from(count).unwrap_or(u64::MAX));
    }
    for link in &control.links {
        let id = link.link.0.to_string();
        let labels = [link.peer.as_str(), id.as_str()];
        // Offsets of days are exact in a float; the cast cannot lose what matters.
        #[allow(clippy::cast_precision_loss, reason = "milliseconds of a clock offset")]
        page.add(&f::LINK_CLOCK, &labels, link.clock_offset_ms as f64 / 1e3);
        if let Some(round_trip_us) = link.round_trip_us {
            page.add(&f::LINK_PING, &labels, float(round_trip_us) / 1e6);
        }
    }
    let here: usize = control.links.iter().map(|link| link.attachments).sum();
    let elsewhere: usize = control.links.iter().map(|link| link.remote_attachments).sum();
    for (place, count) in [("here", here), ("elsewhere", elsewhere)] {
        page.count(&f::ATTACHMENTS, &[place], u64::try_from(count).unwrap_or(u64::MAX));
    }
    page.count(&f::PRESENCE_NUMBER, &[], control.presence_number);
    page.count(&f::ATTACH_REFUSED, &[], control.counts.attach_refused);
    page.count(&f::PRESENCE_REFUSED, &[], control.counts.presence_refused);
    page.count(&f::EQUIVOCATIONS, &[], control.counts.equivocations);
}

fn directory(page: &mut Page, observed: &Observed) {
    use std::sync::atomic::Ordering::Relaxed;
    let table = observed.table();
    let size = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    page.count(&f::GENERATION, &[], table.generation());
    page.count(&f::ROUTES, &[], size(table.routes().len()));
    page.count(&f::ENDPOINTS, &[], size(table.endpoints().len()));
    page.count(&f::TABLE_BYTES, &[], size(table.lookup_bytes()));
    if let Some(until) = table.valid_until() {
        page.add(&f::VALID_UNTIL, &[], seconds(until));
    }
    for version in table.zone_versions() {
        page.count(&f::ZONE_SERIAL, &[version.zone.as_str()], version.serial);
    }
    let degraded = table.degraded(crate::clock::wall()).len();
    page.count(&f::ZONES_DEGRADED, &[], size(degraded));
    let counts = &observed.directory;
    page.count(&f::DIRECTORY_UPDATES, &["accepted"], counts.accepted.load(Relaxed));
    page.count(&f::DIRECTORY_UPDATES, &["refused"], counts.refused.load(Relaxed));
    let live_since = UnixMs(counts.live_since.load(Relaxed));
    page.add(&f::DIRECTORY_LIVE_SINCE, &[], seconds(live_since));
    for (kind, count) in observed.alarms.by_kind() {
        page.count(&f::ALARMS, &[kind], count);
    }
}
