//! How does a payload come in, be interrupted, and go on where it stopped?

use bytes::Bytes;
use kernpost_codecs::Digest;
use kernpost_codecs::digest::DigestStream;

use super::file::{Attempt, PIECE, SealedFile};
use super::{Owner, PayloadFault, Place};

/// A payload being received. Let go before [`Arriving::finish`] it is kept for later, to the last byte.
#[derive(Debug)]
pub struct Arriving {
    place: Place,
    file: SealedFile,
    attempt: Attempt,
    length: u64,
    taken: u64,
    hash: DigestStream,
    /// What has come of the piece that is not full.
    piece: Vec<u8>,
    /// The number of that piece.
    number: u32,
    settled: bool,
}

/// How a payload turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// Its digest is what was announced; it is durable.
    Right,
    /// It is not, or there are more bytes or fewer: deleted.
    Wrong,
}

impl Arriving {
    pub(super) fn open(place: Place, owner: &Owner, length: u64) -> Result<Self, PayloadFault> {
        let store = std::sync::Arc::clone(&place.store);
        let mut random = |bytes: &mut [u8]| (store.random)(bytes);
        let mut attempt = Attempt::default();
        random(&mut attempt);
        let (path, masters) = (place.path(), &store.masters);
        let file = match SealedFile::open(&path, owner.leaf, masters, true) {
            Ok(file) => file,
            Err(PayloadFault::Damaged) => SealedFile::create(&path, owner, masters, &mut random)?,
            Err(fault) => return Err(fault),
        };
        let mut arriving = Self {
            place,
            file,
            attempt,
            length,
            taken: 0,
            hash: DigestStream::new(),
            piece: Vec::with_capacity(PIECE),
            number: 0,
            settled: false,
        };
        arriving.take_up()?;
        Ok(arriving)
    }

    /// What is there counts up to the first piece that cannot be read; more than was announced is none.
    fn take_up(&mut self) -> Result<(), PayloadFault> {
        let mut plain = Vec::new();
        for number in 0..self.file.pieces()? {
            match self.file.read(number, &mut plain) {
                Ok(()) => {}
                Err(PayloadFault::Damaged) => break,
                Err(fault) => return Err(fault),
            }
            self.hash.update(&plain);
            self.taken += plain.len() as u64;
            if plain.len() < PIECE {
                std::mem::swap(&mut self.piece, &mut plain);
                break;
            }
            self.number = number + 1;
        }
        if self.taken > self.length {
            (self.taken, self.number, self.hash) = (0, 0, DigestStream::new());
            self.piece.clear();
        }
        Ok(())
    }

    /// Bytes that are here and hashed.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Appends.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn append(&mut self, pieces: &[Bytes]) -> Result<(), PayloadFault> {
        for bytes in pieces {
            self.hash.update(bytes);
            self.taken += bytes.len() as u64;
            let mut rest = bytes.as_ref();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PIECE - self.piece.len()));
                self.piece.extend_from_slice(now);
                rest = later;
                if self.piece.len() == PIECE {
                    self.write_piece()?;
                    self.number += 1;
                    self.piece.clear();
                }
            }
        }
        Ok(())
    }

    /// Everything came: durable if it is what was announced, else deleted.
    ///
    /// # Errors
    /// It could not be made durable.
    pub fn finish(mut self, digest: Digest) -> Result<Whole, PayloadFault> {
        let hash = std::mem::take(&mut self.hash).finish();
        if hash != digest || self.taken != self.length {
            self.settled = true;
            self.place.discard();
            return Ok(Whole::Wrong);
        }
        self.write_piece()?;
        self.settled = true;
        self.file.sync()?;
        self.place.hold(self.file.bytes()?)?;
        Ok(Whole::Right)
    }

    fn write_piece(&self) -> Result<(), PayloadFault> {
        if self.piece.is_empty() { Ok(()) } else { self.file.write(self.attempt, self.number, &self.piece) }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.settled {
            // What cannot be written comes again.
            let _ = self.write_piece();
        }
    }
}
