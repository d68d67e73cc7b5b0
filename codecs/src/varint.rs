//! How are numbers written outside CBOR? QUIC variable-length integers, shortest form only (WIRE 1.1).

use bytes::BufMut;
use thiserror::Error;

/// The largest number a varint can carry, 2^62 − 1.
pub const MAX: u64 = (1 << 62) - 1;

/// Why bytes are not a varint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VarintError {
    /// The bytes end inside the number.
    #[error("varint ends early")]
    Truncated,
    /// A shorter form of the number exists and has to be used.
    #[error("varint is not in its shortest form")]
    NotShortest,
}

/// Bytes the varint of `value` takes: 1, 2, 4 or 8.
#[must_use]
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value`. Values above [`MAX`] have no encoding; they are a mistake of the caller and are sent as `MAX`.
#[expect(clippy::cast_possible_truncation, reason = "each arm is bounded by its width")]
pub fn encode(out: &mut impl BufMut, value: u64) {
    debug_assert!(value <= MAX, "{value} does not fit a varint");
    match len(value) {
        1 => out.put_u8(value as u8),
        2 => out.put_u16(value as u16 | 0x4000),
        4 => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value.min(MAX) | 0xc000_0000_0000_0000),
    }
}

/// Reads one varint off the front of `input`, which is left alone on error.
///
/// # Errors
/// The input ends inside the number, or the form is longer than needed.
pub fn decode(input: &mut &[u8]) -> Result<u64, VarintError> {
    let (value, length) = peek(input)?.ok_or(VarintError::Truncated)?;
    *input = input.get(length..).unwrap_or_default();
    Ok(value)
}

/// The varint at the front of `input` and its length, or `None` while more bytes are needed.
///
/// # Errors
/// The form is longer than needed.
pub fn peek(input: &[u8]) -> Result<Option<(u64, usize)>, VarintError> {
    let Some(&first) = input.first() else {
        return Ok(None);
    };
    let length = 1usize << (first >> 6);
    if length == 1 {
        return Ok(Some((u64::from(first), 1)));
    }
    let Some(rest) = input.get(1..length) else {
        return Ok(None);
    };
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte));
    if len(value) == length { Ok(Some((value, length))) } else { Err(VarintError::NotShortest) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_9000_decode() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(decode(&mut &bytes[..]), Ok(value));
        }
    }

    #[test]
    fn a_longer_form_than_needed_is_refused() {
        assert_eq!(decode(&mut &[0x40, 0x25][..]), Err(VarintError::NotShortest));
        assert_eq!(decode(&mut &[0x80, 0, 0x3f, 0xff][..]), Err(VarintError::NotShortest));
    }

    proptest! {
        #[test]
        fn every_value_round_trips_in_its_length(value in 0..=MAX, shift in 0u32..62) {
            let value = value >> shift;
            let mut out = Vec::new();
            encode(&mut out, value);
            prop_assert_eq!(out.len(), len(value));
            prop_assert_eq!(decode(&mut &out[..]), Ok(value));
            prop_assert_eq!(peek(&out[..out.len() - 1]), Ok(None));
        }

        #[test]
        fn any_bytes_decode_to_what_encodes_to_them(bytes in proptest::collection::vec(any::<u8>(), 0..10)) {
            let mut rest = &bytes[..];
            if let Ok(value) = decode(&mut rest) {
                let mut out = Vec::new();
                encode(&mut out, value);
                prop_assert_eq!(&out[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
