//! What flows between the control side, the engines and the shell.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::settlement::Label;
use kernpost_codecs::{EndpointId, FrameFault, LaneKind, LinkIdentity, RouterId};
use kernpost_routing_table::Table;

use crate::crossing::Crossing;
use crate::link::{LinkId, Peer, WorkerId};

/// Where an endpoint is attached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// On a link of this router.
    Here {
        /// The worker that owns the link.
        worker: WorkerId,
        /// The link.
        link: LinkId,
    },
    /// At another router.
    At {
        /// The router that holds the attachment.
        router: RouterId,
        /// Who told us: the same router, or a neighbour that can relay to it.
        via: RouterId,
    },
}

/// A change of presence, in the order in which it became known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceEvent {
    /// The endpoint is attached at this place; replaces an older attachment with the same identity and place.
    Attached {
        /// Which endpoint.
        endpoint: EndpointId,
        /// By which link identity.
        identity: LinkIdentity,
        /// Where.
        place: Place,
        /// Attachments that share a journal share its promise against duplicates.
        journal: [u8; 16],
        /// Grows with every change of presence here; a newer number lifts a mark of unavailability.
        number: u64,
    },
    /// The endpoint is no longer attached at this place by this identity.
    Detached {
        /// Which endpoint.
        endpoint: EndpointId,
        /// By which link identity.
        identity: LinkIdentity,
        /// Where it was.
        place: Place,
        /// Its journal: two processes of one endpoint are two attachments.
        journal: [u8; 16],
    },
}

/// From the control side to an engine. Events of one link are delivered in order.
#[derive(Debug, Clone)]
pub enum EngineEvent {
    /// Hello is done on both sides: the lanes may be used.
    LinkUp {
        /// The link.
        link: LinkId,
        /// The worker that owns it.
        worker: WorkerId,
        /// Who is there.
        peer: Peer,
    },
    /// What the peer of a link of this worker states as its largest payload (WIRE 9.8). Follows its LinkUp.
    LargestPayload {
        /// The link.
        link: LinkId,
        /// Bytes.
        bytes: u64,
    },
    /// The link is gone.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// Presence changed.
    Presence(PresenceEvent),
    /// Another table is in force.
    Table(Arc<Table>),
    /// Refuse new entries from now on.
    Drain,
    /// Whether the kernel's clock is synchronised; until the first of these it counts as that. While it is not, nobody decides that
    /// something has expired.
    Clock {
        /// See above.
        synchronised: bool,
    },
}

/// From an engine to the shell.
#[derive(Debug)]
pub enum EngineOutput {
    /// Write these bytes (one or more whole frames) to the lane.
    Frame {
        /// The link.
        link: LinkId,
        /// The lane; opened at first use.
        lane: LaneKind,
        /// Whole frames with their headers.
        bytes: Bytes,
    },
    /// Hand this to another worker's engine; if its channel is full, give it back by `handle_cross_refused`.
    Cross {
        /// The other worker.
        worker: WorkerId,
        /// What crosses.
        crossing: Crossing,
    },
    /// The label of a large payload no longer stands: stop what is read of it, or reset what is sent. The shell may have
    /// ended the stream already.
    PayloadEnd {
        /// The link.
        link: LinkId,
        /// The label on it.
        label: Label,
        /// Whether the payload arrives on this link; otherwise it leaves on it.
        incoming: bool,
    },
    /// Close the link because of the peer's frame fault.
    Close {
        /// The link.
        link: LinkId,
        /// The fault, named.
        fault: FrameFault,
    },
}
