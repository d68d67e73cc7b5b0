//! What does one send to a real CA? A signing request for a link identity, with a key that never leaves this machine.

use std::net::IpAddr;
use std::path::PathBuf;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::files::write_public;
use super::{PkiError, alternative_names, check_identity, file_stem, write_private};
use crate::identity::TrustDomain;

/// What `pki csr` is asked for.
#[derive(Debug, Clone)]
pub struct CsrRequest {
    /// Folder to write to; created when missing.
    pub out: PathBuf,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The identity, for instance a router id.
    pub identity: String,
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
    /// Organisation in the subject.
    pub organisation: Option<String>,
}

/// Writes `<identity>.key` (ECDSA P-256, mode 0600) and `<identity>.csr`; returns their paths in this order.
///
/// # Errors
/// A name cannot stand in a certificate, the key exists already, a file cannot be written.
pub fn write_csr(request: &CsrRequest) -> Result<(PathBuf, PathBuf), PkiError> {
    check_identity(&request.identity)?;
    let uri = request.trust_domain.uri(&request.identity);
    let mut params = CertificateParams::default();
    params.subject_alt_names = alternative_names(&uri, &request.dns, &request.ips)?;
    params.distinguished_name = DistinguishedName::new();
    if let Some(organisation) = &request.organisation {
        params.distinguished_name.push(DnType::OrganizationName, organisation.as_str());
    }
    params.distinguished_name.push(DnType::CommonName, request.identity.as_str());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().map_err(PkiError::library("the key"))?;
    let csr =
        params.serialize_request(&key).and_then(|csr| csr.pem()).map_err(PkiError::library("the signing request"))?;
    std::fs::create_dir_all(&request.out).map_err(PkiError::file(&request.out))?;
    let stem = file_stem(&request.identity);
    let key_path = request.out.join(format!("{stem}.key"));
    let csr_path = request.out.join(format!("{stem}.csr"));
    write_private(&key_path, &key.serialize_pem())?;
    write_public(&csr_path, &csr)?;
    Ok((key_path, csr_path))
}
