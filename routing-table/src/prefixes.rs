//! Which of two prefixes comes first? Services and jurisdictions as numbers whose order is preorder.
//!
//! Preorder: every prefix comes before those below it, and those below it follow without a gap. A prefix and all that it
//! covers are so one range of numbers, in both hierarchies.

use kernpost_codecs::{Ars, JurisdictionLevel, JurisdictionPrefix, ServiceKey, ServicePrefix};

use crate::model::Scope;

/// Number of the empty service prefix and of the empty jurisdiction prefix.
pub(crate) const ANY: u64 = 0;

/// A service key or prefix without its `99`, below 2^40. A zero group ends a prefix (WIRE 1.4), so the number alone
/// identifies it.
#[inline]
fn service_number(number: u64) -> u64 {
    number.wrapping_sub(99_000_000_000_000)
}

/// The number of a service key, which is also its natural prefix's.
#[inline]
pub(crate) fn service_key(key: ServiceKey) -> u64 {
    service_number(key.as_u64())
}

/// The number of a service prefix.
#[inline]
pub(crate) fn service_prefix(prefix: ServicePrefix) -> u64 {
    service_number(prefix.as_u64())
}

/// What remains of a service's number when the detail, activity, object and group are cut off.
const CUTS: [u64; 4] = [1_000, 1_000_000, 1_000_000_000, 1_000_000_000_000];

/// The service prefixes above one, the most specific first.
#[inline]
pub(crate) fn services_above(service: u64) -> impl Iterator<Item = u64> {
    CUTS.into_iter().map(move |cut| service - service % cut).filter(move |above| *above != service)
}

/// A jurisdiction prefix as one number below 2^43: first ARS below it × 8 + level.
#[inline]
fn place_number(first: u64, level: JurisdictionLevel) -> u64 {
    first * 8 + rank(level)
}

/// The number of an ARS' prefix at `level`.
#[inline]
pub(crate) fn ars_at(ars: Ars, level: JurisdictionLevel) -> u64 {
    let ars = ars.as_u64();
    place_number(ars - ars % width(rank(level)), level)
}

/// The number of a jurisdiction prefix.
#[inline]
pub(crate) fn place_prefix(prefix: JurisdictionPrefix) -> u64 {
    place_number(prefix.as_u64(), prefix.level())
}

#[inline]
const fn rank(level: JurisdictionLevel) -> u64 {
    match level {
        JurisdictionLevel::Any => 0,
        JurisdictionLevel::Land => 1,
        JurisdictionLevel::Bezirk => 2,
        JurisdictionLevel::Kreis => 3,
        JurisdictionLevel::Verband => 4,
        JurisdictionLevel::Gemeinde => 5,
    }
}

/// How many ARS a prefix of this rank spans.
#[inline]
const fn width(rank: u64) -> u64 {
    match rank {
        0 => 1_000_000_000_000,
        1 => 10_000_000_000,
        2 => 1_000_000_000,
        3 => 10_000_000,
        4 => 1_000,
        _ => 1,
    }
}

/// True when the jurisdiction prefix `above` covers all of `below`; both as numbers.
pub(crate) fn place_contains(above: u64, below: u64) -> bool {
    let (first, value) = (above / 8, below / 8);
    above % 8 <= below % 8 && value >= first && value - first < width(above % 8)
}

/// Bits of a jurisdiction prefix' number.
const PLACE_BITS: u32 = 43;

/// A route's prefixes and 32 bits that say which route it is. Ordered by service prefix, then by jurisdiction prefix, both
/// in preorder; one comparison of 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ordered(u128);

impl Ordered {
    pub(crate) fn new(scope: &Scope, route: u32) -> Self {
        let prefixes =
            u128::from(service_prefix(scope.service)) << PLACE_BITS | u128::from(place_prefix(scope.jurisdiction));
        Self(prefixes << u32::BITS | u128::from(route))
    }

    /// The same prefixes for another route.
    pub(crate) fn with_route(self, route: u32) -> Self {
        Self(self.0 >> u32::BITS << u32::BITS | u128::from(route))
    }

    /// Which route.
    // Not lossy: 32 bits are meant.
    pub(crate) fn route(self) -> u32 {
        self.0 as u32
    }

    /// Both prefixes; equal when and only when the scopes are.
    pub(crate) fn prefixes(self) -> u128 {
        self.0 >> u32::BITS
    }

    /// The number of the service prefix.
    // Not lossy: 40 bits remain.
    pub(crate) fn service(self) -> u64 {
        (self.0 >> (u32::BITS + PLACE_BITS)) as u64
    }

    /// The number of the jurisdiction prefix.
    // Not lossy: 43 bits are meant.
    pub(crate) fn place(self) -> u64 {
        (self.0 >> u32::BITS) as u64 & ((1 << PLACE_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn the_order_is_that_of_the_prefixes_and_keeps_them_apart() {
        let services = ["99", "99001", "99001001", "99001001001001", "99999"];
        let places = ["", "000000000000", "01", "011", "01101", "011010001", "011010001001", "16"];
        let mut last = None;
        for service in services {
            for place in places {
                let scope = Scope { service: service.parse().unwrap(), jurisdiction: place.parse().unwrap() };
                let ordered = Ordered::new(&scope, u32::MAX);
                assert!(last < Some(ordered), "{scope}");
                assert_eq!(ordered.service(), service_prefix(scope.service));
                assert_eq!(ordered.place(), place_prefix(scope.jurisdiction));
                assert_eq!((ordered.route(), ordered.with_route(7).route()), (u32::MAX, 7));
                assert_eq!(ordered.prefixes(), ordered.with_route(7).prefixes());
                last = Some(ordered);
            }
        }
    }
}
