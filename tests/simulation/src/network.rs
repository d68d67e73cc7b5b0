//! What is on its way, and when it arrives: a queue of events ordered by virtual time, then by when they were scheduled.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use bytes::Bytes;
use kernpost_codecs::LaneKind;
use rand::Rng;
use rand::rngs::StdRng;

/// A process of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    Router(usize),
    Endpoint(usize),
}

/// A connection; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(pub u64);

/// A stream of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    Control,
    Lane(LaneKind),
}

#[derive(Debug, Clone)]
pub enum Event {
    /// Bytes arrive at one side of a connection.
    Arrive { connection: Connection, to: Node, stream: Stream, bytes: Bytes },
    /// One side notices that a connection is gone.
    Lost { connection: Connection, at: Node },
    /// What a lane of an endpoint wrote has left.
    Writable { connection: Connection, at: Node, stream: Stream },
    /// An endpoint tries to have a connection to a router; a router to its peer.
    Dial { from: Node, to: Node },
    /// The portal takes in the next message.
    Send,
    /// Another table is published everywhere.
    Publish,
    /// The application of an endpoint answers.
    Verdict { at: usize, incarnation: u64, delivery: kernpost_endpoint::core::DeliveryId },
    /// A write to an endpoint's durable outbox is done.
    Stored { at: usize, incarnation: u64, number: u64 },
    /// The fsync of a router's spool is done, or has failed.
    Spooled { at: usize, incarnation: u64 },
    /// Something happens to the disk of a router.
    Disk { at: usize, fault: DiskFault },
    /// Two nodes cannot reach each other until this time.
    Part { one: Node, other: Node, until_us: u64 },
    /// A journal write of an endpoint has become durable.
    Journalled { at: usize, incarnation: u64, delivery: kernpost_endpoint::core::DeliveryId },
    /// Something on a node has a deadline.
    Wake { at: Node, incarnation: u64 },
    /// A connection breaks.
    Cut { from: Node, to: Node },
    /// A process dies at once, and comes back after so long.
    Crash { node: Node, for_us: u64 },
    /// The wall clock of a node steps to this offset.
    Step { node: Node, offset_ms: i64 },
    /// It starts again.
    Start { node: Node },
}

/// What befalls a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// A bit of a stored body, or of a stored index.
    Flip,
    /// The next commit fails, and is not on the disk.
    CommitLost,
    /// The next commit fails, and is on the disk all the same.
    CommitUnclear,
    /// It is full from now on.
    Full,
    /// It has room again.
    Room,
}

/// The two ends of a live connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub dialler: Node,
    pub listener: Node,
}

impl Ends {
    pub fn other(&self, node: Node) -> Node {
        if node == self.dialler { self.listener } else { self.dialler }
    }

    pub fn joins(&self, one: Node, other: Node) -> bool {
        (self.dialler, self.listener) == (one, other) || (self.dialler, self.listener) == (other, one)
    }
}

/// The network and the clock.
pub struct Network {
    pub now_us: u64,
    pub rng: StdRng,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    count: u64,
    pub live: BTreeMap<Connection, Ends>,
    last_arrival: BTreeMap<(Connection, Node, Stream), u64>,
    pub longest_latency_us: u64,
    /// Who cannot reach whom, until when.
    parted: Vec<(Node, Node, u64)>,
}

impl Network {
    pub fn new(rng: StdRng, longest_latency_us: u64) -> Self {
        Self {
            now_us: 0,
            rng,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            count: 0,
            live: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            longest_latency_us,
            parted: Vec::new(),
        }
    }

    pub fn schedule(&mut self, at_us: u64, event: Event) {
        self.count += 1;
        self.queue.push(Reverse((at_us.max(self.now_us), self.count)));
        self.events.insert(self.count, event);
    }

    pub fn after(&mut self, us: u64, event: Event) {
        self.schedule(self.now_us + us, event);
    }

    /// The next event, and time moves to it.
    pub fn next_event(&mut self) -> Option<Event> {
        let Reverse((at, number)) = self.queue.pop()?;
        self.now_us = self.now_us.max(at);
        self.events.remove(&number)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn latency(&mut self) -> u64 {
        self.rng.random_range(50..=self.longest_latency_us)
    }

    /// Bytes of one stream arrive in order; streams may overtake each other.
    pub fn send(&mut self, connection: Connection, from: Node, stream: Stream, bytes: Bytes) {
        let Some(ends) = self.live.get(&connection).copied() else { return };
        let to = ends.other(from);
        let at = self.now_us + self.latency();
        let last = self.last_arrival.entry((connection, to, stream)).or_insert(0);
        *last = at.max(*last);
        let at = *last;
        self.schedule(at, Event::Arrive { connection, to, stream, bytes });
    }

    /// The connection is gone; both sides notice on their own time.
    pub fn break_connection(&mut self, connection: Connection) {
        let Some(ends) = self.live.remove(&connection) else { return };
        self.last_arrival.retain(|(c, ..), _| *c != connection);
        for at in [ends.dialler, ends.listener] {
            let after = self.rng.random_range(0..=200_000);
            self.after(after, Event::Lost { connection, at });
        }
    }

    /// Nothing passes between the two until then.
    pub fn part(&mut self, one: Node, other: Node, until_us: u64) {
        self.parted.push((one, other, until_us));
        let joined = self.live.iter().find(|(_, ends)| ends.joins(one, other)).map(|(connection, _)| *connection);
        if let Some(connection) = joined {
            self.break_connection(connection);
        }
    }

    pub fn is_parted(&self, one: Node, other: Node) -> bool {
        let pair = |a: &Node, b: &Node| (*a, *b) == (one, other) || (*b, *a) == (one, other);
        self.parted.iter().any(|(a, b, until)| pair(a, b) && *until > self.now_us)
    }

    pub fn connections_of(&self, node: Node) -> Vec<Connection> {
        self.live.iter().filter(|(_, e)| e.dialler == node || e.listener == node).map(|(c, _)| *c).collect()
    }
}
