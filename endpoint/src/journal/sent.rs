//! Which messages did this endpoint send, so that replies to them are expected?
//!
//! A file of fixed records, appended to by every process of the state folder, so that a reply to `kernpost send` is
//! known to `kernpost receive`. Written before the message leaves, without fsync: a power failure may lose the newest
//! records, and their replies are then rejected as unsolicited, which their senders see. Bounded: the newest 1,000,000
//! are remembered; when the file holds twice that, the older half is dropped at the next start.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kernpost_codecs::digest::Digest;
use kernpost_codecs::{EndpointId, MessageId};

const MOST: usize = 1_000_000;
const RECORD: usize = 24;

type Mark = [u8; RECORD];

/// The messages sent.
#[derive(Debug)]
pub struct SentLog(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: HashSet<Mark, foldhash::fast::RandomState>,
    order: VecDeque<Mark>,
    file: Option<File>,
    read_to: u64,
}

impl SentLog {
    /// Remembers only while the process lives.
    pub fn in_memory() -> Self {
        Self(Mutex::default())
    }

    /// Remembers in a file; made when missing.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        trim(path)?;
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut inner = Inner { file: Some(file), ..Inner::default() };
        inner.read_on()?;
        Ok(Self(Mutex::new(inner)))
    }

    /// Notes that these messages leave, with one write.
    ///
    /// # Errors
    /// The file cannot be written; the messages may leave all the same, but replies to them will be rejected after a
    /// restart.
    pub fn note(&self, sent: impl Iterator<Item = (EndpointId, MessageId)>) -> std::io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        for (sender, message) in sent {
            let mark = mark(&sender, message);
            inner.remember(mark);
            bytes.extend_from_slice(&mark);
        }
        match inner.file.as_mut() {
            Some(file) => file.write_all(&bytes),
            None => Ok(()),
        }
    }

    /// Whether this message was sent by this endpoint, by this or another process of the state folder.
    pub fn contains(&self, sender: &EndpointId, message: MessageId) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = mark(sender, message);
        if !inner.known.contains(&mark)
            && let Err(error) = inner.read_on()
        {
            tracing::warn!(%error, "the list of sent messages cannot be read; replies may be rejected");
        }
        inner.known.contains(&mark)
    }
}

impl Inner {
    fn remember(&mut self, mark: Mark) {
        if !self.known.insert(mark) {
            return;
        }
        self.order.push_back(mark);
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Reads what was appended since, in whole records.
    fn read_on(&mut self) -> std::io::Result<()> {
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        file.seek(SeekFrom::Start(self.read_to))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (records, _) = bytes.as_chunks::<RECORD>();
        self.read_to += (records.len() * RECORD) as u64;
        for record in records {
            self.remember(*record);
        }
        Ok(())
    }
}

fn mark(sender: &EndpointId, message: MessageId) -> Mark {
    let mut mark = [0; RECORD];
    mark[..16].copy_from_slice(&message.0);
    mark[16..].copy_from_slice(&Digest::of(sender.as_str().as_bytes()).0[..8]);
    mark
}

/// Drops the older records of a file that has grown beyond twice what is remembered.
fn trim(path: &Path) -> std::io::Result<()> {
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if length < (2 * MOST * RECORD) as u64 {
        return Ok(());
    }
    let bytes = std::fs::read(path)?;
    let (records, _) = bytes.as_chunks::<RECORD>();
    let kept = records.get(records.len().saturating_sub(MOST)..).unwrap_or_default();
    let new = path.with_extension("new");
    std::fs::write(&new, kept.as_flattened())?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_sends_another_one_knows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sent.ids");
        let (receiver, sender) = (SentLog::open(&path).unwrap(), SentLog::open(&path).unwrap());
        let portal: EndpointId = "de/portal".parse().unwrap();
        assert!(!receiver.contains(&portal, MessageId([1; 16])));
        sender.note([(portal.clone(), MessageId([1; 16]))].into_iter()).unwrap();
        assert!(receiver.contains(&portal, MessageId([1; 16])));
        assert!(!receiver.contains(&"de/other".parse().unwrap(), MessageId([1; 16])));
    }

    #[test]
    fn the_list_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sent.ids");
        let portal: EndpointId = "de/portal".parse().unwrap();
        SentLog::open(&path).unwrap().note([(portal.clone(), MessageId([1; 16]))].into_iter()).unwrap();
        assert!(SentLog::open(&path).unwrap().contains(&portal, MessageId([1; 16])));
    }
}
