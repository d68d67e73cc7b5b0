//! For a service key and a territory number, which route answers?
//!
//! Every service prefix that some route names has a node, and every node a row: a function from territory numbers
//! (preorder, see `territories.rs`) to its routes that changes at a few places, the spans. A row without an answer
//! passes the question to the node of the next less specific prefix.
//!
//! Laid out for memory latency: a node is one cache line with the key it is found by and the numbers at which its leaves
//! begin; a leaf is one line with 16 spans. A usual lookup in a table of a million rules fetches one node and one leaf.
//! Numbers have 16 bits when territories and rows are few enough (all of Germany is), else 32.

use kernpost_codecs::{ServiceKey, ServicePrefix};

use super::perfect_hash::PerfectHash;

/// From `start` on, up to the next span of the row, `route` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) route: Option<u32>,
}

/// The rows of a table.
#[derive(Debug)]
pub(super) enum Rows {
    /// 16-bit numbers: 24 in a node, 16 spans in a leaf.
    Narrow(Forest<u16, 24, 16>),
    /// 32-bit numbers: 12 in a node, 8 spans in a leaf.
    Wide(Forest<u32, 12, 8>),
}

impl Default for Rows {
    fn default() -> Self {
        Self::Narrow(Forest::default())
    }
}

impl Rows {
    /// Empty rows for these service prefixes and *any*; `wide` for tables that do not fit 16-bit numbers.
    ///
    /// `None` when there are 2^32 prefixes or more.
    pub(super) fn new(prefixes: impl Iterator<Item = ServicePrefix>, wide: bool) -> Option<Self> {
        let mut keys: Vec<u64> = prefixes.map(|prefix| key_of(prefix.as_u64())).collect();
        keys.push(ANY);
        keys.sort_unstable();
        keys.dedup();
        if wide { Forest::new(&keys).map(Self::Wide) } else { Forest::new(&keys).map(Self::Narrow) }
    }

    /// Stores the row of a prefix. `spans` ascend strictly and begin at 0; their routes are `first_route` or later ones.
    ///
    /// `None` when a number does not fit or the prefix was not named.
    pub(super) fn fill(&mut self, prefix: ServicePrefix, spans: &[Span], first_route: u32) -> Option<()> {
        match self {
            Self::Narrow(rows) => rows.fill(key_of(prefix.as_u64()), spans, first_route),
            Self::Wide(rows) => rows.fill(key_of(prefix.as_u64()), spans, first_route),
        }
    }

    /// The route of the most specific service prefix that has one for this territory.
    #[inline]
    pub(super) fn find(&self, service: ServiceKey, territory: u32) -> Option<u32> {
        let key = key_of(service.as_u64());
        match self {
            Self::Narrow(rows) => rows.find(key, u16::try_from(territory).ok()?),
            Self::Wide(rows) => rows.find(key, territory),
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

/// Key of the empty service prefix.
const ANY: u64 = 0;
/// What remains of a key when the detail, activity, object and group are cut off.
const CUTS: [u64; 4] = [1_000, 1_000_000, 1_000_000_000, 1_000_000_000_000];

/// A service key or prefix without its `99`. A zero group ends a prefix (WIRE 1.4), so the number alone identifies it.
#[inline]
fn key_of(number: u64) -> u64 {
    number.wrapping_sub(99_000_000_000_000)
}

/// The keys of the prefixes above `key`, the most specific first; those equal to `key` are left out.
#[inline]
fn above(key: u64) -> impl Iterator<Item = u64> {
    CUTS.into_iter().map(move |cut| key - key % cut).filter(move |above| *above != key)
}

/// A territory number or a route's place in its row, in 16 or 32 bits. The largest value means "none".
pub(super) trait Number: Copy + Ord {
    const NONE: Self;
    /// `None` when `value` does not fit below [`Number::NONE`].
    fn from_u32(value: u32) -> Option<Self>;
    fn to_u32(self) -> u32;
}

impl Number for u16 {
    const NONE: Self = Self::MAX;
    fn from_u32(value: u32) -> Option<Self> {
        Self::try_from(value).ok().filter(|narrow| *narrow != Self::NONE)
    }
    #[inline]
    fn to_u32(self) -> u32 {
        u32::from(self)
    }
}

impl Number for u32 {
    const NONE: Self = Self::MAX;
    fn from_u32(value: u32) -> Option<Self> {
        Some(value).filter(|value| *value != Self::NONE)
    }
    #[inline]
    fn to_u32(self) -> u32 {
        self
    }
}

/// Bits of the number of leaves in a node's head.
const LEAVES_BITS: u32 = 20;
/// Bits of the stride in a node's head, above the number of leaves; the key is above both.
const STRIDE_BITS: u32 = 4;
/// Key of a node that is none.
const NO_KEY: u64 = (1 << (u64::BITS - LEAVES_BITS - STRIDE_BITS)) - 1;

/// A service prefix and where its row lies. One cache line.
///
/// The leaves fall into groups of 2^stride; `begins` are the first numbers of all groups but the first.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Node<N, const GROUPS: usize> {
    /// Key, stride and number of leaves.
    head: u64,
    first_leaf: u32,
    /// Places of routes are counted from here.
    first_route: u32,
    /// Ascending, padded with `NONE`.
    begins: [N; GROUPS],
}

impl<N: Number, const GROUPS: usize> Node<N, GROUPS> {
    /// A node without leaves.
    fn new(key: u64) -> Self {
        let head = key << (LEAVES_BITS + STRIDE_BITS);
        Self { head, first_leaf: 0, first_route: 0, begins: [N::NONE; GROUPS] }
    }

    #[inline]
    fn key(&self) -> u64 {
        self.head >> (LEAVES_BITS + STRIDE_BITS)
    }

    /// log2 of the number of leaves in a group.
    #[inline]
    fn stride(&self) -> u32 {
        (self.head >> LEAVES_BITS) as u32 & ((1 << STRIDE_BITS) - 1)
    }

    #[inline]
    fn leaves(&self) -> usize {
        self.head as usize & ((1 << LEAVES_BITS) - 1)
    }
}

/// Where spans begin, ascending, and the route that answers in each; padded with `NONE`. One cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Leaf<N, const SPANS: usize> {
    starts: [N; SPANS],
    routes: [N; SPANS],
}

/// Nodes, by the perfect hash of their keys, and the leaves of all rows.
#[derive(Debug)]
pub(super) struct Forest<N, const GROUPS: usize, const SPANS: usize> {
    hash: PerfectHash,
    nodes: Vec<Node<N, GROUPS>>,
    /// For each node the place of the next less specific one; for *any* its own.
    parents: Vec<u32>,
    leaves: Vec<Leaf<N, SPANS>>,
    /// First number of every leaf, for rows with several leaves in a group.
    leaf_begins: Vec<N>,
}

impl<N, const GROUPS: usize, const SPANS: usize> Default for Forest<N, GROUPS, SPANS> {
    fn default() -> Self {
        Self {
            hash: PerfectHash::default(),
            nodes: Vec::new(),
            parents: Vec::new(),
            leaves: Vec::new(),
            leaf_begins: Vec::new(),
        }
    }
}

impl<N: Number, const GROUPS: usize, const SPANS: usize> Forest<N, GROUPS, SPANS> {
    /// `keys` ascend strictly and contain [`ANY`].
    fn new(keys: &[u64]) -> Option<Self> {
        let hash = PerfectHash::new(keys)?;
        let places = hash.places();
        let nodes = vec![Node::new(NO_KEY); places];
        // Leaf 0 answers for nodes that have no row.
        let nobody = Leaf { starts: [N::NONE; SPANS], routes: [N::NONE; SPANS] };
        let (leaves, leaf_begins) = (vec![nobody], vec![N::NONE]);
        let mut forest = Self { hash, nodes, parents: vec![0; places], leaves, leaf_begins };
        for key in keys {
            let place = forest.hash.place(*key);
            *forest.nodes.get_mut(place)? = Node::new(*key);
            // Ascending order puts every prefix after those above it.
            let parent = above(*key).find_map(|above| forest.place_of(above)).unwrap_or(place);
            *forest.parents.get_mut(place)? = u32::try_from(parent).ok()?;
        }
        Some(forest)
    }

    fn fill(&mut self, key: u64, spans: &[Span], first_route: u32) -> Option<()> {
        let place = self.place_of(key)?;
        let first_leaf = self.leaves.len();
        for chunk in spans.chunks(SPANS) {
            let mut leaf = Leaf { starts: [N::NONE; SPANS], routes: [N::NONE; SPANS] };
            for ((start, route), span) in leaf.starts.iter_mut().zip(&mut leaf.routes).zip(chunk) {
                *start = N::from_u32(span.start)?;
                if let Some(answer) = span.route {
                    *route = N::from_u32(answer.checked_sub(first_route)?)?;
                }
            }
            self.leaf_begins.push(*leaf.starts.first()?);
            self.leaves.push(leaf);
        }
        let leaves = self.leaves.len().checked_sub(first_leaf)?;
        let stride = (0u32..1 << STRIDE_BITS).find(|stride| leaves.div_ceil(1 << stride) <= GROUPS + 1)?;
        if leaves >= 1 << LEAVES_BITS {
            return None;
        }
        let mut node = Node { first_leaf: u32::try_from(first_leaf).ok()?, first_route, ..Node::new(key) };
        node.head |= u64::from(stride) << LEAVES_BITS | leaves as u64;
        let groups = self.leaf_begins.get(first_leaf..)?.iter().step_by(1 << stride).skip(1);
        for (begin, first) in node.begins.iter_mut().zip(groups) {
            *begin = *first;
        }
        *self.nodes.get_mut(place)? = node;
        Some(())
    }

    fn place_of(&self, key: u64) -> Option<usize> {
        let place = self.hash.place(key);
        self.nodes.get(place).filter(|node| node.key() == key).map(|_| place)
    }

    #[inline]
    fn find(&self, key: u64, territory: N) -> Option<u32> {
        let place = self.hash.place(key);
        let node = self.nodes.get(place)?;
        if node.key() != key {
            return self.find_above(above(key).find_map(|above| self.place_of(above))?, territory);
        }
        match self.answer(node, territory) {
            None if key != ANY => self.find_above(*self.parents.get(place)? as usize, territory),
            answer => answer,
        }
    }

    /// The answer of a node or of the next less specific one that has an answer.
    #[inline(never)]
    fn find_above(&self, mut place: usize, territory: N) -> Option<u32> {
        loop {
            let node = self.nodes.get(place)?;
            match self.answer(node, territory) {
                None if node.key() != ANY => place = *self.parents.get(place)? as usize,
                answer => return answer,
            }
        }
    }

    /// The row's own answer. Compares without branches: what memory decides would often be guessed wrong.
    #[inline]
    fn answer(&self, node: &Node<N, GROUPS>, territory: N) -> Option<u32> {
        let mut leaf = node.first_leaf as usize + at_or_before(&node.begins, territory);
        if node.stride() > 0 {
            leaf = self.leaf_in_group(node, territory)?;
        }
        let leaf = self.leaves.get(leaf)?;
        // The leaf begins at or before the territory, so only the other starts are compared.
        let place = *leaf.routes.get(at_or_before(leaf.starts.split_first()?.1, territory))?;
        if place == N::NONE { None } else { node.first_route.checked_add(place.to_u32()) }
    }

    #[inline(never)]
    fn leaf_in_group(&self, node: &Node<N, GROUPS>, territory: N) -> Option<usize> {
        let first = node.first_leaf as usize + (at_or_before(&node.begins, territory) << node.stride());
        let end = (first + (1 << node.stride())).min(node.first_leaf as usize + node.leaves());
        let begins = self.leaf_begins.get(first..end)?;
        Some(first + begins.partition_point(|begin| *begin <= territory).saturating_sub(1))
    }

    fn bytes(&self) -> usize {
        self.hash.bytes()
            + self.nodes.len() * (size_of::<Node<N, GROUPS>>() + size_of::<u32>())
            + self.leaves.len() * (size_of::<Leaf<N, SPANS>>() + size_of::<N>())
    }
}

/// How many of the ascending numbers, fewer than 32, are ≤ `territory`. Halving without branches, few instructions: what
/// fits the processor's window decides how many lookups overlap.
#[inline]
fn at_or_before<N: Number>(numbers: &[N], territory: N) -> usize {
    let mut count = 0;
    for step in [16, 8, 4, 2, 1] {
        let more = numbers.get(count + step - 1).is_some_and(|number| *number <= territory);
        count += step * usize::from(more);
    }
    count
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn prefix(text: &str) -> ServicePrefix {
        text.parse().unwrap()
    }

    fn service(text: &str) -> ServiceKey {
        text.parse().unwrap()
    }

    #[test]
    fn every_row_length_answers_like_a_scan_in_both_widths() {
        for wide in [false, true] {
            for length in [1u32, 2, 15, 16, 17, 96, 97, 104, 105, 400, 401, 800, 801, 4_097, 20_000] {
                let mut rows = Rows::new([prefix("99001"), prefix("99002")].into_iter(), wide).unwrap();
                rows.fill(prefix("99001"), &[Span { start: 0, route: Some(7) }], 7).unwrap();
                let route = |place: u32| (place % 5 != 4).then_some(1_000_000 + place);
                let spans: Vec<Span> = (0..length).map(|i| Span { start: i * 3, route: route(i) }).collect();
                rows.fill(prefix("99002"), &spans, 1_000_000).unwrap();
                for territory in 0..length * 3 + 5 {
                    let expected = route((territory / 3).min(length - 1));
                    let found = rows.find(service("99002000000000"), territory);
                    assert_eq!(found, expected, "length {length}, territory {territory}");
                }
            }
        }
    }

    #[test]
    fn a_row_without_an_answer_asks_the_next_less_specific_prefix() {
        for wide in [false, true] {
            let prefixes = ["99", "99050", "99050012104", "99050012104001"].map(prefix);
            let mut rows = Rows::new(prefixes.into_iter(), wide).unwrap();
            let row = |start, route| [Span { start: 0, route: None }, Span { start, route: Some(route) }];
            for (number, prefix) in (0..).zip(prefixes) {
                rows.fill(prefix, &row(10 * (number + 1), number), 0).unwrap();
            }
            let find = |territory| rows.find(service("99050012104001"), territory);
            assert_eq!([find(9), find(10), find(20), find(30), find(40)], [None, Some(0), Some(1), Some(2), Some(3)]);
            assert_eq!(rows.find(service("99050012000000"), 50), Some(1));
            assert_eq!(rows.find(service("99050012104002"), 50), Some(2));
            assert_eq!(rows.find(service("99051000000000"), 50), Some(0));
            assert_eq!(rows.find(service("99051000000000"), 5), None);
        }
    }

    #[test]
    fn what_does_not_fit_16_bits_is_refused_there_and_kept_in_32() {
        for span in [Span { start: 70_000, route: None }, Span { start: 1, route: Some(65_535) }] {
            let spans = [Span { start: 0, route: None }, span];
            let filled = |wide| {
                let mut rows = Rows::new(std::iter::empty(), wide).unwrap();
                rows.fill(prefix("99"), &spans, 0).map(|()| rows)
            };
            assert!(filled(false).is_none());
            assert_eq!(filled(true).unwrap().find(service("99050000000000"), span.start), span.route);
        }
    }

    #[test]
    fn nodes_and_leaves_are_cache_lines() {
        assert_eq!((size_of::<Node<u16, 24>>(), size_of::<Node<u32, 12>>()), (64, 64));
        assert_eq!((size_of::<Leaf<u16, 16>>(), size_of::<Leaf<u32, 8>>()), (64, 64));
    }
}
