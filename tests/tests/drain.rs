//! SIGTERM: what is in flight finishes, nothing new begins, everybody is told, and the books balance.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use kernpost_codecs::{CloseCode, Code, ControlFrame, Outcome};
use kernpost_tests::process::Settings;
use kernpost_tests::scene::{FOR_OFFICE, Scene};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_router_finishes_what_is_in_flight_and_refuses_what_is_new() {
    let mut scene = Scene::one_router();
    let mut office = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let before = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = office.receive().await;
    let mut router = scene.network.take("r1");
    router.process().terminate();
    for link in [&mut portal, &mut office] {
        link.control_frame(|frame| matches!(frame, ControlFrame::Drain { .. })).await;
    }
    // The engines hear of it a moment after the links: whoever was told sends no more, so this asks until they know.
    let refused = loop {
        let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
        let settled = portal.outcome(sent.label(0)).await;
        if settled.code() != Code::NOT_ATTACHED {
            break settled.code();
        }
    };
    assert_eq!(refused, Code::DRAINING);
    let attachment = office.attachment(&scene.office);
    assert_eq!(office.try_attach(&attachment, &scene.key(&scene.office)).await, Code::DRAINING);
    assert!(!portal.has_settled(before.label(0)));
    office.receipts(&scene.signer(&scene.office), &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(before.label(0)).await.is_delivered());
    assert_eq!(portal.closed().await.0, CloseCode::Closed);
    assert_eq!(office.closed().await.0, CloseCode::Closed);
    let books = router.await_end();
    assert_eq!(books.delivered, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_of_two_routers_drains_its_endpoints_messages_in_flight_are_delivered() {
    let mut scene = Scene::two_routers();
    let mut office = scene.office_at("r2").await;
    let mut portal = scene.portal_at("r1").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = office.receive().await;
    let mut second = scene.network.take("r2");
    second.process().terminate();
    office.control_frame(|frame| matches!(frame, ControlFrame::Drain { .. })).await;
    // The first router sends nothing new there.
    scene.network.router("r1").wait_detached("de/office", "de/router/r2");
    let settled = portal.outcomes(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    assert_eq!(settled[0].code(), Code::NOT_ATTACHED);
    // The office moves while its answer is still owed.
    let moved = scene.attached(&scene.office, "office", "r1").await.serve(scene.signer(&scene.office));
    scene.deliver_one(&mut portal).await;
    office.receipts(&scene.signer(&scene.office), &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(sent.label(0)).await.is_delivered());
    assert_eq!(office.closed().await.0, CloseCode::Closed);
    assert_eq!(second.await_end().delivered, 1);
    drop(moved);
    let books = scene.network.stop()[0].1;
    assert_eq!((books.delivered, books.refused), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_at_its_limit_and_says_what_was_left() {
    let mut scene = Scene::one_router_with(&Settings::new().with("deadlines.drain_ms", 300));
    let mut office = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    office.receive().await;
    let mut router = scene.network.take("r1");
    router.process().terminate();
    assert_eq!(portal.closed().await.0, CloseCode::Closed);
    assert!(router.process().wait().success());
    let log = router.log();
    assert!(log.contains("the drain's limit passed"), "{log}");
    assert!(log.contains("\"left\":1"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_starts_again_is_dialled_again_and_carries_messages() {
    let mut scene = Scene::two_routers();
    let mut portal = scene.portal_at("r1").await;
    let second = scene.network.take("r2");
    let address = second.address;
    second.stop();
    scene.network.start("r2", &Settings::new().with("listen.addresses", vec![address.to_string()]));
    let _office = scene.serving_office("r2").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    scene.deliver_one(&mut portal).await;
    scene.network.stop();
}
