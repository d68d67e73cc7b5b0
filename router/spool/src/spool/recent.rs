//! Which messages came lately? What is not among them and is not older is certainly not held: nothing has to be read for it.
//!
//! Nearly every message that comes is new, and finding that out on disk would cost more than everything else that is done for it.
//! Lookup keys begin with a time: of the youngest times all keys are remembered here, 8 bytes of each, at most [`MOST`] of them.

use std::collections::{BTreeMap, HashSet};

use foldhash::fast::FixedState;

use crate::seal::LookupKey;

/// About 16 bytes for each of at most [`MOST`] messages.
#[derive(Debug)]
pub(super) struct Recent {
    /// By time, parts of the keyed hashes: nobody chooses them, so that a fixed seed is safe.
    times: BTreeMap<u32, HashSet<u64, FixedState>>,
    held: usize,
    /// All messages of this time and later ones are remembered; `None`: of no time.
    complete_from: Option<u32>,
}

impl Recent {
    /// Of a spool that holds nothing.
    pub(super) const fn of_nothing() -> Self {
        Self { times: BTreeMap::new(), held: 0, complete_from: Some(0) }
    }

    /// Of a spool that may hold anything: nothing is certain.
    pub(super) const fn unknown() -> Self {
        Self { times: BTreeMap::new(), held: 0, complete_from: None }
    }

    /// Of a spool that holds these keys, and no others of the first one's time or later; `from` when there are none.
    pub(super) fn of<'k>(from: &LookupKey, keys: impl Iterator<Item = &'k LookupKey>) -> Self {
        let mut recent = Self { complete_from: Some(split(from).0), ..Self::of_nothing() };
        keys.for_each(|key| recent.note(key));
        recent
    }

    /// Whether nothing is held under this key, for certain.
    pub(super) fn is_new(&self, key: &LookupKey) -> bool {
        let (time, hash) = split(key);
        let complete = self.complete_from.is_some_and(|from| time >= from);
        complete && self.times.get(&time).is_none_or(|hashes| !hashes.contains(&hash))
    }

    /// Something is held under this key from now on. What is deleted need not be told: then it is looked for in vain.
    pub(super) fn note(&mut self, key: &LookupKey) {
        let (time, hash) = split(key);
        if self.complete_from.is_none_or(|from| time < from) {
            return;
        }
        self.held += usize::from(self.times.entry(time).or_default().insert(hash));
        while self.held > MOST
            && let Some((oldest, hashes)) = self.times.pop_first()
        {
            self.held -= hashes.len();
            self.complete_from = oldest.checked_add(1);
        }
    }
}

fn split(key: &LookupKey) -> (u32, u64) {
    let [t0, t1, t2, t3, h0, h1, h2, h3, h4, h5, h6, h7, ..] = *key;
    (u32::from_be_bytes([t0, t1, t2, t3]), u64::from_be_bytes([h0, h1, h2, h3, h4, h5, h6, h7]))
}

/// Messages remembered: several seconds of a busy router.
const MOST: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(time: u32, n: u64) -> LookupKey {
        let mut key = [0; 20];
        key[..4].copy_from_slice(&time.to_be_bytes());
        key[4..12].copy_from_slice(&n.to_be_bytes());
        key
    }

    #[test]
    fn what_was_noted_is_not_new_and_what_was_not_is() {
        let mut recent = Recent::of_nothing();
        recent.note(&key(7, 1));
        assert!(!recent.is_new(&key(7, 1)));
        assert!(recent.is_new(&key(7, 2)) && recent.is_new(&key(6, 1)));
    }

    #[test]
    fn of_times_that_are_not_remembered_nothing_is_certain() {
        assert!(!Recent::unknown().is_new(&key(7, 1)));
        let mut recent = Recent::of(&key(7, 0), [key(8, 1)].iter());
        assert!(!recent.is_new(&key(6, 9)) && !recent.is_new(&key(8, 1)) && recent.is_new(&key(7, 9)));
        recent.note(&key(6, 5));
        assert!(!recent.is_new(&key(6, 9)));
    }

    #[test]
    fn the_oldest_times_are_forgotten_first_and_not_taken_for_new_afterwards() {
        let mut recent = Recent::of_nothing();
        recent.note(&key(1, 0));
        for n in 0..MOST as u64 {
            recent.note(&key(2, n));
        }
        assert!(!recent.is_new(&key(1, 0)) && !recent.is_new(&key(1, 5)));
        assert!(!recent.is_new(&key(2, 3)) && recent.is_new(&key(2, MOST as u64)));
        recent.note(&key(2, MOST as u64));
        assert_eq!(recent.held, 0);
        assert!(!recent.is_new(&key(2, 3)) && recent.is_new(&key(3, 3)));
        recent.note(&key(u32::MAX, 1));
        (0..=MOST as u64).for_each(|n| recent.note(&key(u32::MAX, n)));
        assert!(!recent.is_new(&key(u32::MAX, MOST as u64 + 1)));
    }
}
