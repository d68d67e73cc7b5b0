//! What did the directory say then? Signed snapshots by digest and version lists, for receipts in older versions.
//!
//! Routers serve these to endpoints (WIRE 3.5) and everybody verifies old receipts with them. Bounded: when a limit is
//! exceeded the oldest version goes, with the snapshots that only it used. The newest version always stays.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use kernpost_codecs::{Digest, DirectoryVersion, ZoneVersion};

use crate::directory::Directory;

/// How much an [`Archive`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Directory versions, at least 1. Default 4,096.
    pub most_versions: usize,
    /// Bytes of signed snapshots in total, each counted once. Default 1 GiB. The newest version may exceed it alone.
    pub most_bytes: usize,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { most_versions: 4_096, most_bytes: 1 << 30 }
    }
}

/// Directory versions, the oldest first, and their snapshots.
#[derive(Debug, Default)]
pub struct Archive {
    limits: ArchiveLimits,
    versions: VecDeque<(DirectoryVersion, Vec<ZoneVersion>)>,
    /// Snapshot and the number of versions that use it.
    snapshots: HashMap<Digest, (Bytes, usize)>,
    bytes: usize,
}

impl Archive {
    /// An empty archive.
    pub fn new(limits: ArchiveLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Keeps a directory that was in force; one that is kept already becomes the newest.
    pub fn insert(&mut self, directory: &Directory) {
        let version = directory.version();
        if let Some(place) = self.versions.iter().position(|(kept, _)| *kept == version) {
            if let Some(kept) = self.versions.remove(place) {
                self.versions.push_back(kept);
            }
            return;
        }
        for (zone, signed) in directory.versions().iter().zip(directory.signed()) {
            let (bytes, uses) = self.snapshots.entry(zone.digest).or_insert_with(|| (signed.clone(), 0));
            if *uses == 0 {
                self.bytes = self.bytes.saturating_add(bytes.len());
            }
            *uses = uses.saturating_add(1);
        }
        self.versions.push_back((version, directory.versions().to_vec()));
        while self.versions.len() > 1
            && (self.versions.len() > self.limits.most_versions || self.bytes > self.limits.most_bytes)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, zones)) = self.versions.pop_front() else { return };
        for zone in zones {
            let Some((bytes, uses)) = self.snapshots.get_mut(&zone.digest) else { continue };
            *uses = uses.saturating_sub(1);
            if *uses == 0 {
                self.bytes = self.bytes.saturating_sub(bytes.len());
                self.snapshots.remove(&zone.digest);
            }
        }
    }

    /// The zones of a version, sorted by zone; `None`: not kept.
    pub fn version(&self, version: &DirectoryVersion) -> Option<&[ZoneVersion]> {
        self.versions.iter().rev().find(|(kept, _)| kept == version).map(|(_, zones)| zones.as_slice())
    }

    /// A signed snapshot; `None`: not kept.
    pub fn snapshot(&self, digest: &Digest) -> Option<Bytes> {
        self.snapshots.get(digest).map(|(bytes, _)| bytes.clone())
    }

    /// All signed snapshots of a version, to verify and compile it again; `None`: not kept.
    pub fn snapshots_of(&self, version: &DirectoryVersion) -> Option<Vec<Bytes>> {
        self.version(version)?.iter().map(|zone| self.snapshot(&zone.digest)).collect()
    }

    /// Versions kept, the oldest first.
    pub fn versions(&self) -> impl ExactSizeIterator<Item = &DirectoryVersion> {
        self.versions.iter().map(|(version, _)| version)
    }

    /// Bytes of signed snapshots kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
