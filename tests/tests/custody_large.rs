//! Large payloads in custody, over real processes: what lies with a router that is killed, cut off or damaged arrives whole, and goes
//! on where it stopped (WIRE 9). The long form is a measure: `cargo xtask measure bulk-custody`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kernpost_endpoint::client::{fresh_id, payload_file};
use kernpost_endpoint::{Client, Delivery, Outgoing, stage_queue};
use kernpost_tests::client_process::{Desk, Running, ended, started};
use kernpost_tests::numbered::bytes;
use kernpost_tests::process::{Settings, wait_until};
use kernpost_tests::scene::{FOR_OFFICE, Scene, WHERE};
use kernpost_tests::wire_client::within;

const MIB: usize = 1 << 20;

/// A router `r1` with custody, a portal with a durable outbox, and an office that is not there yet.
struct Play {
    scene: Scene,
    portal: Desk,
    office: Desk,
    payload: Bytes,
}

fn settings(scene: &Scene) -> Settings {
    scene.network.custody("r1").overridden_by(&Settings::watchful())
}

impl Play {
    fn with(length: usize) -> Self {
        let mut scene = Scene::new();
        scene.network.publish();
        scene.network.start("r1", &settings(&scene));
        let portal =
            Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]).with("[outbox]\nfolder = \"outbox\"\n");
        let office = Desk::new(&scene, "office", "office", &[&scene.office], &["r1"]);
        let payload = bytes(length);
        portal.file("payload", &payload);
        Self { scene, portal, office, payload }
    }

    /// `kernpost send` of the payload; the same message each time.
    fn send(&self, wait: &str) -> Running {
        let arguments =
            ["send", "--config", "kernpost.toml", "payload", "--service", FOR_OFFICE, "--jurisdiction", WHERE];
        let once = ["--json", "--idempotency-key", "Bauakte 1", "--wait", wait, "--timeout", "60"];
        self.portal.start(&[&arguments[..], &once].concat(), b"")
    }

    /// Waits for the end of what was sent, in a process that is attached.
    fn follow(&self) -> Running {
        let sent = self.send("final");
        self.scene.network.router("r1").wait_attached("de/portal", "de/router/r1");
        sent
    }

    /// With the same spool.
    fn kill_router(&mut self) {
        let settings = settings(&self.scene);
        self.scene.network.kill_and_restart("r1", settings);
    }

    fn metric(&self, name: &str) -> u64 {
        self.scene.network.router("r1").metric(name)
    }

    /// The only payload in the spool's folder, and its length there.
    fn spooled(&self) -> Option<(PathBuf, u64)> {
        only_file(&self.scene.network.folder().join("r1-spool/payloads"))
    }

    /// The only payload at the office, and its length there.
    fn received(&self) -> Option<(PathBuf, u64)> {
        only_file(&self.office.path("state/payloads"))
    }

    fn held(&self) -> u64 {
        self.scene.network.router("r1").status()["custody"]["held"].as_u64().unwrap()
    }

    /// How much more than the payload a counter has, once it stands still: workers publish theirs from time to time.
    async fn beyond_all(&self, name: &str) -> u64 {
        let mut before = 0;
        loop {
            let now = self.metric(name);
            if now == before && now >= self.payload.len() as u64 {
                return now - self.payload.len() as u64;
            }
            before = now;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }

    async fn accept(&self, office: &Client) {
        let delivery = within("the message", office.receive()).await.unwrap();
        assert!(content(&delivery) == self.payload, "{} bytes arrived otherwise", self.payload.len());
        delivery.accept().await.unwrap();
    }

    /// Everything that lay with the router is gone, and the portal knows the end.
    async fn end(self, office: Client, sent: Running) {
        let end = tokio::task::block_in_place(|| sent.wait()).expect(0).json();
        assert_eq!(end["outcome"], "delivered", "{end}");
        wait_until("nothing is held", || (self.held() == 0).then_some(()));
        wait_until("the payload is erased", || self.spooled().is_none().then_some(()));
        ended(office).await;
        self.scene.network.stop();
    }
}

fn only_file(folder: &Path) -> Option<(PathBuf, u64)> {
    let mut entries = std::fs::read_dir(folder).ok()?.flatten();
    let entry = entries.next()?;
    assert!(entries.next().is_none(), "more than one payload in {}", folder.display());
    Some((entry.path(), entry.metadata().ok()?.len()))
}

fn content(delivery: &Delivery) -> Vec<u8> {
    std::fs::read(delivery.payload_file.as_ref().unwrap()).unwrap()
}

fn grown_beyond(found: Option<(PathBuf, u64)>, length: u64) -> Option<()> {
    found.filter(|(_, held)| *held > length).map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_payload_lies_with_a_router_that_is_killed_and_arrives_whole() {
    let mut play = Play::with(8 * MIB + 5);
    let first = tokio::task::block_in_place(|| play.send("custody").wait()).expect(0).json();
    assert_eq!((&first["outcome"], &first["issuer"]), (&"custody".into(), &"de/router/r1".into()), "{first}");
    wait_until("it is held", || (play.held() == 1).then_some(()));
    play.kill_router();
    wait_until("the spool is known", || (play.held() == 1).then_some(()));

    // An operator reads what was written, and it is on record.
    let operator = play.scene.network.operator("r1");
    let name = operator.json(&["list"])["lines"][0]["message"].as_str().unwrap().to_owned();
    let folder = play.scene.network.folder().join("exported");
    operator.json(&["export", &name, "--out", folder.to_str().unwrap()]);
    assert!(std::fs::read(folder.join("payload")).unwrap() == play.payload, "the export differs");

    let sent = play.follow();
    let office = play.office.recipient().await;
    play.accept(&office).await;
    play.end(office, sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_payload_goes_on_where_it_was_cut_on_its_way_in_and_on_its_way_out() {
    let mut play = Play::with(24 * MIB);
    let sent = play.send("custody");
    wait_until("a part of it is in the spool", || grown_beyond(play.spooled(), 2 << 20));
    drop(sent);
    let sent = play.send("custody");
    wait_until("more of it is in the spool", || grown_beyond(play.spooled(), 6 << 20));
    play.kill_router();
    wait_until("it goes on", || grown_beyond(play.spooled(), 10 << 20));
    tokio::task::block_in_place(|| sent.wait()).expect(0);
    let took = play.metric("payload_received_bytes_total");
    assert!(took < 19 << 20, "{took} bytes came after the router was started again");

    let office = play.office.recipient().await;
    wait_until("a part of it is at the office", || grown_beyond(play.received(), 2 << 20));
    office.close(std::time::Duration::ZERO).await;
    let sent = play.follow();
    let office = started(play.office.config(true)).await;
    play.accept(&office).await;
    let total = play.metric("large_payload_forwarded_bytes_total");
    assert!(total < 26 << 20, "{total} bytes were sent to the office in all");
    play.end(office, sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_payload_damaged_on_disk_is_asked_for_again_and_arrives() {
    let play = Play::with(2 * MIB);
    let mut sent = play.send("final");
    wait_until("it is in custody", || (play.held() == 1).then_some(()));
    let (path, length) = play.spooled().unwrap();
    File::options().write(true).open(&path).unwrap().write_all_at(&[0xff; 8], length / 2).unwrap();
    let office = play.office.recipient().await;
    play.accept(&office).await;
    assert!(path.with_extension("damaged").exists(), "what could not be read is kept for the operator");
    wait_until("the sender knows the end", || sent.has_ended().then_some(()));
    wait_until("the books say so", || {
        (play.scene.network.router("r1").status()["custody"]["outcomes"]["damaged"] == 1).then_some(())
    });
    std::fs::remove_file(path.with_extension("damaged")).unwrap();
    play.end(office, sent).await;
}

/// The measure: memory of eight at once, in and out, and what comes again after five cuts each way. Prints its readings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: gigabytes of disk; a measure"]
async fn bulk_in_custody_takes_bounded_memory_and_resumes() {
    memory_of_many().await;
    cuts().await;
}

const BULK: usize = 100 * MIB;

async fn memory_of_many() {
    const COUNT: u64 = 8;
    let play = Play::with(BULK);
    let desk = Desk::new(&play.scene, "bulk", "portal", &[&play.scene.portal], &["r1"]).with(LIMITS);
    let office_desk = Desk::new(&play.scene, "offices", "office", &[&play.scene.office], &["r1"]).with(LIMITS);
    let portal = desk.sender().await;
    let file = payload_file(&play.portal.path("payload")).unwrap();
    let (service, place) = (FOR_OFFICE.parse().unwrap(), WHERE.parse().unwrap());
    let (queue, mut outcomes) = stage_queue();
    let mut peak = Peak::of(&play);
    let letter = || Outgoing {
        timeout_ms: 600_000,
        ..Outgoing::new(fresh_id(), play.scene.portal.clone(), service, place, Bytes::new()).with_file(file.clone())
    };
    portal.send_all((0..COUNT).map(|_| letter()).collect(), &queue).await.unwrap();
    peak.while_waiting("all are in custody", || (play.held() == COUNT).then_some(()));
    println!("reading: memory of one on its way in = {} KiB", peak.each(COUNT) >> 10);
    let mut peak = Peak::of(&play);
    let office = office_desk.recipient().await;
    let office_here = &office;
    let accepting = async move {
        for _ in 0..COUNT {
            let delivery = office_here.receive().await.unwrap();
            assert_eq!(std::fs::metadata(delivery.payload_file.as_ref().unwrap()).unwrap().len(), BULK as u64);
            delivery.accept().await.unwrap();
        }
    };
    let mut accepting = Box::pin(accepting);
    loop {
        tokio::select! {
            () = &mut accepting => break,
            () = tokio::time::sleep(std::time::Duration::from_millis(50)) => peak.look(),
        }
    }
    drop(accepting);
    println!("reading: memory of one on its way out = {} KiB", peak.each(COUNT) >> 10);
    let mut ends = Vec::new();
    while ends.len() < 2 * COUNT as usize {
        within("an outcome", outcomes.receive_many(&mut ends, 16)).await;
    }
    ended(portal).await;
    ended(office).await;
    play.scene.network.stop();
}

const LIMITS: &str = "[limits]\nlarge_sending = 8\nlarge_receptions = 8";

/// The largest resident memory of the router beyond what it had.
struct Peak<'p> {
    play: &'p Play,
    before: u64,
    most: u64,
}

impl<'p> Peak<'p> {
    fn of(play: &'p Play) -> Self {
        let before = play.metric("resident_memory_bytes");
        Self { play, before, most: before }
    }

    fn look(&mut self) {
        self.most = self.most.max(self.play.metric("resident_memory_bytes"));
    }

    fn while_waiting(&mut self, what: &str, mut found: impl FnMut() -> Option<()>) {
        for _ in 0..20 {
            let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                wait_until(what, || {
                    self.look();
                    found()
                });
            }));
            if waited.is_ok() {
                return;
            }
        }
        panic!("waited ten minutes until {what}");
    }

    fn each(&self, count: u64) -> u64 {
        (self.most - self.before) / count
    }
}

async fn cuts() {
    let play = Play::with(BULK);
    for cut in 1..=5_u64 {
        let sent = play.send("custody");
        wait_until("more of it is in the spool", || grown_beyond(play.spooled(), cut * (BULK as u64 / 6)));
        drop(sent);
        play.scene.network.router("r1").wait_detached("de/portal", "de/router/r1");
    }
    let sent = play.send("custody");
    wait_until("all of it is in the spool", || grown_beyond(play.spooled(), BULK as u64));
    tokio::task::block_in_place(|| sent.wait()).expect(0);
    let again = play.beyond_all("payload_received_bytes_total").await;
    println!("reading: taken in twice after five kills of the sender = {again} bytes");
    for cut in 1..=5_u64 {
        let mut office = play.office.receive(&["--into", "inbox"]);
        wait_until("more of it is at the office", || grown_beyond(play.received(), cut * (BULK as u64 / 6)));
        office.kill();
        play.scene.network.router("r1").wait_detached("de/office", "de/router/r1");
    }
    let sent = play.follow();
    let office = play.office.recipient().await;
    wait_until("all of it is at the office", || grown_beyond(play.received(), BULK as u64 - 1));
    play.accept(&office).await;
    let again = play.beyond_all("large_payload_forwarded_bytes_total").await;
    println!("reading: sent twice after five kills of the recipient = {again} bytes");
    play.end(office, sent).await;
}
