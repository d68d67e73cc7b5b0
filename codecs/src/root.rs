//! Who signed this root, and does the signature hold?
//!
//! The detached COSE_Sign1 of WIRE 5.3. The protected header has one exact form, so reading it is a comparison, and the
//! signed bytes are laid out on the stack. Whose key it is decides the directory, before any of this is paid for.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::digest::Digest;
use crate::key::{Algorithm, KeyError, KeyId, PublicKey, SigningKey};

/// The `typ` of a bundle root: separates it from every other document signed with the same key.
pub const ROOT_TYPE: &str = "application/kernpost-root+cose";

/// Longest protected header with a known algorithm, in bytes: 75 for ESP256 and Ed25519, 76 for ESP384 and ML-DSA-65.
pub const LONGEST_PROTECTED: usize = 76;

/// Longest signature of a root with its protected header and both lengths, as it travels in a part head: ML-DSA-65.
pub const LONGEST_SIGNATURE_IN_HEAD: usize = 2 + LONGEST_PROTECTED + 2 + Algorithm::MlDsa65.signature_len();

/// `{1:` … `4: h'` … `16: typ, 395: 1}` around algorithm and kid.
const HEAD: [u8; 2] = [0xa4, 0x01];
const KID: [u8; 3] = [0x04, 0x58, 0x20];
const TAIL: [u8; 37] = *b"\x10\x78\x1eapplication/kernpost-root+cose\x19\x01\x8b\x01";

/// `["Signature1", h'` with the length of the protected header to come, and `h'', h'<32 bytes>']` (RFC 9052 §4.4).
const TO_SIGN_HEAD: [u8; 13] = *b"\x84\x6aSignature1\x58";
const TO_SIGN_MIDDLE: [u8; 3] = [0x40, 0x58, 0x20];

/// On the stack: no header or message to be signed is longer.
type Short = SmallVec<[u8; 128]>;

/// One signature of a root, as it travels in a part head (WIRE 5.3, §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSignature {
    /// The encoded protected header, exactly the map of WIRE 5.3 if it is to verify.
    pub protected: Bytes,
    /// The signature bytes.
    pub signature: Bytes,
}

impl RootSignature {
    /// The key that is said to have signed. Costs a comparison, no cryptography.
    ///
    /// # Errors
    /// [`RootFault::Protected`] when the protected header has another form.
    pub fn kid(&self) -> Result<KeyId, RootFault> {
        self.read().map(|(_, kid)| kid)
    }

    /// The algorithm that is said to have been used.
    ///
    /// # Errors
    /// [`RootFault::Protected`] when the protected header has another form, [`RootFault::Algorithm`] when it is unknown.
    pub fn algorithm(&self) -> Result<Algorithm, RootFault> {
        let (id, _) = self.read()?;
        Algorithm::from_cose_id(id).ok_or(RootFault::Algorithm { id })
    }

    /// Checks that `key` signed `root`.
    ///
    /// # Errors
    /// [`RootFault`]; every one of them means `bad-signature`, but [`RootFault::OtherKey`] tells of a caller's mistake.
    pub fn verify(&self, key: &PublicKey, root: &Digest) -> Result<(), RootFault> {
        if self.kid()? != key.id() {
            return Err(RootFault::OtherKey);
        }
        if self.algorithm()? != key.algorithm() {
            return Err(RootFault::AlgorithmOfKey);
        }
        key.verify(&to_be_signed(&self.protected, root), &self.signature).map_err(|_| RootFault::Signature)
    }

    /// One hash over kid, algorithm, root and signature bytes: the key of a cache of verified roots. Equal only for
    /// equal input, because the length of the protected header is hashed too.
    #[must_use]
    pub fn fingerprint(&self, root: &Digest) -> Digest {
        let length = (self.protected.len() as u64).to_be_bytes();
        Digest::of_parts(&[&root.0, &length, &self.protected, &self.signature])
    }

    /// COSE number of the algorithm, and kid.
    fn read(&self) -> Result<(i64, KeyId), RootFault> {
        let rest = self.protected.strip_prefix(&HEAD).ok_or(RootFault::Protected)?;
        let (id, rest) = negative_integer(rest).ok_or(RootFault::Protected)?;
        let rest = rest.strip_prefix(&KID).ok_or(RootFault::Protected)?;
        let (kid, rest) = rest.split_first_chunk::<32>().ok_or(RootFault::Protected)?;
        if rest != TAIL {
            return Err(RootFault::Protected);
        }
        Ok((id, KeyId(Digest(*kid))))
    }
}

/// Signs `root`.
///
/// # Errors
/// [`KeyError::Crypto`] when the crypto library fails.
pub fn sign_root(key: &SigningKey, root: &Digest) -> Result<RootSignature, KeyError> {
    let protected = protected_header(key.algorithm(), &key.public().id());
    let signature = key.sign(&to_be_signed(&protected, root))?;
    Ok(RootSignature { protected: Bytes::copy_from_slice(&protected), signature: signature.into() })
}

/// Signs `root` with one key, or with two where the directory requires two algorithms (WIRE 5.4).
///
/// # Errors
/// [`SignError::Keys`] for another number of keys, [`SignError::SameKey`] for one key twice, [`SignError::Key`] when the
/// crypto library fails.
pub fn sign_with_all(keys: &[&SigningKey], root: &Digest) -> Result<SmallVec<[RootSignature; 2]>, SignError> {
    check_keys(keys)?;
    keys.iter().map(|key| sign_root(key, root).map_err(SignError::Key)).collect()
}

/// One key, or two different ones (WIRE 5.4).
pub(crate) fn check_keys(keys: &[&SigningKey]) -> Result<(), SignError> {
    match keys {
        [_] => Ok(()),
        [first, second] if first.public() == second.public() => Err(SignError::SameKey),
        [_, _] => Ok(()),
        _ => Err(SignError::Keys { found: keys.len() }),
    }
}

/// Why entries cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// Nothing to sign.
    #[error("there is no entry to sign; push one first")]
    Empty,
    /// No key, or more than two.
    #[error("a root carries one signature or two, {found} keys were given (WIRE 5.4)")]
    Keys {
        /// Keys given.
        found: usize,
    },
    /// One key twice: two signatures say more than one only when they are by different keys.
    #[error("the same key was given twice; a second signature is by another key (WIRE 5.4)")]
    SameKey,
    /// The crypto library failed.
    #[error(transparent)]
    Key(KeyError),
}

/// The map `{1: alg, 4: kid, 16: ROOT_TYPE, 395: 1}` in deterministic order.
fn protected_header(algorithm: Algorithm, kid: &KeyId) -> Short {
    let id: &[u8] = match algorithm {
        Algorithm::Esp256 => &[0x28],
        Algorithm::Ed25519 => &[0x32],
        Algorithm::Esp384 => &[0x38, 0x32],
        Algorithm::MlDsa65 => &[0x38, 0x30],
    };
    concat([&HEAD, id, &KID, &kid.0.0, &TAIL])
}

/// The Sig_structure of RFC 9052 §4.4 with empty external_aad. The header has one of the forms of [`protected_header`],
/// so its length takes one byte.
fn to_be_signed(protected: &[u8], root: &Digest) -> Short {
    let length = u8::try_from(protected.len()).unwrap_or(u8::MAX);
    concat([&TO_SIGN_HEAD, &[length], protected, &TO_SIGN_MIDDLE, &root.0])
}

/// Lays `parts` one behind the other.
fn concat(parts: [&[u8]; 5]) -> Short {
    let mut out = Short::new();
    parts.into_iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A negative CBOR integer of one to three bytes in shortest form, enough for every registered algorithm.
fn negative_integer(bytes: &[u8]) -> Option<(i64, &[u8])> {
    match bytes {
        [first @ 0x20..=0x37, rest @ ..] => Some((-1 - i64::from(first - 0x20), rest)),
        [0x38, value @ 24..=255, rest @ ..] => Some((-1 - i64::from(*value), rest)),
        [0x39, high @ 1..=255, low, rest @ ..] => Some((-1 - i64::from(u16::from_be_bytes([*high, *low])), rest)),
        _ => None,
    }
}

/// Why a root signature does not hold: the part is refused `bad-signature` (WIRE 5.4, 6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootFault {
    /// A protected header of another form.
    #[error("the protected header of the root signature is not exactly that of WIRE 5.3")]
    Protected,
    /// An algorithm this software does not know.
    #[error("root signature algorithm {id} is unknown here (WIRE 5.4)")]
    Algorithm {
        /// Its COSE number.
        id: i64,
    },
    /// The key given has another thumbprint than the kid.
    #[error("the key given is not the one named by kid (WIRE 5.3)")]
    OtherKey,
    /// Algorithm and key do not fit.
    #[error("the algorithm of the root signature is not that of its key (WIRE 5.4)")]
    AlgorithmOfKey,
    /// The cryptographic check failed.
    #[error("the root signature does not verify (WIRE 5.3)")]
    Signature,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use coset::cbor::value::Value;
    use coset::{CborSerializable, CoseSign1Builder, HeaderBuilder, iana};

    fn signed(algorithm: Algorithm) -> (SigningKey, Digest, RootSignature) {
        let key = SigningKey::generate(algorithm).unwrap();
        let root = Digest::of(b"root");
        let signature = sign_root(&key, &root).unwrap();
        (key, root, signature)
    }

    #[test]
    fn header_and_signed_bytes_are_those_of_another_cose_library() {
        for (algorithm, registered) in [
            (Algorithm::Esp256, iana::Algorithm::ESP256),
            (Algorithm::Ed25519, iana::Algorithm::Ed25519),
            (Algorithm::Esp384, iana::Algorithm::ESP384),
            (Algorithm::MlDsa65, iana::Algorithm::ML_DSA_65),
        ] {
            let (key, root, signature) = signed(algorithm);
            let header = HeaderBuilder::new()
                .algorithm(registered)
                .key_id(key.public().id().0.0.to_vec())
                .value(16, Value::from(ROOT_TYPE))
                .value(395, Value::from(1))
                .build();
            assert_eq!(header.clone().to_vec().unwrap(), signature.protected);
            let cose = CoseSign1Builder::new().protected(header).signature(signature.signature.to_vec()).build();
            cose.verify_detached_signature(&root.0, &[], |signature, message| key.public().verify(message, signature))
                .unwrap();
            assert_eq!(signature.kid(), Ok(key.public().id()));
            assert_eq!(signature.algorithm(), Ok(algorithm));
            assert_eq!(signature.verify(key.public(), &root), Ok(()));
        }
    }

    #[test]
    fn any_changed_byte_fails() {
        for algorithm in Algorithm::ALL {
            let (key, root, good) = signed(algorithm);
            let change = |bytes: &Bytes, at: usize| {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1;
                Bytes::from(changed)
            };
            for at in 0..good.protected.len() {
                let bad = RootSignature { protected: change(&good.protected, at), ..good.clone() };
                assert!(bad.verify(key.public(), &root).is_err(), "{algorithm} protected {at}");
            }
            // Every byte of a short signature, every 31st of a long one.
            for at in (0..good.signature.len()).step_by(if good.signature.len() > 96 { 31 } else { 1 }) {
                let bad = RootSignature { signature: change(&good.signature, at), ..good.clone() };
                assert_eq!(bad.verify(key.public(), &root), Err(RootFault::Signature), "{algorithm} signature {at}");
            }
            assert_eq!(good.verify(key.public(), &Digest::of(b"other")), Err(RootFault::Signature));
        }
    }

    #[test]
    fn an_unknown_algorithm_is_named_and_still_shows_its_kid() {
        let (key, root, good) = signed(Algorithm::Esp256);
        let mut protected = good.protected.to_vec();
        protected.splice(2..3, [0x38, 0x31]);
        let reserved = RootSignature { protected: protected.into(), ..good };
        assert_eq!(reserved.kid(), Ok(key.public().id()));
        assert_eq!(reserved.algorithm(), Err(RootFault::Algorithm { id: -50 }));
        assert_eq!(reserved.verify(key.public(), &root), Err(RootFault::Algorithm { id: -50 }));
    }

    #[test]
    fn an_algorithm_that_is_not_the_keys_is_noticed_before_any_cryptography() {
        let (key, root, good) = signed(Algorithm::Esp256);
        let mut protected = good.protected.to_vec();
        protected.splice(2..3, [0x38, 0x30]);
        let other = RootSignature { protected: protected.into(), ..good };
        assert_eq!(other.verify(key.public(), &root), Err(RootFault::AlgorithmOfKey));
    }

    #[test]
    fn two_signatures_are_by_two_keys() {
        let keys = Algorithm::HYBRID.map(|algorithm| SigningKey::generate(algorithm).unwrap());
        let root = Digest::of(b"root");
        let signatures = sign_with_all(&[&keys[0], &keys[1]], &root).unwrap();
        assert!(signatures.iter().zip(&keys).all(|(signature, key)| signature.verify(key.public(), &root).is_ok()));
        let each = Algorithm::ALL.map(|algorithm| {
            let signature = sign_root(&SigningKey::generate(algorithm).unwrap(), &root).unwrap();
            4 + signature.protected.len() + signature.signature.len()
        });
        assert_eq!(each, [143, 176, 143, 3_389], "the bytes stated in WIRE 5.4");
        let head: usize =
            signatures.iter().map(|signature| 4 + signature.protected.len() + signature.signature.len()).sum();
        assert!(head <= 2 * LONGEST_SIGNATURE_IN_HEAD);
        assert_eq!(sign_with_all(&[&keys[0], &keys[0]], &root), Err(SignError::SameKey));
        assert_eq!(sign_with_all(&[], &root), Err(SignError::Keys { found: 0 }));
    }

    #[test]
    fn bytes_moved_between_header_and_signature_have_another_fingerprint() {
        let (_, root, good) = signed(Algorithm::Esp256);
        let moved = RootSignature {
            protected: good.protected.slice(..good.protected.len() - 1),
            signature: [&good.protected[good.protected.len() - 1..], &good.signature].concat().into(),
        };
        assert_ne!(moved.fingerprint(&root), good.fingerprint(&root));
    }

    #[test]
    fn the_wrong_key_is_noticed_before_any_cryptography() {
        let (_, root, good) = signed(Algorithm::Esp256);
        let other = SigningKey::generate(Algorithm::Esp256).unwrap();
        assert_eq!(good.verify(other.public(), &root), Err(RootFault::OtherKey));
    }
}
