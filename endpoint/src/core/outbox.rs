//! Which message goes out next, on which link, and what becomes of it afterwards?
//!
//! Holds every message until its outcome is final: bounded in messages and bytes, in order per case (WIRE 10.5), asking
//! or resending what is undecided (WIRE 10.1, 10.3). It signs nothing and knows no link beyond a router's number;
//! [`super::Core`] builds the bundles. [`custody`] has what follows a receipt *custody*, [`ending`] how messages end.

mod cases;
mod concluded;
mod custody;
mod ending;
mod slot;
mod throttle;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::settlement::Detail;
use kernpost_codecs::{Class, Code, MessageId, Retry};

pub(crate) use cases::CaseChange;
pub(crate) use concluded::{ConcludedMessages, Precedence};
pub(crate) use ending::Report;
pub(crate) use slot::{Custody, Destination, Slot, Stage};

use super::large::PayloadSource;
use super::ledger::Ledger;
use super::limits::Limits;
use super::now::Now;
use super::outgoing::{FinalOutcome, Ticket};
use super::proof::TreeProof;
use super::wait::Waits;
use cases::Cases;
use slot::CaseKey;
use smallvec::SmallVec;
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
    reports: VecDeque<Report>,
    /// Messages whose payload has to come back from the durable outbox before they can go.
    loads: Vec<Ticket>,
    case_changes: Vec<CaseChange>,
    /// Routers that broke their word: said to hold a message, then knew nothing of it.
    denials: Vec<Ticket>,
    /// Per sender, the routers through which its entries can go now.
    reach: Vec<BTreeSet<usize>>,
    /// A durable outbox stands behind this one.
    stored: bool,
    /// Messages that do not count as open, and the bytes they hold in memory.
    parked: usize,
    parked_bytes: usize,
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
            reports: VecDeque::new(),
            loads: Vec::new(),
            case_changes: Vec::new(),
            denials: Vec::new(),
            reach: vec![BTreeSet::new(); senders],
            stored: false,
            parked: 0,
            parked_bytes: 0,
            oversized: Vec::new(),
            ready_count: 0,
            bytes: 0,
            next: 0,
            limits,
            waits: Waits::new(limits.retry_first_ms, limits.retry_longest_ms, seed),
        }
    }

    /// A durable outbox stands behind this one: payloads of parked messages need not stay in memory.
    pub fn keep_durably(&mut self) {
        self.stored = true;
    }

    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// Messages that are open: neither ended nor parked.
    pub fn len(&self) -> usize {
        self.slots.len() - self.parked
    }

    /// Cases that are held.
    pub fn held_cases(&self) -> usize {
        self.cases.held()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_full_for(&self, bytes: usize) -> bool {
        self.len() >= self.limits.outbox_messages
            || self.bytes + bytes > self.limits.outbox_bytes
            || self.parked >= self.limits.parked_messages
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

    /// The open message under this ticket.
    pub fn slot(&self, ticket: Ticket) -> Option<&Slot> {
        self.slots.get(&ticket)
    }

    /// Takes a message; the caller has checked `is_full_for` and `holds`. One that has to be made durable first waits for
    /// [`Self::begin`].
    pub fn accept(&mut self, slot: Slot) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        if slot.parked {
            self.parked += 1;
            self.parked_bytes += slot.held_bytes();
        } else {
            self.bytes += slot.held_bytes();
        }
        if !slot.inquiry {
            self.ids.insert((slot.sender, slot.id), ticket);
        }
        self.give_ups.insert((slot.give_up_us, ticket));
        let waits = slot.stage == Stage::Storing;
        self.slots.insert(ticket, slot);
        if !waits {
            self.begin(ticket);
        }
        ticket
    }

    /// A message may go, once its case lets it.
    pub fn begin(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        slot.stage = Stage::BehindCase;
        // A question does not take its turn in the case; it only never shares a bundle with the case's messages.
        let next = match (slot.case.as_ref().filter(|_| !slot.inquiry), &slot.custody) {
            (Some(case), Some(custody)) => {
                let next = self.cases.in_custody(case, ticket, custody.router);
                self.make_ready(ticket);
                next
            }
            (Some(case), None) => self.cases.join(case, ticket),
            (None, _) => Some(ticket),
        };
        if let Some(next) = next {
            self.make_ready(next);
        }
    }

    /// Forgets a message that was never taken: nothing of it has left.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        if !matches!(self.slots.get(&ticket), Some(Slot { stage: Stage::Storing, .. })) {
            return false;
        }
        let Some(slot) = self.slots.remove(&ticket) else { return false };
        self.bytes = self.bytes.saturating_sub(slot.held_bytes());
        self.ids.remove(&(slot.sender, slot.id));
        self.give_ups.remove(&(slot.give_up_us, ticket));
        true
    }

    /// How many messages of this sender and class could go out now.
    pub fn ready(&self, sender: usize, class: Class) -> usize {
        self.ready.get(sender).and_then(|classes| classes.get(class.index())).map_or(0, BTreeSet::len)
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
        // Cases with an ask in this bundle: a case never has two entries in one (WIRE 6.5).
        let mut asked: SmallVec<[CaseKey; 4]> = SmallVec::new();
        let reach = self.reach.get(lane.sender);
        for ticket in queue.iter().copied() {
            let Some(slot) = self.slots.get(&ticket) else { continue };
            let goes = match slot.bound_to(&self.cases, reach) {
                Some(router) => router == Some(lane.router),
                None => lane.takes(slot.avoid),
            };
            if !goes || slot.case.as_ref().is_some_and(|case| asked.contains(case)) {
                continue;
            }
            if let Some(case) = slot.case.as_ref().filter(|_| slot.ask) {
                let slots = &self.slots;
                let of_case = |(other, _): &(Ticket, _)| slots.get(other).is_some_and(|one| one.case == slot.case);
                if chosen.iter().any(of_case) {
                    continue;
                }
                asked.push(case.clone());
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
        let slot = self.slots.get_mut(&ticket).filter(|slot| slot.payload_here)?;
        if slot.parked {
            let memory = PayloadSource::Memory(slot.payload.clone());
            let source = slot.file.clone().map_or(memory, PayloadSource::File);
            return Some(Wanting { source, length: slot.length });
        }
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
        if slot.stage != Stage::InFlight {
            // A receipt that came another way was faster.
            ledger.late_settlements += 1;
            return;
        }
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
        } else {
            ledger.refusals += 1;
        }
        if slot.inquiry && code == Code::UNKNOWN_MESSAGE {
            return self.finish_undecided(now, ledger, ticket);
        }
        if code == Code::UNKNOWN_MESSAGE
            && let Some(proof) = slot.last_word(now)
        {
            return self.finish_proven(now, ledger, ticket, proof, false);
        }
        if slot.custody.is_some() {
            self.on_custody_settled(now, ledger, ticket, router, code);
        } else {
            if code.is_refused() && code.retry() == Retry::Never && !slot.may_have_arrived && !slot.inquiry {
                return self.finish_refused(now, ledger, ticket);
            }
            let asked = slot.ask;
            slot.learn(now, code);
            // Whoever was asked just now is there to take it.
            let goes_again = asked && !slot.ask && code == Code::UNKNOWN_MESSAGE;
            let at_once = goes_again || (slot.setbacks <= 2 && slot.avoid.is_some());
            // Patience is for what was in vain and is done again. After an attempt of the message itself that may have arrived there may
            // be news at once, and for a large payload there is room again before long.
            let again = asked == slot.ask && code != Code::PAYLOAD_NOT_WANTED;
            let patient_ms = if again { slot.wait_ms(&self.limits, code) } else { 0 };
            let until_us = if at_once { now.mono_us } else { now.after_ms(wait_ms.max(patient_ms)) };
            self.rest(ticket, until_us);
        }
        let released = if busy {
            self.throttles.of(class).on_busy(&destination, now.after_ms(retry_after_ms.max(1)));
            Vec::new()
        } else {
            self.throttles.of(class).on_settled(now.mono_us, &destination, false)
        };
        self.release(released);
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
        let ended = self.cases.handle_timeout(now.mono_us);
        ledger.case_orders_ended += ended.len() as u64;
        self.case_changes.extend(ended);
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
        [resting, give_up, self.throttles.poll_deadline(), self.cases.poll_deadline()].into_iter().flatten().min()
    }

    fn rest(&mut self, ticket: Ticket, until_us: u64) {
        if let Some(slot) = self.slots.get_mut(&ticket) {
            slot.stage = Stage::Resting { until_us };
            self.resting.insert((until_us, ticket));
        }
        self.drop_payload(ticket);
    }

    fn release(&mut self, tickets: Vec<Ticket>) {
        for ticket in tickets {
            self.make_ready(ticket);
        }
    }

    fn make_ready(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        if !slot.payload_here && !self.stored {
            slot.ask = true;
        }
        if !slot.ask && !slot.payload_here {
            slot.stage = Stage::Loading;
            self.loads.push(ticket);
            return;
        }
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
