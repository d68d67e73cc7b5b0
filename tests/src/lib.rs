//! Support for Kernpost's tests: a small signed world (from `kernpost-simulation`); real router processes with certificates, and a
//! bare client that speaks the protocol to them.
//!
//! The tests themselves are in `tests/tests/`; `README.md` says which kinds there are and why each exists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "test support: a broken premise should stop the test where it broke"
)]

pub mod certificates;
pub mod client_process;
pub mod numbered;
pub mod process;
pub mod rig;
pub mod scene;
pub mod volume;
pub mod wire_client;

pub use kernpost_simulation::world;
