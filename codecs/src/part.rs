//! Which entries does a BUNDLE frame carry, and how is a subset of them sent on?
//!
//! The frame body of WIRE §6 under the tree of §5. Decoding shares the frame's memory: statements and payloads are
//! slices of it, each leaf is hashed once. A subset is copied in runs, with the multi-proof read off the tree. What an
//! entry's statement says, and whether the root is signed by its sender's key, is decided elsewhere.

mod builder;
mod head;
mod hop;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

pub use builder::{BundleBuilder, Unfit};
pub use head::{MOST_ENTRIES, RootSignatures};
pub use hop::HopHeader;

pub(crate) use head::{as_hashes, head_len, put_head, put_siblings, read_head, read_siblings, siblings_len};

use crate::body::{Body, put_frame_head};
use crate::code::FrameFault;
use crate::credit::entry_cost;
use crate::digest::Digest;
use crate::frame::{LONGEST_BODY, frame_type};
use crate::receipts::{RebuiltReceipts, ReceiptsFrame};
use crate::tree::{EMPTY_LEAF, Leaf, PartialTree, ProofFault, Siblings, leaf_hash};
use crate::varint;

/// Longest payload that travels inline, in bytes (WIRE 6.2).
pub const LONGEST_INLINE_PAYLOAD: usize = 65_536;

/// What a frame fault of this body names.
const CLAUSE: &str = "WIRE 6";

/// One entry of a part. Statement and payload share the memory of the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Index in the tree, and in labels.
    pub index: u16,
    /// Unsigned hop header as received.
    pub hop: HopHeader,
    /// The encoded statement, not looked at.
    pub statement: Bytes,
    /// The inline payload; empty when detached or an ask.
    pub payload: Bytes,
    /// SHA-256(0x00 ‖ statement).
    pub leaf: Digest,
}

impl Entry {
    /// Bytes of credit this entry occupies until it settles: statement + payload + 256 (WIRE 7.1).
    #[must_use]
    pub fn credit(&self) -> u64 {
        entry_cost(self.statement.len(), self.payload.len())
    }
}

/// Entries that travel together, under one signed root (WIRE 5.5). Bounds: 256 entries, 262,144 bytes of frame body,
/// which stays in memory while any of its slices does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    signatures: RootSignatures,
    tree: PartialTree,
    entries: Vec<Entry>,
    /// The encoded part head, copied unchanged into every smaller part.
    head: Bytes,
    /// Statement and payload of every entry, one behind the other.
    bodies: Bytes,
}

/// Why a BUNDLE body is not a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// It does not parse: the link closes.
    #[error(transparent)]
    Frame(#[from] FrameFault),
    /// It parses, but the proof is wrong: every entry is refused `bad-proof` (WIRE 6.6).
    #[error("{fault}")]
    Proof {
        /// What is wrong with it.
        fault: ProofFault,
        /// Tree index and credit bytes of every entry, so that it can be refused and accounted for.
        entries: Vec<(u16, u64)>,
    },
}

impl Leaf for Entry {
    fn index(&self) -> u16 {
        self.index
    }

    fn hash(&self) -> Digest {
        self.leaf
    }
}

/// Lengths of statement and payload of an entry whose head was read, before the bodies.
type Lengths = SmallVec<[(u32, u32); 64]>;

impl Part {
    /// Reads a BUNDLE body.
    ///
    /// # Errors
    /// [`PartError::Frame`] when it does not parse, [`PartError::Proof`] when indices or siblings do not fit the tree.
    pub fn decode(body: Bytes) -> Result<Self, PartError> {
        let mut body = Body::new(body, CLAUSE);
        let (tree_size, signatures) = read_head(&mut body)?;
        let head = body.since(0);
        let (mut entries, lengths) = read_entry_heads(&mut body)?;
        let start = body.position();
        for (entry, (statement, payload)) in entries.iter_mut().zip(lengths) {
            entry.statement = body.take(statement as usize, "statement")?;
            entry.payload = body.take(payload as usize, "payload")?;
            entry.leaf = leaf_hash(&entry.statement);
        }
        let bodies = body.since(start);
        let siblings = read_siblings(&mut body)?;
        body.finish()?;
        match PartialTree::from_leaves(tree_size, &entries, as_hashes(&siblings)) {
            Ok(tree) => Ok(Self { signatures, tree, entries, head, bodies }),
            Err(fault) => {
                let entries = entries.iter().map(|entry| (entry.index, entry.credit())).collect();
                Err(PartError::Proof { fault, entries })
            }
        }
    }

    /// The receipts of a RECEIPTS frame as a part: how a late receipt travels, under the root its issuer signed (WIRE 10.2).
    /// `rebuilt` is the frame's own. Hop headers are empty.
    #[must_use]
    pub fn of_receipts(frame: &ReceiptsFrame, rebuilt: &RebuiltReceipts) -> Self {
        let entries = frame.entries.iter().zip(&rebuilt.statements);
        let entries = entries.map(|(entry, statement)| Entry {
            index: entry.index,
            hop: HopHeader::default(),
            leaf: leaf_hash(statement),
            statement: statement.clone(),
            payload: Bytes::new(),
        });
        Self::of_entries(frame.signatures.clone(), rebuilt.tree.clone(), entries)
    }

    /// The same part with the payloads of the chosen indices only: what stays when the others are erased still proves every
    /// statement.
    #[must_use]
    pub fn with_payloads_of(&self, keep: impl Fn(u16) -> bool) -> Self {
        let entries = self.entries.iter().map(|entry| {
            let payload = if keep(entry.index) { entry.payload.clone() } else { Bytes::new() };
            Entry { payload, ..entry.clone() }
        });
        Self::of_entries(self.signatures.clone(), self.tree.clone(), entries)
    }

    fn of_entries(signatures: RootSignatures, tree: PartialTree, chosen: impl Iterator<Item = Entry>) -> Self {
        let mut head = BytesMut::with_capacity(head_len(tree.size(), &signatures));
        put_head(&mut head, tree.size(), &signatures);
        let mut bodies = BytesMut::new();
        let mut entries = Vec::new();
        for entry in chosen {
            bodies.extend_from_slice(&entry.statement);
            bodies.extend_from_slice(&entry.payload);
            entries.push(entry);
        }
        Self { signatures, tree, entries, head: head.freeze(), bodies: bodies.freeze() }
    }

    /// The signatures of the root, one or two, unverified.
    #[must_use]
    pub fn signatures(&self) -> &[crate::root::RootSignature] {
        &self.signatures
    }

    /// The tree with what is known of it.
    #[must_use]
    pub fn tree(&self) -> &PartialTree {
        &self.tree
    }

    /// The entries, by strictly increasing index.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The hash that is signed.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// Bytes of credit all entries occupy together (WIRE 7.1).
    #[must_use]
    pub fn credit(&self) -> u64 {
        self.entries.iter().map(Entry::credit).sum()
    }

    /// Appends a whole BUNDLE frame with the chosen entries, given as positions in [`entries`](Self::entries) (strictly
    /// increasing, not tree indices), each with the hop header it leaves with.
    ///
    /// Returns how many of them, from the front, are in the frame: its body stays at or below `most` bytes where that takes
    /// more than one entry, and hop headers may have grown since the body was made. Call again with the rest. 0: the first
    /// entry alone fits no frame, which needs a payload above the inline limit; nothing is appended.
    ///
    /// # Errors
    /// [`ProofFault`] when nothing is chosen, or positions are out of range or do not increase: a mistake of the caller.
    pub fn encode_chosen<'h>(
        &self,
        chosen: impl ExactSizeIterator<Item = (usize, &'h HopHeader)> + Clone,
        most: usize,
        out: &mut BytesMut,
    ) -> Result<usize, ProofFault> {
        let mut take = chosen.len();
        loop {
            let frame = self.lay_out(chosen.clone().take(take))?;
            if frame.length <= most.min(LONGEST_BODY) || (take == 1 && frame.length <= LONGEST_BODY) {
                self.put_frame(&frame, out);
                return Ok(take);
            }
            take /= 2;
            if take == 0 {
                return Ok(0);
            }
        }
    }

    /// [`encode_chosen`](Self::encode_chosen) for positions whose hop headers are made on the way.
    ///
    /// # Errors
    /// As there.
    pub fn encode_subset(
        &self,
        positions: &[usize],
        hop: impl Fn(usize) -> HopHeader,
        out: &mut BytesMut,
    ) -> Result<usize, ProofFault> {
        let hops: Vec<HopHeader> = positions.iter().map(|position| hop(*position)).collect();
        self.encode_chosen(positions.iter().copied().zip(&hops), LONGEST_BODY, out)
    }

    fn lay_out<'h>(&self, chosen: impl ExactSizeIterator<Item = (usize, &'h HopHeader)>) -> Result<Frame, ProofFault> {
        let mut indices = SmallVec::<[u16; 64]>::with_capacity(chosen.len());
        let mut heads = Vec::with_capacity(16 * chosen.len());
        let mut runs = Runs::new();
        let mut bytes = 0;
        let mut before: Option<&HopHeader> = None;
        // Positions increase, so the bodies are found in one pass over the entries.
        let mut entries = self.entries.iter().enumerate();
        let mut start = 0;
        for (position, header) in chosen {
            let not_in_part = ProofFault::NotInPart { index: u16::try_from(position).unwrap_or(u16::MAX) };
            loop {
                let (at, entry) = entries.next().ok_or(not_in_part)?;
                let end = start + entry.statement.len() + entry.payload.len();
                if at == position {
                    put_entry_head(&mut heads, entry, header, before);
                    before = Some(header);
                    indices.push(entry.index);
                    bytes += end - start;
                    match runs.last_mut() {
                        Some((_, last)) if *last == start => *last = end,
                        _ => runs.push((start, end)),
                    }
                    start = end;
                    break;
                }
                start = end;
            }
        }
        let siblings = self.tree.siblings_of(&indices)?;
        let count = indices.len();
        let length = self.head.len() + varint::len(count as u64) + heads.len() + bytes + siblings_len(siblings.len());
        Ok(Frame { count, heads, runs, siblings, length })
    }

    fn put_frame(&self, frame: &Frame, out: &mut BytesMut) {
        // One allocation for the frame and its header.
        out.reserve(frame.length + 16);
        put_frame_head(out, frame_type::BUNDLE, frame.length);
        out.extend_from_slice(&self.head);
        varint::encode(out, frame.count as u64);
        out.extend_from_slice(&frame.heads);
        for (start, end) in &frame.runs {
            out.extend_from_slice(self.bodies.get(*start..*end).unwrap_or_default());
        }
        put_siblings(out, &frame.siblings);
    }
}

/// A frame measured before it is written: its length stands in front.
struct Frame {
    count: usize,
    /// In a vector of their own: small pieces written straight into a growing buffer cost more than this one allocation.
    heads: Vec<u8>,
    runs: Runs,
    siblings: Siblings,
    length: usize,
}

/// Stretches of the bodies, without gaps inside.
type Runs = SmallVec<[(usize, usize); 16]>;

fn put_entry_head(out: &mut Vec<u8>, entry: &Entry, hop: &HopHeader, before: Option<&HopHeader>) {
    varint::encode(out, entry.index.into());
    hop.put(out, before);
    varint::encode(out, entry.statement.len() as u64);
    varint::encode(out, entry.payload.len() as u64);
}

/// Entries whose bodies are still to come, with the lengths of those.
fn read_entry_heads(body: &mut Body) -> Result<(Vec<Entry>, Lengths), FrameFault> {
    let count = body.number("entry count", 1..=MOST_ENTRIES)?;
    let mut heads: Vec<Entry> = Vec::with_capacity(count.into());
    let mut lengths = Lengths::with_capacity(count.into());
    for _ in 0..count {
        let index = body.number("index", 0..=MOST_ENTRIES - 1)?;
        let before = heads.last();
        if before.is_some_and(|before| before.index >= index) {
            return Err(body.fault(&format!("index {index} does not increase")));
        }
        let hop = HopHeader::read(body, before.map(|before| &before.hop))?;
        let statement = body.length("statement length")?;
        let payload = body.length("payload length")?;
        let most = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        if hop.is_bare() && payload != 0 {
            return Err(body.fault("a payload with an entry that is detached or asks"));
        }
        lengths.push((most(statement), most(payload)));
        heads.push(Entry { index, hop, statement: Bytes::new(), payload: Bytes::new(), leaf: EMPTY_LEAF });
    }
    Ok((heads, lengths))
}

#[cfg(test)]
mod tests;
