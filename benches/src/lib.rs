//! What the benches share: the relay floor that the router's cost is compared with, the route keys that lookups ask for, and
//! the spool's work over several storage libraries.

pub mod links;
pub mod relay;
pub mod routes;
pub mod spool;
