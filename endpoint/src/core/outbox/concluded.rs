//! Which messages ended, and how, so that a later receipt is judged by the precedence of WIRE 10.6?
//!
//! Bounded: the oldest are forgotten. With a durable outbox that one remembers them longer.

use std::collections::{HashMap, VecDeque};

use kernpost_codecs::{MessageId, Outcome};
use kernpost_router_core::mutant::{self, Mutant};

use crate::core::outgoing::FinalOutcome;
use crate::core::store::Concluded;

/// What a verified receipt does to the outcome that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precedence {
    /// Says nothing new, or something of lower precedence.
    Nothing,
    /// Replaces it.
    Replaces,
    /// Contradicts a recipient's earlier word, which stands.
    Contradicts,
}

impl Concluded {
    /// The precedence of WIRE 10.6; an unsigned outcome yields to every signed one but *custody*.
    pub fn precedence(&self, outcome: Outcome, code: u64, issuer: &str) -> Precedence {
        let new = FinalOutcome::from(outcome);
        let same = self.outcome == new && self.code == code && self.issuer.as_deref() == Some(issuer);
        match (self.outcome, new) {
            (_, FinalOutcome::Custody) => Precedence::Nothing,
            _ if same => Precedence::Nothing,
            (before, new) if before.is_by_recipient() && new.is_by_recipient() => Precedence::Contradicts,
            (before, _) if before.is_by_recipient() && !mutant::is(Mutant::PrecedenceIgnored) => Precedence::Nothing,
            (before, _) if before.is_by_recipient() => Precedence::Replaces,
            (_, new) if new.is_by_recipient() => Precedence::Replaces,
            (FinalOutcome::Refused | FinalOutcome::Undecided | FinalOutcome::Custody, _) => Precedence::Replaces,
            _ => Precedence::Nothing,
        }
    }
}

type Identity = (usize, MessageId);

/// The messages that ended last.
#[derive(Debug)]
pub(crate) struct ConcludedMessages {
    known: HashMap<Identity, Concluded, foldhash::fast::RandomState>,
    order: VecDeque<Identity>,
    capacity: usize,
}

impl ConcludedMessages {
    pub fn new(capacity: usize) -> Self {
        Self { known: HashMap::default(), order: VecDeque::new(), capacity: capacity.max(1) }
    }

    pub fn get(&self, sender: usize, id: MessageId) -> Option<&Concluded> {
        self.known.get(&(sender, id))
    }

    /// Remembers how a message ended, in place of what was remembered of it.
    pub fn insert(&mut self, id: MessageId, concluded: Concluded) {
        let identity = (concluded.sender, id);
        if self.known.insert(identity, concluded).is_some() {
            return;
        }
        self.order.push_back(identity);
        while self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn ended(outcome: FinalOutcome, issuer: Option<&str>) -> Concluded {
        Concluded { sender: 0, statement: Bytes::new(), outcome, code: 0, issuer: issuer.map(str::to_owned) }
    }

    #[test]
    fn the_first_word_of_a_recipient_stands_and_a_second_one_is_a_contradiction() {
        let delivered = ended(FinalOutcome::Delivered, Some("de/city"));
        assert_eq!(delivered.precedence(Outcome::Delivered, 0, "de/city"), Precedence::Nothing);
        assert_eq!(delivered.precedence(Outcome::Rejected, 7, "de/city"), Precedence::Contradicts);
        assert_eq!(delivered.precedence(Outcome::Delivered, 0, "de/other"), Precedence::Contradicts);
        assert_eq!(delivered.precedence(Outcome::Expired, 0, "de/router/a"), Precedence::Nothing);
    }

    #[test]
    fn a_recipients_word_replaces_a_routers_and_that_replaces_nobodys() {
        let expired = ended(FinalOutcome::Expired, Some("de/router/a"));
        assert_eq!(expired.precedence(Outcome::Delivered, 0, "de/city"), Precedence::Replaces);
        assert_eq!(expired.precedence(Outcome::Returned, 0, "de/router/a"), Precedence::Nothing);
        assert_eq!(expired.precedence(Outcome::Custody, 0, "de/router/a"), Precedence::Nothing);
        let undecided = ended(FinalOutcome::Undecided, None);
        assert_eq!(undecided.precedence(Outcome::Expired, 0, "de/router/a"), Precedence::Replaces);
    }

    #[test]
    fn only_so_many_ended_messages_are_remembered() {
        let mut messages = ConcludedMessages::new(2);
        for n in 0..5 {
            messages.insert(MessageId([n; 16]), ended(FinalOutcome::Delivered, None));
        }
        assert!(messages.get(0, MessageId([2; 16])).is_none() && messages.get(0, MessageId([3; 16])).is_some());
    }
}
