//! The command `kernpost` between real routers: what it sends, stores, rejects, replies and proves, how it ends, and what
//! it says about bad input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use kernpost_tests::client_process::{Desk, Gate, Ran};
use kernpost_tests::process::{Process, Settings, wait_until};
use kernpost_tests::scene::{FOR_ABSENT, FOR_OFFICE, FOR_X, FOR_Y, HELLO, Scene, WHERE};
use kernpost_tests::world::link_identity;

/// What every `send` to the office says.
const TO_OFFICE: [&str; 4] = ["--service", FOR_OFFICE, "--jurisdiction", WHERE];

/// The usual arguments and some more.
fn with<'a>(usual: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [usual, more].concat()
}

/// Stops what receives; its journal is whole and nothing went wrong.
fn stop(mut process: Process) {
    process.terminate();
    assert!(process.wait().success(), "{}", process.log());
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// `kernpost receipt verify FILE` with nothing but the signed directory.
fn verify(desk: &Desk, scene: &Scene, file: &str, more: &[&str]) -> Ran {
    let at = |name: &str| scene.network.folder().join(name).to_str().unwrap().to_owned();
    let (directory, anchor) = (at("directory"), at("trust-anchor.toml"));
    desk.run(&with(&["receipt", "verify", file, "--directory", &directory, "--trust-anchor", &anchor], more))
}

/// A portal at the first of two routers and an office at the second.
fn desks(scene: &Scene) -> (Desk, Desk) {
    let portal = Desk::new(scene, "portal", "portal", &[&scene.portal], &["r1"]);
    (portal, Desk::new(scene, "office", "office", &[&scene.office], &["r2"]))
}

/// The office receives; the portal's router knows.
fn receiving(scene: &Scene, office: &Desk, arguments: &[&str]) -> Process {
    let process = office.receive(arguments);
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    process
}

#[test]
fn an_application_is_delivered_over_two_routers_and_its_receipt_verifies_offline() {
    let mut scene = Scene::two_routers();
    let (portal, office) = desks(&scene);
    let receiving = receiving(&scene, &office, &["--into", "in"]);
    let application = portal.file("application", HELLO);
    let more = ["--json", "--receipt", "receipt", "--case", "Akte 7", "--assurance", "substantial", &application];
    let sent = portal.send(&with(&TO_OFFICE, &more), b"").expect(0).json();
    assert_eq!((&sent["outcome"], &sent["issuer"]), (&"delivered".into(), &"de/office".into()));
    stop(receiving);

    // What was stored says the same.
    let [stored] = office.list("in").try_into().unwrap();
    assert_eq!(std::fs::read(office.path("in").join(&stored).join("payload")).unwrap(), HELLO);
    let message = json(&office.path("in").join(&stored).join("message.json"));
    for (key, expected) in [
        ("id", sent["id"].as_str().unwrap()),
        ("sender", "de/portal"),
        ("recipient", "de/office"),
        ("service", FOR_OFFICE),
        ("jurisdiction", WHERE),
        ("assurance", "substantial"),
        ("case_hex", "416b74652037"),
    ] {
        assert_eq!(message[key], expected, "{key}");
    }

    // Nothing runs any more: the receipt stands for itself.
    for router in ["r1", "r2"] {
        assert_eq!(scene.network.take(router).stop().delivered, 1);
    }
    let verified = verify(&portal, &scene, "receipt", &["--payload", &application]).expect(0);
    assert!(verified.out.starts_with("VERIFIED: delivered"), "{verified:#?}");
    let other = portal.file("other", "Guten Abend");
    verify(&portal, &scene, "receipt", &["--payload", &other]).expect(4);
    let mut bytes = std::fs::read(portal.path("receipt")).unwrap();
    let at = bytes.windows(9).position(|window| window == b"de/office").unwrap();
    bytes[at + 3] = b'0';
    let forged = portal.file("forged", bytes);
    verify(&portal, &scene, &forged, &[]).expect(4);
}

#[test]
fn sending_needs_no_more_than_a_payload_on_standard_input_and_a_route_key() {
    let scene = Scene::one_router();
    let portal = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
    let office = Desk::new(&scene, "office", "office", &[&scene.office], &["r1"]);
    let receiving = office.receive(&["--accept", "--summary", "summary"]);
    let sent = portal.send(&TO_OFFICE, HELLO).expect(0);
    assert!(sent.out.starts_with("delivered: ") && sent.out.contains("durable at de/office"), "{sent:#?}");
    assert_eq!(sent.out.lines().count(), 1, "{sent:#?}");
    stop(receiving);
    let summary = json(&office.path("summary"));
    assert_eq!((&summary["handed"], &summary["accepted"], &summary["duplicates"]), (&1.into(), &1.into(), &0.into()));
    scene.network.stop();
}

#[test]
fn a_recipient_that_cannot_store_signs_no_receipt_until_it_can() {
    let scene = Scene::two_routers();
    let (portal, office) = desks(&scene);
    let receiving = receiving(&scene, &office, &["--into", "in"]);
    std::fs::remove_dir(office.path("in")).unwrap();
    let mut sending = portal.start_send(&with(&TO_OFFICE, &["--json", "--receipt", "receipt"]), HELLO);
    wait_until("storing fails", || receiving.log().contains("its sender will ask or send it again").then_some(()));
    assert!(!sending.has_ended() && !portal.path("receipt").exists());
    std::fs::create_dir(office.path("in")).unwrap();
    let sent = sending.wait().expect(0).json();
    assert!(sent["attempts"].as_u64().unwrap() > 1, "{sent}");
    let [stored] = office.list("in").try_into().unwrap();
    assert!(stored.starts_with(sent["id"].as_str().unwrap()));
    stop(receiving);
    for (router, books) in scene.network.stop() {
        assert_eq!(books.delivered, 1, "{router}");
    }
}

#[test]
fn a_command_that_fails_rejects_with_its_standard_error_as_problem() {
    let mut scene = Scene::two_routers();
    let (portal, office) = desks(&scene);
    let script = "test \"$KERNPOST_SENDER $KERNPOST_RECIPIENT $KERNPOST_SERVICE $KERNPOST_JURISDICTION\" = \
                  \"de/portal de/office 99050012104000 147130000000\" || exit 9
                  test \"$(cat)\" = 'Guten Tag' || { echo '{\"title\": \"Anlage 3 fehlt\"}' >&2; exit 7; }";
    let receiving = receiving(&scene, &office, &["--exec", script]);
    portal.send(&TO_OFFICE, HELLO).expect(0);
    let rejected = portal.send(&with(&TO_OFFICE, &["--receipt", "receipt"]), b"Ohne Anlage").expect(2);
    assert!(rejected.out.starts_with("rejected: de/office did not take "), "{rejected:#?}");
    assert!(rejected.out.contains("problem: {\"title\": \"Anlage 3 fehlt\"}"), "{rejected:#?}");
    assert!(rejected.out.contains("code 1007"), "{rejected:#?}");
    stop(receiving);
    for router in ["r1", "r2"] {
        let books = scene.network.take(router).stop();
        assert_eq!((books.delivered, books.rejected), (1, 1), "{router}");
    }
    let verified = verify(&portal, &scene, "receipt", &[]).expect(0);
    assert!(verified.out.starts_with("VERIFIED: rejected"), "{verified:#?}");
    assert!(verified.out.contains("Anlage 3 fehlt"), "{verified:#?}");
}

/// A scene in which the portal and the office may also attach over a second link each.
fn with_second_links() -> Scene {
    let mut scene = Scene::new();
    let portal = scene.portal.clone();
    scene.network.world.entry(&portal).identities.push(link_identity("portal-inbox"));
    scene.network.start_pair(&Settings::new());
    scene
}

#[test]
fn a_reply_reaches_the_portal_under_its_mailbox_handle() {
    let scene = with_second_links();
    let (portal, office) = desks(&scene);
    // The portal receives over a link of its own, and both its processes share one list of what was sent.
    let inbox = Desk::new(&scene, "inbox", "portal-inbox", &[&scene.portal], &["r1"]);
    inbox.edit(|text| text.replace("\"state\"", "\"../portal/state\""));
    let branch = Desk::new(&scene, "branch", "branch", &[&scene.office], &["r2"]);
    let at_inbox = inbox.receive(&["--into", "in"]);
    let at_office = receiving(&scene, &office, &["--into", "in"]);
    let sent = portal.send(&with(&TO_OFFICE, &["--json", "--mailbox", "Fach 12", "--case", "Akte 7"]), HELLO);
    let sent = sent.expect(0).json();
    let [stored] = office.list("in").try_into().unwrap();
    let stored = office.path("in").join(stored);
    let answer = branch.file("answer", "Bescheid");
    let reply = ["reply", "--config", "kernpost.toml", stored.to_str().unwrap(), &answer, "--json"];
    let replied = branch.run(&reply).expect(0).json();
    assert_eq!(replied["issuer"], "de/portal");
    let [reply] = inbox.list("in").try_into().unwrap();
    let reply = inbox.path("in").join(reply);
    assert_eq!(std::fs::read(reply.join("payload")).unwrap(), b"Bescheid");
    let message = json(&reply.join("message.json"));
    assert_eq!((&message["in_reply_to"], &message["sender"]), (&sent["id"], &"de/office".into()));
    assert_eq!((&message["mailbox_hex"], &message["case_hex"]), (&"46616368203132".into(), &"416b74652037".into()));
    stop(at_inbox);
    stop(at_office);
    scene.network.stop();
}

#[test]
fn a_reply_to_what_was_never_sent_is_rejected_as_unsolicited() {
    let scene = Scene::two_routers();
    let (portal, office) = desks(&scene);
    let receiving = portal.receive(&["--into", "in"]);
    scene.network.router("r2").wait_attached("de/portal", "de/router/r1");
    let never = "019a0000-0000-7000-8000-000000000001";
    let arguments = ["--to", "de/portal", "--in-reply-to", never, "--mailbox", "Fach 12", "--json"];
    let sent = office.send(&arguments, b"Bescheid").expect(2).json();
    assert_eq!((&sent["outcome"], &sent["code"]), (&"rejected".into(), &134.into()));
    assert!(portal.list("in").is_empty());
    stop(receiving);
    scene.network.stop();
}

#[test]
fn one_authority_writes_to_another_by_name_if_it_is_granted() {
    let scene = Scene::two_routers();
    let provider = Desk::new(&scene, "provider", "provider", &[&scene.x], &["r1"]);
    let (_, office) = desks(&scene);
    let at_office = receiving(&scene, &office, &["--into", "in"]);
    let sent = provider.send(&["--to", "de/office", "--json"], b"Amtshilfe").expect(0).json();
    assert_eq!(sent["issuer"], "de/office");
    let [stored] = office.list("in").try_into().unwrap();
    assert_eq!(json(&office.path("in").join(stored).join("message.json"))["sender"], "de/x");
    stop(at_office);
    let refused = office.send(&["--to", "de/x", "--json"], b"Amtshilfe").expect(3).json();
    assert_eq!((&refused["outcome"], &refused["code_name"]), (&"refused".into(), &"grant-missing".into()));
    scene.network.stop();
}

#[test]
fn an_absent_authority_ends_refused_within_the_timeout() {
    let scene = Scene::two_routers();
    let (portal, _) = desks(&scene);
    let to_absent = ["--service", FOR_ABSENT, "--jurisdiction", WHERE, "--timeout", "1"];
    let refused = portal.send(&with(&to_absent, &["--receipt", "receipt"]), HELLO).expect(3);
    assert!(refused.out.starts_with("refused: ") && refused.out.contains("certainly not handed on"), "{refused:#?}");
    assert!(refused.out.contains("not-attached (120)"), "{refused:#?}");
    assert!(refused.out.contains("no receipt") && !portal.path("receipt").exists(), "{refused:#?}");
    scene.network.stop();
}

#[test]
fn one_process_receives_for_the_endpoints_it_is_told_to() {
    let scene = Scene::two_routers();
    let (portal, _) = desks(&scene);
    let provider = Desk::new(&scene, "provider", "provider", &[&scene.x, &scene.y], &["r2"]);
    let send = |service: &str, timeout: &str| {
        portal.send(&["--service", service, "--jurisdiction", WHERE, "--timeout", timeout, "--json"], HELLO)
    };
    let both = provider.receive(&["--endpoints", "de/x,de/y", "--into", "in", "--summary", "summary"]);
    for endpoint in ["de/x", "de/y"] {
        scene.network.router("r1").wait_attached(endpoint, "de/router/r2");
    }
    for (service, issuer) in [(FOR_X, "de/x"), (FOR_Y, "de/y"), (FOR_X, "de/x")] {
        assert_eq!(send(service, "20").expect(0).json()["issuer"], issuer);
    }
    stop(both);
    let summary = json(&provider.path("summary"));
    assert_eq!(
        (&summary["endpoints"]["de/x"]["accepted"], &summary["endpoints"]["de/y"]["accepted"]),
        (&2.into(), &1.into())
    );
    scene.network.router("r1").wait_detached("de/x", "de/router/r2");

    provider.file("list", "# only one today\nde/x\n");
    let one = provider.receive(&["--endpoints", "list", "--into", "in"]);
    scene.network.router("r1").wait_attached("de/x", "de/router/r2");
    send(FOR_X, "20").expect(0);
    send(FOR_Y, "1").expect(3);
    stop(one);
    assert_eq!(provider.list("in").len(), 4);
    scene.network.stop();
}

#[test]
fn a_batch_over_two_routers_is_delivered_whole_and_every_receipt_verifies() {
    let scene = Scene::two_routers();
    let (portal, office) = desks(&scene);
    let receiving = receiving(&scene, &office, &["--accept", "--summary", "summary"]);
    let line = |number: usize| {
        let case = number % 7;
        format!(
            "{{\"service\": \"{FOR_OFFICE}\", \"jurisdiction\": \"{WHERE}\", \"payload\": \"Antrag {number}\", \"case\": \"{case}\"}}\n"
        )
    };
    portal.file("batch.jsonl", (0..300).map(line).collect::<String>());
    let arguments = ["--batch", "batch.jsonl", "--concurrency", "50", "--summary", "sent", "--receipts", "receipts"];
    portal.send(&arguments, b"").expect(0);
    stop(receiving);
    let sent = json(&portal.path("sent"));
    assert_eq!((&sent["sent"], &sent["delivered"], &sent["invalid_receipts"]), (&300.into(), &300.into(), &0.into()));
    let got = json(&office.path("summary"));
    assert_eq!((&got["accepted"], &got["duplicates"]), (&300.into(), &0.into()));
    let receipts = portal.list("receipts");
    assert_eq!(receipts.len(), 300);
    for receipt in [&receipts[0], &receipts[299]] {
        verify(&portal, &scene, &format!("receipts/{receipt}"), &[]).expect(0);
    }
    for (router, books) in scene.network.stop() {
        assert_eq!(books.delivered, 300, "{router}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_bundle_gets_its_earlier_outcome_also_from_a_recipient_that_was_killed() {
    let scene = Scene::one_router();
    let office = Desk::new(&scene, "office", "office", &[&scene.office], &["r1"]);
    let script = "echo $KERNPOST_MESSAGE_ID >> handed; test \"$(cat)\" = 'Guten Tag' || { echo no >&2; exit 3; }";
    let mut receiving = office.receive(&["--exec", script]);
    let handed = || std::fs::read_to_string(office.path("handed")).unwrap().lines().count();
    let mut portal = scene.portal_at("r1").await;
    let mut letters = [scene.letter(&portal, FOR_OFFICE), scene.letter(&portal, FOR_OFFICE)];
    letters[1] = kernpost_tests::wire_client::Letter::new(scene.message(&portal, FOR_OFFICE), b"Ohne Anlage");
    let bundle = scene.bundle(&letters);
    for round in ["first", "again", "after a restart", "again after a restart"] {
        if round == "after a restart" {
            receiving.kill();
            receiving = office.receive(&["--exec", script]);
        }
        let settled = portal.outcomes(&bundle).await;
        assert!(settled[0].is_delivered(), "{round}: {:?}", settled[0]);
        let rejected = settled[1].receipt();
        assert_eq!((rejected.code, rejected.problem.as_deref()), (1_003, Some("no")), "{round}");
        assert!(settled.iter().all(|one| one.receipt().is_signed_by(scene.key(&scene.office).public())), "{round}");
        assert_eq!(handed(), 2, "{round}");
    }
    stop(receiving);
    let books = scene.network.stop()[0].1;
    assert_eq!((books.delivered, books.rejected), (4, 4));
}

#[test]
fn what_a_killed_recipient_had_not_journalled_is_handed_over_again_and_says_so() {
    let scene = Scene::two_routers_with(&Settings::new().with("deadlines.endpoint_ms", 700));
    let (portal, office) = desks(&scene);
    let gate = Gate::new(office.path("gate"));
    let script = format!("echo $KERNPOST_MESSAGE_ID $KERNPOST_REDELIVERED >> handed; cat {}", gate.path());
    let mut first = receiving(&scene, &office, &["--exec", &script]);
    let sending = portal.start_send(&with(&TO_OFFICE, &["--json"]), HELLO);
    let handed = |count: usize| {
        wait_until("it is handed over", || {
            let text = std::fs::read_to_string(office.path("handed")).unwrap_or_default();
            (text.lines().count() == count).then_some(text)
        })
    };
    handed(1);
    first.kill();
    let second = receiving(&scene, &office, &["--exec", &script]);
    let both = handed(2);
    let mut sending = sending;
    wait_until("the command goes on and the sender hears of it", || {
        gate.let_through();
        sending.has_ended().then_some(())
    });
    let sent = sending.wait().expect(0).json();
    let id = sent["id"].as_str().unwrap();
    assert_eq!(both, format!("{id} 0\n{id} 1\n"));
    stop(second);
    scene.network.stop();
}

#[test]
fn every_fault_of_a_configuration_is_said_with_its_place_and_what_to_do() {
    let scene = Scene::one_router();
    let portal = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
    std::fs::remove_file(portal.path("de_portal-0.pem")).unwrap();
    portal.edit(|text| text.replace("[::1]", "nowhere").replace("\"de/portal\"", "\"DE/portal\""));
    let sent = portal.send(&TO_OFFICE, HELLO).expect(1);
    sent.complains(&["kernpost.toml cannot be used", "DE/portal"]);
    portal.edit(|text| text.replace("DE/portal", "de/portal"));
    portal.send(&TO_OFFICE, HELLO).expect(1).complains(&["de/portal", "key", "de_portal-0.pem", "No such file"]);
    portal.edit(|text| format!("retries = 7\n{text}"));
    let sent = portal.send(&TO_OFFICE, HELLO).expect(1);
    sent.complains(&["kernpost.toml", "line 1", "retries", "expected one of", "endpoints"]);
    std::fs::remove_file(portal.path("kernpost.toml")).unwrap();
    portal.send(&TO_OFFICE, HELLO).expect(1).complains(&["kernpost.toml", "cannot be read", "No such file"]);
    scene.network.stop();
}

#[test]
fn bad_input_is_refused_with_its_place_before_anything_is_sent_and_never_looks_like_an_outcome() {
    let scene = Scene::one_router();
    let portal = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
    let big = portal.file("big", "");
    std::fs::File::options().write(true).open(&big).unwrap().set_len((2 << 30) + 1).unwrap();
    for (arguments, parts) in [
        (
            vec!["--service", FOR_OFFICE, "--jurisdiction", "1471300000X0"],
            vec!["--jurisdiction", "1471300000X0", "character 11"],
        ),
        (
            vec!["--service", FOR_OFFICE, "--jurisdiction", "14713"],
            vec!["--jurisdiction", "14713", "5 digits: give 12"],
        ),
        (vec!["--service", "98050012104000", "--jurisdiction", WHERE], vec!["--service", "98050012104000", "99"]),
        (vec!["--to", "Leipzig"], vec!["--to", "Leipzig"]),
        (vec!["--service", FOR_OFFICE], vec!["--service and --jurisdiction, or --to"]),
        (with(&TO_OFFICE, &["missing-file"]), vec!["cannot read the payload", "missing-file", "No such file"]),
        (with(&TO_OFFICE, &[&big]), vec!["2147483649", "2147483648"]),
        (with(&TO_OFFICE, &["--case", ""]), vec!["case", "1..=32"]),
        (with(&TO_OFFICE, &["--lifetime", "0"]), vec!["lifetime", "0 s"]),
        (with(&TO_OFFICE, &["--from", "de/nobody"]), vec!["de/nobody", "no [[endpoints]] entry"]),
        (with(&TO_OFFICE, &["--priority"]), vec!["--priority"]),
        (vec!["--batch", "missing.jsonl"], vec!["missing.jsonl"]),
    ] {
        portal.send(&arguments, HELLO).expect(1).complains(&parts);
    }
    portal.file("batch.jsonl", format!("{{\"service\": \"{FOR_OFFICE}\", \"payload\": \"\"}}"));
    portal.send(&["--batch", "batch.jsonl"], b"").expect(1).complains(&["batch.jsonl line 1", "jurisdiction"]);
    portal.file("noise", "noise");
    verify(&portal, &scene, "noise", &[]).expect(1).complains(&["noise", "no proof file"]);
    verify(&portal, &scene, "nothing", &[]).expect(1).complains(&["nothing", "No such file"]);
    assert_eq!(scene.network.stop()[0].1.accepted, 0);
}

#[test]
fn a_router_that_cannot_be_reached_or_refuses_is_said_at_the_end_of_the_patience() {
    let scene = Scene::one_router();
    let stranger = Desk::new(&scene, "wrong", "stranger", &[&scene.portal], &["r1"]);
    let patience = ["--connect-timeout", "1"];
    let refused = stranger.send(&with(&TO_OFFICE, &patience), HELLO).expect(1);
    refused.complains(&["not ready", "de/portal is not attached", "identity-not-listed"]);
    let portal = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
    portal.edit(|text| text.replace("de/router/r1", "de/router/r2"));
    let refused = portal.send(&with(&TO_OFFICE, &patience), HELLO).expect(1);
    refused.complains(&["not ready", "de/portal is not attached"]);
    scene.network.stop();
}

/// The forms in which a careless log would show a word.
fn traces_of(word: &str) -> Vec<String> {
    let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
    let list = word.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    vec![word.to_owned(), hex.to_uppercase(), hex, list]
}

#[test]
fn payload_case_and_mailbox_are_in_no_log_of_commands_or_routers() {
    let filter = "trace,h2=off,hyper=off,mio=off";
    let settings = Settings::new().with("log.filter", filter).with("deadlines.endpoint_ms", 700);
    let scene = Scene::two_routers_with(&settings);
    let (portal, office) = desks(&scene);
    let (portal, office) = (portal.logging(filter), office.logging(filter));
    let words = ["Leberwurst", "Aktenzeichen", "Briefkasten"];
    let [payload, case, mailbox] = words;
    let more = ["--case", case, "--mailbox", mailbox, "--timeout", "3"];
    let send = |usual: &[&str], code: i32| portal.send(&with(usual, &more), payload.as_bytes()).expect(code).err;
    let log_of = |mut process: Process| {
        process.terminate();
        process.wait();
        process.log()
    };

    let storing = receiving(&scene, &office, &["--into", "in"]);
    let mut said = vec![send(&TO_OFFICE, 0)];
    said.push(send(&["--service", FOR_ABSENT, "--jurisdiction", WHERE], 3));
    std::fs::remove_dir_all(office.path("in")).unwrap();
    said.push(send(&TO_OFFICE, 4));
    said.push(log_of(storing));
    let rejecting = receiving(&scene, &office, &["--exec", "exit 5"]);
    said.push(send(&TO_OFFICE, 2));
    said.push(log_of(rejecting));
    said.extend(["r1", "r2"].map(|name| scene.network.router(name).log()));
    for log in &said {
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "a log is as talkative as it gets: {log}");
        for word in words {
            for trace in traces_of(word) {
                let line = log.lines().find(|line| line.contains(&trace));
                assert_eq!(line, None, "{word} is in a log");
            }
        }
    }
    scene.network.stop();
}
