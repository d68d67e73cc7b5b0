//! One message in the outbox: what it is, where it stands, and what is known about its earlier attempts.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::part::LONGEST_INLINE_PAYLOAD;
use kernpost_codecs::{Ars, Class, Code, EndpointId, MessageId, ServiceKey};

use crate::core::proof::{ReceiptProof, TreeProof};

/// Where a message goes: what a busy signal holds back, and the order of entries in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Destination {
    Endpoint(EndpointId),
    Route(ServiceKey, Ars),
}

/// A case of one sender in one class (WIRE 10.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CaseKey {
    pub sender: usize,
    pub class: Class,
    pub case: Bytes,
}

/// ```text
///             +--> BehindCase --+       +--> HeldBack --+
///  accepted --+                 +--> Ready <------------+
///             +-----------------+      |  ^
///                                      v  | retry, ask, resend
///                                 InFlight --> Resting --> (final)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
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
    /// An interim receipt, or the one that will be final at the timeout.
    pub custody: Option<ReceiptProof>,
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
