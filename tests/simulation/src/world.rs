//! A small signed world: one root zone, routers, endpoints with real keys, routes and grants; editable, then signed again.
//!
//! Everything is signed by two maintainers as in production, so the same world serves engine tests, the simulation and real
//! processes (`write`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_codecs::{Assurance, EndpointId, LinkIdentity, RouterId, UnixMs, ZoneId};
use kernpost_routing_table::model::{
    Budgets, EndpointEntry, Grant, KeyEntry, Maintainers, RouteEntry, RouterEntry, Scope, VERIFY_MARGIN_MS,
};
use kernpost_routing_table::{Directory, SerialFloor, Table, TrustAnchor, ZoneSnapshot, snapshot, source};

/// The trust domain of every test certificate.
pub const TRUST_DOMAIN: &str = "kernpost.test";

const DAY_MS: u64 = 86_400_000;

/// Keys and entries of the world; `zone` may be edited freely before [`World::sign`].
pub struct World {
    pub now: UnixMs,
    pub zone: ZoneSnapshot,
    pub keys: BTreeMap<EndpointId, SigningKey>,
    /// The second keys of endpoints that sign twice.
    pub second_keys: BTreeMap<EndpointId, SigningKey>,
    /// The keys with which routers sign receipts.
    pub router_keys: BTreeMap<RouterId, SigningKey>,
    maintainers: [SigningKey; 2],
    /// The algorithm of the keys that are made.
    pub algorithm: Algorithm,
}

/// A route key of Leipzig.
pub const LEIPZIG: (&str, &str) = ("99050012104000", "147130000000");
/// The same service in Dresden.
pub const DRESDEN: (&str, &str) = ("99050012104000", "146120000000");

/// A portal that may send everywhere, Leipzig's `city`, and `land` for the rest of Saxony; the identity `provider` may attach
/// both.
pub struct Saxony {
    pub world: World,
    pub portal: EndpointId,
    pub city: EndpointId,
    pub land: EndpointId,
}

impl Saxony {
    pub fn new(routers: &[&str]) -> Self {
        let mut world = World::new(UnixMs(1_790_000_000_000));
        for router in routers {
            world.router(router);
        }
        let portal = world.endpoint("portal", "portal");
        let city = world.endpoint("city", "provider");
        let land = world.endpoint("land", "provider");
        world.grant(&portal, "99", "*", None);
        world.route("city", "99", "14713", &[&city]);
        world.route("land", "99", "14", &[&land]);
        Self { world, portal, city, land }
    }
}

impl World {
    /// A root zone `de` with nobody in it, signed at `now`.
    pub fn new(now: UnixMs) -> Self {
        let maintainers = [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519).unwrap());
        let zone: ZoneId = "de".parse().unwrap();
        let zone = ZoneSnapshot::empty(zone, 1, now.minus_ms(DAY_MS), now.plus_ms(30 * DAY_MS));
        Self {
            now,
            zone,
            keys: BTreeMap::new(),
            second_keys: BTreeMap::new(),
            router_keys: BTreeMap::new(),
            maintainers,
            algorithm: Algorithm::Esp256,
        }
    }

    /// Adds a router `de/router/<name>` with the identity `spiffe://kernpost.test/router/<name>` and a new key.
    pub fn router(&mut self, name: &str) -> RouterId {
        let id: RouterId = format!("de/router/{name}").parse().unwrap();
        let key = SigningKey::generate(self.algorithm).unwrap();
        self.zone.routers.push(RouterEntry {
            id: id.clone(),
            identities: vec![router_identity(name)],
            addresses: Vec::new(),
            keys: vec![key_entry(&key, self.now)],
            lost: false,
        });
        self.router_keys.insert(id.clone(), key);
        id
    }

    /// Adds an endpoint `de/<name>` with a new key that the link identity `<link>` may attach.
    pub fn endpoint(&mut self, name: &str, link: &str) -> EndpointId {
        let id: EndpointId = format!("de/{name}").parse().unwrap();
        let key = SigningKey::generate(self.algorithm).unwrap();
        self.zone.endpoints.push(EndpointEntry {
            id: id.clone(),
            keys: vec![key_entry(&key, self.now)],
            required_algorithms: Vec::new(),
            encryption_keys: Vec::new(),
            identities: vec![link_identity(link)],
            grants: Vec::new(),
            reply_grant: None,
            budgets: Budgets::default(),
        });
        self.keys.insert(id.clone(), key);
        id
    }

    /// Gives an endpoint new keys, one for each of one or two algorithms, all of which its entry then requires.
    pub fn sign_with(&mut self, endpoint: &EndpointId, algorithms: &[Algorithm]) {
        let keys = algorithms.iter().map(|algorithm| SigningKey::generate(*algorithm).unwrap());
        let mut keys: Vec<SigningKey> = keys.collect();
        let now = self.now;
        let entry = self.entry(endpoint);
        entry.keys = keys.iter().map(|key| key_entry(key, now)).collect();
        entry.required_algorithms = algorithms.to_vec();
        self.second_keys.remove(endpoint);
        if keys.len() > 1 {
            self.second_keys.insert(endpoint.clone(), keys.remove(1));
        }
        self.keys.insert(endpoint.clone(), keys.remove(0));
    }

    /// Copies of all signing keys of an endpoint, the preferred first.
    pub fn all_keys(&self, endpoint: &EndpointId) -> Vec<SigningKey> {
        self.keys.get(endpoint).into_iter().chain(self.second_keys.get(endpoint)).map(copy_of).collect()
    }

    /// Lets an endpoint send to a scope, asserting at most `max_assurance`.
    pub fn grant(
        &mut self,
        endpoint: &EndpointId,
        service: &str,
        jurisdiction: &str,
        max_assurance: Option<Assurance>,
    ) {
        let scope = scope(service, jurisdiction);
        self.entry(endpoint).grants.push(Grant { scope, max_assurance });
    }

    /// Makes endpoints responsible for a scope, in this order.
    pub fn route(
        &mut self,
        rule: &str,
        service: &str,
        jurisdiction: &str,
        endpoints: &[&EndpointId],
    ) -> &mut RouteEntry {
        self.zone.routes.push(RouteEntry {
            rule: rule.into(),
            scope: scope(service, jurisdiction),
            valid_from: self.now.minus_ms(DAY_MS),
            valid_until: None,
            endpoints: endpoints.iter().map(|id| (*id).clone()).collect(),
            min_assurance: None,
            encryption_required: false,
        });
        self.zone.routes.last_mut().unwrap()
    }

    /// The entry of an endpoint, to be edited.
    pub fn entry(&mut self, endpoint: &EndpointId) -> &mut EndpointEntry {
        self.zone.endpoints.iter_mut().find(|entry| entry.id == *endpoint).unwrap()
    }

    /// A copy of an endpoint's signing key.
    pub fn key(&self, endpoint: &EndpointId) -> SigningKey {
        copy_of(&self.keys[endpoint])
    }

    /// Signs the zone as it stands, with the next serial.
    pub fn sign(&mut self) -> Bytes {
        let signed = snapshot::sign(&self.zone, &[&self.maintainers[0], &self.maintainers[1]]).unwrap();
        self.zone.serial += 1;
        signed
    }

    /// The trust anchor that believes this world.
    pub fn anchor(&self) -> TrustAnchor {
        TrustAnchor {
            root_zone: self.zone.zone.clone(),
            maintainers: Maintainers {
                keys: self.maintainers.iter().map(|key| key.public().clone()).collect(),
                threshold: 2,
            },
            minimum_serial: 1,
        }
    }

    /// Signs, verifies and compiles.
    pub fn table(&mut self, generation: u64) -> Arc<Table> {
        let signed = self.sign();
        let directory = Directory::verify(&self.anchor(), &[signed], &SerialFloor::new(), self.now).unwrap();
        Arc::new(Table::compile(&directory, self.now, generation).unwrap())
    }

    /// Writes `trust-anchor.toml` and `directory/de.zone` below `folder`, as a router reads them.
    pub fn write(&mut self, folder: &Path) {
        let directory = folder.join("directory");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(folder.join("trust-anchor.toml"), source::anchor_to_toml(&self.anchor()).unwrap()).unwrap();
        let signed = self.sign();
        let half_written = directory.join("de.zone.new");
        std::fs::write(&half_written, &signed).unwrap();
        std::fs::rename(half_written, directory.join("de.zone")).unwrap();
    }
}

/// A directory entry for a key that signs for 300 days from a day before `now`.
pub fn key_entry(key: &SigningKey, now: UnixMs) -> KeyEntry {
    let sign_until = now.plus_ms(300 * DAY_MS);
    KeyEntry {
        key: key.public().clone(),
        not_before: now.minus_ms(DAY_MS),
        sign_until,
        verify_until: sign_until.plus_ms(VERIFY_MARGIN_MS),
        revoked: false,
    }
}

/// The same key once more (keys are not `Clone`).
pub fn copy_of(key: &SigningKey) -> SigningKey {
    SigningKey::from_pkcs8_der(&key.to_pkcs8_der().unwrap()).unwrap()
}

/// `uri:spiffe://kernpost.test/router/<name>`.
pub fn router_identity(name: &str) -> LinkIdentity {
    format!("uri:spiffe://{TRUST_DOMAIN}/router/{name}").parse().unwrap()
}

/// `uri:spiffe://kernpost.test/<name>`.
pub fn link_identity(name: &str) -> LinkIdentity {
    format!("uri:spiffe://{TRUST_DOMAIN}/{name}").parse().unwrap()
}

/// A scope from its two texts.
pub fn scope(service: &str, jurisdiction: &str) -> Scope {
    Scope { service: service.parse().unwrap(), jurisdiction: jurisdiction.parse().unwrap() }
}
