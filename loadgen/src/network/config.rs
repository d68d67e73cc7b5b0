//! What the configuration files of a network say: one per router, one per site.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kernpost_codecs::EndpointId;

use super::Folder;
use super::plan::{Plan, RouterPlan, Site, TRUST_DOMAIN};

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

/// Writes a router's configuration; `peers` are the routers it dials, `extra` overrides single keys.
///
/// # Errors
/// The file cannot be written.
pub fn router(
    folder: &Folder,
    router: &RouterPlan,
    peers: &[(&RouterPlan, String)],
    extra: &toml::Table,
) -> Result<PathBuf> {
    let credentials = Credentials::of(folder, &router.certificate_name());
    let mut text = format!(
        "[router]\nid = \"{}\"\nworkers = 1\nstate = {}\ndev = true\n\n[listen]\naddresses = [\"[::1]:0\"]\n\n",
        router.id,
        quoted(&folder.state(router)),
    );
    text.push_str(&credentials.section());
    text.push_str(&directory_section(folder));
    for (peer, address) in peers {
        write!(text, "[[peers]]\nrouter = \"{}\"\naddress = \"{address}\"\n\n", peer.id)?;
    }
    if router.custody {
        text.push_str(&custody_section(folder, router));
    }
    text.push_str("[admin]\nlisten = \"[::1]:0\"\n");
    let mut table: toml::Table = text.parse()?;
    merge(&mut table, extra);
    write_file(&folder.config(&format!("router-{}", router.name())), &toml::to_string(&table)?)
}

/// Writes a site's configuration: its credentials, its router, its endpoints with their keys. `extra` overrides single
/// keys.
///
/// # Errors
/// The file cannot be written.
pub fn site(
    folder: &Folder,
    plan: &Plan,
    site: &Site,
    endpoints: &[EndpointId],
    address: &str,
    extra: &toml::Table,
) -> Result<PathBuf> {
    let router = plan.routers.get(site.router).context("a site's router is one of the plan's")?;
    let mut text = Credentials::of(folder, &site.certificate_name()).section();
    text.push_str(&directory_section(folder));
    write!(text, "[[routers]]\nid = \"{}\"\naddress = \"{address}\"\n\n", router.id)?;
    text.push_str(&endpoint_sections(folder, plan, endpoints)?);
    let mut table: toml::Table = text.parse()?;
    merge(&mut table, extra);
    write_file(&folder.config(&site.name), &toml::to_string(&table)?)
}

/// Writes one configuration for several sites together: one client with a link for each site. `address` says where a
/// site's router is; `extra` overrides single keys.
///
/// # Errors
/// A site has no router, or the file cannot be written.
pub fn sites<'a>(
    folder: &Folder,
    plan: &Plan,
    name: &str,
    sites: &[(&Site, &[EndpointId])],
    address: impl Fn(usize) -> Result<&'a str>,
    extra: &toml::Table,
) -> Result<PathBuf> {
    let mut text = format!("[tls]\ntrust_domain = \"{TRUST_DOMAIN}\"\n\n");
    text.push_str(&directory_section(folder));
    for (index, router) in plan.routers.iter().enumerate() {
        if sites.iter().any(|(site, _)| site.router == index) {
            write!(text, "[[routers]]\nid = \"{}\"\naddress = \"{}\"\n\n", router.id, address(index)?)?;
        }
    }
    for (site, endpoints) in sites {
        let router = plan.routers.get(site.router).context("a site's router is one of the plan's")?;
        let credentials = Credentials::of(folder, &site.certificate_name());
        let named: Vec<_> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
        write!(
            text,
            "[[links]]\ncertificates = {}\nkey = {}\nroots = [{}]\nendpoints = [{}]\nrouters = [\"{}\"]\n\n",
            quoted(&credentials.certificates),
            quoted(&credentials.key),
            quoted(&credentials.roots),
            named.join(", "),
            router.id,
        )?;
        text.push_str(&endpoint_sections(folder, plan, endpoints)?);
    }
    let mut table: toml::Table = text.parse()?;
    merge(&mut table, extra);
    write_file(&folder.config(name), &toml::to_string(&table)?)
}

/// Puts what `extra` says into `table`, key by key.
pub fn merge(table: &mut toml::Table, extra: &toml::Table) {
    for (key, value) in extra {
        match (table.get_mut(key), value) {
            (Some(toml::Value::Table(held)), toml::Value::Table(more)) => merge(held, more),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A section for each of these endpoints, with as many keys as it signs with.
fn endpoint_sections(folder: &Folder, plan: &Plan, endpoints: &[EndpointId]) -> Result<String> {
    let keys: BTreeMap<_, _> = plan.endpoints().map(|endpoint| (&endpoint.id, endpoint.algorithms.len())).collect();
    let mut text = String::new();
    for endpoint in endpoints {
        let count = keys.get(endpoint).copied().unwrap_or(1);
        let keys: Vec<_> = (0..count).map(|key| quoted(&folder.files().endpoint_key(endpoint, key))).collect();
        write!(text, "[[endpoints]]\nid = \"{endpoint}\"\nkeys = [{}]\n\n", keys.join(", "))?;
    }
    Ok(text)
}

fn custody_section(folder: &Folder, router: &RouterPlan) -> String {
    let files = folder.files();
    format!(
        "[custody]\nfolder = {}\nmaster_key = {}\nsigning_keys = [{}]\n\n",
        quoted(&folder.spool(router)),
        quoted(&files.master_key(router)),
        quoted(&files.router_key(router)),
    )
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
