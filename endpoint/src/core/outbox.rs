//! Which message goes out next, on which link, and what becomes of it afterwards?
//!
//! Holds every message until its outcome is final: bounded in messages and bytes, in order per case (WIRE 10.5), asking
//! or resending what is undecided (WIRE 10.1, 10.3), with the precedence of outcomes of WIRE 10.6. It signs nothing and
//! knows no link beyond a router's number; [`super::Core`] builds the bundles.

mod cases;
mod slot;
mod throttle;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::settlement::Detail;
use kernpost_codecs::statement::Receipt;
use kernpost_codecs::{Class, Code, MessageId, Outcome, Retry};

pub(crate) use slot::{CaseKey, Destination, Slot, Stage};

use super::large::PayloadSource;
use super::ledger::Ledger;
use super::limits::Limits;
use super::now::Now;
use super::outgoing::{FinalOutcome, SendOutcome, Ticket};
use super::proof::{ReceiptProof, SignedStatement, TreeProof};
use super::wait::Waits;
use cases::Cases;
use throttle::Throttles;

/// An entry chosen for a bundle.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub ticket: Ticket,
    pub id: MessageId,
    pub leaf: Digest,
    pub statement: Bytes,
    /// Empty for an ask and for a detached entry.
    pub payload: Bytes,
    pub ask: bool,
    pub detached: bool,
    pub redelivered: bool,
    pub credit_bytes: u64,
}

/// A large payload that is wanted.
#[derive(Debug)]
pub(crate) struct Wanting {
    pub source: PayloadSource,
    pub length: u64,
}

/// What a bundle may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub entries: u64,
    pub credit_bytes: u64,
    /// The first entry may be longer.
    pub frame_bytes: usize,
}

/// Who asks for entries: a link to one router, for one sender and class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    pub sender: usize,
    pub class: Class,
    pub router: usize,
    /// Whether this is the link the sender prefers; another one takes only what was told *elsewhere* there.
    pub preferred: bool,
    /// Whether the sender is attached on another link too.
    pub alternative: bool,
    /// The largest payload that may go out detached now; 0 when enough are under way.
    pub largest: u64,
}

impl Lane {
    fn takes(&self, avoid: Option<usize>) -> bool {
        match avoid {
            Some(router) if self.alternative => router != self.router,
            Some(_) => true,
            None => self.preferred,
        }
    }
}

/// The messages of this process that have no final outcome yet.
#[derive(Debug)]
pub(crate) struct Outbox {
    slots: HashMap<Ticket, Slot, foldhash::fast::RandomState>,
    ids: HashMap<(usize, MessageId), Ticket, foldhash::fast::RandomState>,
    /// Ready messages per sender and class, oldest first.
    ready: Vec<[BTreeSet<Ticket>; 3]>,
    cases: Cases,
    throttles: Throttles,
    resting: BTreeSet<(u64, Ticket)>,
    give_ups: BTreeSet<(u64, Ticket)>,
    finished: VecDeque<(Ticket, SendOutcome)>,
    /// Messages that were taken for a link whose router accepts no payload as large as theirs.
    oversized: Vec<Ticket>,
    /// Messages in all ready queues together.
    ready_count: usize,
    bytes: usize,
    next: u64,
    limits: Limits,
    waits: Waits,
}

impl Outbox {
    pub fn new(senders: usize, limits: Limits, seed: u64) -> Self {
        Self {
            slots: HashMap::default(),
            ids: HashMap::default(),
            ready: (0..senders).map(|_| Default::default()).collect(),
            cases: Cases::default(),
            throttles: Throttles::new(limits.throttles),
            resting: BTreeSet::new(),
            give_ups: BTreeSet::new(),
            finished: VecDeque::new(),
            oversized: Vec::new(),
            ready_count: 0,
            bytes: 0,
            next: 0,
            limits,
            waits: Waits::new(limits.retry_first_ms, limits.retry_longest_ms, seed),
        }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_full_for(&self, bytes: usize) -> bool {
        self.slots.len() >= self.limits.outbox_messages || self.bytes + bytes > self.limits.outbox_bytes
    }

    pub fn holds(&self, sender: usize, id: MessageId) -> bool {
        self.ids.contains_key(&(sender, id))
    }

    /// The open message with this identity, its leaf hash and statement.
    pub fn find(&self, sender: usize, id: MessageId) -> Option<(Ticket, Digest, Bytes)> {
        let ticket = self.ids.get(&(sender, id))?;
        let slot = self.slots.get(ticket)?;
        Some((*ticket, slot.leaf, slot.statement.clone()))
    }

    /// Which endpoint sends this open message.
    pub fn sender(&self, ticket: Ticket) -> Option<usize> {
        self.slots.get(&ticket).map(|slot| slot.sender)
    }

    /// Takes a message; the caller has checked `is_full_for` and `holds`.
    pub fn accept(&mut self, slot: Slot) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.bytes += slot.held_bytes();
        self.ids.insert((slot.sender, slot.id), ticket);
        self.give_ups.insert((slot.give_up_us, ticket));
        let first = slot.case.as_ref().is_none_or(|case| self.cases.join(case, ticket));
        self.slots.insert(ticket, Slot { stage: Stage::BehindCase, ..slot });
        if first {
            self.make_ready(ticket);
        }
        ticket
    }

    /// Whether anything of this sender and class could go out now.
    pub fn has_ready(&self, sender: usize, class: Class) -> bool {
        self.ready.get(sender).and_then(|classes| classes.get(class.index())).is_some_and(|queue| !queue.is_empty())
    }

    /// Whether anything could go out now.
    pub fn has_any_ready(&self) -> bool {
        self.ready_count > 0
    }

    /// Takes what may go out now: oldest first, at most `room`, then sorted by recipient, else route key, so that parts
    /// stay contiguous when a router splits the bundle. Every message taken must be given to [`Self::on_sent`] or
    /// [`Self::put_back`].
    pub fn take(&mut self, now: Now, lane: Lane, mut room: Room) -> Vec<Chosen> {
        let Some(queue) = self.ready.get_mut(lane.sender).and_then(|classes| classes.get_mut(lane.class.index()))
        else {
            return Vec::new();
        };
        let mut chosen: Vec<(Ticket, Destination)> = Vec::new();
        let mut held_back = Vec::new();
        for ticket in queue.iter().copied() {
            let Some(slot) = self.slots.get(&ticket) else { continue };
            if !lane.takes(slot.avoid) {
                continue;
            }
            let credit = slot.credit_bytes();
            let frame = usize::try_from(credit).unwrap_or(usize::MAX);
            if slot.is_detached() {
                // Alone in its bundle, because its label's deadline moves with its progress.
                if chosen.is_empty() && lane.largest > 0 && slot.length > lane.largest {
                    self.oversized.push(ticket);
                    continue;
                }
                if !chosen.is_empty() || slot.length > lane.largest {
                    continue;
                }
            }
            // One entry fits any frame; more have to fit the line.
            let too_long = frame > room.frame_bytes && !chosen.is_empty();
            if room.entries == 0 || credit > room.credit_bytes || too_long {
                break;
            }
            if !self.throttles.of(slot.class).admit(now.mono_us, &slot.destination, ticket) {
                held_back.push(ticket);
                continue;
            }
            room.entries -= 1;
            room.credit_bytes -= credit;
            room.frame_bytes = room.frame_bytes.saturating_sub(frame);
            chosen.push((ticket, slot.destination.clone()));
            if slot.is_detached() {
                break;
            }
        }
        let out = held_back.iter().chain(chosen.iter().map(|(ticket, _)| ticket)).chain(&self.oversized);
        for ticket in out {
            self.ready_count -= usize::from(queue.remove(ticket));
        }
        for ticket in held_back {
            if let Some(slot) = self.slots.get_mut(&ticket) {
                slot.stage = Stage::HeldBack;
            }
        }
        chosen.sort_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
        chosen.iter().filter_map(|(ticket, _)| self.choose(*ticket)).collect()
    }

    fn choose(&mut self, ticket: Ticket) -> Option<Chosen> {
        let slot = self.slots.get_mut(&ticket)?;
        slot.stage = Stage::InFlight;
        Some(Chosen {
            ticket,
            id: slot.id,
            leaf: slot.leaf,
            statement: slot.statement.clone(),
            payload: if slot.ask || slot.is_large() { Bytes::new() } else { slot.payload.clone() },
            ask: slot.ask,
            detached: slot.is_detached(),
            redelivered: slot.may_have_arrived && !slot.ask,
            credit_bytes: slot.credit_bytes(),
        })
    }

    /// Messages too large for the link they were last taken for: no longer queued, to be settled by the caller.
    pub fn take_oversized(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.oversized)
    }

    /// The payload of a message under way is wanted, which is progress: its time begins anew.
    pub fn on_wanted(&mut self, now: Now, ticket: Ticket) -> Option<Wanting> {
        let slot = self.slots.get_mut(&ticket)?;
        self.give_ups.remove(&(slot.give_up_us, ticket));
        slot.give_up_us = now.after_ms(slot.timeout_ms).max(slot.give_up_us);
        self.give_ups.insert((slot.give_up_us, ticket));
        slot.setbacks = 0;
        let memory = || PayloadSource::Memory(slot.payload.clone());
        let source = slot.file.clone().map_or_else(memory, PayloadSource::File);
        Some(Wanting { source, length: slot.length })
    }

    /// A message taken did not fit after all.
    pub fn put_back(&mut self, now: Now, ticket: Ticket) {
        let Some(slot) = self.slots.get(&ticket) else { return };
        let released = self.throttles.of(slot.class).on_settled(now.mono_us, &slot.destination, false);
        self.make_ready(ticket);
        self.release(released);
    }

    /// A message taken is on its way under this signed tree.
    pub fn on_sent(&mut self, ticket: Ticket, proof: &Arc<TreeProof>, index: u16) {
        if let Some(slot) = self.slots.get_mut(&ticket) {
            slot.attempts = slot.attempts.saturating_add(1);
            slot.signed = Some((Arc::clone(proof), index));
        }
    }

    /// A label of this message was settled by a code (WIRE 8.4, 8.5).
    pub fn on_settled(
        &mut self,
        now: Now,
        ledger: &mut Ledger,
        ticket: Ticket,
        router: usize,
        code: Code,
        detail: &Detail,
    ) {
        let Some(slot) = self.slots.get_mut(&ticket) else {
            ledger.late_settlements += 1;
            return;
        };
        slot.last_code = code;
        slot.last_text.clone_from(&detail.text);
        let retry_after_ms = detail.retry_after_ms.unwrap_or(0);
        let (destination, class) = (slot.destination.clone(), slot.class);
        let busy = matches!(code, Code::BUSY | Code::NOT_ATTACHED | Code::OVER_BUDGET) && !slot.ask;
        slot.avoid = (code.retry() == Retry::Elsewhere).then_some(router);
        let drawn_ms = self.waits.draw(slot.setbacks);
        // The throttle spaces out further attempts to a busy destination; waiting longer here would only let later
        // messages overtake.
        let wait_ms = if busy && retry_after_ms > 0 { retry_after_ms } else { drawn_ms.max(retry_after_ms) };
        slot.setbacks = slot.setbacks.saturating_add(1);
        if code.is_undecided() {
            ledger.undecided_attempts += 1;
            slot.may_have_arrived = true;
            slot.ask = true;
        } else {
            ledger.refusals += 1;
            if slot.ask && code == Code::UNKNOWN_MESSAGE {
                slot.ask = false;
            }
        }
        if code.is_refused() && code.retry() == Retry::Never {
            if !slot.may_have_arrived {
                return self.finish_refused(now, ledger, ticket);
            }
            // It can no longer count as refused: only the recipient or a spool knows. Keep asking until the timeout.
            slot.ask = true;
        }
        let at_once = slot.setbacks <= 2 && (slot.avoid.is_some() || code == Code::UNKNOWN_MESSAGE);
        let until_us = if at_once { now.mono_us } else { now.after_ms(wait_ms) };
        self.rest(ticket, until_us);
        let released = if busy {
            self.throttles.of(class).on_busy(&destination, now.after_ms(retry_after_ms.max(1)));
            Vec::new()
        } else {
            self.throttles.of(class).on_settled(now.mono_us, &destination, false)
        };
        self.release(released);
    }

    /// A receipt for this message verified (WIRE 10.6, 10.7).
    pub fn on_receipt(
        &mut self,
        now: Now,
        ledger: &mut Ledger,
        ticket: Ticket,
        receipt: SignedStatement,
        parsed: Receipt,
    ) {
        let outcome = parsed.outcome;
        let Some(slot) = self.slots.get_mut(&ticket) else {
            ledger.late_settlements += 1;
            return;
        };
        let Some((tree, index)) = slot.signed.clone() else { return };
        let message = SignedStatement { statement: slot.statement.clone(), proof: tree, index };
        let proof = ReceiptProof { message, receipt, parsed };
        ledger.receipts += 1;
        slot.setbacks = 0;
        slot.last_code = Code(proof.parsed.code);
        if outcome == Outcome::Custody {
            // Interim: the router holds it. Ask from time to time, so that a lost late receipt is found (WIRE 10.1).
            slot.custody = Some(proof);
            slot.may_have_arrived = true;
            slot.ask = true;
            let (destination, class) = (slot.destination.clone(), slot.class);
            self.rest(ticket, now.after_ms(30_000));
            let released = self.throttles.of(class).on_settled(now.mono_us, &destination, true);
            return self.release(released);
        }
        let mut end = self.describe(ticket, FinalOutcome::from(outcome));
        if let Some(end) = end.as_mut() {
            end.code = Code(proof.parsed.code);
            end.problem.clone_from(&proof.parsed.problem);
            end.issuer = Some(proof.parsed.issuer.clone());
            end.text = None;
            end.proof = Some(proof);
        }
        match outcome {
            Outcome::Delivered => ledger.delivered += 1,
            Outcome::Rejected => ledger.rejected += 1,
            _ => ledger.other_final += 1,
        }
        self.finish(now, ledger, ticket, end, true);
    }

    /// Lets rested messages go on and gives up what has run out of time. Returns the tickets given up while in flight.
    pub fn handle_timeout(&mut self, now: Now, ledger: &mut Ledger) {
        while let Some((until, ticket)) = self.resting.first().copied() {
            if until > now.mono_us {
                break;
            }
            self.resting.pop_first();
            self.make_ready(ticket);
        }
        let released = self.throttles.handle_timeout(now.mono_us);
        self.release(released);
        while let Some((until, ticket)) = self.give_ups.first().copied() {
            if until > now.mono_us {
                break;
            }
            self.give_ups.pop_first();
            self.give_up(now, ledger, ticket);
        }
    }

    /// The next instant at which [`Self::handle_timeout`] has something to do.
    pub fn poll_deadline(&self) -> Option<u64> {
        let resting = self.resting.first().map(|(until, _)| *until);
        let give_up = self.give_ups.first().map(|(until, _)| *until);
        [resting, give_up, self.throttles.poll_deadline()].into_iter().flatten().min()
    }

    /// The next message whose outcome is final.
    pub fn poll_finished(&mut self) -> Option<(Ticket, SendOutcome)> {
        self.finished.pop_front()
    }

    fn give_up(&mut self, now: Now, ledger: &mut Ledger, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        if let Some(custody) = slot.custody.take() {
            ledger.other_final += 1;
            let mut end = self.describe(ticket, FinalOutcome::Custody);
            if let Some(end) = end.as_mut() {
                end.issuer = Some(custody.parsed.issuer.clone());
                end.proof = Some(custody);
            }
            return self.finish(now, ledger, ticket, end, false);
        }
        if slot.stage == Stage::InFlight || slot.may_have_arrived {
            if !slot.last_code.is_undecided() || slot.stage == Stage::InFlight {
                slot.last_code = Code::UNDECIDED_DEADLINE;
            }
            ledger.undecided += 1;
            let end = self.describe(ticket, FinalOutcome::Undecided);
            return self.finish(now, ledger, ticket, end, false);
        }
        self.finish_refused(now, ledger, ticket);
    }

    fn finish_refused(&mut self, now: Now, ledger: &mut Ledger, ticket: Ticket) {
        ledger.refused += 1;
        let end = self.describe(ticket, FinalOutcome::Refused);
        self.finish(now, ledger, ticket, end, false);
    }

    fn describe(&self, ticket: Ticket, outcome: FinalOutcome) -> Option<SendOutcome> {
        let slot = self.slots.get(&ticket)?;
        Some(SendOutcome {
            outcome,
            id: slot.id,
            code: slot.last_code,
            problem: None,
            text: slot.last_text.clone(),
            issuer: None,
            attempts: slot.attempts,
            proof: None,
            statement: slot.statement.clone(),
        })
    }

    fn finish(&mut self, now: Now, ledger: &mut Ledger, ticket: Ticket, end: Option<SendOutcome>, delivered: bool) {
        let Some(slot) = self.slots.remove(&ticket) else { return };
        ledger.open = ledger.open.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(slot.held_bytes());
        self.ids.remove(&(slot.sender, slot.id));
        self.give_ups.remove(&(slot.give_up_us, ticket));
        let released = match slot.stage {
            Stage::InFlight => self.throttles.of(slot.class).on_settled(now.mono_us, &slot.destination, delivered),
            Stage::Resting { until_us } => {
                self.resting.remove(&(until_us, ticket));
                Vec::new()
            }
            Stage::Ready => {
                if self.queue(slot.sender, slot.class, |queue| queue.remove(&ticket)) {
                    self.ready_count -= 1;
                }
                self.throttles.of(slot.class).withdraw(now.mono_us, &slot.destination, ticket)
            }
            Stage::HeldBack => self.throttles.of(slot.class).withdraw(now.mono_us, &slot.destination, ticket),
            Stage::BehindCase => Vec::new(),
        };
        self.release(released);
        if let Some(next) = slot.case.as_ref().and_then(|case| self.cases.leave(case, ticket)) {
            self.make_ready(next);
        }
        self.finished.extend(end.map(|end| (ticket, end)));
    }

    fn rest(&mut self, ticket: Ticket, until_us: u64) {
        if let Some(slot) = self.slots.get_mut(&ticket) {
            slot.stage = Stage::Resting { until_us };
            self.resting.insert((until_us, ticket));
        }
    }

    fn release(&mut self, tickets: Vec<Ticket>) {
        for ticket in tickets {
            self.make_ready(ticket);
        }
    }

    fn make_ready(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        slot.stage = Stage::Ready;
        let (sender, class) = (slot.sender, slot.class);
        if self.queue(sender, class, |queue| queue.insert(ticket)) {
            self.ready_count += 1;
        }
    }

    fn queue(&mut self, sender: usize, class: Class, change: impl FnOnce(&mut BTreeSet<Ticket>) -> bool) -> bool {
        self.ready.get_mut(sender).and_then(|classes| classes.get_mut(class.index())).is_some_and(change)
    }
}
