//! Who may speak for which zone, and about what? The zone tree, its signatures, serials and dates (DIRECTORY 2 to 4).
//!
//! The root zone speaks about everything, on the trust anchor's word. Every other zone speaks within the scopes its one
//! parent delegates to it, on the word of the maintainers named there.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use kernpost_codecs::key::KeyId;
use kernpost_codecs::{UnixMs, ZoneId, ZoneVersion};

use super::fault::{DirectoryFault, Findings};
use crate::floor::{SerialFloor, Standing};
use crate::instant::instant_text;
use crate::model::{Delegation, Maintainers, Scope, TrustAnchor, ZoneSnapshot};
use crate::snapshot::SignedSnapshot;

/// What the tree grants to the zones that were reached from the root.
pub(super) struct Tree {
    scopes: BTreeMap<ZoneId, Vec<Scope>>,
    /// Keys that sign for some zone, and which.
    pub(super) maintainer_keys: HashMap<KeyId, ZoneId>,
}

impl Tree {
    /// What a zone may speak about; nothing when it was not reached.
    pub(super) fn scopes(&self, zone: &ZoneId) -> &[Scope] {
        self.scopes.get(zone).map_or(&[], Vec::as_slice)
    }
}

/// Walks the tree from the root and checks documents and delegations. `opened` is sorted by zone.
pub(super) fn check(
    anchor: &TrustAnchor,
    opened: &[SignedSnapshot],
    floor: &SerialFloor,
    now: UnixMs,
    findings: &mut Findings,
) -> Tree {
    let mut by_zone: BTreeMap<&ZoneId, &SignedSnapshot> = BTreeMap::new();
    for signed in opened {
        let zone = &signed.snapshot().zone;
        if let Some(first) = by_zone.insert(zone, signed) {
            let (first, second) = (first.snapshot().serial, signed.snapshot().serial);
            findings.add(Some(zone), "", DirectoryFault::ZoneTwice { first, second });
        }
        check_document(signed.snapshot(), &signed.version(), floor, now, findings);
        check_delegations(signed.snapshot(), findings);
    }
    let mut tree = Tree { scopes: BTreeMap::new(), maintainer_keys: HashMap::new() };
    if let Some(root) = by_zone.get(&anchor.root_zone) {
        check_root(anchor, root, findings);
        add_keys(&mut tree.maintainer_keys, &anchor.root_zone, &anchor.maintainers);
        tree.scopes.insert(anchor.root_zone.clone(), vec![Scope::EVERYTHING]);
        descend(&anchor.root_zone, &by_zone, floor, &mut tree, findings);
    } else {
        findings.add(None, "directory", DirectoryFault::RootMissing { zone: anchor.root_zone.clone() });
    }
    for (zone, signed) in by_zone {
        if !tree.scopes.contains_key(zone) {
            findings.add(Some(zone), "", DirectoryFault::NotDelegated);
        }
        if *zone != anchor.root_zone && signed.snapshot().root.is_some() {
            findings.add(Some(zone), "", DirectoryFault::RootKeysElsewhere);
        }
    }
    tree
}

/// Follows the delegations, breadth first, so that every zone has one parent and circles end.
fn descend(
    root: &ZoneId,
    by_zone: &BTreeMap<&ZoneId, &SignedSnapshot>,
    floor: &SerialFloor,
    tree: &mut Tree,
    findings: &mut Findings,
) {
    let mut parents: BTreeMap<&ZoneId, &ZoneId> = BTreeMap::new();
    let mut next: VecDeque<&ZoneId> = VecDeque::from([root]);
    while let Some(parent) = next.pop_front() {
        let Some(signed) = by_zone.get(parent) else { continue };
        for delegation in &signed.snapshot().delegations {
            let zone = &delegation.zone;
            let entry = entry_of(delegation);
            if zone == root || zone == parent {
                findings.add(Some(parent), entry, DirectoryFault::DelegatedUpward);
                continue;
            }
            if let Some(first) = parents.get(zone) {
                let first = (*first).clone();
                findings.add(Some(parent), entry, DirectoryFault::DelegatedTwice { first });
                continue;
            }
            parents.insert(zone, parent);
            for scope in delegation.scopes.iter().filter(|scope| !within(scope, tree.scopes(parent))) {
                findings.add(Some(parent), &entry, DirectoryFault::ScopeTooWide { scope: *scope });
            }
            tree.scopes.insert(zone.clone(), delegation.scopes.clone());
            add_keys(&mut tree.maintainer_keys, zone, &delegation.maintainers);
            match by_zone.get(zone) {
                Some(below) => check_signers(below, &delegation.maintainers, findings, false),
                None => check_absence(zone, floor, findings),
            }
            next.push_back(zone);
        }
    }
}

/// True when one of `scopes` contains `scope`.
pub(super) fn within(scope: &Scope, scopes: &[Scope]) -> bool {
    scopes.iter().any(|wider| wider.contains(scope))
}

/// A delegated zone without snapshot is fine until it has had one: leaving a snapshot out is a rollback too.
fn check_absence(zone: &ZoneId, floor: &SerialFloor, findings: &mut Findings) {
    if let Some((seen, _)) = floor.seen(zone) {
        findings.add(Some(zone), "", DirectoryFault::SnapshotMissing { seen });
    }
}

pub(super) fn check_root(anchor: &TrustAnchor, root: &SignedSnapshot, findings: &mut Findings) {
    let serial = root.snapshot().serial;
    if serial < anchor.minimum_serial {
        let fault = DirectoryFault::BelowAnchor { found: serial, minimum: anchor.minimum_serial };
        findings.add(Some(&anchor.root_zone), "", fault);
    }
    check_signers(root, &anchor.maintainers, findings, false);
    if let Some(new) = &root.snapshot().root {
        check_signers(root, new, findings, true);
    }
}

pub(super) fn check_signers(
    signed: &SignedSnapshot,
    maintainers: &Maintainers,
    findings: &mut Findings,
    new_root: bool,
) {
    let signers = signed.signers(maintainers);
    let (valid, known, needed) = (signers.valid.len(), maintainers.keys.len(), maintainers.threshold.max(1));
    if u32::try_from(valid).unwrap_or(u32::MAX) >= needed {
        return;
    }
    let invalid = signers.invalid.into_iter().collect();
    let fault = if new_root {
        DirectoryFault::TooFewNewRootSignatures { valid, known, needed, invalid }
    } else {
        DirectoryFault::TooFewSignatures { valid, known, needed, invalid }
    };
    findings.add(Some(&signed.snapshot().zone), "", fault);
}

pub(super) fn check_document(
    snapshot: &ZoneSnapshot,
    version: &ZoneVersion,
    floor: &SerialFloor,
    now: UnixMs,
    findings: &mut Findings,
) {
    let zone = Some(&snapshot.zone);
    match floor.standing(version) {
        Standing::Good => {}
        Standing::Older(seen) => {
            findings.add(zone, "", DirectoryFault::OlderSerial { found: snapshot.serial, seen });
        }
        Standing::Equivocation(seen) => {
            let (serial, found) = (snapshot.serial, version.digest);
            findings.add(zone, "", DirectoryFault::Equivocation { serial, seen, found });
        }
    }
    if snapshot.not_before > now {
        let (not_before, now) = (instant_text(snapshot.not_before), instant_text(now));
        findings.add(zone, "", DirectoryFault::NotYetInForce { not_before, now });
    }
    check_dates(snapshot, findings);
}

/// The snapshot's own dates.
pub(super) fn check_dates(snapshot: &ZoneSnapshot, findings: &mut Findings) {
    if snapshot.not_after <= snapshot.not_before {
        let (not_before, not_after) = (instant_text(snapshot.not_before), instant_text(snapshot.not_after));
        findings.add(Some(&snapshot.zone), "", DirectoryFault::Dates { not_before, not_after });
    }
}

/// What can be said about delegations without knowing the zone's own scopes.
pub(super) fn check_delegations(snapshot: &ZoneSnapshot, findings: &mut Findings) {
    let zone = Some(&snapshot.zone);
    if let Some(root) = &snapshot.root {
        check_maintainers(&snapshot.zone, "root", root, findings);
    }
    for delegation in &snapshot.delegations {
        let entry = entry_of(delegation);
        if delegation.scopes.is_empty() {
            findings.add(zone, &entry, DirectoryFault::NoScope);
        }
        check_maintainers(&snapshot.zone, &entry, &delegation.maintainers, findings);
    }
}

fn check_maintainers(zone: &ZoneId, entry: &str, maintainers: &Maintainers, findings: &mut Findings) {
    let (threshold, keys) = (maintainers.threshold, maintainers.keys.len());
    if threshold == 0 || usize::try_from(threshold).is_ok_and(|needed| needed > keys) {
        findings.add(Some(zone), entry, DirectoryFault::Threshold { threshold, keys });
    }
    let mut seen = HashSet::new();
    for key in maintainers.keys.iter().map(|key| key.id()).filter(|id| !seen.insert(*id)) {
        findings.add(Some(zone), entry, DirectoryFault::MaintainerTwice { key });
    }
}

/// The maintainer keys one zone names, for a check of that zone alone.
pub(super) fn own_maintainer_keys(snapshot: &ZoneSnapshot) -> HashMap<KeyId, ZoneId> {
    let mut keys = HashMap::new();
    for delegation in &snapshot.delegations {
        add_keys(&mut keys, &delegation.zone, &delegation.maintainers);
    }
    keys
}

pub(super) fn add_keys(keys: &mut HashMap<KeyId, ZoneId>, zone: &ZoneId, maintainers: &Maintainers) {
    keys.extend(maintainers.keys.iter().map(|key| (key.id(), zone.clone())));
}

fn entry_of(delegation: &Delegation) -> String {
    format!("delegation to {}", delegation.zone)
}
