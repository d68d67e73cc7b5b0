//! What does a very large directory look like? A synthetic one with a stated seed and shape, for benchmarks and tests.
//!
//! Same seed and shape, same route keys and rules (signing keys are fresh every time). The shape follows the real
//! lists: a service catalogue of objects, activities and details, municipalities in Länder, Kreise and Verbände.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use kernpost_codecs::key::{Algorithm, KeyError, SigningKey};
use kernpost_codecs::{
    Ars, EndpointId, JurisdictionLevel, JurisdictionPrefix, ServiceKey, ServiceLevel, ServicePrefix, UnixMs,
};

use crate::directory::{Directory, DirectoryErrors};
use crate::floor::SerialFloor;
use crate::model::{
    Budgets, DEFAULT_THRESHOLD, Delegation, EndpointEntry, KeyEntry, Maintainers, RouteEntry, Scope, TrustAnchor,
    VERIFY_MARGIN_MS, ZoneSnapshot,
};
use crate::snapshot::{self, SnapshotError};

/// Shape of a generated directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Seed of every random choice.
    pub seed: u64,
    /// Rules, all in force, all with different prefixes.
    pub routes: usize,
    /// Service keys in the catalogue: 38 % objects, 42 % activities, 20 % details, as in the real one.
    pub services: usize,
    /// Municipalities, in 16 Länder and about 27 to a Kreis.
    pub municipalities: usize,
    /// Endpoints, each with a signing key.
    pub endpoints: usize,
    /// Zones: the root, and others to which it delegates about equally many municipalities each, Kreis by Kreis. A rule
    /// belongs to the zone of its Kreis; those for *any*, a Land or a Bezirk belong to the root. Endpoints are spread
    /// evenly, and a rule names one of its own zone.
    pub zones: usize,
}

impl Shape {
    /// One million rules over a catalogue and municipalities of the real size: the shape of the `lookup` bar.
    ///
    /// Service prefixes: 1 % any, 4 % group, 15 % object, 60 % activity, 20 % detail of a random catalogue key.
    /// Jurisdiction prefixes: 1 % any, 4 % Land, 5 % Bezirk, 30 % Kreis, 10 % Verband, 50 % Gemeinde of a random
    /// municipality. One catch-all rule (any service) for each Land.
    pub const MILLION: Self = Self {
        seed: 0x006b_6572_6e70_6f73,
        routes: 1_000_000,
        services: 4_813,
        municipalities: 10_952,
        endpoints: 1_000,
        zones: 1,
    };

    /// One million rules in 46 zones: about 20,000 in each of the 45 that the root delegates to.
    pub const MILLION_IN_ZONES: Self = Self { zones: 46, ..Self::MILLION };

    /// Six million rules over the same catalogue and municipalities. Short prefixes run out, so rules for single
    /// municipalities are more than half of them.
    pub const SIX_MILLION: Self = Self { routes: 6_000_000, ..Self::MILLION_IN_ZONES };
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, routes, services, municipalities, endpoints, zones } = self;
        write!(f, "seed {seed:#x}, {routes} routes, {services} services, {municipalities} municipalities, ")?;
        write!(f, "{endpoints} endpoints, {zones} zones")
    }
}

/// Generated zones and what they were drawn from.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The zones, the root first; its delegations are added when they are signed.
    pub zones: Vec<ZoneSnapshot>,
    /// What the root delegates to each zone after it.
    scopes: Vec<Vec<Scope>>,
    /// The catalogue.
    pub services: Vec<ServiceKey>,
    /// The municipalities.
    pub municipalities: Vec<Ars>,
}

/// Why a generated directory could not be signed and verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The zone could not be signed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The directory is refused.
    #[error(transparent)]
    Directory(#[from] DirectoryErrors),
    /// An id or number of the generator is out of range: the shape is too large.
    #[error("shape: {0}")]
    Shape(String),
}

/// The instant generated directories begin at: 2026-01-01T00:00:00Z.
pub const BEGIN: UnixMs = UnixMs(1_767_225_600_000);
/// The instant they end at: ten years later.
pub const END: UnixMs = UnixMs(BEGIN.0 + 10 * 365 * 86_400_000);

/// SplitMix64: small, fast, repeatable. Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in 0..`below`; 0 when `below` is 0.
    pub fn below(&mut self, below: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(below);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(usize::try_from(self.below(items.len() as u64)).ok()?)
    }

    /// An item of a table of (percent, item); the last one takes the rest.
    fn weighted<T: Copy>(&mut self, table: &[(u64, T)]) -> Option<T> {
        let mut left = self.below(100);
        for (percent, item) in table {
            if left < *percent {
                return Some(*item);
            }
            left -= percent;
        }
        table.last().map(|(_, item)| *item)
    }
}

/// How specific a generated rule's service prefix is, in percent.
const SERVICE_MIX: [(u64, ServiceLevel); 5] = [
    (1, ServiceLevel::Any),
    (4, ServiceLevel::Group),
    (15, ServiceLevel::Object),
    (60, ServiceLevel::Activity),
    (20, ServiceLevel::Detail),
];
/// How long a generated rule's jurisdiction prefix is, in percent.
const PLACE_MIX: [(u64, JurisdictionLevel); 6] = [
    (1, JurisdictionLevel::Any),
    (4, JurisdictionLevel::Land),
    (5, JurisdictionLevel::Bezirk),
    (30, JurisdictionLevel::Kreis),
    (10, JurisdictionLevel::Verband),
    (50, JurisdictionLevel::Gemeinde),
];
/// How specific a catalogue key is, in percent.
const CATALOGUE_MIX: [(u64, u32); 3] = [(38, 2), (42, 3), (20, 4)];

impl Shape {
    /// Generates the zone.
    ///
    /// # Errors
    /// When the shape asks for more different rules or keys than there are.
    pub fn generate(&self) -> Result<Generated, GenerateError> {
        let mut random = Random::new(self.seed);
        let shape = |error: &dyn std::fmt::Display| GenerateError::Shape(error.to_string());
        let services = catalogue(&mut random, self.services)?;
        let municipalities = municipalities(&mut random, self.municipalities)?;
        let (homes, scopes) = homes(&municipalities, self.zones.saturating_sub(1));
        let mut zones = Vec::new();
        for number in 0..self.zones.max(1) {
            let id = if number == 0 { "de".to_owned() } else { format!("z{number}") };
            zones.push(ZoneSnapshot::empty(id.parse().map_err(|error| shape(&error))?, 1, BEGIN, END));
        }
        for (number, zone) in (0..self.endpoints).zip((0..zones.len()).cycle()) {
            let Some(zone) = zones.get_mut(zone) else { continue };
            let id = format!("{}/authority-{number}", zone.zone).parse().map_err(|error| shape(&error))?;
            zone.endpoints.push(endpoint(id)?);
        }
        let ids = |zone: &ZoneSnapshot| zone.endpoints.iter().map(|entry| entry.id.clone()).collect();
        let ids: Vec<Vec<EndpointId>> = zones.iter().map(ids).collect();
        let mut seen: HashSet<Scope> = HashSet::with_capacity(self.routes);
        let mut tries = 0usize;
        while seen.len() < self.routes {
            let scope = match u32::try_from(seen.len().saturating_add(1)) {
                Ok(land @ 1..=16) => Scope { service: ServicePrefix::ANY, jurisdiction: land_prefix(land)? },
                _ => random_scope(&mut random, &services, &municipalities)
                    .ok_or_else(|| shape(&"there has to be a service and a municipality"))?,
            };
            tries = tries.saturating_add(1);
            if tries / 20 > self.routes.max(1_000) {
                return Err(shape(
                    &"there are not so many different prefixes; ask for more services or municipalities",
                ));
            }
            if seen.insert(scope) {
                let home = homes.get(&kreis(scope.jurisdiction)).copied().unwrap_or(0);
                let endpoint = ids.get(home).and_then(|ids| random.pick(ids));
                let endpoint = endpoint.ok_or_else(|| shape(&"there has to be an endpoint in every zone"))?.clone();
                if let Some(zone) = zones.get_mut(home) {
                    zone.routes.push(route(seen.len() - 1, scope, endpoint));
                }
            }
        }
        Ok(Generated { zones, scopes, services, municipalities })
    }
}

/// The Kreis a prefix lies in, as its first ARS; 0 for shorter prefixes.
fn kreis(prefix: JurisdictionPrefix) -> u64 {
    if prefix.level() < JurisdictionLevel::Kreis { 0 } else { prefix.as_u64() / 10_000_000 * 10_000_000 }
}

/// Deals the Kreise out to zones numbered from 1, each to the one with the fewest municipalities so far.
fn homes(municipalities: &[Ars], zones: usize) -> (HashMap<u64, usize>, Vec<Vec<Scope>>) {
    let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
    for municipality in municipalities {
        *sizes.entry(kreis(municipality.prefix(JurisdictionLevel::Kreis))).or_default() += 1;
    }
    let mut largest_first: Vec<(u64, usize)> = sizes.into_iter().collect();
    largest_first.sort_by_key(|(kreis, size)| (std::cmp::Reverse(*size), *kreis));
    let (mut homes, mut scopes, mut sums) = (HashMap::new(), vec![Vec::new(); zones], vec![0; zones]);
    for (kreis, size) in largest_first {
        let fewest = sums.iter_mut().enumerate().min_by_key(|(_, sum)| **sum);
        let prefix = JurisdictionPrefix::from_parts(kreis, JurisdictionLevel::Kreis);
        if let (Some((zone, sum)), Ok(jurisdiction)) = (fewest, prefix) {
            *sum += size;
            homes.insert(kreis, zone + 1);
            if let Some(scopes) = scopes.get_mut(zone) {
                scopes.push(Scope { service: ServicePrefix::ANY, jurisdiction });
            }
        }
    }
    (homes, scopes)
}

/// Generated zones, signed.
#[derive(Debug)]
pub struct Signed {
    /// Trusts the root.
    pub anchor: TrustAnchor,
    /// The signed snapshots, in the order of the zones.
    pub snapshots: Vec<Bytes>,
    /// Two maintainers' keys for each zone.
    keys: Vec<[SigningKey; 2]>,
}

impl Signed {
    /// Signs another snapshot of the zone at this place and puts it in the place of the one before.
    ///
    /// # Errors
    /// When there is no such zone or the snapshot is too long.
    pub fn replace(&mut self, place: usize, zone: &ZoneSnapshot) -> Result<(), GenerateError> {
        let unknown = || GenerateError::Shape(format!("there is no zone {place}"));
        let [first, second] = self.keys.get(place).ok_or_else(unknown)?;
        *self.snapshots.get_mut(place).ok_or_else(unknown)? = snapshot::sign(zone, &[first, second])?;
        Ok(())
    }

    /// Verifies the snapshots.
    ///
    /// # Errors
    /// When a zone is wrong.
    pub fn directory(&self) -> Result<Directory, GenerateError> {
        Ok(Directory::verify(&self.anchor, &self.snapshots, &SerialFloor::new(), BEGIN)?)
    }
}

fn maintainers(keys: &[SigningKey]) -> Maintainers {
    Maintainers { keys: keys.iter().map(|key| key.public().clone()).collect(), threshold: DEFAULT_THRESHOLD }
}

impl Generated {
    /// Signs each zone with two fresh maintainers' keys and has the root delegate to the others.
    ///
    /// # Errors
    /// When a key cannot be made or a zone is too long to be signed.
    pub fn sign(&self) -> Result<Signed, GenerateError> {
        let pair = || Ok([SigningKey::generate(Algorithm::Esp256)?, SigningKey::generate(Algorithm::Ed25519)?]);
        let keys: Vec<[SigningKey; 2]> = self.zones.iter().map(|_| pair()).collect::<Result<_, KeyError>>()?;
        let (Some(root), Some(own)) = (self.zones.first(), keys.first()) else {
            return Err(GenerateError::Shape("there has to be a zone".to_owned()));
        };
        let anchor = TrustAnchor { root_zone: root.zone.clone(), maintainers: maintainers(own), minimum_serial: 1 };
        let mut signed = Signed { anchor, snapshots: vec![Bytes::new(); self.zones.len()], keys };
        let mut delegating = root.clone();
        for ((zone, keys), scopes) in self.zones.iter().zip(&signed.keys).skip(1).zip(&self.scopes) {
            let (zone, scopes, maintainers) = (zone.zone.clone(), scopes.clone(), maintainers(keys));
            delegating.delegations.push(Delegation { zone, scopes, maintainers });
        }
        signed.replace(0, &delegating)?;
        for (place, zone) in self.zones.iter().enumerate().skip(1) {
            signed.replace(place, zone)?;
        }
        Ok(signed)
    }

    /// Signs and verifies the zones as a directory.
    ///
    /// # Errors
    /// When a key cannot be made or a zone is wrong.
    pub fn directory(&self) -> Result<Directory, GenerateError> {
        self.sign()?.directory()
    }

    /// `count` route keys that are known: the rules are drawn uniformly, and below each rule's prefixes a service of the
    /// catalogue and a municipality, both uniformly.
    pub fn known_keys(&self, seed: u64, count: usize) -> Vec<(ServiceKey, Ars)> {
        let mut random = Random::new(seed);
        let (mut services, mut places) = (self.services.clone(), self.municipalities.clone());
        services.sort_unstable();
        places.sort_unstable();
        let routes: Vec<&RouteEntry> = self.zones.iter().flat_map(|zone| &zone.routes).collect();
        let mut draw = || {
            let Scope { service, jurisdiction } = random.pick(&routes)?.scope;
            let below = |services: &[ServiceKey]| services.partition_point(|key| service.covers(*key));
            let first = services.partition_point(|key| key.as_u64() < service.as_u64());
            let found = services.get(first..)?;
            let service = *random.pick(found.get(..below(found))?)?;
            // The generated municipalities ascend with their Kreise, so what a prefix covers lies together.
            let first = places.partition_point(|place| place.as_u64() < jurisdiction.as_u64());
            let found = places.get(first..)?;
            let covered = found.partition_point(|place| jurisdiction.covers(*place));
            Some((service, *random.pick(found.get(..covered)?)?))
        };
        // A catch-all may cover no generated municipality.
        std::iter::repeat_with(&mut draw).take(count.saturating_mul(2)).flatten().take(count).collect()
    }

    /// `count` random route keys: a service of the catalogue in a municipality, both uniform.
    pub fn route_keys(&self, seed: u64, count: usize) -> Vec<(ServiceKey, Ars)> {
        let mut random = Random::new(seed);
        let mut draw = || Some((*random.pick(&self.services)?, *random.pick(&self.municipalities)?));
        (0..count).map_while(|_| draw()).collect()
    }
}

fn endpoint(id: EndpointId) -> Result<EndpointEntry, GenerateError> {
    let key = KeyEntry {
        key: SigningKey::generate(Algorithm::Esp256)?.public().clone(),
        not_before: BEGIN,
        sign_until: END,
        verify_until: END.plus_ms(VERIFY_MARGIN_MS),
        revoked: false,
    };
    Ok(EndpointEntry {
        id,
        keys: vec![key],
        required_algorithms: Vec::new(),
        encryption_keys: Vec::new(),
        identities: Vec::new(),
        grants: Vec::new(),
        reply_grant: None,
        budgets: Budgets::default(),
    })
}

fn route(number: usize, scope: Scope, endpoint: EndpointId) -> RouteEntry {
    RouteEntry {
        rule: format!("r{number}").into(),
        scope,
        valid_from: UnixMs(0),
        valid_until: None,
        endpoints: [endpoint].into(),
        min_assurance: None,
        encryption_required: false,
    }
}

fn random_scope(random: &mut Random, services: &[ServiceKey], places: &[Ars]) -> Option<Scope> {
    let service = random.pick(services)?.prefix(random.weighted(&SERVICE_MIX)?);
    let jurisdiction = random.pick(places)?.prefix(random.weighted(&PLACE_MIX)?);
    Some(Scope { service, jurisdiction })
}

fn land_prefix(land: u32) -> Result<JurisdictionPrefix, GenerateError> {
    JurisdictionPrefix::from_parts(u64::from(land) * 10_000_000_000, JurisdictionLevel::Land)
        .map_err(|error| GenerateError::Shape(error.to_string()))
}

/// Keys with up to 120 groups of up to 60 objects, so that objects are shared as in the real catalogue.
fn catalogue(random: &mut Random, count: usize) -> Result<Vec<ServiceKey>, GenerateError> {
    let mut seen = HashSet::new();
    let mut keys = Vec::with_capacity(count);
    let mut tries = 0usize;
    while keys.len() < count {
        let parts = [120, 60, 400, 20].map(|range| 1 + random.below(range));
        let depth = random.weighted(&CATALOGUE_MIX).unwrap_or(4);
        let mut number = 99;
        for (place, part) in (0..).zip(parts) {
            number = number * 1_000 + if place < depth { part } else { 0 };
        }
        tries = tries.saturating_add(1);
        if tries / 100 > count.max(1_000) {
            return Err(GenerateError::Shape("there are not so many different service keys".to_owned()));
        }
        if seen.insert(number) {
            keys.push(ServiceKey::try_from(number).map_err(|error| GenerateError::Shape(error.to_string()))?);
        }
    }
    Ok(keys)
}

/// Numbers municipalities Kreis by Kreis: about 27 to a Kreis, about 2 to a Verband, as in the real list.
fn municipalities(random: &mut Random, count: usize) -> Result<Vec<Ars>, GenerateError> {
    let mut places = Vec::with_capacity(count);
    let (mut kreis, mut verband, mut gemeinde) = (0u64, 0u64, 0u64);
    while places.len() < count {
        if random.below(27) == 0 || verband > 9_000 {
            (kreis, verband, gemeinde) = (kreis + 1, 0, 0);
        }
        if random.below(2) == 0 || gemeinde > 900 {
            (verband, gemeinde) = (verband + 1, 0);
        }
        gemeinde += 1;
        // Land, Bezirk and Kreis of the running number: 25 Kreise to a Land, 8 to a Bezirk.
        let (land, within) = (1 + kreis / 25 % 16, kreis % 25 + 25 * (kreis / 400));
        let number = land * 10_000_000_000 + (within / 8 % 10) * 1_000_000_000 + (within % 80) * 10_000_000;
        let number = number + verband * 1_000 + gemeinde;
        places.push(Ars::try_from(number).map_err(|error| GenerateError::Shape(error.to_string()))?);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_rules() {
        let shape = Shape { routes: 500, endpoints: 3, zones: 3, ..Shape::MILLION };
        let (a, b) = (shape.generate().unwrap(), shape.generate().unwrap());
        for (a, b) in a.zones.iter().zip(&b.zones) {
            assert_eq!(a.routes, b.routes);
        }
        assert_eq!(a.route_keys(7, 100), b.route_keys(7, 100));
        assert_eq!(a.known_keys(7, 100), b.known_keys(7, 100));
        let other = Shape { seed: 1, ..shape }.generate().unwrap();
        assert_ne!(a.zones[0].routes, other.zones[0].routes);
    }

    #[test]
    fn zones_share_the_rules_evenly_and_known_keys_are_answered() {
        let shape = Shape { routes: 5_000, endpoints: 20, zones: 6, municipalities: 3_000, ..Shape::MILLION };
        let generated = shape.generate().unwrap();
        let sizes: Vec<usize> = generated.zones.iter().skip(1).map(|zone| zone.routes.len()).collect();
        assert!(sizes.iter().all(|size| (700..1_100).contains(size)), "{sizes:?}");
        let table = crate::Table::compile(&generated.directory().unwrap(), BEGIN, 1).unwrap();
        let keys = generated.known_keys(1, 1_000);
        assert_eq!(keys.len(), 1_000);
        assert!(keys.iter().all(|(service, place)| table.lookup(*service, *place).is_some()));
    }

    #[test]
    fn a_shape_that_cannot_be_met_is_refused() {
        let shape = Shape { seed: 1, routes: 10_000, services: 1, municipalities: 1, endpoints: 1, zones: 1 };
        assert!(matches!(shape.generate(), Err(GenerateError::Shape(_))));
    }
}
