//! When has a draining router nothing left to do? (WIRE 3.4)
//!
//! Nothing is in flight and no lane has bytes queued, as every worker has said since the drain began, and it stayed so for
//! a grace in which what was sent last reaches its peer: three of the longest round trips and a little.

use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::observed::{Observed, WorkerSnapshot};

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Labels still open when the links were closed: their senders see them undecided.
    pub left: u64,
    /// How long it took.
    pub took: Duration,
}

/// How often the published counts are looked at.
const LOOKING: Duration = Duration::from_millis(20);
/// The part of the grace that does not depend on round trips: peers answer DRAIN, acknowledgements are delayed.
const GRACE: Duration = Duration::from_millis(150);

/// Waits until nothing is left to do, at most `limit`.
pub async fn wait(observed: &Observed, clock: Clock, limit: Duration) -> Drained {
    let began = Instant::now();
    let began_us = clock.now().mono_us;
    let mut quiet_since: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOKING).await;
        let workers: Vec<_> = observed.workers.iter().map(|worker| worker.load_full()).collect();
        let custody = observed.custody.load();
        let custody_quiet = custody.as_ref().is_none_or(|custody| custody.taken_us > began_us && custody.idle);
        let quiet = custody_quiet && workers.iter().all(|worker| is_quiet(worker, began_us));
        if quiet {
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= grace(workers.iter().map(AsRef::as_ref)) {
                return Drained { left: 0, took: began.elapsed() };
            }
        } else {
            quiet_since = None;
        }
        if began.elapsed() >= limit {
            let left = workers.iter().map(|worker| worker.ledger.in_flight).sum();
            return Drained { left, took: began.elapsed() };
        }
    }
}

/// Said since the drain began: nothing in flight, nothing queued. Labels sent that nobody upstream waits for any more (past
/// their deadline, or their sender's link is gone) keep no drain waiting: a recipient that hangs may never settle them.
fn is_quiet(worker: &WorkerSnapshot, began_us: u64) -> bool {
    worker.taken_us > began_us
        && worker.ledger.in_flight == 0
        && worker.links.iter().all(|link| link.queued_bytes.iter().all(|&queued| queued == 0))
}

fn grace<'w>(workers: impl Iterator<Item = &'w WorkerSnapshot>) -> Duration {
    let round_trips = workers.flat_map(|worker| worker.links.iter().map(|link| link.quic.rtt_us));
    GRACE + 3 * Duration::from_micros(round_trips.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(at_us: u64, in_flight: u64) -> WorkerSnapshot {
        let mut worker = WorkerSnapshot { taken_us: at_us, ..WorkerSnapshot::default() };
        worker.ledger.in_flight = in_flight;
        worker
    }

    #[test]
    fn only_what_was_said_since_the_drain_began_counts() {
        assert!(!is_quiet(&said(10, 0), 10));
        assert!(is_quiet(&said(11, 0), 10));
        assert!(!is_quiet(&said(11, 1), 10));
    }

    #[test]
    fn without_links_the_grace_is_the_fixed_part() {
        assert_eq!(grace([said(1, 0)].iter()), GRACE);
    }
}
