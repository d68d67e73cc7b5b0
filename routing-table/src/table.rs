//! Who is responsible for a service in a territory, at one instant? The compiled, immutable lookup form of a directory.
//!
//! Selection (DIRECTORY 7.3), in this order: an ARS that ended is replaced by its successor; of the rules in force that
//! cover the route key those with the most specific service prefix stay; of these the one with the longest jurisdiction
//! prefix answers. Lookups take no lock, allocate nothing and read no clock.
//!
//! The structure: `territories.rs` turns an ARS into a small number, `rows.rs` holds per service prefix a function from
//! these numbers to references of routes, which `routes.rs` resolves; one hash probe each for service and ARS, usually, and
//! one cache line of the row. A row without an answer passes the question to the next less specific service prefix. Two
//! routes never tie: verification refuses that. `compile.rs` makes a table from a directory, and after another table only
//! what has changed.

mod compile;
mod leaf;
mod perfect_hash;
mod principals;
mod routes;
mod rows;
mod territories;

use std::sync::Arc;

use kernpost_codecs::statement::Assurance;
use kernpost_codecs::{Ars, DirectoryVersion, JurisdictionPrefix, ServiceKey, ServicePrefix, UnixMs, ZoneVersion};

pub use compile::CompileError;
use compile::{Entry, Sources};
use principals::Principals;
pub use principals::{CompiledEndpoint, CompiledKey, CompiledRouter, IdentityUse, KeyOwner};
pub use routes::{Route, Routes};
use rows::{BATCH, Rows};
use territories::Territories;

use crate::prefixes::{place_prefix, service_key, service_prefix};

/// An endpoint of one table: its place in id order. Means nothing in another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointIndex(pub u32);

/// A router of one table: its place in id order. Means nothing in another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouterIndex(pub u32);

/// The routing table. Immutable; readers share it through [`crate::Published`].
#[derive(Debug)]
pub struct Table {
    generation: u64,
    at: UnixMs,
    valid_until: Option<UnixMs>,
    version: DirectoryVersion,
    zones: Vec<(ZoneVersion, UnixMs)>,
    territories: Arc<Territories>,
    rows: Rows,
    /// For each place of `rows` the routes it was made of, also those not in force (explain shows them).
    sources: Vec<Sources>,
    routes: Routes,
    principals: Arc<Principals>,
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
        self.routes.get(self.rows.find(service_key(service), territory)?)
    }

    /// As [`Table::lookup`] for many route keys at once: `found` is emptied and gets one answer for each, in their order.
    ///
    /// The lookups do not wait for each other's cache misses: in a large table they cost a fraction of single ones. It
    /// allocates only when `found` is too short.
    #[inline]
    pub fn lookup_many<'t>(&'t self, asked: &[(ServiceKey, Ars)], found: &mut Vec<Option<&'t Route>>) {
        found.clear();
        found.reserve(asked.len());
        for asked in asked.chunks(BATCH) {
            let mut numbers = [(0, 0); BATCH];
            for (number, (service, jurisdiction)) in numbers.iter_mut().zip(asked) {
                *number = (service_key(*service), self.territories.number(*jurisdiction));
            }
            let mut references = [0; BATCH];
            self.rows.find_batch(numbers.get(..asked.len()).unwrap_or_default(), &mut references);
            found.extend(references.iter().take(asked.len()).map(|reference| self.routes.get(*reference)));
        }
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

    /// All rules, also those not in force.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Bytes held by the lookup structure and the routes. Not counted: what zones say (shared with the directory), names
    /// and keys. Tables compiled after one another share most of it.
    pub fn lookup_bytes(&self) -> usize {
        let sources: usize = self.sources.iter().map(|row| size_of::<Sources>() + size_of_val(&*row.entries)).sum();
        self.rows.bytes() + sources + self.routes.bytes() + self.territories.bytes()
    }

    /// All rules with exactly these prefixes, in force or not, the earliest first.
    pub(crate) fn with_prefixes(
        &self,
        service: ServicePrefix,
        jurisdiction: JurisdictionPrefix,
    ) -> impl DoubleEndedIterator<Item = &Route> {
        let row = self.rows.place_of(service_prefix(service)).and_then(|place| self.sources.get(place));
        let entries = row.map(|row| &*row.entries).unwrap_or_default();
        let number = self.territories.of_prefix(place_prefix(jurisdiction));
        let start = number.map_or(entries.len(), |number| entries.partition_point(|entry| entry.number() < number));
        let same = entries.get(start..).unwrap_or_default();
        let same = same.get(..same.partition_point(|entry| Some(entry.number()) == number)).unwrap_or_default();
        same.iter().filter_map(|entry: &Entry| self.routes.get(entry.route))
    }
}
