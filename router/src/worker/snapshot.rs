//! What does a worker show of itself? A copy of its counts, published on its own thread; nobody waits for anybody.

use std::collections::BTreeMap;

use kernpost_codecs::{Class, CloseCode, LaneKind};
use kernpost_router_core::LinkId;
use kernpost_router_core::engine::LinkCounts;

use super::Worker;
use crate::link::Link;
use crate::observed::{EndedBy, HandshakeCounts, LinkSnapshot, WorkerSnapshot};

impl Worker {
    /// Replaces what is shown of this worker. Costs a few µs per link.
    pub(super) fn publish(&self) {
        self.shared.observed.publish_worker(self.id, self.snapshot());
    }

    fn snapshot(&self) -> WorkerSnapshot {
        let engine = self.engine.borrow();
        let links = self.links.borrow();
        let counts: BTreeMap<LinkId, LinkCounts> =
            engine.link_counts().into_iter().map(|counts| (counts.link, counts)).collect();
        let shown = counts.into_iter().filter_map(|(id, counts)| Some(show(links.get(&id)?, counts)));
        let bytes = |given: usize| u64::try_from(given).unwrap_or(u64::MAX);
        WorkerSnapshot {
            ledger: engine.ledger(),
            stats: engine.stats().clone(),
            links: shown.collect(),
            handshakes: HandshakeCounts {
                in_progress: bytes(self.gate.borrow().in_progress()),
                most_in_progress: bytes(self.gate.borrow().most_in_progress()),
                ..self.handshakes.get()
            },
            turned_us: self.turned_us.get(),
            ended: self.ended.borrow().clone(),
            listening: self.listening.clone(),
            socket_buffer_bytes: [bytes(self.buffers.receive), bytes(self.buffers.send)],
            taken_us: self.shared.clock.now().mono_us,
        }
    }

    /// Counts a link that was closed by this side and code, or lost.
    pub fn note_end(&self, closed: Option<(EndedBy, CloseCode)>) {
        let mut ended = self.ended.borrow_mut();
        match closed {
            Some(by_code) => *ended.closed.entry(by_code).or_default() += 1,
            None => ended.lost += 1,
        }
    }

    /// Counts something about connection attempts.
    pub(super) fn note_handshake(&self, note: impl FnOnce(&mut HandshakeCounts)) {
        let mut counts = self.handshakes.get();
        note(&mut counts);
        self.handshakes.set(counts);
    }
}

fn show(link: &Link, counts: LinkCounts) -> LinkSnapshot {
    LinkSnapshot {
        peer: link.peer(),
        remote: link.connection.remote_address(),
        counts,
        queued_bytes: Class::ALL.map(|class| link.queued(LaneKind::Bundle(class))),
        quic: (&link.connection.stats()).into(),
    }
}
