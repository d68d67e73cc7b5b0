//! Zones survive every form they are written in, wrong forms are refused without panic, and files keep what they promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/fixture.rs"]
mod fixture;

use bytes::Bytes;
use fixture::*;
use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_codecs::statement::Assurance;
use kernpost_codecs::{Digest, LinkIdentity};
use kernpost_routing_table::diff::DirectoryDiff;
use kernpost_routing_table::model::{Acceptance, Budgets, Grant, ZoneSnapshot};
use kernpost_routing_table::snapshot::{SignedSnapshot, decode_payload, encode_payload};
use kernpost_routing_table::source::{self, SourceError};
use kernpost_routing_table::{Archive, ArchiveLimits, EncryptionKey, IdentityUse, KeyOwner, SerialFloor, snapshot};
use proptest::prelude::*;

/// A world in which every field of every entry is used.
fn full() -> World {
    let mut world = World::new();
    let sn = world.delegate("sn", &[("99", "14"), ("99050", "*")]);
    let mut bund = endpoint("de/bund");
    bund.keys.push(key_entry());
    bund.keys[1].revoked = true;
    bund.required_algorithms = vec![Algorithm::Esp256];
    let encryption = SigningKey::generate(Algorithm::Ed25519).unwrap().public().to_cose_key();
    bund.encryption_keys = vec![EncryptionKey::from_cose_key(&encryption).unwrap()];
    bund.identities =
        ["uri:spiffe://kern.example/bund", "name:CN=CA,C=DE|CN=bund"].map(|id| id.parse().unwrap()).to_vec();
    bund.identities.push(LinkIdentity::Spki(Digest([7; 32])));
    bund.grants = vec![
        Grant { scope: scope("99", "*"), max_assurance: Some(Assurance::Substantial) },
        Grant { scope: scope("99050012104", "000000000000"), max_assurance: None },
    ];
    bund.reply_grant = Some(false);
    bund.budgets = Budgets { entries_per_s: Some(10), bytes_per_s: None, signatures_per_s: Some(0) };
    let mut rule = route("all", "99", "*", &["de/bund"]);
    (rule.valid_from, rule.valid_until) = (days(1), Some(days(2)));
    (rule.min_assurance, rule.encryption_required) = (Some(Assurance::High), true);
    let root = &mut world.zones[0];
    root.endpoints.push(bund);
    root.routes.push(rule);
    root.routers.push(router("de/router/r1", "dns:r1.example"));
    root.routers[0].lost = true;
    root.acceptances.push(Acceptance {
        zone: "sn".parse().unwrap(),
        scope: scope("99050", "14"),
        endpoint: "de/bund".parse().unwrap(),
    });
    root.successors.push(successor("145230010010", "145230020020", days(3)));
    world.zones[sn].endpoints.push(endpoint("sn/leipzig"));
    world.zones[sn].routes.push(route("leipzig", "99050", "147130000000", &["sn/leipzig", "de/bund"]));
    world
}

#[test]
fn a_zone_survives_toml_and_cbor() {
    let mut world = full();
    world.zones[0].root = Some(public(&maintainer_keys()));
    for zone in &world.zones {
        let text = source::zone_to_toml(zone).unwrap();
        assert_eq!(&source::parse_zone_toml(&text).unwrap(), zone, "{text}");
        assert_eq!(&decode_payload(&encode_payload(zone)).unwrap(), zone);
        assert_eq!(SignedSnapshot::open(world.sign_zone(zone)).unwrap().snapshot(), zone);
    }
}

#[test]
fn a_post_quantum_key_of_another_length_is_refused_in_either_form() {
    let key = SigningKey::generate(Algorithm::MlDsa65).unwrap();
    let mut world = full();
    world.zones[0].endpoints[0].keys[0].key = key.public().clone();
    world.zones[0].endpoints[0].required_algorithms = vec![Algorithm::MlDsa65];
    let zone = &world.zones[0];
    let payload = encode_payload(zone);
    assert_eq!(&decode_payload(&payload).unwrap(), zone);
    // h'{1: 7, 3: -49, -1: h'<1952 bytes>'}' with the last byte missing or one more.
    let cose_key = key.public().to_cose_key();
    let within = payload.windows(cose_key.len()).position(|window| window == cose_key).unwrap();
    let (before, after) = (&payload[..within - 3], &payload[within + cose_key.len()..]);
    assert_eq!(payload[within - 3..within], [0x59, 0x07, 0xaa]);
    for (outer, inner, body) in
        [(0xa9, 0x9f, &cose_key[10..cose_key.len() - 1]), (0xab, 0xa1, &[&cose_key[10..], &[7]].concat())]
    {
        let head = &[0x59, 0x07, outer][..];
        let changed = [before, head, &cose_key[..9], &[inner], body, after].concat();
        let error = decode_payload(&changed).unwrap_err().to_string();
        assert!(error.contains("1,952"), "{error}");
    }
    let text = source::zone_to_toml(zone).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let short = [&cose_key[..9], &[0x9f], &cose_key[10..cose_key.len() - 1]].concat();
    let changed = text.replace(&hex(&cose_key), &hex(&short));
    assert_ne!(text, changed);
    let error = source::parse_zone_toml(&changed).unwrap_err().to_string();
    assert!(error.contains("1,952"), "{error}");
}

#[test]
fn the_toml_form_refuses_misspelt_fields_and_names_line_and_reason() {
    let text = source::zone_to_toml(&full().zones[1]).unwrap();
    let error = |text: String| source::parse_zone_toml(&text).unwrap_err().to_string();
    assert!(error(text.replace("rule =", "rulle =")).contains("unknown field `rulle`"));
    let wrong = error(text.replace("\"147130000000\"", "\"14713000000x\""));
    assert!(wrong.contains("line ") && wrong.contains("character 12"), "{wrong}");
    assert!(error(text.replace("key = \"a", "key = \"b")).contains("COSE_Key"));
    assert!(error(text.replace("2026-01-01T00:00:00Z", "2026-01-01")).contains("is not an instant"));
}

#[test]
fn payloads_with_critical_or_wrong_fields_are_refused_and_unknown_ones_skipped() {
    let zone = ZoneSnapshot::empty("de".parse().unwrap(), 1, NOW, days(1));
    let good = encode_payload(&zone);
    assert_eq!(good[0], 0xa5, "a map of five pairs");
    let with = |pair: &[u8], count: u8| [&[0xa0 + count], &good[1..], pair].concat();
    assert_eq!(decode_payload(&with(&[0x18, 0x64, 0x01], 6)).unwrap(), zone, "key 100 is skipped");
    let critical = decode_payload(&with(&[0x20, 0x01], 6)).unwrap_err().to_string();
    assert!(critical.contains("critical key -1"), "{critical}");
    assert!(
        decode_payload(&with(&[0x09, 0x80], 6)).unwrap_err().to_string().contains("is empty and has to be omitted")
    );
    assert!(decode_payload(&with(&[0x01, 0x80], 6)).unwrap_err().to_string().contains("ascend"));
    assert!(decode_payload(&with(&[0x00], 5)).unwrap_err().to_string().contains("bytes follow"));
    let future = [&good[..2], &[0x02], &good[3..]].concat();
    assert!(decode_payload(&future).unwrap_err().to_string().contains("format: 2 is not known"));
    let mut world = full();
    world.zones[1].routes[0].rule = "x".repeat(65).into();
    let long = decode_payload(&encode_payload(&world.zones[1])).unwrap_err().to_string();
    assert!(long.starts_with("route 0: "), "{long}");
}

#[test]
fn only_one_encoding_of_an_envelope_is_read() {
    let world = full();
    let good = world.sign_zone(&world.zones[1]);
    assert_eq!(&good[..3], &[0xd8, 98, 0x84]);
    let longer = [&[0xd9, 0, 98], &good[2..]].concat();
    let untagged = good[2..].to_vec();
    let trailing = [&good[..], &[0]].concat();
    for bytes in [longer, untagged, trailing, Vec::new()] {
        let error = SignedSnapshot::open(Bytes::from(bytes)).unwrap_err().to_string();
        assert!(error.contains("is not a signed snapshot"), "{error}");
    }
    assert!(snapshot::sign(&world.zones[1], &[]).is_err());
}

#[test]
fn a_folder_is_read_verified_and_its_floor_survives() {
    let folder = tempfile::tempdir().unwrap();
    let (path, floor_path) = (folder.path(), folder.path().join("floor.toml"));
    let mut world = full();
    let anchor = source::anchor_to_toml(&world.anchor).unwrap();
    source::write_atomically(&path.join(source::ANCHOR_FILE), anchor.as_bytes()).unwrap();
    assert!(matches!(source::load_dir(path), Err(SourceError::Content { .. })), "no zones yet");
    for zone in &world.zones {
        source::write_zone(path, &zone.zone, &world.sign_zone(zone)).unwrap();
    }
    assert_eq!(source::load_anchor(&path.join(source::ANCHOR_FILE)).unwrap(), world.anchor);
    let mut floor = source::load_floor(&floor_path).unwrap();
    assert_eq!(floor, SerialFloor::new());
    let directory = source::load_dir(path).unwrap().verify(&floor, NOW).unwrap();
    floor.raise(&directory);
    source::store_floor(&floor_path, &floor).unwrap();
    assert_eq!(source::load_floor(&floor_path).unwrap(), floor);
    world.zones[0].serial = 0;
    source::write_zone(path, &world.zones[0].zone, &world.sign_zone(&world.zones[0])).unwrap();
    std::fs::write(path.join("broken.zone"), b"nothing").unwrap();
    let errors = source::load_dir(path).unwrap().verify(&floor, NOW).unwrap_err().to_string();
    assert!(
        errors.contains("broken.zone: is not a signed snapshot") && errors.contains("serial 0 is older"),
        "{errors}"
    );
    std::fs::write(&floor_path, "zone = 7").unwrap();
    assert!(source::load_floor(&floor_path).is_err(), "a damaged floor is not an empty one");
}

#[test]
fn a_source_folder_is_read_whole_and_all_faults_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for zone in &full().zones {
        std::fs::write(folder.path().join(format!("{}.toml", zone.zone)), source::zone_to_toml(zone).unwrap()).unwrap();
    }
    assert_eq!(source::load_sources(folder.path()).unwrap().len(), 2);
    for name in ["x.toml", "y.toml"] {
        std::fs::write(folder.path().join(name), "zone = 1").unwrap();
    }
    assert_eq!(source::load_sources(folder.path()).unwrap_err().len(), 2);
}

#[test]
fn a_table_knows_principals_keys_identities_and_grants() {
    let world = full();
    let table = world.table(days(1));
    let bund = table.endpoint("de/bund").unwrap();
    let entry = table.endpoint_entry(bund).unwrap();
    let (owner, key) = table.key(&entry.keys[0].id).unwrap();
    assert_eq!((owner, key.id), (KeyOwner::Endpoint(bund), entry.keys[0].id));
    assert!(key.signs_at(days(100)) && !key.signs_at(days(101)) && key.verifies_at(days(101)));
    assert!(!entry.keys[1].signs_at(days(1)) && !entry.keys[1].verifies_at(days(1)), "revoked");
    let uri = "uri:spiffe://kern.example/bund".parse().unwrap();
    assert_eq!(table.identity(&uri), Some(&IdentityUse::Endpoints(vec![bund])));
    let router = table.router("de/router/r1").unwrap();
    assert!(router.lost);
    assert_eq!(table.identity(&router.identities[0]), Some(&IdentityUse::Router(router.id.clone())));
    let (key, place) = (service("99050012104001"), ars("147130000000"));
    assert_eq!(table.grant(bund, key, place), Some(Some(Assurance::Substantial)));
    let leipzig = table.endpoint("sn/leipzig").unwrap();
    assert_eq!(table.grant(leipzig, key, place), None);
    assert!(!table.may_reply(bund) && table.may_reply(leipzig));
    assert!(table.responsible(key, place, leipzig) && table.responsible(key, place, bund));
    assert!(!table.responsible(key, ars("145230010010"), leipzig));
    assert_eq!(table.degraded(days(365)), Vec::<String>::new());
    assert_eq!(table.degraded(days(366)), ["de", "sn"]);
}

#[test]
fn a_diff_names_what_was_added_removed_and_changed() {
    let old = full().verify().unwrap();
    let mut world = full();
    world.zones[0].serial = 2;
    world.zones[1].routes[0].valid_until = Some(days(9));
    world.zones[1].routes.push(route("more", "99051", "14", &["sn/leipzig"]));
    let new = world.verify().unwrap();
    let diff = DirectoryDiff::between(&old, &new);
    assert_eq!(diff.routes.added, ["sn/more"]);
    assert_eq!(diff.routes.changed[0].differences, ["valid until: no end → 2026-01-10T00:00:00Z"]);
    assert_eq!(DirectoryDiff::between(&new, &old).routes.removed, ["sn/more"]);
    assert!(DirectoryDiff::between(&new, &new).is_empty());
    assert!(diff.to_string().contains("+ route sn/more\n"), "{diff}");
}

#[test]
fn the_archive_serves_old_versions_and_stays_within_its_limits() {
    let mut archive = Archive::new(ArchiveLimits { most_versions: 2, most_bytes: 1 << 20 });
    let mut world = full();
    let unchanged = world.sign_zone(&world.zones[1]);
    let mut kept = Vec::new();
    for serial in 1..=3 {
        world.zones[0].serial = serial;
        let signed = [world.sign_zone(&world.zones[0]), unchanged.clone()];
        let directory = world.verify_signed(&signed).unwrap();
        archive.insert(&directory);
        archive.insert(&directory);
        kept.push(directory);
    }
    assert_eq!(archive.versions().count(), 2);
    assert!(archive.version(&kept[0].version()).is_none());
    assert!(archive.snapshot(&kept[0].versions()[0].digest).is_none(), "only the dropped version used it");
    assert_eq!(archive.snapshot(&Digest::of(&unchanged)), Some(unchanged.clone()));
    assert_eq!(archive.version(&kept[1].version()).unwrap(), kept[1].versions());
    let again = world.verify_signed(&archive.snapshots_of(&kept[1].version()).unwrap()).unwrap();
    assert_eq!(again.version(), kept[1].version());
    let expected: usize = kept[1..].iter().map(|d| d.signed()[0].len()).sum::<usize>() + unchanged.len();
    assert_eq!(archive.bytes(), expected, "a snapshot of two versions counts once");
    let mut tiny = Archive::new(ArchiveLimits { most_versions: 9, most_bytes: 1 });
    kept.iter().for_each(|directory| tiny.insert(directory));
    assert_eq!(tiny.versions().collect::<Vec<_>>(), [&kept[2].version()], "the newest always stays");
}

proptest! {
    #[test]
    fn no_bytes_make_the_loader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = SignedSnapshot::open(Bytes::from(bytes.clone()));
        if let Ok(zone) = decode_payload(&bytes) {
            prop_assert_eq!(decode_payload(&encode_payload(&zone)).unwrap(), zone);
        }
    }

    #[test]
    fn no_change_of_a_byte_makes_the_loader_panic_or_the_directory_good(place: prop::sample::Index, change in 1u8..) {
        let world = full();
        let mut signed = world.sign();
        let mut bytes = signed[1].to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        signed[1] = bytes.into();
        prop_assert!(world.verify_signed(&signed).is_err());
    }
}
