//! Kernpost for portals, authorities and specialist procedures: attach endpoints, send and receive signed messages.
//!
//! [`client`] is what programs use. [`core`] is the protocol as a state machine without IO, for simulations and for other
//! shells. [`journal`] keeps what a recipient decided, [`outbox_store`] what a sender promised. The command `kernpost` is built from the same parts.
//!
//! ```text
//!  program -- Client --> driver -- Core (session, outbox, inbox) --> frames
//!                          |  \___ journal and outbox threads (fjall, one fsync for all that wait)
//!                          \______ link tasks (quinn), one per link and router
//! ```
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")
)]

pub mod client;
pub mod config;
pub mod core;
pub mod in_memory;
pub mod journal;
pub mod offline;
pub mod outbox_store;

pub use client::{Client, ClientConfig, Delivery, Finished, OutcomeQueue, Outcomes, Sent, outcome_queue, stage_queue};
pub use core::{FinalOutcome, Outgoing, SendError, SendOutcome, Verdict};
