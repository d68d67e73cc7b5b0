//! Support for Kernpost's tests: a small signed world, and a simulation of routers and endpoints in virtual time.
//!
//! The tests themselves are in `tests/tests/`; `README.md` says which kinds there are and why each exists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "test support: a broken premise should stop the test where it broke"
)]

pub mod rig;
pub mod simulation;
pub mod world;
