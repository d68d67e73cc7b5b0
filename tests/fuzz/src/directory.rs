//! Signed zones, their payloads, and source files: what a directory source can hold.
//!
//! Beyond not panicking: a payload that decodes is encoded to one that decodes to the same; a snapshot that is signed well is verified
//! and compiled, and every lookup in the table agrees with its own explanation.

use std::sync::OnceLock;

use bytes::Bytes;
use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_codecs::{Ars, ServiceKey, UnixMs};
use kernpost_routing_table::model::{Maintainers, TrustAnchor, ZoneSnapshot};
use kernpost_routing_table::snapshot::{self, SignedSnapshot};
use kernpost_routing_table::{Directory, SerialFloor, Table, source};

/// An instant within what the seeds call valid.
const NOW: UnixMs = UnixMs(1_800_000_000_000);

/// Takes `input` for what its first byte says.
pub fn load(input: &[u8]) {
    let Some((form, rest)) = input.split_first() else { return };
    match form % 3 {
        0 => drop(SignedSnapshot::open(Bytes::copy_from_slice(rest))),
        1 => payload(rest),
        _ => text(rest),
    }
}

fn payload(input: &[u8]) {
    let Ok(zone) = snapshot::decode_payload(input) else { return };
    let again = snapshot::decode_payload(&snapshot::encode_payload(&zone));
    assert_eq!(again.as_ref(), Ok(&zone), "what was encoded decodes to the same");
    verified(&zone);
}

fn text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(zone) = source::parse_zone_toml(text) {
        verified(&zone);
    }
}

/// Signs the zone as the root zone, so that fuzzing gets behind the signatures.
fn verified(zone: &ZoneSnapshot) {
    let key = key();
    let Ok(signed) = snapshot::sign(zone, &[key]) else { return };
    let anchor = TrustAnchor {
        root_zone: zone.zone.clone(),
        maintainers: Maintainers { keys: vec![key.public().clone()], threshold: 1 },
        minimum_serial: 0,
    };
    let Ok(directory) = Directory::verify(&anchor, &[signed], &SerialFloor::new(), NOW) else { return };
    let Ok(table) = Table::compile(&directory, NOW, 1) else { return };
    for route in &zone.routes {
        asked(&table, route.scope.service.as_u64(), route.scope.jurisdiction.as_u64());
    }
}

fn asked(table: &Table, service: u64, jurisdiction: u64) {
    let (Ok(service), Ok(jurisdiction)) = (ServiceKey::try_from(service), Ars::try_from(jurisdiction)) else { return };
    let found = table.lookup(service, jurisdiction).map(|route| route.rule().to_owned());
    let explained = table.explain(service, jurisdiction).decision.map(|decision| decision.rule);
    assert_eq!(found, explained, "lookup and explain agree");
}

fn key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate(Algorithm::Esp256).expect("the crypto library makes a key"))
}
