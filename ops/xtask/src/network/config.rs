//! What the demo's configuration files say: two routers, and one file per site.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kernpost_codecs::EndpointId;

use super::Folder;
use crate::plan::{Plan, RouterPlan, Site, TRUST_DOMAIN};

/// Certificate, key and the CA of one party.
#[derive(Debug)]
pub struct Credentials {
    /// Own chain, PEM.
    pub certificates: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// The CA, PEM.
    pub roots: PathBuf,
}

impl Credentials {
    /// Those made for `certificate_name`, as `kernpost-router pki dev` lays them.
    pub fn of(folder: &Folder, certificate_name: &str) -> Self {
        let pki = folder.pki();
        let name = certificate_name.replace('/', "_");
        Self {
            certificates: pki.join(format!("{name}.pem")),
            key: pki.join(format!("{name}.key")),
            roots: pki.join("ca.pem"),
        }
    }

    fn section(&self) -> String {
        format!(
            "[tls]\ncertificates = {}\nkey = {}\nroots = [{}]\ntrust_domain = \"{TRUST_DOMAIN}\"\n\n",
            quoted(&self.certificates),
            quoted(&self.key),
            quoted(&self.roots),
        )
    }
}

/// Writes a router's configuration; `peer` is the router it dials.
pub fn router(folder: &Folder, router: &RouterPlan, peer: Option<(&RouterPlan, &str)>) -> Result<PathBuf> {
    let credentials = Credentials::of(folder, &router.certificate_name());
    let mut text = format!(
        "[router]\nid = \"{}\"\nworkers = 1\nstate = {}\ndev = true\n\n[listen]\naddresses = [\"[::1]:0\"]\n\n",
        router.id,
        quoted(&folder.state(router)),
    );
    text.push_str(&credentials.section());
    text.push_str(&directory_section(folder));
    if let Some((peer, address)) = peer {
        write!(text, "[[peers]]\nrouter = \"{}\"\naddress = \"{address}\"\n\n", peer.id)?;
    }
    text.push_str("[admin]\nlisten = \"[::1]:0\"\n");
    write_file(&folder.config(&format!("router-{}", router.name())), &text)
}

/// Writes a site's configuration: its credentials, its router, its endpoints with their keys.
pub fn site(folder: &Folder, plan: &Plan, site: &Site, endpoints: &[EndpointId], address: &str) -> Result<PathBuf> {
    let router = plan.routers.get(site.router).context("a site's router is one of the two")?;
    let mut text = Credentials::of(folder, &site.certificate_name()).section();
    text.push_str(&directory_section(folder));
    write!(text, "[[routers]]\nid = \"{}\"\naddress = \"{address}\"\n\n", router.id)?;
    for endpoint in endpoints {
        let key = folder.files().endpoint_key(endpoint);
        write!(text, "[[endpoints]]\nid = \"{endpoint}\"\nkeys = [{}]\n\n", quoted(&key))?;
    }
    write_file(&folder.config(&site.name), &text)
}

fn directory_section(folder: &Folder) -> String {
    let files = folder.files();
    format!("[directory]\nfolder = {}\ntrust_anchor = {}\n\n", quoted(&files.zones), quoted(&files.trust_anchor))
}

fn write_file(path: &Path, text: &str) -> Result<PathBuf> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_path_buf())
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    toml::Value::String(path.to_string_lossy().into_owned()).to_string()
}
