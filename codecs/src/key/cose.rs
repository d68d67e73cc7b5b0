//! How is a public key written as a COSE_Key, and what is hashed for its thumbprint?
//!
//! RFC 9052 §7, RFC 9053 §7 and RFC 9679 §3. Deterministic CBOR only: input must equal its own shortest encoding.

use coset::cbor::value::Value;
use coset::iana::{Ec2KeyParameter, EllipticCurve, EnumI64, KeyType, OkpKeyParameter};
use coset::{CborOrdering, CborSerializable, CoseKey, Label, RegisteredLabel, RegisteredLabelWithPrivate};

use super::{Algorithm, KeyError, PublicKey};

/// Longest COSE_Key read, in bytes: known ones have 44 and 80.
const MAX_LEN: usize = 512;

/// Parameter −1 of both key types.
const CRV: i64 = Ec2KeyParameter::Crv as i64;
/// Parameter −2 of both key types.
const X: i64 = Ec2KeyParameter::X as i64;
/// Parameter −3 of an EC2 key.
const Y: i64 = Ec2KeyParameter::Y as i64;
/// Parameter −4 of both key types: the private key.
const D: i64 = OkpKeyParameter::D as i64;

pub(super) fn parse(bytes: &[u8]) -> Result<PublicKey, KeyError> {
    if bytes.len() > MAX_LEN {
        return Err(KeyError::CoseKey("longer than 512 bytes"));
    }
    let key = CoseKey::from_slice(bytes).map_err(|_| KeyError::CoseKey("not a CBOR map of key parameters"))?;
    let mut sorted = key.clone();
    sorted.canonicalize(CborOrdering::Lexicographic);
    if sorted.to_vec().ok().as_deref() != Some(bytes) {
        return Err(KeyError::CoseKey("not in deterministic encoding (WIRE 1.2)"));
    }
    if parameter(&key, D).is_some() {
        return Err(KeyError::CoseKey("it contains a private key; that does not belong here"));
    }
    let curve = parameter(&key, CRV).and_then(Value::as_integer).and_then(|curve| i64::try_from(curve).ok());
    let algorithm = match (&key.kty, curve) {
        (RegisteredLabel::Assigned(KeyType::EC2), Some(curve)) if curve == EllipticCurve::P_256.to_i64() => {
            Algorithm::Esp256
        }
        (RegisteredLabel::Assigned(KeyType::OKP), Some(curve)) if curve == EllipticCurve::Ed25519.to_i64() => {
            Algorithm::Ed25519
        }
        _ => {
            return Err(KeyError::CoseKey("kty and crv are neither EC2 with P-256 nor OKP with Ed25519"));
        }
    };
    check_algorithm(&key, algorithm)?;
    let x = coordinate(&key, X).ok_or(KeyError::CoseKey("x (-2) is not 32 bytes"))?;
    match algorithm {
        Algorithm::Esp256 => {
            let y = coordinate(&key, Y).ok_or(KeyError::CoseKey("y (-3) is not 32 bytes; write the point in full"))?;
            PublicKey::from_raw(algorithm, &[&[0x04], x, y].concat())
        }
        Algorithm::Ed25519 => PublicKey::from_raw(algorithm, x),
    }
}

fn check_algorithm(key: &CoseKey, algorithm: Algorithm) -> Result<(), KeyError> {
    let stated = match &key.alg {
        None => return Ok(()),
        Some(RegisteredLabelWithPrivate::Assigned(known)) => known.to_i64(),
        Some(RegisteredLabelWithPrivate::PrivateUse(number)) => *number,
        Some(RegisteredLabelWithPrivate::Text(name)) => {
            return Err(KeyError::UnknownAlgorithm { found: name.clone() });
        }
    };
    match Algorithm::from_cose_id(stated) {
        Some(stated) if stated == algorithm => Ok(()),
        Some(_) => Err(KeyError::CoseKey("alg (3) does not fit the curve")),
        None => Err(KeyError::UnknownAlgorithm { found: stated.to_string() }),
    }
}

fn parameter(key: &CoseKey, label: i64) -> Option<&Value> {
    key.params.iter().find(|(found, _)| *found == Label::Int(label)).map(|(_, value)| value)
}

fn coordinate(key: &CoseKey, label: i64) -> Option<&[u8]> {
    parameter(key, label)?.as_bytes().map(Vec::as_slice).filter(|bytes| bytes.len() == 32)
}

/// `{1: kty, 3: alg, -1: crv, -2: x, -3: y}`.
pub(super) fn encode(algorithm: Algorithm, raw: &[u8]) -> Vec<u8> {
    write(algorithm, raw, true)
}

/// The required parameters only (RFC 9679 §4): `{1: kty, -1: crv, -2: x, -3: y}`.
pub(super) fn thumbprint_input(algorithm: Algorithm, raw: &[u8]) -> Vec<u8> {
    write(algorithm, raw, false)
}

/// Written by hand: these bytes are fixed but for the coordinates.
fn write(algorithm: Algorithm, raw: &[u8], with_algorithm: bool) -> Vec<u8> {
    let (kty, crv, alg, x, y) = match algorithm {
        Algorithm::Esp256 => {
            let (x, y) = raw.get(1..).unwrap_or_default().split_at(32.min(raw.len().saturating_sub(1)));
            (0x02, 0x01, 0x28, x, Some(y))
        }
        Algorithm::Ed25519 => (0x01, 0x06, 0x32, raw, None),
    };
    let parameters = 3 + u8::from(with_algorithm) + u8::from(y.is_some());
    let mut out = Vec::with_capacity(80);
    out.extend([0xa0 | parameters, 0x01, kty]);
    if with_algorithm {
        out.extend([0x03, alg]);
    }
    out.extend([0x20, crv, 0x21, 0x58, 0x20]);
    out.extend(x);
    if let Some(y) = y {
        out.extend([0x22, 0x58, 0x20]);
        out.extend(y);
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
        assert!(refusal(&|key| key.params[0].1 = Value::from(2)).contains("crv"));
        assert!(refusal(&|key| key.params[2].1 = Value::Bytes(vec![7; 32])).contains("ESP256"));
        let other = Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::Ed25519));
        assert!(refusal(&|key| key.alg = other.clone()).contains("alg (3)"));
    }
}
