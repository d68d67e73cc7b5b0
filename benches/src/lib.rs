//! What the benches share: the relay floor that the router's cost is compared with.

pub mod relay;
