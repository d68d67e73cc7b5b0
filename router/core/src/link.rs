//! Names for links and workers inside one router process, and who is at the other end of a link.

use kernpost_codecs::{LinkIdentity, RouterId};

/// A link of this router process; given by the shell, never reused while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// A worker: one thread, one socket, one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// Who is at the other end, as bound by the directory (WIRE 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// An endpoint side: it may attach the endpoints that list this identity.
    Endpoints(LinkIdentity),
    /// Another router.
    Router(RouterId),
}

impl Peer {
    /// Whether the peer is a router.
    pub fn is_router(&self) -> bool {
        matches!(self, Self::Router(_))
    }
}
