//! The same answers as the codecs give, written as the texts say them and nothing else: RFC 9162 §2.1 for trees, WIRE for the
//! rest. Slow, without sharing, without the crate's own code but for its key and id types.

use std::collections::{BTreeSet, VecDeque};

use aws_lc_rs::digest::{SHA256, digest};
use minicbor::Encoder;

pub type Hash = [u8; 32];

pub fn sha256(bytes: &[u8]) -> Hash {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

pub fn leaf(statement: &[u8]) -> Hash {
    sha256(&[&[0], statement].concat())
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1][..], left, right].concat())
}

/// "the largest power of two smaller than n"
fn k(n: usize) -> usize {
    let mut k = 1;
    while 2 * k < n {
        k *= 2;
    }
    k
}

/// MTH(D[n]) of RFC 9162 §2.1.1 over leaves.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => panic!("no leaf"),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(k(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// PATH(m, D[n]) of RFC 9162 §2.1.3.1.
pub fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(k(leaves.len()));
    let (mut path, beside) =
        if m < left.len() { (path(m, left), root(right)) } else { (path(m - left.len(), right), root(left)) };
    path.push(beside);
    path
}

/// WIRE 5.2: a lone entry has a second leaf, that of the empty string.
pub fn with_implied_leaf(mut leaves: Vec<Hash>) -> Vec<Hash> {
    if leaves.len() == 1 {
        leaves.push(leaf(b""));
    }
    leaves
}

/// WIRE 5.5: "exactly the hashes of the maximal subtrees that contain no entry of the part, left to right". The implied
/// leaf of 5.2 is not sent.
pub fn multi_proof(leaves: &[Hash], chosen: &BTreeSet<usize>) -> Vec<Hash> {
    fn below(leaves: &[Hash], first: usize, chosen: &BTreeSet<usize>) -> Vec<Hash> {
        if !(first..first + leaves.len()).any(|index| chosen.contains(&index)) {
            return vec![root(leaves)];
        }
        if leaves.len() == 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(k(leaves.len()));
        [below(left, first, chosen), below(right, first + left.len(), chosen)].concat()
    }
    let proof = below(leaves, 0, chosen);
    if leaves.len() == 2 && chosen.iter().eq(&[0]) && proof == [leaf(b"")] { Vec::new() } else { proof }
}

/// The root that a part leads to, if it is a part: WIRE 5.2 and 5.5.
pub fn root_of_part(size: usize, entries: &[(usize, Hash)], siblings: &[Hash]) -> Option<Hash> {
    fn below(lo: usize, hi: usize, entries: &[(usize, Hash)], siblings: &mut VecDeque<Hash>) -> Option<Hash> {
        let within = entries.iter().find(|(index, _)| (lo..hi).contains(index));
        match within {
            None => siblings.pop_front(),
            Some((_, leaf)) if hi - lo == 1 => Some(*leaf),
            Some(_) => {
                let middle = lo + k(hi - lo);
                let left = below(lo, middle, entries, siblings)?;
                let right = below(middle, hi, entries, siblings)?;
                Some(node(&left, &right))
            }
        }
    }
    let increasing = entries.windows(2).all(|two| two[0].0 < two[1].0);
    let inside = entries.iter().all(|(index, _)| *index < size);
    if !(2..=256).contains(&size) || entries.is_empty() || !increasing || !inside {
        return None;
    }
    let mut siblings: VecDeque<Hash> = siblings.iter().copied().collect();
    let lone = size == 2 && entries.len() == 1 && entries[0].0 == 0;
    if lone && siblings == [leaf(b"")] {
        return None;
    }
    if lone && siblings.is_empty() {
        siblings.push_back(leaf(b""));
    }
    let root = below(0, size, entries, &mut siblings)?;
    siblings.is_empty().then_some(root)
}

/// RFC 9000 §16, the shortest form.
pub fn varint(value: u64) -> Vec<u8> {
    match value {
        0..=63 => vec![u8::try_from(value).unwrap()],
        64..=16_383 => (u16::try_from(value).unwrap() | 0x4000).to_be_bytes().to_vec(),
        16_384..=1_073_741_823 => (u32::try_from(value).unwrap() | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// Type, length, body (WIRE 2.4).
pub fn frame(kind: u64, body: &[u8]) -> Vec<u8> {
    [varint(kind), prefixed(body)].concat()
}

/// Protected header and signature.
pub type Signature = (Vec<u8>, Vec<u8>);

/// `part head` of WIRE 6.
fn part_head(tree_size: usize, signatures: &[Signature]) -> Vec<u8> {
    let mut out = [varint(tree_size as u64), varint(signatures.len() as u64)].concat();
    for (protected, signature) in signatures {
        out.extend(prefixed(protected));
        out.extend(prefixed(signature));
    }
    out
}

fn sibling_list(siblings: &[Hash]) -> Vec<u8> {
    [varint(siblings.len() as u64), siblings.concat()].concat()
}

/// What changes at every hop.
#[derive(Debug, Clone, Default)]
pub struct Hop {
    pub flags: u8,
    pub hops: u8,
    pub recipient: Option<String>,
}

/// An entry of a whole bundle; its index is its place there.
#[derive(Debug, Clone)]
pub struct Entry {
    pub statement: Vec<u8>,
    pub payload: Vec<u8>,
    pub hop: Hop,
}

pub fn leaves_of(entries: &[Entry]) -> Vec<Hash> {
    with_implied_leaf(entries.iter().map(|entry| leaf(&entry.statement)).collect())
}

/// The body of the BUNDLE frame that carries these entries of a whole bundle, each with this header (WIRE 6).
pub fn bundle_body(entries: &[Entry], signatures: &[Signature], chosen: &[(usize, Hop)]) -> Vec<u8> {
    let leaves = leaves_of(entries);
    let mut out = part_head(leaves.len(), signatures);
    out.extend(varint(chosen.len() as u64));
    let mut before: Option<&String> = None;
    for (index, hop) in chosen {
        out.extend(varint(*index as u64));
        out.extend([hop.flags, hop.hops]);
        match &hop.recipient {
            None => out.extend(varint(0)),
            Some(id) if before == Some(id) => out.extend(varint(1)),
            Some(id) => {
                out.extend(varint(id.len() as u64 + 1));
                out.extend(id.as_bytes());
            }
        }
        before = hop.recipient.as_ref();
        out.extend(varint(entries[*index].statement.len() as u64));
        out.extend(varint(entries[*index].payload.len() as u64));
    }
    for (index, _) in chosen {
        out.extend(&entries[*index].statement);
        out.extend(&entries[*index].payload);
    }
    let indices = chosen.iter().map(|(index, _)| *index).collect();
    out.extend(sibling_list(&multi_proof(&leaves, &indices)));
    out
}

/// (class, sequence, index).
pub type Label = (u8, u64, u16);

/// The runs of consecutive indices in a set of labels: (class, sequence, first index, count).
pub fn runs(labels: &BTreeSet<Label>) -> Vec<(u8, u64, u16, u16)> {
    let starts = labels.iter().filter(|(class, sequence, index)| {
        index.checked_sub(1).is_none_or(|before| !labels.contains(&(*class, *sequence, before)))
    });
    starts
        .map(|(class, sequence, first)| {
            let count = (0..).take_while(|step| labels.contains(&(*class, *sequence, first + step))).count();
            (*class, *sequence, *first, u16::try_from(count).unwrap())
        })
        .collect()
}

/// SETTLE frames with this code and an empty detail, 256 ranges each (WIRE 8).
pub fn settle_frames(code: u64, labels: &BTreeSet<Label>) -> Vec<u8> {
    let one = |ranges: &[(u8, u64, u16, u16)]| {
        let mut body = [varint(code), varint(0), varint(ranges.len() as u64)].concat();
        for (class, sequence, first, count) in ranges {
            body.push(*class);
            body.extend([varint(*sequence), varint((*first).into()), varint((*count).into())].concat());
        }
        frame(0x31, &body)
    };
    runs(labels).chunks(256).flat_map(one).collect()
}

/// What all receipts of a frame share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub issuer: String,
    pub directory_version: Hash,
    pub time: u64,
}

/// One receipt: what its statement says, and the label that says the rest.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub addressee: String,
    pub message: [u8; 16],
    pub subject: Hash,
    pub outcome: u8,
    pub code: u64,
    pub problem: Option<String>,
}

/// The statement of WIRE 4.3, keys ascending, what equals its default left out.
pub fn receipt_statement(shared: &Shared, receipt: &Receipt) -> Vec<u8> {
    let mut out = Vec::new();
    let mut map = Encoder::new(&mut out);
    let keys = 8 + u64::from(receipt.code != 0) + u64::from(receipt.problem.is_some());
    map.map(keys).unwrap();
    map.u8(0).unwrap().u8(1).unwrap();
    map.u8(1).unwrap().bytes(&receipt.message).unwrap();
    map.u8(2).unwrap().str(&shared.issuer).unwrap();
    map.u8(3).unwrap().str(&receipt.addressee).unwrap();
    map.u8(4).unwrap().bytes(&receipt.subject).unwrap();
    map.u8(5).unwrap().u8(receipt.outcome).unwrap();
    if receipt.code != 0 {
        map.u8(6).unwrap().u64(receipt.code).unwrap();
    }
    if let Some(problem) = &receipt.problem {
        map.u8(7).unwrap().str(problem).unwrap();
    }
    map.u8(8).unwrap().bytes(&shared.directory_version).unwrap();
    map.u8(9).unwrap().u64(shared.time).unwrap();
    out
}

pub fn receipt_leaves(shared: &Shared, receipts: &[Receipt]) -> Vec<Hash> {
    with_implied_leaf(receipts.iter().map(|receipt| leaf(&receipt_statement(shared, receipt))).collect())
}

/// The RECEIPTS frame with these receipts of a whole tree, each under this label (WIRE 8).
pub fn receipts_frame(
    shared: &Shared,
    receipts: &[Receipt],
    signatures: &[Signature],
    chosen: &[(usize, Label)],
) -> Vec<u8> {
    let leaves = receipt_leaves(shared, receipts);
    let mut out = prefixed(shared.issuer.as_bytes());
    out.extend(shared.directory_version);
    out.extend(varint(shared.time));
    out.extend(part_head(leaves.len(), signatures));
    out.extend(varint(chosen.len() as u64));
    for (index, (class, sequence, label_index)) in chosen {
        let receipt = &receipts[*index];
        out.extend(varint(*index as u64));
        out.push(receipt.outcome);
        out.extend(varint(receipt.code));
        out.extend(prefixed(receipt.problem.as_deref().unwrap_or_default().as_bytes()));
        out.push(*class);
        out.extend([varint(*sequence), varint((*label_index).into())].concat());
    }
    let indices = chosen.iter().map(|(index, _)| *index).collect();
    out.extend(sibling_list(&multi_proof(&leaves, &indices)));
    frame(0x32, &out)
}
