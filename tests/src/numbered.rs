//! Payloads in which nothing can be swapped, repeated or left out unseen.

use bytes::Bytes;

/// Bytes that differ from place to place and from length to length: numbered pieces of 4 KiB.
pub fn bytes(length: usize) -> Bytes {
    let piece: Vec<u8> = (0..4_096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut bytes = Vec::with_capacity(length + piece.len());
    while bytes.len() < length {
        let number = bytes.len() as u64 ^ (length as u64) << 32;
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&piece);
    }
    bytes.truncate(length);
    bytes.into()
}
