//! At which place of an array does a key lie? A near-minimal perfect hash, built once over a known set of keys.
//!
//! Every key gets a place of its own in an array 5 % longer than there are keys. Finding it reads one small pilot and
//! takes no branch, so the array itself, of whatever the owner stores per key, costs one probe; the owner compares the
//! key there, because a key that is not in the set gets some place too.
//!
//! Construction is hash-and-displace: keys fall into buckets, and each bucket, the fullest first, gets the first pilot
//! that sends all its keys to free places. Keys come from a signed directory; the hash need not resist attack.

/// Keys to a bucket, on average.
const BUCKET: usize = 4;
/// How many lengths are tried, each a little larger, when some bucket finds no pilot.
const TRIES: usize = 8;

/// The function from keys to places.
#[derive(Debug)]
pub(super) struct PerfectHash {
    /// As many as a power of two.
    pilots: Box<[u16]>,
    /// 64 − log2 of the number of pilots, at most 63.
    shift: u32,
    places: u32,
}

impl Default for PerfectHash {
    fn default() -> Self {
        Self { pilots: Box::new([0; 2]), shift: 63, places: 1 }
    }
}

impl PerfectHash {
    /// Builds the function; `None` when two keys are equal or there are almost 2^32.
    pub(super) fn new(keys: &[u64]) -> Option<Self> {
        let twentieth = keys.len() / 20 + 1;
        (1..=TRIES).find_map(|attempt| Self::with_places(keys, keys.len() + attempt * twentieth))
    }

    fn with_places(keys: &[u64], places: usize) -> Option<Self> {
        let pilots = (keys.len() / BUCKET).next_power_of_two().max(2);
        let shift = u64::BITS - pilots.ilog2();
        let mut hash = Self { pilots: vec![0; pilots].into_boxed_slice(), shift, places: u32::try_from(places).ok()? };
        let mut hashed: Vec<(usize, u64)> = keys.iter().map(|key| (hash.bucket(spread(*key)), spread(*key))).collect();
        hashed.sort_unstable();
        let mut buckets: Vec<&[(usize, u64)]> = hashed.chunk_by(|a, b| a.0 == b.0).collect();
        buckets.sort_by_key(|bucket| std::cmp::Reverse(bucket.len()));
        let mut taken = vec![false; places];
        let mut tried = Vec::new();
        buckets.into_iter().all(|bucket| hash.displace(bucket, &mut taken, &mut tried).is_some()).then_some(hash)
    }

    /// Finds the bucket's pilot and takes its places; `None` when there is none.
    fn displace(&mut self, bucket: &[(usize, u64)], taken: &mut [bool], tried: &mut Vec<usize>) -> Option<()> {
        for pilot in 0..=u16::MAX {
            tried.clear();
            let free = bucket.iter().all(|(_, hash)| {
                let place = self.displaced(*hash, pilot);
                let free = taken.get(place) == Some(&false) && !tried.contains(&place);
                tried.push(place);
                free
            });
            if free {
                for place in tried.iter() {
                    *taken.get_mut(*place)? = true;
                }
                *self.pilots.get_mut(bucket.first()?.0)? = pilot;
                return Some(());
            }
        }
        None
    }

    /// How long the owner's array is.
    pub(super) fn places(&self) -> usize {
        self.places as usize
    }

    /// The place of a key of the set; some place for any other key.
    #[inline]
    pub(super) fn place(&self, key: u64) -> usize {
        let hash = spread(key);
        let pilot = self.pilots.get(self.bucket(hash)).copied().unwrap_or(0);
        self.displaced(hash, pilot)
    }

    #[inline]
    // Not lossy: the shift leaves fewer bits than there are pilots.
    fn bucket(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// Scales 32 well-mixed bits to the number of places.
    #[inline]
    // Not lossy: the product's upper half is below the number of places.
    fn displaced(&self, hash: u64, pilot: u16) -> usize {
        let mixed = (hash ^ u64::from(pilot).wrapping_mul(PILOT)).wrapping_mul(DISPLACE);
        (((mixed >> 32) * u64::from(self.places)) >> 32) as usize
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.pilots)
    }
}

/// Odd constants with well-spread bits: the golden ratio, and the two multipliers of SplitMix64.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const PILOT: u64 = 0xbf58_476d_1ce4_e5b9;
const DISPLACE: u64 = 0x94d0_49bb_1331_11eb;

/// Sends close keys far apart; the upper bits depend on all bits of the key.
#[inline]
fn spread(key: u64) -> u64 {
    (key ^ (key >> 32)).wrapping_mul(SPREAD)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, HashSet};

    fn has_a_place_for_each(keys: &[u64]) -> bool {
        let hash = PerfectHash::new(keys).unwrap();
        let places: HashSet<usize> = keys.iter().map(|key| hash.place(*key)).collect();
        places.len() == keys.len() && places.iter().all(|place| *place < hash.places())
    }

    #[test]
    fn a_hundred_thousand_consecutive_or_spaced_keys_have_places_of_their_own() {
        for step in [1, 8, 1_000, 8_000_000] {
            let keys: Vec<u64> = (0..100_000).map(|i| i * step).collect();
            assert!(has_a_place_for_each(&keys), "step {step}");
            assert!(PerfectHash::new(&keys).unwrap().places() <= 110_000, "step {step}");
        }
    }

    #[test]
    fn equal_keys_are_refused_and_no_keys_are_fine() {
        assert!(PerfectHash::new(&[5, 5]).is_none());
        assert_eq!(PerfectHash::new(&[]).unwrap().place(7), 0);
        assert_eq!(PerfectHash::default().place(7), 0);
    }

    proptest! {
        #[test]
        fn any_keys_have_places_of_their_own(keys: BTreeSet<u64>, other: u64) {
            let keys: Vec<u64> = keys.into_iter().collect();
            prop_assert!(has_a_place_for_each(&keys));
            let hash = PerfectHash::new(&keys).unwrap();
            prop_assert!(hash.place(other) < hash.places());
        }
    }
}
