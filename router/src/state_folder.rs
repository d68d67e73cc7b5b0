//! What does a running router keep in its state folder, besides the directory's memory?
//!
//! `lock`: held exclusively while the process lives, so that two processes never share serials and history. `addresses.json`:
//! what was bound, written when everything is, for whoever configured port 0. `link-secret`: see [`crate::link_secret`].

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kernpost_routing_table::source::{SourceError, write_atomically};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::link_secret::LinkSecret;

/// The addresses of a running router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Where links are accepted, in the order of `listen.addresses`.
    pub quic: Vec<SocketAddr>,
    /// The admin interface.
    pub admin: SocketAddr,
}

/// The state folder of this process, locked.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

/// A state folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process holds it.
    #[error("{} is in use by another router process; stop that one, or give this one a router.state of its own", .0.display())]
    Locked(PathBuf),
    /// The file system said no.
    #[error("{}: {source}; router.state must be a folder this user may write to", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{0}")]
    Write(#[from] SourceError),
}

impl StateFolder {
    /// Creates the folder when missing, and locks it until the process ends.
    ///
    /// # Errors
    /// It is held by another process, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let lock = path.join("lock");
        let wrong = |source| StateError::Io { path: lock.clone(), source };
        std::fs::create_dir_all(path).map_err(wrong)?;
        let file = File::options().create(true).truncate(false).write(true).open(&lock);
        let file = file.map_err(wrong)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::Locked(path.to_owned())),
            Err(error) => Err(wrong(error.into())),
        }
    }

    /// The secret of this router's links, made at the first start.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not a secret.
    pub fn link_secret(&self) -> Result<LinkSecret, StateError> {
        let path = self.path.join(LINK_SECRET);
        LinkSecret::load_or_create(&path).map_err(|source| StateError::Io { path, source })
    }

    /// Writes `addresses.json`; whoever reads it finds all of it or none.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_addresses(&self, addresses: &Addresses) -> Result<(), StateError> {
        let path = self.path.join(ADDRESSES);
        let json = serde_json::to_vec(addresses)
            .map_err(|error| StateError::Io { path: path.clone(), source: error.into() })?;
        Ok(write_atomically(&path, &json)?)
    }

    /// Takes `addresses.json` away: nobody listens there any more.
    pub fn remove_addresses(&self) {
        // Missing is as good as removed, and a stale file only misleads who did not look at the process.
        let _ = std::fs::remove_file(self.path.join(ADDRESSES));
    }
}

const ADDRESSES: &str = "addresses.json";
const LINK_SECRET: &str = "link-secret";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_has_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path()).unwrap();
        assert!(matches!(StateFolder::open(folder.path()), Err(StateError::Locked(_))));
        drop(first);
        StateFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn addresses_are_json_that_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let addresses = Addresses { quic: vec!["[::1]:4713".parse().unwrap()], admin: "[::1]:9713".parse().unwrap() };
        state.write_addresses(&addresses).unwrap();
        let text = std::fs::read_to_string(folder.path().join(ADDRESSES)).unwrap();
        assert_eq!(text, r#"{"quic":["[::1]:4713"],"admin":"[::1]:9713"}"#);
        assert_eq!(serde_json::from_str::<Addresses>(&text).unwrap(), addresses);
        state.remove_addresses();
        assert!(!folder.path().join(ADDRESSES).exists());
    }
}
