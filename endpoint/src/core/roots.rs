//! Which root signatures were already checked? Bounded, shared by all links of the process, filled only after success.
//!
//! An entry's key is a hash over kid, algorithm, root and signature bytes, so a hit proves exactly what the check proved. Validity of the key is not cached: the caller asks the directory each time (WIRE 5.3, 10.7).

use std::collections::HashSet;

use kernpost_codecs::digest::Digest;
use kernpost_codecs::key::PublicKey;
use kernpost_codecs::root::{RootFault, RootSignature};

/// Remembered successful checks: two generations of at most `capacity / 2` entries; the older is dropped whole.
#[derive(Debug)]
pub struct RootCache {
    young: HashSet<Digest, foldhash::fast::RandomState>,
    old: HashSet<Digest, foldhash::fast::RandomState>,
    capacity: usize,
    hits: u64,
    checks: u64,
}

impl RootCache {
    /// A cache for at most `capacity` roots (at least 2).
    pub fn new(capacity: usize) -> Self {
        Self { young: HashSet::default(), old: HashSet::default(), capacity: capacity.max(2), hits: 0, checks: 0 }
    }

    /// Checks the signature over the root, or remembers that this very check succeeded before.
    pub fn verify(&mut self, key: &PublicKey, signature: &RootSignature, root: &Digest) -> Result<(), RootFault> {
        let mark = signature.fingerprint(root);
        if self.young.contains(&mark) {
            self.hits += 1;
            return Ok(());
        }
        if !self.old.contains(&mark) {
            self.checks += 1;
            signature.verify(key, root)?;
        } else {
            self.hits += 1;
        }
        if self.young.len() >= self.capacity / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(mark);
        Ok(())
    }

    /// How many checks were answered from memory.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// How many signatures were really checked.
    pub fn checks(&self) -> u64 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use kernpost_codecs::key::{Algorithm, SigningKey};
    use kernpost_codecs::root::sign_root;

    use super::*;

    #[test]
    fn a_second_check_of_the_same_root_costs_nothing() {
        let key = SigningKey::generate(Algorithm::Ed25519).expect("key");
        let root = Digest::of(b"root");
        let signature = sign_root(&key, &root).unwrap();
        let mut cache = RootCache::new(8);
        cache.verify(key.public(), &signature, &root).unwrap();
        cache.verify(key.public(), &signature, &root).unwrap();
        assert_eq!((cache.checks(), cache.hits()), (1, 1));
    }

    #[test]
    fn a_failed_check_is_not_remembered() {
        let key = SigningKey::generate(Algorithm::Ed25519).expect("key");
        let signature = sign_root(&key, &Digest::of(b"root")).unwrap();
        let mut cache = RootCache::new(8);
        for _ in 0..2 {
            assert!(cache.verify(key.public(), &signature, &Digest::of(b"another")).is_err());
        }
        assert_eq!(cache.checks(), 2);
    }

    #[test]
    fn the_cache_never_grows_beyond_its_capacity() {
        let key = SigningKey::generate(Algorithm::Ed25519).expect("key");
        let mut cache = RootCache::new(8);
        for n in 0..64u8 {
            let root = Digest::of(&[n]);
            cache.verify(key.public(), &sign_root(&key, &root).unwrap(), &root).unwrap();
        }
        assert!(cache.young.len() + cache.old.len() <= 8);
    }
}
