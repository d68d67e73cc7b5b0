//! What became of a message? Asks and repeats are answered from the spool (WIRE 10.1); operators act on what it holds.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::part::Part;
use kernpost_codecs::receipts::ReceiptsFrame;
use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::{Code, Digest, EndpointId, MessageId, MessageRef, Outcome, Receipt};

use super::answers::Then;
use super::queues::Step;
use super::spool::{EntryState, HeadEntry, Queue, RecordId, SpoolIntent, SpoolRead, Stored};
use super::{Custody, CustodyOutput};
use crate::crossing::{Crossing, Move, Onward, Receipts};
use crate::outbound::Origin;

/// Something asked of the spool.
#[derive(Debug)]
pub(super) enum Question {
    /// An ask: is the message held?
    Ask { origin: Origin, onward: Box<Onward>, sender: EndpointId, message: MessageId, leaf: Digest },
    /// A message that came again, and is held.
    Known { origin: Origin, sender: EndpointId, message: MessageId, leaf: Digest },
    /// The receipt that ended a message; `onward` is the ask to be passed on when it cannot be read.
    Proof { origin: Origin, onward: Option<Box<Onward>>, sender: EndpointId, message: MessageId },
    /// A message whose payload could come on a stream of its own: is it held?
    Arriving { label: Label },
    /// Messages an operator gives up.
    Discard { messages: Vec<(EndpointId, MessageId)>, reason: String },
}

/// What an operator does with messages in custody. Who may, and that two agreed, is the shell's concern; the act is in the audit
/// log before it has an effect.
#[derive(Debug, Clone)]
pub enum Act {
    /// Try again at once, without waiting for pauses to end.
    Redeliver {
        /// These records, with the queues they wait in; `None`: everything.
        only: Option<Vec<(RecordId, Queue)>>,
        /// The log's entry, JSON.
        audit: Bytes,
    },
    /// Give up: the senders get receipts *discarded*.
    Discard {
        /// The record they are in.
        record: RecordId,
        /// Which of it: sender and id.
        messages: Vec<(EndpointId, MessageId)>,
        /// Why; stands in the receipts, at most 1,024 bytes.
        reason: String,
        /// The log's entry, JSON.
        audit: Bytes,
    },
}

impl Custody {
    /// Takes in what an operator decided.
    pub fn handle_act(&mut self, now: crate::now::Now, act: Act) {
        self.now = now;
        match act {
            Act::Redeliver { only, audit } => {
                self.record_act(audit);
                match only {
                    Some(records) => records.iter().for_each(|(record, queue)| self.try_now(*record, queue)),
                    None => {
                        self.loaded.values_mut().for_each(|loaded| loaded.failures = 0);
                        self.wake_all();
                    }
                }
            }
            Act::Discard { record, messages, reason, audit } => {
                self.record_act(audit);
                let ticket = self.ticket(Question::Discard { messages, reason });
                self.outputs.push_back(CustodyOutput::Read(SpoolRead::Record { ticket, record }));
            }
        }
    }

    /// The pause of its queue ends with its own; one that is not in memory is read when its turn comes.
    fn try_now(&mut self, record: RecordId, queue: &Queue) {
        if let Some(loaded) = self.loaded.get_mut(&record) {
            loaded.failures = 0;
        }
        if let Some(state) = self.queues.get_mut(queue) {
            (state.paused_until_us, state.pauses) = (0, 0);
            self.release(queue, record);
            self.mark_dirty(queue);
        }
    }

    fn record_act(&mut self, entry: Bytes) {
        self.intend(SpoolIntent::Audit { entry }, Then::Nothing);
    }

    /// The spool is asked first; what it does not hold is passed on to the recipient.
    pub(super) fn on_ask(&mut self, origin: Origin, onward: &Onward, step: &Move) {
        let Some(entry) = onward.part.entries().get(step.position) else { return };
        let (sender, message, leaf) = (step.sender.clone(), step.message, entry.leaf);
        let onward = Box::new(Onward { moves: vec![step.clone()], ..onward.clone() });
        if !self.is_ready() {
            // It may be held: a recipient that does not know it would make the sender believe that custody had lost it.
            return self.settle(origin, Code::UNDECIDED_STORAGE, Detail::default());
        }
        let ticket = self.ticket(Question::Ask { origin, onward, sender: sender.clone(), message, leaf });
        self.outputs.push_back(CustodyOutput::Read(SpoolRead::Message { ticket, sender, message }));
    }

    pub(super) fn on_answer(&mut self, ticket: u64, found: Option<Stored>) {
        match self.questions.remove(&ticket) {
            Some(Question::Ask { origin, onward, sender, message, leaf }) => match found {
                Some(stored) => self.tell_known(origin, Some(onward), &stored, &sender, message, leaf),
                None => self.pass_ask_on(origin, &onward),
            },
            Some(Question::Known { origin, sender, message, leaf }) => match found {
                Some(stored) => self.tell_known(origin, None, &stored, &sender, message, leaf),
                // Forgotten between the two: its retention ended. The sender may send it again.
                None => self.settle(origin, Code::UNDECIDED_STORAGE, Detail::default()),
            },
            Some(Question::Proof { origin, onward, sender, message }) => {
                self.tell_proof(origin, onward.as_deref(), found, &sender, message);
            }
            Some(Question::Arriving { label }) => self.on_arrival_known(label, found),
            Some(Question::Discard { messages, reason }) => {
                if let Some(stored) = found {
                    self.discard(stored, &messages, &reason);
                }
            }
            None => {}
        }
    }

    /// A message that is held: *custody* while it waits, then the receipt that ended it.
    pub(super) fn tell_known(
        &mut self,
        origin: Origin,
        onward: Option<Box<Onward>>,
        stored: &Stored,
        sender: &EndpointId,
        message: MessageId,
        leaf: Digest,
    ) {
        let entry = stored.head.as_ref().and_then(|head| head.entry_of(sender, message));
        match entry.filter(|entry| entry.leaf != leaf || !matches!(entry.state, EntryState::Sent(_))) {
            Some(entry) if entry.leaf != leaf => self.settle(origin, Code::ID_REUSED, Detail::default()),
            Some(HeadEntry { state: EntryState::Final { receipt, .. }, .. }) => {
                let (record, sender) = (*receipt, sender.clone());
                let ticket = self.ticket(Question::Proof { origin, onward, sender, message });
                self.outputs.push_back(CustodyOutput::Read(SpoolRead::Record { ticket, record }));
            }
            Some(entry) => {
                self.stats.asks_answered += u64::from(onward.is_some());
                self.send_custody_receipts(vec![(origin, entry.clone())]);
            }
            // The index cannot be read, or was made again: what it said is not known.
            None => match onward {
                Some(onward) => self.pass_ask_on(origin, &onward),
                None => self.settle(origin, Code::UNDECIDED_STORAGE, Detail::default()),
            },
        }
    }

    /// The receipt that ended a message, under its issuer's own signature.
    fn tell_proof(
        &mut self,
        origin: Origin,
        onward: Option<&Onward>,
        found: Option<Stored>,
        sender: &EndpointId,
        message: MessageId,
    ) {
        let part = found.and_then(|stored| stored.body).and_then(|body| Part::decode(body).ok());
        let frame = part.and_then(|part| frame_of(&part, sender, message, origin));
        match (frame, onward) {
            (Some(frame), _) => {
                self.stats.asks_answered += u64::from(onward.is_some());
                let (receipts, labels) = (Receipts::Whole(Arc::new(frame)), vec![origin.label]);
                let crossing = Crossing::Receipts { link: origin.link, receipts, labels };
                self.outputs.push_back(CustodyOutput::Cross { worker: origin.worker, crossing });
            }
            (None, Some(onward)) => self.pass_ask_on(origin, onward),
            (None, None) => self.settle(origin, Code::UNDECIDED_STORAGE, Detail::default()),
        }
    }

    /// To the recipient, as if it had come this far without being held up; its answer settles the asker's label.
    fn pass_ask_on(&mut self, origin: Origin, onward: &Onward) {
        let Some(step) = onward.moves.first() else { return };
        let statement = onward.part.entries().get(step.position).map(|entry| &entry.statement);
        let Some(message) = statement.and_then(|statement| MessageRef::parse(statement).ok()) else {
            return self.settle(origin, Code::BAD_STATEMENT, Detail::default());
        };
        let table = Arc::clone(&self.table);
        let route = table.lookup(message.service, message.jurisdiction);
        let chosen = self.routing().choose(&message, route);
        let named = chosen.and_then(|(index, way)| {
            let entry = table.endpoint_entry(index).ok_or(Code::RECIPIENT_UNKNOWN)?;
            Ok((entry.id.clone(), way))
        });
        match named {
            Ok((recipient, way)) => {
                let mut step = step.clone();
                step.hop.recipient = Some(recipient.clone());
                step.recipient = recipient;
                let deadline_ms = way.deadline_ms(self.config.endpoint_deadline_ms, self.config.hop_deadline_ms);
                let onward = Onward { moves: vec![step], target: way.link, deadline_ms, ..onward.clone() };
                let crossing = Crossing::Entries(onward);
                self.outputs.push_back(CustodyOutput::Cross { worker: way.worker, crossing });
            }
            Err(no_way) if matches!(no_way.code, Code::BUSY | Code::NOT_ATTACHED) => {
                let recipient = step.recipient.clone();
                self.refuse(origin, &recipient);
            }
            Err(no_way) => self.settle(origin, no_way.code, Detail::default()),
        }
    }

    /// Entries an operator gives up; those under way or ended meanwhile are left alone.
    fn discard(&mut self, stored: Stored, messages: &[(EndpointId, MessageId)], reason: &str) {
        let record = stored.record;
        if !self.loaded.contains_key(&record) {
            let Some((_, loaded)) = self.load(stored) else { return };
            self.loaded.insert(record, loaded);
        }
        let Some(loaded) = self.loaded.get(&record) else { return };
        let idle = loaded.positions(Step::Ready).chain(loaded.positions(Step::Held));
        let named = |position: &usize| {
            let entry = loaded.head.entries.get(*position);
            entry.is_some_and(|entry| {
                messages.iter().any(|(sender, id)| *id == entry.message && *sender == entry.sender)
            })
        };
        let ended: Vec<_> = idle.filter(named).map(|position| (position, Outcome::Discarded, Code::NOTED)).collect();
        if !ended.is_empty() {
            self.conclude_here(record, &ended, Some(reason));
        }
        self.let_go_if_unqueued(record);
    }
}

/// A RECEIPTS frame of the one receipt about this message.
fn frame_of(part: &Part, sender: &EndpointId, message: MessageId, origin: Origin) -> Option<ReceiptsFrame> {
    let about = |statement: &[u8]| {
        Receipt::parse(statement).is_ok_and(|receipt| receipt.message == message && receipt.addressee == *sender)
    };
    let position = part.entries().iter().position(|entry| about(&entry.statement))?;
    ReceiptsFrame::from_part(part, position, origin.label)
}
