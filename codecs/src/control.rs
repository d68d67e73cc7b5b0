//! What do the two sides of a link tell each other? The frames of the control stream (WIRE 3).
//!
//! Form only: whether a frame may come now, and whether what it says is true, is decided by who receives it.

use bytes::{Bytes, BytesMut};

use crate::Digest;
use crate::code::{Code, FrameFault};
use crate::frame::{encode_frame, frame_type};
use crate::id::{DirectoryVersion, EndpointId, RouterId, ZoneVersion};
use crate::jurisdiction::Ars;
use crate::service_key::ServiceKey;
use crate::time::UnixMs;

mod read;
#[cfg(test)]
mod tests;
mod write;

/// The protocol version of WIRE.md.
pub const VERSION: u64 = 1;
/// The most items a list in a control frame may have (WIRE 3.6).
pub const MOST_LISTED: usize = 4_096;
/// The longest name of software in HELLO, in bytes.
pub const LONGEST_SOFTWARE: usize = 64;
/// The longest detail text of ATTACHED, in bytes.
pub const LONGEST_DETAIL: usize = 256;
/// The longest piece of a snapshot in one SNAPSHOT, in bytes.
pub const LONGEST_SNAPSHOT_PIECE: usize = 131_072;
/// The longest encoded COSE_Key in RESOLVED, in bytes.
pub const LONGEST_ENCRYPTION_KEY: usize = 4_096;

/// Which side of a link speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// 0: speaks for the endpoints it attaches.
    Endpoint,
    /// 1: a router, with its id.
    Router(RouterId),
}

/// The first frame of each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Key 1: lowest protocol version spoken.
    pub lowest_version: u64,
    /// Key 2: highest protocol version spoken, at least the lowest.
    pub highest_version: u64,
    /// Keys 3 and 4.
    pub role: Role,
    /// Key 5: the speaker's clock.
    pub clock: UnixMs,
    /// Key 6: the directory held, sorted by zone; empty when none.
    pub directory: Vec<ZoneVersion>,
    /// Key 7: largest frame body accepted, in bytes.
    pub largest_frame_body: u64,
    /// Key 8: largest statement accepted, in bytes.
    pub largest_statement: u64,
    /// Key 9: largest payload accepted, in bytes.
    pub largest_payload: u64,
    /// Key 10: name and version of the software, at most 64 bytes.
    pub software: String,
}

impl Hello {
    /// The version both sides use, or `None` without a common one (`version-mismatch`).
    #[must_use]
    pub fn common_version(&self, peer: &Self) -> Option<u64> {
        let highest = self.highest_version.min(peer.highest_version);
        (highest >= self.lowest_version.max(peer.lowest_version)).then_some(highest)
    }
}

/// A frame of the control stream. `req` is a number chosen by the asker and echoed in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlFrame {
    /// 0x01
    Hello(Hello),
    /// 0x02: attach an endpoint to this link.
    Attach {
        /// Number of the request.
        req: u64,
        /// The signed attach token (WIRE 3.2).
        token: Bytes,
    },
    /// 0x03: the answer to ATTACH.
    Attached {
        /// Number of the request.
        req: u64,
        /// 0: attached; else why not.
        code: Code,
        /// Why not, in words; at most 256 bytes, often empty.
        detail: String,
    },
    /// 0x04: an endpoint leaves this link.
    Detach {
        /// The endpoint.
        endpoint: EndpointId,
        /// The epoch of its attachment.
        epoch: u64,
    },
    /// 0x05: everything attached to the sending router.
    PresenceFull {
        /// Presence number; the next delta has the number after it.
        number: u64,
        /// Attach tokens, at most 4,096.
        tokens: Vec<Bytes>,
        /// Whether another PRESENCE-FULL with the rest follows.
        more: bool,
    },
    /// 0x06: what changed since the frame before.
    PresenceDelta {
        /// One more than the number before.
        number: u64,
        /// Attach tokens of what is new, at most 4,096.
        attached: Vec<Bytes>,
        /// Endpoint and epoch of what is gone, at most 4,096.
        detached: Vec<(EndpointId, u64)>,
    },
    /// 0x07: who is responsible?
    Resolve {
        /// Number of the request.
        req: u64,
        /// What is asked for.
        service: ServiceKey,
        /// Where.
        jurisdiction: Ars,
    },
    /// 0x08: the answer to RESOLVE.
    Resolved {
        /// Number of the request.
        req: u64,
        /// 0: found; else why not.
        code: Code,
        /// The endpoint responsible; there exactly when the code is 0.
        endpoint: Option<EndpointId>,
        /// Its encryption key, an encoded COSE_Key.
        encryption_key: Option<Bytes>,
        /// The directory version this holds in.
        directory_version: DirectoryVersion,
    },
    /// 0x09: the sender of this frame is going to close.
    Drain {
        /// By when.
        by: UnixMs,
    },
    /// 0x0a
    Ping {
        /// Echoed in PONG.
        nonce: u64,
    },
    /// 0x0b
    Pong {
        /// The nonce of PING.
        nonce: u64,
        /// The answering side's clock.
        clock: UnixMs,
    },
    /// 0x0c: which zones make up a directory version?
    GetVersion {
        /// Number of the request.
        req: u64,
        /// The version.
        version: DirectoryVersion,
    },
    /// 0x0d: the answer to GET-VERSION.
    Version {
        /// Number of the request.
        req: u64,
        /// Its zones, sorted; `None` when the version is not known here.
        zones: Option<Vec<ZoneVersion>>,
    },
    /// 0x0e: a piece of a zone snapshot, please.
    GetSnapshot {
        /// Number of the request.
        req: u64,
        /// Digest of the snapshot.
        digest: Digest,
        /// Where the piece begins, in bytes.
        offset: u64,
    },
    /// 0x0f: the answer to GET-SNAPSHOT.
    Snapshot {
        /// Number of the request.
        req: u64,
        /// Length of the whole snapshot in bytes, 0 when the digest is not known here.
        total: u64,
        /// Where the piece begins, in bytes.
        offset: u64,
        /// The piece, at most 131,072 bytes.
        bytes: Bytes,
    },
}

impl ControlFrame {
    /// Reads the body of a frame of the control stream; tokens and snapshot pieces share its memory.
    ///
    /// `None` for a type that version 1 does not know, which is skipped.
    ///
    /// # Errors
    /// `frame-malformed` for a body that does not parse, `unexpected-frame` for a type of another stream.
    pub fn decode(kind: u64, body: &Bytes) -> Result<Option<Self>, FrameFault> {
        if !frame_type::check(kind, frame_type::Home::Control)? {
            return Ok(None);
        }
        match kind {
            frame_type::HELLO => read::hello(body),
            frame_type::ATTACH => read::attach(body),
            frame_type::ATTACHED => read::attached(body),
            frame_type::DETACH => read::detach(body),
            frame_type::PRESENCE_FULL => read::presence_full(body),
            frame_type::PRESENCE_DELTA => read::presence_delta(body),
            frame_type::RESOLVE => read::resolve(body),
            frame_type::RESOLVED => read::resolved(body),
            frame_type::DRAIN => read::drain(body),
            frame_type::PING => read::ping(body),
            frame_type::PONG => read::pong(body),
            frame_type::GET_VERSION => read::get_version(body),
            frame_type::VERSION => read::version(body),
            frame_type::GET_SNAPSHOT => read::get_snapshot(body),
            frame_type::SNAPSHOT => read::snapshot(body),
            _ => return Ok(None),
        }
        .map(Some)
    }

    /// Appends the whole frame. Ranges and list lengths are the caller's concern.
    pub fn encode(&self, out: &mut BytesMut) {
        encode_frame(self.kind(), &write::body(self), out);
    }

    /// The frame's type.
    #[must_use]
    pub const fn kind(&self) -> u64 {
        match self {
            Self::Hello(_) => frame_type::HELLO,
            Self::Attach { .. } => frame_type::ATTACH,
            Self::Attached { .. } => frame_type::ATTACHED,
            Self::Detach { .. } => frame_type::DETACH,
            Self::PresenceFull { .. } => frame_type::PRESENCE_FULL,
            Self::PresenceDelta { .. } => frame_type::PRESENCE_DELTA,
            Self::Resolve { .. } => frame_type::RESOLVE,
            Self::Resolved { .. } => frame_type::RESOLVED,
            Self::Drain { .. } => frame_type::DRAIN,
            Self::Ping { .. } => frame_type::PING,
            Self::Pong { .. } => frame_type::PONG,
            Self::GetVersion { .. } => frame_type::GET_VERSION,
            Self::Version { .. } => frame_type::VERSION,
            Self::GetSnapshot { .. } => frame_type::GET_SNAPSHOT,
            Self::Snapshot { .. } => frame_type::SNAPSHOT,
        }
    }

    /// The frame's name in WIRE 3.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "HELLO",
            Self::Attach { .. } => "ATTACH",
            Self::Attached { .. } => "ATTACHED",
            Self::Detach { .. } => "DETACH",
            Self::PresenceFull { .. } => "PRESENCE-FULL",
            Self::PresenceDelta { .. } => "PRESENCE-DELTA",
            Self::Resolve { .. } => "RESOLVE",
            Self::Resolved { .. } => "RESOLVED",
            Self::Drain { .. } => "DRAIN",
            Self::Ping { .. } => "PING",
            Self::Pong { .. } => "PONG",
            Self::GetVersion { .. } => "GET-VERSION",
            Self::Version { .. } => "VERSION",
            Self::GetSnapshot { .. } => "GET-SNAPSHOT",
            Self::Snapshot { .. } => "SNAPSHOT",
        }
    }
}
