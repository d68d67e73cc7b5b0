//! How is one entry proved years later, with third-party software?
//!
//! The archive form of WIRE 5.6, a standard COSE Receipt of inclusion (RFC 9942), and the file that keeps a receipt with
//! its proofs (WIRE 5.7). Checks hashes and signatures; whether the keys were the right ones is for the directory to say.

mod file;

pub use file::{ProofFile, Proven};

use bytes::Bytes;
use coset::cbor::value::Value;
use coset::{CoseSign1, Label, TaggedCborSerializable};

use crate::cbor::{CborError, CborFault, Reader, Writer};
use crate::digest::Digest;
use crate::key::{Algorithm, KeyId, PublicKey};
use crate::root::{RootFault, RootSignature};
use crate::statement::StatementError;
use crate::tree::{PartialTree, ProofFault, leaf_hash, root_from_path};

/// Longest COSE receipt read, in bytes.
pub const LONGEST_COSE_RECEIPT: usize = 8_192;

/// Unprotected header parameter: verifiable data structure proofs (RFC 9942).
const PROOFS: i64 = 396;
/// Its key for proofs of inclusion.
const INCLUSION: i64 = -1;
/// Tag of COSE_Sign1.
const SIGN1: u64 = 18;

/// A COSE receipt taken apart: signature and inclusion path of one entry. Unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoseReceipt {
    signature: RootSignature,
    tree_size: u16,
    index: u16,
    path: Vec<Digest>,
}

/// What a verified COSE receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveFacts {
    /// The algorithm of the signature.
    pub algorithm: Algorithm,
    /// The key that signed.
    pub kid: KeyId,
    /// The signed root.
    pub root: Digest,
    /// Leaves of the tree, as stated: not signed (WIRE 5.5).
    pub tree_size: u16,
    /// Index of the entry, as stated: not signed.
    pub index: u16,
}

/// Why an archived proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Not a COSE receipt in its one form.
    #[error("COSE receipt: {0} (WIRE 5.6)")]
    Form(&'static str),
    /// The proof file does not parse.
    #[error("proof file: {0} (WIRE 5.7)")]
    File(#[from] CborError),
    /// A statement does not parse.
    #[error("statement: {0}")]
    Statement(#[from] StatementError),
    /// The path does not fit.
    #[error(transparent)]
    Path(#[from] ProofFault),
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] RootFault),
    /// No key is known for a kid.
    #[error("key {0} is not known; give the directory that lists it")]
    UnknownKey(KeyId),
    /// The receipt is about another message than the one in the file.
    #[error("the receipt is about another message: {0} differs")]
    OtherMessage(&'static str),
}

/// The archive form of the entry at `index`: `None` when it is not an entry of `tree`. One for each signature of a root.
#[must_use]
pub fn archive(signature: &RootSignature, tree: &PartialTree, index: u16) -> Option<Vec<u8>> {
    let path = tree.path(index)?;
    Some(CoseReceipt { signature: signature.clone(), tree_size: tree.size(), index, path }.encode())
}

/// Checks that `key` signed `statement`, by its COSE receipt.
///
/// # Errors
/// [`ArchiveError`] says what does not hold.
pub fn verify_archive(bytes: &[u8], statement: &[u8], key: &PublicKey) -> Result<ArchiveFacts, ArchiveError> {
    CoseReceipt::parse(bytes)?.verify(statement, key)
}

impl CoseReceipt {
    /// Takes a COSE receipt of at most 8,192 bytes apart.
    ///
    /// # Errors
    /// [`ArchiveError::Form`] unless it is exactly what [`archive`] makes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArchiveError> {
        if bytes.len() > LONGEST_COSE_RECEIPT {
            return Err(ArchiveError::Form("longer than 8,192 bytes"));
        }
        let cose = CoseSign1::from_tagged_slice(bytes).map_err(|_| ArchiveError::Form("not a tagged COSE_Sign1"))?;
        let proof = inclusion_proof(&cose).ok_or(ArchiveError::Form("no single proof of inclusion in header 396"))?;
        let (tree_size, index, path) = read_proof(proof)
            .map_err(|_| ArchiveError::Form("the proof of inclusion is not [size, index, [+ hash]]"))?;
        let protected = cose.protected.original_data.unwrap_or_default();
        let signature = RootSignature { protected: protected.into(), signature: cose.signature.into() };
        let receipt = Self { signature, tree_size, index, path };
        if receipt.encode() != bytes {
            return Err(ArchiveError::Form("not in the one deterministic form, with payload nil"));
        }
        Ok(receipt)
    }

    /// The key that is said to have signed.
    ///
    /// # Errors
    /// [`RootFault::Protected`] when the protected header is not that of a root.
    pub fn kid(&self) -> Result<KeyId, RootFault> {
        self.signature.kid()
    }

    /// Checks that `key` signed `statement`.
    ///
    /// # Errors
    /// [`ArchiveError`] says what does not hold.
    pub fn verify(&self, statement: &[u8], key: &PublicKey) -> Result<ArchiveFacts, ArchiveError> {
        let Self { tree_size, index, .. } = *self;
        let root = root_from_path(tree_size, index, &leaf_hash(statement), &self.path)?;
        self.signature.verify(key, &root)?;
        Ok(ArchiveFacts { algorithm: key.algorithm(), kid: key.id(), root, tree_size, index })
    }

    fn encode(&self) -> Vec<u8> {
        let mut proof = Vec::with_capacity(16 + 34 * self.path.len());
        let mut writer = Writer::new(&mut proof);
        writer.array(3);
        writer.uint(self.tree_size.into());
        writer.uint(self.index.into());
        writer.array(self.path.len());
        self.path.iter().for_each(|hash| writer.bytes(&hash.0));

        let mut out = Vec::with_capacity(256 + proof.len());
        let mut writer = Writer::new(&mut out);
        writer.tag(SIGN1);
        writer.array(4);
        writer.bytes(&self.signature.protected);
        writer.map(1);
        writer.int(PROOFS);
        writer.map(1);
        writer.int(INCLUSION);
        writer.array(1);
        writer.bytes(&proof);
        writer.null();
        writer.bytes(&self.signature.signature);
        out
    }
}

/// The byte string in `{396: {-1: [bstr]}}`.
fn inclusion_proof(cose: &CoseSign1) -> Option<&[u8]> {
    let (_, proofs) = cose.unprotected.rest.iter().find(|(label, _)| *label == Label::Int(PROOFS))?;
    let [(kind, proofs)] = proofs.as_map()?.as_slice() else {
        return None;
    };
    let [proof] = proofs.as_array().filter(|_| *kind == Value::from(INCLUSION))?.as_slice() else {
        return None;
    };
    proof.as_bytes().map(Vec::as_slice)
}

fn read_proof(bytes: &[u8]) -> Result<(u16, u16, Vec<Digest>), CborError> {
    let mut reader = Reader::new(bytes);
    reader.array_of(3, "proof of inclusion")?;
    let tree_size = small(&mut reader, "tree size")?;
    let index = small(&mut reader, "index")?;
    let count = reader.array()?;
    let path = (0..count).map(|_| reader.fixed("path hash").map(Digest)).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok((tree_size, index, path))
}

fn small(reader: &mut Reader<'_>, what: &'static str) -> Result<u16, CborError> {
    let value = reader.uint_to(u16::MAX.into(), what)?;
    u16::try_from(value).map_err(|_| reader.fault(CborFault::Range(what)))
}

/// COSE receipts of one entry, one for each signature of its root.
fn archive_all(signatures: &[RootSignature], tree: &PartialTree, index: u16) -> Option<Vec<Bytes>> {
    signatures.iter().map(|signature| archive(signature, tree, index).map(Bytes::from)).collect()
}

#[cfg(test)]
mod tests;
