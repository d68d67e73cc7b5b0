//! Do routes, acceptances and successors fit together? (DIRECTORY 7 to 9)
//!
//! After this check no two rules with the same prefixes are in force at once, so a lookup never ties.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use kernpost_codecs::{Ars, ServicePrefix, UnixMs, ZoneId};

use super::Zone;
use super::fault::{DirectoryFault, Findings};
use super::tree::within;
use crate::model::{Acceptance, LONGEST_SUCCESSION, RouteEntry, Scope, Successor};

/// Longest name of a rule, in characters.
const LONGEST_RULE: usize = 64;

/// Checks the routes of all zones against each other.
pub(super) fn check(zones: &[Zone<'_>], findings: &mut Findings) {
    let all: Vec<usize> = (0..zones.len()).collect();
    check_entries_of(zones, &all, findings);
    check_overlaps(zones, findings);
    check_successors(zones, findings);
}

/// Checks the routes and acceptances of the zones at these places, without overlaps.
pub(super) fn check_entries_of(zones: &[Zone<'_>], places: &[usize], findings: &mut Findings) {
    let known = Known::new(zones);
    for zone in places.iter().filter_map(|place| zones.get(*place)) {
        check_names(zone, findings);
        for route in &zone.snapshot.routes {
            check_route(zone, route, findings);
            check_endpoints(zone, route, &known, findings);
        }
        check_acceptances(zone, &known, findings);
    }
}

/// What can be said about one zone's routes without the others.
pub(super) fn check_alone(zones: &[Zone<'_>], findings: &mut Findings) {
    let known = Known::new(zones);
    for zone in zones {
        check_names(zone, findings);
        for route in &zone.snapshot.routes {
            check_route(zone, route, findings);
            for endpoint in route.endpoints.iter().filter(|id| id.zone() == zone.snapshot.zone.as_str()) {
                if !known.endpoints.contains(endpoint.as_str()) {
                    let fault = DirectoryFault::UnknownEndpoint { endpoint: endpoint.to_string() };
                    findings.add(Some(&zone.snapshot.zone), entry_of(route), fault);
                }
            }
        }
        check_acceptances(zone, &known, findings);
    }
    check_overlaps(zones, findings);
    check_successors(zones, findings);
}

/// Endpoints and acceptances of the whole directory.
struct Known<'a> {
    endpoints: HashSet<&'a str>,
    /// By endpoint and the zone that may name it.
    acceptances: HashMap<(&'a str, &'a str), Vec<&'a Acceptance>>,
}

impl<'a> Known<'a> {
    fn new(zones: &[Zone<'a>]) -> Self {
        let endpoints = zones.iter().flat_map(|zone| &zone.snapshot.endpoints).map(|entry| entry.id.as_str()).collect();
        let mut acceptances: HashMap<_, Vec<_>> = HashMap::new();
        for zone in zones {
            for acceptance in &zone.snapshot.acceptances {
                // Only the endpoint's own zone can accept for it; others are refused below and count for nothing.
                if acceptance.endpoint.zone() == zone.snapshot.zone.as_str() {
                    let key = (acceptance.endpoint.as_str(), acceptance.zone.as_str());
                    acceptances.entry(key).or_default().push(acceptance);
                }
            }
        }
        Self { endpoints, acceptances }
    }
}

fn entry_of(route: &RouteEntry) -> String {
    format!("route {}", route.rule)
}

fn check_names(zone: &Zone<'_>, findings: &mut Findings) {
    let mut seen = HashSet::with_capacity(zone.snapshot.routes.len());
    for route in &zone.snapshot.routes {
        let visible = route.rule.chars().all(|c| c.is_ascii_graphic());
        if !visible || !(1..=LONGEST_RULE).contains(&route.rule.len()) {
            findings.add(Some(&zone.snapshot.zone), entry_of(route), DirectoryFault::RuleName);
        }
        if !seen.insert(route.rule.as_str()) {
            findings.add(Some(&zone.snapshot.zone), entry_of(route), DirectoryFault::RuleTwice);
        }
    }
}

fn check_route(zone: &Zone<'_>, route: &RouteEntry, findings: &mut Findings) {
    let mut add = |fault| findings.add(Some(&zone.snapshot.zone), entry_of(route), fault);
    if !within(&route.scope, zone.scopes) {
        add(DirectoryFault::OutsideDelegation { scope: route.scope, zone: zone.snapshot.zone.clone() });
    }
    if route.valid_until.is_some_and(|end| end <= route.valid_from) {
        add(DirectoryFault::RouteDates);
    }
    if route.endpoints.is_empty() {
        add(DirectoryFault::NoEndpoint);
    }
    for (place, endpoint) in route.endpoints.iter().enumerate() {
        if route.endpoints.iter().take(place).any(|before| before == endpoint) {
            add(DirectoryFault::EndpointTwice { endpoint: endpoint.to_string() });
        }
    }
}

fn check_endpoints(zone: &Zone<'_>, route: &RouteEntry, known: &Known<'_>, findings: &mut Findings) {
    let own = zone.snapshot.zone.as_str();
    for endpoint in route.endpoints.iter() {
        let fault = if !known.endpoints.contains(endpoint.as_str()) {
            DirectoryFault::UnknownEndpoint { endpoint: endpoint.to_string() }
        } else if endpoint.zone() != own && !accepted(own, route, endpoint.as_str(), known) {
            DirectoryFault::NotAccepted { endpoint: endpoint.to_string(), zone: endpoint.zone().to_owned() }
        } else {
            continue;
        };
        findings.add(Some(&zone.snapshot.zone), entry_of(route), fault);
    }
}

fn accepted(zone: &str, route: &RouteEntry, endpoint: &str, known: &Known<'_>) -> bool {
    let acceptances = known.acceptances.get(&(endpoint, zone));
    acceptances.is_some_and(|all| all.iter().any(|acceptance| acceptance.scope.contains(&route.scope)))
}

fn check_acceptances(zone: &Zone<'_>, known: &Known<'_>, findings: &mut Findings) {
    for acceptance in &zone.snapshot.acceptances {
        let endpoint = acceptance.endpoint.to_string();
        let fault = if acceptance.endpoint.zone() != zone.snapshot.zone.as_str() {
            DirectoryFault::AcceptanceElsewhere { endpoint }
        } else if !known.endpoints.contains(endpoint.as_str()) {
            DirectoryFault::UnknownEndpoint { endpoint }
        } else {
            continue;
        };
        let entry = format!("acceptance of zone {} for {}", acceptance.zone, acceptance.scope);
        findings.add(Some(&zone.snapshot.zone), entry, fault);
    }
}

/// Two rules with the same prefixes may not be in force at once, whichever zones state them.
fn check_overlaps(zones: &[Zone<'_>], findings: &mut Findings) {
    let routes = zones.iter().flat_map(|zone| zone.snapshot.routes.iter().map(|route| (&zone.snapshot.zone, route)));
    let mut routes: Vec<(&ZoneId, &RouteEntry)> = routes.collect();
    routes.sort_unstable_by_key(|(zone, route)| (prefixes(&route.scope), route.valid_from, *zone, route.rule.as_str()));
    for same in routes.chunk_by(|a, b| a.1.scope == b.1.scope) {
        // The rule that ends last among those before: any overlap shows against it.
        let mut longest: Option<(&ZoneId, &RouteEntry)> = None;
        for (zone, route) in same {
            if let Some((other_zone, other)) = longest
                && other.valid_until.is_none_or(|end| route.valid_from < end)
            {
                let (other, zone_of_other) = (other.rule.to_string(), other_zone.clone());
                let fault = DirectoryFault::Overlap { scope: route.scope, other, zone: zone_of_other };
                findings.add(Some(zone), entry_of(route), fault);
            }
            let end = |route: &RouteEntry| route.valid_until.unwrap_or(UnixMs(u64::MAX));
            if longest.is_none_or(|(_, other)| end(other) < end(route)) {
                longest = Some((zone, route));
            }
        }
    }
}

fn prefixes(scope: &Scope) -> impl Ord + use<> {
    (scope.service.as_u64(), scope.jurisdiction.as_u64(), scope.jurisdiction.level())
}

pub(super) fn check_successors(zones: &[Zone<'_>], findings: &mut Findings) {
    let mut stated: BTreeMap<Ars, (&ZoneId, &Successor)> = BTreeMap::new();
    for zone in zones {
        for successor in &zone.snapshot.successors {
            let mut add = |fault| {
                findings.add(Some(&zone.snapshot.zone), format!("successor of {}", successor.old), fault);
            };
            if successor.old == Ars::FEDERAL || successor.new == Ars::FEDERAL {
                add(DirectoryFault::FederalSuccession);
            }
            for ars in [successor.old, successor.new] {
                let whole = Scope { service: ServicePrefix::ANY, jurisdiction: ars.into() };
                if !within(&whole, zone.scopes) {
                    add(DirectoryFault::SuccessionOutside { ars });
                }
            }
            if let Some((other, _)) = stated.insert(successor.old, (&zone.snapshot.zone, successor)) {
                add(DirectoryFault::SuccessorTwice { old: successor.old, zone: other.clone() });
            }
        }
    }
    check_circles(&stated, findings);
}

/// Every succession has to end, within [`LONGEST_SUCCESSION`] steps.
fn check_circles(stated: &BTreeMap<Ars, (&ZoneId, &Successor)>, findings: &mut Findings) {
    for (old, (zone, successor)) in stated {
        let mut ars = successor.new;
        let ends = (0..LONGEST_SUCCESSION).any(|_| match stated.get(&ars) {
            Some((_, next)) => {
                ars = next.new;
                false
            }
            None => true,
        });
        if !ends {
            findings.add(Some(zone), format!("successor of {old}"), DirectoryFault::SuccessorCircle { old: *old });
        }
    }
}
