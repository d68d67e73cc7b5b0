//! Which signed zones made up a directory version?
//!
//! A version is the hash of its zones' list (WIRE 3.5), so a heap of snapshots, old and new, is enough to find it: every
//! combination with one snapshot per zone, or none, is tried, the newest first, up to a bound. Nothing is verified here.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kernpost_codecs::{DirectoryVersion, ZoneId, ZoneVersion};
use kernpost_routing_table::snapshot::SignedSnapshot;

/// Most combinations tried.
pub const MOST_COMBINATIONS: u64 = 200_000;

/// Why no zones were found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotHeld {
    /// No combination hashes to the version.
    #[error("no combination of the {snapshots} zone snapshots at hand makes it up")]
    NoCombination {
        /// How many snapshots there were to combine.
        snapshots: usize,
    },
    /// There are too many snapshots to try.
    #[error(
        "{snapshots} zone snapshots can be combined in more ways than are tried; keep only those of the receipt's time"
    )]
    TooMany {
        /// How many snapshots there were to combine.
        snapshots: usize,
    },
}

/// Finds the snapshots of `version` among `snapshots`; those that are no signed zone are passed over.
///
/// # Errors
/// [`NotHeld`].
pub fn assemble(version: &DirectoryVersion, snapshots: &[Bytes]) -> Result<Vec<Bytes>, NotHeld> {
    let zones = by_zone(snapshots);
    let held = zones.iter().map(Vec::len).sum();
    let mut search = Search { version, choice: vec![0; zones.len()], zones: &zones, tries_left: MOST_COMBINATIONS };
    for deviations in 0..=zones.len() {
        if search.deviate(0, deviations) {
            return Ok(search.chosen().map(|(_, bytes)| bytes.clone()).collect());
        }
        if search.tries_left == 0 {
            return Err(NotHeld::TooMany { snapshots: held });
        }
    }
    Err(NotHeld::NoCombination { snapshots: held })
}

type Held = Vec<(ZoneVersion, Bytes)>;

/// The snapshots of each zone, the newest first, each document once.
fn by_zone(snapshots: &[Bytes]) -> Vec<Held> {
    let mut zones: BTreeMap<ZoneId, Held> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for bytes in snapshots {
        let Ok(signed) = SignedSnapshot::open(bytes.clone()) else { continue };
        if seen.insert(signed.digest()) {
            let version = signed.version();
            zones.entry(version.zone.clone()).or_default().push((version, bytes.clone()));
        }
    }
    let mut zones: Vec<Held> = zones.into_values().collect();
    for zone in &mut zones {
        zone.sort_by_key(|(version, _)| std::cmp::Reverse(version.serial));
    }
    zones
}

/// Combinations by how many zones deviate from their newest snapshot: what changed last is found first.
struct Search<'a> {
    version: &'a DirectoryVersion,
    zones: &'a [Held],
    /// Place among each zone's snapshots; the place after the last one stands for none.
    choice: Vec<usize>,
    tries_left: u64,
}

impl Search<'_> {
    /// Tries every choice in which exactly `deviations` zones from `start` on deviate; true when one is the version, and
    /// then `choice` is it.
    fn deviate(&mut self, start: usize, deviations: usize) -> bool {
        if deviations == 0 {
            return self.fits();
        }
        for zone in start..self.zones.len() {
            let places = self.zones.get(zone).map_or(0, Vec::len);
            for place in 1..=places {
                self.choose(zone, place);
                if self.deviate(zone + 1, deviations - 1) {
                    return true;
                }
                if self.tries_left == 0 {
                    return false;
                }
            }
            self.choose(zone, 0);
        }
        false
    }

    fn choose(&mut self, zone: usize, place: usize) {
        if let Some(choice) = self.choice.get_mut(zone) {
            *choice = place;
        }
    }

    fn fits(&mut self) -> bool {
        self.tries_left = self.tries_left.saturating_sub(1);
        let list: Vec<ZoneVersion> = self.chosen().map(|(zone, _)| zone.clone()).collect();
        DirectoryVersion::of(&list) == *self.version
    }

    fn chosen(&self) -> impl Iterator<Item = &(ZoneVersion, Bytes)> {
        self.zones.iter().zip(&self.choice).filter_map(|(zone, place)| zone.get(*place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernpost_codecs::UnixMs;
    use kernpost_codecs::key::{Algorithm, SigningKey};
    use kernpost_routing_table::{ZoneSnapshot, snapshot};

    fn signed(key: &SigningKey, zone: &str, serial: u64) -> Bytes {
        snapshot::sign(&ZoneSnapshot::empty(zone.parse().unwrap(), serial, UnixMs(0), UnixMs(1)), &[key]).unwrap()
    }

    fn version(snapshots: &[&Bytes]) -> DirectoryVersion {
        let zones = snapshots.iter().map(|bytes| SignedSnapshot::open((*bytes).clone()).unwrap().version());
        DirectoryVersion::of(&zones.collect::<Vec<_>>())
    }

    #[test]
    fn every_combination_of_old_and_new_zones_is_found() {
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
        let heap: Vec<Bytes> = [("de", 1), ("de", 2), ("sn", 1), ("sn", 2), ("sn", 3)]
            .map(|(zone, serial)| signed(&key, zone, serial))
            .into();
        let wanted = [vec![0], vec![1], vec![0, 2], vec![0, 4], vec![1, 3]];
        for places in wanted {
            let parts: Vec<&Bytes> = places.iter().map(|at| &heap[*at]).collect();
            let found = assemble(&version(&parts), &heap).unwrap();
            assert_eq!(found.iter().collect::<Vec<_>>(), parts, "{places:?}");
        }
        let other = signed(&key, "sn", 4);
        assert_eq!(assemble(&version(&[&heap[0], &other]), &heap), Err(NotHeld::NoCombination { snapshots: 5 }));
    }

    #[test]
    fn in_a_large_directory_what_changed_last_is_found_and_the_search_ends() {
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
        let old: Vec<Bytes> = (0..40).map(|zone| signed(&key, &format!("z{zone}"), 1)).collect();
        let mut heap = old.clone();
        heap.extend((0..40).map(|zone| signed(&key, &format!("z{zone}"), 2)));
        let newest: Vec<&Bytes> = heap.iter().skip(40).collect();
        assert_eq!(assemble(&version(&newest), &heap).unwrap().len(), 40);
        let mut before = newest.clone();
        before[17] = &old[17];
        before[30] = &old[30];
        assert_eq!(assemble(&version(&before), &heap).unwrap().len(), 40);
        let all_old: Vec<&Bytes> = old.iter().collect();
        assert_eq!(assemble(&version(&all_old), &heap), Err(NotHeld::TooMany { snapshots: 80 }));
    }
}
