//! What is on its way, and when it arrives: a queue of events ordered by virtual time, then by when they were scheduled.
//!
//! A link is two ends that may disagree: each gives it up on its own. While a direction is silent, what would arrive is held back, as
//! by a transport that sends it again and again; it arrives late, or is lost with the link when its receiver's patience ends.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use bytes::Bytes;
use kernpost_codecs::LaneKind;
use rand::Rng;
use rand::rngs::StdRng;

use super::mishap::{Mishap, Mishaps};

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
    /// The portal takes in a message.
    Send { number: u64 },
    /// Another table is published everywhere: with the same in it, or with a change made or taken back.
    Publish { change: Option<(Change, bool)> },
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
    /// Nothing arrives between the two until then: from one, from the other, or both. Who hears nothing for `idle_us` gives up.
    Silence { one: Node, other: Node, ways: (bool, bool), until_us: u64, idle_us: u64 },
    /// That silence is over.
    Heard { connection: Connection, number: u64 },
    /// One side has heard nothing for too long, if that silence still lasts.
    Idle { connection: Connection, at: Node, number: u64, idle_us: u64 },
    /// The dialler gives up its link; its peer believes in it for so long.
    HalfDead { from: Node, to: Node, for_us: u64 },
    /// An endpoint dials though it has a link.
    Second { from: Node, to: Node },
    /// A bundle of an earlier link arrives again on this one, which its sender has given up; the peer believes in it for so long.
    Replay { from: Node, to: Node, for_us: u64 },
    /// The disk of an endpoint takes no write any more until its process is started again, so much later.
    EndpointDisk { at: usize, fault: EndpointDiskFault, restart_us: u64 },
    /// A connection breaks.
    Cut { from: Node, to: Node },
    /// A process dies, at once or in the middle of its next write, and comes back after so long.
    Crash { node: Node, for_us: u64, writing: bool },
    /// The wall clock of a node steps to this offset.
    Step { node: Node, offset_ms: i64 },
    /// It starts again.
    Start { node: Node },
}

/// What befalls a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// A bit of a stored body, or of a stored head.
    Flip,
    /// A bit of a row of an index.
    FlipIndex,
    /// Rows of queues are gone; the operator restarts the router some time later.
    LoseQueueRows,
    /// A body, head or index row cannot be read any more.
    Unreadable,
    /// The next commit fails, and is not on the disk.
    CommitLost,
    /// The next commit fails, and is on the disk all the same.
    CommitUnclear,
    /// It is full from now on.
    Full,
    /// It has room again.
    Room,
    /// It takes no writes from now on.
    ReadOnly,
    /// It does again.
    Writable,
}

/// What befalls the disk of an endpoint: every write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointDiskFault {
    /// What the first failed write was for is there after the next start all the same.
    pub kept: bool,
}

/// What a table changes for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nobody is responsible for the land any more.
    DropRoute,
    /// The portal may send nothing.
    DropGrant,
    /// The portal's key is revoked.
    RevokeKey,
    /// The land is responsible for the city too.
    MoveRecipient,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DropRoute, Self::DropGrant, Self::RevokeKey, Self::MoveRecipient];
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

/// A connection as its two ends see it.
#[derive(Debug)]
pub struct Link {
    pub ends: Ends,
    /// Which ends have given it up: the dialler, the listener.
    gone: [bool; 2],
    /// The silence in which nothing arrives at the dialler, at the listener.
    silent: [Option<u64>; 2],
    /// What would have arrived meanwhile, in order.
    held_back: VecDeque<(Node, Stream, Bytes)>,
}

impl Link {
    fn side(&self, node: Node) -> usize {
        usize::from(node != self.ends.dialler)
    }

    pub fn is_gone_at(&self, node: Node) -> bool {
        self.gone[self.side(node)]
    }
}

/// A bundle that went over a link.
#[derive(Debug)]
struct Recorded {
    on: Connection,
    stream: Stream,
    bytes: Bytes,
}

/// The network and the clock.
pub struct Network {
    pub now_us: u64,
    pub rng: StdRng,
    pub mishaps: Mishaps,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    count: u64,
    /// Links that at least one end believes in.
    pub live: BTreeMap<Connection, Link>,
    last_arrival: BTreeMap<(Connection, Node, Stream), u64>,
    pub longest_latency_us: u64,
    /// Who cannot reach whom, until when.
    parted: Vec<(Node, Node, u64)>,
    silences: u64,
    /// The last bundles from one node to another: what may be replayed. Bounded by `RECORDED`.
    recorded: BTreeMap<(Node, Node), VecDeque<Recorded>>,
}

impl Network {
    pub fn new(rng: StdRng, longest_latency_us: u64) -> Self {
        Self {
            now_us: 0,
            rng,
            mishaps: Mishaps::default(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            count: 0,
            live: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            longest_latency_us,
            parted: Vec::new(),
            silences: 0,
            recorded: BTreeMap::new(),
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

    pub fn latency(&mut self) -> u64 {
        self.rng.random_range(50..=self.longest_latency_us)
    }

    pub fn open(&mut self, connection: Connection, ends: Ends) {
        let doubted = |link: &Link| {
            link.ends.dialler == ends.dialler && link.ends.listener == ends.listener && !link.is_gone_at(ends.listener)
        };
        if self.live.values().any(doubted) {
            self.mishaps.note(Mishap::LinkedTwice);
        }
        let link = Link { ends, gone: [false; 2], silent: [None; 2], held_back: VecDeque::new() };
        self.live.insert(connection, link);
    }

    /// Bytes of one stream arrive in order; streams may overtake each other.
    pub fn send(&mut self, connection: Connection, from: Node, stream: Stream, bytes: Bytes) {
        let Some(link) = self.live.get(&connection).filter(|link| !link.is_gone_at(from)) else { return };
        let to = link.ends.other(from);
        if matches!(stream, Stream::Lane(LaneKind::Bundle(_))) {
            let recorded = self.recorded.entry((from, to)).or_default();
            recorded.push_back(Recorded { on: connection, stream, bytes: bytes.clone() });
            if recorded.len() > RECORDED {
                recorded.pop_front();
            }
        }
        self.put(connection, to, stream, bytes);
    }

    fn put(&mut self, connection: Connection, to: Node, stream: Stream, bytes: Bytes) {
        let at = self.now_us + self.latency();
        let last = self.last_arrival.entry((connection, to, stream)).or_insert(0);
        *last = at.max(*last);
        let at = *last;
        self.schedule(at, Event::Arrive { connection, to, stream, bytes });
    }

    /// What arrives now; `None`: it does not.
    pub fn arriving(&mut self, connection: Connection, to: Node, stream: Stream, bytes: Bytes) -> Option<Bytes> {
        let link = self.live.get_mut(&connection).filter(|link| !link.is_gone_at(to))?;
        if link.silent[link.side(to)].is_none() {
            return Some(bytes);
        }
        let both = link.silent.iter().all(Option::is_some);
        link.held_back.push_back((to, stream, bytes));
        self.mishaps.note(if both { Mishap::HeldBackBothWays } else { Mishap::HeldBackOneWay });
        None
    }

    /// The connection is gone; both sides notice on their own time.
    pub fn break_connection(&mut self, connection: Connection) {
        let Some(link) = self.live.remove(&connection) else { return };
        self.forget(connection, &link);
        for at in [link.ends.dialler, link.ends.listener] {
            if !link.is_gone_at(at) {
                let after = self.rng.random_range(0..=200_000);
                self.after(after, Event::Lost { connection, at });
            }
        }
    }

    /// One side gives a connection up. False: it had done so.
    pub fn give_up(&mut self, connection: Connection, at: Node) -> bool {
        let Some(link) = self.live.get_mut(&connection) else { return true };
        let side = link.side(at);
        if std::mem::replace(&mut link.gone[side], true) {
            return false;
        }
        if link.gone == [true; 2]
            && let Some(link) = self.live.remove(&connection)
        {
            self.forget(connection, &link);
        }
        true
    }

    fn forget(&mut self, connection: Connection, link: &Link) {
        self.mishaps.add(Mishap::LostInSilence, link.held_back.len() as u64);
        self.last_arrival.retain(|(c, ..), _| *c != connection);
    }

    /// Nothing passes between the two until then, and links break at once.
    pub fn part(&mut self, one: Node, other: Node, until_us: u64) {
        self.mishaps.note(Mishap::Parted);
        self.parted.push((one, other, until_us));
        for connection in self.between(one, other) {
            self.break_connection(connection);
        }
    }

    /// Nothing arrives from `one`, from `other`, or from either until then, and nobody is told.
    pub fn silence(&mut self, (one, other): (Node, Node), ways: (bool, bool), until_us: u64, idle_us: u64) {
        self.parted.push((one, other, until_us));
        for connection in self.between(one, other) {
            self.silences += 1;
            let number = self.silences;
            for (deaf, is) in [(other, ways.0), (one, ways.1)] {
                let Some(link) = self.live.get_mut(&connection).filter(|_| is) else { continue };
                let side = link.side(deaf);
                link.silent[side] = Some(number);
                // Not both at the same instant: the last packet of each came at another time.
                let patience = idle_us + self.rng.random_range(0..1_000_000);
                self.after(patience, Event::Idle { connection, at: deaf, number, idle_us });
            }
            self.schedule(until_us, Event::Heard { connection, number });
        }
    }

    /// A silence is over: what it held back, in order.
    pub fn heard(&mut self, connection: Connection, number: u64) -> VecDeque<(Node, Stream, Bytes)> {
        let Some(link) = self.live.get_mut(&connection) else { return VecDeque::new() };
        for silent in &mut link.silent {
            silent.take_if(|silent| *silent == number);
        }
        let now = |link: &Link, to: Node| link.silent[link.side(to)].is_none() && !link.is_gone_at(to);
        let held = std::mem::take(&mut link.held_back);
        let (released, kept): (VecDeque<_>, VecDeque<_>) = held.into_iter().partition(|(to, ..)| now(link, *to));
        link.held_back = kept;
        self.mishaps.add(Mishap::ReleasedLate, released.len() as u64);
        released
    }

    /// Whether this silence still lasts for this side of a link that it has not given up.
    pub fn is_silent(&self, connection: Connection, at: Node, number: u64) -> bool {
        let silent = |link: &Link| link.silent[link.side(at)] == Some(number) && !link.is_gone_at(at);
        self.live.get(&connection).is_some_and(silent)
    }

    /// A link that both ends believe in, and the bundles that went from one to the other before, those of other links first.
    pub fn to_replay(&self, from: Node, to: Node) -> Option<(Connection, Vec<(Stream, Bytes)>)> {
        let connection = self.between(from, to).into_iter().next()?;
        let recorded = self.recorded.get(&(from, to))?;
        let elsewhere = recorded.iter().filter(|one| one.on != connection);
        let frames: Vec<_> = elsewhere.map(|one| (one.stream, one.bytes.clone())).collect();
        (!frames.is_empty()).then_some((connection, frames))
    }

    /// Puts bytes on a link in place of `from`, which has given it up.
    pub fn replay(&mut self, connection: Connection, to: Node, stream: Stream, bytes: Bytes) {
        self.put(connection, to, stream, bytes);
    }

    pub fn is_parted(&self, one: Node, other: Node) -> bool {
        let pair = |a: &Node, b: &Node| (*a, *b) == (one, other) || (*b, *a) == (one, other);
        self.parted.iter().any(|(a, b, until)| pair(a, b) && *until > self.now_us)
    }

    /// Links between the two that both believe in.
    pub fn between(&self, one: Node, other: Node) -> Vec<Connection> {
        let joins = |link: &&Link| link.ends.joins(one, other) && link.gone == [false; 2];
        self.live.iter().filter(|(_, link)| joins(link)).map(|(connection, _)| *connection).collect()
    }

    pub fn connections_of(&self, node: Node) -> Vec<Connection> {
        let has = |link: &Link| link.ends.dialler == node || link.ends.listener == node;
        self.live.iter().filter(|(_, link)| has(link)).map(|(c, _)| *c).collect()
    }
}

/// Bundles remembered of each direction.
const RECORDED: usize = 16;
