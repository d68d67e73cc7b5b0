//! The side of a process that shares a journal. Calls block; the journal's threads make them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kernpost_codecs::{EndpointId, MessageId};

use super::wire::{Answer, Looked, MOST_ITEMS, Request, VERSION, body_length};
use crate::core::{JournalRecord, Lookup};
use crate::journal::record::{decode, encode};
use crate::journal::{JournalError, LookedUp};

/// How long an answer may take: an fsync of a loaded disk, and others' before it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A journal that other processes use too.
#[derive(Debug)]
pub struct SharedJournal {
    socket: PathBuf,
    id: [u8; 16],
    /// Names this process in its reservations.
    holder: [u8; 16],
    lookups: Mutex<Option<UnixStream>>,
    records: Mutex<Option<UnixStream>>,
}

impl SharedJournal {
    /// Connects to the journal at this socket. `holder` names this process: random.
    ///
    /// # Errors
    /// Nobody serves the socket, or speaks another version.
    pub fn connect(socket: &Path, holder: [u8; 16]) -> Result<Self, JournalError> {
        let (lookups, id) = dial(socket, holder).map_err(|why| unreachable(socket, why))?;
        let (records, _) = dial(socket, holder).map_err(|why| unreachable(socket, why))?;
        let (lookups, records) = (Mutex::new(Some(lookups)), Mutex::new(Some(records)));
        Ok(Self { socket: socket.to_owned(), id, holder, lookups, records })
    }

    pub(in crate::journal) fn id(&self) -> [u8; 16] {
        self.id
    }

    pub(in crate::journal) fn look_up(&self, lookups: &[Lookup]) -> Result<Vec<LookedUp>, JournalError> {
        let mut found = Vec::with_capacity(lookups.len());
        for lookups in lookups.chunks(MOST_ITEMS) {
            let asked = lookups.iter().map(|lookup| (lookup.sender.clone(), lookup.message)).collect();
            let Answer::Looked(looked) = self.call(&self.lookups, &Request::LookUp(asked))? else {
                return Err(self.nonsense());
            };
            if looked.len() != lookups.len() {
                return Err(self.nonsense());
            }
            for one in looked {
                found.push(match one {
                    Looked::Yours => LookedUp::Unknown,
                    Looked::Elsewhere => LookedUp::Elsewhere,
                    Looked::Verdict(verdict) => {
                        LookedUp::Known(decode(&verdict).map(|(earlier, _)| earlier).ok_or_else(|| self.nonsense())?)
                    }
                });
            }
        }
        Ok(found)
    }

    /// Whether each record is durable; false: another process decided about that message first.
    pub(in crate::journal) fn record(&self, records: &[JournalRecord]) -> Result<Vec<bool>, JournalError> {
        let mut durable = Vec::with_capacity(records.len());
        for records in records.chunks(MOST_ITEMS) {
            let one = |record: &JournalRecord| {
                ((record.sender.clone(), record.message), encode(&record.verdict, record.forget_after))
            };
            let request = Request::Record(records.iter().map(one).collect());
            match self.call(&self.records, &request)? {
                Answer::Recorded(answers) if answers.len() == records.len() => durable.extend(answers),
                _ => return Err(self.nonsense()),
            }
        }
        Ok(durable)
    }

    pub(in crate::journal) fn release(&self, messages: &[(EndpointId, MessageId)]) -> Result<(), JournalError> {
        for messages in messages.chunks(MOST_ITEMS) {
            self.call(&self.lookups, &Request::Release(messages.to_vec()))?;
        }
        Ok(())
    }

    /// One request and its answer. A connection that failed is made again at the next call, not at this one: nobody knows what
    /// became of what was under way.
    fn call(&self, on: &Mutex<Option<UnixStream>>, request: &Request) -> Result<Answer, JournalError> {
        let mut on = on.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stream = match on.take() {
            Some(stream) => stream,
            None => self.dial_again()?,
        };
        let answer = exchange(&mut stream, request).map_err(|why| unreachable(&self.socket, why))?;
        if let Answer::Failed(why) = answer {
            return Err(unreachable(&self.socket, why));
        }
        *on = Some(stream);
        Ok(answer)
    }

    fn dial_again(&self) -> Result<UnixStream, JournalError> {
        let (stream, id) = dial(&self.socket, self.holder).map_err(|why| unreachable(&self.socket, why))?;
        if id != self.id {
            let why = "another journal is served there now; start again to use it".to_owned();
            return Err(unreachable(&self.socket, why));
        }
        Ok(stream)
    }

    fn nonsense(&self) -> JournalError {
        unreachable(&self.socket, "an answer that does not fit its question".to_owned())
    }
}

fn unreachable(socket: &Path, cause: String) -> JournalError {
    JournalError::Shared { socket: socket.display().to_string(), cause }
}

fn dial(socket: &Path, holder: [u8; 16]) -> Result<(UnixStream, [u8; 16]), String> {
    let mut stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    match exchange(&mut stream, &Request::Hello { version: VERSION, holder })? {
        Answer::Hello { version: VERSION, journal } => Ok((stream, journal)),
        Answer::Failed(why) => Err(why),
        _ => Err("it speaks another version".to_owned()),
    }
}

fn exchange(stream: &mut UnixStream, request: &Request) -> Result<Answer, String> {
    let io = |error: std::io::Error| error.to_string();
    stream.write_all(&request.encode()).map_err(io)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).map_err(io)?;
    let length = body_length(head).ok_or("an answer longer than 1 MiB")?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(io)?;
    Answer::decode(&body).map_err(|fault| fault.to_string())
}
