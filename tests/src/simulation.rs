//! Routers and endpoints in virtual time: real engines, real control sides, real endpoint cores; a network and a crash plan
//! drawn from a seed.
//!
//! Links are reliable and ordered per stream, as QUIC is, with a latency drawn for every frame; what fails is a whole link
//! or a whole process. One endpoint plays the portal, two play authorities. After every step [`checks`] looks at the books; at
//! the end faults stop and everything must settle within a bounded virtual time.

pub mod checks;
pub mod endpoint_node;
pub mod network;
pub mod router_node;
pub mod run;

pub use run::{Plan, Report, run};
