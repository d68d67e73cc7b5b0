//! Order within a case (WIRE 10.5): which message of it may be under way, and through which router?
//!
//! One message of a case is under way at a time. Once one of them is in custody the next go through the same router only,
//! until its final outcome. While that router cannot be reached the case is held, for a bounded time; then it goes on and
//! its order is no longer promised. Bounded by the outbox: a case without messages is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::slot::CaseKey;
use crate::core::outgoing::Ticket;

#[derive(Debug, Default)]
struct Case {
    waiting: BTreeSet<Ticket>,
    under_way: Option<Ticket>,
    /// Messages in custody, and the number of the router that has each; `None`: none of this process's routers.
    custody: BTreeMap<Ticket, Option<usize>>,
    /// Held until then.
    held_us: Option<u64>,
    /// Its order was given up; anew when nothing of it is in custody any more.
    unordered: bool,
}

impl Case {
    fn pin(&self) -> Option<Option<usize>> {
        self.custody.last_key_value().map(|(_, router)| *router).filter(|_| !self.unordered)
    }

    fn next(&mut self) -> Option<Ticket> {
        if self.under_way.is_some() {
            return None;
        }
        self.under_way = self.waiting.pop_first();
        self.under_way
    }

    /// Somebody wants to go, but not through another router than this one.
    fn wants(&self) -> Option<Option<usize>> {
        self.pin().filter(|_| self.under_way.is_some())
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none() && self.custody.is_empty()
    }
}

/// What happened to a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CaseChange {
    Held { case: CaseKey, router: Option<usize> },
    Resumed { case: CaseKey },
    OrderEnded { case: CaseKey },
}

#[derive(Debug, Default)]
pub(crate) struct Cases {
    cases: HashMap<CaseKey, Case, foldhash::fast::RandomState>,
    holds: BTreeSet<(u64, CaseKey)>,
    /// Cases with custody that changed since the last review.
    stirred: Vec<CaseKey>,
}

impl Cases {
    /// Adds a message to its case; returns who may go now.
    pub fn join(&mut self, key: &CaseKey, ticket: Ticket) -> Option<Ticket> {
        let case = self.cases.entry(key.clone()).or_default();
        case.custody.remove(&ticket);
        case.waiting.insert(ticket);
        if !case.custody.is_empty() {
            self.stirred.push(key.clone());
        }
        case.next()
    }

    /// A message of the case is in custody; returns who may go now, through that router.
    pub fn in_custody(&mut self, key: &CaseKey, ticket: Ticket, router: Option<usize>) -> Option<Ticket> {
        let case = self.cases.entry(key.clone()).or_default();
        case.waiting.remove(&ticket);
        if case.under_way == Some(ticket) {
            case.under_way = None;
        }
        case.custody.insert(ticket, router);
        self.stirred.push(key.clone());
        case.next()
    }

    /// A message of the case ended; returns who may go now.
    pub fn leave(&mut self, key: &CaseKey, ticket: Ticket) -> Option<Ticket> {
        let case = self.cases.get_mut(key)?;
        case.waiting.remove(&ticket);
        case.custody.remove(&ticket);
        if case.under_way == Some(ticket) {
            case.under_way = None;
        }
        if case.custody.is_empty() {
            case.unordered = false;
        }
        let next = case.next();
        if !case.custody.is_empty() || case.held_us.is_some() {
            self.stirred.push(key.clone());
        }
        if case.is_empty() {
            if let Some(until) = case.held_us {
                self.holds.remove(&(until, key.clone()));
            }
            self.cases.remove(key);
        }
        next
    }

    /// Whether this message is the one of its case that may go.
    pub fn is_under_way(&self, key: &CaseKey, ticket: Ticket) -> bool {
        self.cases.get(key).is_some_and(|case| case.under_way == Some(ticket))
    }

    /// The only router through which messages of this case may go; `Some(None)`: none that is known here.
    pub fn pin(&self, key: &CaseKey) -> Option<Option<usize>> {
        self.cases.get(key).and_then(Case::pin)
    }

    /// Until when the case is held.
    pub fn held_us(&self, key: &CaseKey) -> Option<u64> {
        self.cases.get(key)?.held_us
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        self.holds.len()
    }

    /// Whether some case has to be looked at.
    pub fn is_stirred(&self) -> bool {
        !self.stirred.is_empty()
    }

    /// Holds the cases that cannot go on, and releases those that can again: those that changed, or with `all` every one,
    /// because routers came or went.
    pub fn review(
        &mut self,
        until_us: u64,
        all: bool,
        reaches: impl Fn(usize, Option<usize>) -> bool,
    ) -> Vec<CaseChange> {
        let mut changed = std::mem::take(&mut self.stirred);
        if all {
            let pinned = self.cases.iter().filter(|(_, case)| case.pin().is_some() || case.held_us.is_some());
            changed = pinned.map(|(key, _)| key.clone()).collect();
            changed.sort_unstable();
        }
        changed.into_iter().filter_map(|key| self.review_one(key, until_us, &reaches)).collect()
    }

    fn review_one(
        &mut self,
        key: CaseKey,
        until_us: u64,
        reaches: &impl Fn(usize, Option<usize>) -> bool,
    ) -> Option<CaseChange> {
        let case = self.cases.get_mut(&key)?;
        let stuck = case.wants().filter(|router| !reaches(key.sender, *router));
        match (stuck, case.held_us) {
            (Some(router), None) => {
                case.held_us = Some(until_us);
                self.holds.insert((until_us, key.clone()));
                Some(CaseChange::Held { case: key, router })
            }
            (None, Some(until)) => {
                case.held_us = None;
                self.holds.remove(&(until, key.clone()));
                Some(CaseChange::Resumed { case: key })
            }
            _ => None,
        }
    }

    /// Cases held long enough: they go on without promise of order.
    pub fn handle_timeout(&mut self, now_us: u64) -> Vec<CaseChange> {
        let mut changes = Vec::new();
        while self.holds.first().is_some_and(|(until, _)| *until <= now_us) {
            let Some((_, key)) = self.holds.pop_first() else { break };
            let Some(case) = self.cases.get_mut(&key) else { continue };
            case.held_us = None;
            case.unordered = true;
            changes.push(CaseChange::OrderEnded { case: key });
        }
        changes
    }

    pub fn poll_deadline(&self) -> Option<u64> {
        self.holds.first().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bytes::Bytes;
    use kernpost_codecs::Class;

    use super::*;

    fn key() -> CaseKey {
        CaseKey { sender: 0, class: Class::Interactive, case: Bytes::from_static(b"case") }
    }

    #[test]
    fn after_custody_the_next_goes_through_the_same_router_only() {
        let mut cases = Cases::default();
        assert_eq!(cases.join(&key(), Ticket(1)), Some(Ticket(1)));
        assert_eq!(cases.join(&key(), Ticket(2)), None);
        assert_eq!(cases.in_custody(&key(), Ticket(1), Some(7)), Some(Ticket(2)));
        assert_eq!(cases.pin(&key()), Some(Some(7)));
        assert_eq!(cases.leave(&key(), Ticket(1)), None);
        assert_eq!(cases.pin(&key()), None);
    }

    #[test]
    fn a_case_is_held_while_its_router_is_away_and_then_goes_on_without_order() {
        let mut cases = Cases::default();
        cases.join(&key(), Ticket(1));
        cases.in_custody(&key(), Ticket(1), Some(7));
        assert!(cases.review(100, true, |_, _| false).is_empty(), "nobody wants to go");
        cases.join(&key(), Ticket(2));
        assert!(matches!(cases.review(100, true, |_, _| false)[..], [CaseChange::Held { router: Some(7), .. }]));
        assert!(cases.review(200, true, |_, _| false).is_empty(), "held once");
        assert_eq!(cases.poll_deadline(), Some(100));
        assert!(matches!(cases.handle_timeout(100)[..], [CaseChange::OrderEnded { .. }]));
        assert_eq!((cases.pin(&key()), cases.held()), (None, 0));
    }

    #[test]
    fn a_case_goes_on_when_its_router_is_back() {
        let mut cases = Cases::default();
        cases.join(&key(), Ticket(1));
        cases.in_custody(&key(), Ticket(1), Some(7));
        cases.join(&key(), Ticket(2));
        cases.review(100, true, |_, _| false);
        assert!(matches!(cases.review(200, true, |_, _| true)[..], [CaseChange::Resumed { .. }]));
        assert_eq!((cases.held(), cases.poll_deadline()), (0, None));
    }

    #[test]
    fn a_message_that_has_to_be_sent_again_goes_before_the_later_ones() {
        let mut cases = Cases::default();
        cases.join(&key(), Ticket(1));
        cases.in_custody(&key(), Ticket(1), Some(7));
        assert_eq!(cases.join(&key(), Ticket(2)), Some(Ticket(2)));
        cases.join(&key(), Ticket(3));
        assert_eq!(cases.join(&key(), Ticket(1)), None);
        assert_eq!(cases.leave(&key(), Ticket(2)), Some(Ticket(1)));
    }
}
