//! May this newcomer begin a handshake now? Bounds what connections being set up may cost the links that are up.
//!
//! The rules, in order: room for another link in the process; room among the handshakes in progress, of which a share is
//! kept for the addresses of configured peers; above a threshold the newcomer first proves its address (Retry); strangers,
//! that is networks without a link lately, have something left in the one bucket they share, and prove their address
//! while it is not half full, so that made-up addresses cannot empty it; the bucket of its /64 (or IPv4 address) has
//! something left. Who is refused costs a packet, who is accepted half a millisecond of the worker. One gate per worker,
//! no locks.

use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};

use crate::config::HandshakesSection;

/// What to do with a connection attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with the handshake; [`HandshakeGate::on_end`] is due when it is over.
    Accept,
    /// Make the newcomer prove its address.
    Retry,
    /// Refuse it.
    Refuse(Refusal),
}

/// Why a connection attempt is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The process holds as many links as it may.
    Links,
    /// Too many handshakes are in progress.
    InProgress,
    /// Too many from networks without a link lately.
    Strangers,
    /// Too many from this network lately.
    Prefix,
}

/// What is known about a connection attempt.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer {
    /// Where it comes from.
    pub from: SocketAddr,
    /// It has proven that address.
    pub validated: bool,
    /// The address is one of a configured peer.
    pub peer: bool,
    /// The process has room for another link.
    pub room: bool,
}

/// The gate of one worker. Memory: 4,096 places of 32 bytes, whatever comes. Networks whose hashes collide share a bucket;
/// which of them had a link is remembered of the last one only.
#[derive(Debug)]
pub struct HandshakeGate {
    limits: HandshakesSection,
    in_progress: usize,
    /// The most there ever were.
    most: usize,
    strangers: Bucket,
    places: Vec<Place>,
    hasher: std::collections::hash_map::RandomState,
}

/// What is kept of the networks whose hashes fall together.
#[derive(Debug, Clone, Copy)]
struct Place {
    bucket: Bucket,
    /// Hash of the network that had a link.
    known: u64,
    /// Until when it counts as known; 0: nobody does.
    known_until_us: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a connection.
    level: u64,
    filled_us: u64,
}

const PLACES: usize = 4_096;
const CONNECTION: u64 = 1_000;
/// How long a network is known after it had a link.
const KNOWN_US: u64 = 3_600_000_000;

impl HandshakeGate {
    /// A gate with full buckets. Hashes are seeded at random, so that nobody can aim at a foreign bucket.
    #[must_use]
    pub fn new(limits: HandshakesSection) -> Self {
        let place = Place { bucket: Bucket::full(limits.per_prefix_burst), known: 0, known_until_us: 0 };
        Self {
            in_progress: 0,
            most: 0,
            strangers: Bucket::full(limits.strangers_burst),
            places: vec![place; PLACES],
            hasher: std::collections::hash_map::RandomState::new(),
            limits,
        }
    }

    /// Decides about a newcomer. `mono_us` is a monotonic reading.
    pub fn judge(&mut self, mono_us: u64, newcomer: Newcomer) -> Verdict {
        if !newcomer.room {
            return Verdict::Refuse(Refusal::Links);
        }
        if self.in_progress >= self.room_for(newcomer.peer) {
            return Verdict::Refuse(Refusal::InProgress);
        }
        if self.in_progress >= self.limits.retry_above && !newcomer.validated {
            return Verdict::Retry;
        }
        if !newcomer.peer {
            let at = self.place_of(newcomer.from.ip());
            if let Some(verdict) = self.judge_network(mono_us, at, newcomer.validated) {
                return verdict;
            }
        }
        self.in_progress += 1;
        self.most = self.most.max(self.in_progress);
        Verdict::Accept
    }

    /// Takes from the buckets of a newcomer's network; what speaks against the newcomer.
    fn judge_network(&mut self, mono_us: u64, at: (usize, u64), validated: bool) -> Option<Verdict> {
        let HandshakesSection { strangers_per_s, strangers_burst, per_prefix_per_s, per_prefix_burst, .. } =
            self.limits;
        let (at, network) = at;
        let Some(place) = self.places.get_mut(at) else { return Some(Verdict::Refuse(Refusal::Prefix)) };
        let known = place.known == network && place.known_until_us > mono_us;
        if !known {
            self.strangers.fill(mono_us, strangers_per_s, strangers_burst);
            if self.strangers.level < CONNECTION {
                return Some(Verdict::Refuse(Refusal::Strangers));
            }
            if !validated && self.strangers.level < u64::from(strangers_burst) * CONNECTION / 2 {
                return Some(Verdict::Retry);
            }
        }
        place.bucket.fill(mono_us, per_prefix_per_s, per_prefix_burst);
        if !place.bucket.take() {
            return Some(Verdict::Refuse(Refusal::Prefix));
        }
        // Last, so that one network's surplus takes nothing from the others.
        if !known {
            self.strangers.take();
        }
        None
    }

    /// Somebody with a good certificate is or was linked from here: its network is no stranger for an hour.
    pub fn on_link(&mut self, mono_us: u64, from: SocketAddr) {
        let (at, network) = self.place_of(from.ip());
        if let Some(place) = self.places.get_mut(at) {
            (place.known, place.known_until_us) = (network, mono_us.saturating_add(KNOWN_US));
        }
    }

    /// An accepted handshake is over, well or badly.
    pub fn on_end(&mut self) {
        self.in_progress = self.in_progress.saturating_sub(1);
    }

    /// Handshakes in progress.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.in_progress
    }

    /// The most handshakes that were ever in progress at once.
    #[must_use]
    pub fn most_in_progress(&self) -> usize {
        self.most
    }

    fn room_for(&self, peer: bool) -> usize {
        let kept = self.limits.in_progress * usize::from(self.limits.peer_share_percent) / 100;
        if peer { self.limits.in_progress } else { self.limits.in_progress - kept }
    }

    /// Where an address's network (its /64, or the IPv4 address) is kept, and its hash.
    fn place_of(&self, from: IpAddr) -> (usize, u64) {
        let prefix = match from {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or_default(),
        };
        let hash = self.hasher.hash_one((from.is_ipv6(), prefix));
        (usize::try_from(hash % PLACES as u64).unwrap_or_default(), hash)
    }
}

impl Bucket {
    fn full(burst: u32) -> Self {
        Self { level: u64::from(burst) * CONNECTION, filled_us: 0 }
    }

    fn fill(&mut self, mono_us: u64, per_s: u32, burst: u32) {
        let earned = mono_us.saturating_sub(self.filled_us).saturating_mul(per_s.into()) / 1_000;
        if earned > 0 {
            self.level = self.level.saturating_add(earned).min(u64::from(burst) * CONNECTION);
            self.filled_us = mono_us;
        }
    }

    /// Takes one connection, if it is there.
    fn take(&mut self) -> bool {
        let rest = self.level.checked_sub(CONNECTION);
        self.level = rest.unwrap_or(self.level);
        rest.is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn gate() -> HandshakeGate {
        HandshakeGate::new(HandshakesSection {
            in_progress: 8,
            retry_above: 2,
            strangers_per_s: 20,
            strangers_burst: 10,
            per_prefix_per_s: 10,
            per_prefix_burst: 4,
            peer_share_percent: 25,
        })
    }

    fn from(address: &str) -> Newcomer {
        let from = SocketAddr::new(address.parse().unwrap(), 9);
        Newcomer { from, validated: true, peer: false, room: true }
    }

    #[test]
    fn above_the_threshold_an_address_has_to_be_proven() {
        let mut gate = gate();
        let unproven = Newcomer { validated: false, ..from("fd00::1") };
        assert_eq!(gate.judge(0, unproven), Verdict::Accept);
        assert_eq!(gate.judge(0, unproven), Verdict::Accept);
        assert_eq!(gate.judge(0, unproven), Verdict::Retry);
        gate.on_end();
        assert_eq!(gate.judge(0, unproven), Verdict::Accept);
    }

    #[test]
    fn strangers_leave_a_share_to_peers() {
        let mut gate = gate();
        for host in 0..6 {
            assert_eq!(gate.judge(0, from(&format!("fd00:0:0:{host}::1"))), Verdict::Accept);
        }
        let stranger = from("fd00:0:0:77::1");
        assert_eq!(gate.judge(0, stranger), Verdict::Refuse(Refusal::InProgress));
        let peer = Newcomer { peer: true, ..stranger };
        assert_eq!(gate.judge(0, peer), Verdict::Accept);
        assert_eq!(gate.judge(0, peer), Verdict::Accept);
        assert_eq!(gate.judge(0, peer), Verdict::Refuse(Refusal::InProgress));
        (0..8).for_each(|_| gate.on_end());
        assert_eq!((gate.in_progress(), gate.most_in_progress()), (0, 8));
    }

    #[test]
    fn one_network_is_limited_and_recovers_with_time() {
        let mut gate = gate();
        for host in 1..=4 {
            assert_eq!(gate.judge(0, from(&format!("fd00::{host}"))), Verdict::Accept);
            gate.on_end();
        }
        assert_eq!(gate.judge(0, from("fd00::5")), Verdict::Refuse(Refusal::Prefix));
        assert_eq!(gate.judge(99_000, from("fd00::5")), Verdict::Refuse(Refusal::Prefix));
        assert_eq!(gate.judge(100_000, from("fd00::5")), Verdict::Accept);
    }

    #[test]
    fn strangers_of_all_networks_share_a_bucket_and_known_networks_do_not_feel_it() {
        let mut gate = gate();
        gate.on_link(0, from("fd00:0:0:99::1").from);
        for host in 0..10 {
            assert_eq!(gate.judge(0, from(&format!("fd00:0:0:{host}::1"))), Verdict::Accept);
            gate.on_end();
        }
        assert_eq!(gate.judge(0, from("fd00:0:0:10::1")), Verdict::Refuse(Refusal::Strangers));
        assert_eq!(gate.judge(0, from("fd00:0:0:99::2")), Verdict::Accept);
        gate.on_end();
        assert_eq!(gate.judge(49_000, from("fd00:0:0:10::1")), Verdict::Refuse(Refusal::Strangers));
        assert_eq!(gate.judge(99_000, from("fd00:0:0:10::1")), Verdict::Accept);
        gate.on_end();
        // An hour later nobody is known any more.
        assert_eq!(gate.judge(KNOWN_US, Newcomer { validated: false, ..from("fd00:0:0:99::1") }), Verdict::Accept);
        for host in 0..9 {
            gate.on_end();
            assert_eq!(gate.judge(KNOWN_US, from(&format!("fd00:0:0:{host}::1"))), Verdict::Accept);
        }
        gate.on_end();
        assert_eq!(gate.judge(KNOWN_US, from("fd00:0:0:99::1")), Verdict::Refuse(Refusal::Strangers));
    }

    #[test]
    fn unproven_addresses_leave_strangers_half_of_their_bucket() {
        let mut gate = gate();
        let unproven = |network: u8| Newcomer { validated: false, ..from(&format!("fd00:0:0:{network}::1")) };
        let accepted = (0..100).filter(|network| {
            let accepted = gate.judge(0, unproven(*network)) == Verdict::Accept;
            if accepted {
                gate.on_end();
            }
            accepted
        });
        assert_eq!(accepted.count(), 6);
        assert_eq!(gate.judge(0, unproven(101)), Verdict::Retry);
        assert_eq!(gate.judge(0, from("fd00:0:0:101::1")), Verdict::Accept);
    }

    #[test]
    fn a_full_process_refuses_everybody() {
        let full = Newcomer { room: false, ..from("fd00::1") };
        assert_eq!(gate().judge(0, full), Verdict::Refuse(Refusal::Links));
    }
}
