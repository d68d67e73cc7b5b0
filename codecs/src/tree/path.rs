//! Which root does one leaf and its inclusion path lead to?
//!
//! RFC 9162 §2.1.3.2, for the archive form (WIRE 5.6). Not used on the wire: parts carry multi-proofs.

use super::{MAX_TREE_SIZE, MIN_TREE_SIZE, ProofFault, node_hash};
use crate::digest::Digest;

/// The root of a tree of `size` leaves with `leaf` at `index`, by its inclusion path.
///
/// # Errors
/// [`ProofFault`] when size or index are out of range or the path has not exactly the length they ask for.
pub fn root_from_path(size: u16, index: u16, leaf: &Digest, path: &[Digest]) -> Result<Digest, ProofFault> {
    if !(MIN_TREE_SIZE..=MAX_TREE_SIZE).contains(&size) {
        return Err(ProofFault::TreeSize(size.into()));
    }
    if index >= size {
        return Err(ProofFault::IndexOutOfRange { index, size });
    }
    let wrong_length = ProofFault::PathLength { found: path.len(), index, size };
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for beside in path {
        if last == 0 {
            return Err(wrong_length);
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(beside, &hash);
            // A right-most node has no sibling until its position turns odd.
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, beside);
        }
        at >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok(hash) } else { Err(wrong_length) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{Tree, leaf_hash};
    use super::*;

    #[test]
    fn a_path_that_is_too_long_or_too_short_is_refused() {
        let leaves: Vec<Digest> = (0_u8..7).map(|at| leaf_hash(&[at])).collect();
        let tree = Tree::new(&leaves).unwrap();
        for (index, leaf) in (0..).zip(&leaves) {
            let path = tree.proof(index).unwrap();
            assert_eq!(root_from_path(7, index, leaf, &path), Ok(tree.root()));
            let short = root_from_path(7, index, leaf, &path[1..]);
            assert!(short.is_err() || short != Ok(tree.root()), "{index}");
            let long = [path, vec![*leaf]].concat();
            assert!(matches!(root_from_path(7, index, leaf, &long), Err(ProofFault::PathLength { .. })), "{index}");
        }
    }
}
