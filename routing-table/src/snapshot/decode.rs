//! What does the payload of a zone snapshot say? Strict deterministic CBOR, key numbers as in DIRECTORY 3 to 9.
//!
//! Unknown keys ≥ 0 are skipped, negative ones refuse the snapshot (WIRE 1.2). Nothing is allocated ahead of what has
//! been read, so memory stays proportional to the input. An error names the entry and the field.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use kernpost_codecs::cbor::{CborError, Reader};
use kernpost_codecs::key::{Algorithm, PublicKey};
use kernpost_codecs::statement::Assurance;
use kernpost_codecs::{Ars, EndpointId, JurisdictionPrefix, ServicePrefix, UnixMs};

use crate::encryption_key::EncryptionKey;
use crate::model::{
    Acceptance, Budgets, DEFAULT_THRESHOLD, Delegation, EndpointEntry, Grant, KeyEntry, Maintainers, RouteEntry,
    RouterEntry, Scope, Successor, ZoneSnapshot,
};

/// Why a payload is not a zone snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{reason}", if entry.is_empty() { String::new() } else { format!("{entry}: ") },
        if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct PayloadError {
    /// The entry at fault, by kind and place from 0 ("route 17"); empty for the snapshot itself.
    pub entry: String,
    /// The field at fault; empty when the entry as a whole is.
    pub field: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl From<CborError> for PayloadError {
    fn from(error: CborError) -> Self {
        Self { entry: String::new(), field: "", reason: error.to_string() }
    }
}

type Decoded<T> = Result<T, PayloadError>;

/// Reads a payload; the bytes must end with it.
pub(super) fn payload(bytes: &[u8]) -> Decoded<ZoneSnapshot> {
    let mut input = Reader::new(bytes);
    let snapshot = snapshot(&mut input)?;
    input.finish()?;
    Ok(snapshot)
}

fn snapshot(input: &mut Reader<'_>) -> Decoded<ZoneSnapshot> {
    let (mut format, mut zone, mut serial, mut not_before, mut not_after, mut root) =
        (None, None, None, None, None, None);
    let (mut delegations, mut routers, mut endpoints) = (Vec::new(), Vec::new(), Vec::new());
    let (mut routes, mut acceptances, mut successors) = (Vec::new(), Vec::new(), Vec::new());
    let mut keys = input.map()?;
    while let Some(key) = keys.next(input)? {
        match key {
            0 => format = Some(input.uint()?),
            1 => zone = Some(text(input, "zone")?),
            2 => serial = Some(input.uint()?),
            3 => not_before = Some(input.time()?),
            4 => not_after = Some(input.time()?),
            5 => root = Some(maintainers(input)?),
            6 => delegations = entries(input, "delegation", delegation)?,
            7 => routers = entries(input, "router", router)?,
            8 => endpoints = entries(input, "endpoint", endpoint)?,
            9 => {
                let mut named = Named::default();
                routes = entries(input, "route", |input| route(input, &mut named))?;
            }
            10 => acceptances = entries(input, "acceptance", acceptance)?,
            11 => successors = entries(input, "successor", successor)?,
            _ => input.skip()?,
        }
    }
    let format = required(format, "format")?;
    if format != super::FORMAT {
        return Err(fault("format", format!("{format} is not known to this software; upgrade it")));
    }
    Ok(ZoneSnapshot {
        zone: required(zone, "zone")?,
        serial: required(serial, "serial")?,
        not_before: required(not_before, "not before")?,
        not_after: required(not_after, "not after")?,
        root,
        delegations,
        routers,
        endpoints,
        routes,
        acceptances,
        successors,
    })
}

fn fault(field: &'static str, reason: impl Display) -> PayloadError {
    PayloadError { entry: String::new(), field, reason: reason.to_string() }
}

fn required<T>(value: Option<T>, field: &'static str) -> Decoded<T> {
    value.ok_or_else(|| fault(field, "is missing"))
}

/// A list that is present, so not empty.
fn list<'a, T>(
    input: &mut Reader<'a>,
    field: &'static str,
    mut item: impl FnMut(&mut Reader<'a>) -> Decoded<T>,
) -> Decoded<Vec<T>> {
    let count = input.array()?;
    if count == 0 {
        return Err(fault(field, "is empty and has to be omitted"));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(input)?);
    }
    // Snapshots stay in memory for as long as they are in force.
    items.shrink_to_fit();
    Ok(items)
}

/// A list of entries, each named in errors by its place.
fn entries<'a, T>(
    input: &mut Reader<'a>,
    kind: &'static str,
    mut entry: impl FnMut(&mut Reader<'a>) -> Decoded<T>,
) -> Decoded<Vec<T>> {
    let mut place = 0usize;
    list(input, kind, |input| {
        let read = entry(input).map_err(|error| PayloadError { entry: format!("{kind} {place}"), ..error });
        place = place.saturating_add(1);
        read
    })
}

fn text<T: FromStr<Err: Display>>(input: &mut Reader<'_>, field: &'static str) -> Decoded<T> {
    input.text()?.parse().map_err(|error| fault(field, error))
}

fn flag(input: &mut Reader<'_>, field: &'static str) -> Decoded<bool> {
    if input.bool()? { Ok(true) } else { Err(fault(field, "false is the default and has to be omitted")) }
}

fn assurance(input: &mut Reader<'_>, field: &'static str) -> Decoded<Assurance> {
    Assurance::from_u64(input.uint()?).ok_or_else(|| fault(field, "is not 1 (low), 2 (substantial) or 3 (high)"))
}

fn service(input: &mut Reader<'_>) -> Decoded<ServicePrefix> {
    ServicePrefix::try_from(input.uint()?).map_err(|error| fault("service prefix", error))
}

fn jurisdiction(input: &mut Reader<'_>) -> Decoded<JurisdictionPrefix> {
    match input.text()? {
        "*" => Err(fault("jurisdiction prefix", "the empty prefix is written as the empty text")),
        digits => digits.parse().map_err(|error| fault("jurisdiction prefix", error)),
    }
}

fn ars(input: &mut Reader<'_>, field: &'static str) -> Decoded<Ars> {
    Ars::try_from(input.uint()?).map_err(|error| fault(field, error))
}

fn scope(service: Option<ServicePrefix>, jurisdiction: Option<JurisdictionPrefix>) -> Decoded<Scope> {
    Ok(Scope {
        service: required(service, "service prefix")?,
        jurisdiction: required(jurisdiction, "jurisdiction prefix")?,
    })
}

fn maintainers(input: &mut Reader<'_>) -> Decoded<Maintainers> {
    let mut read = Maintainers { keys: Vec::new(), threshold: DEFAULT_THRESHOLD };
    let mut keys = input.map()?;
    while let Some(key) = keys.next(input)? {
        match key {
            1 => {
                read.keys = list(input, "maintainer keys", |input| {
                    PublicKey::from_cose_key(input.bytes()?).map_err(|error| fault("maintainer key", error))
                })?;
            }
            2 => {
                read.threshold = u32::try_from(input.uint()?).map_err(|_| fault("threshold", "is out of range"))?;
                if read.threshold == DEFAULT_THRESHOLD {
                    return Err(fault("threshold", "2 is the default and has to be omitted"));
                }
            }
            _ => input.skip()?,
        }
    }
    Ok(read)
}

fn delegation(input: &mut Reader<'_>) -> Decoded<Delegation> {
    let (mut zone, mut scopes, mut signed_by) = (None, Vec::new(), None);
    let mut keys = input.map()?;
    while let Some(key) = keys.next(input)? {
        match key {
            1 => zone = Some(text(input, "zone")?),
            2 => {
                scopes = list(input, "scopes", |input| {
                    input.array_of(2, "scope")?;
                    Ok(Scope { service: service(input)?, jurisdiction: jurisdiction(input)? })
                })?;
            }
            3 => signed_by = Some(maintainers(input)?),
            _ => input.skip()?,
        }
    }
    Ok(Delegation { zone: required(zone, "zone")?, scopes, maintainers: required(signed_by, "maintainers")? })
}

fn key(input: &mut Reader<'_>) -> Decoded<KeyEntry> {
    let (mut public, mut not_before, mut sign_until, mut verify_until, mut revoked) = (None, None, None, None, false);
    let mut keys = input.map()?;
    while let Some(key) = keys.next(input)? {
        match key {
            1 => public = Some(PublicKey::from_cose_key(input.bytes()?).map_err(|error| fault("key", error))?),
            2 => not_before = Some(input.time()?),
            3 => sign_until = Some(input.time()?),
            4 => verify_until = Some(input.time()?),
            5 => revoked = flag(input, "revoked")?,
            _ => input.skip()?,
        }
    }
    Ok(KeyEntry {
        key: required(public, "key")?,
        not_before: required(not_before, "not before of a key")?,
        sign_until: required(sign_until, "sign until of a key")?,
        verify_until: required(verify_until, "verify until of a key")?,
        revoked,
    })
}

fn router(input: &mut Reader<'_>) -> Decoded<RouterEntry> {
    let (mut id, mut identities, mut addresses, mut signing, mut lost) =
        (None, Vec::new(), Vec::new(), Vec::new(), false);
    let mut keys = input.map()?;
    while let Some(field) = keys.next(input)? {
        match field {
            1 => id = Some(text(input, "id")?),
            2 => identities = list(input, "identities", |input| text(input, "identity"))?,
            3 => addresses = list(input, "addresses", |input| Ok(input.text_to(256, "address")?.to_owned()))?,
            4 => signing = list(input, "keys", key)?,
            5 => lost = flag(input, "lost")?,
            _ => input.skip()?,
        }
    }
    Ok(RouterEntry { id: required(id, "id")?, identities, addresses, keys: signing, lost })
}

fn endpoint(input: &mut Reader<'_>) -> Decoded<EndpointEntry> {
    let (mut id, mut signing, mut required_algorithms, mut encryption_keys) =
        (None, Vec::new(), Vec::new(), Vec::new());
    let (mut identities, mut grants, mut reply_grant, mut budget) = (Vec::new(), Vec::new(), None, Budgets::default());
    let mut keys = input.map()?;
    while let Some(field) = keys.next(input)? {
        match field {
            1 => id = Some(text(input, "id")?),
            2 => signing = list(input, "keys", key)?,
            3 => required_algorithms = list(input, "required algorithms", algorithm)?,
            4 => {
                encryption_keys = list(input, "encryption keys", |input| {
                    EncryptionKey::from_cose_key(input.bytes()?).map_err(|error| fault("encryption key", error))
                })?;
            }
            5 => identities = list(input, "identities", |input| text(input, "identity"))?,
            6 => grants = list(input, "grants", grant)?,
            7 => reply_grant = Some(input.bool()?),
            8 => budget = budgets(input)?,
            _ => input.skip()?,
        }
    }
    let id = required(id, "id")?;
    Ok(EndpointEntry {
        id,
        keys: signing,
        required_algorithms,
        encryption_keys,
        identities,
        grants,
        reply_grant,
        budgets: budget,
    })
}

/// A COSE algorithm number; all known ones are negative.
fn algorithm(input: &mut Reader<'_>) -> Decoded<Algorithm> {
    let id = input.int()?;
    Algorithm::from_cose_id(id)
        .ok_or_else(|| fault("required algorithm", format!("{id} is not known to this software (-9, -19)")))
}

fn budgets(input: &mut Reader<'_>) -> Decoded<Budgets> {
    let mut read = Budgets::default();
    let mut keys = input.map()?;
    while let Some(key) = keys.next(input)? {
        match key {
            1 => read.entries_per_s = Some(input.uint()?),
            2 => read.bytes_per_s = Some(input.uint()?),
            3 => read.signatures_per_s = Some(input.uint()?),
            _ => input.skip()?,
        }
    }
    if read == Budgets::default() { Err(fault("budgets", "is empty and has to be omitted")) } else { Ok(read) }
}

fn grant(input: &mut Reader<'_>) -> Decoded<Grant> {
    let (mut services, mut places, mut max_assurance) = (None, None, None);
    let mut keys = input.map()?;
    while let Some(key) = keys.next(input)? {
        match key {
            2 => services = Some(service(input)?),
            3 => places = Some(jurisdiction(input)?),
            4 => max_assurance = Some(assurance(input, "highest assurance of a grant")?),
            _ => input.skip()?,
        }
    }
    Ok(Grant { scope: scope(services, places)?, max_assurance })
}

/// Who the routes read so far name: many routes name the same few, in the same lists.
#[derive(Default)]
struct Named<'a> {
    ids: HashMap<&'a str, EndpointId>,
    lists: HashSet<Arc<[EndpointId]>>,
}

impl<'a> Named<'a> {
    fn id(&mut self, input: &mut Reader<'a>) -> Decoded<EndpointId> {
        let text = input.text()?;
        if let Some(id) = self.ids.get(text) {
            return Ok(id.clone());
        }
        let id: EndpointId = text.parse().map_err(|error| fault("endpoint", error))?;
        self.ids.insert(text, id.clone());
        Ok(id)
    }

    fn list(&mut self, input: &mut Reader<'a>) -> Decoded<Arc<[EndpointId]>> {
        let ids = list(input, "endpoints", |input| self.id(input))?;
        if let Some(list) = self.lists.get(ids.as_slice()) {
            return Ok(Arc::clone(list));
        }
        let list: Arc<[EndpointId]> = ids.into();
        self.lists.insert(Arc::clone(&list));
        Ok(list)
    }
}

fn route<'a>(input: &mut Reader<'a>, named: &mut Named<'a>) -> Decoded<RouteEntry> {
    let (mut rule, mut services, mut places, mut valid_from, mut valid_until) = (None, None, None, UnixMs(0), None);
    let (mut endpoints, mut min_assurance, mut encryption_required): (Arc<[_]>, _, _) = (Arc::default(), None, false);
    let mut keys = input.map()?;
    while let Some(key) = keys.next(input)? {
        match key {
            1 => rule = Some(input.text_to(64, "rule")?.into()),
            2 => services = Some(service(input)?),
            3 => places = Some(jurisdiction(input)?),
            4 => {
                valid_from = input.time()?;
                if valid_from == UnixMs(0) {
                    return Err(fault("valid from", "0 is the default and has to be omitted"));
                }
            }
            5 => valid_until = Some(input.time()?),
            6 => endpoints = named.list(input)?,
            7 => min_assurance = Some(assurance(input, "least assurance")?),
            8 => encryption_required = flag(input, "encryption required")?,
            _ => input.skip()?,
        }
    }
    let (rule, scope) = (required(rule, "rule")?, scope(services, places)?);
    Ok(RouteEntry { rule, scope, valid_from, valid_until, endpoints, min_assurance, encryption_required })
}

fn acceptance(input: &mut Reader<'_>) -> Decoded<Acceptance> {
    let (mut zone, mut services, mut places, mut endpoint) = (None, None, None, None);
    let mut keys = input.map()?;
    while let Some(key) = keys.next(input)? {
        match key {
            1 => zone = Some(text(input, "zone")?),
            2 => services = Some(service(input)?),
            3 => places = Some(jurisdiction(input)?),
            4 => endpoint = Some(text(input, "endpoint")?),
            _ => input.skip()?,
        }
    }
    let (zone, endpoint) = (required(zone, "zone")?, required(endpoint, "endpoint")?);
    Ok(Acceptance { zone, scope: scope(services, places)?, endpoint })
}

fn successor(input: &mut Reader<'_>) -> Decoded<Successor> {
    let (mut old, mut new, mut from) = (None, None, None);
    let mut keys = input.map()?;
    while let Some(key) = keys.next(input)? {
        match key {
            1 => old = Some(ars(input, "old ARS")?),
            2 => new = Some(ars(input, "new ARS")?),
            3 => from = Some(input.time()?),
            _ => input.skip()?,
        }
    }
    Ok(Successor { old: required(old, "old ARS")?, new: required(new, "new ARS")?, from: required(from, "from")? })
}
