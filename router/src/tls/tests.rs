#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, NamedGroup, ProtocolVersion, ServerConnection};
use time::{Duration, OffsetDateTime};

use super::*;
use crate::config::TlsProfile;

/// A CA made by hand, so that serial numbers and revocation lists can be chosen.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn leaf(&self, serial: u64, valid_days: i64) -> Credentials {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = now - Duration::days(10);
        params.not_after = now + Duration::days(valid_days);
        let key = KeyPair::generate().unwrap();
        Credentials {
            chain: vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()],
            key: PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        }
    }

    fn crl(&self, revoked: &[u64], next_update_days: i64) -> CertificateRevocationListDer<'static> {
        let now = OffsetDateTime::now_utc();
        let params = CertificateRevocationListParams {
            this_update: now - Duration::days(5),
            next_update: now + Duration::days(next_update_days),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|&serial| RevokedCertParams {
                    serial_number: SerialNumber::from(serial),
                    revocation_time: now - Duration::days(5),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().clone()
    }

    fn trust(&self) -> Arc<Trust> {
        self.trust_with(vec![])
    }

    fn trust_with(&self, crls: Vec<CertificateRevocationListDer<'static>>) -> Arc<Trust> {
        Arc::new(Trust::new(std::slice::from_ref(&self.der), crls).unwrap())
    }
}

/// Runs a handshake in memory; gives both sides, or the first error.
fn handshake(
    server: rustls::ServerConfig,
    client: rustls::ClientConfig,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((server, client))
}

fn with_default(
    server_credentials: &Credentials,
    server_trust: &Arc<Trust>,
    client_credentials: &Credentials,
    client_trust: &Arc<Trust>,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    handshake(
        server(server_credentials, server_trust, TlsProfile::Default, false).unwrap(),
        client(client_credentials, client_trust, TlsProfile::Default, false).unwrap(),
    )
}

#[test]
fn both_sides_agree_on_tls_1_3_the_first_hybrid_and_the_protocol() {
    let ca = Ca::new();
    let (a, b) = (ca.leaf(1, 10), ca.leaf(2, 10));
    let (server, client) = with_default(&a, &ca.trust(), &b, &ca.trust()).unwrap();
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::secp256r1MLKEM768);
    assert_eq!(server.alpn_protocol(), Some(ALPN));
    assert_eq!(server.peer_certificates().unwrap(), b.chain);
}

#[test]
fn a_certificate_of_another_ca_is_refused_by_either_side() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let both = Arc::new(Trust::new(&[ours.der.clone(), theirs.der.clone()], vec![]).unwrap());
    let (good, foreign) = (ours.leaf(1, 10), theirs.leaf(2, 10));
    let by_server = with_default(&good, &ours.trust(), &foreign, &both);
    assert!(matches!(by_server, Err(rustls::Error::InvalidCertificate(_))));
    let by_client = with_default(&foreign, &both, &good, &ours.trust());
    assert!(matches!(by_client, Err(rustls::Error::InvalidCertificate(_))));
}

#[test]
fn an_expired_certificate_is_refused_by_either_side() {
    let ca = Ca::new();
    let (good, expired) = (ca.leaf(1, 10), ca.leaf(2, -1));
    for (server_side, client_side) in [(&good, &expired), (&expired, &good)] {
        let error = with_default(server_side, &ca.trust(), client_side, &ca.trust()).unwrap_err();
        assert!(error.to_string().contains("expired"), "{error}");
    }
}

#[test]
fn a_dialler_without_certificate_is_refused() {
    let ca = Ca::new();
    let provider = Arc::new(provider(TlsProfile::Default, false));
    let mut none = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(ca.trust().server_verifier(&provider))
        .with_no_client_auth();
    none.alpn_protocols = vec![ALPN.to_vec()];
    let server = server(&ca.leaf(1, 10), &ca.trust(), TlsProfile::Default, false).unwrap();
    let error = handshake(server, none).unwrap_err();
    assert_eq!(error, rustls::Error::NoCertificatesPresented);
}

#[test]
fn a_revoked_certificate_is_refused_by_either_side() {
    let ca = Ca::new();
    let (good, revoked) = (ca.leaf(1, 10), ca.leaf(666, 10));
    let trust = ca.trust_with(vec![ca.crl(&[666], 5)]);
    for (server_side, client_side) in [(&good, &revoked), (&revoked, &good)] {
        let error = with_default(server_side, &trust, client_side, &trust).unwrap_err();
        let revoked = rustls::CertificateError::Revoked;
        assert_eq!(error, rustls::Error::InvalidCertificate(revoked));
    }
    assert!(with_default(&good, &trust, &good, &trust).is_ok());
}

#[test]
fn an_expired_revocation_list_refuses_everybody_it_covers() {
    let ca = Ca::new();
    let good = ca.leaf(1, 10);
    let stale = ca.trust_with(vec![ca.crl(&[], -1)]);
    assert!(with_default(&good, &stale, &good, &ca.trust()).is_err());
    assert!(with_default(&good, &ca.trust(), &good, &stale).is_err());
}

#[test]
fn a_chain_is_checked_again_when_the_lists_change() {
    let ca = Ca::new();
    let peer = ca.leaf(666, 10);
    let algorithms = provider(TlsProfile::Default, false).signature_verification_algorithms;
    let check =
        |trust: &Trust| trust.check(&peer.chain, Purpose::Client, rustls::pki_types::UnixTime::now(), &algorithms);
    assert!(check(&ca.trust()).is_ok());
    assert!(check(&ca.trust_with(vec![ca.crl(&[666], 5)])).is_err());
}

#[test]
fn require_hybrid_refuses_a_peer_without_it() {
    let ca = Ca::new();
    let (a, b) = (ca.leaf(1, 10), ca.leaf(2, 10));
    let mut classical = provider(TlsProfile::Default, false);
    classical.kx_groups.retain(|group| matches!(group.name(), NamedGroup::secp256r1 | NamedGroup::secp384r1));
    let classical = Arc::new(classical);
    let old_client = || {
        let certified = b.certified(&classical).unwrap();
        let mut config = rustls::ClientConfig::builder_with_provider(classical.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(ca.trust().server_verifier(&classical))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config
    };
    let lenient = server(&a, &ca.trust(), TlsProfile::Default, false).unwrap();
    assert!(handshake(lenient, old_client()).is_ok());
    let demanding = server(&a, &ca.trust(), TlsProfile::Default, true).unwrap();
    assert!(handshake(demanding, old_client()).is_err());
}

#[test]
fn another_protocol_is_refused() {
    let ca = Ca::new();
    let credentials = ca.leaf(1, 10);
    let mut client = client(&credentials, &ca.trust(), TlsProfile::Default, false).unwrap();
    client.alpn_protocols = vec![b"h3".to_vec()];
    let server = server(&credentials, &ca.trust(), TlsProfile::Default, false).unwrap();
    assert!(handshake(server, client).is_err());
}

/// A client that wants resumption and early data as much as it can, twice against our server.
#[tokio::test]
async fn early_data_and_tickets_are_not_given_even_to_a_client_that_wants_them() {
    let ca = Ca::new();
    let credentials = ca.leaf(1, 10);
    let server = server(&credentials, &ca.trust(), TlsProfile::Default, false).unwrap();
    let crypto = Arc::new(QuicServerConfig::try_from(server).unwrap());
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let config = quinn::ServerConfig::with_crypto(crypto);
    let accepting = quinn::Endpoint::server(config, address).unwrap();
    let dialled = accepting.local_addr().unwrap();
    let accept = tokio::spawn(async move {
        let mut open = Vec::new();
        while open.len() < 2 {
            open.push(accepting.accept().await.unwrap().await.unwrap());
        }
        for connection in &open {
            connection.closed().await;
        }
    });

    let mut greedy = client(&credentials, &ca.trust(), TlsProfile::Default, false).unwrap();
    greedy.resumption = Resumption::in_memory_sessions(8);
    greedy.enable_early_data = true;
    let crypto = Arc::new(QuicClientConfig::try_from(greedy).unwrap());
    let mut dialling = quinn::Endpoint::client(address).unwrap();
    dialling.set_default_client_config(quinn::ClientConfig::new(crypto));
    let first = dialling.connect(dialled, SERVER_NAME).unwrap().await.unwrap();
    // A round trip, so that a ticket would have arrived.
    first.open_bi().await.unwrap();
    let second = dialling.connect(dialled, SERVER_NAME).unwrap();
    let second = match second.into_0rtt() {
        Ok(_) => panic!("the server gave a ticket that allows early data"),
        Err(connecting) => connecting.await.unwrap(),
    };
    first.close(0_u32.into(), b"");
    second.close(0_u32.into(), b"");
    accept.await.unwrap();
}
