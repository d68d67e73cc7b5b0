//! How do two sides of a link prove who they are? TLS 1.3 with certificates on both sides (WIRE 2.1).
//!
//! Builds the rustls configurations that quinn is given. Kernpost binds identity in the directory, so a server's *name* is
//! not checked: the chain, its validity, its purpose and its revocation are, and the link identity check follows in the
//! core. No tickets, no session storage, no early data.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;

use crate::config::TlsProfile;

mod profile;
pub mod quic;
mod trust;

pub use profile::provider;
pub use trust::{Purpose, Trust, TrustError};

/// The application protocol (WIRE 2.1).
pub const ALPN: &[u8] = b"kernpost/1";

/// The server name quinn demands when dialling. It is neither sent (SNI is off) nor checked.
pub const SERVER_NAME: &str = "kernpost.invalid";

/// The own certificate chain, leaf first, and its private key.
#[derive(Debug)]
pub struct Credentials {
    /// Leaf first, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// The chain with a usable signing key; the key is known to be the leaf's.
    fn certified(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), provider)
            .map(Arc::new)
            .map_err(TlsError::Credentials)
    }
}

/// A TLS configuration that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Chain and key do not fit together or cannot be used.
    #[error("own certificate and key: {0}; check tls.certificates and tls.key")]
    Credentials(#[source] rustls::Error),
    /// The profile leaves nothing that TLS 1.3 needs.
    #[error("TLS profile: {0}; report this, the profiles are built in")]
    Profile(#[source] rustls::Error),
    /// Roots or revocation lists cannot be used.
    #[error("{0}")]
    Trust(#[from] TrustError),
    /// quinn finds no suite for initial packets.
    #[error("the TLS profile has no suite for QUIC initial packets; report this, the profiles are built in")]
    InitialSuite,
}

/// The accepting side's configuration.
///
/// # Errors
/// Credentials or trust cannot be used.
pub fn server(
    credentials: &Credentials,
    trust: &Trust,
    profile: TlsProfile,
    require_hybrid: bool,
) -> Result<rustls::ServerConfig, TlsError> {
    let provider = Arc::new(provider(profile, require_hybrid));
    let certified = credentials.certified(&provider)?;
    let verifier = trust.client_verifier(&provider)?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Profile)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The dialling side's configuration.
///
/// # Errors
/// Credentials or trust cannot be used.
pub fn client(
    credentials: &Credentials,
    trust: &Arc<Trust>,
    profile: TlsProfile,
    require_hybrid: bool,
) -> Result<rustls::ClientConfig, TlsError> {
    let provider = Arc::new(provider(profile, require_hybrid));
    let certified = credentials.certified(&provider)?;
    let verifier = trust.server_verifier(&provider);
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Profile)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

#[cfg(test)]
mod tests;
