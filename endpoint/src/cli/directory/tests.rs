#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use clap::Parser;
use kernpost_codecs::EndpointId;
use kernpost_codecs::key::Algorithm;
use kernpost_routing_table::Scope;
use kernpost_routing_table::model::{Budgets, EndpointEntry, KeyEntry, RouteEntry, VERIFY_MARGIN_MS};
use kernpost_routing_table::source::{anchor_to_toml, zone_to_toml};

use super::*;

const START: UnixMs = UnixMs(1_800_000_000_000);
const DAY_MS: u64 = 86_400_000;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: DirectoryCommand,
}

/// A folder with two maintainers' keys, a trust anchor and one zone source.
struct Desk {
    folder: tempfile::TempDir,
    zone: ZoneSnapshot,
}

impl Desk {
    fn new() -> Self {
        let mut zone =
            ZoneSnapshot::empty("de".parse().unwrap(), 1, START.minus_ms(DAY_MS), START.plus_ms(90 * DAY_MS));
        zone.endpoints.push(endpoint("de/amt"));
        zone.routes.push(route("leipzig", "14713", "de/amt"));
        let desk = Self { folder: tempfile::tempdir().unwrap(), zone };
        for name in ["one.pem", "two.pem"] {
            desk.ok(&format!("key @/{name} --algorithm Ed25519"));
        }
        let keys = ["one.pem", "two.pem"].map(|name| read_key(&desk.path(name)).unwrap().public().clone());
        let maintainers = Maintainers { keys: keys.into(), threshold: 2 };
        let anchor = TrustAnchor { root_zone: "de".parse().unwrap(), maintainers, minimum_serial: 1 };
        std::fs::write(desk.path("trust-anchor.toml"), anchor_to_toml(&anchor).unwrap()).unwrap();
        desk.write();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self) {
        std::fs::write(self.path("de.toml"), zone_to_toml(&self.zone).unwrap()).unwrap();
    }

    /// Runs a command line in which `@` stands for the folder.
    fn run(&self, line: &str) -> Result<(ExitCode, String)> {
        let root = self.folder.path().display().to_string();
        let words = std::iter::once("directory".to_owned()).chain(line.split(' ').map(|word| word.replace('@', &root)));
        let command = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).command;
        let mut out = Vec::new();
        let code = run_to(command, START, &mut out)?;
        Ok((code, String::from_utf8(out).unwrap()))
    }

    fn ok(&self, line: &str) -> String {
        let (code, text) = self.run(line).unwrap();
        assert_eq!(code, ExitCode::SUCCESS, "{text}");
        text
    }

    fn fails(&self, line: &str) -> String {
        let (code, text) = self.run(line).unwrap();
        assert_eq!(code, ExitCode::FAILURE, "{text}");
        text
    }

    fn sign_by_both(&self) {
        self.ok("build --source @/de.toml --out @/unsigned");
        self.ok("sign @/unsigned/de.unsigned --key @/one.pem --out @/directory");
        self.ok("sign @/unsigned/de.unsigned --key @/two.pem --out @/directory");
    }
}

fn endpoint(id: &str) -> EndpointEntry {
    let key = SigningKey::generate(Algorithm::Esp256).unwrap();
    let sign_until = START.plus_ms(365 * DAY_MS);
    EndpointEntry {
        id: id.parse::<EndpointId>().unwrap(),
        keys: vec![KeyEntry {
            key: key.public().clone(),
            not_before: START.minus_ms(DAY_MS),
            sign_until,
            verify_until: sign_until.plus_ms(VERIFY_MARGIN_MS),
            revoked: false,
        }],
        required_algorithms: Vec::new(),
        encryption_keys: Vec::new(),
        identities: Vec::new(),
        grants: Vec::new(),
        reply_grant: None,
        budgets: Budgets::default(),
    }
}

fn route(rule: &str, jurisdiction: &str, endpoint: &str) -> RouteEntry {
    RouteEntry {
        rule: rule.into(),
        scope: Scope { service: "99050012".parse().unwrap(), jurisdiction: jurisdiction.parse().unwrap() },
        valid_from: START,
        valid_until: None,
        endpoints: [endpoint.parse().unwrap()].into(),
        min_assurance: None,
        encryption_required: false,
    }
}

const VERIFY: &str = "verify --directory @/directory --trust-anchor @/trust-anchor.toml";
const LOOKUP: &str = "lookup --directory @/directory --trust-anchor @/trust-anchor.toml --service 99050012104000";

#[test]
fn a_key_is_readable_by_its_owner_only_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    let mode = std::fs::metadata(desk.path("one.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(desk.run("key @/one.pem").is_err());
    let shown = desk.ok("key @/one.pem --show");
    let id = read_key(&desk.path("one.pem")).unwrap().public().id();
    assert!(shown.contains(&id.to_string()) && shown.contains("key = \""), "{shown}");
}

#[test]
fn a_zone_goes_from_source_over_two_maintainers_to_an_answer() {
    let desk = Desk::new();
    let alone = desk.ok("build --source @/de.toml --out @/unsigned");
    assert!(alone.contains("checked alone") && alone.contains("serial 1"), "{alone}");
    let first =
        desk.ok("sign @/unsigned/de.unsigned --key @/one.pem --out @/directory --trust-anchor @/trust-anchor.toml");
    assert!(first.contains("1 of 2 signatures"), "{first}");
    let refused = desk.fails(VERIFY);
    assert!(refused.contains("signed by 1 of 2 maintainers, 2 are needed"), "{refused}");
    desk.ok("sign @/directory/de.zone --key @/two.pem --out @/directory");
    let verified = desk.ok(VERIFY);
    assert!(verified.contains("2 of 2") && verified.contains("1 endpoints, 0 routers, 1 routes"), "{verified}");
    let found = desk.ok(&format!("{LOOKUP} --jurisdiction 147130000000"));
    assert!(found.contains("rule leipzig of zone de"), "{found}");
}

#[test]
fn the_second_maintainer_may_sign_the_same_unsigned_zone() {
    let desk = Desk::new();
    desk.sign_by_both();
    desk.ok(VERIFY);
}

#[test]
fn lookup_says_nobody_with_exit_status_3_and_the_documented_json() {
    let desk = Desk::new();
    desk.sign_by_both();
    let (code, _) = desk.run(&format!("{LOOKUP} --jurisdiction 145110000000")).unwrap();
    assert_eq!(code, ExitCode::from(3));
    let json: serde_json::Value =
        serde_json::from_str(&desk.ok(&format!("{LOOKUP} --jurisdiction 147130000000 --json"))).unwrap();
    assert_eq!(json["decision"]["rule"], "leipzig");
    assert_eq!(json["decision"]["endpoints"][0], "de/amt");
    for field in ["service", "jurisdiction", "generation", "candidates"] {
        assert!(json.get(field).is_some(), "{field} in {json}");
    }
    let (code, _) = desk.run(&format!("{LOOKUP} --jurisdiction 147130000000 --at 2027-01-14T12:00:00Z")).unwrap();
    assert_eq!(code, ExitCode::from(3), "the rule begins a day later");
}

#[test]
fn build_names_everything_that_is_wrong_at_once_and_writes_nothing() {
    let mut desk = Desk::new();
    desk.zone.routes.push(route("leipzig", "14", "de/amt"));
    desk.zone.endpoints.push(endpoint("sn/amt"));
    desk.write();
    let found = desk.fails("build --source @/de.toml --out @/unsigned");
    assert!(found.contains("another route of this zone has this name"), "{found}");
    assert!(found.contains("is not in the namespace of its zone"), "{found}");
    assert!(!desk.path("unsigned").exists());
}

#[test]
fn build_says_what_changes_and_asks_for_a_higher_serial() {
    let mut desk = Desk::new();
    desk.sign_by_both();
    let same = desk.ok("build --source @/de.toml --directory @/directory");
    assert!(same.contains("nothing to sign"), "{same}");
    desk.zone.routes.push(route("sachsen", "14", "de/amt"));
    desk.write();
    let found = desk.fails("build --source @/de.toml --directory @/directory --out @/unsigned");
    assert!(found.contains("write serial = 2"), "{found}");
    desk.zone.serial = 2;
    desk.write();
    let changes = desk.ok("build --source @/de.toml --directory @/directory --out @/unsigned");
    assert!(changes.contains("+ route de/sachsen") && changes.contains("serial: 1 → 2"), "{changes}");
}

#[test]
fn zones_are_checked_together_with_those_signed_already() {
    let desk = Desk::new();
    desk.sign_by_both();
    let sn = ZoneSnapshot::empty("sn".parse().unwrap(), 1, START, START.plus_ms(DAY_MS));
    std::fs::write(desk.path("sn.toml"), zone_to_toml(&sn).unwrap()).unwrap();
    let found = desk.fails("build --source @/sn.toml --directory @/directory");
    assert!(found.contains("not one directory") && found.contains("sn, de"), "{found}");
}

#[test]
fn another_content_under_a_signed_serial_is_not_signed() {
    let mut desk = Desk::new();
    desk.sign_by_both();
    desk.zone.routes.clear();
    desk.write();
    let error = desk.run("sign @/de.toml --key @/one.pem --out @/directory").unwrap_err();
    assert!(format!("{error:#}").contains("higher serial"), "{error:#}");
}

#[test]
fn verify_warns_of_zones_that_end_soon_and_of_those_that_ended() {
    let desk = Desk::new();
    desk.sign_by_both();
    let soon = desk.ok(&format!("{VERIFY} --at 2027-04-10T00:00:00Z"));
    assert!(soon.contains("warning: zone de ends 2027-04-15"), "{soon}");
    let ended = desk.ok(&format!("{VERIFY} --at 2027-05-10T00:00:00Z"));
    assert!(ended.contains("warning: zone de ended"), "{ended}");
}

#[test]
fn verify_as_json_lists_findings_or_zones() {
    let desk = Desk::new();
    desk.sign_by_both();
    let good: serde_json::Value = serde_json::from_str(&desk.ok(&format!("{VERIFY} --json"))).unwrap();
    assert_eq!((&good["verified"], &good["zones"][0]["signed_by"]), (&true.into(), &2.into()));
    let mut bytes = std::fs::read(desk.path("directory/de.zone")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(desk.path("directory/de.zone"), bytes).unwrap();
    let bad: serde_json::Value = serde_json::from_str(&desk.fails(&format!("{VERIFY} --json"))).unwrap();
    assert_eq!((&bad["verified"], &bad["count"]), (&false.into(), &1.into()));
}

#[test]
fn keys_of_every_algorithm_are_made_shown_and_sign_zones() {
    let desk = Desk::new();
    for algorithm in Algorithm::ALL {
        let made = desk.ok(&format!("key @/{algorithm}.pem --algorithm {algorithm}"));
        assert!(made.starts_with(&format!("# {algorithm}, key id ")), "{made}");
        assert_eq!(desk.ok(&format!("key @/{algorithm}.pem --show")), made);
        assert_eq!(read_key(&desk.path(&format!("{algorithm}.pem"))).unwrap().algorithm(), algorithm);
    }
    let maintainers = ["ESP384.pem", "ML-DSA-65.pem"];
    let keys = maintainers.map(|name| read_key(&desk.path(name)).unwrap().public().clone());
    let maintainers = Maintainers { keys: keys.into(), threshold: 2 };
    let anchor = TrustAnchor { root_zone: "de".parse().unwrap(), maintainers, minimum_serial: 1 };
    std::fs::write(desk.path("trust-anchor.toml"), anchor_to_toml(&anchor).unwrap()).unwrap();
    desk.ok("build --source @/de.toml --out @/unsigned");
    desk.ok("sign @/unsigned/de.unsigned --key @/ESP384.pem --out @/directory");
    desk.ok("sign @/unsigned/de.unsigned --key @/ML-DSA-65.pem --out @/directory");
    desk.ok(VERIFY);
}
