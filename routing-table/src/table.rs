//! Who is responsible for a service in a territory, at one instant? The compiled, immutable lookup form of a directory.
//!
//! Selection (DIRECTORY 7.3), in this order: an ARS that ended is replaced by its successor; of the rules in force that
//! cover the route key those with the most specific service prefix stay; of these the one with the longest jurisdiction
//! prefix answers. Lookups take no lock, allocate nothing and read no clock.
//!
//! The structure: `services.rs` and `territories.rs` turn the two halves of a route key into small numbers (one hash
//! probe each, usually), `rows.rs` holds one search tree over territory numbers per service prefix; a row without an
//! answer passes the question to the next less specific service prefix. Two routes never tie: verification refuses that.

mod compile;
mod perfect_hash;
mod principals;
mod rows;
mod territories;

use std::sync::Arc;

use kernpost_codecs::statement::Assurance;
use kernpost_codecs::{
    Ars, DirectoryVersion, JurisdictionPrefix, ServiceKey, ServicePrefix, UnixMs, ZoneId, ZoneVersion,
};
use smallvec::SmallVec;

pub use compile::CompileError;
use principals::Principals;
pub use principals::{CompiledEndpoint, CompiledKey, CompiledRouter, IdentityUse, KeyOwner};
use rows::Rows;
use territories::Territories;

use crate::model::Scope;

/// An endpoint of one table: its place in id order. Means nothing in another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointIndex(pub u32);

/// A router of one table: its place in id order. Means nothing in another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouterIndex(pub u32);

/// A rule of the table.
#[derive(Debug, Clone)]
pub struct Route {
    /// Who is responsible, the preferred first; never empty.
    pub endpoints: SmallVec<[EndpointIndex; 4]>,
    /// Services it answers for.
    pub service: ServicePrefix,
    /// Territories it answers for.
    pub jurisdiction: JurisdictionPrefix,
    /// Messages must assert at least this.
    pub min_assurance: Option<Assurance>,
    /// Messages must be encrypted for the recipient.
    pub encryption_required: bool,
    /// Name of the rule, unique in its zone.
    pub rule: Arc<str>,
    /// The zone that states it.
    pub zone: ZoneId,
    /// In force from this instant on.
    pub valid_from: UnixMs,
    /// No longer in force from this instant on.
    pub valid_until: Option<UnixMs>,
}

impl Route {
    /// The prefixes.
    pub fn scope(&self) -> Scope {
        Scope { service: self.service, jurisdiction: self.jurisdiction }
    }

    /// True when the rule is in force at `at`.
    pub fn in_force(&self, at: UnixMs) -> bool {
        self.valid_from <= at && self.valid_until.is_none_or(|end| at < end)
    }
}

/// The routing table. Immutable; readers share it through [`crate::Published`].
#[derive(Debug)]
pub struct Table {
    generation: u64,
    at: UnixMs,
    valid_until: Option<UnixMs>,
    version: DirectoryVersion,
    zones: Vec<(ZoneVersion, UnixMs)>,
    territories: Territories,
    rows: Rows,
    /// All rules, also those not in force, sorted by prefixes and beginning (so that explain finds them).
    routes: Vec<Route>,
    principals: Principals,
}

impl Table {
    /// The number of this table in this process; a later table has a larger one.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The directory it was compiled from.
    pub fn version(&self) -> DirectoryVersion {
        self.version
    }

    /// The zone snapshots behind that version, sorted by zone.
    pub fn zone_versions(&self) -> impl ExactSizeIterator<Item = &ZoneVersion> {
        self.zones.iter().map(|(version, _)| version)
    }

    /// The instant it was compiled for.
    pub fn compiled_for(&self) -> UnixMs {
        self.at
    }

    /// When to compile again: the next instant at which a rule or a succession begins or ends; `None`: never.
    pub fn valid_until(&self) -> Option<UnixMs> {
        self.valid_until
    }

    /// Zones past their not-after at `now`: still routed by, but the router reports itself degraded.
    pub fn degraded(&self, now: UnixMs) -> Vec<String> {
        self.zones.iter().filter(|(_, not_after)| *not_after < now).map(|(v, _)| v.zone.to_string()).collect()
    }

    /// The rule that answers for a route key; `None`: nobody is responsible.
    #[inline]
    pub fn lookup(&self, service: ServiceKey, jurisdiction: Ars) -> Option<&Route> {
        let territory = self.territories.number(jurisdiction);
        self.routes.get(self.rows.find(service, territory)? as usize)
    }

    /// True when `endpoint` is one of those responsible for the route key.
    pub fn responsible(&self, service: ServiceKey, jurisdiction: Ars, endpoint: EndpointIndex) -> bool {
        self.lookup(service, jurisdiction).is_some_and(|route| route.endpoints.contains(&endpoint))
    }

    /// The ARS by which `jurisdiction` is routed: its successor's when it ended.
    pub fn current_ars(&self, jurisdiction: Ars) -> Ars {
        self.territories.current(jurisdiction)
    }

    /// May `sender` send to this route key? `None`: no grant; else the highest level of assurance it may assert
    /// (`Some(None)`: none).
    pub fn grant(&self, sender: EndpointIndex, service: ServiceKey, jurisdiction: Ars) -> Option<Option<Assurance>> {
        let jurisdiction = self.current_ars(jurisdiction);
        let grants = &self.principals.endpoint(sender)?.grants;
        grants.iter().filter(|grant| grant.scope.covers(service, jurisdiction)).map(|grant| grant.max_assurance).max()
    }

    /// May `sender` name an explicit recipient in a reply? Stated in its entry, else: if any rule, in force or not, names it.
    pub fn may_reply(&self, sender: EndpointIndex) -> bool {
        self.principals.endpoint(sender).is_some_and(|endpoint| endpoint.may_reply)
    }

    /// All rules, also those not in force at this table's instant, sorted by prefixes and beginning.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Bytes held by the lookup structure (rows and route entries; names and keys not counted).
    pub fn lookup_bytes(&self) -> usize {
        self.rows.bytes() + self.routes.len() * size_of::<Route>() + self.territories.bytes()
    }

    /// All rules with exactly these prefixes, in force or not, the earliest first.
    pub(crate) fn with_prefixes(&self, service: ServicePrefix, jurisdiction: JurisdictionPrefix) -> &[Route] {
        let wanted = (service.as_u64(), jurisdiction.as_u64(), jurisdiction.level());
        let prefixes = |r: &Route| (r.service.as_u64(), r.jurisdiction.as_u64(), r.jurisdiction.level());
        let start = self.routes.partition_point(|route| prefixes(route) < wanted);
        let rest = self.routes.get(start..).unwrap_or_default();
        rest.get(..rest.partition_point(|route| prefixes(route) == wanted)).unwrap_or_default()
    }
}
