//! What does a router remember so that it can end connections it has forgotten?
//!
//! 32 random bytes in the state folder, readable by their owner only. From them come the key of stateless reset tokens and
//! the keys of connection ids ([`crate::connection_id`]). A router that comes back after a crash finds the same secret:
//! the next packet of a peer is answered with the reset that peer was told to expect, and it reconnects at once instead
//! of waiting for its idle timeout. Whoever reads the file can end this router's links, and nothing else: no TLS key comes
//! from it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::hmac;
use rand::RngCore;

use crate::connection_id::Mask;

/// The secret. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSecret([u8; LENGTH]);

const LENGTH: usize = 32;

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret")
    }
}

impl LinkSecret {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let mut secret = [0; LENGTH];
        rand::rng().fill_bytes(&mut secret);
        Self(secret)
    }

    /// Reads `path`; makes a new secret when there is none. Two processes cannot race: the state folder is locked.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not 32 bytes long (`InvalidData`).
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        match File::open(path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = Self::random();
                secret.write(path)?;
                Ok(secret)
            }
            Err(error) => Err(error),
        }
    }

    fn read(file: File, path: &Path) -> io::Result<Self> {
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others may read this file and end links with it: run chmod 600");
        }
        let mut bytes = Vec::with_capacity(LENGTH + 1);
        file.take(LENGTH as u64 + 1).read_to_end(&mut bytes)?;
        let wrong = |bytes: Vec<u8>| {
            let length = bytes.len();
            io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes instead of {LENGTH}; remove the file"))
        };
        Ok(Self(bytes.try_into().map_err(wrong)?))
    }

    /// Whole or not at all: written aside, then renamed.
    fn write(&self, path: &Path) -> io::Result<()> {
        let aside = path.with_extension("new");
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside);
        let mut file = opened?;
        // A file left behind keeps its mode.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(&self.0)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// Key of stateless reset tokens (RFC 9000, 10.3.2).
    #[must_use]
    pub fn reset_key(&self) -> hmac::Key {
        self.derive("stateless reset")
    }

    /// Key of the check in connection ids.
    #[must_use]
    pub fn check_key(&self) -> hmac::Key {
        self.derive("connection id check")
    }

    /// Mask of the worker in connection ids.
    #[must_use]
    pub fn mask(&self) -> Mask {
        let bytes = self.tag("connection id mask");
        Mask(u32::from_be_bytes(bytes.as_ref().first_chunk().copied().unwrap_or_default()) | 1)
    }

    fn derive(&self, purpose: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.tag(purpose).as_ref())
    }

    fn tag(&self, purpose: &str) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), purpose.as_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_secret_outlives_the_process_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link-secret");
        let first = LinkSecret::load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(LinkSecret::load_or_create(&path).unwrap(), first);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_of_another_length_is_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link-secret");
        for length in [0, 31, 33, 10_000] {
            std::fs::write(&path, vec![7; length]).unwrap();
            let error = LinkSecret::load_or_create(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains("remove the file"), "{error}");
        }
    }

    #[test]
    fn keys_of_two_purposes_differ() {
        let secret = LinkSecret::random();
        let signed = |key: hmac::Key| hmac::sign(&key, b"x").as_ref().to_vec();
        assert_ne!(signed(secret.reset_key()), signed(secret.check_key()));
        assert_eq!(secret.mask().0 & 1, 1);
    }
}
