//! Routers and endpoints in virtual time: real engines, real control sides, real endpoint cores, real custody and spool; a network, disks,
//! clocks and a plan of what goes wrong drawn from a seed. Two routers, a portal with a durable outbox, two authorities.
//!
//! # What goes wrong
//!
//! - **Links.** Streams are reliable and ordered, as QUIC's are; every frame has a latency of its own, so that streams overtake
//!   each other. A link is cut with all that is on it. Two nodes cannot reach each other for a while. One direction or both fall
//!   silent: what would arrive is held back, and arrives late, or is lost when the idle timeout of one end, and later of the other,
//!   ends the link. A dialler gives its link up and comes back while its peer still believes in the old one. An endpoint has two links
//!   at once, to one router or to both. Whole bundles of an earlier link arrive once more on another one, between any two nodes.
//! - **Processes** die between any two steps, or in the middle of a write; their peers hear of it at once or much later. Authorities close
//!   for a night.
//! - **Disks of routers** lose what the fsync under way was for, all or the later part of it, or keep it and the answer is lost. Bits
//!   flip in bodies or in heads, and in rows of Queue, Queues and Messages; rows of queues are lost; rows of bodies or heads, Queue,
//!   Queues, Messages and Due cannot be read; commits fail, and are there after the next start or not; disks fill, and take no
//!   writes. After damage to an index the router is started again, as CUSTODY asks for.
//! - **Disks of endpoints** take no writes until the process is started again: verdicts cannot be journalled, messages are not taken,
//!   late receipts are not kept; the first such write may be there after the start all the same.
//! - **Clocks** step by up to 20 s and drift by up to 500 ppm.
//! - **Directories**: serials go up under messages in flight, with the same in them, without a route, without a grant, with a revoked key,
//!   with another recipient; after a while all is as it was.
//!
//! [`Mishap`] counts each where it takes effect, and a test fails when one of them never does.
//!
//! # What must hold
//!
//! Looked at in every step: the ledgers of engines, custody and endpoints balance; credit in use is within what was granted, windows and
//! flights of custody and what waits for credit are within their bounds (`run/bounds.rs`); *custody* is true when it is signed and
//! when it arrives, *damaged*, *returned*, *expired* and *discarded* have their reason, an alarm of damage has a damaged disk, a
//! custody is denied only by one (`run/truth.rs`, `run/faults.rs`); *delivered* and *rejected* are in the journal of who signed
//! them and stand; what was refused is never handed over, nothing is handed over after its verdict was durable, what may be a repeat says
//! so; a case is handed over in its order, within its class, as far as that is promised (`checks`). When faults have stopped, everything
//! taken ends within an hour of virtual time and no router holds anything; what nobody has any more may end undecided only if no
//! router had signed for it, or its disk was damaged and its sender was told, or nobody could be told (`run/settled.rs`).
//!
//! # What is not simulated
//!
//! QUIC itself: loss, reordering and duplication of packets below its streams, and frames cut in pieces. Large payloads. Hybrid signatures.
//! More than two routers, detours, drains, several processes that share a journal. Damage to Meta, Segments, Quarantine and Audit,
//! and to bodies and heads of one disk. A batch of the store of which only some rows are there, which the contract of the store excludes
//! (`kernpost_spool::store`). Damage to journals and outboxes of endpoints beyond failed writes. Operators who discard or try again.
//! How a message ended is told to an application before the outbox has written it down: a sender that dies in between finds it open
//! again, and the run forgets with it that it was told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "test support: a broken premise should stop the test where it broke"
)]

pub mod checks;
pub mod custody_node;
pub mod endpoint_node;
pub mod mishap;
pub mod network;
pub mod plan;
pub mod router_node;
pub mod run;
pub mod trace;
pub mod world;

pub use mishap::{Mishap, Mishaps};
pub use plan::Plan;
pub use run::{Finding, Report, run, shrink};
