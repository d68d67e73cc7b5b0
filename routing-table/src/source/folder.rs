//! Which files make up a distributed directory, and how is one replaced without ever being half there?

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kernpost_codecs::{UnixMs, ZoneId};

use super::{SourceError, content, io, load_anchor};
use crate::directory::{Directory, DirectoryErrors};
use crate::floor::SerialFloor;
use crate::model::TrustAnchor;
use crate::snapshot::MAX_LEN;

/// Name of the trust anchor in a directory folder.
pub const ANCHOR_FILE: &str = "trust-anchor.toml";
/// Extension of a signed snapshot.
pub const ZONE_EXTENSION: &str = "zone";

/// A directory folder as read from disk; nothing of it is believed yet.
#[derive(Debug, Clone)]
pub struct DirectoryFolder {
    /// The trust anchor found there.
    pub anchor: TrustAnchor,
    /// Signed snapshots with their paths, sorted by path.
    pub snapshots: Vec<(PathBuf, Bytes)>,
}

impl DirectoryFolder {
    /// Verifies what was read; snapshots that cannot be opened are called by their path.
    ///
    /// # Errors
    /// Everything that is wrong, each with zone, entry and remedy.
    pub fn verify(&self, floor: &SerialFloor, now: UnixMs) -> Result<Directory, DirectoryErrors> {
        let named = self.snapshots.iter().map(|(path, bytes)| (path.display().to_string(), bytes.clone()));
        Directory::verify_named(&self.anchor, named, floor, now)
    }
}

/// Reads the `*.zone` files and the trust anchor of a folder.
///
/// # Errors
/// Names the file and what is wrong; also when there is no `*.zone` file at all.
pub fn load_dir(folder: &Path) -> Result<DirectoryFolder, SourceError> {
    let anchor = load_anchor(&folder.join(ANCHOR_FILE))?;
    Ok(DirectoryFolder { anchor, snapshots: load_snapshots(folder)? })
}

/// Reads the `*.zone` files of a folder, for a trust anchor that is installed elsewhere.
///
/// # Errors
/// Names the file and what is wrong; also when there is no `*.zone` file at all.
pub fn load_snapshots(folder: &Path) -> Result<Vec<(PathBuf, Bytes)>, SourceError> {
    let mut snapshots = Vec::new();
    for path in zone_files(folder)? {
        let length = fs::metadata(&path).map_err(io("read", &path))?.len();
        if length > MAX_LEN as u64 {
            return Err(SourceError::TooLong { path, length, most: MAX_LEN as u64 });
        }
        let bytes = fs::read(&path).map_err(io("read", &path))?;
        snapshots.push((path, Bytes::from(bytes)));
    }
    if snapshots.is_empty() {
        return Err(content(folder, "there is no *.zone file; sign zones into it with `kernpost directory sign`"));
    }
    Ok(snapshots)
}

/// The `*.zone` files of a folder by path, unread.
///
/// # Errors
/// The folder cannot be read.
pub fn zone_files(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    files_with_extension(folder, ZONE_EXTENSION)
}

/// Where a zone's signed snapshot lies in a directory folder.
pub fn zone_path(folder: &Path, zone: &ZoneId) -> PathBuf {
    folder.join(format!("{zone}.{ZONE_EXTENSION}"))
}

/// Puts a signed snapshot into a directory folder, replacing the zone's previous one.
///
/// # Errors
/// Names the file and what the file system said.
pub fn write_zone(folder: &Path, zone: &ZoneId, signed: &Bytes) -> Result<PathBuf, SourceError> {
    let path = zone_path(folder, zone);
    write_atomically(&path, signed)?;
    Ok(path)
}

/// Replaces a file durably: readers and crashes find the old content or the new, never a mixture.
///
/// # Errors
/// Names the file and what the file system said.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = File::create(&temporary).map_err(io("create", &temporary))?;
    file.write_all(bytes).map_err(io("write", &temporary))?;
    file.sync_all().map_err(io("sync", &temporary))?;
    drop(file);
    fs::rename(&temporary, path).map_err(io("replace", path))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(io("sync", parent))
}

/// The files of a folder with an extension, sorted by path.
pub(super) fn files_with_extension(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, SourceError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("read", folder))? {
        let path = entry.map_err(io("read", folder))?.path();
        if path.extension().is_some_and(|found| found == extension) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
