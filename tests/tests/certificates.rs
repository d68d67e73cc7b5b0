//! Who gets a link: certificates good, bad, expired and from elsewhere; RSA chains made by OpenSSL; addresses; early data.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};

use kernpost_codecs::{CloseCode, LinkIdentity, Outcome, Role};
use kernpost_tests::certificates::{Ca, Credentials, Leaf, rsa_hierarchy};
use kernpost_tests::process::{Network, PATIENCE, Process, Settings, program};
use kernpost_tests::scene::{FOR_OFFICE, Scene};
use kernpost_tests::wire_client::{self, Link, closed, dial, within};
use kernpost_tests::world::TRUST_DOMAIN;
use quinn::ConnectionError;

/// How a router ends a connection with these credentials; a message crosses another link of it afterwards.
async fn refused(scene: &Scene, own: Option<&Credentials>) -> ConnectionError {
    let address = scene.network.router("r1").address;
    let tls = wire_client::tls(scene.network.ca.pem(), own);
    match dial(tls, address).await {
        Err(error) => error,
        // TLS 1.3: this side is done before the router has looked at its certificate.
        Ok(connection) => within("the router to close", connection.closed()).await,
    }
}

/// Whether TLS itself ended the connection, with this alert (RFC 8446 §6).
#[track_caller]
fn assert_alert(error: &ConnectionError, alert: u64) {
    let ConnectionError::ConnectionClosed(close) = error else { panic!("not ended by TLS: {error:?}") };
    assert_eq!(u64::from(close.error_code), 0x100 + alert, "{close}");
}

const BAD_CERTIFICATE_FAMILY: [u64; 2] = [42, 46];
const CERTIFICATE_EXPIRED: u64 = 45;
const UNKNOWN_CA: u64 = 48;
const CERTIFICATE_REQUIRED: u64 = 116;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_tls_does_not_accept_get_no_link() {
    let scene = Scene::one_router();
    let portal = format!("spiffe://{TRUST_DOMAIN}/portal");
    assert_alert(&refused(&scene, None).await, CERTIFICATE_REQUIRED);
    let of_another_ca = Ca::new("Kernpost test CA").issue(&Leaf::uri(&portal));
    let error = refused(&scene, Some(&of_another_ca)).await;
    let ConnectionError::ConnectionClosed(close) = &error else { panic!("not ended by TLS: {error:?}") };
    let alert = u64::from(close.error_code) - 0x100;
    // Same name, another key: unknown authority or a signature that does not hold, as the verifier finds it.
    assert!(alert == UNKNOWN_CA || BAD_CERTIFICATE_FAMILY.contains(&alert) || alert == 51, "{close}");
    let expired = scene.network.ca.issue(&Leaf { expired: true, ..Leaf::uri(&portal) });
    assert_alert(&refused(&scene, Some(&expired)).await, CERTIFICATE_EXPIRED);

    let _office = scene.serving_office("r1").await;
    let mut good = scene.portal_at("r1").await;
    scene.deliver_one(&mut good).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_certificates_that_no_entry_lists_are_closed_identity_unknown() {
    let scene = Scene::one_router();
    let portal = format!("spiffe://{TRUST_DOMAIN}/portal");
    let office = format!("spiffe://{TRUST_DOMAIN}/office");
    for (what, leaf) in [
        ("a name nobody lists", Leaf::uri(&format!("spiffe://{TRUST_DOMAIN}/nobody"))),
        ("another trust domain", Leaf::uri("spiffe://elsewhere.test/portal")),
        ("a trust domain that only begins like ours", Leaf::uri(&format!("spiffe://{TRUST_DOMAIN}.evil/portal"))),
        ("no spiffe name", Leaf::uri(&format!("https://{TRUST_DOMAIN}/portal"))),
        ("two URI names", Leaf { uris: vec![portal.clone(), office], ..Leaf::default() }),
        ("the same URI name twice", Leaf { uris: vec![portal.clone(), portal], ..Leaf::default() }),
        ("no name at all", Leaf::default()),
        ("a DNS name nobody lists", Leaf { dns: vec!["portal.kernpost.test".to_owned()], ..Leaf::default() }),
    ] {
        let own = scene.network.ca.issue(&leaf);
        let tls = wire_client::tls(scene.network.ca.pem(), Some(&own));
        let connection = dial(tls, scene.network.router("r1").address).await.unwrap();
        let (code, reason) = closed(&connection).await;
        assert_eq!(code, CloseCode::IdentityUnknown, "{what}: {reason}");
        assert!(reason.starts_with("WIRE 2.2"), "{what}: {reason}");
    }
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_what_the_directory_binds_its_certificate_to() {
    let scene = Scene::one_router();
    let address = scene.network.router("r1").address;
    // An endpoint side that says it is a router, and a router that says it is an endpoint side.
    for (certificate, role) in
        [("portal", Role::Router("de/router/r2".parse().unwrap())), ("router/r2", Role::Endpoint)]
    {
        let connection = dial(scene.tls(certificate), address).await.unwrap();
        let (mut control, _router) = connection.open_bi().await.unwrap();
        let mut hello = bytes::BytesMut::new();
        kernpost_codecs::ControlFrame::Hello(wire_client::hello(role)).encode(&mut hello);
        control.write_all(&hello).await.unwrap();
        let (code, reason) = closed(&connection).await;
        assert_eq!(code, CloseCode::IdentityUnknown, "{certificate}: {reason}");
    }
    scene.network.stop();
}

/// A scene of RSA chains: the portal is bound by the SPKI of its key, the office and the router by a DNS name.
fn rsa_scene() -> Scene {
    let rsa = rsa_hierarchy();
    let mut scene = Scene::new();
    let (portal, office) = (scene.portal.clone(), scene.office.clone());
    scene.network.world.entry(&portal).identities = vec![LinkIdentity::Spki(rsa.portal.spki)];
    scene.network.world.entry(&office).identities = vec!["dns:office.kernpost.test".parse().unwrap()];
    let routers = &mut scene.network.world.zone.routers;
    let router = routers.iter_mut().find(|router| router.id.name() == "r1").unwrap();
    router.identities = vec!["dns:router.kernpost.test".parse().unwrap()];
    scene.network.publish();
    let files = scene.network.write_credentials("rsa-router", &rsa.router.credentials);
    let roots = scene.network.folder().join("rsa-roots.pem");
    std::fs::write(&roots, &rsa.root_pem).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let settings = Settings::new()
        .with("tls.certificates", text(&files.certificates))
        .with("tls.key", text(&files.key))
        .with("tls.roots", vec![text(&roots)]);
    scene.network.start("r1", &settings);
    scene
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rsa_4096_chains_of_three_levels_bound_by_spki_and_by_dns_name_carry_messages() {
    let rsa = rsa_hierarchy();
    let scene = rsa_scene();
    let address = scene.network.router("r1").address;
    let link = |own: &Credentials, identity: LinkIdentity| {
        Link::open(wire_client::tls(&rsa.root_pem, Some(own)), address, identity, Role::Endpoint)
    };
    let mut office = link(&rsa.office.credentials, "dns:office.kernpost.test".parse().unwrap()).await;
    office.attach(&scene.signer(&scene.office)).await;
    let mut portal = link(&rsa.portal.credentials, LinkIdentity::Spki(rsa.portal.spki)).await;
    portal.attach(&scene.signer(&scene.portal)).await;
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = office.receive().await;
    office.receipts(&scene.signer(&scene.office), &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(sent.label(0)).await.is_delivered());
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_bound_by_issuer_and_subject_where_it_has_no_other_name() {
    let mut scene = Scene::new();
    let portal = scene.portal.clone();
    let name: LinkIdentity = "name:CN=Kernpost test CA,O=Kernpost tests|CN=leaf,O=Kernpost tests".parse().unwrap();
    scene.network.world.entry(&portal).identities = vec![name.clone()];
    scene.network.publish();
    scene.network.start("r1", &Settings::new());
    let _office = scene.serving_office("r1").await;
    let own = scene.network.ca.issue(&Leaf::default());
    let tls = wire_client::tls(scene.network.ca.pem(), Some(&own));
    let mut portal = Link::open(tls, scene.network.router("r1").address, name, Role::Endpoint).await;
    portal.attach(&scene.signer(&scene.portal)).await;
    scene.deliver_one(&mut portal).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_without_its_intermediate_gets_no_link() {
    let rsa = rsa_hierarchy();
    let scene = rsa_scene();
    let whole = &rsa.portal.credentials;
    let leaf = whole.chain_pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let alone = Credentials { chain_pem: leaf.to_owned(), key_pem: whole.key_pem.clone() };
    let tls = wire_client::tls(&rsa.root_pem, Some(&alone));
    let error = match dial(tls, scene.network.router("r1").address).await {
        Ok(connection) => within("the router to close", connection.closed()).await,
        Err(error) => error,
    };
    assert_alert(&error, UNKNOWN_CA);
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_identity_loses_its_live_link_and_others_go_on() {
    let mut scene = Scene::one_router();
    let _office = scene.serving_office("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let stranger = scene.attached(&scene.stranger, "stranger", "r1").await;
    let revoked = scene.stranger.clone();
    scene.network.world.zone.endpoints.retain(|entry| entry.id != revoked);
    scene.network.publish_and_wait();
    assert_eq!(stranger.closed().await.0, CloseCode::Revoked);
    scene.deliver_one(&mut portal).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_data_is_not_taken_and_no_session_is_resumed() {
    let scene = Scene::one_router();
    let address = scene.network.router("r1").address;
    let mut tls = scene.tls("portal");
    tls.enable_early_data = true;
    tls.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let endpoint = wire_client::endpoint(tls);
    for attempt in 0..3 {
        // Without a ticket from the connection before there is nothing to send early data with.
        let connecting = endpoint.connect(address, "::1").unwrap().into_0rtt();
        let connecting = connecting.err().unwrap_or_else(|| panic!("attempt {attempt}: early data was possible"));
        let connection = within("the handshake", connecting).await.unwrap();
        let identity = kernpost_tests::world::link_identity("portal");
        let mut link = Link::greet(connection, identity, wire_client::hello(Role::Endpoint)).await;
        // By now a ticket would have arrived.
        link.ping().await;
        link.leave();
    }
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_or_version_of_it_gets_no_link() {
    let scene = Scene::one_router();
    for alpn in [&b"kernpost/2"[..], b"h3"] {
        let mut tls = scene.tls("portal");
        tls.alpn_protocols = vec![alpn.to_vec()];
        let error = dial(tls, scene.network.router("r1").address).await.unwrap_err();
        assert_alert(&error, 120);
    }
    scene.network.stop();
}

/// What happens to a datagram sent over IPv4 to this port: `ConnectionRefused` when nobody is there.
fn knock(port: u16) -> std::io::Result<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    // A long header of an unknown version: QUIC would answer with version negotiation.
    let mut datagram = vec![0xc0, 0x0a, 0x0a, 0x0a, 0x0a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 7, 6, 5, 4, 3, 2, 1];
    datagram.resize(1_200, 0);
    socket.send(&datagram)?;
    socket.recv(&mut [0; 2_000])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_on_any_address_is_not_there_over_ipv4() {
    let scene = Scene::one_router_with(&Settings::new().with("listen.addresses", vec!["[::]:0"]));
    let port = scene.network.router("r1").address.port();
    assert_eq!(knock(port).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // The same knock is answered where somebody speaks QUIC over IPv4: the test would notice.
    let mut answering = Scene::new();
    answering.network.publish();
    let settings = Settings::new().with("listen.ipv4", true).with("listen.addresses", vec!["127.0.0.1:0"]);
    answering.network.start("r1", &settings);
    knock(answering.network.router("r1").address.port()).unwrap();
    answering.network.stop();
    scene.network.stop();
}

#[test]
fn ipv4_and_mapped_addresses_are_refused_before_any_port_is_bound() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::ffff:127.0.0.1]:0"] {
        let mut network = Network::new();
        network.world.router("r1");
        network.publish();
        let config = network.folder().join("r1.toml");
        network.settings("r1").overridden_by(&Settings::new().with("listen.addresses", vec![address])).write(&config);
        for command in ["check", "run"] {
            let log = network.folder().join("said");
            let mut router = std::process::Command::new(program("kernpost-router", "kernpost-router"));
            let mut process = Process::start(command, router.args([command, "--dev", "--config"]).arg(&config), &log);
            assert_eq!(process.wait().code(), Some(1), "{command} with {address}: {}", process.log());
            assert!(process.log().contains("listen.addresses"), "{command} with {address}: {}", process.log());
        }
    }
}
