//! How is a public key written as a COSE_Key, and what is hashed for its thumbprint?
//!
//! RFC 9052 §7, RFC 9053 §7, RFC 9964 (key type AKP) and RFC 9679 §3. Deterministic CBOR only: input must equal its own
//! shortest encoding.

use coset::cbor::value::Value;
use coset::iana::{AkpKeyParameter, Ec2KeyParameter, EllipticCurve, EnumI64, KeyType, OkpKeyParameter};
use coset::{CborOrdering, CborSerializable, CoseKey, Label, RegisteredLabel, RegisteredLabelWithPrivate};

use super::{Algorithm, KeyError, PublicKey};
use crate::cbor::Writer;

/// Longest COSE_Key read, in bytes: ours have 42 (Ed25519), 77 (ESP256), 110 (ESP384) and 1,962 (ML-DSA-65).
const MAX_LEN: usize = 4_096;

/// Parameter −1 of EC2 and OKP keys.
const CRV: i64 = Ec2KeyParameter::Crv as i64;
/// Parameter −2 of EC2 and OKP keys.
const X: i64 = Ec2KeyParameter::X as i64;
/// Parameter −3 of an EC2 key.
const Y: i64 = Ec2KeyParameter::Y as i64;
/// Parameter −4 of EC2 and OKP keys: the private key.
const D: i64 = OkpKeyParameter::D as i64;
/// Parameter −1 of an AKP key: the public key.
const PUB: i64 = AkpKeyParameter::Pub as i64;
/// Parameter −2 of an AKP key: the private key.
const PRIV: i64 = AkpKeyParameter::Priv as i64;

pub(super) fn parse(bytes: &[u8]) -> Result<PublicKey, KeyError> {
    if bytes.len() > MAX_LEN {
        return Err(KeyError::CoseKey("longer than 4,096 bytes"));
    }
    let key = CoseKey::from_slice(bytes).map_err(|_| KeyError::CoseKey("not a CBOR map of key parameters"))?;
    let mut sorted = key.clone();
    sorted.canonicalize(CborOrdering::Lexicographic);
    if sorted.to_vec().ok().as_deref() != Some(bytes) {
        return Err(KeyError::CoseKey("not in deterministic encoding (WIRE 1.2)"));
    }
    let private = if key.kty == RegisteredLabel::Assigned(KeyType::AKP) { PRIV } else { D };
    if parameter(&key, private).is_some() {
        return Err(KeyError::CoseKey("it contains a private key; that does not belong here"));
    }
    let algorithm = algorithm_of(&key)?;
    match algorithm {
        Algorithm::Esp256 => {
            let x = bytes_of(&key, X, 32).ok_or(KeyError::CoseKey("x (-2) is not 32 bytes"))?;
            let y = bytes_of(&key, Y, 32);
            let y = y.ok_or(KeyError::CoseKey("y (-3) is not 32 bytes; write the point in full"))?;
            PublicKey::from_raw(algorithm, &[&[0x04], x, y].concat())
        }
        Algorithm::Esp384 => {
            let x = bytes_of(&key, X, 48).ok_or(KeyError::CoseKey("x (-2) is not 48 bytes"))?;
            let y = bytes_of(&key, Y, 48);
            let y = y.ok_or(KeyError::CoseKey("y (-3) is not 48 bytes; write the point in full"))?;
            PublicKey::from_raw(algorithm, &[&[0x04], x, y].concat())
        }
        Algorithm::Ed25519 => {
            let x = bytes_of(&key, X, 32).ok_or(KeyError::CoseKey("x (-2) is not 32 bytes"))?;
            PublicKey::from_raw(algorithm, x)
        }
        Algorithm::MlDsa65 => {
            let raw = bytes_of(&key, PUB, algorithm.public_key_len());
            PublicKey::from_raw(algorithm, raw.ok_or(KeyError::CoseKey("pub (-1) is not 1,952 bytes"))?)
        }
    }
}

/// What kty and crv say, or for AKP keys alg, which then must be there (RFC 9964); a stated alg must fit.
fn algorithm_of(key: &CoseKey) -> Result<Algorithm, KeyError> {
    let stated = stated_algorithm(key)?;
    let curve = parameter(key, CRV).and_then(Value::as_integer).and_then(|curve| i64::try_from(curve).ok());
    let algorithm = match (&key.kty, curve) {
        (RegisteredLabel::Assigned(KeyType::AKP), _) => {
            let stated = stated.ok_or(KeyError::CoseKey("alg (3) is missing; an AKP key states its algorithm"))?;
            return match stated {
                Algorithm::MlDsa65 => Ok(stated),
                _ => Err(KeyError::CoseKey("alg (3) does not fit an AKP key")),
            };
        }
        (RegisteredLabel::Assigned(KeyType::EC2), Some(curve)) if curve == EllipticCurve::P_256.to_i64() => {
            Algorithm::Esp256
        }
        (RegisteredLabel::Assigned(KeyType::EC2), Some(curve)) if curve == EllipticCurve::P_384.to_i64() => {
            Algorithm::Esp384
        }
        (RegisteredLabel::Assigned(KeyType::OKP), Some(curve)) if curve == EllipticCurve::Ed25519.to_i64() => {
            Algorithm::Ed25519
        }
        _ => {
            return Err(KeyError::CoseKey(
                "kty and crv are neither EC2 with P-256 or P-384, nor OKP with Ed25519, nor is it AKP",
            ));
        }
    };
    match stated {
        Some(stated) if stated != algorithm => Err(KeyError::CoseKey("alg (3) does not fit the curve")),
        _ => Ok(algorithm),
    }
}

fn stated_algorithm(key: &CoseKey) -> Result<Option<Algorithm>, KeyError> {
    let stated = match &key.alg {
        None => return Ok(None),
        Some(RegisteredLabelWithPrivate::Assigned(known)) => known.to_i64(),
        Some(RegisteredLabelWithPrivate::PrivateUse(number)) => *number,
        Some(RegisteredLabelWithPrivate::Text(name)) => {
            return Err(KeyError::UnknownAlgorithm { found: name.clone() });
        }
    };
    let known = Algorithm::from_cose_id(stated);
    known.map(Some).ok_or_else(|| KeyError::UnknownAlgorithm { found: stated.to_string() })
}

fn parameter(key: &CoseKey, label: i64) -> Option<&Value> {
    key.params.iter().find(|(found, _)| *found == Label::Int(label)).map(|(_, value)| value)
}

fn bytes_of(key: &CoseKey, label: i64, length: usize) -> Option<&[u8]> {
    parameter(key, label)?.as_bytes().map(Vec::as_slice).filter(|bytes| bytes.len() == length)
}

/// `{1: kty, 3: alg, -1: crv, -2: x, -3: y}`, or `{1: 7, 3: alg, -1: pub}`.
pub(super) fn encode(algorithm: Algorithm, raw: &[u8]) -> Vec<u8> {
    write(algorithm, raw, true)
}

/// The required parameters only (RFC 9679 §4): `{1: kty, -1: crv, -2: x, -3: y}`. For an AKP key alg is one of them
/// (RFC 9964, AKP Thumbprints): `{1: 7, 3: alg, -1: pub}`.
pub(super) fn thumbprint_input(algorithm: Algorithm, raw: &[u8]) -> Vec<u8> {
    write(algorithm, raw, algorithm == Algorithm::MlDsa65)
}

fn write(algorithm: Algorithm, raw: &[u8], with_algorithm: bool) -> Vec<u8> {
    let point = raw.get(1..).unwrap_or_default();
    let (x, y) = point.split_at(point.len() / 2);
    let (kty, curve, values): (_, _, &[(i64, &[u8])]) = match algorithm {
        Algorithm::Esp256 => (KeyType::EC2, Some(EllipticCurve::P_256), &[(X, x), (Y, y)]),
        Algorithm::Esp384 => (KeyType::EC2, Some(EllipticCurve::P_384), &[(X, x), (Y, y)]),
        Algorithm::Ed25519 => (KeyType::OKP, Some(EllipticCurve::Ed25519), &[(X, raw)]),
        Algorithm::MlDsa65 => (KeyType::AKP, None, &[(PUB, raw)]),
    };
    let mut out = Vec::with_capacity(raw.len() + 32);
    let mut writer = Writer::new(&mut out);
    writer.map(1 + usize::from(with_algorithm) + usize::from(curve.is_some()) + values.len());
    writer.uint(1);
    writer.int(kty.to_i64());
    if with_algorithm {
        writer.uint(3);
        writer.int(algorithm.cose_id());
    }
    if let Some(curve) = curve {
        writer.int(CRV);
        writer.int(curve.to_i64());
    }
    for (label, bytes) in values {
        writer.int(*label);
        writer.bytes(bytes);
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::SigningKey;
    use super::*;
    use coset::{CoseKeyBuilder, iana};

    const X_RFC9679: &str = "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d";
    const Y_RFC9679: &str = "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn rfc9679() -> CoseKey {
        CoseKeyBuilder::new_ec2_pub_key(EllipticCurve::P_256, hex(X_RFC9679), hex(Y_RFC9679)).build()
    }

    #[test]
    fn the_thumbprint_of_rfc_9679_comes_out() {
        let mut key = rfc9679();
        key.key_id = b"meriadoc.brandybuck@buckland.example".to_vec();
        let key = PublicKey::from_cose_key(&key.to_vec().unwrap()).unwrap();
        assert_eq!(key.id().to_string(), "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec");
    }

    #[test]
    fn our_cose_keys_are_those_of_another_library() {
        let ours = SigningKey::generate(Algorithm::Esp256).unwrap().public().to_cose_key();
        let mut parsed = CoseKey::from_slice(&ours).unwrap();
        assert_eq!(parsed.alg, Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::ESP256)));
        parsed.canonicalize(CborOrdering::Lexicographic);
        assert_eq!(parsed.to_vec().unwrap(), ours);
        let ours = SigningKey::generate(Algorithm::Ed25519).unwrap().public().to_cose_key();
        let parsed = CoseKey::from_slice(&ours).unwrap();
        assert_eq!(parsed.alg, Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::Ed25519)));
        assert_eq!(parsed.to_vec().unwrap(), ours);
        let key = SigningKey::generate(Algorithm::MlDsa65).unwrap();
        let raw = key.public().raw().to_vec();
        let theirs = CoseKeyBuilder::new_mldsa_pub_key(coset::MlDsaVariant::MlDsa65, raw).build();
        assert_eq!(theirs.to_vec().unwrap(), key.public().to_cose_key());
        let key = SigningKey::generate(Algorithm::Esp384).unwrap();
        let (x, y) = key.public().raw()[1..].split_at(48);
        let mut theirs = CoseKeyBuilder::new_ec2_pub_key(EllipticCurve::P_384, x.to_vec(), y.to_vec())
            .algorithm(iana::Algorithm::ESP384)
            .build();
        theirs.canonicalize(CborOrdering::Lexicographic);
        assert_eq!(theirs.to_vec().unwrap(), key.public().to_cose_key());
    }

    #[test]
    fn the_thumbprint_of_an_akp_key_covers_kty_alg_and_pub() {
        let key = SigningKey::generate(Algorithm::MlDsa65).unwrap();
        // {1: 7, 3: -49, -1: h'<1952 bytes>'} by hand.
        let map = [&[0xa3, 0x01, 0x07, 0x03, 0x38, 0x30, 0x20, 0x59, 0x07, 0xa0], key.public().raw()].concat();
        assert_eq!(key.public().id().0, crate::digest::Digest::of(&map));
        assert_eq!(key.public().to_cose_key(), map);
        let length = |algorithm| SigningKey::generate(algorithm).unwrap().public().to_cose_key().len();
        assert_eq!(Algorithm::ALL.map(length), [77, 110, 42, 1_962]);
    }

    #[test]
    fn an_akp_key_without_algorithm_of_another_length_or_with_its_private_half_is_refused() {
        let raw = SigningKey::generate(Algorithm::MlDsa65).unwrap().public().raw().to_vec();
        let refusal = |change: &dyn Fn(&mut CoseKey)| {
            let mut key = CoseKeyBuilder::new_mldsa_pub_key(coset::MlDsaVariant::MlDsa65, raw.clone()).build();
            change(&mut key);
            PublicKey::from_cose_key(&key.to_vec().unwrap()).unwrap_err().to_string()
        };
        let value = |bytes: &[u8]| (Label::Int(PUB), Value::Bytes(bytes.to_vec()));
        assert!(refusal(&|key| key.params[0] = value(&raw[1..])).contains("1,952"));
        assert!(refusal(&|key| key.params[0] = value(&[&raw[..], &[0]].concat())).contains("1,952"));
        assert!(refusal(&|key| key.params[0] = value(&[])).contains("1,952"));
        assert!(refusal(&|key| key.params.clear()).contains("1,952"));
        assert!(refusal(&|key| key.alg = None).contains("alg (3) is missing"));
        let other = |algorithm| Some(RegisteredLabelWithPrivate::Assigned(algorithm));
        assert!(refusal(&|key| key.alg = other(iana::Algorithm::ESP256)).contains("AKP"));
        assert!(refusal(&|key| key.alg = other(iana::Algorithm::ML_DSA_87)).contains("-50"));
        assert!(refusal(&|key| key.params.push((Label::Int(PRIV), Value::Bytes(vec![1; 32])))).contains("private"));
    }

    #[test]
    fn unusable_keys_are_refused_with_the_parameter() {
        let refusal = |change: &dyn Fn(&mut CoseKey)| {
            let mut key = rfc9679();
            change(&mut key);
            PublicKey::from_cose_key(&key.to_vec().unwrap()).unwrap_err().to_string()
        };
        assert!(refusal(&|key| key.params.reverse()).contains("deterministic"));
        assert!(refusal(&|key| key.params.push((Label::Int(-4), Value::Bytes(vec![1; 32])))).contains("private"));
        assert!(refusal(&|key| key.params[2].1 = Value::Bool(true)).contains("y (-3)"));
        assert!(refusal(&|key| key.params[0].1 = Value::from(3)).contains("crv"));
        assert!(refusal(&|key| key.params[0].1 = Value::from(2)).contains("x (-2) is not 48"));
        assert!(refusal(&|key| key.params[2].1 = Value::Bytes(vec![7; 32])).contains("ESP256"));
        let other = Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::Ed25519));
        assert!(refusal(&|key| key.alg = other.clone()).contains("alg (3)"));
    }
}
