//! In which file does a receipt outlive the system that made it? (WIRE 5.7)

use bytes::Bytes;

use super::{ArchiveError, ArchiveFacts, CoseReceipt, LONGEST_COSE_RECEIPT, archive_all};
use crate::cbor::{CborError, CborFault, MapWriter, Reader, Writer};
use crate::key::{KeyId, PublicKey};
use crate::root::RootSignature;
use crate::statement::{LONGEST_RECEIPT, LONGEST_STATEMENT, MessageRef, Receipt};
use crate::tree::{PartialTree, leaf_hash};

/// Most COSE receipts of one statement: one for each signature of its root.
const MOST_PROOFS: usize = 2;

/// A receipt with what proves it, and the message it answers, if kept. Deterministic CBOR, as a file.
///
/// Personal: both statements name parties, the message's also case and mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// Key 1: the receipt's statement.
    pub receipt: Bytes,
    /// Key 2: COSE receipts of it, one or two.
    pub receipt_proofs: Vec<Bytes>,
    /// Keys 3 and 4: the message's statement and its COSE receipts, one or two.
    pub message: Option<(Bytes, Vec<Bytes>)>,
}

/// What a verified proof file proves: these keys signed. That they were the keys of issuer and sender, and the issuer
/// was responsible in the directory version stated, remains to be checked (WIRE 10.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The receipt.
    pub receipt: Receipt,
    /// Who signed it.
    pub receipt_signers: Vec<ArchiveFacts>,
    /// Who signed the message; empty when the file does not hold it.
    pub message_signers: Vec<ArchiveFacts>,
}

impl ProofFile {
    /// The file for the receipt at `index` of its tree; `None` when it is not an entry of that tree.
    #[must_use]
    pub fn new(receipt: Bytes, signatures: &[RootSignature], tree: &PartialTree, index: u16) -> Option<Self> {
        let receipt_proofs = archive_all(signatures, tree, index)?;
        Some(Self { receipt, receipt_proofs, message: None })
    }

    /// Adds the message, the entry at `index` of the bundle's tree; `None` when it is not an entry of that tree.
    #[must_use]
    pub fn with_message(
        self,
        statement: Bytes,
        signatures: &[RootSignature],
        tree: &PartialTree,
        index: u16,
    ) -> Option<Self> {
        let proofs = archive_all(signatures, tree, index)?;
        Some(Self { message: Some((statement, proofs)), ..self })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut map = MapWriter::new(&mut out);
        map.key(1).bytes(&self.receipt);
        put_proofs(map.key(2), &self.receipt_proofs);
        if let Some((statement, proofs)) = &self.message {
            map.key(3).bytes(statement);
            put_proofs(map.key(4), proofs);
        }
        map.finish();
        out
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`ArchiveError::File`] names the byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let mut reader = Reader::new(bytes);
        let mut keys = reader.map()?;
        let (mut receipt, mut receipt_proofs, mut statement, mut proofs) = (None, None, None, None);
        while let Some(key) = keys.next(&mut reader)? {
            match key {
                1 => receipt = Some(Bytes::copy_from_slice(reader.bytes_to(LONGEST_RECEIPT, "receipt")?)),
                2 => receipt_proofs = Some(read_proofs(&mut reader)?),
                3 => statement = Some(Bytes::copy_from_slice(reader.bytes_to(LONGEST_STATEMENT, "message")?)),
                4 => proofs = Some(read_proofs(&mut reader)?),
                _ => reader.skip()?,
            }
        }
        reader.finish()?;
        let missing = |what| reader.fault(CborFault::Range(what));
        let message = match (statement, proofs) {
            (Some(statement), Some(proofs)) => Some((statement, proofs)),
            (None, None) => None,
            _ => return Err(missing("message without proofs, or the reverse").into()),
        };
        Ok(Self {
            receipt: receipt.ok_or(missing("receipt"))?,
            receipt_proofs: receipt_proofs.ok_or(missing("receipt proofs"))?,
            message,
        })
    }

    /// Checks every proof with the key that `lookup` gives, and that the receipt is about the message.
    ///
    /// # Errors
    /// [`ArchiveError`] says what does not hold.
    pub fn verify(&self, lookup: impl Fn(&KeyId) -> Option<PublicKey>) -> Result<Proven, ArchiveError> {
        let receipt = Receipt::parse(&self.receipt)?;
        let receipt_signers = verify_all(&self.receipt, &self.receipt_proofs, &lookup)?;
        let mut message_signers = Vec::new();
        if let Some((statement, proofs)) = &self.message {
            message_signers = verify_all(statement, proofs, &lookup)?;
            let message = MessageRef::parse(statement)?;
            let differs = [
                (leaf_hash(statement) != receipt.subject, "the leaf hash"),
                (message.id != receipt.message, "the message id"),
                (message.sender != receipt.addressee.as_str(), "the sender"),
            ];
            if let Some((_, what)) = differs.into_iter().find(|(differs, _)| *differs) {
                return Err(ArchiveError::OtherMessage(what));
            }
        }
        Ok(Proven { receipt, receipt_signers, message_signers })
    }
}

fn verify_all(
    statement: &[u8],
    proofs: &[Bytes],
    lookup: &impl Fn(&KeyId) -> Option<PublicKey>,
) -> Result<Vec<ArchiveFacts>, ArchiveError> {
    let verify = |bytes: &Bytes| {
        let receipt = CoseReceipt::parse(bytes)?;
        let kid = receipt.kid()?;
        receipt.verify(statement, &lookup(&kid).ok_or(ArchiveError::UnknownKey(kid))?)
    };
    let facts = proofs.iter().map(verify).collect::<Result<Vec<_>, _>>()?;
    match &facts[..] {
        [first, second] if first.kid == second.kid => Err(ArchiveError::Form("both proofs are by the same key")),
        // One root is signed twice: proofs of two trees are not two signatures of one.
        [first, second] if first.root != second.root => Err(ArchiveError::Form("the proofs lead to different roots")),
        _ => Ok(facts),
    }
}

fn put_proofs(writer: &mut Writer<'_>, proofs: &[Bytes]) {
    writer.array(proofs.len());
    proofs.iter().for_each(|proof| writer.bytes(proof));
}

fn read_proofs(reader: &mut Reader<'_>) -> Result<Vec<Bytes>, CborError> {
    let count = reader.array()?;
    if !(1..=MOST_PROOFS).contains(&count) {
        return Err(reader.fault(CborFault::Range("number of proofs")));
    }
    (0..count).map(|_| reader.bytes_to(LONGEST_COSE_RECEIPT, "proof").map(Bytes::copy_from_slice)).collect()
}
