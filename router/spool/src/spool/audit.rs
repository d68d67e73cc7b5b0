//! How does the log of administrative acts show that something was taken out of it or changed?
//!
//! Every entry begins with the SHA-256 of the one before (32 zero bytes in the first), and all are numbered without a gap.
//! Whoever keeps the last hash elsewhere also notices a cut end.

use bytes::Bytes;
use kernpost_codecs::Digest;

use super::layout;
use crate::seal::{Row, SealError, Vault};
use crate::store::{Batch, Space, Store, StoreError};

/// The end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEnd {
    /// How many entries there are.
    pub entries: u64,
    /// Hash of the last, to be kept elsewhere; 32 zero bytes when there is none.
    pub hash: Digest,
}

/// One act, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number, from 0.
    pub number: u64,
    /// The act, JSON; `None`: the row is damaged or gone.
    pub act: Option<Bytes>,
    /// Whether it follows the entry before it.
    pub chained: bool,
}

impl AuditEnd {
    pub(super) const START: Self = Self { entries: 0, hash: Digest([0; 32]) };

    /// Finds the end. A damaged last entry still counts: the next one follows the hash of nothing, which shows.
    pub(super) fn find(store: &impl Store, vault: &Vault) -> Result<Self, StoreError> {
        let counted = store.get(Space::Meta, layout::AUDITED).ok().flatten();
        let entries = match counted.as_deref().and_then(layout::read_number) {
            Some(entries) => entries,
            None => Self::count(store)?,
        };
        let Some(last) = entries.checked_sub(1) else { return Ok(Self::START) };
        let plain = open(store, vault, last).unwrap_or_default();
        Ok(Self { entries, hash: Digest::of(&plain) })
    }

    fn count(store: &impl Store) -> Result<u64, StoreError> {
        let mut entries = 0;
        loop {
            let page = store.scan(Space::Audit, &key(entries), &key(u64::MAX), PAGE)?;
            match page.last().and_then(|(last, _)| Some(u64::from_be_bytes(last[..].try_into().ok()?))) {
                Some(last) => entries = last + 1,
                None => return Ok(entries),
            }
        }
    }

    pub(super) fn append(
        &mut self,
        act: &[u8],
        vault: &Vault,
        random: &mut impl FnMut(&mut [u8]),
        batch: &mut Batch,
    ) -> Result<(), SealError> {
        let plain = [self.hash.as_bytes(), act].concat();
        let key = key(self.entries);
        batch.put(Space::Audit, key.to_vec(), vault.seal_standing(row(&key), &plain, random)?);
        *self = Self { entries: self.entries + 1, hash: Digest::of(&plain) };
        batch.put(Space::Meta, layout::AUDITED, layout::number(self.entries));
        Ok(())
    }
}

/// Entries from a number on, at most `most`, and whether each follows the one before.
pub(super) fn read(store: &impl Store, vault: &Vault, from: u64, most: usize, end: u64) -> Vec<AuditEntry> {
    let hash_of = |number: u64| open(store, vault, number).map(|plain| Digest::of(&plain));
    let mut before = match from.checked_sub(1) {
        Some(number) => hash_of(number),
        None => Some(AuditEnd::START.hash),
    };
    let mut found = Vec::new();
    for number in (from..end).take(most) {
        let plain = open(store, vault, number);
        let split = plain.as_ref().and_then(|plain| plain.split_first_chunk::<32>());
        let chained = split.zip(before).is_some_and(|((stated, _), before)| *stated == before.0);
        let act = split.map(|(_, act)| Bytes::copy_from_slice(act));
        before = plain.map(|plain| Digest::of(&plain));
        found.push(AuditEntry { number, act, chained });
    }
    found
}

fn open(store: &impl Store, vault: &Vault, number: u64) -> Option<Bytes> {
    let key = key(number);
    let sealed = store.get(Space::Audit, &key).ok().flatten()?;
    vault.unseal_standing(row(&key), &sealed).ok()
}

const fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

const fn row(key: &[u8]) -> Row<'_> {
    Row { space: Space::Audit, key, identity: b"" }
}

const PAGE: usize = 1_000;
