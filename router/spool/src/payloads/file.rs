//! How does a large payload lie in its file, so that nobody reads it and every read notices damage?
//!
//! ```text
//!  0        1          90         179        181
//!  version | secret A | secret B | length u16 | owner, sealed … | zeros to 512
//!  512: piece 0 | piece 1 | …
//!  piece: attempt (8 bytes, random) | up to 65,536 bytes, sealed | tag (16)
//! ```
//!
//! The secret is random, wrapped by the master key; twice, so that it can be wrapped anew in place. The key is HKDF-SHA256 of it. A
//! piece is sealed by AES-256-GCM under the nonce (attempt, number): every attempt to send the payload draws a number of its own, so
//! that a piece written again never shares a nonce with the one before. The tag covers leaf and number too. Only the last
//! piece may be short.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use kernpost_codecs::{Digest, EndpointId, MessageId};

use super::{Owner, PayloadFault};
use crate::keys::MasterKeys;
use crate::seal::wrap::{self, Purpose, ROW, Secret, Unwrapped};

/// Bytes of a payload sealed together: 64 KiB.
pub const PIECE: usize = 65_536;
/// Bytes of a sealed piece beside the payload's.
const OVERHEAD: usize = ATTEMPT + TAG;
const ATTEMPT: usize = 8;
const TAG: usize = 16;
const HEADER: usize = 512;
const VERSION: u8 = 1;
/// Where the two copies of the wrapped secret begin.
const COPIES: [usize; 2] = [1, 1 + ROW];
const OWNER: usize = 1 + 2 * ROW;
/// The number under which the owner is sealed: no piece has it.
const OWNERS_NUMBER: u32 = u32::MAX;

/// Which attempt a piece was written in.
pub(super) type Attempt = [u8; ATTEMPT];

/// An open file and its key.
pub(super) struct SealedFile {
    file: File,
    key: LessSafeKey,
    leaf: Digest,
}

impl SealedFile {
    /// A new file, whose header is durable; one of this name is replaced.
    pub(super) fn create(
        path: &Path,
        owner: &Owner,
        masters: &MasterKeys,
        random: &mut impl FnMut(&mut [u8]),
    ) -> Result<Self, PayloadFault> {
        let secret = wrap::fresh(random);
        let row = wrap::wrap(&purpose(&owner.leaf), &secret, masters.current(), random)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let sealed = Self { file, key: key_of(&secret)?, leaf: owner.leaf };
        let mut attempt = Attempt::default();
        random(&mut attempt);
        let plain = [&owner.message.0[..], owner.sender.as_str().as_bytes()].concat();
        let owner = sealed.seal(attempt, OWNERS_NUMBER, &plain)?;
        let length = u16::try_from(owner.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut header = [&[VERSION][..], &row, &row, &length, &owner].concat();
        header.resize(HEADER, 0);
        sealed.file.write_all_at(&header, 0)?;
        sealed.file.sync_all()?;
        Ok(sealed)
    }

    /// The file of this name.
    ///
    /// # Errors
    /// [`PayloadFault::Damaged`]: it is not there, or its header cannot be read.
    pub(super) fn open(path: &Path, leaf: Digest, masters: &MasterKeys, write: bool) -> Result<Self, PayloadFault> {
        let file = match OpenOptions::new().read(true).write(write).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PayloadFault::Damaged),
            opened => opened?,
        };
        let (secret, _) = secret_of(&header_of(&file)?, leaf, masters)?;
        Ok(Self { key: key_of(&secret)?, file, leaf })
    }

    /// Whole pieces and the short one behind them that there may be, by the file's length.
    pub(super) fn pieces(&self) -> io::Result<u32> {
        let bytes = self.file.metadata()?.len().saturating_sub(HEADER as u64);
        Ok(u32::try_from(bytes.div_ceil((PIECE + OVERHEAD) as u64)).unwrap_or(u32::MAX))
    }

    /// Reads a piece into `into`, which it replaces: its bytes, at most [`PIECE`].
    ///
    /// # Errors
    /// [`PayloadFault::Damaged`]: it is not as it was written.
    pub(super) fn read(&self, number: u32, into: &mut Vec<u8>) -> Result<(), PayloadFault> {
        let mut text = vec![0; PIECE + OVERHEAD];
        let mut filled = 0;
        while let Some(rest) = text.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, start_of(number) + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        text.truncate(filled);
        let (attempt, sealed) = text.split_first_chunk_mut::<ATTEMPT>().ok_or(PayloadFault::Damaged)?;
        let (nonce, associated) = (nonce(*attempt, number), associated(&self.leaf, number));
        let plain = self.key.open_in_place(nonce, Aad::from(associated), sealed).map_err(|_| PayloadFault::Damaged)?;
        into.clear();
        into.extend_from_slice(plain);
        Ok(())
    }

    /// Writes a piece; it is durable after [`sync`](Self::sync). A short one is the last: nothing stays behind it.
    pub(super) fn write(&self, attempt: Attempt, number: u32, plain: &[u8]) -> Result<(), PayloadFault> {
        let sealed = self.seal(attempt, number, plain)?;
        self.file.write_all_at(&sealed, start_of(number))?;
        if plain.len() < PIECE {
            self.file.set_len(start_of(number) + sealed.len() as u64)?;
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn seal(&self, attempt: Attempt, number: u32, plain: &[u8]) -> Result<Vec<u8>, PayloadFault> {
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.extend_from_slice(&attempt);
        sealed.extend_from_slice(plain);
        let (_, text) = sealed.split_at_mut(ATTEMPT);
        let associated = Aad::from(associated(&self.leaf, number));
        let tag = self.key.seal_in_place_separate_tag(nonce(attempt, number), associated, text)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }
}

impl std::fmt::Debug for SealedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedFile").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

/// Whose payload a file is.
pub(super) fn owner(path: &Path, leaf: Digest, masters: &MasterKeys) -> Result<Owner, PayloadFault> {
    let file = File::open(path)?;
    let header = header_of(&file)?;
    let (secret, _) = secret_of(&header, leaf, masters)?;
    let (length, rest) = header.split_at(OWNER).1.split_first_chunk::<2>().ok_or(PayloadFault::Damaged)?;
    let sealed = rest.get(..usize::from(u16::from_be_bytes(*length))).ok_or(PayloadFault::Damaged)?;
    let (attempt, sealed) = sealed.split_first_chunk::<ATTEMPT>().ok_or(PayloadFault::Damaged)?;
    let mut text = sealed.to_vec();
    let associated = Aad::from(associated(&leaf, OWNERS_NUMBER));
    let plain = key_of(&secret)?.open_in_place(nonce(*attempt, OWNERS_NUMBER), associated, &mut text);
    let plain = plain.map_err(|_| PayloadFault::Damaged)?;
    let (message, sender) = plain.split_first_chunk::<16>().ok_or(PayloadFault::Damaged)?;
    let sender: Option<EndpointId> = std::str::from_utf8(sender).ok().and_then(|sender| sender.parse().ok());
    Ok(Owner { leaf, sender: sender.ok_or(PayloadFault::Damaged)?, message: MessageId(*message) })
}

/// Wraps the secret of a file by the current master key: first over the copy that is not needed to open it now.
pub(super) fn rewrap(
    path: &Path,
    leaf: Digest,
    masters: &MasterKeys,
    random: &mut impl FnMut(&mut [u8]),
) -> Result<(), PayloadFault> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let (secret, opened) = secret_of(&header_of(&file)?, leaf, masters)?;
    let row = wrap::wrap(&purpose(&leaf), &secret, masters.current(), random)?;
    let [first, second] = COPIES;
    for at in if opened == first { [second, first] } else { [first, second] } {
        file.write_all_at(&row, at as u64)?;
        file.sync_all()?;
    }
    Ok(())
}

fn header_of(file: &File) -> Result<Vec<u8>, PayloadFault> {
    let mut header = Vec::with_capacity(HEADER);
    let mut from_start = file;
    io::Seek::seek(&mut from_start, io::SeekFrom::Start(0))?;
    from_start.take(HEADER as u64).read_to_end(&mut header)?;
    (header.len() == HEADER && header.first() == Some(&VERSION)).then_some(header).ok_or(PayloadFault::Damaged)
}

/// The secret, and where the copy begins that it was read from.
fn secret_of(header: &[u8], leaf: Digest, masters: &MasterKeys) -> Result<(Secret, usize), PayloadFault> {
    let mut fault = PayloadFault::Damaged;
    for at in COPIES {
        let row = header.get(at..at + ROW).unwrap_or_default();
        match wrap::unwrap(&purpose(&leaf), row, masters) {
            Unwrapped::Secret(secret) => return Ok((secret, at)),
            Unwrapped::Stranger(id) => fault = PayloadFault::UnknownMaster { id },
            Unwrapped::Damaged => {}
        }
    }
    Err(fault)
}

const fn purpose(leaf: &Digest) -> Purpose<'_> {
    Purpose { wrap: b"kernpost payload wrap", secret: b"kernpost payload secret", name: leaf.as_bytes() }
}

fn key_of(secret: &Secret) -> Result<LessSafeKey, PayloadFault> {
    let prk = Salt::new(HKDF_SHA256, &[]).extract(secret.as_slice());
    Ok(LessSafeKey::new(UnboundKey::from(prk.expand(&[b"kernpost payload file"], &AES_256_GCM)?)))
}

fn nonce(attempt: Attempt, number: u32) -> Nonce {
    let mut nonce = [0; 12];
    let (front, back) = nonce.split_at_mut(ATTEMPT);
    front.copy_from_slice(&attempt);
    back.copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn associated(leaf: &Digest, number: u32) -> [u8; 36] {
    let mut associated = [0; 36];
    let (front, back) = associated.split_at_mut(Digest::LEN);
    front.copy_from_slice(leaf.as_bytes());
    back.copy_from_slice(&number.to_be_bytes());
    associated
}

fn start_of(number: u32) -> u64 {
    HEADER as u64 + u64::from(number) * (PIECE + OVERHEAD) as u64
}
