//! Who is responsible, who is who, and what may they do? The signed directory and the routing table compiled from it.
//!
//! The way of a directory, in the order of the modules: maintainers write zones ([`source`]) in terms of [`model`];
//! [`snapshot`] signs them; [`Directory::verify`] believes them together or says everything that is wrong;
//! [`Table::compile`] turns them into the lookup form for an instant; [`Published`] puts a table into force without
//! making a reader wait; `explain` says why a route key goes where it goes; [`diff`] what a new directory changes;
//! [`Archive`] keeps older versions for receipts. `DIRECTORY.md` is normative; its clauses are quoted as `DIRECTORY 7.3`.
//!
//! No clock is read here: instants are arguments. No file is touched outside [`source`].

mod archive;
pub mod diff;
mod directory;
mod encryption_key;
mod explain;
mod floor;
pub mod generate;
mod instant;
pub mod model;
mod prefixes;
mod primitive;
mod publish;
pub mod snapshot;
pub mod source;
mod table;

pub use archive::{Archive, ArchiveLimits};
pub use directory::{Directory, DirectoryError, DirectoryErrors, DirectoryFault, MOST_ERRORS, check_zone};
pub use encryption_key::{EncryptionKey, EncryptionKeyError};
pub use explain::{Candidate, Decision, Explanation, Rejection};
pub use floor::SerialFloor;
pub use instant::{InstantError, instant_text, parse_instant};
pub use model::{Scope, TrustAnchor, ZoneSnapshot};
pub use publish::{Published, StaleGeneration, TableReader};
pub use table::{
    CompileError, CompiledEndpoint, CompiledKey, CompiledRouter, EndpointIndex, IdentityUse, KeyOwner, Route,
    RouterIndex, Routes, Table,
};
