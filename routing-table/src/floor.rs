//! Below which serial is a zone's snapshot a rollback?
//!
//! For every zone ever believed: the highest serial and the digest that went with it. The floor outlives restarts
//! (`source.rs` keeps it in a file) and never goes down, also not when a zone disappears for a while (DIRECTORY 3.3).

use std::collections::BTreeMap;

use kernpost_codecs::{Digest, ZoneId, ZoneVersion};

use crate::directory::Directory;

/// The highest serial seen per zone, with its digest. One entry per zone ever believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SerialFloor(BTreeMap<ZoneId, (u64, Digest)>);

/// How a snapshot stands to the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// New, newer, or the same document.
    Good,
    /// An older serial than the one given.
    Older(u64),
    /// The same serial with another digest.
    Equivocation(Digest),
}

impl SerialFloor {
    /// A floor that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers one zone; a lower serial than the one remembered changes nothing.
    pub fn raise_zone(&mut self, version: &ZoneVersion) {
        let seen = self.0.entry(version.zone.clone()).or_insert((version.serial, version.digest));
        if seen.0 < version.serial {
            *seen = (version.serial, version.digest);
        }
    }

    /// Remembers every zone of a directory that has been put into force.
    pub fn raise(&mut self, directory: &Directory) {
        for version in directory.versions() {
            self.raise_zone(version);
        }
    }

    /// The highest serial seen of a zone, with its digest.
    pub fn seen(&self, zone: &ZoneId) -> Option<(u64, Digest)> {
        self.0.get(zone).copied()
    }

    /// All zones ever seen, sorted.
    pub fn zones(&self) -> impl Iterator<Item = ZoneVersion> + '_ {
        self.0.iter().map(|(zone, (serial, digest))| ZoneVersion {
            zone: zone.clone(),
            serial: *serial,
            digest: *digest,
        })
    }

    pub(crate) fn standing(&self, version: &ZoneVersion) -> Standing {
        match self.seen(&version.zone) {
            Some((serial, _)) if version.serial < serial => Standing::Older(serial),
            Some((serial, digest)) if version.serial == serial && version.digest != digest => {
                Standing::Equivocation(digest)
            }
            _ => Standing::Good,
        }
    }
}
