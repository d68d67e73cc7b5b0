//! What does custody ask of the spool, and what does the spool answer?
//!
//! Custody decides, the spool keeps. Every turn's [`SpoolIntent`]s are one atomic batch or several, in order; the spool says
//! [`SpoolEvent::Committed`] only after the fsync that makes them true. [`SpoolRead`]s see what was committed when they are
//! carried out, which may be less than what was asked to be kept before them. No storage is named here: `kernpost-spool`
//! carries this out over any of its stores, and a simulation over a faulty disk.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::part::LONGEST_INLINE_PAYLOAD;
use kernpost_codecs::{Class, Code, Digest, EndpointId, MessageId, Outcome, UnixMs};

/// Names a record: entries of one part that are in custody together. Grows with every record, is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub u64);

/// What waits together, oldest first: for the same endpoints, in the same class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    /// Any of them may take what waits, in this order: the endpoints of a route, the explicit recipient alone, or the addressee
    /// of late receipts. At least one.
    pub waits_for: Arc<[EndpointId]>,
    /// The priority class.
    pub class: Class,
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Messages.
    Messages,
    /// Receipts about messages of other records, to be sent late (WIRE 10.2) and kept as proof.
    Receipts,
}

/// What became of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    /// It is to be delivered.
    Waiting,
    /// A message has its final outcome; the receipt that says so is in this record.
    Final {
        /// Which.
        outcome: Outcome,
        /// A record of [`Kind::Receipts`].
        receipt: RecordId,
    },
    /// A receipt needs no further sending: noted, refused for good, or past its time. A message has ended, and which record has its
    /// receipt is not known any more, because its head had to be made again.
    Sent(Code),
    /// The spool held this message already when it came: it is not kept a second time.
    Repeat,
}

/// What is known of an entry without its record's body; kept apart from it, so that a body that cannot be read any more does not
/// take with it whom to tell. At most 256 in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadEntry {
    /// Tree index, strictly increasing within a record.
    pub index: u16,
    /// Who sent the message this is, or is about. Personal.
    pub sender: EndpointId,
    /// The message's id.
    pub message: MessageId,
    /// Leaf hash of the message's statement.
    pub leaf: Digest,
    /// A message: when it expires. A receipt: until when it is sent.
    pub expires: UnixMs,
    /// The message's case; at most 32 bytes. Personal.
    pub case: Option<Arc<[u8]>>,
    /// Bytes it occupies: statement, payload and 256 (WIRE 7.1), wherever the payload lies.
    pub cost: u64,
    /// What became of it.
    pub state: EntryState,
}

impl HeadEntry {
    /// Whether its payload may lie in a file of its own. True for some whose payload does not, never false for one whose payload
    /// does.
    pub fn may_be_large(&self) -> bool {
        self.cost > LONGEST_INLINE_PAYLOAD as u64
    }
}

/// The index of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What it holds.
    pub kind: Kind,
    /// Where it waits, while anything of it does.
    pub queue: Queue,
    /// When it was taken.
    pub taken: UnixMs,
    /// When somebody has to look at it next: an entry expires, or all of it may be forgotten.
    pub due: UnixMs,
    /// Its entries, by index.
    pub entries: Vec<HeadEntry>,
}

impl Head {
    /// Whether anything of it is to be delivered.
    pub fn waits(&self) -> bool {
        self.entries.iter().any(|entry| entry.state == EntryState::Waiting)
    }

    /// The entry of this message, unless another record holds it.
    pub fn entry_of(&self, sender: &EndpointId, message: MessageId) -> Option<&HeadEntry> {
        let mut held = self.entries.iter().filter(|entry| entry.state != EntryState::Repeat);
        held.find(|entry| entry.message == message && entry.sender == *sender)
    }

    /// Entries to be delivered, and the bytes they occupy.
    pub fn waiting(&self) -> (u64, u64) {
        let waiting = self.entries.iter().filter(|entry| entry.state == EntryState::Waiting);
        waiting.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.cost))
    }

    /// Where the spool's indices name it.
    pub fn place(&self) -> Place {
        Place { queue: self.queue.clone(), due: self.due, waiting: self.waiting() }
    }
}

/// Where the spool's indices name a record; given back when it moves, so that the spool need not read what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// See [`Head::queue`].
    pub queue: Queue,
    /// See [`Head::due`].
    pub due: UnixMs,
    /// See [`Head::waiting`]. No entries: it is in no queue.
    pub waiting: (u64, u64),
}

/// Something to be made durable.
#[derive(Debug, Clone)]
pub enum SpoolIntent {
    /// A new record. Before it is written, the spool looks every message of it up by (sender, id), among what is durable and what
    /// is in the batch: one it holds already becomes [`EntryState::Repeat`] in the head as written and is reported as a
    /// [`Repeat`]; a record of repeats alone is not written. Records of [`Kind::Receipts`] are not looked up.
    Keep {
        /// Larger than any before.
        record: RecordId,
        /// Its index.
        head: Head,
        /// The body of a BUNDLE frame (WIRE 6) with exactly the entries of `head`. Personal.
        body: Bytes,
    },
    /// A record changed.
    Update {
        /// Which.
        record: RecordId,
        /// Where the indices name it until now.
        before: Place,
        /// The index from now on.
        head: Head,
        /// The body from now on, when it changes: without payloads that are not needed any more.
        body: Option<Bytes>,
    },
    /// The record's retention is over: nothing of it stays, and its messages are unknown from now on.
    Forget {
        /// Which.
        record: RecordId,
        /// Where the indices name it until now.
        before: Place,
        /// Its messages, by sender and id; empty for receipts.
        messages: Vec<(EndpointId, MessageId)>,
    },
    /// The record cannot be read: what is left of its bytes goes aside for the operator, and out of queue and body. The head
    /// stays when there is one, so that asks are answered.
    Quarantine {
        /// Which.
        record: RecordId,
        /// What was wrong, for the operator.
        reason: String,
    },
    /// An administrative act; appended to the audit log in the same batch as what it does.
    Audit {
        /// JSON of one act: who, what, why, when. The spool adds the hash of the entry before.
        entry: Bytes,
    },
}

impl SpoolIntent {
    /// The record it speaks of.
    pub fn record(&self) -> Option<RecordId> {
        match self {
            Self::Keep { record, .. }
            | Self::Update { record, .. }
            | Self::Forget { record, .. }
            | Self::Quarantine { record, .. } => Some(*record),
            Self::Audit { .. } => None,
        }
    }
}

/// Why a queue is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To deliver from it.
    Deliver,
    /// To judge everything in it by another table.
    Judge,
}

/// Something to be read.
#[derive(Debug, Clone)]
pub enum SpoolRead {
    /// Records of a queue, the oldest first.
    Queue {
        /// Echoed: what it is for.
        purpose: Purpose,
        /// Which.
        queue: Queue,
        /// Those after this one.
        after: Option<RecordId>,
        /// At most so many records, at least 1.
        most: usize,
        /// Bodies of at most so many bytes together, but at least one record.
        bytes: usize,
    },
    /// One record.
    Record {
        /// Echoed.
        ticket: u64,
        /// Which.
        record: RecordId,
    },
    /// The record that holds a message.
    Message {
        /// Echoed.
        ticket: u64,
        /// Its sender.
        sender: EndpointId,
        /// Its id.
        message: MessageId,
    },
    /// Records whose [`Head::due`] is at or before an instant, the earliest first; bodies included. A record quarantined or
    /// damaged comes without.
    Due {
        /// The instant.
        until: UnixMs,
        /// At most so many.
        most: usize,
    },
}

/// A record as it was read. Every byte of it passed its checksum.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Which.
    pub record: RecordId,
    /// Its index, if it can be read.
    pub head: Option<Head>,
    /// Its body, if it can be read. `None` with a head: damaged, or quarantined before.
    pub body: Option<Bytes>,
}

/// A message that came again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// The new record, which does not keep it.
    pub record: RecordId,
    /// Its tree index there.
    pub index: u16,
    /// The record that holds it.
    pub held: RecordId,
}

/// How much the spool holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages to be delivered.
    pub messages: u64,
    /// Bytes of credit they would occupy: about what they take on disk.
    pub bytes: u64,
    /// Receipts to be sent late.
    pub receipts: u64,
    /// When the oldest record that waits was taken; `None`: nothing waits.
    pub oldest: Option<UnixMs>,
    /// Bytes on disk, everything included.
    pub disk_bytes: u64,
    /// Bytes the disk still has for the spool, or its quota leaves.
    pub free_bytes: u64,
}

/// Why nothing more is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolFault {
    /// No room. What was asked for was not kept; it may be asked again.
    Full,
    /// Whether the batch is durable is unknown, or the store takes nothing more: custody stops until the router is started
    /// again.
    Failed {
        /// What the store says, for the operator.
        cause: String,
    },
}

/// From the spool to custody.
#[derive(Debug, Clone)]
pub enum SpoolEvent {
    /// What was found at the start; before anything else.
    Started {
        /// Names from here on are free.
        next: RecordId,
        /// Every queue that holds something.
        queues: Vec<Queue>,
        /// How much.
        totals: Totals,
    },
    /// The next so many intents, in their order, are durable.
    Committed {
        /// How many.
        intents: usize,
        /// Messages among them that were held already.
        repeats: Vec<Repeat>,
        /// How much is held now.
        totals: Totals,
    },
    /// The next so many intents were not kept.
    NotCommitted {
        /// How many.
        intents: usize,
        /// Why.
        fault: SpoolFault,
    },
    /// The answer to [`SpoolRead::Queue`].
    QueueRead {
        /// As asked.
        purpose: Purpose,
        /// Which.
        queue: Queue,
        /// As asked.
        after: Option<RecordId>,
        /// What was found, in order.
        found: Vec<Stored>,
        /// There was nothing behind it.
        end: bool,
    },
    /// The answer to [`SpoolRead::Record`] and [`SpoolRead::Message`]; `None`: the spool does not hold it.
    RecordRead {
        /// As asked.
        ticket: u64,
        /// What was found.
        found: Option<Stored>,
    },
    /// The answer to [`SpoolRead::Due`].
    DueRead {
        /// What was found, in order.
        found: Vec<Stored>,
        /// There may be more.
        more: bool,
        /// How much is held now.
        totals: Totals,
    },
}
