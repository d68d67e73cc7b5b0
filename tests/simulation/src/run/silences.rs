//! What if a link is silent, if only one of its ends has given it up, or if what went over it comes again?

use kernpost_codecs::part::Part;
use kernpost_codecs::{FrameDecoder, LaneKind, MessageRef};
use rand::Rng;

use super::{PORTAL, Simulation};
use crate::mishap::Mishap;
use crate::network::{Connection, Event, Node, Stream};

impl Simulation {
    /// What was held back arrives now, in order.
    pub(super) fn on_heard(&mut self, connection: Connection, number: u64) -> Result<(), String> {
        for (to, stream, bytes) in self.network.heard(connection, number) {
            self.on_arrive(connection, to, stream, bytes)?;
        }
        Ok(())
    }

    /// Who has heard nothing for too long gives the link up. From then on its peer hears nothing either.
    pub(super) fn on_idle(
        &mut self,
        connection: Connection,
        at: Node,
        number: u64,
        idle_us: u64,
    ) -> Result<(), String> {
        if !self.network.is_silent(connection, at, number) {
            return Ok(());
        }
        self.given_up_by(connection, at, idle_us)
    }

    /// A side gives a link up; the other believes in it for at most so long.
    fn given_up_by(&mut self, connection: Connection, at: Node, longest_us: u64) -> Result<(), String> {
        let other = self.network.live.get(&connection).map(|link| link.ends.other(at));
        let doubts = |other: &Node| self.network.live.get(&connection).is_some_and(|link| !link.is_gone_at(*other));
        if let Some(other) = other.filter(doubts) {
            self.network.mishaps.note(Mishap::GivenUpByOne);
            let after = self.network.rng.random_range(longest_us / 4..=longest_us);
            self.network.after(after, Event::Lost { connection, at: other });
        }
        self.on_lost(connection, at)
    }

    /// The dialler gives up its link, as a process does that changes its network, and dials again.
    pub(super) fn on_half_dead(&mut self, from: Node, to: Node, for_us: u64) -> Result<(), String> {
        for connection in self.network.between(from, to) {
            if let Some(dialler) = self.network.live.get(&connection).map(|link| link.ends.dialler) {
                self.given_up_by(connection, dialler, for_us)?;
            }
        }
        Ok(())
    }

    /// Bundles of an earlier link arrive on this one as they were: its sender has given it up, so that nobody misses the labels.
    pub(super) fn on_replay(&mut self, from: Node, to: Node, for_us: u64) -> Result<(), String> {
        let Some((connection, frames)) = self.network.to_replay(from, to) else { return Ok(()) };
        self.given_up_by(connection, from, for_us)?;
        self.replayed_on.insert(connection);
        for (stream, bytes) in frames {
            for part in parts(stream, &bytes) {
                for message in part.entries().iter().filter_map(|entry| MessageRef::parse(&entry.statement).ok()) {
                    self.network.mishaps.note(Mishap::Replayed);
                    self.facts.replayed(message.id, self.network.now_us);
                }
            }
            self.network.replay(connection, to, stream, bytes);
        }
        Ok(())
    }

    /// Which message the portal means by which label of a link, so that a router's receipts can be told apart when it signs them.
    pub(super) fn note_labels(&mut self, connection: Connection, stream: Stream, bytes: &bytes::Bytes) {
        let from_portal =
            self.network.live.get(&connection).is_some_and(|link| link.ends.dialler == Node::Endpoint(PORTAL));
        let Stream::Lane(LaneKind::Bundle(class)) = stream else { return };
        if !from_portal {
            return;
        }
        for part in parts(stream, bytes) {
            let sequence = self.sequences.entry((connection, class)).or_insert(0);
            for entry in part.entries() {
                if let Ok(message) = MessageRef::parse(&entry.statement) {
                    self.labels.insert((connection, class, *sequence, entry.index), message.id);
                }
            }
            *sequence += 1;
            self.largest_bundle = self.largest_bundle.max(part.entries().len() as u64);
        }
    }
}

/// The bundles of what is on a lane.
pub(super) fn parts(stream: Stream, bytes: &bytes::Bytes) -> Vec<Part> {
    let Stream::Lane(LaneKind::Bundle(_)) = stream else { return Vec::new() };
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes.clone());
    let mut parts = Vec::new();
    while let Ok(Some(frame)) = decoder.next() {
        parts.extend(Part::decode(frame.body).ok());
    }
    parts
}
