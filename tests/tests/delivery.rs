//! Clients of the library over real routers: order within a case, duplicates, lost links and killed routers, key rollover,
//! back-pressure, recipients that hang. Every test ends with balanced books at the clients and at the routers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "delivery/rollover.rs"]
mod rollover;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use kernpost_codecs::archive::CoseReceipt;
use kernpost_codecs::key::KeyId;
use kernpost_codecs::{Code, EndpointId};
use kernpost_endpoint::client::{ClientConfig, fresh_id, reply_to};
use kernpost_endpoint::core::SendOutcome;
use kernpost_endpoint::{Client, Delivery, FinalOutcome, Outgoing, SendError, Sent};
use kernpost_tests::client_process::{Desk, ended, started};
use kernpost_tests::process::{Books, Settings, wait_until};
use kernpost_tests::scene::{FOR_OFFICE, FOR_X, HELLO, Scene, WHERE};
use kernpost_tests::wire_client::within;
use rustix::process::Signal;

/// A message to whoever is responsible.
fn letter(from: &EndpointId, service: &str, payload: &str) -> Outgoing {
    let (service, place) = (service.parse().unwrap(), WHERE.parse().unwrap());
    Outgoing::new(fresh_id(), from.clone(), service, place, Bytes::from(payload.to_owned()))
}

/// The same in a case.
fn in_case(mut outgoing: Outgoing, case: &'static str) -> Outgoing {
    outgoing.case = Some(Bytes::from_static(case.as_bytes()));
    outgoing
}

async fn outcome(sent: Sent) -> SendOutcome {
    within("an outcome", sent.outcome()).await.unwrap()
}

async fn delivered(sent: Sent) -> SendOutcome {
    let end = outcome(sent).await;
    assert_eq!(end.outcome, FinalOutcome::Delivered, "{end:?}");
    end
}

async fn received(client: &Client) -> Delivery {
    within("a message", client.receive()).await.unwrap()
}

fn text(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.payload).unwrap()
}

/// What a future gives at once, if anything.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Two routers, a portal at the first, an office at the second.
struct Play {
    scene: Scene,
    portal: Client,
    office: Client,
    portal_desk: Desk,
}

impl Play {
    async fn new() -> Self {
        Self::on(Scene::two_routers()).await
    }

    async fn on(scene: Scene) -> Self {
        let portal_desk = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
        let office_desk = Desk::new(&scene, "office", "office", &[&scene.office], &["r2"]);
        let (portal, office) = (portal_desk.sender().await, office_desk.recipient().await);
        scene.network.router("r1").wait_attached("de/office", "de/router/r2");
        Self { scene, portal, office, portal_desk }
    }

    fn letter(&self, payload: &str) -> Outgoing {
        letter(&self.scene.portal, FOR_OFFICE, payload)
    }

    async fn send(&self, outgoing: Outgoing) -> Sent {
        self.portal.send(outgoing).await.unwrap()
    }

    /// Waits until the office has taken its verdict into the journal.
    fn wait_journalled(&self, count: u64) {
        wait_until("the verdict is journalled", || (self.office.status().ledger.journalled >= count).then_some(()));
    }

    /// Starts a router that was killed again, at its old address.
    fn start_again(&mut self, name: &str, address: std::net::SocketAddr, more: Settings) {
        self.scene.network.start(name, &more.with("listen.addresses", vec![address.to_string()]));
    }

    async fn end(self) -> Vec<(String, Books)> {
        ended(self.portal).await;
        ended(self.office).await;
        self.scene.network.stop()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_rejected_and_replied_messages_come_back_with_proofs() {
    let mut scene = Scene::new();
    scene.network.start_pair(&Settings::new());
    let portal_desk = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
    let office_desk = Desk::new(&scene, "office", "office", &[&scene.office], &["r2"]);
    // One client on each side sends and receives over the same link.
    let (portal, office) = (portal_desk.recipient().await, office_desk.recipient().await);
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    scene.network.router("r2").wait_attached("de/portal", "de/router/r1");
    let mut application = in_case(letter(&scene.portal, FOR_OFFICE, "Antrag"), "Akte 7");
    application.mailbox = Some(Bytes::from_static(b"Fach 12"));
    let sent = portal.send(application).await.unwrap();
    let delivery = received(&office).await;
    assert_eq!(text(&delivery), "Antrag");
    let accepted = delivery.accept().await.unwrap();
    let end = delivered(sent).await;
    assert_eq!(end.issuer.unwrap().as_str(), "de/office");

    let replied = office.reply(&accepted, Bytes::from_static(b"Bescheid")).await.unwrap();
    let reply = received(&portal).await;
    assert_eq!((text(&reply), reply.message.in_reply_to), ("Bescheid", Some(end.id)));
    assert_eq!(reply.message.mailbox.as_deref(), Some(&b"Fach 12"[..]));
    assert_eq!(reply.message.case.as_deref(), Some(&b"Akte 7"[..]));
    let code = Code(4_711);
    reply.reject(code, Some("das Fach ist voll".to_owned())).await.unwrap();
    let end = outcome(replied).await;
    assert_eq!((end.outcome, end.code), (FinalOutcome::Rejected, code));
    assert_eq!(end.problem.as_deref(), Some("das Fach ist voll"));
    assert_eq!(end.proof.unwrap().parsed.issuer.as_str(), "de/portal");

    // The reply to a message that was never sent is not handed over.
    let mut never = accepted.message.clone();
    never.id = fresh_id();
    let unsolicited = reply_to(scene.office.clone(), &never, Bytes::from_static(b"Bescheid"));
    let end = outcome(office.send(unsolicited).await.unwrap()).await;
    assert_eq!((end.outcome, end.code), (FinalOutcome::Rejected, Code::UNSOLICITED_REPLY));
    assert_eq!(portal.status().ledger.handed_over, 1);
    ended(portal).await;
    ended(office).await;
    for (router, books) in scene.network.stop() {
        assert_eq!((books.delivered, books.rejected), (1, 2), "{router}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_case_arrive_in_order_while_another_case_overtakes() {
    let play = Play::new().await;
    let mut sent = Vec::new();
    for number in 0..5 {
        sent.push(play.send(in_case(play.letter(&format!("A{number}")), "A")).await);
    }
    let first = received(&play.office).await;
    assert_eq!(text(&first), "A0");
    let other = play.send(in_case(play.letter("B0"), "B")).await;
    let overtaking = received(&play.office).await;
    assert_eq!(text(&overtaking), "B0");
    overtaking.accept().await.unwrap();
    delivered(other).await;
    assert!(at_once(play.office.receive()).is_none(), "the next of the case waits for the first");
    first.accept().await.unwrap();
    for number in 1..5 {
        let next = received(&play.office).await;
        assert_eq!(text(&next), format!("A{number}"));
        if number == 2 {
            next.reject(Code(1_000), None).await.unwrap();
        } else {
            next.accept().await.unwrap();
        }
    }
    for (number, sent) in sent.into_iter().enumerate() {
        let expected = if number == 2 { FinalOutcome::Rejected } else { FinalOutcome::Delivered };
        assert_eq!(outcome(sent).await.outcome, expected, "A{number}");
    }
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_egress_router_is_killed_a_message_accepted_meanwhile_is_found_and_its_case_goes_on_in_order() {
    let mut play = Play::on(Scene::two_routers_with(&Settings::watchful())).await;
    let mut sent = Vec::new();
    for number in 0..4 {
        sent.push(play.send(in_case(play.letter(&format!("A{number}")), "A")).await);
    }
    let first = received(&play.office).await;
    let mut egress = play.scene.network.take("r2");
    let address = egress.address;
    egress.process().kill();
    first.accept().await.unwrap();
    play.wait_journalled(1);
    play.start_again("r2", address, Settings::watchful());
    for number in 1..4 {
        let next = received(&play.office).await;
        assert_eq!(text(&next), format!("A{number}"));
        next.accept().await.unwrap();
    }
    let mut attempts = Vec::new();
    for one in sent {
        let end = delivered(one).await;
        attempts.push(end.attempts);
        let proof = end.proof.unwrap().to_file().encode();
        let file = play.portal_desk.file("receipt", proof);
        let at = |name: &str| play.scene.network.folder().join(name).to_str().unwrap().to_owned();
        let (directory, anchor) = (at("directory"), at("trust-anchor.toml"));
        let verify = ["receipt", "verify", &file, "--directory", &directory, "--trust-anchor", &anchor];
        play.portal_desk.run(&verify).expect(0);
    }
    assert!(attempts[0] > 1, "{attempts:?}");
    assert_eq!(play.office.status().ledger.handed_over, 4);
    assert!(play.portal.status().ledger.asks >= 1);
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_egress_router_is_killed_a_message_still_in_hand_is_asked_for_and_handed_over_once() {
    let mut play = Play::on(Scene::two_routers_with(&Settings::watchful())).await;
    let sent = play.send(play.letter("Antrag")).await;
    let thinking = received(&play.office).await;
    let mut egress = play.scene.network.take("r2");
    let address = egress.address;
    egress.process().kill();
    play.start_again("r2", address, Settings::watchful());
    wait_until("the office is asked", || (play.office.status().ledger.asked >= 1).then_some(()));
    thinking.accept().await.unwrap();
    assert!(delivered(sent).await.attempts > 1);
    assert_eq!(play.office.status().ledger.handed_over, 1);
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_ingress_router_is_killed_the_sender_comes_back_and_learns_the_outcome() {
    let mut play = Play::on(Scene::two_routers_with(&Settings::watchful())).await;
    let sent = play.send(play.letter("Antrag")).await;
    let thinking = received(&play.office).await;
    let mut ingress = play.scene.network.take("r1");
    let address = ingress.address;
    ingress.process().kill();
    thinking.accept().await.unwrap();
    play.wait_journalled(1);
    let second = play.scene.network.router("r2").address;
    play.start_again("r1", address, Settings::watchful().peer("de/router/r2", second));
    assert!(delivered(sent).await.attempts > 1);
    let again = play.send(play.letter("noch einer")).await;
    received(&play.office).await.accept().await.unwrap();
    delivered(again).await;
    assert_eq!(play.office.status().ledger.handed_over, 2);
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_stands_still_between_forward_and_settlement_loses_nothing_and_its_books_balance() {
    let mut play = Play::on(Scene::two_routers_with(&Settings::watchful())).await;
    let sent = play.send(play.letter("Antrag")).await;
    let thinking = received(&play.office).await;
    let mut egress = play.scene.network.take("r2");
    egress.process().signal(Signal::STOP);
    play.scene.network.router("r1").wait_status("the other router's link is lost", |status| {
        let links = status["links"].as_array().into_iter().flatten();
        !links.into_iter().any(|link| link["role"] == "router" && link["ready"] == true)
    });
    thinking.accept().await.unwrap();
    egress.process().signal(Signal::CONT);
    delivered(sent).await;
    assert_eq!(play.office.status().ledger.handed_over, 1);
    ended(play.portal).await;
    ended(play.office).await;
    egress.stop();
    play.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_two_routers_goes_on_over_one_when_the_other_stops() {
    let mut scene = Scene::new();
    scene.network.start_pair(&Settings::new());
    let both = ["r1", "r2"];
    let portal_desk = Desk::new(&scene, "portal", "portal", &[&scene.portal], &both);
    let office_desk = Desk::new(&scene, "office", "office", &[&scene.office], &both);
    let (portal, office) = (portal_desk.sender().await, office_desk.recipient().await);
    for router in both {
        scene.network.router(router).wait_attached("de/office", "de/router/r1");
        scene.network.router(router).wait_attached("de/office", "de/router/r2");
    }
    let send = async |number: usize| {
        let sent = portal.send(letter(&scene.portal, FOR_OFFICE, &format!("{number}"))).await.unwrap();
        received(&office).await.accept().await.unwrap();
        delivered(sent).await;
    };
    send(0).await;
    let in_hand = portal.send(letter(&scene.portal, FOR_OFFICE, "in hand")).await.unwrap();
    let thinking = received(&office).await;
    let mut first = scene.network.take("r1");
    first.process().terminate();
    thinking.accept().await.unwrap();
    delivered(in_hand).await;
    first.await_end();
    for number in 1..4 {
        send(number).await;
    }
    assert_eq!(office.status().ledger.handed_over, 5);
    ended(portal).await;
    ended(office).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_used_again_for_other_content_is_refused_and_not_handed_over() {
    let play = Play::new().await;
    let first = play.letter("Antrag");
    let other = Outgoing { payload: Bytes::from_static(b"anderer Antrag"), ..first.clone() };
    let sent = play.send(first.clone()).await;
    let delivery = received(&play.office).await;
    let while_open = outcome_or_error(play.send(other.clone()).await).await;
    assert!(matches!(while_open, Err(SendError::IdInUse(id)) if id == first.id), "{while_open:?}");
    delivery.accept().await.unwrap();
    delivered(sent).await;
    let end = outcome(play.send(other).await).await;
    assert_eq!((end.outcome, end.code), (FinalOutcome::Refused, Code::ID_REUSED));
    assert!(end.proof.is_none());
    assert_eq!(play.office.status().ledger.handed_over, 1);
    play.end().await;
}

async fn outcome_or_error(sent: Sent) -> Result<SendOutcome, SendError> {
    within("an outcome or an error", sent.outcome()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_whose_outbox_is_full_waits_and_everything_is_delivered() {
    let scene = Scene::two_routers();
    let portal_desk = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
    let portal_desk = portal_desk.with("[limits]\noutbox_messages = 4");
    let office_desk = Desk::new(&scene, "office", "office", &[&scene.office], &["r2"]);
    let (portal, office) = (portal_desk.sender().await, office_desk.recipient().await);
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    let next = |number: usize| letter(&scene.portal, FOR_OFFICE, &format!("{number}"));
    let (mut sent, mut in_hand) = (Vec::new(), Vec::new());
    for number in 0..4 {
        sent.push(portal.send(next(number)).await.unwrap());
        in_hand.push(received(&office).await);
    }
    let mut fifth = Box::pin(portal.send(next(4)));
    assert!(at_once(fifth.as_mut()).is_none(), "there is no room");
    in_hand.remove(0).accept().await.unwrap();
    sent.push(within("room for the fifth", fifth).await.unwrap());
    for delivery in in_hand {
        delivery.accept().await.unwrap();
    }
    let taking = async {
        for _ in 4..200 {
            received(&office).await.accept().await.unwrap();
        }
    };
    let sending = async {
        for number in 5..200 {
            sent.push(portal.send(next(number)).await.unwrap());
            assert!(portal.status().ledger.open <= 4);
        }
    };
    within("everything to be sent", async { tokio::join!(taking, sending) }).await;
    for one in sent {
        delivered(one).await;
    }
    assert_eq!(portal.status().ledger.delivered, 200);
    ended(portal).await;
    ended(office).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_that_hangs_ends_undecided_at_the_senders_timeout_and_others_go_on() {
    let settings = Settings::new().with("deadlines.endpoint_ms", 400);
    let play = Play::on(Scene::two_routers_with(&settings)).await;
    let provider = Desk::new(&play.scene, "provider", "x-alone", &[&play.scene.x], &["r2"]).recipient().await;
    play.scene.network.router("r1").wait_attached("de/x", "de/router/r2");
    let stuck = play.send(Outgoing { timeout_ms: 1_500, ..play.letter("Antrag") }).await;
    let hanging = received(&play.office).await;
    for _ in 0..20 {
        let sent = play.send(letter(&play.scene.portal, FOR_X, "Antrag")).await;
        received(&provider).await.accept().await.unwrap();
        delivered(sent).await;
    }
    let end = outcome(stuck).await;
    assert_eq!((end.outcome, end.code), (FinalOutcome::Undecided, Code::UNDECIDED_DEADLINE));
    assert!(end.proof.is_none() && end.attempts > 1, "{end:?}");
    // The office wakes up; what it says about the old message comes too late, new ones are served.
    hanging.accept().await.unwrap();
    let sent = play.send(play.letter("noch einer")).await;
    received(&play.office).await.accept().await.unwrap();
    delivered(sent).await;
    ended(provider).await;
    let ledger = play.portal.status().ledger;
    assert_eq!((ledger.undecided, ledger.delivered), (1, 21));
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_dropped_without_an_answer_is_handed_over_again() {
    let play = Play::new().await;
    let sent = play.send(play.letter("Antrag")).await;
    drop(received(&play.office).await);
    let again = received(&play.office).await;
    assert!(again.redelivered);
    again.accept().await.unwrap();
    delivered(sent).await;
    play.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_when_a_client_closes_is_finished_first() {
    let play = Play::new().await;
    let sent = play.send(play.letter("Antrag")).await;
    let thinking = received(&play.office).await;
    let closing = tokio::spawn(async move {
        play.portal.close(kernpost_tests::process::PATIENCE).await;
        (play.portal, play.office, play.scene)
    });
    thinking.accept().await.unwrap();
    delivered(sent).await;
    let (portal, office, scene) = within("the portal to close", closing).await.unwrap();
    assert!(matches!(portal.send(letter(&scene.portal, FOR_OFFICE, "x")).await, Err(SendError::Closing)));
    assert!(within("nothing more", portal.receive()).await.is_none());
    ended(office).await;
    scene.network.stop();
}

/// Which keys signed message and receipt of an outcome.
fn signers(end: &SendOutcome) -> (KeyId, KeyId) {
    let file = end.proof.as_ref().unwrap().to_file();
    let kid = |proofs: &[Bytes]| CoseReceipt::parse(&proofs[0]).unwrap().kid().unwrap();
    (kid(&file.message.unwrap().1), kid(&file.receipt_proofs))
}

/// A client that asks its router several times a second whether everything still stands.
fn asking_often(desk: &Desk, receive: bool) -> ClientConfig {
    let mut config = desk.config(receive);
    config.limits.check_ms = 200;
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_keeps_its_place_while_another_process_of_it_sends() {
    let scene = Scene::one_router();
    let desk = Desk::new(&scene, "office", "office", &[&scene.office], &["r1"]);
    let portal = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]).sender().await;
    let office = started(asking_often(&desk, true)).await;
    // For instance `kernpost reply` with the configuration that `kernpost receive` runs with: another journal, no credit.
    let passing = desk.sender().await;
    for _ in 0..10 {
        let sent = portal.send(letter(&scene.portal, FOR_OFFICE, "Antrag")).await.unwrap();
        received(&office).await.accept().await.unwrap();
        delivered(sent).await;
    }
    ended(passing).await;
    let sent = portal.send(letter(&scene.portal, FOR_OFFICE, "Antrag")).await.unwrap();
    received(&office).await.accept().await.unwrap();
    delivered(sent).await;
    ended(portal).await;
    ended(office).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_sends_for_several_endpoints_and_each_signs_for_itself() {
    let play = Play::new().await;
    let (x, y) = (play.scene.x.clone(), play.scene.y.clone());
    let desk = Desk::new(&play.scene, "provider", "provider", &[&x, &y], &["r1"]);
    let provider = started(desk.config(true)).await;
    let mut sent = Vec::new();
    for number in 0..40 {
        let from = if number % 2 == 0 { &x } else { &y };
        sent.push(provider.send(letter(from, FOR_OFFICE, std::str::from_utf8(HELLO).unwrap())).await.unwrap());
    }
    for _ in 0..40 {
        let delivery = received(&play.office).await;
        assert!([&x, &y].contains(&&delivery.message.sender));
        delivery.accept().await.unwrap();
    }
    for (number, one) in sent.into_iter().enumerate() {
        let key = play.scene.key(if number % 2 == 0 { &x } else { &y });
        assert_eq!(signers(&delivered(one).await).0, key.public().id(), "{number}");
    }
    ended(provider).await;
    play.end().await;
}
