//! What became of a label: a receipt, or an unsigned settlement.

use kernpost_codecs::{Code, Detail, Digest, Outcome, Party, PublicKey, RootSignature};

/// What became of a label.
#[derive(Debug, Clone)]
pub enum Settled {
    /// Signed evidence.
    Receipt(Receipt),
    /// An unsigned settlement.
    Code(Code, Detail),
}

/// A receipt, rebuilt from its label.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// What it says.
    pub outcome: Outcome,
    /// The application's code.
    pub code: u64,
    /// The problem, if any.
    pub problem: Option<String>,
    /// Who issued it.
    pub issuer: Party,
    /// The root of its tree.
    pub root: Digest,
    /// The root's signature.
    pub signature: RootSignature,
}

impl Receipt {
    /// Whether this key signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.signature.verify(key, &self.root).is_ok()
    }
}

impl Settled {
    /// The code of an unsigned settlement; panics on a receipt.
    #[track_caller]
    pub fn code(&self) -> Code {
        match self {
            Self::Code(code, _) => *code,
            Self::Receipt(receipt) => panic!("expected a code, got {receipt:?}"),
        }
    }

    /// The detail of an unsigned settlement; panics on a receipt.
    #[track_caller]
    pub fn detail(&self) -> &Detail {
        match self {
            Self::Code(_, detail) => detail,
            Self::Receipt(receipt) => panic!("expected a code, got {receipt:?}"),
        }
    }

    /// The receipt; panics on an unsigned settlement.
    #[track_caller]
    pub fn receipt(&self) -> &Receipt {
        match self {
            Self::Receipt(receipt) => receipt,
            Self::Code(code, detail) => panic!("expected a receipt, got {code} {detail:?}"),
        }
    }

    /// Whether it is a receipt *delivered*.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Receipt(receipt) if receipt.outcome == Outcome::Delivered)
    }
}
