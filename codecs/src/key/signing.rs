//! How does a process hold, read and write its private signing key?
//!
//! PKCS#8 v1, DER or PEM. The key itself stays inside aws-lc; `Debug` shows the public half only.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    ML_DSA_65_SIGNING, PqdsaKeyPair,
};

use super::{Algorithm, KeyError, PublicKey, pem};

/// A private signing key with its public half.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Esp256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Esp384(EcdsaKeyPair),
    MlDsa65(PqdsaKeyPair),
}

impl SigningKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when there is none.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::Esp256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Pair::Esp256),
            Algorithm::Ed25519 => Ed25519KeyPair::generate().map(Pair::Ed25519),
            Algorithm::Esp384 => EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Pair::Esp384),
            Algorithm::MlDsa65 => PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).map(Pair::MlDsa65),
        };
        Self::with_public(pair.map_err(|_| KeyError::Crypto("generate a key"))?)
    }

    /// Reads an unencrypted PKCS#8 document; the algorithm follows from it. An ML-DSA-65 key holds its seed, or seed and
    /// expanded form (RFC 9881): without the seed it could not be written again.
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`] when it is no P-256, P-384, Ed25519 or ML-DSA-65 key.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map(Pair::Esp256)
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519))
            .or_else(|_| EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der).map(Pair::Esp384))
            .or_else(|_| PqdsaKeyPair::from_pkcs8(&ML_DSA_65_SIGNING, der).map(Pair::MlDsa65))
            .map_err(|_| KeyError::PrivateKey("the DER is no unencrypted P-256, P-384, Ed25519 or ML-DSA-65 key"))?;
        Self::with_public(pair)
    }

    /// Reads `-----BEGIN PRIVATE KEY-----`; text before and after is ignored.
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`] when there is no such block, or none of a known algorithm.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, KeyError> {
        Self::from_pkcs8_der(&pem::decode(text)?)
    }

    /// The PKCS#8 v1 document. Secret.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the library cannot write it.
    pub fn to_pkcs8_der(&self) -> Result<Vec<u8>, KeyError> {
        let document = match &self.pair {
            Pair::Esp256(pair) | Pair::Esp384(pair) => pair.to_pkcs8v1(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1(),
            Pair::MlDsa65(pair) => pair.to_pkcs8v1(),
        };
        Ok(document.map_err(|_| KeyError::Crypto("write a private key"))?.as_ref().to_vec())
    }

    /// The PKCS#8 v1 document as PEM. Secret.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the library cannot write it.
    pub fn to_pkcs8_pem(&self) -> Result<String, KeyError> {
        Ok(pem::encode(&self.to_pkcs8_der()?))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The algorithm of this key.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// Signs `message`: [`Algorithm::signature_len`] bytes. ECDSA and ML-DSA signatures are randomised, Ed25519 ones are
    /// not.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the library fails, for instance for want of randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = match &self.pair {
            Pair::Esp256(pair) | Pair::Esp384(pair) => pair.sign(&SystemRandom::new(), message),
            Pair::Ed25519(pair) => pair.try_sign(message),
            Pair::MlDsa65(pair) => {
                let mut signature = vec![0; self.algorithm().signature_len()];
                pair.sign(message, &mut signature).map_err(|_| KeyError::Crypto("sign"))?;
                return Ok(signature);
            }
        };
        Ok(signature.map_err(|_| KeyError::Crypto("sign"))?.as_ref().to_vec())
    }

    fn with_public(pair: Pair) -> Result<Self, KeyError> {
        let public = match &pair {
            Pair::Esp256(pair) => PublicKey::from_raw(Algorithm::Esp256, pair.public_key().as_ref()),
            Pair::Ed25519(pair) => PublicKey::from_raw(Algorithm::Ed25519, pair.public_key().as_ref()),
            Pair::Esp384(pair) => PublicKey::from_raw(Algorithm::Esp384, pair.public_key().as_ref()),
            Pair::MlDsa65(pair) => PublicKey::from_raw(Algorithm::MlDsa65, pair.public_key().as_ref()),
        }?;
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm(), self.public.id())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_debug_form_keeps_the_private_key() {
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey(Ed25519 {})", key.public().id()));
    }

    #[test]
    fn what_is_no_private_key_is_refused() {
        assert!(matches!(SigningKey::from_pkcs8_der(b"\x30\x00").unwrap_err(), KeyError::PrivateKey(_)));
    }

    #[test]
    fn keys_cross_threads() {
        fn check<T: Send + Sync>() {}
        check::<SigningKey>();
        check::<PublicKey>();
    }
}
