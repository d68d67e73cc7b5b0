//! Which tree and which signatures does a part belong to?
//!
//! The part head of WIRE §6 and the sibling hashes at its end, shared by BUNDLE and RECEIPTS frames.

use bytes::{BufMut, Bytes};
use smallvec::SmallVec;

use crate::body::{Body, prefixed_len, put_prefixed};
use crate::code::FrameFault;
use crate::digest::Digest;
use crate::root::RootSignature;
use crate::tree::{MAX_TREE_SIZE, MIN_TREE_SIZE};
use crate::varint;

/// The signatures of one root: one, or two where the directory requires two algorithms (WIRE 5.4).
pub type RootSignatures = SmallVec<[RootSignature; 2]>;

/// Most entries of a part (WIRE 6.4).
pub const MOST_ENTRIES: u16 = 256;

/// Most sibling hashes of a part (WIRE §6).
const MOST_SIBLINGS: u16 = 255;

/// Reads tree size and signatures. A header or signature of another length than known is no frame fault.
pub(crate) fn read_head(body: &mut Body) -> Result<(u16, RootSignatures), FrameFault> {
    let tree_size = body.number("tree size", MIN_TREE_SIZE..=MAX_TREE_SIZE)?;
    let count = body.number("signature count", 1..=2)?;
    let mut signatures = RootSignatures::new();
    for _ in 0..count {
        signatures.push(RootSignature {
            protected: prefixed(body, "protected header")?,
            signature: prefixed(body, "signature")?,
        });
    }
    Ok((tree_size, signatures))
}

fn prefixed(body: &mut Body, what: &str) -> Result<Bytes, FrameFault> {
    let length = body.length(what)?;
    body.take(length, what)
}

pub(crate) fn put_head(out: &mut impl BufMut, tree_size: u16, signatures: &[RootSignature]) {
    varint::encode(out, tree_size.into());
    varint::encode(out, signatures.len() as u64);
    for signature in signatures {
        put_prefixed(out, &signature.protected);
        put_prefixed(out, &signature.signature);
    }
}

pub(crate) fn head_len(tree_size: u16, signatures: &[RootSignature]) -> usize {
    let each =
        |signature: &RootSignature| prefixed_len(signature.protected.len()) + prefixed_len(signature.signature.len());
    varint::len(tree_size.into()) + varint::len(signatures.len() as u64) + signatures.iter().map(each).sum::<usize>()
}

/// The sibling hashes as they lie in the frame.
pub(crate) fn read_siblings(body: &mut Body) -> Result<Bytes, FrameFault> {
    let count = usize::from(body.number("sibling count", 0..=MOST_SIBLINGS)?);
    body.take(count * Digest::LEN, "sibling hashes")
}

/// Those bytes as hashes.
pub(crate) fn as_hashes(siblings: &[u8]) -> &[[u8; Digest::LEN]] {
    siblings.as_chunks().0
}

pub(crate) fn put_siblings(out: &mut impl BufMut, siblings: &[Digest]) {
    varint::encode(out, siblings.len() as u64);
    for hash in siblings {
        out.put_slice(&hash.0);
    }
}

pub(crate) const fn siblings_len(count: usize) -> usize {
    varint::len(count as u64) + count * Digest::LEN
}
