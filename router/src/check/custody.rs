//! Can custody be taken? The keys that encrypt the spool and sign its receipts are there, and the directory knows the latter.

use std::path::Path;

use kernpost_codecs::{SigningKey, UnixMs};
use kernpost_router_core::RouterSigner;
use kernpost_routing_table::Table;
use kernpost_spool::keys::credentials_folder;
use kernpost_spool::{MasterKey, MasterKeys};

use super::Findings;
use crate::config::KeySource;

/// What custody needs beside its configuration.
#[derive(Debug)]
pub struct CustodyKeys {
    /// Wrap the spool's keys.
    pub masters: MasterKeys,
    /// Signs this router's receipts.
    pub signer: RouterSigner,
}

/// Loads and judges everything `[custody]` names.
pub(super) fn load(findings: &mut Findings<'_>, table: Option<&Table>, now: UnixMs) -> Option<CustodyKeys> {
    let section = findings.config.custody.clone()?;
    let current = master(findings, "custody.master_key", &section.master_key);
    let mut previous = Vec::new();
    for (position, source) in section.previous_master_keys.iter().enumerate() {
        previous.extend(master(findings, &format!("custody.previous_master_keys[{position}]"), source));
    }
    let mut keys = Vec::new();
    for (position, path) in section.signing_keys.iter().enumerate() {
        keys.extend(signing(findings, &format!("custody.signing_keys[{position}]"), path));
    }
    let signer = RouterSigner::new(findings.config.router.id.clone(), keys);
    let wall = kernpost_router_core::Now { mono_us: 0, wall: now };
    if let Some(table) = table
        && signer.current(table, wall).is_none()
    {
        findings.warnings.push(format!(
            "custody.signing_keys: the directory lists none of them for {} for now: no custody is taken until it does",
            findings.config.router.id
        ));
    }
    Some(CustodyKeys { masters: MasterKeys::new(current?, previous), signer })
}

fn master(findings: &mut Findings<'_>, key: &str, source: &KeySource) -> Option<MasterKey> {
    let found = match source {
        KeySource::File(path) => MasterKey::from_file(path).map_err(|error| error.to_string()),
        KeySource::Credential(name) => match credentials_folder() {
            Some(folder) => MasterKey::from_credential(&folder, name).map_err(|error| error.to_string()),
            None => Err("the service has no credentials: CREDENTIALS_DIRECTORY is not set".to_owned()),
        },
    };
    found
        .map_err(|what| {
            let remedy = "make one with `openssl rand -hex 32`, mode 0600, or pass it by LoadCredentialEncrypted=";
            findings.wrong(key, &source.shown(), what, remedy);
        })
        .ok()
}

fn signing(findings: &mut Findings<'_>, key: &str, path: &Path) -> Option<SigningKey> {
    let remedy = "it must hold the PKCS #8 PEM of a signing key; `kernpost directory key` makes one";
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let read = text.and_then(|text| SigningKey::from_pkcs8_pem(&text).map_err(|error| error.to_string()));
    read.map_err(|what| findings.wrong(key, path, what, remedy)).ok()
}
