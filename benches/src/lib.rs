//! What the benches share: the relay floor that the router's cost is compared with, and the route keys that lookups ask for.

pub mod links;
pub mod relay;
pub mod routes;
