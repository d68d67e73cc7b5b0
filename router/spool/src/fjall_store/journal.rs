//! Would opening this folder lose batches that were committed?
//!
//! fjall cuts a journal at the first entry it cannot decode. After a crash that is right: only the last batch can be
//! torn, since the next one starts after its fsync. But one flipped bit in the middle looks the same and would silently
//! cut off all that follows. So the journals are read first: a complete end marker behind what cannot be decoded
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
    let mut journals = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|extension| extension == "jnl")) {
            journals.push((number, path));
        }
    }
    journals.sort();
    let mut last = None;
    for (_, path) in journals {
        let file = File::open(&path).map(|file| BufReader::with_capacity(BUFFER, file));
        let damage = file.and_then(|file| first_damage(file, &mut last));
        if let Some(at) = damage.map_err(|error| unreadable(&path, &error))? {
            return Err(refuse(format!(
                "{} is damaged at byte {at}, and complete batches follow, which would be lost: restore the folder as a \
                 whole, or set it aside and start with an empty folder; the senders still have what was in it, and ask",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Where the batch begins that cannot be decoded or is out of order, if an end marker follows anywhere behind. Behind the
/// last complete batch, not behind the undecodable entry: a flipped length makes an entry swallow what follows it.
///
/// `last` is the sequence number of the batch before, across journals. It is the one field of a batch that fjall's
/// checksum leaves out: too low, and fjall takes the batch for flushed.
fn first_damage(mut journal: impl Read + Seek, last: &mut Option<u64>) -> io::Result<Option<u64>> {
    let mut at = 0;
    while let Some(number) = read_batch(&mut journal)? {
        if last.is_some_and(|last| number <= last) || number - last.unwrap_or(0) > FARTHEST {
            return Ok(Some(at));
        }
        *last = Some(number);
        at = journal.stream_position()?;
    }
    journal.seek(SeekFrom::Start(at))?;
    Ok(has_end_marker(&mut journal)?.then_some(at))
}

/// Reads to the end of one batch: its sequence number, or `None` when there is none that can be decoded.
fn read_batch(journal: &mut (impl Read + Seek)) -> io::Result<Option<u64>> {
    match read_entries(journal) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        other => other,
    }
}

fn read_entries(journal: &mut (impl Read + Seek)) -> io::Result<Option<u64>> {
    if take::<1>(journal)? != [START] {
        return Ok(None);
    }
    let _items = take::<4>(journal)?;
    let number = u64::from_le_bytes(take::<8>(journal)?);
    loop {
        match take::<1>(journal)? {
            [ITEM] if read_item(journal)? => {}
            [CLEAR] => drop(take::<8>(journal)?),
            [END] => {
                let [.., a, b, c, d] = take::<12>(journal)?;
                return Ok(([a, b, c, d] == MAGIC).then_some(number));
            }
            _ => return Ok(None),
        }
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
/// Sequence numbers count batches and flushes: no gap is this wide.
const FARTHEST: u64 = 1 << 40;
const END_BYTES: usize = 13;
const BUFFER: usize = 1 << 20;
const PAGE: usize = 4 << 10;
static ZEROES: [u8; PAGE] = [0; PAGE];
