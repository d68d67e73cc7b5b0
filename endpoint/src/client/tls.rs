//! How does an endpoint's link prove who it is, and whom does it believe? TLS 1.3 with certificates both ways (WIRE 2.1).
//!
//! A router's *name* is not checked: the chain, its validity and its purpose are, and which router it is follows from the
//! directory (WIRE 2.2). AES-GCM only, hybrid key exchange first, no tickets, no early data.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kernpost_router_core::Line;
use kernpost_router_core::line::link_window_bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use kernpost_codecs::payload::WINDOW;

use super::config::{LinkConfig, TlsProfile};
use crate::core::Limits;

/// The application protocol (WIRE 2.1).
const ALPN: &[u8] = b"kernpost/1";
/// The server name quinn demands when dialling. It is neither sent nor checked.
pub(crate) const SERVER_NAME: &str = "kernpost.invalid";
/// Pings keep firewalls' states alive; a link without any answer for the idle time is lost.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const IDLE_MS: u32 = 40_000;
/// Least bytes of a link written and not yet acknowledged. quinn's send window counts all streams and wakes its writers
/// without regard to priority, so it must not be what stops one: the windows the router gives the lanes are, and those of
/// the same line are no larger in sum.
const SMALLEST_SEND_WINDOW: u64 = 8 << 20;
/// Unidirectional streams the router may open besides large payloads: its lanes, and kinds this version ignores.
const LANES: u32 = 8;

/// Why a link cannot be configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Chain and key do not fit together or cannot be used.
    #[error("own certificate and key: {0}; check certificates and key of the link")]
    Credentials(rustls::Error),
    /// A root cannot be used.
    #[error("CA certificate: {0}; check the roots of the link")]
    Root(rustls::Error),
    /// The built-in profile cannot be used.
    #[error("TLS profile: {0}; report this, the profiles are built in")]
    Profile(String),
}

/// The dialling side's configuration for one link, for shells that run [`crate::core`] themselves.
///
/// # Errors
/// [`TlsError`]: certificates cannot be used.
pub fn client_config(link: &LinkConfig, limits: &Limits) -> Result<quinn::ClientConfig, TlsError> {
    let provider = Arc::new(provider(link.profile, link.require_hybrid));
    let certified = CertifiedKey::from_der(link.certificates.clone(), link.key.clone_key(), &provider)
        .map_err(TlsError::Credentials)?;
    let mut roots = RootCertStore::empty();
    for root in &link.roots {
        roots.add(root.clone()).map_err(TlsError::Root)?;
    }
    let verifier = ChainOnly { roots, algorithms: provider.signature_verification_algorithms };
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| TlsError::Profile(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    tls.enable_sni = false;
    let quic = QuicClientConfig::try_from(tls).map_err(|error| TlsError::Profile(error.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(quic));
    config.transport_config(Arc::new(transport(link.line, limits)));
    Ok(config)
}

/// The windows of a connection count all streams: what large payloads may fill comes on top of what lanes have.
fn transport(line: Line, limits: &Limits) -> TransportConfig {
    let lane = line.lane_window_bytes();
    let window = |bytes| VarInt::from_u64(bytes).unwrap_or(VarInt::MAX);
    let receptions = u32::try_from(limits.large_receptions).unwrap_or(u32::MAX);
    let incoming = u64::from(receptions).saturating_mul(lane.min(WINDOW));
    let outgoing = (limits.large_sending as u64).saturating_mul(WINDOW);
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(line.mtu_upper_bound());
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(LANES.saturating_add(receptions)))
        .stream_receive_window(window(lane))
        .receive_window(window(link_window_bytes(lane).saturating_add(incoming)))
        .send_window(link_window_bytes(lane).max(SMALLEST_SEND_WINDOW).saturating_add(outgoing))
        .mtu_discovery_config(Some(mtu))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .datagram_receive_buffer_size(None);
    transport
}

fn provider(profile: TlsProfile, require_hybrid: bool) -> CryptoProvider {
    let mut kx_groups = match profile {
        TlsProfile::Default => vec![kx_group::SECP256R1MLKEM768, kx_group::X25519MLKEM768],
        TlsProfile::Strict => vec![kx_group::SECP256R1MLKEM768],
    };
    if !require_hybrid {
        kx_groups.extend([kx_group::SECP384R1, kx_group::SECP256R1]);
    }
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups,
        ..default_provider()
    }
}

/// Checks the chain, not the name.
struct ChainOnly {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for ChainOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainOnly").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, self.algorithms.all)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn only_aes_gcm_and_hybrids_first() {
        let provider = provider(TlsProfile::Default, false);
        assert!(provider.cipher_suites.iter().all(|suite| format!("{:?}", suite.suite()).contains("AES")));
        let groups: Vec<NamedGroup> = provider.kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(
            groups,
            [NamedGroup::secp256r1MLKEM768, NamedGroup::X25519MLKEM768, NamedGroup::secp384r1, NamedGroup::secp256r1]
        );
    }

    #[test]
    fn strict_and_hybrid_only_leaves_one_group() {
        assert_eq!(super::provider(TlsProfile::Strict, true).kx_groups.len(), 1);
    }
}
