//! What the relay, the source and a sink do with their streams.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::{Buf, Bytes, BytesMut};
use hdrhistogram::Histogram;
use quinn::{Connection, Endpoint, RecvStream, SendStream};

use super::{CHUNKS, PREFIX, STREAMS};

/// Frames that have passed, counted by everybody for themselves.
pub(super) type Count = std::rc::Rc<std::cell::Cell<u64>>;

/// Accepts `sinks` sinks, then the source, and moves frames until the source is gone.
pub(super) async fn relay(endpoint: &Endpoint, sinks: usize, count: &Count) -> Result<()> {
    let mut lanes = Vec::new();
    for _ in 0..sinks {
        let connection = endpoint.accept().await.context("closed")?.await?;
        lanes.push(connection);
    }
    let source = endpoint.accept().await.context("closed")?.await?;
    let mut tasks = tokio::task::JoinSet::new();
    for stream in 0..STREAMS {
        let from = source.accept_uni().await?;
        let sink = lanes.get(stream % lanes.len()).context("no sink")?;
        let to = sink.open_uni().await?;
        tasks.spawn_local(move_frames(from, to, count.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Reads up to 64 chunks, writes all whole frames among them at once.
async fn move_frames(mut from: RecvStream, mut to: SendStream, count: Count) -> Result<()> {
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    let mut gathered = BytesMut::new();
    // How many of the gathered bytes belong to whole frames.
    let mut whole = 0;
    while let Some(read) = from.read_chunks(&mut chunks).await? {
        for chunk in chunks.iter_mut().take(read) {
            gathered.extend_from_slice(&std::mem::take(chunk));
        }
        while let Some(frame) = gathered.get(whole..).and_then(first_frame) {
            whole += frame.len();
            count.set(count.get() + 1);
        }
        if whole > 0 {
            to.write_chunk(gathered.split_to(whole).freeze()).await?;
            whole = 0;
            gathered.reserve(CHUNKS * 1_452);
        }
    }
    Ok(())
}

/// The first frame with its prefix, when it is whole.
fn first_frame(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.get(..PREFIX)?.get_u32();
    bytes.get(..PREFIX + usize::try_from(length).ok()?)
}

/// Makes frames: `rate` a second over all streams, or without a rate as fast as the relay takes them.
pub(super) async fn source(connection: &Connection, frame: usize, rate: u64, until: Instant) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(connection.open_uni().await?);
    }
    let began = Instant::now();
    let mut made: u64 = 0;
    let mut at_once = tokio::time::interval(Duration::from_millis(1));
    while Instant::now() < until {
        let due = match rate {
            0 => made + 4 * BURST,
            rate => u64::try_from(began.elapsed().as_micros())? * rate / 1_000_000,
        };
        let stamp = now_us();
        let mut buffers: [BytesMut; STREAMS] = std::array::from_fn(|_| BytesMut::new());
        while made < due {
            if let Some(buffer) = buffers.get_mut(usize::try_from(made)? % STREAMS) {
                put_frame(buffer, frame, stamp)?;
            }
            made += 1;
        }
        for (stream, buffer) in streams.iter_mut().zip(buffers) {
            if !buffer.is_empty() {
                stream.write_chunk(buffer.freeze()).await?;
            }
        }
        if rate > 0 {
            at_once.tick().await;
        }
    }
    Ok(())
}

/// Frames a stream gets at once when there is no rate.
const BURST: u64 = 32;

fn put_frame(buffer: &mut BytesMut, frame: usize, stamp_us: u64) -> Result<()> {
    buffer.extend_from_slice(&u32::try_from(frame)?.to_be_bytes());
    let start = buffer.len();
    buffer.resize(start + frame, 0x5a);
    if let Some(head) = buffer.get_mut(start..start + 8) {
        head.copy_from_slice(&stamp_us.to_be_bytes());
    }
    Ok(())
}

/// Takes frames until the relay is gone and notes their latency in µs.
pub(super) async fn sink(connection: &Connection, latency: &mut Histogram<u64>) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    let connection = connection.clone();
    let (noted, mut notes) = tokio::sync::mpsc::channel(1_024);
    tasks.spawn_local(async move {
        while let Ok(stream) = connection.accept_uni().await {
            tokio::task::spawn_local(take_frames(stream, noted.clone()));
        }
    });
    while let Some(us) = notes.recv().await {
        latency.saturating_record(us);
    }
    Ok(())
}

/// Notes one latency per read, of its last frame: enough for a percentile, cheap at any rate.
async fn take_frames(mut stream: RecvStream, noted: tokio::sync::mpsc::Sender<u64>) -> Result<()> {
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    let mut gathered = BytesMut::new();
    while let Some(read) = stream.read_chunks(&mut chunks).await? {
        for chunk in chunks.iter_mut().take(read) {
            gathered.extend_from_slice(&std::mem::take(chunk));
        }
        let mut stamp = None;
        while let Some(frame) = first_frame(&gathered) {
            stamp = frame.get(PREFIX..PREFIX + 8).map(|mut stamp| stamp.get_u64());
            let length = frame.len();
            gathered.advance(length);
        }
        if let Some(stamp) = stamp {
            noted.send(now_us().saturating_sub(stamp)).await?;
        }
    }
    Ok(())
}

/// One time for all processes of this machine.
fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
