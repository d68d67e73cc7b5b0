//! What of a directory has to be believed again when a few of its zones have new snapshots?
//!
//! Only the new snapshots are decoded, and only their signatures are checked. That is enough when nothing else can have
//! become wrong: the trust anchor, the zones and what they delegate are the same, and no endpoint or acceptance that
//! another zone's route may need is gone. Anything else, and any finding, leads to the complete verification, so both ways
//! give the same result.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::key::KeyId;
use kernpost_codecs::{DirectoryVersion, UnixMs, ZoneId};

use super::fault::{DirectoryErrors, Findings};
use super::{Directory, Verified, VerifiedZone, Zone, principals, routes, tree};
use crate::floor::SerialFloor;
use crate::model::{Maintainers, RouteEntry, Scope, TrustAnchor, ZoneSnapshot};
use crate::snapshot::SignedSnapshot;

/// New snapshots, by the place of their zone in the directory.
type Changed = BTreeMap<usize, SignedSnapshot>;

impl Directory {
    /// As [`Directory::verify_named`], with the same result for the same arguments, but takes over from this directory the
    /// zones whose snapshots are the same, byte for byte.
    ///
    /// Pays when few zones change. Shares memory with this directory; it can be dropped at any time.
    ///
    /// # Errors
    /// Everything that is wrong, each with zone, entry and remedy.
    pub fn verify_after(
        &self,
        anchor: &TrustAnchor,
        snapshots: impl IntoIterator<Item = (String, Bytes)>,
        floor: &SerialFloor,
        now: UnixMs,
    ) -> Result<Self, DirectoryErrors> {
        let snapshots: Vec<(String, Bytes)> = snapshots.into_iter().collect();
        match self.0.changed(anchor, &snapshots).and_then(|changed| self.0.with(changed, floor, now)) {
            Some(verified) => Ok(Self(Arc::new(verified))),
            None => Self::verify_named(anchor, snapshots, floor, now),
        }
    }
}

impl Verified {
    /// The snapshots that are new; `None` when more than a zone's own entries may differ.
    fn changed(&self, anchor: &TrustAnchor, snapshots: &[(String, Bytes)]) -> Option<Changed> {
        if *anchor != self.anchor || snapshots.len() != self.zones.len() {
            return None;
        }
        let mut by_length: HashMap<usize, Vec<usize>> = HashMap::new();
        for (place, signed) in self.signed.iter().enumerate() {
            by_length.entry(signed.len()).or_default().push(place);
        }
        let (mut met, mut changed) = (HashSet::new(), Changed::new());
        for (_, bytes) in snapshots {
            let alike = by_length.get(&bytes.len()).into_iter().flatten();
            let same = alike.copied().find(|place| self.signed.get(*place).is_some_and(|kept| same_bytes(kept, bytes)));
            let place = match same {
                Some(place) => place,
                None => {
                    let signed = SignedSnapshot::open(bytes.clone()).ok()?;
                    let place = self.place(&signed.snapshot().zone)?;
                    let (old, new) = (self.zones.get(place)?.snapshot(), signed.snapshot());
                    if old.delegations != new.delegations || old.root != new.root {
                        return None;
                    }
                    changed.insert(place, signed);
                    place
                }
            };
            if !met.insert(place) {
                return None;
            }
        }
        Some(changed)
    }

    fn place(&self, zone: &ZoneId) -> Option<usize> {
        self.zones.binary_search_by(|known| known.id().cmp(zone)).ok()
    }

    /// This directory with other snapshots of some zones; `None` when anything is wrong, or may be.
    fn with(&self, changed: Changed, floor: &SerialFloor, now: UnixMs) -> Option<Self> {
        let mut findings = Findings::default();
        for (place, zone) in self.zones.iter().enumerate() {
            match changed.get(&place) {
                Some(signed) => {
                    tree::check_document(signed.snapshot(), &signed.version(), floor, now, &mut findings);
                    self.check_signers(signed, &mut findings)?;
                }
                None => {
                    tree::check_document(zone.snapshot(), self.versions.get(place)?, floor, now, &mut findings);
                }
            }
        }
        self.check_entries(&changed, &mut findings)?;
        findings.or(()).ok()?;
        let (mut zones, mut versions, mut signed) = (self.zones.clone(), self.versions.clone(), self.signed.clone());
        let places: Vec<usize> = changed.keys().copied().collect();
        for (place, new) in changed {
            *versions.get_mut(place)? = new.version();
            *signed.get_mut(place)? = new.bytes().clone();
            *zones.get_mut(place)? = Arc::new(VerifiedZone::new(new));
        }
        if !places.iter().filter_map(|place| zones.get(*place)).all(|zone| self.overlap_free(zone, &zones)) {
            return None;
        }
        let version = DirectoryVersion::of(&versions);
        Some(Self { anchor: self.anchor.clone(), version, versions, zones, signed })
    }

    /// True when no route of this zone is in force together with one of the same prefixes, of this zone or another.
    fn overlap_free(&self, zone: &Arc<VerifiedZone>, zones: &[Arc<VerifiedZone>]) -> bool {
        let mut pairs = zone.order().windows(2);
        let own = pairs.all(|pair| match pair {
            // By their beginning: when each ends before the next one begins, no two overlap.
            [a, b] if a.prefixes() == b.prefixes() => apart(zone.route(a.route()), zone.route(b.route())),
            _ => true,
        });
        // Routes are within their zone's scopes: most zones have none in common.
        let scopes = |zone: &VerifiedZone| self.delegated(zone.id()).map_or(&[Scope::EVERYTHING][..], |found| found.1);
        let meet = |other: &VerifiedZone| scopes(zone).iter().any(|a| scopes(other).iter().any(|b| meet(a, b)));
        let others = zones.iter().filter(|other| !Arc::ptr_eq(other, zone) && meet(other));
        own && others.into_iter().all(|other| apart_from(zone, other))
    }

    fn check_signers(&self, signed: &SignedSnapshot, findings: &mut Findings) -> Option<()> {
        let zone = &signed.snapshot().zone;
        if *zone == self.anchor.root_zone {
            tree::check_root(&self.anchor, signed, findings);
        } else {
            tree::check_signers(signed, self.delegated(zone)?.0, findings, false);
        }
        Some(())
    }

    /// Who speaks for a zone that is delegated, and about what.
    fn delegated(&self, zone: &ZoneId) -> Option<(&Maintainers, &[Scope])> {
        let mut delegations = self.zones.iter().flat_map(|parent| &parent.snapshot().delegations);
        let delegation = delegations.find(|delegation| delegation.zone == *zone)?;
        Some((&delegation.maintainers, &delegation.scopes))
    }

    /// Checks the entries of the new snapshots against those of all zones. `None` when other zones' routes have to be
    /// looked at again.
    fn check_entries(&self, changed: &Changed, findings: &mut Findings) -> Option<()> {
        let everything = [Scope::EVERYTHING];
        let mut zones = Vec::with_capacity(self.zones.len());
        let (mut principals_differ, mut successors_differ) = (false, false);
        for (place, zone) in self.zones.iter().enumerate() {
            let old = zone.snapshot();
            let snapshot = changed.get(&place).map_or(old, SignedSnapshot::snapshot);
            if lost(old, snapshot) {
                return None;
            }
            principals_differ |= old.endpoints != snapshot.endpoints || old.routers != snapshot.routers;
            successors_differ |= old.successors != snapshot.successors;
            let root = snapshot.zone == self.anchor.root_zone;
            let scopes = if root { &everything } else { self.delegated(&snapshot.zone)?.1 };
            zones.push(Zone { snapshot, scopes });
        }
        if principals_differ {
            principals::check(&zones, &self.maintainer_keys(), findings);
        }
        let places: Vec<usize> = changed.keys().copied().collect();
        routes::check_entries_of(&zones, &places, findings);
        if successors_differ {
            routes::check_successors(&zones, findings);
        }
        Some(())
    }

    fn maintainer_keys(&self) -> HashMap<KeyId, ZoneId> {
        let mut keys = HashMap::new();
        tree::add_keys(&mut keys, &self.anchor.root_zone, &self.anchor.maintainers);
        for delegation in self.zones.iter().flat_map(|zone| &zone.snapshot().delegations) {
            tree::add_keys(&mut keys, &delegation.zone, &delegation.maintainers);
        }
        keys
    }
}

/// Compares what lies at the same address without reading it.
fn same_bytes(a: &Bytes, b: &Bytes) -> bool {
    (a.as_ptr() == b.as_ptr() && a.len() == b.len()) || a == b
}

/// True when an endpoint or acceptance is gone that another zone's route may need.
fn lost(old: &ZoneSnapshot, new: &ZoneSnapshot) -> bool {
    if std::ptr::eq(old, new) || (old.endpoints == new.endpoints && old.acceptances == new.acceptances) {
        return false;
    }
    let ids: HashSet<&str> = new.endpoints.iter().map(|endpoint| endpoint.id.as_str()).collect();
    old.endpoints.iter().any(|endpoint| !ids.contains(endpoint.id.as_str()))
        || old.acceptances.iter().any(|acceptance| !new.acceptances.contains(acceptance))
}

/// True when two scopes have a route key in common.
fn meet(a: &Scope, b: &Scope) -> bool {
    (a.service.contains(b.service) || b.service.contains(a.service))
        && (a.jurisdiction.contains(b.jurisdiction) || b.jurisdiction.contains(a.jurisdiction))
}

/// Walks both zones' routes in order.
fn apart_from(zone: &VerifiedZone, other: &VerifiedZone) -> bool {
    let mut rest = other.order();
    for one in zone.order() {
        let behind = rest.iter().take_while(|two| two.prefixes() < one.prefixes()).count();
        rest = rest.get(behind..).unwrap_or_default();
        let mut same = rest.iter().take_while(|two| two.prefixes() == one.prefixes());
        if !same.all(|two| apart(zone.route(one.route()), other.route(two.route()))) {
            return false;
        }
    }
    true
}

/// True when two routes are never in force together.
fn apart(a: Option<&RouteEntry>, b: Option<&RouteEntry>) -> bool {
    let ends_before = |a: &RouteEntry, b: &RouteEntry| a.valid_until.is_some_and(|end| end <= b.valid_from);
    a.zip(b).is_some_and(|(a, b)| ends_before(a, b) || ends_before(b, a))
}
