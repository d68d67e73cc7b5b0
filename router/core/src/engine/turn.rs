//! Links come and go, and every turn ends here: one round of SETTLE and CREDIT per link, after everything else.

use bytes::BytesMut;
use kernpost_codecs::settlement::SettlementFrame;
use kernpost_codecs::{Class, Code, LaneKind};

use super::Engine;
use super::lane_state::LinkState;
use crate::crossing::Crossing;
use crate::event::EngineOutput;
use crate::link::{LinkId, Peer, WorkerId};
use crate::mutant::{self, Mutant};
use crate::now::Now;

impl Engine {
    /// A link of this worker gets its lanes and first credit; a router's link becomes a way to it for every worker.
    pub(super) fn on_link_up(&mut self, now: Now, link: LinkId, worker: WorkerId, peer: Peer) {
        if let Peer::Router(router) = &peer {
            self.presence.on_router_up(router.clone(), worker, link);
        }
        if worker == self.worker {
            let mut state = LinkState::new(now, peer, &self.config);
            if !state.peer.is_router() {
                state.scale_credit(&self.config, self.custody.credit_percent());
            }
            self.links.insert(link, state);
            self.stats.links = self.links.len() as u64;
            self.note_credit(link);
        }
    }

    /// Downstream labels settle undecided (they may have been handed on), waiting entries are refused, upstream labels are
    /// written off as undecided: nobody is there to be told.
    pub(super) fn on_link_down(&mut self, link: LinkId) {
        self.presence.on_link_down(link);
        let granted = self.granted.remove(&link);
        self.forget_payloads(link);
        let Some(mut state) = self.links.remove(&link) else {
            return;
        };
        self.stats.links = self.links.len() as u64;
        if granted {
            self.tell_workers(&Crossing::Ended { link });
        }
        self.deadlines.retain(|(_, l, ..)| *l != link);
        self.waits.retain(|(_, l, _)| *l != link);
        for class in Class::ALL {
            let waiting = std::mem::take(state.waiting_mut(class));
            self.refuse_waiting(waiting.into());
            let abandoned = state.outbound_mut(class).abandon();
            if mutant::is(Mutant::ForgetSettlementOnLinkLoss) {
                continue;
            }
            for origin in abandoned {
                self.settle_origin(origin, Code::UNDECIDED_LINK_LOST, &Default::default());
            }
        }
        for _ in 0..state.open_labels() {
            self.ledger.close_by_code(Code::UNDECIDED_LINK_LOST);
        }
    }

    /// Settlements before credit, so that a peer never sees room for an entry whose predecessor seems open.
    pub(super) fn end_turn(&mut self) {
        for (link, bytes) in self.settling.drain() {
            if self.links.contains_key(&link) {
                self.outputs.push_back(EngineOutput::Frame { link, lane: LaneKind::Settlement, bytes });
            }
        }
        for link in std::mem::take(&mut self.credited) {
            let Some(state) = self.links.get_mut(&link) else {
                continue;
            };
            let mut bytes = BytesMut::new();
            for class in Class::ALL {
                if let Some((entries, limit)) = state.inbound_mut(class).granted.take_update() {
                    SettlementFrame::Credit { class, entries, bytes: limit }.encode(&mut bytes);
                }
            }
            if !bytes.is_empty() {
                let bytes = bytes.freeze();
                self.outputs.push_back(EngineOutput::Frame { link, lane: LaneKind::Settlement, bytes });
            }
        }
    }
}
