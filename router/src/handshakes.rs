//! May this newcomer begin a handshake now? Bounds what connections being set up may cost the links that are up.
//!
//! The rules, in order: room for another link in the process; room among the handshakes in progress, of which a share is
//! kept for the addresses of configured peers; above a threshold the newcomer first proves its address (Retry); the bucket
//! of its /64 (or IPv4 address) has something left. One gate per worker, no locks.

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

/// The gate of one worker. Memory: 4,096 buckets of 16 bytes, whatever comes; networks whose hashes collide share one.
#[derive(Debug)]
pub struct HandshakeGate {
    limits: HandshakesSection,
    in_progress: usize,
    buckets: Vec<Bucket>,
    hasher: std::collections::hash_map::RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a connection.
    level: u64,
    filled_us: u64,
}

const BUCKETS: usize = 4_096;
const CONNECTION: u64 = 1_000;

impl HandshakeGate {
    /// A gate with full buckets. Hashes are seeded at random, so that nobody can aim at a foreign bucket.
    #[must_use]
    pub fn new(limits: HandshakesSection) -> Self {
        let full = u64::from(limits.per_prefix_burst) * CONNECTION;
        Self {
            limits,
            in_progress: 0,
            buckets: vec![Bucket { level: full, filled_us: 0 }; BUCKETS],
            hasher: std::collections::hash_map::RandomState::new(),
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
        if !newcomer.peer && !self.take(mono_us, newcomer.from.ip()) {
            return Verdict::Refuse(Refusal::Prefix);
        }
        self.in_progress += 1;
        Verdict::Accept
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

    fn room_for(&self, peer: bool) -> usize {
        let kept = self.limits.in_progress * usize::from(self.limits.peer_share_percent) / 100;
        if peer { self.limits.in_progress } else { self.limits.in_progress - kept }
    }

    fn take(&mut self, mono_us: u64, from: IpAddr) -> bool {
        let prefix = match from {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or_default(),
        };
        let place = self.hasher.hash_one((from.is_ipv6(), prefix)) % BUCKETS as u64;
        let per_s = u64::from(self.limits.per_prefix_per_s);
        let burst = u64::from(self.limits.per_prefix_burst) * CONNECTION;
        let Some(bucket) = usize::try_from(place).ok().and_then(|at| self.buckets.get_mut(at)) else {
            return false;
        };
        let earned = mono_us.saturating_sub(bucket.filled_us).saturating_mul(per_s) / 1_000;
        if earned > 0 {
            bucket.level = bucket.level.saturating_add(earned).min(burst);
            bucket.filled_us = mono_us;
        }
        match bucket.level.checked_sub(CONNECTION) {
            Some(rest) => {
                bucket.level = rest;
                true
            }
            None => false,
        }
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
    fn a_full_process_refuses_everybody() {
        let full = Newcomer { room: false, ..from("fd00::1") };
        assert_eq!(gate().judge(0, full), Verdict::Refuse(Refusal::Links));
    }
}
