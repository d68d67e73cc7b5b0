//! Which territory number does an ARS have?
//!
//! The jurisdiction prefixes that routes name form a tree. Its nodes are numbered in preorder, so that a prefix covers
//! exactly the numbers from its own up to its last descendant's; an ARS has the number of the longest prefix that
//! covers it. An ARS that ended has its successor's number: succession costs a lookup nothing.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use kernpost_codecs::{Ars, JurisdictionLevel, JurisdictionPrefix};

use super::perfect_hash::PerfectHash;

/// Levels of the jurisdiction hierarchy between a Gemeinde and *any*, the most specific first.
const LEVELS: [JurisdictionLevel; 4] =
    [JurisdictionLevel::Verband, JurisdictionLevel::Kreis, JurisdictionLevel::Bezirk, JurisdictionLevel::Land];

/// Bits of a number in a slot; the rest is the key.
const NUMBER_BITS: u32 = 23;
/// A slot without a key: no key has all its bits set.
const EMPTY: u64 = u64::MAX;

/// The numbering of one table.
#[derive(Debug, Default)]
pub(super) struct Territories {
    hash: PerfectHash,
    /// Key and number of each prefix and each ARS that ended, in one word.
    slots: Vec<u64>,
    /// For each number its prefix.
    keys: Vec<u64>,
    /// For each number the last number below it.
    last: Vec<u32>,
    successors: HashMap<u64, Ars, FixedState>,
}

impl Territories {
    /// Numbers the prefixes; `successors` are (old, new) pairs in force, already free of chains.
    ///
    /// `None` when there are 2^23 prefixes or more.
    pub(super) fn new(prefixes: impl Iterator<Item = JurisdictionPrefix>, successors: &[(Ars, Ars)]) -> Option<Self> {
        let mut keys: Vec<u64> = prefixes.map(key_of_prefix).collect();
        keys.push(ANY);
        keys.sort_unstable();
        keys.dedup();
        let mut numbered: BTreeMap<u64, u32> = keys.iter().copied().zip(0..).collect();
        let mut territories = Self { last: last_below(&keys), keys, ..Self::default() };
        territories.store(&numbered)?;
        if !successors.is_empty() {
            for (old, new) in successors {
                numbered.insert(key_of(*old, JurisdictionLevel::Gemeinde), territories.number(*new));
            }
            territories.store(&numbered)?;
            territories.successors = successors.iter().map(|(old, new)| (old.as_u64(), *new)).collect();
        }
        Some(territories)
    }

    fn store(&mut self, numbered: &BTreeMap<u64, u32>) -> Option<()> {
        let keys: Vec<u64> = numbered.keys().copied().collect();
        self.hash = PerfectHash::new(&keys)?;
        self.slots = vec![EMPTY; self.hash.places()];
        for (key, number) in numbered {
            if *number >= 1 << NUMBER_BITS {
                return None;
            }
            *self.slots.get_mut(self.hash.place(*key))? = key << NUMBER_BITS | u64::from(*number);
        }
        Some(())
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u32> {
        let slot = *self.slots.get(self.hash.place(key))?;
        // Not lossy: 23 bits remain.
        let number = (slot & ((1 << NUMBER_BITS) - 1)) as u32;
        (slot >> NUMBER_BITS == key).then_some(number)
    }

    /// The number of the longest prefix that covers `ars` (or its successor); 0 is *any*.
    #[inline]
    pub(super) fn number(&self, ars: Ars) -> u32 {
        match self.get(key_of(ars, JurisdictionLevel::Gemeinde)) {
            Some(number) => number,
            None => self.number_above(ars),
        }
    }

    #[inline(never)]
    fn number_above(&self, ars: Ars) -> u32 {
        LEVELS.into_iter().find_map(|level| self.get(key_of(ars, level))).unwrap_or(0)
    }

    /// First and last number below a prefix that was numbered.
    pub(super) fn range(&self, prefix: JurisdictionPrefix) -> Option<(u32, u32)> {
        // Not by `get`: an ARS that ended has another's number there.
        let first = self.keys.binary_search(&key_of_prefix(prefix)).ok()?;
        Some((u32::try_from(first).ok()?, *self.last.get(first)?))
    }

    /// The ARS to route by: the successor's when `ars` ended.
    pub(super) fn current(&self, ars: Ars) -> Ars {
        self.successors.get(&ars.as_u64()).copied().unwrap_or(ars)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.hash.bytes() + self.slots.len() * 8 + self.keys.len() * 12
    }

    /// How many prefixes are numbered.
    pub(super) fn len(&self) -> usize {
        self.last.len()
    }
}

/// For each of the ascending keys the number of the last one below it.
fn last_below(keys: &[u64]) -> Vec<u32> {
    let mut last: Vec<u32> = (0..).take(keys.len()).collect();
    let mut open: Vec<(u64, usize)> = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        while open.last().is_some_and(|(above, _)| !key_contains(*above, *key)) {
            open.pop();
        }
        open.push((*key, number));
        // The innermost first: what it covers, all around it cover too.
        for (_, around) in &open {
            if let Some(slot) = last.get_mut(*around) {
                *slot = u32::try_from(number).unwrap_or(u32::MAX);
            }
        }
    }
    last
}

/// Key of the empty prefix.
const ANY: u64 = 0;

/// A prefix as one number: first ARS below it × 8 + level. Ascending order is preorder.
#[inline]
fn key(first: u64, level: JurisdictionLevel) -> u64 {
    first * 8 + rank(level)
}

#[inline]
fn key_of(ars: Ars, level: JurisdictionLevel) -> u64 {
    let ars = ars.as_u64();
    key(ars - ars % width(rank(level)), level)
}

fn key_of_prefix(prefix: JurisdictionPrefix) -> u64 {
    key(prefix.as_u64(), prefix.level())
}

#[inline]
const fn rank(level: JurisdictionLevel) -> u64 {
    match level {
        JurisdictionLevel::Any => 0,
        JurisdictionLevel::Land => 1,
        JurisdictionLevel::Bezirk => 2,
        JurisdictionLevel::Kreis => 3,
        JurisdictionLevel::Verband => 4,
        JurisdictionLevel::Gemeinde => 5,
    }
}

/// How many ARS a prefix of this rank spans.
#[inline]
const fn width(rank: u64) -> u64 {
    match rank {
        0 => 1_000_000_000_000,
        1 => 10_000_000_000,
        2 => 1_000_000_000,
        3 => 10_000_000,
        4 => 1_000,
        _ => 1,
    }
}

fn key_contains(above: u64, below: u64) -> bool {
    let (first, value) = (above / 8, below / 8);
    above % 8 <= below % 8 && value >= first && value - first < width(above % 8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn numbered(prefixes: &[&str], successors: &[(&str, &str)]) -> Territories {
        let successors: Vec<_> = successors.iter().map(|(o, n)| (o.parse().unwrap(), n.parse().unwrap())).collect();
        Territories::new(prefixes.iter().map(|text| text.parse().unwrap()), &successors).unwrap()
    }

    #[test]
    fn an_ars_has_the_number_of_its_longest_prefix() {
        let t = numbered(&["14", "14713", "147130000000", "14523", "000000000000"], &[]);
        let number = |text: &str| t.number(text.parse().unwrap());
        let range = |text: &str| t.range(text.parse().unwrap()).unwrap();
        assert_eq!(range(""), (0, 5));
        assert_eq!(number("147130000000"), range("147130000000").0);
        assert_eq!(number("147139999999"), range("14713").0);
        assert_eq!(number("145230010010"), range("14523").0);
        assert_eq!(number("146120000000"), range("14").0);
        assert_eq!(number("000000000000"), range("000000000000").0);
        assert_eq!(number("010510044044"), 0);
        assert_eq!(range("14").1, range("147130000000").1);
    }

    #[test]
    fn an_ended_ars_has_its_successors_number() {
        let t = numbered(&["03", "03159", "03152"], &[("031520012012", "031590016016")]);
        let number = |text: &str| t.number(text.parse().unwrap());
        assert_eq!(number("031520012012"), number("031590016016"));
        assert_ne!(number("031520011011"), number("031590016016"));
    }
}
