//! What was proposed and not confirmed yet? Giving messages up takes two people.
//!
//! Kept in memory for an hour: a restart forgets them, which costs nothing but proposing again. At most 64; a further one is
//! refused until one is confirmed or its hour is over.

use std::collections::BTreeMap;

use kernpost_router_core::Now;
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::message_name::MessageName;

/// How long a proposal may be confirmed, ms.
pub const VALID_MS: u64 = 3_600_000;
/// Proposals kept at once.
pub const MOST_OPEN: usize = 64;
/// Messages one proposal may name.
pub const MOST_MESSAGES: usize = 256;
/// Longest reason, bytes: it stands in the receipts (WIRE 4.3).
pub const LONGEST_REASON: usize = 1_024;

/// Messages to be given up, if somebody else agrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its number, never used twice while the process lives.
    pub number: u64,
    /// Who proposed it.
    pub by: Account,
    /// The messages.
    pub messages: Vec<MessageName>,
    /// Why; the senders read it.
    pub reason: String,
    /// When it was made, Unix ms.
    pub at: u64,
}

/// Why a proposal was not taken or not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalFault {
    /// No message, or too many.
    #[error("name 1 to {MOST_MESSAGES} messages")]
    Messages,
    /// No reason, or one that does not fit a receipt.
    #[error("give a reason of 1 to {LONGEST_REASON} bytes: the senders will read it")]
    Reason,
    /// Too many wait.
    #[error("{MOST_OPEN} proposals wait for confirmation: confirm them, or wait until their hour is over")]
    Full,
    /// Not there.
    #[error("there is no proposal {0}: it was carried out, its hour is over, or the router was restarted since")]
    Unknown(u64),
    /// The same person.
    #[error("{0} proposed this: somebody else has to confirm it, under an account of their own")]
    SamePerson(Account),
    /// A person the kernel cannot tell apart.
    #[error("{0} cannot be told apart from others: the router runs in a user namespace (PrivateUsers=)")]
    Anonymous(Account),
}

/// The proposals of this process.
#[derive(Debug, Default)]
pub struct Proposals {
    last: u64,
    open: BTreeMap<u64, (u64, Proposal)>,
}

impl Proposals {
    /// Takes a proposal; nothing happens to the messages.
    ///
    /// # Errors
    /// It names no message or too many, has no usable reason, too many wait, or `by` is anonymous.
    pub fn propose(
        &mut self,
        now: Now,
        by: &Account,
        messages: Vec<MessageName>,
        reason: &str,
    ) -> Result<Proposal, ProposalFault> {
        self.expire(now);
        let reason = reason.trim();
        let faults = [
            (!by.is_known(), ProposalFault::Anonymous(by.clone())),
            (!(1..=MOST_MESSAGES).contains(&messages.len()), ProposalFault::Messages),
            (reason.is_empty() || reason.len() > LONGEST_REASON, ProposalFault::Reason),
            (self.open.len() >= MOST_OPEN, ProposalFault::Full),
        ];
        if let Some((_, fault)) = faults.into_iter().find(|(wrong, _)| *wrong) {
            return Err(fault);
        }
        self.last += 1;
        let number = self.last;
        let proposal = Proposal { number, by: by.clone(), messages, reason: reason.to_owned(), at: now.wall.0 };
        self.open.insert(number, (now.after_ms(VALID_MS), proposal.clone()));
        Ok(proposal)
    }

    /// Takes a proposal out, to be carried out at once.
    ///
    /// # Errors
    /// It is not there any more, or `by` is the one who made it, or anonymous. Then it stays.
    pub fn confirm(&mut self, now: Now, number: u64, by: &Account) -> Result<Proposal, ProposalFault> {
        self.expire(now);
        let (_, proposal) = self.open.get(&number).ok_or(ProposalFault::Unknown(number))?;
        if proposal.by.uid == by.uid {
            return Err(ProposalFault::SamePerson(by.clone()));
        }
        if !by.is_known() {
            return Err(ProposalFault::Anonymous(by.clone()));
        }
        self.open.remove(&number).map(|(_, proposal)| proposal).ok_or(ProposalFault::Unknown(number))
    }

    /// Puts a proposal back that could not be carried out.
    pub fn put_back(&mut self, now: Now, proposal: Proposal) {
        self.open.insert(proposal.number, (now.after_ms(VALID_MS), proposal));
    }

    /// Those that wait, the oldest first.
    pub fn waiting(&mut self, now: Now) -> Vec<Proposal> {
        self.expire(now);
        self.open.values().map(|(_, proposal)| proposal.clone()).collect()
    }

    fn expire(&mut self, now: Now) {
        self.open.retain(|_, (until, _)| now.mono_us < *until);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use kernpost_codecs::{MessageId, UnixMs};

    use super::*;

    fn at(minutes: u64) -> Now {
        Now { mono_us: minutes * 60_000_000, wall: UnixMs(minutes * 60_000) }
    }

    fn account(uid: u32) -> Account {
        Account { uid, user: format!("user{uid}") }
    }

    fn messages(count: usize) -> Vec<MessageName> {
        vec![MessageName { sender: "de/portal".parse().unwrap(), id: MessageId([7; 16]) }; count]
    }

    #[test]
    fn somebody_else_confirms_and_only_once() {
        let mut proposals = Proposals::default();
        let proposal = proposals.propose(at(0), &account(1), messages(1), " by order ").unwrap();
        assert_eq!((proposal.number, proposal.reason.as_str()), (1, "by order"));
        assert_eq!(proposals.confirm(at(1), 1, &account(1)), Err(ProposalFault::SamePerson(account(1))));
        assert_eq!(proposals.confirm(at(1), 1, &account(2)).unwrap(), proposal);
        assert_eq!(proposals.confirm(at(1), 1, &account(2)), Err(ProposalFault::Unknown(1)));
    }

    #[test]
    fn an_hour_later_it_is_gone_and_its_number_is_not_used_again() {
        let mut proposals = Proposals::default();
        proposals.propose(at(0), &account(1), messages(1), "r").unwrap();
        assert_eq!(proposals.waiting(at(59)).len(), 1);
        assert_eq!(proposals.confirm(at(60), 1, &account(2)), Err(ProposalFault::Unknown(1)));
        assert_eq!(proposals.propose(at(61), &account(1), messages(1), "r").unwrap().number, 2);
    }

    #[test]
    fn those_that_cannot_be_told_apart_neither_propose_nor_confirm() {
        let mut proposals = Proposals::default();
        let foreign = account(OVERFLOW);
        assert!(matches!(proposals.propose(at(0), &foreign, messages(1), "r"), Err(ProposalFault::Anonymous(_))));
        proposals.propose(at(0), &account(1), messages(1), "r").unwrap();
        assert!(matches!(proposals.confirm(at(0), 1, &foreign), Err(ProposalFault::Anonymous(_))));
    }

    /// Linux's default; a machine that changed it runs this test with its own number in vain.
    const OVERFLOW: u32 = 65_534;

    #[test]
    fn bounds_are_kept() {
        let mut proposals = Proposals::default();
        let mut propose = |count, reason: &str| proposals.propose(at(0), &account(1), messages(count), reason);
        assert_eq!(propose(0, "r"), Err(ProposalFault::Messages));
        assert_eq!(propose(MOST_MESSAGES + 1, "r"), Err(ProposalFault::Messages));
        assert_eq!(propose(1, "  "), Err(ProposalFault::Reason));
        assert_eq!(propose(1, &"x".repeat(LONGEST_REASON + 1)), Err(ProposalFault::Reason));
        for _ in 0..MOST_OPEN {
            propose(1, "r").unwrap();
        }
        assert_eq!(propose(1, "r"), Err(ProposalFault::Full));
    }
}
