//! Which labels did we send on this link, what stands behind each, and until when may they stay open (WIRE 8.1, 8.6)?
//!
//! Bounded by the credit of the link plus what passed its deadline in the last 30 s: those keep their subject, so that
//! a receipts frame that also names a late label can still be rebuilt.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::payload::WINDOW;
use kernpost_codecs::settlement::Label;
use kernpost_codecs::{Class, EndpointId, FrameFault, MessageId};

use crate::core::large::check_want;
use crate::core::outgoing::Ticket;

/// How long a label past its deadline keeps its subject, ms.
const GRACE_MS: u64 = 30_000;

/// What a label stands for.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub ticket: Ticket,
    pub sender: EndpointId,
    pub id: MessageId,
    pub leaf: Digest,
    pub statement: Bytes,
}

/// A detached entry: alone in its bundle, with a deadline that moves with its progress (WIRE 9.5).
#[derive(Debug)]
struct Large {
    label: Label,
    until_us: u64,
    /// Offset of the latest WANT.
    wanted: Option<u64>,
    settled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Settled,
    Late,
}

#[derive(Debug)]
struct SentBundle {
    /// By tree index.
    entries: Vec<(State, Sent)>,
    open: usize,
}

/// How a label stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Open,
    /// Settled or past its deadline: ignored and counted.
    Late,
    /// Never used: a frame fault.
    Unknown,
}

#[derive(Debug, Default)]
struct SentLane {
    next: u64,
    bundles: HashMap<u64, SentBundle, foldhash::fast::RandomState>,
    deadlines: VecDeque<(u64, u64)>,
    graces: VecDeque<(u64, u64)>,
    /// Bundles with open labels.
    under_way: usize,
}

/// The labels of one link.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    lanes: [SentLane; 3],
    open: usize,
    /// Bounded by [`crate::core::Limits::large_sending`], and those that settled until their deadline.
    large: Vec<Large>,
    /// Labels of large payloads that were wanted and no longer stand.
    ended: Vec<Label>,
}

impl Outbound {
    /// A bundle goes out; its entries are in the order of the tree. A `large` one is one detached entry.
    pub fn on_sent(&mut self, class: Class, entries: Vec<Sent>, deadline_us: u64, large: bool) {
        let open = entries.len();
        self.open += open;
        let Some(lane) = self.lanes.get_mut(class.index()) else { return };
        let sequence = lane.next;
        lane.next += 1;
        if large {
            let label = Label { class, sequence, index: 0 };
            self.large.push(Large { label, until_us: deadline_us, wanted: None, settled: false });
        } else {
            lane.deadlines.push_back((deadline_us, sequence));
        }
        lane.under_way += usize::from(open > 0);
        let entries = entries.into_iter().map(|sent| (State::Open, sent)).collect();
        lane.bundles.insert(sequence, SentBundle { entries, open });
    }

    /// How the label stands.
    pub fn standing(&self, label: &Label) -> Standing {
        let Some(lane) = self.lane(label.class) else { return Standing::Unknown };
        if label.sequence >= lane.next {
            return Standing::Unknown;
        }
        let Some(bundle) = lane.bundles.get(&label.sequence) else { return Standing::Late };
        match bundle.entries.get(usize::from(label.index)) {
            Some((State::Open, _)) => Standing::Open,
            Some(_) => Standing::Late,
            None => Standing::Unknown,
        }
    }

    /// What the label stands for, open or not, as long as it is remembered.
    pub fn sent(&self, label: &Label) -> Option<&Sent> {
        let bundle = self.lane(label.class)?.bundles.get(&label.sequence)?;
        bundle.entries.get(usize::from(label.index)).map(|(_, sent)| sent)
    }

    /// Settles an open label; `None` when it is not open.
    pub fn settle(&mut self, label: &Label) -> Option<Sent> {
        let lane = self.lanes.get_mut(label.class.index())?;
        let bundle = lane.bundles.get_mut(&label.sequence)?;
        let (state, sent) = bundle.entries.get_mut(usize::from(label.index))?;
        if *state != State::Open {
            return None;
        }
        *state = State::Settled;
        bundle.open -= 1;
        lane.under_way = lane.under_way.saturating_sub(usize::from(bundle.open == 0));
        self.open -= 1;
        let sent = sent.clone();
        if let Some(large) = self.large.iter_mut().find(|large| large.label == *label) {
            large.settled = true;
            self.ended.extend(large.wanted.map(|_| *label));
        }
        Some(sent)
    }

    /// Labels whose deadline has passed: they count as undecided from now on.
    pub fn handle_timeout(&mut self, now_us: u64) -> Vec<Sent> {
        let mut late = Vec::new();
        for lane in &mut self.lanes {
            while let Some((_, sequence)) = lane.graces.front().copied().filter(|(until, _)| *until <= now_us) {
                lane.graces.pop_front();
                lane.bundles.remove(&sequence);
            }
            while let Some((until, sequence)) = lane.deadlines.front().copied() {
                let Some(bundle) = lane.bundles.get_mut(&sequence) else {
                    lane.deadlines.pop_front();
                    continue;
                };
                if bundle.open > 0 && until > now_us {
                    break;
                }
                lane.deadlines.pop_front();
                if bundle.open == 0 {
                    lane.bundles.remove(&sequence);
                    continue;
                }
                for (state, sent) in bundle.entries.iter_mut().filter(|(state, _)| *state == State::Open) {
                    *state = State::Late;
                    late.push(sent.clone());
                }
                self.open -= bundle.open;
                bundle.open = 0;
                lane.under_way = lane.under_way.saturating_sub(1);
                lane.graces.push_back((until + GRACE_MS * 1_000, sequence));
            }
        }
        self.time_out_large(now_us, &mut late);
        late
    }

    fn time_out_large(&mut self, now_us: u64, late: &mut Vec<Sent>) {
        for large in self.large.extract_if(.., |large| large.until_us <= now_us) {
            let Label { class, sequence, .. } = large.label;
            let Some(lane) = self.lanes.get_mut(class.index()) else { continue };
            if large.settled {
                lane.bundles.remove(&sequence);
                continue;
            }
            let Some(bundle) = lane.bundles.get_mut(&sequence) else { continue };
            for (state, sent) in bundle.entries.iter_mut().filter(|(state, _)| *state == State::Open) {
                *state = State::Late;
                late.push(sent.clone());
            }
            self.open -= bundle.open;
            bundle.open = 0;
            lane.under_way = lane.under_way.saturating_sub(1);
            lane.graces.push_back((now_us + GRACE_MS * 1_000, sequence));
            self.ended.extend(large.wanted.map(|_| large.label));
        }
    }

    /// Bundles of a lane with labels that have not settled.
    pub fn under_way(&self, class: Class) -> usize {
        self.lane(class).map_or(0, |lane| lane.under_way)
    }

    /// Large payloads that are open.
    pub fn large(&self) -> usize {
        self.large.iter().filter(|large| !large.settled).count()
    }

    /// The payload of a label is wanted or was taken in up to `offset`, which moves its deadline: whether for the first time,
    /// or `None` when that is nothing new or the label no longer stands.
    pub fn on_want(&mut self, label: &Label, offset: u64, until_us: u64) -> Result<Option<bool>, FrameFault> {
        let open = self.standing(label) == Standing::Open;
        let Some(large) = self.large.iter_mut().find(|large| large.label == *label && !large.settled) else {
            // Only what is open and inline cannot be wanted.
            return if open { check_want(label, u64::MAX, 0).map(|()| None) } else { Ok(None) };
        };
        if let Some(earlier) = large.wanted {
            check_want(label, offset, earlier.saturating_add(WINDOW))?;
            if offset <= earlier {
                return Ok(None);
            }
        }
        large.until_us = until_us;
        Ok(Some(large.wanted.replace(offset).is_none()))
    }

    /// Labels of large payloads that were wanted and no longer stand, each once.
    pub fn take_ended(&mut self) -> Vec<Label> {
        std::mem::take(&mut self.ended)
    }

    /// Everything still open, when the link is gone.
    pub fn drain(&mut self) -> Vec<Sent> {
        let lanes = std::mem::take(&mut self.lanes);
        self.open = 0;
        let bundles = lanes.into_iter().flat_map(|lane| lane.bundles.into_values());
        let entries = bundles.flat_map(|bundle| bundle.entries);
        let mut open: Vec<Sent> = entries.filter(|(state, _)| *state == State::Open).map(|(_, sent)| sent).collect();
        open.sort_by_key(|sent| sent.ticket);
        open
    }

    /// The next deadline.
    pub fn poll_deadline(&self) -> Option<u64> {
        let fronts = self.lanes.iter().flat_map(|lane| [lane.deadlines.front(), lane.graces.front()]);
        let large = self.large.iter().map(|large| large.until_us);
        fronts.flatten().map(|(until, _)| *until).chain(large).min()
    }

    /// How many labels are open.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        self.open
    }

    fn lane(&self, class: Class) -> Option<&SentLane> {
        self.lanes.get(class.index())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;

    fn sent(n: u64) -> Sent {
        Sent {
            ticket: Ticket(n),
            sender: "sn/portal".parse().unwrap(),
            id: MessageId([0; 16]),
            leaf: Digest([0; 32]),
            statement: Bytes::new(),
        }
    }

    fn label(sequence: u64, index: u16) -> Label {
        Label { class: Class::Interactive, sequence, index }
    }

    #[test]
    fn a_label_settles_once() {
        let mut outbound = Outbound::default();
        outbound.on_sent(Class::Interactive, vec![sent(0), sent(1)], 100, false);
        assert!(outbound.settle(&label(0, 1)).is_some());
        assert!(outbound.settle(&label(0, 1)).is_none());
        assert_eq!(outbound.standing(&label(0, 1)), Standing::Late);
        assert_eq!(outbound.open(), 1);
    }

    #[test]
    fn a_label_never_used_is_unknown() {
        let mut outbound = Outbound::default();
        outbound.on_sent(Class::Interactive, vec![sent(0)], 100, false);
        assert_eq!(outbound.standing(&label(1, 0)), Standing::Unknown);
        assert_eq!(outbound.standing(&label(0, 1)), Standing::Unknown);
    }

    #[test]
    fn what_is_open_at_its_deadline_is_late_and_keeps_its_subject_for_a_while() {
        let mut outbound = Outbound::default();
        outbound.on_sent(Class::Interactive, vec![sent(0), sent(1)], 100, false);
        outbound.settle(&label(0, 0));
        assert_eq!(outbound.poll_deadline(), Some(100));
        assert_eq!(outbound.handle_timeout(100).len(), 1);
        assert!(outbound.sent(&label(0, 1)).is_some());
        assert_eq!(outbound.handle_timeout(100 + GRACE_MS * 1_000).len(), 0);
        assert!(outbound.sent(&label(0, 1)).is_none());
        assert_eq!((outbound.open(), outbound.poll_deadline()), (0, None));
    }

    #[test]
    fn a_lost_link_leaves_exactly_what_was_open() {
        let mut outbound = Outbound::default();
        outbound.on_sent(Class::Interactive, vec![sent(0), sent(1)], 100, false);
        outbound.on_sent(Class::Bulk, vec![sent(2)], 100, false);
        outbound.settle(&label(0, 0));
        let open: Vec<_> = outbound.drain().into_iter().map(|sent| sent.ticket.0).collect();
        assert_eq!(open, [1, 2]);
    }
}
