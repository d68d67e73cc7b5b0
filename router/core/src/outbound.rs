//! The sending half of one bundle lane: credit we may use, labels we wait for, and who holds how much of it.

use std::collections::VecDeque;

use kernpost_codecs::settlement::Label;
use kernpost_codecs::{Allowance, Digest, EndpointId, MessageId};

use crate::collections::Map;
use crate::link::{LinkId, WorkerId};

/// Where an entry came from: the label that has to be settled upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The worker that owns the upstream link.
    pub worker: WorkerId,
    /// The upstream link.
    pub link: LinkId,
    /// Its label there.
    pub label: Label,
}

/// A forwarded entry that has not settled.
#[derive(Debug, Clone)]
pub struct OutboundEntry {
    /// Tree index: the label's last part.
    pub index: u16,
    /// What to settle upstream.
    pub origin: Origin,
    /// The sender of the message: addressee of its receipt.
    pub addressee: EndpointId,
    /// The message.
    pub message: MessageId,
    /// Leaf hash of its statement: subject of its receipt.
    pub leaf: Digest,
    /// The endpoint it was sent to: the only party whose receipt counts here.
    pub recipient: EndpointId,
    /// Bytes of credit it occupies.
    pub cost: u64,
    /// It is a late receipt: it settles *noted*, and no receipt answers it.
    pub late: bool,
    /// The deadline passed and the origin was told *undecided*; kept so that a late RECEIPTS frame can be rebuilt.
    pub timed_out: bool,
}

/// The labels of one BUNDLE frame sent. Settling leaves a hole instead of moving what is behind it.
#[derive(Debug)]
struct OutboundPart {
    /// Monotonic µs.
    deadline_us: u64,
    /// Sorted by index; `None` once settled.
    entries: Vec<(u16, Option<OutboundEntry>)>,
    /// Entries that have not settled.
    open: usize,
}

impl OutboundPart {
    fn position(&self, index: u16) -> Option<usize> {
        self.entries.binary_search_by_key(&index, |(index, _)| *index).ok()
    }
}

/// Entries and bytes one holder occupies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Entries in flight.
    pub entries: u64,
    /// Bytes in flight.
    pub bytes: u64,
}

impl Share {
    /// Whether `cost` more bytes in one more entry stay within `1/of` of `whole`; one entry alone is always allowed.
    pub fn admits(&self, cost: u64, whole: Share, of: u64) -> bool {
        self.entries == 0
            || (self.entries < (whole.entries / of).max(1) && self.bytes + cost <= (whole.bytes / of).max(cost))
    }
}

/// What became of a label the peer settles.
#[derive(Debug)]
pub enum Found {
    /// Never used: the peer is at fault.
    Never,
    /// Settled before: ignore and count.
    Late,
    /// Past its deadline: upstream was told long ago, and now it need not be kept any more.
    Overdue,
    /// Open until now; taken out.
    Open(OutboundEntry),
}

/// One lane from us to the peer.
#[derive(Debug, Default)]
pub struct OutboundLane {
    base: u64,
    /// Bounded by the peer's credit: its entries occupy it until the peer settles them.
    parts: VecDeque<OutboundPart>,
    /// Credit the peer granted.
    pub allowance: Allowance,
    by_endpoint: Map<EndpointId, Share>,
    by_upstream: Map<LinkId, Share>,
    held: Share,
    /// (deadline µs, sequence) of frames whose last label settled, until the engine takes them.
    done: Vec<(u64, u64)>,
}

impl OutboundLane {
    /// The sequence the next BUNDLE frame will have.
    pub fn next_sequence(&self) -> u64 {
        self.base + self.parts.len() as u64
    }

    /// Everything the peer granted that has not come back: free plus in flight.
    pub fn window(&self) -> Share {
        let (entries, bytes) = self.allowance.available();
        Share { entries: entries + self.held.entries, bytes: bytes + self.held.bytes }
    }

    /// What one endpoint holds of this lane.
    pub fn share_of_endpoint(&self, endpoint: &EndpointId) -> Share {
        self.by_endpoint.get(endpoint).copied().unwrap_or_default()
    }

    /// What entries of one upstream link hold of this lane.
    pub fn share_of_upstream(&self, upstream: LinkId) -> Share {
        self.by_upstream.get(&upstream).copied().unwrap_or_default()
    }

    /// Takes credit for one entry. False when the peer's credit does not allow it.
    pub fn reserve(&mut self, recipient: &EndpointId, upstream: LinkId, cost: u64) -> bool {
        if !self.allowance.try_spend(1, cost) {
            return false;
        }
        for share in [
            self.by_endpoint.entry(recipient.clone()).or_default(),
            self.by_upstream.entry(upstream).or_default(),
            &mut self.held,
        ] {
            share.entries += 1;
            share.bytes += cost;
        }
        true
    }

    /// Opens the labels of a frame just sent, sorted by index; their credit was reserved before.
    pub fn open(&mut self, deadline_us: u64, entries: impl Iterator<Item = OutboundEntry>) -> u64 {
        let sequence = self.next_sequence();
        let entries: Vec<_> = entries.map(|entry| (entry.index, Some(entry))).collect();
        self.parts.push_back(OutboundPart { deadline_us, open: entries.len(), entries });
        sequence
    }

    /// Looks a label up without settling it.
    pub fn peek(&self, label: Label) -> Option<&OutboundEntry> {
        let part = self.parts.get(self.place(label.sequence)?)?;
        part.entries.get(part.position(label.index)?)?.1.as_ref()
    }

    /// The peer settled this label.
    pub fn settle(&mut self, label: Label) -> Found {
        if label.sequence >= self.next_sequence() {
            return Found::Never;
        }
        let Some(entry) = self.take(label) else {
            return Found::Late;
        };
        self.unreserve(&entry.recipient, entry.origin.link, entry.cost);
        while self.parts.front().is_some_and(|part| part.open == 0) {
            self.parts.pop_front();
            self.base += 1;
        }
        if entry.timed_out { Found::Overdue } else { Found::Open(entry) }
    }

    fn take(&mut self, label: Label) -> Option<OutboundEntry> {
        let place = self.place(label.sequence)?;
        let part = self.parts.get_mut(place)?;
        let at = part.position(label.index)?;
        let entry = part.entries.get_mut(at)?.1.take()?;
        part.open -= 1;
        if part.open == 0 {
            self.done.push((part.deadline_us, label.sequence));
        }
        Some(entry)
    }

    fn place(&self, sequence: u64) -> Option<usize> {
        usize::try_from(sequence.checked_sub(self.base)?).ok()
    }

    /// Frames whose last label settled since the last call: their deadlines need not be watched any longer.
    pub fn take_done(&mut self) -> std::vec::Drain<'_, (u64, u64)> {
        self.done.drain(..)
    }

    /// Moves the deadline of a frame that made progress.
    pub fn set_deadline(&mut self, sequence: u64, deadline_us: u64) {
        if let Some(part) = self.place(sequence).and_then(|place| self.parts.get_mut(place)) {
            part.deadline_us = deadline_us;
        }
    }

    /// The deadline of this frame passed: every open label's origin, each once.
    pub fn time_out(&mut self, sequence: u64) -> Vec<Origin> {
        let Some(part) = self.place(sequence).and_then(|place| self.parts.get_mut(place)) else {
            return Vec::new();
        };
        let open = part.entries.iter_mut().filter_map(|(_, entry)| entry.as_mut()).filter(|entry| !entry.timed_out);
        open.map(|entry| {
            entry.timed_out = true;
            entry.origin
        })
        .collect()
    }

    /// The link is gone: every open label's origin.
    pub fn abandon(&mut self) -> Vec<Origin> {
        let entries = self.parts.drain(..).flat_map(|part| part.entries).filter_map(|(_, entry)| entry);
        entries.filter(|entry| !entry.timed_out).map(|entry| entry.origin).collect()
    }

    /// Labels open on this lane, timed out ones included.
    pub fn in_flight(&self) -> u64 {
        self.held.entries
    }

    /// An entry that held credit was not sent after all. The peer's cumulative count cannot go back, so only the shares do.
    pub fn unreserve(&mut self, recipient: &EndpointId, upstream: LinkId, cost: u64) {
        give_back(&mut self.by_endpoint, recipient, cost);
        give_back(&mut self.by_upstream, &upstream, cost);
        self.held.entries = self.held.entries.saturating_sub(1);
        self.held.bytes = self.held.bytes.saturating_sub(cost);
    }
}

/// Takes one entry from a holder's share and forgets holders of nothing, so the map stays as small as the credit.
fn give_back<K: std::hash::Hash + Eq>(shares: &mut Map<K, Share>, holder: &K, cost: u64) {
    if let Some(share) = shares.get_mut(holder) {
        share.entries = share.entries.saturating_sub(1);
        share.bytes = share.bytes.saturating_sub(cost);
        if share.entries == 0 {
            shares.remove(holder);
        }
    }
}
