//! Which worker does a connection id belong to, and is it one of ours?
//!
//! ```text
//! byte 0..4   nonce, random
//! byte 4      worker number, masked by the nonce
//! byte 5..8   check: the first bytes of an HMAC-SHA-256 over the five bytes before
//! ```
//!
//! A packet with a short header carries such an id behind its first byte, and [`crate::steering`] has the kernel read the
//! worker from it: so a peer whose address changes still reaches the worker that holds its connection. The mask keeps an
//! observer from seeing at a glance which ids share a worker (RFC 9000, 5.1); it is arithmetic a kernel filter can do, no
//! encryption: whoever sees many ids of known connections can work it out, and then knows a worker's number.
//!
//! The check lets a worker tell an id of this router, also of its predecessor before a restart, from noise: only the
//! former is answered with a stateless reset.

use aws_lc_rs::hmac;
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use rand::RngCore;

use crate::link_secret::LinkSecret;

/// Length of the ids, bytes.
pub const LENGTH: usize = NONCE + 1 + CHECK;
/// Bytes of the nonce; they come first.
pub const NONCE: usize = 4;
const CHECK: usize = 3;

/// The number by which a nonce is multiplied to mask the worker: odd, so that every bit of the nonce counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask(pub u32);

impl Mask {
    /// What the worker number is XORed with: the uppermost byte of the product, modulo 2³².
    #[must_use]
    pub fn of(self, nonce: u32) -> u8 {
        self.0.wrapping_mul(nonce).to_be_bytes()[0]
    }
}

/// What all workers need to make ids and to know each other's.
#[derive(Debug, Clone)]
pub struct ConnectionIds {
    mask: Mask,
    check: hmac::Key,
    workers: u16,
    steered: bool,
}

impl ConnectionIds {
    /// For a router of `workers` workers (1..=64). `steered`: the kernel brings packets to the worker their id names.
    #[must_use]
    pub fn new(secret: &LinkSecret, workers: u16, steered: bool) -> Self {
        Self { mask: secret.mask(), check: secret.check_key(), workers, steered }
    }

    /// How the worker number is masked.
    #[must_use]
    pub fn mask(&self) -> Mask {
        self.mask
    }

    /// The generator of one worker.
    #[must_use]
    pub fn of_worker(&self, worker: u16) -> Box<dyn ConnectionIdGenerator> {
        Box::new(OfWorker { ids: self.clone(), worker })
    }

    fn make(&self, nonce: [u8; NONCE], worker: u8) -> ConnectionId {
        let mut id = [0; LENGTH];
        let masked = worker ^ self.mask.of(u32::from_be_bytes(nonce));
        let check = self.check_of(nonce, masked);
        let bytes = nonce.into_iter().chain([masked]).chain(check);
        id.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        ConnectionId::new(&id)
    }

    /// The worker an id of this router names; `None`: no id of this router.
    fn worker(&self, id: &[u8]) -> Option<u16> {
        let (nonce, rest) = id.split_first_chunk::<NONCE>()?;
        let (masked, check) = rest.split_first()?;
        let ours = check == self.check_of(*nonce, *masked);
        ours.then(|| u16::from(masked ^ self.mask.of(u32::from_be_bytes(*nonce))))
    }

    fn check_of(&self, nonce: [u8; NONCE], masked: u8) -> [u8; CHECK] {
        let [a, b, c, d] = nonce;
        let tag = hmac::sign(&self.check, &[a, b, c, d, masked]);
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

#[derive(Debug)]
struct OfWorker {
    ids: ConnectionIds,
    worker: u16,
}

impl ConnectionIdGenerator for OfWorker {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut nonce = [0; NONCE];
        rand::rng().fill_bytes(&mut nonce);
        // Workers are at most 64.
        self.ids.make(nonce, u8::try_from(self.worker).unwrap_or_default())
    }

    /// Asked about ids of unknown connections only; those that are good are answered with a stateless reset. Where packets
    /// are steered, an id that names another worker of this process came astray (the kernel joins packets of one address
    /// before it looks at ids): a reset would end a connection that lives there. It is dropped, and sent again.
    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let worker = self.ids.worker(id).ok_or(InvalidCid)?;
        let lives_elsewhere = self.ids.steered && worker != self.worker && worker < self.ids.workers;
        if lives_elsewhere { Err(InvalidCid) } else { Ok(()) }
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ids(secret: &LinkSecret, workers: u16, steered: bool) -> ConnectionIds {
        ConnectionIds::new(secret, workers, steered)
    }

    #[test]
    fn an_id_names_its_worker_and_is_recognised_after_a_restart() {
        let secret = LinkSecret::random();
        for worker in 0..64 {
            let id = ids(&secret, 64, true).of_worker(worker).generate_cid();
            assert_eq!(id.len(), LENGTH);
            let restarted = ids(&secret, 64, true);
            assert_eq!(restarted.worker(&id), Some(worker));
            restarted.of_worker(worker).validate(&id).unwrap();
        }
    }

    #[test]
    fn foreign_ids_and_flipped_bits_are_not_recognised() {
        let (own, other) = (LinkSecret::random(), LinkSecret::random());
        let id = ids(&other, 2, true).of_worker(1).generate_cid();
        assert!(ids(&own, 2, true).of_worker(1).validate(&id).is_err());
        let id = ids(&own, 2, true).of_worker(1).generate_cid();
        for bit in 0..8 * LENGTH {
            let mut flipped = id.to_vec();
            if let Some(byte) = flipped.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            let flipped = ConnectionId::new(&flipped);
            assert!(ids(&own, 2, true).of_worker(1).validate(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_id_that_names_a_living_neighbour_is_nothing_to_reset() {
        let secret = LinkSecret::random();
        let neighbours = ids(&secret, 4, true).of_worker(3).generate_cid();
        assert!(ids(&secret, 4, true).of_worker(0).validate(&neighbours).is_err());
        // Fewer workers since the restart: nobody else will answer.
        ids(&secret, 2, true).of_worker(0).validate(&neighbours).unwrap();
        // The kernel goes by addresses: the packet stays here for good.
        ids(&secret, 4, false).of_worker(0).validate(&neighbours).unwrap();
    }

    #[test]
    fn the_byte_of_the_worker_takes_every_value() {
        let ids = ids(&LinkSecret::random(), 2, true);
        let mut generator = ids.of_worker(1);
        let seen: BTreeSet<u8> = (0..10_000).filter_map(|_| generator.generate_cid().get(NONCE).copied()).collect();
        assert_eq!(seen.len(), 256);
    }
}
