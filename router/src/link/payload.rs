//! How do the bytes of a large payload get from one link to another? (WIRE 9)
//!
//! ```text
//!  stream of the upstream link ─▶ receive ─▶ queue of pieces ─▶ send ─▶ stream of the downstream link
//!        (worker of that link)          (bounded)          (worker of this link)
//! ```
//!
//! Nothing is stored: what is here at once is bounded by the window of WIRE 9.4, whoever is slow. The engines of both links
//! say where the bytes go, how many may come and when to end; an end on either side ends the other. These streams give way
//! to the lanes of their link.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::{FrameDecoder, FrameFault, Label, LaneKind, PayloadHead, PayloadHeadReader};
use kernpost_router_core::LinkId;
use kernpost_router_core::large::{Downstream, PayloadStep, PayloadWay};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::{Notify, mpsc};

use super::{Link, StreamEnd};
use crate::worker::Worker;

/// Pieces that may wait between the two streams. Their bytes are bounded by the window, not by this.
const PIECES: usize = 8;
/// Chunks taken from a stream at once; one per packet received.
const CHUNKS: usize = 32;
/// RESET_STREAM and STOP_SENDING carry no meaning beyond themselves (WIRE 9.5).
const ENDED: VarInt = VarInt::from_u32(0);

/// What travels between the two streams; the queue closed without [`Piece::End`] is an end before the last byte.
#[derive(Debug)]
pub enum Piece {
    /// Some bytes of it.
    Bytes(Vec<Bytes>),
    /// The last byte came before.
    End,
}

/// One payload on its way to a link.
#[derive(Debug)]
pub struct PayloadPipe {
    /// The link it leaves on.
    pub link: LinkId,
    head: PayloadHead,
    pieces: mpsc::Receiver<Piece>,
}

impl PayloadPipe {
    /// A payload that does not come from a link, and where its pieces go.
    #[must_use]
    pub fn onto(link: LinkId, head: PayloadHead) -> (mpsc::Sender<Piece>, Self) {
        let (queue, pieces) = mpsc::channel(PIECES);
        (queue, Self { link, head, pieces })
    }

    /// The label it leaves under.
    #[must_use]
    pub fn label(&self) -> Label {
        self.head.label
    }

    /// What comes next, for a thread that may wait; `None`: it ended before [`Piece::End`].
    pub fn blocking_next(&mut self) -> Option<Piece> {
        self.pieces.blocking_recv()
    }
}

/// Streams of large payloads of one link that can be ended from outside. Bounded by the transport's limit of streams.
#[derive(Debug, Default)]
pub(super) struct PayloadStreams(RefCell<HashMap<(bool, Label), Rc<Notify>>>);

impl PayloadStreams {
    /// The label of a stream no longer stands.
    pub fn end(&self, incoming: bool, label: Label) {
        if let Some(ended) = self.0.borrow().get(&(incoming, label)) {
            ended.notify_one();
        }
    }
}

/// A place among the streams of a link; given back when the stream's task ends.
struct Place<'a> {
    streams: &'a PayloadStreams,
    key: (bool, Label),
    ended: Rc<Notify>,
}

impl<'a> Place<'a> {
    fn take(link: &'a Link, incoming: bool, label: Label) -> Self {
        let (streams, key, ended) = (&link.payloads, (incoming, label), Rc::new(Notify::new()));
        streams.0.borrow_mut().insert(key, Rc::clone(&ended));
        Self { streams, key, ended }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.streams.0.borrow_mut().remove(&self.key);
    }
}

/// Reads a stream of kind 4 to its end and hands its bytes on. An end before the last byte closes no link.
pub(super) async fn receive(
    worker: Rc<Worker>,
    link: Rc<Link>,
    mut stream: RecvStream,
    mut decoder: FrameDecoder,
) -> Result<(), StreamEnd> {
    let Some(head) = read_head(&mut stream, &mut decoder).await? else { return Ok(()) };
    let PayloadWay::Onward(Downstream { worker: to, link: onward, label }) = worker.open_payload(link.id, head)? else {
        let _ = stream.stop(ENDED);
        return Ok(());
    };
    let (queue, pipe) = PayloadPipe::onto(onward, PayloadHead { label, offset: head.offset });
    let place = Place::take(&link, true, head.label);
    let end = if worker.hand_over_payload(to, pipe) {
        carry(&worker, link.id, head.label, &mut stream, decoder, &queue, &place.ended).await
    } else {
        Ok(())
    };
    // Nothing to do when the last byte was read: the label waits for its settlement.
    worker.end_payload(link.id, head.label);
    let _ = stream.stop(ENDED);
    end
}

async fn read_head(stream: &mut RecvStream, decoder: &mut FrameDecoder) -> Result<Option<PayloadHead>, StreamEnd> {
    let mut reader = PayloadHeadReader::default();
    loop {
        if let Some(head) = reader.next(decoder)? {
            return Ok(Some(head));
        }
        match stream.read_chunk(LONGEST_HEAD, true).await {
            Ok(Some(chunk)) => decoder.push(chunk.bytes),
            // Reset before it said what it is: nothing was begun.
            Ok(None) | Err(ReadError::Reset(_)) => return Ok(None),
            Err(_) => return Err(StreamEnd::Lost),
        }
    }
}

/// Bytes read at a time until the head is whole.
const LONGEST_HEAD: usize = 32;

/// Moves bytes from the stream to the queue until the last one, the end of the label, or a reader that is gone.
async fn carry(
    worker: &Rc<Worker>,
    link: LinkId,
    label: Label,
    stream: &mut RecvStream,
    mut decoder: FrameDecoder,
    queue: &mpsc::Sender<Piece>,
    ended: &Notify,
) -> Result<(), StreamEnd> {
    let early: Vec<Bytes> = std::iter::from_fn(|| decoder.take_chunk()).collect();
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    let mut piece = early;
    loop {
        if !piece.is_empty() {
            let step = tokio::select! {
                step = take(worker, link, label, &piece) => step?,
                () = ended.notified() => return Ok(()),
            };
            let last = match step {
                PayloadStep::More => false,
                PayloadStep::Last => true,
                PayloadStep::Settled | PayloadStep::Pause(_) => return Ok(()),
            };
            tokio::select! {
                sent = queue.send(Piece::Bytes(std::mem::take(&mut piece))) => if sent.is_err() { return Ok(()) },
                () = ended.notified() => return Ok(()),
            }
            if last {
                tokio::select! {
                    _ = queue.send(Piece::End) => {}
                    () = ended.notified() => return Ok(()),
                }
                return tokio::select! {
                    end = only_fin(stream) => end,
                    () = ended.notified() => Ok(()),
                };
            }
        }
        let count = tokio::select! {
            read = stream.read_chunks(&mut chunks) => match read {
                Ok(Some(count)) => count,
                // FIN before the last byte or a reset: the queue closes without an end, and so does the stream onward.
                Ok(None) | Err(ReadError::Reset(_)) => return Ok(()),
                Err(_) => return Err(StreamEnd::Lost),
            },
            () = ended.notified() => return Ok(()),
            () = queue.closed() => return Ok(()),
        };
        piece.extend(chunks.iter_mut().take(count).map(std::mem::take));
        if count == CHUNKS {
            tokio::task::yield_now().await;
        }
    }
}

/// Counts a piece; waits while the link's budget of bytes is used up.
async fn take(worker: &Rc<Worker>, link: LinkId, label: Label, piece: &[Bytes]) -> Result<PayloadStep, FrameFault> {
    let bytes = piece.iter().map(Bytes::len).sum::<usize>() as u64;
    loop {
        match worker.take_payload(link, label, bytes)? {
            PayloadStep::Pause(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            step => return Ok(step),
        }
    }
}

/// After the last byte announced comes FIN; another byte is a fault.
async fn only_fin(stream: &mut RecvStream) -> Result<(), StreamEnd> {
    match stream.read_chunk(1, true).await {
        Ok(Some(_)) => Err(FrameFault::unexpected("WIRE 9.3", "a payload longer than its statement says").into()),
        Ok(None) | Err(ReadError::Reset(_)) => Ok(()),
        Err(_) => Err(StreamEnd::Lost),
    }
}

/// Opens a stream on the link and writes what comes through the pipe. Ends by FIN only after the last byte.
pub(super) async fn send(worker: Rc<Worker>, link: Rc<Link>, mut pipe: PayloadPipe) -> Result<(), StreamEnd> {
    let label = pipe.head.label;
    let place = Place::take(&link, false, label);
    let opened = tokio::select! {
        opened = link.connection.open_uni() => opened?,
        () = place.ended.notified() => return Ok(()),
    };
    let mut stream = Onward { stream: opened, finished: false };
    let _ = stream.stream.set_priority(LaneKind::LargePayload.sending_priority());
    let mut head = BytesMut::new();
    pipe.head.encode(&mut head);
    let mut piece = vec![head.freeze()];
    let mut payload = 0;
    loop {
        // Counted before it is written, so that no WANT can speak of bytes the engine does not know.
        if !worker.on_payload_sent(link.id, label, payload) {
            return Ok(());
        }
        let written = tokio::select! {
            written = stream.stream.write_all_chunks(&mut piece) => written,
            () = place.ended.notified() => return Ok(()),
        };
        match written {
            Ok(()) => {}
            // Whoever takes it does not want it any more, and says so with a settlement.
            Err(WriteError::Stopped(_)) => return Ok(()),
            Err(_) => return Err(StreamEnd::Lost),
        }
        let next = tokio::select! {
            next = pipe.pieces.recv() => next,
            () = place.ended.notified() => return Ok(()),
        };
        match next {
            Some(Piece::Bytes(bytes)) => {
                payload = bytes.iter().map(Bytes::len).sum::<usize>() as u64;
                piece = bytes;
            }
            Some(Piece::End) => {
                stream.finished = stream.stream.finish().is_ok();
                return Ok(());
            }
            None => return Ok(()),
        }
    }
}

/// A stream that is reset when it is let go before FIN; the library itself would send FIN.
struct Onward {
    stream: SendStream,
    finished: bool,
}

impl Drop for Onward {
    fn drop(&mut self) {
        if !self.finished {
            // Without effect when the link is gone.
            let _ = self.stream.reset(ENDED);
        }
    }
}
