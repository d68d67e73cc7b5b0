//! Which part of the service catalogue one kind of authority executes, as the fewest prefixes that say so.
//!
//! An object (eight digits) whose services all have the same execution is one prefix; in a mixed object each such
//! service gets its own prefix, unless it is the object itself.

use std::collections::{BTreeMap, BTreeSet};

use kernpost_loadgen::lists::{Execution, Service};

/// Digits of a service key that name its object.
const OBJECT: usize = 8;

/// Prefixes by execution, as text.
#[derive(Debug)]
pub struct Scopes(Vec<(Execution, BTreeSet<String>)>);

impl Scopes {
    /// Sorts the catalogue.
    pub fn of(services: &[Service]) -> Self {
        let mut objects: BTreeMap<&str, Vec<&Service>> = BTreeMap::new();
        for service in services {
            objects.entry(object(service)).or_default().push(service);
        }
        let kinds = [Execution::Federal, Execution::Land];
        Self(kinds.map(|kind| (kind, prefixes(&objects, kind))).to_vec())
    }

    /// The prefixes of one execution, sorted.
    pub fn prefixes(&self, execution: Execution) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(move |(kind, _)| *kind == execution);
        found.flat_map(|(_, prefixes)| prefixes.iter().map(String::as_str))
    }
}

fn prefixes(objects: &BTreeMap<&str, Vec<&Service>>, kind: Execution) -> BTreeSet<String> {
    let mut prefixes = BTreeSet::new();
    for (object, services) in objects {
        if services.iter().all(|service| service.execution == kind) {
            prefixes.insert((*object).to_owned());
            continue;
        }
        let own = services.iter().filter(|service| service.execution == kind);
        prefixes.extend(own.filter_map(|service| below_object(service)));
    }
    prefixes
}

/// The service's own prefix, without trailing zero parts; none when that is its object or wider.
fn below_object(service: &Service) -> Option<String> {
    let (activity, detail) = service.digits.get(OBJECT..)?.split_at_checked(3)?;
    match (activity, detail) {
        ("000", "000") => None,
        (_, "000") => service.digits.get(..OBJECT + 3).map(str::to_owned),
        _ => Some(service.digits.clone()),
    }
}

fn object(service: &Service) -> &str {
    service.digits.get(..OBJECT).unwrap_or(&service.digits)
}
