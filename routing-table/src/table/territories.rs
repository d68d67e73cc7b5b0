//! Which territory number does an ARS have?
//!
//! The jurisdiction prefixes that routes name form a tree. Its nodes are numbered in preorder, so that a prefix covers
//! exactly the numbers from its own up to its last descendant's; an ARS has the number of the longest prefix that
//! covers it. An ARS that ended has its successor's number: succession costs a lookup nothing.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use kernpost_codecs::{Ars, JurisdictionLevel};

use super::perfect_hash::PerfectHash;
use crate::prefixes::{ANY, ars_at, place_contains};

/// Levels of the jurisdiction hierarchy between a Gemeinde and *any*, the most specific first.
const LEVELS: [JurisdictionLevel; 4] =
    [JurisdictionLevel::Verband, JurisdictionLevel::Kreis, JurisdictionLevel::Bezirk, JurisdictionLevel::Land];

/// Bits of a number in a slot; the rest is the key.
const NUMBER_BITS: u32 = 23;
/// A slot without a key: no key has all its bits set.
const EMPTY: u64 = u64::MAX;

/// The ARS that ended, each with the one it is routed by.
pub(super) type Successors = HashMap<Ars, Ars, FixedState>;

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
    successors: Successors,
}

impl Territories {
    /// Numbers the prefixes, given as [`crate::prefixes::place_prefix`]; `successors` in force lead to the end of chains.
    ///
    /// `None` when there are 2^23 prefixes or more.
    pub(super) fn new(prefixes: impl IntoIterator<Item = u64>, successors: Successors) -> Option<Self> {
        let mut keys: Vec<u64> = prefixes.into_iter().collect();
        keys.push(ANY);
        keys.sort_unstable();
        keys.dedup();
        let mut numbered: BTreeMap<u64, u32> = keys.iter().copied().zip(0..).collect();
        let mut territories = Self { last: last_below(&keys), keys, ..Self::default() };
        territories.store(&numbered)?;
        if !successors.is_empty() {
            for (old, new) in &successors {
                numbered.insert(ars_at(*old, JurisdictionLevel::Gemeinde), territories.number(*new));
            }
            territories.store(&numbered)?;
            territories.successors = successors;
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
        match self.get(ars_at(ars, JurisdictionLevel::Gemeinde)) {
            Some(number) => number,
            None => self.number_above(ars),
        }
    }

    #[inline(never)]
    fn number_above(&self, ars: Ars) -> u32 {
        LEVELS.into_iter().find_map(|level| self.get(ars_at(ars, level))).unwrap_or(0)
    }

    /// The number of a prefix that was numbered.
    pub(super) fn of_prefix(&self, place: u64) -> Option<u32> {
        // An ARS that ended has another's number in its slot.
        let number = self.get(place).filter(|number| self.keys.get(*number as usize) == Some(&place));
        number.or_else(|| u32::try_from(self.keys.binary_search(&place).ok()?).ok())
    }

    /// The last number below a prefix, given by its own number.
    pub(super) fn last(&self, number: u32) -> Option<u32> {
        self.last.get(number as usize).copied()
    }

    /// Every numbered prefix, ascending: its place in this list is its number.
    pub(super) fn prefixes(&self) -> &[u64] {
        &self.keys
    }

    /// Which ARS have ended, and by which they are routed.
    pub(super) fn successors(&self) -> &Successors {
        &self.successors
    }

    /// The ARS to route by: the successor's when `ars` ended.
    pub(super) fn current(&self, ars: Ars) -> Ars {
        self.successors.get(&ars).copied().unwrap_or(ars)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.hash.bytes()
            + self.slots.len() * size_of::<u64>()
            + self.keys.len() * (size_of::<u64>() + size_of::<u32>())
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
        while open.last().is_some_and(|(above, _)| !place_contains(*above, *key)) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::prefixes::place_prefix;

    fn place(text: &str) -> u64 {
        place_prefix(text.parse().unwrap())
    }

    fn numbered(prefixes: &[&str], successors: &[(&str, &str)]) -> Territories {
        let successors = successors.iter().map(|(o, n)| (o.parse().unwrap(), n.parse().unwrap())).collect();
        Territories::new(prefixes.iter().map(|text| place(text)), successors).unwrap()
    }

    fn range(t: &Territories, text: &str) -> (u32, u32) {
        let number = t.of_prefix(place(text)).unwrap();
        (number, t.last(number).unwrap())
    }

    #[test]
    fn an_ars_has_the_number_of_its_longest_prefix() {
        let t = numbered(&["14", "14713", "147130000000", "14523", "000000000000"], &[]);
        let number = |text: &str| t.number(text.parse().unwrap());
        assert_eq!(range(&t, ""), (0, 5));
        assert_eq!(number("147130000000"), range(&t, "147130000000").0);
        assert_eq!(number("147139999999"), range(&t, "14713").0);
        assert_eq!(number("145230010010"), range(&t, "14523").0);
        assert_eq!(number("146120000000"), range(&t, "14").0);
        assert_eq!(number("000000000000"), range(&t, "000000000000").0);
        assert_eq!(number("010510044044"), 0);
        assert_eq!(range(&t, "14").1, range(&t, "147130000000").1);
    }

    #[test]
    fn an_ended_ars_has_its_successors_number_and_its_prefix_keeps_its_own() {
        let t = numbered(&["03", "03159", "03152", "031520012012"], &[("031520012012", "031590016016")]);
        let number = |text: &str| t.number(text.parse().unwrap());
        assert_eq!(number("031520012012"), number("031590016016"));
        assert_ne!(number("031520011011"), number("031590016016"));
        let (own, last) = range(&t, "031520012012");
        assert_eq!((own, last), (own, own));
        assert_ne!(own, number("031590016016"));
        assert!(t.of_prefix(place("03153")).is_none());
    }
}
