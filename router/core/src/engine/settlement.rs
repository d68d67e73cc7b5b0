//! What comes back: credit, unsigned settlements and receipts from the downstream side, passed on to the upstream labels.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::credit::LARGEST_ENTRY_COST;
use kernpost_codecs::receipts::{RebuiltReceipts, ReceiptsFrame, Subject};
use kernpost_codecs::settlement::{Detail, Label, Settle, SettlementFrame};
use kernpost_codecs::{CloseCode, Code, EndpointId, FrameFault, LaneKind, Party};
use kernpost_routing_table::KeyOwner;

use super::Engine;
use crate::crossing::{Crossing, Receipts};
use crate::event::EngineOutput;
use crate::link::{LinkId, WorkerId};
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::outbound::{Found, Origin, OutboundEntry};

impl Engine {
    /// Carries WIRE 7 and 8.
    pub(super) fn on_settlement(&mut self, now: Now, link: LinkId, kind: u64, body: &Bytes) -> Result<(), FrameFault> {
        match SettlementFrame::decode(kind, body.clone())? {
            Some(SettlementFrame::Credit { class, entries, bytes }) => {
                if let Some(state) = self.links.get_mut(&link) {
                    let lane = state.outbound_mut(class);
                    lane.allowance.on_credit(entries, bytes);
                    // Less than the largest entry: late receipts only (WIRE 7.1).
                    let takes_messages = entries > 0 && lane.window().bytes >= LARGEST_ENTRY_COST;
                    if takes_messages && !state.peer.is_router() && self.granted.insert(link) {
                        // Every worker may now prefer its attachments.
                        self.tell_workers(&Crossing::Granted { link });
                    }
                    self.send_waiting(now, link, class);
                }
                Ok(())
            }
            Some(SettlementFrame::Settle(settle)) => self.on_settle(now, link, &settle),
            Some(SettlementFrame::Receipts(frame)) => self.on_receipts(link, frame),
            Some(SettlementFrame::Want { label, offset }) => self.on_want(now, link, label, offset),
            None => Ok(()),
        }
    }

    /// Tells all other workers, and custody.
    pub(super) fn tell_workers(&mut self, crossing: &Crossing) {
        let custody = u16::from(self.config.custody);
        for worker in (0..self.config.workers + custody).map(WorkerId).filter(|worker| *worker != self.worker) {
            self.outputs.push_back(EngineOutput::Cross { worker, crossing: crossing.clone() });
        }
    }

    fn on_settle(&mut self, now: Now, link: LinkId, settle: &Settle) -> Result<(), FrameFault> {
        let mut late = 0;
        for label in settle.labels() {
            match self.settle_outbound(link, label) {
                Found::Never => return Err(label_unknown(label)),
                Found::Overdue => self.stats.late_settlements += 1,
                Found::Late => {
                    self.stats.late_settlements += 1;
                    late += 1;
                    if late > MOST_LATE {
                        let detail = format!("more than {MOST_LATE} labels of one SETTLE have settled before");
                        return Err(FrameFault::new(CloseCode::OverLimit, "WIRE 8.1", detail));
                    }
                }
                Found::Open(entry) => {
                    let detail = self.vouched(link, &entry.recipient, settle);
                    // `noted` answers late receipts; of a message it says nothing (WIRE 8.4).
                    let unclear = settle.code.is_noted() && !entry.late;
                    let code = if unclear { Code::UNDECIDED_UNCLEAR } else { settle.code };
                    self.mark_unavailable(now, code, &detail);
                    self.settle_origin(entry.origin, code, &detail);
                }
            }
        }
        Ok(())
    }

    /// A settlement speaks of the recipient of its label and of nobody else, so that no endpoint makes another look busy. What
    /// an endpoint side says of itself, this router says of its own attachment.
    fn vouched(&self, link: LinkId, recipient: &EndpointId, settle: &Settle) -> Detail {
        let said = &settle.detail;
        let from_router = self.links.get(&link).is_some_and(|state| state.peer.is_router());
        if !from_router && matches!(settle.code, Code::BUSY | Code::NOT_ATTACHED) {
            let own = self.local_detail(recipient.clone());
            return Detail {
                retry_after_ms: said.retry_after_ms.or(own.retry_after_ms),
                text: said.text.clone(),
                ..own
            };
        }
        match &said.endpoint {
            Some(named) if named != recipient => {
                Detail { endpoint: None, router: None, presence: None, ..said.clone() }
            }
            _ => said.clone(),
        }
    }

    /// Issuer and subject are right by construction: a receipt is rebuilt from its label (WIRE 8.2). A frame by another issuer,
    /// with a foreign key, or that must be split and does not rebuild is set aside and its labels stay open until their deadline.
    fn on_receipts(&mut self, link: LinkId, frame: ReceiptsFrame) -> Result<(), FrameFault> {
        if !self.may_settle(link, &frame)? {
            self.set_aside(link, &frame);
            return Ok(());
        }
        if let Some((worker, upstream)) = self.only_origin(link, &frame) {
            let labels = frame.entries.iter().filter_map(|receipt| self.settle_open(link, receipt.label));
            let labels = labels.map(|entry| entry.origin.label).collect();
            self.pass_on(worker, upstream, Receipts::Whole(Arc::new(frame)), labels);
            return Ok(());
        }
        let Some(rebuilt) = self.rebuild(link, &frame) else {
            self.set_aside(link, &frame);
            return Ok(());
        };
        let (frame, rebuilt) = (Arc::new(frame), Arc::new(rebuilt));
        let mut groups: Vec<UpstreamGroup> = Vec::new();
        for (position, receipt) in frame.entries.iter().enumerate() {
            match self.settle_open(link, receipt.label) {
                Some(entry) => group_by_origin(&mut groups, position, entry.origin),
                None => self.stats.late_settlements += 1,
            }
        }
        for ((worker, upstream), positions, labels) in groups {
            let (frame, rebuilt) = (Arc::clone(&frame), Arc::clone(&rebuilt));
            self.pass_on(worker, upstream, Receipts::Some { frame, rebuilt, positions }, labels);
        }
        Ok(())
    }

    /// A frame that does not count. Another router has closed its labels and will not speak of them again, so that they would
    /// hold credit until the link is lost: they settle undecided. An endpoint may still send a better frame.
    fn set_aside(&mut self, link: LinkId, frame: &ReceiptsFrame) {
        self.stats.receipt_frames_ignored += 1;
        if !self.links.get(&link).is_some_and(|state| state.peer.is_router()) {
            return;
        }
        for receipt in &frame.entries {
            if let Some(entry) = self.settle_open(link, receipt.label) {
                self.settle_origin(entry.origin, Code::UNDECIDED_UNCLEAR, &Detail::default());
            }
        }
    }

    /// Whether a RECEIPTS frame counts: by the endpoint its labels were sent to, with that endpoint's keys, about labels that
    /// are all still held.
    fn may_settle(&mut self, link: LinkId, frame: &ReceiptsFrame) -> Result<bool, FrameFault> {
        let Party::Endpoint(issuer) = &frame.issuer else { return Ok(false) };
        let own_keys = self.kids_of_issuer(issuer, frame);
        let Some(state) = self.links.get_mut(&link) else { return Ok(false) };
        let mut counts = own_keys;
        for receipt in &frame.entries {
            let lane = state.outbound_mut(receipt.label.class);
            if receipt.label.sequence >= lane.next_sequence() {
                return Err(label_unknown(receipt.label));
            }
            counts &= receipt.outcome.is_by_recipient()
                && lane.peek(receipt.label).is_some_and(|entry| !entry.late && entry.recipient == *issuer);
        }
        Ok(counts)
    }

    /// The one upstream link that all receipts of a frame go to, when none is late and the frame fits there as a whole.
    fn only_origin(&mut self, link: LinkId, frame: &ReceiptsFrame) -> Option<(WorkerId, LinkId)> {
        let state = self.links.get_mut(&link)?;
        let mut only = None;
        for receipt in &frame.entries {
            let entry = state.outbound_mut(receipt.label.class).peek(receipt.label)?;
            let origin = (entry.origin.worker, entry.origin.link);
            if entry.timed_out || *only.get_or_insert(origin) != origin {
                return None;
            }
        }
        only.filter(|_| frame.fits_relabelled())
    }

    /// The statements a frame stands for, by the labels it names.
    fn rebuild(&mut self, link: LinkId, frame: &ReceiptsFrame) -> Option<RebuiltReceipts> {
        let state = self.links.get(&link)?;
        let subjects: Option<Vec<Subject<'_>>> = frame
            .entries
            .iter()
            .map(|receipt| {
                let entry = state.outbound(receipt.label.class).peek(receipt.label)?;
                Some(Subject { addressee: &entry.addressee, message: entry.message, leaf: entry.leaf })
            })
            .collect();
        frame.rebuild(&subjects?).ok()
    }

    /// To a link here, or across to the worker that owns it.
    fn pass_on(&mut self, worker: WorkerId, link: LinkId, receipts: Receipts, labels: Vec<Label>) {
        if worker == self.worker {
            self.receipts_here(link, &receipts, &labels);
        } else {
            let crossing = Crossing::Receipts { link, receipts, labels };
            self.outputs.push_back(EngineOutput::Cross { worker, crossing });
        }
    }

    /// Every signature of the frame names a key of its issuer.
    fn kids_of_issuer(&self, issuer: &EndpointId, frame: &ReceiptsFrame) -> bool {
        let index = self.table.endpoint(issuer.as_str()).map(KeyOwner::Endpoint);
        let owner = |kid| self.table.key(&kid).map(|(owner, _)| owner);
        index.is_some() && frame.signatures.iter().all(|signature| signature.kid().ok().and_then(owner) == index)
    }

    /// Passes receipts on to a link of this worker, leaving out labels that are no longer open there.
    pub(super) fn receipts_here(&mut self, link: LinkId, receipts: &Receipts, labels: &[Label]) {
        match receipts {
            Receipts::Whole(frame) => self.whole_frame_here(link, frame, labels),
            Receipts::Some { frame, rebuilt, positions } => {
                self.some_receipts_here(link, frame, rebuilt, positions, labels);
            }
        }
    }

    fn whole_frame_here(&mut self, link: LinkId, frame: &ReceiptsFrame, labels: &[Label]) {
        if labels.len() != frame.entries.len() {
            // The frame named a label twice: its other receipts cannot be told apart from it without a new proof.
            for label in labels {
                self.settle_here(link, *label, Code::UNDECIDED_UNCLEAR, &Detail::default());
            }
            return;
        }
        let Some(state) = self.links.get_mut(&link) else { return };
        for (receipt, label) in frame.entries.iter().zip(labels) {
            if state.inbound_mut(label.class).close(*label) {
                self.ledger.close_by_receipt(receipt.outcome);
            } else {
                // Labels here outlive those downstream, so this does not happen; the peer ignores a second settlement.
                self.stats.late_settlements += 1;
            }
        }
        self.stats.receipts_forwarded += labels.len() as u64;
        for label in labels {
            self.on_inbound_closed(link, *label);
        }
        let mut bytes = BytesMut::new();
        frame.encode_relabelled(labels, &mut bytes);
        self.outputs.push_back(EngineOutput::Frame { link, lane: LaneKind::Settlement, bytes: bytes.freeze() });
        self.note_credit(link);
    }

    fn some_receipts_here(
        &mut self,
        link: LinkId,
        frame: &ReceiptsFrame,
        rebuilt: &RebuiltReceipts,
        positions: &[usize],
        labels: &[Label],
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let (mut open_positions, mut open_labels) =
            (Vec::with_capacity(labels.len()), Vec::with_capacity(labels.len()));
        for (position, label) in positions.iter().zip(labels) {
            let Some(receipt) = frame.entries.get(*position) else { continue };
            if state.inbound_mut(label.class).close(*label) {
                self.ledger.close_by_receipt(receipt.outcome);
                open_positions.push(*position);
                open_labels.push(*label);
            } else {
                self.stats.late_settlements += 1;
            }
        }
        if open_positions.is_empty() {
            return;
        }
        self.stats.receipts_forwarded += open_positions.len() as u64;
        for label in &open_labels {
            self.on_inbound_closed(link, *label);
        }
        let bytes = encode_all(frame, rebuilt, &open_positions, &open_labels);
        self.outputs.push_back(EngineOutput::Frame { link, lane: LaneKind::Settlement, bytes });
        self.note_credit(link);
    }

    fn settle_outbound(&mut self, link: LinkId, label: Label) -> Found {
        let Some(state) = self.links.get_mut(&link) else { return Found::Late };
        let lane = state.outbound_mut(label.class);
        let found = lane.settle(label);
        for (deadline_us, sequence) in lane.take_done() {
            self.deadlines.remove(&(deadline_us, link, label.class, sequence));
        }
        self.on_outbound_closed(link, label);
        found
    }

    /// Settles a label; its entry when nobody upstream was told yet.
    fn settle_open(&mut self, link: LinkId, label: Label) -> Option<OutboundEntry> {
        match self.settle_outbound(link, label) {
            Found::Open(entry) => Some(entry),
            Found::Late | Found::Overdue | Found::Never => None,
        }
    }

    /// Labels whose deadline passed settle undecided upstream; a later settlement for them is ignored (WIRE 8.6).
    pub(super) fn time_out_labels(&mut self, now: Now) {
        while let Some((at, link, class, sequence)) = self.deadlines.first().copied()
            && at <= now.mono_us
        {
            self.deadlines.pop_first();
            let origins = self.links.get_mut(&link).map(|state| state.outbound_mut(class).time_out(sequence));
            let origins = origins.unwrap_or_default();
            self.on_outbound_timed_out(link, class, sequence, &origins);
            let refuse = mutant::is(Mutant::RefuseInsteadOfUndecided);
            let code = if refuse { Code::OVERSIZED } else { Code::UNDECIDED_DEADLINE };
            for origin in origins {
                self.settle_origin(origin, code, &Default::default());
            }
        }
    }
}

/// Labels of one SETTLE frame that may have settled before; an honest peer names each label once.
const MOST_LATE: usize = 256;

/// Receipts for one upstream link: positions in the frame, and the labels they settle there.
type UpstreamGroup = ((WorkerId, LinkId), Vec<usize>, Vec<Label>);

fn group_by_origin(groups: &mut Vec<UpstreamGroup>, position: usize, origin: Origin) {
    let key = (origin.worker, origin.link);
    match groups.iter_mut().find(|(held, ..)| *held == key) {
        Some((_, positions, labels)) => {
            positions.push(position);
            labels.push(origin.label);
        }
        None => groups.push((key, vec![position], vec![origin.label])),
    }
}

fn label_unknown(label: Label) -> FrameFault {
    FrameFault::new(CloseCode::LabelUnknown, "WIRE 8.1", format!("settlement for {label:?}, which was never used"))
}

/// One frame, or several where problems are long.
fn encode_all(frame: &ReceiptsFrame, rebuilt: &RebuiltReceipts, positions: &[usize], labels: &[Label]) -> Bytes {
    let mut bytes = BytesMut::new();
    let mut done = 0;
    while let (Some(positions), Some(labels)) = (positions.get(done..), labels.get(done..))
        && !positions.is_empty()
    {
        match rebuilt.encode_subset(frame, positions, labels, &mut bytes) {
            Ok(written) if written > 0 => done += written,
            _ => break,
        }
    }
    bytes.freeze()
}
