//! `kernpost journal serve`: one folder, several processes, one fsync for all records that wait.
//!
//! A lookup looks for a reservation and for a verdict under one lock, and a reservation goes only after the verdict is durable, so
//! no two processes ever hand on the same message. A process's reservations lapse when all its connections are closed and what
//! they brought is written: what a dying process recorded counts. Bounds: connections, reservations in all, and one request
//! under way per connection.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use kernpost_codecs::UnixMs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

use super::wire::{Answer, Identity, Looked, Request, VERSION, body_length};
use crate::core::{DeliveryId, JournalRecord};
use crate::journal::record::{decode, encode};
use crate::journal::{DiskJournal, JournalError};

/// Most connections; two for each process.
const MOST_CONNECTIONS: usize = 256;
/// Most messages in hand of all processes together; about 150 bytes each.
const MOST_RESERVED: usize = 1 << 20;
/// How often what is past its time is forgotten, and how much at once.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_MOST: usize = 10_000;

type Holder = [u8; 16];

#[derive(Debug, Default)]
struct Process {
    connections: usize,
    reserved: HashSet<Identity>,
}

#[derive(Debug, Default)]
struct Hands {
    reserved: HashMap<Identity, Holder>,
    processes: HashMap<Holder, Process>,
}

impl Hands {
    fn release(&mut self, holder: Holder, identity: &Identity) {
        if self.reserved.get(identity) == Some(&holder) {
            self.reserved.remove(identity);
            if let Some(process) = self.processes.get_mut(&holder) {
                process.reserved.remove(identity);
            }
        }
    }

    /// A connection of this process is gone; with the last one its reservations lapse.
    fn disconnect(&mut self, holder: Holder) {
        let Some(process) = self.processes.get_mut(&holder) else { return };
        process.connections = process.connections.saturating_sub(1);
        if process.connections > 0 {
            return;
        }
        for identity in self.processes.remove(&holder).map(|process| process.reserved).unwrap_or_default() {
            self.reserved.remove(&identity);
        }
    }
}

type Records = Vec<(Identity, Vec<u8>)>;
type ToBeWritten = (Holder, Records, oneshot::Sender<Result<Vec<bool>, String>>);

#[derive(Debug)]
struct Served {
    journal: DiskJournal,
    hands: Mutex<Hands>,
}

/// A journal that is served.
#[derive(Debug)]
pub struct JournalServer {
    served: Arc<Served>,
    writes: mpsc::SyncSender<ToBeWritten>,
    listener: UnixListener,
    socket: PathBuf,
}

/// Serves the journal in a folder over a socket until the task is dropped.
///
/// # Errors
/// The folder or the socket cannot be used, or another process serves it.
pub async fn serve(folder: &Path, socket: &Path) -> Result<(), JournalError> {
    JournalServer::bind(folder, socket, rand::random(), crate::client::now)?.run().await;
    Ok(())
}

impl JournalServer {
    /// Opens the folder and listens. The socket is for this user alone; one that nobody serves any more is replaced.
    ///
    /// # Errors
    /// The folder or the socket cannot be used, or another process serves it.
    pub fn bind(folder: &Path, socket: &Path, fresh_id: [u8; 16], clock: fn() -> UnixMs) -> Result<Self, JournalError> {
        let fault = |cause: String| JournalError::Shared { socket: socket.display().to_string(), cause };
        let journal = DiskJournal::open(folder, fresh_id, false)?;
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            return Err(fault("another process serves this socket".to_owned()));
        }
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fault(error.to_string())),
            _ => {}
        }
        let listener = UnixListener::bind(socket).map_err(|error| fault(error.to_string()))?;
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(socket, owner_only).map_err(|error| fault(error.to_string()))?;
        let served = Arc::new(Served { journal, hands: Mutex::default() });
        let (writes, queue) = mpsc::sync_channel(MOST_CONNECTIONS);
        let writer = Arc::clone(&served);
        std::thread::Builder::new()
            .name("kp-journal-write".to_owned())
            .spawn(move || write(&writer, &queue, clock))
            .map_err(|error| fault(error.to_string()))?;
        Ok(Self { served, writes, listener, socket: socket.to_owned() })
    }

    /// Messages that some process has in hand.
    pub fn reserved(&self) -> usize {
        self.served.hands().reserved.len()
    }

    /// Takes connections until dropped.
    pub async fn run(self) {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (served, writes) = (Arc::clone(&self.served), self.writes.clone());
                    tokio::spawn(async move {
                        converse(stream, &served, &writes).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the journal could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for JournalServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// One connection, from hello to its end.
async fn converse(mut stream: UnixStream, served: &Arc<Served>, writes: &mpsc::SyncSender<ToBeWritten>) {
    let Ok(Some(Request::Hello { version, holder })) = read(&mut stream).await else { return };
    if version != VERSION {
        let why = format!("this journal speaks version {VERSION}, not {version}");
        let _ = stream.write_all(&Answer::Failed(why).encode()).await;
        return;
    }
    served.hands().processes.entry(holder).or_default().connections += 1;
    let hello = Answer::Hello { version: VERSION, journal: served.journal.id() };
    if stream.write_all(&hello.encode()).await.is_ok() {
        while let Ok(Some(request)) = read(&mut stream).await {
            let answer = served.answer(holder, request, writes).await;
            if stream.write_all(&answer.encode()).await.is_err() || matches!(answer, Answer::Failed(_)) {
                break;
            }
        }
    }
    served.hands().disconnect(holder);
}

async fn read(stream: &mut UnixStream) -> Result<Option<Request>, String> {
    let mut head = [0; 4];
    if stream.read_exact(&mut head).await.is_err() {
        return Ok(None);
    }
    let length = body_length(head).ok_or("a request longer than 1 MiB")?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(|error| error.to_string())?;
    Request::decode(&body).map(Some).map_err(|fault| fault.to_string())
}

impl Served {
    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(
        self: &Arc<Self>,
        holder: Holder,
        request: Request,
        writes: &mpsc::SyncSender<ToBeWritten>,
    ) -> Answer {
        match request {
            Request::Hello { .. } => Answer::Failed("a second hello".to_owned()),
            Request::LookUp(messages) => {
                let served = Arc::clone(self);
                let task = tokio::task::spawn_blocking(move || served.look_up(holder, messages));
                match task.await {
                    Ok(Ok(looked)) => Answer::Looked(looked),
                    Ok(Err(error)) => Answer::Failed(error.to_string()),
                    Err(error) => Answer::Failed(error.to_string()),
                }
            }
            Request::Record(records) => {
                let (done, answer) = oneshot::channel();
                // One request is under way per connection, so the queue has room for each.
                if writes.try_send((holder, records, done)).is_err() {
                    return Answer::Failed("the journal's writer is gone".to_owned());
                }
                match answer.await {
                    Ok(Ok(durable)) => Answer::Recorded(durable),
                    Ok(Err(why)) => Answer::Failed(why),
                    Err(_) => Answer::Failed("the journal's writer is gone".to_owned()),
                }
            }
            Request::Release(messages) => {
                let mut hands = self.hands();
                messages.iter().for_each(|identity| hands.release(holder, identity));
                Answer::Released
            }
        }
    }

    fn look_up(&self, holder: Holder, messages: Vec<Identity>) -> Result<Vec<Looked>, JournalError> {
        let mut hands = self.hands();
        messages.into_iter().map(|identity| self.look_up_one(&mut hands, holder, identity)).collect()
    }

    fn look_up_one(&self, hands: &mut Hands, holder: Holder, identity: Identity) -> Result<Looked, JournalError> {
        if hands.reserved.get(&identity).is_some_and(|other| *other != holder) {
            return Ok(Looked::Elsewhere);
        }
        if let Some((earlier, forget_after)) = self.journal.find_record(&identity.0, identity.1)? {
            return Ok(Looked::Verdict(encode(&earlier, forget_after)));
        }
        if hands.reserved.len() >= MOST_RESERVED {
            return Ok(Looked::Elsewhere);
        }
        if let Some(process) = hands.processes.get_mut(&holder) {
            process.reserved.insert(identity.clone());
            hands.reserved.insert(identity, holder);
        }
        Ok(Looked::Yours)
    }

    /// Whether this process may decide about this message: nobody else has it in hand, and nobody has decided.
    fn may_decide(&self, holder: Holder, identity: &Identity) -> Result<bool, JournalError> {
        if self.hands().reserved.get(identity).is_some_and(|other| *other != holder) {
            return Ok(false);
        }
        Ok(self.journal.find_record(&identity.0, identity.1)?.is_none())
    }
}

/// Writes what waits, of all connections, with one fsync.
fn write(served: &Served, queue: &mpsc::Receiver<ToBeWritten>, clock: fn() -> UnixMs) {
    let mut next_prune = Instant::now();
    loop {
        // What is past its time is forgotten also where nothing arrives.
        let mut waiting: Vec<ToBeWritten> = match queue.recv_timeout(PRUNE_EVERY) {
            Ok(first) => vec![first],
            Err(mpsc::RecvTimeoutError::Timeout) => Vec::new(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        waiting.extend(queue.try_iter().take(MOST_CONNECTIONS));
        let end = commit(served, &waiting);
        for (position, (holder, records, done)) in waiting.into_iter().enumerate() {
            let answer = end.as_ref().map(|durable| durable.get(position).cloned().unwrap_or_default());
            let mut hands = served.hands();
            records.iter().for_each(|(identity, _)| hands.release(holder, identity));
            drop(hands);
            let _ = done.send(answer.map_err(ToString::to_string));
        }
        if Instant::now() >= next_prune {
            next_prune = Instant::now() + PRUNE_EVERY;
            if let Err(error) = served.journal.prune(clock(), PRUNE_MOST) {
                tracing::warn!(%error, "the journal could not be pruned");
            }
        }
    }
}

fn commit(served: &Served, waiting: &[ToBeWritten]) -> Result<Vec<Vec<bool>>, JournalError> {
    let mut batch = Vec::new();
    let mut decided: HashSet<&Identity> = HashSet::new();
    let mut durable = Vec::with_capacity(waiting.len());
    for (holder, records, _) in waiting {
        let mut answers = Vec::with_capacity(records.len());
        for (identity, verdict) in records {
            let read = decode(verdict);
            let takes = match &read {
                Some(_) => !decided.contains(identity) && served.may_decide(*holder, identity)?,
                None => false,
            };
            if let Some((verdict, forget_after)) = read.filter(|_| takes) {
                decided.insert(identity);
                batch.push(JournalRecord {
                    id: DeliveryId(0),
                    sender: identity.0.clone(),
                    message: identity.1,
                    verdict,
                    forget_after,
                    statement: bytes::Bytes::new(),
                    payload: bytes::Bytes::new(),
                    payload_file: None,
                });
            }
            answers.push(takes);
        }
        durable.push(answers);
    }
    if !batch.is_empty() {
        served.journal.record(&batch)?;
    }
    Ok(durable)
}

#[cfg(test)]
mod tests;
