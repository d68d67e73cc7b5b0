//! What does a sealed value look like?
//!
//! Version (1 byte), segment (4, big endian), counter (8, big endian), ciphertext, tag (16). Authenticated beside it: what
//! kind of thing it is, version, keyspace, segment, the row's key with its length, and the identity.

use super::Row;

/// Bytes a sealed value is longer than the value.
pub const OVERHEAD: usize = HEAD + TAG;

pub(super) const HEAD: usize = 13;
pub(super) const TAG: usize = 16;
const VERSION: u8 = 1;

/// What precedes the ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) segment: u32,
    pub(super) counter: u64,
}

impl Head {
    pub(super) fn read(sealed: &[u8]) -> Option<Self> {
        let ([version, rest @ ..], _) = sealed.split_first_chunk::<HEAD>()?;
        let (segment, counter) = rest.split_first_chunk::<4>()?;
        let counter = counter.first_chunk::<8>()?;
        let head = Self { segment: u32::from_be_bytes(*segment), counter: u64::from_be_bytes(*counter) };
        (*version == VERSION && sealed.len() >= OVERHEAD).then_some(head)
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.segment.to_be_bytes());
        out.extend_from_slice(&self.counter.to_be_bytes());
    }

    /// The counter in the last 8 of 12 bytes: unique, because the key belongs to this segment alone.
    pub(super) fn nonce(self) -> [u8; 12] {
        let mut nonce = [0; 12];
        let (_, low) = nonce.split_at_mut(4);
        low.copy_from_slice(&self.counter.to_be_bytes());
        nonce
    }

    pub(super) fn associated(self, row: Row<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40 + row.key.len() + row.identity.len());
        bytes.extend_from_slice(b"kernpost spool value");
        bytes.push(VERSION);
        bytes.push(row.space.number());
        bytes.extend_from_slice(&self.segment.to_be_bytes());
        bytes.extend_from_slice(&(row.key.len() as u64).to_be_bytes());
        bytes.extend_from_slice(row.key);
        bytes.extend_from_slice(row.identity);
        bytes
    }
}
