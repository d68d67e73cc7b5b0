//! What is wrong with a directory, where, and what is to be done about it?
//!
//! A directory is refused as a whole, with everything that is wrong with it: each error names zone and entry.

use std::fmt;

use kernpost_codecs::key::{Algorithm, KeyId};
use kernpost_codecs::{Ars, Digest, LinkIdentity, ZoneId};

use crate::model::Scope;
use crate::snapshot::SnapshotError;

/// Errors kept in one [`DirectoryErrors`]; further ones are counted only.
pub const MOST_ERRORS: usize = 10_000;

/// One thing that is wrong with a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryError {
    /// The zone at fault; `None` when not even that is known.
    pub zone: Option<ZoneId>,
    /// The entry at fault, by kind and name ("route leipzig-gewerbe"); empty for the zone itself.
    pub entry: String,
    /// What is wrong and what to do.
    pub fault: DirectoryFault,
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(zone) = &self.zone {
            write!(f, "zone {zone}")?;
        }
        if self.zone.is_some() && !self.entry.is_empty() {
            f.write_str(", ")?;
        }
        write!(f, "{}: {}", self.entry, self.fault)
    }
}

/// Everything that is wrong with a directory: at least one error, at most [`MOST_ERRORS`] in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryErrors {
    errors: Vec<DirectoryError>,
    more: usize,
}

impl DirectoryErrors {
    /// The errors, in the order of the zones given.
    pub fn iter(&self) -> impl Iterator<Item = &DirectoryError> {
        self.errors.iter()
    }

    /// How many errors there are, also those not kept.
    pub fn count(&self) -> usize {
        self.errors.len().saturating_add(self.more)
    }
}

impl fmt::Display for DirectoryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.errors.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for DirectoryErrors {}

/// Collects errors while a directory is checked.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    errors: Vec<DirectoryError>,
    more: usize,
}

impl Findings {
    pub(crate) fn add(&mut self, zone: Option<&ZoneId>, entry: impl fmt::Display, fault: DirectoryFault) {
        if self.errors.len() < MOST_ERRORS {
            self.errors.push(DirectoryError { zone: zone.cloned(), entry: entry.to_string(), fault });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// `value`, unless something was found.
    pub(crate) fn or<T>(self, value: T) -> Result<T, DirectoryErrors> {
        if self.errors.is_empty() { Ok(value) } else { Err(DirectoryErrors { errors: self.errors, more: self.more }) }
    }
}

/// What is wrong and what to do. Clauses in DIRECTORY.md.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum DirectoryFault {
    // The snapshot as a document.
    #[error("{0}")]
    Snapshot(SnapshotError),
    #[error("two snapshots of this zone were given (serials {first} and {second}); keep the newer one")]
    ZoneTwice { first: u64, second: u64 },
    #[error("there is no snapshot of the root zone; add {zone}.zone to the directory")]
    RootMissing { zone: ZoneId },
    #[error(
        "signed by {valid} of {known} maintainers, {needed} are needed{}; have further maintainers cosign it",
        bad_keys(.invalid)
    )]
    TooFewSignatures { valid: usize, known: usize, needed: u32, invalid: Vec<KeyId> },
    #[error(
        "signed by {valid} of the {known} new root maintainers it names, {needed} are needed{}; \
         have them cosign it too", bad_keys(.invalid)
    )]
    TooFewNewRootSignatures { valid: usize, known: usize, needed: u32, invalid: Vec<KeyId> },
    #[error("serial {found} is older than {seen}, which was in force before; fetch the current snapshot")]
    OlderSerial { found: u64, seen: u64 },
    #[error("serial {found} is below {minimum}, the minimum of the trust anchor; fetch the current snapshot")]
    BelowAnchor { found: u64, minimum: u64 },
    #[error(
        "serial {serial} was seen before with digest {seen}, now it has {found}: two documents with one serial; \
         ask the zone's maintainers which one is theirs and have them publish a higher serial"
    )]
    Equivocation { serial: u64, seen: Digest, found: Digest },
    #[error("is not in force before {not_before} (it is {now} now); keep the previous snapshot until then")]
    NotYetInForce { not_before: String, now: String },
    #[error("not after ({not_after}) is not later than not before ({not_before}); correct the dates")]
    Dates { not_before: String, not_after: String },
    #[error("was in the directory before (serial {seen}) and is still delegated, but its snapshot is missing; add it")]
    SnapshotMissing { seen: u64 },

    // The tree.
    #[error("no zone that is reached from the root zone delegates to it; delegate to it or remove its snapshot")]
    NotDelegated,
    #[error("is delegated to by {first} already; a zone has one parent, drop one delegation")]
    DelegatedTwice { first: ZoneId },
    #[error("delegates to the root zone or to itself; drop the delegation")]
    DelegatedUpward,
    #[error(
        "scope {scope} is not within what is delegated to this zone; narrow it or have the parent widen its scopes"
    )]
    ScopeTooWide { scope: Scope },
    #[error("delegates nothing; state at least one scope")]
    NoScope,
    #[error("threshold {threshold} with {keys} keys; it has to be 1 to the number of keys")]
    Threshold { threshold: u32, keys: usize },
    #[error("maintainer key {key} is listed twice; drop one")]
    MaintainerTwice { key: KeyId },
    #[error("only the root zone names new root maintainers; drop them")]
    RootKeysElsewhere,

    // Principals.
    #[error("is not in the namespace of its zone; its id has to begin with {zone}/")]
    OutsideNamespace { zone: ZoneId },
    #[error("is listed twice; drop one")]
    IdTwice,
    #[error("has no signing key; add one, it could not attach without")]
    NoKey,
    #[error("key {key} is also listed by {other}; every key belongs to one party, make a new one")]
    KeyTwice { key: KeyId, other: String },
    #[error("key {key}: not before, sign until and verify until have to ascend; correct the dates")]
    KeyDates { key: KeyId },
    #[error(
        "key {key}: verify until has to be at least 30 days and 60 s after sign until, the longest life of a message; \
         extend it"
    )]
    KeyMargin { key: KeyId },
    #[error("requires {count} algorithms or one of them twice; at most two different ones can be required")]
    RequiredAlgorithms { count: usize },
    #[error("requires {algorithm} but lists no key for it; add a key or drop the requirement")]
    RequiredKeyMissing { algorithm: Algorithm },
    #[error("lists link identity {identity} twice; drop one")]
    IdentityTwice { identity: LinkIdentity },
    #[error("lists link identity {identity}, which is also {other}'s; a router's identity is nobody else's")]
    IdentityTaken { identity: LinkIdentity, other: String },
    #[error("address {address:?} is not host:port; write for instance router.example:4433 or [2001:db8::1]:4433")]
    Address { address: String },

    // Routes.
    #[error("a rule's name has 1 to 64 visible ASCII characters; rename it")]
    RuleName,
    #[error("another route of this zone has this name; rename one")]
    RuleTwice,
    #[error("its prefixes {scope} are not within what is delegated to zone {zone}; narrow it or widen the delegation")]
    OutsideDelegation { scope: Scope, zone: ZoneId },
    #[error(
        "has the same prefixes ({scope}) as route {other} of zone {zone} at overlapping times; \
         end one before the other begins"
    )]
    Overlap { scope: Scope, other: String, zone: ZoneId },
    #[error("ends before it begins; correct valid_from and valid_until")]
    RouteDates,
    #[error("names no endpoint; name at least one")]
    NoEndpoint,
    #[error("names endpoint {endpoint} twice; drop one")]
    EndpointTwice { endpoint: String },
    #[error("endpoint {endpoint} is not in the directory; add it to its zone or drop it here")]
    UnknownEndpoint { endpoint: String },
    #[error("endpoint {endpoint} belongs to zone {zone}, which has not accepted it; have that zone add an acceptance")]
    NotAccepted { endpoint: String, zone: String },
    #[error("endpoint {endpoint} is not one of this zone's; only its own zone can accept for it")]
    AcceptanceElsewhere { endpoint: String },

    // Successors.
    #[error(
        "succession of {ars} needs a delegation of all services there, which this zone has not; the parent states it"
    )]
    SuccessionOutside { ars: Ars },
    #[error("another successor of {old} is stated by zone {zone}; keep one")]
    SuccessorTwice { old: Ars, zone: ZoneId },
    #[error("following the successors of {old} does not end within 64 steps; break the circle")]
    SuccessorCircle { old: Ars },
    #[error("the federal level has no successor; drop the entry")]
    FederalSuccession,
}

fn bad_keys(keys: &[KeyId]) -> String {
    let ids: Vec<String> = keys.iter().map(ToString::to_string).collect();
    if ids.is_empty() { String::new() } else { format!(" (wrong signatures by {})", ids.join(", ")) }
}
