//! From signed zones to a table: what a folder holds, and what a router sent. Runs off the driver, since it verifies and
//! compiles whole directories.
//!
//! The floor of serials seen is kept in the state folder, so that a restart does not accept an older directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kernpost_codecs::UnixMs;
use kernpost_routing_table::source::{load_floor, load_snapshots, store_floor};
use kernpost_routing_table::{Directory, SerialFloor, Table, TrustAnchor};

use crate::core::Verified;

/// Numbers the tables of this process.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// File of the floor, in the state folder.
pub(crate) const FLOOR_FILE: &str = "directory-floor.toml";

/// What a folder holds now: to see cheaply whether it changed.
pub(crate) type Stamp = Vec<(PathBuf, u64, Option<std::time::SystemTime>)>;

/// Names, lengths and times of the zones of a folder.
pub(crate) fn stamp(folder: &Path) -> Stamp {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut stamp: Stamp = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "zone"))
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((entry.path(), metadata.len(), metadata.modified().ok()))
        })
        .collect();
    stamp.sort();
    stamp
}

/// Loads, verifies and compiles a folder.
pub(crate) fn load(
    folder: &Path,
    anchor: &TrustAnchor,
    floor: Option<&Path>,
    at: UnixMs,
) -> Result<Arc<Table>, String> {
    let zones = load_snapshots(folder).map_err(|error| error.to_string())?;
    let snapshots: Vec<Bytes> = zones.into_iter().map(|(_, bytes)| bytes).collect();
    match verify(&snapshots, anchor, floor, at)? {
        Verified::New(table) => Ok(table),
        Verified::Old(_) => Err("the folder holds an older directory than was seen before".to_owned()),
    }
}

/// Verifies and compiles the snapshots of one version. One that is only refused for its serials is good for receipts.
pub(crate) fn verify(
    snapshots: &[Bytes],
    anchor: &TrustAnchor,
    floor_file: Option<&Path>,
    at: UnixMs,
) -> Result<Verified, String> {
    let mut floor = match floor_file {
        Some(path) => load_floor(path).map_err(|error| error.to_string())?,
        None => SerialFloor::new(),
    };
    let compile = |directory: &Directory| {
        let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        Table::compile(directory, at, generation).map(Arc::new).map_err(|error| error.to_string())
    };
    match Directory::verify(anchor, snapshots, &floor, at) {
        Ok(directory) => {
            let table = compile(&directory)?;
            floor.raise(&directory);
            if let Some(path) = floor_file {
                store_floor(path, &floor).map_err(|error| error.to_string())?;
            }
            Ok(Verified::New(table))
        }
        Err(errors) => match Directory::verify(anchor, snapshots, &SerialFloor::new(), at) {
            Ok(directory) => compile(&directory).map(Verified::Old),
            Err(_) => Err(errors.to_string()),
        },
    }
}
