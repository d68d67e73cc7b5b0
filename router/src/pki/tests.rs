#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;

use kernpost_codecs::LinkIdentity;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::identity::{TrustDomain, link_identities};

fn domain() -> TrustDomain {
    "kern.example".parse().unwrap()
}

fn request(out: &Path, identities: &[&str]) -> DevPkiRequest {
    DevPkiRequest {
        out: out.to_owned(),
        trust_domain: domain(),
        identities: identities.iter().map(|&name| name.to_owned()).collect(),
        dns: vec![],
        ips: vec!["::1".parse().unwrap()],
    }
}

#[test]
fn a_development_pki_binds_each_identity_by_its_uri() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_dev_pki(&request(folder.path(), &["kern/router/r1", "bund/portal"])).unwrap();
    for (leaf, name) in files.leaves.iter().zip(["kern/router/r1", "bund/portal"]) {
        let der = CertificateDer::from_pem_file(&leaf.certificates).unwrap();
        let identities = link_identities(&der, &domain()).unwrap();
        let uri = format!("spiffe://kern.example/{name}");
        assert_eq!(identities.first(), Some(&LinkIdentity::Uri(uri)));
    }
    assert!(files.leaves[0].key.ends_with("kern_router_r1.key"));
}

#[test]
fn private_keys_are_readable_by_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_dev_pki(&request(folder.path(), &["a/b"])).unwrap();
    let csr = CsrRequest {
        out: folder.path().join("csr"),
        trust_domain: domain(),
        identity: "a/b".to_owned(),
        dns: vec![],
        ips: vec![],
        organisation: None,
    };
    let (csr_key, _) = write_csr(&csr).unwrap();
    for key in [files.leaves[0].key.clone(), folder.path().join("ca.key"), csr_key] {
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", key.display());
    }
}

#[test]
fn an_existing_folder_is_given_more_leaves_under_the_same_ca() {
    let folder = tempfile::tempdir().unwrap();
    write_dev_pki(&request(folder.path(), &["a/b"])).unwrap();
    let ca = std::fs::read(folder.path().join("ca.pem")).unwrap();
    write_dev_pki(&request(folder.path(), &["a/c"])).unwrap();
    assert_eq!(std::fs::read(folder.path().join("ca.pem")).unwrap(), ca);
    let again = write_dev_pki(&request(folder.path(), &["a/c"])).unwrap_err();
    assert!(matches!(again, PkiError::KeyExists(_)), "{again}");
    let mut other = request(folder.path(), &["a/d"]);
    other.trust_domain = "other.example".parse().unwrap();
    let error = write_dev_pki(&other).unwrap_err();
    assert!(matches!(error, PkiError::OldCa { .. }), "{error}");
}

#[test]
fn a_signing_request_carries_the_identity_and_its_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let request = CsrRequest {
        out: folder.path().to_owned(),
        trust_domain: domain(),
        identity: "kern/router/r9".to_owned(),
        dns: vec!["r9.kern.example".to_owned()],
        ips: vec![],
        organisation: Some("Landesrechenzentrum".to_owned()),
    };
    let (_, csr) = write_csr(&request).unwrap();
    let pem = std::fs::read(csr).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    assert_eq!(pem.label, "CERTIFICATE REQUEST");
    let uri = b"spiffe://kern.example/kern/router/r9";
    assert!(pem.contents.windows(uri.len()).any(|window| window == uri));
    assert!(matches!(write_csr(&request), Err(PkiError::KeyExists(_))));
}

#[test]
fn names_that_could_leave_the_folder_or_the_uri_are_refused() {
    for name in ["", "../x", "a//b", "A/b", "a b", "a/ü", "/a", "a/.."] {
        assert!(check_identity(name).is_err(), "{name}");
    }
    assert!(check_identity("kern/router/r-1.x").is_ok());
}
