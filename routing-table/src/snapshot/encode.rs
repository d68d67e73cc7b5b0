//! How is a zone snapshot written? Deterministic CBOR, key numbers as in DIRECTORY 3 to 9.
//!
//! Fields at their default are omitted, so that equal snapshots have equal bytes.

use kernpost_codecs::cbor::Writer;
use kernpost_codecs::{JurisdictionPrefix, LinkIdentity, UnixMs};

use crate::model::{
    Acceptance, Budgets, DEFAULT_THRESHOLD, Delegation, EndpointEntry, Grant, KeyEntry, Maintainers, RouteEntry,
    RouterEntry, Scope, Successor, ZoneSnapshot,
};

/// The payload of a snapshot.
pub(super) fn payload(snapshot: &ZoneSnapshot) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256 + snapshot.routes.len() * 96 + snapshot.endpoints.len() * 256);
    let mut out = Writer::new(&mut bytes);
    let lists = [
        snapshot.delegations.len(),
        snapshot.routers.len(),
        snapshot.endpoints.len(),
        snapshot.routes.len(),
        snapshot.acceptances.len(),
        snapshot.successors.len(),
    ];
    let present = lists.iter().filter(|length| **length > 0).count();
    out.map(5 + usize::from(snapshot.root.is_some()) + present);
    out.uint(0);
    out.uint(super::FORMAT);
    out.uint(1);
    out.text(snapshot.zone.as_str());
    out.uint(2);
    out.uint(snapshot.serial);
    time(&mut out, 3, snapshot.not_before);
    time(&mut out, 4, snapshot.not_after);
    if let Some(root) = &snapshot.root {
        out.uint(5);
        maintainers(&mut out, root);
    }
    list(&mut out, 6, &snapshot.delegations, delegation);
    list(&mut out, 7, &snapshot.routers, router);
    list(&mut out, 8, &snapshot.endpoints, endpoint);
    list(&mut out, 9, &snapshot.routes, route);
    list(&mut out, 10, &snapshot.acceptances, acceptance);
    list(&mut out, 11, &snapshot.successors, successor);
    bytes
}

/// A list under its key; nothing when it is empty.
fn list<T>(out: &mut Writer<'_>, key: u64, items: &[T], mut item: impl FnMut(&mut Writer<'_>, &T)) {
    if items.is_empty() {
        return;
    }
    out.uint(key);
    out.array(items.len());
    for entry in items {
        item(out, entry);
    }
}

fn time(out: &mut Writer<'_>, key: u64, at: UnixMs) {
    out.uint(key);
    out.uint(at.0);
}

fn optional(out: &mut Writer<'_>, key: u64, value: Option<u64>) {
    if let Some(value) = value {
        out.uint(key);
        out.uint(value);
    }
}

fn flag(out: &mut Writer<'_>, key: u64, value: bool) {
    if value {
        out.uint(key);
        out.bool(true);
    }
}

fn maintainers(out: &mut Writer<'_>, maintainers: &Maintainers) {
    let stated = maintainers.threshold != DEFAULT_THRESHOLD;
    out.map(usize::from(!maintainers.keys.is_empty()) + usize::from(stated));
    list(out, 1, &maintainers.keys, |out, key| out.bytes(&key.to_cose_key()));
    optional(out, 2, stated.then_some(u64::from(maintainers.threshold)));
}

fn delegation(out: &mut Writer<'_>, delegation: &Delegation) {
    out.map(2 + usize::from(!delegation.scopes.is_empty()));
    out.uint(1);
    out.text(delegation.zone.as_str());
    list(out, 2, &delegation.scopes, |out, scope| {
        out.array(2);
        prefixes(out, scope);
    });
    out.uint(3);
    maintainers(out, &delegation.maintainers);
}

/// Service prefix as 14-digit number, jurisdiction prefix as its digits.
fn prefixes(out: &mut Writer<'_>, scope: &Scope) {
    out.uint(scope.service.as_u64());
    place(out, scope.jurisdiction);
}

fn place(out: &mut Writer<'_>, prefix: JurisdictionPrefix) {
    if prefix == JurisdictionPrefix::ANY {
        out.text("");
    } else {
        out.text(&prefix.to_string());
    }
}

fn scope(out: &mut Writer<'_>, scope: &Scope) {
    out.uint(2);
    out.uint(scope.service.as_u64());
    out.uint(3);
    place(out, scope.jurisdiction);
}

fn key(out: &mut Writer<'_>, key: &KeyEntry) {
    out.map(4 + usize::from(key.revoked));
    out.uint(1);
    out.bytes(&key.key.to_cose_key());
    time(out, 2, key.not_before);
    time(out, 3, key.sign_until);
    time(out, 4, key.verify_until);
    flag(out, 5, key.revoked);
}

fn identity(out: &mut Writer<'_>, identity: &LinkIdentity) {
    out.text(&identity.to_string());
}

fn router(out: &mut Writer<'_>, router: &RouterEntry) {
    let lists = [router.identities.len(), router.addresses.len(), router.keys.len()];
    out.map(1 + lists.iter().filter(|length| **length > 0).count() + usize::from(router.lost));
    out.uint(1);
    out.text(router.id.as_str());
    list(out, 2, &router.identities, identity);
    list(out, 3, &router.addresses, |out, address| out.text(address));
    list(out, 4, &router.keys, key);
    flag(out, 5, router.lost);
}

fn endpoint(out: &mut Writer<'_>, endpoint: &EndpointEntry) {
    let lists = [
        endpoint.keys.len(),
        endpoint.required_algorithms.len(),
        endpoint.encryption_keys.len(),
        endpoint.identities.len(),
        endpoint.grants.len(),
    ];
    let budgets = budget_fields(&endpoint.budgets);
    let present = lists.iter().filter(|length| **length > 0).count();
    out.map(1 + present + usize::from(endpoint.reply_grant.is_some()) + usize::from(budgets > 0));
    out.uint(1);
    out.text(endpoint.id.as_str());
    list(out, 2, &endpoint.keys, key);
    list(out, 3, &endpoint.required_algorithms, |out, algorithm| out.int(algorithm.cose_id()));
    list(out, 4, &endpoint.encryption_keys, |out, key| out.bytes(key.cose_key()));
    list(out, 5, &endpoint.identities, identity);
    list(out, 6, &endpoint.grants, grant);
    if let Some(may) = endpoint.reply_grant {
        out.uint(7);
        out.bool(may);
    }
    if budgets > 0 {
        out.uint(8);
        out.map(budgets);
        optional(out, 1, endpoint.budgets.entries_per_s);
        optional(out, 2, endpoint.budgets.bytes_per_s);
        optional(out, 3, endpoint.budgets.signatures_per_s);
    }
}

fn budget_fields(budgets: &Budgets) -> usize {
    [budgets.entries_per_s, budgets.bytes_per_s, budgets.signatures_per_s].iter().flatten().count()
}

fn grant(out: &mut Writer<'_>, grant: &Grant) {
    out.map(2 + usize::from(grant.max_assurance.is_some()));
    scope(out, &grant.scope);
    optional(out, 4, grant.max_assurance.map(|level| level.as_u64()));
}

fn route(out: &mut Writer<'_>, route: &RouteEntry) {
    let from = (route.valid_from.0 > 0).then_some(route.valid_from.0);
    let present = [
        from.is_some(),
        route.valid_until.is_some(),
        !route.endpoints.is_empty(),
        route.min_assurance.is_some(),
        route.encryption_required,
    ];
    out.map(3 + present.iter().filter(|is| **is).count());
    out.uint(1);
    out.text(&route.rule);
    scope(out, &route.scope);
    optional(out, 4, from);
    optional(out, 5, route.valid_until.map(|end| end.0));
    list(out, 6, &route.endpoints, |out, id| out.text(id.as_str()));
    optional(out, 7, route.min_assurance.map(|level| level.as_u64()));
    flag(out, 8, route.encryption_required);
}

fn acceptance(out: &mut Writer<'_>, acceptance: &Acceptance) {
    out.map(4);
    out.uint(1);
    out.text(acceptance.zone.as_str());
    scope(out, &acceptance.scope);
    out.uint(4);
    out.text(acceptance.endpoint.as_str());
}

fn successor(out: &mut Writer<'_>, successor: &Successor) {
    out.map(3);
    out.uint(1);
    out.uint(successor.old.as_u64());
    out.uint(2);
    out.uint(successor.new.as_u64());
    time(out, 3, successor.from);
}
