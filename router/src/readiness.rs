//! Can this router route right now, and if not, why not?
//!
//! Each part of the router keeps one gate. A gate is closed, with a reason, until its part says otherwise; the router is
//! ready when all are open. Reading takes one snapshot and never waits.

use std::collections::BTreeMap;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

/// What has to be in order for the router to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// A directory is in force that lists this router.
    Directory,
    /// Every worker listens.
    Listening,
    /// The control side runs.
    Control,
    /// No peer's clock is more than 60 s off (WIRE 3.1).
    Clock,
    /// Custody was read from the spool, and nothing has failed since; always open without one.
    Custody,
    /// The router is not draining.
    Drain,
}

impl Gate {
    /// All gates.
    pub const ALL: [Self; 6] =
        [Self::Directory, Self::Listening, Self::Control, Self::Clock, Self::Custody, Self::Drain];

    /// Its name in `/readyz`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Listening => "listening",
            Self::Control => "control",
            Self::Clock => "clock",
            Self::Custody => "custody",
            Self::Drain => "drain",
        }
    }
}

/// One reason not to be ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The gate's name.
    pub gate: String,
    /// Why it is closed.
    pub reason: String,
}

/// The gates of a router.
#[derive(Debug)]
pub struct Readiness {
    closed: ArcSwap<BTreeMap<Gate, String>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::starting()
    }
}

impl Readiness {
    /// The gates of a router that has just started: all closed but those that close only on trouble.
    #[must_use]
    pub fn starting() -> Self {
        let parts = [Gate::Directory, Gate::Listening, Gate::Control, Gate::Custody];
        let closed = parts.map(|gate| (gate, "starting".to_owned()));
        Self { closed: ArcSwap::from_pointee(closed.into()) }
    }

    /// The part of this gate is in order.
    pub fn open(&self, gate: Gate) {
        if self.closed.load().contains_key(&gate) {
            self.closed.rcu(|closed| {
                let mut closed = BTreeMap::clone(closed);
                closed.remove(&gate);
                closed
            });
        }
    }

    /// The part of this gate is not in order, for this reason.
    pub fn close(&self, gate: Gate, reason: &str) {
        if self.closed.load().get(&gate).map(String::as_str) != Some(reason) {
            self.closed.rcu(|closed| {
                let mut closed = BTreeMap::clone(closed);
                closed.insert(gate, reason.to_owned());
                closed
            });
        }
    }

    /// Whether all gates are open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.closed.load().is_empty()
    }

    /// Why the router is not ready; empty when it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        let reason = |(gate, reason): (&Gate, &String)| Reason { gate: gate.name().to_owned(), reason: reason.clone() };
        self.closed.load().iter().map(reason).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_ready_only_when_every_gate_is_open() {
        let readiness = Readiness::starting();
        assert!(!readiness.is_ready());
        for gate in Gate::ALL {
            readiness.open(gate);
        }
        assert!(readiness.is_ready());
        readiness.close(Gate::Drain, "draining until 12:00");
        assert_eq!(
            readiness.reasons(),
            [Reason { gate: "drain".to_owned(), reason: "draining until 12:00".to_owned() }]
        );
    }

    #[test]
    fn gates_changed_by_several_threads_at_once_are_all_kept() {
        let readiness = Readiness::starting();
        std::thread::scope(|scope| {
            for gate in Gate::ALL {
                let readiness = &readiness;
                scope.spawn(move || {
                    for round in 0..1_000 {
                        readiness.close(gate, &round.to_string());
                    }
                    readiness.close(gate, "last");
                });
            }
        });
        let reasons = readiness.reasons();
        assert_eq!(reasons.len(), Gate::ALL.len());
        assert!(reasons.iter().all(|reason| reason.reason == "last"));
    }
}
