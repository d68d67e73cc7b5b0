//! A real router whose disk is full, becomes read-only, fails, flips a bit or loses a file. Each has the end that `router/CUSTODY.md`
//! gives it, and whatever a receipt *custody* was sent for arrives once.
//!
//! Left out of the usual run: they mount file systems. `cargo xtask measure disk-faults` runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kernpost_codecs::MessageId;
use kernpost_endpoint::client::{Finished, fresh_id};
use kernpost_endpoint::{Client, FinalOutcome, Outcomes, Outgoing, stage_queue};
use kernpost_tests::client_process::{Desk, ended};
use kernpost_tests::process::{Settings, wait_until};
use kernpost_tests::scene::{FOR_OFFICE, FOR_Y, Scene, WHERE};
use kernpost_tests::volume::Volume;
use kernpost_tests::wire_client::within;

/// Bytes of a payload: near the largest that is taken into custody.
const LARGE: usize = 60_000;

/// The portal's: what comes back damaged is sent again from it.
const OUTBOX: &str = "[outbox]\nfolder = \"outbox\"\n";

/// A router whose spool lies at `spool`, a portal and an office.
struct Play {
    scene: Scene,
    portal: Desk,
    office: Desk,
    settings: Settings,
}

impl Play {
    fn new(spool: &Path, least_free_mib: i64) -> Self {
        let mut scene = Scene::new();
        scene.network.publish();
        let settings = scene.network.custody("r1");
        let settings = settings
            .with("custody.folder", spool.join("spool").to_str().unwrap())
            .with("custody.least_free_bytes", least_free_mib << 20)
            .with("custody.journal_bytes", 128 << 20)
            .with("log.filter", "info");
        scene.network.start("r1", &settings);
        // On disk: what is held here is more than an outbox in memory keeps the payloads of.
        let portal = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]).with(OUTBOX);
        let office = Desk::new(&scene, "office", "office", &[&scene.office], &["r1"]);
        let address = scene.network.router("r1").address.to_string();
        Self { scene, portal, office, settings: settings.with("listen.addresses", vec![address]) }
    }

    fn kill(&mut self) {
        self.scene.network.take("r1").process().kill();
    }

    fn start(&mut self) {
        self.scene.network.start("r1", &self.settings);
    }

    fn letters(&self, service: &str, count: usize, bytes: usize, timeout_ms: u64) -> Vec<Outgoing> {
        let letter = || {
            let (service, place) = (service.parse().unwrap(), WHERE.parse().unwrap());
            let payload = vec![0x5a; bytes].into();
            Outgoing { timeout_ms, ..Outgoing::new(fresh_id(), self.scene.portal.clone(), service, place, payload) }
        };
        (0..count).map(|_| letter()).collect()
    }

    /// Sends, and waits for the first word about each: which are in custody, and what the others were told.
    async fn send(&self, sender: &Client, letters: Vec<Outgoing>) -> (BTreeSet<MessageId>, Vec<String>, Outcomes) {
        let count = letters.len();
        let (queue, mut outcomes) = stage_queue();
        sender.send_all(letters, &queue).await.unwrap();
        let mut settled = Vec::new();
        while settled.len() < count {
            within("an outcome", outcomes.receive_many(&mut settled, count)).await;
        }
        let (mut held, mut others) = (BTreeSet::new(), Vec::new());
        for Finished { id, outcome, .. } in settled {
            let outcome = outcome.unwrap();
            match outcome.outcome {
                FinalOutcome::Custody => drop(held.insert(id)),
                other => others.push(format!("{} {}", other.name(), outcome.code.name())),
            }
        }
        (held, others, outcomes)
    }

    /// Receives until all of these have come; panics when one comes twice.
    async fn receive(&self, recipient: &Client, all: &BTreeSet<MessageId>) {
        let mut come = BTreeSet::new();
        while !all.is_subset(&come) {
            let delivery = within("a message", recipient.receive()).await.unwrap();
            assert!(come.insert(delivery.message.id), "{} came twice", delivery.message.id);
            delivery.accept().await.unwrap();
        }
    }

    fn custody(&self, name: &str) -> u64 {
        self.scene.network.router("r1").status()["custody"][name].as_u64().unwrap()
    }

    fn nothing_is_held(&self) {
        wait_until("nothing is held", || (self.custody("held") == 0).then_some(()));
    }

    /// What waited for a write that failed was settled undecided-storage: senders are not left to their own deadlines.
    fn what_waited_was_settled(&self) {
        let name = "custody_handed_over_total{result=\"not_kept\"}";
        wait_until("it is counted", || (self.scene.network.router("r1").metric(name) > 0).then_some(()));
    }

    fn is_ready(&self) -> bool {
        ureq::get(format!("http://{}/readyz", self.scene.network.router("r1").admin)).call().is_ok()
    }

    /// Live traffic passes all the same.
    async fn live_traffic_passes(&self, sender: &Client) {
        let provider = Desk::new(&self.scene, "provider", "provider", &[&self.scene.y], &["r1"]);
        let y = provider.recipient().await;
        self.scene.network.router("r1").wait_attached("de/y", "de/router/r1");
        let (queue, mut outcomes) = stage_queue();
        sender.send_all(self.letters(FOR_Y, 1, 100, 20_000), &queue).await.unwrap();
        within("the live message", y.receive()).await.unwrap().accept().await.unwrap();
        let mut settled = Vec::new();
        within("its outcome", outcomes.receive_many(&mut settled, 1)).await;
        assert_eq!(settled[0].outcome.as_ref().unwrap().outcome, FinalOutcome::Delivered);
        ended(y).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a file system: cargo xtask measure disk-faults"]
async fn a_full_disk_takes_nothing_more_and_gives_everything_back() {
    let volume = Volume::new(1_000);
    let play = Play::new(&volume.path(), 120);
    let sender = play.portal.sender().await;
    let mut held = BTreeSet::new();
    let refused = loop {
        let (more, others, _) = play.send(&sender, play.letters(FOR_OFFICE, 100, LARGE, 3_000)).await;
        held.extend(more);
        if !others.is_empty() {
            break others;
        }
        assert!(held.len() < 8_000, "the disk has no end");
    };
    println!("{} held, then {:?}", held.len(), refused.first());
    assert!(refused.iter().all(|said| said.starts_with("refused ")), "{refused:?}");
    assert!(play.is_ready(), "a full disk is no failure");
    // Not even for the endings is there room, until somebody makes some.
    volume.fill();
    let recipient = play.office.recipient().await;
    volume.empty();
    play.receive(&recipient, &held).await;
    play.nothing_is_held();
    assert!(play.is_ready());
    ended(recipient).await;
    play.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a file system: cargo xtask measure disk-faults"]
async fn a_disk_that_became_read_only_stops_custody_and_nothing_else() {
    let volume = Volume::new(1_000);
    let mut play = Play::new(&volume.path(), 10);
    let sender = play.portal.sender().await;
    let (held, others, _outcomes) = play.send(&sender, play.letters(FOR_OFFICE, 20, 1_000, 20_000)).await;
    assert_eq!((held.len(), others.len()), (20, 0), "{others:?}");
    volume.break_off();
    let (more, others, _) = play.send(&sender, play.letters(FOR_OFFICE, 5, 1_000, 25_000)).await;
    assert!(others.iter().all(|said| said.starts_with("undecided")), "{others:?}");
    play.what_waited_was_settled();
    assert!(more.is_empty(), "nothing is taken any more: {others:?}");
    assert!(!play.is_ready());
    play.live_traffic_passes(&sender).await;
    play.kill();
    volume.repair(None);
    play.start();
    let recipient = play.office.recipient().await;
    play.receive(&recipient, &held).await;
    play.nothing_is_held();
    ended(recipient).await;
    play.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "mounts a file system: cargo xtask measure disk-faults"]
async fn a_failing_fsync_stops_custody_and_every_receipt_before_it_holds() {
    let volume = Volume::failing(1_000, 220);
    let mut play = Play::new(&volume.path(), 10);
    let sender = play.portal.sender().await;
    let mut held = BTreeSet::new();
    let refused = loop {
        let (more, others, _) = play.send(&sender, play.letters(FOR_OFFICE, 50, LARGE, 25_000)).await;
        held.extend(more);
        if !others.is_empty() {
            break others;
        }
        assert!(held.len() < 8_000, "the disk does not fail");
    };
    println!("{} held, then {:?}", held.len(), refused.first());
    assert!(!play.is_ready(), "{refused:?}");
    assert!(refused.iter().any(|said| said.starts_with("undecided")), "{refused:?}");
    play.what_waited_was_settled();
    play.live_traffic_passes(&sender).await;
    play.kill();
    // The sender is gone too: nobody but the router has these messages.
    drop(sender);
    volume.repair(Some(1_100));
    play.start();
    let recipient = play.office.recipient().await;
    play.receive(&recipient, &held).await;
    play.nothing_is_held();
    ended(recipient).await;
    play.scene.network.stop();
}

/// Bytes of bodies kept before a record file is damaged: twice what journals may take.
const JOURNALS: usize = 256 << 20;

/// Files of the records, the oldest first.
fn record_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.parent().is_some_and(|parent| parent.ends_with("blobs")) {
                files.push(entry);
            }
        }
    }
    files.sort_by_key(|file| file.metadata().unwrap().modified().unwrap());
    files
}

/// Fills record files until some are no longer in the journal, and kills the router.
async fn with_record_files(folder: &Path) -> (Play, Client, BTreeSet<MessageId>, PathBuf) {
    let mut play = Play::new(folder, 10);
    let sender = play.portal.sender().await;
    let mut held = BTreeSet::new();
    // What is in the journal still would come from there: more is kept than journals hold.
    while held.len() * LARGE < JOURNALS {
        let (more, others, _outcomes) = play.send(&sender, play.letters(FOR_OFFICE, 100, LARGE, 60_000)).await;
        assert!(others.is_empty(), "{others:?}");
        held.extend(more);
    }
    play.kill();
    let file = record_files(folder).remove(0);
    (play, sender, held, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes some hundred megabytes: cargo xtask measure disk-faults"]
async fn a_flipped_bit_damages_what_it_hits_and_its_sender_sends_that_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut play, sender, held, file) = with_record_files(folder.path()).await;
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    play.start();
    let recipient = play.office.recipient().await;
    play.receive(&recipient, &held).await;
    play.nothing_is_held();
    let status = play.scene.network.router("r1").status();
    let damaged = status["custody"]["outcomes"]["damaged"].as_u64().unwrap();
    println!("{damaged} of {} damaged", held.len());
    assert!(damaged > 0, "{}", status["custody"]);
    wait_until("every outcome is there", || (sender.status().ledger.delivered == held.len() as u64).then_some(()));
    ended(recipient).await;
    ended(sender).await;
    play.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes some hundred megabytes: cargo xtask measure disk-faults"]
async fn without_one_of_its_files_the_spool_does_not_open_and_with_it_again_all_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (mut play, sender, held, file) = with_record_files(folder.path()).await;
    let aside = folder.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    let said = play.scene.network.start_in_vain("r1", &play.settings);
    assert!(said.contains("cannot be opened"), "{said}");
    std::fs::rename(&aside, &file).unwrap();
    play.start();
    let recipient = play.office.recipient().await;
    play.receive(&recipient, &held).await;
    play.nothing_is_held();
    ended(recipient).await;
    drop(sender);
    play.scene.network.stop();
}
