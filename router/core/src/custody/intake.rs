//! Taking custody: entries that a worker hands over become records; after the fsync each gets a receipt *custody*.
//!
//! Entries of one part that wait for the same endpoints become one record, because they share a proof: what is stored is a
//! smaller part (WIRE 5.5), ready to be sent on. A message that is held already is answered with what is known of it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::frame::LONGEST_BODY;
use kernpost_codecs::part::{HopHeader, Part};
use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::{Code, EndpointId, Entry, FrameDecoder, MessageRef, SKEW_MS};
use kernpost_routing_table::{EndpointIndex, Table};

use super::answers::Then;
use super::asking::Question;
use super::queues::{Loaded, QueueState};
use super::spool::{EntryState, Head, HeadEntry, Kind, Queue, RecordId, Repeat, SpoolIntent, SpoolRead, Stored};
use super::{Custody, CustodyOutput, Timer};
use crate::crossing::{Crossing, Move, Onward, Receipts};
use crate::outbound::Origin;

impl Custody {
    /// Takes what a worker hands over, or refuses it; asks are answered.
    pub(super) fn take(&mut self, onward: Onward) {
        let takes = self.takes();
        let table = Arc::clone(&self.table);
        let mut groups: Vec<(Arc<[EndpointId]>, Vec<&Move>)> = Vec::new();
        for step in &onward.moves {
            let Some(origin) = onward.origin(step.position) else { continue };
            if step.hop.ask {
                self.on_ask(origin, &onward, step);
                continue;
            }
            self.stats.handed_over += 1;
            match waits_for(&table, &onward.part, step).filter(|_| takes) {
                None => {
                    self.stats.refused += 1;
                    self.refuse(origin, &step.recipient);
                }
                Some(endpoints) if step.hop.detached => {
                    self.expect_payload(origin, &onward, step, endpoints.into());
                }
                Some(endpoints) => match groups.iter_mut().rev().find(|(held, _)| **held == *endpoints) {
                    Some((_, moves)) => moves.push(step),
                    None => groups.push((endpoints.into(), vec![step])),
                },
            }
        }
        for (waits_for, moves) in groups {
            self.keep(&onward, Queue { waits_for, class: onward.class }, &moves);
        }
    }

    /// One record, or more where frames would grow too long.
    pub(super) fn keep(&mut self, onward: &Onward, queue: Queue, moves: &[&Move]) {
        // Of the hop headers stays what may have been handed on before, and where the payload is.
        let stays = |step: &&Move| HopHeader {
            redelivered: step.hop.redelivered,
            detached: step.hop.detached,
            ..HopHeader::default()
        };
        let hops: Vec<HopHeader> = moves.iter().map(stays).collect();
        let mut rest = moves;
        while !rest.is_empty() {
            let hops = hops.iter().skip(moves.len() - rest.len());
            let chosen = rest.iter().zip(hops).map(|(step, hop)| (step.position, hop));
            let mut frame = BytesMut::new();
            let written = onward.part.encode_chosen(chosen, LONGEST_BODY, &mut frame).unwrap_or(0);
            let (now, later) = rest.split_at(written.max(1).min(rest.len()));
            match body_of(frame.freeze()).filter(|_| written > 0) {
                Some(body) => self.keep_record(onward, &queue, now, body),
                // Cannot happen with admitted payloads; refused rather than lost.
                None => {
                    for step in now {
                        if let Some(origin) = onward.origin(step.position) {
                            self.settle(origin, Code::OVERSIZED, Detail::default());
                        }
                    }
                }
            }
            rest = later;
        }
    }

    fn keep_record(&mut self, onward: &Onward, queue: &Queue, moves: &[&Move], body: Bytes) {
        let entries = moves.iter().filter_map(|step| {
            let entry = onward.part.entries().get(step.position)?;
            Some(head_entry(entry, step.sender.clone(), &MessageRef::parse(&entry.statement).ok()?))
        });
        let entries = entries.collect();
        let origins = moves.iter().filter_map(|step| onward.origin(step.position)).collect();
        let taken = self.now.wall;
        let mut head = Head { kind: Kind::Messages, queue: queue.clone(), taken, due: taken, entries };
        head.due = self.due_of(&head);
        let record = self.name_record();
        self.expect_record(queue);
        self.intend(SpoolIntent::Keep { record, head, body }, Then::Taken(origins));
    }

    pub(super) fn on_taken<'r>(
        &mut self,
        record: RecordId,
        mut head: Head,
        body: Bytes,
        origins: Vec<Origin>,
        repeated: impl Iterator<Item = &'r Repeat>,
        receipts: &mut Vec<(Origin, HeadEntry)>,
    ) {
        let mut held_by: Vec<Option<RecordId>> = vec![None; head.entries.len()];
        for repeat in repeated {
            let position = head.entries.binary_search_by_key(&repeat.index, |entry| entry.index);
            if let Some(held) = position.ok().and_then(|position| held_by.get_mut(position)) {
                *held = Some(repeat.held);
            }
        }
        let mut taken = 0;
        for ((entry, origin), held) in head.entries.iter_mut().zip(origins).zip(held_by) {
            match held {
                None => {
                    taken += 1;
                    receipts.push((origin, entry.clone()));
                }
                Some(held) => {
                    self.stats.repeats += 1;
                    entry.state = EntryState::Repeat;
                    let question = Question::Known {
                        origin,
                        message: entry.message,
                        sender: entry.sender.clone(),
                        leaf: entry.leaf,
                    };
                    let ticket = self.ticket(question);
                    self.outputs.push_back(CustodyOutput::Read(SpoolRead::Record { ticket, record: held }));
                }
            }
        }
        self.ledger.taken += taken;
        self.ledger.in_custody += taken;
        if taken > 0 {
            self.on_kept(record, head, body);
        } else {
            self.nothing_kept(&head.queue);
        }
    }

    /// A record is on its way to the spool: its queue is there from now on.
    pub(super) fn expect_record(&mut self, queue: &Queue) {
        self.open_queue(queue);
        if let Some(state) = self.queues.get_mut(queue) {
            state.pending += 1;
        }
    }

    /// A record that was expected did not come.
    pub(super) fn nothing_kept(&mut self, queue: &Queue) {
        if let Some(state) = self.queues.get_mut(queue) {
            state.pending = state.pending.saturating_sub(1);
            state.look = true;
        }
        self.mark_dirty(queue);
    }

    /// A record is durable. Into the window when the window reaches up to it and its queue is being delivered; otherwise it is
    /// read when its turn comes.
    pub(super) fn on_kept(&mut self, record: RecordId, head: Head, body: Bytes) {
        let queue = head.queue.clone();
        let reachable = self.is_reachable(&queue);
        let room = self.has_room(&queue);
        let redelivered = self.was_tried(record);
        let Some(state) = self.queues.get_mut(&queue) else { return };
        state.pending = state.pending.saturating_sub(1);
        if state.reading {
            state.missed = true;
        } else if state.end {
            match Part::decode(body).ok().filter(|_| reachable && room) {
                Some(part) => {
                    state.cursor = Some(record);
                    let loaded = Loaded::new(head, Some(Arc::new(part)), redelivered);
                    self.insert_loaded(&queue, record, loaded);
                }
                None => state.end = false,
            }
        }
        self.mark_dirty(&queue);
    }

    /// One signature for all that one link waits for.
    pub(super) fn send_custody_receipts(&mut self, receipts: Vec<(Origin, HeadEntry)>) {
        let mut links: Vec<(Origin, Vec<(HeadEntry, Label)>)> = Vec::new();
        for (origin, entry) in receipts {
            let same = |held: &Origin| (held.worker, held.link) == (origin.worker, origin.link);
            match links.iter_mut().find(|(held, _)| same(held)) {
                Some((_, entries)) => entries.push((entry, origin.label)),
                None => links.push((origin, vec![(entry, origin.label)])),
            }
        }
        for (origin, entries) in links {
            match self.signer.custody(&self.table, self.now, &entries) {
                Some(frames) => {
                    for (frame, labels) in frames {
                        let receipts = Receipts::Whole(Arc::new(frame));
                        let crossing = Crossing::Receipts { link: origin.link, receipts, labels };
                        self.outputs.push_back(CustodyOutput::Cross { worker: origin.worker, crossing });
                    }
                }
                // It is held, but nobody can sign that now: the sender asks, or sends it again.
                None => {
                    for (_, label) in entries {
                        self.settle(Origin { label, ..origin }, Code::UNDECIDED_STORAGE, Detail::default());
                    }
                }
            }
        }
    }

    /// The spool's answer to a window's question.
    pub(super) fn on_window_read(&mut self, queue: &Queue, found: Vec<Stored>, end: bool) {
        let Some(state) = self.queues.get_mut(queue) else { return };
        state.reading = false;
        state.end = end && !std::mem::take(&mut state.missed);
        if let Some(last) = found.last() {
            state.cursor = Some(last.record);
        }
        for stored in found {
            let record = stored.record;
            // It may be in memory already: under way when the window was let go, or loaded to be judged.
            let held = self.loaded.remove(&record).map(|loaded| (record, loaded));
            if let Some((record, loaded)) = held.or_else(|| self.load(stored)) {
                self.insert_loaded(queue, record, loaded);
            }
        }
        self.mark_dirty(queue);
    }

    pub(super) fn insert_loaded(&mut self, queue: &Queue, record: RecordId, mut loaded: Loaded) {
        if let Some(state) = self.queues.get_mut(queue) {
            if state.insert(record, &mut loaded) {
                self.loaded_bytes += loaded.bytes();
            }
            self.loaded.insert(record, loaded);
        }
    }

    /// Looks again at what was held when something ended or somebody came.
    pub(super) fn release(&mut self, queue: &Queue, record: RecordId) {
        let Some(mut loaded) = self.loaded.remove(&record) else { return };
        if let Some(state) = self.queues.get_mut(queue) {
            let held: Vec<usize> = loaded.positions(super::queues::Step::Held).collect();
            for position in held {
                if state.may_leave(record, position, &loaded) {
                    loaded.set(position, super::queues::Step::Ready);
                }
            }
            if loaded.any(super::queues::Step::Ready) {
                state.ready.insert(record);
            }
        }
        self.loaded.insert(record, loaded);
    }

    /// The pause of one record is over.
    pub(super) fn try_record_again(&mut self, record: RecordId) {
        if let Some(queue) = self.loaded.get(&record).map(|loaded| loaded.head.queue.clone()) {
            self.release(&queue, record);
            self.mark_dirty(&queue);
        }
    }

    /// Whether this queue may take more into memory.
    pub(super) fn has_room(&self, queue: &Queue) -> bool {
        let own = self.queues.get(queue).map_or(0, |state: &QueueState| state.bytes);
        own < self.config.queue_window_bytes && (own == 0 || self.loaded_bytes < self.config.window_bytes)
    }

    pub(super) fn pause(&mut self, queue: &Queue, ms: u64) {
        let until_us = self.now.after_ms(ms);
        if let Some(state) = self.queues.get_mut(queue) {
            state.paused_until_us = until_us;
        }
        self.timers.insert((until_us, Timer::Queue(queue.clone())));
    }
}

/// Whom an entry waits for: the explicit recipient, those it is encrypted for, or all of its route.
pub(super) fn endpoints_of(table: &Table, message: &MessageRef<'_>) -> Option<Vec<EndpointId>> {
    if let Some(recipient) = message.recipient {
        return table.endpoint(recipient).map(|_| recipient.parse().ok()).map(|id| id.into_iter().collect());
    }
    let route = table.lookup(message.service, message.jurisdiction)?;
    let takes = |index: &&EndpointIndex| {
        let entry = table.endpoint_entry(**index);
        message
            .encryption_key
            .is_none_or(|key| entry.is_some_and(|entry| entry.encryption_keys.iter().any(|held| held.id().0 == key)))
    };
    let ids = route.endpoints.iter().filter(takes).filter_map(|index| Some(table.endpoint_entry(*index)?.id.clone()));
    Some(ids.collect::<Vec<_>>()).filter(|ids| !ids.is_empty())
}

fn waits_for(table: &Table, part: &Part, step: &Move) -> Option<Vec<EndpointId>> {
    let message = MessageRef::parse(&part.entries().get(step.position)?.statement).ok()?;
    endpoints_of(table, &message).filter(|_| message.custody_allowed)
}

/// Everybody whom any of these messages waits for, each once.
pub(super) fn endpoints_of_all<'m>(table: &Table, messages: impl Iterator<Item = MessageRef<'m>>) -> Vec<EndpointId> {
    let mut all: Vec<EndpointId> = Vec::new();
    for endpoint in messages.flat_map(|message| endpoints_of(table, &message).unwrap_or_default()) {
        if !all.contains(&endpoint) {
            all.push(endpoint);
        }
    }
    all
}

/// What is known of a message that waits, without its record's body.
pub(super) fn head_entry(entry: &Entry, sender: EndpointId, message: &MessageRef<'_>) -> HeadEntry {
    HeadEntry {
        index: entry.index,
        sender,
        message: message.id,
        leaf: entry.leaf,
        expires: message.expires(),
        case: message.case.map(Arc::from),
        cost: held_cost(entry, message),
        state: EntryState::Waiting,
    }
}

/// What an entry occupies, a payload in a file of its own included.
fn held_cost(entry: &Entry, message: &MessageRef<'_>) -> u64 {
    entry.credit() + if entry.hop.detached { message.payload_len } else { 0 }
}

/// The body of the one frame in `frame`.
pub(super) fn body_of(frame: Bytes) -> Option<Bytes> {
    let mut decoder = FrameDecoder::new();
    decoder.push(frame);
    decoder.next().ok().flatten().map(|frame| frame.body)
}

/// Added to a message's expiry before a receipt says *expired*, ms.
pub(super) const EXPIRY_GRACE_MS: u64 = 2 * SKEW_MS;
