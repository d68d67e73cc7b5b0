//! How do the bytes of large payloads get from a stream into the spool's folder, and from there to a stream? (WIRE 9)
//!
//! ```text
//!  stream ─▶ link/payload.rs ─▶ queue of pieces ─▶ a thread of its own ─▶ file
//!  file ─▶ a thread of its own ─▶ queue of pieces ─▶ link/payload.rs ─▶ stream
//! ```
//!
//! Custody says which; the threads end with their queues. What one holds is bounded by the window of WIRE 9.4 and a piece.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant, SystemTime};

use kernpost_codecs::payload::WINDOW;
use kernpost_codecs::{Digest, Label, PayloadHead};
use kernpost_router_core::custody::{PayloadEvent, PayloadOrder, Received};
use kernpost_spool::PayloadStore;
use kernpost_spool::payloads::{Arriving, Owner, PayloadFault, Whole};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::channels::WorkerSenders;
use crate::link::{PayloadPipe, Piece};

/// Streams of large payloads from and to files. Wants a tokio runtime.
pub(super) struct Payloads {
    store: Arc<PayloadStore>,
    workers: Vec<WorkerSenders>,
    events: mpsc::UnboundedSender<PayloadEvent>,
    /// Where the stream of one goes that was opened. Bounded by custody.
    arriving: HashMap<Label, oneshot::Sender<PayloadPipe>>,
    /// Where it is said how far the recipient's side got.
    sending: HashMap<Label, blocking::Sender<u64>>,
}

impl Payloads {
    /// And what comes of it: a few events for each window of a payload, so that the queue is bounded by their number.
    pub fn new(store: Arc<PayloadStore>, workers: Vec<WorkerSenders>) -> (Self, mpsc::UnboundedReceiver<PayloadEvent>) {
        let (events, told) = mpsc::unbounded_channel();
        (Self { store, workers, events, arriving: HashMap::new(), sending: HashMap::new() }, told)
    }

    /// Bytes of payloads that messages hold.
    pub fn held_bytes(&self) -> u64 {
        self.store.held_bytes()
    }

    pub fn carry_out(&mut self, order: PayloadOrder) {
        match order {
            PayloadOrder::Open { label, leaf, sender, message, length, digest } => {
                let (here, stream) = oneshot::channel();
                self.arriving.insert(label, here);
                let incoming = Incoming {
                    label,
                    owner: Owner { leaf, sender, message },
                    length,
                    digest,
                    stream,
                    events: self.events.clone(),
                };
                let store = Arc::clone(&self.store);
                spawn_blocking(move || incoming.receive(&store));
            }
            PayloadOrder::Leave { label } => self.forget(label),
            PayloadOrder::Send { label, leaf, length, offset, onward } => {
                let Some(senders) = self.workers.get(usize::from(onward.worker.0)) else { return };
                let head = PayloadHead { label: onward.label, offset };
                let (pieces, pipe) = PayloadPipe::onto(onward.link, head);
                match senders.payloads.try_send(pipe) {
                    Ok(()) => {}
                    // The recipient's side has said that it wants it: it comes as soon as the worker takes the others.
                    Err(TrySendError::Full(pipe)) => {
                        let queue = senders.payloads.clone();
                        tokio::spawn(async move {
                            // The worker has ended, and with it the link.
                            let _ = queue.send(pipe).await;
                        });
                    }
                    // As above.
                    Err(TrySendError::Closed(_)) => return,
                }
                let (more, progress) = blocking::channel();
                self.sending.insert(label, more);
                let outgoing = Outgoing { label, leaf, length, offset, pieces, progress, events: self.events.clone() };
                let store = Arc::clone(&self.store);
                spawn_blocking(move || outgoing.send(&store));
            }
            PayloadOrder::May { label, offset } => {
                if let Some(more) = self.sending.get(&label) {
                    // Sent whole already.
                    let _ = more.send(offset);
                }
            }
            PayloadOrder::End { label } => {
                self.sending.remove(&label);
            }
            PayloadOrder::Erase { leaf } => {
                let store = Arc::clone(&self.store);
                spawn_blocking(move || store.erase(leaf));
            }
            PayloadOrder::Release { leaf } => self.store.release(leaf),
        }
    }

    /// The stream of one has come. One that nobody waits for is let go, which stops it.
    pub fn take(&mut self, pipe: PayloadPipe) {
        if let Some(here) = self.arriving.remove(&pipe.label()) {
            // Interrupted meanwhile.
            let _ = here.send(pipe);
        }
    }

    /// Nobody waits for it any more.
    pub fn forget(&mut self, label: Label) {
        self.arriving.remove(&label);
    }

    /// Deletes what is too old.
    pub fn expire(&self) {
        let store = Arc::clone(&self.store);
        spawn_blocking(move || store.expire(SystemTime::now()));
    }
}

/// One on its way in.
struct Incoming {
    label: Label,
    owner: Owner,
    length: u64,
    digest: Digest,
    stream: oneshot::Receiver<PayloadPipe>,
    events: mpsc::UnboundedSender<PayloadEvent>,
}

impl Incoming {
    fn receive(self, store: &Arc<PayloadStore>) {
        let Self { label, owner, length, digest, stream, events } = self;
        // Custody has ended: nobody needs the answer.
        let tell = |event| drop(events.send(event));
        let received = (|| {
            let mut arriving = store.begin(&owner, length, SystemTime::now())?;
            if arriving.taken() < length {
                tell(PayloadEvent::Opened { label, offset: arriving.taken() });
                let Ok(pipe) = stream.blocking_recv() else { return Ok(Received::Interrupted) };
                let whole = take_in(pipe, &mut arriving, |offset| tell(PayloadEvent::Progress { label, offset }))?;
                if !whole {
                    return Ok(Received::Interrupted);
                }
            }
            Ok(match arriving.finish(digest)? {
                Whole::Right => Received::Whole,
                Whole::Wrong => Received::Mismatch,
            })
        })();
        let received = received.unwrap_or_else(|fault| match fault {
            PayloadFault::Full => Received::Full,
            fault => Received::Failed { cause: fault.to_string() },
        });
        tell(PayloadEvent::Ended { label, received });
    }
}

/// Until the last byte (true) or an early end.
fn take_in(mut pipe: PayloadPipe, arriving: &mut Arriving, progress: impl Fn(u64)) -> Result<bool, PayloadFault> {
    let mut told = (arriving.taken(), Instant::now());
    loop {
        match pipe.blocking_next() {
            Some(Piece::Bytes(pieces)) => arriving.append(&pieces)?,
            Some(Piece::End) => {
                progress(arriving.taken());
                return Ok(true);
            }
            None => return Ok(false),
        }
        let taken = arriving.taken();
        if taken - told.0 >= TELL_BYTES || told.1.elapsed() >= TELL_AFTER {
            told = (taken, Instant::now());
            progress(taken);
        }
    }
}

/// One on its way out.
struct Outgoing {
    label: Label,
    leaf: Digest,
    length: u64,
    offset: u64,
    pieces: mpsc::Sender<Piece>,
    progress: blocking::Receiver<u64>,
    events: mpsc::UnboundedSender<PayloadEvent>,
}

impl Outgoing {
    fn send(self, store: &PayloadStore) {
        match self.read_all(store) {
            Ok(()) => {}
            Err(error @ PayloadFault::UnknownMaster { .. }) => tracing::error!(%error, "a large payload is not sent"),
            Err(error) => {
                tracing::error!(%error, leaf = %self.leaf, "alarm: a large payload of the spool cannot be read");
                store.set_aside(self.leaf);
                // Told before the stream is reset, so that custody knows why the attempt ends.
                let _ = self.events.send(PayloadEvent::Unreadable { label: self.label });
            }
        }
    }

    /// Ends early when nobody takes the pieces any more.
    fn read_all(&self, store: &PayloadStore) -> Result<(), PayloadFault> {
        let mut reader = store.read(self.leaf, self.length, self.offset)?;
        let (mut at, mut limit) = (self.offset, self.offset + AHEAD);
        while let Some(mut bytes) = reader.next_piece()? {
            while !bytes.is_empty() {
                while let Ok(offset) = self.progress.try_recv() {
                    limit = limit.max(offset + AHEAD);
                }
                if at == limit {
                    let Ok(offset) = self.progress.recv() else { return Ok(()) };
                    limit = limit.max(offset + AHEAD);
                    continue;
                }
                let room = usize::try_from(limit - at).unwrap_or(usize::MAX);
                let now = bytes.split_to(bytes.len().min(room));
                at += now.len() as u64;
                if self.pieces.blocking_send(Piece::Bytes(vec![now])).is_err() {
                    return Ok(());
                }
            }
        }
        // Nobody there: the label has settled.
        let _ = self.pieces.blocking_send(Piece::End);
        Ok(())
    }
}

/// How far beyond the recipient's WANT is sent: a quarter of what may be, 100 Mbit/s over 15 ms for each payload. What is under way at a cut
/// comes again, and nobody waits for these bytes as for live ones.
const AHEAD: u64 = WINDOW / 4;
/// A quarter of the window is the most (WIRE 9.4).
const TELL_BYTES: u64 = WINDOW / 8;
/// And 2 s.
const TELL_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use kernpost_codecs::Class;
    use kernpost_router_core::large::Downstream;
    use kernpost_router_core::{LinkId, WorkerId};
    use kernpost_spool::{MasterKey, MasterKeys};

    use super::*;

    fn label(sequence: u64) -> Label {
        Label { class: Class::Bulk, sequence, index: 0 }
    }

    #[tokio::test]
    async fn a_payload_that_finds_the_workers_queue_full_leaves_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let masters = MasterKeys::new(MasterKey::new([9; 32].into()), Vec::new());
        let random = Box::new(|bytes: &mut [u8]| bytes.fill(1));
        let store = Arc::new(PayloadStore::open(folder.path(), masters, random, 1 << 20).unwrap());
        let (senders, mut receivers) = WorkerSenders::with_room_for(1);
        let (mut payloads, _events) = Payloads::new(store, vec![senders]);
        for sequence in 1..=3 {
            let onward = Downstream { worker: WorkerId(0), link: LinkId(1), label: label(sequence) };
            let (label, leaf) = (label(10 + sequence), Digest([1; 32]));
            payloads.carry_out(PayloadOrder::Send { label, leaf, length: 100_000, offset: 0, onward });
        }
        for sequence in 1..=3 {
            assert_eq!(receivers.payloads.recv().await.unwrap().label(), label(sequence));
        }
    }
}
