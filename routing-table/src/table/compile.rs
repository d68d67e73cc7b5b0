//! How does a verified directory become a table for an instant, alone or after the table before it?
//!
//! Both are one way: a table is compiled after another one, the first after an empty one. Zones that have not changed
//! lend their routes, changed ones those whose prefixes and validity stay; rows to which no route came, which lost none,
//! and in which none began or ended, are taken over; only the others are made again. What is taken over cannot differ from what would be made: a row depends on its
//! routes, on the numbers of territories and on which of its routes are in force, and all three are compared.
//!
//! Because prefixes nest, one pass over a row's routes in preorder, with a stack of open prefixes, finds the longest prefix
//! at every territory number.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::HashSet;
use kernpost_codecs::{Ars, DirectoryVersion, UnixMs};
use smallvec::SmallVec;

use super::principals::Principals;
use super::routes::{Marked, Moved, Routes};
use super::rows::{Rows, Span};
use super::territories::{Successors, Territories};
use super::{EndpointIndex, Table};
use crate::directory::{Directory, VerifiedZone};
use crate::model::{LONGEST_SUCCESSION, RouteEntry};
use crate::prefixes::{ANY, Ordered};

/// Why a verified directory has no table. Only its size can be the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// More than 2^31 rules, 2^32 endpoints or 2^23 jurisdiction prefixes.
    #[error("the directory is too large: a table cannot hold so many {what}; split the directory")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
    },
    /// A rule names an endpoint that no zone lists.
    #[error("zone {zone}, route {rule}: endpoint {endpoint} is not in the directory; add it or drop it from the route")]
    UnknownEndpoint {
        /// Zone of the rule.
        zone: String,
        /// The rule.
        rule: String,
        /// The endpoint.
        endpoint: String,
    },
}

fn too_large(what: &'static str) -> CompileError {
    CompileError::TooLarge { what }
}

/// A route of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Number of its jurisdiction prefix, and whether its validity ends or has yet to begin ([`TIMED`]).
    number: u32,
    /// Its reference.
    pub(super) route: u32,
}

/// Marks an entry that was not in force for ever when its table was compiled.
const TIMED: u32 = 1 << 31;

impl Entry {
    pub(super) fn number(self) -> u32 {
        self.number & !TIMED
    }
}

/// What a row was made of: 8 bytes a route.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    /// Its routes, by jurisdiction prefix in preorder, those with the same by their beginning.
    pub(super) entries: Arc<[Entry]>,
    /// The next instant at which one of them begins or ends.
    changes_at: Option<UnixMs>,
}

impl Table {
    /// A table in which nobody is responsible for anything: what a router holds before its first directory.
    pub fn empty(generation: u64) -> Self {
        Self {
            generation,
            at: UnixMs(0),
            valid_until: None,
            version: DirectoryVersion::of(&[]),
            zones: Vec::new(),
            territories: Arc::default(),
            rows: Rows::new(0),
            sources: vec![Sources::default()],
            routes: Routes::default(),
            principals: Arc::default(),
        }
    }

    /// Compiles `directory` for the instant `at`. `generation` numbers the table; see [`crate::Published`].
    ///
    /// Takes some 0.3 s per million rules; run it off the message path.
    ///
    /// # Errors
    /// Only when the directory exceeds the ranges of a table.
    pub fn compile(directory: &Directory, at: UnixMs, generation: u64) -> Result<Self, CompileError> {
        Self::empty(0).compile_after(directory, at, generation)
    }

    /// As [`Table::compile`], with the same result, but takes over from this table what has not changed: routes of zones
    /// with the same snapshot, and every row in which no route has changed, begun or ended.
    ///
    /// Pays when few zones change. Shares memory with this table; it can be dropped at any time.
    ///
    /// # Errors
    /// Only when the directory exceeds the ranges of a table.
    pub fn compile_after(&self, directory: &Directory, at: UnixMs, generation: u64) -> Result<Self, CompileError> {
        let kept = self.kept_zones(directory);
        let principals = self.principals_after(directory, &kept)?;
        let moved = self.routes.moved(directory.verified().iter().zip(kept.iter().copied()));
        let routes = self.routes_after(directory, &kept, &moved, &principals)?;
        let successors = successors_in_force(directory, at);
        let territories = self.territories_after(directory, &kept, successors)?;
        let changed = Changed {
            gone: self.routes.gone((0..self.zones.len()).filter(|place| !kept.contains(&Some(*place))), &moved),
            came: came(directory, &kept, &moved, &routes).ok_or(too_large("routes"))?,
        };
        // Rows refer to territories by number and were made for an instant: other numbers or an earlier instant, all anew.
        let renumbered = territories.prefixes() != self.territories.prefixes();
        let rows = if renumbered || at < self.at {
            let changed = Changed { gone: changed.gone, came: all(directory, &routes).ok_or(too_large("routes"))? };
            let rows = RowsAfter { before: Rows::new(territories.len()), sources: &[Sources::default()], at };
            rows.make(&changed, &routes, &territories)
        } else {
            let rows = RowsAfter { before: self.rows.clone(), sources: &self.sources, at };
            rows.make(&changed, &routes, &territories)
        };
        let (rows, sources) = rows.ok_or(too_large("service prefixes"))?;
        Ok(Self {
            generation,
            at,
            valid_until: next_change(directory, at, &sources),
            version: directory.version(),
            zones: directory.versions().iter().cloned().zip(directory.zones().map(|zone| zone.not_after)).collect(),
            territories,
            rows,
            sources,
            routes,
            principals,
        })
    }

    /// For each zone of `directory` its place in this table, when that has the very same snapshot.
    fn kept_zones(&self, directory: &Directory) -> Vec<Option<usize>> {
        let place = |version| self.zones.iter().position(|(kept, _)| kept == version);
        // Both are sorted by zone; a table has few hundred zones at most.
        directory.versions().iter().map(place).collect()
    }

    fn principals_after(&self, directory: &Directory, kept: &[Option<usize>]) -> Result<Arc<Principals>, CompileError> {
        let before: Vec<&Arc<VerifiedZone>> = self.routes.zones().collect();
        let mut pairs = directory.verified().iter().zip(kept).zip(&before);
        let alike = |old: &VerifiedZone, new: &VerifiedZone| {
            let (said, says) = (old.snapshot(), new.snapshot());
            said.endpoints == says.endpoints && said.routers == says.routers && old.named() == new.named()
        };
        if directory.verified().len() == before.len()
            && pairs.all(|((new, kept), old)| kept.is_some() || (old.id() == new.id() && alike(old, new)))
        {
            return Ok(self.principals.clone());
        }
        Principals::new(directory).map(Arc::new).ok_or(too_large("endpoints"))
    }

    fn routes_after(
        &self,
        directory: &Directory,
        kept: &[Option<usize>],
        moved: &[Option<(usize, Moved)>],
        principals: &Arc<Principals>,
    ) -> Result<Routes, CompileError> {
        let shared = Arc::ptr_eq(principals, &self.principals);
        let index = |id: &str| principals.endpoint_index(id);
        let same = |zone: &VerifiedZone| {
            shared || zone.named().iter().all(|id| index(id.as_str()) == self.principals.endpoint_index(id.as_str()))
        };
        // Ids of one snapshot are shared, so their address finds most of them.
        let mut known: HashMap<*const u8, EndpointIndex, foldhash::fast::FixedState> = HashMap::default();
        let indexes = |zone: &VerifiedZone, entry: &RouteEntry| {
            let mut endpoints: SmallVec<[EndpointIndex; 4]> = SmallVec::with_capacity(entry.endpoints.len());
            for id in entry.endpoints.iter() {
                let address = id.as_str().as_ptr();
                let found = match known.get(&address) {
                    Some(found) => *found,
                    None => {
                        let unknown = || CompileError::UnknownEndpoint {
                            zone: zone.id().to_string(),
                            rule: entry.rule.to_string(),
                            endpoint: id.to_string(),
                        };
                        let found = index(id.as_str()).ok_or_else(unknown)?;
                        known.insert(address, found);
                        found
                    }
                };
                endpoints.push(found);
            }
            Ok(endpoints)
        };
        let zones = directory.verified().iter().zip(kept.iter().copied());
        self.routes.with_zones(zones, moved, same, indexes)?.ok_or(too_large("routes"))
    }

    /// The numbering before when it has every prefix of the changed zones, else a new one.
    fn territories_after(
        &self,
        directory: &Directory,
        kept: &[Option<usize>],
        successors: Successors,
    ) -> Result<Arc<Territories>, CompileError> {
        let prefixes = |zone: &Arc<VerifiedZone>, into: &mut HashSet<u64>| {
            into.extend(zone.order().iter().map(|route| route.place()));
        };
        let mut named = HashSet::default();
        for (zone, _) in directory.verified().iter().zip(kept).filter(|(_, kept)| kept.is_none()) {
            prefixes(zone, &mut named);
        }
        let known = named.iter().all(|place| self.territories.of_prefix(*place).is_some());
        let territories = if !self.territories.prefixes().is_empty() && known {
            if successors == *self.territories.successors() {
                return Ok(self.territories.clone());
            }
            Territories::new(self.territories.prefixes().iter().copied(), successors)
        } else {
            for zone in directory.verified() {
                prefixes(zone, &mut named);
            }
            Territories::new(named, successors)
        };
        territories.map(Arc::new).ok_or(too_large("jurisdiction prefixes"))
    }
}

/// Routes of changed zones.
struct Changed {
    /// Where those lie that the table before had.
    gone: Marked,
    /// Those that come, by prefixes; each with its reference.
    came: Vec<Ordered>,
}

fn came(
    directory: &Directory,
    kept: &[Option<usize>],
    moved: &[Option<(usize, Moved)>],
    routes: &Routes,
) -> Option<Vec<Ordered>> {
    let zones = directory.verified().iter().zip(moved).enumerate().zip(kept).filter(|(_, kept)| kept.is_none());
    referred(zones.map(|((place, (zone, moved)), _)| (place, zone, moved.as_ref().map(|(_, moved)| moved))), routes)
}

fn all(directory: &Directory, routes: &Routes) -> Option<Vec<Ordered>> {
    referred(directory.verified().iter().enumerate().map(|(place, zone)| (place, zone, None)), routes)
}

/// The routes of these zones, or those of them that came, by prefixes, with their references.
fn referred<'a>(
    zones: impl Iterator<Item = (usize, &'a Arc<VerifiedZone>, Option<&'a Moved>)>,
    routes: &Routes,
) -> Option<Vec<Ordered>> {
    let zones: Vec<_> = zones.collect();
    let mut came = Vec::with_capacity(zones.iter().map(|(_, zone, _)| zone.order().len()).sum());
    for (place, zone, moved) in &zones {
        for route in zone.order() {
            if moved.is_none_or(|moved| moved.came.get(route.route() as usize).copied().unwrap_or(true)) {
                came.push(route.with_route(routes.reference(*place, route.route())?));
            }
        }
    }
    if zones.len() > 1 {
        // Stable: finds the zones' runs and merges them.
        came.sort();
    }
    Some(came)
}

/// The rows of a table in the making.
struct RowsAfter<'a> {
    before: Rows,
    sources: &'a [Sources],
    at: UnixMs,
}

impl RowsAfter<'_> {
    fn make(self, changed: &Changed, routes: &Routes, territories: &Territories) -> Option<(Rows, Vec<Sources>)> {
        let mut came = changed.came.chunk_by(|a, b| a.service() == b.service()).peekable();
        // Each row to be made: its service, its routes before, and those that come.
        let mut remade: Vec<(u64, &[Entry], &[Ordered])> = Vec::new();
        let mut services = Vec::new();
        let any_gone = !changed.gone.is_empty();
        for (service, sources) in self.ascending() {
            // Services that are new here, before this one in order.
            while let Some(group) = came.next_if(|group| first_service(group) < service) {
                services.push(first_service(group));
                remade.push((first_service(group), &[], group));
            }
            let group = came.next_if(|group| first_service(group) == service).unwrap_or_default();
            let began_or_ended = sources.changes_at.is_some_and(|change| change <= self.at);
            let lost = || any_gone && sources.entries.iter().any(|entry| changed.gone.holds(entry.route));
            if !group.is_empty() || began_or_ended || lost() {
                let stays = || sources.entries.iter().any(|entry| !changed.gone.holds(entry.route));
                if group.is_empty() && service != ANY && !stays() {
                    continue;
                }
                remade.push((service, &sources.entries, group));
            }
            services.push(service);
        }
        for group in came {
            services.push(first_service(group));
            remade.push((first_service(group), &[], group));
        }
        let (mut rows, mut sources) = self.with_services(&services)?;
        let (mut spans, mut entries) = (Spans::default(), Vec::new());
        for (service, before, group) in remade {
            merge(&mut entries, before, group, changed, routes, territories)?;
            let changes_at = spans.over(&mut entries, self.at, routes, territories)?;
            rows.fill(service, &spans.done)?;
            *sources.get_mut(rows.place_of(service)?)? = Sources { entries: entries.as_slice().into(), changes_at };
        }
        rows.made();
        Some((rows, sources))
    }

    /// The rows before, by service.
    fn ascending(&self) -> Vec<(u64, &Sources)> {
        let mut rows: Vec<_> = self.before.services().zip(self.sources).filter_map(|(s, c)| Some((s?, c))).collect();
        rows.sort_unstable_by_key(|(service, _)| *service);
        rows
    }

    /// The rows before, for exactly these services.
    fn with_services(&self, services: &[u64]) -> Option<(Rows, Vec<Sources>)> {
        let same = self.before.services().flatten().count() == services.len()
            && services.iter().all(|service| self.before.place_of(*service).is_some());
        if same {
            return Some((self.before.clone(), self.sources.to_vec()));
        }
        let rows = self.before.with_services(services)?;
        let mut sources = vec![Sources::default(); rows.places()];
        for service in services {
            if let Some(before) = self.before.place_of(*service) {
                *sources.get_mut(rows.place_of(*service)?)? = self.sources.get(before)?.clone();
            }
        }
        Some((rows, sources))
    }
}

fn first_service(group: &[Ordered]) -> u64 {
    group.first().map_or(ANY, |route| route.service())
}

/// The routes of a row that stay, and those that come to it, in preorder.
fn merge(
    merged: &mut Vec<Entry>,
    before: &[Entry],
    came: &[Ordered],
    changed: &Changed,
    routes: &Routes,
    territories: &Territories,
) -> Option<()> {
    merged.clear();
    let mut stay = before.iter().filter(|entry| !changed.gone.holds(entry.route)).peekable();
    for route in came {
        let number = territories.of_prefix(route.place())?;
        while let Some(entry) = stay.next_if(|entry| entry.number() <= number) {
            merged.push(*entry);
        }
        // Whether it is timed is seen when the row is made.
        merged.push(Entry { number: number | TIMED, route: route.route() });
    }
    merged.extend(stay);
    let begins = |entry: &Entry| routes.get(entry.route).map(|route| route.entry().valid_from);
    for same in merged.chunk_by_mut(|a, b| a.number() == b.number()).filter(|same| same.len() > 1) {
        same.sort_by_key(begins);
    }
    Some(())
}

/// Where no route begins yet.
const NOBODY: Span = Span { start: 0, route: None };

/// A row being made: its spans so far, and the ranges (last, route) that are open, outermost first.
#[derive(Default)]
struct Spans {
    done: Vec<Span>,
    open: Vec<(u32, u32)>,
}

impl Spans {
    /// Makes the spans of a row; says when one of its routes begins or ends next.
    fn over(
        &mut self,
        entries: &mut [Entry],
        at: UnixMs,
        routes: &Routes,
        territories: &Territories,
    ) -> Option<Option<UnixMs>> {
        self.done.clear();
        self.done.push(NOBODY);
        let mut changes_at: Option<UnixMs> = None;
        for entry in entries {
            if entry.number & TIMED != 0 {
                let rule = routes.get(entry.route)?.entry();
                if let Some(change) = rule.next_change(at) {
                    changes_at = Some(changes_at.map_or(change, |other| other.min(change)));
                } else if rule.in_force(at) {
                    entry.number &= !TIMED;
                }
                if !rule.in_force(at) {
                    continue;
                }
            }
            let first = entry.number();
            self.close_before(u64::from(first));
            self.begin(first, Some(entry.route));
            self.open.push((territories.last(first)?, entry.route));
        }
        self.close_before(u64::MAX);
        Some(changes_at)
    }

    fn begin(&mut self, start: u32, route: Option<u32>) {
        match self.done.last_mut() {
            Some(last) if last.start == start => last.route = route,
            _ => self.done.push(Span { start, route }),
        }
    }

    /// Ends the ranges whose last number lies before `start`; the one around them answers again.
    fn close_before(&mut self, start: u64) {
        while let Some((last, _)) = self.open.last().copied()
            && u64::from(last) < start
        {
            self.open.pop();
            let around = self.open.last().map(|outer| outer.1);
            self.begin(last.saturating_add(1), around);
        }
    }
}

/// Each ARS that ended with the one at the end of its chain; verification has bounded their length.
fn successors_in_force(directory: &Directory, at: UnixMs) -> Successors {
    let stated: HashMap<Ars, Ars> = directory
        .zones()
        .flat_map(|zone| &zone.successors)
        .filter(|successor| successor.from <= at)
        .map(|successor| (successor.old, successor.new))
        .collect();
    let end = |mut ars: Ars| {
        for _ in 0..LONGEST_SUCCESSION {
            match stated.get(&ars) {
                Some(next) => ars = *next,
                None => break,
            }
        }
        ars
    };
    stated.iter().map(|(old, new)| (*old, end(*new))).collect()
}

/// The next instant after `at` at which a rule or a succession begins or ends.
fn next_change(directory: &Directory, at: UnixMs, rows: &[Sources]) -> Option<UnixMs> {
    let successions = directory.zones().flat_map(|zone| &zone.successors).map(|successor| successor.from);
    rows.iter().filter_map(|row| row.changes_at).chain(successions).filter(|change| *change > at).min()
}
