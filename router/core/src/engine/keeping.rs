//! Who takes what nobody can take now? At the ingress router custody does, when there is one, it takes something, and the message's
//! statement allows it. Messages of a case queue behind what custody holds for the same endpoint (WIRE 10.5).

use kernpost_codecs::{Code, EndpointId, Entry, MessageRef};

use super::Engine;
use super::lane_state::Waiting;
use crate::collections::Set;
use crate::crossing::{Move, Onward};
use crate::custody::CUSTODY_LINK;
use crate::link::WorkerId;
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::routing::{NoWay, Way};

/// What an engine knows of custody. As large as the number of endpoints something waits for.
#[derive(Debug)]
pub(super) struct CustodyView {
    worker: Option<WorkerId>,
    /// How much less shall be taken, 0..=100; nothing until custody says so.
    percent: u8,
    behind: Set<EndpointId>,
}

impl CustodyView {
    pub fn new(worker: Option<WorkerId>) -> Self {
        Self { worker, percent: NOTHING, behind: Set::default() }
    }

    /// The way to custody, when there is one.
    pub fn way(&self) -> Option<Way> {
        self.worker.map(|worker| Way { worker, link: CUSTODY_LINK, hops_left: 0 })
    }

    /// Whether this entry may go to custody.
    pub fn may_keep(&self, entry: &Entry, message: &MessageRef<'_>) -> bool {
        self.worker.is_some() && message.custody_allowed && !entry.hop.ask
    }

    pub fn takes(&self) -> bool {
        self.worker.is_some() && self.percent < NOTHING
    }

    /// Percent of the usual credit for endpoint sides. A quarter is left whatever happens: live traffic needs no spool.
    pub fn credit_percent(&self) -> u64 {
        match self.worker {
            Some(_) if self.percent > 0 => u64::from(NOTHING - self.percent.min(NOTHING)).max(LEAST_CREDIT),
            _ => u64::from(NOTHING),
        }
    }

    pub fn set_backlog(&mut self, endpoint: EndpointId, behind: bool) {
        if behind {
            self.behind.insert(endpoint);
        } else {
            self.behind.remove(&endpoint);
        }
    }

    pub fn is_behind(&self, endpoint: &EndpointId) -> bool {
        self.behind.contains(endpoint)
    }
}

impl Engine {
    /// Where an entry goes for which routing found `found`; at ingress only.
    pub(super) fn or_custody(
        &self,
        entry: &Entry,
        message: &MessageRef<'_>,
        sender: &EndpointId,
        found: Result<(EndpointId, Way), NoWay>,
    ) -> Result<(EndpointId, Way), NoWay> {
        let Some(custody) = self.custody.way() else { return found };
        if entry.hop.ask {
            // Custody looks into its spool, whoever is responsible now; it passes on what it does not know.
            let recipient =
                found.map(|(recipient, _)| recipient).unwrap_or_else(|no| no.endpoint.unwrap_or(sender.clone()));
            return Ok((recipient, custody));
        }
        let kept = self.custody.may_keep(entry, message) && self.custody.takes();
        match found {
            // What is ahead of it in its case waits here: it waits behind that, or with its sender.
            Ok((recipient, _))
                if message.case.is_some()
                    && self.custody.is_behind(&recipient)
                    && !mutant::is(Mutant::BacklogIgnored) =>
            {
                if kept {
                    Ok((recipient, custody))
                } else {
                    Err(NoWay { endpoint: Some(recipient), ..Code::BUSY.into() })
                }
            }
            Err(NoWay { code: Code::BUSY | Code::NOT_ATTACHED, endpoint: Some(endpoint), .. }) if kept => {
                Ok((endpoint, custody))
            }
            found => found,
        }
    }

    /// Entries that a link here cannot take now go to custody instead of back.
    pub(super) fn hand_to_custody(&mut self, now: Now, onward: &Onward, moves: Vec<Move>) {
        if let Some(way) = self.custody.way().filter(|_| !moves.is_empty()) {
            self.stats.entries_to_custody += moves.len() as u64;
            self.hand_on(now, way.worker, Onward { moves, target: way.link, ..onward.clone() });
        }
    }

    /// An entry that waited for credit in vain.
    pub(super) fn hand_waiting_to_custody(&mut self, now: Now, waiting: Waiting) {
        let Waiting { part, entry, origin, deadline_ms, .. } = waiting;
        let (from_worker, from_link, label) = (origin.worker, origin.link, origin.label);
        let (class, sequence) = (label.class, label.sequence);
        let onward = Onward {
            part,
            moves: Vec::new(),
            from_worker,
            from_link,
            class,
            sequence,
            target: CUSTODY_LINK,
            deadline_ms,
        };
        self.hand_to_custody(now, &onward, vec![entry]);
    }

    /// Custody takes more or less than before.
    pub(super) fn on_pressure(&mut self, percent: u8) {
        self.custody.percent = percent;
        let percent = self.custody.credit_percent();
        let links: Vec<_> = self.links.keys().copied().collect();
        for link in links {
            if let Some(state) = self.links.get_mut(&link).filter(|state| !state.peer.is_router()) {
                state.scale_credit(&self.config, percent);
                self.note_credit(link);
            }
        }
    }
}

const NOTHING: u8 = 100;
/// Percent.
const LEAST_CREDIT: u64 = 25;
