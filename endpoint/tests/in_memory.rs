//! The library as programs use it, over the real router engine in one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kernpost_codecs::Algorithm;
use kernpost_endpoint::client::fresh_id;
use kernpost_endpoint::in_memory::InMemory;
use kernpost_endpoint::{Client, FinalOutcome, Outgoing};

fn network() -> InMemory {
    InMemory::builder()
        .endpoint("de/portal")
        .endpoint("de/authority")
        .route("99", "", &["de/authority"])
        .start()
        .unwrap()
}

fn both(network: &InMemory) -> (Arc<Client>, Arc<Client>) {
    (network.client("de/portal").unwrap(), network.client("de/authority").unwrap())
}

fn outgoing(payload: &str) -> Outgoing {
    let (service, place) = ("99012012104000".parse().unwrap(), "147130000000".parse().unwrap());
    Outgoing::new(fresh_id(), "de/portal".parse().unwrap(), service, place, Bytes::from(payload.to_owned()))
}

#[tokio::test]
async fn a_reply_reaches_the_portals_mailbox() {
    let network = network();
    let (portal, authority) = both(&network);
    let mut application = outgoing("application");
    application.mailbox = Some(Bytes::from_static(b"box 7"));
    let sent = portal.send(application).await.unwrap();
    let accepted = authority.receive().await.unwrap().accept().await.unwrap();
    sent.outcome().await.unwrap();
    let reply = authority.reply(&accepted, Bytes::from_static(b"decided")).await.unwrap();
    let received = portal.receive().await.unwrap();
    assert_eq!(received.message.mailbox.as_deref(), Some(&b"box 7"[..]));
    assert_eq!(received.message.in_reply_to, Some(accepted.message.id));
    received.accept().await.unwrap();
    assert_eq!(reply.outcome().await.unwrap().outcome, FinalOutcome::Delivered);
}

#[tokio::test]
async fn every_algorithm_and_both_of_the_hybrid_profile_work_in_memory() {
    for (portal, authority) in [
        (&[Algorithm::Esp384][..], &[Algorithm::MlDsa65][..]),
        (&[Algorithm::MlDsa65], &[Algorithm::Ed25519]),
        (&Algorithm::HYBRID, &Algorithm::HYBRID),
    ] {
        let network = InMemory::builder()
            .endpoint("de/portal")
            .endpoint("de/authority")
            .algorithms("de/portal", portal)
            .algorithms("de/authority", authority)
            .route("99", "", &["de/authority"])
            .start()
            .unwrap();
        let (sender, recipient) = both(&network);
        let sent = sender.send(outgoing("application")).await.unwrap();
        recipient.receive().await.unwrap().accept().await.unwrap();
        let file = sent.outcome().await.unwrap().proof.unwrap().to_file();
        assert_eq!((file.receipt_proofs.len(), file.message.unwrap().1.len()), (authority.len(), portal.len()));
    }
    let builder = InMemory::builder().endpoint("de/portal").algorithms("de/nobody", &Algorithm::HYBRID);
    let problem = builder.start().unwrap_err().to_string();
    assert!(problem.contains("de/nobody"), "{problem}");
}

#[tokio::test]
async fn a_delivery_let_go_without_a_verdict_is_handed_over_again() {
    let network = network();
    let (portal, authority) = both(&network);
    let sent = portal.send(outgoing("twice")).await.unwrap();
    drop(authority.receive().await.unwrap());
    let again = authority.receive().await.unwrap();
    assert!(again.redelivered);
    again.accept().await.unwrap();
    assert_eq!(sent.outcome().await.unwrap().outcome, FinalOutcome::Delivered);
}

#[tokio::test]
async fn thousands_in_parallel_all_end_delivered_and_the_ledger_balances() {
    const MESSAGES: usize = 5_000;
    let network = network();
    let (portal, authority) = both(&network);
    let receiver = tokio::spawn(async move {
        for _ in 0..MESSAGES {
            authority.receive().await.unwrap().accept().await.unwrap();
        }
        authority
    });
    let mut sent = Vec::new();
    for n in 0..MESSAGES {
        sent.push(portal.send(outgoing(&format!("application {n}"))).await.unwrap());
    }
    for one in sent {
        assert_eq!(one.outcome().await.unwrap().outcome, FinalOutcome::Delivered);
    }
    let authority = receiver.await.unwrap();
    portal.close(Duration::from_secs(10)).await;
    let ledger = portal.status().ledger;
    assert!(ledger.balances() && ledger.delivered == MESSAGES as u64, "{ledger:?}");
    assert!(ledger.bundles < MESSAGES as u64 / 4, "{} bundles: nothing was batched", ledger.bundles);
    assert_eq!(authority.status().ledger.repeats, 0);
}

#[tokio::test]
async fn closing_finishes_what_is_under_way() {
    let network = network();
    let (portal, authority) = both(&network);
    let sent = portal.send(outgoing("last")).await.unwrap();
    let delivery = authority.receive().await.unwrap();
    let closing = portal.close(Duration::from_secs(20));
    let accepting = async {
        delivery.accept().await.unwrap();
        sent.outcome().await.unwrap()
    };
    let ((), outcome) = tokio::join!(closing, accepting);
    assert_eq!(outcome.outcome, FinalOutcome::Delivered);
    assert!(portal.send(outgoing("too late")).await.is_err());
}
