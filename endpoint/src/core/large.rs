//! Large payloads of the endpoint side: what the shell has to store and to send, and what it says of it (WIRE 9).
//!
//! The core decides who may send what and when; the shell moves the bytes, because files and streams are its business.
//! Bounds: [`Limits::large_sending`](super::Limits::large_sending) streams out per link,
//! [`Limits::large_receptions`](super::Limits::large_receptions) receptions in the process.

use std::path::PathBuf;

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::settlement::Label;
use kernpost_codecs::{Code, FrameFault};

use super::inbox::DeliveryId;
use super::outbox::Wanting;
use super::session::SessionId;
use super::{Core, Now, Output};

/// A payload that stays on disk until it is sent: neither sending nor repeating it takes memory for more than a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadFile {
    /// The file. It must not change until the message has its outcome.
    pub path: PathBuf,
    /// Its length, bytes; at most 2 GiB.
    pub length: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// Where a large payload is sent from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadSource {
    /// Memory of the outbox.
    Memory(Bytes),
    /// A file.
    File(PathBuf),
}

/// Where a received payload lies; its digest matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredPayload {
    /// In memory.
    Memory(Bytes),
    /// In a file, durably.
    File(PathBuf),
}

/// What the shell has to do about a large payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadOrder {
    /// Open the stream of this label and send from `offset` on, at most [`kernpost_codecs::payload::WINDOW`] bytes beyond it.
    Send {
        /// Which link.
        session: SessionId,
        /// Which label of it.
        label: Label,
        /// First byte wanted.
        offset: u64,
        /// Bytes of the payload in all.
        length: u64,
        /// Where they are.
        source: PayloadSource,
    },
    /// The other side has taken in everything before `offset`: the window moves there.
    May {
        /// Which link.
        session: SessionId,
        /// Which label of it.
        label: Label,
        /// See above.
        offset: u64,
    },
    /// The label no longer stands: reset its stream, if it is not at its end.
    End {
        /// Which link.
        session: SessionId,
        /// Which label of it.
        label: Label,
    },
    /// Make room for a payload and say by [`Core::handle_payload_opened`] how much of it is here already.
    Open {
        /// Names it in every answer.
        id: DeliveryId,
        /// Leaf hash of its statement, which names the sender too: names the partial.
        leaf: Digest,
        /// Bytes in all.
        length: u64,
        /// SHA-256 of the whole.
        digest: Digest,
    },
    /// Nobody waits for it any more: keep what is here, or forget what was dropped.
    Leave {
        /// Which.
        id: DeliveryId,
    },
    /// Its verdict is durable: delete it.
    Drop {
        /// Leaf hash of its statement.
        leaf: Digest,
    },
}

/// The answer to [`PayloadOrder::Open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// There is room, and everything before this byte is here. Below the length: what is whole is reported by
    /// [`Core::handle_payload_end`].
    At(u64),
    /// The quota is used up.
    Full,
    /// Storage failed.
    Failed,
}

/// How a reception ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Everything is here, durably, and the digest matches.
    Whole(StoredPayload),
    /// The digest does not match or the length is wrong; what was here is deleted.
    Mismatch,
    /// The stream was reset or its link lost; what is here is kept.
    Interrupted,
    /// Storage failed.
    Failed,
}

/// What a payload stream that the peer opened is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming {
    /// The payload of this delivery.
    Awaited(DeliveryId),
    /// Of a label that has settled: stop it.
    Settled,
    /// Of nothing that was wanted: a fault of the peer.
    Unwanted,
}

/// Inputs about large payloads.
impl Core {
    /// The answer to [`PayloadOrder::Open`].
    pub fn handle_payload_opened(&mut self, now: Now, id: DeliveryId, opened: Opened) {
        self.dirty = true;
        match opened {
            Opened::At(offset) => self.handle_payload_progress(now, id, offset),
            Opened::Full => {
                self.inbox.on_reception_refused(&mut self.ledger, id, Code::PAYLOAD_NOT_WANTED, Some(FULL_RETRY_MS));
            }
            Opened::Failed => self.inbox.on_reception_refused(&mut self.ledger, id, Code::UNDECIDED_STORAGE, None),
        }
    }

    /// Everything before `offset` was taken in: the sender may go on, and the label's deadline moves.
    pub fn handle_payload_progress(&mut self, now: Now, id: DeliveryId, offset: u64) {
        let Some((session, label)) = self.inbox.reception(id) else { return };
        self.touch(session);
        if let Some(one) = self.sessions.get_mut(&session)
            && one.inbound.extend(&label, now.after_ms(self.limits.received_deadline_ms))
        {
            one.settlements.want(label, offset);
        }
    }

    /// A reception ended.
    pub fn handle_payload_end(&mut self, id: DeliveryId, received: Received) {
        self.dirty = true;
        let ledger = &mut self.ledger;
        match received {
            Received::Whole(payload) => self.inbox.on_payload(id, payload),
            Received::Mismatch => self.inbox.on_reception_refused(ledger, id, Code::DIGEST_MISMATCH, None),
            Received::Interrupted => self.inbox.on_reception_refused(ledger, id, Code::UNDECIDED_LINK_LOST, None),
            Received::Failed => {
                ledger.storage_faults += 1;
                self.inbox.on_reception_refused(ledger, id, Code::UNDECIDED_STORAGE, None);
            }
        }
    }

    /// What a payload stream is that the peer of this link opened.
    pub fn payload_stream(&self, session: SessionId, label: &Label) -> Incoming {
        let Some(one) = self.sessions.get(&session) else { return Incoming::Settled };
        match self.inbox.receiving(session, label) {
            Some(id) => Incoming::Awaited(id),
            None if one.inbound.was_settled(label) => Incoming::Settled,
            None => Incoming::Unwanted,
        }
    }
}

impl Core {
    /// The router wants a payload, or has taken in more of it.
    pub(super) fn on_wanted(&mut self, now: Now, session: SessionId, label: Label, offset: u64, first: bool) {
        let sent = self.sessions.get(&session).and_then(|session| session.outbound.sent(&label));
        let Some(ticket) = sent.map(|sent| sent.ticket) else { return };
        let Some(Wanting { source, length }) = self.outbox.on_wanted(now, ticket) else { return };
        self.outputs.push_back(Output::Payload(if first {
            PayloadOrder::Send { session, label, offset, length, source }
        } else {
            PayloadOrder::May { session, label, offset }
        }));
    }

    /// Streams out whose labels no longer stand, and receptions whose labels are gone.
    pub(super) fn end_payloads(&mut self, session: SessionId) {
        let Some(one) = self.sessions.get_mut(&session) else { return };
        let ended = one.outbound.take_ended();
        self.outputs.extend(ended.into_iter().map(|label| Output::Payload(PayloadOrder::End { session, label })));
        for label in one.inbound.take_late() {
            self.inbox.on_label_gone(&mut self.ledger, session, Some(&label));
        }
    }
}

/// How large WANT's window may be overstepped is said here, once for sender and recipient.
pub(crate) fn check_want(label: &Label, offset: u64, most: u64) -> Result<(), FrameFault> {
    if offset <= most {
        return Ok(());
    }
    let text = format!("WANT for ({}, {}, {}) at {offset}", label.class, label.sequence, label.index);
    Err(FrameFault::unexpected("WIRE 9.2", text))
}

/// When a payload for which the quota has no room may come again, ms.
const FULL_RETRY_MS: u64 = 5_000;
/// When one beyond the number of receptions may come again, ms.
pub(crate) const MANY_RETRY_MS: u64 = 1_000;
