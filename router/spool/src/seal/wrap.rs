//! How do secrets lie on disk, wrapped by the master key?
//!
//! Row: version (1 byte), master key id (8), salt (32), secret (32, encrypted), tag (16). The wrapping key is HKDF-SHA256 of
//! the master key with that salt, which is fresh at each wrapping, so that a constant nonce is used once. Each row of a segment
//! lies in two keyspaces, hence in two files: one damaged block must not cost an hour of custody. Files of large payloads carry
//! theirs in their headers ([`crate::payloads`]).

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::SealError;
use crate::keys::{MasterKey, MasterKeyId, MasterKeys};
use crate::store::{Batch, Space, Store, StoreError};

/// 32 random bytes, wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// What a secret opens. It is part of the wrapping key and of what the tag covers: a row opens in its own place only.
pub(crate) struct Purpose<'n> {
    pub(crate) wrap: &'static [u8],
    pub(crate) secret: &'static [u8],
    pub(crate) name: &'n [u8],
}

impl Purpose<'_> {
    const fn segment(number: &[u8; 4]) -> Purpose<'_> {
        Purpose { wrap: b"kernpost spool wrap", secret: b"kernpost spool secret", name: number }
    }
}

pub(crate) fn fresh(random: &mut impl FnMut(&mut [u8])) -> Secret {
    let mut secret = Zeroizing::new([0; 32]);
    random(secret.as_mut_slice());
    secret
}

/// What a store holds of secrets.
#[derive(Default)]
pub(super) struct Found {
    pub(super) secrets: BTreeMap<u32, Secret>,
    /// Numbers of which neither copy can be unwrapped.
    pub(super) lost: Vec<u32>,
    /// The highest number ever used.
    pub(super) highest: u32,
}

pub(super) fn read_all(store: &impl Store, masters: &MasterKeys) -> Result<Found, SealError> {
    let mut found = Found { highest: read_highest(store), ..Found::default() };
    let (mut seen, mut strangers) = (BTreeSet::new(), BTreeMap::new());
    for (number, row) in COPIES.into_iter().flat_map(|copy| rows(store, copy)) {
        seen.insert(number);
        match unwrap(&Purpose::segment(&number.to_be_bytes()), &row, masters) {
            Unwrapped::Secret(secret) => {
                found.secrets.insert(number, secret);
            }
            Unwrapped::Stranger(id) => {
                strangers.insert(number, id);
            }
            Unwrapped::Damaged => {}
        }
    }
    if let Some((_, id)) = strangers.into_iter().find(|(number, _)| !found.secrets.contains_key(number)) {
        return Err(SealError::UnknownMaster { id });
    }
    found.highest = seen.last().copied().unwrap_or(0).max(found.highest);
    if found.highest > 0 {
        seen.insert(super::LOOKUP);
    }
    found.lost = seen.into_iter().filter(|number| !found.secrets.contains_key(number)).collect();
    Ok(found)
}

pub(super) fn write(
    number: u32,
    secret: &Secret,
    master: &MasterKey,
    random: &mut impl FnMut(&mut [u8]),
    batch: &mut Batch,
) -> Result<(), SealError> {
    let row = Bytes::from(wrap(&Purpose::segment(&number.to_be_bytes()), secret, master, random)?);
    for (space, prefix) in COPIES {
        batch.put(space, key_of(prefix, number), row.clone());
    }
    Ok(())
}

/// A row of [`ROW`] bytes.
pub(crate) fn wrap(
    purpose: &Purpose<'_>,
    secret: &Secret,
    master: &MasterKey,
    random: &mut impl FnMut(&mut [u8]),
) -> Result<Vec<u8>, SealError> {
    let mut salt = [0; SALT];
    random(&mut salt);
    let mut text = Zeroizing::new(secret.to_vec());
    let key = wrapping_key(purpose, master, &salt)?;
    let tag = key.seal_in_place_separate_tag(nonce(), Aad::from(associated(purpose)), text.as_mut_slice())?;
    Ok([&[VERSION][..], &master.id().0, &salt, &text, tag.as_ref()].concat())
}

pub(super) fn delete(number: u32, batch: &mut Batch) {
    for (space, prefix) in COPIES {
        batch.delete(space, key_of(prefix, number));
    }
}

pub(super) fn write_highest(number: u32, batch: &mut Batch) {
    batch.put(Space::Meta, HIGHEST, number.to_be_bytes().to_vec());
}

/// 0 when it cannot be read: then the highest number in use counts. A number used again still has a secret of its own.
fn read_highest(store: &impl Store) -> u32 {
    let found = store.get(Space::Meta, HIGHEST).ok().flatten();
    found.and_then(|bytes| bytes.first_chunk().copied()).map_or(0, u32::from_be_bytes)
}

/// The readable rows of one copy; where a scan meets a damaged block, each row is tried alone.
fn rows(store: &impl Store, (space, prefix): Place) -> Vec<(u32, Bytes)> {
    let number = |key: &Bytes| key.strip_prefix(prefix)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    let (from, to) = (key_of(prefix, 0), [prefix, &[0xff; 5]].concat());
    match store.scan(space, &from, &to, usize::MAX) {
        Ok(rows) => rows.into_iter().filter_map(|(key, row)| Some((number(&key)?, row))).collect(),
        Err(StoreError::Unreadable { .. }) => (0..=read_highest(store))
            .filter_map(|number| Some((number, store.get(space, &key_of(prefix, number)).ok().flatten()?)))
            .collect(),
        Err(_) => Vec::new(),
    }
}

pub(crate) enum Unwrapped {
    Secret(Secret),
    Stranger(MasterKeyId),
    Damaged,
}

pub(crate) fn unwrap(purpose: &Purpose<'_>, row: &[u8], masters: &MasterKeys) -> Unwrapped {
    let Some((id, salt, text)) = split(row) else { return Unwrapped::Damaged };
    let Some(master) = masters.find(id) else { return Unwrapped::Stranger(id) };
    let mut text = Zeroizing::new(text.to_vec());
    let opened = wrapping_key(purpose, master, salt).ok().and_then(|key| {
        let secret = key.open_in_place(nonce(), Aad::from(associated(purpose)), text.as_mut_slice()).ok()?;
        secret.first_chunk().copied()
    });
    opened.map_or(Unwrapped::Damaged, |secret| Unwrapped::Secret(Zeroizing::new(secret)))
}

fn split(row: &[u8]) -> Option<(MasterKeyId, &[u8], &[u8])> {
    let (version, rest) = row.split_first()?;
    let (id, rest) = rest.split_first_chunk::<8>()?;
    let (salt, text) = rest.split_at_checked(SALT)?;
    (*version == VERSION && text.len() == TEXT).then_some((MasterKeyId(*id), salt, text))
}

fn wrapping_key(purpose: &Purpose<'_>, master: &MasterKey, salt: &[u8]) -> Result<LessSafeKey, SealError> {
    let prk = Salt::new(HKDF_SHA256, salt).extract(master.bytes());
    let key = UnboundKey::from(prk.expand(&[purpose.wrap, purpose.name, &master.id().0], &AES_256_GCM)?);
    Ok(LessSafeKey::new(key))
}

/// Constant: every wrapping has a key of its own.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn associated(purpose: &Purpose<'_>) -> Vec<u8> {
    [purpose.secret, &[VERSION], purpose.name].concat()
}

fn key_of(prefix: &[u8], number: u32) -> Vec<u8> {
    [prefix, &number.to_be_bytes()].concat()
}

/// A keyspace, and what precedes the number in the keys there.
type Place = (Space, &'static [u8]);

const COPIES: [Place; 2] = [(Space::Segments, b""), (Space::Meta, b"segment ")];
const HIGHEST: &[u8] = b"highest segment";
const VERSION: u8 = 1;
const SALT: usize = 32;
/// Secret and tag.
const TEXT: usize = 48;
/// Bytes of a row.
pub(crate) const ROW: usize = 1 + 8 + SALT + TEXT;
