//! What a client can be asked about itself: attachments and counters.

use std::collections::BTreeMap;

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
    /// The journal failed: nothing more is accepted until a restart.
    pub journal_failed: bool,
    /// The durable outbox failed: nothing more is sent until a restart.
    pub outbox_failed: bool,
    /// Cases held (*case-held*) because the router that has an earlier message in custody cannot be reached.
    pub cases_held: usize,
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
