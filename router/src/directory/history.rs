//! What did the directory say when an old receipt was signed? Versions and snapshots on disk (WIRE 3.5).
//!
//! `<folder>/<digest>.zone` holds a signed snapshot, `<folder>/<version>.version` the list of a directory version: one line
//! `zone serial digest` each. Everything is read back by its hash: a damaged file is as good as none. Bounded by
//! [`MOST_VERSIONS`]: the oldest go first, with the snapshots only they used.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use kernpost_codecs::{Digest, DirectoryVersion, ZoneVersion};
use kernpost_router_core::control::SnapshotSource;
use kernpost_routing_table::Directory;
use kernpost_routing_table::source::{SourceError, write_atomically};

/// Directory versions kept. At one change an hour these are more than 400 days.
pub const MOST_VERSIONS: usize = 10_000;
/// Snapshots kept in memory, the last served; one of them may be 256 MiB.
const CACHED: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub struct History {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    versions: HashMap<DirectoryVersion, Vec<ZoneVersion>>,
    /// The oldest first.
    order: VecDeque<DirectoryVersion>,
    served: VecDeque<(Digest, Bytes)>,
}

impl History {
    /// Reads the versions of a folder; creates it when missing. Lists that are damaged are left out.
    ///
    /// # Errors
    /// The folder cannot be created or read.
    pub fn open(folder: &Path) -> Result<Self, SourceError> {
        let io = |action| move |cause| SourceError::Io { action, path: folder.to_owned(), cause };
        std::fs::create_dir_all(folder).map_err(io("create"))?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io("read"))? {
            let path = entry.map_err(io("read"))?.path();
            if path.extension().is_some_and(|extension| extension == VERSION_EXTENSION)
                && let Some((version, zones)) = read_version(&path)
            {
                let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
                found.push((modified.ok(), version, zones));
            }
        }
        found.sort_by_key(|(modified, version, _)| (*modified, *version));
        let mut state = State::default();
        for (_, version, zones) in found {
            state.order.push_back(version);
            state.versions.insert(version, zones);
        }
        Ok(Self { folder: folder.to_owned(), state: Mutex::new(state) })
    }

    /// Keeps a directory that goes into force.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn keep(&self, directory: &Directory) -> Result<(), SourceError> {
        for (zone, signed) in directory.versions().iter().zip(directory.signed()) {
            let path = self.zone_path(&zone.digest);
            if !path.exists() {
                write_atomically(&path, signed)?;
            }
        }
        let version = directory.version();
        let zones = directory.versions().to_vec();
        let lines: String =
            zones.iter().map(|zone| format!("{} {} {}\n", zone.zone, zone.serial, zone.digest)).collect();
        let path = self.version_path(&version);
        if !path.exists() {
            write_atomically(&path, lines.as_bytes())?;
        }
        let dropped = {
            let mut state = self.lock();
            state.order.retain(|kept| *kept != version);
            state.order.push_back(version);
            state.versions.insert(version, zones);
            state.drop_oldest()
        };
        for path in dropped {
            // What stays behind costs disk only; the next start does not list it.
            let _ = std::fs::remove_file(self.folder.join(path));
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn zone_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.zone"))
    }

    fn version_path(&self, version: &DirectoryVersion) -> PathBuf {
        self.folder.join(format!("{}.{VERSION_EXTENSION}", version.0))
    }
}

const VERSION_EXTENSION: &str = "version";

impl State {
    /// Forgets the oldest versions above the bound; gives the names of the files nobody needs any more.
    fn drop_oldest(&mut self) -> Vec<String> {
        let mut files = Vec::new();
        while self.order.len() > MOST_VERSIONS {
            let Some(version) = self.order.pop_front() else {
                break;
            };
            files.push(format!("{}.{VERSION_EXTENSION}", version.0));
            let zones = self.versions.remove(&version).unwrap_or_default();
            let used: BTreeSet<Digest> = self.versions.values().flatten().map(|z| z.digest).collect();
            let unused = zones.iter().filter(|zone| !used.contains(&zone.digest));
            files.extend(unused.map(|zone| format!("{}.zone", zone.digest)));
        }
        files
    }
}

/// A version list whose content hashes to its name.
fn read_version(path: &Path) -> Option<(DirectoryVersion, Vec<ZoneVersion>)> {
    let named = DirectoryVersion(path.file_stem()?.to_str()?.parse().ok()?);
    let text = std::fs::read_to_string(path).ok()?;
    let zones: Option<Vec<ZoneVersion>> = text.lines().map(parse_line).collect();
    let zones = zones?;
    (DirectoryVersion::of(&zones) == named).then_some((named, zones))
}

fn parse_line(line: &str) -> Option<ZoneVersion> {
    let mut fields = line.split(' ');
    let version = ZoneVersion {
        zone: fields.next()?.parse().ok()?,
        serial: fields.next()?.parse().ok()?,
        digest: fields.next()?.parse().ok()?,
    };
    fields.next().is_none().then_some(version)
}

impl SnapshotSource for History {
    fn version(&self, version: &DirectoryVersion) -> Option<Vec<ZoneVersion>> {
        self.lock().versions.get(version).cloned()
    }

    /// Only snapshots of kept versions; a file that does not hash to its name is not served.
    fn snapshot(&self, digest: &Digest) -> Option<Bytes> {
        let known = {
            let state = self.lock();
            if let Some((_, bytes)) = state.served.iter().find(|(served, _)| served == digest) {
                return Some(bytes.clone());
            }
            state.versions.values().flatten().any(|zone| zone.digest == *digest)
        };
        if !known {
            return None;
        }
        let bytes = Bytes::from(std::fs::read(self.zone_path(digest)).ok()?);
        if Digest::of(&bytes) != *digest {
            tracing::error!(%digest, "a snapshot in the history is damaged; restore it from another router");
            return None;
        }
        let mut state = self.lock();
        state.served.push_back((*digest, bytes.clone()));
        if state.served.len() > CACHED {
            state.served.pop_front();
        }
        Some(bytes)
    }
}
