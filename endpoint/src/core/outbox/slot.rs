//! One message in the outbox: what it is, where it stands, and what is known about its earlier attempts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::part::LONGEST_INLINE_PAYLOAD;
use kernpost_codecs::statement::Message;
use kernpost_codecs::tree::leaf_hash;
use kernpost_codecs::{Ars, Class, Code, EndpointId, MessageId, Retry, RouterId, SKEW_MS, ServiceKey, UnixMs};

use super::cases::Cases;
use crate::core::limits::Limits;
use crate::core::now::Now;
use crate::core::proof::{ReceiptProof, TreeProof};

/// So many attempts without success, about ten seconds of them, before a message is sent again without an answer to asks.
const ASKS_IN_VAIN: u32 = 10;

/// How long after its expiry a message without final outcome is followed, ms.
const CLOSED_AFTER_MS: u64 = 30 * 86_400_000;

/// Where a message goes: what a busy signal holds back, and the order of entries in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Destination {
    Endpoint(EndpointId),
    Route(ServiceKey, Ars),
}

/// A case of one sender in one class (WIRE 10.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CaseKey {
    pub sender: usize,
    pub class: Class,
    pub case: Bytes,
}

/// ```text
///              +--> BehindCase --+       +--> HeldBack --+
///  Storing? ---+                 +--> Ready <------------+
///              +-----------------+    ^  |  ^
///                            Loading --+ v  | retry, ask, resend
///                                 InFlight --> Resting --> (final)
/// ```
/// `Storing` and `Loading` only with a durable outbox. Custody is no stage here: a message in custody rests between asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not durable yet: it must not leave.
    Storing,
    /// Its payload is on its way back from the durable outbox.
    Loading,
    /// An earlier message of the case is not settled.
    BehindCase,
    /// In the ready queue of its sender and class.
    Ready,
    /// Its destination said busy.
    HeldBack,
    /// On a link, under a label.
    InFlight,
    /// Waits for its next attempt.
    Resting { until_us: u64 },
}

/// The router that has a message in custody.
#[derive(Debug, Clone)]
pub(crate) struct Custody {
    /// Its number, if it is one of this process's.
    pub router: Option<usize>,
    pub id: RouterId,
    /// Its receipt; missing for a message found in the durable outbox.
    pub proof: Option<ReceiptProof>,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub sender: usize,
    pub id: MessageId,
    pub class: Class,
    pub leaf: Digest,
    pub statement: Bytes,
    pub payload: Bytes,
    /// The payload is in this file.
    pub file: Option<PathBuf>,
    /// Bytes of the payload, wherever it is.
    pub length: u64,
    pub destination: Destination,
    pub case: Option<CaseKey>,
    pub give_up_us: u64,
    pub timeout_ms: u64,
    pub stage: Stage,
    pub attempts: u32,
    /// Consecutive attempts without success: the exponent of the backoff.
    pub setbacks: u32,
    /// Some attempt was undecided: it can no longer count as refused (WIRE 8.5).
    pub may_have_arrived: bool,
    /// The next attempt is an ask (WIRE 10.1).
    pub ask: bool,
    /// A router that answered *elsewhere*: others first.
    pub avoid: Option<usize>,
    pub last_code: Code,
    pub last_text: Option<String>,
    pub custody: Option<Custody>,
    /// Does not count as open: in custody, or followed after its timeout.
    pub parked: bool,
    /// Its payload is in memory, or in its file; else in the durable outbox.
    pub payload_here: bool,
    /// Asks since it came into custody or timed out: the exponent of their waits.
    pub patience: u32,
    /// The last receipt *damaged* that was acted upon.
    pub damaged: Option<ReceiptProof>,
    /// Only an answer is wanted: never sent, and ended by the first answer.
    pub inquiry: bool,
    pub expires: UnixMs,
    pub custody_allowed: bool,
    /// Its stage at the timeout was told.
    pub timed_out: bool,
    /// The tree the message was last signed in, for its proof.
    pub signed: Option<(Arc<TreeProof>, u16)>,
}

impl Slot {
    /// Whether its payload travels on a stream of its own (WIRE 6.2).
    pub fn is_large(&self) -> bool {
        self.length > LONGEST_INLINE_PAYLOAD as u64
    }

    /// Whether its next attempt is such an entry.
    pub fn is_detached(&self) -> bool {
        self.is_large() && !self.ask
    }

    /// A new message, before anything is known about it.
    pub fn new(sender: usize, message: &Message, statement: Bytes, destination: Destination) -> Self {
        let case = message.case.clone().map(|case| CaseKey { sender, class: message.class, case });
        Self {
            sender,
            id: message.id,
            class: message.class,
            leaf: leaf_hash(&statement),
            statement,
            payload: Bytes::new(),
            file: None,
            length: message.payload_len,
            destination,
            case,
            give_up_us: 0,
            timeout_ms: 0,
            stage: Stage::BehindCase,
            attempts: 0,
            setbacks: 0,
            may_have_arrived: false,
            ask: false,
            avoid: None,
            last_code: Code::NOT_READY,
            last_text: None,
            custody: None,
            parked: false,
            payload_here: true,
            patience: 0,
            damaged: None,
            inquiry: false,
            expires: message.created.plus_s(message.lifetime_s.into()),
            custody_allowed: message.custody_allowed,
            timed_out: false,
            signed: None,
        }
    }

    /// The instant at which it is closed without a final outcome: 30 days after it expired (WIRE 10.2).
    pub fn closes(&self) -> UnixMs {
        self.expires.plus_ms(CLOSED_AFTER_MS)
    }

    /// When a message that is only followed has to be looked at: it no longer holds up its case 120 s after it expired, when nobody
    /// may deliver it any more; at last it is closed.
    pub fn due(&self) -> UnixMs {
        let holds_up = self.case.is_some() && self.custody.is_none();
        if holds_up { self.expires.plus_ms(2 * SKEW_MS) } else { self.closes() }
    }

    /// A receipt *damaged* that nothing can follow any more: it is in nobody's custody, and nobody may deliver it now (WIRE 10.3).
    pub fn last_word(&self, now: Now) -> Option<ReceiptProof> {
        let over = now.wall >= self.expires.plus_ms(2 * SKEW_MS);
        self.damaged.clone().filter(|_| over && self.custody.is_none() && !self.inquiry)
    }

    /// What the code of a settlement says about earlier and later attempts (WIRE 8.5, 10.1, 10.3).
    pub fn learn(&mut self, now: Now, code: Code) {
        let expired = self.expires < now.wall;
        if code.is_undecided() {
            self.may_have_arrived = true;
            self.ask = true;
        } else if code.retry() == Retry::Never {
            // It can no longer count as refused: only the recipient or a spool knows. Keep asking until the timeout.
            self.ask = true;
        } else if code == Code::UNKNOWN_MESSAGE {
            self.ask = self.inquiry || expired;
        } else if code == Code::NOT_ATTACHED {
            // Nobody there to be asked, for a while: sent again, a router may take it into custody, which it never does with an ask.
            // One whose sender has been told that it takes longer was asked for all that while.
            let patient = self.setbacks < ASKS_IN_VAIN && !self.timed_out;
            self.ask = self.inquiry || (self.ask && (patient || expired || !self.custody_allowed));
        }
    }

    /// The wait before a message that is only followed is asked for again, ms.
    pub fn patience_ms(&mut self, limits: &Limits) -> u64 {
        let wait = limits.custody_ask_first_ms.saturating_mul(1 << self.patience.min(20));
        self.patience = self.patience.saturating_add(1);
        wait.min(limits.custody_ask_longest_ms)
    }

    /// The least wait after a settlement without receipt, ms: none while it is open. One that is only followed comes again soon
    /// when there was merely no room, which says nothing of the chances to learn more; else with patience.
    pub fn wait_ms(&mut self, limits: &Limits, code: Code) -> u64 {
        match code {
            _ if !self.timed_out => 0,
            Code::BUSY if self.setbacks <= 2 => 0,
            Code::BUSY => limits.custody_ask_first_ms,
            _ => self.patience_ms(limits),
        }
    }

    /// The only router through which it may go: the one that has it in custody, as long as that can be reached, or the one
    /// that has an earlier message of its case. `Some(None)`: none that is known here.
    pub fn bound_to(&self, cases: &Cases, reach: Option<&BTreeSet<usize>>) -> Option<Option<usize>> {
        if let Some(custody) = &self.custody {
            let router = custody.router.filter(|router| reach.is_some_and(|reach| reach.contains(router)));
            return router.map(Some);
        }
        cases.pin(self.case.as_ref().filter(|_| !self.inquiry)?)
    }

    /// What the message costs of a link's credit (WIRE 7.1); an ask and a detached entry carry no payload.
    pub fn credit_bytes(&self) -> u64 {
        let payload = if self.ask || self.is_large() { 0 } else { self.payload.len() };
        (self.statement.len() + payload) as u64 + kernpost_codecs::credit::SETTLEMENT_RESERVE
    }

    /// What the message holds of the outbox.
    pub fn held_bytes(&self) -> usize {
        self.statement.len() + self.payload.len()
    }
}
