//! How does a verified directory become a table for an instant?
//!
//! Rules are sorted by prefixes; those in force become the spans of one row per service prefix. Because prefixes nest,
//! one pass with a stack of open prefixes finds the longest prefix at every territory number.

use std::collections::HashMap;
use std::sync::Arc;

use kernpost_codecs::{Ars, DirectoryVersion, UnixMs};
use smallvec::SmallVec;

use super::principals::Principals;
use super::rows::{Rows, Span};
use super::territories::Territories;
use super::{EndpointIndex, Route, Table};
use crate::directory::Directory;
use crate::model::LONGEST_SUCCESSION;

/// Why a verified directory has no table. Only its size can be the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// More than 2^32 rules, endpoints, prefixes or lines.
    #[error("the directory is too large: a table holds fewer than 4294967295 {what}; split the directory")]
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

impl Table {
    /// A table in which nobody is responsible for anything: what a router holds before its first directory.
    pub fn empty(generation: u64) -> Self {
        Self {
            generation,
            at: UnixMs(0),
            valid_until: None,
            version: DirectoryVersion::of(&[]),
            zones: Vec::new(),
            territories: Territories::default(),
            rows: Rows::default(),
            routes: Vec::new(),
            principals: Principals::default(),
        }
    }

    /// Compiles `directory` for the instant `at`. `generation` numbers the table; see [`crate::Published`].
    ///
    /// Takes about a second per million rules; run it off the message path.
    ///
    /// # Errors
    /// Only when the directory exceeds the ranges of a table.
    pub fn compile(directory: &Directory, at: UnixMs, generation: u64) -> Result<Self, CompileError> {
        let principals = Principals::new(directory).ok_or(too_large("endpoints"))?;
        let mut routes = collect_routes(directory, &principals)?;
        routes.sort_unstable_by_key(order);
        if u32::try_from(routes.len()).is_err() {
            return Err(too_large("rules"));
        }
        let successors = successors_in_force(directory, at);
        let territories = Territories::new(routes.iter().map(|r| r.jurisdiction), &successors)
            .ok_or(too_large("jurisdiction prefixes"))?;
        let rows = build_rows(&routes, &territories, at).ok_or(too_large("service prefixes or spans"))?;
        Ok(Self {
            generation,
            at,
            valid_until: next_change(directory, at),
            version: directory.version(),
            zones: directory.versions().iter().cloned().zip(directory.zones().map(|zone| zone.not_after)).collect(),
            territories,
            rows,
            routes,
            principals,
        })
    }
}

/// Rules with the same prefixes lie together, the earliest first; preorder on both hierarchies.
fn order(route: &Route) -> impl Ord + use<> {
    let (service, jurisdiction) = (route.service, route.jurisdiction);
    (service.as_u64(), jurisdiction.as_u64(), jurisdiction.level(), route.valid_from)
}

fn collect_routes(directory: &Directory, principals: &Principals) -> Result<Vec<Route>, CompileError> {
    let mut routes = Vec::with_capacity(directory.zones().map(|zone| zone.routes.len()).sum());
    for zone in directory.zones() {
        for entry in &zone.routes {
            let mut endpoints: SmallVec<[EndpointIndex; 4]> = SmallVec::with_capacity(entry.endpoints.len());
            for id in &entry.endpoints {
                let unknown = || CompileError::UnknownEndpoint {
                    zone: zone.zone.to_string(),
                    rule: entry.rule.clone(),
                    endpoint: id.to_string(),
                };
                endpoints.push(principals.endpoint_index(id.as_str()).ok_or_else(unknown)?);
            }
            routes.push(Route {
                endpoints,
                service: entry.scope.service,
                jurisdiction: entry.scope.jurisdiction,
                min_assurance: entry.min_assurance,
                encryption_required: entry.encryption_required,
                rule: Arc::from(entry.rule.as_str()),
                zone: zone.zone.clone(),
                valid_from: entry.valid_from,
                valid_until: entry.valid_until,
            });
        }
    }
    Ok(routes)
}

/// (old, new) with chains followed to their end; verification has bounded their length.
fn successors_in_force(directory: &Directory, at: UnixMs) -> Vec<(Ars, Ars)> {
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
fn next_change(directory: &Directory, at: UnixMs) -> Option<UnixMs> {
    let rules = directory.zones().flat_map(|zone| &zone.routes);
    let rules = rules.flat_map(|rule| [Some(rule.valid_from), rule.valid_until]).flatten();
    let successions = directory.zones().flat_map(|zone| &zone.successors).map(|successor| successor.from);
    rules.chain(successions).filter(|change| *change > at).min()
}

/// One row per service prefix, over the rules in force.
fn build_rows(routes: &[Route], territories: &Territories, at: UnixMs) -> Option<Rows> {
    let groups = || routes.chunk_by(|a, b| a.service == b.service);
    let fits = |count: usize| count < usize::from(u16::MAX);
    // One more number than there are territories may begin a span: the one after the last.
    let narrow = fits(territories.len().saturating_add(1)) && groups().all(|group| fits(group.len()));
    let mut rows = Rows::new(routes.iter().map(|route| route.service), !narrow)?;
    let mut first = 0u32;
    for group in groups() {
        let mut in_force = Vec::new();
        for (place, route) in (first..).zip(group) {
            if route.in_force(at) {
                let (start, last) = territories.range(route.jurisdiction)?;
                in_force.push((start, last, place));
            }
        }
        rows.fill(group.first()?.service, &spans(&in_force), first)?;
        first = first.checked_add(u32::try_from(group.len()).ok()?)?;
    }
    Some(rows)
}

/// Where no route begins yet.
const NOBODY: Span = Span { start: 0, route: None };

/// Turns nested ranges (first, last, route), in preorder, into the spans of a row.
fn spans(ranges: &[(u32, u32, u32)]) -> Vec<Span> {
    let mut row = Spans { done: vec![NOBODY], open: Vec::new() };
    for (first, last, route) in ranges {
        row.close_before(u64::from(*first));
        row.begin(*first, Some(*route));
        row.open.push((*last, *route));
    }
    row.close_before(u64::MAX);
    row.done
}

/// A row being built: its spans so far, and the ranges (last, route) that are open, outermost first.
struct Spans {
    done: Vec<Span>,
    open: Vec<(u32, u32)>,
}

impl Spans {
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
