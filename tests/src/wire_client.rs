//! A bare endpoint, written from WIRE.md on quinn, rustls and the codecs alone: what anybody else's first client would be.
//!
//! [`Link`] dials, greets, attaches, sends within credit, receives, settles and signs receipts; it also writes any bytes to
//! any stream. [`RawBundle`] lays out BUNDLE bodies by hand, so that every part of them can be wrong.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, TransportConfig};
use rustls::RootCertStore;

use crate::certificates::{Credentials, certificates};
use crate::process::PATIENCE;

mod bundle;
mod link;
mod reading;
mod serving;
mod settled;

pub use bundle::{Letter, RawBundle, RawEntry};
pub use link::{Link, Sent, Signer, closed, hello};
pub use reading::{Arrival, FrameStream};
pub use serving::Serving;
pub use settled::{Receipt, Settled};

/// TLS as WIRE 2.1 asks for, with or without a certificate of one's own.
pub fn tls(roots_pem: &str, own: Option<&Credentials>) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(roots_pem));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().with_root_certificates(roots);
    let mut config = match own {
        Some(own) => builder.with_client_auth_cert(own.chain(), own.key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"kernpost/1".to_vec()];
    config
}

/// A socket to dial from.
pub fn endpoint(tls: rustls::ClientConfig) -> Endpoint {
    endpoint_with(tls, |_| {})
}

/// A socket to dial from, with another transport configuration.
pub fn endpoint_with(tls: rustls::ClientConfig, change: impl FnOnce(&mut TransportConfig)) -> Endpoint {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    change(&mut transport);
    transport.max_idle_timeout(Some(PATIENCE.try_into().unwrap())).keep_alive_interval(Some(PATIENCE / 6));
    config.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client((Ipv6Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// Dials and finishes the handshake as far as this side can see it.
///
/// # Errors
/// The connection did not come about.
pub async fn dial(tls: rustls::ClientConfig, to: SocketAddr) -> Result<Connection, ConnectionError> {
    endpoint(tls).connect(to, "::1").unwrap().await
}

/// Waits for something that must happen.
#[track_caller]
pub fn within<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let (what, place) = (what.to_owned(), std::panic::Location::caller());
    async move {
        let finished = tokio::time::timeout(PATIENCE, future).await;
        finished.unwrap_or_else(|_| panic!("waited {} s for {what}, at {place}", PATIENCE.as_secs()))
    }
}
