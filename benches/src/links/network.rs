//! One router, a portal and an authority: keys, certificates, directory and configurations in a temporary folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_codecs::{LinkIdentity, UnixMs};
use kernpost_router::clock::wall;
use kernpost_router::pki::{DevPkiFiles, DevPkiRequest, write_dev_pki};
use kernpost_router::state_folder::Addresses;
use kernpost_routing_table::model::{
    Budgets, EndpointEntry, Grant, KeyEntry, Maintainers, RouteEntry, RouterEntry, Scope, TrustAnchor,
};
use kernpost_routing_table::source::{anchor_to_toml, write_zone};
use kernpost_routing_table::{ZoneSnapshot, snapshot};
use tempfile::TempDir;

use super::process::{Running, prefixed};

const DAY_MS: u64 = 86_400_000;
const TRUST_DOMAIN: &str = "bench.example";
/// The router's id and certificate.
pub const ROUTER: &str = "bench/router/r1";
/// The sender.
pub const PORTAL: &str = "bench/portal";
/// The recipient of everything.
pub const AUTHORITY: &str = "bench/authority";
/// How long starting may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The files of a network.
#[derive(Debug)]
pub struct Network {
    folder: TempDir,
    pki: DevPkiFiles,
    maintainers: [SigningKey; 2],
    /// The only zone; [`publish`](Self::publish) signs it as it is.
    pub zone: ZoneSnapshot,
}

impl Network {
    /// Certificates for the router and everybody in `names`, who are the endpoints, too; the authority is responsible for
    /// everything and each may send everywhere.
    pub fn new(names: &[String]) -> Result<Self> {
        let folder = in_memory_folder()?;
        let identities = std::iter::once(ROUTER.to_owned()).chain(names.iter().cloned());
        let pki = write_dev_pki(&DevPkiRequest {
            out: folder.path().join("pki"),
            trust_domain: TRUST_DOMAIN.parse()?,
            identities: identities.collect(),
            dns: vec![],
            ips: vec![],
        })?;
        let maintainers = [SigningKey::generate(Algorithm::Esp256)?, SigningKey::generate(Algorithm::Esp256)?];
        let anchor = TrustAnchor {
            root_zone: "bench".parse()?,
            maintainers: Maintainers {
                keys: maintainers.iter().map(|key| key.public().clone()).collect(),
                threshold: 2,
            },
            minimum_serial: 1,
        };
        let mut zone =
            ZoneSnapshot::empty("bench".parse()?, 1, UnixMs(wall().0 - DAY_MS), UnixMs(wall().0 + 30 * DAY_MS));
        zone.routers.push(RouterEntry {
            id: ROUTER.parse()?,
            identities: vec![identity(ROUTER)?],
            addresses: vec!["[::1]:4713".to_owned()],
            keys: vec![],
            lost: false,
        });
        std::fs::create_dir(folder.path().join("zones"))?;
        std::fs::write(folder.path().join("trust-anchor.toml"), anchor_to_toml(&anchor)?)?;
        let mut network = Self { folder, pki, maintainers, zone };
        for name in names {
            let key = SigningKey::generate(Algorithm::Esp256)?;
            std::fs::write(network.key_file(name), key.to_pkcs8_pem()?)?;
            network.zone.endpoints.push(endpoint(name, &key)?);
        }
        if names.iter().any(|name| name == AUTHORITY) {
            network.zone.routes.push(RouteEntry {
                rule: "everything".into(),
                scope: Scope::EVERYTHING,
                valid_from: UnixMs(wall().0 - DAY_MS),
                valid_until: None,
                endpoints: [AUTHORITY.parse()?].into(),
                min_assurance: None,
                encryption_required: false,
            });
        }
        Ok(network)
    }

    /// A file of this network.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key_file(&self, name: &str) -> PathBuf {
        self.path(&format!("{}.sign.pem", name.replace('/', "_")))
    }

    /// Signs the zone and puts it where everybody looks.
    pub fn publish(&self) -> Result<()> {
        let keys: Vec<&SigningKey> = self.maintainers.iter().collect();
        let signed = snapshot::sign(&self.zone, &keys)?;
        write_zone(&self.path("zones"), &self.zone.zone, &signed)?;
        Ok(())
    }

    /// Writes the router's configuration and starts `program` with it; waits until it has bound.
    pub fn start_router(
        &self,
        program: &Path,
        prefix: &[String],
        listen: &str,
        more: &str,
    ) -> Result<(Running, SocketAddr)> {
        let (certificates, key) = self.credentials(ROUTER)?;
        let config = format!(
            "[router]\nid = \"{ROUTER}\"\nworkers = 1\nstate = \"state\"\ndev = true\n\
             [listen]\naddresses = [\"{listen}\"]\n\
             [tls]\ncertificates = \"{certificates}\"\nkey = \"{key}\"\nroots = [\"{ca}\"]\n\
             trust_domain = \"{TRUST_DOMAIN}\"\n\
             [directory]\nfolder = \"zones\"\ntrust_anchor = \"trust-anchor.toml\"\n\
             [admin]\nlisten = \"[::1]:0\"\n[log]\nfilter = \"warn\"\n{more}",
            ca = self.pki.ca.display(),
        );
        let file = self.path("router.toml");
        std::fs::write(&file, config)?;
        let mut command = prefixed(prefix, program);
        command.arg("run").arg("--config").arg(&file);
        let mut router = Running::start(&mut command, &self.path("router.log"))?;
        let address = self.await_addresses(&mut router)?.quic.first().copied().context("no address was bound")?;
        Ok((router, address))
    }

    fn await_addresses(&self, router: &mut Running) -> Result<Addresses> {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(self.path("state").join("addresses.json"));
            if let Some(addresses) = text.ok().and_then(|text| serde_json::from_str(&text).ok()) {
                return Ok(addresses);
            }
            let ended = std::fs::read_to_string(format!("/proc/{}/stat", router.pid()));
            let runs = ended.is_ok_and(|stat| !stat.contains(") Z "));
            let log = || std::fs::read_to_string(self.path("router.log")).unwrap_or_default();
            ensure!(runs, "the router ended:\n{}", log());
            ensure!(Instant::now() < until, "the router does not bind:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes the configuration of one endpoint process. `line` names its profile.
    pub fn endpoint_config(&self, name: &str, router: SocketAddr, line: &str) -> Result<PathBuf> {
        let links = "";
        self.write_endpoints(name, &[name.to_owned()], router, line, links)
    }

    /// Writes the configuration of a process with a link of its own for each of `names`.
    pub fn crowd_config(&self, names: &[String], router: SocketAddr) -> Result<PathBuf> {
        let mut links = String::new();
        for name in names {
            let (certificates, key) = self.credentials(name)?;
            links.push_str(&format!(
                "[[links]]\ncertificates = \"{certificates}\"\nkey = \"{key}\"\nendpoints = [\"{name}\"]\n"
            ));
        }
        self.write_endpoints("crowd", names, router, "1gbit", &links)
    }

    fn write_endpoints(
        &self,
        file: &str,
        names: &[String],
        router: SocketAddr,
        line: &str,
        links: &str,
    ) -> Result<PathBuf> {
        let first = names.first().context("no endpoint")?;
        let (certificates, key) = self.credentials(first)?;
        let mut text = format!(
            "[tls]\ncertificates = \"{certificates}\"\nkey = \"{key}\"\nroots = [\"{ca}\"]\n\
             trust_domain = \"{TRUST_DOMAIN}\"\n\
             [directory]\nfolder = \"zones\"\ntrust_anchor = \"trust-anchor.toml\"\n\
             [line]\nprofile = \"{line}\"\n\
             [[routers]]\nid = \"{ROUTER}\"\naddress = \"{router}\"\n{links}",
            ca = self.pki.ca.display(),
        );
        for name in names {
            let key = self.key_file(name);
            text.push_str(&format!("[[endpoints]]\nid = \"{name}\"\nkeys = [\"{}\"]\n", key.display()));
        }
        let path = self.path(&format!("{}.toml", file.replace('/', "_")));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Paths of somebody's chain and key.
    pub fn credentials(&self, name: &str) -> Result<(String, String)> {
        let leaf = self.pki.leaves.iter().find(|leaf| leaf.identity == name);
        let leaf = leaf.with_context(|| format!("no certificate for {name}"))?;
        Ok((leaf.certificates.display().to_string(), leaf.key.display().to_string()))
    }

    /// The CA's certificate.
    pub fn ca(&self) -> &Path {
        &self.pki.ca
    }
}

/// In memory where that is possible: what disks do to journals is not what is measured here.
fn in_memory_folder() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? })
}

fn identity(name: &str) -> Result<LinkIdentity> {
    Ok(format!("uri:spiffe://{TRUST_DOMAIN}/{name}").parse()?)
}

fn endpoint(name: &str, key: &SigningKey) -> Result<EndpointEntry> {
    Ok(EndpointEntry {
        id: name.parse()?,
        keys: vec![KeyEntry {
            key: key.public().clone(),
            not_before: UnixMs(wall().0 - DAY_MS),
            sign_until: UnixMs(wall().0 + 10 * DAY_MS),
            verify_until: UnixMs(wall().0 + 60 * DAY_MS),
            revoked: false,
        }],
        required_algorithms: vec![],
        encryption_keys: vec![],
        identities: vec![identity(name)?],
        grants: vec![Grant { scope: Scope::EVERYTHING, max_assurance: None }],
        reply_grant: None,
        budgets: Budgets::default(),
    })
}
