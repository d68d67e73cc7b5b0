//! Would opening this folder lose batches that were committed?
//!
//! fjall cuts a journal at the first entry it cannot decode. After a crash that is right: only the last batch can be
//! torn, since the next one starts after its fsync. But one flipped bit in the middle looks the same and would silently
//! cut off all that follows. So the journals are read first: a complete end marker behind the first undecodable entry
//! proves damage. Reads each journal once, sequentially, at most what `journal_bytes` allows.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::store::StoreError;

/// # Errors
/// [`StoreError::Open`] when a journal cannot be read or has a damaged place before complete batches.
pub(super) fn refuse_lost_batches(folder: &Path) -> Result<(), StoreError> {
    let refuse = |cause: String| StoreError::Open { folder: folder.to_owned(), cause };
    let unreadable = |path: &Path, error: &io::Error| refuse(format!("{}: {error}: check the disk", path.display()));
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if path.extension().is_none_or(|extension| extension != "jnl") {
            continue;
        }
        let damage = File::open(&path).and_then(|file| first_damage(BufReader::with_capacity(BUFFER, file)));
        if let Some(at) = damage.map_err(|error| unreadable(&path, &error))? {
            return Err(refuse(format!(
                "{} is damaged at byte {at}, and complete batches follow: restore the disk, or start once with \
                 accept_damaged_journal, which loses them (their senders will ask and send again)",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Where the first entry lies that cannot be decoded, if an end marker follows it anywhere.
fn first_damage(mut journal: impl Read + Seek) -> io::Result<Option<u64>> {
    let mut at = 0;
    while skip_entry(&mut journal)? {
        at = journal.stream_position()?;
    }
    journal.seek(SeekFrom::Start(at))?;
    Ok(has_end_marker(&mut journal)?.then_some(at))
}

/// Goes past one entry; false when there is none that can be decoded.
fn skip_entry(journal: &mut (impl Read + Seek)) -> io::Result<bool> {
    match read_entry(journal) {
        Ok(decoded) => Ok(decoded),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_entry(journal: &mut (impl Read + Seek)) -> io::Result<bool> {
    match take::<1>(journal)? {
        [START] => take::<12>(journal).map(|_| true),
        [ITEM] => read_item(journal),
        [END] => {
            let [.., a, b, c, d] = take::<12>(journal)?;
            Ok([a, b, c, d] == MAGIC)
        }
        [CLEAR] => take::<8>(journal).map(|_| true),
        _ => Ok(false),
    }
}

fn read_item(journal: &mut (impl Read + Seek)) -> io::Result<bool> {
    let [kind, compression] = take::<2>(journal)?;
    let _keyspace = take::<8>(journal)?;
    let key = u16::from_le_bytes(take::<2>(journal)?);
    let value = u32::from_le_bytes(take::<4>(journal)?);
    let stored = u32::from_le_bytes(take::<4>(journal)?);
    let rest = u64::from(key) + u64::from(stored);
    let there = io::copy(&mut journal.take(rest), &mut io::sink())? == rest;
    Ok(there && kind <= HIGHEST_KIND && compression == UNCOMPRESSED && value == stored)
}

fn take<const N: usize>(journal: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    journal.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Looks for the shape of an end marker: tag, 8 bytes, magic. Random bytes have it once in 2^40 places.
fn has_end_marker(mut journal: impl Read) -> io::Result<bool> {
    let (mut page, mut tail) = ([0_u8; PAGE], Vec::with_capacity(PAGE + END_BYTES));
    loop {
        let read = journal.read(&mut page)?;
        let fresh = page.get(..read).unwrap_or(&[]);
        if fresh.is_empty() {
            return Ok(false);
        }
        // A new journal is 64 MB of zeroes: compared, not searched.
        if fresh == ZEROES.get(..read).unwrap_or(&[]) && tail.is_empty() {
            continue;
        }
        tail.extend_from_slice(fresh);
        if tail.windows(END_BYTES).any(is_end_marker) {
            return Ok(true);
        }
        let keep = if fresh == ZEROES.get(..read).unwrap_or(&[]) { 0 } else { END_BYTES - 1 };
        tail.drain(..tail.len().saturating_sub(keep));
    }
}

fn is_end_marker(window: &[u8]) -> bool {
    window.first() == Some(&END) && window.ends_with(&MAGIC)
}

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: [u8; 4] = *b"FJL\x03";
/// Value, tombstone, weak tombstone, indirection.
const HIGHEST_KIND: u8 = 4;
const UNCOMPRESSED: u8 = 0;
const END_BYTES: usize = 13;
const BUFFER: usize = 1 << 20;
const PAGE: usize = 4 << 10;
static ZEROES: [u8; PAGE] = [0; PAGE];
