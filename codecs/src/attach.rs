//! Who may speak for this endpoint, on which link, at which router? The signed attach token (WIRE 3.2).
//!
//! COSE_Sign1 with one signature, COSE_Sign with two. There is one encoding of every token, so reading is: take it apart,
//! put it together again, compare. Epochs, expiry and whose keys these are is decided elsewhere.

use bytes::Bytes;
use coset::cbor::value::Value;
use coset::iana::{self, EnumI64};
use coset::{
    CoseSign, CoseSign1, CoseSign1Builder, CoseSignBuilder, CoseSignatureBuilder, Header, HeaderBuilder,
    RegisteredLabelWithPrivate, TaggedCborSerializable,
};
use smallvec::SmallVec;

use crate::code::Code;
use crate::digest::Digest;
use crate::key::{Algorithm, BadSignature, KeyError, KeyId, PublicKey, SigningKey};
use crate::root::{SignError, check_keys};
use crate::statement::{Attachment, StatementError};

/// The `typ` of an attach token.
pub const ATTACH_TYPE: &str = "application/kernpost-attach+cose";

/// Longest token, in bytes: statement (at most 1,000), headers and two signatures of at most 3,309 bytes.
pub const LONGEST_TOKEN: usize = 8_192;

/// COSE header parameter `typ` (RFC 9596).
const TYP: i64 = 16;

/// A token taken apart; its signatures are unverified until [`verify`](Self::verify).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachToken {
    attachment: Attachment,
    statement: Vec<u8>,
    signers: Signers,
}

type Signers = SmallVec<[Signer; 2]>;

/// Protected header and signature of each signer, as read.
type RawSigners = SmallVec<[(Header, Vec<u8>); 2]>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signer {
    algorithm: Algorithm,
    kid: KeyId,
    signature: Vec<u8>,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a token in its one form: `token-invalid`.
    #[error("attach token: {0} (WIRE 3.2)")]
    Form(&'static str),
    /// The statement inside is wrong: `token-invalid`.
    #[error("attach token: {0}")]
    Statement(#[from] StatementError),
    /// The endpoint has no such key: `bad-signature`.
    #[error("attach token: key {0} is not one to verify with; sign with a current key of the endpoint")]
    UnknownKey(KeyId),
    /// The key has another algorithm than stated: `bad-signature`.
    #[error("attach token: key {0} is not for the algorithm stated")]
    AlgorithmOfKey(KeyId),
    /// The signature does not hold: `bad-signature`.
    #[error("attach token: the signature by key {0} does not verify")]
    Signature(KeyId),
}

impl TokenError {
    /// The code that ATTACHED answers with.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Form(_) | Self::Statement(_) => Code::TOKEN_INVALID,
            Self::UnknownKey(_) | Self::AlgorithmOfKey(_) | Self::Signature(_) => Code::BAD_SIGNATURE,
        }
    }
}

impl AttachToken {
    /// Signs an attachment with one key of its endpoint, or with two where the directory requires two algorithms.
    ///
    /// # Errors
    /// [`SignError`]: a wrong number of keys, one key twice, or a crypto library that fails.
    pub fn sign(attachment: &Attachment, keys: &[&SigningKey]) -> Result<Bytes, SignError> {
        check_keys(keys)?;
        let statement = attachment.encode();
        let mut signers: Signers = keys
            .iter()
            .map(|key| Signer { algorithm: key.algorithm(), kid: key.public().id(), signature: Vec::new() })
            .collect();
        let cose = Cose::build(&statement, &signers);
        for (at, (signer, key)) in signers.iter_mut().zip(keys).enumerate() {
            signer.signature = key.sign(&cose.to_be_signed(at)).map_err(SignError::Key)?;
        }
        let bytes = Cose::build(&statement, &signers).encode();
        bytes.map(Bytes::from).ok_or(SignError::Key(KeyError::Crypto("write an attach token")))
    }

    /// Takes a token of at most 8,192 bytes apart.
    ///
    /// # Errors
    /// [`TokenError::Form`] unless it is exactly what signing makes, [`TokenError::Statement`] for what is inside.
    pub fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        if bytes.len() > LONGEST_TOKEN {
            return Err(TokenError::Form("longer than 8,192 bytes"));
        }
        let (statement, signers) = Cose::parse(bytes).ok_or(TokenError::Form("neither COSE_Sign1 nor COSE_Sign"))?;
        let signers = signers
            .into_iter()
            .map(|(header, signature)| signer(&header, signature))
            .collect::<Option<Signers>>()
            .ok_or(TokenError::Form("alg is unknown or kid no thumbprint"))?;
        if let [first, second] = &signers[..]
            && first.kid == second.kid
        {
            return Err(TokenError::Form("both signatures are by the same key"));
        }
        if Cose::build(&statement, &signers).encode().as_deref() != Some(bytes) {
            return Err(TokenError::Form("not exactly the headers of an attach token in deterministic encoding"));
        }
        Ok(Self { attachment: Attachment::parse(&statement)?, statement, signers })
    }

    /// What the token says.
    #[must_use]
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Algorithm and key of each signature, one or two. The caller compares with what the directory requires.
    pub fn signers(&self) -> impl Iterator<Item = (Algorithm, KeyId)> + '_ {
        self.signers.iter().map(|signer| (signer.algorithm, signer.kid))
    }

    /// Checks every signature with the key that `lookup` gives for its kid: a key of the endpoint that is valid now.
    ///
    /// # Errors
    /// [`TokenError`] names the key.
    pub fn verify(&self, lookup: impl Fn(&KeyId) -> Option<PublicKey>) -> Result<(), TokenError> {
        let cose = Cose::build(&self.statement, &self.signers);
        for (at, signer) in self.signers.iter().enumerate() {
            let key = lookup(&signer.kid).filter(|key| key.id() == signer.kid);
            let key = key.ok_or(TokenError::UnknownKey(signer.kid))?;
            if key.algorithm() != signer.algorithm {
                return Err(TokenError::AlgorithmOfKey(signer.kid));
            }
            key.verify(&cose.to_be_signed(at), &signer.signature)
                .map_err(|BadSignature| TokenError::Signature(signer.kid))?;
        }
        Ok(())
    }
}

/// The two forms of a token.
enum Cose {
    /// One signature: tag 18.
    One(CoseSign1),
    /// Two signatures: tag 98.
    Two(CoseSign),
}

impl Cose {
    fn build(statement: &[u8], signers: &[Signer]) -> Self {
        let typ = |header: HeaderBuilder| header.value(TYP, Value::from(ATTACH_TYPE)).build();
        if let [signer] = signers {
            let one = CoseSign1Builder::new()
                .protected(typ(key_header(signer)))
                .payload(statement.to_vec())
                .signature(signer.signature.clone());
            return Self::One(one.build());
        }
        let two = CoseSignBuilder::new().protected(typ(HeaderBuilder::new())).payload(statement.to_vec());
        let signature = |signer: &Signer| {
            let protected = key_header(signer).build();
            CoseSignatureBuilder::new().protected(protected).signature(signer.signature.clone()).build()
        };
        Self::Two(signers.iter().map(signature).fold(two, CoseSignBuilder::add_signature).build())
    }

    /// Payload, and headers with signatures; not compared with the one form yet.
    fn parse(bytes: &[u8]) -> Option<(Vec<u8>, RawSigners)> {
        if let Ok(one) = CoseSign1::from_tagged_slice(bytes) {
            return Some((one.payload?, SmallVec::from_iter([(one.protected.header, one.signature)])));
        }
        let two = CoseSign::from_tagged_slice(bytes).ok().filter(|two| two.signatures.len() == 2)?;
        let signers = two.signatures.into_iter().map(|signer| (signer.protected.header, signer.signature));
        Some((two.payload?, signers.collect()))
    }

    fn encode(self) -> Option<Vec<u8>> {
        match self {
            Self::One(one) => one.to_tagged_vec().ok(),
            Self::Two(two) => two.to_tagged_vec().ok(),
        }
    }

    /// The Sig_structure of the signature at `at` (RFC 9052 §4.4).
    fn to_be_signed(&self, at: usize) -> Vec<u8> {
        match self {
            Self::One(one) => one.tbs_data(&[]),
            Self::Two(two) => two.signatures.get(at).map(|signer| two.tbs_data(&[], signer)).unwrap_or_default(),
        }
    }
}

/// `{1: alg, 4: kid}`.
fn key_header(signer: &Signer) -> HeaderBuilder {
    let algorithm = match signer.algorithm {
        Algorithm::Esp256 => iana::Algorithm::ESP256,
        Algorithm::Ed25519 => iana::Algorithm::Ed25519,
        Algorithm::Esp384 => iana::Algorithm::ESP384,
        Algorithm::MlDsa65 => iana::Algorithm::ML_DSA_65,
    };
    HeaderBuilder::new().algorithm(algorithm).key_id(signer.kid.0.0.to_vec())
}

fn signer(header: &Header, signature: Vec<u8>) -> Option<Signer> {
    let RegisteredLabelWithPrivate::Assigned(algorithm) = header.alg.as_ref()? else {
        return None;
    };
    let kid = Digest::try_from(header.key_id.as_slice()).ok()?;
    Some(Signer { algorithm: Algorithm::from_cose_id(algorithm.to_i64())?, kid: KeyId(kid), signature })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::time::UnixMs;

    fn attachment() -> Attachment {
        Attachment {
            endpoint: "muc/amt".parse().unwrap(),
            router: "muc/router/r1".parse().unwrap(),
            identity: "uri:spiffe://kernpost.test/akdb".parse().unwrap(),
            epoch: 1_760_000_000_000_000,
            expires: UnixMs(1_760_000_600_000),
            journal: [7; 16],
        }
    }

    fn keys() -> [SigningKey; 4] {
        Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).unwrap())
    }

    #[test]
    fn a_token_says_who_attaches_and_verifies_with_the_signers_keys() {
        let keys = keys();
        for signers in [
            &[&keys[0]][..],
            &[&keys[1]],
            &[&keys[2]],
            &[&keys[3]],
            &[&keys[0], &keys[2]],
            &[&keys[0], &keys[3]],
            &[&keys[3], &keys[1]],
        ] {
            let bytes = AttachToken::sign(&attachment(), signers).unwrap();
            let token = AttachToken::parse(&bytes).unwrap();
            assert_eq!(token.attachment(), &attachment());
            let expected: Vec<_> = signers.iter().map(|key| (key.algorithm(), key.public().id())).collect();
            assert_eq!(token.signers().collect::<Vec<_>>(), expected);
            let lookup = |kid: &KeyId| keys.iter().map(SigningKey::public).find(|key| key.id() == *kid).cloned();
            assert_eq!(token.verify(lookup), Ok(()));
            let last = signers[signers.len() - 1].public().id();
            let without = |kid: &KeyId| lookup(kid).filter(|key| key.id() != last);
            assert_eq!(token.verify(without), Err(TokenError::UnknownKey(last)));
        }
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let keys = keys();
        let lookup = |kid: &KeyId| keys.iter().map(SigningKey::public).find(|key| key.id() == *kid).cloned();
        for (signers, step) in
            [(&[&keys[2]][..], 1), (&[&keys[1]], 1), (&[&keys[0], &keys[2]], 1), (&[&keys[0], &keys[3]], 29)]
        {
            let good = AttachToken::sign(&attachment(), signers).unwrap();
            for at in (0..good.len()).step_by(step) {
                let mut bad = good.to_vec();
                bad[at] ^= 1;
                let verdict = AttachToken::parse(&bad).and_then(|token| token.verify(lookup));
                assert!(verdict.is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn another_document_signed_with_the_same_key_is_no_token() {
        let [key, ..] = keys();
        let header = HeaderBuilder::new()
            .algorithm(iana::Algorithm::ESP256)
            .key_id(key.public().id().0.0.to_vec())
            .value(TYP, Value::from(crate::root::ROOT_TYPE))
            .build();
        let other = CoseSign1Builder::new()
            .protected(header)
            .payload(attachment().encode())
            .create_signature(&[], |message| key.sign(message).unwrap())
            .build();
        let parsed = AttachToken::parse(&other.to_tagged_vec().unwrap());
        assert!(matches!(parsed, Err(TokenError::Form(_))), "{parsed:?}");
        assert!(AttachToken::parse(&vec![0; LONGEST_TOKEN + 1]).is_err());
    }

    #[test]
    fn one_key_does_not_sign_twice() {
        let [key, other, ..] = keys();
        assert_eq!(AttachToken::sign(&attachment(), &[&key, &key]), Err(SignError::SameKey));
        // Two valid signatures by one key, in the form of two signers.
        let statement = attachment().encode();
        let signer =
            |key: &SigningKey| Signer { algorithm: key.algorithm(), kid: key.public().id(), signature: Vec::new() };
        let token = |keys: [&SigningKey; 2]| {
            let mut signers: Signers = keys.iter().map(|key| signer(key)).collect();
            let cose = Cose::build(&statement, &signers);
            for (at, key) in keys.iter().enumerate() {
                signers[at].signature = key.sign(&cose.to_be_signed(at)).unwrap();
            }
            Cose::build(&statement, &signers).encode().unwrap()
        };
        let verdict = AttachToken::parse(&token([&key, &key]));
        assert!(matches!(verdict, Err(TokenError::Form(what)) if what.contains("same key")), "{verdict:?}");
        assert!(AttachToken::parse(&token([&key, &other])).is_ok());
    }

    #[test]
    fn the_longest_token_of_any_kind_fits() {
        let keys = [(); 2].map(|()| SigningKey::generate(Algorithm::MlDsa65).unwrap());
        let longest = Attachment {
            endpoint: format!("{}.{}.zone/{}", "a".repeat(9), "b".repeat(8), "x".repeat(40)).parse().unwrap(),
            router: format!("{}/router/{}", "a".repeat(16), "x".repeat(40)).parse().unwrap(),
            identity: format!("uri:spiffe://kernpost.test/{}", "x".repeat(741)).parse().unwrap(),
            epoch: u64::MAX >> 2,
            ..attachment()
        };
        let token = AttachToken::sign(&longest, &[&keys[0], &keys[1]]).unwrap();
        assert!(token.len() <= LONGEST_TOKEN, "{}", token.len());
        assert!(AttachToken::parse(&token).is_ok());
    }

    #[test]
    fn deep_nesting_and_huge_stated_lengths_are_refused_without_harm() {
        let heads = [&[0x81][..], &[0xa1, 0x01], &[0xd2, 0x84], &[0xc1], &[0xd8, 0x62, 0x84, 0x9f], &[0x5f]];
        for head in heads {
            let nested = head.repeat(LONGEST_TOKEN / head.len());
            assert!(AttachToken::parse(&nested).is_err());
            assert!(crate::archive::CoseReceipt::parse(&nested).is_err());
            assert!(PublicKey::from_cose_key(&nested[..512.min(nested.len())]).is_err());
        }
        for length in [&[0x9b][..], &[0xbb], &[0x5b], &[0x7b], &[0xd2, 0x84, 0x5b], &[0xd8, 0x62, 0x84, 0x9b]] {
            let huge = [length, &[0x7f; 8], &[0; 64]].concat();
            assert!(AttachToken::parse(&huge).is_err());
            assert!(crate::archive::CoseReceipt::parse(&huge).is_err());
            assert!(PublicKey::from_cose_key(&huge).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = AttachToken::parse(&bytes);
            let _ = crate::archive::CoseReceipt::parse(&bytes);
            let _ = crate::archive::ProofFile::parse(&bytes);
            let _ = PublicKey::from_cose_key(&bytes);
        }
    }
}
