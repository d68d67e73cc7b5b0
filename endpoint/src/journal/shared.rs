//! How do several processes of one endpoint share a journal, so that the promise against duplicates holds across them?
//!
//! `kernpost journal serve` ([`serve`]) has the folder and speaks over a Unix socket ([`wire`]); this is the other side. A lookup
//! of what is unknown reserves the message for this process; another one is told that it is in hand elsewhere. The verdict
//! ends the reservation, and so does a release, and the end of the process, by the end of its connections. Two connections:
//! one for lookups, one for records, so that no lookup waits for an fsync. A connection that fails is made again at the next
//! call; what was under way on it counts as failed.

mod client;
mod server;
mod wire;

pub use client::SharedJournal;
pub use server::{JournalServer, serve};
