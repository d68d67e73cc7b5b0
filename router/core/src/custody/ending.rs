//! How custody of a message ends: by a receipt, which is made durable together with the end and then sent to the sender late.
//!
//! The receipt is a record of its own, in a queue that waits for the sender; the message's record keeps statement and proof, and
//! loses the payload when none of its entries needs it any more.

use std::sync::Arc;

use bytes::BytesMut;
use kernpost_codecs::frame::LONGEST_BODY;
use kernpost_codecs::part::{HopHeader, Part};
use kernpost_codecs::{Code, Outcome, UnixMs};

use super::Custody;
use super::answers::Then;
use super::intake::{EXPIRY_GRACE_MS, body_of};
use super::queues::{Loaded, Step};
use super::spool::{EntryState, Head, HeadEntry, Kind, Queue, RecordId, SpoolIntent};
use crate::mutant::{self, Mutant};

/// An entry that ends: its position in the record, how, and the position of its receipt in the part of them.
pub(super) type Ended = (usize, Outcome, usize);

impl Custody {
    /// Entries of a record end by receipts of this router.
    pub(super) fn conclude_here(&mut self, record: RecordId, ended: &[(usize, Outcome, Code)], problem: Option<&str>) {
        let Some(loaded) = self.loaded.get(&record) else { return };
        let entry = |(position, outcome, code): &(usize, Outcome, Code)| {
            let entry = loaded.head.entries.get(*position)?.clone();
            Some((entry, *outcome, *code, problem.map(str::to_owned)))
        };
        let entries: Vec<_> = ended.iter().filter_map(entry).collect();
        let Some(part) = self.signer.ended(&self.table, self.now, &entries) else {
            // No key for now: it waits, and is found again by its time or by its next attempt.
            for (position, ..) in ended {
                if let Some(loaded) = self.loaded.get_mut(&record) {
                    loaded.set(*position, Step::Held);
                }
            }
            return;
        };
        let ended: Vec<_> =
            ended.iter().enumerate().map(|(at, (position, outcome, _))| (*position, *outcome, at)).collect();
        self.conclude(record, &ended, &part);
    }

    /// Entries of a record end by these receipts: (position in the record, outcome, position of its receipt in `part`).
    pub(super) fn conclude(&mut self, record: RecordId, ended: &[Ended], part: &Part) {
        let Some(loaded) = self.loaded.get(&record) else { return };
        let mut receipts: Vec<(usize, HeadEntry)> = ended
            .iter()
            .filter_map(|(position, _, at)| {
                let about = loaded.head.entries.get(*position)?;
                let until = about.expires.plus_ms(LATE_MS);
                let entry = part.entries().get(*at)?;
                let (index, cost) = (entry.index, entry.credit());
                Some((
                    *at,
                    HeadEntry { index, cost, expires: until, case: None, state: EntryState::Waiting, ..about.clone() },
                ))
            })
            .collect();
        receipts.sort_by_key(|(at, _)| *at);
        let Some((_, first)) = receipts.first() else { return };
        let queue = Queue { waits_for: Arc::from([first.sender.clone()]), class: loaded.head.queue.class };
        if mutant::is(Mutant::LateReceiptDropped) {
            receipts.iter_mut().for_each(|(_, entry)| entry.state = EntryState::Sent(Code::NOTED));
        }
        let kept = self.keep_receipts(&queue, part, &receipts);
        let receipt_of = |at: usize| kept.iter().find(|(places, _)| places.contains(&at)).map(|(_, record)| *record);
        let states: Vec<(usize, EntryState)> = ended
            .iter()
            .filter_map(|(position, outcome, at)| {
                Some((*position, EntryState::Final { outcome: *outcome, receipt: receipt_of(*at)? }))
            })
            .collect();
        self.update(record, &states);
    }

    /// Records of receipts, one for each frame they fit: which positions of the part are in which.
    fn keep_receipts(
        &mut self,
        queue: &Queue,
        part: &Part,
        receipts: &[(usize, HeadEntry)],
    ) -> Vec<(Vec<usize>, RecordId)> {
        let (hop, mut rest, mut kept) = (HopHeader::default(), receipts, Vec::new());
        while !rest.is_empty() {
            let mut frame = BytesMut::new();
            let chosen = rest.iter().map(|(at, _)| (*at, &hop));
            let written = part.encode_chosen(chosen, LONGEST_BODY, &mut frame).unwrap_or(0);
            let (now, later) = rest.split_at(written.max(1).min(rest.len()));
            rest = later;
            let Some(body) = body_of(frame.freeze()) else { continue };
            let entries: Vec<HeadEntry> = now.iter().map(|(_, entry)| entry.clone()).collect();
            let taken = self.now.wall;
            let mut head = Head { kind: Kind::Receipts, queue: queue.clone(), taken, due: taken, entries };
            head.due = self.due_of(&head);
            let record = self.name_record();
            self.expect_record(queue);
            self.intend(SpoolIntent::Keep { record, head, body }, Then::Kept);
            kept.push((now.iter().map(|(at, _)| *at).collect(), record));
        }
        kept
    }

    /// Late receipts need no further sending.
    pub(super) fn end_late(&mut self, record: RecordId, settled: &[(usize, Code)]) {
        for (_, code) in settled {
            if code.is_noted() {
                self.stats.noted += 1;
            } else {
                self.stats.not_noted += 1;
            }
        }
        let states: Vec<_> = settled.iter().map(|(position, code)| (*position, EntryState::Sent(*code))).collect();
        self.update(record, &states);
    }

    /// Changes the state of entries, durably. Payloads that nobody needs any more are erased in the same write.
    fn update(&mut self, record: RecordId, states: &[(usize, EntryState)]) {
        let Some(mut loaded) = self.loaded.remove(&record) else { return };
        let before = loaded.head.place();
        let mut positions = Vec::with_capacity(states.len());
        for (position, state) in states {
            if let Some(entry) = loaded.head.entries.get_mut(*position) {
                entry.state = *state;
                positions.push(*position);
                loaded.set(*position, Step::Ending);
            }
        }
        loaded.head.due = self.due_of(&loaded.head);
        let erase = loaded.head.kind == Kind::Messages && !loaded.any(Step::Flying);
        let body = if erase { body_without_payloads(&loaded) } else { None };
        let intent = SpoolIntent::Update { record, before, head: loaded.head.clone(), body };
        if !loaded.any(Step::Ready)
            && let Some(state) = self.queues.get_mut(&loaded.head.queue)
        {
            state.ready.remove(&record);
        }
        self.loaded.insert(record, loaded);
        self.intend(intent, Then::Ended(positions));
    }

    /// The end of these entries is durable.
    pub(super) fn on_ended(&mut self, record: RecordId, positions: &[usize]) {
        let Some(mut loaded) = self.loaded.remove(&record) else { return };
        let queue = loaded.head.queue.clone();
        let mut next = Vec::new();
        for position in positions {
            loaded.set(*position, Step::Done);
            if let Some(EntryState::Final { outcome, .. }) = loaded.head.entries.get(*position).map(|entry| entry.state)
            {
                self.ledger.end(outcome, 1);
            }
            if let Some(entry) = loaded.head.entries.get(*position)
                && loaded.head.kind == Kind::Messages
                && entry.may_be_large()
            {
                self.erase_payload(entry.leaf);
            }
            if let Some(state) = self.queues.get_mut(&queue) {
                next.extend(state.leave_case(record, *position, &loaded));
            }
        }
        // Others of the record may have ended since, in a write that is still under way: their end is counted when it is durable.
        let (waits, ending) = (loaded.head.waits(), loaded.any(Step::Ending));
        self.loaded.insert(record, loaded);
        if !waits && !ending {
            self.tried.remove(&record);
            self.drop_loaded(&queue, record);
        } else if self.let_go_if_unqueued(record)
            && let Some(state) = self.queues.get_mut(&queue)
        {
            // The window may have been read past it meanwhile.
            state.cursor = None;
            state.end = false;
        }
        self.judge_when_settled(record);
        for (follower, _) in next {
            self.release(&queue, follower);
        }
        if let Some(state) = self.queues.get_mut(&queue) {
            state.look = true;
        }
        self.mark_dirty(&queue);
    }

    /// When somebody has to look at a record next: 120 s after its first message expires, when its first receipt is past its
    /// time, or when nothing waits and retention ends.
    pub(super) fn due_of(&self, head: &Head) -> UnixMs {
        let waiting = head.entries.iter().filter(|entry| entry.state == EntryState::Waiting).map(|entry| entry.expires);
        let grace = grace_ms(head.kind);
        match waiting.min() {
            Some(first) => first.plus_ms(grace),
            None => self.now.wall.plus_ms(self.config.retention_ms),
        }
    }
}

/// The record's body with the payloads of what still waits only; `None` when that is all of it.
fn body_without_payloads(loaded: &Loaded) -> Option<bytes::Bytes> {
    let waits = |index: u16| {
        let entry = loaded.position(index).and_then(|position| loaded.head.entries.get(position));
        entry.is_some_and(|entry| entry.state == EntryState::Waiting)
    };
    let part = loaded.part.as_ref()?;
    let holds = |entry: &kernpost_codecs::Entry| !entry.payload.is_empty() && !waits(entry.index);
    if !part.entries().iter().any(holds) {
        return None;
    }
    let part = part.with_payloads_of(waits);
    let mut frame = BytesMut::new();
    let all = part.entries().iter().map(|entry| &entry.hop).enumerate();
    part.encode_chosen(all, LONGEST_BODY, &mut frame).ok().filter(|written| *written == part.entries().len())?;
    body_of(frame.freeze())
}

/// Added to the time at which an entry of this kind ends by itself, ms.
pub(super) fn grace_ms(kind: Kind) -> u64 {
    if kind == Kind::Messages && !mutant::is(Mutant::ExpireWithoutGrace) { EXPIRY_GRACE_MS } else { 0 }
}

/// How long after a message expires its receipt is still sent, ms: 30 days.
pub(super) const LATE_MS: u64 = 30 * 24 * 3_600 * 1_000;
