//! How do the frames of a control stream reach the control thread, and its answers the peer? (WIRE 2.3, 3)
//!
//! The dialling side opens the stream. Frames are cut here and judged there. A link whose peer sends more than control can
//! take waits alone.

use std::rc::Rc;

use bytes::Bytes;
use kernpost_codecs::FrameFault;
use kernpost_codecs::frame::CONTROL_PRIORITY;
use quinn::{RecvStream, SendStream, WriteError};
use tokio::sync::mpsc;

use super::incoming::Input;
use super::{Link, StreamEnd, ended};
use crate::channels::ControlInput;
use crate::worker::Worker;

const WHAT: &str = "the control stream";

/// Opens or accepts the stream, then reads it until the link ends; `frames` are written by a task of its own.
pub(super) async fn run(
    worker: Rc<Worker>,
    link: Rc<Link>,
    frames: mpsc::Receiver<Bytes>,
    dials: bool,
) -> Result<(), StreamEnd> {
    let (send, recv) = if dials { link.connection.open_bi().await? } else { link.connection.accept_bi().await? };
    // Fails only for a stream that was reset, which the write finds out.
    let _ = send.set_priority(CONTROL_PRIORITY);
    link.spawn_stream(write(Rc::clone(&link), send, frames));
    link.spawn_stream(refuse_second(Rc::clone(&link)));
    read(&worker, &link, recv).await
}

async fn read(worker: &Worker, link: &Link, mut stream: RecvStream) -> Result<(), StreamEnd> {
    let mut input = Input::default();
    loop {
        input.read(&mut stream, WHAT).await?;
        while let Some(frame) = input.decoder.next()? {
            let input = ControlInput::Frame { link: link.id, kind: frame.kind, body: frame.body };
            worker.tell_control(input).await;
        }
    }
}

async fn write(link: Rc<Link>, mut stream: SendStream, mut frames: mpsc::Receiver<Bytes>) -> Result<(), StreamEnd> {
    let mut chunks = Vec::new();
    while frames.recv_many(&mut chunks, BATCH).await > 0 {
        let length = chunks.iter().map(Bytes::len).sum();
        stream.write_all_chunks(&mut chunks).await.map_err(|error| match error {
            WriteError::Stopped(_) => ended(WHAT),
            _ => StreamEnd::Lost,
        })?;
        link.handle.on_control_written(length);
        chunks.clear();
    }
    Ok(())
}

/// Frames written at once.
const BATCH: usize = 64;

/// There is one bidirectional stream; whoever opens another breaks the protocol.
async fn refuse_second(link: Rc<Link>) -> Result<(), StreamEnd> {
    link.connection.accept_bi().await?;
    Err(FrameFault::unexpected("WIRE 2.3", "a second bidirectional stream").into())
}
