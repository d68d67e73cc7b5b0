//! For a service key and a territory number, which route answers?
//!
//! Every service prefix that some route names has a row: a function from territory numbers (preorder, see
//! `territories.rs`) to references of routes that changes at a few places, the spans. A row without an answer passes the
//! question to the row of the next less specific prefix.
//!
//! Laid out for memory latency. A row's leaves are cache lines; the territory number, scaled, says which leaf, so that no
//! search comes before it. Where spans crowd, a leaf refers to leaves below it, a small B-tree. A usual lookup in a table
//! of a million rules fetches a slot from the cache and one leaf from memory. Numbers have 15 bits when there are few
//! enough territories (all of Germany has), else 32 (`leaf.rs`).
//!
//! Rows are immutable and shared: a table compiled after another one makes new rows only where routes have changed.

use std::sync::Arc;

use super::leaf::{BELOW, Leaf, NONE, Narrow, Wide};
use super::perfect_hash::PerfectHash;
use crate::prefixes::{ANY, services_above};

/// From `start` on, up to the next span of the row, `route` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) route: Option<u32>,
}

/// The rows of a table.
#[derive(Debug, Clone)]
pub(super) enum Rows {
    /// 15-bit numbers: 11 spans in a leaf.
    Narrow(Forest<Narrow>),
    /// 32-bit numbers: 8 spans in a leaf.
    Wide(Forest<Wide>),
}

impl Rows {
    /// Empty rows over this many territories: nobody is responsible for anything.
    pub(super) fn new(territories: usize) -> Self {
        // One more number than there are territories may begin a span: the one after the last.
        if territories.saturating_add(1) < Narrow::TERRITORIES {
            Self::Narrow(Forest::new(territories))
        } else {
            Self::Wide(Forest::new(territories))
        }
    }

    /// The same rows for exactly these service prefixes and *any*, in ascending order; those new here are empty.
    ///
    /// `None` when there are almost 2^32.
    pub(super) fn with_services(&self, services: &[u64]) -> Option<Self> {
        match self {
            Self::Narrow(rows) => rows.with_services(services).map(Self::Narrow),
            Self::Wide(rows) => rows.with_services(services).map(Self::Wide),
        }
    }

    /// Replaces the row of a prefix. `spans` ascend strictly and begin at 0.
    ///
    /// `None` when the prefix was not named, or there are more than 2^31 leaves.
    pub(super) fn fill(&mut self, service: u64, spans: &[Span]) -> Option<()> {
        match self {
            Self::Narrow(rows) => rows.fill(service, spans),
            Self::Wide(rows) => rows.fill(service, spans),
        }
    }

    /// Gives back what making rows needed.
    pub(super) fn made(&mut self) {
        match self {
            Self::Narrow(rows) => rows.scratch = Vec::new(),
            Self::Wide(rows) => rows.scratch = Vec::new(),
        }
    }

    /// The place of a prefix that was named, for what its owner keeps beside its row.
    pub(super) fn place_of(&self, service: u64) -> Option<usize> {
        match self {
            Self::Narrow(rows) => rows.place_of(service),
            Self::Wide(rows) => rows.place_of(service),
        }
    }

    /// The prefix of each place; `None` where there is none.
    pub(super) fn services(&self) -> impl Iterator<Item = Option<u64>> {
        let (narrow, wide) = match self {
            Self::Narrow(rows) => (Some(rows.services()), None),
            Self::Wide(rows) => (None, Some(rows.services())),
        };
        narrow.into_iter().flatten().chain(wide.into_iter().flatten())
    }

    /// How long an array with a place for each prefix is.
    pub(super) fn places(&self) -> usize {
        match self {
            Self::Narrow(rows) => rows.slots.len(),
            Self::Wide(rows) => rows.slots.len(),
        }
    }

    /// The route of the most specific service prefix that has one for this territory.
    #[inline]
    pub(super) fn find(&self, service: u64, territory: u32) -> Option<u32> {
        let found = match self {
            Self::Narrow(rows) => rows.find(service, territory),
            Self::Wide(rows) => rows.find(service, territory),
        };
        (found != NONE).then_some(found)
    }

    /// As [`Rows::find`] for up to [`BATCH`] keys at once, so that their cache misses overlap: `found` gets one answer for
    /// each, [`NONE`] for no route.
    #[inline]
    pub(super) fn find_batch(&self, asked: &[(u64, u32)], found: &mut [u32; BATCH]) {
        match self {
            Self::Narrow(rows) => rows.find_batch(asked, found),
            Self::Wide(rows) => rows.find_batch(asked, found),
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Narrow(rows) => rows.bytes(),
            Self::Wide(rows) => rows.bytes(),
        }
    }
}

/// Keys of one [`Rows::find_batch`], at most.
pub(super) const BATCH: usize = 64;
/// Spans to a leaf on average, when they lie evenly; a leaf holds 11 (or 8).
const EVENLY: usize = 6;
/// A slot that belongs to no prefix.
const NO_SERVICE: u64 = u64::MAX;

/// A service prefix and its row. Two to a cache line.
#[derive(Debug, Clone)]
#[repr(C, align(32))]
struct Slot<L> {
    service: u64,
    leaves: Arc<[L]>,
    /// 2^32 × leaves of the uppermost level / territories, rounded down.
    scale: u32,
    /// The place of the next less specific prefix; for *any* its own.
    above: u32,
}

/// Slots, by the perfect hash of their prefixes.
#[derive(Debug, Clone)]
pub(super) struct Forest<L> {
    hash: Arc<PerfectHash>,
    slots: Vec<Slot<L>>,
    territories: usize,
    /// The row in which nobody answers.
    nobody: Arc<[L]>,
    /// Where rows are made; empty in between.
    scratch: Vec<L>,
}

impl<L: Leaf> Forest<L> {
    fn new(territories: usize) -> Self {
        let nobody: Arc<[_]> = Arc::new([L::all(NONE)]);
        let any = Slot { service: ANY, leaves: nobody.clone(), scale: 0, above: 0 };
        Self { hash: Arc::default(), slots: vec![any], territories, nobody, scratch: Vec::new() }
    }

    fn with_services(&self, services: &[u64]) -> Option<Self> {
        let hash = PerfectHash::new(services)?;
        let empty = Slot { service: NO_SERVICE, leaves: self.nobody.clone(), scale: 0, above: 0 };
        let mut slots = vec![empty; hash.places()];
        for service in services {
            let place = hash.place(*service);
            let before = self.place_of(*service).and_then(|place| self.slots.get(place));
            let (leaves, scale) =
                before.map_or_else(|| (self.nobody.clone(), 0), |slot| (slot.leaves.clone(), slot.scale));
            // Ascending order puts every prefix after those above it.
            let named = |above: u64| slots.get(hash.place(above)).is_some_and(|slot: &Slot<_>| slot.service == above);
            let above = services_above(*service).find(|above| named(*above)).map_or(place, |above| hash.place(above));
            *slots.get_mut(place)? = Slot { service: *service, leaves, scale, above: u32::try_from(above).ok()? };
        }
        Some(Self {
            hash: Arc::new(hash),
            slots,
            territories: self.territories,
            nobody: self.nobody.clone(),
            scratch: Vec::new(),
        })
    }

    fn fill(&mut self, service: u64, spans: &[Span]) -> Option<()> {
        let place = self.place_of(service)?;
        let count = (spans.len() / EVENLY).min(self.territories / 2).max(1);
        let scale = u32::try_from(((count as u64) << 32) / (self.territories as u64).max(1)).unwrap_or(u32::MAX);
        let mut leaves = std::mem::take(&mut self.scratch);
        leaves.clear();
        leaves.resize(count, L::all(NONE));
        let (mut rest, mut before, mut next) = (spans, NONE, 0);
        while let Some(first) = rest.first() {
            // The leaves without a start of their own.
            let upper = scaled(first.start, scale) as usize;
            if upper >= count {
                // The one after the last territory.
                break;
            }
            leaves.get_mut(next..upper)?.fill(L::all(before));
            let end = rest.iter().take_while(|span| scaled(span.start, scale) as usize == upper).count();
            let (mut here, after) = rest.split_at_checked(end)?;
            let last = here.last().map_or(before, |last| last.route.unwrap_or(NONE));
            // What begins where the leaf does is in force all over it.
            if first.start.checked_sub(1).is_none_or(|less| scaled(less, scale) as usize != upper) {
                (before, here) = (first.route.unwrap_or(NONE), here.get(1..)?);
            }
            *leaves.get_mut(upper)? = branch(before, here, &mut leaves)?;
            (rest, before, next) = (after, last, upper + 1);
        }
        leaves.get_mut(next..count)?.fill(L::all(before));
        let slot = self.slots.get_mut(place)?;
        (slot.leaves, slot.scale) = (Arc::from(leaves.as_slice()), scale);
        self.scratch = leaves;
        Some(())
    }

    fn place_of(&self, service: u64) -> Option<usize> {
        let place = self.hash.place(service);
        self.slots.get(place).filter(|slot| slot.service == service).map(|_| place)
    }

    fn services(&self) -> impl Iterator<Item = Option<u64>> {
        self.slots.iter().map(|slot| Some(slot.service).filter(|service| *service != NO_SERVICE))
    }

    #[inline]
    fn find(&self, service: u64, territory: u32) -> u32 {
        let Some(slot) = self.slots.get(self.nearest(service) as usize) else { return NONE };
        let found = Self::from_leaf(slot, scaled(territory, slot.scale) as usize, territory);
        if found == NONE && slot.service != ANY { self.find_above(slot.above, territory) } else { found }
    }

    /// In passes, each over all keys: a pass reads what the one before has asked memory for. The processor overlaps the
    /// few instructions of many keys, but only few of the whole lookups.
    #[inline]
    fn find_batch(&self, asked: &[(u64, u32)], found: &mut [u32; BATCH]) {
        // Of each key the place of its row and of the leaf there.
        let mut at = [(0u32, 0u32); BATCH];
        // Keys that no row has answered yet.
        let mut open = [0u8; BATCH];
        let mut left = asked.len().min(BATCH);
        for (key, ((service, _), (at, open))) in (0u8..).zip(asked.iter().zip(at.iter_mut().zip(&mut open))) {
            (at.0, *open) = (self.nearest(*service), key);
        }
        while left > 0 {
            let mut touched = 0;
            for key in open.iter().take(left).map(|key| usize::from(*key)) {
                if let (Some((_, territory)), Some(at)) = (asked.get(key), at.get_mut(key))
                    && let Some(slot) = self.slots.get(at.0 as usize)
                {
                    at.1 = scaled(*territory, slot.scale);
                    touched ^= slot.leaves.get(at.1 as usize).map_or(0, L::touch);
                }
            }
            // Reading has asked memory for the lines; nothing but this keeps the compiler from leaving it out.
            std::hint::black_box(touched);
            let mut still = 0;
            for place in 0..left {
                let Some(key) = open.get(place).copied() else { break };
                let (Some((_, territory)), Some(at), Some(found)) =
                    (asked.get(usize::from(key)), at.get_mut(usize::from(key)), found.get_mut(usize::from(key)))
                else {
                    break;
                };
                let Some(slot) = self.slots.get(at.0 as usize) else { break };
                *found = Self::from_leaf(slot, at.1 as usize, *territory);
                at.0 = slot.above;
                // Without a branch: which row answers cannot be guessed.
                if let Some(open) = open.get_mut(still) {
                    *open = key;
                }
                still += usize::from(*found == NONE) & usize::from(slot.service != ANY);
            }
            left = still;
        }
    }

    /// The place of the most specific row for this service.
    #[inline]
    fn nearest(&self, service: u64) -> u32 {
        let place = self.hash.place(service);
        match self.slots.get(place) {
            // Not lossy: places have 32 bits.
            Some(slot) if slot.service == service => place as u32,
            _ => self.nearest_above(service),
        }
    }

    #[inline(never)]
    fn nearest_above(&self, service: u64) -> u32 {
        // *Any* always has a row.
        services_above(service).find_map(|above| self.place_of(above)).unwrap_or(0) as u32
    }

    /// What a row says, beginning with this leaf.
    #[inline]
    fn from_leaf(slot: &Slot<L>, mut leaf: usize, territory: u32) -> u32 {
        loop {
            let found = slot.leaves.get(leaf).map_or(NONE, |leaf| leaf.at(territory));
            if found < BELOW {
                return found;
            }
            leaf = (found & !BELOW) as usize;
        }
    }

    /// The answer of this row, or of the next less specific one that has one.
    #[inline(never)]
    fn find_above(&self, mut place: u32, territory: u32) -> u32 {
        loop {
            let Some(slot) = self.slots.get(place as usize) else { return NONE };
            let found = Self::from_leaf(slot, scaled(territory, slot.scale) as usize, territory);
            if found != NONE || slot.service == ANY {
                return found;
            }
            place = slot.above;
        }
    }

    fn bytes(&self) -> usize {
        let leaves: usize = self.slots.iter().map(|slot| size_of_val(&*slot.leaves)).sum();
        self.hash.bytes() + leaves + self.slots.len() * size_of::<Slot<L>>()
    }
}

/// Which leaf of the uppermost level a territory belongs to.
#[inline]
// Not lossy: the upper half of the product is below the number of leaves.
fn scaled(territory: u32, scale: u32) -> u32 {
    ((u64::from(territory) * u64::from(scale)) >> 32) as u32
}

/// A leaf for these spans; `before` answers ahead of the first. What does not fit goes to leaves below, at the end of
/// `leaves`. Each level has a tenth of the spans of the one above, so few levels are enough.
fn branch<L: Leaf>(before: u32, spans: &[Span], leaves: &mut Vec<L>) -> Option<L> {
    let mut leaf = L::all(before);
    if spans.len() <= L::STARTS {
        for (place, span) in spans.iter().enumerate() {
            leaf.begin(place, span.start, span.route.unwrap_or(NONE))?;
        }
        return Some(leaf);
    }
    let parts = spans.len().div_ceil(L::STARTS).min(L::STARTS + 1);
    let mut parts = spans.chunks(spans.len().div_ceil(parts));
    let first = branch(before, parts.next()?, leaves)?;
    leaf.before(stored(first, leaves)?);
    for (place, part) in parts.enumerate() {
        let (first, rest) = part.split_first()?;
        let below = branch(first.route.unwrap_or(NONE), rest, leaves)?;
        leaf.begin(place, first.start, stored(below, leaves)?)?;
    }
    Some(leaf)
}

/// Puts a leaf at the end; what refers to it.
fn stored<L>(leaf: L, leaves: &mut Vec<L>) -> Option<u32> {
    let place = u32::try_from(leaves.len()).ok().filter(|place| *place < BELOW)?;
    leaves.push(leaf);
    Some(BELOW | place)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::prefixes::{service_key, service_prefix};
    use proptest::prelude::*;

    /// So many territories have 15-bit numbers, more have 32-bit ones.
    const FEW: usize = 32_765;
    const MANY: usize = 1 << 20;

    fn prefix(text: &str) -> u64 {
        service_prefix(text.parse().unwrap())
    }

    fn service(text: &str) -> u64 {
        service_key(text.parse().unwrap())
    }

    fn rows(territories: usize, services: &[u64]) -> Rows {
        Rows::new(territories).with_services(services).unwrap()
    }

    fn batched(rows: &Rows, asked: &[(u64, u32)]) -> Vec<Option<u32>> {
        let mut found = [0; BATCH];
        let batches = asked.chunks(BATCH).flat_map(|asked| {
            rows.find_batch(asked, &mut found);
            found[..asked.len()].to_vec()
        });
        batches.map(|found| (found != NONE).then_some(found)).collect()
    }

    #[test]
    fn every_row_length_answers_like_a_scan_in_both_widths() {
        for territories in [FEW, MANY] {
            for length in [1u32, 2, 6, 7, 10, 11, 12, 13, 96, 110, 111, 400, 1_210, 1_211, 4_097, 10_900] {
                for spread in [1, 3] {
                    let mut rows = rows(territories, &[ANY, prefix("99001"), prefix("99002")]);
                    rows.fill(prefix("99001"), &[Span { start: 0, route: Some(7) }]).unwrap();
                    let route = |place: u32| (place % 5 != 4).then_some(1_000_000 + place);
                    let spans: Vec<Span> = (0..length).map(|i| Span { start: i * spread, route: route(i) }).collect();
                    rows.fill(prefix("99002"), &spans).unwrap();
                    let asked: Vec<(u64, u32)> =
                        (0..length * spread + 5).map(|territory| (service("99002000000000"), territory)).collect();
                    let expected: Vec<_> =
                        asked.iter().map(|(_, territory)| route((territory / spread).min(length - 1))).collect();
                    let single: Vec<_> = asked.iter().map(|(service, t)| rows.find(*service, *t)).collect();
                    assert_eq!(single, expected, "length {length}, spread {spread}");
                    assert_eq!(batched(&rows, &asked), expected, "length {length}, spread {spread}");
                }
            }
        }
    }

    #[test]
    fn a_row_without_an_answer_asks_the_next_less_specific_prefix() {
        for territories in [FEW, MANY] {
            let prefixes = ["99", "99050", "99050012104", "99050012104001"].map(prefix);
            let mut rows = rows(territories, &prefixes);
            let row = |start, route| [Span { start: 0, route: None }, Span { start, route: Some(route) }];
            for (number, prefix) in (0..).zip(prefixes) {
                rows.fill(prefix, &row(10 * (number + 1), number)).unwrap();
            }
            let cases = [
                ("99050012104001", 9, None),
                ("99050012104001", 10, Some(0)),
                ("99050012104001", 20, Some(1)),
                ("99050012104001", 30, Some(2)),
                ("99050012104001", 40, Some(3)),
                ("99050012000000", 50, Some(1)),
                ("99050012104002", 50, Some(2)),
                ("99051000000000", 50, Some(0)),
                ("99051000000000", 5, None),
                ("99000000000000", 5, None),
                ("99000000000000", 10, Some(0)),
            ];
            let asked: Vec<(u64, u32)> = cases.iter().map(|(key, territory, _)| (service(key), *territory)).collect();
            let expected: Vec<Option<u32>> = cases.iter().map(|(.., expected)| *expected).collect();
            let single: Vec<_> = asked.iter().map(|(service, territory)| rows.find(*service, *territory)).collect();
            assert_eq!(single, expected);
            assert_eq!(batched(&rows, &asked), expected);
        }
    }

    #[test]
    fn two_slots_are_a_cache_line() {
        assert_eq!(size_of::<Slot<Narrow>>(), 32);
    }

    proptest! {
        #[test]
        fn any_spans_answer_like_a_scan(
            starts in prop::collection::btree_map(1u32..3_000, prop::option::of(0u32..1_000), 0..400),
            crowded in prop::collection::btree_map(1_000u32..1_100, prop::option::of(0u32..1_000), 0..100),
            territories in 3_001usize..70_000,
        ) {
            let mut spans = vec![Span { start: 0, route: None }];
            let mut all = starts;
            all.extend(crowded);
            spans.extend(all.iter().map(|(start, route)| Span { start: *start, route: *route }));
            let mut rows = rows(territories, &[ANY]);
            rows.fill(ANY, &spans).unwrap();
            for territory in 0..3_001 {
                let expected = spans[spans.partition_point(|span| span.start <= territory) - 1].route;
                prop_assert_eq!(rows.find(ANY, territory), expected);
            }
        }
    }
}
