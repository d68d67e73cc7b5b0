//! How is a payload read back, piece by piece?

use std::path::Path;

use bytes::Bytes;
use kernpost_codecs::Digest;

use super::PayloadFault;
use super::file::{PIECE, SealedFile};
use crate::keys::MasterKeys;

/// Reads a payload from an offset to its end.
#[derive(Debug)]
pub struct PayloadReader {
    file: SealedFile,
    length: u64,
    next: u64,
}

impl PayloadReader {
    pub(super) fn open(
        path: &Path,
        leaf: Digest,
        masters: &MasterKeys,
        length: u64,
        offset: u64,
    ) -> Result<Self, PayloadFault> {
        Ok(Self { file: SealedFile::open(path, leaf, masters, false)?, length, next: offset })
    }

    /// The bytes that follow, at most [`PIECE`]; `None` after the last.
    ///
    /// # Errors
    /// [`PayloadFault::Damaged`]: they are not as they were written, or missing.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, PayloadFault> {
        if self.next >= self.length {
            return Ok(None);
        }
        let number = u32::try_from(self.next / PIECE as u64).map_err(|_| PayloadFault::Damaged)?;
        let begin = u64::from(number) * PIECE as u64;
        let expected = (self.length - begin).min(PIECE as u64);
        let mut plain = Vec::with_capacity(PIECE);
        self.file.read(number, &mut plain)?;
        if plain.len() as u64 != expected {
            return Err(PayloadFault::Damaged);
        }
        let skipped = usize::try_from(self.next - begin).map_err(|_| PayloadFault::Damaged)?;
        self.next = begin + expected;
        Ok(Some(Bytes::from(plain).split_off(skipped)))
    }
}
