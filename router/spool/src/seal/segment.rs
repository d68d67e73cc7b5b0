//! How is a value sealed within a segment?
//!
//! The segment's key is HKDF-SHA256 of its secret and number. The counter comes from the vault, which alone knows that
//! this process writes the segment; one that was read from disk is only opened.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use bytes::Bytes;

use super::value::{HEAD, Head, OVERHEAD, TAG};
use super::wrap::Secret;
use super::{Row, SealError};

pub(super) struct Segment {
    number: u32,
    secret: Secret,
    key: LessSafeKey,
}

impl Segment {
    pub(super) fn new(number: u32, secret: Secret) -> Result<Self, SealError> {
        let prk = Salt::new(HKDF_SHA256, &[]).extract(secret.as_slice());
        let number_bytes = number.to_be_bytes();
        let key = UnboundKey::from(prk.expand(&[b"kernpost spool segment", &number_bytes], &AES_256_GCM)?);
        Ok(Self { number, secret, key: LessSafeKey::new(key) })
    }

    pub(super) const fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(super) fn seal(&self, counter: u64, row: Row<'_>, plain: &[u8]) -> Result<Bytes, SealError> {
        let head = Head { segment: self.number, counter };
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        head.write(&mut sealed);
        sealed.extend_from_slice(plain);
        let (_, text) = sealed.split_at_mut(HEAD);
        let nonce = Nonce::assume_unique_for_key(head.nonce());
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(head.associated(row)), text)?;
        sealed.extend_from_slice(tag.as_ref());
        debug_assert_eq!(tag.as_ref().len(), TAG);
        Ok(sealed.into())
    }

    /// `None` when the tag does not fit.
    pub(super) fn unseal(&self, row: Row<'_>, sealed: &[u8]) -> Option<Bytes> {
        let head = Head::read(sealed)?;
        let mut text = sealed.get(HEAD..)?.to_vec();
        let nonce = Nonce::assume_unique_for_key(head.nonce());
        let plain = self.key.open_in_place(nonce, Aad::from(head.associated(row)), &mut text).ok()?.len();
        text.truncate(plain);
        Some(text.into())
    }
}
