//! Sending on: shares and credit of the downstream link, the bounded wait for credit, splitting the part, opening labels.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::part::Part;
use kernpost_codecs::settlement::Detail;
use kernpost_codecs::{Class, Code, EndpointId, LaneKind};

use super::Engine;
use super::lane_state::{LinkState, Waiting};
use crate::crossing::{Crossing, Move, Onward};
use crate::event::EngineOutput;
use crate::link::{LinkId, WorkerId};
use crate::now::Now;
use crate::outbound::{Origin, OutboundEntry, Share};

/// What the downstream link says to one more entry.
pub(super) enum Verdict {
    Send,
    Wait,
    Busy,
}

impl Engine {
    /// To a link here, or across to the worker that owns it.
    pub(super) fn hand_on(&mut self, now: Now, worker: WorkerId, onward: Onward) {
        if worker == self.worker {
            self.forward_here(now, onward);
        } else {
            self.stats.crossings_sent += 1;
            self.outputs.push_back(EngineOutput::Cross { worker, crossing: Crossing::Entries(onward) });
        }
    }

    /// Sends what credit allows now, queues what may wait, refuses the rest `busy`.
    pub(super) fn forward_here(&mut self, now: Now, mut onward: Onward) {
        let (target, class) = (onward.target, onward.class);
        let moves = std::mem::take(&mut onward.moves);
        let Some(shares) = self.shares(class).filter(|_| self.links.contains_key(&target)) else {
            let (kept, gone): (Vec<Move>, Vec<Move>) =
                moves.into_iter().partition(|step| step.custody && self.custody.takes());
            self.hand_to_custody(now, &onward, kept);
            for step in gone {
                if let Some(origin) = onward.origin(step.position) {
                    self.settle_gone(origin, &step.recipient);
                }
            }
            return;
        };
        let mut ready: Vec<(Move, Origin)> = Vec::with_capacity(moves.len());
        let mut kept = Vec::new();
        for step in moves {
            let Some(origin) = onward.origin(step.position) else {
                continue;
            };
            if step.hop.detached {
                self.forward_detached(now, &onward, step, origin);
                continue;
            }
            let verdict = self.links.get_mut(&target).map(|state| ask(state, class, origin.link, &step, &shares));
            match verdict {
                Some(Verdict::Send) => ready.push((step, origin)),
                Some(Verdict::Wait) => self.wait(now, &onward, step, origin),
                Some(Verdict::Busy) | None if step.custody && self.custody.takes() => kept.push(step),
                Some(Verdict::Busy) | None => self.settle_busy(origin, step.recipient),
            }
        }
        self.hand_to_custody(now, &onward, kept);
        self.emit(now, target, class, &onward.part, ready, onward.deadline_ms);
    }

    pub(super) fn shares(&self, class: Class) -> Option<Shares> {
        let credit = self.config.credit.get(class.index())?;
        Some(Shares {
            upstream_window: Share { entries: credit.entries, bytes: credit.bytes },
            of_endpoint: self.config.endpoint_share,
            of_upstream: self.config.downstream_share,
        })
    }

    fn wait(&mut self, now: Now, onward: &Onward, entry: Move, origin: Origin) {
        let until_us = now.after_ms(self.config.credit_wait_ms);
        let Some(state) = self.links.get_mut(&onward.target) else {
            return;
        };
        let queue = state.waiting_mut(onward.class);
        if queue.is_empty() {
            self.waits.insert((until_us, onward.target, onward.class));
        }
        let part = Arc::clone(&onward.part);
        queue.push_back(Waiting { until_us, part, entry, origin, deadline_ms: onward.deadline_ms });
        self.stats.entries_waited += 1;
        self.stats.entries_waiting += 1;
    }

    /// Writes smaller parts (WIRE 5.5), usually one, and opens their labels. Credit is already reserved.
    pub(super) fn emit(
        &mut self,
        now: Now,
        link: LinkId,
        class: Class,
        part: &Part,
        ready: Vec<(Move, Origin)>,
        deadline_ms: u64,
    ) {
        let Some(largest) = self.links.get(&link).map(|state| state.largest_bundle) else { return };
        let mut rest = ready;
        while !rest.is_empty() {
            let mut bytes = BytesMut::new();
            let chosen = rest.iter().map(|(step, _)| (step.position, &step.hop));
            let written = part.encode_chosen(chosen, largest, &mut bytes).unwrap_or(0);
            let later = rest.split_off(written.max(1).min(rest.len()));
            if written == 0 {
                // Cannot happen with admitted payloads; settled rather than lost.
                self.give_up(link, class, rest);
            } else {
                self.open_and_write(now, link, class, part, rest, deadline_ms, bytes.freeze());
            }
            rest = later;
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a frame and its labels come together")]
    fn open_and_write(
        &mut self,
        now: Now,
        link: LinkId,
        class: Class,
        part: &Part,
        sent: Vec<(Move, Origin)>,
        deadline_ms: u64,
        bytes: Bytes,
    ) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        let deadline_us = now.after_ms(deadline_ms);
        self.stats.parts_sent += 1;
        self.stats.entries_forwarded += sent.len() as u64;
        let entries = sent.into_iter().filter_map(|(step, origin)| {
            let entry = part.entries().get(step.position)?;
            Some(OutboundEntry {
                index: entry.index,
                origin,
                addressee: step.sender,
                message: step.message,
                leaf: entry.leaf,
                recipient: step.recipient,
                cost: step.cost,
                late: step.late,
                timed_out: false,
            })
        });
        let sequence = state.outbound_mut(class).open(deadline_us, entries);
        self.deadlines.insert((deadline_us, link, class, sequence));
        self.outputs.push_back(EngineOutput::Frame { link, lane: LaneKind::Bundle(class), bytes });
    }

    /// Returns reserved credit of entries that fit no frame and refuses them.
    fn give_up(&mut self, link: LinkId, class: Class, unsent: Vec<(Move, Origin)>) {
        for (step, origin) in unsent {
            if let Some(state) = self.links.get_mut(&link) {
                state.outbound_mut(class).unreserve(&step.recipient, origin.link, step.cost);
            }
            self.settle_origin(origin, Code::OVERSIZED, &Detail::default());
        }
    }

    /// The peer granted more: sends from the front of the queue while credit lasts.
    pub(super) fn send_waiting(&mut self, now: Now, link: LinkId, class: Class) {
        let watched_us = self.front_until(link, class);
        while let Some((part, ready, deadline_ms)) = self.take_ready(link, class) {
            self.emit(now, link, class, &part, ready, deadline_ms);
        }
        self.renew_wait(link, class, watched_us);
    }

    /// The next run of waiting entries of one part that credit allows.
    #[expect(clippy::type_complexity, reason = "one use, named by its caller's arguments")]
    fn take_ready(&mut self, link: LinkId, class: Class) -> Option<(Arc<Part>, Vec<(Move, Origin)>, u64)> {
        let state = self.links.get_mut(&link)?;
        let (part, deadline_ms) = state.waiting_mut(class).front().map(|w| (Arc::clone(&w.part), w.deadline_ms))?;
        let mut ready = Vec::new();
        while let Some(front) = state.waiting_mut(class).front() {
            let same_frame = ready.last().is_none_or(|(held, _): &(Move, Origin)| held.position < front.entry.position);
            if !Arc::ptr_eq(&front.part, &part) || !same_frame {
                break;
            }
            let (recipient, upstream, cost) = (front.entry.recipient.clone(), front.origin.link, front.entry.cost);
            if !state.outbound_mut(class).reserve(&recipient, upstream, cost) {
                break;
            }
            let Some(waiting) = state.waiting_mut(class).pop_front() else {
                break;
            };
            self.stats.entries_waiting = self.stats.entries_waiting.saturating_sub(1);
            ready.push((waiting.entry, waiting.origin));
        }
        (!ready.is_empty()).then_some((part, ready, deadline_ms))
    }

    /// How long the front of a queue waits.
    fn front_until(&mut self, link: LinkId, class: Class) -> Option<u64> {
        self.links.get_mut(&link)?.waiting_mut(class).front().map(|waiting| waiting.until_us)
    }

    /// Keeps exactly one entry in `waits` for a queue: its front, in place of the one that is watched so far.
    fn renew_wait(&mut self, link: LinkId, class: Class, watched_us: Option<u64>) {
        let front_us = self.front_until(link, class);
        if front_us == watched_us {
            return;
        }
        if let Some(until_us) = watched_us {
            self.waits.remove(&(until_us, link, class));
        }
        if let Some(until_us) = front_us {
            self.waits.insert((until_us, link, class));
        }
    }

    /// Entries that waited long enough are refused `busy`.
    pub(super) fn time_out_waits(&mut self, now: Now) {
        while let Some((until_us, link, class)) = self.waits.first().copied()
            && until_us <= now.mono_us
        {
            self.waits.pop_first();
            while let Some(waiting) = self.pop_overdue(now, link, class) {
                self.stats.entries_waiting = self.stats.entries_waiting.saturating_sub(1);
                if waiting.entry.custody && self.custody.takes() {
                    self.hand_waiting_to_custody(now, waiting);
                } else {
                    self.settle_busy(waiting.origin, waiting.entry.recipient);
                }
            }
            self.renew_wait(link, class, None);
        }
    }

    fn pop_overdue(&mut self, now: Now, link: LinkId, class: Class) -> Option<Waiting> {
        let queue = self.links.get_mut(&link)?.waiting_mut(class);
        queue.front().is_some_and(|w| w.until_us <= now.mono_us).then(|| queue.pop_front()).flatten()
    }

    /// Refuses what still waits for a link that is gone: it was never handed on, so the refusal is certain.
    pub(super) fn refuse_waiting(&mut self, waiting: Vec<Waiting>) {
        for entry in waiting {
            self.stats.entries_waiting = self.stats.entries_waiting.saturating_sub(1);
            self.settle_gone(entry.origin, &entry.entry.recipient);
        }
    }

    pub(super) fn settle_busy(&mut self, origin: Origin, recipient: EndpointId) {
        let detail = self.local_detail(recipient);
        self.settle_origin(origin, Code::BUSY, &detail);
    }

    pub(super) fn settle_gone(&mut self, origin: Origin, recipient: &EndpointId) {
        let detail = self.local_detail(recipient.clone());
        self.settle_origin(origin, Code::NOT_ATTACHED, &detail);
    }

    /// What this router says of one of its own ways to an endpoint.
    pub(super) fn local_detail(&self, endpoint: EndpointId) -> Detail {
        self.presence.own_detail(&self.config.router, endpoint, self.config.retry_after_ms)
    }

    /// Marks what a neighbour reported (WIRE 8.7).
    pub(super) fn mark_unavailable(&mut self, now: Now, code: Code, detail: &Detail) {
        let (number, usual_ms) = (self.presence.number(), self.config.retry_after_ms);
        self.unavailable.on_settled(now, &self.config.router, code, detail, usual_ms, number);
    }
}

/// How much of a downstream link one holder may take (WIRE 7.3).
pub(super) struct Shares {
    /// What every upstream link is granted.
    upstream_window: Share,
    /// See [`crate::EngineConfig::endpoint_share`].
    of_endpoint: u64,
    /// See [`crate::EngineConfig::downstream_share`].
    of_upstream: u64,
}

/// Shares first (WIRE 7.3), then order, then the peer's credit.
pub(super) fn ask(state: &mut LinkState, class: Class, upstream: LinkId, step: &Move, shares: &Shares) -> Verdict {
    let (shared, waiting) = (state.shared(), !state.waiting_mut(class).is_empty());
    let lane = state.outbound_mut(class);
    let within_endpoint =
        !shared || lane.share_of_endpoint(&step.recipient).admits(step.cost, lane.window(), shares.of_endpoint);
    let held = lane.share_of_upstream(upstream);
    if !within_endpoint || !held.admits(step.cost, shares.upstream_window, shares.of_upstream) {
        return Verdict::Busy;
    }
    if waiting || !lane.reserve(&step.recipient, upstream, step.cost) {
        return Verdict::Wait;
    }
    Verdict::Send
}
