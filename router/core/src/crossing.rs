//! What one worker's engine hands to another's: entries for a link it does not own, and the settlements that come back.
//!
//! Entries travel by `try_send` on a bounded channel (full means `busy`). Settlements have a channel sized to the total
//! credit, so they always fit.

use std::sync::Arc;

use kernpost_codecs::part::{HopHeader, Part};
use kernpost_codecs::receipts::{RebuiltReceipts, ReceiptsFrame};
use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::{Class, Code, EndpointId, MessageId};

use crate::large::Downstream;
use crate::link::{LinkId, WorkerId};
use crate::outbound::Origin;

/// One entry on its way to a link.
#[derive(Debug, Clone)]
pub struct Move {
    /// Position of the entry in its part.
    pub position: usize,
    /// The hop header it leaves with.
    pub hop: HopHeader,
    /// The recipient that the hop header names.
    pub recipient: EndpointId,
    /// The sender.
    pub sender: EndpointId,
    /// The message.
    pub message: MessageId,
    /// Credit it occupies, in bytes.
    pub cost: u64,
    /// Bytes of its payload, inline or on a stream of its own.
    pub payload_len: u64,
    /// This router is its ingress and may take it into custody.
    pub custody: bool,
    /// It is a late receipt (WIRE 10.2), not a message.
    pub late: bool,
}

/// Entries of one part that go to one link.
#[derive(Debug, Clone)]
pub struct Onward {
    /// The part they belong to.
    pub part: Arc<Part>,
    /// Which of its entries, in order.
    pub moves: Vec<Move>,
    /// The worker that owns the upstream link.
    pub from_worker: WorkerId,
    /// The upstream link.
    pub from_link: LinkId,
    /// Class and sequence of the upstream labels.
    pub class: Class,
    /// See `class`.
    pub sequence: u64,
    /// The link to send on.
    pub target: LinkId,
    /// How long the labels may stay open, ms.
    pub deadline_ms: u64,
}

impl Onward {
    /// The upstream label of the entry at this position of the part.
    pub(crate) fn origin(&self, position: usize) -> Option<Origin> {
        let index = self.part.entries().get(position)?.index;
        let label = Label { class: self.class, sequence: self.sequence, index };
        Some(Origin { worker: self.from_worker, link: self.from_link, label })
    }
}

/// Receipts on their way to one upstream link.
#[derive(Debug, Clone)]
pub enum Receipts {
    /// A whole frame as it came: only its labels change, the proof stays what it is, nothing is hashed again.
    Whole(Arc<ReceiptsFrame>),
    /// Some of a frame.
    Some {
        /// The frame as it came from the recipient's side.
        frame: Arc<ReceiptsFrame>,
        /// Its rebuilt statements and tree, from which the smaller proof is read.
        rebuilt: Arc<RebuiltReceipts>,
        /// Which entries of the frame.
        positions: Vec<usize>,
    },
}

/// What crosses between workers.
#[derive(Debug, Clone)]
pub enum Crossing {
    /// Forward these.
    Entries(Onward),
    /// Labels of a link of yours settled without a receipt.
    Settled {
        /// Your link.
        link: LinkId,
        /// Its labels.
        labels: Vec<Label>,
        /// How.
        code: Code,
        /// More about it.
        detail: Detail,
    },
    /// The endpoint side of this link of mine has granted credit for the first time: prefer it from now on.
    Granted {
        /// My link.
        link: LinkId,
    },
    /// A link of mine of which I told [`Crossing::Granted`] is gone. By the same channel, so that it comes after that; the
    /// event from control may come before.
    Ended {
        /// My link.
        link: LinkId,
    },
    /// The payload of a label of a link of yours is wanted, or was taken in so far (WIRE 9.2). A few for each window of each
    /// payload, so they share the channel of the settlements.
    Want {
        /// Your link.
        link: LinkId,
        /// Its label.
        label: Label,
        /// First byte wanted.
        offset: u64,
        /// Bytes of the payload in all.
        length: u64,
        /// Where the bytes go.
        onward: Downstream,
    },
    /// From custody: how much less than usual shall be taken from endpoint sides, 0..=100. 100: custody takes nothing; messages
    /// nobody can take now are refused.
    Pressure {
        /// Percent.
        percent: u8,
    },
    /// From custody: whether messages wait for this endpoint. While they do, those with a case id queue behind them (WIRE 10.5).
    /// Arrives before the receipt *custody* after which a sender may send the next message of a case.
    Backlog {
        /// The endpoint.
        endpoint: EndpointId,
        /// Whether anything waits for it.
        behind: bool,
    },
    /// Labels of a link of yours settled by receipts.
    Receipts {
        /// Your link.
        link: LinkId,
        /// The receipts.
        receipts: Receipts,
        /// Your labels, one for each of them.
        labels: Vec<Label>,
    },
}
