//! The engine's view of presence: which endpoints are attached where, and how routers are reached. Enters as events only.
//!
//! Bounded by the directory (endpoints × identities × routers) because the control side verified every token.

use kernpost_codecs::settlement::Detail;
use kernpost_codecs::{EndpointId, LinkIdentity, RouterId};

use crate::collections::Map;
use crate::event::{Place, PresenceEvent};
use crate::link::{LinkId, WorkerId};

/// One attachment of an endpoint.
#[derive(Debug, Clone)]
pub struct Attached {
    /// By which link identity.
    pub identity: LinkIdentity,
    /// Where.
    pub place: Place,
    /// Attachments that share a journal share its promise against duplicates.
    pub journal: [u8; 16],
    /// Number of the presence change that brought it.
    pub number: u64,
}

/// Presence and reachability as one engine knows them.
#[derive(Debug, Default)]
pub struct PresenceView {
    attached: Map<EndpointId, Vec<Attached>>,
    routers: Map<RouterId, (WorkerId, LinkId)>,
    number: u64,
}

impl PresenceView {
    /// Takes in a change. Returns the link and endpoint when it is an attachment on a link here.
    pub fn on_event(&mut self, event: PresenceEvent) {
        match event {
            PresenceEvent::Attached { endpoint, identity, place, journal, number } => {
                self.number = self.number.max(number);
                let all = self.attached.entry(endpoint).or_default();
                all.retain(|a| !(a.identity == identity && a.place == place && a.journal == journal));
                all.push(Attached { identity, place, journal, number });
            }
            PresenceEvent::Detached { endpoint, identity, place, journal } => {
                if let Some(all) = self.attached.get_mut(&endpoint) {
                    all.retain(|a| !(a.identity == identity && a.place == place && a.journal == journal));
                    if all.is_empty() {
                        self.attached.remove(&endpoint);
                    }
                }
            }
        }
    }

    /// A link to another router is up.
    pub fn on_router_up(&mut self, router: RouterId, worker: WorkerId, link: LinkId) {
        self.routers.insert(router, (worker, link));
    }

    /// A link is gone; forgets it as a way to a router.
    pub fn on_link_down(&mut self, link: LinkId) {
        self.routers.retain(|_, (_, l)| *l != link);
    }

    /// All attachments of an endpoint.
    pub fn attachments(&self, endpoint: &EndpointId) -> &[Attached] {
        self.attached.get(endpoint).map_or(&[], Vec::as_slice)
    }

    /// The link to a router.
    pub fn router_link(&self, router: &RouterId) -> Option<(WorkerId, LinkId)> {
        self.routers.get(router).copied()
    }

    /// What this router says of its own attachment of an endpoint, in a settlement `busy` or `not-attached` (WIRE 8.3).
    pub fn own_detail(&self, router: &RouterId, endpoint: EndpointId, retry_after_ms: u64) -> Detail {
        Detail {
            endpoint: Some(endpoint),
            router: Some(router.clone()),
            presence: Some(self.number),
            retry_after_ms: Some(retry_after_ms),
            text: None,
        }
    }

    /// Number of the latest change.
    pub fn number(&self) -> u64 {
        self.number
    }
}
