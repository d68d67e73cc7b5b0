//! What goes wrong in a run, and when: drawn from the seed before it begins, so that it does not depend on what happens.
//!
//! Every event is drawn by a generator of its own, from the seed, its kind and its number: with some events left out the others are
//! exactly what they were, which is what makes a run smaller.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::network::{Change, DiskFault, EndpointDiskFault, Event, Node};

/// What a plan draws, each kind by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A message the portal sends.
    Send,
    /// A link cut at random.
    Cut,
    /// A pair of nodes that cannot reach each other for a while, and know it at once.
    Part,
    /// A pair of nodes between which nothing arrives for a while, in one direction or in both.
    Silence,
    /// A dialler that gives up a link which its peer still believes in.
    HalfDead,
    /// An endpoint that has a second link beside the one it has.
    Second,
    /// Bundles that arrive once more, on another link.
    Replay,
    /// A process killed at random (it starts again).
    Crash,
    /// An authority that closes for a night.
    Night,
    /// A table published with the same in it.
    Publish,
    /// A table without something, and after a while one with it again.
    Change,
    /// A disk of a router that fails somehow.
    Disk,
    /// A disk of an endpoint that fails.
    EndpointDisk,
    /// A clock that steps.
    Step,
}

impl Kind {
    /// All of them, and how many of each a lively run has at most.
    pub const ALL: [(Self, u64); 14] = [
        (Self::Send, 40),
        (Self::Cut, 4),
        (Self::Part, 1),
        (Self::Silence, 2),
        (Self::HalfDead, 2),
        (Self::Second, 1),
        (Self::Replay, 2),
        (Self::Crash, 4),
        (Self::Night, 2),
        (Self::Publish, 1),
        (Self::Change, 1),
        (Self::Disk, 3),
        (Self::EndpointDisk, 1),
        (Self::Step, 2),
    ];
}

/// One event of a plan: its kind, and its number among those.
pub type Item = (Kind, u64);

/// What a run is made of; everything else follows from the seed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// What is in it.
    pub items: BTreeSet<Item>,
    /// Faults and sends happen within this time, ms.
    pub busy_ms: u64,
    /// After that everything settles within this time, ms.
    pub calm_ms: u64,
}

impl Plan {
    /// A lively run of some dozen messages. Every other seed has fewer faults, down to none of a kind.
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = generator(seed, COUNTS);
        let all = seed.is_multiple_of(2);
        let counts = Kind::ALL.map(|(kind, most)| match kind {
            Kind::Send => (kind, most),
            _ if all => (kind, most),
            _ => (kind, rng.random_range(0..=most)),
        });
        let items = counts.into_iter().flat_map(|(kind, count)| (0..count).map(move |number| (kind, number)));
        Self { seed, items: items.collect(), busy_ms: 30_000, calm_ms: 3_600_000 }
    }

    /// The same without anything going wrong.
    pub fn calm(seed: u64) -> Self {
        let mut plan = Self::of_seed(seed);
        plan.items.retain(|(kind, _)| *kind == Kind::Send);
        plan
    }

    /// The same without these.
    #[must_use]
    pub fn without(&self, items: &[Item]) -> Self {
        let mut plan = self.clone();
        plan.items.retain(|item| !items.contains(item));
        plan
    }

    /// Messages in it.
    pub fn messages(&self) -> u64 {
        self.items.iter().filter(|(kind, _)| *kind == Kind::Send).count() as u64
    }

    /// Every event of it, with its time in µs.
    pub fn script(&self) -> Vec<(u64, Event)> {
        self.items.iter().flat_map(|item| self.events_of(*item)).collect()
    }

    /// What an item leads to: an event, or one and its end.
    pub fn events_of(&self, (kind, number): Item) -> Vec<(u64, Event)> {
        let mut rng = generator(self.seed, (kind as u64) << 32 | number);
        let busy_us = self.busy_ms * 1_000;
        let at = rng.random_range(0..busy_us);
        let any_pair = |rng: &mut StdRng| PAIRS[rng.random_range(0..PAIRS.len())];
        let event = match kind {
            Kind::Send => Event::Send { number },
            Kind::Cut => {
                let (from, to) = any_pair(&mut rng);
                Event::Cut { from, to }
            }
            Kind::Part => {
                let (one, other) = any_pair(&mut rng);
                Event::Part { one, other, until_us: at + rng.random_range(0..busy_us) }
            }
            Kind::Silence => {
                let (one, other) = any_pair(&mut rng);
                let ways = [(true, false), (false, true), (true, true)][rng.random_range(0..3)];
                // Half of them end before anybody gives up.
                let idle_us = rng.random_range(3_000_000..30_000_000);
                let until_us = at + rng.random_range(100_000..2 * idle_us);
                Event::Silence { one, other, ways, until_us, idle_us }
            }
            Kind::HalfDead => {
                let (from, to) = any_pair(&mut rng);
                Event::HalfDead { from, to, for_us: rng.random_range(500_000..30_000_000) }
            }
            Kind::Second => {
                let (from, to) = (rng.random_range(0..3), rng.random_range(0..2));
                Event::Second { from: Node::Endpoint(from), to: Node::Router(to) }
            }
            Kind::Replay => {
                let (one, other) = any_pair(&mut rng);
                let (from, to) = if rng.random_bool(0.5) { (one, other) } else { (other, one) };
                Event::Replay { from, to, for_us: rng.random_range(500_000..20_000_000) }
            }
            Kind::Crash => {
                let node = NODES[rng.random_range(0..NODES.len())];
                Event::Crash { node, for_us: rng.random_range(50_000..3_000_000), writing: rng.random_bool(0.5) }
            }
            Kind::Night => {
                let node = Node::Endpoint(rng.random_range(1..=2));
                Event::Crash { node, for_us: rng.random_range(1_000_000..busy_us * 3), writing: false }
            }
            Kind::Publish => Event::Publish { change: None },
            Kind::Change => {
                let change = Change::ALL[rng.random_range(0..Change::ALL.len())];
                let until = at + rng.random_range(500_000..busy_us);
                let begin = Event::Publish { change: Some((change, true)) };
                return vec![(at, begin), (until, Event::Publish { change: Some((change, false)) })];
            }
            Kind::Disk => {
                let (on, fault) = (rng.random_range(0..2), FAULTS[rng.random_range(0..FAULTS.len())]);
                let begin = (at, Event::Disk { at: on, fault });
                let until = at + rng.random_range(0..busy_us);
                return match fault {
                    DiskFault::Full => vec![begin, (until, Event::Disk { at: on, fault: DiskFault::Room })],
                    DiskFault::ReadOnly => vec![begin, (until, Event::Disk { at: on, fault: DiskFault::Writable })],
                    _ => vec![begin],
                };
            }
            Kind::EndpointDisk => {
                let on = rng.random_range(0..3);
                let fault = EndpointDiskFault { kept: rng.random_bool(0.5) };
                Event::EndpointDisk { at: on, fault, restart_us: rng.random_range(500_000..10_000_000) }
            }
            Kind::Step => {
                let node = NODES[rng.random_range(0..NODES.len())];
                Event::Step { node, offset_ms: rng.random_range(-20_000..=20_000) }
            }
        };
        vec![(at, event)]
    }
}

/// The generator of one thing of a run.
pub fn generator(seed: u64, what: u64) -> StdRng {
    let mut both = [0; 32];
    both[..8].copy_from_slice(&seed.to_be_bytes());
    both[8..16].copy_from_slice(&what.to_be_bytes());
    StdRng::from_seed(both)
}

/// What the messages are like is drawn by generators from here on, one each.
pub const CONTENT: u64 = 1 << 60;
/// How many there are of each kind.
const COUNTS: u64 = 2 << 60;

const PAIRS: [(Node, Node); 4] = [
    (Node::Router(0), Node::Router(1)),
    (Node::Endpoint(0), Node::Router(0)),
    (Node::Endpoint(1), Node::Router(1)),
    (Node::Endpoint(2), Node::Router(0)),
];

pub(super) const NODES: [Node; 5] =
    [Node::Router(0), Node::Router(1), Node::Endpoint(0), Node::Endpoint(1), Node::Endpoint(2)];

const FAULTS: [DiskFault; 12] = [
    DiskFault::Flip,
    DiskFault::Flip,
    DiskFault::FlipIndex,
    DiskFault::FlipIndex,
    DiskFault::LoseQueueRows,
    DiskFault::Unreadable,
    DiskFault::Unreadable,
    DiskFault::CommitLost,
    DiskFault::CommitUnclear,
    DiskFault::Full,
    DiskFault::ReadOnly,
    DiskFault::Full,
];
