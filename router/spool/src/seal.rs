//! How does a row lie on disk so that nobody reads it, and so that every read notices damage?
//!
//! AES-256-GCM, a key per segment, a counter as nonce: a segment is written by one process for at most an hour, so no nonce
//! comes twice. The tag covers value, keyspace, row key and identity and is the checksum of every read. A segment's secret
//! is random and lies wrapped by the master key, so replacing the master key rewrites a few rows.

mod error;
mod segment;
mod standing;
#[cfg(test)]
mod tests;
mod value;
pub(crate) mod wrap;

pub use error::SealError;
pub use value::OVERHEAD;

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use bytes::Bytes;
use kernpost_codecs::{EndpointId, MessageId, UnixMs};

use crate::keys::MasterKeys;
use crate::store::{Batch, Space, Store};
use segment::Segment;
use wrap::Secret;

/// Which row a value belongs to: all of it is authenticated with the value, none of it is stored with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The keyspace.
    pub space: Space,
    /// The row's key: a value moved to another key is damaged.
    pub key: &'a [u8],
    /// What else the value must belong to, empty if nothing.
    pub identity: &'a [u8],
}

/// See [`Vault::lookup_key`].
pub type LookupKey = [u8; LOOKUP_KEY];

/// Bytes of a lookup key. The storage library keeps keys of up to 20 bytes in place.
pub const LOOKUP_KEY: usize = 20;

/// Seals and opens values of one spool.
///
/// Order of calls: [`open`](Self::open), then [`begin_segment`](Self::begin_segment) once and again whenever
/// [`wants_segment`](Self::wants_segment); [`seal`](Self::seal) in between. Memory: about 1 KiB for each segment that
/// still holds rows; a segment spans at most an hour of a process, so 30 days make 720 and one for each restart.
pub struct Vault {
    masters: MasterKeys,
    segments: BTreeMap<u32, Segment>,
    writing: Option<Writing>,
    highest: u32,
    lookup: Option<(Secret, hmac::Key)>,
    lost: Vec<u32>,
}

struct Writing {
    segment: u32,
    sealed: u64,
    begun: UnixMs,
}

impl Vault {
    /// Reads and unwraps the secrets of a spool; in an empty store there are none yet.
    ///
    /// # Errors
    /// [`SealError::UnknownMaster`] when a secret is wrapped by a master key that was not given; [`SealError::Store`].
    pub fn open(store: &impl Store, masters: MasterKeys) -> Result<Self, SealError> {
        let found = wrap::read_all(store, &masters)?;
        let mut vault = Self {
            masters,
            segments: BTreeMap::new(),
            writing: None,
            highest: found.highest,
            lookup: None,
            lost: found.lost,
        };
        for (number, secret) in found.secrets {
            if number == LOOKUP {
                vault.lookup = Some(with_lookup_key(secret));
            } else {
                vault.segments.insert(number, Segment::new(number, secret)?);
            }
        }
        Ok(vault)
    }

    /// Whether a new segment must begin before anything more is sealed: none has in this process, or it is 2^20 values or
    /// an hour old.
    #[must_use]
    pub fn wants_segment(&self, now: UnixMs) -> bool {
        self.writing.as_ref().is_none_or(|writing| {
            writing.sealed >= MOST_VALUES || now.ms_since(writing.begun) >= LONGEST_MS || now < writing.begun
        })
    }

    /// Begins a segment with a fresh secret from `random`. Its rows go into `batch`, which must be committed before, or
    /// together with, the first value sealed in it. The first one of a spool also makes the secret of the lookup keys.
    ///
    /// # Errors
    /// [`SealError::Exhausted`] after 2^32 segments; [`SealError::Crypto`].
    pub fn begin_segment(
        &mut self,
        now: UnixMs,
        random: &mut impl FnMut(&mut [u8]),
        batch: &mut Batch,
    ) -> Result<u32, SealError> {
        let number = self.highest.checked_add(1).ok_or(SealError::Exhausted)?;
        if self.highest == 0 && self.lookup.is_none() && !self.lost.contains(&LOOKUP) {
            let secret = wrap::fresh(random);
            wrap::write(LOOKUP, &secret, self.masters.current(), random, batch)?;
            self.lookup = Some(with_lookup_key(secret));
        }
        let secret = wrap::fresh(random);
        wrap::write(number, &secret, self.masters.current(), random, batch)?;
        wrap::write_highest(number, batch);
        self.segments.insert(number, Segment::new(number, secret)?);
        self.highest = number;
        self.writing = Some(Writing { segment: number, sealed: 0, begun: now });
        Ok(number)
    }

    /// The value as it may lie on disk under this row: [`OVERHEAD`] bytes longer.
    ///
    /// # Errors
    /// [`SealError::Exhausted`] when no segment has begun or it is full: begin one; [`SealError::Crypto`].
    pub fn seal(&mut self, row: Row<'_>, plain: &[u8]) -> Result<Bytes, SealError> {
        let writing =
            self.writing.as_mut().filter(|writing| writing.sealed < MOST_VALUES).ok_or(SealError::Exhausted)?;
        let segment = self.segments.get(&writing.segment).ok_or(SealError::Exhausted)?;
        let counter = writing.sealed;
        writing.sealed += 1;
        segment.seal(counter, row, plain)
    }

    /// The value that was sealed for this row.
    ///
    /// # Errors
    /// [`SealError::Damaged`] when it is not what was sealed, belongs to another row, or its segment is gone.
    pub fn unseal(&self, row: Row<'_>, sealed: &[u8]) -> Result<Bytes, SealError> {
        let damaged = || SealError::damaged(row);
        let segment = Self::segment_of(sealed).and_then(|number| self.segments.get(&number)).ok_or_else(damaged)?;
        segment.unseal(row, sealed).ok_or_else(damaged)
    }

    /// The segment a sealed value says it is in, for callers that count live values per segment.
    #[must_use]
    pub fn segment_of(sealed: &[u8]) -> Option<u32> {
        value::Head::read(sealed).map(|head| head.segment)
    }

    /// The segment written to now.
    #[must_use]
    pub fn current_segment(&self) -> Option<u32> {
        self.writing.as_ref().map(|writing| writing.segment)
    }

    /// Every segment whose values can be read, ascending.
    pub fn segments(&self) -> impl Iterator<Item = u32> {
        self.segments.keys().copied()
    }

    /// Numbers whose secrets were found damaged in both copies: their values are [`SealError::Damaged`]. 0 is the secret of
    /// the lookup keys.
    #[must_use]
    pub fn lost(&self) -> &[u32] {
        &self.lost
    }

    /// Makes a segment unreadable by deleting its secret, once the caller counts no live value in it. What the storage
    /// library has not yet overwritten on disk stays wrapped by the master key: destroying that one, after a
    /// [`rewrap`](Self::rewrap), makes it final.
    ///
    /// # Errors
    /// [`SealError::InUse`] for the segment written to now.
    pub fn destroy(&mut self, segment: u32, batch: &mut Batch) -> Result<(), SealError> {
        if self.current_segment() == Some(segment) || segment == LOOKUP {
            return Err(SealError::InUse { segment });
        }
        self.segments.remove(&segment);
        wrap::delete(segment, batch);
        Ok(())
    }

    /// Wraps every secret again, by the current master key: when `batch` is committed, no other master key is needed. How
    /// many there were.
    ///
    /// # Errors
    /// [`SealError::Crypto`].
    pub fn rewrap(&self, random: &mut impl FnMut(&mut [u8]), batch: &mut Batch) -> Result<usize, SealError> {
        let lookup = self.lookup.iter().map(|(secret, _)| (LOOKUP, secret));
        let all = lookup.chain(self.segments.iter().map(|(number, segment)| (*number, segment.secret())));
        let mut wrapped = 0;
        for (number, secret) in all {
            wrap::write(number, secret, self.masters.current(), random, batch)?;
            wrapped += 1;
        }
        Ok(wrapped)
    }

    /// The key under which a message is found without being named: the time in its id, to about a quarter of a second, and 16
    /// bytes of HMAC-SHA256. The time comes first so that messages that came together lie together: what comes next is written
    /// behind what is there, and neither searched for nor merged with all of it. An id without a time costs that, nothing else.
    ///
    /// # Errors
    /// As [`index_key`](Self::index_key).
    pub fn lookup_key(&self, sender: &EndpointId, message: MessageId) -> Result<LookupKey, SealError> {
        let hash = self.index_key(b"message", &[&message.0, sender.as_str().as_bytes()])?;
        let mut key = first_lookup_key(message);
        let (_, rest) = key.split_at_mut(4);
        rest.copy_from_slice(&hash);
        Ok(key)
    }

    /// A key for an index that names nobody: 16 bytes of HMAC-SHA256 over the parts, of which only the last may vary in length.
    ///
    /// # Errors
    /// [`SealError::Damaged`] when the secret was lost; [`SealError::Exhausted`] when no segment has ever begun.
    pub fn index_key(&self, purpose: &[u8], parts: &[&[u8]]) -> Result<[u8; 16], SealError> {
        let (_, key) = self.lookup()?;
        let mut context = hmac::Context::with_key(key);
        context.update(&[u8::try_from(purpose.len()).unwrap_or(u8::MAX)]);
        context.update(purpose);
        for part in parts {
            context.update(part);
        }
        context.sign().as_ref().first_chunk().copied().ok_or(SealError::Crypto)
    }

    /// Seals a value that outlives segments, so that it keeps none of them alive: names of queues, the audit log.
    ///
    /// # Errors
    /// As [`index_key`](Self::index_key), and [`SealError::Crypto`].
    pub fn seal_standing(
        &self,
        row: Row<'_>,
        plain: &[u8],
        random: &mut impl FnMut(&mut [u8]),
    ) -> Result<Bytes, SealError> {
        standing::seal(&self.lookup()?.0, row, plain, random)
    }

    /// The value that was sealed standing for this row.
    ///
    /// # Errors
    /// [`SealError::Damaged`].
    pub fn unseal_standing(&self, row: Row<'_>, sealed: &[u8]) -> Result<Bytes, SealError> {
        standing::unseal(&self.lookup()?.0, row, sealed).ok_or_else(|| SealError::damaged(row))
    }

    /// Replaces a lost secret of the lookup keys. Every index made with it has to be made again, and what was sealed
    /// standing cannot be read any more.
    ///
    /// # Errors
    /// [`SealError::Crypto`].
    pub fn renew_lookup(&mut self, random: &mut impl FnMut(&mut [u8]), batch: &mut Batch) -> Result<(), SealError> {
        let secret = wrap::fresh(random);
        wrap::write(LOOKUP, &secret, self.masters.current(), random, batch)?;
        self.lookup = Some(with_lookup_key(secret));
        self.lost.retain(|number| *number != LOOKUP);
        Ok(())
    }

    /// Whether the secret of the lookup keys was lost.
    #[must_use]
    pub fn lost_lookup(&self) -> bool {
        self.lost.contains(&LOOKUP)
    }

    /// Whether no segment has ever begun: the spool is new.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.highest == 0
    }

    fn lookup(&self) -> Result<&(Secret, hmac::Key), SealError> {
        self.lookup.as_ref().ok_or_else(|| match self.lost_lookup() {
            true => SealError::Damaged { space: Space::Segments, key: Bytes::copy_from_slice(&LOOKUP.to_be_bytes()) },
            false => SealError::Exhausted,
        })
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("masters", &self.masters)
            .field("segments", &self.segments.len())
            .finish_non_exhaustive()
    }
}

/// The first lookup key that a message with an id of this time may have.
#[must_use]
pub fn lookup_key_at(at: UnixMs) -> LookupKey {
    first_lookup_key(MessageId::from_parts(at, [0; 10]))
}

/// A UUIDv7 begins with 48 bits of milliseconds: without the first 8, which change every 35 years, and the last 8.
fn first_lookup_key(message: MessageId) -> LookupKey {
    let [_, t1, t2, t3, t4, ..] = message.0;
    let mut key = [0; LOOKUP_KEY];
    let (time, _) = key.split_at_mut(4);
    time.copy_from_slice(&[t1, t2, t3, t4]);
    key
}

fn with_lookup_key(secret: Secret) -> (Secret, hmac::Key) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_slice());
    (secret, key)
}

/// The number of the secret that lookup keys are made with; segments begin at 1.
const LOOKUP: u32 = 0;
/// Values in a segment. AES-GCM would bear far more with a counter; this bounds what one secret's loss costs.
const MOST_VALUES: u64 = 1 << 20;
/// How long a segment is written to, in milliseconds: an hour.
const LONGEST_MS: u64 = 3_600_000;
