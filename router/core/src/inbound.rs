//! The receiving half of one bundle lane: labels given, credit granted, what is still open.

use std::collections::VecDeque;

use kernpost_codecs::settlement::Label;
use kernpost_codecs::{Class, Granted};

use crate::mutant::{self, Mutant};

/// The labels of one BUNDLE frame. Closing leaves a hole instead of moving what is behind it.
#[derive(Debug)]
struct InboundPart {
    /// (tree index, bytes charged), sorted by index; `None` once closed.
    labels: Vec<(u16, Option<u64>)>,
    /// Labels that are open.
    open: usize,
}

/// One lane from the peer to us.
#[derive(Debug)]
pub struct InboundLane {
    class: Class,
    /// Sequence of the front of `parts`.
    base: u64,
    /// Bounded by granted credit: an open label occupies credit.
    parts: VecDeque<InboundPart>,
    /// Credit granted to the peer.
    pub granted: Granted,
}

impl InboundLane {
    /// A lane that grants this window.
    pub fn new(class: Class, entries: u64, bytes: u64) -> Self {
        Self { class, base: 0, parts: VecDeque::new(), granted: Granted::new(entries, bytes) }
    }

    /// Opens the labels of the next frame and returns its sequence. `entries` are (tree index, bytes charged).
    pub fn open(&mut self, entries: impl Iterator<Item = (u16, u64)>) -> u64 {
        let sequence = self.base + self.parts.len() as u64;
        let labels: Vec<_> = entries.map(|(index, bytes)| (index, Some(bytes))).collect();
        self.parts.push_back(InboundPart { open: labels.len(), labels });
        sequence
    }

    /// Closes a label and returns its credit. False when it was not open.
    pub fn close(&mut self, label: Label) -> bool {
        debug_assert_eq!(label.class, self.class, "a label is closed on the lane of its class");
        let Some(bytes) = self.take(label) else {
            return false;
        };
        if !mutant::is(Mutant::CreditLeak) {
            self.granted.on_settled(bytes);
        }
        while self.parts.front().is_some_and(|part| part.open == 0) {
            self.parts.pop_front();
            self.base += 1;
        }
        true
    }

    fn take(&mut self, label: Label) -> Option<u64> {
        let place = usize::try_from(label.sequence.checked_sub(self.base)?).ok()?;
        let part = self.parts.get_mut(place)?;
        let at = part.labels.binary_search_by_key(&label.index, |(index, _)| *index).ok()?;
        let bytes = part.labels.get_mut(at)?.1.take()?;
        part.open -= 1;
        Some(bytes)
    }

    /// The sequence the next frame will have.
    pub fn next_sequence(&self) -> u64 {
        self.base + self.parts.len() as u64
    }

    /// Whether a label is open.
    pub fn is_open(&self, label: Label) -> bool {
        let place = label.sequence.checked_sub(self.base).and_then(|place| usize::try_from(place).ok());
        let labels = place.and_then(|place| self.parts.get(place)).map_or(&[][..], |part| &part.labels);
        let at = labels.binary_search_by_key(&label.index, |(index, _)| *index);
        at.ok().and_then(|at| labels.get(at)).is_some_and(|(_, charged)| charged.is_some())
    }

    /// How many labels are open.
    pub fn open_labels(&self) -> usize {
        self.parts.iter().map(|part| part.open).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn label(sequence: u64, index: u16) -> Label {
        Label { class: Class::Bulk, sequence, index }
    }

    /// A lane on which the peer sent frames with these (index, bytes).
    fn lane(frames: &[&[(u16, u64)]]) -> InboundLane {
        let mut lane = InboundLane::new(Class::Bulk, 10, 1_000_000);
        lane.granted.take_update();
        for frame in frames {
            for (_, bytes) in *frame {
                lane.granted.on_received(*bytes).unwrap();
            }
            lane.open(frame.iter().copied());
        }
        lane
    }

    #[test]
    fn a_label_closes_exactly_once() {
        let mut lane = lane(&[&[(0, 100), (7, 100)], &[(3, 100)]]);
        assert!(lane.close(label(1, 3)));
        assert!(!lane.close(label(1, 3)));
        assert!(lane.close(label(0, 7)));
        assert!(!lane.close(label(0, 5)));
        assert_eq!(lane.open_labels(), 1);
        assert!(lane.close(label(0, 0)));
        assert!(!lane.close(label(0, 0)));
        assert!(!lane.close(label(9, 0)));
    }

    #[test]
    fn sequences_go_on_when_earlier_frames_are_settled() {
        let mut lane = lane(&[&[(0, 100)], &[(1, 100)]]);
        assert!(lane.close(label(0, 0)));
        assert!(lane.close(label(1, 1)));
        assert_eq!(lane.open([(0, 1)].into_iter()), 2);
    }

    #[test]
    fn closing_a_label_returns_its_credit() {
        let mut lane = lane(&[&[(0, 100), (7, 200)]]);
        assert_eq!(lane.granted.in_use(), (2, 300));
        assert!(lane.close(label(0, 7)));
        assert_eq!(lane.granted.in_use(), (1, 100));
    }
}
