//! Was the generator itself the bottleneck? Then its numbers say nothing about the network, and it has to say so.
//!
//! Three signs, each with a stated bound:
//!
//! 1. *late*: messages started later than intended although there was room for them; 1 in 100 more than [`LATE_US`].
//! 2. *saturated*: a thread of source or sink used more than [`SATURATED`] of a core, while messages were held back or
//!    fewer ended than were offered.
//! 3. *starved*: the machine had no CPU left, and the generator's processes used more of it than the routers.
//!
//! A closed loop has no intended times; there only a saturated generator beside an idle machine counts: the routers could
//! have done more.

use serde::Serialize;

/// Starting a message this much late is the generator's fault, µs, when it happens to 1 in 100.
pub const LATE_US: u64 = 5_000;
/// A thread that uses this share of a core has no room.
pub const SATURATED: f64 = 0.93;
/// A machine with less than this share of its CPU idle has none left.
pub const IDLE: f64 = 0.03;
/// Fewer messages than this share of those offered is falling behind.
const BEHIND: f64 = 0.98;
/// More messages held back than this share is falling behind.
const HELD_BACK: f64 = 0.02;

/// What the verdict is made from.
#[derive(Debug, Clone, Default)]
pub struct Signs {
    /// Whether messages had no intended times.
    pub closed: bool,
    /// 99 of 100 messages started at most this late although there was room, µs.
    pub late_p99_us: u64,
    /// Messages offered, and outcomes, in the measured time, per second.
    pub offered_per_s: f64,
    /// See `offered_per_s`.
    pub achieved_per_s: f64,
    /// Share of the messages that waited for room.
    pub held_back: f64,
    /// Busiest thread of the generator: process, thread, share of a core.
    pub generator: Option<(String, String, f64)>,
    /// Busiest thread of the routers, share of a core; none when they run elsewhere.
    pub router: Option<f64>,
    /// Cores used by source and sink, and by the routers.
    pub generator_cores: f64,
    /// See `generator_cores`.
    pub router_cores: f64,
    /// Share of the machine's CPU that was idle.
    pub idle: f64,
    /// Cores of the machine.
    pub machine_cores: f64,
    /// Whether recipients were made slow on purpose.
    pub slow_on_purpose: bool,
}

/// What limited the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Nothing: everything offered was done.
    Offered,
    /// The network under test.
    Network,
    /// The machine that all of it ran on.
    Machine,
    /// The generator: its numbers say nothing about the network.
    Generator,
}

/// The verdict, with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What limited the run.
    pub limit: Limit,
    /// Why, one line each.
    pub why: Vec<String>,
}

impl Verdict {
    /// Whether the numbers say nothing about the network.
    #[must_use]
    pub fn generator_bound(&self) -> bool {
        self.limit == Limit::Generator
    }
}

/// Judges.
#[must_use]
pub fn judge(signs: &Signs) -> Verdict {
    let mut why = Vec::new();
    let behind = !signs.closed
        && (signs.achieved_per_s < BEHIND * signs.offered_per_s || signs.held_back > HELD_BACK)
        && !signs.slow_on_purpose;
    let saturated = signs.generator.as_ref().filter(|(_, _, share)| *share >= SATURATED);
    let idle = signs.idle >= IDLE;
    let router_saturated = signs.router.is_some_and(|share| share >= SATURATED);
    let name = |(process, thread, share): &(String, String, f64)| {
        format!("thread {thread} of the {process} used {:.0} % of a core", share * 100.0)
    };
    if signs.closed {
        return match saturated {
            Some(busiest) if idle && !router_saturated => {
                why.push(name(busiest));
                let spare = signs.idle * 100.0;
                why.push(format!("the machine was {spare:.0} % idle, and no router thread was saturated"));
                Verdict { limit: Limit::Generator, why }
            }
            _ if !idle => {
                why.push(shares(signs));
                Verdict { limit: Limit::Machine, why }
            }
            _ => Verdict { limit: Limit::Network, why },
        };
    }
    if signs.late_p99_us > LATE_US {
        why.push(format!(
            "1 in 100 messages started more than {} late although there was room (bound {})",
            crate::units::shown_us(as_float(signs.late_p99_us)),
            crate::units::shown_us(as_float(LATE_US)),
        ));
        why.extend(saturated.map(name));
        if !idle {
            why.push(shares(signs));
        }
        return Verdict { limit: Limit::Generator, why };
    }
    if behind && let Some(busiest) = saturated {
        why.push(format!("{}, and messages waited", name(busiest)));
        return Verdict { limit: Limit::Generator, why };
    }
    if behind && !idle && signs.generator_cores > signs.router_cores {
        why.push(shares(signs));
        return Verdict { limit: Limit::Generator, why };
    }
    if behind && !idle {
        why.push(shares(signs));
        return Verdict { limit: Limit::Machine, why };
    }
    Verdict { limit: if behind { Limit::Network } else { Limit::Offered }, why }
}

fn shares(signs: &Signs) -> String {
    format!(
        "the machine's CPU was used up: generator {:.2} cores, routers {:.2}, other processes {:.2}, idle {:.1} %",
        signs.generator_cores,
        signs.router_cores,
        (signs.machine_cores * (1.0 - signs.idle) - signs.generator_cores - signs.router_cores).max(0.0),
        signs.idle * 100.0
    )
}

#[expect(clippy::cast_precision_loss, reason = "microseconds far below 2^53")]
fn as_float(us: u64) -> f64 {
    us as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn easy() -> Signs {
        Signs {
            offered_per_s: 1_000.0,
            achieved_per_s: 1_000.0,
            late_p99_us: 80,
            idle: 0.6,
            generator: Some(("source".to_owned(), "kp-endpoint".to_owned(), 0.2)),
            router: Some(0.1),
            ..Signs::default()
        }
    }

    #[test]
    fn a_run_that_kept_up_was_limited_by_what_was_offered() {
        assert_eq!(judge(&easy()), Verdict { limit: Limit::Offered, why: Vec::new() });
    }

    #[test]
    fn starting_late_with_room_is_the_generators_fault() {
        let verdict = judge(&Signs { late_p99_us: 20_000, ..easy() });
        assert!(verdict.generator_bound());
        assert!(verdict.why.iter().any(|why| why.contains("20.0 ms") && why.contains("5.00 ms")), "{verdict:?}");
    }

    #[test]
    fn a_saturated_thread_that_fell_behind_is_named() {
        let busiest = Some(("source".to_owned(), "kp-endpoint".to_owned(), 0.99));
        let verdict = judge(&Signs { generator: busiest.clone(), achieved_per_s: 700.0, ..easy() });
        assert!(verdict.generator_bound());
        assert!(verdict.why.iter().any(|why| why.contains("kp-endpoint") && why.contains("99 %")), "{verdict:?}");
        // The same thread that keeps up is no bottleneck.
        assert_eq!(judge(&Signs { generator: busiest, ..easy() }).limit, Limit::Offered);
    }

    #[test]
    fn a_network_that_falls_behind_while_the_generator_has_room_is_the_limit() {
        assert_eq!(judge(&Signs { achieved_per_s: 700.0, held_back: 0.5, ..easy() }).limit, Limit::Network);
        // Slow on purpose is not falling behind.
        let slow = Signs { achieved_per_s: 700.0, slow_on_purpose: true, ..easy() };
        assert_eq!(judge(&slow).limit, Limit::Offered);
    }

    #[test]
    fn a_machine_without_cpu_is_named_by_who_used_it() {
        let full = Signs { idle: 0.0, achieved_per_s: 700.0, generator_cores: 0.7, router_cores: 1.3, ..easy() };
        assert_eq!(judge(&full).limit, Limit::Machine);
        assert!(judge(&Signs { generator_cores: 1.3, router_cores: 0.7, ..full }).generator_bound());
    }

    #[test]
    fn a_closed_loop_is_generator_bound_only_beside_an_idle_machine() {
        let busy = Some(("source".to_owned(), "kp-endpoint".to_owned(), 0.99));
        let closed = Signs { closed: true, generator: busy, ..easy() };
        assert!(judge(&closed).generator_bound());
        assert_eq!(judge(&Signs { idle: 0.01, ..closed.clone() }).limit, Limit::Machine);
        assert_eq!(judge(&Signs { router: Some(0.99), ..closed }).limit, Limit::Network);
    }
}
