//! What do `/status`, `/readyz` and `/directory` say? The same types are read back by the commands.

use std::collections::BTreeMap;

use kernpost_codecs::Code;
use kernpost_routing_table::instant_text;
use serde::{Deserialize, Serialize};

use crate::custody::CustodySnapshot;
use crate::metrics::{custody_outcomes, outcomes};
use crate::observed::Observed;
use crate::readiness::Reason;

/// `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyPage {
    /// Whether the router can route.
    pub ready: bool,
    /// Why not; empty when it can.
    pub reasons: Vec<Reason>,
}

impl ReadyPage {
    /// As of now.
    #[must_use]
    pub fn of(observed: &Observed) -> Self {
        let reasons = observed.readiness.reasons();
        Self { ready: reasons.is_empty(), reasons }
    }
}

/// `/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusPage {
    /// This router's id.
    pub router: String,
    /// Software version.
    pub version: String,
    /// When the process started, RFC 3339.
    pub started: String,
    /// Whether it can route.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<Reason>,
    /// Whether it drains.
    pub draining: bool,
    /// Whether the kernel's clock is synchronised, or assumed to be; while it is not, nothing expires.
    pub clock_synchronised: bool,
    /// The books, of all workers.
    pub ledger: LedgerPage,
    /// What is kept for those who cannot take it now; absent without custody.
    pub custody: Option<CustodyPage>,
    /// Unsigned settlements given here, by the code's name; only codes that occurred.
    pub refusals: BTreeMap<String, u64>,
    /// The directory in force.
    pub directory: DirectoryPage,
    /// Workers, by number.
    pub workers: Vec<WorkerLine>,
    /// Links, by number.
    pub links: Vec<LinkLine>,
    /// Attachments here and elsewhere, by endpoint.
    pub attachments: Vec<AttachmentLine>,
    /// Alarms since the start, by kind.
    pub alarms: BTreeMap<String, u64>,
}

/// The books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerPage {
    /// Labels by what became of them; `accepted` counts all that were opened.
    #[serde(flatten)]
    pub outcomes: BTreeMap<String, u64>,
    /// Labels open now.
    pub in_flight: u64,
    /// Whether accepted equals settled plus in flight at every worker.
    pub balanced: bool,
}

/// What is kept for those who cannot take it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustodyPage {
    /// Messages by what became of them since the start; `taken` and `recovered` count what came in.
    pub outcomes: BTreeMap<String, u64>,
    /// Messages held.
    pub held: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// When the oldest that waits was taken, RFC 3339; absent: nothing waits.
    pub oldest: Option<String>,
    /// Receipts waiting for their senders.
    pub late_receipts: u64,
    /// Endpoints, or lists of them, that something waits for, by class.
    pub queues: u64,
    /// Entries on their way out.
    pub in_flight: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes the disk has left.
    pub disk_free_bytes: u64,
    /// How much less is taken than could be, percent; 100: nothing is taken.
    pub pressure_percent: u8,
    /// Whether what came in equals what ended plus what is held.
    pub balanced: bool,
}

impl CustodyPage {
    fn of(snapshot: &CustodySnapshot) -> Self {
        let CustodySnapshot { ledger, stats, totals, .. } = snapshot;
        Self {
            outcomes: custody_outcomes(ledger).map(|(outcome, count)| (outcome.to_owned(), count)).into(),
            held: ledger.in_custody,
            bytes: totals.bytes,
            oldest: totals.oldest.map(instant_text),
            late_receipts: totals.receipts,
            queues: stats.queues,
            in_flight: stats.flying,
            disk_bytes: totals.disk_bytes,
            disk_free_bytes: totals.free_bytes,
            pressure_percent: stats.pressure,
            balanced: ledger.balanced(),
        }
    }
}

/// The directory in force, also `/directory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryPage {
    /// Generation of the table.
    pub generation: u64,
    /// The directory version (WIRE 3.5), hex.
    pub version: String,
    /// When the table is compiled again, RFC 3339; absent: never.
    pub valid_until: Option<String>,
    /// Rules, also those not in force.
    pub routes: usize,
    /// Endpoints.
    pub endpoints: usize,
    /// Routers.
    pub routers: usize,
    /// Zones, by name.
    pub zones: Vec<ZoneLine>,
    /// Why the last update was refused; absent when none was since the last that was accepted.
    pub last_refusal: Option<String>,
}

/// One zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneLine {
    /// Its id.
    pub zone: String,
    /// Its serial.
    pub serial: u64,
    /// SHA-256 of its signed snapshot, hex.
    pub digest: String,
    /// Whether it is past its not-after.
    pub degraded: bool,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLine {
    /// Its number.
    pub worker: usize,
    /// Addresses it listens on.
    pub listening: Vec<String>,
    /// Links it holds.
    pub links: usize,
    /// Entries received.
    pub entries_received: u64,
    /// Entries forwarded.
    pub entries_forwarded: u64,
    /// Root signatures checked.
    pub signature_checks: u64,
    /// Root signatures found among those checked before.
    pub root_cache_hits: u64,
    /// Entries waiting for onward credit.
    pub entries_waiting: u64,
    /// Large payloads arriving now.
    pub large_payloads: u64,
    /// Labels open.
    pub in_flight: u64,
    /// Whether its books balance.
    pub balanced: bool,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkLine {
    /// Its number.
    pub link: u64,
    /// Its worker.
    pub worker: u16,
    /// `router <id>` or `endpoints <identity>`.
    pub peer: String,
    /// `router` or `endpoints`.
    pub role: String,
    /// The peer's address; absent until the worker has published it.
    pub remote: Option<String>,
    /// Whether hello is done.
    pub ready: bool,
    /// Whether the peer drains.
    pub draining: bool,
    /// Software the peer states.
    pub software: String,
    /// Endpoints attached on it.
    pub attachments: usize,
    /// Attachments the peer told of (routers).
    pub remote_attachments: usize,
    /// The peer's clock minus ours, ms.
    pub clock_offset_ms: i64,
    /// QUIC's round trip, µs; absent until the worker has published it.
    pub rtt_us: Option<u64>,
    /// Labels received that are open.
    pub open_labels: u64,
    /// Entries sent that the peer has not settled.
    pub sent_in_flight: u64,
    /// Entries waiting for the peer's credit.
    pub waiting: u64,
}

/// One attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentLine {
    /// The endpoint.
    pub endpoint: String,
    /// The link identity that attached it.
    pub identity: String,
    /// The router it is attached to.
    pub router: String,
    /// Until when its token is good, RFC 3339.
    pub expires: String,
}

impl DirectoryPage {
    /// As of now.
    #[must_use]
    pub fn of(observed: &Observed) -> Self {
        let table = observed.table();
        let degraded = table.degraded(crate::clock::wall());
        let zones = table.zone_versions().map(|zone| ZoneLine {
            zone: zone.zone.to_string(),
            serial: zone.serial,
            digest: zone.digest.to_string(),
            degraded: degraded.iter().any(|name| name == zone.zone.as_str()),
        });
        Self {
            generation: table.generation(),
            version: table.version().to_string(),
            valid_until: table.valid_until().map(instant_text),
            routes: table.routes().len(),
            endpoints: table.endpoints().len(),
            routers: table.routers().len(),
            zones: zones.collect(),
            last_refusal: Option::clone(&observed.directory.last_refusal.load()),
        }
    }
}

impl StatusPage {
    /// As of the last snapshots published.
    #[must_use]
    pub fn of(observed: &Observed) -> Self {
        let control = observed.control.load();
        let ready = ReadyPage::of(observed);
        let attachments = control.attachments.iter().map(|attachment| AttachmentLine {
            endpoint: attachment.endpoint.clone(),
            identity: attachment.identity.clone(),
            router: attachment.router.clone(),
            expires: instant_text(attachment.expires),
        });
        let mut refusals = BTreeMap::new();
        for (code, count) in observed.refusals() {
            *refusals.entry(Code(code).name().to_owned()).or_insert(0) += count;
        }
        let alarms = observed.alarms.by_kind();
        Self {
            router: observed.router.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: instant_text(observed.started),
            ready: ready.ready,
            reasons: ready.reasons,
            draining: control.draining,
            clock_synchronised: observed.clock_synchronised(),
            ledger: ledger(observed),
            custody: observed.custody.load().as_deref().map(CustodyPage::of),
            refusals,
            directory: DirectoryPage::of(observed),
            workers: workers(observed),
            links: links(observed),
            attachments: attachments.collect(),
            alarms: alarms.map(|(kind, count)| (kind.to_owned(), count)).into(),
        }
    }
}

fn ledger(observed: &Observed) -> LedgerPage {
    let sum = observed.ledger();
    let outcomes = outcomes(&sum).map(|(outcome, count)| (outcome.to_owned(), count));
    LedgerPage {
        outcomes: outcomes.into(),
        in_flight: sum.in_flight,
        balanced: observed.workers.iter().all(|worker| worker.load().ledger.balanced()),
    }
}

fn workers(observed: &Observed) -> Vec<WorkerLine> {
    let line = |(number, worker): (usize, &arc_swap::ArcSwap<_>)| {
        let worker: arc_swap::Guard<std::sync::Arc<crate::observed::WorkerSnapshot>> = worker.load();
        WorkerLine {
            worker: number,
            listening: worker.listening.iter().map(ToString::to_string).collect(),
            links: worker.links.len(),
            entries_received: worker.stats.entries_received,
            entries_forwarded: worker.stats.entries_forwarded,
            signature_checks: worker.stats.signature_checks,
            root_cache_hits: worker.stats.root_cache_hits,
            entries_waiting: worker.stats.entries_waiting,
            large_payloads: worker.stats.payloads_in_progress,
            in_flight: worker.ledger.in_flight,
            balanced: worker.ledger.balanced(),
        }
    };
    observed.workers.iter().enumerate().map(line).collect()
}

/// What control knows of each link, with what its worker published.
fn links(observed: &Observed) -> Vec<LinkLine> {
    let mut published = BTreeMap::new();
    for worker in &observed.workers {
        for link in &worker.load().links {
            published.insert(link.counts.link, link.clone());
        }
    }
    let control = observed.control.load();
    let line = |link: &kernpost_router_core::control::LinkStatus| {
        let seen = published.get(&link.link);
        LinkLine {
            link: link.link.0,
            worker: link.worker.0,
            peer: link.peer.clone(),
            role: if link.router { "router" } else { "endpoints" }.to_owned(),
            remote: seen.map(|seen| seen.remote.to_string()),
            ready: link.ready,
            draining: link.draining,
            software: link.software.clone(),
            attachments: link.attachments,
            remote_attachments: link.remote_attachments,
            clock_offset_ms: link.clock_offset_ms,
            rtt_us: seen.map(|seen| seen.quic.rtt_us),
            open_labels: seen.map_or(0, |seen| seen.counts.open_labels),
            sent_in_flight: seen.map_or(0, |seen| seen.counts.sent_in_flight),
            waiting: seen.map_or(0, |seen| seen.counts.waiting),
        }
    };
    control.links.iter().map(line).collect()
}
