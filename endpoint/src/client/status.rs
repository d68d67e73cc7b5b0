//! What a client can be asked about itself: attachments and counters.

use std::collections::BTreeMap;
use std::time::Duration;

use kernpost_codecs::EndpointId;

use crate::core::{Core, Ledger};

/// A snapshot of a client's state.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Status {
    /// On how many links each endpoint is attached.
    pub attached: BTreeMap<EndpointId, usize>,
    /// Why routers last refused to attach endpoints that are attached nowhere.
    pub refused: BTreeMap<EndpointId, String>,
    /// Whether a directory is in force.
    pub directory: bool,
    /// The counters.
    pub ledger: Ledger,
    /// How long messages are in the library's turns.
    pub turns: Turns,
    /// The journal failed: nothing more is accepted until a restart.
    pub journal_failed: bool,
    /// The durable outbox failed: nothing more is sent until a restart.
    pub outbox_failed: bool,
    /// Cases held (*case-held*) because the router that has an earlier message in custody cannot be reached.
    pub cases_held: usize,
}

/// How long messages are in the turns of the library that deal with them: those that go out, those that come in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns {
    /// Hashing, signing and laying out bundles, until the last one of the turn is done.
    pub sealing: TurnTimes,
    /// Decoding what one read brought and checking signatures, proofs and digests, until all of it is judged.
    pub judging: TurnTimes,
}

/// Turns that dealt with messages, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnTimes {
    /// Messages.
    pub messages: u64,
    /// How long their turns took, summed over messages, µs.
    pub waited_us: u64,
}

impl TurnTimes {
    pub(crate) fn add(&mut self, turn: Duration, messages: u64) {
        let turn_ns = u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
        self.messages += messages;
        self.waited_us = self.waited_us.saturating_add(turn_ns.saturating_mul(messages) / 1_000);
    }
}

impl Status {
    /// Whether every endpoint is attached somewhere and a directory is in force.
    pub fn is_ready(&self) -> bool {
        self.directory && self.attached.values().all(|links| *links > 0)
    }

    pub(crate) fn refresh(&mut self, core: &Core) {
        self.directory = core.table().is_some();
        self.cases_held = core.held_cases();
        for (endpoint, links) in &mut self.attached {
            *links = core.attached(endpoint);
            if *links > 0 {
                self.refused.remove(endpoint);
            }
        }
    }
}
