//! What does a zone say? The entries of a zone snapshot as plain values.
//!
//! Meaning and limits are normative in `DIRECTORY.md`. Nothing here is checked beyond what the types carry: a
//! [`ZoneSnapshot`] may be wrong in a hundred ways until [`crate::Directory::verify`] has seen it.

use std::sync::Arc;

use compact_str::CompactString;
use kernpost_codecs::key::{Algorithm, KeyId, PublicKey};
use kernpost_codecs::statement::Assurance;
use kernpost_codecs::{
    Ars, EndpointId, JurisdictionPrefix, LinkIdentity, RouterId, ServiceKey, ServicePrefix, UnixMs, ZoneId,
};

use crate::encryption_key::EncryptionKey;

/// Maintainers' signatures a zone needs when nothing else is stated (DIRECTORY 2.3).
pub const DEFAULT_THRESHOLD: u32 = 2;

/// Most successors in a row (DIRECTORY 9.3).
pub const LONGEST_SUCCESSION: usize = 64;

/// Least distance between a key's sign-until and its verify-until: longest lifetime (30 days) and skew (60 s).
pub const VERIFY_MARGIN_MS: u64 = 30 * 24 * 3_600_000 + 60_000;

/// Everything one zone states (DIRECTORY 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSnapshot {
    /// The zone that speaks.
    pub zone: ZoneId,
    /// Grows with every snapshot and never goes back.
    pub serial: u64,
    /// Not in force before this instant.
    pub not_before: UnixMs,
    /// Past this instant routers keep routing and report themselves degraded.
    pub not_after: UnixMs,
    /// Root zone only: the maintainers from this snapshot on, while the trust anchor still names the ones before.
    pub root: Option<Maintainers>,
    /// Zones below this one.
    pub delegations: Vec<Delegation>,
    /// Routers of this zone.
    pub routers: Vec<RouterEntry>,
    /// Endpoints of this zone.
    pub endpoints: Vec<EndpointEntry>,
    /// Who is responsible for what.
    pub routes: Vec<RouteEntry>,
    /// Routes of other zones to endpoints of this one that this zone agrees to.
    pub acceptances: Vec<Acceptance>,
    /// Territorial succession.
    pub successors: Vec<Successor>,
}

impl ZoneSnapshot {
    /// A snapshot without entries.
    pub fn empty(zone: ZoneId, serial: u64, not_before: UnixMs, not_after: UnixMs) -> Self {
        Self {
            zone,
            serial,
            not_before,
            not_after,
            root: None,
            delegations: Vec::new(),
            routers: Vec::new(),
            endpoints: Vec::new(),
            routes: Vec::new(),
            acceptances: Vec::new(),
            successors: Vec::new(),
        }
    }
}

/// Who signs for a zone, and how many of them it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintainers {
    /// Public keys, one or more per maintainer.
    pub keys: Vec<PublicKey>,
    /// Signatures by different keys that make a snapshot good, 1..=number of keys.
    pub threshold: u32,
}

/// A rectangle of route keys: services below a prefix, in territories below a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Services.
    pub service: ServicePrefix,
    /// Territories.
    pub jurisdiction: JurisdictionPrefix,
}

impl Scope {
    /// All services everywhere.
    pub const EVERYTHING: Self = Self { service: ServicePrefix::ANY, jurisdiction: JurisdictionPrefix::ANY };

    /// True when every route key of `other` is one of `self`.
    pub fn contains(&self, other: &Scope) -> bool {
        self.service.contains(other.service) && self.jurisdiction.contains(other.jurisdiction)
    }

    /// True when the route key is one of `self`.
    pub fn covers(&self, service: ServiceKey, jurisdiction: Ars) -> bool {
        self.service.covers(service) && self.jurisdiction.covers(jurisdiction)
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} × {}", self.service, self.jurisdiction)
    }
}

/// A zone below, what it may speak about and who speaks for it (DIRECTORY 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// The zone below.
    pub zone: ZoneId,
    /// What its routes must stay within.
    pub scopes: Vec<Scope>,
    /// Who signs its snapshots.
    pub maintainers: Maintainers,
}

/// A signing key with its validity (DIRECTORY 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// The key.
    pub key: PublicKey,
    /// Signs nothing before.
    pub not_before: UnixMs,
    /// Last instant at which an ingress router takes new signatures.
    pub sign_until: UnixMs,
    /// Last instant at which signatures count; at least [`VERIFY_MARGIN_MS`] after `sign_until`.
    pub verify_until: UnixMs,
    /// Ends both at once.
    pub revoked: bool,
}

/// A router (DIRECTORY 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterEntry {
    /// Its id, in this zone's namespace.
    pub id: RouterId,
    /// Link identities its certificates carry.
    pub identities: Vec<LinkIdentity>,
    /// Where peers reach it, `host:port` or `[v6]:port`.
    pub addresses: Vec<String>,
    /// Keys that sign custody receipts.
    pub keys: Vec<KeyEntry>,
    /// Its spool is gone: custody receipts of it no longer count.
    pub lost: bool,
}

/// What an endpoint may send to (DIRECTORY 5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Route keys it may send to.
    pub scope: Scope,
    /// Highest level of assurance it may assert there; `None`: it may assert none.
    pub max_assurance: Option<Assurance>,
}

/// Admission budgets of an endpoint, each per second; `None`: the router's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Entries per second.
    pub entries_per_s: Option<u64>,
    /// Bytes (statements and payloads) per second.
    pub bytes_per_s: Option<u64>,
    /// Signature checks per second.
    pub signatures_per_s: Option<u64>,
}

/// An endpoint (DIRECTORY 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointEntry {
    /// Its id, in this zone's namespace.
    pub id: EndpointId,
    /// Signing keys.
    pub keys: Vec<KeyEntry>,
    /// Algorithms that must all be present on its signatures, at most two; empty: any one of its keys.
    pub required_algorithms: Vec<Algorithm>,
    /// Keys others may encrypt for, the preferred first.
    pub encryption_keys: Vec<EncryptionKey>,
    /// Link identities that may attach it.
    pub identities: Vec<LinkIdentity>,
    /// What it may send to.
    pub grants: Vec<Grant>,
    /// May it send to an explicit recipient in reply? `None`: if any route names it.
    pub reply_grant: Option<bool>,
    /// Admission budgets.
    pub budgets: Budgets,
}

/// A responsibility (DIRECTORY 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    /// Name of the rule, unique in its zone, 1..=64 visible ASCII characters. Short ones, as most are, take no memory of their own.
    pub rule: CompactString,
    /// Route keys it answers for.
    pub scope: Scope,
    /// In force from this instant on.
    pub valid_from: UnixMs,
    /// No longer in force from this instant on; `None`: no end.
    pub valid_until: Option<UnixMs>,
    /// Who is responsible, the preferred first. Routes of one snapshot with the same list share it.
    pub endpoints: Arc<[EndpointId]>,
    /// Messages must assert at least this.
    pub min_assurance: Option<Assurance>,
    /// Messages must be encrypted for the recipient.
    pub encryption_required: bool,
}

impl RouteEntry {
    /// True when the rule is in force at `at`.
    pub fn in_force(&self, at: UnixMs) -> bool {
        self.valid_from <= at && self.valid_until.is_none_or(|end| at < end)
    }

    /// The next instant after `at` at which it begins or ends; `None`: neither happens any more.
    pub fn next_change(&self, at: UnixMs) -> Option<UnixMs> {
        [Some(self.valid_from), self.valid_until].into_iter().flatten().filter(|change| *change > at).min()
    }
}

/// Consent to routes of another zone (DIRECTORY 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// The zone whose routes are accepted.
    pub zone: ZoneId,
    /// Those routes must stay within this.
    pub scope: Scope,
    /// The endpoint of this zone they may name.
    pub endpoint: EndpointId,
}

/// A territory whose ARS ended (DIRECTORY 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Successor {
    /// The ARS that ended.
    pub old: Ars,
    /// Where its messages go.
    pub new: Ars,
    /// From this instant on.
    pub from: UnixMs,
}

/// What an operator installs out of band to trust a directory (DIRECTORY 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustAnchor {
    /// The root zone, one label.
    pub root_zone: ZoneId,
    /// Who signs for it.
    pub maintainers: Maintainers,
    /// Root snapshots with a lower serial are refused.
    pub minimum_serial: u64,
}

impl Maintainers {
    /// The maintainer key with this id.
    pub fn key(&self, id: &KeyId) -> Option<&PublicKey> {
        self.keys.iter().find(|key| key.id() == *id)
    }
}
