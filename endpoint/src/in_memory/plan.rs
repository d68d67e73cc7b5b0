//! Who is on an in-memory network, and what does its directory say? Zones, keys and signatures from a few names.
//!
//! The root zone is [`ROOT`]; every zone that an endpoint id names is delegated everything below it. All of it is signed
//! by two maintainers and verified as a router does it, so a directory that production refuses does not start here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::key::{Algorithm, KeyError, SigningKey};
use kernpost_codecs::{Assurance, EndpointId, LinkIdentity, RouterId, UnixMs, ZoneId};
use kernpost_routing_table::model::{
    Acceptance, Budgets, Delegation, EndpointEntry, Grant, KeyEntry, Maintainers, RouteEntry, RouterEntry, Scope,
    VERIFY_MARGIN_MS,
};
use kernpost_routing_table::{Directory, SerialFloor, Table, TrustAnchor, ZoneSnapshot, snapshot};

use super::{CannotStart, InMemory};
use crate::client::now;
use crate::core::Limits;

/// The zone of the router.
const ROOT: &str = "memory";
/// The router.
const ROUTER: &str = "memory/router/r";
const DAY_MS: u64 = 86_400_000;

type Edit = Box<dyn FnOnce(&mut ZoneSnapshot)>;

/// Describes a network. Mistakes show at [`Builder::start`], all at once.
#[derive(Default)]
pub struct Builder {
    links: Vec<Vec<String>>,
    routes: Vec<(String, String, Vec<String>)>,
    edits: Vec<(String, Edit)>,
    limits: Limits,
    algorithms: Vec<(String, Vec<Algorithm>)>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("links", &self.links).field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl Builder {
    /// Adds an endpoint with a client of its own. It may send to every route key, up to the level of assurance *high*.
    #[must_use]
    pub fn endpoint(self, id: &str) -> Self {
        self.link(&[id])
    }

    /// Adds several endpoints on one link, as an IT provider attaches them: one client holds them all.
    #[must_use]
    pub fn link(mut self, ids: &[&str]) -> Self {
        self.links.push(ids.iter().map(|id| (*id).to_owned()).collect());
        self
    }

    /// Makes endpoints responsible, the preferred first: for services below a prefix (`99` for all) in territories below
    /// a prefix (2, 3, 5, 9 or 12 digits of an ARS, `*` for all). The rules are called `route-1`, `route-2` and so on.
    #[must_use]
    pub fn route(mut self, service: &str, jurisdiction: &str, endpoints: &[&str]) -> Self {
        let endpoints = endpoints.iter().map(|id| (*id).to_owned()).collect();
        self.routes.push((service.to_owned(), jurisdiction.to_owned(), endpoints));
        self
    }

    /// Changes what a zone says before it is signed: grants, least assurance, validity, keys.
    #[must_use]
    pub fn edit(mut self, zone: &str, change: impl FnOnce(&mut ZoneSnapshot) + 'static) -> Self {
        self.edits.push((zone.to_owned(), Box::new(change)));
        self
    }

    /// Has an endpoint sign with these algorithms, one key each, and its entry require all of them: one, or two as in
    /// [`Algorithm::HYBRID`]. Unless said, an endpoint has one ESP256 key.
    #[must_use]
    pub fn algorithms(mut self, id: &str, algorithms: &[Algorithm]) -> Self {
        self.algorithms.push((id.to_owned(), algorithms.to_vec()));
        self
    }

    /// Sets the bounds of every client.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Makes the keys, signs and verifies the directory, attaches everybody and runs until the last handle is dropped.
    ///
    /// # Errors
    /// Everything that is wrong: ids and prefixes that do not parse, a directory that a router would refuse.
    pub fn start(self) -> Result<InMemory, CannotStart> {
        InMemory::start(Plan::of(self)?)
    }
}

/// A builder's content, parsed, with keys.
pub(super) struct Plan {
    pub links: Vec<Vec<EndpointId>>,
    pub limits: Limits,
    pub router: RouterId,
    pub keys: BTreeMap<EndpointId, Vec<SigningKey>>,
    zones: BTreeMap<ZoneId, ZoneSnapshot>,
    maintainers: [SigningKey; 2],
    at: UnixMs,
}

/// A signed directory that verified.
pub(super) struct World {
    pub table: Arc<Table>,
    pub directory: Directory,
    pub anchor: TrustAnchor,
}

/// The link identity of the client at this place.
pub(super) fn identity(place: usize) -> LinkIdentity {
    LinkIdentity::Uri(format!("spiffe://kernpost.memory/link/{place}"))
}

impl Plan {
    fn of(builder: Builder) -> Result<Self, CannotStart> {
        let mut problems = Problems::default();
        let links: Vec<Vec<EndpointId>> = builder.links.iter().map(|ids| problems.all(ids)).collect();
        let routes: Vec<(Scope, Vec<EndpointId>)> = builder
            .routes
            .iter()
            .filter_map(|(service, jurisdiction, endpoints)| {
                let scope = problems.one(service).zip(problems.one(jurisdiction));
                let endpoints = problems.all(endpoints);
                scope.map(|(service, jurisdiction)| (Scope { service, jurisdiction }, endpoints))
            })
            .collect();
        let root = problems.one::<ZoneId>(ROOT).zip(problems.one::<RouterId>(ROUTER));
        let edits: Vec<(Option<ZoneId>, Edit)> =
            builder.edits.into_iter().map(|(zone, edit)| (problems.one(&zone), edit)).collect();
        let algorithms = problems.algorithms(builder.algorithms, &links);
        let Some((root, router)) = root.filter(|_| problems.0.is_empty()) else { return Err(problems.end()) };

        let mut plan = Self::empty(links, builder.limits, &root, router).map_err(|error| problems.key(&error))?;
        for (place, ids) in plan.links.clone().iter().enumerate() {
            for id in ids {
                plan.add_endpoint(id, place, algorithms.get(id)).map_err(|error| problems.key(&error))?;
            }
        }
        for (number, (scope, endpoints)) in routes.into_iter().enumerate() {
            plan.add_route(format!("route-{}", number.saturating_add(1)), scope, endpoints, &root);
        }
        for (zone, edit) in edits {
            match zone.and_then(|zone| plan.zones.get_mut(&zone)) {
                Some(zone) => edit(zone),
                None => problems.0.push("an edit names a zone that no endpoint is in".to_owned()),
            }
        }
        plan.delegate(&root);
        if problems.0.is_empty() { Ok(plan) } else { Err(problems.end()) }
    }

    fn empty(links: Vec<Vec<EndpointId>>, limits: Limits, root: &ZoneId, router: RouterId) -> Result<Self, KeyError> {
        let maintainers = [SigningKey::generate(Algorithm::Ed25519)?, SigningKey::generate(Algorithm::Ed25519)?];
        let mut plan =
            Self { links, limits, router, keys: BTreeMap::new(), zones: BTreeMap::new(), maintainers, at: now() };
        let entry = RouterEntry {
            id: plan.router.clone(),
            identities: vec![LinkIdentity::Uri("spiffe://kernpost.memory/router".to_owned())],
            addresses: Vec::new(),
            keys: Vec::new(),
            lost: false,
        };
        plan.zone(root).routers.push(entry);
        Ok(plan)
    }

    fn zone(&mut self, zone: &ZoneId) -> &mut ZoneSnapshot {
        let (from, until) = (self.at.minus_ms(DAY_MS), self.at.plus_ms(30 * DAY_MS));
        self.zones.entry(zone.clone()).or_insert_with(|| ZoneSnapshot::empty(zone.clone(), 1, from, until))
    }

    fn add_endpoint(
        &mut self,
        id: &EndpointId,
        place: usize,
        algorithms: Option<&Vec<Algorithm>>,
    ) -> Result<(), KeyError> {
        let chosen = algorithms.map_or(&[Algorithm::Esp256][..], Vec::as_slice);
        let keys = chosen.iter().map(|algorithm| SigningKey::generate(*algorithm)).collect::<Result<Vec<_>, _>>()?;
        let sign_until = self.at.plus_ms(365 * DAY_MS);
        let listed = |key: &SigningKey| KeyEntry {
            key: key.public().clone(),
            not_before: self.at.minus_ms(DAY_MS),
            sign_until,
            verify_until: sign_until.plus_ms(VERIFY_MARGIN_MS),
            revoked: false,
        };
        let entry = EndpointEntry {
            id: id.clone(),
            keys: keys.iter().map(listed).collect(),
            required_algorithms: algorithms.cloned().unwrap_or_default(),
            encryption_keys: Vec::new(),
            identities: vec![identity(place)],
            grants: vec![Grant { scope: Scope::EVERYTHING, max_assurance: Some(Assurance::High) }],
            reply_grant: None,
            budgets: Budgets::default(),
        };
        if let Some(zone) = zone_of(id) {
            self.zone(&zone).endpoints.push(entry);
        }
        self.keys.insert(id.clone(), keys);
        Ok(())
    }

    /// A rule in the zone of its first endpoint; the zones of the others accept it.
    fn add_route(&mut self, rule: String, scope: Scope, endpoints: Vec<EndpointId>, root: &ZoneId) {
        let home = endpoints.first().and_then(zone_of).unwrap_or_else(|| root.clone());
        for endpoint in &endpoints {
            if let Some(zone) = zone_of(endpoint).filter(|zone| *zone != home) {
                let acceptance = Acceptance { zone: home.clone(), scope, endpoint: endpoint.clone() };
                self.zone(&zone).acceptances.push(acceptance);
            }
        }
        let valid_from = self.at.minus_ms(DAY_MS);
        self.zone(&home).routes.push(RouteEntry {
            rule: rule.into(),
            scope,
            valid_from,
            valid_until: None,
            endpoints: endpoints.into(),
            min_assurance: None,
            encryption_required: false,
        });
    }

    fn delegate(&mut self, root: &ZoneId) {
        let below: Vec<ZoneId> = self.zones.keys().filter(|zone| *zone != root).cloned().collect();
        let maintainers = self.maintainers();
        let delegation = |zone| Delegation { zone, scopes: vec![Scope::EVERYTHING], maintainers: maintainers.clone() };
        let delegations: Vec<Delegation> = below.into_iter().map(delegation).collect();
        self.zone(root).delegations = delegations;
    }

    fn maintainers(&self) -> Maintainers {
        Maintainers { keys: self.maintainers.iter().map(|key| key.public().clone()).collect(), threshold: 2 }
    }

    /// Signs every zone, verifies the directory and compiles it.
    pub(super) fn sign(&self) -> Result<World, CannotStart> {
        let one = |problem: String| CannotStart { problems: vec![problem] };
        let [first, second] = &self.maintainers;
        let signed: Result<Vec<Bytes>, _> =
            self.zones.values().map(|zone| snapshot::sign(zone, &[first, second])).collect();
        let signed = signed.map_err(|error| one(error.to_string()))?;
        let root_zone = ROOT.parse::<ZoneId>().map_err(|error| one(error.to_string()))?;
        let anchor = TrustAnchor { root_zone, maintainers: self.maintainers(), minimum_serial: 1 };
        let directory = Directory::verify(&anchor, &signed, &SerialFloor::new(), self.at)
            .map_err(|errors| CannotStart { problems: errors.iter().map(ToString::to_string).collect() })?;
        let table = Table::compile(&directory, self.at, 1).map_err(|error| one(error.to_string()))?;
        let repeated = self.repeated();
        if repeated.is_empty() {
            Ok(World { table: Arc::new(table), directory, anchor })
        } else {
            Err(CannotStart { problems: repeated })
        }
    }

    /// Endpoints that were added twice: the second key would be lost silently.
    fn repeated(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let ids = self.links.iter().flatten().filter(|id| !seen.insert((*id).clone()));
        ids.map(|id| format!("endpoint {id} was added twice")).collect()
    }
}

fn zone_of(id: &EndpointId) -> Option<ZoneId> {
    id.zone().parse().ok()
}

/// What does not parse.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn one<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, text: &str) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.0.push(format!("{text:?}: {error}"))).ok()
    }

    fn all<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, texts: &[String]) -> Vec<T> {
        texts.iter().filter_map(|text| self.one(text)).collect()
    }

    /// Whose algorithms were chosen; an endpoint that nobody added is a problem.
    fn algorithms(
        &mut self,
        chosen: Vec<(String, Vec<Algorithm>)>,
        links: &[Vec<EndpointId>],
    ) -> BTreeMap<EndpointId, Vec<Algorithm>> {
        let mut parsed = BTreeMap::new();
        for (text, algorithms) in chosen {
            let Some(id) = self.one::<EndpointId>(&text) else { continue };
            if !links.iter().flatten().any(|known| *known == id) {
                self.0.push(format!("algorithms were chosen for {id}, which is no endpoint of this network"));
            } else if parsed.insert(id.clone(), algorithms).is_some() {
                self.0.push(format!("algorithms were chosen twice for {id}"));
            }
        }
        parsed
    }

    fn key(&mut self, error: &KeyError) -> CannotStart {
        self.0.push(format!("keys: {error}"));
        CannotStart { problems: std::mem::take(&mut self.0) }
    }

    fn end(self) -> CannotStart {
        CannotStart { problems: self.0 }
    }
}
