//! Large payloads over real routers, processes and sockets: boundaries, interruptions, wrong digests, quotas, and what a
//! slow recipient costs the others (WIRE 9). The long forms are ignored; run them with `--ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use bytes::Bytes;
use kernpost_codecs::payload::WINDOW;
use kernpost_codecs::{Code, Digest, Outcome, PayloadHead, SettlementFrame};
use kernpost_endpoint::client::{fresh_id, payload_file};
use kernpost_endpoint::core::{PayloadFile, SendOutcome};
use kernpost_endpoint::{Client, Delivery, FinalOutcome, Outgoing, Sent};
use kernpost_tests::client_process::{Desk, ended, started};
use kernpost_tests::numbered::bytes;
use kernpost_tests::process::{Settings, wait_until};
use kernpost_tests::scene::{FOR_OFFICE, Scene, WHERE};
use kernpost_tests::wire_client::within;

const MIB: usize = 1 << 20;

/// A portal at the first of these routers, an office at the last.
struct Play {
    scene: Scene,
    portal: Client,
    office: Client,
    office_desk: Desk,
}

impl Play {
    async fn at(scene: Scene, routers: &[&str]) -> Self {
        Self::with(scene, routers, "").await
    }

    /// With more in the office's configuration.
    async fn with(scene: Scene, routers: &[&str], more: &str) -> Self {
        let (first, last) = (routers[0], routers[routers.len() - 1]);
        let portal_desk = Desk::new(&scene, "portal", "portal", &[&scene.portal], &[first]);
        let office_desk = Desk::new(&scene, "office", "office", &[&scene.office], &[last]).with(more);
        let (portal, office) = (portal_desk.sender().await, office_desk.recipient().await);
        scene.network.router(first).wait_attached("de/office", &format!("de/router/{last}"));
        Self { scene, portal, office, office_desk }
    }

    fn letter(&self, payload: Bytes) -> Outgoing {
        let (service, place) = (FOR_OFFICE.parse().unwrap(), WHERE.parse().unwrap());
        Outgoing::new(fresh_id(), self.scene.portal.clone(), service, place, payload)
    }

    async fn send(&self, payload: Bytes) -> Sent {
        self.portal.send(self.letter(payload)).await.unwrap()
    }

    /// The same from a file.
    async fn send_file(&self, payload: &Bytes) -> Sent {
        let path = self.scene.network.folder().join("payload");
        std::fs::write(&path, payload).unwrap();
        let outgoing = self.letter(Bytes::new()).with_file(payload_file(&path).unwrap());
        self.portal.send(outgoing).await.unwrap()
    }

    /// Sends a sparse file of this length and compares digests; says how fast it was.
    async fn carry_file(&self, length: u64) {
        let mut file = sparse(self.scene.network.folder(), length);
        std::fs::write(&file.path, b"the beginning").unwrap();
        std::fs::File::options().write(true).open(&file.path).unwrap().set_len(length).unwrap();
        file = payload_file(&file.path).unwrap();
        let start = std::time::Instant::now();
        let sent = self.portal.send(self.letter(Bytes::new()).with_file(file.clone())).await.unwrap();
        let delivery = self.office.receive().await.unwrap();
        let came = payload_file(delivery.payload_file.as_ref().unwrap()).unwrap();
        assert_eq!((came.length, came.digest), (file.length, file.digest));
        delivery.accept().await.unwrap();
        let end = sent.outcome().await.unwrap();
        assert_eq!(end.outcome, FinalOutcome::Delivered, "{end:?}");
        let seconds = start.elapsed().as_secs_f64();
        println!("{} MiB in {seconds:.1} s, {} attempts", length >> 20, end.attempts);
    }

    async fn received(&self) -> Delivery {
        within("a message", self.office.receive()).await.unwrap()
    }

    /// Sends a payload, and checks what arrives.
    async fn carry(&self, payload: Bytes) {
        let sent = self.send(payload.clone()).await;
        let delivery = self.received().await;
        assert!(content(&delivery) == payload, "{} bytes arrived otherwise", payload.len());
        let file = delivery.payload_file.clone();
        delivery.accept().await.unwrap();
        let end = outcome(sent).await;
        assert_eq!(end.outcome, FinalOutcome::Delivered, "{end:?}");
        if let Some(file) = file {
            wait_until("the payload is deleted after its verdict", || (!file.exists()).then_some(()));
        }
    }

    /// The only payload at the office, whole or partial, and its length.
    fn partial(&self) -> Option<(PathBuf, u64)> {
        let folder = self.office_desk.path("state/payloads");
        let entry = std::fs::read_dir(folder).ok()?.flatten().next()?;
        Some((entry.path(), entry.metadata().ok()?.len()))
    }

    async fn end(self) {
        ended(self.portal).await;
        ended(self.office).await;
        self.scene.network.stop();
    }
}

async fn outcome(sent: Sent) -> SendOutcome {
    within("an outcome", sent.outcome()).await.unwrap()
}

/// The payload, wherever it is.
fn content(delivery: &Delivery) -> Bytes {
    match &delivery.payload_file {
        Some(file) => std::fs::read(file).unwrap().into(),
        None => delivery.payload.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_on_both_sides_of_the_boundary_arrive_through_one_router() {
    let play = Play::at(Scene::one_router(), &["r1"]).await;
    for length in [65_535, 65_536, 65_537, 100_000, MIB] {
        play.carry(bytes(length)).await;
    }
    wait_until("three went on streams of their own", || {
        (play.scene.network.router("r1").metric("large_payloads_finished_total") == 3).then_some(())
    });
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_on_both_sides_of_the_boundary_arrive_through_two_routers() {
    let play = Play::at(Scene::two_routers(), &["r1", "r2"]).await;
    for length in [65_536, 65_537, MIB, 8 * MIB] {
        play.carry(bytes(length)).await;
    }
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_crosses_from_one_worker_to_the_other() {
    let scene = Scene::one_router();
    let worker_of = |scene: &Scene, link: &str| {
        let status = scene.network.router("r1").status();
        let links = status["links"].as_array().cloned().unwrap_or_default();
        let named = |line: &&serde_json::Value| line["peer"].as_str().unwrap().ends_with(link);
        links.iter().find(named).map(|line| line["worker"].as_u64().unwrap())
    };
    let office_desk = Desk::new(&scene, "office", "office", &[&scene.office], &["r1"]);
    let portal_desk = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
    let office = office_desk.recipient().await;
    let mut portal = portal_desk.sender().await;
    // The kernel spreads links by their ports: a few attempts find one at the other worker.
    let known = |scene: &Scene, link: &str| wait_until("its worker is known", || worker_of(scene, link));
    while known(&scene, "/portal") == known(&scene, "/office") {
        ended(portal).await;
        wait_until("the link is gone", || worker_of(&scene, "/portal").is_none().then_some(()));
        portal = portal_desk.sender().await;
    }
    let play = Play { scene, portal, office, office_desk };
    play.carry(bytes(8 * MIB)).await;
    wait_until("it is seen to have crossed", || {
        (play.scene.network.router("r1").metric("crossings_sent_total") > 0).then_some(())
    });
    play.end().await;
}

/// Large enough to be interrupted long before its end.
const LONG: usize = 96 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_goes_on_where_a_killed_router_stopped_it() {
    let mut play = Play::at(Scene::one_router_with(&Settings::watchful()), &["r1"]).await;
    let payload = bytes(LONG);
    let sent = play.send_file(&payload).await;
    let before = wait_until("a part of it is here", || play.partial().map(|(_, len)| len).filter(|len| *len > 2 << 20));
    let mut router = play.scene.network.take("r1");
    router.process().kill();
    assert!(before < LONG as u64, "all of it came before the router could be killed");
    let address = vec![router.address.to_string()];
    play.scene.network.start("r1", &Settings::watchful().with("listen.addresses", address));
    let delivery = play.received().await;
    assert!(content(&delivery) == payload);
    assert!(delivery.redelivered, "nobody could know whether it had been handed over");
    delivery.accept().await.unwrap();
    assert_eq!(outcome(sent).await.outcome, FinalOutcome::Delivered);
    let again = play.scene.network.router("r1").metric("large_payload_forwarded_bytes_total");
    assert!(again <= LONG as u64 - before, "{again} bytes came again, {before} were here");
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_goes_on_after_its_recipient_was_started_again() {
    let mut play = Play::at(Scene::two_routers_with(&Settings::watchful()), &["r1", "r2"]).await;
    let payload = bytes(LONG);
    let sent = play.send_file(&payload).await;
    wait_until("a part of it is here", || play.partial().filter(|(_, len)| *len > 2 << 20));
    play.office.close(std::time::Duration::ZERO).await;
    let (_, before) = play.partial().unwrap();
    assert!(before < LONG as u64, "all of it came before the recipient could be closed");
    play.office = started(play.office_desk.config(true)).await;
    let delivery = play.received().await;
    assert!(content(&delivery) == payload);
    delivery.accept().await.unwrap();
    assert_eq!(outcome(sent).await.outcome, FinalOutcome::Delivered);
    let total = wait_until("all of it is counted", || {
        Some(play.scene.network.router("r2").metric("large_payload_forwarded_bytes_total"))
            .filter(|total| *total >= LONG as u64)
    });
    // What was under way when the recipient closed came twice, and nothing else.
    assert!(total <= LONG as u64 + WINDOW, "{total} bytes in all, {before} were here at the restart");
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_digest_is_refused_and_leaves_nothing_behind() {
    let play = Play::at(Scene::one_router(), &["r1"]).await;
    let path = play.office_desk.path("wrong");
    std::fs::write(&path, bytes(MIB)).unwrap();
    let mut file = payload_file(&path).unwrap();
    file.digest = Digest::of(b"something else");
    let sent = play.portal.send(play.letter(Bytes::new()).with_file(file)).await.unwrap();
    let end = outcome(sent).await;
    assert_eq!((end.outcome, end.code), (FinalOutcome::Refused, Code::DIGEST_MISMATCH));
    assert_eq!(play.partial(), None);
    // The next one is the first that is handed over.
    play.carry(bytes(MIB)).await;
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_without_room_at_its_recipient_waits_until_there_is_some() {
    let scene = Scene::one_router();
    let limits = "[limits]\npartial_bytes = 1048576";
    let play = Play::with(scene, &["r1"], limits).await;
    let too_large = outcome(play.send(bytes(MIB + 1)).await).await;
    assert_eq!((too_large.outcome, too_large.code), (FinalOutcome::Refused, Code::OVERSIZED));
    let first = play.send(bytes(700_000)).await;
    let held = play.received().await;
    let second = play.send(bytes(600_000)).await;
    wait_until("the second is refused for now", || (play.office.status().ledger.refused_entries >= 1).then_some(()));
    held.accept().await.unwrap();
    assert_eq!(outcome(first).await.outcome, FinalOutcome::Delivered);
    let delivery = play.received().await;
    assert!(content(&delivery) == bytes(600_000));
    delivery.accept().await.unwrap();
    assert_eq!(outcome(second).await.outcome, FinalOutcome::Delivered);
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_sends_nothing_leaves_its_message_undecided() {
    let scene = Scene::one_router_with(&Settings::new().with("deadlines.endpoint_ms", 500));
    let office_desk = Desk::new(&scene, "office", "office", &[&scene.office], &["r1"]);
    let office = office_desk.recipient().await;
    let mut portal = scene.portal_at("r1").await;
    let mut letter = scene.letter(&portal, FOR_OFFICE);
    let mut message = scene.message(&portal, FOR_OFFICE);
    (message.payload_len, message.payload_digest) = (MIB as u64, Digest::of(&bytes(MIB)));
    (letter.statement, letter.payload) = (message.encode(), Vec::new());
    let mut bundle = scene.bundle(&[letter]);
    bundle.entries[0].flags = 0x02;
    let label = portal.send(&bundle).await.label(0);
    assert_eq!(portal.wanted().await, (label, 0));
    let mut stream = portal.open_payload(PayloadHead { label, offset: 0 }).await;
    stream.write_all(&bytes(MIB)[..100]).await.unwrap();
    assert_eq!(portal.outcome(label).await.code(), Code::UNDECIDED_DEADLINE);
    // The router wants nothing of it any more.
    within("the stream is stopped", stream.stopped()).await.unwrap();
    portal.ping().await;
    ended(office).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_that_reads_no_large_payload_still_gets_small_messages() {
    let scene = Scene::two_routers();
    let mut office = scene.narrow_office_at("r2", 16_384).await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    let portal_desk = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
    let portal = portal_desk.sender().await;
    let (service, place) = (FOR_OFFICE.parse().unwrap(), WHERE.parse().unwrap());
    let letter = |payload| Outgoing::new(fresh_id(), scene.portal.clone(), service, place, payload);
    let mut stuck = Vec::new();
    let mut streams = Vec::new();
    // As many as one recipient may have on the link between routers: an eighth of the sixteen.
    for _ in 0..2 {
        stuck.push(portal.send(letter(bytes(4 * MIB))).await.unwrap());
        let arrival = office.receive().await;
        let label = arrival.labels()[0];
        office.settlement_frame(&SettlementFrame::Want { label, offset: 0 }).await;
        streams.push(office.payload().await);
    }
    wait_until("the payloads are stuck in the routers", || {
        (scene.network.router("r2").metric("payload_received_bytes_total") >= 2 * 65_536).then_some(())
    });
    let signer = scene.signer(&scene.office);
    for _ in 0..50 {
        let sent = portal.send(letter(Bytes::from_static(b"small"))).await.unwrap();
        let arrival = office.receive().await;
        office.receipts(&signer, &arrival, Outcome::Delivered).await;
        assert_eq!(outcome(sent).await.outcome, FinalOutcome::Delivered);
    }
    // No byte beyond the window has left the portal.
    assert!(scene.network.router("r1").metric("payload_received_bytes_total") <= 2 * WINDOW + 50 * 5);
    portal.close(std::time::Duration::ZERO).await;
    office.leave();
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_send_and_store_a_large_payload() {
    let scene = Scene::two_routers();
    let portal = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
    let office = Desk::new(&scene, "office", "office", &[&scene.office], &["r2"]);
    let received = office.receive(&["--into", "inbox"]);
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    let payload = bytes(5 * MIB);
    portal.file("payload", &payload);
    let arguments = ["send", "--config", "kernpost.toml", "payload", "--service", FOR_OFFICE, "--jurisdiction", WHERE];
    portal.run(&arguments).expect(0);
    let [folder] = &office.list("inbox")[..] else { panic!("one message is stored") };
    let stored = std::fs::read(office.path("inbox").join(folder).join("payload")).unwrap();
    assert!(stored == payload);
    received.terminate();
    drop(received);
    scene.network.stop();
}

/// A file of this length that takes no room.
fn sparse(play_folder: &std::path::Path, length: u64) -> PayloadFile {
    let path = play_folder.join("sparse");
    std::fs::File::create(&path).unwrap().set_len(length).unwrap();
    // Nobody here reads it to its end: the digest need not be right.
    PayloadFile { path, length, digest: Digest::of(b"never compared") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_holds_less_than_a_mebibyte_of_each_payload_that_nobody_reads() {
    const COUNT: u64 = 64;
    let settings = Settings::new()
        .with("limits.large_payloads_per_link", 64)
        .with("limits.downstream_share", 1)
        // Larger than the window of a payload, which must hold all the same.
        .with("link.lane_window_bytes", 4 << 20)
        .with("router.workers", 1);
    let scene = Scene::one_router_with(&settings);
    let mut office = scene.narrow_office_at("r1", 16_384).await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r1");
    let desk = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]).with("[limits]\nlarge_sending = 64");
    let portal = desk.sender().await;
    let file = sparse(scene.network.folder(), 100 * MIB as u64);
    let (service, place) = (FOR_OFFICE.parse().unwrap(), WHERE.parse().unwrap());
    let before = scene.network.router("r1").metric("resident_memory_bytes");
    let mut open = Vec::new();
    for _ in 0..COUNT {
        let letter = Outgoing::new(fresh_id(), scene.portal.clone(), service, place, Bytes::new());
        let sent = portal.send(letter.with_file(file.clone())).await.unwrap();
        let label = office.receive().await.labels()[0];
        office.settlement_frame(&SettlementFrame::Want { label, offset: 0 }).await;
        open.push((sent, office.payload().await));
    }
    wait_until("every payload has filled its window", || {
        (scene.network.router("r1").metric("quic_received_bytes_total") >= COUNT * WINDOW).then_some(())
    });
    let each = scene.network.router("r1").metric("resident_memory_bytes").saturating_sub(before) / COUNT;
    println!("{COUNT} payloads of 100 MiB that nobody reads: {} KiB of router memory each", each >> 10);
    assert!(each <= 1 << 20, "{each} bytes each");
    portal.close(std::time::Duration::ZERO).await;
    office.leave();
    scene.network.stop();
}

/// The long forms: 100 MiB through one router and through two, and the largest payload there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: minutes and gigabytes of disk"]
async fn the_largest_payloads_arrive() {
    for (scene, routers) in [(Scene::one_router(), &["r1"][..]), (Scene::two_routers(), &["r1", "r2"][..])] {
        let play = Play::at(scene, routers).await;
        play.carry_file(100 << 20).await;
        play.end().await;
    }
    let play = Play::at(Scene::one_router(), &["r1"]).await;
    play.carry_file(2 << 30).await;
    play.end().await;
}
