//! Delivering what waits: oldest first within a queue, urgent queues before others and then those with the oldest record in memory, in case order, with credit, at the pace its recipient takes it.
//!
//! An entry leaves by the table in force, not by the one under which it was taken. What the recipient's link refuses for now is
//! tried again after a pause; what was undecided is sent again with the hop header's bit *redelivered*.

use std::sync::Arc;

use kernpost_codecs::part::{HopHeader, Part};
use kernpost_codecs::receipts::{RebuiltReceipts, ReceiptsFrame, Subject};
use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::{Code, EndpointId, MessageRef, Outcome, Party, Retry};
use kernpost_routing_table::KeyOwner;
use smallvec::SmallVec;

use super::answers::Then;
use super::ending::Ended;
use super::judging::Judgement;
use super::queues::Step;
use super::spool::{EntryState, Kind, Purpose, Queue, RecordId, SpoolIntent, SpoolRead};
use super::{CUSTODY_LINK, Custody, CustodyOutput, Timer};
use crate::crossing::{Crossing, Move, Onward, Receipts};
use crate::mutant::{self, Mutant};
use crate::routing::Way;

/// Entries of one record that left together and are not settled.
#[derive(Debug)]
pub(super) struct Flight {
    pub record: RecordId,
    pub queue: Queue,
    pub recipient: EndpointId,
    /// Labels that are open.
    pub open: usize,
}

impl Custody {
    /// Brings one queue forward as far as it goes now.
    pub(super) fn pump(&mut self, queue: &Queue) {
        if !self.started || self.stopped || self.draining {
            return;
        }
        let Some(state) = self.queues.get(queue) else { return };
        let paused_until_us = state.paused_until_us;
        if paused_until_us > self.now.mono_us {
            self.timers.insert((paused_until_us, Timer::Queue(queue.clone())));
            return;
        }
        if self.is_reachable(queue) {
            self.send_ready(queue);
            self.read_on(queue);
        } else {
            self.look_again_when_marks_lapse(queue);
            self.unload(queue);
            self.find_end(queue);
        }
        self.close_if_done(queue);
    }

    /// Whether anybody the queue waits for can be reached now.
    pub(super) fn is_reachable(&self, queue: &Queue) -> bool {
        let routing = self.routing();
        queue.waits_for.iter().any(|endpoint| routing.reach(endpoint, 0).is_ok())
    }

    fn look_again_when_marks_lapse(&mut self, queue: &Queue) {
        let routing = self.routing();
        let soonest =
            queue.waits_for.iter().filter_map(|endpoint| routing.reach(endpoint, 0).err()?.retry_after_ms).min();
        if let Some(ms) = soonest {
            self.timers.insert((self.now.after_ms(ms.max(1)), Timer::Queue(queue.clone())));
        }
    }

    fn send_ready(&mut self, queue: &Queue) {
        let mut after = None;
        while let Some(state) = self.queues.get(queue)
            && state.flying < state.limit
            && let Some(record) = next_ready(state, after)
        {
            after = Some(record);
            self.send_record(queue, record);
            if self.queues.get(queue).is_some_and(|state| state.paused_until_us > self.now.mono_us) {
                break;
            }
        }
    }

    /// Sends what may leave of one record.
    fn send_record(&mut self, queue: &Queue, record: RecordId) {
        let Some(mut loaded) = self.loaded.remove(&record) else { return };
        let ready: Vec<usize> = loaded.positions(Step::Ready).collect();
        let mut groups: Vec<(Way, EndpointId, Vec<Move>)> = Vec::new();
        let mut returned: Vec<(usize, Outcome, Code)> = Vec::new();
        let signers = self.judge_signers(&loaded);
        for position in ready {
            match self.judge_entry(&loaded, position, &signers) {
                Judgement::Go { recipient, way } => {
                    let Some(step) = self.step(&loaded, position, &recipient) else { continue };
                    loaded.set(position, Step::Flying);
                    match groups.iter_mut().find(|(held, to, _)| *held == way && *to == recipient) {
                        Some((_, _, moves)) => moves.push(step),
                        None => groups.push((way, recipient, vec![step])),
                    }
                }
                Judgement::Wait => loaded.set(position, Step::Held),
                Judgement::Return(code) => returned.push((position, Outcome::Returned, code)),
            }
        }
        let part = loaded.part.clone();
        if let Some(state) = self.queues.get_mut(queue)
            && !loaded.any(Step::Ready)
        {
            state.ready.remove(&record);
        }
        self.loaded.insert(record, loaded);
        for (way, recipient, moves) in groups {
            if let Some(part) = &part {
                self.send(queue, record, part, way, recipient, moves);
            }
        }
        if !returned.is_empty() {
            self.conclude_here(record, &returned, None);
        }
    }

    fn step(&self, loaded: &super::queues::Loaded, position: usize, recipient: &EndpointId) -> Option<Move> {
        let (entry, held) = (loaded.entry(position)?, loaded.head.entries.get(position)?);
        let payload_len = match entry.hop.detached {
            true => MessageRef::parse(&entry.statement).ok()?.payload_len,
            false => entry.payload.len() as u64,
        };
        let hop = HopHeader {
            detached: entry.hop.detached,
            redelivered: (loaded.redelivered || entry.hop.redelivered) && !mutant::is(Mutant::RedeliveredForgotten),
            hops: 1,
            recipient: Some(recipient.clone()),
            ..HopHeader::default()
        };
        Some(Move {
            position,
            hop,
            recipient: recipient.clone(),
            sender: held.sender.clone(),
            message: held.message,
            cost: entry.credit(),
            payload_len,
            custody: false,
            late: loaded.head.kind == Kind::Receipts,
        })
    }

    fn send(
        &mut self,
        queue: &Queue,
        record: RecordId,
        part: &Arc<Part>,
        way: Way,
        recipient: EndpointId,
        moves: Vec<Move>,
    ) {
        let Some(sequence) = self.sequences.get_mut(queue.class.index()) else { return };
        let number = *sequence;
        *sequence += 1;
        let open = moves.len();
        self.stats.attempts += open as u64;
        if mutant::is(Mutant::EraseWhenSent)
            && let Some(loaded) = self.loaded.get(&record)
        {
            let (before, mut head) = (loaded.head.place(), loaded.head.clone());
            head.entries.iter_mut().for_each(|entry| entry.state = EntryState::Sent(Code::NOTED));
            let intent = SpoolIntent::Update { record, before, head, body: None };
            self.intend(intent, Then::Nothing);
        }
        if let Some(state) = self.queues.get_mut(queue) {
            state.flying += open as u64;
        }
        self.flights.insert((queue.class, number), Flight { record, queue: queue.clone(), recipient, open });
        let deadline_ms = way.deadline_ms(self.config.endpoint_deadline_ms, self.config.hop_deadline_ms);
        let onward = Onward {
            part: Arc::clone(part),
            moves,
            from_worker: self.config.worker(),
            from_link: CUSTODY_LINK,
            class: queue.class,
            sequence: number,
            target: way.link,
            deadline_ms,
        };
        self.outputs.push_back(CustodyOutput::Cross { worker: way.worker, crossing: Crossing::Entries(onward) });
    }

    /// Asks the spool for what comes next, when there is room for it.
    fn read_on(&mut self, queue: &Queue) {
        let room = self.has_room(queue);
        let bytes = usize::try_from(self.config.queue_window_bytes).unwrap_or(usize::MAX);
        let Some(state) = self.queues.get_mut(queue) else { return };
        // Not for every record that leaves: half a window at a time, unless nothing is ready until then.
        let enough = state.bytes > self.config.queue_window_bytes / 2 && !state.ready.is_empty();
        if state.end || state.reading || enough {
            return;
        }
        if !room {
            self.starved.insert(queue.clone());
            return;
        }
        state.reading = true;
        let bytes = bytes.saturating_sub(usize::try_from(state.bytes).unwrap_or(usize::MAX)).max(1);
        let (queue, after) = (queue.clone(), state.cursor);
        let read = SpoolRead::Queue { purpose: Purpose::Deliver, queue, after, most: MOST_READ, bytes };
        self.outputs.push_back(CustodyOutput::Read(read));
    }

    /// A queue nobody can take from holds no memory, but is forgotten once the spool has nothing of it either.
    fn find_end(&mut self, queue: &Queue) {
        let Some(state) = self.queues.get_mut(queue) else { return };
        if !state.look || state.reading || state.end || !state.window.is_empty() {
            return;
        }
        state.look = false;
        state.reading = true;
        let read = SpoolRead::Queue { purpose: Purpose::Deliver, queue: queue.clone(), after: None, most: 1, bytes: 1 };
        self.outputs.push_back(CustodyOutput::Read(read));
    }

    /// Lets go of what is in memory and not under way.
    fn unload(&mut self, queue: &Queue) {
        let Some(state) = self.queues.get_mut(queue) else { return };
        let idle = state.window.iter().filter(|record| self.loaded.get(record).is_some_and(|loaded| !loaded.is_busy()));
        let idle: Vec<RecordId> = idle.copied().collect();
        if idle.is_empty() {
            return;
        }
        state.cursor = None;
        state.end = false;
        for record in idle {
            self.drop_loaded(queue, record);
        }
    }

    /// Takes a record out of memory and lets a queue that waits for room go on.
    pub(super) fn drop_loaded(&mut self, queue: &Queue, record: RecordId) {
        let Some(loaded) = self.loaded.remove(&record) else { return };
        if let Some(state) = self.queues.get_mut(queue)
            && state.window.contains(&record)
        {
            state.remove(record, &loaded);
            self.loaded_bytes = self.loaded_bytes.saturating_sub(loaded.bytes());
        }
        if let Some(starved) = self.starved.pop_first() {
            self.mark_dirty(&starved);
        }
    }

    /// Labels of ours settled without a receipt.
    pub(super) fn on_settled(&mut self, labels: &[Label], code: Code, detail: &Detail) {
        let (number, usual_ms) = (self.presence.number(), self.config.retry_after_ms);
        self.unavailable.on_settled(self.now, &self.config.router, code, detail, usual_ms, number);
        let mut ended: Vec<(RecordId, Vec<(usize, Code)>)> = Vec::new();
        for label in labels {
            let Some((record, queue, position)) = self.land(*label) else { continue };
            let late = self.loaded.get(&record).is_some_and(|loaded| loaded.head.kind == Kind::Receipts);
            // Whose clock is ahead calls it expired; our own receipt says so when it is.
            let never = code.is_refused() && code.retry() == Retry::Never && code != Code::EXPIRED;
            let settled_for_good = (late && code.is_noted()) || never;
            if settled_for_good {
                match ended.iter_mut().find(|(held, _)| *held == record) {
                    Some((_, positions)) => positions.push((position, code)),
                    None => ended.push((record, vec![(position, code)])),
                }
            } else {
                self.again_later(&queue, record, position, code, detail);
            }
        }
        for (record, positions) in ended {
            self.end_refused(record, &positions);
        }
    }

    /// Late receipts are done with; messages that will never be taken go back.
    fn end_refused(&mut self, record: RecordId, positions: &[(usize, Code)]) {
        let Some(kind) = self.loaded.get(&record).map(|loaded| loaded.head.kind) else { return };
        match kind {
            Kind::Receipts => self.end_late(record, positions),
            Kind::Messages => {
                let returned: Vec<_> =
                    positions.iter().map(|(position, code)| (*position, Outcome::Returned, *code)).collect();
                self.conclude_here(record, &returned, None);
            }
        }
    }

    /// Not this time. Busy pauses the queue, anything else this record, so that one message nobody can settle does not hold up
    /// the others.
    fn again_later(&mut self, queue: &Queue, record: RecordId, position: usize, code: Code, detail: &Detail) {
        if self.end_if_lost(record, position) {
            return;
        }
        let busy =
            matches!(code, Code::BUSY | Code::NOT_ATTACHED | Code::DRAINING | Code::NOT_READY | Code::OVER_BUDGET);
        if code.is_undecided() {
            self.stats.attempts_undecided += 1;
            self.note_tried(record);
        }
        let Some(loaded) = self.loaded.get_mut(&record) else { return };
        loaded.redelivered |= code.is_undecided();
        if busy {
            loaded.set(position, Step::Ready);
            self.stats.attempts_busy += 1;
            let Some(state) = self.queues.get_mut(queue) else { return };
            state.ready.insert(record);
            // While others are under way, what comes back of them says when there is room again: custody's share of the link is
            // small (WIRE 7.3), and a pause for every full share would be all that a returning recipient waits for.
            if state.paused_until_us <= self.now.mono_us && !state.on_busy() {
                let pauses = state.pauses;
                let ms = detail.retry_after_ms.unwrap_or(0).min(self.config.longest_pause_ms);
                self.pause(queue, ms.max(self.pause_ms(pauses)));
            }
        } else {
            loaded.set(position, Step::Held);
            loaded.failures = loaded.failures.saturating_add(1);
            let failures = loaded.failures;
            let ms = self.pause_ms(failures);
            self.timers.insert((self.now.after_ms(ms), Timer::Record(record)));
        }
        self.mark_dirty(queue);
        self.judge_when_settled(record);
    }

    fn pause_ms(&self, failures: u32) -> u64 {
        let doubled = self.config.first_pause_ms.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.config.longest_pause_ms)
    }

    /// A label of ours settled: which entry it was.
    fn land(&mut self, label: Label) -> Option<(RecordId, Queue, usize)> {
        self.on_attempt_over(label);
        let key = (label.class, label.sequence);
        let flight = self.flights.get_mut(&key)?;
        let (record, queue) = (flight.record, flight.queue.clone());
        let loaded = self.loaded.get(&record)?;
        let position = loaded.position(label.index).filter(|at| loaded.steps.get(*at) == Some(&Step::Flying))?;
        flight.open = flight.open.saturating_sub(1);
        if flight.open == 0 {
            self.flights.remove(&key);
        }
        if let Some(state) = self.queues.get_mut(&queue) {
            state.flying = state.flying.saturating_sub(1);
        }
        self.mark_dirty(&queue);
        Some((record, queue, position))
    }

    /// A worker's channel was full.
    pub(super) fn give_back(&mut self, onward: &Onward) {
        let labels: Vec<Label> =
            onward.moves.iter().filter_map(|step| Some(onward.origin(step.position)?.label)).collect();
        if onward.from_link == CUSTODY_LINK {
            self.on_settled(&labels, Code::BUSY, &Detail::default());
        } else {
            // An ask that custody passed on.
            for step in &onward.moves {
                if let Some(origin) = onward.origin(step.position) {
                    self.refuse(origin, &step.recipient);
                }
            }
        }
    }

    /// Labels of ours settled by receipts of a recipient. They count when the signature holds; what does not count is tried
    /// again.
    pub(super) fn on_receipts(&mut self, receipts: &Receipts, labels: &[Label]) {
        let (frame, positions): (&Arc<ReceiptsFrame>, Vec<usize>) = match receipts {
            Receipts::Whole(frame) => (frame, (0..frame.entries.len()).collect()),
            Receipts::Some { frame, positions, .. } => (frame, positions.clone()),
        };
        let rebuilt = match receipts {
            Receipts::Some { rebuilt, .. } => Some(Arc::clone(rebuilt)),
            Receipts::Whole(frame) => self.rebuild(frame, labels).map(Arc::new),
        };
        let recipient = self.recipient_of(labels);
        let counts = rebuilt.filter(|rebuilt| recipient.is_some_and(|to| self.counts(frame, rebuilt, &to)));
        let Some(rebuilt) = counts else {
            self.stats.receipts_ignored += labels.len() as u64;
            return self.on_settled(labels, Code::UNDECIDED_UNCLEAR, &Detail::default());
        };
        let part = Part::of_receipts(frame, &rebuilt);
        let mut ended: Vec<(RecordId, Vec<Ended>)> = Vec::new();
        for (in_frame, label) in positions.into_iter().zip(labels) {
            let Some(receipt) = frame.entries.get(in_frame) else { continue };
            let Some((record, queue, position)) = self.land(*label) else { continue };
            if let Some(state) = self.queues.get_mut(&queue) {
                state.on_success(1, self.config.most_flying);
            }
            match ended.iter_mut().rev().find(|(held, _)| *held == record) {
                Some((_, entries)) => entries.push((position, receipt.outcome, in_frame)),
                None => ended.push((record, vec![(position, receipt.outcome, in_frame)])),
            }
        }
        for (record, entries) in ended {
            self.conclude(record, &entries, &part);
        }
    }

    /// The one endpoint that all these labels were sent to.
    fn recipient_of(&self, labels: &[Label]) -> Option<EndpointId> {
        let mut recipients =
            labels.iter().map(|label| Some(&self.flights.get(&(label.class, label.sequence))?.recipient));
        let first = recipients.next()??;
        recipients.all(|other| other == Some(first)).then(|| first.clone())
    }

    fn rebuild(&self, frame: &ReceiptsFrame, labels: &[Label]) -> Option<RebuiltReceipts> {
        let subjects: Option<Vec<Subject<'_>>> = labels
            .iter()
            .map(|label| {
                let flight = self.flights.get(&(label.class, label.sequence))?;
                let loaded = self.loaded.get(&flight.record)?;
                let entry = loaded.head.entries.get(loaded.position(label.index)?)?;
                Some(Subject { addressee: &entry.sender, message: entry.message, leaf: entry.leaf })
            })
            .collect();
        frame.rebuild(&subjects?).ok()
    }

    /// Whether the root is signed by the recipient, with every algorithm its entry requires, with keys that count at the time
    /// of the receipts and now. That it was responsible is this router's own routing (WIRE 10.7).
    fn counts(&mut self, frame: &ReceiptsFrame, rebuilt: &RebuiltReceipts, recipient: &EndpointId) -> bool {
        let Party::Endpoint(issuer) = &frame.issuer else { return false };
        let Some(index) = self.table.endpoint(issuer.as_str()).filter(|_| issuer == recipient) else { return false };
        let outcomes = frame.entries.iter().all(|receipt| receipt.outcome.is_by_recipient());
        let ahead = frame.time > self.now.wall.plus_ms(kernpost_codecs::SKEW_MS);
        if !outcomes || ahead {
            return false;
        }
        let root = rebuilt.root();
        let mut present = SmallVec::<[_; 2]>::new();
        for signature in &frame.signatures {
            let Some((KeyOwner::Endpoint(owner), key)) = signature.kid().ok().and_then(|kid| self.table.key(&kid))
            else {
                return false;
            };
            self.stats.signature_checks += 1;
            let good = owner == index && key.verifies_at(frame.time) && signature.verify(&key.key, &root).is_ok();
            if !good {
                return false;
            }
            present.push(key.key.algorithm());
        }
        let required = self.table.endpoint_entry(index).map(|entry| entry.required_algorithms.as_slice());
        required.is_some_and(|required| required.iter().all(|wanted| present.contains(wanted)))
    }
}

fn next_ready(state: &super::queues::QueueState, after: Option<RecordId>) -> Option<RecordId> {
    let from = after.map_or(RecordId(0), |record| RecordId(record.0 + 1));
    state.ready.range(from..).next().copied()
}

/// Records read at once.
const MOST_READ: usize = 256;
