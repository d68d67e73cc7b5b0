//! Small directories for tests: zones whose maintainers' keys are at hand, signed and verified in one call.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;

use bytes::Bytes;
use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_codecs::{Ars, ServiceKey, UnixMs, ZoneId};
use kernpost_routing_table::model::{
    Budgets, DEFAULT_THRESHOLD, Delegation, EndpointEntry, KeyEntry, Maintainers, RouteEntry, RouterEntry, Scope,
    Successor, TrustAnchor, VERIFY_MARGIN_MS, ZoneSnapshot,
};
use kernpost_routing_table::{Directory, DirectoryErrors, SerialFloor, Table, snapshot};

/// 2026-01-01T00:00:00Z.
pub const NOW: UnixMs = UnixMs(1_767_225_600_000);
pub const DAY_MS: u64 = 86_400_000;

pub fn days(days: u64) -> UnixMs {
    NOW.plus_ms(days * DAY_MS)
}

/// The zone "de" and those delegated by it, each with two maintainers.
pub struct World {
    pub zones: Vec<ZoneSnapshot>,
    pub keys: BTreeMap<ZoneId, [SigningKey; 2]>,
    pub anchor: TrustAnchor,
    pub floor: SerialFloor,
}

impl World {
    pub fn new() -> Self {
        let keys = maintainer_keys();
        let root: ZoneId = "de".parse().unwrap();
        let anchor = TrustAnchor { root_zone: root.clone(), maintainers: public(&keys), minimum_serial: 1 };
        let zones = vec![ZoneSnapshot::empty(root.clone(), 1, NOW, days(365))];
        Self { zones, keys: BTreeMap::from([(root, keys)]), anchor, floor: SerialFloor::new() }
    }

    /// Adds a zone that "de" delegates to, and returns its place.
    pub fn delegate(&mut self, zone: &str, scopes: &[(&str, &str)]) -> usize {
        let keys = maintainer_keys();
        let id: ZoneId = zone.parse().unwrap();
        self.zones[0].delegations.push(Delegation {
            zone: id.clone(),
            scopes: scopes.iter().map(|(service, place)| scope(service, place)).collect(),
            maintainers: public(&keys),
        });
        self.zones.push(ZoneSnapshot::empty(id.clone(), 1, NOW, days(365)));
        self.keys.insert(id, keys);
        self.zones.len() - 1
    }

    pub fn sign(&self) -> Vec<Bytes> {
        self.zones.iter().map(|zone| self.sign_zone(zone)).collect()
    }

    pub fn sign_zone(&self, zone: &ZoneSnapshot) -> Bytes {
        let keys = &self.keys[&zone.zone];
        snapshot::sign(zone, &[&keys[0], &keys[1]]).unwrap()
    }

    pub fn verify(&self) -> Result<Directory, DirectoryErrors> {
        self.verify_signed(&self.sign())
    }

    pub fn verify_signed(&self, signed: &[Bytes]) -> Result<Directory, DirectoryErrors> {
        Directory::verify(&self.anchor, signed, &self.floor, NOW)
    }

    pub fn table(&self, at: UnixMs) -> Table {
        Table::compile(&self.verify().unwrap_or_else(|errors| panic!("{errors}")), at, 1).unwrap()
    }

    /// Everything that is wrong, one error a line.
    pub fn refused(&self) -> String {
        self.verify().expect_err("the directory is good").to_string()
    }
}

pub fn maintainer_keys() -> [SigningKey; 2] {
    [SigningKey::generate(Algorithm::Esp256).unwrap(), SigningKey::generate(Algorithm::Ed25519).unwrap()]
}

pub fn public(keys: &[SigningKey]) -> Maintainers {
    let keys = keys.iter().map(|key| key.public().clone()).collect();
    Maintainers { keys, threshold: DEFAULT_THRESHOLD }
}

pub fn scope(service: &str, jurisdiction: &str) -> Scope {
    Scope { service: service.parse().unwrap(), jurisdiction: jurisdiction.parse().unwrap() }
}

pub fn service(text: &str) -> ServiceKey {
    text.parse().unwrap()
}

pub fn ars(text: &str) -> Ars {
    text.parse().unwrap()
}

pub fn key_entry() -> KeyEntry {
    KeyEntry {
        key: SigningKey::generate(Algorithm::Esp256).unwrap().public().clone(),
        not_before: NOW,
        sign_until: days(100),
        verify_until: days(100).plus_ms(VERIFY_MARGIN_MS),
        revoked: false,
    }
}

pub fn endpoint(id: &str) -> EndpointEntry {
    EndpointEntry {
        id: id.parse().unwrap(),
        keys: vec![key_entry()],
        required_algorithms: Vec::new(),
        encryption_keys: Vec::new(),
        identities: Vec::new(),
        grants: Vec::new(),
        reply_grant: None,
        budgets: Budgets::default(),
    }
}

pub fn router(id: &str, identity: &str) -> RouterEntry {
    RouterEntry {
        id: id.parse().unwrap(),
        identities: vec![identity.parse().unwrap()],
        addresses: vec!["[::1]:4433".to_owned()],
        keys: vec![key_entry()],
        lost: false,
    }
}

pub fn route(rule: &str, service: &str, jurisdiction: &str, endpoints: &[&str]) -> RouteEntry {
    RouteEntry {
        rule: rule.into(),
        scope: scope(service, jurisdiction),
        valid_from: UnixMs(0),
        valid_until: None,
        endpoints: endpoints.iter().map(|id| id.parse().unwrap()).collect(),
        min_assurance: None,
        encryption_required: false,
    }
}

pub fn successor(old: &str, new: &str, from: UnixMs) -> Successor {
    Successor { old: ars(old), new: ars(new), from }
}
