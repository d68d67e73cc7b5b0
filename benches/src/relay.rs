//! A plain quinn relay: the floor that the router's cost is compared with.
//!
//! ```text
//! source ──4 streams──▶ relay ──1 stream each──▶ sinks
//! ```
//!
//! Frames of a fixed length with a 4-byte length before them travel one way, over mutual TLS and the QUIC settings of the
//! router on the relay's side and of the endpoint library on the others'. The relay reads up to 64 chunks at a time and
//! gathers whole frames into one write. Nobody verifies, routes or answers; the relay is one process on one thread.

mod parts;
mod run;
mod setup;

pub use run::{Report, RunOptions, play, run};

/// What a process plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Moves frames.
    Relay,
    /// Makes frames.
    Source,
    /// Takes frames.
    Sink,
}

/// Bytes of the length before a frame.
const PREFIX: usize = 4;
/// Streams from the source.
const STREAMS: usize = 4;
/// Chunks read at a time.
const CHUNKS: usize = 64;
