//! With which key was this signed, and does the signature hold?
//!
//! COSE algorithms, COSE_Key, thumbprints (RFC 9679) and PKCS#8 files over aws-lc (WIRE 5.3, 5.4). Says nothing about
//! whose key it is or until when it holds: the directory does. Public keys are parsed once and kept parsed, so that a
//! check costs no decoding of the point.

mod cose;
mod pem;
mod signing;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ML_DSA_65, ParsedPublicKey, VerificationAlgorithm,
};

pub use signing::SigningKey;

use crate::digest::{Digest, DigestError};

/// A signature algorithm by its COSE id (WIRE 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256, signature r ‖ s of 64 bytes: COSE −9. The default.
    Esp256,
    /// Ed25519 with signatures of 64 bytes: COSE −19.
    Ed25519,
    /// ECDSA on P-384 with SHA-384, signature r ‖ s of 96 bytes: COSE −51.
    Esp384,
    /// ML-DSA-65 (FIPS 204, pure, empty context) with signatures of 3,309 bytes: COSE −49 (RFC 9964).
    MlDsa65,
}

impl Algorithm {
    /// Every algorithm this software signs and verifies.
    pub const ALL: [Self; 4] = [Self::Esp256, Self::Esp384, Self::Ed25519, Self::MlDsa65];

    /// The hybrid profile: what an entry requires whose roots are signed twice, so that a forger has to break both
    /// (WIRE 5.4).
    pub const HYBRID: [Self; 2] = [Self::Esp256, Self::MlDsa65];

    /// The number of the COSE algorithms registry.
    #[must_use]
    pub const fn cose_id(self) -> i64 {
        match self {
            Self::Esp256 => -9,
            Self::Ed25519 => -19,
            Self::Esp384 => -51,
            Self::MlDsa65 => -49,
        }
    }

    /// The algorithm with this COSE number; `None` when this software does not know it.
    #[must_use]
    pub fn from_cose_id(id: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.cose_id() == id)
    }

    /// The name in the COSE registry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Esp256 => "ESP256",
            Self::Ed25519 => "Ed25519",
            Self::Esp384 => "ESP384",
            Self::MlDsa65 => "ML-DSA-65",
        }
    }

    /// Length of a signature in bytes.
    #[must_use]
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Esp256 | Self::Ed25519 => 64,
            Self::Esp384 => 96,
            Self::MlDsa65 => 3_309,
        }
    }

    /// Length of a public key in bytes, as [`PublicKey::raw`] gives it.
    #[must_use]
    pub const fn public_key_len(self) -> usize {
        match self {
            Self::Esp256 => 65,
            Self::Ed25519 => 32,
            Self::Esp384 => 97,
            Self::MlDsa65 => 1_952,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Esp256 => &ECDSA_P256_SHA256_FIXED,
            Self::Ed25519 => &ED25519,
            Self::Esp384 => &ECDSA_P384_SHA384_FIXED,
            Self::MlDsa65 => &ML_DSA_65,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| KeyError::UnknownAlgorithm { found: text.to_owned() })
    }
}

/// A COSE key thumbprint (RFC 9679, SHA-256): the `kid` of every signature (WIRE 5.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub Digest);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for KeyId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

/// A public key, parsed and ready to verify. Cheap to clone; equal by thumbprint.
#[derive(Clone)]
pub struct PublicKey(Arc<Parsed>);

struct Parsed {
    algorithm: Algorithm,
    id: KeyId,
    /// P-256 and P-384: 0x04 ‖ x ‖ y; Ed25519: the 32 bytes of RFC 8032; ML-DSA-65: the 1,952 bytes of FIPS 204.
    raw: Box<[u8]>,
    prepared: ParsedPublicKey,
}

impl PublicKey {
    /// The key with these raw bytes: for P-256 and P-384 the uncompressed point 0x04 ‖ x ‖ y, for Ed25519 its 32 bytes,
    /// for ML-DSA-65 its 1,952 bytes.
    ///
    /// # Errors
    /// [`KeyError::Point`] when they are no key of this algorithm.
    pub fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Result<Self, KeyError> {
        // The length is checked first: the library also reads SubjectPublicKeyInfo, which is no raw key here.
        let prepared = (raw.len() == algorithm.public_key_len())
            .then(|| ParsedPublicKey::new(algorithm.verification(), raw).ok())
            .flatten()
            .ok_or(KeyError::Point { algorithm })?;
        let id = KeyId(Digest::of(&cose::thumbprint_input(algorithm, raw)));
        Ok(Self(Arc::new(Parsed { algorithm, id, raw: raw.into(), prepared })))
    }

    /// Reads a COSE_Key (RFC 9052 §7, RFC 9964): deterministic CBOR, at most 4,096 bytes, kty and crv of a known
    /// algorithm, full coordinates. `alg` may be missing unless kty is AKP; further parameters are ignored.
    ///
    /// # Errors
    /// [`KeyError`] names the parameter; a private key is refused.
    pub fn from_cose_key(bytes: &[u8]) -> Result<Self, KeyError> {
        cose::parse(bytes)
    }

    /// The COSE_Key in deterministic order: `{1: kty, 3: alg, -1: crv, -2: x, -3: y}` (Ed25519 has no y), for ML-DSA-65
    /// `{1: 7, 3: -49, -1: pub}`.
    #[must_use]
    pub fn to_cose_key(&self) -> Vec<u8> {
        cose::encode(self.algorithm(), self.raw())
    }

    /// The thumbprint.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// The algorithm this key is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// P-256 and P-384: 0x04 ‖ x ‖ y, 65 and 97 bytes; Ed25519: 32 bytes; ML-DSA-65: 1,952 bytes.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.0.raw
    }

    /// Checks `signature` over `message`.
    ///
    /// # Errors
    /// [`BadSignature`], without a reason: there is none that may be told apart.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.0.prepared.verify_sig(message, signature).map_err(|_| BadSignature)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm(), self.id())
    }
}

/// The signature does not hold for this key and message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify with this key")]
pub struct BadSignature;

/// Why a key cannot be read, made or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A COSE_Key that does not parse.
    #[error("not a usable COSE_Key: {0}")]
    CoseKey(&'static str),
    /// An algorithm this software does not know.
    #[error(
        "unknown signature algorithm {found}; known are ESP256 (-9), ESP384 (-51), Ed25519 (-19) and ML-DSA-65 (-49)"
    )]
    UnknownAlgorithm {
        /// Its name or number.
        found: String,
    },
    /// Bytes that are no point of the curve, or no key of this length.
    #[error("the key bytes are not a public key for {algorithm}")]
    Point {
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// A private key file that does not parse.
    #[error("not a PKCS#8 private key: {0}")]
    PrivateKey(&'static str),
    /// The crypto library failed, for instance for want of randomness.
    #[error("the crypto library could not {0}; this is a fault of this machine")]
    Crypto(&'static str),
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            let other = SigningKey::generate(algorithm).unwrap();
            let signature = key.sign(b"message").unwrap();
            assert_eq!(signature.len(), algorithm.signature_len());
            assert_eq!(key.public().verify(b"message", &signature), Ok(()), "{algorithm}");
            assert_eq!(key.public().verify(b"messagf", &signature), Err(BadSignature), "{algorithm}");
            assert_eq!(other.public().verify(b"message", &signature), Err(BadSignature), "{algorithm}");
            assert_eq!(key.public().verify(b"message", &signature[1..]), Err(BadSignature), "{algorithm}");
        }
    }

    #[test]
    fn keys_survive_cose_and_pkcs8() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            let public = PublicKey::from_cose_key(&key.public().to_cose_key()).unwrap();
            assert_eq!((public.id(), public.algorithm()), (key.public().id(), algorithm));
            let der = SigningKey::from_pkcs8_der(&key.to_pkcs8_der().unwrap()).unwrap();
            let pem = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
            assert_eq!((der.public(), pem.public()), (key.public(), key.public()));
        }
    }

    #[test]
    fn algorithms_are_found_by_number_and_name() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_cose_id(algorithm.cose_id()), Some(algorithm));
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        assert_eq!(Algorithm::from_cose_id(-50), None);
        assert!("ES256".parse::<Algorithm>().is_err());
    }

    #[test]
    fn a_key_of_another_length_is_none() {
        for algorithm in Algorithm::ALL {
            let raw = SigningKey::generate(algorithm).unwrap().public().raw().to_vec();
            assert_eq!(raw.len(), algorithm.public_key_len());
            for wrong in [&raw[1..], &[&raw[..], &[0]].concat()[..], &[]] {
                assert_eq!(
                    PublicKey::from_raw(algorithm, wrong),
                    Err(KeyError::Point { algorithm }),
                    "{}",
                    wrong.len()
                );
            }
        }
    }
}
