//! From what was gathered to what is reported: differences, quotients, verdicts.

use super::{Gathered, Look, stages};
use crate::bottleneck::{self, Signs};
use crate::exit_status;
use crate::latencies::{Latencies, Recorded, Summary};
use crate::layout::Part;
use crate::measured::{
    AllRouters, Asked, Checks, FORMAT, Fill, Generator, LinkBytes, Links, Measured, Outcomes, Rate, Router, float,
    ratio,
};
use crate::metrics_page::{Labels, Page};
use crate::procfs::{Cpu, Used};
use crate::scenario::Scenario;
use crate::schedule::Shape;
use crate::stand::{RouterSeen, Stand};
use crate::talk::{SinkResult, SourceResult};

/// Threads listed of each process.
const THREADS: usize = 6;

pub(super) fn up(stand: &Stand, scenario: &Scenario, self_contained: bool, gathered: Gathered) -> Measured {
    let source = &gathered.source;
    let window_s = (float(gathered.last.at_us.saturating_sub(gathered.first.at_us)) / 1e6).max(1e-6);
    let ended = source.ended_in_window;
    let routers: Vec<Router> = (0..stand.routers.len())
        .filter_map(|number| stand.routers.get(number).map(|seen| router(number, seen, &gathered, window_s, ended)))
        .collect();
    let rate = Rate {
        offered_per_s: float(source.intended) / (float(source.window_us) / 1e6).max(1e-6),
        achieved_per_s: float(ended) / (float(source.window_us) / 1e6).max(1e-6),
    };
    let latency = merged(&source.latency);
    let generator = generator(&gathered, window_s);
    let signs = signs(scenario, source, rate, &generator, &routers);
    let checks = checks(&gathered, stand.recheck_per_s > 0);
    let limited = bottleneck::judge(&signs);
    let mut measured = Measured {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION"),
        began: gathered.began.to_string(),
        asked: asked(scenario, stand, self_contained, &gathered),
        rate,
        outcomes: Outcomes {
            counts: source.measured,
            intended: source.intended,
            lost: source.intended.saturating_sub(source.measured.ended()),
            not_started: source.intended.saturating_sub(source.measured.started),
            duplicates: gathered.sink.as_ref().map(|sink| sink.duplicates),
            attempts: source.attempts,
            resends: source.resends,
            codes: source.codes.clone(),
        },
        latency_us: latency.summary(),
        others_us: scenario.faults.slow.map(|_| summary(&source.others)),
        latency_deviation_us: latency.deviation(),
        service_us: summary(&source.service),
        one_way_us: gathered.sink.as_ref().map(|sink| summary(&sink.one_way)),
        bundle_fill: fill(source, gathered.sink.as_ref(), &gathered),
        all_routers: all_routers(&routers),
        links: links(&gathered, source),
        generator,
        checks,
        bad_signatures: gathered.bad_signatures,
        reconnects: gathered.reconnects,
        stages: Vec::new(),
        series: gathered.series,
        percentiles: latency.percentiles(),
        slo: Vec::new(),
        valid: !limited.generator_bound(),
        limited,
        exit_status: 0,
        routers,
    };
    let pages = [&gathered.before[..], &gathered.after[..]];
    measured.stages = stages::of(&measured, &gathered.source, gathered.sink.as_ref(), pages);
    measured.slo = scenario.slo.judge(&measured.values());
    let missed = measured.slo.iter().any(|judgement| !judgement.met) || !measured.left_undone().is_empty();
    measured.exit_status = exit_status::of_run(!measured.broken().is_empty(), !measured.valid, missed);
    measured
}

fn merged(recorded: &Recorded) -> Latencies {
    let mut latencies = Latencies::new();
    latencies.add(recorded);
    latencies
}

fn summary(recorded: &Recorded) -> Summary {
    merged(recorded).summary()
}

fn asked(scenario: &Scenario, stand: &Stand, self_contained: bool, gathered: &Gathered) -> Asked {
    let (network, load) = (&scenario.network, &scenario.load);
    // A given network is as it is, whatever the scenario says of one that is started here.
    let started = |count: usize| if self_contained { count } else { 0 };
    let algorithm = |names: &Vec<kernpost_codecs::key::Algorithm>| {
        names.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join("+")
    };
    Asked {
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        senders: gathered.source.endpoints,
        recipients: gathered.sink.as_ref().map_or(0, |sink| sink.endpoints),
        sender_links: started(network.sender_links),
        recipient_links: started(network.recipient_links),
        routers: stand.routers.len(),
        self_contained,
        algorithms: network.algorithms.iter().filter(|_| self_contained).map(algorithm).collect(),
        shape: match load.shape {
            Shape::Closed => "closed",
            Shape::Steady(_) => "steady",
            Shape::Ramp { .. } => "ramp",
        },
        payload_mean_bytes: load.mean_payload(),
        in_flight: load.in_flight,
        duration_s: load.duration.as_secs_f64(),
        warm_up_s: load.warm_up.as_secs_f64(),
        recheck_per_s: stand.recheck_per_s,
        seed: load.seed,
        journal: if stand.journal_on_disk { "disk" } else { "memory" },
    }
}

/// The two pages of a router that are compared: both taken while messages flow, so that what is under way at one edge makes
/// up for what is at the other. A run too short for the router to publish in between is compared with its rest.
fn compared(gathered: &Gathered, number: usize) -> Option<(&Page, &Page)> {
    let before = gathered.before.get(number)?.as_ref()?;
    let after = gathered.after.get(number).and_then(Option::as_ref);
    let moved = after.filter(|after| answered(after) > answered(before));
    let after = moved.or_else(|| gathered.settled.get(number).and_then(Option::as_ref))?;
    Some((before, after))
}

/// Entries with a receipt of their recipient.
fn answered(page: &Page) -> f64 {
    let receipted = |labels: &Labels| {
        labels.get("outcome").is_some_and(|outcome| matches!(outcome.as_str(), "delivered" | "rejected"))
    };
    page.sum_where("kernpost_ledger_entries_total", receipted)
}

/// What a router passed on between both pages: messages towards recipients, and answers back. When both differ, a backlog
/// grew or shrank meanwhile; each direction is divided by its own. None when there was nothing.
fn messages(gathered: &Gathered, number: usize) -> Option<(f64, f64)> {
    let (before, after) = compared(gathered, number)?;
    let forwarded = difference(gathered, number, "kernpost_entries_forwarded_total")?;
    Some((forwarded, answered(after) - answered(before))).filter(|(there, back)| *there > 0.0 && *back > 0.0)
}

fn difference(gathered: &Gathered, number: usize, metric: &str) -> Option<f64> {
    let (before, after) = compared(gathered, number)?;
    Some(after.sum(metric) - before.sum(metric))
}

/// Samples count from 0 upwards and are whole.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters")]
fn count(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

fn used(now: Option<&Cpu>, before: Option<&Cpu>) -> Option<Used> {
    Some(now?.since(before?))
}

fn router(number: usize, seen: &RouterSeen, gathered: &Gathered, window_s: f64, ended: u64) -> Router {
    let at = |look: &Look| look.routers.get(number).cloned().flatten();
    let used = used(at(&gathered.last).as_ref(), at(&gathered.first).as_ref());
    let sum = |metric: &str| difference(gathered, number, metric);
    let messages = messages(gathered, number);
    let per_message = |metric: &str| sum(metric).zip(messages).map(|(value, (there, _))| value / there);
    let memory = gathered.memory.get(number).copied().flatten();
    let routes =
        gathered.settled.get(number).and_then(Option::as_ref).map(|page| count(page.sum("kernpost_table_routes")));
    Router {
        name: seen.name.clone(),
        cpu_us_per_message: used.as_ref().filter(|_| ended > 0).map(|used| float(used.total_ns) / 1e3 / float(ended)),
        cpu_cores: used.as_ref().map(|used| float(used.total_ns) / 1e9 / window_s),
        threads: used.iter().flat_map(|used| threads(used, window_s)).take(THREADS).collect(),
        signature_checks_per_message: per_message("kernpost_signature_checks_total"),
        root_cache_hits_per_message: per_message("kernpost_root_cache_hits_total"),
        digest_checks_per_message: per_message("kernpost_digest_checks_total"),
        entries_received: sum("kernpost_entries_received_total").map(count),
        parts_received: sum("kernpost_parts_received_total").map(count),
        parts_sent: sum("kernpost_parts_sent_total").map(count),
        entries_waited: sum("kernpost_entries_waited_total").map(count),
        resident_bytes: memory.map(|memory| memory.resident),
        peak_bytes: memory.map(|memory| memory.peak),
        routes,
    }
}

fn threads(used: &Used, window_s: f64) -> Vec<(String, f64)> {
    used.threads.iter().map(|(name, ns)| (name.clone(), float(*ns) / 1e9 / window_s)).collect()
}

fn all_routers(routers: &[Router]) -> AllRouters {
    let sum = |of: fn(&Router) -> Option<f64>| {
        let known: Option<Vec<f64>> = routers.iter().map(of).collect();
        known.filter(|known| !known.is_empty()).map(|known| known.iter().sum())
    };
    AllRouters {
        cpu_us_per_message: sum(|router| router.cpu_us_per_message),
        signature_checks_per_message: sum(|router| router.signature_checks_per_message),
        largest_resident_bytes: routers.iter().filter_map(|router| router.resident_bytes).max(),
    }
}

fn fill(source: &SourceResult, sink: Option<&SinkResult>, gathered: &Gathered) -> Fill {
    let last = gathered.before.len().checked_sub(1);
    let forwarded = last.and_then(|last| {
        let entries = difference(gathered, last, "kernpost_entries_forwarded_total")?;
        let parts = difference(gathered, last, "kernpost_parts_sent_total")?;
        (parts > 0.0).then(|| entries / parts)
    });
    Fill {
        sent: ratio(source.attempts_measured, source.bundles_measured),
        sent_entries: source.attempts_measured,
        forwarded,
        receipts: sink.map(|sink| ratio(sink.receipts, sink.receipt_frames)),
    }
}

fn links(gathered: &Gathered, source: &SourceResult) -> Links {
    let payload = ratio(source.payload_bytes, source.measured.started);
    let last = gathered.before.len().saturating_sub(1);
    let at = |number: usize, part: &str| {
        let fits = |labels: &Labels| labels.get("peer").is_some_and(|peer| peer.contains(part));
        let (before, after) = compared(gathered, number)?;
        let bytes = |metric: &str| after.sum_where(metric, fits) - before.sum_where(metric, fits);
        let (there, back) = messages(gathered, number)?;
        let (received, sent) = (bytes("kernpost_quic_received_bytes_total"), bytes("kernpost_quic_sent_bytes_total"));
        // Messages come from senders and leave to everybody else; answers go the other way.
        let (to_router, from_router) = if part == Part::Sender.prefix() {
            (received / there, sent / back)
        } else {
            (received / back, sent / there)
        };
        (to_router + from_router > 0.0).then_some(LinkBytes {
            to_router_per_message: to_router,
            from_router_per_message: from_router,
            payload_per_message: payload,
            overhead_per_message: to_router + from_router - payload,
        })
    };
    Links {
        sender: at(0, Part::Sender.prefix()),
        recipient: at(last, Part::Recipient.prefix()),
        between_routers: (last > 0).then(|| at(0, "router/")).flatten(),
    }
}

fn generator(gathered: &Gathered, window_s: f64) -> Generator {
    let source = used(gathered.last.source.as_ref(), gathered.first.source.as_ref()).unwrap_or_default();
    let sink = used(gathered.last.sink.as_ref(), gathered.first.sink.as_ref()).unwrap_or_default();
    let named = |process: &str, used: &Used| {
        let threads = threads(used, window_s).into_iter().take(THREADS);
        threads.map(|(name, share)| (process.to_owned(), name, share)).collect::<Vec<_>>()
    };
    let mut all = named("source", &source);
    all.extend(named("sink", &sink));
    all.sort_by(|a, b| b.2.total_cmp(&a.2));
    let idle = gathered.last.machine.zip(gathered.first.machine).map(|((idle, total), (idle_before, total_before))| {
        ratio(idle.saturating_sub(idle_before), total.saturating_sub(total_before))
    });
    Generator {
        late_us: summary(&gathered.source.late),
        held_back: ratio(gathered.source.held_back, gathered.source.measured.started),
        source_cores: float(source.total_ns) / 1e9 / window_s,
        sink_cores: float(sink.total_ns) / 1e9 / window_s,
        threads: all,
        machine_idle: idle.unwrap_or(1.0),
        machine_cores: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

fn signs(scenario: &Scenario, source: &SourceResult, rate: Rate, generator: &Generator, routers: &[Router]) -> Signs {
    let busiest = |router: &Router| router.threads.iter().map(|(_, share)| *share).reduce(f64::max);
    Signs {
        closed: scenario.load.shape == Shape::Closed,
        late_p99_us: merged(&source.late).at(0.99),
        offered_per_s: rate.offered_per_s,
        achieved_per_s: rate.achieved_per_s,
        held_back: generator.held_back,
        generator: generator.threads.first().cloned(),
        router: routers.iter().filter_map(busiest).reduce(f64::max),
        generator_cores: generator.source_cores + generator.sink_cores,
        router_cores: routers.iter().filter_map(|router| router.cpu_cores).sum(),
        idle: generator.machine_idle,
        machine_cores: float(generator.machine_cores as u64),
        slow_on_purpose: scenario.faults.slow.is_some(),
    }
}

fn checks(gathered: &Gathered, recheck_asked: bool) -> Checks {
    let source = &gathered.source;
    let sink = gathered.sink.as_ref();
    // What is undecided may have been handed on; without such a message both sets are the same.
    let exact = source.all.undecided + source.all.open() + source.all.other + source.all.custody == 0;
    let agrees = sink
        .map(|sink| if exact { sink.unique == source.receipted } else { sink.unique.count >= source.receipted.count });
    Checks {
        messages: source.all.started,
        open: source.all.open(),
        outcome_faults: source.faults,
        receipts_due: source.all.delivered + source.all.rejected,
        receipts_verified: source.receipts,
        receipts_invalid: source.invalid_receipts,
        recheck_asked,
        receipts_rechecked: source.rechecked,
        recheck_share: ratio(source.rechecked, source.receipts),
        recheck_failures: source.recheck_failures,
        recheck_impossible: source.recheck_impossible,
        sink_unique: sink.map(|sink| sink.unique.count),
        sink_agrees: agrees,
        sink_strange: sink.map(|sink| sink.strange),
        sink_duplicates: sink.map(|sink| sink.duplicates),
        ledgers_balance: gathered.ledgers_balance.filter(|_| source.all.open() == 0),
    }
}
