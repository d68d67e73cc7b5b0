#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use kernpost_codecs::Code;
use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_endpoint::client::fresh_id;
use kernpost_endpoint::in_memory::InMemory;
use kernpost_endpoint::{Outgoing, Verdict, offline};
use kernpost_routing_table::Table;
use kernpost_routing_table::snapshot::{SignedSnapshot, sign};
use kernpost_routing_table::source::{anchor_to_toml, write_zone};

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: ReceiptCommand,
}

/// A folder with a real receipt in a proof file, the payload, and the directory it was issued in.
struct Desk {
    folder: tempfile::TempDir,
    network: InMemory,
    file: ProofFile,
}

impl Desk {
    fn of(verdict: Verdict) -> Self {
        let network = InMemory::builder()
            .endpoint("de/portal")
            .endpoint("sn/leipzig")
            .endpoint("sn/other")
            .route("99050012", "14713", &["sn/leipzig"])
            .start()
            .unwrap();
        let file = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(exchange(&network, verdict));
        let desk = Self { folder: tempfile::tempdir().unwrap(), network, file };
        desk.write_directory("directory");
        std::fs::write(desk.path("anchor.toml"), anchor_to_toml(desk.network.trust_anchor()).unwrap()).unwrap();
        std::fs::write(desk.path("payload"), "application").unwrap();
        desk.write_file();
        desk
    }

    fn new() -> Self {
        Self::of(Verdict::Accept)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_directory(&self, name: &str) {
        std::fs::create_dir_all(self.path(name)).unwrap();
        let directory = self.network.directory();
        for (zone, signed) in directory.versions().iter().zip(directory.signed()) {
            write_zone(&self.path(name), &zone.zone, signed).unwrap();
        }
    }

    fn write_file(&self) {
        std::fs::write(self.path("receipt"), self.file.encode()).unwrap();
    }

    fn run(&self, line: &str) -> Result<(ExitCode, String)> {
        let root = self.folder.path().display().to_string();
        let words = std::iter::once("receipt".to_owned()).chain(line.split(' ').map(|word| word.replace('@', &root)));
        let command = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).command;
        let mut out = Vec::new();
        let code = run_to(command, now(), &mut out)?;
        Ok((code, String::from_utf8(out).unwrap()))
    }

    fn verified(&self, line: &str) -> String {
        let (code, text) = self.run(line).unwrap();
        assert_eq!(code, ExitCode::SUCCESS, "{text}");
        assert!(text.contains("VERIFIED") && !text.contains("FAIL"), "{text}");
        text
    }

    /// Not verified, and only this check failed.
    fn fails_only(&self, line: &str, check: &str) -> String {
        let (code, text) = self.run(line).unwrap();
        assert_eq!(code, ExitCode::from(4), "{text}");
        let failed: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("FAIL ")).collect();
        assert!(failed.len() == 1 && failed[0].starts_with(check), "{text}");
        text
    }

    /// Both audits agree: the one that lists everything and the one that stops at the first fault.
    fn library_agrees(&self, verified: bool) {
        let directory = self.network.directory();
        let receipt = Receipt::parse(&self.file.receipt).unwrap();
        let table = Table::compile(directory, receipt.time, 1).unwrap();
        assert_eq!(offline::verify(&self.file, &table).is_ok(), verified);
    }
}

async fn exchange(network: &InMemory, verdict: Verdict) -> ProofFile {
    let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    let (service, place) = ("99050012104000".parse().unwrap(), "147130000000".parse().unwrap());
    let payload = Bytes::from_static(b"application");
    let sent =
        portal.send(Outgoing::new(fresh_id(), "de/portal".parse().unwrap(), service, place, payload)).await.unwrap();
    let delivery = leipzig.receive().await.unwrap();
    match verdict {
        Verdict::Accept => delivery.accept().await.unwrap(),
        Verdict::Reject { code, problem } => delivery.reject(code, problem).await.unwrap(),
    };
    let outcome = sent.outcome().await.unwrap();
    network.close(Duration::from_secs(5)).await;
    outcome.proof.unwrap().to_file()
}

const VERIFY: &str = "verify @/receipt --directory @/directory --trust-anchor @/anchor.toml";

#[test]
fn a_real_receipt_verifies_and_says_by_which_rule() {
    let desk = Desk::new();
    let text = desk.verified(&format!("{VERIFY} --payload @/payload"));
    for part in [
        "VERIFIED: delivered",
        "by rule route-1 of zone sn (99050012 × 14713)",
        "delivered by sn/leipzig",
        "ok   payload",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    desk.library_agrees(true);
}

#[test]
fn a_rejection_shows_code_and_problem() {
    let problem = Some("{\"title\":\"signature missing\"}\u{1b}[2J".to_owned());
    let desk = Desk::of(Verdict::Reject { code: Code(1_042), problem });
    let text = desk.verified(VERIFY);
    assert!(
        text.contains("VERIFIED: rejected") && text.contains("1042") && text.contains("signature missing"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "control characters reach the terminal");
}

#[test]
fn the_json_has_claims_rule_directory_and_every_check() {
    let desk = Desk::new();
    let (_, text) = desk.run(&format!("{VERIFY} --json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["verified"], &json["receipt"]["outcome"]), (&true.into(), &"delivered".into()));
    assert_eq!(
        (&json["responsible"]["rule"], &json["message"]["service"]),
        (&"route-1".into(), &"99050012104000".into())
    );
    assert_eq!(json["directory"].as_array().unwrap().len(), 3);
    let checks: Vec<&str> =
        json["checks"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap()).collect();
    let wanted = [
        "directory",
        "version",
        "receipt signature",
        "receipt key",
        "message signature",
        "message key",
        "same message",
        "issuer",
        "time",
    ];
    assert_eq!(checks, wanted);
}

#[test]
fn show_says_what_is_claimed_and_that_nothing_was_checked() {
    let desk = Desk::new();
    let (code, text) = desk.run("show @/receipt").unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(text.contains("not checked") && text.contains("delivered by sn/leipzig"), "{text}");
}

#[test]
fn a_changed_receipt_fails_its_signature_only() {
    let mut desk = Desk::new();
    let mut receipt = Receipt::parse(&desk.file.receipt).unwrap();
    receipt.time = receipt.time.plus_ms(1);
    desk.file.receipt = receipt.encode().into();
    desk.write_file();
    desk.fails_only(VERIFY, "receipt signature");
    desk.library_agrees(false);
}

#[test]
fn another_payload_is_noticed() {
    let desk = Desk::new();
    std::fs::write(desk.path("payload"), "another").unwrap();
    desk.fails_only(&format!("{VERIFY} --payload @/payload"), "payload");
}

#[test]
fn without_the_message_nobody_can_say_whether_the_issuer_was_responsible() {
    let mut desk = Desk::new();
    desk.file.message = None;
    desk.write_file();
    let (code, text) = desk.run(VERIFY).unwrap();
    assert_eq!(code, ExitCode::from(4));
    assert!(text.contains("FAIL issuer") && text.contains("ok   receipt signature"), "{text}");
    desk.library_agrees(false);
}

#[test]
fn a_folder_that_other_people_signed_is_refused() {
    let desk = Desk::new();
    let stranger = SigningKey::generate(Algorithm::Ed25519).unwrap();
    resign(&desk, "directory", "sn", &stranger, |zone| zone.serial += 1);
    let (code, text) = desk.run(VERIFY).unwrap();
    assert_eq!(code, ExitCode::from(4));
    assert!(text.contains("FAIL directory") && text.contains("FAIL version"), "{text}");
    assert!(text.contains("not checked"), "{text}");
}

#[test]
fn an_older_directory_version_is_asked_for_and_found_among_snapshots() {
    let desk = Desk::new();
    desk.write_directory("older");
    std::fs::remove_file(desk.path("directory/sn.zone")).unwrap();
    let text = desk.fails_only(VERIFY, "version");
    assert!(text.contains("--snapshots"), "{text}");
    let text = desk.verified(&format!("{VERIFY} --snapshots @/older"));
    assert!(text.contains("an older version"), "{text}");
}

#[test]
fn a_routers_history_names_the_zones_of_a_version() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.path("history")).unwrap();
    let directory = desk.network.directory();
    let mut list = String::new();
    for (zone, signed) in directory.versions().iter().zip(directory.signed()) {
        std::fs::write(desk.path("history").join(format!("{}.zone", zone.digest)), signed).unwrap();
        list.push_str(&format!("{} {} {}\n", zone.zone, zone.serial, zone.digest));
    }
    std::fs::write(desk.path("history").join(format!("{}.version", directory.version().0)), list).unwrap();
    std::fs::remove_file(desk.path("directory/sn.zone")).unwrap();
    desk.verified(&format!("{VERIFY} --snapshots @/history"));
}

#[test]
fn snapshots_that_do_not_hold_the_version_are_named() {
    let desk = Desk::new();
    std::fs::remove_file(desk.path("directory/sn.zone")).unwrap();
    let text = desk.fails_only(&format!("{VERIFY} --snapshots @/directory"), "version");
    assert!(text.contains("no combination"), "{text}");
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_a_verdict() {
    let desk = Desk::new();
    std::fs::write(desk.path("receipt"), b"no receipt").unwrap();
    assert!(desk.run(VERIFY).is_err());
    assert!(desk.run("show @/receipt").is_err());
    assert!(desk.run("show @/nothing").is_err());
    desk.write_file();
    assert!(desk.run("verify @/receipt --directory @/nowhere").is_err());
}

/// Changes a zone of a folder and has one key sign it.
fn resign(
    desk: &Desk,
    folder: &str,
    zone: &str,
    key: &SigningKey,
    change: impl FnOnce(&mut kernpost_routing_table::ZoneSnapshot),
) {
    let path = desk.path(folder).join(format!("{zone}.zone"));
    let mut snapshot = open(&path);
    change(&mut snapshot);
    std::fs::write(path, sign(&snapshot, &[key]).unwrap()).unwrap();
}

fn open(path: &Path) -> kernpost_routing_table::ZoneSnapshot {
    SignedSnapshot::open(std::fs::read(path).unwrap().into()).unwrap().into_snapshot()
}
