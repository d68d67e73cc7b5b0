//! The durable outbox and the shared journal over real processes: what was accepted survives a kill, what a key named is one
//! message, what became of it can be asked, and a journal that was killed goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use kernpost_codecs::{Digest, MessageId, Outcome, UnixMs};
use kernpost_endpoint::FinalOutcome;
use kernpost_endpoint::core::{DeliveryId, Earlier, JournalRecord, Lookup};
use kernpost_endpoint::journal::{Journal, LookedUp, SharedJournal};
use kernpost_tests::client_process::{Desk, Running, ended, started};
use kernpost_tests::process::wait_until;
use kernpost_tests::scene::{FOR_OFFICE, Scene, WHERE};
use kernpost_tests::wire_client::within;

const TO_OFFICE: [&str; 4] = ["--service", FOR_OFFICE, "--jurisdiction", WHERE];

fn desks(scene: &Scene) -> (Desk, Desk) {
    let portal =
        Desk::new(scene, "portal", "portal", &[&scene.portal], &["r1"]).with("[outbox]\nfolder = \"outbox\"\n");
    (portal, Desk::new(scene, "office", "office", &[&scene.office], &["r1"]))
}

fn sending<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&TO_OFFICE, more].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_sent_again_with_the_same_id_after_a_kill() {
    let scene = Scene::one_router();
    let (portal, office) = desks(&scene);
    // Nobody is there to take it.
    let first: Running = portal.start_send(&sending(&[]), b"Antrag");
    wait_until("the message is durable", || {
        let noted = std::fs::metadata(portal.path("state").join("sent.ids")).map_or(0, |file| file.len());
        (noted >= 24).then_some(())
    });
    drop(first);
    let listed = wait_until("the outbox is free", || {
        let listed = portal.run(&["outbox", "list", "--config", "kernpost.toml", "--open", "--json"]);
        (listed.code == 0).then_some(listed)
    });
    let message = listed.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(listed.json()["state"], "waiting");

    let recipient = office.recipient().await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r1");
    // Whoever uses the outbox next carries on with it.
    let next = started(portal.config(false)).await;
    let delivery = within("the message", recipient.receive()).await.unwrap();
    assert_eq!((delivery.message.id.to_string(), delivery.redelivered), (message.clone(), true));
    assert_eq!(&delivery.payload[..], b"Antrag");
    delivery.accept().await.unwrap();
    wait_until("its outcome is known", || (next.status().ledger.delivered == 1).then_some(()));
    ended(next).await;

    // Its outcome is known without a router, with a proof that verifies.
    let asked = ["outcome", "--config", "kernpost.toml", "--json", "--proof", "proof", message.as_str()];
    let outcome = portal.run(&asked).expect(0).json();
    assert_eq!((&outcome["outcome"], &outcome["issuer"]), (&"delivered".into(), &"de/office".into()));
    let at = |name: &str| scene.network.folder().join(name).to_str().unwrap().to_owned();
    let (directory, anchor) = (at("directory"), at("trust-anchor.toml"));
    portal.run(&["receipt", "verify", "proof", "--directory", &directory, "--trust-anchor", &anchor]).expect(0);
    portal.run(&["outbox", "show", "--config", "kernpost.toml", message.as_str()]).expect(0);
    ended(recipient).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_is_the_same_message_and_with_other_content_it_is_refused() {
    let scene = Scene::one_router();
    let (portal, office) = desks(&scene);
    let recipient = office.recipient().await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r1");
    let accept = async {
        let delivery = within("the message", recipient.receive()).await.unwrap();
        delivery.accept().await.unwrap();
    };
    let keyed = sending(&["--idempotency-key", "Vorgang 7", "--json", "--wait", "final"]);
    let running = portal.start_send(&keyed, b"Antrag");
    accept.await;
    let first = tokio::task::block_in_place(|| running.wait()).expect(0).json();
    let again = tokio::task::block_in_place(|| portal.send(&keyed, b"Antrag")).expect(0).json();
    assert_eq!((&first["id"], &first["outcome"], &first["time"]), (&again["id"], &again["outcome"], &again["time"]));
    let other = tokio::task::block_in_place(|| portal.send(&keyed, b"Widerspruch"));
    assert_eq!(other.code, 1);
    other.complains(&["id-reused"]);
    assert_eq!(recipient.status().ledger.handed_over, 1);

    // A message the outbox does not hold is asked for by its statement: the proof file has it.
    let statement = sending(&["--receipt", "kept"]);
    let running = portal.start_send(&statement, b"Nachtrag");
    let delivery = within("the message", recipient.receive()).await.unwrap();
    let message = delivery.message.id.to_string();
    delivery.accept().await.unwrap();
    tokio::task::block_in_place(|| running.wait()).expect(0);
    std::fs::remove_dir_all(portal.path("outbox")).unwrap();
    let asked = ["outcome", "--config", "kernpost.toml", "--statement", "kept", "--json", message.as_str()];
    let outcome = tokio::task::block_in_place(|| portal.run(&asked)).expect(0).json();
    assert_eq!(outcome["outcome"], "delivered", "by the recipient's journal");
    ended(recipient).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_client_learns_the_outcome_of_what_an_earlier_one_sent() {
    let scene = Scene::one_router();
    let (portal, office) = desks(&scene);
    let sender = started(portal.config(false)).await;
    let letter = || {
        let (service, place) = (FOR_OFFICE.parse().unwrap(), WHERE.parse().unwrap());
        let id = kernpost_endpoint::client::fresh_id();
        kernpost_endpoint::Outgoing::new(id, scene.portal.clone(), service, place, "Antrag".into())
    };
    let ids: Vec<MessageId> = {
        let letters: Vec<_> = (0..20).map(|_| letter()).collect();
        let ids = letters.iter().map(|letter| letter.id).collect();
        let (queue, _outcomes) = kernpost_endpoint::outcome_queue();
        sender.send_all(letters, &queue).await.unwrap();
        ids
    };
    assert_eq!(sender.outbox().unwrap().held().0, 20);
    drop(sender);
    let recipient = office.recipient().await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r1");
    let config = || portal.config(false);
    let next = wait_until("the outbox is free", || kernpost_endpoint::Client::start(config()).ok());
    for _ in 0..20 {
        within("a message", recipient.receive()).await.unwrap().accept().await.unwrap();
    }
    wait_until("all outcomes are known", || (next.status().ledger.delivered == 20).then_some(()));
    let known = next.ask(&scene.portal, ids[7], std::time::Duration::from_secs(10)).await;
    // The last write may still be under way: then the network is asked, and says the same.
    assert_eq!(known.unwrap().outcome, FinalOutcome::Delivered);
    ended(next).await;
    ended(recipient).await;
    scene.network.stop();
}

#[test]
fn a_served_journal_that_was_killed_keeps_its_verdicts() {
    let scene = Scene::one_router();
    let (desk, _) = desks(&scene);
    let socket = desk.path("journal.sock");
    let serve = ["journal", "serve", "--folder", "journal", "--socket", "journal.sock"];
    let connect = |holder: u8| {
        wait_until("the journal is served", || SharedJournal::connect(&socket, [holder; 16]).ok().map(Journal::Shared))
    };
    let message = MessageId([1; 16]);
    let lookup = Lookup { id: DeliveryId(0), sender: scene.portal.clone(), message, reply_to: None };
    let verdict = Earlier { leaf: Digest([1; 32]), outcome: Outcome::Delivered, code: 0, problem: None };
    let record = JournalRecord {
        id: DeliveryId(0),
        sender: scene.portal.clone(),
        message,
        verdict: verdict.clone(),
        forget_after: UnixMs(u64::MAX / 4),
        statement: Default::default(),
        payload: Default::default(),
        payload_file: None,
    };
    let server = desk.start(&serve, b"");
    let (first, second) = (connect(1), connect(2));
    assert_eq!(first.look_up(std::slice::from_ref(&lookup)).unwrap(), [LookedUp::Unknown]);
    assert_eq!(second.look_up(std::slice::from_ref(&lookup)).unwrap(), [LookedUp::Elsewhere]);
    assert_eq!(first.record(&[record]).unwrap(), [true]);
    drop(server);
    assert!(second.look_up(std::slice::from_ref(&lookup)).is_err());
    // The socket it left behind is replaced.
    let _server = desk.start(&serve, b"");
    let third = connect(3);
    assert_eq!(third.look_up(std::slice::from_ref(&lookup)).unwrap(), [LookedUp::Known(verdict)]);
    scene.network.stop();
}
