use bytes::Bytes;
use kernpost_codecs::{Assurance, Code};

use super::*;
use crate::client::fresh_id;
use crate::core::Limits;
use crate::{FinalOutcome, Outgoing, SendError};

const SERVICE: &str = "99050012104000";
const LEIPZIG: &str = "147130000000";
const CHEMNITZ: &str = "145110000000";

fn network() -> InMemory {
    InMemory::builder()
        .endpoint("de/portal")
        .endpoint("sn/leipzig")
        .route("99050012", "14713", &["sn/leipzig"])
        .start()
        .unwrap()
}

fn application(from: &str, jurisdiction: &str, payload: &'static str) -> Outgoing {
    let payload = Bytes::from_static(payload.as_bytes());
    Outgoing::new(fresh_id(), from.parse().unwrap(), SERVICE.parse().unwrap(), jurisdiction.parse().unwrap(), payload)
}

#[tokio::test]
async fn a_delivered_message_comes_with_a_receipt_of_the_responsible_endpoint() {
    let network = network();
    let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    let sent = portal.send(application("de/portal", LEIPZIG, "a")).await.unwrap();
    let delivery = leipzig.receive().await.unwrap();
    assert_eq!((delivery.message.id, delivery.recipient.as_str()), (sent.id(), "sn/leipzig"));
    delivery.accept().await.unwrap();
    let outcome = sent.outcome().await.unwrap();
    assert_eq!(outcome.outcome, FinalOutcome::Delivered);
    assert_eq!(outcome.issuer.unwrap().as_str(), "sn/leipzig");
    let table = portal.table().unwrap();
    crate::offline::verify(&outcome.proof.unwrap().to_file(), &table).unwrap();
    network.close(Duration::from_secs(5)).await;
    for client in [&portal, &leipzig] {
        assert!(client.status().ledger.balances(), "{:?}", client.status());
    }
}

#[tokio::test]
async fn a_rejection_brings_code_and_problem_to_the_sender() {
    let network = network();
    let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    let sent = portal.send(application("de/portal", LEIPZIG, "a")).await.unwrap();
    let problem = r#"{"title":"attachment missing"}"#.to_owned();
    leipzig.receive().await.unwrap().reject(Code(1_001), Some(problem.clone())).await.unwrap();
    let outcome = sent.outcome().await.unwrap();
    assert_eq!((outcome.outcome, outcome.code), (FinalOutcome::Rejected, Code(1_001)));
    assert_eq!(outcome.problem, Some(problem));
}

#[tokio::test]
async fn a_reply_reaches_the_sender_with_its_mailbox_and_case() {
    let network = network();
    let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    let mut first = application("de/portal", LEIPZIG, "a");
    first.mailbox = Some(Bytes::from_static(b"mailbox-7"));
    first.case = Some(Bytes::from_static(b"case-1"));
    let sent = portal.send(first).await.unwrap();
    let accepted = leipzig.receive().await.unwrap().accept().await.unwrap();
    sent.outcome().await.unwrap();

    let replied = leipzig.reply(&accepted, Bytes::from_static(b"decision")).await.unwrap();
    let reply = portal.receive().await.unwrap();
    assert_eq!(reply.message.in_reply_to, Some(accepted.message.id));
    assert_eq!(reply.message.mailbox.as_deref(), Some(&b"mailbox-7"[..]));
    assert_eq!(reply.message.case.as_deref(), Some(&b"case-1"[..]));
    reply.accept().await.unwrap();
    assert_eq!(replied.outcome().await.unwrap().outcome, FinalOutcome::Delivered);
}

#[tokio::test]
async fn endpoints_on_one_link_share_a_client_and_keep_their_own_messages() {
    let network = InMemory::builder()
        .endpoint("de/portal")
        .link(&["sn/leipzig", "sn/chemnitz"])
        .route("99", "14713", &["sn/leipzig"])
        .route("99", "14511", &["sn/chemnitz"])
        .start()
        .unwrap();
    let (portal, provider) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    assert!(Arc::ptr_eq(&provider, &network.client("sn/chemnitz").unwrap()));
    for (place, recipient) in [(LEIPZIG, "sn/leipzig"), (CHEMNITZ, "sn/chemnitz")] {
        let sent = portal.send(application("de/portal", place, "a")).await.unwrap();
        let delivery = provider.receive().await.unwrap();
        assert_eq!(delivery.recipient.as_str(), recipient);
        delivery.accept().await.unwrap();
        assert_eq!(sent.outcome().await.unwrap().issuer.unwrap().as_str(), recipient);
    }
}

#[tokio::test]
async fn without_a_route_a_message_is_refused_at_once() {
    let network = network();
    let portal = network.client("de/portal").unwrap();
    let outcome = portal.send(application("de/portal", CHEMNITZ, "a")).await.unwrap().outcome().await.unwrap();
    assert_eq!((outcome.outcome, outcome.code), (FinalOutcome::Refused, Code::NO_ROUTE));
    assert!(outcome.proof.is_none());
    let answer = portal.resolve(SERVICE.parse().unwrap(), CHEMNITZ.parse().unwrap()).await.unwrap();
    assert_eq!(answer.code, Code::NO_ROUTE);
}

#[tokio::test]
async fn an_edited_zone_is_what_the_router_applies() {
    let network = InMemory::builder()
        .endpoint("de/portal")
        .endpoint("sn/leipzig")
        .route("99", "14", &["sn/leipzig"])
        .edit("sn", |zone| zone.routes[0].min_assurance = Some(Assurance::Substantial))
        .start()
        .unwrap();
    let portal = network.client("de/portal").unwrap();
    let outcome = portal.send(application("de/portal", LEIPZIG, "a")).await.unwrap().outcome().await.unwrap();
    assert_eq!(outcome.code, Code::ASSURANCE_TOO_LOW);
}

#[tokio::test]
async fn a_message_to_a_disconnected_recipient_waits_and_arrives_once_it_is_back() {
    let network = network();
    let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    network.disconnect("sn/leipzig").await.unwrap();
    let mut brief = application("de/portal", LEIPZIG, "a");
    brief.timeout_ms = 50;
    let outcome = portal.send(brief).await.unwrap().outcome().await.unwrap();
    assert_eq!((outcome.outcome, outcome.code), (FinalOutcome::Refused, Code::NOT_ATTACHED));

    let sent = portal.send(application("de/portal", LEIPZIG, "b")).await.unwrap();
    network.reconnect("sn/leipzig").await.unwrap();
    let delivery = leipzig.receive().await.unwrap();
    assert_eq!(delivery.payload, "b");
    delivery.accept().await.unwrap();
    assert_eq!(sent.outcome().await.unwrap().outcome, FinalOutcome::Delivered);
}

#[tokio::test]
async fn an_accepted_message_is_delivered_once_although_the_link_was_lost_before_the_receipt() {
    let network = network();
    let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    let sent = portal.send(application("de/portal", LEIPZIG, "a")).await.unwrap();
    let delivery = leipzig.receive().await.unwrap();
    network.disconnect("sn/leipzig").await.unwrap();
    delivery.accept().await.unwrap();
    network.reconnect("sn/leipzig").await.unwrap();
    assert_eq!(sent.outcome().await.unwrap().outcome, FinalOutcome::Delivered);
    let last = portal.send(application("de/portal", LEIPZIG, "last")).await.unwrap();
    let next = leipzig.receive().await.unwrap();
    assert_eq!(next.payload, "last", "the first one was handed over again");
    next.accept().await.unwrap();
    last.outcome().await.unwrap();
}

#[tokio::test]
async fn thousands_of_messages_are_each_settled_once() {
    let network = network();
    let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    let receiving = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 3_000 {
            let accepted = leipzig.receive().await.unwrap().accept().await.unwrap();
            assert!(seen.insert(accepted.message.id), "handed over twice");
        }
    });
    let mut sent = Vec::new();
    for _ in 0..3_000 {
        sent.push(portal.send(application("de/portal", LEIPZIG, "a")).await.unwrap());
    }
    for one in sent {
        assert_eq!(one.outcome().await.unwrap().outcome, FinalOutcome::Delivered);
    }
    receiving.await.unwrap();
}

#[tokio::test]
async fn a_full_outbox_makes_the_sender_wait() {
    let limits = Limits { outbox_messages: 1, ..Limits::default() };
    let network = InMemory::builder()
        .endpoint("de/portal")
        .endpoint("sn/leipzig")
        .route("99", "14", &["sn/leipzig"])
        .limits(limits)
        .start()
        .unwrap();
    let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    let first = portal.send(application("de/portal", LEIPZIG, "1")).await.unwrap();
    let mut second = std::pin::pin!(portal.send(application("de/portal", LEIPZIG, "2")));
    let delivery = tokio::select! {
        _ = &mut second => panic!("the outbox holds one message"),
        delivery = leipzig.receive() => delivery.unwrap(),
    };
    delivery.accept().await.unwrap();
    first.outcome().await.unwrap();
    second.await.unwrap();
}

#[tokio::test]
async fn a_closed_client_takes_nothing_more_and_the_others_go_on() {
    let network = network();
    let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    leipzig.close(Duration::from_secs(1)).await;
    assert!(leipzig.receive().await.is_none());
    let refused = leipzig.send(application("sn/leipzig", LEIPZIG, "a")).await;
    assert!(matches!(refused, Err(SendError::Closing)));
    let mut brief = application("de/portal", LEIPZIG, "a");
    brief.timeout_ms = 20;
    let outcome = portal.send(brief).await.unwrap().outcome().await.unwrap();
    assert_eq!(outcome.code, Code::NOT_ATTACHED);
}

#[test]
fn every_mistake_of_a_builder_is_named_at_once() {
    let wrong = InMemory::builder().endpoint("Portal").endpoint("de/a").route("98", "14x", &["de/a"]).start();
    let problems = wrong.unwrap_err().problems;
    assert_eq!(problems.len(), 3, "{problems:?}");
    for (problem, text) in problems.iter().zip(["Portal", "98", "14x"]) {
        assert!(problem.contains(text), "{problem}");
    }
}

#[test]
fn a_directory_a_router_would_refuse_does_not_start() {
    let twice = InMemory::builder().endpoint("de/a").endpoint("de/b").route("99", "14", &["de/a"]);
    let problems = twice.route("99", "14", &["de/b"]).start().unwrap_err().problems;
    assert!(problems.iter().any(|problem| problem.contains("same prefixes")), "{problems:?}");
    let unknown = InMemory::builder().endpoint("de/a").route("99", "14", &["de/nobody"]).start().unwrap_err();
    assert!(unknown.to_string().contains("de/nobody"), "{unknown}");
    let same = InMemory::builder().endpoint("de/a").endpoint("de/a").start().unwrap_err();
    assert!(same.to_string().contains("twice"), "{same}");
}

#[test]
fn an_endpoint_that_is_not_there_is_named() {
    let error = network().client("de/other").unwrap_err();
    assert!(error.to_string().contains("de/other"), "{error}");
}

/// Sends `count` messages as a batch over an outbox of `outbox` and takes them as batches; says which outcomes came.
async fn send_as_batch(count: usize, outbox: usize) -> Vec<crate::Finished> {
    let limits = Limits { outbox_messages: outbox, ..Limits::default() };
    let network = InMemory::builder()
        .limits(limits)
        .endpoint("de/portal")
        .endpoint("sn/leipzig")
        .route("99050012", "14713", &["sn/leipzig"])
        .start()
        .unwrap();
    let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
    let mut messages: Vec<Outgoing> = (0..count).map(|_| application("de/portal", LEIPZIG, "a")).collect();
    messages[count / 2].jurisdiction = CHEMNITZ.parse().unwrap();
    let (queue, mut outcomes) = crate::outcome_queue();
    let mut finished = Vec::new();
    let sending = async { portal.send_all(messages, &queue).await.unwrap() };
    let receiving = async {
        let mut deliveries = Vec::new();
        while leipzig.receive_many(&mut deliveries, 64).await > 0 {
            leipzig.accept_all(deliveries.drain(..)).await.unwrap();
        }
    };
    let outcomes = async {
        while finished.len() < count {
            outcomes.receive_many(&mut finished, 64).await;
        }
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(sending, outcomes) } => {}
        () = receiving => panic!("the recipient has ended"),
    }
    finished
}

#[tokio::test]
async fn a_batch_larger_than_the_outbox_gets_one_outcome_for_each_message() {
    // The outbox must make room for the later ones while outcomes are being taken.
    let finished = send_as_batch(100, 7).await;
    let ids: std::collections::HashSet<_> = finished.iter().map(|one| one.id).collect();
    assert_eq!(ids.len(), 100);
    let ended = |outcome| finished.iter().filter(|one| one.outcome.as_ref().unwrap().outcome == outcome).count();
    assert_eq!((ended(FinalOutcome::Delivered), ended(FinalOutcome::Refused)), (99, 1));
}
