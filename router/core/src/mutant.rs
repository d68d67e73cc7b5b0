//! Faults put in on purpose, to prove that the simulation finds them. Nothing of this is compiled without the feature `mutants`,
//! which only `cargo xtask simulate --mutants` turns on: [`is`] is then constant `false`.

/// A deliberate fault; each has one place in the code that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mutant {
    /// The spool answers before its fsync.
    AcknowledgeBeforeFsync,
    /// Custody takes a failed commit for a good one.
    IgnoreFsyncError,
    /// An engine does not settle what was under way on a link that is lost.
    ForgetSettlementOnLinkLoss,
    /// An engine calls what passed its deadline refused instead of undecided.
    RefuseInsteadOfUndecided,
    /// A recipient does not look into its journal.
    SkipDeduplication,
    /// A router that is not the ingress takes custody too.
    CustodyAtTwoHops,
    /// The receipt that ended a message is not sent to its sender.
    LateReceiptDropped,
    /// An engine does not give back the credit of what settled.
    CreditLeak,
    /// Custody lets go of a message when it is sent, not when it has ended.
    EraseWhenSent,
    /// Custody sends the messages of a case without waiting for the one before.
    CaseOrderIgnored,
    /// Messages of a case overtake what waits in custody.
    BacklogIgnored,
    /// A recipient signs *delivered* before its journal is durable.
    ReceiptBeforeJournal,
    /// What cannot be read back goes aside without telling its sender.
    DamageSilent,
    /// A receipt *expired* is issued as soon as the message expires.
    ExpireWithoutGrace,
    /// What may have been handed on before is not marked redelivered.
    RedeliveredForgotten,
    /// A sender reports a message as taken before its outbox is durable.
    OutboxNotDurable,
    /// A sender lets a later outcome replace *delivered*.
    PrecedenceIgnored,
    /// A sender closes a message for good at *custody*.
    CustodyIsFinal,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::AcknowledgeBeforeFsync,
        Self::IgnoreFsyncError,
        Self::ForgetSettlementOnLinkLoss,
        Self::RefuseInsteadOfUndecided,
        Self::SkipDeduplication,
        Self::CustodyAtTwoHops,
        Self::LateReceiptDropped,
        Self::CreditLeak,
        Self::EraseWhenSent,
        Self::CaseOrderIgnored,
        Self::BacklogIgnored,
        Self::ReceiptBeforeJournal,
        Self::DamageSilent,
        Self::ExpireWithoutGrace,
        Self::RedeliveredForgotten,
        Self::OutboxNotDurable,
        Self::PrecedenceIgnored,
        Self::CustodyIsFinal,
    ];
}

#[cfg(feature = "mutants")]
mod active {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// From now on this thread has this fault, or none.
    pub fn set(mutant: Option<Mutant>) {
        ACTIVE.with(|active| active.set(mutant));
    }

    /// Whether this thread has this fault.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        ACTIVE.with(|active| active.get() == Some(mutant))
    }
}

#[cfg(feature = "mutants")]
pub use active::{is, set};

/// Never: the feature `mutants` is off.
#[cfg(not(feature = "mutants"))]
#[must_use]
#[inline(always)]
pub const fn is(_: Mutant) -> bool {
    false
}
