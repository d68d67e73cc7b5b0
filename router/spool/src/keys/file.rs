//! How is a master key read from a file?
//!
//! 32 raw bytes, or 64 hex digits with white space around them. A file that group or others may read or write is
//! refused, because then it may have been. A systemd credential is such a file in the service's credential folder.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::MasterKey;

/// Why a master key was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("master key {}: {cause}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Others than the owner may use the file.
    #[error("master key {} has mode {mode:03o}: make it 0400 and, if others could read it, replace the key", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no key.
    #[error("master key {} is not a file of 32 bytes or 64 hex digits: make one with `openssl rand -hex 32`", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
    },
    /// A credential's name would leave its folder.
    #[error("`{name}` is no name of a credential: give a file name without a path")]
    CredentialName {
        /// What was given.
        name: String,
    },
}

impl MasterKey {
    /// Reads a key.
    ///
    /// # Errors
    /// The file cannot be read, is open to others than its owner, or holds no key.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |cause| KeyError::Unreadable { path: path.to_owned(), cause };
        let shape = || KeyError::Shape { path: path.to_owned() };
        let file = File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        if !about.is_file() {
            return Err(shape());
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
        file.take(LONGEST as u64).read_to_end(&mut bytes).map_err(unreadable)?;
        parse(&bytes).map(Self::new).ok_or_else(shape)
    }

    /// Reads the key that systemd passed as a credential: a file in [`credentials_folder`].
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file), or the name is not one.
    pub fn from_credential(folder: &Path, name: &str) -> Result<Self, KeyError> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(KeyError::CredentialName { name: name.to_owned() });
        }
        Self::from_file(&folder.join(name))
    }
}

/// Where systemd puts this service's credentials (`LoadCredential=`, `LoadCredentialEncrypted=`), if it has any.
#[must_use]
pub fn credentials_folder() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

fn parse(bytes: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() == key.len() {
        key.copy_from_slice(bytes);
    } else {
        hex::decode_to_slice(bytes.trim_ascii(), key.as_mut_slice()).ok()?;
    }
    Some(key)
}

/// Most bytes read of a key file: 64 digits and some white space.
const LONGEST: usize = 96;

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    fn key_file(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master");
        write(&path, content).unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn raw_bytes_and_hex_digits_give_the_same_key() {
        let (_raw, raw) = key_file(&[0xA7; 32], 0o400);
        let (_hex, hex) = key_file(format!("{}\n", "a7".repeat(32)).as_bytes(), 0o600);
        assert_eq!(MasterKey::from_file(&raw).unwrap().id(), MasterKey::from_file(&hex).unwrap().id());
    }

    #[test]
    fn a_key_others_can_read_is_refused() {
        for mode in [0o440, 0o404, 0o620, 0o644] {
            let (_folder, path) = key_file(&[0xA7; 32], mode);
            assert!(matches!(MasterKey::from_file(&path), Err(KeyError::Exposed { .. })), "mode {mode:o}");
        }
    }

    #[test]
    fn a_file_of_another_length_is_no_key() {
        for content in [&[1; 31][..], &[b'a'; 63], &[b'x'; 64], &[b'a'; 200], b""] {
            let (_folder, path) = key_file(content, 0o400);
            assert!(matches!(MasterKey::from_file(&path), Err(KeyError::Shape { .. })));
        }
    }

    #[test]
    fn a_credential_is_a_file_in_its_folder_and_nowhere_else() {
        let (folder, _) = key_file(&[0xA7; 32], 0o400);
        assert!(MasterKey::from_credential(folder.path(), "master").is_ok());
        for name in ["../master", "/etc/hostname", "", ".", ".."] {
            assert!(matches!(MasterKey::from_credential(folder.path(), name), Err(KeyError::CredentialName { .. })));
        }
    }
}
