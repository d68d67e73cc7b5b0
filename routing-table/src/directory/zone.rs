//! What does a verified zone say, in the forms that verification and tables ask for again and again?

use std::collections::HashSet;

use kernpost_codecs::{EndpointId, ZoneId};

use crate::model::{RouteEntry, ZoneSnapshot};
use crate::prefixes::Ordered;
use crate::snapshot::SignedSnapshot;

/// A zone of a verified directory. Immutable; directories and tables share it while the zone does not change.
#[derive(Debug)]
pub(crate) struct VerifiedZone {
    snapshot: ZoneSnapshot,
    /// Its routes by prefixes, those with the same by their beginning.
    order: Box<[Ordered]>,
    /// Every endpoint that some route names, once, in id order.
    named: Box<[EndpointId]>,
}

impl VerifiedZone {
    pub(super) fn new(signed: SignedSnapshot) -> Self {
        let snapshot = signed.into_snapshot();
        Self { order: order(&snapshot), named: named(&snapshot), snapshot }
    }

    pub(crate) fn id(&self) -> &ZoneId {
        &self.snapshot.zone
    }

    pub(crate) fn snapshot(&self) -> &ZoneSnapshot {
        &self.snapshot
    }

    /// Its routes by prefixes; the number in each is the route's place in the snapshot.
    pub(crate) fn order(&self) -> &[Ordered] {
        &self.order
    }

    /// Endpoints its routes name, in id order.
    pub(crate) fn named(&self) -> &[EndpointId] {
        &self.named
    }

    /// The route at this place of the snapshot.
    pub(crate) fn route(&self, place: u32) -> Option<&RouteEntry> {
        self.snapshot.routes.get(place as usize)
    }
}

/// The routes of a snapshot by prefixes. A snapshot has at most 256 MiB, so 32 bits count its routes.
pub(super) fn order(snapshot: &ZoneSnapshot) -> Box<[Ordered]> {
    let mut order: Box<[Ordered]> =
        (0..).zip(&snapshot.routes).map(|(place, route)| Ordered::new(&route.scope, place)).collect();
    order.sort_unstable();
    for same in order.chunk_by_mut(|a, b| a.prefixes() == b.prefixes()).filter(|same| same.len() > 1) {
        same.sort_by_key(|one| snapshot.routes.get(one.route() as usize).map(|route| route.valid_from));
    }
    order
}

fn named(snapshot: &ZoneSnapshot) -> Box<[EndpointId]> {
    let mut seen = HashSet::new();
    // Routes of one endpoint often follow each other and decoded ids are shared: most are known by their address.
    let mut last = "";
    for endpoint in snapshot.routes.iter().flat_map(|route| route.endpoints.iter()) {
        if !std::ptr::eq(last, endpoint.as_str()) {
            seen.insert(endpoint);
        }
        last = endpoint.as_str();
    }
    let mut named: Vec<EndpointId> = seen.into_iter().cloned().collect();
    named.sort_unstable();
    named.into()
}
