//! What does a RECEIPTS frame prove, once the receiver adds what it already knows?
//!
//! WIRE 8.2: the frame leaves out addressee, message id and subject, which are those of the labelled message. Rebuilding
//! gives the receipts' statements, their leaves and the root. So a wrong subject fails as a signature. Who may issue a
//! receipt and whether the signature holds is checked elsewhere.

mod builder;

use bytes::{BufMut, Bytes, BytesMut};

pub use builder::ReceiptsBuilder;
use smallvec::SmallVec;

use crate::body::{Body, prefixed_len, put_frame_head, put_prefixed};
use crate::code::{FrameFault, Outcome};
use crate::digest::Digest;
use crate::frame::{LONGEST_BODY, frame_type};
use crate::id::{DirectoryVersion, EndpointId, LONGEST_ID, MessageId, Party};
use crate::part::{
    MOST_ENTRIES, Part, RootSignatures, as_hashes, head_len, put_head, put_siblings, read_head, read_siblings,
    siblings_len,
};
use crate::settlement::Label;
use crate::statement::{LONGEST_PROBLEM, Receipt, ReceiptRef};
use crate::time::UnixMs;
use crate::tree::{PartialTree, ProofFault, leaf_hash, proof_fits};
use crate::varint;

/// What a frame fault of this body names.
const CLAUSE: &str = "WIRE 8";

/// One receipt of a frame: what its statement says beyond the frame, and which label it settles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptEntry {
    /// Index in the receipts' tree, 0..=255.
    pub index: u16,
    /// What became of the message.
    pub outcome: Outcome,
    /// Why; 0 when there is nothing to say.
    pub code: u64,
    /// The problem in words, 1 to 1,024 bytes. Personal: never log it.
    pub problem: Option<String>,
    /// The entry it answers, on this link.
    pub label: Label,
}

/// A RECEIPTS body: receipts of one issuer under one root, as on the wire. At most 256 entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptsFrame {
    /// Who signed.
    pub issuer: Party,
    /// In which the issuer was responsible.
    pub directory_version: DirectoryVersion,
    /// When the receipts were issued.
    pub time: UnixMs,
    /// One signature of the root, or two; unverified.
    pub signatures: RootSignatures,
    /// Leaves of the receipts' tree.
    pub tree_size: u16,
    /// The receipts, by strictly increasing index.
    pub entries: Vec<ReceiptEntry>,
    /// The multi-proof.
    pub siblings: Vec<Digest>,
}

/// The message that a receipt is about, by its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The message's sender.
    pub addressee: &'a EndpointId,
    /// The message's id.
    pub message: MessageId,
    /// Leaf hash of the message's statement.
    pub leaf: Digest,
}

/// The statements a frame stands for, with their tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltReceipts {
    /// The encoded receipt statements, in the order of the frame's entries.
    pub statements: Vec<Bytes>,
    /// Their tree.
    pub tree: PartialTree,
}

impl ReceiptsFrame {
    /// Reads a RECEIPTS body.
    ///
    /// # Errors
    /// [`FrameFault`] when it does not parse. A wrong proof shows in [`rebuild`](Self::rebuild).
    pub fn decode(body: Bytes) -> Result<Self, FrameFault> {
        let mut body = Body::new(body, CLAUSE);
        let length = body.length("issuer")?;
        if length > LONGEST_ID {
            return Err(body.fault("an issuer longer than 64 bytes"));
        }
        let issuer = body.text(length, "issuer")?.parse();
        let issuer = issuer.map_err(|error| body.fault(&format!("issuer: {error}")))?;
        let directory_version = DirectoryVersion(Digest(body.fixed("directory version")?));
        let time = UnixMs(body.varint("time")?);
        let (tree_size, signatures) = read_head(&mut body)?;
        let count = body.number("entry count", 1..=MOST_ENTRIES)?;
        let mut entries: Vec<ReceiptEntry> = Vec::with_capacity(count.into());
        for _ in 0..count {
            let entry = ReceiptEntry::read(&mut body)?;
            if entries.last().is_some_and(|before| before.index >= entry.index) {
                return Err(body.fault(&format!("index {} does not increase", entry.index)));
            }
            entries.push(entry);
        }
        let siblings = read_siblings(&mut body)?;
        let siblings = as_hashes(&siblings).iter().copied().map(Digest).collect();
        body.finish()?;
        Ok(Self { issuer, directory_version, time, signatures, tree_size, entries, siblings })
    }

    /// The receipt at `position` of a part of receipts, as a frame of its own that settles `label`: the way back from
    /// [`Part::of_receipts`]. `None` when there is no receipt there.
    #[must_use]
    pub fn from_part(part: &Part, position: usize, label: Label) -> Option<Self> {
        let entry = part.entries().get(position)?;
        let receipt = Receipt::parse(&entry.statement).ok()?;
        let siblings = part.tree().siblings_of(&[entry.index]).ok()?;
        let Receipt { outcome, code, problem, .. } = receipt;
        Some(Self {
            issuer: receipt.issuer,
            directory_version: receipt.directory_version,
            time: receipt.time,
            signatures: part.signatures().iter().cloned().collect(),
            tree_size: part.tree().size(),
            entries: vec![ReceiptEntry { index: entry.index, outcome, code, problem, label }],
            siblings: siblings.to_vec(),
        })
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut entries = Vec::with_capacity(16 * self.entries.len());
        self.entries.iter().for_each(|entry| entry.put(entry.label, &mut entries));
        self.put_frame(self.entries.len(), &entries, &self.siblings, out);
    }

    /// Whether the frame may be passed on as a whole: indices and number of siblings fit a tree, and the frame stays within
    /// the frame limit whatever labels it gets.
    #[must_use]
    pub fn fits_relabelled(&self) -> bool {
        let indices: SmallVec<[u16; 64]> = self.entries.iter().map(|entry| entry.index).collect();
        if !proof_fits(self.tree_size, &indices, &self.siblings) {
            return false;
        }
        let entries: usize = self.entries.iter().map(ReceiptEntry::longest).sum();
        self.front_len() + varint::len(self.entries.len() as u64) + entries + siblings_len(self.siblings.len())
            <= LONGEST_BODY
    }

    /// Appends the whole frame with other labels, one for each entry in their order: how receipts that all go one way are
    /// passed on. Nothing is hashed; the proof stays as it came. Entries beyond the labels keep their own.
    pub fn encode_relabelled(&self, labels: &[Label], out: &mut BytesMut) {
        let mut entries = Vec::with_capacity(16 * self.entries.len());
        let mut labels = labels.iter();
        for entry in &self.entries {
            entry.put(labels.next().copied().unwrap_or(entry.label), &mut entries);
        }
        self.put_frame(self.entries.len(), &entries, &self.siblings, out);
    }

    /// The statements this frame stands for. `subjects` are those of the entries' labels, in the same order.
    ///
    /// # Errors
    /// [`ProofFault`]: an index or the number of siblings is wrong, and no label of the frame settles by it.
    pub fn rebuild(&self, subjects: &[Subject<'_>]) -> Result<RebuiltReceipts, ProofFault> {
        if subjects.len() != self.entries.len() {
            return Err(ProofFault::SubjectCount { entries: self.entries.len(), subjects: subjects.len() });
        }
        // All statements lie in one buffer, one behind the other.
        let mut buffer = Vec::with_capacity(self.entries.iter().map(|entry| self.longest_statement(entry)).sum());
        let mut leaves = Vec::with_capacity(subjects.len());
        let mut ends = SmallVec::<[usize; 64]>::with_capacity(subjects.len());
        for (entry, subject) in self.entries.iter().zip(subjects) {
            leaves.push((entry.index, self.put_statement(entry, subject, &mut buffer)));
            ends.push(buffer.len());
        }
        let tree = PartialTree::from_part(self.tree_size, &leaves, &self.siblings)?;
        let (buffer, mut start) = (Bytes::from(buffer), 0);
        let statement = |end| buffer.slice(std::mem::replace(&mut start, end)..end);
        Ok(RebuiltReceipts { statements: ends.into_iter().map(statement).collect(), tree })
    }

    /// Appends the statement of one entry and gives its leaf.
    fn put_statement(&self, entry: &ReceiptEntry, subject: &Subject<'_>, out: &mut Vec<u8>) -> Digest {
        let start = out.len();
        let statement = ReceiptRef {
            message: subject.message,
            issuer: self.issuer.as_str(),
            addressee: subject.addressee.as_str(),
            subject: subject.leaf,
            outcome: entry.outcome,
            code: entry.code,
            problem: entry.problem.as_deref(),
            directory_version: self.directory_version,
            time: self.time,
        };
        statement.encode_into(out);
        leaf_hash(out.get(start..).unwrap_or_default())
    }

    /// Bytes that the statement of `entry` has at most.
    fn longest_statement(&self, entry: &ReceiptEntry) -> usize {
        STATEMENT_ROOM + self.issuer.as_str().len() + entry.problem.as_deref().unwrap_or_default().len()
    }

    /// Bytes of the body before the entry count.
    fn front_len(&self) -> usize {
        prefixed_len(self.issuer.as_str().len())
            + Digest::LEN
            + varint::len(self.time.0)
            + head_len(self.tree_size, &self.signatures)
    }

    fn put_frame(&self, count: usize, entries: &[u8], siblings: &[Digest], out: &mut BytesMut) {
        put_frame_head(out, frame_type::RECEIPTS, self.body_len(count, entries, siblings));
        put_prefixed(out, self.issuer.as_str().as_bytes());
        out.put_slice(&self.directory_version.0.0);
        varint::encode(out, self.time.0);
        put_head(out, self.tree_size, &self.signatures);
        varint::encode(out, count as u64);
        out.put_slice(entries);
        put_siblings(out, siblings);
    }

    fn body_len(&self, count: usize, entries: &[u8], siblings: &[Digest]) -> usize {
        self.front_len() + varint::len(count as u64) + entries.len() + siblings_len(siblings.len())
    }
}

/// Most bytes of a receipt statement beside issuer and problem: keys and heads, ids, hashes, numbers.
const STATEMENT_ROOM: usize = 1 + 2 + 18 + 3 + 3 + LONGEST_ID + 35 + 2 + 10 + 4 + 35 + 10;

impl ReceiptEntry {
    fn read(body: &mut Body) -> Result<Self, FrameFault> {
        let index = body.number("index", 0..=MOST_ENTRIES - 1)?;
        let outcome = u64::from(body.byte("outcome")?);
        let outcome = Outcome::try_from(outcome).map_err(|error| body.fault(&error.to_string()))?;
        let code = body.varint("code")?;
        let length = body.length("problem")?;
        if length > LONGEST_PROBLEM {
            return Err(body.fault("a problem longer than 1,024 bytes"));
        }
        let problem = match length {
            0 => None,
            _ => Some(body.text(length, "problem")?.to_owned()),
        };
        let label = Label::read(body)?;
        Ok(Self { index, outcome, code, problem, label })
    }

    /// Bytes of the entry with the longest label.
    fn longest(&self) -> usize {
        let label = 1 + varint::len(varint::MAX) + varint::len(MOST_ENTRIES.into());
        let problem = self.problem.as_deref().unwrap_or_default().len();
        varint::len(self.index.into()) + 1 + varint::len(self.code) + prefixed_len(problem) + label
    }

    #[expect(clippy::cast_possible_truncation, reason = "an outcome is 1..=7")]
    fn put(&self, label: Label, out: &mut impl BufMut) {
        varint::encode(out, self.index.into());
        out.put_u8(self.outcome.as_u64() as u8);
        varint::encode(out, self.code);
        put_prefixed(out, self.problem.as_deref().unwrap_or_default().as_bytes());
        label.put(out);
    }
}

impl RebuiltReceipts {
    /// The hash that is signed.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// Appends a RECEIPTS frame with the entries of `frame` (the one this was rebuilt from) at `positions`, strictly
    /// increasing, each under the label in `new_labels` at the same place: how receipts find their way upstream.
    ///
    /// Returns how many of the positions, from the front, are in the frame; call again with the rest. At least one.
    ///
    /// # Errors
    /// [`ProofFault`] when positions are empty, out of range or do not increase, or labels differ in number: a mistake
    /// of the caller.
    pub fn encode_subset(
        &self,
        frame: &ReceiptsFrame,
        positions: &[usize],
        new_labels: &[Label],
        out: &mut BytesMut,
    ) -> Result<usize, ProofFault> {
        if positions.len() != new_labels.len() {
            return Err(ProofFault::SubjectCount { entries: positions.len(), subjects: new_labels.len() });
        }
        let mut take = positions.len();
        loop {
            let mut indices = SmallVec::<[u16; 64]>::with_capacity(take);
            let mut entries = Vec::with_capacity(16 * take);
            for (position, label) in positions.iter().zip(new_labels).take(take) {
                let missing = ProofFault::NotInPart { index: u16::try_from(*position).unwrap_or(u16::MAX) };
                let entry = frame.entries.get(*position).ok_or(missing)?;
                indices.push(entry.index);
                entry.put(*label, &mut entries);
            }
            let siblings = self.tree.siblings_of(&indices)?;
            // One receipt has at most 1,400 bytes beside the part head, so halving ends.
            if take <= 1 || frame.body_len(take, &entries, &siblings) <= LONGEST_BODY {
                frame.put_frame(take, &entries, &siblings, out);
                return Ok(take);
            }
            take /= 2;
        }
    }
}

#[cfg(test)]
mod tests;
