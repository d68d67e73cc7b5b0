//! How are many labels named in few bytes? (WIRE 8, `range`)

use bytes::BufMut;

use super::{Label, put_class};
use crate::body::Body;
use crate::class::Class;
use crate::code::FrameFault;
use crate::part::MOST_ENTRIES;
use crate::varint;

/// Consecutive indices of one BUNDLE frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range {
    /// Class of the bundle lane.
    pub class: Class,
    /// Number of the frame on that lane.
    pub sequence: u64,
    /// First tree index.
    pub first: u16,
    /// How many, 1..=256; the last index is at most 255.
    pub count: u16,
}

impl Range {
    /// Most ranges of a frame.
    pub const MOST: u16 = 256;

    /// The labels of this range.
    pub fn labels(&self) -> impl Iterator<Item = Label> + use<> {
        let Self { class, sequence, first, count } = *self;
        (first..first.saturating_add(count)).map(move |index| Label { class, sequence, index })
    }

    pub(super) fn read(body: &mut Body) -> Result<Self, FrameFault> {
        let class = body.class()?;
        let sequence = body.varint("sequence")?;
        let first = body.number("first index", 0..=MOST_ENTRIES - 1)?;
        let count = body.number("count", 1..=MOST_ENTRIES - first)?;
        Ok(Self { class, sequence, first, count })
    }

    pub(super) fn put(&self, out: &mut impl BufMut) {
        put_class(out, self.class);
        varint::encode(out, self.sequence);
        varint::encode(out, self.first.into());
        varint::encode(out, self.count.into());
    }

    pub(super) fn encoded_len(&self) -> usize {
        1 + varint::len(self.sequence) + varint::len(self.first.into()) + varint::len(self.count.into())
    }

    fn extend(&mut self, label: &Label) -> bool {
        let next = (self.class, self.sequence, self.first + self.count);
        let fits = next == (label.class, label.sequence, label.index);
        self.count += u16::from(fits);
        fits
    }
}

/// The fewest ranges for `labels`, which are sorted and without repetition.
#[must_use]
pub fn ranges_of(labels: &[Label]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for label in labels {
        if !ranges.last_mut().is_some_and(|range| range.extend(label)) {
            let Label { class, sequence, index } = *label;
            ranges.push(Range { class, sequence, first: index, count: 1 });
        }
    }
    ranges
}
