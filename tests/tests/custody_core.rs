//! What one custody does, over a real spool on a disk in memory, in virtual time: the rules of `router/CUSTODY.md` one by one.
//!
//! No engine and no link takes part: entries are handed over, and receipts come back, as a worker's crossings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "custody_core/bench.rs"]
mod bench;
#[path = "custody_core/clock.rs"]
mod clock;
#[path = "custody_core/damage.rs"]
mod damage;
#[path = "custody_core/full.rs"]
mod full;
#[path = "custody_core/large.rs"]
mod large;
#[path = "custody_core/moving.rs"]
mod moving;
#[path = "custody_core/order.rs"]
mod order;
#[path = "custody_core/pressure.rs"]
mod pressure;
#[path = "custody_core/retention.rs"]
mod retention;
#[path = "custody_core/stopped.rs"]
mod stopped;
