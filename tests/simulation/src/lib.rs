//! Routers and endpoints in virtual time: real engines, real control sides, real endpoint cores; a network and a crash plan
//! drawn from a seed.
//!
//! Links are reliable and ordered per stream, as QUIC is, with a latency drawn for every frame, so that streams overtake each
//! other; what fails is a whole link with everything on it, the way between two nodes for a while, or a process between any two
//! steps. Disks of routers lose what was not fsynced, flip bits, fill and fail; clocks step and drift. One endpoint plays the portal with a
//! durable outbox, two play authorities that sometimes close for a night. After every step [`checks`] looks at the books; at the
//! end faults stop and everything must settle within a bounded virtual time.

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
