//! What proves an outcome: the message and its receipt, each with the tree and signatures it was signed under.
//!
//! Kept as shared trees while the process lives; turned into standard COSE Receipts (WIRE 5.6) only when asked for.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::archive::{ProofFile, archive};
use kernpost_codecs::root::RootSignature;
use kernpost_codecs::statement::Receipt;
use kernpost_codecs::tree::PartialTree;
use smallvec::SmallVec;

/// The signatures over a root and the tree below it; shared by all entries of a bundle.
#[derive(Debug)]
pub struct TreeProof {
    /// One signature, or two.
    pub signatures: SmallVec<[RootSignature; 2]>,
    /// Every node hash known.
    pub tree: PartialTree,
}

impl TreeProof {
    /// The entry at `index` as standard COSE Receipts, one per signature.
    pub fn archive(&self, index: u16) -> Vec<Bytes> {
        let receipts = self.signatures.iter().filter_map(|signature| archive(signature, &self.tree, index));
        receipts.map(Bytes::from).collect()
    }
}

/// A statement with its place in a signed tree.
#[derive(Debug, Clone)]
pub struct SignedStatement {
    /// The statement, as signed.
    pub statement: Bytes,
    /// The tree it stands in.
    pub proof: Arc<TreeProof>,
    /// Its index there.
    pub index: u16,
}

impl SignedStatement {
    /// The standard COSE Receipts of this statement.
    pub fn archive(&self) -> Vec<Bytes> {
        self.proof.archive(self.index)
    }
}

/// A verified receipt together with the message it is about.
#[derive(Debug, Clone)]
pub struct ReceiptProof {
    /// The message, as last sent.
    pub message: SignedStatement,
    /// The receipt statement, as its issuer signed it.
    pub receipt: SignedStatement,
    /// The receipt, parsed.
    pub parsed: Receipt,
}

impl ReceiptProof {
    /// The file that `kernpost receipt verify` checks offline.
    pub fn to_file(&self) -> ProofFile {
        ProofFile {
            receipt: self.receipt.statement.clone(),
            receipt_proofs: self.receipt.archive(),
            message: Some((self.message.statement.clone(), self.message.archive())),
        }
    }
}
