//! How do statements and payloads become a signed part?
//!
//! Collects what travels together, within the bounds of WIRE 6.4, then makes the tree, signs its root and lays the
//! bodies out once. Does not sort: who adds entries in the order of their recipients gets few siblings at every split.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Entry, HopHeader, LONGEST_INLINE_PAYLOAD, MOST_ENTRIES, Part, head_len, put_head};
use crate::digest::Digest;
use crate::frame::LONGEST_BODY;
use crate::key::{Algorithm, SigningKey};
use crate::root::{LONGEST_SIGNATURE_IN_HEAD, SignError, sign_with_all};
use crate::statement::LONGEST_RECEIPT;
use crate::tree::{Tree, leaf_hash};
use crate::varint;

/// Room kept for a part head unless the keys are known: two signatures of the longest kind, tree size and counts.
const HEAD_ROOM: usize = 2 * LONGEST_SIGNATURE_IN_HEAD + COUNTS_ROOM;

/// Room for tree size, number of signatures, number of entries and of siblings.
const COUNTS_ROOM: usize = 16;

/// Entries on their way into one bundle. Bounds: 256 entries, and a frame body within the limit even after a router
/// has written the longest recipient into every entry.
#[derive(Debug, Default)]
pub struct BundleBuilder {
    entries: Vec<(Bytes, Bytes, HopHeader)>,
    length: usize,
    limit: Option<usize>,
    head_room: Option<usize>,
}

/// Why an entry is not taken into a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The bundle is full; the entry fits the next one.
    #[error("the bundle is full; sign it and push to a new one")]
    Full,
    /// A statement longer than any statement may be.
    #[error("a statement of {length} bytes; receipts have at most 2,048, messages 1,024 (WIRE 4.1)")]
    Statement {
        /// Bytes of the statement.
        length: usize,
    },
    /// A payload that does not travel inline, or that a detached entry or an ask must not have.
    #[error("a payload of {length} bytes here; above 65,536 it is detached, detached and ask have none (WIRE 6.2)")]
    Payload {
        /// Bytes of the payload.
        length: usize,
    },
}

impl BundleBuilder {
    /// An empty bundle with the bounds of WIRE 6.4.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty bundle whose frame body stays at or below `bytes`, for slow links. One entry is always taken.
    #[must_use]
    pub fn with_limit(bytes: usize) -> Self {
        Self { limit: Some(bytes.min(LONGEST_BODY)), ..Self::default() }
    }

    /// The same bundle, to be signed with these keys: keeps room for their signatures only, not for the longest ones.
    #[must_use]
    pub fn for_keys(self, keys: &[&SigningKey]) -> Self {
        let each = |key: &&SigningKey| {
            LONGEST_SIGNATURE_IN_HEAD - Algorithm::MlDsa65.signature_len() + key.algorithm().signature_len()
        };
        Self { head_room: Some(COUNTS_ROOM + keys.iter().map(each).sum::<usize>()), ..self }
    }

    /// Adds an entry and returns its tree index.
    ///
    /// # Errors
    /// [`Unfit::Full`] when it belongs into the next bundle, otherwise it never fits.
    pub fn push(&mut self, statement: Bytes, payload: Bytes, hop: HopHeader) -> Result<u16, Unfit> {
        if statement.len() > LONGEST_RECEIPT {
            return Err(Unfit::Statement { length: statement.len() });
        }
        if payload.len() > LONGEST_INLINE_PAYLOAD || (hop.is_bare() && !payload.is_empty()) {
            return Err(Unfit::Payload { length: payload.len() });
        }
        let index = u16::try_from(self.entries.len()).ok().filter(|index| *index < MOST_ENTRIES).ok_or(Unfit::Full)?;
        let length = self.length + entry_len(&statement, &payload);
        let limit = self.limit.unwrap_or(LONGEST_BODY);
        if index > 0 && self.head_room.unwrap_or(HEAD_ROOM) + length > limit {
            return Err(Unfit::Full);
        }
        self.length = length;
        self.entries.push((statement, payload, hop));
        Ok(index)
    }

    /// Entries so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Makes the tree and signs its root with one key, or with two where the directory requires two algorithms.
    ///
    /// # Errors
    /// [`SignError`]: no entry, a wrong number of keys, or a crypto library that fails.
    pub fn sign(self, keys: &[&SigningKey]) -> Result<Part, SignError> {
        let leaves: Vec<Digest> = self.entries.iter().map(|(statement, _, _)| leaf_hash(statement)).collect();
        let tree = Tree::new(&leaves).map_err(|_| SignError::Empty)?.into_partial();
        let signatures = sign_with_all(keys, &tree.root())?;

        let head_len = head_len(tree.size(), &signatures);
        let bodies = self.entries.iter().map(|(statement, payload, _)| statement.len() + payload.len()).sum::<usize>();
        let mut bytes = BytesMut::with_capacity(head_len + bodies);
        put_head(&mut bytes, tree.size(), &signatures);
        for (statement, payload, _) in &self.entries {
            bytes.put_slice(statement);
            bytes.put_slice(payload);
        }
        let mut bodies = bytes.freeze();
        let head = bodies.split_to(head_len);

        let mut start = 0;
        let mut entries = Vec::with_capacity(self.entries.len());
        for ((index, leaf), (statement, payload, hop)) in (0..).zip(leaves).zip(self.entries) {
            let middle = start + statement.len();
            let end = middle + payload.len();
            let (statement, payload) = (bodies.slice(start..middle), bodies.slice(middle..end));
            entries.push(Entry { index, hop, statement, payload, leaf });
            start = end;
        }
        Ok(Part { signatures, tree, entries, head, bodies })
    }
}

/// Most bytes an entry takes in a frame body, with the longest recipient.
fn entry_len(statement: &Bytes, payload: &Bytes) -> usize {
    let index = varint::len(u64::from(MOST_ENTRIES));
    let lengths = varint::len(statement.len() as u64) + varint::len(payload.len() as u64);
    index + HopHeader::LONGEST + lengths + statement.len() + payload.len()
}
