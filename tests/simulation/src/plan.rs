//! What goes wrong in a run, and when: drawn from the seed before it begins, so that it does not depend on what happens.

use rand::Rng;
use rand::rngs::StdRng;

use super::network::{DiskFault, Event, Node};

/// What a run is made of; everything else follows from the seed.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// Messages the portal sends.
    pub messages: u64,
    /// Links cut at random.
    pub cuts: u64,
    /// Pairs of nodes that cannot reach each other for a while.
    pub partitions: u64,
    /// Processes killed at random (they start again).
    pub crashes: u64,
    /// Authorities that close for a night.
    pub nights: u64,
    /// New tables published at random.
    pub publishes: u64,
    /// Disks of routers that fail somehow.
    pub disk_faults: u64,
    /// Clocks that step.
    pub clock_steps: u64,
    /// Faults and sends happen within this time, ms.
    pub busy_ms: u64,
    /// After that everything settles within this time, ms.
    pub calm_ms: u64,
}

impl Plan {
    /// A lively run of some dozen messages.
    pub fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            messages: 40,
            cuts: 4,
            partitions: 1,
            crashes: 4,
            nights: 2,
            publishes: 1,
            disk_faults: 2,
            clock_steps: 2,
            busy_ms: 30_000,
            calm_ms: 3_600_000,
        }
    }

    /// The same without anything going wrong.
    pub fn calm(seed: u64) -> Self {
        let (cuts, partitions, crashes, nights, publishes, disk_faults, clock_steps) = (0, 0, 0, 0, 0, 0, 0);
        Self { cuts, partitions, crashes, nights, publishes, disk_faults, clock_steps, ..Self::of_seed(seed) }
    }

    /// Plans with less of one thing.
    pub(super) fn smaller(&self) -> Vec<Self> {
        let parts: [fn(&mut Self) -> &mut u64; 8] = [
            |plan| &mut plan.messages,
            |plan| &mut plan.cuts,
            |plan| &mut plan.partitions,
            |plan| &mut plan.crashes,
            |plan| &mut plan.nights,
            |plan| &mut plan.publishes,
            |plan| &mut plan.disk_faults,
            |plan| &mut plan.clock_steps,
        ];
        let mut plans = Vec::new();
        for part in parts {
            for less in [|count: u64| count / 2, |count: u64| count.saturating_sub(1)] {
                let mut plan = *self;
                let count = part(&mut plan);
                if *count > 0 {
                    *count = less(*count);
                    plans.push(plan);
                }
            }
        }
        plans
    }

    /// Every event of it, with its time in µs.
    pub(super) fn script(&self, rng: &mut StdRng) -> Vec<(u64, Event)> {
        let busy_us = self.busy_ms * 1_000;
        let mut script = Vec::new();
        for _ in 0..self.messages {
            script.push((rng.random_range(0..busy_us), Event::Send));
        }
        for _ in 0..self.cuts {
            let (from, to) = PAIRS[rng.random_range(0..PAIRS.len())];
            script.push((rng.random_range(0..busy_us), Event::Cut { from, to }));
        }
        for _ in 0..self.partitions {
            let (one, other) = PAIRS[rng.random_range(0..PAIRS.len())];
            let at = rng.random_range(0..busy_us);
            script.push((at, Event::Part { one, other, until_us: at + rng.random_range(0..busy_us) }));
        }
        for _ in 0..self.crashes {
            let node = NODES[rng.random_range(0..NODES.len())];
            let for_us = rng.random_range(50_000..3_000_000);
            script.push((rng.random_range(0..busy_us), Event::Crash { node, for_us }));
        }
        for _ in 0..self.nights {
            let node = Node::Endpoint(rng.random_range(1..=2));
            let for_us = rng.random_range(1_000_000..busy_us * 3);
            script.push((rng.random_range(0..busy_us), Event::Crash { node, for_us }));
        }
        for _ in 0..self.publishes {
            script.push((rng.random_range(0..busy_us), Event::Publish));
        }
        for _ in 0..self.disk_faults {
            let (at, fault) = (rng.random_range(0..2), FAULTS[rng.random_range(0..FAULTS.len())]);
            let when = rng.random_range(0..busy_us);
            script.push((when, Event::Disk { at, fault }));
            if fault == DiskFault::Full {
                script.push((when + rng.random_range(0..busy_us), Event::Disk { at, fault: DiskFault::Room }));
            }
        }
        for _ in 0..self.clock_steps {
            let node = NODES[rng.random_range(0..NODES.len())];
            script.push((
                rng.random_range(0..busy_us),
                Event::Step { node, offset_ms: rng.random_range(-20_000..=20_000) },
            ));
        }
        script
    }
}

const PAIRS: [(Node, Node); 4] = [
    (Node::Router(0), Node::Router(1)),
    (Node::Endpoint(0), Node::Router(0)),
    (Node::Endpoint(1), Node::Router(1)),
    (Node::Endpoint(2), Node::Router(0)),
];

pub(super) const NODES: [Node; 5] =
    [Node::Router(0), Node::Router(1), Node::Endpoint(0), Node::Endpoint(1), Node::Endpoint(2)];

const FAULTS: [DiskFault; 5] =
    [DiskFault::Flip, DiskFault::Flip, DiskFault::CommitLost, DiskFault::CommitUnclear, DiskFault::Full];
