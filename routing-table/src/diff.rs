//! What changes from one directory to the next? For maintainers before they sign and for the router's audit log.
//!
//! Routes are matched by zone and rule name, endpoints and routers by id, zones by id.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::directory::Directory;
use crate::instant::instant_text;
use crate::model::{EndpointEntry, RouteEntry, RouterEntry, ZoneSnapshot};

/// Entries of one kind that differ, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Only in the new directory.
    pub added: Vec<String>,
    /// Only in the old directory.
    pub removed: Vec<String>,
    /// In both, with what differs.
    pub changed: Vec<Change>,
}

/// An entry that is in both directories and differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The entry.
    pub name: String,
    /// Each difference as "field: old → new".
    pub differences: Vec<String>,
}

/// What changes from one directory to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DirectoryDiff {
    /// Zones: serials, dates, delegations, acceptances, successors.
    pub zones: Changes,
    /// Routes, as zone/rule.
    pub routes: Changes,
    /// Endpoints.
    pub endpoints: Changes,
    /// Routers.
    pub routers: Changes,
}

impl DirectoryDiff {
    /// What changes from `old` to `new`.
    pub fn between(old: &Directory, new: &Directory) -> Self {
        Self {
            zones: changes(zones(old), zones(new), zone_differences),
            routes: changes(routes(old), routes(new), route_differences),
            endpoints: changes(endpoints(old), endpoints(new), endpoint_differences),
            routers: changes(routers(old), routers(new), router_differences),
        }
    }

    /// True when nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for DirectoryDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds =
            [("zone", &self.zones), ("route", &self.routes), ("endpoint", &self.endpoints), ("router", &self.routers)];
        for (kind, changes) in kinds {
            for name in &changes.added {
                writeln!(f, "+ {kind} {name}")?;
            }
            for name in &changes.removed {
                writeln!(f, "- {kind} {name}")?;
            }
            for change in &changes.changed {
                writeln!(f, "~ {kind} {}: {}", change.name, change.differences.join("; "))?;
            }
        }
        Ok(())
    }
}

type Named<'a, T> = BTreeMap<String, &'a T>;

fn zones(directory: &Directory) -> Named<'_, ZoneSnapshot> {
    directory.zones().map(|zone| (zone.zone.to_string(), zone)).collect()
}

fn routes(directory: &Directory) -> Named<'_, RouteEntry> {
    let of_zone = |zone: &'_ ZoneSnapshot| zone.zone.to_string();
    directory.zones().flat_map(|z| z.routes.iter().map(move |r| (format!("{}/{}", of_zone(z), r.rule), r))).collect()
}

fn endpoints(directory: &Directory) -> Named<'_, EndpointEntry> {
    directory.zones().flat_map(|zone| &zone.endpoints).map(|entry| (entry.id.to_string(), entry)).collect()
}

fn routers(directory: &Directory) -> Named<'_, RouterEntry> {
    directory.zones().flat_map(|zone| &zone.routers).map(|entry| (entry.id.to_string(), entry)).collect()
}

fn changes<T>(old: Named<'_, T>, new: Named<'_, T>, differences: impl Fn(&T, &T) -> Vec<String>) -> Changes {
    let both = old.iter().filter_map(|(name, before)| Some((name, *before, *new.get(name)?)));
    let changed =
        both.map(|(name, before, after)| Change { name: name.clone(), differences: differences(before, after) });
    Changes {
        changed: changed.filter(|change| !change.differences.is_empty()).collect(),
        added: new.keys().filter(|name| !old.contains_key(*name)).cloned().collect(),
        removed: old.keys().filter(|name| !new.contains_key(*name)).cloned().collect(),
    }
}

/// "field: old → new" for every row whose texts differ.
fn texts(rows: &[(&str, String, String)]) -> Vec<String> {
    let differing = rows.iter().filter(|(_, old, new)| old != new);
    differing.map(|(field, old, new)| format!("{field}: {old} → {new}")).collect()
}

/// "field changed" for every row that differs but has no short text.
fn flags(rows: &[(&str, bool)]) -> impl Iterator<Item = String> {
    rows.iter().filter(|(_, differs)| *differs).map(|(field, _)| format!("{field} changed"))
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    format!("[{}]", items.join(", "))
}

fn zone_differences(old: &ZoneSnapshot, new: &ZoneSnapshot) -> Vec<String> {
    let mut found = texts(&[
        ("serial", old.serial.to_string(), new.serial.to_string()),
        ("not before", instant_text(old.not_before), instant_text(new.not_before)),
        ("not after", instant_text(old.not_after), instant_text(new.not_after)),
    ]);
    found.extend(flags(&[
        ("root maintainers", old.root != new.root),
        ("delegations", old.delegations != new.delegations),
        ("acceptances", old.acceptances != new.acceptances),
        ("successors", old.successors != new.successors),
    ]));
    found
}

fn route_differences(old: &RouteEntry, new: &RouteEntry) -> Vec<String> {
    let end = |route: &RouteEntry| route.valid_until.map_or_else(|| "no end".to_owned(), instant_text);
    let least = |route: &RouteEntry| route.min_assurance.map_or_else(|| "none".to_owned(), |level| level.to_string());
    texts(&[
        ("prefixes", old.scope.to_string(), new.scope.to_string()),
        ("valid from", instant_text(old.valid_from), instant_text(new.valid_from)),
        ("valid until", end(old), end(new)),
        ("endpoints", list(&old.endpoints), list(&new.endpoints)),
        ("least assurance", least(old), least(new)),
        ("encryption required", old.encryption_required.to_string(), new.encryption_required.to_string()),
    ])
}

fn endpoint_differences(old: &EndpointEntry, new: &EndpointEntry) -> Vec<String> {
    let mut found = texts(&[("identities", list(&old.identities), list(&new.identities))]);
    found.extend(flags(&[
        ("keys", old.keys != new.keys),
        ("required algorithms", old.required_algorithms != new.required_algorithms),
        ("encryption keys", old.encryption_keys != new.encryption_keys),
        ("grants", old.grants != new.grants),
        ("reply grant", old.reply_grant != new.reply_grant),
        ("budgets", old.budgets != new.budgets),
    ]));
    found
}

fn router_differences(old: &RouterEntry, new: &RouterEntry) -> Vec<String> {
    let mut found = texts(&[
        ("identities", list(&old.identities), list(&new.identities)),
        ("addresses", list(&old.addresses), list(&new.addresses)),
        ("lost", old.lost.to_string(), new.lost.to_string()),
    ]);
    found.extend(flags(&[("keys", old.keys != new.keys)]));
    found
}
