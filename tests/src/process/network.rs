//! A whole network in a temporary folder: signed directory, certificates, router processes.
//!
//! Of two routers the one with the smaller id dials (WIRE 2.1), so the listener starts first and its address is known.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kernpost_codecs::{RouterId, UnixMs};
use rustix::process::Signal;
use tempfile::TempDir;

use super::operator::Operator;
use super::router::{Books, Files, Router, Settings};
use crate::certificates::{Ca, Credentials, Leaf};
use crate::world::{TRUST_DOMAIN, World};

/// What this machine's clock says.
pub fn wall() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMs(u64::try_from(since.as_millis()).unwrap())
}

/// Paths of a certificate chain, its key, and the roots.
#[derive(Debug, Clone)]
pub struct CredentialFiles {
    /// Own chain, PEM.
    pub certificates: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// The CA, PEM.
    pub roots: PathBuf,
}

/// A network and its running routers.
pub struct Network {
    /// The directory's content; [`publish`](Self::publish) puts edits into force.
    pub world: World,
    /// The CA everybody trusts.
    pub ca: Ca,
    routers: Vec<Router>,
    folder: TempDir,
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// A world as of now with nobody in it.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { world: World::new(wall()), ca: Ca::new("Kernpost test CA"), routers: Vec::new(), folder }
    }

    /// The folder everything lies in: `trust-anchor.toml`, `directory/`, `<router>.toml`, `<router>.log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Signs the directory as it stands and writes it where the routers look.
    pub fn publish(&mut self) {
        self.world.write(self.folder.path());
    }

    /// Publishes, and waits until every router has put the new directory into force.
    pub fn publish_and_wait(&mut self) {
        self.publish();
        let serial = self.world.zone.serial - 1;
        for router in &self.routers {
            router.wait_status("the new directory is in force", |status| {
                status["directory"]["zones"][0]["serial"] == serial
            });
        }
    }

    /// A certificate for the link identity `spiffe://kernpost.test/<link>`.
    pub fn credentials(&self, link: &str) -> Credentials {
        self.ca.issue(&Leaf::uri(&format!("spiffe://{TRUST_DOMAIN}/{link}")))
    }

    /// Writes credentials as `<name>.pem` and `<name>.key`, with the CA as `roots.pem`.
    pub fn write_credentials(&self, name: &str, credentials: &Credentials) -> CredentialFiles {
        let at = |file: String| self.folder.path().join(file);
        let stem = name.replace('/', "_");
        let files = CredentialFiles {
            certificates: at(format!("{stem}.pem")),
            key: at(format!("{stem}.key")),
            roots: at("roots.pem".to_owned()),
        };
        std::fs::write(&files.certificates, &credentials.chain_pem).unwrap();
        // Keys are never overwritten by the product; a test that starts a router again may.
        let _ = std::fs::remove_file(&files.key);
        kernpost_router::pki::write_private(&files.key, &credentials.key_pem).unwrap();
        std::fs::write(&files.roots, self.ca.pem()).unwrap();
        files
    }

    /// What a router `de/router/<name>` is configured with unless a test says otherwise: ports chosen by the kernel, two
    /// workers, JSON lines in the log.
    pub fn settings(&self, name: &str) -> Settings {
        let router = format!("router/{name}");
        let files = self.write_credentials(&router, &self.credentials(&router));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let roots: toml::Value = vec![text(&files.roots)].into();
        Settings::new()
            .with("router.id", format!("de/router/{name}"))
            .with("router.workers", 2)
            .with("router.state", text(&Files::below(self.folder.path(), name).state))
            .with("listen.addresses", vec!["[::1]:0"])
            .with("listen.socket_buffer_bytes", 200_000)
            .with("tls.certificates", text(&files.certificates))
            .with("tls.key", text(&files.key))
            .with("tls.roots", roots)
            .with("tls.trust_domain", TRUST_DOMAIN)
            .with("directory.folder", text(&self.folder.path().join("directory")))
            .with("directory.trust_anchor", text(&self.folder.path().join("trust-anchor.toml")))
            .with("directory.poll_ms", 100)
            .with("admin.listen", "[::1]:0")
            .with("log.format", "json")
            .with("log.filter", "info,kernpost=debug")
    }

    /// Over the settings of a router `de/router/<name>`: it takes custody, in `<name>-spool`, and operators reach it at
    /// `<name>.sock`.
    pub fn custody(&self, name: &str) -> Settings {
        let at = |end: &str| self.folder.path().join(format!("{name}{end}")).to_str().unwrap().to_owned();
        let id: RouterId = format!("de/router/{name}").parse().unwrap();
        let signing = self.world.router_keys[&id].to_pkcs8_pem().unwrap();
        for (file, content) in [(at("-master.key"), "4f".repeat(32)), (at("-signing.pem"), signing.to_string())] {
            if !Path::new(&file).exists() {
                kernpost_router::pki::write_private(Path::new(&file), &content).unwrap();
            }
        }
        Settings::new()
            .with("custody.folder", at("-spool"))
            .with("custody.master_key", at("-master.key"))
            .with("custody.signing_keys", vec![at("-signing.pem")])
            .with("custody.least_free_bytes", 1 << 20)
            .with("admin.socket", at(".sock"))
    }

    /// An operator at a router with [`custody`](Self::custody).
    pub fn operator(&self, name: &str) -> Operator {
        Operator::at(&self.folder.path().join(format!("{name}.sock")))
    }

    /// Starts a router of the published directory and waits until it is ready. `more` goes over the usual settings.
    pub fn start(&mut self, name: &str, more: &Settings) {
        let files = Files::below(self.folder.path(), name);
        self.settings(name).overridden_by(more).write(&files.config);
        let mut router = Router::start(&format!("de/router/{name}"), &files.config, &files.state, &files.log);
        router.wait_ready();
        self.routers.push(router);
    }

    /// Kills a router and starts it again with these settings, at the address it had.
    pub fn kill_and_restart(&mut self, name: &str, settings: Settings) {
        let mut router = self.take(name);
        router.process().kill();
        self.start(name, &settings.with("listen.addresses", vec![router.address.to_string()]));
    }

    /// Starts a router that cannot start with these settings; gives what it said before it ended without success.
    pub fn start_in_vain(&mut self, name: &str, more: &Settings) -> String {
        let files = Files::below(self.folder.path(), name);
        self.settings(name).overridden_by(more).write(&files.config);
        let mut process = Router::launch(&format!("de/router/{name}"), &files.config, &files.log);
        assert!(!process.wait().success(), "{}", process.log());
        process.log()
    }

    /// Publishes and starts routers `r1` and `r2`, linked with each other.
    pub fn start_pair(&mut self, more: &Settings) {
        self.publish();
        self.start("r2", more);
        let second = self.router("r2").address;
        self.start("r1", &more.clone().peer("de/router/r2", second));
        for name in ["r1", "r2"] {
            self.router(name).wait_status("the other router is linked", |status| {
                let links = status["links"].as_array().into_iter().flatten();
                links.into_iter().any(|link| link["role"] == "router" && link["ready"] == true)
            });
        }
    }

    /// A running router by its short name.
    #[track_caller]
    pub fn router(&self, name: &str) -> &Router {
        let id = format!("de/router/{name}");
        self.routers.iter().find(|router| router.id == id).unwrap_or_else(|| panic!("{id} does not run"))
    }

    /// Has a router read its directory again (SIGHUP).
    #[track_caller]
    pub fn hang_up(&mut self, name: &str) {
        let id = format!("de/router/{name}");
        let router = self.routers.iter_mut().find(|router| router.id == id);
        router.unwrap_or_else(|| panic!("{id} does not run")).process().signal(Signal::HUP);
    }

    /// Takes a router out of the network, for instance to stop it alone.
    #[track_caller]
    pub fn take(&mut self, name: &str) -> Router {
        let id = format!("de/router/{name}");
        let at = self.routers.iter().position(|router| router.id == id);
        self.routers.remove(at.unwrap_or_else(|| panic!("{id} does not run")))
    }

    /// Stops all routers in an orderly way and gives their books by short name; panics unless every ledger balances.
    #[track_caller]
    pub fn stop(mut self) -> Vec<(String, Books)> {
        self.routers.sort_by(|a, b| a.id.cmp(&b.id));
        self.routers.iter_mut().for_each(|router| router.process().terminate());
        let ended = self.routers.iter_mut().map(|router| {
            let name = router.id.rsplit('/').next().unwrap().to_owned();
            (name, router.await_end())
        });
        ended.collect()
    }
}
