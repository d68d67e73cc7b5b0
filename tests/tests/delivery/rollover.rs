//! Signing keys roll over while messages are under way: who signs with which key when, and what old receipts are worth.

use kernpost_codecs::SigningKey;
use kernpost_codecs::key::{Algorithm, KeyId};
use kernpost_routing_table::model::VERIFY_MARGIN_MS;
use kernpost_tests::client_process::{Desk, ended, started};
use kernpost_tests::process::{Settings, wait_until, wall};
use kernpost_tests::scene::{FOR_OFFICE, Scene};
use kernpost_tests::world::key_entry;

use super::{asking_often, delivered, letter, received, signers};

/// A portal and an office with an old key in the directory, and a new one on their desks.
struct Rollover {
    scene: Scene,
    new: [SigningKey; 2],
    old_ids: (KeyId, KeyId),
    new_ids: (KeyId, KeyId),
}

impl Rollover {
    fn new() -> Self {
        let settings = Settings::new().with("directory.poll_ms", 600_000);
        let scene = Scene::two_routers_with(&settings);
        let new = [(); 2].map(|()| SigningKey::generate(Algorithm::Esp256).unwrap());
        let old_ids = (scene.key(&scene.portal).public().id(), scene.key(&scene.office).public().id());
        let new_ids = (new[0].public().id(), new[1].public().id());
        Self { scene, new, old_ids, new_ids }
    }

    fn desks(&self) -> [Desk; 2] {
        let scene = &self.scene;
        let portal = Desk::new(scene, "portal", "portal", &[&scene.portal], &["r1"]);
        let office = Desk::new(scene, "office", "office", &[&scene.office], &["r2"]);
        [portal.with_preferred_key(&self.new[0]), office.with_preferred_key(&self.new[1])]
    }

    /// Lists the new keys, ends signing with the old ones when asked to, and has the routers read it.
    fn publish(&mut self, old_keys_end: bool) {
        let now = wall();
        let endpoints = [self.scene.portal.clone(), self.scene.office.clone()];
        for (endpoint, key) in endpoints.iter().zip(&self.new) {
            let entry = self.scene.network.world.entry(endpoint);
            if old_keys_end {
                entry.keys[0].sign_until = now;
                entry.keys[0].verify_until = now.plus_ms(VERIFY_MARGIN_MS);
            }
            entry.keys.push(key_entry(key, now));
        }
        self.scene.network.publish();
        let serial = self.scene.network.world.zone.serial - 1;
        for name in ["r1", "r2"] {
            self.scene.network.hang_up(name);
            self.scene.network.router(name).wait_status("the new directory is in force", |status| {
                status["directory"]["zones"][0]["serial"] == serial
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_roll_over_with_messages_in_flight_and_receipts_of_the_old_key_still_count() {
    let mut roll = Rollover::new();
    let [portal_desk, office_desk] = roll.desks().map(Desk::with_directory_folder);
    let (portal, office) = (portal_desk.sender().await, office_desk.recipient().await);
    roll.scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    let next = |payload: &str| letter(&roll.scene.portal, FOR_OFFICE, payload);
    let before = portal.send(next("before")).await.unwrap();
    let during = portal.send(next("during")).await.unwrap();
    received(&office).await.accept().await.unwrap();
    let before = delivered(before).await;
    assert_eq!(signers(&before), roll.old_ids);
    let in_hand = received(&office).await;
    let after = [next("after"), next("long after")];
    let older = roll.scene.network.folder().join("older");
    std::fs::create_dir(&older).unwrap();
    std::fs::copy(roll.scene.network.folder().join("directory/de.zone"), older.join("de.zone")).unwrap();

    roll.publish(false);
    for client in [&portal, &office] {
        let old = before.proof.as_ref().unwrap().parsed.directory_version;
        let is_new = || (client.table().unwrap().version() != old).then_some(());
        wait_until("the client has the new directory", is_new);
    }
    in_hand.accept().await.unwrap();
    let during = delivered(during).await;
    assert_eq!(signers(&during), (roll.old_ids.0, roll.new_ids.1));
    for outgoing in after {
        let sent = portal.send(outgoing).await.unwrap();
        received(&office).await.accept().await.unwrap();
        assert_eq!(signers(&delivered(sent).await), roll.new_ids);
    }
    ended(portal).await;
    ended(office).await;
    for router in ["r1", "r2"] {
        roll.scene.network.take(router).stop();
    }
    let at = |name: &str| roll.scene.network.folder().join(name).to_str().unwrap().to_owned();
    let (directory, anchor, older) = (at("directory"), at("trust-anchor.toml"), at("older"));
    for end in [before, during] {
        let file = portal_desk.file("receipt", end.proof.unwrap().to_file().encode());
        let verify = ["receipt", "verify", &file, "--directory", &directory, "--trust-anchor", &anchor];
        portal_desk.run(&[&verify[..], &["--snapshots", &older]].concat()).expect(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_have_their_directory_from_the_routers_learn_of_new_keys_when_the_old_ones_end() {
    let mut roll = Rollover::new();
    let [portal_desk, office_desk] = roll.desks();
    let (portal, office) =
        (started(asking_often(&portal_desk, false)).await, started(asking_often(&office_desk, true)).await);
    roll.scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    let next = |payload: &str| letter(&roll.scene.portal, FOR_OFFICE, payload);
    let (before, after) = (next("before"), next("after"));
    let sent = portal.send(before).await.unwrap();
    let in_hand = received(&office).await;
    roll.publish(true);
    in_hand.accept().await.unwrap();
    delivered(sent).await;
    let sent = portal.send(after).await.unwrap();
    received(&office).await.accept().await.unwrap();
    assert_eq!(signers(&delivered(sent).await), roll.new_ids);
    ended(portal).await;
    ended(office).await;
    roll.scene.network.stop();
}
