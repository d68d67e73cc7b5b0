//! What does the core ask of a durable outbox, and what does it want to hear back?
//!
//! The store itself is the shell's ([`crate::outbox_store`]), because files are. With [`Core::keep_durably`] no message leaves
//! before it is durable, payloads of parked messages live in the store alone, and a late receipt is noted only once its
//! outcome is durable (WIRE 10.2). Without it everything lives as long as the process.

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::{EndpointId, MessageId, UnixMs};

use super::large::PayloadFile;
use super::outgoing::{FinalOutcome, SendError, SendOutcome, Ticket};

/// A question to the durable outbox that wants an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(pub u64);

/// What the durable outbox has to do.
#[derive(Debug, Clone)]
pub enum StoreOrder {
    /// Make this message durable, and answer by [`Core::handle_accepted`](super::Core::handle_accepted).
    Accept(Box<AcceptRecord>),
    /// Write this down.
    Outcome(Box<OutcomeRecord>),
    /// Give the payload back by [`Core::handle_loaded`](super::Core::handle_loaded).
    Load {
        /// Which message.
        ticket: Ticket,
        /// The endpoint that sent it.
        sender: EndpointId,
        /// Its id.
        message: MessageId,
    },
    /// What is known about a message that is not open here? Answered by
    /// [`Core::handle_recalled`](super::Core::handle_recalled).
    Recall {
        /// Echoed in the answer.
        id: StoreId,
        /// The endpoint that sent it.
        sender: EndpointId,
        /// Its id.
        message: MessageId,
    },
}

/// A message to be made durable.
#[derive(Debug, Clone)]
pub struct AcceptRecord {
    /// Echoed in the answer.
    pub ticket: Ticket,
    /// The endpoint that sends it.
    pub sender: EndpointId,
    /// Its id.
    pub message: MessageId,
    /// Its statement.
    pub statement: Bytes,
    /// Its payload; empty when it is in a file.
    pub payload: Bytes,
    /// The file with its payload: remembered by its path, not copied.
    pub file: Option<PayloadFile>,
    /// The caller's key.
    pub key: Option<Bytes>,
    /// What another sending with this key must equal.
    pub content: Digest,
    /// From here on no message is delivered.
    pub expires: UnixMs,
}

/// What became of [`StoreOrder::Accept`].
#[derive(Debug, Clone)]
pub enum Accepted {
    /// It is durable and may leave.
    Durable,
    /// Its idempotency key names a message that was accepted before, with the same content.
    Known {
        /// That message.
        message: MessageId,
        /// Its outcome or stage, when it has one.
        outcome: Option<Box<SendOutcome>>,
        /// Whether that is its end.
        is_final: bool,
    },
    /// It was not taken.
    Refused(SendError),
}

/// What an [`OutcomeRecord`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A stage; the message stays open.
    Stage,
    /// The outcome that stands, in place of an earlier one. The payload is no longer needed.
    Final,
    /// Contradicts the one that stands: kept beside it.
    Contradiction,
}

/// A stage or an outcome to be written down. For a message the store does not hold there is nothing to do.
#[derive(Debug, Clone)]
pub struct OutcomeRecord {
    /// Whether to answer by [`Core::handle_outcome_stored`](super::Core::handle_outcome_stored) once it is durable.
    pub answer: Option<StoreId>,
    /// The endpoint that sent the message.
    pub sender: EndpointId,
    /// What it is.
    pub place: Place,
    /// The outcome with its proof.
    pub outcome: SendOutcome,
    /// When the message expires, for what is kept until some time after that.
    pub expires: UnixMs,
}

/// A message found in the durable outbox at the start, without final outcome.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// Its statement.
    pub statement: Bytes,
    /// The file with its payload, if it came from one.
    pub file: Option<PayloadFile>,
    /// How it stood last: in custody, or sent again because its copy there was damaged.
    pub stage: Option<Box<SendOutcome>>,
}

/// What is remembered of a message that ended.
#[derive(Debug, Clone)]
pub(crate) struct Concluded {
    pub sender: usize,
    pub statement: Bytes,
    pub outcome: FinalOutcome,
    pub code: u64,
    pub issuer: Option<String>,
}
