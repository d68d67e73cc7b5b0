//! Certificates and private keys from PEM files.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// All certificates of a file, in its order; at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |error: &dyn std::fmt::Display| format!("certificates {}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| fault(&error))?;
    let certificates = found.collect::<Result<Vec<_>, _>>().map_err(|error| fault(&error))?;
    if certificates.is_empty() {
        return Err(fault(&"holds no PEM certificate"));
    }
    Ok(certificates)
}

/// The private key of a file.
pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("key {}: {error}", path.display()))
}
