//! Which certificates does this side accept? Those that chain to its roots now, for their purpose, and are not revoked.
//!
//! rustls' own server verifier checks a name, which Kernpost has no use for, and checks revocation lists that have expired
//! as if they had not; so the dialling side verifies with webpki directly. The same check is repeated on live links when
//! the lists change.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// CA certificates and revocation lists.
pub struct Trust {
    roots: Arc<RootCertStore>,
    crls_der: Vec<CertificateRevocationListDer<'static>>,
    crls: Vec<CertRevocationList<'static>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("roots", &self.roots.len()).field("crls", &self.crls.len()).finish()
    }
}

/// What a certificate is used for on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The peer accepted the connection.
    Server,
    /// The peer dialled.
    Client,
}

/// Roots or revocation lists that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// There is no root at all.
    #[error("no CA certificate among the roots; add the CAs of your peers to tls.roots")]
    NoRoots,
    /// This root (from 0) cannot be used.
    #[error("CA certificate number {position} cannot be used: {reason}; replace it in tls.roots")]
    Root {
        /// Position in the list, from 0.
        position: usize,
        /// Why not.
        reason: String,
    },
    /// This revocation list (from 0) cannot be used.
    #[error("revocation list number {position} cannot be used: {reason}; replace it in tls.crls")]
    Crl {
        /// Position in the list, from 0.
        position: usize,
        /// Why not.
        reason: String,
    },
}

impl Trust {
    /// Parses roots and revocation lists (DER).
    ///
    /// # Errors
    /// No root, or one of either that cannot be parsed.
    pub fn new(
        roots: &[CertificateDer<'static>],
        crls: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, TrustError> {
        let mut store = RootCertStore::empty();
        for (position, root) in roots.iter().enumerate() {
            store.add(root.clone()).map_err(|error| TrustError::Root { position, reason: error.to_string() })?;
        }
        if store.is_empty() {
            return Err(TrustError::NoRoots);
        }
        let parsed: Result<Vec<_>, TrustError> = crls
            .iter()
            .enumerate()
            .map(|(position, der)| {
                OwnedCertRevocationList::from_der(der)
                    .map(CertRevocationList::Owned)
                    .map_err(|error| TrustError::Crl { position, reason: error.to_string() })
            })
            .collect();
        Ok(Self { roots: Arc::new(store), crls: parsed?, crls_der: crls })
    }

    /// Checks a chain (leaf first) at `now`: up to a root, valid, for the purpose, and revoked by no list; with any list
    /// given, each certificate must be covered by one that has not expired.
    ///
    /// # Errors
    /// The first rule the chain fails.
    pub fn check(
        &self,
        chain: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        self.check_leaf(leaf, intermediates, purpose, now, algorithms)
    }

    fn check_leaf(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        let lists: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
            builder
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let usage = match purpose {
            Purpose::Server => KeyUsage::server_auth(),
            Purpose::Client => KeyUsage::client_auth(),
        };
        let leaf = EndEntityCert::try_from(leaf).map_err(refusal)?;
        leaf.verify_for_usage(algorithms.all, &self.roots.roots, intermediates, now, usage, revocation, None)
            .map(|_| ())
            .map_err(refusal)
    }

    /// The accepting side's check of the dialler's certificate; a dialler without one is refused.
    pub(super) fn client_verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
        // The names of our roots would only make the handshake longer: a peer has one certificate and sends it anyway.
        WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone())
            .with_crls(self.crls_der.iter().cloned())
            .enforce_revocation_expiration()
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| TrustError::Crl { position: 0, reason: error.to_string() })
    }

    /// The dialling side's check of the accepting side's certificate.
    pub(super) fn server_verifier(self: &Arc<Self>, provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
        Arc::new(NamelessVerifier { trust: self.clone(), algorithms: provider.signature_verification_algorithms })
    }
}

/// Verifies everything about a server's certificate but its name.
#[derive(Debug)]
struct NamelessVerifier {
    trust: Arc<Trust>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for NamelessVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.trust
            .check_leaf(end_entity, intermediates, Purpose::Server, now, &self.algorithms)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
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

/// webpki's finding as the error from which rustls chooses its alert.
fn refusal(error: webpki::Error) -> rustls::Error {
    use webpki::Error as E;
    let certificate = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::InvalidCertValidity => CertificateError::Expired,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertRevoked => CertificateError::Revoked,
        E::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        E::CrlExpired { time, next_update } => CertificateError::ExpiredRevocationListContext { time, next_update },
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    certificate.into()
}
