//! The invariants of the simulation, as facts collected along the run and judged at once.
//!
//! - a *delivered* or *rejected* that a sender believes is in the durable journal of the endpoint that issued it;
//! - a message that ended *refused* was never handed to an application;
//! - no ticket finishes twice; nothing is handed over again after its verdict became durable;
//! - every router's and every core's ledger balances after every step;
//! - while every earlier message of a case was delivered, the case is first handed over in the order of sending.

use std::collections::{BTreeMap, BTreeSet};

use kernpost_codecs::{EndpointId, MessageId, Outcome};
use kernpost_endpoint::core::{FinalOutcome, SendOutcome, Ticket};

use super::endpoint_node::EndpointNode;
use super::router_node::RouterNode;

/// What the run saw.
#[derive(Default)]
pub struct Facts {
    /// Per portal incarnation.
    finished: BTreeSet<(u64, Ticket)>,
    pub outcomes: BTreeMap<FinalOutcomeName, u64>,
    handed_over: BTreeMap<MessageId, u64>,
    /// Sending order of each case, and the order of first hand-over.
    sent_in_case: BTreeMap<Vec<u8>, Vec<MessageId>>,
    seen_in_case: BTreeMap<Vec<u8>, Vec<MessageId>>,
    not_delivered: BTreeSet<MessageId>,
}

pub type FinalOutcomeName = &'static str;

impl Facts {
    pub fn sent(&mut self, case: Option<&[u8]>, id: MessageId) {
        if let Some(case) = case {
            self.sent_in_case.entry(case.to_vec()).or_default().push(id);
        }
    }

    /// The sender learned the outcome of a message.
    pub fn finished(
        &mut self,
        incarnation: u64,
        ticket: Ticket,
        outcome: &SendOutcome,
        sender: &EndpointId,
        endpoints: &[EndpointNode],
    ) -> Result<(), String> {
        if !self.finished.insert((incarnation, ticket)) {
            return Err(format!("{ticket:?} of message {} finished twice", outcome.id));
        }
        *self.outcomes.entry(outcome.outcome.name()).or_insert(0) += 1;
        let key = (sender.clone(), outcome.id);
        // Two endpoints may be responsible, one after the other; each answers for its own journal.
        let issuer = outcome.issuer.as_ref().map(ToString::to_string);
        let issued_by = endpoints.iter().find(|node| issuer.as_deref() == Some(node.id.as_str()));
        let journalled = issued_by.and_then(|node| node.disk.journal.get(&key));
        if outcome.outcome != FinalOutcome::Delivered {
            self.not_delivered.insert(outcome.id);
        }
        match (outcome.outcome, journalled) {
            (FinalOutcome::Delivered, Some(record)) if record.outcome == Outcome::Delivered => Ok(()),
            (FinalOutcome::Rejected, Some(record)) if record.outcome == Outcome::Rejected => Ok(()),
            (FinalOutcome::Delivered | FinalOutcome::Rejected, found) => {
                Err(format!("{} settled {} but the journal holds {found:?}", outcome.id, outcome.outcome.name()))
            }
            (FinalOutcome::Refused, _) if self.handed_over.contains_key(&outcome.id) => {
                Err(format!("{} settled refused ({}) but was handed over", outcome.id, outcome.code))
            }
            _ => Ok(()),
        }
    }

    /// An application is about to see a message.
    pub fn handed_over(
        &mut self,
        node: &EndpointNode,
        sender: &EndpointId,
        id: MessageId,
        case: Option<&[u8]>,
    ) -> Result<(), String> {
        if node.disk.journal.contains_key(&(sender.clone(), id)) {
            return Err(format!("{id} was handed over again after its verdict was durable"));
        }
        let times = self.handed_over.entry(id).or_insert(0);
        *times += 1;
        if *times == 1
            && let Some(case) = case
        {
            self.seen_in_case.entry(case.to_vec()).or_default().push(id);
        }
        Ok(())
    }

    /// Books of everybody who is alive.
    pub fn balanced<'a>(
        routers: impl Iterator<Item = &'a RouterNode>,
        endpoints: impl Iterator<Item = &'a EndpointNode>,
    ) -> Result<(), String> {
        for router in routers {
            for engine in &router.engines {
                if !engine.ledger().balanced() {
                    return Err(format!("ledger of {} does not balance: {:?}", router.id, engine.ledger()));
                }
                let open: u64 = engine.link_counts().iter().map(|link| link.open_labels).sum();
                if open != engine.ledger().in_flight {
                    let in_flight = engine.ledger().in_flight;
                    return Err(format!("{} has {open} labels open, its ledger says {in_flight}", router.id));
                }
            }
        }
        for endpoint in endpoints {
            if !endpoint.core.ledger().balances() {
                return Err(format!("ledger of {} does not balance: {:?}", endpoint.id, endpoint.core.ledger()));
            }
        }
        Ok(())
    }

    /// Cases of which every message was delivered were first seen in the order of sending.
    pub fn in_order(&self) -> Result<(), String> {
        for (case, sent) in &self.sent_in_case {
            if sent.iter().any(|id| self.not_delivered.contains(id)) {
                continue;
            }
            let seen = self.seen_in_case.get(case).map_or(&[][..], Vec::as_slice);
            let mut last = 0;
            for id in seen {
                let Some(at) = sent.iter().position(|sent| sent == id) else { continue };
                if at < last {
                    return Err(format!("case {case:02x?}: message {at} was handed over after message {last}"));
                }
                last = at;
            }
        }
        Ok(())
    }
}
