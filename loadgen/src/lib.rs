//! Load tests of a Kernpost network that can be trusted: open loop, every message accounted for, the generator watched.
//!
//! ```text
//!  conductor (this process) ── commands, JSON lines ──┬─▶ source process ── client ──▶ router ──▶ client ── sink process
//!      │  looks at /proc and /metrics of the routers  └──────────────────────────────────────────────────▶
//!      └─▶ text, JSON, HdrHistogram percentiles, HTML; exit status
//! ```
//!
//! [`scenario`] says what is offered, [`layout`] draws the network for it, [`stand`] starts it, [`run`] does one run,
//! [`measured`] is what came of it, [`slo`] and [`bottleneck`] judge. [`custody`] measures what
//! routers keep, with processes that are killed. [`network`] also starts the demo of `cargo xtask`.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")
)]

pub mod accounting;
pub mod bottleneck;
pub mod child;
pub mod cli;
pub mod clock;
pub mod custody;
pub mod exit_status;
pub mod find_max;
pub mod forger;
pub mod interrupt;
pub mod latencies;
pub mod layout;
pub mod lists;
pub mod live;
pub mod measured;
pub mod message_id;
pub mod metrics_page;
pub mod network;
pub mod procfs;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod sink;
pub mod slo;
pub mod source;
pub mod stand;
pub mod storm;
pub mod talk;
pub mod units;
pub mod waiting;
