//! Where do payloads above 64 KiB lie while their messages are in custody, or on their way into it?
//!
//! One file each beside the store, named by the leaf hash of the message's statement, sealed in pieces ([`file`]). A file is a
//! *partial* until its payload is whole and its message held; partials are kept for 24 h after the last attempt, within a quota, the
//! oldest make room. A crash can only shorten a partial: what is found is authenticated and hashed again before anybody relies on
//! it (WIRE 9.6). Every function here may block on the disk; none keeps more of a payload in memory than two pieces.

mod arriving;
mod error;
mod file;
mod reading;
#[cfg(test)]
mod tests;

pub use arriving::{Arriving, Whole};
pub use error::PayloadFault;
pub use file::PIECE;
pub use reading::PayloadReader;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use kernpost_codecs::{Digest, EndpointId, MessageId};

use crate::keys::MasterKeys;

/// Fills a slice with random bytes.
pub type Random = Box<dyn Fn(&mut [u8]) + Send + Sync>;

/// The message a payload belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Leaf hash of its statement, which names the file.
    pub leaf: Digest,
    /// Its sender. Personal: sealed in the file.
    pub sender: EndpointId,
    /// Its id.
    pub message: MessageId,
}

/// Payloads of one router, in a folder of their own.
pub struct PayloadStore {
    folder: PathBuf,
    masters: MasterKeys,
    random: Random,
    /// Bytes of all partials, those expected included.
    quota: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Being received, with the bytes they have in the end: never evicted, opened once.
    active: HashMap<Digest, u64>,
    /// Whole, and held by a message: not partials.
    held: HashMap<Digest, u64>,
}

impl PayloadStore {
    /// In this folder, which is made. Until [`sweep`](Self::sweep) nothing counts as held.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &Path, masters: MasterKeys, random: Random, quota: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), masters, random, quota, state: Mutex::default() })
    }

    /// At the start: which files are held, as `waits` says of their messages, and which are partials. A file whose header cannot be
    /// read is set aside; its message, if there is one, ends *damaged* when its turn comes.
    ///
    /// # Errors
    /// The folder cannot be read, or a file is sealed with a master key that was not given.
    pub fn sweep(&self, mut waits: impl FnMut(&EndpointId, MessageId) -> bool) -> Result<(), PayloadFault> {
        for Found { leaf, bytes, .. } in self.found(PARTIAL)? {
            match file::owner(&self.path(leaf), leaf, &self.masters) {
                Ok(owner) if waits(&owner.sender, owner.message) => {
                    self.state().held.insert(leaf, bytes);
                }
                Ok(_) => {}
                Err(PayloadFault::Damaged) => self.set_aside(leaf),
                Err(fault) => return Err(fault),
            }
        }
        self.expire(SystemTime::now());
        Ok(())
    }

    /// Opens or begins the payload of a message, of `length` bytes in the end; what is there already is read and hashed again.
    ///
    /// # Errors
    /// [`PayloadFault::Full`]: no room in the quota, or an earlier attempt is not at its end.
    pub fn begin(self: &Arc<Self>, owner: &Owner, length: u64, now: SystemTime) -> Result<Arriving, PayloadFault> {
        self.expire(now);
        self.reserve(owner.leaf, length)?;
        // Given back, if what follows fails, by the guard's end.
        let place = Place { store: Arc::clone(self), leaf: owner.leaf };
        Arriving::open(place, owner, length)
    }

    /// Reads a payload of `length` bytes from `offset` on.
    ///
    /// # Errors
    /// [`PayloadFault::Damaged`]: it is not there, or not as it was written.
    pub fn read(&self, leaf: Digest, length: u64, offset: u64) -> Result<PayloadReader, PayloadFault> {
        PayloadReader::open(&self.path(leaf), leaf, &self.masters, length, offset)
    }

    /// Deletes the payload of a message that has ended, unless it is being received anew.
    pub fn erase(&self, leaf: Digest) {
        let mut state = self.state();
        state.held.remove(&leaf);
        if !state.active.contains_key(&leaf) {
            remove(&self.path(leaf));
        }
    }

    /// Its message was not kept: it is a partial like others.
    pub fn release(&self, leaf: Digest) {
        self.state().held.remove(&leaf);
    }

    /// What lies there cannot be read: it stays for the operator, under another name, for 30 days.
    pub fn set_aside(&self, leaf: Digest) {
        self.state().held.remove(&leaf);
        let path = self.path(leaf);
        match fs::rename(&path, path.with_extension(ASIDE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => remove(&path),
            _ => {}
        }
    }

    /// Deletes partials nobody has worked on for 24 h, and what was set aside 30 days ago.
    pub fn expire(&self, now: SystemTime) {
        let old = |file: &Found, most: Duration| now.duration_since(file.changed).is_ok_and(|age| age > most);
        let state = self.state();
        let partials = self.idle(&state).into_iter().filter(|file| old(file, PARTIALS_KEPT));
        let aside = self.found(ASIDE).unwrap_or_default().into_iter().filter(|file| old(file, ASIDE_KEPT));
        partials.chain(aside).for_each(|file| remove(&file.path));
    }

    /// Wraps the secret of every payload by the current master key; how many there were.
    ///
    /// # Errors
    /// A file cannot be read or written: previous master keys are still needed.
    pub fn rewrap(&self) -> Result<usize, PayloadFault> {
        let mut wrapped = 0;
        for Found { path, leaf, .. } in self.found(PARTIAL)? {
            file::rewrap(&path, leaf, &self.masters, &mut |bytes| (self.random)(bytes))?;
            wrapped += 1;
        }
        Ok(wrapped)
    }

    /// Bytes of payloads that messages hold.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.state().held.values().sum()
    }

    /// Takes its share of the quota; the oldest partials nobody works on make room.
    fn reserve(&self, leaf: Digest, length: u64) -> Result<(), PayloadFault> {
        // Held to the end: a file found idle must not be begun before it is removed.
        let mut state = self.state();
        if state.active.contains_key(&leaf) {
            return Err(PayloadFault::Full);
        }
        let active: u64 = state.active.values().sum();
        if active.saturating_add(length) > self.quota {
            return Err(PayloadFault::Full);
        }
        let mut idle = self.idle(&state);
        idle.retain(|file| file.leaf != leaf);
        let mut used = active + idle.iter().map(|file| file.bytes).sum::<u64>();
        for file in idle {
            if used + length <= self.quota {
                break;
            }
            remove(&file.path);
            used = used.saturating_sub(file.bytes);
        }
        state.held.remove(&leaf);
        state.active.insert(leaf, length);
        Ok(())
    }

    /// Partials that nobody works on, the oldest first.
    fn idle(&self, state: &State) -> Vec<Found> {
        let mut idle = self.found(PARTIAL).unwrap_or_default();
        idle.retain(|file| !state.active.contains_key(&file.leaf) && !state.held.contains_key(&file.leaf));
        idle.sort_by_key(|file| file.changed);
        idle
    }

    /// Files of payloads with this extension.
    fn found(&self, extension: &str) -> io::Result<Vec<Found>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            if let Some(leaf) = name.filter(|_| path.extension().is_some_and(|found| found == extension)) {
                match path.metadata().and_then(|about| Ok((about.len(), about.modified()?))) {
                    Ok((bytes, changed)) => files.push(Found { path, leaf, bytes, changed }),
                    // Erased since the folder was read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(files)
    }

    fn path(&self, leaf: Digest) -> PathBuf {
        self.folder.join(format!("{leaf}.{PARTIAL}"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PayloadStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayloadStore").field("folder", &self.folder).field("state", &self.state).finish_non_exhaustive()
    }
}

/// A file of the folder.
struct Found {
    path: PathBuf,
    /// What its name says.
    leaf: Digest,
    bytes: u64,
    changed: SystemTime,
}

/// A payload that somebody works on.
#[derive(Debug)]
struct Place {
    store: Arc<PayloadStore>,
    leaf: Digest,
}

impl Place {
    fn path(&self) -> PathBuf {
        self.store.path(self.leaf)
    }

    /// Its bytes are there for good: it is no partial any more.
    fn hold(&self, bytes: u64) -> io::Result<()> {
        File::open(&self.store.folder)?.sync_all()?;
        self.store.state().held.insert(self.leaf, bytes);
        Ok(())
    }

    fn discard(&self) {
        remove(&self.path());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.store.state().active.remove(&self.leaf);
    }
}

/// Missing is as good as removed; what cannot be removed is found again by its age.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Ends the names of payloads' files.
const PARTIAL: &str = "payload";
/// Ends the names of what could not be read.
const ASIDE: &str = "damaged";
/// How long a partial is kept after the last attempt (WIRE 9.6).
const PARTIALS_KEPT: Duration = Duration::from_secs(24 * 3_600);
const ASIDE_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);
