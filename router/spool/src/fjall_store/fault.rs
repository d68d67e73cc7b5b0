//! What does an error of fjall mean to the spool?
//!
//! Nothing is guessed from texts: a kind of io error decides between full, read-only and failed, wherever it is nested.

use std::io;
use std::path::Path;

use fjall::{Error, LsmError};

use crate::store::{Space, StoreError};

pub(super) fn on_write(folder: &Path, error: &Error) -> StoreError {
    let place = folder.display().to_string();
    match io_error(error) {
        Some(io) => StoreError::of_write(place, io),
        None if matches!(error, Error::Poisoned) => {
            StoreError::Failed { place, cause: "an earlier write or a flush in the background failed".to_owned() }
        }
        None => StoreError::Failed { place, cause: error.to_string() },
    }
}

pub(super) fn on_read(space: Space, error: &Error) -> StoreError {
    StoreError::Unreadable { space, cause: error.to_string() }
}

pub(super) fn on_open(folder: &Path, error: &Error) -> StoreError {
    let cause = match error {
        Error::Locked => {
            "another process uses it: stop that process, or give this router a folder of its own".to_owned()
        }
        Error::InvalidVersion(_) => format!("it was written by another version of the storage library ({error})"),
        Error::Io(io) if io.kind() != io::ErrorKind::NotFound => {
            format!("{error}: check the disk and the folder's owner and permissions")
        }
        // Damaged, or a file is gone.
        other => format!(
            "its files are damaged or incomplete ({other}): restore the folder as a whole, or set it aside and start with an empty \
             folder; the senders still have what was in it, and ask"
        ),
    };
    StoreError::Open { folder: folder.to_owned(), cause }
}

const fn io_error(error: &Error) -> Option<&io::Error> {
    match error {
        Error::Io(io) | Error::Storage(LsmError::Io(io)) => Some(io),
        _ => None,
    }
}
