//! What a router answers to whoever asks: RESOLVE, GET-VERSION, GET-SNAPSHOT (WIRE 3, 3.5).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use kernpost_codecs::{Code, ControlFrame, Digest, DirectoryVersion, ZoneVersion};
use kernpost_routing_table::{Directory, SerialFloor};
use kernpost_tests::process::wall;
use kernpost_tests::scene::{FOR_NOBODY, FOR_OFFICE, Scene, WHERE};
use kernpost_tests::wire_client::Link;

async fn zones_of(link: &mut Link, version: DirectoryVersion) -> Option<Vec<ZoneVersion>> {
    match link.ask(&ControlFrame::GetVersion { req: 7, version }).await {
        ControlFrame::Version { req: 7, zones } => zones,
        other => panic!("the answer to GET-VERSION is {other:?}"),
    }
}

async fn piece(link: &mut Link, digest: Digest, offset: u64) -> (u64, Vec<u8>) {
    match link.ask(&ControlFrame::GetSnapshot { req: 8, digest, offset }).await {
        ControlFrame::Snapshot { req: 8, total, offset: echoed, bytes } => {
            assert_eq!(echoed, offset);
            (total, bytes.to_vec())
        }
        other => panic!("the answer to GET-SNAPSHOT is {other:?}"),
    }
}

/// Fetches a snapshot in pieces.
async fn snapshot(link: &mut Link, digest: Digest) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let (total, bytes) = piece(link, digest, whole.len() as u64).await;
        assert!(!bytes.is_empty() && bytes.len() <= 131_072, "a piece of {} bytes", bytes.len());
        whole.extend(bytes);
        if whole.len() as u64 == total {
            return whole;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resolve_names_the_endpoint_responsible_or_says_there_is_none() {
    let scene = Scene::one_router();
    let mut link = scene.link("portal", "r1").await;
    let version = link.version();
    for (service, code, endpoint) in [(FOR_OFFICE, Code(0), Some(&scene.office)), (FOR_NOBODY, Code::NO_ROUTE, None)] {
        let (service, jurisdiction) = (service.parse().unwrap(), WHERE.parse().unwrap());
        let expected = ControlFrame::Resolved {
            req: 42,
            code,
            endpoint: endpoint.cloned(),
            encryption_key: None,
            directory_version: version,
        };
        assert_eq!(link.ask(&ControlFrame::Resolve { req: 42, service, jurisdiction }).await, expected);
    }
    link.leave();
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_fetched_by_version_and_digest_and_verifies_against_the_anchor() {
    let mut scene = Scene::new();
    // Large enough for several pieces.
    for number in 0..1_200 {
        scene.network.world.endpoint(&format!("municipality-{number}"), "provider");
    }
    scene.network.publish();
    scene.network.start("r1", &kernpost_tests::process::Settings::new());
    let mut link = scene.link("portal", "r1").await;
    let version = link.version();
    let zones = zones_of(&mut link, version).await.unwrap();
    assert_eq!(zones, link.hello.directory);
    assert_eq!(DirectoryVersion::of(&zones), version);
    let bytes = snapshot(&mut link, zones[0].digest).await;
    assert!(bytes.len() > 131_072, "one piece would do: {} bytes", bytes.len());
    assert_eq!(Digest::of(&bytes), zones[0].digest);
    let anchor = scene.network.world.anchor();
    Directory::verify(&anchor, &[bytes.into()], &SerialFloor::new(), wall()).unwrap();
    link.leave();
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_directory_is_still_served_after_a_newer_one_is_in_force() {
    let mut scene = Scene::one_router();
    let mut link = scene.link("portal", "r1").await;
    let older = link.version();
    let digest = link.hello.directory[0].digest;
    let bytes = snapshot(&mut link, digest).await;
    scene.network.world.endpoint("newcomer", "newcomer");
    scene.network.publish_and_wait();
    let newer = scene.link("newcomer", "r1").await.version();
    assert_ne!(newer, older);
    for version in [older, newer] {
        let zones = zones_of(&mut link, version).await.unwrap();
        assert_eq!(DirectoryVersion::of(&zones), version);
    }
    assert_eq!(snapshot(&mut link, digest).await, bytes);
    link.leave();
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_a_directory_is_answered_unknown() {
    let scene = Scene::one_router();
    let mut link = scene.link("portal", "r1").await;
    let nothing = Digest::of(b"nothing");
    assert_eq!(zones_of(&mut link, DirectoryVersion(nothing)).await, None);
    assert_eq!(piece(&mut link, nothing, 0).await, (0, Vec::new()));
    let digest = link.hello.directory[0].digest;
    let (total, _) = piece(&mut link, digest, 0).await;
    assert_eq!(piece(&mut link, digest, total).await, (total, Vec::new()));
    assert_eq!(piece(&mut link, digest, u64::MAX >> 2).await, (total, Vec::new()));
    link.leave();
    scene.network.stop();
}
