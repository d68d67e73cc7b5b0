//! A plan's directory for real: keys for every endpoint, router and maintainer, signed zones, a trust anchor.
//!
//! The plan says who is responsible; this makes it verifiable and writes it where routers and endpoints read it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kernpost_codecs::key::{Algorithm, SigningKey};
use kernpost_codecs::{EndpointId, JurisdictionPrefix, UnixMs, ZoneId};
use kernpost_routing_table::model::{
    Budgets, Delegation, EndpointEntry, Grant, KeyEntry, Maintainers, RouteEntry, RouterEntry, Scope, TrustAnchor,
    VERIFY_MARGIN_MS, ZoneSnapshot,
};
use kernpost_routing_table::{SerialFloor, Table, snapshot, source};
use rand::RngCore as _;

use super::plan::{EndpointPlan, GrantPlan, Plan, RoutePlan, RouterPlan, ZonePlan};

/// Signatures by different maintainers that a zone needs.
const THRESHOLD: u32 = 2;
/// Bytes of the key that wraps a spool's keys.
const MASTER_KEY_BYTES: usize = 32;
/// Zones with more routes than this are not written for people to read.
const MOST_ROUTES_FOR_READERS: usize = 100_000;
/// How long the directory and its keys are good.
const DAYS: u64 = 30;
const DAY_MS: u64 = 24 * 3_600_000;
/// Clocks may differ: everything is valid from an hour ago.
const EARLIER_MS: u64 = 3_600_000;

/// Where a written directory lies.
#[derive(Debug, Clone)]
pub struct Files {
    /// Folder of signed zones, `<zone>.zone`.
    pub zones: PathBuf,
    /// The trust anchor.
    pub trust_anchor: PathBuf,
    /// Folder of what the maintainers write, `<zone>.toml`.
    pub sources: PathBuf,
    /// Folder of private keys.
    pub keys: PathBuf,
}

/// The instants between which the directory holds.
#[derive(Debug, Clone, Copy)]
struct Validity {
    from: UnixMs,
    until: UnixMs,
}

impl Files {
    /// The places of a directory below `folder`.
    pub fn below(folder: &Path) -> Self {
        Self {
            zones: folder.join("directory"),
            trust_anchor: folder.join("directory").join(source::ANCHOR_FILE),
            sources: folder.join("source"),
            keys: folder.join("keys"),
        }
    }

    /// Where the private key of an endpoint lies; `number` counts its keys from 0.
    pub fn endpoint_key(&self, id: &EndpointId, number: usize) -> PathBuf {
        let name = id.as_str().replace('/', "_");
        self.keys.join(if number == 0 { format!("{name}.pem") } else { format!("{name}.{number}.pem") })
    }

    /// Where the private key of a router lies.
    pub fn router_key(&self, router: &RouterPlan) -> PathBuf {
        self.keys.join(format!("router_{}.pem", router.name()))
    }

    /// Where the master key of its spool lies.
    pub fn master_key(&self, router: &RouterPlan) -> PathBuf {
        self.keys.join(format!("master_{}.key", router.name()))
    }
}

/// Makes every key, signs every zone by two maintainers, and writes all of it below `folder`.
///
/// # Errors
/// A key cannot be made or a file cannot be written.
pub fn write(plan: &Plan, folder: &Path, now: UnixMs) -> Result<Files> {
    let files = Files::below(folder);
    for place in [&files.zones, &files.sources, &files.keys] {
        fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
    }
    let validity =
        Validity { from: UnixMs(now.0.saturating_sub(EARLIER_MS)), until: UnixMs(now.0.saturating_add(DAYS * DAY_MS)) };
    let maintainers = maintainers(plan)?;
    for zone in &plan.zones {
        let snapshot = snapshot_of(plan, zone, &files, validity, &maintainers)?;
        let keys = maintainers.get(&zone.zone).context("every zone has maintainers")?;
        let signers: Vec<_> = keys.iter().collect();
        let signed = snapshot::sign(&snapshot, &signers).with_context(|| format!("cannot sign zone {}", zone.zone))?;
        source::write_zone(&files.zones, &zone.zone, &signed)?;
        write_source(&files, &snapshot)?;
        write_maintainers(&files, &zone.zone, keys)?;
    }
    write_anchor(plan, &files, &maintainers)?;
    Ok(files)
}

/// Reads a written directory as routers do: verified against its anchor, compiled for now.
///
/// # Errors
/// It is not what routers would believe.
pub fn compiled(files: &Files) -> Result<Table> {
    let now = super::now();
    let directory = source::load_dir(&files.zones)?.verify(&SerialFloor::new(), now)?;
    Ok(Table::compile(&directory, now, 1)?)
}

type MaintainerKeys = BTreeMap<ZoneId, Vec<SigningKey>>;

fn maintainers(plan: &Plan) -> Result<MaintainerKeys> {
    let zones = plan.zones.iter();
    zones.map(|zone| Ok((zone.zone.clone(), (0..THRESHOLD).map(|_| new_key()).collect::<Result<_>>()?))).collect()
}

fn new_key() -> Result<SigningKey> {
    SigningKey::generate(Algorithm::Esp256).context("cannot make a key")
}

fn public(keys: &[SigningKey]) -> Maintainers {
    Maintainers { keys: keys.iter().map(|key| key.public().clone()).collect(), threshold: THRESHOLD }
}

fn snapshot_of(
    plan: &Plan,
    zone: &ZonePlan,
    files: &Files,
    validity: Validity,
    maintainers: &MaintainerKeys,
) -> Result<ZoneSnapshot> {
    let mut snapshot = ZoneSnapshot::empty(zone.zone.clone(), 1, validity.from, validity.until);
    let is_root = zone.delegated.is_none();
    if is_root {
        snapshot.delegations = delegations(plan, maintainers)?;
        let routers = plan.routers.iter().map(|router| router_entry(router, files, validity));
        snapshot.routers = routers.collect::<Result<_>>()?;
    }
    let endpoints = zone.endpoints.iter().map(|endpoint| endpoint_entry(endpoint, files, validity));
    snapshot.endpoints = endpoints.collect::<Result<_>>()?;
    snapshot.routes = zone.routes.iter().map(|route| route_entry(route, validity)).collect();
    Ok(snapshot)
}

fn delegations(plan: &Plan, maintainers: &MaintainerKeys) -> Result<Vec<Delegation>> {
    let below = plan.zones.iter().filter_map(|zone| zone.delegated.map(|jurisdiction| (zone, jurisdiction)));
    below.map(|(zone, jurisdiction)| delegation(zone, jurisdiction, maintainers)).collect()
}

fn delegation(zone: &ZonePlan, jurisdiction: JurisdictionPrefix, maintainers: &MaintainerKeys) -> Result<Delegation> {
    let keys = maintainers.get(&zone.zone).context("every zone has maintainers")?;
    Ok(Delegation {
        zone: zone.zone.clone(),
        scopes: vec![Scope { service: "99".parse()?, jurisdiction }],
        maintainers: public(keys),
    })
}

fn router_entry(router: &RouterPlan, files: &Files, validity: Validity) -> Result<RouterEntry> {
    let key = new_key()?;
    write_key(&files.router_key(router), &key)?;
    if router.custody {
        let mut master = [0; MASTER_KEY_BYTES];
        rand::rng().fill_bytes(&mut master);
        write_private(&files.master_key(router), &master)?;
    }
    Ok(RouterEntry {
        id: router.id.clone(),
        identities: vec![router.identity.clone()],
        addresses: Vec::new(),
        keys: vec![key_entry(&key, validity)],
        lost: false,
    })
}

fn endpoint_entry(endpoint: &EndpointPlan, files: &Files, validity: Validity) -> Result<EndpointEntry> {
    let mut keys = Vec::with_capacity(endpoint.algorithms.len());
    for (number, algorithm) in endpoint.algorithms.iter().enumerate() {
        let key = SigningKey::generate(*algorithm).context("cannot make a key")?;
        write_key(&files.endpoint_key(&endpoint.id, number), &key)?;
        keys.push(key_entry(&key, validity));
    }
    let required = if keys.len() > 1 { endpoint.algorithms.clone() } else { Vec::new() };
    Ok(EndpointEntry {
        id: endpoint.id.clone(),
        keys,
        required_algorithms: required,
        encryption_keys: Vec::new(),
        identities: vec![endpoint.site.identity()?],
        grants: endpoint.grants.iter().map(grant).collect(),
        reply_grant: None,
        // The router's own budgets hold: what a load test asks for is set there.
        budgets: Budgets::default(),
    })
}

fn grant(plan: &GrantPlan) -> Grant {
    Grant {
        scope: Scope { service: plan.service, jurisdiction: plan.jurisdiction },
        max_assurance: Some(plan.assurance),
    }
}

fn route_entry(route: &RoutePlan, validity: Validity) -> RouteEntry {
    RouteEntry {
        rule: route.rule.as_str().into(),
        scope: Scope { service: route.service, jurisdiction: route.jurisdiction },
        valid_from: validity.from,
        valid_until: None,
        endpoints: [route.endpoint.clone()].into(),
        min_assurance: route.assurance,
        encryption_required: false,
    }
}

fn key_entry(key: &SigningKey, validity: Validity) -> KeyEntry {
    KeyEntry {
        key: key.public().clone(),
        not_before: validity.from,
        sign_until: validity.until,
        verify_until: UnixMs(validity.until.0.saturating_add(VERIFY_MARGIN_MS)),
        revoked: false,
    }
}

fn write_source(files: &Files, snapshot: &ZoneSnapshot) -> Result<()> {
    if snapshot.routes.len() > MOST_ROUTES_FOR_READERS {
        return Ok(());
    }
    let path = files.sources.join(format!("{}.toml", snapshot.zone));
    fs::write(&path, source::zone_to_toml(snapshot)?).with_context(|| format!("cannot write {}", path.display()))
}

fn write_maintainers(files: &Files, zone: &ZoneId, keys: &[SigningKey]) -> Result<()> {
    for (number, key) in keys.iter().enumerate() {
        write_key(&files.keys.join(format!("maintainer_{zone}_{}.pem", number + 1)), key)?;
    }
    Ok(())
}

fn write_key(path: &Path, key: &SigningKey) -> Result<()> {
    write_private(path, key.to_pkcs8_pem()?.as_bytes())
}

fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(content).with_context(|| format!("cannot write {}", path.display()))
}

fn write_anchor(plan: &Plan, files: &Files, maintainers: &MaintainerKeys) -> Result<()> {
    let root = plan.zones.first().context("the plan has a root zone")?;
    let keys = maintainers.get(&root.zone).context("every zone has maintainers")?;
    let anchor = TrustAnchor { root_zone: root.zone.clone(), maintainers: public(keys), minimum_serial: 1 };
    let text = source::anchor_to_toml(&anchor)?;
    fs::write(&files.trust_anchor, text).with_context(|| format!("cannot write {}", files.trust_anchor.display()))
}
