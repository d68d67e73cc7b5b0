//! Which root do these leaves have, and which hashes prove a subset of them?
//!
//! Hashes and tree shape of RFC 9162 §2.1 (WIRE 5.1), the lone entry (5.2) and the multi-proof (5.5). Signs and sends
//! nothing. A tree has 2..=256 leaves.

mod partial;
mod path;

pub use partial::PartialTree;
pub(crate) use partial::{Leaf, Siblings, proof_fits};
pub use path::root_from_path;

use crate::digest::Digest;

/// Fewest leaves of a tree: a lone entry has an implied second leaf (WIRE 5.2).
pub const MIN_TREE_SIZE: u16 = 2;

/// Most leaves of a tree (WIRE 5.1).
pub const MAX_TREE_SIZE: u16 = 256;

/// SHA-256(0x00), the leaf of the empty string: the implied second leaf of a lone entry (WIRE 5.2).
pub const EMPTY_LEAF: Digest = Digest([
    0x6e, 0x34, 0x0b, 0x9c, 0xff, 0xb3, 0x7a, 0x98, 0x9c, 0xa5, 0x44, 0xe6, 0xbb, 0x78, 0x0a, 0x2c, 0x78, 0x90, 0x1d,
    0x3f, 0xb3, 0x37, 0x38, 0x76, 0x85, 0x11, 0xa3, 0x06, 0x17, 0xaf, 0xa0, 0x1d,
]);

/// SHA-256(0x00 ‖ statement): what a tree's leaf says of a statement (WIRE 4.1).
#[must_use]
pub fn leaf_hash(statement: &[u8]) -> Digest {
    Digest::of_parts(&[&[0x00], statement])
}

/// SHA-256(0x01 ‖ left ‖ right) (WIRE 5.1).
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1_u8; 65];
    let (head, last) = bytes.split_at_mut(33);
    if let Some(middle) = head.get_mut(1..) {
        middle.copy_from_slice(&left.0);
    }
    last.copy_from_slice(&right.0);
    Digest::of(&bytes)
}

/// The largest power of two below `leaves`, where a tree of `leaves` ≥ 2 leaves splits (RFC 9162 §2.1.1).
fn split(leaves: u16) -> u16 {
    1 << (u16::BITS - 1 - leaves.saturating_sub(1).leading_zeros()).min(u16::BITS - 1)
}

/// A whole tree: every leaf is known. What a signer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(PartialTree);

impl Tree {
    /// The tree over `leaves`, left to right. One leaf gives the lone tree of size 2 (WIRE 5.2).
    ///
    /// # Errors
    /// [`ProofFault::TreeSize`] for no leaf or more than 256.
    pub fn new(leaves: &[Digest]) -> Result<Self, ProofFault> {
        let count = u16::try_from(leaves.len())
            .ok()
            .filter(|count| (1..=MAX_TREE_SIZE).contains(count))
            .ok_or(ProofFault::TreeSize(leaves.len() as u64))?;
        let numbered: Vec<(u16, Digest)> = (0..count).zip(leaves.iter().copied()).collect();
        PartialTree::from_part(count.max(MIN_TREE_SIZE), &numbered, &[]).map(Self)
    }

    /// The hash that is signed.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.0.root()
    }

    /// Number of leaves, 2..=256, the implied one included.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.0.size()
    }

    /// The inclusion path of the leaf at `index`, from its sibling to the root's child; `None` beyond the last leaf.
    #[must_use]
    pub fn proof(&self, index: u16) -> Option<Vec<Digest>> {
        self.0.path(index)
    }

    /// The same tree as one that may lack leaves.
    #[must_use]
    pub fn into_partial(self) -> PartialTree {
        self.0
    }
}

/// Why a proof does not fit its tree (WIRE 5.2, 5.5): the part is refused `bad-proof`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFault {
    /// Tree size outside 2..=256.
    #[error("tree size {0}: a tree has 2 to 256 leaves (WIRE 5.1)")]
    TreeSize(u64),
    /// No entry at all.
    #[error("a part without entries proves nothing (WIRE 5.5)")]
    NoEntry,
    /// An index at or beyond the tree size.
    #[error("index {index} in a tree of {size} leaves (WIRE 5.5)")]
    IndexOutOfRange {
        /// The index.
        index: u16,
        /// Leaves of the tree.
        size: u16,
    },
    /// Indices that do not grow.
    #[error("index {index} does not grow over the one before (WIRE 5.5)")]
    NotIncreasing {
        /// The second of the two.
        index: u16,
    },
    /// Fewer sibling hashes than missing subtrees.
    #[error("a sibling hash is missing after the {sent} sent (WIRE 5.5)")]
    SiblingMissing {
        /// Hashes sent.
        sent: usize,
    },
    /// More sibling hashes than missing subtrees.
    #[error("{superfluous} of {sent} sibling hashes are superfluous (WIRE 5.5)")]
    SiblingSuperfluous {
        /// Hashes sent.
        sent: usize,
        /// Hashes left over.
        superfluous: usize,
    },
    /// The implied leaf of a lone entry was sent.
    #[error("the second leaf of a lone entry is implied and must not be sent (WIRE 5.2)")]
    ImpliedLeafSent,
    /// A proof was asked for an entry that this part does not contain.
    #[error("index {index} is not an entry of this part")]
    NotInPart {
        /// The index.
        index: u16,
    },
    /// An inclusion path whose length does not fit index and size.
    #[error("an inclusion path of {found} hashes does not lead from index {index} to the root of {size} leaves")]
    PathLength {
        /// Hashes in the path.
        found: usize,
        /// The index.
        index: u16,
        /// Leaves of the tree.
        size: u16,
    },
    /// Receipts of a frame and what they answer differ in number.
    #[error("{subjects} subjects for {entries} receipts: look up the label of every entry first (WIRE 8.2)")]
    SubjectCount {
        /// Entries of the frame.
        entries: usize,
        /// Subjects given.
        subjects: usize,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_split_is_the_largest_power_of_two_below() {
        for (leaves, expected) in [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8), (255, 128), (256, 128)] {
            assert_eq!(split(leaves), expected, "{leaves}");
        }
    }

    #[test]
    fn the_empty_leaf_is_the_leaf_of_the_empty_string() {
        assert_eq!(leaf_hash(b""), EMPTY_LEAF);
    }

    /// Roots published with the reference implementation of certificate transparency.
    #[test]
    fn roots_agree_with_certificate_transparency() {
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let leaves: Vec<Digest> = inputs.iter().map(|input| leaf_hash(&hex(input))).collect();
        for (size, root) in [
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ] {
            assert_eq!(Tree::new(&leaves[..size]).unwrap().root().to_string(), root, "{size}");
        }
    }

    #[test]
    fn a_lone_leaf_has_a_tree_of_two_and_a_path_of_one() {
        let leaf = leaf_hash(b"alone");
        let tree = Tree::new(&[leaf]).unwrap();
        assert_eq!((tree.size(), tree.root()), (2, node_hash(&leaf, &EMPTY_LEAF)));
        assert_eq!(tree.proof(0), Some(vec![EMPTY_LEAF]));
        assert_eq!(tree.into_partial().multi_proof(&[0]).unwrap(), vec![]);
    }

    #[test]
    fn no_leaf_and_too_many_leaves_are_refused() {
        assert_eq!(Tree::new(&[]), Err(ProofFault::TreeSize(0)));
        assert_eq!(Tree::new(&[EMPTY_LEAF; 257]), Err(ProofFault::TreeSize(257)));
    }
}
