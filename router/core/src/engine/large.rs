//! Large payloads in the engine: detached entries go on alone, WANT comes back, the shell asks where bytes go (WIRE 9).
//!
//! A detached entry is a frame of its own, so that its deadline can be moved with its progress. It is judged as any other,
//! but for the digest: this router does not see the payload before it has handed it on. The bytes are the shell's business;
//! who wants which, how many may be under way and when it ends is decided here.

use bytes::BytesMut;
use kernpost_codecs::settlement::{Detail, Label, SettlementFrame};
use kernpost_codecs::{Class, CloseCode, Code, FrameFault, LaneKind, PayloadHead};

use super::Engine;
use super::forward::{Verdict, ask};
use crate::crossing::{Crossing, Move, Onward};
use crate::event::EngineOutput;
use crate::large::{Announced, Downstream, PayloadStep, PayloadWay, Wanted};
use crate::link::LinkId;
use crate::now::Now;
use crate::outbound::Origin;

/// For the shell, which moves the bytes.
impl Engine {
    /// The peer of a link opened a payload stream: where do its bytes go?
    ///
    /// # Errors
    /// Nobody wanted it, it begins elsewhere than wanted, or there is one already: the link closes.
    pub fn open_payload(&mut self, link: LinkId, head: PayloadHead) -> Result<PayloadWay, FrameFault> {
        let PayloadHead { label, offset } = head;
        match self.large.open(link, label, offset) {
            Some(opened) => {
                let onward = opened?;
                self.stats.payloads_begun += 1;
                self.stats.payloads_in_progress += 1;
                Ok(PayloadWay::Onward(onward))
            }
            None if self.has_settled(link, label) => Ok(PayloadWay::Settled),
            None => {
                let detail = format!("a payload stream for {label:?}, which nobody wanted");
                Err(FrameFault::unexpected("WIRE 9.3", detail))
            }
        }
    }

    /// Payload bytes arrived on a link. Charges the link's budget, counts, and says what the reader does next.
    ///
    /// # Errors
    /// More than the window allows or the statement announced: the link closes.
    pub fn take_payload(
        &mut self,
        now: Now,
        link: LinkId,
        label: Label,
        bytes: u64,
    ) -> Result<PayloadStep, FrameFault> {
        let Some(state) = self.links.get_mut(&link) else { return Ok(PayloadStep::Settled) };
        if let Err(ms) = state.buckets.charge_bytes(now, bytes) {
            return Ok(PayloadStep::Pause(ms));
        }
        let step = self.large.receive(link, label, bytes)?;
        match step {
            PayloadStep::More | PayloadStep::Last => self.stats.payload_bytes_received += bytes,
            PayloadStep::Settled | PayloadStep::Pause(_) => {}
        }
        if step == PayloadStep::Last {
            self.stats.payloads_in_progress = self.stats.payloads_in_progress.saturating_sub(1);
            self.stats.payloads_finished += 1;
        }
        Ok(step)
    }

    /// The stream of a payload ended before its last byte, or nobody takes its bytes. The recipient, whose stream is reset,
    /// settles the label; if it does not, the deadline does.
    pub fn handle_payload_lost(&mut self, link: LinkId, label: Label) {
        if self.large.lose(link, label) {
            self.note_aborted(1);
        }
    }

    /// So many payload bytes are about to be written to a link; false when the label has settled: reset the stream.
    pub fn on_payload_sent(&mut self, link: LinkId, label: Label, bytes: u64) -> bool {
        let stands = self.large.on_sent(link, label, bytes);
        if stands {
            self.stats.payload_bytes_streamed += bytes;
        }
        stands
    }

    /// Whether a label the peer gave has settled; false for one that is open or was never used.
    fn has_settled(&self, link: LinkId, label: Label) -> bool {
        self.links.get(&link).is_none_or(|state| {
            let lane = state.inbound(label.class);
            label.sequence < lane.next_sequence() && !lane.is_open(label)
        })
    }
}

impl Engine {
    /// Sends a detached entry on in a frame of its own. It never waits for credit; what finds no room among the large
    /// payloads is refused `payload-not-wanted`, which holds no other entry of its recipient back.
    pub(super) fn forward_detached(&mut self, now: Now, onward: &Onward, entry: Move, origin: Origin) {
        let (target, class) = (onward.target, onward.class);
        let length = entry.payload_len;
        if length > self.config.largest_payload.min(self.large.accepts(target)) {
            return self.settle_origin(origin, Code::OVERSIZED, &Detail::default());
        }
        if !self.has_room(target, origin.link, &entry) {
            let detail = self.local_detail(entry.recipient.clone());
            return self.settle_origin(origin, Code::PAYLOAD_NOT_WANTED, &detail);
        }
        let (shares, state) = (self.shares(class), self.links.get_mut(&target));
        let verdict = state.zip(shares).map(|(state, shares)| ask(state, class, origin.link, &entry, &shares));
        match verdict {
            None | Some(Verdict::Wait | Verdict::Busy) if entry.custody && self.custody.takes() => {
                self.hand_to_custody(now, onward, vec![entry]);
            }
            None => self.settle_gone(origin, &entry.recipient),
            Some(Verdict::Wait | Verdict::Busy) => self.settle_busy(origin, entry.recipient),
            Some(Verdict::Send) => {
                let Some(state) = self.links.get_mut(&target) else { return };
                let sequence = state.outbound_mut(class).next_sequence();
                let index = origin.label.index;
                let recipient = entry.recipient.clone();
                self.emit(now, target, class, &onward.part, vec![(entry, origin)], onward.deadline_ms);
                let written =
                    self.links.get(&target).is_some_and(|state| state.outbound(class).next_sequence() > sequence);
                if !written {
                    // It fits no frame and is settled.
                    return;
                }
                let label = Label { class, sequence, index };
                let deadline_us = now.after_ms(onward.deadline_ms);
                let announced = Announced::new(label, origin, recipient, length, onward.deadline_ms, deadline_us);
                self.large.announce(target, announced);
            }
        }
    }

    /// Shares of WIRE 7.3 applied to the large payloads of a link; one alone is always allowed.
    fn has_room(&self, target: LinkId, upstream: LinkId, entry: &Move) -> bool {
        let most = self.config.large_payloads_per_link;
        let (held, of_upstream, of_endpoint) = self.large.held(target, upstream, &entry.recipient);
        let shared = self.links.get(&target).is_some_and(super::lane_state::LinkState::shared);
        held < most
            && self.large.announced() < self.config.large_payloads
            && of_upstream < (most / self.config.downstream_share).max(1)
            && (!shared || of_endpoint < (most / self.config.endpoint_share).max(1))
    }

    /// WANT from downstream: progress, and usually told upstream.
    pub(super) fn on_want(&mut self, now: Now, link: LinkId, label: Label, offset: u64) -> Result<(), FrameFault> {
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        let lane = state.outbound_mut(label.class);
        if label.sequence >= lane.next_sequence() {
            let detail = format!("WANT for {label:?}, which was never used");
            return Err(FrameFault::new(CloseCode::LabelUnknown, "WIRE 8.1", detail));
        }
        let Some(announced) = self.large.announced_mut(link, label) else {
            if lane.peek(label).is_some_and(|entry| !entry.timed_out) {
                let detail = format!("WANT for {label:?}, which is not detached");
                return Err(FrameFault::unexpected("WIRE 9.2", detail));
            }
            self.stats.wants_ignored += 1;
            return Ok(());
        };
        let wanted = announced.want(now, offset)?;
        if wanted == Wanted::Stale {
            self.stats.wants_ignored += 1;
            return Ok(());
        }
        let (origin, length) = (announced.origin, announced.length);
        let (was_us, until_us) = (announced.deadline_us, now.after_ms(announced.deadline_ms));
        announced.deadline_us = until_us;
        lane.set_deadline(label.sequence, until_us);
        self.deadlines.remove(&(was_us, link, label.class, label.sequence));
        self.deadlines.insert((until_us, link, label.class, label.sequence));
        if wanted == Wanted::Tell {
            let from = Downstream { worker: self.worker, link, label };
            if origin.worker == self.worker {
                self.want_here(origin.link, origin.label, offset, length, from);
            } else {
                let crossing = Crossing::Want { link: origin.link, label: origin.label, offset, length, onward: from };
                self.outputs.push_back(EngineOutput::Cross { worker: origin.worker, crossing });
            }
        }
        Ok(())
    }

    /// Relays a WANT to a link of this worker, unless its label has settled.
    pub(super) fn want_here(&mut self, link: LinkId, label: Label, offset: u64, length: u64, onward: Downstream) {
        if !self.links.get(&link).is_some_and(|state| state.inbound(label.class).is_open(label)) {
            return;
        }
        self.large.expect(link, label, offset, length, onward);
        let mut bytes = BytesMut::new();
        SettlementFrame::Want { label, offset }.encode(&mut bytes);
        self.outputs.push_back(EngineOutput::Frame { link, lane: LaneKind::Settlement, bytes: bytes.freeze() });
    }

    /// A label the peer gave was closed: its stream, if there is one, is stopped.
    pub(super) fn on_inbound_closed(&mut self, link: LinkId, label: Label) {
        if self.large.is_empty() {
            return;
        }
        if let Some(under_way) = self.large.close_expected(link, label) {
            self.note_aborted(u64::from(under_way));
            self.outputs.push_back(EngineOutput::PayloadEnd { link, label, incoming: true });
        }
    }

    /// A label given to the peer was settled or passed its deadline: its stream, if there is one, is reset.
    pub(super) fn on_outbound_closed(&mut self, link: LinkId, label: Label) {
        if !self.large.is_empty() && self.large.close_announced(link, label) {
            self.outputs.push_back(EngineOutput::PayloadEnd { link, label, incoming: false });
        }
    }

    /// The deadline of a frame passed: a detached entry is alone in its frame.
    pub(super) fn on_outbound_timed_out(&mut self, link: LinkId, class: Class, sequence: u64, origins: &[Origin]) {
        for origin in origins {
            self.on_outbound_closed(link, Label { class, sequence, index: origin.label.index });
        }
    }

    /// The link is gone, with every stream of it.
    pub(super) fn forget_payloads(&mut self, link: LinkId) {
        let lost = self.large.forget(link);
        self.note_aborted(lost as u64);
    }

    fn note_aborted(&mut self, count: u64) {
        self.stats.payloads_in_progress = self.stats.payloads_in_progress.saturating_sub(count);
        self.stats.payloads_aborted += count;
    }
}
