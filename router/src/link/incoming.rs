//! Which unidirectional streams does the peer open, and what happens with their bytes? (WIRE 2.3)
//!
//! Each lane exists once per direction; another of its kind, an unknown kind below 0x20 and a lane that ends close the link.
//! Large payloads come and go (`payload.rs`). Bytes are read as soon as they are there: credit bounds what they may become.

use std::rc::Rc;

use bytes::Bytes;
use kernpost_codecs::{CloseCode, FrameDecoder, FrameFault, LaneKind};
use quinn::{ReadError, RecvStream, VarInt};

use super::{Link, StreamEnd, ended, payload};
use crate::worker::Worker;

/// Lanes the peer has opened.
#[derive(Debug, Default)]
pub(super) struct Seen(Vec<LaneKind>);

impl Seen {
    /// Notes a lane; a second one of its kind is a fault.
    fn open(&mut self, lane: LaneKind) -> Result<(), FrameFault> {
        if self.0.contains(&lane) {
            let detail = format!("a second {lane} lane");
            return Err(FrameFault::new(CloseCode::LaneDuplicate, "WIRE 2.3", detail));
        }
        self.0.push(lane);
        Ok(())
    }
}

/// Accepts streams until the link ends. How many are open at a time is a transport limit.
pub(super) async fn run(worker: Rc<Worker>, link: Rc<Link>) -> Result<(), StreamEnd> {
    loop {
        let stream = link.connection.accept_uni().await?;
        link.spawn_stream(read_stream(Rc::clone(&worker), Rc::clone(&link), stream));
    }
}

async fn read_stream(worker: Rc<Worker>, link: Rc<Link>, mut stream: RecvStream) -> Result<(), StreamEnd> {
    let mut input = Input::default();
    let kind = loop {
        match input.decoder.next_varint()? {
            Some(kind) => break kind,
            None => input.read(&mut stream, "a stream without kind").await?,
        };
    };
    let Some(lane) = LaneKind::from_u64(kind)? else {
        // Ignored, and stopped so that it takes no window (WIRE 2.3). It may have ended already.
        let _ = stream.stop(VarInt::from_u32(0));
        return Ok(());
    };
    if lane == LaneKind::LargePayload {
        link.wait_up().await;
        return payload::receive(worker, link, stream, input.decoder).await;
    }
    link.incoming.borrow_mut().open(lane)?;
    // Bytes may overtake the HELLO on the control stream; until the engine knows the link they wait in the window.
    link.wait_up().await;
    let what = format!("the {lane} lane");
    loop {
        worker.take_frames(link.id, lane, &mut input.decoder)?;
        if input.read(&mut stream, &what).await? == CHUNKS {
            // Probably there is more: let writers and other lanes have a turn.
            tokio::task::yield_now().await;
        }
    }
}

/// Chunks taken from a stream at once; one per packet received.
const CHUNKS: usize = 64;

/// Reads a stream into its decoder.
#[derive(Debug)]
pub(super) struct Input {
    chunks: [Bytes; CHUNKS],
    pub(super) decoder: FrameDecoder,
}

impl Default for Input {
    fn default() -> Self {
        Self { chunks: std::array::from_fn(|_| Bytes::new()), decoder: FrameDecoder::new() }
    }
}

impl Input {
    /// Waits for bytes and takes all that are there, up to [`CHUNKS`] chunks; says how many. The end of the stream is a
    /// fault that names `what`.
    pub(super) async fn read(&mut self, stream: &mut RecvStream, what: &str) -> Result<usize, StreamEnd> {
        let count = match stream.read_chunks(&mut self.chunks).await {
            Ok(Some(count)) => count,
            Ok(None) | Err(ReadError::Reset(_)) => return Err(ended(what)),
            Err(_) => return Err(StreamEnd::Lost),
        };
        for chunk in self.chunks.iter_mut().take(count) {
            self.decoder.push(std::mem::take(chunk));
        }
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use kernpost_codecs::Class;

    use super::*;

    #[test]
    fn a_lane_opens_once() {
        let mut seen = Seen::default();
        seen.open(LaneKind::Bundle(Class::Bulk)).unwrap();
        seen.open(LaneKind::Settlement).unwrap();
        let fault = seen.open(LaneKind::Bundle(Class::Bulk)).unwrap_err();
        assert_eq!(fault.code, CloseCode::LaneDuplicate);
    }
}
