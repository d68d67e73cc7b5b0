//! Which large payloads are on their way into custody, and which are read from it? (WIRE 9)
//!
//! ```text
//!  in:  asked ──held by nobody──▶ opening ──room──▶ wanted ──bytes──▶ whole ──record, fsync──▶ receipt custody
//!  out: WANT of the recipient's side ──▶ sending ──settlement──▶ ended
//! ```
//!
//! The bytes never come here: the shell moves them between streams and files, as [`PayloadOrder`]s say, and tells by
//! [`PayloadEvent`]s how far it got. What is on its way in stays the sender's until the record that names it is durable. Bounds:
//! [`crate::CustodyConfig::large_payloads`] on their way in; on their way out what the links of the workers take.

use std::sync::Arc;

use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::{Code, Digest, EndpointId, MessageId, MessageRef, Outcome};

use super::asking::Question;
use super::queues::Step;
use super::spool::{EntryState, Queue, RecordId, SpoolRead, Stored};
use super::{CUSTODY_LINK, Custody, CustodyAlarm, CustodyOutput, Timer};
use crate::collections::{Map, Set};
use crate::crossing::{Crossing, Move, Onward};
use crate::large::Downstream;
use crate::outbound::Origin;

/// What the shell has to do about a large payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadOrder {
    /// Make room for a payload and say by [`PayloadEvent::Opened`] how much of it is here already; take its stream when it comes.
    Open {
        /// Names it in every answer, and its stream.
        label: Label,
        /// Leaf hash of its statement: names what is kept.
        leaf: Digest,
        /// Its message's sender.
        sender: EndpointId,
        /// Its message.
        message: MessageId,
        /// Bytes in all.
        length: u64,
        /// SHA-256 of the whole.
        digest: Digest,
    },
    /// Nobody waits for it any more: keep what is here for later.
    Leave {
        /// Which.
        label: Label,
    },
    /// Send it from `offset` on to the link, at most [`kernpost_codecs::payload::WINDOW`] bytes beyond.
    Send {
        /// Names it in what follows.
        label: Label,
        /// Which.
        leaf: Digest,
        /// Bytes in all.
        length: u64,
        /// First byte wanted.
        offset: u64,
        /// Where to.
        onward: Downstream,
    },
    /// The recipient's side has taken in everything before `offset`: the window moves there.
    May {
        /// Which.
        label: Label,
        /// See above.
        offset: u64,
    },
    /// It is settled: send no more of it.
    End {
        /// Which.
        label: Label,
    },
    /// Its message has ended, durably: delete it.
    Erase {
        /// Which.
        leaf: Digest,
    },
    /// Its message was not kept: nothing holds it any more.
    Release {
        /// Which.
        leaf: Digest,
    },
}

/// What the shell says about a large payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadEvent {
    /// The answer to [`PayloadOrder::Open`]: everything before `offset` is here, below the length; what is whole has
    /// [ended](Self::Ended).
    Opened {
        /// Which.
        label: Label,
        /// See above.
        offset: u64,
    },
    /// Everything before `offset` is here.
    Progress {
        /// Which.
        label: Label,
        /// See above.
        offset: u64,
    },
    /// It is here, or will not come.
    Ended {
        /// Which.
        label: Label,
        /// How it turned out.
        received: Received,
    },
    /// What is being sent cannot be read back: nothing more of it is sent.
    Unreadable {
        /// Which.
        label: Label,
    },
}

/// How a payload turned out on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Everything is here, durably, and the digest matches.
    Whole,
    /// The digest does not match, or the length is wrong; nothing of it is kept.
    Mismatch,
    /// Its stream ended early. What is here is kept.
    Interrupted,
    /// There is no room for it now.
    Full,
    /// The disk failed: custody stops.
    Failed {
        /// What it said, for the operator.
        cause: String,
    },
}

/// One on its way in.
#[derive(Debug)]
struct Arrival {
    origin: Origin,
    /// With this one move.
    onward: Onward,
    waits_for: Arc<[EndpointId]>,
    length: u64,
    /// Undecided when nothing comes until then, monotonic µs.
    deadline_us: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    arriving: Map<Label, Arrival>,
    /// Labels of attempts whose payload is wanted. At most one for each that is under way.
    sending: Map<Label, Digest>,
    /// Found unreadable while they were sent: their messages end when their attempts do. At most one for each of them.
    lost: Set<Digest>,
    next: u64,
}

impl Payloads {
    pub fn arriving(&self) -> usize {
        self.arriving.len()
    }

    pub fn sending(&self) -> usize {
        self.sending.len()
    }

    /// Bytes that those on their way in will occupy.
    fn expected_bytes(&self) -> u64 {
        self.arriving.values().map(|arrival| arrival.length).sum()
    }
}

/// Inputs of the shell.
impl Custody {
    /// Takes in what became of a large payload.
    pub fn handle_payload(&mut self, now: crate::now::Now, event: PayloadEvent) {
        self.now = now;
        match event {
            PayloadEvent::Opened { label, offset } | PayloadEvent::Progress { label, offset } => {
                self.want_on(label, offset);
            }
            PayloadEvent::Ended { label, received } => self.on_received(label, received),
            PayloadEvent::Unreadable { label } => self.on_unreadable_payload(label),
        }
    }
}

/// On their way in.
impl Custody {
    /// A detached entry is handed over. Before its payload is asked for, the spool says whether the message is held already.
    pub(super) fn expect_payload(
        &mut self,
        origin: Origin,
        onward: &Onward,
        step: &Move,
        waits_for: Arc<[EndpointId]>,
    ) {
        if self.payloads.arriving() >= self.config.large_payloads {
            return self.settle_unwanted(origin);
        }
        if !self.has_room_for(step.payload_len) {
            self.stats.refused += 1;
            return self.refuse(origin, &step.recipient);
        }
        let label = Label { class: onward.class, sequence: self.payloads.next, index: 0 };
        self.payloads.next += 1;
        let deadline_us = self.now.after_ms(self.config.endpoint_deadline_ms);
        self.timers.insert((deadline_us, Timer::Arrival(label)));
        let (sender, message, length) = (step.sender.clone(), step.message, step.payload_len);
        let onward = Onward { moves: vec![step.clone()], ..onward.clone() };
        self.payloads.arriving.insert(label, Arrival { origin, onward, waits_for, length, deadline_us });
        let ticket = self.ticket(Question::Arriving { label });
        self.outputs.push_back(CustodyOutput::Read(SpoolRead::Message { ticket, sender, message }));
    }

    /// Below the marks with everything that is on its way in.
    fn has_room_for(&self, length: u64) -> bool {
        let more = self.payloads.expected_bytes().saturating_add(length);
        self.totals.bytes.saturating_add(more) <= self.config.high_bytes
            && self.totals.free_bytes.saturating_sub(more) > self.config.least_free_bytes
    }

    /// What the spool knows of a message whose payload could come.
    pub(super) fn on_arrival_known(&mut self, label: Label, found: Option<Stored>) {
        let Some(arrival) = self.payloads.arriving.get(&label) else { return };
        let Some(step) = arrival.onward.moves.first() else { return };
        let Some(entry) = arrival.onward.part.entries().get(step.position) else { return };
        let (sender, message, leaf) = (step.sender.clone(), step.message, entry.leaf);
        let damaged = |stored: &Stored| {
            let held = stored.head.as_ref().and_then(|head| head.entry_of(&sender, message));
            held.is_some_and(|entry| matches!(entry.state, EntryState::Final { outcome: Outcome::Damaged, .. }))
        };
        if let Some(stored) = found.filter(|stored| !damaged(stored)) {
            let origin = arrival.origin;
            self.payloads.arriving.remove(&label);
            self.stats.repeats += 1;
            return self.tell_known(origin, None, &stored, &sender, message, leaf);
        }
        match MessageRef::parse(&entry.statement).map(|statement| statement.payload_digest) {
            Ok(digest) => {
                let length = arrival.length;
                let order = PayloadOrder::Open { label, leaf, sender, message, length, digest };
                self.outputs.push_back(CustodyOutput::Payload(order));
            }
            Err(_) => self.end_arrival(label, Code::BAD_STATEMENT),
        }
    }

    /// The payload may come from `offset` on, or came up to there.
    fn want_on(&mut self, label: Label, offset: u64) {
        let deadline_us = self.now.after_ms(self.config.endpoint_deadline_ms);
        let here = Downstream { worker: self.config.worker(), link: CUSTODY_LINK, label };
        let Some(arrival) = self.payloads.arriving.get_mut(&label) else { return };
        arrival.deadline_us = deadline_us;
        let Origin { worker, link, label } = arrival.origin;
        let crossing = Crossing::Want { link, label, offset, length: arrival.length, onward: here };
        self.outputs.push_back(CustodyOutput::Cross { worker, crossing });
    }

    fn on_received(&mut self, label: Label, received: Received) {
        match received {
            Received::Whole if !self.stopped => {
                let Some(Arrival { onward, waits_for, .. }) = self.payloads.arriving.remove(&label) else { return };
                self.stats.payloads_taken += 1;
                let moves: Vec<&Move> = onward.moves.iter().collect();
                self.keep(&onward, Queue { waits_for, class: onward.class }, &moves);
            }
            Received::Whole => self.end_arrival(label, Code::UNDECIDED_STORAGE),
            Received::Mismatch => self.end_arrival(label, Code::DIGEST_MISMATCH),
            Received::Interrupted => self.end_arrival(label, Code::UNDECIDED_LINK_LOST),
            Received::Full => {
                if let Some(arrival) = self.payloads.arriving.remove(&label) {
                    self.settle_unwanted(arrival.origin);
                }
            }
            Received::Failed { cause } => {
                self.end_arrival(label, Code::UNDECIDED_STORAGE);
                self.stop(cause);
            }
        }
    }

    fn end_arrival(&mut self, label: Label, code: Code) {
        if let Some(arrival) = self.payloads.arriving.remove(&label) {
            self.settle(arrival.origin, code, Detail::default());
        }
    }

    /// Not now, but the small messages of the same recipient are welcome (WIRE 9.9).
    fn settle_unwanted(&mut self, origin: Origin) {
        self.stats.refused += 1;
        let detail = Detail { retry_after_ms: Some(UNWANTED_MS), ..Detail::default() };
        self.settle(origin, Code::PAYLOAD_NOT_WANTED, detail);
    }

    /// Nothing came for too long.
    pub(super) fn on_arrival_late(&mut self, label: Label) {
        let Some(arrival) = self.payloads.arriving.get(&label) else { return };
        if self.now.mono_us < arrival.deadline_us {
            self.timers.insert((arrival.deadline_us, Timer::Arrival(label)));
            return;
        }
        self.end_arrival(label, Code::UNDECIDED_DEADLINE);
        self.outputs.push_back(CustodyOutput::Payload(PayloadOrder::Leave { label }));
    }

    /// Custody stops: what is on its way in stays its sender's.
    pub(super) fn leave_arrivals(&mut self) {
        let labels: Vec<Label> = self.payloads.arriving.keys().copied().collect();
        for label in labels {
            self.end_arrival(label, Code::UNDECIDED_STORAGE);
            self.outputs.push_back(CustodyOutput::Payload(PayloadOrder::Leave { label }));
        }
    }

    /// A message is not kept after all.
    pub(super) fn release_payload(&mut self, leaf: Digest) {
        self.outputs.push_back(CustodyOutput::Payload(PayloadOrder::Release { leaf }));
    }
}

/// On their way out.
impl Custody {
    /// The recipient's side wants the payload of an attempt, or has taken in more of it.
    pub(super) fn on_wanted(&mut self, label: Label, offset: u64, length: u64, onward: Downstream) {
        if self.payloads.sending.contains_key(&label) {
            self.outputs.push_back(CustodyOutput::Payload(PayloadOrder::May { label, offset }));
            return;
        }
        let flight = self.flights.get(&(label.class, label.sequence));
        let loaded = flight.and_then(|flight| self.loaded.get(&flight.record));
        let flying = loaded.and_then(|loaded| {
            let position = loaded.position(label.index)?;
            (loaded.steps.get(position) == Some(&Step::Flying)).then(|| loaded.head.entries.get(position))?
        });
        let Some(leaf) = flying.map(|entry| entry.leaf) else { return };
        self.payloads.sending.insert(label, leaf);
        let order = PayloadOrder::Send { label, leaf, length, offset, onward };
        self.outputs.push_back(CustodyOutput::Payload(order));
    }

    /// An attempt settled, however.
    pub(super) fn on_attempt_over(&mut self, label: Label) {
        if self.payloads.sending.remove(&label).is_some() {
            self.outputs.push_back(CustodyOutput::Payload(PayloadOrder::End { label }));
        }
    }

    /// The stream onward is reset; when that has settled the attempt, the message ends *damaged*.
    fn on_unreadable_payload(&mut self, label: Label) {
        let Some(leaf) = self.payloads.sending.get(&label).copied() else { return };
        let Some(record) = self.flights.get(&(label.class, label.sequence)).map(|flight| flight.record) else { return };
        self.payloads.lost.insert(leaf);
        self.stats.damaged += 1;
        self.outputs.push_back(CustodyOutput::Alarm(CustodyAlarm::Damaged { record }));
    }

    /// Ends the entry when its payload turned out to be unreadable; true when it did.
    pub(super) fn end_if_lost(&mut self, record: RecordId, position: usize) -> bool {
        let leaf = self.loaded.get(&record).and_then(|loaded| Some(loaded.head.entries.get(position)?.leaf));
        let lost = leaf.is_some_and(|leaf| self.payloads.lost.remove(&leaf));
        if lost {
            self.conclude_here(record, &[(position, Outcome::Damaged, Code::UNDECIDED_STORAGE)], None);
        }
        lost
    }

    /// A message has ended, durably.
    pub(super) fn erase_payload(&mut self, leaf: Digest) {
        self.outputs.push_back(CustodyOutput::Payload(PayloadOrder::Erase { leaf }));
    }
}

/// When a payload for which there is no room now may come again, ms.
const UNWANTED_MS: u64 = 5_000;
