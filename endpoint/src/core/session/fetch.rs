//! How does this process get a directory version it does not hold, from the router of one link (WIRE 3.5)?
//!
//! The zones of the version, then each snapshot not held, in pieces. Bytes are checked against their digest here; who
//! signed them is checked by whoever gets them. Bounds: one version at a time, at most 256 zones, 64 MiB per snapshot.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::digest::Digest;
use kernpost_codecs::{DirectoryVersion, ZoneVersion};

const MOST_ZONES: usize = 256;
const LONGEST_SNAPSHOT: u64 = 64 << 20;

/// How a fetch ended.
#[derive(Debug)]
pub(crate) enum FetchEvent {
    /// Every snapshot of the version, in the order of its zones.
    Complete { version: DirectoryVersion, snapshots: Vec<Bytes> },
    /// The router does not have it, or what it sent is not it.
    Failed { version: DirectoryVersion, why: String },
}

/// What to ask the router next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchAsk {
    Version(DirectoryVersion),
    Snapshot { digest: Digest, offset: u64 },
}

/// One version being fetched.
#[derive(Debug)]
pub(crate) struct Fetch {
    version: DirectoryVersion,
    zones: Option<Vec<ZoneVersion>>,
    held: HashMap<Digest, Bytes>,
    piece: BytesMut,
}

impl Fetch {
    /// Fetches `version`, whose zones may be known from the router's hello; `held` are snapshots already at hand.
    pub fn new(version: DirectoryVersion, zones: Option<Vec<ZoneVersion>>, held: HashMap<Digest, Bytes>) -> Self {
        Self { version, zones, held, piece: BytesMut::new() }
    }

    pub fn version(&self) -> DirectoryVersion {
        self.version
    }

    /// The next question, or the end.
    pub fn next(&mut self) -> Result<FetchAsk, FetchEvent> {
        let Some(zones) = self.zones.as_ref() else { return Ok(FetchAsk::Version(self.version)) };
        if zones.len() > MOST_ZONES || DirectoryVersion::of(zones) != self.version {
            return Err(self.failed("its zone list does not hash to the version"));
        }
        let missing = zones.iter().find(|zone| !self.held.contains_key(&zone.digest));
        if let Some(zone) = missing {
            return Ok(FetchAsk::Snapshot { digest: zone.digest, offset: self.piece.len() as u64 });
        }
        let snapshots = zones.iter().filter_map(|zone| self.held.get(&zone.digest).cloned()).collect();
        Err(FetchEvent::Complete { version: self.version, snapshots })
    }

    pub fn on_zones(&mut self, zones: Option<Vec<ZoneVersion>>) -> Result<FetchAsk, FetchEvent> {
        match zones {
            Some(zones) => {
                self.zones = Some(zones);
                self.next()
            }
            None => Err(self.failed("the router does not have this version")),
        }
    }

    pub fn on_piece(&mut self, digest: Digest, total: u64, offset: u64, bytes: &[u8]) -> Result<FetchAsk, FetchEvent> {
        if total == 0 {
            return Err(self.failed(&format!("the router does not have snapshot {digest}")));
        }
        let fits = offset == self.piece.len() as u64 && !bytes.is_empty() && offset + bytes.len() as u64 <= total;
        if !fits || total > LONGEST_SNAPSHOT {
            return Err(self.failed(&format!("a piece of snapshot {digest} does not fit")));
        }
        self.piece.extend_from_slice(bytes);
        if self.piece.len() as u64 == total {
            let snapshot = self.piece.split().freeze();
            if Digest::of(&snapshot) != digest {
                return Err(self.failed(&format!("snapshot {digest} has another digest")));
            }
            self.held.insert(digest, snapshot);
        }
        self.next()
    }

    fn failed(&self, why: &str) -> FetchEvent {
        FetchEvent::Failed { version: self.version, why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn zones(snapshots: &[&[u8]]) -> Vec<ZoneVersion> {
        let zone = |(n, bytes): (usize, &&[u8])| ZoneVersion {
            zone: format!("z{n}").parse().unwrap(),
            serial: 1,
            digest: Digest::of(bytes),
        };
        snapshots.iter().enumerate().map(zone).collect()
    }

    #[test]
    fn a_version_is_fetched_piece_by_piece() {
        let zones = zones(&[b"first", b"second"]);
        let mut fetch = Fetch::new(DirectoryVersion::of(&zones), None, HashMap::new());
        assert!(matches!(fetch.next(), Ok(FetchAsk::Version(_))));
        let first = fetch.on_zones(Some(zones.clone())).unwrap();
        assert_eq!(first, FetchAsk::Snapshot { digest: zones[0].digest, offset: 0 });
        let rest = fetch.on_piece(zones[0].digest, 5, 0, b"fi").unwrap();
        assert_eq!(rest, FetchAsk::Snapshot { digest: zones[0].digest, offset: 2 });
        fetch.on_piece(zones[0].digest, 5, 2, b"rst").unwrap();
        let Err(FetchEvent::Complete { snapshots, .. }) = fetch.on_piece(zones[1].digest, 6, 0, b"second") else {
            panic!("not complete")
        };
        assert_eq!(snapshots, [Bytes::from_static(b"first"), Bytes::from_static(b"second")]);
    }

    #[test]
    fn a_snapshot_with_another_digest_is_refused() {
        let zones = zones(&[b"first"]);
        let mut fetch = Fetch::new(DirectoryVersion::of(&zones), Some(zones.clone()), HashMap::new());
        fetch.next().unwrap();
        assert!(matches!(fetch.on_piece(zones[0].digest, 5, 0, b"wrong"), Err(FetchEvent::Failed { .. })));
    }

    #[test]
    fn a_zone_list_that_is_not_the_version_is_refused() {
        let mut fetch = Fetch::new(DirectoryVersion::of(&zones(&[b"first"])), None, HashMap::new());
        assert!(matches!(fetch.on_zones(Some(zones(&[b"other"]))), Err(FetchEvent::Failed { .. })));
    }

    #[test]
    fn only_snapshots_not_held_are_asked_for() {
        let zones = zones(&[b"first"]);
        let held = [(zones[0].digest, Bytes::from_static(b"first"))].into();
        let mut fetch = Fetch::new(DirectoryVersion::of(&zones), Some(zones), held);
        assert!(matches!(fetch.next(), Err(FetchEvent::Complete { .. })));
    }
}
