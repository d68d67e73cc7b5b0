//! How does a maintainer write a zone? One TOML file, ids and prefixes as text, keys as hex COSE_Key, instants as
//! RFC 3339 with an offset. Unknown fields are refused: a misspelt one must not be silently empty.
//!
//! The types here mirror `model.rs` field by field; DIRECTORY 11 has an example.

use std::fmt::Display;
use std::str::FromStr;

use kernpost_codecs::key::{Algorithm, PublicKey};
use kernpost_codecs::statement::Assurance;
use kernpost_codecs::{Ars, EndpointId, JurisdictionPrefix, LinkIdentity, RouterId, ServicePrefix, UnixMs, ZoneId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encryption_key::EncryptionKey;
use crate::instant::{instant_text, parse_instant};
use crate::model::{
    Acceptance, Budgets, DEFAULT_THRESHOLD, Delegation, EndpointEntry, Grant, KeyEntry, Maintainers, RouteEntry,
    RouterEntry, Scope, Successor, TrustAnchor, ZoneSnapshot,
};

/// A value written as its text form.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// An instant: a TOML date-time with offset, or the same as text.
struct Instant(UnixMs);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = instant_text(self.0);
        match text.parse::<toml::value::Datetime>() {
            Ok(datetime) => datetime.serialize(serializer),
            Err(_) => text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Datetime(toml::value::Datetime),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Datetime(datetime) => datetime.to_string(),
            Written::Text(text) => text,
        };
        parse_instant(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A public key as hex of its COSE_Key.
struct HexKey<T>(T);

/// A key that has a COSE_Key form.
trait CoseKeyForm: Sized {
    fn write(&self) -> Vec<u8>;
    fn read(bytes: &[u8]) -> Result<Self, String>;
}

impl CoseKeyForm for PublicKey {
    fn write(&self) -> Vec<u8> {
        self.to_cose_key()
    }
    fn read(bytes: &[u8]) -> Result<Self, String> {
        Self::from_cose_key(bytes).map_err(|error| error.to_string())
    }
}

impl CoseKeyForm for EncryptionKey {
    fn write(&self) -> Vec<u8> {
        self.cose_key().to_vec()
    }
    fn read(bytes: &[u8]) -> Result<Self, String> {
        Self::from_cose_key(bytes).map_err(|error| error.to_string())
    }
}

impl<T: CoseKeyForm> Serialize for HexKey<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0.write()))
    }
}

impl<'de, T: CoseKeyForm> Deserialize<'de> for HexKey<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(&text).map_err(|error| format!("key is not hex of a COSE_Key: {error}"));
        bytes.and_then(|bytes| T::read(&bytes)).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A zone file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ZoneForm {
    zone: Text<ZoneId>,
    serial: u64,
    not_before: Instant,
    not_after: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<MaintainersForm>,
    #[serde(default, rename = "delegation", skip_serializing_if = "Vec::is_empty")]
    delegations: Vec<DelegationForm>,
    #[serde(default, rename = "router", skip_serializing_if = "Vec::is_empty")]
    routers: Vec<RouterForm>,
    #[serde(default, rename = "endpoint", skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<EndpointForm>,
    #[serde(default, rename = "route", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<RouteForm>,
    #[serde(default, rename = "acceptance", skip_serializing_if = "Vec::is_empty")]
    acceptances: Vec<AcceptanceForm>,
    #[serde(default, rename = "successor", skip_serializing_if = "Vec::is_empty")]
    successors: Vec<SuccessorForm>,
}

/// A trust anchor file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnchorForm {
    root_zone: Text<ZoneId>,
    keys: Vec<HexKey<PublicKey>>,
    #[serde(default = "default_threshold")]
    threshold: u32,
    #[serde(default)]
    minimum_serial: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MaintainersForm {
    keys: Vec<HexKey<PublicKey>>,
    #[serde(default = "default_threshold")]
    threshold: u32,
}

fn default_threshold() -> u32 {
    DEFAULT_THRESHOLD
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeForm {
    service: Text<ServicePrefix>,
    jurisdiction: Text<JurisdictionPrefix>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DelegationForm {
    zone: Text<ZoneId>,
    scopes: Vec<ScopeForm>,
    keys: Vec<HexKey<PublicKey>>,
    #[serde(default = "default_threshold")]
    threshold: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    key: HexKey<PublicKey>,
    not_before: Instant,
    sign_until: Instant,
    verify_until: Instant,
    #[serde(default, skip_serializing_if = "is_false")]
    revoked: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouterForm {
    id: Text<RouterId>,
    #[serde(default)]
    identities: Vec<Text<LinkIdentity>>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    keys: Vec<KeyForm>,
    #[serde(default, skip_serializing_if = "is_false")]
    lost: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantForm {
    service: Text<ServicePrefix>,
    jurisdiction: Text<JurisdictionPrefix>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_assurance: Option<Level>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct BudgetsForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries_per_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes_per_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signatures_per_s: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointForm {
    id: Text<EndpointId>,
    #[serde(default)]
    identities: Vec<Text<LinkIdentity>>,
    #[serde(default)]
    keys: Vec<KeyForm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    required_algorithms: Vec<Text<Algorithm>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    encryption_keys: Vec<HexKey<EncryptionKey>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grants: Vec<GrantForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_grant: Option<bool>,
    #[serde(default, skip_serializing_if = "BudgetsForm::is_default")]
    budgets: BudgetsForm,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteForm {
    rule: String,
    service: Text<ServicePrefix>,
    jurisdiction: Text<JurisdictionPrefix>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_from: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_until: Option<Instant>,
    endpoints: Vec<Text<EndpointId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_assurance: Option<Level>,
    #[serde(default, skip_serializing_if = "is_false")]
    encryption_required: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptanceForm {
    zone: Text<ZoneId>,
    service: Text<ServicePrefix>,
    jurisdiction: Text<JurisdictionPrefix>,
    endpoint: Text<EndpointId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SuccessorForm {
    old: Text<Ars>,
    new: Text<Ars>,
    from: Instant,
}

/// A level of assurance by its name.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Low,
    Substantial,
    High,
}

impl From<Assurance> for Level {
    fn from(level: Assurance) -> Self {
        match level {
            Assurance::Low => Self::Low,
            Assurance::Substantial => Self::Substantial,
            Assurance::High => Self::High,
        }
    }
}

impl From<Level> for Assurance {
    fn from(level: Level) -> Self {
        match level {
            Level::Low => Self::Low,
            Level::Substantial => Self::Substantial,
            Level::High => Self::High,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl BudgetsForm {
    fn is_default(&self) -> bool {
        self.entries_per_s.is_none() && self.bytes_per_s.is_none() && self.signatures_per_s.is_none()
    }
}

fn texts<T>(values: Vec<Text<T>>) -> Vec<T> {
    values.into_iter().map(|value| value.0).collect()
}

fn as_texts<T: Clone>(values: &[T]) -> Vec<Text<T>> {
    values.iter().cloned().map(Text).collect()
}

fn hex_keys<T: Clone>(keys: &[T]) -> Vec<HexKey<T>> {
    keys.iter().cloned().map(HexKey).collect()
}

fn each<'a, A, B: From<&'a A>>(values: &'a [A]) -> Vec<B> {
    values.iter().map(B::from).collect()
}

fn all<A, B: From<A>>(values: Vec<A>) -> Vec<B> {
    values.into_iter().map(B::from).collect()
}

impl From<ZoneForm> for ZoneSnapshot {
    fn from(form: ZoneForm) -> Self {
        Self {
            zone: form.zone.0,
            serial: form.serial,
            not_before: form.not_before.0,
            not_after: form.not_after.0,
            root: form.root.map(|root| maintainers(root.keys, root.threshold)),
            delegations: all(form.delegations),
            routers: all(form.routers),
            endpoints: all(form.endpoints),
            routes: all(form.routes),
            acceptances: all(form.acceptances),
            successors: all(form.successors),
        }
    }
}

impl From<&ZoneSnapshot> for ZoneForm {
    fn from(zone: &ZoneSnapshot) -> Self {
        let root = zone.root.as_ref();
        Self {
            zone: Text(zone.zone.clone()),
            serial: zone.serial,
            not_before: Instant(zone.not_before),
            not_after: Instant(zone.not_after),
            root: root.map(|root| MaintainersForm { keys: hex_keys(&root.keys), threshold: root.threshold }),
            delegations: each(&zone.delegations),
            routers: each(&zone.routers),
            endpoints: each(&zone.endpoints),
            routes: each(&zone.routes),
            acceptances: each(&zone.acceptances),
            successors: each(&zone.successors),
        }
    }
}

fn maintainers(keys: Vec<HexKey<PublicKey>>, threshold: u32) -> Maintainers {
    Maintainers { keys: keys.into_iter().map(|key| key.0).collect(), threshold }
}

impl From<AnchorForm> for TrustAnchor {
    fn from(form: AnchorForm) -> Self {
        Self {
            root_zone: form.root_zone.0,
            maintainers: maintainers(form.keys, form.threshold),
            minimum_serial: form.minimum_serial,
        }
    }
}

impl From<&TrustAnchor> for AnchorForm {
    fn from(anchor: &TrustAnchor) -> Self {
        Self {
            root_zone: Text(anchor.root_zone.clone()),
            keys: hex_keys(&anchor.maintainers.keys),
            threshold: anchor.maintainers.threshold,
            minimum_serial: anchor.minimum_serial,
        }
    }
}

impl From<DelegationForm> for Delegation {
    fn from(form: DelegationForm) -> Self {
        let scopes = form.scopes.into_iter().map(|scope| scope_of(&scope.service, &scope.jurisdiction)).collect();
        Self { zone: form.zone.0, scopes, maintainers: maintainers(form.keys, form.threshold) }
    }
}

impl From<&Delegation> for DelegationForm {
    fn from(delegation: &Delegation) -> Self {
        let scopes = delegation.scopes.iter();
        Self {
            zone: Text(delegation.zone.clone()),
            scopes: scopes
                .map(|s| ScopeForm { service: Text(s.service), jurisdiction: Text(s.jurisdiction) })
                .collect(),
            keys: hex_keys(&delegation.maintainers.keys),
            threshold: delegation.maintainers.threshold,
        }
    }
}

fn scope_of(service: &Text<ServicePrefix>, jurisdiction: &Text<JurisdictionPrefix>) -> Scope {
    Scope { service: service.0, jurisdiction: jurisdiction.0 }
}

impl From<KeyForm> for KeyEntry {
    fn from(form: KeyForm) -> Self {
        Self {
            key: form.key.0,
            not_before: form.not_before.0,
            sign_until: form.sign_until.0,
            verify_until: form.verify_until.0,
            revoked: form.revoked,
        }
    }
}

impl From<&KeyEntry> for KeyForm {
    fn from(entry: &KeyEntry) -> Self {
        Self {
            key: HexKey(entry.key.clone()),
            not_before: Instant(entry.not_before),
            sign_until: Instant(entry.sign_until),
            verify_until: Instant(entry.verify_until),
            revoked: entry.revoked,
        }
    }
}

impl From<RouterForm> for RouterEntry {
    fn from(form: RouterForm) -> Self {
        Self {
            id: form.id.0,
            identities: texts(form.identities),
            addresses: form.addresses,
            keys: all(form.keys),
            lost: form.lost,
        }
    }
}

impl From<&RouterEntry> for RouterForm {
    fn from(router: &RouterEntry) -> Self {
        Self {
            id: Text(router.id.clone()),
            identities: as_texts(&router.identities),
            addresses: router.addresses.clone(),
            keys: each(&router.keys),
            lost: router.lost,
        }
    }
}

impl From<GrantForm> for Grant {
    fn from(form: GrantForm) -> Self {
        Self {
            scope: scope_of(&form.service, &form.jurisdiction),
            max_assurance: form.max_assurance.map(Assurance::from),
        }
    }
}

impl From<&Grant> for GrantForm {
    fn from(grant: &Grant) -> Self {
        Self {
            service: Text(grant.scope.service),
            jurisdiction: Text(grant.scope.jurisdiction),
            max_assurance: grant.max_assurance.map(Level::from),
        }
    }
}

impl From<EndpointForm> for EndpointEntry {
    fn from(form: EndpointForm) -> Self {
        Self {
            id: form.id.0,
            keys: all(form.keys),
            required_algorithms: texts(form.required_algorithms),
            encryption_keys: form.encryption_keys.into_iter().map(|key| key.0).collect(),
            identities: texts(form.identities),
            grants: all(form.grants),
            reply_grant: form.reply_grant,
            budgets: Budgets {
                entries_per_s: form.budgets.entries_per_s,
                bytes_per_s: form.budgets.bytes_per_s,
                signatures_per_s: form.budgets.signatures_per_s,
            },
        }
    }
}

impl From<&EndpointEntry> for EndpointForm {
    fn from(endpoint: &EndpointEntry) -> Self {
        Self {
            id: Text(endpoint.id.clone()),
            identities: as_texts(&endpoint.identities),
            keys: each(&endpoint.keys),
            required_algorithms: as_texts(&endpoint.required_algorithms),
            encryption_keys: hex_keys(&endpoint.encryption_keys),
            grants: each(&endpoint.grants),
            reply_grant: endpoint.reply_grant,
            budgets: BudgetsForm {
                entries_per_s: endpoint.budgets.entries_per_s,
                bytes_per_s: endpoint.budgets.bytes_per_s,
                signatures_per_s: endpoint.budgets.signatures_per_s,
            },
        }
    }
}

impl From<RouteForm> for RouteEntry {
    fn from(form: RouteForm) -> Self {
        Self {
            rule: form.rule.into(),
            scope: scope_of(&form.service, &form.jurisdiction),
            valid_from: form.valid_from.map_or(UnixMs(0), |from| from.0),
            valid_until: form.valid_until.map(|until| until.0),
            endpoints: texts(form.endpoints).into(),
            min_assurance: form.min_assurance.map(Assurance::from),
            encryption_required: form.encryption_required,
        }
    }
}

impl From<&RouteEntry> for RouteForm {
    fn from(route: &RouteEntry) -> Self {
        Self {
            rule: route.rule.to_string(),
            service: Text(route.scope.service),
            jurisdiction: Text(route.scope.jurisdiction),
            valid_from: (route.valid_from.0 > 0).then_some(Instant(route.valid_from)),
            valid_until: route.valid_until.map(Instant),
            endpoints: as_texts(&route.endpoints),
            min_assurance: route.min_assurance.map(Level::from),
            encryption_required: route.encryption_required,
        }
    }
}

impl From<AcceptanceForm> for Acceptance {
    fn from(form: AcceptanceForm) -> Self {
        let scope = scope_of(&form.service, &form.jurisdiction);
        Self { zone: form.zone.0, scope, endpoint: form.endpoint.0 }
    }
}

impl From<&Acceptance> for AcceptanceForm {
    fn from(acceptance: &Acceptance) -> Self {
        Self {
            zone: Text(acceptance.zone.clone()),
            service: Text(acceptance.scope.service),
            jurisdiction: Text(acceptance.scope.jurisdiction),
            endpoint: Text(acceptance.endpoint.clone()),
        }
    }
}

impl From<SuccessorForm> for Successor {
    fn from(form: SuccessorForm) -> Self {
        Self { old: form.old.0, new: form.new.0, from: form.from.0 }
    }
}

impl From<&Successor> for SuccessorForm {
    fn from(successor: &Successor) -> Self {
        Self { old: Text(successor.old), new: Text(successor.new), from: Instant(successor.from) }
    }
}
