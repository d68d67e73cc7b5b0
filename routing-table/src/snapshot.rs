//! Is this a zone snapshot, what does it say and who signed it?
//!
//! A snapshot travels as COSE_Sign (tag 98) around a deterministic CBOR payload (WIRE 11, DIRECTORY 3). This file opens
//! and makes the envelope; whether the signers may speak for the zone, and whether what they say fits the other zones,
//! is decided in `directory.rs`. One encoding per envelope: anything else is refused, so the digest names the content.

mod decode;
mod encode;

use std::collections::BTreeSet;

use bytes::Bytes;
use coset::{CoseSign, CoseSignature, Header, ProtectedHeader, TaggedCborSerializable};
use kernpost_codecs::cbor::{Reader, Writer};
use kernpost_codecs::key::{Algorithm, KeyError, KeyId, SigningKey};
use kernpost_codecs::{Digest, ZoneVersion};

pub use decode::PayloadError;

use crate::model::{Maintainers, ZoneSnapshot};

/// Format number of the payload (DIRECTORY 3.1).
const FORMAT: u64 = 1;
/// Type of the document, in the body's protected header.
const TYPE: &str = "application/kernpost-zone+cose";
/// COSE header label `typ` (RFC 9596).
const TYP: u64 = 16;
/// Longest signed snapshot read, in bytes: 256 MiB, about 2.5 million routes.
pub const MAX_LEN: usize = 256 << 20;
/// Most signatures on a snapshot.
pub const MAX_SIGNATURES: usize = 32;

/// A snapshot in its signed form, opened but not yet believed.
#[derive(Debug, Clone)]
pub struct SignedSnapshot {
    bytes: Bytes,
    digest: Digest,
    snapshot: ZoneSnapshot,
    envelope: CoseSign,
    signers: Vec<(Algorithm, KeyId)>,
}

/// Why bytes are not a signed zone snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Longer than [`MAX_LEN`].
    #[error("has {0} bytes, more than {MAX_LEN}; split the zone")]
    TooLong(usize),
    /// Not a COSE_Sign, or not in its one encoding.
    #[error("is not a signed snapshot: {0}; sign it with `kernpost directory sign`")]
    Envelope(&'static str),
    /// The payload is not a snapshot.
    #[error("payload: {0}")]
    Payload(#[from] PayloadError),
    /// A key could not sign.
    #[error("could not sign: {0}")]
    Key(#[from] KeyError),
}

/// What the signatures of a snapshot amount to, measured against a zone's maintainers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signers {
    /// Maintainer keys with a valid signature, each once.
    pub valid: BTreeSet<KeyId>,
    /// Maintainer keys whose signature does not verify.
    pub invalid: BTreeSet<KeyId>,
    /// Signatures by keys that are no maintainer's.
    pub strangers: BTreeSet<KeyId>,
}

/// Encodes and signs a snapshot with every key given. Signatures of further maintainers: [`cosign`].
///
/// # Errors
/// When a key cannot sign or the result is too long.
pub fn sign(snapshot: &ZoneSnapshot, keys: &[&SigningKey]) -> Result<Bytes, SnapshotError> {
    let envelope = CoseSign {
        protected: protected(body_header()),
        payload: Some(encode::payload(snapshot)),
        ..CoseSign::default()
    };
    finish(envelope, keys)
}

/// Adds signatures to a signed snapshot; one that is there already is replaced.
///
/// # Errors
/// When `bytes` is no signed snapshot, a key cannot sign or the result is too long.
pub fn cosign(bytes: &Bytes, keys: &[&SigningKey]) -> Result<Bytes, SnapshotError> {
    let mut envelope = SignedSnapshot::open(bytes.clone())?.envelope;
    let again: Vec<Vec<u8>> = keys.iter().map(|key| signer_header(key.algorithm(), &key.public().id())).collect();
    envelope.signatures.retain(|old| !again.iter().any(|header| old.protected.original_data.as_ref() == Some(header)));
    finish(envelope, keys)
}

fn finish(mut envelope: CoseSign, keys: &[&SigningKey]) -> Result<Bytes, SnapshotError> {
    for key in keys {
        let header = signer_header(key.algorithm(), &key.public().id());
        let mut signature = CoseSignature { protected: protected(header), ..CoseSignature::default() };
        signature.signature = key.sign(&envelope.tbs_data(&[], &signature))?;
        envelope.signatures.push(signature);
    }
    if envelope.signatures.is_empty() {
        return Err(SnapshotError::Envelope("no key was given to sign it"));
    }
    let bytes = envelope.to_tagged_vec().map_err(|_| SnapshotError::Envelope("it cannot be encoded"))?;
    SignedSnapshot::open(Bytes::from(bytes)).map(|signed| signed.bytes)
}

impl SignedSnapshot {
    /// Opens a signed snapshot. No signature is checked yet: see [`SignedSnapshot::signers`].
    ///
    /// # Errors
    /// When it is too long, no COSE_Sign of this type, not in its one encoding, or its payload is no zone snapshot.
    pub fn open(bytes: Bytes) -> Result<Self, SnapshotError> {
        if bytes.len() > MAX_LEN {
            return Err(SnapshotError::TooLong(bytes.len()));
        }
        let fault = SnapshotError::Envelope;
        let envelope = CoseSign::from_tagged_slice(&bytes).map_err(|_| fault("it is no COSE_Sign with tag 98"))?;
        if envelope.protected.original_data != Some(body_header()) {
            return Err(fault("its protected header is not the type application/kernpost-zone+cose alone"));
        }
        if !envelope.unprotected.is_empty() {
            return Err(fault("its unprotected header is not empty"));
        }
        if envelope.signatures.is_empty() || envelope.signatures.len() > MAX_SIGNATURES {
            return Err(fault("it has no signature, or more than 32"));
        }
        let signers = envelope.signatures.iter().map(signer).collect::<Option<Vec<_>>>();
        let signers = signers.ok_or(fault("a signer's protected header is not algorithm and key id alone"))?;
        if envelope.clone().to_tagged_vec().ok().as_deref() != Some(&bytes) {
            return Err(fault("it is not in deterministic encoding"));
        }
        let snapshot = decode::payload(envelope.payload.as_deref().ok_or(fault("it has no payload"))?)?;
        Ok(Self { digest: Digest::of(&bytes), bytes, snapshot, envelope, signers })
    }

    /// The signed form, as distributed.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 of the signed form.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it says. Not believed before [`crate::Directory::verify`].
    pub fn snapshot(&self) -> &ZoneSnapshot {
        &self.snapshot
    }

    /// Zone, serial and digest.
    pub fn version(&self) -> ZoneVersion {
        ZoneVersion { zone: self.snapshot.zone.clone(), serial: self.snapshot.serial, digest: self.digest }
    }

    /// Checks every signature against a zone's maintainers.
    pub fn signers(&self, maintainers: &Maintainers) -> Signers {
        let mut found = Signers::default();
        for (signature, (algorithm, id)) in self.envelope.signatures.iter().zip(&self.signers) {
            let Some(key) = maintainers.key(id) else {
                found.strangers.insert(*id);
                continue;
            };
            let signed = self.envelope.tbs_data(&[], signature);
            let good = key.algorithm() == *algorithm && key.verify(&signed, &signature.signature).is_ok();
            if good {
                found.valid.insert(*id)
            } else {
                found.invalid.insert(*id)
            };
        }
        found
    }

    /// The zone snapshot alone.
    pub fn into_snapshot(self) -> ZoneSnapshot {
        self.snapshot
    }
}

/// Decodes the payload of a snapshot without its envelope (for fuzzing and tools).
///
/// # Errors
/// Names the entry and the field at fault.
pub fn decode_payload(bytes: &[u8]) -> Result<ZoneSnapshot, PayloadError> {
    decode::payload(bytes)
}

/// Encodes the payload of a snapshot without its envelope.
pub fn encode_payload(snapshot: &ZoneSnapshot) -> Vec<u8> {
    encode::payload(snapshot)
}

fn protected(encoded: Vec<u8>) -> ProtectedHeader {
    ProtectedHeader { original_data: Some(encoded), header: Header::default() }
}

fn body_header() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    let mut out = Writer::new(&mut bytes);
    out.map(1);
    out.uint(TYP);
    out.text(TYPE);
    bytes
}

fn signer_header(algorithm: Algorithm, id: &KeyId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    let mut out = Writer::new(&mut bytes);
    out.map(2);
    out.uint(1);
    out.int(algorithm.cose_id());
    out.uint(4);
    out.bytes(&id.0.0);
    bytes
}

/// Algorithm and key id of a signature, if its protected header is exactly those two and the unprotected is empty.
fn signer(signature: &CoseSignature) -> Option<(Algorithm, KeyId)> {
    let encoded = signature.protected.original_data.as_deref()?;
    let mut input = Reader::new(encoded);
    let mut keys = input.map().ok()?;
    let first = keys.next(&mut input).ok()??;
    let algorithm = Algorithm::from_cose_id(input.int().ok()?)?;
    let second = keys.next(&mut input).ok()??;
    let id = KeyId(Digest(input.fixed("key id").ok()?));
    let whole = encoded == signer_header(algorithm, &id);
    (first == 1 && second == 4 && whole && signature.unprotected.is_empty()).then_some((algorithm, id))
}
