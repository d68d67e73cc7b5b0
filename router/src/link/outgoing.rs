//! What waits to be written to one lane, and who writes it?
//!
//! Frames gather while the previous write is under way and then leave together: batching is natural, never timed. Small
//! frames are copied into one buffer, because the transport's send queue is searched linearly; large ones stay as they are.
//! Bounded by `limits.queued_bytes`: the peer's credit keeps an honest lane below it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::{CloseCode, FrameFault, LaneKind, varint};
use quinn::WriteError;
use tokio::sync::Notify;

use super::{Link, StreamEnd, ended};

/// One outgoing lane. Opened, with its writer, at its first frame.
#[derive(Debug)]
pub(super) struct OutgoingLane {
    pub kind: LaneKind,
    queue: RefCell<Queue>,
    /// Bytes queued or being written.
    unwritten: Cell<usize>,
    most: usize,
    filled: Notify,
    started: Cell<bool>,
}

impl OutgoingLane {
    pub fn new(kind: LaneKind, most: usize) -> Self {
        Self {
            kind,
            queue: RefCell::default(),
            unwritten: Cell::new(0),
            most,
            filled: Notify::new(),
            started: Cell::new(false),
        }
    }

    pub fn queued(&self) -> usize {
        self.unwritten.get()
    }

    /// Queues whole frames.
    pub fn push(&self, frames: Bytes) -> Result<(), FrameFault> {
        let unwritten = self.unwritten.get() + frames.len();
        if unwritten > self.most {
            let detail = format!("{unwritten} bytes wait for the peer to read its {} lane", self.kind);
            return Err(FrameFault::new(CloseCode::OverLimit, "WIRE 7", detail));
        }
        self.unwritten.set(unwritten);
        let mut queue = self.queue.borrow_mut();
        let was_empty = queue.is_empty();
        queue.push(frames);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Starts the writer, once.
    pub fn start(&self, link: &Rc<Link>) {
        if !self.started.replace(true) {
            link.spawn_stream(write(Rc::clone(link), self.kind));
        }
    }
}

/// Opens the lane and writes what gathers, until the link ends.
async fn write(link: Rc<Link>, kind: LaneKind) -> Result<(), StreamEnd> {
    let Some(lane) = link.outgoing_lane(kind) else { return Ok(()) };
    let mut stream = link.connection.open_uni().await?;
    // Fails only for a stream that was reset, which the write finds out.
    let _ = stream.set_priority(kind.sending_priority());
    let mut head = BytesMut::new();
    varint::encode(&mut head, kind.as_u64());
    let mut chunks = vec![head.freeze()];
    loop {
        let length: usize = chunks.iter().map(Bytes::len).sum();
        stream.write_all_chunks(&mut chunks).await.map_err(|error| match error {
            WriteError::Stopped(_) => ended(&format!("the {kind} lane was stopped by its reader and")),
            _ => StreamEnd::Lost,
        })?;
        // The varint of the stream's kind was never queued.
        lane.unwritten.set(lane.unwritten.get().saturating_sub(length));
        chunks.clear();
        while lane.queue.borrow_mut().take(&mut chunks) == 0 {
            lane.filled.notified().await;
        }
    }
}

/// Frames in the order they were pushed: whole chunks, then the small frames gathered since.
#[derive(Debug, Default)]
struct Queue {
    chunks: Vec<Bytes>,
    gathered: BytesMut,
}

/// Frames from this length on are not copied.
const WHOLE: usize = 8 << 10;
/// Gathered frames leave as chunks of about this length.
const GATHERED: usize = 32 << 10;

impl Queue {
    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.gathered.is_empty()
    }

    fn push(&mut self, frames: Bytes) {
        if frames.len() >= WHOLE {
            self.close_gathered();
            self.chunks.push(frames);
            return;
        }
        if self.gathered.len() + frames.len() > GATHERED {
            self.close_gathered();
        }
        self.gathered.reserve(frames.len());
        self.gathered.extend_from_slice(&frames);
    }

    fn close_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.chunks.push(self.gathered.split().freeze());
        }
    }

    /// Moves everything to `chunks`, which must be empty; says how many chunks that are.
    fn take(&mut self, chunks: &mut Vec<Bytes>) -> usize {
        self.close_gathered();
        std::mem::swap(&mut self.chunks, chunks);
        chunks.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use kernpost_codecs::Class;

    use super::*;

    fn taken(queue: &mut Queue) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        queue.take(&mut chunks);
        chunks
    }

    #[test]
    fn small_frames_leave_as_one_chunk_and_large_ones_uncopied_in_order() {
        let mut queue = Queue::default();
        let large = Bytes::from(vec![2; WHOLE]);
        for frame in [Bytes::from_static(b"a"), Bytes::from_static(b"b"), large.clone()] {
            queue.push(frame);
        }
        queue.push(Bytes::from_static(b"c"));
        let chunks = taken(&mut queue);
        assert_eq!(chunks, [Bytes::from_static(b"ab"), large.clone(), Bytes::from_static(b"c")]);
        assert_eq!(chunks.get(1).unwrap().as_ptr(), large.as_ptr());
        assert!(queue.is_empty());
    }

    #[test]
    fn gathered_chunks_stay_near_their_length() {
        let mut queue = Queue::default();
        for _ in 0..100 {
            queue.push(Bytes::from(vec![7; 1_000]));
        }
        let chunks = taken(&mut queue);
        assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), 100_000);
        assert!(chunks.iter().all(|chunk| chunk.len() <= GATHERED));
    }

    #[test]
    fn a_lane_nobody_reads_is_over_its_limit() {
        let lane = OutgoingLane::new(LaneKind::Bundle(Class::Bulk), 10);
        lane.push(Bytes::from_static(b"12345678")).unwrap();
        let fault = lane.push(Bytes::from_static(b"123")).unwrap_err();
        assert_eq!(fault.code, CloseCode::OverLimit);
        assert_eq!(lane.queued(), 8);
    }
}
