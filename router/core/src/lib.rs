//! The sans-IO core of a Kernpost router: frames, time and events in; frames, crossings and deadlines out.
//!
//! A message's journey starts in [`engine`] (`Engine::handle_frame`) and can be read downwards from there: decode → admit →
//! verify → authorise → route → forward → settle. [`control`] carries everything on the control streams: hello, attach,
//! presence, resolve, directory pieces, drain. Neither reads a clock, a file or randomness (`clippy.toml` bans them), so a
//! simulation can run them in virtual time.

pub mod admission;
pub mod collections;
pub mod config;
pub mod control;
pub mod crossing;
pub mod custody;
pub mod engine;
pub mod event;
pub mod inbound;
pub mod large;
pub mod ledger;
pub mod line;
pub mod link;
pub mod mutant;
pub mod now;
pub mod outbound;
pub mod presence;
pub mod routing;
pub mod settling;
pub mod stats;
pub mod verification;

pub use config::{ControlConfig, EngineConfig};
pub use control::{Control, ControlOutput, ControlStatus};
pub use crossing::Crossing;
pub use custody::{Custody, CustodyConfig, CustodyOutput, RouterSigner};
pub use engine::Engine;
pub use event::{EngineEvent, EngineOutput, PresenceEvent};
pub use ledger::Ledger;
pub use line::{Line, LinkProfile};
pub use link::{LinkId, Peer, WorkerId};
pub use now::Now;
pub use stats::EngineStats;
