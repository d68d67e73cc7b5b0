//! A small network in a temporary folder: directory, development PKI, configurations, routers in this process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernpost_codecs::{Algorithm, EndpointId, LinkIdentity, SigningKey, UnixMs};
use kernpost_router::check::{Intent, prepare_file};
use kernpost_router::clock::wall;
use kernpost_router::config::TlsProfile;
use kernpost_router::observed::Observed;
use kernpost_router::pki::{DevPkiFiles, DevPkiRequest, write_dev_pki};
use kernpost_router::run::Router;
use kernpost_router::tls::{self, Credentials, Trust};
use kernpost_routing_table::model::{
    Budgets, EndpointEntry, Grant, KeyEntry, Maintainers, RouteEntry, RouterEntry, Scope,
};
use kernpost_routing_table::source::{anchor_to_toml, write_zone};
use kernpost_routing_table::{TrustAnchor, ZoneSnapshot, snapshot};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

const DAY: u64 = 86_400_000;
/// Certificates there are; the last is listed nowhere.
const IDENTITIES: [&str; 5] = ["kern/router/r1", "kern/router/r2", "portal", "amt", "stranger"];

/// Portal `kern/portal` may send anywhere, `kern/amt` is responsible for everything.
pub struct Network {
    folder: TempDir,
    pki: DevPkiFiles,
    maintainers: [SigningKey; 2],
    pub zone: ZoneSnapshot,
    pub portal: SigningKey,
    pub amt: SigningKey,
}

impl Network {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = write_dev_pki(&DevPkiRequest {
            out: folder.path().join("pki"),
            trust_domain: "kern.example".parse().unwrap(),
            identities: IDENTITIES.map(str::to_owned).to_vec(),
            dns: vec![],
            ips: vec![],
        })
        .unwrap();
        let generate = || SigningKey::generate(Algorithm::Esp256).unwrap();
        let (maintainers, portal, amt) = ([generate(), generate()], generate(), generate());
        let mut zone =
            ZoneSnapshot::empty("kern".parse().unwrap(), 1, UnixMs(wall().0 - DAY), UnixMs(wall().0 + 30 * DAY));
        zone.endpoints = vec![endpoint("kern/amt", "amt", &amt), endpoint("kern/portal", "portal", &portal)];
        zone.routers = ["r1", "r2"].map(router_entry).to_vec();
        zone.routes.push(RouteEntry {
            rule: "everything".into(),
            scope: Scope::EVERYTHING,
            valid_from: UnixMs(wall().0 - DAY),
            valid_until: None,
            endpoints: ["kern/amt".parse().unwrap()].into(),
            min_assurance: None,
            encryption_required: false,
        });
        let new = Self { folder, pki, maintainers, zone, portal, amt };
        let anchor = TrustAnchor {
            root_zone: "kern".parse().unwrap(),
            maintainers: Maintainers {
                keys: new.maintainers.iter().map(|key| key.public().clone()).collect(),
                threshold: 2,
            },
            minimum_serial: 1,
        };
        std::fs::create_dir(new.path("zones")).unwrap();
        std::fs::write(new.path("trust-anchor.toml"), anchor_to_toml(&anchor).unwrap()).unwrap();
        new.publish();
        new
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs the zone as it is and puts it into the folder.
    pub fn publish(&self) {
        let keys: Vec<&SigningKey> = self.maintainers.iter().collect();
        let signed = snapshot::sign(&self.zone, &keys).unwrap();
        write_zone(&self.path("zones"), &self.zone.zone, &signed).unwrap();
    }

    /// Starts router `name`; `more` is further TOML.
    pub fn start(&self, name: &str, workers: u16, more: &str) -> Router {
        self.start_at(name, workers, "[::1]:0", more)
    }

    /// Starts router `name` on `listen`.
    pub fn start_at(&self, name: &str, workers: u16, listen: &str, more: &str) -> Router {
        let path = self.configure(name, workers, listen, more);
        let prepared = prepare_file(&path, false, Intent::Run).unwrap_or_else(|wrong| panic!("{wrong}"));
        Router::start(prepared).unwrap()
    }

    /// Writes router `name`'s configuration.
    pub fn configure(&self, name: &str, workers: u16, listen: &str, more: &str) -> PathBuf {
        let config = format!(
            r#"
            [router]
            id = "kern/router/{name}"
            workers = {workers}
            state = "state-{name}"
            dev = true
            [listen]
            addresses = ["{listen}"]
            [tls]
            certificates = "pki/kern_router_{name}.pem"
            key = "pki/kern_router_{name}.key"
            roots = ["pki/ca.pem"]
            trust_domain = "kern.example"
            [directory]
            folder = "zones"
            trust_anchor = "trust-anchor.toml"
            poll_ms = 3600000
            [admin]
            listen = "[::1]:0"
            {more}
            "#
        );
        let path = self.path(&format!("{name}.toml"));
        std::fs::write(&path, config).unwrap();
        path
    }

    /// Two linked routers: r1 dials r2. One endpoint may fill the link between them: the traffic here has one recipient.
    pub async fn start_two(&self, workers: u16) -> [Router; 2] {
        let start = |name: &str, other: &str, at: &str| {
            self.start(name, workers, &format!("{}\n[limits]\nendpoint_share = 1\n", peer(other, at)))
        };
        let second = start("r2", "r1", "[::1]:9");
        let first = start("r1", "r2", &address(&second).to_string());
        linked(&first).await;
        linked(&second).await;
        [first, second]
    }

    pub fn credentials(&self, identity: &str) -> Credentials {
        let leaf = self.pki.leaves.iter().find(|leaf| leaf.identity == identity).unwrap();
        Credentials {
            chain: CertificateDer::pem_file_iter(&leaf.certificates).unwrap().collect::<Result<_, _>>().unwrap(),
            key: PrivateKeyDer::from_pem_file(&leaf.key).unwrap(),
        }
    }

    /// A client's TLS configuration as this software makes it.
    pub fn client_tls(&self, identity: &str) -> rustls::ClientConfig {
        let roots: Vec<_> = CertificateDer::pem_file_iter(&self.pki.ca).unwrap().collect::<Result<_, _>>().unwrap();
        let trust = Arc::new(Trust::new(&roots, vec![]).unwrap());
        tls::client(&self.credentials(identity), &trust, TlsProfile::Default, false).unwrap()
    }
}

fn endpoint(id: &str, identity: &str, key: &SigningKey) -> EndpointEntry {
    EndpointEntry {
        id: id.parse::<EndpointId>().unwrap(),
        keys: vec![KeyEntry {
            key: key.public().clone(),
            not_before: UnixMs(wall().0 - DAY),
            sign_until: UnixMs(wall().0 + 10 * DAY),
            verify_until: UnixMs(wall().0 + 100 * DAY),
            revoked: false,
        }],
        required_algorithms: vec![],
        encryption_keys: vec![],
        identities: vec![identity_of(identity)],
        grants: vec![Grant { scope: Scope::EVERYTHING, max_assurance: None }],
        reply_grant: None,
        budgets: Budgets::default(),
    }
}

fn router_entry(name: &str) -> RouterEntry {
    RouterEntry {
        id: format!("kern/router/{name}").parse().unwrap(),
        identities: vec![identity_of(&format!("kern/router/{name}"))],
        addresses: vec!["[::1]:4713".to_owned()],
        keys: vec![],
        lost: false,
    }
}

/// The configuration of a peer; of `r1` and `r2` the first dials.
pub fn peer(router: &str, address: &str) -> String {
    format!("[[peers]]\nrouter = \"kern/router/{router}\"\naddress = \"{address}\"\n")
}

/// Waits until `router` has a link to another router.
pub async fn linked(router: &Router) {
    until("the routers are linked", router.observed(), |observed| {
        observed.control.load().links.iter().any(|link| link.router && link.ready)
    })
    .await;
}

pub fn identity_of(name: &str) -> LinkIdentity {
    format!("uri:spiffe://kern.example/{name}").parse().unwrap()
}

pub fn address(router: &Router) -> SocketAddr {
    router.addresses().quic[0]
}

/// Waits until what the router shows of itself satisfies `is`.
pub async fn until(what: &str, observed: &Observed, is: impl Fn(&Observed) -> bool) {
    let began = Instant::now();
    while !is(observed) {
        assert!(began.elapsed() < Duration::from_secs(20), "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
