//! May these zone snapshots, together, be believed?
//!
//! [`Directory::verify`] is the only way to a directory: everything that reaches a table has passed it. It collects all
//! errors, so that one run tells a maintainer everything (`directory/fault.rs`). The order follows DIRECTORY 10:
//! documents, tree and signatures (`directory/tree.rs`), principals (`directory/principals.rs`), then routes and
//! successors (`directory/routes.rs`). [`Directory::verify_after`] does less when few zones change
//! (`directory/after.rs`). No clock is read: `now` is an argument.

mod after;
mod fault;
mod principals;
mod routes;
mod tree;
mod zone;

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::{Digest, DirectoryVersion, UnixMs, ZoneVersion};

pub(crate) use fault::Findings;
pub use fault::{DirectoryError, DirectoryErrors, DirectoryFault, MOST_ERRORS};
pub(crate) use zone::VerifiedZone;

use crate::floor::SerialFloor;
use crate::model::{Scope, TrustAnchor, ZoneSnapshot};
use crate::snapshot::SignedSnapshot;

/// A verified directory: zone snapshots that fit together, sorted by zone. Immutable and cheap to clone.
#[derive(Debug, Clone)]
pub struct Directory(Arc<Verified>);

#[derive(Debug)]
struct Verified {
    anchor: TrustAnchor,
    version: DirectoryVersion,
    versions: Vec<ZoneVersion>,
    zones: Vec<Arc<VerifiedZone>>,
    signed: Vec<Bytes>,
}

impl Directory {
    /// Opens and verifies signed snapshots. `floor` is what was in force before; raise it once the result is in force.
    ///
    /// # Errors
    /// Everything that is wrong, each with zone, entry and remedy.
    pub fn verify(
        anchor: &TrustAnchor,
        snapshots: &[Bytes],
        floor: &SerialFloor,
        now: UnixMs,
    ) -> Result<Self, DirectoryErrors> {
        let named = snapshots.iter().enumerate().map(|(place, bytes)| {
            (format!("snapshot {} (SHA-256 {})", place.saturating_add(1), Digest::of(bytes)), bytes.clone())
        });
        Self::verify_named(anchor, named, floor, now)
    }

    /// As [`Directory::verify`]; a snapshot that cannot be opened is called by its name, for instance a path.
    ///
    /// # Errors
    /// Everything that is wrong, each with zone, entry and remedy.
    pub fn verify_named(
        anchor: &TrustAnchor,
        snapshots: impl IntoIterator<Item = (String, Bytes)>,
        floor: &SerialFloor,
        now: UnixMs,
    ) -> Result<Self, DirectoryErrors> {
        let mut findings = Findings::default();
        let mut opened: Vec<SignedSnapshot> = Vec::new();
        for (name, bytes) in snapshots {
            match SignedSnapshot::open(bytes) {
                Ok(signed) => opened.push(signed),
                Err(error) => findings.add(None, name, DirectoryFault::Snapshot(error)),
            }
        }
        opened
            .sort_by(|a, b| (&a.snapshot().zone, a.snapshot().serial).cmp(&(&b.snapshot().zone, b.snapshot().serial)));
        let tree = tree::check(anchor, &opened, floor, now, &mut findings);
        let zones: Vec<Zone<'_>> = opened
            .iter()
            .map(|signed| Zone { snapshot: signed.snapshot(), scopes: tree.scopes(&signed.snapshot().zone) })
            .collect();
        principals::check(&zones, &tree.maintainer_keys, &mut findings);
        routes::check(&zones, &mut findings);
        findings.or(())?;
        let versions: Vec<ZoneVersion> = opened.iter().map(SignedSnapshot::version).collect();
        Ok(Self(Arc::new(Verified {
            anchor: anchor.clone(),
            version: DirectoryVersion::of(&versions),
            versions,
            signed: opened.iter().map(|signed| signed.bytes().clone()).collect(),
            zones: opened.into_iter().map(VerifiedZone::new).map(Arc::new).collect(),
        })))
    }

    /// Which directory this is (WIRE 3.5).
    pub fn version(&self) -> DirectoryVersion {
        self.0.version
    }

    /// Zone, serial and digest of each snapshot, sorted by zone.
    pub fn versions(&self) -> &[ZoneVersion] {
        &self.0.versions
    }

    /// What the zones say, in the order of [`Directory::versions`].
    pub fn zones(&self) -> impl ExactSizeIterator<Item = &ZoneSnapshot> {
        self.0.zones.iter().map(|zone| zone.snapshot())
    }

    /// As [`Directory::zones`], with what later steps ask of them.
    pub(crate) fn verified(&self) -> &[Arc<VerifiedZone>] {
        &self.0.zones
    }

    /// The signed snapshots, in the order of [`Directory::versions`].
    pub fn signed(&self) -> &[Bytes] {
        &self.0.signed
    }

    /// The first instant at which a zone is past its not-after; from then on the directory is degraded.
    pub fn degraded_from(&self) -> Option<UnixMs> {
        self.zones().map(|zone| zone.not_after).min()
    }
}

/// Checks one zone's own entries before it is signed: everything that can be said without the other zones.
///
/// Routes to other zones' endpoints and delegated scopes are checked by [`Directory::verify`] only.
///
/// # Errors
/// Everything that is wrong, each with zone, entry and remedy.
pub fn check_zone(snapshot: &ZoneSnapshot) -> Result<(), DirectoryErrors> {
    let mut findings = Findings::default();
    tree::check_dates(snapshot, &mut findings);
    tree::check_delegations(snapshot, &mut findings);
    let everything = [Scope::EVERYTHING];
    let zones = [Zone { snapshot, scopes: &everything }];
    principals::check(&zones, &tree::own_maintainer_keys(snapshot), &mut findings);
    routes::check_alone(&zones, &mut findings);
    findings.or(())
}

/// A zone while it is checked: what it says, and what it may speak about.
struct Zone<'a> {
    snapshot: &'a ZoneSnapshot,
    scopes: &'a [Scope],
}
