#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
//! A small directory in a temporary folder, also for the tests of `check` and `admin`.

use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_codecs::{Ars, ServiceKey};
use kernpost_router_core::control::SnapshotSource;
use kernpost_routing_table::model::{Budgets, EndpointEntry, KeyEntry, Maintainers, RouteEntry, RouterEntry, Scope};
use kernpost_routing_table::source::{anchor_to_toml, write_zone};
use kernpost_routing_table::{ZoneSnapshot, snapshot};
use tempfile::TempDir;

use super::*;

/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: UnixMs = UnixMs(1_767_225_600_000);
const DAY: u64 = 86_400_000;

/// A zone `kern` with one endpoint, one rule, and routers.
pub(crate) struct TestDirectory {
    pub(crate) folder: TempDir,
    maintainers: [SigningKey; 2],
    endpoint_key: SigningKey,
    pub(crate) zone: ZoneSnapshot,
}

impl TestDirectory {
    pub(crate) fn new(now: UnixMs) -> Self {
        let generate = || SigningKey::generate(Algorithm::Esp256).unwrap();
        let maintainers = [generate(), generate()];
        let endpoint_key = generate();
        let mut zone = ZoneSnapshot::empty("kern".parse().unwrap(), 1, UnixMs(now.0 - DAY), UnixMs(now.0 + 30 * DAY));
        zone.endpoints.push(EndpointEntry {
            id: "kern/amt".parse().unwrap(),
            keys: vec![KeyEntry {
                key: endpoint_key.public().clone(),
                not_before: UnixMs(now.0 - DAY),
                sign_until: UnixMs(now.0 + 10 * DAY),
                verify_until: UnixMs(now.0 + 100 * DAY),
                revoked: false,
            }],
            required_algorithms: vec![],
            encryption_keys: vec![],
            identities: vec!["uri:spiffe://kern.example/kern/amt".parse().unwrap()],
            grants: vec![],
            reply_grant: None,
            budgets: Budgets::default(),
        });
        zone.routes.push(RouteEntry {
            rule: "leipzig".into(),
            scope: Scope { service: "99050".parse().unwrap(), jurisdiction: "14713".parse().unwrap() },
            valid_from: UnixMs(now.0 - DAY),
            valid_until: Some(UnixMs(now.0 + DAY)),
            endpoints: ["kern/amt".parse().unwrap()].into(),
            min_assurance: None,
            encryption_required: false,
        });
        let mut new = Self { folder: tempfile::tempdir().unwrap(), maintainers, endpoint_key, zone };
        for name in ["r1", "r2"] {
            new.add_router(name);
        }
        let anchor = TrustAnchor {
            root_zone: "kern".parse().unwrap(),
            maintainers: Maintainers {
                keys: new.maintainers.iter().map(|key| key.public().clone()).collect(),
                threshold: 2,
            },
            minimum_serial: 1,
        };
        std::fs::create_dir(new.paths().folder).unwrap();
        std::fs::write(new.paths().trust_anchor, anchor_to_toml(&anchor).unwrap()).unwrap();
        new.write();
        new
    }

    pub(crate) fn add_router(&mut self, name: &str) {
        self.zone.routers.push(RouterEntry {
            id: format!("kern/router/{name}").parse().unwrap(),
            identities: vec![format!("uri:spiffe://kern.example/kern/router/{name}").parse().unwrap()],
            addresses: vec!["[::1]:4713".to_owned()],
            keys: vec![],
            lost: false,
        });
    }

    pub(crate) fn paths(&self) -> DirectoryPaths {
        DirectoryPaths {
            folder: self.folder.path().join("zones"),
            trust_anchor: self.folder.path().join("trust-anchor.toml"),
            state: self.folder.path().join("state"),
        }
    }

    /// Signs the zone as it is with `signers` of its two maintainers and puts it into the folder.
    pub(crate) fn write_signed_by(&self, signers: usize) {
        let keys: Vec<&SigningKey> = self.maintainers.iter().take(signers).collect();
        let signed = snapshot::sign(&self.zone, &keys).unwrap();
        write_zone(&self.paths().folder, &self.zone.zone, &signed).unwrap();
    }

    pub(crate) fn write(&self) {
        self.write_signed_by(2);
    }

    fn start(&self) -> (LiveDirectory, Table) {
        let loaded = read(&self.paths(), NOW, 1).unwrap();
        (LiveDirectory::start(self.paths(), &loaded).unwrap(), loaded.table)
    }
}

fn route_key() -> (ServiceKey, Ars) {
    ("99050012104000".parse().unwrap(), "147130000000".parse().unwrap())
}

#[test]
fn a_new_serial_goes_live_and_survives_a_restart() {
    let mut test = TestDirectory::new(NOW);
    let (mut live, in_force) = test.start();
    assert!(matches!(live.refresh(&in_force, NOW), Refresh::Unchanged));
    test.zone.serial = 2;
    test.add_router("r3");
    test.write();
    let Refresh::Live(table) = live.refresh(&in_force, NOW) else {
        panic!("serial 2 goes live");
    };
    assert_eq!(table.generation(), 2);
    assert!(table.router("kern/router/r3").is_some());
    assert!(matches!(live.refresh(&table, NOW), Refresh::Unchanged));
    let again = read_last_good(&test.paths(), NOW, 1).unwrap();
    assert_eq!(again.directory.version(), live.directory().version());
}

#[test]
fn an_older_serial_is_refused_even_after_a_restart() {
    let mut test = TestDirectory::new(NOW);
    test.zone.serial = 5;
    test.write();
    drop(test.start());
    test.zone.serial = 4;
    test.write();
    let trouble = read(&test.paths(), NOW, 1).unwrap_err();
    assert!(trouble.to_string().contains("zone kern"), "{trouble}");
    assert!(trouble.to_string().contains("serial 4 is older than 5"), "{trouble}");
}

#[test]
fn a_refused_directory_changes_nothing_and_is_said_once() {
    let mut test = TestDirectory::new(NOW);
    let (mut live, in_force) = test.start();
    let before = live.directory().version();
    test.zone.serial = 2;
    test.write_signed_by(1);
    let Refresh::Refused(trouble) = live.refresh(&in_force, NOW) else {
        panic!("one signature is too few");
    };
    assert!(trouble.to_string().contains("signed by 1 of 2 maintainers"), "{trouble}");
    assert!(matches!(live.refresh(&in_force, NOW), Refresh::Unchanged));
    assert_eq!(live.directory().version(), before);
    test.write();
    assert!(matches!(live.refresh(&in_force, NOW), Refresh::Live(_)));
}

#[test]
fn the_table_is_compiled_again_when_a_rule_ends() {
    let test = TestDirectory::new(NOW);
    let (mut live, in_force) = test.start();
    let (service, jurisdiction) = route_key();
    let later = UnixMs(NOW.0 + DAY);
    assert!(matches!(live.refresh(&in_force, UnixMs(later.0 - 1)), Refresh::Unchanged));
    let Refresh::Live(table) = live.refresh(&in_force, later) else {
        panic!("the rule ends now");
    };
    assert_eq!(table.generation(), 2);
    assert!(table.lookup(service, jurisdiction).is_none());
    assert!(matches!(live.refresh(&table, later), Refresh::Unchanged));
}

#[test]
fn old_versions_are_served_after_a_restart_and_never_when_damaged() {
    let mut test = TestDirectory::new(NOW);
    let (live, _) = test.start();
    let old = live.directory().clone();
    drop(live);
    test.zone.serial = 2;
    test.write();
    drop(test.start());
    let history = History::open(&test.paths().history()).unwrap();
    let versions = history.version(&old.version()).unwrap();
    assert_eq!(versions, old.versions());
    let digest = versions[0].digest;
    assert_eq!(history.snapshot(&digest).as_ref(), old.signed().first());
    let file = test.paths().history().join(format!("{digest}.zone"));
    std::fs::write(file, b"damaged").unwrap();
    let reopened = History::open(&test.paths().history()).unwrap();
    assert_eq!(reopened.snapshot(&digest), None);
    let unknown = kernpost_codecs::Digest::of(b"unknown");
    assert_eq!(reopened.snapshot(&unknown), None);
    assert!(!test.endpoint_key.to_pkcs8_pem().unwrap().is_empty());
}
