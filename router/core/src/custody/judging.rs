//! May this still be delivered, and to whom? Every attempt is judged by the table in force; another table has everything that waits
//! judged anew, a few records at a time.
//!
//! The rules, in order: the signing keys still verify (revocation ends them at once); the sender's grant still covers the route
//! key; the route, the explicit recipient or the encryption key still leads to somebody. What no longer holds goes back with a
//! receipt *returned*. What leads to somebody else moves to the queue of those.

use std::collections::VecDeque;
use std::sync::Arc;

use kernpost_codecs::part::Part;
use kernpost_codecs::statement::LONGEST_LIFETIME_S;
use kernpost_codecs::{Class, Code, Digest, EndpointId, Entry, MessageRef, Outcome, Receipt};
use kernpost_routing_table::KeyOwner;

use super::answers::Then;
use super::ending::LATE_MS;
use super::intake::{endpoints_of_all, head_entry};
use super::queues::{Loaded, Step};
use super::spool::{EntryState, Head, HeadEntry, Kind, Purpose, Queue, RecordId, SpoolIntent, SpoolRead, Stored};
use super::{Custody, CustodyAlarm, CustodyOutput};
use crate::admission::authorise;
use crate::mutant::{self, Mutant};
use crate::routing::Way;

/// What an attempt may do with one entry.
pub(super) enum Judgement {
    /// Send it there.
    Go { recipient: EndpointId, way: Way },
    /// Nobody it may go to is there for now.
    Wait,
    /// Nobody may have it any more.
    Return(Code),
}

/// The queues that another table has to be applied to, and how far that went.
#[derive(Debug, Default)]
pub(super) struct Judging {
    queues: VecDeque<Queue>,
    after: Option<RecordId>,
    waiting: bool,
}

impl Custody {
    /// Who signed the messages of a record, and whether that still counts.
    pub(super) fn judge_signers(&self, loaded: &Loaded) -> Result<(), Code> {
        if loaded.head.kind == Kind::Receipts {
            return Ok(());
        }
        let Some(sender) = loaded.head.entries.first().map(|entry| &entry.sender) else { return Ok(()) };
        let owner = self.table.endpoint(sender.as_str()).map(KeyOwner::Endpoint).ok_or(Code::SENDER_UNKNOWN)?;
        for signature in loaded.part.iter().flat_map(|part| part.signatures()) {
            let kid = signature.kid().map_err(|_| Code::BAD_SIGNATURE)?;
            let (found, key) = self.table.key(&kid).ok_or(Code::KEY_NOT_OWNED)?;
            if found != owner {
                return Err(Code::KEY_NOT_OWNED);
            }
            if key.revoked {
                return Err(Code::KEY_REVOKED);
            }
            if self.now.wall >= key.verify_until {
                return Err(Code::KEY_EXPIRED);
            }
        }
        Ok(())
    }

    pub(super) fn judge_entry(&self, loaded: &Loaded, position: usize, signers: &Result<(), Code>) -> Judgement {
        let (Some(held), Some(entry)) = (loaded.head.entries.get(position), loaded.entry(position)) else {
            return Judgement::Wait;
        };
        if self.clock_synchronised && self.now.wall >= held.expires {
            // Found by its time.
            return Judgement::Wait;
        }
        match loaded.head.kind {
            Kind::Receipts => match self.routing().reach(&held.sender, 0) {
                Ok(way) => Judgement::Go { recipient: held.sender.clone(), way },
                Err(_) => Judgement::Wait,
            },
            Kind::Messages => match signers {
                // By a clock that may be wrong, nothing ends for good.
                Err(Code::KEY_EXPIRED) if !self.clock_synchronised => Judgement::Wait,
                Err(code) => Judgement::Return(*code),
                Ok(()) => self.judge_message(&entry.statement),
            },
        }
    }

    fn judge_message(&self, statement: &[u8]) -> Judgement {
        let Ok(message) = MessageRef::parse(statement) else { return Judgement::Return(Code::BAD_STATEMENT) };
        let table = Arc::clone(&self.table);
        let Some(sender) = table.endpoint(message.sender) else { return Judgement::Return(Code::SENDER_UNKNOWN) };
        if let Err(code) = authorise(&table, sender, &message) {
            return Judgement::Return(code);
        }
        let route = table.lookup(message.service, message.jurisdiction);
        match self.routing().choose(&message, route) {
            Ok((index, way)) => match table.endpoint_entry(index) {
                Some(entry) => Judgement::Go { recipient: entry.id.clone(), way },
                None => Judgement::Return(Code::RECIPIENT_UNKNOWN),
            },
            Err(no_way) if matches!(no_way.code, Code::BUSY | Code::NOT_ATTACHED) => Judgement::Wait,
            Err(no_way) => Judgement::Return(no_way.code),
        }
    }

    /// Reads a record back: every payload must be what its statement says. What cannot be read ends *damaged*; a record whose index
    /// cannot be read is put in order first, and comes again when that is durable.
    pub(super) fn load(&mut self, stored: Stored) -> Option<(RecordId, Loaded)> {
        let record = stored.record;
        let part = stored.body.and_then(|body| Part::decode(body).ok());
        match (stored.head, part) {
            (Some(head), Some(part)) if matches(&head, &part) && self.payloads_hold(&head, &part) => {
                let redelivered = self.was_tried(record);
                return Some((record, Loaded::new(head, Some(Arc::new(part)), redelivered)));
            }
            (Some(head), _) => self.on_damaged(record, head),
            // Asked for again before the answer to the first time.
            (None, _) if self.is_mended(record) => {}
            (None, Some(part)) => self.restore(record, &part),
            (None, None) => self.on_unreadable(record),
        }
        None
    }

    /// Whether the payload of everything that waits is what its statement says.
    fn payloads_hold(&mut self, head: &Head, part: &Part) -> bool {
        if head.kind == Kind::Receipts {
            return true;
        }
        let waiting = head.entries.iter().zip(part.entries()).filter(|(held, _)| held.state == EntryState::Waiting);
        let due: Vec<_> = waiting.map(|(_, entry)| entry).collect();
        self.stats.digest_checks += due.len() as u64;
        due.iter().all(|entry| MessageRef::parse(&entry.statement).is_ok_and(|message| payload_holds(entry, &message)))
    }

    /// The index of a record is damaged, its body is not: it is made again from the statements.
    fn restore(&mut self, record: RecordId, part: &Part) {
        let remade = self.head_of_messages(part).or_else(|| self.head_of_receipts(part).map(|head| (head, true)));
        let Some((head, holds)) = remade else { return self.on_unreadable(record) };
        // Some of it may have been handed on before.
        self.note_tried(record);
        let intent = SpoolIntent::Update { record, before: head.place(), head: head.clone(), body: None };
        self.intend(intent, Then::Found);
        if holds {
            self.stats.damaged += 1;
            self.outputs.push_back(CustodyOutput::Alarm(CustodyAlarm::Damaged { record }));
        } else {
            self.on_damaged(record, head);
        }
    }

    /// A new index for messages, and whether what it says waits can be delivered. An entry without the payload its statement speaks
    /// of has ended: nothing else erases one, and only together with an end whose receipt is durable as a record of its own. Which
    /// of the others had ended is not known any more; they are delivered again, and their recipient answers with the earlier
    /// outcome.
    fn head_of_messages(&mut self, part: &Part) -> Option<(Head, bool)> {
        let (mut entries, mut waiting, mut class, mut holds) = (Vec::new(), Vec::new(), None, true);
        for entry in part.entries() {
            let message = MessageRef::parse(&entry.statement).ok()?;
            class.get_or_insert(message.class);
            let mut held = head_entry(entry, message.sender.parse().ok()?, &message);
            if !entry.hop.detached && entry.payload.is_empty() && message.payload_len > 0 {
                held.state = EntryState::Sent(Code::UNDECIDED_STORAGE);
            } else {
                self.stats.digest_checks += 1;
                holds &= payload_holds(entry, &message);
                waiting.push(message);
            }
            entries.push(held);
        }
        let mut waits_for = endpoints_of_all(&self.table, waiting.into_iter());
        if waits_for.is_empty() {
            // Nobody may have it any more: its sender is told so, when it is there.
            waits_for.extend(entries.first().map(|entry: &HeadEntry| entry.sender.clone()));
        }
        Some((self.head_of(Kind::Messages, waits_for, class?, entries), holds))
    }

    /// A new index for receipts: all of them are sent again, which their addressee notes again.
    fn head_of_receipts(&self, part: &Part) -> Option<Head> {
        let mut entries = Vec::new();
        for entry in part.entries() {
            let receipt = Receipt::parse(&entry.statement).ok()?;
            entries.push(HeadEntry {
                index: entry.index,
                sender: receipt.addressee,
                message: receipt.message,
                leaf: receipt.subject,
                // When the message expires is not in its receipt: at the latest so long after it.
                expires: receipt.time.plus_ms(u64::from(LONGEST_LIFETIME_S) * 1_000 + LATE_MS),
                case: None,
                cost: entry.credit(),
                state: EntryState::Waiting,
            });
        }
        let addressee = entries.first()?.sender.clone();
        Some(self.head_of(Kind::Receipts, vec![addressee], Class::default(), entries))
    }

    fn head_of(&self, kind: Kind, waits_for: Vec<EndpointId>, class: Class, entries: Vec<HeadEntry>) -> Head {
        let (queue, taken) = (Queue { waits_for: waits_for.into(), class }, self.now.wall);
        let mut head = Head { kind, queue, taken, due: taken, entries };
        head.due = self.due_of(&head);
        head
    }

    /// Whether a record is on its way out of the state in which it cannot be read.
    fn is_mended(&self, record: RecordId) -> bool {
        let mut intents = self.pending.iter().chain(&self.deferred);
        intents.any(|(intent, then)| matches!(then, Then::Found | Then::Lost) && intent.record() == Some(record))
    }

    /// The record cannot be read, but whom to tell is known: they get receipts *damaged* and send again.
    fn on_damaged(&mut self, record: RecordId, head: Head) {
        self.stats.damaged += 1;
        if mutant::is(Mutant::DamageSilent) {
            return;
        }
        self.outputs.push_back(CustodyOutput::Alarm(CustodyAlarm::Damaged { record }));
        let kind = head.kind;
        let waiting = head.entries.iter().enumerate().filter(|(_, entry)| entry.state == EntryState::Waiting);
        let waiting: Vec<usize> = waiting.map(|(position, _)| position).collect();
        self.loaded.insert(record, Loaded::new(head, None, false));
        match kind {
            Kind::Messages => {
                let ended: Vec<_> =
                    waiting.iter().map(|position| (*position, Outcome::Damaged, Code::UNDECIDED_STORAGE)).collect();
                self.conclude_here(record, &ended, None);
            }
            // The sender asks, and is told what is known then.
            Kind::Receipts => {
                let ended: Vec<_> = waiting.iter().map(|position| (*position, Code::UNDECIDED_STORAGE)).collect();
                self.end_late(record, &ended);
            }
        }
        let intent =
            SpoolIntent::Quarantine { record, reason: "its body does not read back as it was written".to_owned() };
        self.intend(intent, Then::Nothing);
    }

    fn on_unreadable(&mut self, record: RecordId) {
        self.stats.damaged += 1;
        self.outputs.push_back(CustodyOutput::Alarm(CustodyAlarm::Unreadable { record }));
        let intent = SpoolIntent::Quarantine { record, reason: "neither index nor body can be read".to_owned() };
        self.intend(intent, Then::Lost);
    }

    /// Another table: begin again with everything that waits.
    pub(super) fn judge_everything(&mut self) {
        self.judging.queues = self.queues.names().into();
        self.judging.after = None;
        self.judge_on();
    }

    /// Whether a round is not over.
    pub(super) fn is_judging(&self) -> bool {
        !self.judging.queues.is_empty()
    }

    fn judge_on(&mut self) {
        if self.judging.waiting || self.stopped {
            return;
        }
        if let Some(queue) = self.judging.queues.front().cloned() {
            self.judging.waiting = true;
            let (after, bytes) = (self.judging.after, JUDGED_BYTES);
            let read = SpoolRead::Queue { purpose: Purpose::Judge, queue, after, most: JUDGED, bytes };
            self.outputs.push_back(CustodyOutput::Read(read));
        }
    }

    pub(super) fn on_judged(&mut self, queue: &Queue, found: Vec<Stored>, end: bool) {
        self.judging.waiting = false;
        // Another table may have come meanwhile: then this answer is for a round that has begun again.
        if self.judging.queues.front() == Some(queue) {
            self.judging.after = found.last().map(|stored| stored.record).or(self.judging.after);
            if end {
                self.judging.queues.pop_front();
                self.judging.after = None;
            }
        }
        for stored in found {
            self.judge_record(stored);
        }
        self.judge_on();
    }

    fn judge_record(&mut self, stored: Stored) {
        let record = stored.record;
        if !self.loaded.contains_key(&record) {
            let Some((_, loaded)) = self.load(stored) else { return };
            self.loaded.insert(record, loaded);
        }
        self.judge_loaded(record);
    }

    /// What settled may have waited for another table's judgement.
    pub(super) fn judge_when_settled(&mut self, record: RecordId) {
        if self.loaded.get(&record).is_some_and(|loaded| loaded.to_be_judged && !loaded.is_busy()) {
            self.judge_loaded(record);
        }
    }

    fn judge_loaded(&mut self, record: RecordId) {
        let Some(loaded) = self.loaded.get_mut(&record) else { return };
        loaded.to_be_judged = loaded.is_busy();
        let Some(loaded) = self.loaded.get(&record) else { return };
        if loaded.head.kind == Kind::Messages {
            let signers = self.judge_signers(loaded);
            let idle = loaded.positions(Step::Ready).chain(loaded.positions(Step::Held));
            let returned: Vec<(usize, Outcome, Code)> = idle
                .filter_map(|position| match self.judge_entry(loaded, position, &signers) {
                    Judgement::Return(code) => Some((position, Outcome::Returned, code)),
                    Judgement::Go { .. } | Judgement::Wait => None,
                })
                .collect();
            if !returned.is_empty() {
                self.conclude_here(record, &returned, None);
            }
            self.move_if_elsewhere(record);
        }
        self.let_go_if_unqueued(record);
    }

    /// Moves a record to the queue of those who are responsible now.
    fn move_if_elsewhere(&mut self, record: RecordId) {
        let Some(loaded) = self.loaded.get(&record) else { return };
        if !loaded.head.waits() || loaded.is_busy() {
            return;
        }
        let waiting = loaded.head.entries.iter().enumerate().filter(|(_, held)| held.state == EntryState::Waiting);
        let messages = waiting.filter_map(|(position, _)| MessageRef::parse(&loaded.entry(position)?.statement).ok());
        let waits_for = endpoints_of_all(&self.table, messages);
        let from = loaded.head.queue.clone();
        if waits_for.is_empty() || *waits_for == *from.waits_for {
            return;
        }
        let to = Queue { waits_for: waits_for.into(), class: from.class };
        let (before, mut head) = (loaded.head.place(), loaded.head.clone());
        head.queue = to.clone();
        self.drop_loaded(&from, record);
        self.open_queue(&to);
        if let Some(state) = self.queues.get_mut(&to) {
            // It is older than what was read of its new queue: read that again from the front.
            state.cursor = None;
            state.end = false;
        }
        let intent = SpoolIntent::Update { record, before, head, body: None };
        self.intend(intent, Then::Moved);
        for queue in [&from, &to] {
            if let Some(state) = self.queues.get_mut(queue) {
                state.look = true;
            }
            self.mark_dirty(queue);
        }
    }

    /// A record that was loaded to be judged and is in no window need not stay. True: it went.
    pub(super) fn let_go_if_unqueued(&mut self, record: RecordId) -> bool {
        let Some(loaded) = self.loaded.get(&record) else { return false };
        let queued = self.queues.get(&loaded.head.queue).is_some_and(|state| state.window.contains(&record));
        let idle = !queued && !loaded.is_busy();
        idle && self.loaded.remove(&record).is_some()
    }
}

/// The payload is what its statement says. One in a file of its own is checked piece by piece when it is sent.
fn payload_holds(entry: &Entry, message: &MessageRef<'_>) -> bool {
    entry.hop.detached || message.payload_digest == Digest::of(&entry.payload)
}

/// Index and body speak of the same entries.
fn matches(head: &Head, part: &Part) -> bool {
    head.entries.len() == part.entries().len()
        && head.entries.iter().zip(part.entries()).all(|(held, entry)| held.index == entry.index)
}

/// Records judged at once.
const JUDGED: usize = 64;
/// Bytes of them, at most.
const JUDGED_BYTES: usize = 4 << 20;
