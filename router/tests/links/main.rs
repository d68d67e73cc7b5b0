#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
//! Links of a router in this process, seen by bare QUIC peers: who gets one, what closes it, how it drains; and messages
//! over two routers.

mod addresses;
mod network;
mod peer;
mod process;
mod traffic;

use std::time::Duration;

use bytes::BytesMut;
use kernpost_codecs::frame::{encode_frame, encode_header, frame_type};
use kernpost_codecs::{Class, CloseCode, ControlFrame, LaneKind, Role, SettlementFrame};
use kernpost_router::admin::StatusPage;
use kernpost_router::observed::EndedBy;
use kernpost_router::tls::SERVER_NAME;

use network::{Network, address, linked, peer as peer_of, until};
use peer::{Peer, hello};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_certificate_no_entry_lists_is_closed_identity_unknown() {
    let network = Network::new();
    let router = network.start("r1", 1, "");
    let stranger = Peer::connect(&network, "stranger", address(&router)).await;
    let (code, reason) = stranger.closed().await;
    assert_eq!(code, CloseCode::IdentityUnknown);
    assert!(reason.starts_with("WIRE 2.2"), "{reason}");
    until("the end is counted", router.observed(), |observed| {
        observed.workers[0].load().ended.closed.get(&(EndedBy::Here, code)) == Some(&1)
    })
    .await;
    router.stop(SOON).await;
}

#[tokio::test]
async fn after_hello_the_router_opens_its_settlement_lane_with_credit_for_every_class() {
    let network = Network::new();
    let router = network.start("r1", 2, "");
    let peer = Peer::greet(&network, "portal", address(&router)).await;
    let hello = peer.hello.as_ref().unwrap();
    assert_eq!(hello.role, Role::Router("kern/router/r1".parse().unwrap()));
    let (kind, mut lane) = peer.accept().await;
    assert_eq!(kind, LaneKind::Settlement);
    for expected in Class::ALL {
        let frame = lane.frame().await;
        match SettlementFrame::decode(frame.kind, frame.body).unwrap() {
            Some(SettlementFrame::Credit { class, entries, bytes }) => {
                assert_eq!((class, entries, bytes), (expected, 4_096, 8 << 20));
            }
            other => panic!("expected CREDIT, got {other:?}"),
        }
    }
    router.stop(SOON).await;
}

#[tokio::test]
async fn a_router_that_asks_the_kernel_shows_what_it_says_and_one_that_assumes_its_clock_raises_no_alarm() {
    let network = Network::new();
    let kernel = matches!(kernpost_router::kernel_clock::is_synchronised(), Ok(true));
    for (synchronisation, expected) in [("kernel", kernel), ("assumed", true)] {
        let router = network.start("r1", 1, &format!("[clock]\nsynchronisation = \"{synchronisation}\"\n"));
        let page = StatusPage::of(router.observed());
        assert_eq!(page.clock_synchronised, expected, "{synchronisation}");
        assert_eq!(page.alarms["clock_unsynchronised"], u64::from(!expected), "{synchronisation}");
        router.stop(SOON).await;
    }
}

/// Writes `bytes` to a new stream of kind `kind` on a greeted link; says how the router closes it.
async fn breaks(kind: u64, bytes: &[u8]) -> (CloseCode, String) {
    let network = Network::new();
    let router = network.start("r1", 1, "");
    let mut other = Peer::greet(&network, "amt", address(&router)).await;
    let peer = Peer::greet(&network, "portal", address(&router)).await;
    let mut lane = peer.open_kind(kind).await;
    lane.write_all(bytes).await.unwrap();
    let closed = peer.closed().await;
    other.send(&ControlFrame::Ping { nonce: 9 }).await;
    assert!(matches!(other.receive().await, ControlFrame::Pong { nonce: 9, .. }), "others go on");
    router.stop(SOON).await;
    closed
}

fn frame(kind: u64, body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_frame(kind, body, &mut bytes);
    bytes
}

#[tokio::test]
async fn malformed_frames_close_the_link_by_name_and_no_other() {
    for (kind, bytes, code) in [
        (3, frame(frame_type::SETTLE, b"\xff\xff"), CloseCode::FrameMalformed),
        (1, frame(frame_type::BUNDLE, b"\x01"), CloseCode::FrameMalformed),
        (1, frame(frame_type::CREDIT, b"\x01\x01\x01"), CloseCode::UnexpectedFrame),
        (4, BytesMut::from(&b"\x01\x00\x00\x00"[..]), CloseCode::UnexpectedFrame),
        (5, BytesMut::from(&b"\x00"[..]), CloseCode::UnexpectedFrame),
    ] {
        let (closed, reason) = breaks(kind, &bytes).await;
        assert_eq!(closed, code, "stream kind {kind}: {reason}");
        assert!(reason.starts_with("WIRE "), "{reason}");
    }
}

#[tokio::test]
async fn a_frame_above_the_limit_is_closed_before_it_arrives() {
    let mut header = BytesMut::new();
    encode_header(frame_type::BUNDLE, 262_145, &mut header);
    assert_eq!(breaks(0, &header).await.0, CloseCode::FrameTooLarge);
}

#[tokio::test]
async fn a_malformed_hello_closes_with_code_one() {
    let network = Network::new();
    let router = network.start("r1", 1, "");
    let mut peer = Peer::connect(&network, "portal", address(&router)).await;
    peer.send_raw(&frame(frame_type::HELLO, b"not cbor")).await;
    let (code, reason) = peer.closed().await;
    assert_eq!(code.as_u64(), 0x01, "{reason}");
    router.stop(SOON).await;
}

#[tokio::test]
async fn hello_comes_first_once_and_in_time() {
    let network = Network::new();
    let router = network.start("r1", 1, "[deadlines]\nhello_ms = 300\n");
    let mut early = Peer::connect(&network, "portal", address(&router)).await;
    early.send(&ControlFrame::Ping { nonce: 1 }).await;
    assert_eq!(early.closed().await.0, CloseCode::UnexpectedFrame);
    let mut twice = Peer::greet(&network, "portal", address(&router)).await;
    twice.send(&hello(Role::Endpoint)).await;
    assert_eq!(twice.closed().await.0, CloseCode::UnexpectedFrame);
    let silent = Peer::connect(&network, "portal", address(&router)).await;
    assert_eq!(silent.closed().await.0, CloseCode::HelloTimeout);
    router.stop(SOON).await;
}

#[tokio::test]
async fn a_lane_exists_once_and_never_ends() {
    let network = Network::new();
    let router = network.start("r1", 1, "");
    let peer = Peer::greet(&network, "portal", address(&router)).await;
    let _first = peer.open(LaneKind::Bundle(Class::Bulk)).await;
    let _second = peer.open(LaneKind::Bundle(Class::Bulk)).await;
    assert_eq!(peer.closed().await.0, CloseCode::LaneDuplicate);
    let peer = Peer::greet(&network, "portal", address(&router)).await;
    let mut lane = peer.open(LaneKind::Settlement).await;
    lane.finish().unwrap();
    assert_eq!(peer.closed().await.0, CloseCode::UnexpectedFrame);
    router.stop(SOON).await;
}

#[tokio::test]
async fn a_stream_of_a_later_version_is_stopped_and_ignored() {
    let network = Network::new();
    let router = network.start("r1", 1, "");
    let mut peer = Peer::greet(&network, "portal", address(&router)).await;
    // More of them than may be open at a time: each is given back.
    for _ in 0..20 {
        let mut stream = peer.open_kind(0x21).await;
        assert_eq!(stream.stopped().await.unwrap(), Some(quinn::VarInt::from_u32(0)));
        let _ = stream.reset(quinn::VarInt::from_u32(0));
    }
    peer.send(&ControlFrame::Ping { nonce: 3 }).await;
    assert!(matches!(peer.receive().await, ControlFrame::Pong { nonce: 3, .. }));
    router.stop(SOON).await;
}

#[tokio::test]
async fn early_data_is_not_offered_to_a_client_that_would_use_it() {
    let network = Network::new();
    let router = network.start("r1", 1, "");
    let mut tls = network.client_tls("portal");
    tls.enable_early_data = true;
    tls.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let endpoint = peer::endpoint(tls);
    for _ in 0..3 {
        let connecting = endpoint.connect(address(&router), SERVER_NAME).unwrap();
        // Without a ticket from the connection before there is nothing to send early data with.
        let connecting = connecting.into_0rtt().err().expect("no early data");
        let connection = connecting.await.unwrap();
        connection.open_bi().await.unwrap().0.write_all(b"\x01").await.unwrap();
        connection.close(0u32.into(), b"");
    }
    router.stop(SOON).await;
}

#[tokio::test]
async fn a_peer_with_another_protocol_gets_no_link() {
    let network = Network::new();
    let router = network.start("r1", 1, "");
    let mut tls = network.client_tls("portal");
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let endpoint = peer::endpoint(tls);
    let refused = endpoint.connect(address(&router), SERVER_NAME).unwrap().await;
    assert!(refused.is_err());
    router.stop(SOON).await;
}

#[tokio::test]
async fn too_many_links_from_one_network_are_refused_and_the_rest_go_on() {
    let network = Network::new();
    let more = "[handshakes]\nper_prefix_per_s = 1\nper_prefix_burst = 2\n";
    let router = network.start("r1", 1, more);
    let mut first = Peer::greet(&network, "portal", address(&router)).await;
    let _second = Peer::greet(&network, "amt", address(&router)).await;
    let third = peer::endpoint(network.client_tls("portal"));
    let refused = third.connect(address(&router), SERVER_NAME).unwrap().await;
    assert!(matches!(refused, Err(quinn::ConnectionError::ConnectionClosed(_))), "{refused:?}");
    first.send(&ControlFrame::Ping { nonce: 4 }).await;
    assert!(matches!(first.receive().await, ControlFrame::Pong { nonce: 4, .. }));
    router.stop(SOON).await;
}

#[tokio::test]
async fn a_drain_is_announced_and_ends_with_code_zero() {
    let network = Network::new();
    let router = network.start("r1", 2, "");
    let mut peer = Peer::greet(&network, "portal", address(&router)).await;
    let stopping = tokio::spawn(router.stop(SOON));
    assert!(matches!(peer.receive().await, ControlFrame::Drain { .. }));
    let (code, _) = peer.closed().await;
    assert_eq!(code, CloseCode::Closed);
    let stopped = stopping.await.unwrap();
    assert_eq!(stopped.drained.left, 0);
    assert!(stopped.drained.took < SOON);
    assert!(!network.path("state-r1").join("addresses.json").exists());
}

#[tokio::test]
async fn a_new_directory_reaches_live_links() {
    let mut network = Network::new();
    let router = network.start("r1", 2, "");
    let portal = Peer::greet(&network, "portal", address(&router)).await;
    network.zone.serial = 2;
    network.zone.endpoints.retain(|entry| entry.id.as_str() != "kern/portal");
    network.publish();
    router.look_for_directory();
    assert_eq!(portal.closed().await.0, CloseCode::Revoked);
    until("generation 2 is shown", router.observed(), |observed| observed.table().generation() == 2).await;
    router.stop(SOON).await;
}

#[tokio::test]
async fn a_peer_that_comes_back_is_dialled_again() {
    let network = Network::new();
    let [first, second] = network.start_two(2).await;
    let listen = address(&second).to_string();
    second.stop(SOON).await;
    until("the link is gone", first.observed(), |observed| observed.control.load().links.is_empty()).await;
    let second = network.start_at("r2", 2, &listen, &peer_of("r1", "[::1]:9"));
    linked(&first).await;
    linked(&second).await;
    first.stop(SOON).await;
    second.stop(SOON).await;
}

#[tokio::test]
async fn a_dialled_router_that_is_another_gets_no_link() {
    let network = Network::new();
    // r1 means r2 and reaches its own twin on another address.
    let twin = network.start("r1", 1, "");
    let listen = address(&twin).to_string();
    let path = network.configure("r1", 1, "[::1]:0", &peer_of("r2", &listen));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("state-r1", "state-other")).unwrap();
    let prepared = kernpost_router::check::prepare_file(&path, false, kernpost_router::check::Intent::Run);
    let dialler = kernpost_router::run::Router::start(prepared.unwrap()).unwrap();
    until("the link is closed", dialler.observed(), |observed| {
        observed.workers[0].load().ended.closed.contains_key(&(EndedBy::Here, CloseCode::IdentityUnknown))
    })
    .await;
    assert!(dialler.observed().control.load().links.is_empty());
    dialler.stop(SOON).await;
    twin.stop(SOON).await;
}

#[tokio::test]
async fn what_was_bound_is_written_and_the_router_is_ready() {
    let network = Network::new();
    let router = network.start("r1", 2, "");
    let text = std::fs::read_to_string(network.path("state-r1").join("addresses.json")).unwrap();
    let written: kernpost_router::state_folder::Addresses = serde_json::from_str(&text).unwrap();
    assert_eq!(written, *router.addresses());
    until("it is ready", router.observed(), |observed| observed.readiness.is_ready()).await;
    router.stop(SOON).await;
}

#[tokio::test]
async fn messages_cross_two_routers_and_both_ledgers_balance() {
    for workers in [1, 3] {
        let network = Network::new();
        let routers = network.start_two(workers).await;
        let result = traffic::send(&network, &routers, 2_000, 256).await;
        assert_eq!(result.delivered, 2_000);
        for router in routers {
            let stopped = router.stop(SOON).await;
            assert!(stopped.ledger.balanced());
            assert_eq!((stopped.ledger.delivered, stopped.ledger.in_flight), (2_000, 0));
        }
    }
}
