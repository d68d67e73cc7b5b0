//! Which node hashes of a tree follow from some of its leaves and their multi-proof?
//!
//! The known nodes form a binary tree whose ends are entries and sibling hashes. They lie in pre-order in one vector:
//! the left child follows its parent, the right child follows the left one's last node. So a part of one entry in a
//! tree of 256 holds 17 nodes, not 511, and a smaller proof is read off without hashing again.

use super::{EMPTY_LEAF, MAX_TREE_SIZE, MIN_TREE_SIZE, ProofFault, node_hash, split};
use crate::digest::Digest;
use smallvec::SmallVec;

/// A tree of which a part's entries and the siblings needed for the root are known (WIRE 5.5).
///
/// Bound: 2 × (entries + siblings) − 1 nodes of 34 bytes, at most 511.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialTree {
    size: u16,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    hash: Digest,
    /// Nodes of this subtree, this one included; 1 is an end: an entry or a sibling hash.
    span: u16,
}

/// What carries a leaf of a part.
pub(crate) trait Leaf {
    /// Index in the tree.
    fn index(&self) -> u16;
    /// Leaf hash.
    fn hash(&self) -> Digest;
}

impl Leaf for (u16, Digest) {
    fn index(&self) -> u16 {
        self.0
    }

    fn hash(&self) -> Digest {
        self.1
    }
}

/// A multi-proof: 16 hashes prove one run of entries in any tree, so that more are rare and worth an allocation.
pub(crate) type Siblings = SmallVec<[Digest; 16]>;

/// A node and the leaves lo..hi below it.
#[derive(Clone, Copy)]
struct At {
    node: usize,
    lo: u16,
    hi: u16,
}

/// Whether `siblings` are as many as a part with the entries at `indices` of a tree of `size` leaves needs: all of
/// [`PartialTree::from_part`] that can be said without hashing.
pub(crate) fn proof_fits(size: u16, indices: &[u16], siblings: &[Digest]) -> bool {
    if check_indices(size, indices.iter().copied()).is_err() {
        return false;
    }
    match siblings {
        [] if size == MIN_TREE_SIZE && indices == [0] => true,
        [sent] if size == MIN_TREE_SIZE && indices == [0] => *sent != EMPTY_LEAF,
        _ => needed(0, size, indices) == siblings.len(),
    }
}

/// Maximal subtrees of lo..hi without an entry. Depth is at most log2(256) + 1.
fn needed(lo: u16, hi: u16, indices: &[u16]) -> usize {
    if indices.is_empty() {
        return 1;
    }
    // Every leaf is an entry: nothing is missing below.
    if indices.len() == usize::from(hi - lo) {
        return 0;
    }
    let middle = lo + split(hi - lo);
    let (left, right) = indices.split_at(indices.partition_point(|index| *index < middle));
    needed(lo, middle, left) + needed(middle, hi, right)
}

impl PartialTree {
    /// Recomputes the root of a tree of `size` leaves from `entries` (index, leaf hash) and `siblings`, exactly the
    /// hashes of the maximal subtrees without an entry, left to right. The implied leaf of a lone entry is added.
    ///
    /// # Errors
    /// [`ProofFault`] when size, indices or the number of siblings are wrong. A wrong hash is no fault here: it gives
    /// another root, which fails as a signature.
    pub fn from_part(size: u16, entries: &[(u16, Digest)], siblings: &[Digest]) -> Result<Self, ProofFault> {
        Self::from_leaves(size, entries, siblings)
    }

    /// The same from whatever carries index and leaf hash, and from hashes as they lie in a frame: nothing is copied
    /// together first.
    pub(crate) fn from_leaves<L: Leaf, H: Copy + Into<Digest>>(
        size: u16,
        entries: &[L],
        siblings: &[H],
    ) -> Result<Self, ProofFault> {
        check_indices(size, entries.iter().map(Leaf::index))?;
        let lone = size == MIN_TREE_SIZE && matches!(entries, [only] if only.index() == 0);
        let implied = match siblings {
            [] if lone => Some(EMPTY_LEAF),
            [sent] if lone && (*sent).into() == EMPTY_LEAF => return Err(ProofFault::ImpliedLeafSent),
            _ => None,
        };
        let mut tree = Self { size, nodes: Vec::with_capacity(2 * (entries.len() + siblings.len() + 1)) };
        let mut rest = siblings.iter().map(|hash| (*hash).into()).chain(implied);
        tree.grow(0, size, entries, &mut rest).ok_or(ProofFault::SiblingMissing { sent: siblings.len() })?;
        match rest.count() {
            0 => Ok(tree),
            superfluous => Err(ProofFault::SiblingSuperfluous { sent: siblings.len(), superfluous }),
        }
    }

    /// Appends the subtree over lo..hi and returns its hash; `None` when the siblings run out.
    /// Depth is at most log2(256) + 1.
    fn grow<L: Leaf>(
        &mut self,
        lo: u16,
        hi: u16,
        entries: &[L],
        siblings: &mut impl Iterator<Item = Digest>,
    ) -> Option<Digest> {
        let at = self.nodes.len();
        let leaf = match entries {
            [] => Some(siblings.next()?),
            [only] if hi - lo == 1 => Some(only.hash()),
            _ => None,
        };
        if let Some(hash) = leaf {
            self.nodes.push(Node { hash, span: 1 });
            return Some(hash);
        }
        self.nodes.push(Node { hash: EMPTY_LEAF, span: 0 });
        let middle = lo + split(hi - lo);
        let (left, right) = entries.split_at(entries.partition_point(|entry| entry.index() < middle));
        let left = self.grow(lo, middle, left, siblings)?;
        let right = self.grow(middle, hi, right, siblings)?;
        let hash = node_hash(&left, &right);
        let span = u16::try_from(self.nodes.len() - at).ok()?;
        *self.nodes.get_mut(at)? = Node { hash, span };
        Some(hash)
    }

    /// The hash that is signed.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.nodes.first().map_or(EMPTY_LEAF, |node| node.hash)
    }

    /// Leaves of the whole tree, 2..=256.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// The multi-proof of a subset of the entries, given by strictly increasing tree indices.
    ///
    /// # Errors
    /// [`ProofFault`] when an index is not an entry of this part, or they do not grow.
    pub fn multi_proof(&self, subset: &[u16]) -> Result<Vec<Digest>, ProofFault> {
        self.siblings_of(subset).map(Siblings::into_vec)
    }

    /// The same on the stack when there are few.
    pub(crate) fn siblings_of(&self, subset: &[u16]) -> Result<Siblings, ProofFault> {
        check_indices(self.size, subset.iter().copied())?;
        let mut siblings = Siblings::new();
        self.collect(self.top(), subset, &mut siblings)?;
        if self.size == MIN_TREE_SIZE && subset == [0] && siblings[..] == [EMPTY_LEAF] {
            siblings.clear();
        }
        Ok(siblings)
    }

    fn collect(&self, at: At, subset: &[u16], siblings: &mut Siblings) -> Result<(), ProofFault> {
        let Some(&first) = subset.first() else {
            siblings.extend(self.nodes.get(at.node).map(|node| node.hash));
            return Ok(());
        };
        if at.hi - at.lo == 1 {
            return Ok(());
        }
        let (left, right) = self.children(at).ok_or(ProofFault::NotInPart { index: first })?;
        let (under_left, under_right) = subset.split_at(subset.partition_point(|index| *index < left.hi));
        self.collect(left, under_left, siblings)?;
        self.collect(right, under_right, siblings)
    }

    /// The inclusion path of one entry (RFC 9162 §2.1.3.1), from the leaf's sibling to the root's child. `None` when
    /// `index` is not an entry of this part.
    #[must_use]
    pub fn path(&self, index: u16) -> Option<Vec<Digest>> {
        let mut at = self.top();
        if index >= at.hi {
            return None;
        }
        let mut path = Vec::with_capacity(8);
        while at.hi - at.lo > 1 {
            let (left, right) = self.children(at)?;
            let (next, beside) = if index < left.hi { (left, right) } else { (right, left) };
            path.push(self.nodes.get(beside.node)?.hash);
            at = next;
        }
        path.reverse();
        Some(path)
    }

    const fn top(&self) -> At {
        At { node: 0, lo: 0, hi: self.size }
    }

    /// Both halves below a node; `None` below an end.
    fn children(&self, at: At) -> Option<(At, At)> {
        if self.nodes.get(at.node)?.span == 1 {
            return None;
        }
        let middle = at.lo + split(at.hi - at.lo);
        let left = at.node + 1;
        let right = left + usize::from(self.nodes.get(left)?.span);
        Some((At { node: left, lo: at.lo, hi: middle }, At { node: right, lo: middle, hi: at.hi }))
    }
}

fn check_indices(size: u16, indices: impl Iterator<Item = u16>) -> Result<(), ProofFault> {
    if !(MIN_TREE_SIZE..=MAX_TREE_SIZE).contains(&size) {
        return Err(ProofFault::TreeSize(size.into()));
    }
    let mut next = 0;
    let mut any = false;
    for index in indices {
        if index >= size {
            return Err(ProofFault::IndexOutOfRange { index, size });
        }
        if index < next {
            return Err(ProofFault::NotIncreasing { index });
        }
        next = index + 1;
        any = true;
    }
    if any { Ok(()) } else { Err(ProofFault::NoEntry) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{Tree, leaf_hash, root_from_path};
    use super::*;
    use proptest::prelude::*;

    /// RFC 9162 §2.1.1, word for word: MTH(D[n]) = HASH(0x01 || MTH(D[0:k]) || MTH(D[k:n])).
    fn reference_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [leaf] => *leaf,
            _ => {
                let mut k = 1;
                while k * 2 < leaves.len() {
                    k *= 2;
                }
                node_hash(&reference_root(&leaves[..k]), &reference_root(&leaves[k..]))
            }
        }
    }

    /// RFC 9162 §2.1.3.1: PATH(m, D[n]) = PATH(m, D[0:k]) : MTH(D[k:n]) for m < k, and the mirror image.
    fn reference_path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
        if leaves.len() == 1 {
            return vec![];
        }
        let mut k = 1;
        while k * 2 < leaves.len() {
            k *= 2;
        }
        let (mut path, beside) = if index < k {
            (reference_path(index, &leaves[..k]), reference_root(&leaves[k..]))
        } else {
            (reference_path(index - k, &leaves[k..]), reference_root(&leaves[..k]))
        };
        path.push(beside);
        path
    }

    /// WIRE 5.5: the hashes of the maximal subtrees that contain no entry, left to right.
    fn reference_multi_proof(lo: usize, leaves: &[Digest], subset: &[u16]) -> Vec<Digest> {
        let here = lo..lo + leaves.len();
        if !subset.iter().any(|index| here.contains(&usize::from(*index))) {
            return vec![reference_root(leaves)];
        }
        if leaves.len() == 1 {
            return vec![];
        }
        let mut k = 1;
        while k * 2 < leaves.len() {
            k *= 2;
        }
        let mut proof = reference_multi_proof(lo, &leaves[..k], subset);
        proof.extend(reference_multi_proof(lo + k, &leaves[k..], subset));
        proof
    }

    fn leaves(count: usize, salt: u64) -> Vec<Digest> {
        (0..count).map(|at| leaf_hash(format!("{salt}/{at}").as_bytes())).collect()
    }

    fn pick(leaves: &[Digest], indices: &[u16]) -> Vec<(u16, Digest)> {
        indices.iter().map(|index| (*index, leaves[usize::from(*index)])).collect()
    }

    fn sizes_and_subsets() -> impl Strategy<Value = (usize, Vec<u16>, Vec<bool>, u64)> {
        (2_usize..=256, any::<u64>()).prop_flat_map(|(size, salt)| {
            let indices: Vec<u16> = (0..u16::try_from(size).unwrap()).collect();
            proptest::sample::subsequence(indices, 1..=size).prop_flat_map(move |subset| {
                let count = subset.len();
                (Just(size), Just(subset), proptest::collection::vec(any::<bool>(), count), Just(salt))
            })
        })
    }

    #[test]
    fn roots_and_paths_of_every_size_agree_with_the_rfc() {
        for size in 2..=256 {
            let leaves = leaves(size, 7);
            let tree = Tree::new(&leaves).unwrap();
            assert_eq!(tree.root(), reference_root(&leaves), "size {size}");
            let count = u16::try_from(size).unwrap();
            for index in [0, 1, count / 2, count - 2, count - 1] {
                let path = tree.proof(index).unwrap();
                assert_eq!(path, reference_path(index.into(), &leaves), "size {size} index {index}");
                let leaf = leaves[usize::from(index)];
                assert_eq!(root_from_path(count, index, &leaf, &path), Ok(tree.root()), "size {size} index {index}");
            }
            assert_eq!(tree.proof(count), None);
        }
    }

    proptest! {
        #[test]
        fn multi_proofs_and_splits_of_splits_agree_with_the_definition(
            (size, subset, keep, salt) in sizes_and_subsets(),
        ) {
            let leaves = leaves(size, salt);
            let whole = Tree::new(&leaves).unwrap().into_partial();
            let proof = whole.multi_proof(&subset).unwrap();
            prop_assert_eq!(&proof, &reference_multi_proof(0, &leaves, &subset));

            let part = PartialTree::from_part(whole.size(), &pick(&leaves, &subset), &proof).unwrap();
            prop_assert_eq!(part.root(), whole.root());
            for index in &subset {
                prop_assert_eq!(part.path(*index), whole.path(*index));
            }

            let smaller: Vec<u16> = subset.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(index, _)| *index).collect();
            if !smaller.is_empty() {
                let again = part.multi_proof(&smaller).unwrap();
                prop_assert_eq!(&again, &reference_multi_proof(0, &leaves, &smaller));
                let sub = PartialTree::from_part(whole.size(), &pick(&leaves, &smaller), &again).unwrap();
                prop_assert_eq!(sub.root(), whole.root());
            }
        }

        #[test]
        fn what_fits_without_hashing_is_what_can_be_rebuilt(
            size in 0_u16..=40, given in proptest::collection::vec(0_u16..42, 0..12), sorted in any::<bool>(),
            siblings in 0_usize..8, empty in any::<bool>(),
        ) {
            let mut given = given;
            if sorted {
                given.sort_unstable();
                given.dedup();
            }
            let entries: Vec<(u16, Digest)> = given.iter().map(|index| (*index, leaf_hash(&index.to_be_bytes()))).collect();
            // Every number of siblings up to what any of these trees could need, and the implied leaf.
            for count in [siblings, siblings + 1, given.len() * 6] {
                let hash = if empty { EMPTY_LEAF } else { leaf_hash(b"sibling") };
                let siblings = vec![hash; count];
                let rebuilt = PartialTree::from_part(size, &entries, &siblings).is_ok();
                prop_assert_eq!(proof_fits(size, &given, &siblings), rebuilt);
            }
        }

        #[test]
        fn a_whole_proof_fits_without_hashing((size, subset, _keep, salt) in sizes_and_subsets()) {
            let whole = Tree::new(&leaves(size, salt)).unwrap().into_partial();
            let proof = whole.multi_proof(&subset).unwrap();
            prop_assert!(proof_fits(whole.size(), &subset, &proof));
        }

        #[test]
        fn one_sibling_too_many_too_few_or_changed_never_passes(
            (size, subset, _keep, salt) in sizes_and_subsets(), at in any::<proptest::sample::Index>(),
        ) {
            let leaves = leaves(size, salt);
            let whole = Tree::new(&leaves).unwrap().into_partial();
            let entries = pick(&leaves, &subset);
            let proof = whole.multi_proof(&subset).unwrap();

            let mut more = proof.clone();
            more.insert(at.index(proof.len() + 1), leaf_hash(b"superfluous"));
            let superfluous = PartialTree::from_part(whole.size(), &entries, &more);
            let expected = ProofFault::SiblingSuperfluous { sent: more.len(), superfluous: 1 };
            prop_assert_eq!(superfluous, Err(expected));

            if !proof.is_empty() {
                let mut fewer = proof.clone();
                fewer.remove(at.index(proof.len()));
                // In a tree of two the missing sibling reads as a lone entry: another root.
                match PartialTree::from_part(whole.size(), &entries, &fewer) {
                    Err(fault) => prop_assert_eq!(fault, ProofFault::SiblingMissing { sent: fewer.len() }),
                    Ok(tree) => prop_assert!(size == 2 && tree.root() != whole.root()),
                }
                let mut changed = proof;
                let at = at.index(changed.len());
                changed[at].0[3] ^= 1;
                let tree = PartialTree::from_part(whole.size(), &entries, &changed).unwrap();
                prop_assert_ne!(tree.root(), whole.root());
            }
        }
    }

    #[test]
    fn an_entry_outside_the_part_has_no_proof() {
        let leaves = leaves(8, 1);
        let whole = Tree::new(&leaves).unwrap().into_partial();
        let part = PartialTree::from_part(8, &pick(&leaves, &[0, 1]), &whole.multi_proof(&[0, 1]).unwrap()).unwrap();
        assert_eq!(part.multi_proof(&[0, 5]), Err(ProofFault::NotInPart { index: 5 }));
        assert_eq!(part.path(5), None);
    }

    #[test]
    fn bad_indices_are_named() {
        let leaf = leaf_hash(b"x");
        let part = |size, indices: &[u16]| {
            let entries: Vec<(u16, Digest)> = indices.iter().map(|index| (*index, leaf)).collect();
            PartialTree::from_part(size, &entries, &[]).unwrap_err()
        };
        assert_eq!(part(3, &[3]), ProofFault::IndexOutOfRange { index: 3, size: 3 });
        assert_eq!(part(3, &[1, 1]), ProofFault::NotIncreasing { index: 1 });
        assert_eq!(part(3, &[2, 0]), ProofFault::NotIncreasing { index: 0 });
        assert_eq!(part(3, &[]), ProofFault::NoEntry);
        assert_eq!(part(1, &[0]), ProofFault::TreeSize(1));
        assert_eq!(part(257, &[0]), ProofFault::TreeSize(257));
    }

    #[test]
    fn the_implied_leaf_is_neither_sent_nor_accepted() {
        let leaf = leaf_hash(b"x");
        assert_eq!(PartialTree::from_part(2, &[(0, leaf)], &[EMPTY_LEAF]), Err(ProofFault::ImpliedLeafSent));
        let both = PartialTree::from_part(2, &[(0, leaf), (1, EMPTY_LEAF)], &[]).unwrap();
        assert_eq!(both.multi_proof(&[0]).unwrap(), vec![]);
    }
}
