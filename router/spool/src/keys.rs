//! Which master keys protect the spool, and where do they come from?
//!
//! 32 bytes from a file only its owner may read, or from a systemd credential. Several are known at once while one replaces
//! another: the current one wraps, the previous ones only unwrap. Keys are wiped when dropped and never shown.

mod file;

use std::fmt;

use kernpost_codecs::digest::Digest;
use zeroize::Zeroizing;

pub use file::{KeyError, credentials_folder};

/// A master key of 256 bits.
#[derive(Clone)]
pub struct MasterKey {
    id: MasterKeyId,
    bytes: Zeroizing<[u8; 32]>,
}

/// Names a master key without telling it: the first 8 bytes of SHA-256 of "kernpost master key" and the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterKeyId(pub [u8; 8]);

impl MasterKey {
    /// A key from its bytes, which must come from a random source.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let Digest([a, b, c, d, e, f, g, h, ..]) = Digest::of_parts(&[b"kernpost master key", bytes.as_slice()]);
        Self { id: MasterKeyId([a, b, c, d, e, f, g, h]), bytes }
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> MasterKeyId {
        self.id
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeyId({self})")
    }
}

/// The master keys a router knows.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    current: MasterKey,
    previous: Vec<MasterKey>,
}

impl MasterKeys {
    /// The key that wraps from now on, and those that were used before and may still be needed to unwrap.
    #[must_use]
    pub const fn new(current: MasterKey, previous: Vec<MasterKey>) -> Self {
        Self { current, previous }
    }

    /// The key that wraps.
    #[must_use]
    pub const fn current(&self) -> &MasterKey {
        &self.current
    }

    /// The key of this name, if it is known.
    #[must_use]
    pub fn find(&self, id: MasterKeyId) -> Option<&MasterKey> {
        std::iter::once(&self.current).chain(&self.previous).find(|key| key.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_hash_and_never_shown() {
        let key = MasterKey::new(Zeroizing::new([7; 32]));
        assert_ne!(key.id(), MasterKey::new(Zeroizing::new([8; 32])).id());
        assert_eq!(format!("{key:?}"), format!("MasterKey({})", key.id()));
        assert!(!format!("{key:?}").contains("0707"));
    }

    #[test]
    fn previous_keys_are_found_and_strangers_are_not() {
        let key = |n| MasterKey::new(Zeroizing::new([n; 32]));
        let keys = MasterKeys::new(key(1), vec![key(2)]);
        assert_eq!(keys.current().id(), key(1).id());
        assert!(keys.find(key(2).id()).is_some());
        assert!(keys.find(key(3).id()).is_none());
    }
}
