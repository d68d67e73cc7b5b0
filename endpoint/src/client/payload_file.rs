//! What does a message have to say of a payload that stays on disk?

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kernpost_codecs::digest::DigestStream;
use kernpost_codecs::statement::LONGEST_PAYLOAD;

use crate::core::PayloadFile;

/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// Hashes a file for [`crate::Outgoing::with_file`]. Reads all of it, in pieces; may block.
///
/// # Errors
/// The file cannot be read, has more than 2 GiB, or changed its length meanwhile.
pub fn payload_file(path: &Path) -> io::Result<PayloadFile> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > LONGEST_PAYLOAD {
        let why = format!("has {length} bytes; at most {LONGEST_PAYLOAD} are allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let (mut hash, mut read, mut piece) = (DigestStream::new(), 0, vec![0; PIECE]);
    loop {
        let count = file.read(&mut piece)?;
        let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        read += count as u64;
    }
    if read != length {
        return Err(io::Error::other("the file changed while it was read"));
    }
    Ok(PayloadFile { path: path.to_owned(), length, digest: hash.finish() })
}
