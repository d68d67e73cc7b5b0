//! Which large payloads are announced, wanted and under way on the links of one worker? (WIRE 9)
//!
//! ```text
//!  downstream link:  announced ──WANT──▶ wanted ──stream──▶ sending ──last byte──▶ waits for its settlement
//!  upstream link:                        expected ──stream──▶ receiving ──last byte──▶ the same
//! ```
//!
//! Book-keeping only: the bytes never come here, the shell moves them from stream to stream and says how many. Bounded by
//! [`crate::EngineConfig::large_payloads_per_link`] and [`crate::EngineConfig::large_payloads`] on the downstream side; on the
//! upstream side there is at most one for each of those.

use kernpost_codecs::payload::WINDOW;
use kernpost_codecs::settlement::Label;
use kernpost_codecs::{CloseCode, EndpointId, FrameFault};

use crate::collections::Map;
use crate::link::{LinkId, WorkerId};
use crate::now::Now;
use crate::outbound::Origin;

/// A label on the link it leaves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Downstream {
    /// The worker that owns the link.
    pub worker: WorkerId,
    /// The link.
    pub link: LinkId,
    /// The label on it.
    pub label: Label,
}

/// Where the bytes of a payload stream go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadWay {
    /// To this label, from the offset on at which the stream began.
    Onward(Downstream),
    /// Nowhere any more: the label has settled. Stop the stream.
    Settled,
}

/// What the reader of a payload stream does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadStep {
    /// Go on reading.
    More,
    /// That was the last byte: only FIN may follow.
    Last,
    /// The label has settled meanwhile: stop the stream.
    Settled,
    /// The link's budget of bytes is used up: hold these bytes for so many ms, then ask again.
    Pause(u64),
}

/// What a WANT means for a detached entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing new: ignored and counted.
    Stale,
    /// Progress that the upstream side need not hear of yet.
    Progress,
    /// To be told upstream.
    Tell,
}

/// A detached entry sent on a link of this worker and not settled.
#[derive(Debug)]
pub(crate) struct Announced {
    pub label: Label,
    pub origin: Origin,
    pub recipient: EndpointId,
    /// Payload bytes in all, as the statement says.
    pub length: u64,
    /// How long it may go without progress, ms.
    pub deadline_ms: u64,
    /// The deadline now in force, monotonic µs.
    pub deadline_us: u64,
    /// Offset of the latest WANT.
    wanted: Option<u64>,
    /// Offset last told upstream, and when, monotonic µs.
    told: (u64, u64),
    /// Payload bytes handed to the transport, counted from the beginning of the payload.
    sent: u64,
}

impl Announced {
    pub fn new(
        label: Label,
        origin: Origin,
        recipient: EndpointId,
        length: u64,
        deadline_ms: u64,
        deadline_us: u64,
    ) -> Self {
        Self { label, origin, recipient, length, deadline_ms, deadline_us, wanted: None, told: (0, 0), sent: 0 }
    }

    /// The recipient's side wants the payload from `offset` on, or has taken it in up to there (WIRE 9.2, 9.4).
    pub fn want(&mut self, now: Now, offset: u64) -> Result<Wanted, FrameFault> {
        match self.wanted {
            None if offset >= self.length => {
                return Err(beyond(self.label, offset, self.length));
            }
            None => self.sent = offset,
            Some(earlier) if offset <= earlier => return Ok(Wanted::Stale),
            Some(_) if offset > self.sent => return Err(beyond(self.label, offset, self.sent)),
            Some(_) => {}
        }
        let first = self.wanted.replace(offset).is_none();
        let (told, at_us) = self.told;
        // So many a payload at most: whoever tells every byte taken in does not make the router relay every byte.
        let due = first || offset == self.length || offset - told >= TELL_BYTES || now.mono_us >= at_us + TELL_US;
        if due {
            self.told = (offset, now.mono_us);
        }
        Ok(if due { Wanted::Tell } else { Wanted::Progress })
    }
}

/// A detached entry that arrived on a link of this worker and is wanted.
#[derive(Debug)]
struct Expected {
    label: Label,
    length: u64,
    /// Where the first WANT began.
    first: u64,
    /// Payload bytes received, counted from the beginning of the payload.
    received: u64,
    /// Payload bytes that may have been received by now.
    limit: u64,
    onward: Downstream,
    opened: bool,
    /// Its stream ended before its last byte.
    lost: bool,
}

impl Expected {
    fn is_under_way(&self) -> bool {
        self.opened && !self.lost && self.received < self.length
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct LargePayloads {
    announced: Map<LinkId, Vec<Announced>>,
    expected: Map<LinkId, Vec<Expected>>,
    /// Largest payload the peer of a link accepts; 65,536 for those that have not said.
    accepts: Map<LinkId, u64>,
    /// How many are announced on all links.
    count: usize,
}

/// The downstream side.
impl LargePayloads {
    pub fn set_accepts(&mut self, link: LinkId, bytes: u64) {
        self.accepts.insert(link, bytes);
    }

    /// The largest payload the peer of this link takes.
    pub fn accepts(&self, link: LinkId) -> u64 {
        self.accepts.get(&link).copied().unwrap_or(kernpost_codecs::part::LONGEST_INLINE_PAYLOAD as u64)
    }

    /// Detached entries open on all links.
    pub fn announced(&self) -> usize {
        self.count
    }

    /// Detached entries open on a link: in all, from this upstream link, and for this endpoint.
    pub fn held(&self, link: LinkId, upstream: LinkId, recipient: &EndpointId) -> (u64, u64, u64) {
        let on_link = self.announced.get(&link).map(Vec::as_slice).unwrap_or_default();
        let of_upstream = on_link.iter().filter(|held| held.origin.link == upstream).count();
        let of_endpoint = on_link.iter().filter(|held| held.recipient == *recipient).count();
        (on_link.len() as u64, of_upstream as u64, of_endpoint as u64)
    }

    pub fn announce(&mut self, link: LinkId, announced: Announced) {
        self.announced.entry(link).or_default().push(announced);
        self.count += 1;
    }

    pub fn announced_mut(&mut self, link: LinkId, label: Label) -> Option<&mut Announced> {
        self.announced.get_mut(&link)?.iter_mut().find(|held| held.label == label)
    }

    /// So many more bytes go to the transport; false when the label has settled.
    pub fn on_sent(&mut self, link: LinkId, label: Label, bytes: u64) -> bool {
        match self.announced_mut(link, label) {
            Some(held) => {
                held.sent = held.sent.saturating_add(bytes).min(held.length);
                true
            }
            None => false,
        }
    }

    /// Forgets a detached entry; true when there may be a stream of it.
    pub fn close_announced(&mut self, link: LinkId, label: Label) -> bool {
        let Some(on_link) = self.announced.get_mut(&link) else { return false };
        let Some(at) = on_link.iter().position(|held| held.label == label) else { return false };
        let held = on_link.swap_remove(at);
        if on_link.is_empty() {
            self.announced.remove(&link);
        }
        self.count = self.count.saturating_sub(1);
        held.wanted.is_some()
    }
}

/// The upstream side.
impl LargePayloads {
    /// The payload of this label is wanted from `offset` on, or has been taken in up to there.
    pub fn expect(&mut self, link: LinkId, label: Label, offset: u64, length: u64, onward: Downstream) {
        let limit = offset.saturating_add(WINDOW).min(length);
        let on_link = self.expected.entry(link).or_default();
        match on_link.iter_mut().find(|held| held.label == label) {
            Some(held) => held.limit = held.limit.max(limit),
            None => {
                on_link.push(Expected {
                    label,
                    length,
                    first: offset,
                    received: offset,
                    limit,
                    onward,
                    opened: false,
                    lost: false,
                });
            }
        }
    }

    /// The peer opens the stream of a wanted payload; `None`: nothing is wanted under this label.
    pub fn open(&mut self, link: LinkId, label: Label, offset: u64) -> Option<Result<Downstream, FrameFault>> {
        let held = self.expected_mut(link, label)?;
        if held.opened {
            return Some(Err(FrameFault::unexpected("WIRE 9.3", format!("a second stream for {label:?}"))));
        }
        if held.first != offset {
            let detail = format!("a stream for {label:?} from {offset} on, wanted from {} on", held.first);
            return Some(Err(FrameFault::unexpected("WIRE 9.3", detail)));
        }
        held.opened = true;
        Some(Ok(held.onward))
    }

    /// So many bytes arrived; more than the window allows is a fault (WIRE 9.4).
    pub fn receive(&mut self, link: LinkId, label: Label, bytes: u64) -> Result<PayloadStep, FrameFault> {
        let held = self.expected_mut(link, label).filter(|held| !held.lost);
        let Some(held) = held else { return Ok(PayloadStep::Settled) };
        let received = held.received.saturating_add(bytes);
        if received > held.limit {
            let detail = format!("{received} payload bytes for {label:?}, at most {} may have come", held.limit);
            return Err(FrameFault::new(CloseCode::CreditExceeded, "WIRE 9.4", detail));
        }
        held.received = received;
        Ok(if received == held.length { PayloadStep::Last } else { PayloadStep::More })
    }

    /// The stream ended or nobody takes its bytes; true when that is before its last byte.
    pub fn lose(&mut self, link: LinkId, label: Label) -> bool {
        let Some(held) = self.expected_mut(link, label) else { return false };
        let early = held.is_under_way();
        held.lost |= early;
        early
    }

    /// Forgets a payload. `Some` when its stream was opened: whether it is under way.
    pub fn close_expected(&mut self, link: LinkId, label: Label) -> Option<bool> {
        let on_link = self.expected.get_mut(&link)?;
        let at = on_link.iter().position(|held| held.label == label)?;
        let held = on_link.swap_remove(at);
        if on_link.is_empty() {
            self.expected.remove(&link);
        }
        held.opened.then_some(held.is_under_way())
    }

    fn expected_mut(&mut self, link: LinkId, label: Label) -> Option<&mut Expected> {
        self.expected.get_mut(&link)?.iter_mut().find(|held| held.label == label)
    }

    /// Whether nothing is announced or expected on any link: the common case, asked before every look.
    pub fn is_empty(&self) -> bool {
        self.announced.is_empty() && self.expected.is_empty()
    }

    /// The link is gone with all its streams: how many of those that arrived on it had not come to their end.
    pub fn forget(&mut self, link: LinkId) -> usize {
        self.accepts.remove(&link);
        self.count = self.count.saturating_sub(self.announced.remove(&link).map_or(0, |held| held.len()));
        let expected = self.expected.remove(&link).unwrap_or_default();
        expected.iter().filter(|held| held.is_under_way()).count()
    }
}

#[cold]
fn beyond(label: Label, offset: u64, most: u64) -> FrameFault {
    FrameFault::unexpected("WIRE 9.2", format!("WANT for {label:?} at {offset}, of {most} bytes"))
}

/// Progress from which on the upstream side is told at once, bytes.
const TELL_BYTES: u64 = WINDOW / 8;
/// After this time it is told of any progress, µs.
const TELL_US: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use kernpost_codecs::{Class, UnixMs};

    use super::*;

    const LINK: LinkId = LinkId(1);

    fn label(sequence: u64) -> Label {
        Label { class: Class::Bulk, sequence, index: 0 }
    }

    fn at_ms(ms: u64) -> Now {
        Now { mono_us: ms * 1_000, wall: UnixMs(0) }
    }

    fn announced(length: u64) -> Announced {
        let origin = Origin { worker: WorkerId(0), link: LinkId(7), label: label(0) };
        Announced::new(label(0), origin, "de/office".parse().unwrap(), length, 30_000, 0)
    }

    fn expecting(length: u64, offset: u64) -> LargePayloads {
        let mut large = LargePayloads::default();
        let onward = Downstream { worker: WorkerId(0), link: LinkId(2), label: label(9) };
        large.expect(LINK, label(0), offset, length, onward);
        large
    }

    #[test]
    fn a_want_goes_forward_and_never_beyond_what_was_sent() {
        let mut payload = announced(10 * WINDOW);
        assert_eq!(payload.want(at_ms(0), 100).unwrap(), Wanted::Tell);
        assert_eq!(payload.want(at_ms(0), 100).unwrap(), Wanted::Stale);
        assert!(payload.want(at_ms(0), 101).is_err());
        payload.sent += TELL_BYTES;
        assert_eq!(payload.want(at_ms(1), 101).unwrap(), Wanted::Progress);
        assert_eq!(payload.want(at_ms(1), 100 + TELL_BYTES).unwrap(), Wanted::Tell);
    }

    #[test]
    fn the_first_want_is_below_the_length() {
        assert!(announced(100).want(at_ms(0), 100).is_err());
        assert!(announced(100).want(at_ms(0), 99).is_ok());
    }

    #[test]
    fn slow_progress_is_told_once_a_second() {
        let mut payload = announced(10 * WINDOW);
        payload.want(at_ms(0), 0).unwrap();
        payload.sent = 100;
        let told = |payload: &mut Announced, ms, offset| payload.want(at_ms(ms), offset).unwrap() == Wanted::Tell;
        assert!(!told(&mut payload, 999, 1));
        assert!(told(&mut payload, 1_000, 2));
        assert!(!told(&mut payload, 1_999, 3));
    }

    #[test]
    fn no_byte_beyond_the_window_is_taken() {
        let mut large = expecting(10 * WINDOW, 5);
        assert!(large.open(LINK, label(0), 5).unwrap().is_ok());
        assert_eq!(large.receive(LINK, label(0), WINDOW).unwrap(), PayloadStep::More);
        assert_eq!(large.receive(LINK, label(0), 1).unwrap_err().code, CloseCode::CreditExceeded);
        let onward = Downstream { worker: WorkerId(0), link: LinkId(2), label: label(9) };
        large.expect(LINK, label(0), 6, 10 * WINDOW, onward);
        assert_eq!(large.receive(LINK, label(0), 1).unwrap(), PayloadStep::More);
    }

    #[test]
    fn no_byte_beyond_the_payload_is_taken() {
        let mut large = expecting(100, 90);
        assert!(large.open(LINK, label(0), 90).unwrap().is_ok());
        assert_eq!(large.receive(LINK, label(0), 10).unwrap(), PayloadStep::Last);
        assert!(large.receive(LINK, label(0), 1).is_err());
    }

    #[test]
    fn a_stream_opens_once_at_the_offset_wanted_under_a_label_that_is_wanted() {
        let mut large = expecting(100, 90);
        assert!(large.open(LINK, label(1), 90).is_none());
        assert!(large.open(LinkId(5), label(0), 90).is_none());
        assert!(large.open(LINK, label(0), 0).unwrap().is_err());
        assert!(large.open(LINK, label(0), 90).unwrap().is_ok());
        assert!(large.open(LINK, label(0), 90).unwrap().is_err());
    }

    #[test]
    fn what_was_received_whole_needs_no_end_and_leaves_nothing_behind() {
        let mut large = expecting(100, 0);
        large.open(LINK, label(0), 0).unwrap().unwrap();
        large.receive(LINK, label(0), 99).unwrap();
        assert_eq!(large.forget(LINK), 1);
        let mut large = expecting(100, 0);
        large.open(LINK, label(0), 0).unwrap().unwrap();
        large.receive(LINK, label(0), 100).unwrap();
        assert_eq!(large.close_expected(LINK, label(0)), Some(false));
        assert_eq!(large.close_expected(LINK, label(0)), None);
        assert!(large.is_empty());
    }
}
