//! Order within a case: only its first message may be under way (WIRE 10.5).
//!
//! Bounded by the outbox: a case without messages is forgotten.

use std::collections::{BTreeSet, HashMap};

use super::slot::CaseKey;
use crate::core::outgoing::Ticket;

#[derive(Debug, Default)]
pub(crate) struct Cases {
    queues: HashMap<CaseKey, BTreeSet<Ticket>, foldhash::fast::RandomState>,
}

impl Cases {
    /// Adds a message to its case; true when it is the first and may go.
    pub fn join(&mut self, case: &CaseKey, ticket: Ticket) -> bool {
        let queue = self.queues.entry(case.clone()).or_default();
        queue.insert(ticket);
        queue.len() == 1
    }

    /// A message of the case ended; returns the one that may go next, if the ended one was first.
    pub fn leave(&mut self, case: &CaseKey, ticket: Ticket) -> Option<Ticket> {
        let queue = self.queues.get_mut(case)?;
        let was_first = queue.first() == Some(&ticket);
        queue.remove(&ticket);
        let next = queue.first().copied();
        if next.is_none() {
            self.queues.remove(case);
        }
        next.filter(|_| was_first)
    }
}
