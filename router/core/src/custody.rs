//! Durable responsibility for what cannot be delivered now.

pub mod spool;
