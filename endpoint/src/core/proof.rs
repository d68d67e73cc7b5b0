//! What proves an outcome: the message and its receipt, each with the tree and signatures it was signed under.
//!
//! Kept as shared trees while the process lives; turned into standard COSE Receipts (WIRE 5.6) only when asked for.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::archive::{ProofFile, archive};
use kernpost_codecs::root::RootSignature;
use kernpost_codecs::statement::{Receipt, StatementError};
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
    /// The receipt, parsed.
    pub parsed: Receipt,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    /// As they came: the trees are shared with the other entries of their bundles.
    Signed { message: SignedStatement, receipt: SignedStatement },
    /// As they were kept.
    Filed(Box<ProofFile>),
}

impl ReceiptProof {
    /// A message as last sent, and its receipt as its issuer signed it.
    pub(crate) fn new(message: SignedStatement, receipt: SignedStatement, parsed: Receipt) -> Self {
        Self { parsed, form: Form::Signed { message, receipt } }
    }

    /// A proof that was kept. Nothing is verified again.
    ///
    /// # Errors
    /// The file's receipt does not parse.
    pub fn from_file(file: ProofFile) -> Result<Self, StatementError> {
        Ok(Self { parsed: Receipt::parse(&file.receipt)?, form: Form::Filed(Box::new(file)) })
    }

    /// The file that `kernpost receipt verify` checks offline.
    pub fn to_file(&self) -> ProofFile {
        match &self.form {
            Form::Signed { message, receipt } => ProofFile {
                receipt: receipt.statement.clone(),
                receipt_proofs: receipt.archive(),
                message: Some((message.statement.clone(), message.archive())),
            },
            Form::Filed(file) => file.as_ref().clone(),
        }
    }
}
