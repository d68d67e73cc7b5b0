//! Where do directories come from and where is their floor kept? Files.
//!
//! A *source* folder holds what maintainers write, one TOML file per zone (`source/form.rs`). A *directory* folder
//! holds what is distributed: one signed `<zone>.zone` per zone and `trust-anchor.toml`. The *floor* file remembers
//! serials across restarts. This is the only file of the crate that touches a disk; nothing here reads a clock.

mod folder;
mod form;

use std::path::{Path, PathBuf};

use kernpost_codecs::{Digest, ZoneId, ZoneVersion};
use serde::{Deserialize, Serialize};

pub use folder::{
    ANCHOR_FILE, DirectoryFolder, ZONE_EXTENSION, load_dir, load_snapshots, write_atomically, write_zone, zone_files,
    zone_path,
};
use form::{AnchorForm, ZoneForm};

use crate::floor::SerialFloor;
use crate::model::{TrustAnchor, ZoneSnapshot};

/// Longest TOML file read, in bytes.
pub const MAX_SOURCE_LEN: u64 = 512 << 20;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file system said no.
    #[error("cannot {action} {path}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// A file is longer than the loader reads.
    #[error("{path} has {length} bytes, more than {most}; split the zone")]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// Its length.
        length: u64,
        /// The most that is read.
        most: u64,
    },
    /// The content is not what it should be; the message names line and column.
    #[error("{path}: {reason}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SourceError {
    let path = path.to_owned();
    move |cause| SourceError::Io { action, path, cause }
}

fn read_text(path: &Path) -> Result<String, SourceError> {
    let length = std::fs::metadata(path).map_err(io("read", path))?.len();
    if length > MAX_SOURCE_LEN {
        return Err(SourceError::TooLong { path: path.to_owned(), length, most: MAX_SOURCE_LEN });
    }
    std::fs::read_to_string(path).map_err(io("read", path))
}

fn content(path: &Path, reason: impl std::fmt::Display) -> SourceError {
    SourceError::Content { path: path.to_owned(), reason: reason.to_string() }
}

/// Reads a zone's source text.
///
/// # Errors
/// Names line, column and reason.
pub fn parse_zone_toml(text: &str) -> Result<ZoneSnapshot, toml::de::Error> {
    toml::from_str::<ZoneForm>(text).map(ZoneSnapshot::from)
}

/// Writes a zone as source text.
///
/// # Errors
/// When a number is beyond what TOML can write (2^63).
pub fn zone_to_toml(zone: &ZoneSnapshot) -> Result<String, toml::ser::Error> {
    toml::to_string(&ZoneForm::from(zone))
}

/// Reads a zone's source file.
///
/// # Errors
/// Names the file, line, column and reason.
pub fn load_zone_toml(path: &Path) -> Result<ZoneSnapshot, SourceError> {
    parse_zone_toml(&read_text(path)?).map_err(|error| content(path, error))
}

/// Reads every `*.toml` of a source folder except the trust anchor, sorted by file name.
///
/// # Errors
/// All files that could not be read, each with its reason.
pub fn load_sources(folder: &Path) -> Result<Vec<(PathBuf, ZoneSnapshot)>, Vec<SourceError>> {
    let paths = folder::files_with_extension(folder, "toml").map_err(|error| vec![error])?;
    let (mut zones, mut errors) = (Vec::new(), Vec::new());
    for path in paths.into_iter().filter(|path| path.file_name().is_none_or(|name| name != ANCHOR_FILE)) {
        match load_zone_toml(&path) {
            Ok(zone) => zones.push((path, zone)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(zones) } else { Err(errors) }
}

/// Reads a trust anchor file.
///
/// # Errors
/// Names the file and what is wrong; also when its threshold cannot be met by its keys.
pub fn load_anchor(path: &Path) -> Result<TrustAnchor, SourceError> {
    let form: AnchorForm = toml::from_str(&read_text(path)?).map_err(|error| content(path, error))?;
    let anchor = TrustAnchor::from(form);
    let (keys, threshold) = (anchor.maintainers.keys.len(), anchor.maintainers.threshold);
    if threshold == 0 || usize::try_from(threshold).is_ok_and(|needed| needed > keys) {
        return Err(content(
            path,
            format!("threshold {threshold} with {keys} keys; it has to be 1 to the number of keys"),
        ));
    }
    if anchor.root_zone.as_str().contains('.') {
        return Err(content(path, "root_zone has to be one label, without a dot"));
    }
    Ok(anchor)
}

/// Writes a trust anchor as TOML.
///
/// # Errors
/// When a number is beyond what TOML can write (2^63).
pub fn anchor_to_toml(anchor: &TrustAnchor) -> Result<String, toml::ser::Error> {
    toml::to_string(&AnchorForm::from(anchor))
}

/// The floor as a file.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FloorForm {
    #[serde(default, rename = "zone")]
    zones: Vec<FloorZone>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FloorZone {
    zone: String,
    serial: u64,
    digest: String,
}

/// Reads the floor file. A file that is not there is the floor of a machine that has seen nothing.
///
/// # Errors
/// Names the file and what is wrong. A damaged floor is never taken for an empty one.
pub fn load_floor(path: &Path) -> Result<SerialFloor, SourceError> {
    let mut floor = SerialFloor::new();
    if !path.try_exists().map_err(io("read", path))? {
        return Ok(floor);
    }
    let form: FloorForm = toml::from_str(&read_text(path)?).map_err(|error| content(path, error))?;
    for zone in form.zones {
        let id: ZoneId = zone.zone.parse().map_err(|error| content(path, error))?;
        let digest: Digest = zone.digest.parse().map_err(|error| content(path, error))?;
        floor.raise_zone(&ZoneVersion { zone: id, serial: zone.serial, digest });
    }
    Ok(floor)
}

/// Writes the floor file durably: when this returns, a crash cannot lower it.
///
/// # Errors
/// Names the file and what the file system said.
pub fn store_floor(path: &Path, floor: &SerialFloor) -> Result<(), SourceError> {
    let zone = |v: ZoneVersion| FloorZone { zone: v.zone.to_string(), serial: v.serial, digest: v.digest.to_string() };
    let form = FloorForm { zones: floor.zones().map(zone).collect() };
    let text = toml::to_string(&form).map_err(|error| content(path, error))?;
    write_atomically(path, text.as_bytes())
}
