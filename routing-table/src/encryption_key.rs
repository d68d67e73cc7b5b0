//! For which key may others encrypt a payload? A public COSE_Key with its thumbprint.
//!
//! This crate carries encryption keys and names them (WIRE 4.2 key 18); it does not encrypt.

use bytes::Bytes;
use coset::cbor::value::Value;
use coset::iana::{Ec2KeyParameter, EnumI64, KeyType, OkpKeyParameter};
use coset::{CborOrdering, CborSerializable, CoseKey, Label, RegisteredLabel};
use kernpost_codecs::Digest;
use kernpost_codecs::cbor::Writer;
use kernpost_codecs::key::KeyId;

/// Longest encryption key, in bytes of COSE_Key.
pub const MAX_LEN: usize = 512;

/// Parameter −1 of EC2 and OKP keys.
const CRV: i64 = Ec2KeyParameter::Crv as i64;
/// Parameter −2 of EC2 and OKP keys.
const X: i64 = Ec2KeyParameter::X as i64;
/// Parameter −3 of EC2 keys.
const Y: i64 = Ec2KeyParameter::Y as i64;
/// Parameter −4 of both: the private key.
const D: i64 = OkpKeyParameter::D as i64;

/// A public key for encryption: an EC2 or OKP COSE_Key in deterministic encoding, at most 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionKey {
    cose_key: Bytes,
    id: KeyId,
}

/// Why bytes are not an [`EncryptionKey`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable public COSE_Key for encryption: {0}")]
pub struct EncryptionKeyError(&'static str);

impl EncryptionKey {
    /// Reads a COSE_Key (RFC 9052 §7).
    ///
    /// # Errors
    /// When it is no EC2 or OKP public key, contains a private key or is not encoded deterministically.
    pub fn from_cose_key(bytes: &[u8]) -> Result<Self, EncryptionKeyError> {
        if bytes.len() > MAX_LEN {
            return Err(EncryptionKeyError("longer than 512 bytes"));
        }
        let key = CoseKey::from_slice(bytes).map_err(|_| EncryptionKeyError("not a CBOR map of key parameters"))?;
        let mut sorted = key.clone();
        sorted.canonicalize(CborOrdering::Lexicographic);
        if sorted.to_vec().ok().as_deref() != Some(bytes) {
            return Err(EncryptionKeyError("not in deterministic encoding (WIRE 1.2)"));
        }
        if parameter(&key, D).is_some() {
            return Err(EncryptionKeyError("it contains a private key; publish the public half only"));
        }
        let thumbprint =
            thumbprint_input(&key).ok_or(EncryptionKeyError("kty is neither EC2 nor OKP with crv and x"))?;
        Ok(Self { cose_key: Bytes::copy_from_slice(bytes), id: KeyId(Digest::of(&thumbprint)) })
    }

    /// The COSE_Key as it was read.
    pub fn cose_key(&self) -> &Bytes {
        &self.cose_key
    }

    /// Its thumbprint (RFC 9679, SHA-256).
    pub fn id(&self) -> KeyId {
        self.id
    }
}

/// RFC 9679 §3: the required parameters only, encoded deterministically.
fn thumbprint_input(key: &CoseKey) -> Option<Vec<u8>> {
    let RegisteredLabel::Assigned(kty) = key.kty else { return None };
    let curve = i64::try_from(parameter(key, CRV)?.as_integer()?).ok()?;
    let x = parameter(key, X)?.as_bytes()?;
    let mut out = Vec::with_capacity(96);
    let mut writer = Writer::new(&mut out);
    let mut begin = |count| {
        writer.map(count);
        writer.uint(1);
        writer.int(kty.to_i64());
        writer.int(CRV);
        writer.int(curve);
        writer.int(X);
        writer.bytes(x);
    };
    match kty {
        KeyType::OKP => begin(3),
        KeyType::EC2 => {
            begin(4);
            writer.int(Y);
            writer.bytes(parameter(key, Y)?.as_bytes()?);
        }
        _ => return None,
    }
    Some(out)
}

fn parameter(key: &CoseKey, label: i64) -> Option<&Value> {
    key.params.iter().find(|(found, _)| *found == Label::Int(label)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use kernpost_codecs::key::{Algorithm, SigningKey};

    #[test]
    fn the_thumbprint_is_that_of_rfc_9679() {
        // Both crates hash the same parameters, so a signature key read here has the id codecs gives it.
        for algorithm in [Algorithm::Esp256, Algorithm::Esp384, Algorithm::Ed25519] {
            let key = SigningKey::generate(algorithm).unwrap();
            let read = EncryptionKey::from_cose_key(&key.public().to_cose_key()).unwrap();
            assert_eq!(read.id(), key.public().id());
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bytes in [&b""[..], &[0xa0], &[0xa1, 1, 4], &[0xff; 600], &[0xa1, 0x18, 1, 2]] {
            assert!(EncryptionKey::from_cose_key(bytes).is_err(), "{bytes:02x?}");
        }
    }
}
