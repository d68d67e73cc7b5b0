//! How does one get a network of certificates on a laptop? A development CA, marked so that it stays there.
//!
//! Every certificate of it names the organisation [`DEVELOPMENT_ORGANISATION`] as issuer; the CA's subject depends on the
//! trust domain alone, so that an existing folder can be given more leaves.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::write_public;
use super::{DEVELOPMENT_ORGANISATION, PkiError, alternative_names, check_identity, file_stem, write_private};
use crate::identity::{TrustDomain, rfc4514};

/// A development CA in memory.
pub struct DevCa {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_pem: String,
    trust_domain: TrustDomain,
}

/// A leaf certificate of a development CA with its key.
#[derive(Debug, Clone)]
pub struct DevLeaf {
    /// The URI identity, `spiffe://<trust domain>/<name>`.
    pub uri: String,
    /// The certificate, PEM. Its issuer is the root itself, so it is the whole chain.
    pub certificate_pem: String,
    /// The private key, PKCS #8 PEM.
    pub key_pem: String,
}

impl std::fmt::Debug for DevCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevCa").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl DevCa {
    /// A new CA, valid for ten years.
    ///
    /// # Errors
    /// The certificate library refuses.
    pub fn generate(trust_domain: &TrustDomain) -> Result<Self, PkiError> {
        let key = KeyPair::generate().map_err(PkiError::library("the CA's key"))?;
        let params = ca_params(trust_domain);
        let certificate = params.self_signed(&key).map_err(PkiError::library("the CA's certificate"))?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            issuer: Issuer::new(params, key),
            trust_domain: trust_domain.clone(),
        })
    }

    /// The CA of an existing development folder, for further leaves.
    fn open(folder: &Path, trust_domain: &TrustDomain) -> Result<Self, PkiError> {
        let certificate_path = folder.join(CA_CERTIFICATE);
        let key_path = folder.join(CA_KEY);
        let read = |path: &Path| std::fs::read_to_string(path).map_err(PkiError::file(path));
        let certificate_pem = read(&certificate_path)?;
        let key_pem = read(&key_path)?;
        let unusable = |reason: String| PkiError::OldCa { path: certificate_path.clone(), reason };
        let key = KeyPair::from_pem(&key_pem).map_err(|error| unusable(error.to_string()))?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes())
            .map_err(|error| unusable(error.to_string()))?;
        let (_, certificate) = X509Certificate::from_der(&pem.contents).map_err(|error| unusable(error.to_string()))?;
        let expected = format!("CN=Kernpost development CA {trust_domain},O={DEVELOPMENT_ORGANISATION}");
        let subject = rfc4514(certificate.subject());
        if subject != expected {
            return Err(unusable(format!("it is the CA \"{subject}\", not the development CA of {trust_domain}")));
        }
        if certificate.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(unusable(format!("{} is another CA's key", key_path.display())));
        }
        Ok(Self {
            issuer: Issuer::new(ca_params(trust_domain), key),
            certificate_pem,
            key_pem,
            trust_domain: trust_domain.clone(),
        })
    }

    /// The CA's certificate, PEM: what peers configure as root.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A leaf for the identity `name` with a new ECDSA P-256 key, valid from an hour ago for 90 days.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub fn leaf(&self, name: &str, dns: &[String], ips: &[IpAddr]) -> Result<DevLeaf, PkiError> {
        let now = OffsetDateTime::now_utc();
        self.leaf_valid(name, dns, ips, now - Duration::HOUR, now + Duration::days(90))
    }

    /// A leaf with a chosen validity, for tests of expiry.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub fn leaf_valid(
        &self,
        name: &str,
        dns: &[String],
        ips: &[IpAddr],
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Result<DevLeaf, PkiError> {
        check_identity(name)?;
        let uri = self.trust_domain.uri(name);
        let mut params = CertificateParams::default();
        params.subject_alt_names = alternative_names(&uri, dns, ips)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, DEVELOPMENT_ORGANISATION);
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = not_before;
        params.not_after = not_after;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(PkiError::library("a leaf's key"))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(PkiError::library("a leaf's certificate"))?;
        Ok(DevLeaf { uri, certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn ca_params(trust_domain: &TrustDomain) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, DEVELOPMENT_ORGANISATION);
    params.distinguished_name.push(DnType::CommonName, format!("Kernpost development CA {trust_domain}"));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - Duration::HOUR;
    params.not_after = now + Duration::days(3_650);
    params
}

const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

/// What `pki dev` is asked for.
#[derive(Debug, Clone)]
pub struct DevPkiRequest {
    /// Folder to write to; created when missing. A CA that is there already is used again.
    pub out: PathBuf,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Identities: router ids, or any other names.
    pub identities: Vec<String>,
    /// DNS names put into every leaf.
    pub dns: Vec<String>,
    /// IP addresses put into every leaf.
    pub ips: Vec<IpAddr>,
}

/// What `pki dev` wrote.
#[derive(Debug, Clone)]
pub struct DevPkiFiles {
    /// The CA's certificate: the root for every peer.
    pub ca: PathBuf,
    /// The leaves, in the order asked for.
    pub leaves: Vec<LeafFiles>,
}

/// One leaf's files.
#[derive(Debug, Clone)]
pub struct LeafFiles {
    /// The identity as asked for.
    pub identity: String,
    /// Its URI, for the directory: `uri:<this>`.
    pub uri: String,
    /// Certificate file.
    pub certificates: PathBuf,
    /// Key file, mode 0600.
    pub key: PathBuf,
}

/// Writes a development PKI: `ca.pem`, `ca.key`, and `<identity>.pem`, `<identity>.key` with `/` written as `_`.
///
/// # Errors
/// A name cannot stand in a certificate, a key exists already, a file cannot be written. Names are checked before anything
/// is written.
pub fn write_dev_pki(request: &DevPkiRequest) -> Result<DevPkiFiles, PkiError> {
    for identity in &request.identities {
        check_identity(identity)?;
        alternative_names(identity, &request.dns, &request.ips)?;
        let key = request.out.join(file_stem(identity) + ".key");
        if key.exists() {
            return Err(PkiError::KeyExists(key));
        }
    }
    std::fs::create_dir_all(&request.out).map_err(PkiError::file(&request.out))?;
    let ca_path = request.out.join(CA_CERTIFICATE);
    let ca = if ca_path.exists() {
        DevCa::open(&request.out, &request.trust_domain)?
    } else {
        let ca = DevCa::generate(&request.trust_domain)?;
        write_private(&request.out.join(CA_KEY), &ca.key_pem)?;
        write_public(&ca_path, &ca.certificate_pem)?;
        ca
    };
    let mut leaves = Vec::with_capacity(request.identities.len());
    for identity in &request.identities {
        let leaf = ca.leaf(identity, &request.dns, &request.ips)?;
        let stem = file_stem(identity);
        let files = LeafFiles {
            identity: identity.clone(),
            uri: leaf.uri,
            certificates: request.out.join(format!("{stem}.pem")),
            key: request.out.join(format!("{stem}.key")),
        };
        write_private(&files.key, &leaf.key_pem)?;
        write_public(&files.certificates, &leaf.certificate_pem)?;
        leaves.push(files);
    }
    Ok(DevPkiFiles { ca: ca_path, leaves })
}
