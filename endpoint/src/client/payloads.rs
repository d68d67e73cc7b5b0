//! Who moves the bytes of large payloads between files and streams? One task per payload, ended when the core says so.
//!
//! A sender's task holds one piece, a recipient's the pieces of one write; how far a sender may go is told by WANT (WIRE 9).
//! Files are read and written on the runtime's blocking threads, so that no disk stops the driver.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use kernpost_codecs::digest::Digest;
use kernpost_codecs::payload::WINDOW;
use kernpost_codecs::settlement::Label;
use kernpost_codecs::{FrameDecoder, LaneKind, PayloadHead};
use quinn::{Connection, ReadError, RecvStream, SendStream, VarInt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, spawn_blocking};

use super::driver::Input;
use super::partials::{Held, OpenFault, Partial, Partials, Whole};
use crate::core::{DeliveryId, Opened, PayloadSource, Received, SessionId};

/// Bytes read from a source at a time, and gathered before they are written to disk.
const PIECE: usize = 128 << 10;
/// Chunks taken from a stream at once; one per packet.
const CHUNKS: usize = 64;
/// Progress is told after so many bytes, or after so long.
const TELL_BYTES: u64 = WINDOW / 6;
const TELL_EVERY: Duration = Duration::from_secs(2);
/// RESET_STREAM and STOP_SENDING carry no meaning beyond themselves (WIRE 9.5).
const ENDED: VarInt = VarInt::from_u32(0);

/// A stream that brought a payload's head, and what came after it.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub head: PayloadHead,
    pub stream: RecvStream,
    pub decoder: FrameDecoder,
}

/// The payloads of one process that are under way. Bounded by the core's limits.
#[derive(Debug)]
pub(crate) struct Payloads {
    partials: Arc<Partials>,
    inputs: mpsc::Sender<Input>,
    sending: HashMap<(SessionId, Label), Sending>,
    receiving: HashMap<DeliveryId, Receiving>,
}

#[derive(Debug)]
struct Sending {
    limit: watch::Sender<u64>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Receiving {
    leaf: Digest,
    /// Where its stream must begin, once it is wanted.
    offset: Option<u64>,
    stream: Option<oneshot::Sender<Arriving>>,
    task: AbortHandle,
}

impl Payloads {
    pub fn new(partials: Arc<Partials>, inputs: mpsc::Sender<Input>) -> Self {
        Self { partials, inputs, sending: HashMap::new(), receiving: HashMap::new() }
    }

    /// Sends a payload on a stream of its own.
    pub fn send(
        &mut self,
        connection: Connection,
        session: SessionId,
        head: PayloadHead,
        length: u64,
        source: PayloadSource,
    ) {
        let (limit, limits) = watch::channel(head.offset.saturating_add(WINDOW).min(length));
        let task = tokio::spawn(async move {
            if let Err(why) = send(connection, head, length, source, limits).await {
                tracing::warn!(label = ?head.label, %why, "a large payload could not be sent; its label settles");
            }
        });
        self.sending.insert((session, head.label), Sending { limit, task: task.abort_handle() });
    }

    /// The window of a payload being sent begins at `offset` now.
    pub fn may(&self, session: SessionId, label: Label, offset: u64) {
        if let Some(sending) = self.sending.get(&(session, label)) {
            sending.limit.send_modify(|limit| *limit = offset.saturating_add(WINDOW).max(*limit));
        }
    }

    /// Resets a payload being sent, unless it is at its end.
    pub fn end(&mut self, session: SessionId, label: Label) {
        if let Some(sending) = self.sending.remove(&(session, label)) {
            sending.task.abort();
        }
    }

    /// The link is gone with its streams.
    pub fn forget(&mut self, session: SessionId) {
        for (_, sending) in self.sending.extract_if(|(of, _), _| *of == session) {
            sending.task.abort();
        }
    }

    /// Makes room for a payload; its stream comes later.
    pub fn open(&mut self, id: DeliveryId, leaf: Digest, length: u64, digest: Digest) {
        let (stream, streams) = oneshot::channel();
        let (partials, inputs) = (Arc::clone(&self.partials), self.inputs.clone());
        let task = tokio::spawn(async move {
            let received = receive(&partials, &inputs, id, leaf, length, digest, streams).await;
            if let Some((received, held)) = received
                && inputs.send(Input::PayloadEnd { id, received }).await.is_ok()
                && let Some(held) = held
            {
                held.keep();
            }
        });
        let task = task.abort_handle();
        self.receiving.insert(id, Receiving { leaf, offset: None, stream: Some(stream), task });
    }

    /// A payload is about to be wanted from here on.
    pub fn on_opened(&mut self, id: DeliveryId, opened: Opened) {
        if let (Some(receiving), Opened::At(offset)) = (self.receiving.get_mut(&id), opened) {
            receiving.offset = Some(offset);
        }
    }

    /// The stream of a payload that is wanted; false when it begins elsewhere or is not the first.
    pub fn arrive(&mut self, id: DeliveryId, arriving: Arriving) -> bool {
        let receiving = self.receiving.get_mut(&id).filter(|held| held.offset == Some(arriving.head.offset));
        let Some(stream) = receiving.and_then(|receiving| receiving.stream.take()) else { return false };
        // A task that has just ended lets go of the stream, which stops it.
        let _ = stream.send(arriving);
        true
    }

    /// Nobody waits for it any more: what is here is kept.
    pub fn leave(&mut self, id: DeliveryId) {
        if let Some(receiving) = self.receiving.remove(&id) {
            if receiving.task.is_finished() {
                self.partials.release(receiving.leaf);
            } else {
                // What it holds is released when its last write is done.
                receiving.task.abort();
            }
        }
    }

    /// Its verdict is durable.
    pub fn drop_payload(&self, leaf: Digest) {
        let partials = Arc::clone(&self.partials);
        spawn_blocking(move || partials.drop_payload(leaf));
    }
}

async fn send(
    connection: Connection,
    head: PayloadHead,
    length: u64,
    source: PayloadSource,
    mut limits: watch::Receiver<u64>,
) -> Result<(), String> {
    let source = Source::open(source).await.map_err(|error| error.to_string())?;
    let opened = connection.open_uni().await.map_err(|error| error.to_string())?;
    let mut stream = Unfinished { stream: opened, finished: false };
    let _ = stream.stream.set_priority(LaneKind::LargePayload.sending_priority());
    let mut bytes = BytesMut::new();
    head.encode(&mut bytes);
    stream.stream.write_chunk(bytes.freeze()).await.map_err(|error| error.to_string())?;
    let mut at = head.offset;
    while at < length {
        let limit = (*limits.borrow_and_update()).min(length);
        if at >= limit {
            limits.changed().await.map_err(|_| "the label is gone".to_owned())?;
            continue;
        }
        let most = usize::try_from(limit - at).unwrap_or(PIECE).min(PIECE);
        let piece = source.read(at, most).await.map_err(|error| error.to_string())?;
        at += piece.len() as u64;
        match stream.stream.write_chunk(piece).await {
            Ok(()) => {}
            // The other side says why with a settlement.
            Err(quinn::WriteError::Stopped(_)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
    stream.finished = stream.stream.finish().is_ok();
    Ok(())
}

/// A source that is open.
enum Source {
    Memory(Bytes),
    File(Arc<File>),
}

impl Source {
    async fn open(source: PayloadSource) -> io::Result<Self> {
        match source {
            PayloadSource::Memory(bytes) => Ok(Self::Memory(bytes)),
            PayloadSource::File(path) => {
                let file = spawn_blocking(move || File::open(path)).await.map_err(io::Error::other)??;
                Ok(Self::File(Arc::new(file)))
            }
        }
    }

    /// At most `most` bytes from `at` on, at least one.
    async fn read(&self, at: u64, most: usize) -> io::Result<Bytes> {
        let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the payload is shorter than its statement says");
        match self {
            Self::Memory(bytes) => {
                let at = usize::try_from(at).map_err(|_| short())?;
                let end = bytes.len().min(at.saturating_add(most));
                if at < end { Ok(bytes.slice(at..end)) } else { Err(short()) }
            }
            Self::File(file) => {
                let file = Arc::clone(file);
                let read = move || {
                    let mut piece = vec![0; most];
                    let count = file.read_at(&mut piece, at)?;
                    piece.truncate(count);
                    io::Result::Ok(piece)
                };
                let piece: Vec<u8> = spawn_blocking(read).await.map_err(io::Error::other)??;
                if piece.is_empty() { Err(short()) } else { Ok(Bytes::from(piece)) }
            }
        }
    }
}

/// A stream that is reset when it is let go before its end; the library itself would send FIN.
struct Unfinished {
    stream: SendStream,
    finished: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.stream.reset(ENDED);
        }
    }
}

/// Receives one payload; `None` when nobody waits for it any more.
async fn receive(
    partials: &Arc<Partials>,
    inputs: &mpsc::Sender<Input>,
    id: DeliveryId,
    leaf: Digest,
    length: u64,
    digest: Digest,
    stream: oneshot::Receiver<Arriving>,
) -> Option<End> {
    let mut partial = match open(partials, leaf, length).await {
        Ok(partial) => partial,
        Err(fault) => {
            if let OpenFault::Io(error) = &fault {
                tracing::error!(%error, "a large payload cannot be stored");
            }
            let opened = if matches!(fault, OpenFault::Full) { Opened::Full } else { Opened::Failed };
            let _ = inputs.send(Input::PayloadOpened { id, opened }).await;
            return None;
        }
    };
    if partial.taken() == length {
        match finish(partial, digest).await {
            // A whole one whose verdict never became durable.
            (Received::Mismatch, _) => partial = open(partials, leaf, length).await.ok()?,
            end => return Some(end),
        }
    }
    let opened = Opened::At(partial.taken());
    inputs.send(Input::PayloadOpened { id, opened }).await.ok()?;
    let Arriving { stream, decoder, .. } = stream.await.ok()?;
    Some(match fill(partial, inputs, id, stream, decoder).await {
        Ok(Filled::Whole(partial)) => finish(partial, digest).await,
        Ok(Filled::Interrupted) => (Received::Interrupted, None),
        Err(error) => {
            tracing::error!(%error, "a large payload could not be stored");
            (Received::Failed, None)
        }
    })
}

async fn open(partials: &Arc<Partials>, leaf: Digest, length: u64) -> Result<Partial, OpenFault> {
    let partials = Arc::clone(partials);
    let begun = spawn_blocking(move || partials.begin(leaf, length, SystemTime::now())).await;
    begun.unwrap_or_else(|error| Err(OpenFault::Io(io::Error::other(error))))
}

/// How a reception ended, and what keeps a whole payload here until the driver knows of it.
type End = (Received, Option<Held>);

async fn finish(partial: Partial, digest: Digest) -> End {
    match spawn_blocking(move || partial.finish(digest)).await {
        Ok(Ok(Whole::Right(payload, held))) => (Received::Whole(payload), Some(held)),
        Ok(Ok(Whole::Wrong)) => (Received::Mismatch, None),
        Ok(Err(error)) => {
            tracing::error!(%error, "a large payload could not be made durable");
            (Received::Failed, None)
        }
        Err(_) => (Received::Failed, None),
    }
}

enum Filled {
    /// FIN came: whether it came at the right place, the partial knows.
    Whole(Partial),
    Interrupted,
}

/// Writes what comes until the stream ends, and tells how far it is.
async fn fill(
    mut partial: Partial,
    inputs: &mpsc::Sender<Input>,
    id: DeliveryId,
    mut stream: RecvStream,
    mut decoder: FrameDecoder,
) -> io::Result<Filled> {
    let mut pieces: Vec<Bytes> = std::iter::from_fn(|| decoder.take_chunk()).collect();
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    let (mut told, mut told_at) = (partial.taken(), Instant::now());
    loop {
        let ended = match stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => {
                pieces.extend(chunks.iter_mut().take(count).map(std::mem::take));
                None
            }
            Ok(None) => Some(true),
            Err(ReadError::Reset(_)) | Err(_) => Some(false),
        };
        if !pieces.is_empty() {
            let batch = std::mem::take(&mut pieces);
            partial =
                spawn_blocking(move || partial.append(&batch).map(|()| partial)).await.map_err(io::Error::other)??;
        }
        if partial.taken() > partial.length() {
            // Wrong by its length: nothing more is read.
            let _ = stream.stop(ENDED);
            return Ok(Filled::Whole(partial));
        }
        let whole = partial.taken() == partial.length();
        if partial.taken() - told >= TELL_BYTES
            || (partial.taken() > told && (whole || told_at.elapsed() >= TELL_EVERY))
        {
            (told, told_at) = (partial.taken(), Instant::now());
            if inputs.send(Input::PayloadProgress { id, offset: told }).await.is_err() {
                return Ok(Filled::Interrupted);
            }
        }
        match ended {
            Some(true) => return Ok(Filled::Whole(partial)),
            Some(false) => return Ok(Filled::Interrupted),
            None => {}
        }
    }
}
