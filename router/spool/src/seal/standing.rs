//! How is a value sealed that outlives every segment?
//!
//! Version (1 byte), salt (32), ciphertext, tag (16). The key is HKDF-SHA256 of the secret of the lookup keys with that salt, which
//! is random for each value, so that a constant nonce is used once. For few and small values: each costs a key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use bytes::Bytes;

use super::wrap::Secret;
use super::{Row, SealError};

pub(super) fn seal(
    secret: &Secret,
    row: Row<'_>,
    plain: &[u8],
    random: &mut impl FnMut(&mut [u8]),
) -> Result<Bytes, SealError> {
    let mut salt = [0; SALT];
    random(&mut salt);
    let mut text = plain.to_vec();
    key(secret, &salt)?.seal_in_place_append_tag(nonce(), Aad::from(associated(row)), &mut text)?;
    Ok([&[VERSION][..], &salt, &text].concat().into())
}

/// `None` when the tag does not fit.
pub(super) fn unseal(secret: &Secret, row: Row<'_>, sealed: &[u8]) -> Option<Bytes> {
    let (version, rest) = sealed.split_first()?;
    let (salt, text) = rest.split_at_checked(SALT)?;
    let mut text = text.to_vec();
    let key = key(secret, salt).ok().filter(|_| *version == VERSION)?;
    let plain = key.open_in_place(nonce(), Aad::from(associated(row)), &mut text).ok()?.len();
    text.truncate(plain);
    Some(text.into())
}

fn key(secret: &Secret, salt: &[u8]) -> Result<LessSafeKey, SealError> {
    let prk = Salt::new(HKDF_SHA256, salt).extract(secret.as_slice());
    Ok(LessSafeKey::new(UnboundKey::from(prk.expand(&[b"kernpost spool standing"], &AES_256_GCM)?)))
}

/// Constant: every value has a key of its own.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn associated(row: Row<'_>) -> Vec<u8> {
    let mut bytes = b"kernpost spool standing".to_vec();
    bytes.extend_from_slice(&[VERSION, row.space.number()]);
    bytes.extend_from_slice(&(row.key.len() as u64).to_be_bytes());
    bytes.extend_from_slice(row.key);
    bytes.extend_from_slice(row.identity);
    bytes
}

const VERSION: u8 = 1;
const SALT: usize = 32;
