//! Who is attached where: across routers, twice, on the move; and presence that nobody should believe.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kernpost_codecs::{
    Algorithm, AttachToken, Attachment, Class, CloseCode, Code, ControlFrame, MessageId, MessageRef, Outcome, Settle,
    SettlementFrame, SigningKey,
};
use kernpost_tests::process::{Settings, wait_until, wall};
use kernpost_tests::scene::{FOR_ABSENT, FOR_OFFICE, FOR_X, Scene};
use kernpost_tests::wire_client::{Letter, Link, RawBundle};
use kernpost_tests::world::link_identity;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_at_the_other_router_is_reached_and_answers_with_its_own_signature() {
    let scene = Scene::two_routers();
    let _office = scene.serving_office("r2").await;
    let mut portal = scene.portal_at("r1").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    for _ in 0..3 {
        scene.deliver_one(&mut portal).await;
    }
    let letters: Vec<Letter> = (0..100).map(|_| scene.letter(&portal, FOR_OFFICE)).collect();
    let settled = portal.outcomes(&scene.bundle(&letters)).await;
    assert!(settled.iter().all(|settled| settled.is_delivered()));
    for (router, books) in scene.network.stop() {
        assert_eq!((books.accepted, books.delivered), (103, 103), "{router}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_class_has_its_lane_and_its_labels_across_routers() {
    let scene = Scene::two_routers();
    let mut office = scene.office_at("r2").await;
    let mut portal = scene.portal_at("r1").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    for class in Class::ALL {
        let mut message = scene.message(&portal, FOR_OFFICE);
        message.class = class;
        let bundle =
            scene.bundle(&[Letter::new(message, b"one"), Letter::new(scene.message(&portal, FOR_OFFICE), b"two")]);
        let sent = portal.send_on(class, &bundle).await;
        let arrival = office.receive().await;
        assert_eq!((arrival.class, arrival.sequence), (class, 0));
        office.receipts(&scene.signer(&scene.office), &arrival, Outcome::Delivered).await;
        assert!(portal.outcome(sent.label(0)).await.is_delivered());
        let second = portal.outcome(sent.label(1)).await;
        let on_its_lane = class == Class::Interactive;
        assert_eq!(second.is_delivered(), on_its_lane, "an interactive message on the lane {class:?}");
    }
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_for_several_recipients_is_split_and_each_part_is_proven() {
    let scene = Scene::two_routers();
    let _office = scene.serving_office("r1").await;
    let _x = scene.attached(&scene.x, "x-alone", "r2").await.serve(scene.signer(&scene.x));
    let mut portal = scene.portal_at("r1").await;
    scene.network.router("r1").wait_attached("de/x", "de/router/r2");
    let letter = |number: usize| scene.letter(&portal, [FOR_OFFICE, FOR_X, FOR_ABSENT][number % 3]);
    let bundle = scene.bundle(&(0..30).map(letter).collect::<Vec<_>>());
    for (number, settled) in portal.outcomes(&bundle).await.into_iter().enumerate() {
        match number % 3 {
            2 => assert_eq!(settled.code(), Code::NOT_ATTACHED),
            at => {
                let recipient = scene.key([&scene.office, &scene.x][at]);
                assert!(settled.receipt().is_signed_by(recipient.public()), "entry {number}");
            }
        }
    }
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_attached_twice_gets_everything_and_one_attachment_takes_over_for_the_other() {
    let scene = Scene::two_routers();
    let mut here = scene.office_at("r1").await.serve(scene.signer(&scene.office));
    let branch = scene.attached(&scene.office, "branch", "r2").await;
    let mut there = branch.serve(scene.signer(&scene.office));
    let mut portal = scene.portal_at("r1").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");

    let letters: Vec<Letter> = (0..200).map(|_| scene.letter(&portal, FOR_OFFICE)).collect();
    let settled = portal.outcomes(&scene.bundle(&letters)).await;
    assert!(settled.iter().all(|settled| settled.is_delivered()));
    let (at_one, at_other) = (here.so_far(), there.so_far());
    assert_eq!(at_one.len() + at_other.len(), 200);
    // Two journals share 200 messages by hash: that one gets none has a chance of 2^-199.
    assert!(!at_one.is_empty() && !at_other.is_empty());

    // A case stays with one journal.
    for case in [b"case 1", b"case 2", b"case 3"] {
        for _ in 0..5 {
            let mut message = scene.message(&portal, FOR_OFFICE);
            message.case = Some(Bytes::from_static(case));
            let settled = portal.outcomes(&scene.bundle(&[Letter::new(message, b"next")])).await;
            assert!(settled[0].is_delivered());
        }
        let counts = [here.so_far().len(), there.so_far().len()];
        assert!(counts == [5, 0] || counts == [0, 5], "{counts:?}");
    }

    drop(there);
    scene.network.router("r1").wait_detached("de/office", "de/router/r2");
    let letters: Vec<Letter> = (0..50).map(|_| scene.letter(&portal, FOR_OFFICE)).collect();
    let settled = portal.outcomes(&scene.bundle(&letters)).await;
    assert!(settled.iter().all(|settled| settled.is_delivered()));
    assert_eq!(here.so_far().len(), 50);
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_journal_on_a_newer_link_takes_the_place_of_the_older_which_is_told() {
    let scene = Scene::one_router();
    let mut older = scene.link("office", "r1").await;
    let first = older.attach(&scene.signer(&scene.office)).await;
    let mut newer = scene.link("office", "r1").await;
    let again = Attachment { journal: first.journal, ..newer.attachment(&scene.office) };
    assert_eq!(newer.try_attach(&again, &scene.key(&scene.office)).await, Code(0));
    assert_eq!(older.closed().await.0, CloseCode::Superseded);
    let mut portal = scene.portal_at("r1").await;
    for _ in 0..20 {
        let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
        let arrival = newer.receive().await;
        newer.receipts(&scene.signer(&scene.office), &arrival, Outcome::Delivered).await;
        assert!(portal.outcome(sent.label(0)).await.is_delivered());
    }
    scene.network.stop();
}

/// Answers what is sent to it until it leaves, and remembers what it got.
struct Moving {
    link: Link,
    attachment: Attachment,
    got: BTreeSet<MessageId>,
}

impl Moving {
    async fn attach(scene: &Scene, link: &str, router: &str) -> Self {
        let mut link = scene.link(link, router).await;
        let attachment = link.attach(&scene.signer(&scene.office)).await;
        Self { link, attachment, got: BTreeSet::new() }
    }

    /// Wants nothing new and answers what is still on its way.
    async fn detach(&mut self, scene: &Scene) {
        let Attachment { endpoint, epoch, .. } = self.attachment.clone();
        self.link.tell(&ControlFrame::Detach { endpoint, epoch }).await;
        self.link.ping().await;
        self.answer(scene).await;
        self.link.ping().await;
    }

    /// Answers everything that has arrived.
    async fn answer(&mut self, scene: &Scene) {
        let signer = scene.signer(&scene.office);
        for arrival in self.link.arrived() {
            self.got.extend(arrival.ids());
            self.link.receipts(&signer, &arrival, Outcome::Delivered).await;
        }
    }

    /// Goes away as it stands; gives what it got.
    fn leave(mut self) -> BTreeSet<MessageId> {
        for arrival in self.link.arrived() {
            self.got.extend(arrival.ids());
        }
        self.link.leave();
        self.got
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_endpoint_moves_between_routers_every_label_settles_and_no_refusal_lies() {
    let scene = Scene::two_routers_with(&Settings::new().with("deadlines.endpoint_ms", 2_000));
    let mut portal = scene.portal_at("r1").await;
    let mut got = BTreeSet::new();
    let mut labels = BTreeMap::new();
    let mut office = Moving::attach(&scene, "office", "r1").await;
    for round in 0..12 {
        // It comes to one router before or after it has left the other.
        let (link, router) = if round % 2 == 0 { ("branch", "r2") } else { ("office", "r1") };
        for step in 0..10 {
            let letters: Vec<Letter> = (0..5).map(|_| scene.letter(&portal, FOR_OFFICE)).collect();
            let sent = portal.send(&scene.bundle(&letters)).await;
            for (index, letter) in (0..).zip(&letters) {
                labels.insert(MessageRef::parse(&letter.statement).unwrap().id, sent.label(index));
            }
            office.answer(&scene).await;
            if step == 5 {
                // Gone before it comes; comes before it is gone; or comes, settles what it still has, and goes.
                let next = match round % 3 {
                    0 => {
                        got.extend(office.leave());
                        Moving::attach(&scene, link, router).await
                    }
                    1 => {
                        let next = Moving::attach(&scene, link, router).await;
                        got.extend(office.leave());
                        next
                    }
                    _ => {
                        let next = Moving::attach(&scene, link, router).await;
                        office.detach(&scene).await;
                        got.extend(office.leave());
                        next
                    }
                };
                office = next;
            }
        }
    }
    let (mut delivered, mut refused, mut undecided) = (0, 0, 0);
    for (id, label) in &labels {
        while !portal.has_settled(*label) {
            office.answer(&scene).await;
            tokio::task::yield_now().await;
        }
        let settled = portal.outcome(*label).await;
        if settled.is_delivered() {
            delivered += 1;
            assert!(got.contains(id) || office.got.contains(id), "{id} was delivered to nobody");
        } else if settled.code().is_refused() {
            refused += 1;
            assert!(!got.contains(id) && !office.got.contains(id), "{id} was handed on and refused: {settled:?}");
        } else {
            undecided += 1;
        }
    }
    println!("{delivered} delivered, {refused} refused, {undecided} undecided");
    assert_eq!(delivered + refused + undecided, 600);
    assert!(delivered > 0);
    drop(office);
    // An entry may go back and forth while presence is on its way: each time it gets another label.
    let books = scene.network.stop()[0].1;
    assert!(books.accepted >= 600 && books.delivered >= delivered, "{books:?}");
}

/// A fake router with a good certificate of `r3`, greeted; and the presence number it sends next.
struct FakeRouter {
    link: Link,
    number: u64,
}

impl FakeRouter {
    async fn at(scene: &Scene, router: &str) -> Self {
        let mut link = scene.router_link("r3", router).await;
        link.control_frame(|frame| matches!(frame, ControlFrame::PresenceFull { more: false, .. })).await;
        let mut fake = Self { link, number: 0 };
        fake.tell(Vec::new()).await;
        fake
    }

    async fn tell(&mut self, tokens: Vec<Bytes>) {
        self.number += 1;
        let (number, detached) = (self.number, Vec::new());
        let frame = match number {
            1 => ControlFrame::PresenceFull { number, tokens, more: false },
            _ => ControlFrame::PresenceDelta { number, attached: tokens, detached },
        };
        self.link.tell(&frame).await;
        self.link.ping().await;
    }
}

fn attachment_at(scene: &Scene, router: &str) -> Attachment {
    Attachment {
        endpoint: scene.office.clone(),
        router: router.parse().unwrap(),
        identity: link_identity("office"),
        epoch: wall().0 * 1_000,
        expires: wall().plus_ms(600_000),
        journal: [3; 16],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_presence_is_ignored_and_alarmed() {
    let scene = Scene::one_router();
    let mut portal = scene.portal_at("r1").await;
    let mut fake = FakeRouter::at(&scene, "r1").await;
    let (own, of_x) = (SigningKey::generate(Algorithm::Esp256).unwrap(), scene.key(&scene.x));
    let of_office = scene.key(&scene.office);
    let good = attachment_at(&scene, "de/router/r3");
    let token = |attachment: &Attachment, key: &SigningKey| AttachToken::sign(attachment, &[key]).unwrap();
    let mut cut = token(&good, &of_office).to_vec();
    cut.pop();
    let forged = [
        ("signed by itself", token(&good, &own)),
        ("signed by another endpoint", token(&good, &of_x)),
        (
            "of a link identity that may not",
            token(&Attachment { identity: link_identity("stranger"), ..good.clone() }, &of_office),
        ),
        ("for a router nobody knows", token(&attachment_at(&scene, "de/router/r9"), &of_office)),
        (
            "of an endpoint nobody knows",
            token(&Attachment { endpoint: "de/nobody".parse().unwrap(), ..good.clone() }, &own),
        ),
        ("expired", token(&Attachment { expires: wall().minus_ms(1), ..good.clone() }, &of_office)),
        ("cut short", cut.into()),
    ];
    for (number, (what, token)) in (1..).zip(forged) {
        fake.tell(vec![token]).await;
        let r1 = scene.network.router("r1");
        wait_until(&format!("the alarm: {what}"), || (r1.alarms("presence_refused") == number).then_some(()));
        let settled = portal.outcomes(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
        assert_eq!(settled[0].code(), Code::NOT_ATTACHED, "{what}");
    }
    assert!(fake.link.arrived().is_empty());
    let log = scene.network.router("r1").log();
    assert!(log.contains("alarm: presence refused") && log.contains("de/router/r3"));

    // The very same way carries a genuine token: now messages go there.
    fake.tell(vec![token(&good, &of_office)]).await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r3");
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = fake.link.receive().await;
    assert_eq!(arrival.part.entries()[0].hop.recipient.as_ref(), Some(&scene.office));
    assert_eq!(arrival.part.entries()[0].hop.hops, 1);
    // It holds no key of the office, so it can only refuse, or forge in vain: what it forges does not count, and since it is a
    // router and has closed the label, the sender learns that nobody knows.
    let by_itself = kernpost_tests::wire_client::Signer { id: scene.office.clone(), key: own };
    let receipt = fake.link.receipts_frame(&by_itself, &arrival, Outcome::Delivered, None);
    fake.link.settlement_frame(&SettlementFrame::Receipts(receipt)).await;
    assert_eq!(portal.outcome(sent.label(0)).await.code(), Code::UNDECIDED_UNCLEAR);
    // Whatever it says of that label now is too late; of another it may say what it likes.
    fake.link.settle(&arrival, Code::NOT_ATTACHED).await;
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = fake.link.receive().await;
    fake.link.settle(&arrival, Code::NOT_ATTACHED).await;
    assert_eq!(portal.outcome(sent.label(0)).await.code(), Code::NOT_ATTACHED);
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_the_presence_numbers_closes_the_link_and_its_presence_is_forgotten() {
    let scene = Scene::one_router();
    let mut fake = FakeRouter::at(&scene, "r1").await;
    let token = AttachToken::sign(&attachment_at(&scene, "de/router/r3"), &[&scene.key(&scene.office)]).unwrap();
    fake.tell(vec![token]).await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r3");
    fake.link.tell(&ControlFrame::PresenceDelta { number: 4, attached: Vec::new(), detached: Vec::new() }).await;
    let (code, reason) = fake.link.closed().await;
    assert_eq!(code, CloseCode::UnexpectedFrame, "{reason}");
    assert!(reason.starts_with("WIRE 3.3"), "{reason}");
    scene.network.router("r1").wait_detached("de/office", "de/router/r3");
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_attaches_no_endpoint() {
    let scene = Scene::one_router();
    let mut fake = FakeRouter::at(&scene, "r1").await;
    let token = AttachToken::sign(&attachment_at(&scene, "de/router/r1"), &[&scene.key(&scene.office)]).unwrap();
    fake.link.tell(&ControlFrame::Attach { req: 1, token }).await;
    let (code, reason) = fake.link.closed().await;
    assert_eq!(code, CloseCode::UnexpectedFrame, "{reason}");
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_is_told_once_when_a_router_comes_and_once_for_every_change() {
    let scene = Scene::one_router();
    let office = scene.office_at("r1").await;
    let mut observer = scene.router_link("r3", "r1").await;
    let full = observer.control_frame(|frame| matches!(frame, ControlFrame::PresenceFull { .. })).await;
    let ControlFrame::PresenceFull { number: 1, tokens, more: false } = full else { panic!("{full:?}") };
    assert_eq!(AttachToken::parse(&tokens[0]).unwrap().attachment().endpoint, scene.office);
    assert_eq!(tokens.len(), 1);
    let portal = scene.portal_at("r1").await;
    let delta = |frame: &ControlFrame| matches!(frame, ControlFrame::PresenceDelta { .. });
    let came = observer.control_frame(delta).await;
    assert!(
        matches!(&came, ControlFrame::PresenceDelta { number: 2, attached, detached } if attached.len() == 1 && detached.is_empty())
    );
    office.leave();
    let left = observer.control_frame(delta).await;
    let ControlFrame::PresenceDelta { number: 3, attached, detached } = left else { panic!("{left:?}") };
    assert!(attached.is_empty());
    assert_eq!(detached[0].0, scene.office);
    portal.leave();
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_dies_leaves_what_was_on_its_way_undecided_and_the_rest_refused() {
    let quick = Settings::new().with("link.idle_timeout_ms", 3_000).with("link.keep_alive_ms", 1_000);
    let mut scene = Scene::two_routers_with(&quick);
    let mut office = scene.office_at("r2").await;
    let mut portal = scene.portal_at("r1").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    office.receive().await;
    scene.network.take("r2").process().kill();
    assert_eq!(portal.outcome(sent.label(0)).await.code(), Code::UNDECIDED_LINK_LOST);
    scene.network.router("r1").wait_detached("de/office", "de/router/r2");
    let settled = portal.outcomes(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    assert_eq!(settled[0].code(), Code::NOT_ATTACHED);
    let books = scene.network.stop()[0].1;
    assert_eq!((books.undecided, books.refused), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipients_link_that_is_lost_leaves_its_labels_undecided_across_routers() {
    let scene = Scene::two_routers();
    let mut office = scene.office_at("r2").await;
    let mut portal = scene.portal_at("r1").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    let letters: Vec<Letter> = (0..3).map(|_| scene.letter(&portal, FOR_OFFICE)).collect();
    let sent = portal.send(&scene.bundle(&letters)).await;
    let arrival = office.receive().await;
    // One of three is answered before the link is lost.
    let first = arrival.labels()[..1].to_vec();
    let settle = Settle::new(Code::BUSY, Default::default(), first);
    office.settlement_frame(&SettlementFrame::Settle(settle)).await;
    assert_eq!(portal.outcome(sent.label(0)).await.code(), Code::BUSY);
    office.leave();
    for index in 1..3 {
        assert_eq!(portal.outcome(sent.label(index)).await.code(), Code::UNDECIDED_LINK_LOST);
    }
    for (router, books) in scene.network.stop() {
        assert_eq!((books.accepted, books.refused, books.undecided), (3, 1, 2), "{router}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_answer_from_the_other_router_is_remembered_until_its_retry_after() {
    let settings = Settings::new().with("deadlines.retry_after_ms", 2_000);
    let scene = Scene::two_routers_with(&settings);
    let mut office = scene.office_at("r2").await;
    let mut portal = scene.portal_at("r1").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    let one = |portal: &Link| -> RawBundle { scene.bundle(&[scene.letter(portal, FOR_OFFICE)]) };
    let sent = portal.send(&one(&portal)).await;
    let arrival = office.receive().await;
    let detail = kernpost_codecs::Detail {
        endpoint: Some(scene.office.clone()),
        router: Some("de/router/r2".parse().unwrap()),
        retry_after_ms: Some(1_500),
        ..Default::default()
    };
    let settle = Settle::new(Code::BUSY, detail, arrival.labels());
    office.settlement_frame(&SettlementFrame::Settle(settle)).await;
    office.return_credit(&arrival).await;
    assert_eq!(portal.outcome(sent.label(0)).await.code(), Code::BUSY);
    let at_once = portal.outcomes(&one(&portal)).await.remove(0);
    assert_eq!(at_once.code(), Code::BUSY, "r1 does not even ask again");
    assert!(office.arrived().is_empty());
    assert!(at_once.detail().retry_after_ms.unwrap() <= 1_500);
    // A newer attachment counts at once: it need not be busy.
    let mut branch = scene.attached(&scene.office, "branch", "r2").await;
    office.leave();
    wait_until("the branch is preferred and known", || {
        let status = scene.network.router("r1").status();
        let held = status["attachments"].as_array().unwrap().clone();
        let of_office = held.iter().filter(|held| held["endpoint"] == "de/office").collect::<Vec<_>>();
        (of_office.len() == 1 && of_office[0]["identity"] == "uri:spiffe://kernpost.test/branch").then_some(())
    });
    let sent = portal.send(&one(&portal)).await;
    let arrival = branch.receive().await;
    branch.receipts(&scene.signer(&scene.office), &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(sent.label(0)).await.is_delivered());
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_endpoint_makes_another_look_busy() {
    let scene = Scene::two_routers();
    let _office = scene.serving_office("r2").await;
    let mut x = scene.attached(&scene.x, "x-alone", "r2").await;
    let mut portal = scene.portal_at("r1").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    scene.network.router("r1").wait_attached("de/x", "de/router/r2");
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_X)])).await;
    let arrival = x.receive().await;
    let detail = kernpost_codecs::Detail {
        endpoint: Some(scene.office.clone()),
        router: Some("de/router/r2".parse().unwrap()),
        retry_after_ms: Some(60_000),
        ..Default::default()
    };
    let settle = Settle::new(Code::BUSY, detail, arrival.labels());
    x.settlement_frame(&SettlementFrame::Settle(settle)).await;
    let settled = portal.outcome(sent.label(0)).await;
    assert_eq!(settled.code(), Code::BUSY);
    assert_eq!(settled.detail().endpoint.as_ref(), Some(&scene.x), "busy is who was asked");
    assert_eq!(settled.detail().router.as_ref().unwrap().as_str(), "de/router/r2");
    scene.deliver_one(&mut portal).await;
    scene.network.stop();
}
