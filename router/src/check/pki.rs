//! Are the certificates, the key, the roots and the revocation lists fit for use?

use std::path::Path;

use kernpost_codecs::{LinkIdentity, UnixMs};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::certificate::{Facts, RSASSA_PSS_DER, Validity, shown};
use super::{Findings, files};
use crate::config::TlsProfile;
use crate::identity::{link_identities, rfc4514};
use crate::tls::{Credentials, Trust, provider};

/// What was loaded.
pub(super) struct PkiFiles {
    pub(super) credentials: Credentials,
    pub(super) trust: Trust,
    pub(super) identities: Vec<LinkIdentity>,
}

/// Loads and judges everything `[tls]` names.
pub(super) fn load(findings: &mut Findings<'_>, now: UnixMs) -> Option<PkiFiles> {
    let tls = findings.config.tls.clone();
    let chain = take(findings, "tls.certificates", &tls.certificates, files::certificates);
    let key = take(findings, "tls.key", &tls.key, files::private_key);
    let identities = chain.as_deref().and_then(|chain| check_chain(findings, &tls.certificates, chain, now));
    if let Some(key) = &key {
        check_key(findings, &tls.key, key);
    }
    if let (Some(chain), Some(key)) = (&chain, &key) {
        check_pair(findings, chain, key);
    }
    let mut roots = Vec::new();
    for (position, path) in tls.roots.iter().enumerate() {
        let slot = format!("tls.roots[{position}]");
        let found = take(findings, &slot, path, files::certificates).unwrap_or_default();
        for root in &found {
            check_root(findings, &slot, path, root, now);
        }
        roots.extend(found);
    }
    let mut lists = Vec::new();
    for (position, path) in tls.crls.iter().enumerate() {
        let slot = format!("tls.crls[{position}]");
        let found = take(findings, &slot, path, files::revocation_lists).unwrap_or_default();
        for list in &found {
            check_list(findings, &slot, path, list, now);
        }
        lists.extend(found);
    }
    warn_uncovered(findings, &roots, &lists);
    let trust = match Trust::new(&roots, lists) {
        Ok(trust) => Some(trust),
        // A file that could not be read was reported already.
        Err(_) if !findings.problems.is_empty() => None,
        Err(error) => {
            let problem = findings.config.problem("tls.roots", error.to_string(), "replace it");
            findings.problems.push(problem);
            None
        }
    };
    Some(PkiFiles { credentials: Credentials { chain: chain?, key: key? }, trust: trust?, identities: identities? })
}

fn take<T>(
    findings: &mut Findings<'_>,
    key: &str,
    path: &Path,
    read: impl Fn(&Path) -> Result<T, files::Unusable>,
) -> Option<T> {
    match read(path) {
        Ok(found) => Some(found),
        Err(unusable) => {
            findings.wrong(key, path, unusable.what, unusable.remedy);
            None
        }
    }
}

/// Checks the own chain; gives the identities of its leaf.
fn check_chain(
    findings: &mut Findings<'_>,
    path: &Path,
    chain: &[CertificateDer<'_>],
    now: UnixMs,
) -> Option<Vec<LinkIdentity>> {
    const KEY: &str = "tls.certificates";
    let mut previous: Option<Facts> = None;
    for (position, certificate) in chain.iter().enumerate() {
        let facts = check_certificate(findings, KEY, path, certificate, now)?;
        match previous {
            None => check_leaf(findings, path, &facts),
            Some(below) if below.issuer != facts.subject => findings.wrong(
                KEY,
                path,
                format!(
                    "certificate {} ({}) did not issue certificate {position} (issuer {})",
                    position + 1,
                    facts.subject,
                    below.issuer
                ),
                "order the file: own certificate, then each one's issuer",
            ),
            Some(_) => {}
        }
        previous = Some(facts);
    }
    let leaf = chain.first()?;
    let trust_domain = &findings.config.tls.trust_domain;
    match link_identities(leaf, trust_domain) {
        Ok(identities) => Some(identities),
        Err(error) => {
            findings.wrong(KEY, path, error, "have the certificate issued again");
            None
        }
    }
}

fn check_leaf(findings: &mut Findings<'_>, path: &Path, leaf: &Facts) {
    const KEY: &str = "tls.certificates";
    if leaf.is_ca {
        findings.wrong(
            KEY,
            path,
            format!("the first certificate ({}) is a CA", leaf.subject),
            "put the router's own certificate first",
        );
    }
    if !leaf.missing_purposes.is_empty() {
        findings.wrong(
            KEY,
            path,
            format!("{} may not be used for {}", leaf.subject, leaf.missing_purposes.join(" and ")),
            "have it issued with extended key usage serverAuth and clientAuth: a router accepts and dials",
        );
    }
    if leaf.ed25519 && findings.config.tls.profile == TlsProfile::Strict {
        findings.wrong(
            KEY,
            path,
            format!("{} has an Ed25519 key, which the strict profile leaves out", leaf.subject),
            "use an ECDSA P-256 or P-384 key, or tls.profile = \"default\"",
        );
    }
}

/// What holds for every certificate, own or root.
fn check_certificate(findings: &mut Findings<'_>, key: &str, path: &Path, der: &[u8], now: UnixMs) -> Option<Facts> {
    let facts = match Facts::read(der) {
        Ok(facts) => facts,
        Err(error) => {
            let what = format!("holds a certificate that cannot be read: {error}");
            findings.wrong(key, path, what, "have it issued again");
            return None;
        }
    };
    match facts.validity(now) {
        Validity::Good => {}
        Validity::EndsIn(days) => {
            findings.warnings.push(format!("{}: {} expires in {days} days: renew it", path.display(), facts.subject))
        }
        Validity::NotYet(from) => findings.wrong(
            key,
            path,
            format!("{} is valid only from {from}", facts.subject),
            "wait, or check this machine's clock",
        ),
        Validity::Expired(at) => findings.wrong(
            key,
            path,
            format!("{} expired at {at}", facts.subject),
            "renew it, or check this machine's clock",
        ),
    }
    if facts.rsa_pss {
        findings.wrong(
            key,
            path,
            format!("{} has an id-RSASSA-PSS key, which the TLS library cannot use", facts.subject),
            "have it issued for a plain RSA key (rsaEncryption) or an ECDSA key",
        );
    }
    if facts.development && !findings.config.router.dev {
        findings.wrong(
            key,
            path,
            format!("{} belongs to a development PKI", facts.subject),
            "use certificates of a real CA; only for tests: --dev or router.dev = true",
        );
    }
    Some(facts)
}

fn check_key(findings: &mut Findings<'_>, path: &Path, key: &PrivateKeyDer<'_>) {
    use std::os::unix::fs::PermissionsExt;
    let front = key.secret_der().get(..40).unwrap_or(key.secret_der());
    if front.windows(RSASSA_PSS_DER.len()).any(|window| window == RSASSA_PSS_DER) {
        findings.wrong(
            "tls.key",
            path,
            "is an id-RSASSA-PSS key, which the TLS library cannot use",
            "make a plain RSA key (rsaEncryption) or an ECDSA key and have the certificate issued for it",
        );
    }
    let readable_by_others = std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0);
    if readable_by_others {
        findings.wrong("tls.key", path, "may be read by every user of this machine", "chmod 600 it");
    }
}

/// The key is the leaf's.
fn check_pair(findings: &mut Findings<'_>, chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) {
    let tls = findings.config.tls.clone();
    let provider = provider(tls.profile, tls.require_hybrid);
    let Err(error) = CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider) else {
        return;
    };
    let (what, remedy) = match error {
        rustls::Error::InconsistentKeys(_) => (
            format!("is not the key of {}", tls.certificates.display()),
            "name the key the certificate was issued for".to_owned(),
        ),
        other => (
            format!("cannot be used: {other}"),
            "use an ECDSA P-256 or P-384, Ed25519 or RSA key of 2048 to 8192 bits".to_owned(),
        ),
    };
    findings.wrong("tls.key", &tls.key, what, remedy);
}

fn check_root(findings: &mut Findings<'_>, slot: &str, path: &Path, root: &[u8], now: UnixMs) {
    let Some(facts) = check_certificate(findings, slot, path, root, now) else {
        return;
    };
    if !facts.is_ca {
        findings.wrong(
            slot,
            path,
            format!("{} is no CA certificate", facts.subject),
            "list the CA's certificate, not a leaf",
        );
    }
}

fn check_list(
    findings: &mut Findings<'_>,
    slot: &str,
    path: &Path,
    list: &CertificateRevocationListDer<'_>,
    now: UnixMs,
) {
    let Ok((_, parsed)) = CertificateRevocationList::from_der(list) else {
        let remedy = "fetch it again from the CA's distribution point";
        findings.wrong(slot, path, "is not a certificate revocation list", remedy);
        return;
    };
    let issuer = rfc4514(parsed.issuer());
    let now = i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX);
    match parsed.next_update().map(|time| time.timestamp()) {
        Some(next) if next < now => findings.wrong(
            slot,
            path,
            format!("the list of {issuer} expired at {}: every peer would be refused", shown(next)),
            "fetch the current list from the CA's distribution point",
        ),
        None => findings.wrong(
            slot,
            path,
            format!("the list of {issuer} names no next update"),
            "ask the CA for a list with nextUpdate (RFC 5280 section 5.1.2.5)",
        ),
        Some(_) => {}
    }
}

/// With any list given, a chain through a CA without one is refused: say which.
fn warn_uncovered(
    findings: &mut Findings<'_>,
    roots: &[CertificateDer<'_>],
    lists: &[CertificateRevocationListDer<'_>],
) {
    if lists.is_empty() {
        return;
    }
    let covered: Vec<String> = lists
        .iter()
        .filter_map(|list| CertificateRevocationList::from_der(list).ok())
        .map(|(_, list)| rfc4514(list.issuer()))
        .collect();
    for root in roots.iter().filter_map(|root| Facts::read(root).ok()) {
        if !covered.contains(&root.subject) {
            findings
                .warnings
                .push(format!("tls.crls has no list of {}: certificates it issued will be refused", root.subject));
        }
    }
}
