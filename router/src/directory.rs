//! Which directory is in force, and when does another take its place?
//!
//! Reads the folder of signed zones, believes it only as a whole, remembers serials across restarts, keeps the last good
//! copy, and compiles again when a rule begins or ends. A refused directory changes nothing. Verifying and compiling may
//! take seconds for a million rules: [`LiveDirectory`] belongs on a thread of its own, never on a worker's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use kernpost_codecs::UnixMs;
use kernpost_routing_table::source::{
    SourceError, load_anchor, load_floor, load_snapshots, store_floor, write_zone, zone_files,
};
use kernpost_routing_table::{CompileError, Directory, DirectoryErrors, SerialFloor, Table, TrustAnchor};

use crate::config::Config;

mod history;

pub use history::History;

/// Where a router reads and remembers directories.
#[derive(Debug, Clone)]
pub struct DirectoryPaths {
    /// Folder with the signed zones.
    pub folder: PathBuf,
    /// The trust anchor.
    pub trust_anchor: PathBuf,
    /// The router's state folder.
    pub state: PathBuf,
}

impl DirectoryPaths {
    /// As configured.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            folder: config.directory.folder.clone(),
            trust_anchor: config.directory.trust_anchor.clone(),
            state: config.router.state.clone(),
        }
    }

    /// The serials seen, so that none ever goes back.
    #[must_use]
    pub fn floor(&self) -> PathBuf {
        self.state.join("serials.toml")
    }

    /// The last directory that was in force.
    #[must_use]
    pub fn last_good(&self) -> PathBuf {
        self.state.join("last-good")
    }

    /// Earlier versions, for receipts.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.state.join("history")
    }
}

/// A directory that cannot be put into force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryTrouble {
    /// A file cannot be read or written.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// Several files cannot be read.
    #[error("{}", joined(.0))]
    Sources(Vec<SourceError>),
    /// It is wrong: everything that is.
    #[error("{0}")]
    Refused(#[from] DirectoryErrors),
    /// It cannot be compiled.
    #[error("{0}")]
    Compile(#[from] CompileError),
}

impl DirectoryTrouble {
    /// Each thing that is wrong, one text each.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        match self {
            Self::Refused(errors) => errors.iter().map(ToString::to_string).collect(),
            Self::Sources(errors) => errors.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        }
    }
}

fn joined(errors: &[SourceError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

/// A verified directory and the table compiled from it.
#[derive(Debug)]
pub struct Loaded {
    /// The directory.
    pub directory: Directory,
    /// Its table.
    pub table: Table,
}

/// Reads, verifies and compiles; writes nothing.
///
/// # Errors
/// Why the directory cannot be put into force.
pub fn read(paths: &DirectoryPaths, now: UnixMs, generation: u64) -> Result<Loaded, DirectoryTrouble> {
    let Files { anchor, floor, snapshots } = Files::read(paths)?;
    let directory = Directory::verify_named(&anchor, snapshots, &floor, now)?;
    let table = Table::compile(&directory, now, generation)?;
    Ok(Loaded { directory, table })
}

/// What the files of a directory hold, not yet verified.
struct Files {
    anchor: TrustAnchor,
    floor: SerialFloor,
    /// By path.
    snapshots: Vec<(String, Bytes)>,
}

impl Files {
    fn read(paths: &DirectoryPaths) -> Result<Self, DirectoryTrouble> {
        let anchor = load_anchor(&paths.trust_anchor);
        let floor = load_floor(&paths.floor());
        let snapshots = load_snapshots(&paths.folder);
        match (anchor, floor, snapshots) {
            (Ok(anchor), Ok(floor), Ok(snapshots)) => {
                let named = snapshots.into_iter().map(|(path, bytes)| (path.display().to_string(), bytes));
                Ok(Self { anchor, floor, snapshots: named.collect() })
            }
            (anchor, floor, snapshots) => {
                let errors = [anchor.err(), floor.err(), snapshots.err()];
                Err(DirectoryTrouble::Sources(errors.into_iter().flatten().collect()))
            }
        }
    }
}

/// As [`read`], from the last good copy.
///
/// # Errors
/// Why that cannot be put into force either.
pub fn read_last_good(paths: &DirectoryPaths, now: UnixMs, generation: u64) -> Result<Loaded, DirectoryTrouble> {
    let kept = DirectoryPaths { folder: paths.last_good(), ..paths.clone() };
    read(&kept, now, generation)
}

/// What came of looking for a new directory.
#[derive(Debug)]
pub enum Refresh {
    /// Nothing changed.
    Unchanged,
    /// This table is to be put into force. Everything that must survive a crash is on disk.
    Live(Box<Table>),
    /// The folder holds something that is refused; what is in force stays. Said once per content.
    Refused(DirectoryTrouble),
}

/// The directory in force and its folder.
#[derive(Debug)]
pub struct LiveDirectory {
    paths: DirectoryPaths,
    directory: Directory,
    valid_until: Option<UnixMs>,
    generation: u64,
    seen: Vec<Print>,
    history: Arc<History>,
}

/// What tells one content of a file from another without reading it.
type Print = (PathBuf, Option<SystemTime>, u64);

impl LiveDirectory {
    /// Takes over what was loaded at the start: remembers its serials, keeps a copy, and adds it to the history.
    ///
    /// # Errors
    /// The state folder cannot be written.
    pub fn start(paths: DirectoryPaths, loaded: &Loaded) -> Result<Self, DirectoryTrouble> {
        let history = Arc::new(History::open(&paths.history())?);
        let live = Self {
            seen: prints(&paths),
            directory: loaded.directory.clone(),
            valid_until: loaded.table.valid_until(),
            generation: loaded.table.generation(),
            history,
            paths,
        };
        live.remember(&loaded.directory)?;
        Ok(live)
    }

    /// Earlier and present versions, for the control side to serve.
    #[must_use]
    pub fn history(&self) -> Arc<History> {
        self.history.clone()
    }

    /// The directory in force.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Looks whether the folder has changed or a rule begins or ends. Call it every `directory.poll_ms`. Zones that have not
    /// changed are taken over from the directory and from `in_force`, its table.
    pub fn refresh(&mut self, in_force: &Table, now: UnixMs) -> Refresh {
        let prints = prints(&self.paths);
        if prints != self.seen {
            self.seen = prints;
            return match self.take_new(in_force, now) {
                Ok(refresh) => refresh,
                Err(trouble) => Refresh::Refused(trouble),
            };
        }
        if self.valid_until.is_some_and(|until| until <= now) {
            return match in_force.compile_after(&self.directory, now, self.generation + 1) {
                Ok(table) => self.put_into_force(table),
                Err(error) => Refresh::Refused(error.into()),
            };
        }
        Refresh::Unchanged
    }

    fn take_new(&mut self, in_force: &Table, now: UnixMs) -> Result<Refresh, DirectoryTrouble> {
        let Files { anchor, floor, snapshots } = Files::read(&self.paths)?;
        let directory = self.directory.verify_after(&anchor, snapshots, &floor, now)?;
        if directory.version() == self.directory.version() {
            return Ok(Refresh::Unchanged);
        }
        let table = in_force.compile_after(&directory, now, self.generation + 1)?;
        self.remember(&directory)?;
        self.directory = directory;
        Ok(self.put_into_force(table))
    }

    fn put_into_force(&mut self, table: Table) -> Refresh {
        self.generation = table.generation();
        self.valid_until = table.valid_until();
        Refresh::Live(Box::new(table))
    }

    /// Makes sure a crash neither forgets the serials nor loses the directory. The copy comes first: a floor above every
    /// copy on disk would leave a router without a directory.
    fn remember(&self, directory: &Directory) -> Result<(), DirectoryTrouble> {
        let kept = self.paths.last_good();
        create_folder(&kept)?;
        for (version, signed) in directory.versions().iter().zip(directory.signed()) {
            write_zone(&kept, &version.zone, signed)?;
        }
        remove_other_zones(&kept, directory)?;
        let mut floor = load_floor(&self.paths.floor())?;
        floor.raise(directory);
        store_floor(&self.paths.floor(), &floor)?;
        self.history.keep(directory)?;
        Ok(())
    }
}

fn create_folder(path: &Path) -> Result<(), SourceError> {
    std::fs::create_dir_all(path).map_err(|cause| SourceError::Io { action: "create", path: path.to_owned(), cause })
}

/// A zone that left the directory must not come back from the copy.
fn remove_other_zones(kept: &Path, directory: &Directory) -> Result<(), SourceError> {
    for path in zone_files(kept)? {
        let zone = path.file_stem().and_then(|stem| stem.to_str());
        let belongs = directory.versions().iter().any(|version| Some(version.zone.as_str()) == zone);
        if !belongs {
            std::fs::remove_file(&path).map_err(|cause| SourceError::Io { action: "remove", path, cause })?;
        }
    }
    Ok(())
}

/// Fingerprints of the trust anchor and everything in the folder; a missing folder has none.
fn prints(paths: &DirectoryPaths) -> Vec<Print> {
    let entries = std::fs::read_dir(&paths.folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.push(paths.trust_anchor.clone());
    files.sort();
    let print = |path: PathBuf| {
        let metadata = std::fs::metadata(&path).ok();
        let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        let length = metadata.map_or(0, |metadata| metadata.len());
        (path, modified, length)
    };
    files.into_iter().map(print).collect()
}

#[cfg(test)]
pub(crate) mod tests;
