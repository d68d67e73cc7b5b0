//! How does a large payload's stream begin, and how much of it may be under way? (WIRE 9)
//!
//! The stream has no frames: a head that names the label and the offset, then payload bytes, then FIN. Which labels are
//! detached, who wanted what and when a stream ends early is the engine's business.

use bytes::BytesMut;

use crate::class::Class;
use crate::code::FrameFault;
use crate::frame::{FrameDecoder, LaneKind};
use crate::part::MOST_ENTRIES;
use crate::settlement::Label;
use crate::varint;

/// Payload bytes that may be under way beyond the offset of the latest WANT, from the sender to whoever stores them, all
/// hops together (WIRE 9.4). Three quarters of 1 MiB: what a router holds of one payload stays below 1 MiB with the
/// transport's own overhead.
pub const WINDOW: u64 = 786_432;

/// The beginning of a stream of kind 4, after the varint of its kind (WIRE 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadHead {
    /// The detached entry.
    pub label: Label,
    /// Place of the first byte that follows, as the first WANT named it.
    pub offset: u64,
}

impl PayloadHead {
    /// Appends the kind of the stream and the head.
    pub fn encode(self, out: &mut BytesMut) {
        varint::encode(out, LaneKind::LargePayload.as_u64());
        self.label.put(out);
        varint::encode(out, self.offset);
    }
}

/// Reads a [`PayloadHead`] from a stream, whatever pieces it arrives in. The kind was read before.
#[derive(Debug, Default)]
pub struct PayloadHeadReader {
    fields: [u64; 4],
    read: usize,
}

impl PayloadHeadReader {
    /// The head, or `None` until more bytes arrive. What follows it is left in the decoder, for
    /// [`FrameDecoder::take_chunk`].
    ///
    /// # Errors
    /// [`FrameFault`] when the head does not parse: the link closes.
    pub fn next(&mut self, decoder: &mut FrameDecoder) -> Result<Option<PayloadHead>, FrameFault> {
        while let Some(field) = self.fields.get_mut(self.read) {
            // A class is one byte below 0x40, which is also a varint of one byte.
            let Some(value) = decoder.next_varint()? else { return Ok(None) };
            *field = value;
            self.read += 1;
        }
        let [class, sequence, index, offset] = self.fields;
        let class = Class::try_from(class).map_err(|error| malformed(&error.to_string()))?;
        let index = u16::try_from(index).ok().filter(|index| *index < MOST_ENTRIES);
        let index = index.ok_or_else(|| malformed("the index is above 255"))?;
        Ok(Some(PayloadHead { label: Label { class, sequence, index }, offset }))
    }
}

#[cold]
fn malformed(what: &str) -> FrameFault {
    FrameFault::malformed("WIRE 9.3", format!("the head of a payload stream: {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// Reads what `pieces` of `length` bytes bring; gives the head and what was left over.
    fn read(bytes: &[u8], length: usize) -> Result<Option<(PayloadHead, Vec<u8>)>, FrameFault> {
        let (mut decoder, mut reader) = (FrameDecoder::new(), PayloadHeadReader::default());
        let mut kind = None;
        for piece in bytes.chunks(length) {
            decoder.push(Bytes::copy_from_slice(piece));
            if kind.is_none() {
                kind = decoder.next_varint()?;
            }
            if kind.is_some()
                && let Some(head) = reader.next(&mut decoder)?
            {
                let rest = std::iter::from_fn(|| decoder.take_chunk()).flatten().collect();
                return Ok(Some((head, rest)));
            }
        }
        Ok(None)
    }

    proptest! {
        #[test]
        fn a_head_arrives_in_any_pieces_and_leaves_the_payload(
            class in 0..3u64, sequence in 0..=varint::MAX, index in 0..=255u16, offset in 0..=varint::MAX, piece in 1..30usize,
        ) {
            let label = Label { class: Class::try_from(class).unwrap(), sequence, index };
            let head = PayloadHead { label, offset };
            let mut bytes = BytesMut::new();
            head.encode(&mut bytes);
            let length = bytes.len();
            prop_assert_eq!(bytes.first(), Some(&4));
            prop_assert_eq!(read(&bytes, piece).unwrap(), Some((head, Vec::new())));
            for cut in 1..length {
                prop_assert_eq!(read(&bytes[..cut], piece).unwrap(), None);
            }
            bytes.extend_from_slice(b"payload");
            prop_assert_eq!(read(&bytes, length + 7).unwrap(), Some((head, b"payload".to_vec())));
        }
    }

    #[test]
    fn a_head_outside_its_ranges_is_a_fault() {
        for head in [&[4, 3, 0, 0, 0][..], &[4, 0, 0, 0x41, 0x00, 0], &[4, 0, 0x40, 0x01, 0, 0]] {
            let fault = read(head, 100).unwrap_err();
            assert_eq!(fault.code, crate::CloseCode::FrameMalformed, "{head:?}");
        }
    }
}
