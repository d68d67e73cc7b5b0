//! How are keys and certificates written? Keys readable by their owner only, from the first byte on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::PkiError;

/// Writes a private key with mode 0600; an existing file is refused, so that no key is ever lost.
///
/// # Errors
/// The file exists or cannot be written.
pub fn write_private(path: &Path, pem: &str) -> Result<(), PkiError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => PkiError::KeyExists(path.to_owned()),
        _ => PkiError::File { path: path.to_owned(), error },
    })?;
    write_all(file, path, pem)
}

/// Writes what everybody may read, replacing an older file.
pub(super) fn write_public(path: &Path, pem: &str) -> Result<(), PkiError> {
    let file = File::create(path).map_err(PkiError::file(path))?;
    write_all(file, path, pem)
}

fn write_all(mut file: File, path: &Path, pem: &str) -> Result<(), PkiError> {
    file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(PkiError::file(path))
}
