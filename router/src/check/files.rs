//! How are PEM and DER files read, with a reason an operator understands when they cannot be?

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// Why a file gave nothing, as a clause after the file's name, and what to do.
#[derive(Debug)]
pub(super) struct Unusable {
    pub(super) what: String,
    pub(super) remedy: String,
}

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let remedy = "it must hold -----BEGIN CERTIFICATE----- blocks";
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable("holds no certificate in PEM form", remedy)),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(format!("is not sound PEM: {error}"), remedy)),
    }
}

/// The first private key of a PEM file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    let remedy = "it must hold one unencrypted private key in PEM form (PKCS #8, SEC1 or PKCS #1)";
    let bytes = read(path)?;
    let encrypted = b"BEGIN ENCRYPTED PRIVATE KEY";
    if bytes.windows(encrypted.len()).any(|window| window == encrypted) {
        return Err(unusable(
            "holds an encrypted key",
            "decrypt it (openssl pkcs8 -in FILE -out FILE.plain) and keep it readable by the router only",
        ));
    }
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| unusable(format!("holds no usable private key: {error}"), remedy))
}

/// The revocation lists of a file: PEM blocks, or one list in DER.
pub(super) fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Unusable> {
    let bytes = read(path)?;
    if !bytes.starts_with(b"-----") && !bytes.windows(10).any(|window| window == b"-----BEGIN") {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let remedy = "it must hold -----BEGIN X509 CRL----- blocks, or one list in DER";
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable("holds no revocation list", remedy)),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(format!("is not sound PEM: {error}"), remedy)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unusable("does not exist", "create the file or correct the path"),
        std::io::ErrorKind::PermissionDenied => {
            unusable("may not be read by this user", "give the user the router runs as read permission")
        }
        _ => unusable(format!("cannot be read: {error}"), "make it a readable file"),
    })
}

fn unusable(what: impl Into<String>, remedy: impl Into<String>) -> Unusable {
    Unusable { what: what.into(), remedy: remedy.into() }
}
