//! How does an issuer sign many receipts at once? (WIRE 8.2, step 9 of §12)

use super::{ReceiptEntry, ReceiptsFrame, Subject};
use crate::code::Outcome;
use crate::digest::Digest;
use crate::frame::LONGEST_BODY;
use crate::id::{DirectoryVersion, EndpointId, MessageId, Party};
use crate::key::SigningKey;
use crate::part::{MOST_ENTRIES, RootSignatures};
use crate::root::{LONGEST_SIGNATURE_IN_HEAD, SignError, sign_with_all};
use crate::settlement::Label;
use crate::statement::LONGEST_PROBLEM;
use crate::time::UnixMs;
use crate::tree::Tree;

/// Room kept for issuer, directory version, time, counts and a part head with two signatures of the longest kind.
const FRONT_ROOM: usize = 2 * LONGEST_SIGNATURE_IN_HEAD + 128;

/// Most bytes of an entry beside its problem.
const ENTRY_ROOM: usize = 2 + 1 + 8 + 2 + 1 + 8 + 2;

/// Receipts on their way into one frame. Bounds: 256 entries, and a frame body within the limit under any labels.
#[derive(Debug, Default)]
pub struct ReceiptsBuilder {
    entries: Vec<ReceiptEntry>,
    subjects: Vec<(EndpointId, MessageId, Digest)>,
    length: usize,
}

impl ReceiptsBuilder {
    /// No receipt yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a receipt; `false` when the frame is full and it belongs into the next one. `code` stays below 2^62. A
    /// problem longer than 1,024 bytes is cut, an empty one is none.
    #[must_use]
    pub fn push(
        &mut self,
        subject: Subject<'_>,
        outcome: Outcome,
        code: u64,
        problem: Option<String>,
        label: Label,
    ) -> bool {
        let problem = problem.map(cut).filter(|problem| !problem.is_empty());
        let length = self.length + ENTRY_ROOM + problem.as_ref().map_or(0, String::len);
        let index = u16::try_from(self.entries.len()).unwrap_or(u16::MAX);
        if index >= MOST_ENTRIES || FRONT_ROOM + length > LONGEST_BODY {
            return false;
        }
        self.length = length;
        self.subjects.push((subject.addressee.clone(), subject.message, subject.leaf));
        self.entries.push(ReceiptEntry { index, outcome, code, problem, label });
        true
    }

    /// Receipts so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no receipt yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Signs all of them under one root, with one key, or with two where the directory requires two algorithms.
    ///
    /// # Errors
    /// [`SignError`]: no receipt, a wrong number of keys, or a crypto library that fails.
    pub fn sign(
        self,
        issuer: Party,
        directory_version: DirectoryVersion,
        time: UnixMs,
        keys: &[&SigningKey],
    ) -> Result<ReceiptsFrame, SignError> {
        let (signatures, siblings, entries) = (RootSignatures::new(), Vec::new(), self.entries);
        let mut frame = ReceiptsFrame { issuer, directory_version, time, signatures, tree_size: 0, entries, siblings };
        let (mut leaves, mut statement) = (Vec::with_capacity(frame.entries.len()), Vec::with_capacity(512));
        for (entry, (addressee, message, leaf)) in frame.entries.iter().zip(&self.subjects) {
            let subject = Subject { addressee, message: *message, leaf: *leaf };
            statement.clear();
            leaves.push(frame.put_statement(entry, &subject, &mut statement));
        }
        let tree = Tree::new(&leaves).map_err(|_| SignError::Empty)?;
        frame.tree_size = tree.size();
        frame.signatures = sign_with_all(keys, &tree.root())?;
        Ok(frame)
    }
}

/// The longest beginning of `problem` that a receipt may carry.
fn cut(mut problem: String) -> String {
    problem.truncate(problem.floor_char_boundary(LONGEST_PROBLEM));
    problem
}
