//! Custody over real processes: a portal that sends while nobody is there to receive, a router that is killed, and a recipient that
//! comes later. What a receipt says holds, every message arrives once, and the portal learns the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use kernpost_codecs::{MessageId, Party};
use kernpost_endpoint::client::{Finished, fresh_id};
use kernpost_endpoint::{Client, FinalOutcome, Outcomes, Outgoing, stage_queue};
use kernpost_tests::client_process::{Desk, Ran, ended, started};
use kernpost_tests::process::{Settings, wait_until};
use kernpost_tests::scene::{FOR_OFFICE, Scene, WHERE};
use kernpost_tests::wire_client::within;
use serde_json::Value;

/// Messages of a test that sends many.
const MANY: usize = 500;

/// A router `r1` with custody, a portal with a durable outbox, and an office that is not there yet.
fn cast() -> (Scene, Desk, Desk) {
    let mut scene = Scene::new();
    scene.network.publish();
    let settings = scene.network.custody("r1");
    scene.network.start("r1", &settings);
    let portal =
        Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]).with("[outbox]\nfolder = \"outbox\"\n");
    let office = Desk::new(&scene, "office", "office", &[&scene.office], &["r1"]);
    (scene, portal, office)
}

/// `kernpost send` to the office; `more` are further arguments.
fn send(portal: &Desk, more: &[&str]) -> Ran {
    let to_office = ["--service", FOR_OFFICE, "--jurisdiction", WHERE, "--json"];
    tokio::task::block_in_place(|| portal.send(&[&to_office, more].concat(), b"Antrag"))
}

/// Verifies a proof file against the directory, without a router.
#[track_caller]
fn verify(scene: &Scene, portal: &Desk, proof: &str) {
    let at = |name: &str| scene.network.folder().join(name).to_str().unwrap().to_owned();
    let (directory, anchor) = (at("directory"), at("trust-anchor.toml"));
    portal.run(&["receipt", "verify", proof, "--directory", &directory, "--trust-anchor", &anchor]).expect(0);
}

fn asked(portal: &Desk, message: &str, more: &[&str]) -> Ran {
    let ask = ["outcome", "--config", "kernpost.toml", "--json", message];
    tokio::task::block_in_place(|| portal.run(&[&ask, more].concat()))
}

/// With the same spool.
fn kill_and_restart(scene: &mut Scene) {
    let settings = scene.network.custody("r1");
    scene.network.kill_and_restart("r1", settings);
}

fn held(scene: &Scene) -> Value {
    scene.network.router("r1").status()["custody"]["held"].clone()
}

fn letters(scene: &Scene, count: usize) -> Vec<Outgoing> {
    let letter = |number: usize| {
        let (service, place) = (FOR_OFFICE.parse().unwrap(), WHERE.parse().unwrap());
        let payload = format!("Antrag {number}").into_bytes().into();
        let letter = Outgoing::new(fresh_id(), scene.portal.clone(), service, place, payload);
        Outgoing { case: Some(b"Aktenzeichen"[..].into()), ..letter }
    };
    (0..count).map(letter).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_custody_outlives_its_router_and_its_sender_learns_the_end() {
    let (mut scene, portal, office) = cast();
    let first = send(&portal, &["--receipt", "custody.proof", "--idempotency-key", "Vorgang 7"]).expect(0).json();
    assert_eq!((&first["outcome"], &first["issuer"]), (&"custody".into(), &"de/router/r1".into()), "{first}");
    verify(&scene, &portal, "custody.proof");
    let message = first["id"].as_str().unwrap().to_owned();
    assert_eq!(held(&scene), 1);

    // The same message again is one message, with the same receipt. Whoever asks is told that it is still there: a receipt of now.
    let again = send(&portal, &["--idempotency-key", "Vorgang 7", "--receipt", "again.proof"]).expect(0).json();
    assert_eq!((&again["id"], &again["outcome"], &again["time"]), (&first["id"], &first["outcome"], &first["time"]));
    let proof = |name: &str| std::fs::read(portal.path(name)).unwrap();
    assert!(proof("again.proof") == proof("custody.proof"), "the same receipt, byte for byte");
    let asked_now = asked(&portal, &message, &["--timeout", "5"]).json();
    assert_eq!(
        (&asked_now["outcome"], &asked_now["issuer"]),
        (&"custody".into(), &"de/router/r1".into()),
        "{asked_now}"
    );
    assert_eq!(held(&scene), 1);

    kill_and_restart(&mut scene);
    wait_until("the spool is known", || (held(&scene) == 1).then_some(()));
    let recipient = office.recipient().await;
    let delivery = within("the message", recipient.receive()).await.unwrap();
    assert_eq!((delivery.message.id.to_string(), &delivery.payload[..]), (message.clone(), &b"Antrag"[..]));
    delivery.accept().await.unwrap();
    wait_until("the router has the receipt", || (held(&scene) == 0).then_some(()));

    // The portal was away meanwhile: the receipt waits for it, also over another kill.
    kill_and_restart(&mut scene);
    let sender = started(portal.config(false)).await;
    wait_until("the late receipt is noted", || (sender.status().ledger.late_receipts == 1).then_some(()));
    let ledger = sender.status().ledger;
    assert_eq!((ledger.recovered, ledger.delivered, ledger.open), (1, 1, 0), "{ledger:?}");
    ended(sender).await;
    let end = asked(&portal, &message, &["--proof", "final.proof"]).expect(0).json();
    assert_eq!((&end["outcome"], &end["issuer"]), (&"delivered".into(), &"de/office".into()), "{end}");
    verify(&scene, &portal, "final.proof");
    // Whoever has nothing but the statement asks the network, and is told the same.
    std::fs::remove_dir_all(portal.path("outbox")).unwrap();
    let end = asked(&portal, &message, &["--statement", "custody.proof"]).expect(0).json();
    assert_eq!((&end["outcome"], &end["issuer"]), (&"delivered".into(), &"de/office".into()), "{end}");
    assert_eq!(recipient.status().ledger.handed_over, 1);
    ended(recipient).await;
    scene.network.stop();
}

/// Sends, and waits until every message is in custody.
async fn in_custody(sender: &Client, letters: Vec<Outgoing>) -> Outcomes {
    let count = letters.len();
    let (queue, mut outcomes) = stage_queue();
    sender.send_all(letters, &queue).await.unwrap();
    for Finished { outcome, is_final, .. } in take(&mut outcomes, count).await {
        let outcome = outcome.unwrap();
        assert_eq!((outcome.outcome, is_final), (FinalOutcome::Custody, false), "{outcome:?}");
        assert!(matches!(outcome.issuer, Some(Party::Router(_))), "{outcome:?}");
    }
    outcomes
}

async fn take(outcomes: &mut Outcomes, count: usize) -> Vec<Finished> {
    let mut taken = Vec::new();
    while taken.len() < count {
        within("an outcome", outcomes.receive_many(&mut taken, count)).await;
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_of_a_case_arrive_once_and_in_order_though_the_router_is_killed_twice() {
    let (mut scene, portal, office) = cast();
    let sender = portal.sender().await;
    let letters = letters(&scene, MANY);
    let ids: Vec<MessageId> = letters.iter().map(|letter| letter.id).collect();
    let mut outcomes = in_custody(&sender, letters).await;
    kill_and_restart(&mut scene);
    let recipient = office.recipient().await;
    let mut arrived = Vec::new();
    for number in 0..MANY {
        let delivery = within("a message", recipient.receive()).await.unwrap();
        arrived.push(delivery.message.id);
        delivery.accept().await.unwrap();
        if number == MANY / 2 {
            kill_and_restart(&mut scene);
        }
    }
    assert!(arrived == ids, "in the order in which they were sent");
    for Finished { outcome, is_final, .. } in take(&mut outcomes, MANY).await {
        assert_eq!((outcome.unwrap().outcome, is_final), (FinalOutcome::Delivered, true));
    }
    wait_until("nothing is held", || (held(&scene) == 0).then_some(()));
    let ledger = recipient.status().ledger;
    assert_eq!(ledger.handed_over, MANY as u64, "{ledger:?}");
    ended(sender).await;
    ended(recipient).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_without_its_master_key_says_so_and_does_not_start() {
    let (mut scene, portal, _office) = cast();
    send(&portal, &[]).expect(0);
    scene.network.take("r1").stop();
    let folder = scene.network.folder().to_owned();
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    kernpost_router::pki::write_private(Path::new(&at("other.key")), &"5e".repeat(32)).unwrap();
    let settings: Settings = scene.network.custody("r1").with("custody.master_key", at("other.key"));
    let said = scene.network.start_in_vain("r1", &settings);
    assert!(said.contains("master"), "{said}");
    // With its own key it goes on where it was.
    let settings = scene.network.custody("r1");
    scene.network.start("r1", &settings);
    wait_until("the spool is known", || (held(&scene) == 1).then_some(()));
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_the_end_longer_than_allowed_is_told_that_it_is_in_custody() {
    let (scene, portal, _office) = cast();
    let waited = send(&portal, &["--wait", "final", "--timeout", "2"]).expect(5).json();
    assert_eq!((&waited["outcome"], &waited["issuer"]), (&"custody".into(), &"de/router/r1".into()), "{waited}");
    assert_eq!(held(&scene), 1);
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_route_is_withdrawn_goes_back_to_its_sender_with_a_receipt() {
    let (mut scene, portal, office) = cast();
    let sent = send(&portal, &[]).expect(0).json();
    assert_eq!(sent["outcome"], "custody", "{sent}");
    let zone = &mut scene.network.world.zone;
    let before = zone.routes.len();
    zone.routes.retain(|route| !route.endpoints.contains(&scene.office));
    assert!(zone.routes.len() < before);
    scene.network.publish_and_wait();
    wait_until("it is no longer held", || (held(&scene) == 0).then_some(()));
    let recipient = office.recipient().await;
    let sender = started(portal.config(false)).await;
    wait_until("the late receipt is noted", || (sender.status().ledger.late_receipts == 1).then_some(()));
    ended(sender).await;
    let message = sent["id"].as_str().unwrap();
    let end = asked(&portal, message, &["--proof", "returned.proof"]).json();
    assert_eq!((&end["outcome"], &end["issuer"]), (&"returned".into(), &"de/router/r1".into()), "{end}");
    verify(&scene, &portal, "returned.proof");
    assert_eq!(recipient.status().ledger.handed_over, 0);
    ended(recipient).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_receipt_finds_its_sender_at_another_router() {
    let mut scene = Scene::new();
    scene.network.publish();
    scene.network.start("r2", &Settings::new());
    let second = scene.network.router("r2").address;
    let settings = scene.network.custody("r1").peer("de/router/r2", second);
    scene.network.start("r1", &settings);
    let first = scene.network.router("r1").address;
    let portal =
        Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]).with("[outbox]\nfolder = \"outbox\"\n");
    let sent = send(&portal, &[]).expect(0).json();
    assert_eq!((&sent["outcome"], &sent["issuer"]), (&"custody".into(), &"de/router/r1".into()), "{sent}");

    // From now on the portal knows the other router only.
    portal.edit(|config| config.replace(&first.to_string(), &second.to_string()).replace("router/r1", "router/r2"));
    let sender = started(portal.config(false)).await;
    scene.network.router("r1").wait_attached("de/portal", "de/router/r2");
    let office = Desk::new(&scene, "office", "office", &[&scene.office], &["r1"]);
    let recipient = office.recipient().await;
    within("the message", recipient.receive()).await.unwrap().accept().await.unwrap();
    wait_until("the late receipt is noted", || (sender.status().ledger.late_receipts == 1).then_some(()));
    assert_eq!(sender.status().ledger.delivered, 1);
    wait_until("nothing is held", || (held(&scene) == 0).then_some(()));
    ended(sender).await;
    ended(recipient).await;
    scene.network.stop();
}
