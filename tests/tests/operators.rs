//! What do operators see of messages in custody, and what can they do about them? A real router, its spool, and the commands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kernpost_codecs::archive::{ProofFile, verify_archive};
use kernpost_codecs::{Code, MessageRef, Outcome, Receipt};
use kernpost_tests::process::{Operator, Settings, wait_until};
use kernpost_tests::scene::{FOR_ABSENT, Scene};
use kernpost_tests::wire_client::{Letter, Link};
use serde_json::Value;

const PAYLOAD: &[u8] = b"Leberwurst";
const CASE: &[u8] = b"Aktenzeichen";
const MAILBOX: &[u8] = b"Briefkasten";

/// A router that takes custody, and three messages in it, by name, for somebody who is not there.
async fn with_three_held(more: &Settings) -> (Scene, Link, Vec<String>) {
    let mut scene = Scene::new();
    scene.network.publish();
    let settings = scene.network.custody("r1").overridden_by(more);
    scene.network.start("r1", &settings);
    let mut portal = scene.portal_at("r1").await;
    let letters: Vec<Letter> = (0..3_u8)
        .map(|number| {
            let mut message = scene.message(&portal, FOR_ABSENT);
            (message.case, message.mailbox) = (Some([CASE, &[number]].concat().into()), Some(MAILBOX.into()));
            Letter::new(message, PAYLOAD)
        })
        .collect();
    let settled = portal.outcomes(&scene.bundle(&letters)).await;
    for one in &settled {
        assert_eq!(one.receipt().outcome, Outcome::Custody);
    }
    let id = |letter: &Letter| MessageRef::parse(&letter.statement).unwrap().id;
    let names = letters.iter().map(|letter| format!("de/portal:{}", id(letter))).collect();
    (scene, portal, names)
}

fn names(page: &Value) -> Vec<String> {
    let lines = page["lines"].as_array().unwrap().iter();
    lines.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_show_who_waits_for_whom_and_never_what_was_written() {
    let (scene, _portal, held) = with_three_held(&Settings::new()).await;
    let operator = scene.network.operator("r1");
    let page = operator.json(&["list"]);
    assert_eq!((names(&page), page["next"].is_null()), (held.clone(), true), "{page}");
    let line = &page["lines"][0];
    assert_eq!((&line["waits_for"][0], &line["class"]), (&"de/absent".into(), &"interactive".into()));
    assert_eq!((&line["state"], line["bytes"].as_u64() > Some(256)), (&"waiting".into(), true), "{line}");
    let counts = |arguments: &[&str]| names(&operator.json(&[&["list"], arguments].concat())).len();
    assert_eq!(counts(&["--recipient", "de/absent", "--sender", "de/portal", "--class", "interactive"]), 3);
    for none in [
        ["--recipient", "de/office"],
        ["--sender", "de/office"],
        ["--class", "bulk"],
        ["--older-than", "1d"],
        ["--after", "1000000"],
    ] {
        assert_eq!(counts(&none), 0, "{none:?}");
    }
    assert_eq!((counts(&["--ended"]), counts(&["--receipts"])), (0, 0));
    assert_eq!(operator.json(&["list", "--quarantined"])["records"].as_array().unwrap().len(), 0);
    let text = operator.run(&["list"]).out;
    assert!(text.contains(&held[0]) && text.contains("3 shown"), "{text}");
    assert_silent(&text);
    scene.network.stop();
}

/// Nothing of what was written, in any usual form.
#[track_caller]
fn assert_silent(text: &str) {
    for marker in [PAYLOAD, CASE, MAILBOX] {
        let hex: String = marker.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = marker.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        for trace in [String::from_utf8(marker.to_vec()).unwrap(), hex.to_uppercase(), hex, list] {
            let line = text.lines().find(|line| line.contains(&trace));
            assert_eq!(line, None, "{} shows", String::from_utf8_lossy(marker));
        }
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_shown_and_exported_with_its_proof_and_that_stays_on_record() {
    let (scene, _portal, held) = with_three_held(&Settings::new()).await;
    let operator = scene.network.operator("r1");
    let page = operator.json(&["show", &held[1]]);
    assert_eq!(page["held"]["message"], held[1].as_str());
    let statement = &page["statement"];
    assert_eq!((&statement["service"], &statement["payload_held"]), (&FOR_ABSENT.into(), &true.into()));
    assert_eq!(statement["case_hex"], "416b74656e7a65696368656e01");
    assert_eq!(page["history"].as_array().unwrap().len(), 1);
    let shown = operator.run(&["show", &held[1]]).out;
    assert!(shown.contains("signed by") && shown.contains("custody (this router)"), "{shown}");
    assert!(!shown.contains("Leberwurst"), "{shown}");

    let out = scene.network.folder().join("exported");
    let files = operator.json(&["export", &held[1], "--out", out.to_str().unwrap()]);
    assert_eq!(files.as_array().unwrap().len(), 3, "{files}");
    assert_eq!(std::fs::read(out.join("payload")).unwrap(), PAYLOAD);
    assert_eq!((mode(&out), mode(&out.join("payload"))), (0o700, 0o600));
    let statement = std::fs::read(out.join("statement.cbor")).unwrap();
    let proof = std::fs::read(out.join("statement.proof1.cose")).unwrap();
    verify_archive(&proof, &statement, scene.key(&scene.portal).public()).unwrap();
    let again = operator.run(&["export", &held[1], "--out", out.to_str().unwrap()]);
    assert_eq!(again.code, 1, "nothing is overwritten: {again:?}");

    let unknown = operator.run(&["show", "de/portal:019a0000-0000-7000-8000-000000000001"]);
    assert!(unknown.code == 1 && unknown.err.contains("is not in custody of this router"), "{unknown:?}");
    assert_eq!(acts(&operator), ["show", "show", "export", "export"]);
    scene.network.stop();
}

/// Names of the acts on record.
fn acts(operator: &Operator) -> Vec<String> {
    let log = operator.run(&["audit", "--json"]).out;
    let acts = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    acts.map(|line| line["act"]["act"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_given_up_by_two_people_and_never_by_one() {
    let group = rustix::process::getgid().as_raw();
    let settings = Settings::new().with("admin.operators_group", group.to_string()).with("log.filter", "trace");
    let (scene, mut portal, held) = with_three_held(&settings).await;
    let folder = scene.network.folder();
    assert_eq!(mode(&folder.join("r1.sock")), 0o660);
    let anna = scene.network.operator("r1");
    let without_reason = anna.run(&["discard", &held[0]]);
    assert_eq!(without_reason.code, 2, "{without_reason:?}");
    let proposal = anna.json(&["discard", &held[0], "--reason", "by order of a court"]);
    let number = proposal["number"].to_string();
    assert_eq!(names(&anna.json(&["list"])).len(), 3, "nothing has happened yet");
    let alone = anna.run(&["discard", "--confirm", &number]);
    assert!(alone.code == 1 && alone.err.contains("somebody else has to confirm it"), "{alone:?}");
    assert!(anna.run(&["discard", "--list"]).out.contains("by order of a court"));
    let unknown = anna.run(&["discard", "--confirm", "77"]);
    assert!(unknown.err.contains("there is no proposal 77"), "{unknown:?}");

    if !rustix::process::getuid().is_root() {
        println!("not root: nobody else is there to confirm");
        scene.network.stop();
        return;
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711)).unwrap();
    let ben = anna.somebody_else(54_321, group, folder);
    let stranger = anna.somebody_else(54_322, 54_322, folder).run(&["list"]);
    assert!(stranger.code == 1 && stranger.err.contains("only the router's user, root and"), "{stranger:?}");
    let done = ben.json(&["discard", "--confirm", &number]);
    assert_eq!(done["discarding"][0], held[0].as_str(), "{done}");
    wait_until("the message has ended", || (names(&anna.json(&["list", "--ended"])) == held[..1]).then_some(()));
    assert_eq!(names(&anna.json(&["list"])), held[1..]);
    let again = ben.run(&["discard", "--confirm", &number]);
    assert!(again.err.contains("there is no proposal"), "{again:?}");
    let ended = anna.run(&["discard", &held[0], "--reason", "again"]);
    assert!(ended.err.contains("it has its final outcome"), "{ended:?}");

    // The sender gets the receipt, and notes it.
    let arrival = portal.receive().await;
    assert_eq!(Receipt::parse(&arrival.part.entries()[0].statement).unwrap().outcome, Outcome::Discarded);
    assert_eq!(names(&anna.json(&["list", "--receipts"])), held[..1]);
    portal.settle(&arrival, Code::NOTED).await;
    wait_until("the receipt is noted", || names(&anna.json(&["list", "--receipts"])).is_empty().then_some(()));

    // It is this router's, and proves it together with the message.
    let page = anna.json(&["show", &held[0]]);
    assert_eq!(page["held"]["state"], "discarded");
    assert_eq!((&page["history"][1]["what"], &page["history"][1]["by"]), (&"discarded".into(), &"de/router/r1".into()));
    assert_eq!(page["history"][2]["what"], "the sender's side has the receipt");
    let out = folder.join("exported");
    anna.json(&["export", &held[0], "--out", out.to_str().unwrap()]);
    assert!(!out.join("payload").exists(), "it went with the end");
    let file = ProofFile::parse(&std::fs::read(out.join("proof.kpr")).unwrap()).unwrap();
    let world = &scene.network.world;
    let keys: Vec<_> = world.router_keys.values().chain(world.keys.values()).map(|key| key.public().clone()).collect();
    let proven = file.verify(|kid| keys.iter().find(|key| key.id() == *kid).cloned()).unwrap();
    assert_eq!((proven.receipt.outcome, proven.message_signers.len()), (Outcome::Discarded, 1));
    assert_eq!(proven.receipt.problem.as_deref(), Some("by order of a court"));

    // Who did what is on record here and in the process's log, and what was written is in neither.
    let entries = anna.run(&["audit"]).out;
    let discard = entries.lines().find(|line| line.contains("  discard")).unwrap();
    assert!(discard.contains("(uid 0)") && discard.contains("confirmed by 54321 (uid 54321)"), "{discard}");
    assert_eq!(acts(&anna), ["propose-discard", "discard", "show", "export"]);
    let log = scene.network.router("r1").log();
    let audited = log.lines().filter(|line| line.contains("\"target\":\"audit\""));
    assert_eq!(audited.count(), 4);
    assert_silent(&log);
    assert_silent(&entries);
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redelivery_rotation_and_the_log_survive_a_restart() {
    let (mut scene, portal, held) = with_three_held(&Settings::new()).await;
    let operator = scene.network.operator("r1");
    assert_eq!(operator.json(&["redeliver", "--all"])["not_waiting"].as_array().unwrap().len(), 0);
    let tried = operator.json(&["redeliver", &held[2], "de/portal:019a0000-0000-7000-8000-000000000001"]);
    assert_eq!(tried["not_waiting"].as_array().unwrap().len(), 1, "{tried}");
    assert!(operator.json(&["rotate"])["secrets"].as_u64() >= Some(1));
    let verified = operator.run(&["audit", "--verify"]);
    assert!(verified.code == 0 && verified.out.starts_with("3 entries, each follows"), "{verified:?}");
    portal.leave();
    scene.network.take("r1").stop();
    let gone = operator.run(&["list"]);
    assert!(gone.code == 1 && gone.err.contains("is the router running"), "{gone:?}");

    // Another master key, the one before known: then it alone suffices.
    let folder = scene.network.folder().to_owned();
    let text = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    kernpost_router::pki::write_private(&folder.join("other.key"), &"5e".repeat(32)).unwrap();
    let changed = scene.network.custody("r1").with("custody.master_key", text("other.key"));
    let both = changed.clone().with("custody.previous_master_keys", vec![text("r1-master.key")]);
    scene.network.start("r1", &both);
    operator.json(&["rotate"]);
    scene.network.take("r1").stop();
    scene.network.start("r1", &changed);
    assert_eq!(names(&operator.json(&["list"])), held);
    assert_eq!(acts(&operator), ["redeliver", "redeliver", "rotate", "rotate"]);
    assert_eq!(operator.run(&["audit", "--verify"]).code, 0);
    scene.network.stop();
}
