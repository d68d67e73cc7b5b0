//! Are endpoints and routers themselves in order? Namespaces, ids, keys and link identities (DIRECTORY 5 and 6).
//!
//! Keys and identities are looked at across all zones: each key belongs to one party, and the identity of a router is
//! nobody else's. One identity may attach any number of endpoints.

use std::collections::{HashMap, HashSet};

use kernpost_codecs::key::KeyId;
use kernpost_codecs::{LinkIdentity, ZoneId};

use super::Zone;
use super::fault::{DirectoryFault, Findings};
use crate::model::{EndpointEntry, KeyEntry, RouterEntry, VERIFY_MARGIN_MS};

/// Checks the principals of all zones.
pub(super) fn check(zones: &[Zone<'_>], maintainer_keys: &HashMap<KeyId, ZoneId>, findings: &mut Findings) {
    let mut seen = Seen {
        ids: HashSet::new(),
        keys: maintainer_keys.iter().map(|(id, zone)| (*id, format!("the maintainers of zone {zone}"))).collect(),
        identities: HashMap::new(),
    };
    for zone in zones {
        for router in &zone.snapshot.routers {
            check_router(&zone.snapshot.zone, router, &mut seen, findings);
        }
    }
    for zone in zones {
        for endpoint in &zone.snapshot.endpoints {
            check_endpoint(&zone.snapshot.zone, endpoint, &mut seen, findings);
        }
    }
}

/// What has been met so far. Routers come before endpoints, so `identities` holds routers' only.
struct Seen<'a> {
    ids: HashSet<&'a str>,
    keys: HashMap<KeyId, String>,
    identities: HashMap<&'a LinkIdentity, &'a str>,
}

fn check_router<'a>(zone: &'a ZoneId, router: &'a RouterEntry, seen: &mut Seen<'a>, findings: &mut Findings) {
    let entry = format!("router {}", router.id);
    let mut add = |fault| findings.add(Some(zone), &entry, fault);
    if router.id.zone() != zone.as_str() {
        add(DirectoryFault::OutsideNamespace { zone: zone.clone() });
    }
    if !seen.ids.insert(router.id.as_str()) {
        add(DirectoryFault::IdTwice);
    }
    for address in router.addresses.iter().filter(|address| !is_address(address)) {
        add(DirectoryFault::Address { address: address.clone() });
    }
    let mut own = HashSet::new();
    for identity in &router.identities {
        if !own.insert(identity) {
            add(DirectoryFault::IdentityTwice { identity: identity.clone() });
        } else if let Some(other) = seen.identities.insert(identity, router.id.as_str()) {
            add(DirectoryFault::IdentityTaken { identity: identity.clone(), other: other.to_owned() });
        }
    }
    check_keys(&router.keys, &entry, seen, &mut add);
}

fn check_endpoint<'a>(zone: &'a ZoneId, endpoint: &'a EndpointEntry, seen: &mut Seen<'a>, findings: &mut Findings) {
    let entry = format!("endpoint {}", endpoint.id);
    let mut add = |fault| findings.add(Some(zone), &entry, fault);
    if endpoint.id.zone() != zone.as_str() {
        add(DirectoryFault::OutsideNamespace { zone: zone.clone() });
    }
    if !seen.ids.insert(endpoint.id.as_str()) {
        add(DirectoryFault::IdTwice);
    }
    if endpoint.keys.is_empty() {
        add(DirectoryFault::NoKey);
    }
    check_keys(&endpoint.keys, &entry, seen, &mut add);
    for key in &endpoint.encryption_keys {
        check_unique(key.id(), &entry, seen, &mut add);
    }
    let mut own = HashSet::new();
    for identity in &endpoint.identities {
        if !own.insert(identity) {
            add(DirectoryFault::IdentityTwice { identity: identity.clone() });
        } else if let Some(other) = seen.identities.get(identity) {
            add(DirectoryFault::IdentityTaken { identity: identity.clone(), other: (*other).to_owned() });
        }
    }
    let required = &endpoint.required_algorithms;
    let different: HashSet<_> = required.iter().collect();
    if required.len() > 2 || different.len() < required.len() {
        add(DirectoryFault::RequiredAlgorithms { count: required.len() });
    }
    for algorithm in different {
        if !endpoint.keys.iter().any(|key| key.key.algorithm() == *algorithm) {
            add(DirectoryFault::RequiredKeyMissing { algorithm: *algorithm });
        }
    }
}

fn check_keys(keys: &[KeyEntry], entry: &str, seen: &mut Seen<'_>, add: &mut impl FnMut(DirectoryFault)) {
    for entry_key in keys {
        let key = entry_key.key.id();
        check_unique(key, entry, seen, add);
        if entry_key.not_before >= entry_key.sign_until || entry_key.sign_until > entry_key.verify_until {
            add(DirectoryFault::KeyDates { key });
        } else if entry_key.verify_until < entry_key.sign_until.plus_ms(VERIFY_MARGIN_MS) {
            add(DirectoryFault::KeyMargin { key });
        }
    }
}

fn check_unique(key: KeyId, entry: &str, seen: &mut Seen<'_>, add: &mut impl FnMut(DirectoryFault)) {
    if let Some(other) = seen.keys.get(&key) {
        add(DirectoryFault::KeyTwice { key, other: other.clone() });
    } else {
        seen.keys.insert(key, entry.to_owned());
    }
}

/// `name:port` or `[v6]:port`.
fn is_address(text: &str) -> bool {
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        (1..=253).contains(&host.len()) && host.chars().all(name) && port.parse::<u16>().is_ok()
    })
}
