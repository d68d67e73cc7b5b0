//! What does the settlement lane say? CREDIT, SETTLE, RECEIPTS and WANT (WIRE 7, 8, 9.1).
//!
//! Bodies only: which labels exist, what is still open and who may settle it is the engine's business. RECEIPTS has a
//! file of its own.

mod detail;
mod ranges;

use bytes::{BufMut, Bytes, BytesMut};

pub use detail::{Detail, LONGEST_DETAIL, LONGEST_TEXT};
pub use ranges::{Range, ranges_of};

use crate::body::{Body, prefixed_len, put_frame_head, put_prefixed};
use crate::class::Class;
use crate::code::{Code, FrameFault};
use crate::frame::frame_type;
use crate::part::MOST_ENTRIES;
use crate::receipts::ReceiptsFrame;
use crate::varint;

/// Which entry is meant, on one link: class and sequence of its BUNDLE frame and its tree index (WIRE §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// Priority class of the bundle lane.
    pub class: Class,
    /// Number of the frame on that lane, from 0, below 2^62.
    pub sequence: u64,
    /// Tree index, 0..=255.
    pub index: u16,
}

impl Label {
    pub(crate) fn read(body: &mut Body) -> Result<Self, FrameFault> {
        let class = body.class()?;
        let sequence = body.varint("sequence")?;
        let index = body.number("label index", 0..=MOST_ENTRIES - 1)?;
        Ok(Self { class, sequence, index })
    }

    pub(crate) fn put(self, out: &mut impl BufMut) {
        put_class(out, self.class);
        varint::encode(out, self.sequence);
        varint::encode(out, self.index.into());
    }

    pub(crate) fn encoded_len(self) -> usize {
        1 + varint::len(self.sequence) + varint::len(self.index.into())
    }
}

/// A frame of the settlement lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettlementFrame {
    /// Cumulative limits of one class since the link came up; they never go down (WIRE 7.1).
    Credit {
        /// The class.
        class: Class,
        /// Entries that may be sent in all, below 2^62.
        entries: u64,
        /// Bytes that may be sent in all, below 2^62.
        bytes: u64,
    },
    /// One unsigned outcome for many labels (WIRE 8).
    Settle(Settle),
    /// Signed outcomes under one root (WIRE 8.2).
    Receipts(ReceiptsFrame),
    /// The payload of a detached entry may be sent from `offset` on, or was taken in up to there (WIRE 9.2).
    Want {
        /// The detached entry.
        label: Label,
        /// First payload byte wanted.
        offset: u64,
    },
}

impl SettlementFrame {
    /// Reads the body of a frame of type `kind`; `None` for a type that is not of this lane.
    ///
    /// # Errors
    /// [`FrameFault`] when the body does not parse: the link closes.
    pub fn decode(kind: u64, body: Bytes) -> Result<Option<Self>, FrameFault> {
        let frame = match kind {
            frame_type::CREDIT => {
                let mut body = Body::new(body, "WIRE 7");
                let class = body.class()?;
                let (entries, bytes) = (body.varint("entries")?, body.varint("bytes")?);
                body.finish()?;
                Self::Credit { class, entries, bytes }
            }
            frame_type::SETTLE => Self::Settle(Settle::read(body)?),
            frame_type::RECEIPTS => Self::Receipts(ReceiptsFrame::decode(body)?),
            frame_type::WANT => {
                let mut body = Body::new(body, "WIRE 9.1");
                let label = Label::read(&mut body)?;
                let offset = body.varint("offset")?;
                body.finish()?;
                Self::Want { label, offset }
            }
            _ => return Ok(None),
        };
        Ok(Some(frame))
    }

    /// Appends the whole frame. A SETTLE with more than 256 ranges becomes several frames, one without ranges none.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Credit { class, entries, bytes } => {
                put_frame_head(out, frame_type::CREDIT, 1 + varint::len(*entries) + varint::len(*bytes));
                put_class(out, *class);
                varint::encode(out, *entries);
                varint::encode(out, *bytes);
            }
            Self::Settle(settle) => settle.encode(out),
            Self::Receipts(receipts) => receipts.encode(out),
            Self::Want { label, offset } => {
                put_frame_head(out, frame_type::WANT, label.encoded_len() + varint::len(*offset));
                label.put(out);
                varint::encode(out, *offset);
            }
        }
    }
}

/// One code for the labels of some ranges (WIRE 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// What is known of the entries.
    pub code: Code,
    /// Particulars, all optional.
    pub detail: Detail,
    /// The labels. At most 256 ranges in a received frame.
    pub ranges: Vec<Range>,
}

impl Settle {
    /// One code for `labels`, which are sorted and deduplicated here.
    #[must_use]
    pub fn new(code: Code, detail: Detail, mut labels: Vec<Label>) -> Self {
        labels.sort_unstable();
        labels.dedup();
        Self { code, detail, ranges: ranges_of(&labels) }
    }

    /// Every label, at most 65,536 in a received frame. Ranges may overlap; a label settles once (WIRE 8.1).
    pub fn labels(&self) -> impl Iterator<Item = Label> + '_ {
        self.ranges.iter().flat_map(Range::labels)
    }

    fn read(body: Bytes) -> Result<Self, FrameFault> {
        let mut body = Body::new(body, "WIRE 8");
        let code = Code(body.varint("code")?);
        let length = body.number("detail length", 0..=LONGEST_DETAIL)?;
        let detail = body.take(length.into(), "detail")?;
        let detail = Detail::read(&detail).map_err(|error| body.fault(&format!("detail: {error}")))?;
        let count = body.number("range count", 1..=Range::MOST)?;
        let ranges = (0..count).map(|_| Range::read(&mut body)).collect::<Result<_, _>>()?;
        body.finish()?;
        Ok(Self { code, detail, ranges })
    }

    /// Appends one frame for every 256 ranges.
    pub fn encode(&self, out: &mut BytesMut) {
        let detail = self.detail.encode();
        for ranges in self.ranges.chunks(Range::MOST.into()) {
            let length = varint::len(self.code.as_u64())
                + prefixed_len(detail.len())
                + varint::len(ranges.len() as u64)
                + ranges.iter().map(Range::encoded_len).sum::<usize>();
            put_frame_head(out, frame_type::SETTLE, length);
            varint::encode(out, self.code.as_u64());
            put_prefixed(out, &detail);
            varint::encode(out, ranges.len() as u64);
            ranges.iter().for_each(|range| range.put(out));
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a class is 0, 1 or 2")]
fn put_class(out: &mut impl BufMut, class: Class) {
    out.put_u8(class.as_u64() as u8);
}

#[cfg(test)]
mod tests;
