//! What an application asks to be sent, and what it is told in the end.

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::statement::{Assurance, ContentType, Message};
use kernpost_codecs::{Ars, Class, Code, DirectoryVersion, EndpointId, MessageId, Outcome, Party, ServiceKey, UnixMs};

use super::large::PayloadFile;
use super::proof::ReceiptProof;

/// A message in the outbox; given by the core, never reused in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The message id; the caller draws it (the core has no randomness).
    pub id: MessageId,
    /// The sending endpoint, one of this process.
    pub sender: EndpointId,
    /// Half of the route key.
    pub service: ServiceKey,
    /// The other half.
    pub jurisdiction: Ars,
    /// An explicit recipient; the route key then only informs.
    pub recipient: Option<EndpointId>,
    /// The payload. Above 65,536 bytes it travels on a stream of its own once the recipient wants it (WIRE 9); it is held in
    /// memory until the outcome, so large ones are better sent from a file.
    pub payload: Bytes,
    /// A payload that stays on disk; `payload` is then empty.
    pub file: Option<PayloadFile>,
    /// What the payload is.
    pub content_type: ContentType,
    /// Priority.
    pub class: Class,
    /// Seconds until it expires, 1..=2,592,000.
    pub lifetime_s: u32,
    /// Opaque case id, 1..=32 bytes: messages of one case arrive in order.
    pub case: Option<Bytes>,
    /// The message this one answers.
    pub in_reply_to: Option<MessageId>,
    /// Asserted level of assurance.
    pub assurance: Option<Assurance>,
    /// Whether a router may keep it for later.
    pub custody_allowed: bool,
    /// Opaque mailbox handle, 1..=64 bytes; a reply repeats it.
    pub mailbox: Option<Bytes>,
    /// Key the payload is encrypted for.
    pub encryption_key: Option<Digest>,
    /// How long to try, ms. Afterwards the outcome is refused or undecided, whichever is true. A large payload that makes
    /// progress has this long from its last progress, and one whose case is held (WIRE 10.5) has it from the end of that. What
    /// is in custody by then, or in a durable outbox and undecided, is followed further; see [`SendOutcome`].
    pub timeout_ms: u64,
    /// The caller's own name for this sending, 1..=64 bytes: with a durable outbox the same key (per sender) with the same
    /// content is the same message, however often it is sent; with other content it is refused. A refused message frees its
    /// key, because it was certainly never handed on.
    pub idempotency_key: Option<Bytes>,
}

impl Outgoing {
    /// A message with defaults: interactive, 30 days of life, octet-stream, custody allowed, 60 s of trying.
    pub fn new(id: MessageId, sender: EndpointId, service: ServiceKey, jurisdiction: Ars, payload: Bytes) -> Self {
        Self {
            id,
            sender,
            service,
            jurisdiction,
            recipient: None,
            payload,
            file: None,
            content_type: ContentType::default(),
            class: Class::Interactive,
            lifetime_s: 2_592_000,
            case: None,
            in_reply_to: None,
            assurance: None,
            custody_allowed: true,
            mailbox: None,
            encryption_key: None,
            timeout_ms: 60_000,
            idempotency_key: None,
        }
    }

    /// The same message with a payload from a file.
    #[must_use]
    pub fn with_file(self, file: PayloadFile) -> Self {
        Self { payload: Bytes::new(), file: Some(file), ..self }
    }

    /// Bytes of the payload, wherever it is.
    pub fn payload_length(&self) -> u64 {
        self.file.as_ref().map_or(self.payload.len() as u64, |file| file.length)
    }

    /// What two sendings with one idempotency key must have in common: everything but id, instant and directory version.
    pub(crate) fn content(&self) -> Digest {
        let mut message = self.statement(UnixMs(0), DirectoryVersion(Digest([0; 32])));
        message.id = MessageId([0; 16]);
        Digest::of(&message.encode())
    }

    /// The statement, created at `now` under the directory version held.
    pub(crate) fn statement(&self, now: UnixMs, version: DirectoryVersion) -> Message {
        Message {
            id: self.id,
            sender: self.sender.clone(),
            service: self.service,
            jurisdiction: self.jurisdiction,
            recipient: self.recipient.clone(),
            created: now,
            lifetime_s: self.lifetime_s,
            class: self.class,
            payload_digest: self.file.as_ref().map_or_else(|| Digest::of(&self.payload), |file| file.digest),
            payload_len: self.payload_length(),
            content_type: self.content_type.clone(),
            case: self.case.clone(),
            in_reply_to: self.in_reply_to,
            assurance: self.assurance,
            custody_allowed: self.custody_allowed,
            directory_version: version,
            mailbox: self.mailbox.clone(),
            encryption_key: self.encryption_key,
        }
    }
}

/// Why a message was not taken into the outbox. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The outbox holds its bound of messages or bytes; wait for outcomes.
    #[error("the outbox is full ({messages} messages, {bytes} bytes): wait until earlier messages have their outcome")]
    OutboxFull {
        /// Messages held.
        messages: usize,
        /// Bytes held.
        bytes: usize,
    },
    /// The sender is no endpoint of this process.
    #[error("{0} is not an endpoint of this process: list it under [[endpoint]] with its signing key")]
    UnknownSender(EndpointId),
    /// A field is out of its range.
    #[error("{field} {problem}")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The same (sender, id) is already in the outbox.
    #[error("message {0} is already in the outbox: draw a new id for a new message")]
    IdInUse(MessageId),
    /// The idempotency key was used for another content: `id-reused` for keys.
    #[error("id-reused: the idempotency key was used before, for message {0} with other content; use a new key")]
    KeyReused(MessageId),
    /// An idempotency key without a durable outbox, which alone remembers keys.
    #[error("an idempotency key needs the durable outbox: configure [outbox] with a folder")]
    NoOutbox,
    /// The durable outbox holds its bound of messages or bytes.
    #[error("the durable outbox is full ({0}): wait for outcomes, or raise outbox.messages and outbox.bytes")]
    StoreFull(String),
    /// The durable outbox could not make the message durable. Nothing was sent.
    #[error("the durable outbox failed: {0}")]
    Store(String),
    /// What shall be asked for is no statement of a message sent by an endpoint of this process.
    #[error("{0}")]
    NotAskable(String),
    /// The client is closing.
    #[error("the client is closing and takes no more messages")]
    Closing,
}

/// How a message stands or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinalOutcome {
    /// Durable in the recipient's inbox; a verified receipt says so.
    Delivered,
    /// The recipient rejected it; a verified receipt says so.
    Rejected,
    /// Certainly never handed on.
    Refused,
    /// May have been handed on; nobody said so until the timeout. With a durable outbox a stage: it is asked for further, and
    /// closed 30 days after it expired.
    Undecided,
    /// A router holds it durably and will deliver it. A stage: the final outcome follows.
    Custody,
    /// A router held it and had not delivered it when it expired.
    Expired,
    /// A router's stored copy was damaged.
    Damaged,
    /// A router may no longer route it.
    Returned,
    /// Discarded by two operators of a router.
    Discarded,
}

impl FinalOutcome {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Delivered,
        Self::Rejected,
        Self::Refused,
        Self::Undecided,
        Self::Custody,
        Self::Expired,
        Self::Damaged,
        Self::Returned,
        Self::Discarded,
    ];

    /// Whether nothing of higher precedence can follow but by a contradiction (WIRE 10.6): stated by the recipient.
    pub fn is_by_recipient(self) -> bool {
        matches!(self, Self::Delivered | Self::Rejected)
    }

    /// The outcome of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// The word of the vocabulary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Undecided => "undecided",
            Self::Custody => "custody",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Returned => "returned",
            Self::Discarded => "discarded",
        }
    }
}

impl From<Outcome> for FinalOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Delivered => Self::Delivered,
            Outcome::Rejected => Self::Rejected,
            Outcome::Custody => Self::Custody,
            Outcome::Expired => Self::Expired,
            Outcome::Damaged => Self::Damaged,
            Outcome::Returned => Self::Returned,
            Outcome::Discarded => Self::Discarded,
        }
    }
}

/// A stage or the end of a message, with everything that is known about it.
#[derive(Debug, Clone)]
pub struct SendOutcome {
    /// How it stands or ended.
    pub outcome: FinalOutcome,
    /// The message's id.
    pub id: MessageId,
    /// The receipt's code, or the code of the last refusal or undecided attempt.
    pub code: Code,
    /// The recipient's problem, when it rejected with one.
    pub problem: Option<String>,
    /// What the refusing router added.
    pub text: Option<String>,
    /// Who issued the receipt.
    pub issuer: Option<Party>,
    /// Attempts made, asks included.
    pub attempts: u32,
    /// The receipt and what it takes to prove it; none for refused and undecided.
    pub proof: Option<ReceiptProof>,
    /// The statement as sent.
    pub statement: Bytes,
}
