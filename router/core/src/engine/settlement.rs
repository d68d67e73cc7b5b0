//! What comes back: credit, unsigned settlements and receipts from the downstream side, passed on to the upstream labels.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::receipts::{RebuiltReceipts, ReceiptsFrame, Subject};
use kernpost_codecs::settlement::{Detail, Label, Settle, SettlementFrame};
use kernpost_codecs::{CloseCode, Code, EndpointId, FrameFault, LaneKind, Party};
use kernpost_routing_table::KeyOwner;

use super::Engine;
use crate::crossing::Crossing;
use crate::event::EngineOutput;
use crate::link::{LinkId, WorkerId};
use crate::now::Now;
use crate::outbound::{Found, Origin, OutboundEntry};

impl Engine {
    /// Carries WIRE 7 and 8.
    pub(super) fn on_settlement(&mut self, now: Now, link: LinkId, kind: u64, body: &Bytes) -> Result<(), FrameFault> {
        match SettlementFrame::decode(kind, body.clone())? {
            Some(SettlementFrame::Credit { class, entries, bytes }) => {
                if let Some(state) = self.links.get_mut(&link) {
                    state.outbound_mut(class).allowance.on_credit(entries, bytes);
                    if entries > 0 && !state.peer.is_router() && self.granted.insert(link) {
                        self.tell_granted(link);
                    }
                    self.send_waiting(now, link, class);
                }
                Ok(())
            }
            Some(SettlementFrame::Settle(settle)) => self.on_settle(now, link, &settle),
            Some(SettlementFrame::Receipts(frame)) => self.on_receipts(link, frame),
            Some(SettlementFrame::Want { label, .. }) => Err(FrameFault::new(
                CloseCode::UnexpectedFrame,
                "WIRE 9.1",
                format!("WANT for label {label:?}, which is not detached"),
            )),
            None => Ok(()),
        }
    }

    /// The first credit of an endpoint side: every worker may now prefer its attachments.
    fn tell_granted(&mut self, link: LinkId) {
        for worker in (0..self.config.workers).map(WorkerId).filter(|worker| *worker != self.worker) {
            self.outputs.push_back(EngineOutput::Cross { worker, crossing: Crossing::Granted { link } });
        }
    }

    fn on_settle(&mut self, now: Now, link: LinkId, settle: &Settle) -> Result<(), FrameFault> {
        for label in settle.labels() {
            match self.settle_outbound(link, label) {
                Found::Never => return Err(label_unknown(label)),
                Found::Late => self.stats.late_settlements += 1,
                Found::Open(entry) => {
                    let detail = self.vouched(link, &entry.recipient, settle);
                    // `noted` answers late receipts; of a message it says nothing (WIRE 8.4).
                    let code = if settle.code.is_noted() { Code::UNDECIDED_UNCLEAR } else { settle.code };
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

    /// Receipts are rebuilt from the labels (WIRE 8.2), so issuer and subject are right by construction; a frame by another
    /// issuer, with a foreign key, or that does not rebuild is set aside and its labels stay open until their deadline.
    fn on_receipts(&mut self, link: LinkId, frame: ReceiptsFrame) -> Result<(), FrameFault> {
        let Some(entries) = self.labelled_entries(link, &frame)? else {
            self.stats.receipt_frames_ignored += 1;
            return Ok(());
        };
        let subjects: Vec<Subject<'_>> = entries
            .iter()
            .map(|entry| Subject { addressee: &entry.addressee, message: entry.message, leaf: entry.leaf })
            .collect();
        let Ok(rebuilt) = frame.rebuild(&subjects) else {
            self.stats.receipt_frames_ignored += 1;
            return Ok(());
        };
        let (frame, rebuilt) = (Arc::new(frame), Arc::new(rebuilt));
        let mut groups: Vec<UpstreamGroup> = Vec::new();
        for (position, receipt) in frame.entries.iter().enumerate() {
            match self.settle_outbound(link, receipt.label) {
                Found::Open(entry) => group_by_origin(&mut groups, position, entry.origin),
                Found::Late | Found::Never => self.stats.late_settlements += 1,
            }
        }
        for ((worker, upstream), positions, labels) in groups {
            if worker == self.worker {
                self.receipts_here(upstream, &frame, &rebuilt, &positions, &labels);
            } else {
                let (frame, rebuilt) = (Arc::clone(&frame), Arc::clone(&rebuilt));
                let crossing = Crossing::Receipts { link: upstream, frame, rebuilt, positions, labels };
                self.outputs.push_back(EngineOutput::Cross { worker, crossing });
            }
        }
        Ok(())
    }

    /// The labelled entries of a RECEIPTS frame; `None` when the frame must be set aside.
    fn labelled_entries(
        &mut self,
        link: LinkId,
        frame: &ReceiptsFrame,
    ) -> Result<Option<Vec<OutboundEntry>>, FrameFault> {
        let by_recipient = frame.entries.iter().all(|receipt| receipt.outcome.is_by_recipient());
        let own = by_recipient && self.kids_of_issuer(frame);
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(None);
        };
        let mut entries = Vec::with_capacity(frame.entries.len());
        for receipt in &frame.entries {
            let lane = state.outbound_mut(receipt.label.class);
            if receipt.label.sequence >= lane.next_sequence() {
                return Err(label_unknown(receipt.label));
            }
            match lane.peek(receipt.label) {
                Some(entry) if is_issuer(frame, entry) => entries.push(entry.clone()),
                _ => return Ok(None),
            }
        }
        Ok(own.then_some(entries))
    }

    /// Every signature of the frame names a key of its issuer.
    fn kids_of_issuer(&self, frame: &ReceiptsFrame) -> bool {
        let Party::Endpoint(issuer) = &frame.issuer else {
            return false;
        };
        let index = self.table.endpoint(issuer.as_str()).map(KeyOwner::Endpoint);
        let owner = |kid| self.table.key(&kid).map(|(owner, _)| owner);
        index.is_some() && frame.signatures.iter().all(|signature| signature.kid().ok().and_then(owner) == index)
    }

    /// Passes receipts on to a link of this worker, leaving out labels that are no longer open there.
    pub(super) fn receipts_here(
        &mut self,
        link: LinkId,
        frame: &ReceiptsFrame,
        rebuilt: &RebuiltReceipts,
        positions: &[usize],
        labels: &[Label],
    ) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        let mut open_positions = Vec::with_capacity(positions.len());
        let mut open_labels = Vec::with_capacity(positions.len());
        for (position, label) in positions.iter().zip(labels) {
            let Some(receipt) = frame.entries.get(*position) else {
                continue;
            };
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
        found
    }

    /// Labels whose deadline passed settle undecided upstream; a later settlement for them is ignored (WIRE 8.6).
    pub(super) fn time_out_labels(&mut self, now: Now) {
        while let Some((at, link, class, sequence)) = self.deadlines.first().copied()
            && at <= now.mono_us
        {
            self.deadlines.pop_first();
            let origins = self.links.get_mut(&link).map(|state| state.outbound_mut(class).time_out(sequence));
            for origin in origins.into_iter().flatten() {
                self.settle_origin(origin, Code::UNDECIDED_DEADLINE, &Default::default());
            }
        }
    }
}

/// Receipts for one upstream link: positions in the frame, and the labels they settle there.
type UpstreamGroup = ((WorkerId, LinkId), Vec<usize>, Vec<Label>);

/// Only the endpoint a label was sent to may issue the receipt for it.
fn is_issuer(frame: &ReceiptsFrame, entry: &OutboundEntry) -> bool {
    matches!(&frame.issuer, Party::Endpoint(issuer) if *issuer == entry.recipient)
}

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
