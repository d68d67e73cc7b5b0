#![allow(clippy::unwrap_used, reason = "tests")]
//! A router that has seen a bit of everything, for the tests of `admin` and `metrics`.

use kernpost_codecs::Code;
use kernpost_router_core::LinkId;
use kernpost_router_core::control::{AttachmentStatus, LinkStatus};

use super::*;
use crate::directory::tests::TestDirectory;

fn worker(number: u64) -> WorkerSnapshot {
    let mut snapshot = WorkerSnapshot::default();
    snapshot.ledger.accepted = 10 * number;
    snapshot.ledger.delivered = 10 * number - 1;
    snapshot.ledger.in_flight = 1;
    snapshot.stats.entries_received = 10 * number;
    snapshot.stats.refusals.insert(Code::BUSY.0, number);
    snapshot
}

fn link() -> LinkSnapshot {
    LinkSnapshot {
        peer: "router kern/router/r2".into(),
        remote: "[::1]:4713".parse().unwrap(),
        counts: LinkCounts {
            link: LinkId(7),
            attached: 0,
            open_labels: 4,
            sent_in_flight: 5,
            waiting: 6,
            credit_entries: [1, 2, 3],
        },
        queued_bytes: [0, 10, 20],
        quic: QuicSnapshot { rtt_us: 1_500, ..QuicSnapshot::default() },
    }
}

/// Two workers, one router link, one attachment, a real table; still starting.
pub(crate) fn busy() -> Arc<Observed> {
    let now = crate::clock::wall();
    let directory = TestDirectory::new(now);
    let loaded = crate::directory::read(&directory.paths(), now, 1).unwrap();
    let table = Published::new(loaded.table);
    let observed = Observed::new("kern/router/r1".parse().unwrap(), now, table, 2);
    let mut first = worker(1);
    first.links.push(link());
    observed.publish_worker(WorkerId(0), first);
    observed.publish_worker(WorkerId(1), worker(2));
    let mut control = ControlStatus::default();
    control.links.push(LinkStatus {
        link: LinkId(7),
        worker: WorkerId(0),
        peer: "router kern/router/r2".to_owned(),
        router: true,
        ready: true,
        software: "kernpost-router/0.1.0".to_owned(),
        attachments: 0,
        remote_attachments: 1,
        clock_offset_ms: -12,
        round_trip_us: Some(900),
        draining: false,
    });
    control.attachments.push(AttachmentStatus {
        endpoint: "kern/amt".to_owned(),
        identity: "uri:spiffe://kern.example/kern/amt".to_owned(),
        router: "kern/router/r2".to_owned(),
        expires: now,
    });
    observed.publish_control(control);
    let mut custody = CustodySnapshot::default();
    custody.totals.oldest = Some(now);
    observed.publish_custody(custody);
    observed.alarms.on_alarm(&Alarm::Clock { peer: "router kern/router/r2".to_owned(), offset_ms: 7_000 });
    Arc::new(observed)
}

#[test]
fn what_an_unknown_worker_publishes_is_left_alone() {
    let observed = busy();
    observed.publish_worker(WorkerId(9), worker(3));
    assert_eq!(observed.ledger().accepted, 30);
}

#[test]
fn the_last_refusal_is_shown_until_a_directory_goes_live() {
    let counts = DirectoryCounts::default();
    counts.on_refused("zone kern: too few signatures");
    assert!(counts.last_refusal.load().is_some());
    counts.on_accepted(UnixMs(5));
    assert!(counts.last_refusal.load().is_none());
    assert_eq!(counts.live_since.load(Ordering::Relaxed), 5);
}
