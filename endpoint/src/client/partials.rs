//! Where do large payloads lie until their verdict is durable? One file each, named by the leaf hash of the statement.
//!
//! A partial is kept after an interruption, for 24 h at most and within a quota; the oldest make room for new ones. What is
//! in a file is hashed again before anybody relies on it, so a crash can only shorten a partial, never spoil it (WIRE 9.6).
//! Without a state folder everything is in memory and a restart forgets it. Every function here may block on the disk.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kernpost_codecs::digest::{Digest, DigestStream};

use crate::core::StoredPayload;

/// The partials of one process.
#[derive(Debug)]
pub(crate) struct Partials {
    folder: Option<PathBuf>,
    /// Bytes of all payloads here, those expected included.
    quota: u64,
    keep: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Being received, or whole and not yet dropped, with the bytes they have in the end: never evicted.
    active: HashMap<Digest, u64>,
    /// Without a folder: what is kept of those that are not active.
    memory: HashMap<Digest, (Vec<u8>, SystemTime)>,
}

/// Why a partial cannot be opened.
#[derive(Debug)]
pub(crate) enum OpenFault {
    /// The quota has no room for it, or an earlier attempt is not at its end.
    Full,
    /// The disk failed.
    Io(io::Error),
}

impl From<io::Error> for OpenFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How a whole payload turned out.
#[derive(Debug)]
pub(crate) enum Whole {
    /// The digest matches. Nobody else works on it, or evicts it, while this is held or after [`Held::keep`].
    Right(StoredPayload, Held),
    /// It does not, or there are more bytes or fewer than announced: deleted.
    Wrong,
}

/// A whole payload that somebody has to take over; else it is a partial like others.
#[derive(Debug)]
pub(crate) struct Held {
    partials: Arc<Partials>,
    leaf: Digest,
    kept: bool,
}

impl Held {
    /// It was taken over: [`Partials::release`] or [`Partials::drop_payload`] ends that.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.kept {
            self.partials.release(self.leaf);
        }
    }
}

impl Partials {
    /// In this folder, which is made; `None`: in memory.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: Option<PathBuf>, quota: u64, keep_ms: u64) -> io::Result<Self> {
        if let Some(folder) = &folder {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let partials = Self { folder, quota, keep: Duration::from_millis(keep_ms), state: Mutex::default() };
        partials.expire(SystemTime::now());
        Ok(partials)
    }

    /// Opens or begins the payload of this leaf, of `length` bytes in the end; what is there already is hashed again.
    pub fn begin(self: &Arc<Self>, leaf: Digest, length: u64, now: SystemTime) -> Result<Partial, OpenFault> {
        self.expire(now);
        let kept = self.reserve(leaf, length)?;
        let mut partial = Partial {
            partials: Arc::clone(self),
            leaf,
            length,
            taken: 0,
            hash: DigestStream::new(),
            bytes: Place::Memory(kept.unwrap_or_default()),
            settled: false,
        };
        if let Some(path) = self.path(leaf) {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            partial.bytes = Place::File(file);
        }
        partial.hash_again()?;
        Ok(partial)
    }

    /// Deletes the payload of this leaf; its verdict is durable.
    pub fn drop_payload(&self, leaf: Digest) {
        self.release(leaf);
        self.state().memory.remove(&leaf);
        if let Some(path) = self.path(leaf) {
            remove(&path);
        }
    }

    /// Nobody works on the payload of this leaf any more: it may be evicted.
    pub fn release(&self, leaf: Digest) {
        self.state().active.remove(&leaf);
    }

    /// Takes its share of the quota; the oldest that nobody works on make room. Gives what memory kept of it.
    fn reserve(&self, leaf: Digest, length: u64) -> Result<Option<Vec<u8>>, OpenFault> {
        // Held to the end: a file found idle must not be begun before it is removed.
        let mut state = self.state();
        let idle = self.idle_files(&state, leaf);
        if state.active.contains_key(&leaf) {
            return Err(OpenFault::Full);
        }
        let kept = state.memory.remove(&leaf).map(|(bytes, _)| bytes);
        let active: u64 = state.active.values().sum();
        let mut used = active + idle.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        used += state.memory.values().map(|(bytes, _)| bytes.len() as u64).sum::<u64>();
        if active.saturating_add(length) > self.quota {
            if let Some(bytes) = kept {
                state.memory.insert(leaf, (bytes, SystemTime::now()));
            }
            return Err(OpenFault::Full);
        }
        let mut idle = idle.into_iter();
        while used + length > self.quota {
            if let Some((path, bytes, _)) = idle.next() {
                tracing::info!(path = %path.display(), "a partial payload makes room for another");
                remove(&path);
                used = used.saturating_sub(bytes);
                continue;
            }
            let oldest = state.memory.iter().min_by_key(|(_, (_, at))| *at).map(|(leaf, _)| *leaf);
            let Some((bytes, _)) = oldest.and_then(|leaf| state.memory.remove(&leaf)) else { break };
            used = used.saturating_sub(bytes.len() as u64);
        }
        state.active.insert(leaf, length);
        Ok(kept)
    }

    /// Files nobody works on, without this leaf's, the oldest first.
    fn idle_files(&self, state: &State, leaf: Digest) -> Vec<(PathBuf, u64, SystemTime)> {
        let Some(folder) = &self.folder else { return Vec::new() };
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let active: Vec<PathBuf> = state.active.keys().filter_map(|leaf| self.path(*leaf)).collect();
        let own = self.path(leaf);
        let mut idle: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == EXTENSION))
            .filter(|entry| Some(entry.path()) != own && !active.contains(&entry.path()))
            .filter_map(|entry| {
                let about = entry.metadata().ok()?;
                Some((entry.path(), about.len(), about.modified().ok()?))
            })
            .collect();
        idle.sort_by_key(|(_, _, at)| *at);
        idle
    }

    /// Deletes what nobody has worked on for longer than partials are kept.
    pub fn expire(&self, now: SystemTime) {
        let keep = self.keep;
        let old = |at: &SystemTime| now.duration_since(*at).is_ok_and(|age| age > keep);
        let mut state = self.state();
        state.memory.retain(|_, (_, at)| !old(at));
        for (path, _, at) in self.idle_files(&state, Digest([0; 32])) {
            if old(&at) {
                remove(&path);
            }
        }
    }

    fn path(&self, leaf: Digest) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{leaf}.{EXTENSION}")))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a payload could not be deleted");
        }
        _ => {}
    }
}

/// Ends the names of payloads' files.
const EXTENSION: &str = "payload";
/// Bytes hashed again at a time.
const PIECE: usize = 256 << 10;

/// A payload being received. Let go before [`Partial::finish`] it is kept for later.
#[derive(Debug)]
pub(crate) struct Partial {
    partials: Arc<Partials>,
    leaf: Digest,
    length: u64,
    taken: u64,
    hash: DigestStream,
    bytes: Place,
    settled: bool,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    File(File),
}

impl Partial {
    /// Bytes that are here and hashed.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes there will be.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            match &mut self.bytes {
                Place::Memory(memory) => memory.extend_from_slice(piece),
                Place::File(file) => file.write_all(piece)?,
            }
            self.hash.update(piece);
            self.taken += piece.len() as u64;
        }
        Ok(())
    }

    /// Everything came: durable if it is what was announced, else deleted.
    ///
    /// # Errors
    /// It could not be made durable.
    pub fn finish(mut self, digest: Digest) -> io::Result<Whole> {
        let hash = std::mem::take(&mut self.hash).finish();
        if hash != digest || self.taken != self.length {
            self.settled = true;
            self.partials.drop_payload(self.leaf);
            return Ok(Whole::Wrong);
        }
        let stored = match &mut self.bytes {
            Place::Memory(memory) => StoredPayload::Memory(Bytes::from(std::mem::take(memory))),
            Place::File(file) => {
                file.sync_all()?;
                if let Some(folder) = &self.partials.folder {
                    File::open(folder)?.sync_all()?;
                }
                StoredPayload::File(self.partials.path(self.leaf).unwrap_or_default())
            }
        };
        self.settled = true;
        let held = Held { partials: Arc::clone(&self.partials), leaf: self.leaf, kept: false };
        Ok(Whole::Right(stored, held))
    }

    /// What is in the file becomes what is taken; too much of it is none.
    fn hash_again(&mut self) -> io::Result<()> {
        match &mut self.bytes {
            Place::Memory(memory) => {
                self.hash.update(memory);
                self.taken = memory.len() as u64;
            }
            Place::File(file) => {
                if file.metadata()?.len() > self.length {
                    file.set_len(0)?;
                }
                let mut piece = vec![0; PIECE];
                loop {
                    let read = file.read(&mut piece)?;
                    let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
                    self.hash.update(bytes);
                    self.taken += read as u64;
                }
                file.seek(SeekFrom::Start(self.taken))?;
            }
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut state = self.partials.state();
        state.active.remove(&self.leaf);
        if let Place::Memory(memory) = &mut self.bytes {
            state.memory.insert(self.leaf, (std::mem::take(memory), SystemTime::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: Digest = Digest([1; 32]);
    const OTHER: Digest = Digest([2; 32]);

    fn store(folder: Option<&Path>, quota: u64) -> Arc<Partials> {
        Arc::new(Partials::open(folder.map(Path::to_owned), quota, 1_000).unwrap())
    }

    fn put(partial: &mut Partial, text: &'static str) {
        partial.append(&[Bytes::from_static(text.as_bytes())]).unwrap();
    }

    /// Both kinds of store.
    fn both(test: impl Fn(Option<&Path>)) {
        let folder = tempfile::tempdir().unwrap();
        test(Some(folder.path()));
        test(None);
    }

    #[test]
    fn an_interrupted_payload_goes_on_where_it_stopped() {
        both(|folder| {
            let partials = store(folder, 100);
            put(&mut partials.begin(LEAF, 10, SystemTime::now()).unwrap(), "hello");
            let mut again = partials.begin(LEAF, 10, SystemTime::now()).unwrap();
            assert_eq!(again.taken(), 5);
            put(&mut again, "world");
            let whole = again.finish(Digest::of(b"helloworld")).unwrap();
            match whole {
                Whole::Right(StoredPayload::File(path), _) => assert_eq!(fs::read(path).unwrap(), b"helloworld"),
                Whole::Right(StoredPayload::Memory(bytes), _) => assert_eq!(bytes, "helloworld"),
                Whole::Wrong => panic!("the digest matches"),
            }
        });
    }

    #[test]
    fn a_partial_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        put(&mut store(Some(folder.path()), 100).begin(LEAF, 10, SystemTime::now()).unwrap(), "hello");
        assert_eq!(store(Some(folder.path()), 100).begin(LEAF, 10, SystemTime::now()).unwrap().taken(), 5);
    }

    #[test]
    fn a_wrong_digest_deletes_what_came() {
        both(|folder| {
            let partials = store(folder, 100);
            let mut partial = partials.begin(LEAF, 5, SystemTime::now()).unwrap();
            put(&mut partial, "hello");
            assert!(matches!(partial.finish(Digest::of(b"other")).unwrap(), Whole::Wrong));
            assert_eq!(partials.begin(LEAF, 5, SystemTime::now()).unwrap().taken(), 0);
        });
    }

    #[test]
    fn fewer_bytes_than_announced_are_wrong_even_with_their_digest() {
        let partials = store(None, 100);
        let mut partial = partials.begin(LEAF, 6, SystemTime::now()).unwrap();
        put(&mut partial, "hello");
        assert!(matches!(partial.finish(Digest::of(b"hello")).unwrap(), Whole::Wrong));
    }

    #[test]
    fn what_is_under_way_is_never_evicted_and_the_oldest_partial_is() {
        both(|folder| {
            let partials = store(folder, 10);
            put(&mut partials.begin(LEAF, 8, SystemTime::now()).unwrap(), "hello");
            let under_way = partials.begin(OTHER, 8, SystemTime::now()).unwrap();
            assert!(matches!(partials.begin(LEAF, 8, SystemTime::now()), Err(OpenFault::Full)));
            drop(under_way);
            assert_eq!(partials.begin(LEAF, 8, SystemTime::now()).unwrap().taken(), 0, "it made room");
        });
    }

    #[test]
    fn partials_expire() {
        both(|folder| {
            let partials = store(folder, 100);
            put(&mut partials.begin(LEAF, 8, SystemTime::now()).unwrap(), "hello");
            let later = SystemTime::now() + Duration::from_secs(2);
            drop(partials.begin(OTHER, 8, later).unwrap());
            assert_eq!(partials.begin(LEAF, 8, SystemTime::now()).unwrap().taken(), 0);
        });
    }

    #[test]
    fn a_whole_payload_is_kept_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let partials = store(Some(folder.path()), 10);
        let mut partial = partials.begin(LEAF, 5, SystemTime::now()).unwrap();
        put(&mut partial, "hello");
        let Whole::Right(_, held) = partial.finish(Digest::of(b"hello")).unwrap() else { panic!("it matches") };
        held.keep();
        assert!(matches!(partials.begin(OTHER, 6, SystemTime::now()), Err(OpenFault::Full)));
        partials.drop_payload(LEAF);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(partials.begin(OTHER, 6, SystemTime::now()).is_ok());
    }
}
