//! What do a source and a sink leave behind for others to read, also when they are killed? A state, replaced as a whole several
//! times a second, and lists of numbers, appended before what they say is acted upon.
//!
//! Only the processes are killed, never the machine: what was written is there, without an fsync.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use kernpost_codecs::MessageId;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of an id in a list.
const ID_BYTES: usize = 16;

/// Replaces a state.
///
/// # Errors
/// The file cannot be written.
pub fn put(path: &Path, state: &impl Serialize) -> Result<()> {
    let half = path.with_extension("half");
    std::fs::write(&half, serde_json::to_vec(state)?).with_context(|| format!("cannot write {}", half.display()))?;
    std::fs::rename(&half, path).with_context(|| format!("cannot write {}", path.display()))
}

/// The state, when there is one.
pub fn get<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// A list of message ids that grows.
#[derive(Debug)]
pub struct List(File);

impl List {
    /// Opens the list at its end.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(opened.with_context(|| format!("cannot write {}", path.display()))?))
    }

    /// Appends some, in one write.
    ///
    /// # Errors
    /// The disk is full.
    pub fn append(&mut self, ids: impl Iterator<Item = MessageId>) -> Result<()> {
        let bytes: Vec<u8> = ids.flat_map(|id| *id.as_bytes()).collect();
        Ok(self.0.write_all(&bytes)?)
    }
}

/// Everything in a list. A kill may have cut off the last one.
pub fn ids(path: &Path) -> Vec<MessageId> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let whole = bytes.chunks_exact(ID_BYTES).filter_map(|id| <[u8; ID_BYTES]>::try_from(id).ok());
    whole.map(MessageId).collect()
}
