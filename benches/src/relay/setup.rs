//! Keys and QUIC settings of the relay, its source and its sinks.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use kernpost_router::config::Config;
use kernpost_router::tls::quic::transport;
use kernpost_router_core::Line;
use kernpost_router_core::line::link_window_bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, version::TLS13};

/// Send window of the endpoint library, bytes.
const ENDPOINT_SEND_WINDOW: u64 = 8 << 20;
/// Socket buffers asked for, bytes.
const SOCKET_BUFFER: usize = 8 << 20;
const ALPN: &[u8] = b"relay/1";
const NAME: &str = "relay.example";

/// Writes a certificate and its key that everybody uses and trusts.
pub(super) fn make_keys(folder: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    std::fs::write(folder.join("cert.pem"), made.cert.pem())?;
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(())
}

struct Keys {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

fn keys(folder: &Path) -> Result<Keys> {
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).context("cert.pem")?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).context("key.pem")?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    Ok(Keys { certificate, key, roots: Arc::new(roots) })
}

/// The relay's endpoint, on a port of the kernel's choice.
pub(super) fn relay_endpoint(folder: &Path) -> Result<Endpoint> {
    let Keys { certificate, key, roots } = keys(folder)?;
    let provider = Arc::new(kernpost_router::tls::provider(Default::default(), false));
    let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let config =
        Config::parse(&folder.join("router.toml"), ROUTER).map_err(|problems| anyhow::anyhow!("{problems}"))?;
    server.transport_config(Arc::new(transport(&config)));
    endpoint(Some(server))
}

/// An endpoint that dials, with the settings of the endpoint library.
pub(super) fn dialling_endpoint(folder: &Path) -> Result<Endpoint> {
    let Keys { certificate, key, roots } = keys(folder)?;
    let provider = Arc::new(kernpost_router::tls::provider(Default::default(), false));
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let lane = Line::default().lane_window_bytes();
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u64(lane)?)
        .receive_window(VarInt::from_u64(link_window_bytes(lane))?)
        .send_window(ENDPOINT_SEND_WINDOW);
    client.transport_config(Arc::new(transport));
    let mut endpoint = endpoint(None)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// Dials the relay.
pub(super) async fn dial(endpoint: &Endpoint, relay: SocketAddr) -> Result<quinn::Connection> {
    Ok(endpoint.connect(relay, NAME)?.await?)
}

fn endpoint(server: Option<ServerConfig>) -> Result<Endpoint> {
    let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?;
    let buffers = socket2::SockRef::from(&socket);
    buffers.set_recv_buffer_size(SOCKET_BUFFER)?;
    buffers.set_send_buffer_size(SOCKET_BUFFER)?;
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?)
}

/// A router with every default; only its `[link]` is used.
const ROUTER: &str = r#"
[router]
id = "relay/router/floor"
state = "state"
[listen]
addresses = ["[::1]:0"]
[tls]
certificates = "cert.pem"
key = "key.pem"
roots = ["cert.pem"]
trust_domain = "relay.example"
[directory]
folder = "directory"
trust_anchor = "anchor.toml"
"#;
