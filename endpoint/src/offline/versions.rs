//! Which signed zones made up a directory version?
//!
//! A version is the hash of its zones' list (WIRE 3.5), so a heap of snapshots, old and new, is enough to find it: every
//! combination with one snapshot per zone, or none, is tried, the newest first. Nothing is verified here.

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
    #[error("{snapshots} zone snapshots can be combined in more ways than are tried; leave out those of other years")]
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
    let ways = zones.iter().try_fold(1_u64, |ways, zone| ways.checked_mul(zone.len() as u64 + 1));
    if ways.is_none_or(|ways| ways > MOST_COMBINATIONS) {
        return Err(NotHeld::TooMany { snapshots: held });
    }
    let mut choice = vec![0; zones.len()];
    loop {
        let chosen: Vec<&(ZoneVersion, Bytes)> =
            zones.iter().zip(&choice).filter_map(|(zone, at): (_, &usize)| zone.get(*at)).collect();
        let list: Vec<ZoneVersion> = chosen.iter().map(|(zone, _)| zone.clone()).collect();
        if DirectoryVersion::of(&list) == *version {
            return Ok(chosen.into_iter().map(|(_, bytes)| bytes.clone()).collect());
        }
        if !advance(&mut choice, &zones) {
            return Err(NotHeld::NoCombination { snapshots: held });
        }
    }
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

/// The next combination; the place after a zone's last snapshot stands for none. False after the last one.
fn advance(choice: &mut [usize], zones: &[Held]) -> bool {
    for (at, zone) in choice.iter_mut().zip(zones) {
        if *at < zone.len() {
            *at += 1;
            return true;
        }
        *at = 0;
    }
    false
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
    fn a_heap_that_is_too_large_is_not_searched() {
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
        let heap: Vec<Bytes> = (0..20).map(|zone| signed(&key, &format!("z{zone}"), 1)).collect();
        assert_eq!(assemble(&version(&[&heap[0]]), &heap), Err(NotHeld::TooMany { snapshots: 20 }));
    }
}
