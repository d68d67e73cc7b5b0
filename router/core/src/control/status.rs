//! What the control side tells the operator: links, attachments, alarms.

use kernpost_codecs::UnixMs;

use super::Control;
use crate::link::{LinkId, WorkerId};

/// Something an operator should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// A peer's clock is more than 5 s off.
    Clock {
        /// Who.
        peer: String,
        /// Its clock minus ours, ms.
        offset_ms: i64,
    },
    /// A peer holds a zone with our serial and another digest.
    Equivocation {
        /// Zone and serial.
        zone: String,
        /// Who.
        peer: String,
    },
    /// A presence token from a router did not verify.
    PresenceRefused {
        /// The router that sent it.
        router: String,
        /// What was wrong.
        what: String,
    },
}

/// Counters of the control side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// ATTACH frames refused.
    pub attach_refused: u64,
    /// Presence tokens refused.
    pub presence_refused: u64,
    /// Equivocations seen.
    pub equivocations: u64,
}

/// One link, as an operator wants to see it.
#[derive(Debug, Clone)]
pub struct LinkStatus {
    /// The link.
    pub link: LinkId,
    /// Its worker.
    pub worker: WorkerId,
    /// `router <id>` or `endpoints <identity>`.
    pub peer: String,
    /// Whether the peer is a router.
    pub router: bool,
    /// Hello done.
    pub ready: bool,
    /// Software the peer states.
    pub software: String,
    /// Endpoints attached on it.
    pub attachments: usize,
    /// Attachments it told us of (routers).
    pub remote_attachments: usize,
    /// Peer's clock minus ours, ms.
    pub clock_offset_ms: i64,
    /// Last ping, µs.
    pub round_trip_us: Option<u64>,
    /// The peer drains.
    pub draining: bool,
}

/// One attachment.
#[derive(Debug, Clone)]
pub struct AttachmentStatus {
    /// The endpoint.
    pub endpoint: String,
    /// By which identity.
    pub identity: String,
    /// At which router.
    pub router: String,
    /// Until when its token is good.
    pub expires: UnixMs,
}

/// Everything at an instant.
#[derive(Debug, Clone, Default)]
pub struct ControlStatus {
    /// Links, by id.
    pub links: Vec<LinkStatus>,
    /// Attachments here and elsewhere, by endpoint.
    pub attachments: Vec<AttachmentStatus>,
    /// Counters.
    pub counts: Counts,
    /// Draining.
    pub draining: bool,
    /// Number of the latest change of presence.
    pub presence_number: u64,
}

impl Control {
    /// A copy of the state for the operator. Costs time in proportion to links and attachments: not for every message.
    pub fn status(&self) -> ControlStatus {
        let mut links: Vec<LinkStatus> = self
            .links
            .iter()
            .map(|(link, state)| LinkStatus {
                link: *link,
                worker: state.worker,
                peer: match &state.peer {
                    crate::Peer::Router(router) => format!("router {router}"),
                    crate::Peer::Endpoints(identity) => format!("endpoints {identity}"),
                },
                router: state.peer.is_router(),
                ready: state.hello.is_some(),
                software: state.hello.as_ref().map(|hello| hello.software.clone()).unwrap_or_default(),
                attachments: state.attachments,
                remote_attachments: self.remote.get(link).map_or(0, |held| held.len()),
                clock_offset_ms: state.clock_offset_ms,
                round_trip_us: state.round_trip_us,
                draining: state.peer_drains,
            })
            .collect();
        links.sort_by_key(|status| status.link);
        let here = self.local.values().map(|local| &local.attachment);
        let elsewhere = self.remote.values().flat_map(|held| held.values().map(|remote| &remote.attachment));
        let mut attachments: Vec<AttachmentStatus> = here
            .chain(elsewhere)
            .map(|attachment| AttachmentStatus {
                endpoint: attachment.endpoint.to_string(),
                identity: attachment.identity.to_string(),
                router: attachment.router.to_string(),
                expires: attachment.expires,
            })
            .collect();
        attachments.sort_by(|a, b| (&a.endpoint, &a.router).cmp(&(&b.endpoint, &b.router)));
        attachments.dedup_by(|a, b| (&a.endpoint, &a.router, &a.identity) == (&b.endpoint, &b.router, &b.identity));
        ControlStatus {
            links,
            attachments,
            counts: self.counts,
            draining: self.draining_until.is_some(),
            presence_number: self.presence_number,
        }
    }
}
