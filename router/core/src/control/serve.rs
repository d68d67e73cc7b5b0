//! What the directory says, on request: RESOLVE, GET-VERSION, GET-SNAPSHOT (WIRE 3, 3.5).

use bytes::Bytes;
use kernpost_codecs::{Ars, Code, ControlFrame, Digest, DirectoryVersion, ServiceKey, ZoneVersion};

use super::Control;
use crate::link::LinkId;

/// Snapshots and version lists kept for the retention of receipts. The shell's store implements it.
pub trait SnapshotSource: std::fmt::Debug + Send + Sync {
    /// The version list behind a directory version.
    fn version(&self, version: &DirectoryVersion) -> Option<Vec<ZoneVersion>>;
    /// A signed zone snapshot by its digest.
    fn snapshot(&self, digest: &Digest) -> Option<Bytes>;
}

/// Bytes of a snapshot in one frame (WIRE 3).
const PIECE: usize = 131_072;

impl Control {
    pub(super) fn on_resolve(&mut self, link: LinkId, req: u64, service: ServiceKey, jurisdiction: Ars) {
        let version = self.version();
        let route = self.table.lookup(service, jurisdiction);
        let first = route.and_then(|route| route.endpoints.first().copied());
        let frame = match first.and_then(|index| self.table.endpoint_entry(index)) {
            None => ControlFrame::Resolved {
                req,
                code: Code::NO_ROUTE,
                endpoint: None,
                encryption_key: None,
                directory_version: version,
            },
            Some(entry) => {
                let encryption_key = entry.encryption_key().map(|key| Bytes::copy_from_slice(key.cose_key()));
                ControlFrame::Resolved {
                    req,
                    code: Code(0),
                    endpoint: Some(entry.id.clone()),
                    encryption_key,
                    directory_version: version,
                }
            }
        };
        self.send(link, &frame);
    }

    pub(super) fn on_get_version(&mut self, link: LinkId, req: u64, version: DirectoryVersion) {
        let zones = if version == self.version() {
            Some(self.table.zone_versions().cloned().collect())
        } else {
            self.snapshots.version(&version)
        };
        self.send(link, &ControlFrame::Version { req, zones });
    }

    pub(super) fn on_get_snapshot(&mut self, link: LinkId, req: u64, digest: Digest, offset: u64) {
        let whole = self.snapshots.snapshot(&digest).unwrap_or_default();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
        let end = start.saturating_add(PIECE).min(whole.len());
        let frame = ControlFrame::Snapshot { req, total: whole.len() as u64, offset, bytes: whole.slice(start..end) };
        self.send(link, &frame);
    }
}
