//! What came of one run, as plain numbers: the stable form of `--json`, and what reports are made from.
//!
//! Field names carry their units: `_us` microseconds, `_bytes`, `_per_s`. Shares are 0..=1 unless they are called percent.
//! A field is added, never renamed or removed, without raising [`FORMAT`].

use std::collections::BTreeMap;

use kernpost_endpoint::client::TurnTimes;
use serde::Serialize;

use crate::accounting::Counts;
use crate::bottleneck::Verdict;
use crate::latencies::Summary;
use crate::slo::{Judgement, Name, Values};
use crate::talk::Progress;

/// Version of the JSON form.
pub const FORMAT: u32 = 1;

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of this program.
    pub version: &'static str,
    /// When it began, RFC 3339.
    pub began: String,
    /// What was asked for.
    pub asked: Asked,
    /// Messages per second.
    pub rate: Rate,
    /// Outcomes of the messages intended in the measured time.
    pub outcomes: Outcomes,
    /// From the intended start to the verified receipt. In a closed run from the actual start.
    pub latency_us: Summary,
    /// The same of messages to recipients that are not slow on purpose; none when nobody is.
    pub others_us: Option<Summary>,
    /// Standard deviation of `latency_us`.
    pub latency_deviation_us: f64,
    /// From the actual start to the verified receipt: what coordinated omission would have reported.
    pub service_us: Summary,
    /// From the intended start until the sink had it; none when the sink is elsewhere.
    pub one_way_us: Option<Summary>,
    /// Mean entries of a bundle.
    pub bundle_fill: Fill,
    /// Routers, the senders' first.
    pub routers: Vec<Router>,
    /// All routers together.
    pub all_routers: AllRouters,
    /// UDP payload bytes on links.
    pub links: Links,
    /// Source and sink.
    pub generator: Generator,
    /// What the generator checked of itself and of the network.
    pub checks: Checks,
    /// Broken signatures sent on purpose.
    pub bad_signatures: Option<BadSignatures>,
    /// Links that came and went.
    pub reconnects: Option<Reconnects>,
    /// The parts of a message's way.
    pub stages: Vec<Stage>,
    /// Several moments a second.
    pub series: Vec<Moment>,
    /// Percentile, µs, messages up to there.
    pub percentiles: Vec<(f64, u64, u64)>,
    /// Objectives with what was measured.
    pub slo: Vec<Judgement>,
    /// What limited the run.
    pub limited: Verdict,
    /// Whether the numbers are results. False when the generator was the bottleneck, whatever else the exit status says:
    /// then they say nothing about the network.
    pub valid: bool,
    /// See [`crate::exit_status`].
    pub exit_status: u8,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// Name of the scenario.
    pub scenario: String,
    /// What it shows.
    pub about: String,
    /// Sending endpoints.
    pub senders: usize,
    /// Receiving endpoints; 0 when they are elsewhere.
    pub recipients: usize,
    /// Links of the senders; 0, not known, when the network was given.
    pub sender_links: usize,
    /// The same of the recipients.
    pub recipient_links: usize,
    /// Routers; of a given network those that were named.
    pub routers: usize,
    /// Whether the network was started here.
    pub self_contained: bool,
    /// Signing algorithms; none, not known, when the network was given.
    pub algorithms: Vec<String>,
    /// `closed`, `steady` or `ramp`.
    pub shape: &'static str,
    /// Mean payload as promised by the distribution.
    pub payload_mean_bytes: f64,
    /// Messages under way at most.
    pub in_flight: usize,
    /// Measured time.
    pub duration_s: f64,
    /// Unmeasured time before.
    pub warm_up_s: f64,
    /// Receipts per second that the generator verifies again at most; 0: none.
    pub recheck_per_s: u32,
    /// Draws the same messages again.
    pub seed: u64,
    /// `disk` or `memory`.
    pub journal: &'static str,
}

/// Messages per second in the measured time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Rate {
    /// Intended. In a closed run: started.
    pub offered_per_s: f64,
    /// With an outcome.
    pub achieved_per_s: f64,
}

/// What became of the messages intended in the measured time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcomes {
    /// Each outcome by number.
    #[serde(flatten)]
    pub counts: Counts,
    /// Intended in the measured time, whether or not they were started: what the other numbers add up to.
    pub intended: u64,
    /// Without any outcome when waiting was over, whether they were started or not.
    pub lost: u64,
    /// Of these, never started: no room came within five seconds after the end of the plan.
    pub not_started: u64,
    /// Handed to a recipient more than once; none when the sink is elsewhere.
    pub duplicates: Option<u64>,
    /// Entries sent, the whole run: more than messages when some were refused for a while and sent again.
    pub attempts: u64,
    /// Of these, resends of messages that may have arrived.
    pub resends: u64,
    /// Codes of everything but deliveries, the whole run.
    pub codes: BTreeMap<String, u64>,
}

/// Mean entries of a bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Fill {
    /// As the sender wrote it, from the end of the warm-up until the last outcome.
    pub sent: f64,
    /// Entries that `sent` is the mean of, those sent again among them.
    pub sent_entries: u64,
    /// As the last router handed it on, after splitting; none when it cannot be asked.
    pub forwarded: Option<f64>,
    /// Receipts in one frame as the recipient wrote it, over the same time; none when the sink is elsewhere.
    pub receipts: Option<f64>,
}

/// One router in the measured time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Router {
    /// Its id.
    pub name: String,
    /// CPU time for one message; none when the process is not on this machine.
    pub cpu_us_per_message: Option<f64>,
    /// Cores used.
    pub cpu_cores: Option<f64>,
    /// Threads by CPU, largest first: name, share of a core.
    pub threads: Vec<(String, f64)>,
    /// Root signatures checked with public-key cryptography, for one message.
    pub signature_checks_per_message: Option<f64>,
    /// Root signatures found among those checked before, for one message.
    pub root_cache_hits_per_message: Option<f64>,
    /// Payload digests computed, for one message.
    pub digest_checks_per_message: Option<f64>,
    /// Entries received from senders or other routers.
    pub entries_received: Option<u64>,
    /// Bundle parts received.
    pub parts_received: Option<u64>,
    /// Bundle parts sent on.
    pub parts_sent: Option<u64>,
    /// Entries that had to wait for onward credit.
    pub entries_waited: Option<u64>,
    /// Resident memory at the end.
    pub resident_bytes: Option<u64>,
    /// Most resident memory since its start.
    pub peak_bytes: Option<u64>,
    /// Routes in its table.
    pub routes: Option<u64>,
}

/// All routers together.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct AllRouters {
    /// CPU time for one message.
    pub cpu_us_per_message: Option<f64>,
    /// Signature checks for one message.
    pub signature_checks_per_message: Option<f64>,
    /// Resident memory of the largest.
    pub largest_resident_bytes: Option<u64>,
}

/// UDP payload bytes for one message.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Links {
    /// Senders' links together.
    pub sender: Option<LinkBytes>,
    /// Recipients' links together.
    pub recipient: Option<LinkBytes>,
    /// The link between two routers, as the first sees it.
    pub between_routers: Option<LinkBytes>,
}

/// UDP payload bytes for one message on one kind of link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LinkBytes {
    /// Towards the router.
    pub to_router_per_message: f64,
    /// From the router.
    pub from_router_per_message: f64,
    /// Mean message payload.
    pub payload_per_message: f64,
    /// Both directions together, less the message payload.
    pub overhead_per_message: f64,
}

/// Source and sink in the measured time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Generator {
    /// How late messages started although there was room.
    pub late_us: Summary,
    /// Share of the messages that waited for room.
    pub held_back: f64,
    /// Cores used by the source.
    pub source_cores: f64,
    /// Cores used by the sink.
    pub sink_cores: f64,
    /// Threads of both by CPU, largest first: process, name, share of a core.
    pub threads: Vec<(String, String, f64)>,
    /// Share of the machine's CPU that was idle.
    pub machine_idle: f64,
    /// Cores of the machine.
    pub machine_cores: usize,
}

/// What was checked. Everything here has to be as its description says, or the run fails.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Checks {
    /// Messages of the whole run; each has exactly one outcome.
    pub messages: u64,
    /// Without an outcome at the end. Has to be 0.
    pub open: u64,
    /// Outcomes for messages that had one. Has to be 0.
    pub outcome_faults: u64,
    /// Deliveries and rejections: each rests on a receipt.
    pub receipts_due: u64,
    /// Receipts verified by the library: every one. Has to be `receipts_due` at least.
    pub receipts_verified: u64,
    /// Receipts it did not believe. Has to be 0.
    pub receipts_invalid: u64,
    /// Whether the generator was to verify some of them again.
    pub recheck_asked: bool,
    /// Receipts verified a second time, offline, by the generator. When that was asked for and a receipt came: not 0.
    pub receipts_rechecked: u64,
    /// Share of all receipts that is.
    pub recheck_share: f64,
    /// Of these, failures. Has to be 0.
    pub recheck_failures: u64,
    /// Receipts that were to be verified again and came without a proof, or before any directory. Has to be 0.
    pub recheck_impossible: u64,
    /// Different messages that the sink saw; none when it is elsewhere.
    pub sink_unique: Option<u64>,
    /// Whether the sink saw every message that has a receipt, and without undecided ones no other.
    pub sink_agrees: Option<bool>,
    /// Messages that the sink saw and that are no part of the run, such as late ones of the run before.
    pub sink_strange: Option<u64>,
    /// Messages that the sink saw twice. Has to be 0.
    pub sink_duplicates: Option<u64>,
    /// Whether every router's ledger balances with nothing in flight; none when none can be asked.
    pub ledgers_balance: Option<bool>,
}

impl Checks {
    /// What failed, one line each.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut fail = |failed: bool, what: String| {
            if failed {
                failures.push(what);
            }
        };
        fail(self.open > 0, format!("{} messages without an outcome", self.open));
        fail(self.outcome_faults > 0, format!("{} second outcomes for one message", self.outcome_faults));
        fail(self.receipts_invalid > 0, format!("{} receipts that prove nothing", self.receipts_invalid));
        fail(
            self.receipts_verified < self.receipts_due,
            format!("{} outcomes rest on {} verified receipts", self.receipts_due, self.receipts_verified),
        );
        fail(self.recheck_failures > 0, format!("{} receipts that fail offline", self.recheck_failures));
        fail(
            self.recheck_impossible > 0,
            format!("{} receipts without the proof or the directory to verify them again", self.recheck_impossible),
        );
        fail(
            self.recheck_asked && self.receipts_due > 0 && self.receipts_rechecked == 0,
            "not one receipt was verified again, though that was asked for".to_owned(),
        );
        fail(self.sink_duplicates.unwrap_or(0) > 0, "messages were handed over twice".to_owned());
        fail(self.sink_agrees == Some(false), "receipts and what the sink saw differ".to_owned());
        fail(self.ledgers_balance == Some(false), "a router's ledger does not balance".to_owned());
        failures
    }
}

/// Messages with broken signatures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct BadSignatures {
    /// Sent.
    pub sent: u64,
    /// Refused as they have to be.
    pub refused: u64,
    /// With any other settlement. Has to be 0.
    pub accepted: u64,
}

/// Links that came and went. Each has to come back, or the run fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Reconnects {
    /// Links of the storm.
    pub links: u64,
    /// Storms.
    pub storms: u64,
    /// Links attached again, of all storms together.
    pub attached: u64,
    /// Links that were not attached again before the next storm. Has to be 0.
    pub missed: u64,
    /// From the beginning of a storm until all were attached again: worst, ms.
    pub worst_ms: u64,
}

/// A part of a message's way.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// Name: sign, wire, route, verify, wait, settle.
    pub name: &'static str,
    /// µs.
    pub us: f64,
    /// What it is, and whether it was measured or derived.
    pub definition: String,
    /// Whether it was measured directly.
    pub measured: bool,
}

/// A moment of the run.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Moment {
    /// After the beginning, s.
    pub at_s: f64,
    /// Messages per second offered since the last moment.
    pub offered_per_s: f64,
    /// Messages per second that ended since the last moment.
    pub ended_per_s: f64,
    /// Messages without an outcome.
    pub open: u64,
    /// Median of those that ended, µs.
    pub p50_us: u64,
    /// 99 of 100, µs.
    pub p99_us: u64,
    /// Slowest, µs.
    pub max_us: u64,
    /// Mean entries of a bundle since the last moment.
    pub bundle_fill: f64,
    /// Cores used by all routers since the last moment.
    pub router_cores: f64,
}

impl Moment {
    /// From two progress lines.
    #[must_use]
    pub fn between(before: &Progress, now: &Progress, router_cores: f64) -> Self {
        let seconds = (float(now.at_us.saturating_sub(before.at_us)) / 1e6).max(1e-6);
        let bundles = now.bundles.saturating_sub(before.bundles);
        Self {
            at_s: float(now.at_us) / 1e6,
            offered_per_s: float(now.intended.saturating_sub(before.intended)) / seconds,
            ended_per_s: float(now.counts.ended().saturating_sub(before.counts.ended())) / seconds,
            open: now.counts.open(),
            p50_us: now.latency.p50,
            p99_us: now.latency.p99,
            max_us: now.latency.max,
            bundle_fill: ratio(now.attempts.saturating_sub(before.attempts), bundles),
            router_cores,
        }
    }
}

impl Measured {
    /// What contradicts itself or the network's promises, one line each: it fails a run whoever was the bottleneck.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let mut broken = self.checks.failures();
        if let Some(bad) = self.bad_signatures.filter(|bad| bad.accepted > 0) {
            broken.push(format!("{} of {} broken signatures were not refused", bad.accepted, bad.sent));
        }
        broken
    }

    /// What was to happen and did not, one line each: it fails a run without an objective of its own, as a missed one does.
    #[must_use]
    pub fn left_undone(&self) -> Vec<String> {
        let mut undone = Vec::new();
        if self.outcomes.not_started > 0 {
            let (missing, all) = (self.outcomes.not_started, self.outcomes.intended);
            undone.push(format!("{missing} of {all} intended messages were never started"));
        }
        if let Some(storm) = self.reconnects.filter(|storm| storm.missed > 0) {
            undone.push(format!("{} of {} links did not come back in time", storm.missed, storm.links * storm.storms));
        }
        undone
    }

    /// What objectives are judged by.
    #[must_use]
    pub fn values(&self) -> Values {
        let mut values = Values::default();
        let counts = &self.outcomes.counts;
        let with_receipt = counts.delivered + counts.rejected;
        if with_receipt > 0 {
            let latency = &self.latency_us;
            let times = [
                (Name::P50, latency.p50),
                (Name::P90, latency.p90),
                (Name::P99, latency.p99),
                (Name::P999, latency.p999),
                (Name::Max, latency.max),
            ];
            times.into_iter().for_each(|(name, us)| values.set(name, float(us)));
        }
        for (name, count) in [
            (Name::Lost, self.outcomes.lost),
            (Name::Rejected, counts.rejected),
            (Name::Refused, counts.refused),
            (Name::Expired, counts.expired),
            (Name::Undecided, counts.undecided),
            (Name::Custody, counts.custody),
            (Name::Other, counts.other),
            (Name::NotTaken, counts.not_taken),
            (Name::NotStarted, self.outcomes.not_started),
        ] {
            values.set(name, float(count));
        }
        values.set(Name::Rate, self.rate.achieved_per_s);
        values.set(Name::Offered, self.rate.offered_per_s);
        values.set(Name::Delivered, 100.0 * ratio(counts.delivered, self.outcomes.intended));
        values.set(Name::RefusedShare, 100.0 * ratio(counts.refused, self.outcomes.intended));
        values.set(Name::Fill, self.bundle_fill.sent);
        let busiest = self.routers.iter().filter_map(|router| router.cpu_cores).reduce(f64::max);
        let optional = [
            (Name::OthersP50, self.others_us.map(|others| float(others.p50))),
            (Name::OthersP99, self.others_us.map(|others| float(others.p99))),
            (Name::OneWayP99, self.one_way_us.map(|one_way| float(one_way.p99))),
            (Name::Duplicates, self.outcomes.duplicates.map(float)),
            (Name::BadAccepted, self.bad_signatures.map(|bad| float(bad.accepted))),
            (Name::ReconnectsMissed, self.reconnects.map(|storm| float(storm.missed))),
            (Name::Cpu, busiest.map(|cores| 100.0 * cores)),
            (Name::CpuPerMessage, self.all_routers.cpu_us_per_message),
            (Name::Checks, self.all_routers.signature_checks_per_message),
            (Name::Memory, self.all_routers.largest_resident_bytes.map(float)),
            (Name::Overhead, self.links.sender.map(|link| link.overhead_per_message)),
            (Name::OverheadRecipient, self.links.recipient.map(|link| link.overhead_per_message)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                values.set(name, value);
            }
        }
        values
    }
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts, bytes and microseconds of a run stay far below 2^53")]
#[must_use]
pub fn float(count: u64) -> f64 {
    count as f64
}

/// A quotient; 0 of nothing.
#[must_use]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

/// What a message was in its turns since `before`, on average, µs.
#[must_use]
pub fn waited_us(now: TurnTimes, before: TurnTimes) -> f64 {
    ratio(now.waited_us.saturating_sub(before.waited_us), now.messages.saturating_sub(before.messages))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::measured;
    use crate::slo::Slo;

    fn met(measured: &Measured, slo: &str) -> bool {
        slo.parse::<Slo>().unwrap().judge(&measured.values()).iter().all(|judgement| judgement.met)
    }

    #[test]
    fn a_message_that_was_never_started_is_lost_and_not_delivered() {
        let mut measured = measured();
        assert!(met(&measured, "lost=0,not-started=0,delivered>=99.9%"));
        assert_eq!(measured.left_undone(), Vec::<String>::new());
        measured.outcomes.intended += 5_000;
        (measured.outcomes.lost, measured.outcomes.not_started) = (5_000, 5_000);
        for objective in ["lost=0", "not-started=0", "delivered>=67%"] {
            assert!(!met(&measured, objective), "{objective}");
        }
        assert_eq!(measured.left_undone(), ["5000 of 15000 intended messages were never started"]);
        assert_eq!(measured.broken(), Vec::<String>::new(), "it is no contradiction, only a miss");
    }

    #[test]
    fn a_link_that_does_not_come_back_is_told_and_can_be_an_objective() {
        let mut measured = measured();
        assert!(!met(&measured, "reconnects-missed=0"), "what was not measured is not met");
        let storm = Reconnects { links: 100, storms: 3, attached: 300, missed: 0, worst_ms: 80 };
        measured.reconnects = Some(storm);
        assert!(met(&measured, "reconnects-missed=0") && measured.left_undone().is_empty());
        measured.reconnects = Some(Reconnects { attached: 298, missed: 2, ..storm });
        assert!(!met(&measured, "reconnects-missed=0"));
        assert_eq!(measured.left_undone(), ["2 of 300 links did not come back in time"]);
    }

    #[test]
    fn every_outcome_can_be_an_objective() {
        let mut measured = measured();
        (measured.outcomes.counts.other, measured.outcomes.counts.not_taken) = (3, 4);
        assert!(met(&measured, "other=3,not-taken=4"));
    }

    #[test]
    fn outcomes_need_as_many_verified_receipts() {
        let good = measured().checks;
        assert_eq!(good.failures(), Vec::<String>::new());
        let said = |checks: Checks| checks.failures().join("; ");
        let short = Checks { receipts_verified: good.receipts_due - 1, ..good.clone() };
        assert_eq!(said(short), "12000 outcomes rest on 11999 verified receipts");
        // More than outcomes is no fault: a receipt may come twice.
        assert_eq!(said(Checks { receipts_verified: good.receipts_due + 1, ..good }), "");
    }

    #[test]
    fn receipts_that_were_to_be_verified_again_and_were_not_fail_the_run() {
        let good = measured().checks;
        let said = |checks: Checks| checks.failures().join("; ");
        assert!(said(Checks { receipts_rechecked: 0, ..good.clone() }).contains("not one receipt"));
        assert!(said(Checks { recheck_impossible: 2, ..good.clone() }).contains("2 receipts without"));
        // Not asked for, or nothing to verify: no fault.
        assert_eq!(said(Checks { receipts_rechecked: 0, recheck_asked: false, ..good.clone() }), "");
        assert_eq!(said(Checks { receipts_rechecked: 0, receipts_due: 0, ..good }), "");
    }
}
