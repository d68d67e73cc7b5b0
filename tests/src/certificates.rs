//! Certificates of every quality: good, expired, from elsewhere, with too many names; and RSA chains made by OpenSSL.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

mod openssl;

pub use openssl::{RsaHierarchy, RsaLeaf, rsa_hierarchy};

/// A certificate chain and the private key of its leaf.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Leaf first, then intermediates, PEM.
    pub chain_pem: String,
    /// The private key, PEM.
    pub key_pem: String,
}

impl Credentials {
    /// The chain, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        certificates(&self.chain_pem)
    }

    /// The private key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap()
    }
}

/// Every certificate of a PEM text.
pub fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

/// A CA with an ECDSA key that issues leaves directly.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").finish_non_exhaustive()
    }
}

/// What a leaf certificate says.
#[derive(Debug, Clone, Default)]
pub struct Leaf {
    /// URI names.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// Whether it ended yesterday.
    pub expired: bool,
}

impl Leaf {
    /// A leaf with one URI name.
    pub fn uri(uri: &str) -> Self {
        Self { uris: vec![uri.to_owned()], ..Self::default() }
    }
}

impl Ca {
    /// A new CA, valid for ten days.
    pub fn new(name: &str) -> Self {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name = named(name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (now - Duration::days(10), now + Duration::days(10));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// The CA's own certificate, PEM: what peers configure as root.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a leaf with a new ECDSA key for both sides of a link. Every leaf also names the address `::1`, which
    /// clients here ask for.
    pub fn issue(&self, leaf: &Leaf) -> Credentials {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.distinguished_name = named("leaf");
        let uris = leaf.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap()));
        let dns = leaf.dns.iter().map(|dns| SanType::DnsName(dns.as_str().try_into().unwrap()));
        let address = SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into());
        params.subject_alt_names = uris.chain(dns).chain([address]).collect();
        params.not_before = now - Duration::days(3);
        params.not_after = if leaf.expired { now - Duration::days(1) } else { now + Duration::days(3) };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Credentials { chain_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::OrganizationName, "Kernpost tests");
    distinguished.push(DnType::CommonName, name);
    distinguished
}
