//! Do the fast paths give what a plain implementation gives? Trees, multi-proofs, parts and parts of parts, settlement ranges,
//! receipts rebuilt and passed on: byte for byte, on random input.
//!
//! Every test prints its seed; `KERNPOST_SEED=<seed>` runs it again, `PROPTEST_CASES=<n>` sets how many cases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "reference/plain.rs"]
mod plain;

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::digest::Digest;
use kernpost_codecs::frame::{FrameDecoder, LONGEST_BODY};
use kernpost_codecs::id::{DirectoryVersion, EndpointId, MessageId};
use kernpost_codecs::part::{BundleBuilder, HopHeader, Part};
use kernpost_codecs::receipts::{ReceiptsBuilder, ReceiptsFrame, Subject};
use kernpost_codecs::settlement::{Detail, Label, Range, Settle, SettlementFrame};
use kernpost_codecs::tree::{PartialTree, Tree, root_from_path};
use kernpost_codecs::{Algorithm, Class, Code, Outcome, RootSignature, SigningKey, UnixMs};
use plain::Hash;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Runs `test` on `cases` values (or `PROPTEST_CASES`) drawn from the seed it prints.
fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seed = std::env::var("KERNPOST_SEED").ok().map(|text| text.parse::<u64>().unwrap());
    let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("KERNPOST_SEED={seed}");
    let cases = std::env::var("PROPTEST_CASES").map_or(cases, |text| text.parse().unwrap());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let result = TestRunner::new_with_rng(config, rng).run(&strategy, test);
    if let Err(error) = result {
        panic!("{error}\nagain with KERNPOST_SEED={seed}");
    }
}

/// One key for all cases: what is signed is compared, not how.
fn key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate(Algorithm::Ed25519).unwrap())
}

fn small(number: usize) -> u16 {
    u16::try_from(number).unwrap()
}

fn digests(hashes: &[Hash]) -> Vec<Digest> {
    hashes.iter().copied().map(Digest).collect()
}

fn numbered(leaves: &[Hash], chosen: &BTreeSet<usize>) -> Vec<(u16, Digest)> {
    chosen.iter().map(|index| (small(*index), Digest(leaves[*index]))).collect()
}

fn signatures(signatures: &[RootSignature]) -> Vec<plain::Signature> {
    signatures.iter().map(|one| (one.protected.to_vec(), one.signature.to_vec())).collect()
}

/// Few leaves often, up to 256 sometimes.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1_usize..12, 3 => 12_usize..70, 1 => 70_usize..=256]
}

/// Leaves of a tree of the size drawn.
fn leaves(size: usize, salt: u64) -> Vec<Hash> {
    let statements = (0..size).map(|at| format!("{salt}/{at}"));
    plain::with_implied_leaf(statements.map(|statement| plain::leaf(statement.as_bytes())).collect())
}

/// At least one of the first `size` numbers: about as many as the density says, in runs or scattered.
fn subset(size: usize) -> impl Strategy<Value = BTreeSet<usize>> {
    let scattered = prop::collection::vec(any::<bool>(), size)
        .prop_map(|mask| mask.iter().enumerate().filter(|(_, keep)| **keep).map(|(at, _)| at).collect());
    let run = (0..size, 0..size).prop_map(|(one, other)| (one.min(other)..=one.max(other)).collect());
    (prop_oneof![scattered, run], 0..size).prop_map(|(mut chosen, at): (BTreeSet<usize>, usize)| {
        if chosen.is_empty() {
            chosen.insert(at);
        }
        chosen
    })
}

/// Those of `chosen` whose place in it is in `places`, at least one.
fn narrowed(chosen: &BTreeSet<usize>, places: &BTreeSet<usize>) -> BTreeSet<usize> {
    let kept: BTreeSet<usize> =
        chosen.iter().enumerate().filter(|(at, _)| places.contains(at)).map(|(_, index)| *index).collect();
    if kept.is_empty() { chosen.iter().copied().take(1).collect() } else { kept }
}

fn size_and_subsets() -> impl Strategy<Value = (usize, BTreeSet<usize>, BTreeSet<usize>)> {
    sizes().prop_flat_map(|size| (Just(size), subset(size), subset(size)))
}

#[test]
fn roots_and_paths_are_those_of_rfc_9162() {
    check(64, (sizes(), any::<u64>()), |(size, salt)| {
        let leaves = leaves(size, salt);
        let tree = Tree::new(&digests(&leaves)[..size]).unwrap();
        prop_assert_eq!(tree.root().0, plain::root(&leaves));
        prop_assert_eq!(usize::from(tree.size()), leaves.len());
        for index in 0..size {
            let path = tree.proof(small(index)).unwrap();
            prop_assert_eq!(&path, &digests(&plain::path(index, &leaves)));
            let root = root_from_path(tree.size(), small(index), &Digest(leaves[index]), &path);
            prop_assert_eq!(root, Ok(tree.root()));
        }
        Ok(())
    });
}

#[test]
fn multi_proofs_of_any_subset_and_of_its_subsets_are_the_plain_ones() {
    check(256, (size_and_subsets(), any::<u64>()), |((size, chosen, places), salt)| {
        let leaves = leaves(size, salt);
        let whole = Tree::new(&digests(&leaves)[..size]).unwrap().into_partial();
        let siblings = whole.multi_proof(&chosen.iter().map(|index| small(*index)).collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(&siblings, &digests(&plain::multi_proof(&leaves, &chosen)));
        let part = PartialTree::from_part(whole.size(), &numbered(&leaves, &chosen), &siblings).unwrap();
        prop_assert_eq!(part.root().0, plain::root(&leaves));

        let fewer = narrowed(&chosen, &places);
        let indices: Vec<u16> = fewer.iter().map(|index| small(*index)).collect();
        prop_assert_eq!(part.multi_proof(&indices).unwrap(), digests(&plain::multi_proof(&leaves, &fewer)));
        for index in indices {
            let path = part.path(index).unwrap();
            prop_assert_eq!(path, digests(&plain::path(index.into(), &leaves)));
        }
        Ok(())
    });
}

/// What a hostile peer may do to a proof.
#[derive(Debug, Clone)]
enum Harm {
    None,
    Size(u16),
    MoveEntry(prop::sample::Index, u16),
    SwapEntries(prop::sample::Index, prop::sample::Index),
    DropSibling(prop::sample::Index),
    AddSibling(prop::sample::Index, bool),
    FlipSibling(prop::sample::Index, u8),
    FlipEntry(prop::sample::Index, u8),
    Truncate,
}

fn harm() -> impl Strategy<Value = Harm> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        Just(Harm::None),
        prop_oneof![0_u16..12, 250_u16..260, any::<u16>()].prop_map(Harm::Size),
        (at(), 0_u16..300).prop_map(|(at, to)| Harm::MoveEntry(at, to)),
        (at(), at()).prop_map(|(one, other)| Harm::SwapEntries(one, other)),
        at().prop_map(Harm::DropSibling),
        (at(), any::<bool>()).prop_map(|(at, empty)| Harm::AddSibling(at, empty)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Harm::FlipSibling(at, byte)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Harm::FlipEntry(at, byte)),
        Just(Harm::Truncate),
    ]
}

#[test]
fn what_is_accepted_as_a_part_and_its_root_are_the_plain_ones_whatever_was_done_to_it() {
    let harms = prop::collection::vec(harm(), 0..3);
    check(1_024, (size_and_subsets(), any::<u64>(), harms), |((size, chosen, _), salt, harms)| {
        let leaves = leaves(size, salt);
        let mut size = leaves.len();
        let mut entries: Vec<(usize, Hash)> = chosen.iter().map(|index| (*index, leaves[*index])).collect();
        let mut siblings = plain::multi_proof(&leaves, &chosen);
        for harm in harms {
            match harm {
                Harm::None => {}
                Harm::Size(other) => size = other.into(),
                Harm::MoveEntry(at, to) => entries[at.index(chosen.len())].0 = to.into(),
                Harm::SwapEntries(one, other) => entries.swap(one.index(chosen.len()), other.index(chosen.len())),
                Harm::AddSibling(at, empty) => {
                    let at = at.index(siblings.len() + 1);
                    siblings.insert(at, if empty { plain::leaf(b"") } else { [7; 32] });
                }
                Harm::DropSibling(at) if !siblings.is_empty() => drop(siblings.remove(at.index(siblings.len()))),
                Harm::FlipSibling(at, byte) if !siblings.is_empty() => {
                    let at = at.index(siblings.len());
                    siblings[at][usize::from(byte) % 32] ^= 1;
                }
                Harm::FlipEntry(at, byte) => entries[at.index(chosen.len())].1[usize::from(byte) % 32] ^= 1,
                Harm::Truncate => siblings.truncate(siblings.len() / 2),
                Harm::DropSibling(_) | Harm::FlipSibling(..) => {}
            }
        }
        let expected = plain::root_of_part(size, &entries, &siblings);
        let numbered: Vec<(u16, Digest)> = entries.iter().map(|(index, leaf)| (small(*index), Digest(*leaf))).collect();
        let found = PartialTree::from_part(small(size), &numbered, &digests(&siblings));
        prop_assert_eq!(found.ok().map(|tree| tree.root().0), expected);
        Ok(())
    });
}

const IDS: [&str; 4] = ["de/a", "de/b", "sn.leipzig/standesamt", "by/x"];

/// Hop headers of all kinds; recipients repeat often.
fn hop() -> impl Strategy<Value = plain::Hop> {
    (prop_oneof![4 => Just(0_u8), 1 => 0_u8..6], 0_u8..4, prop::option::weighted(0.8, 0..IDS.len())).prop_map(
        |(flags, hops, recipient)| plain::Hop { flags, hops, recipient: recipient.map(|at| IDS[at].to_owned()) },
    )
}

fn entry() -> impl Strategy<Value = plain::Entry> {
    let statement = prop::collection::vec(any::<u8>(), 1..80);
    let payload = prop::collection::vec(any::<u8>(), 0..70);
    (statement, payload, hop()).prop_map(|(statement, payload, hop)| {
        let payload = if bare(&hop) { Vec::new() } else { payload };
        plain::Entry { statement, payload, hop }
    })
}

/// Detached and asks have no payload (WIRE 6.1).
fn bare(hop: &plain::Hop) -> bool {
    hop.flags & 6 != 0
}

/// The header of an entry on its way on: flags stay, what a router writes changes.
fn rewritten(entry: &plain::Entry, hop: &plain::Hop) -> plain::Hop {
    plain::Hop { flags: entry.hop.flags, ..hop.clone() }
}

fn header(hop: &plain::Hop) -> HopHeader {
    HopHeader {
        redelivered: hop.flags & 1 != 0,
        detached: hop.flags & 2 != 0,
        ask: hop.flags & 4 != 0,
        hops: hop.hops,
        recipient: hop.recipient.as_ref().map(|id| id.parse().unwrap()),
    }
}

fn body_of(frame: &BytesMut) -> Bytes {
    let mut decoder = FrameDecoder::new();
    decoder.push(frame.clone().freeze());
    let body = decoder.next().unwrap().unwrap().body;
    assert!(decoder.is_empty());
    body
}

/// The frame with the entries of `part` at these positions.
fn split(part: &Part, positions: &[usize], hop: impl Fn(usize) -> HopHeader) -> BytesMut {
    let mut out = BytesMut::new();
    assert_eq!(part.encode_subset(positions, hop, &mut out), Ok(positions.len()));
    out
}

#[test]
fn parts_and_parts_of_parts_are_the_plain_ones_byte_for_byte() {
    let bundle = prop_oneof![4 => 1_usize..20, 1 => 20_usize..=256].prop_flat_map(|size| {
        let entries = prop::collection::vec(entry(), size);
        (entries, subset(size), subset(size), prop::collection::vec(hop(), size), prop::collection::vec(hop(), size))
    });
    check(192, bundle, |(entries, chosen, places, first_hop, second_hop)| {
        let mut builder = BundleBuilder::new();
        for entry in &entries {
            let (statement, payload) = (entry.statement.clone().into(), entry.payload.clone().into());
            builder.push(statement, payload, header(&entry.hop)).unwrap();
        }
        let signed = builder.sign(&[key()]).unwrap();
        let root = Digest(plain::root(&plain::leaves_of(&entries)));
        prop_assert_eq!(signed.root(), root);
        prop_assert!(signed.signatures()[0].verify(key().public(), &root).is_ok());
        let by = signatures(signed.signatures());

        let all: Vec<(usize, plain::Hop)> = entries.iter().map(|entry| entry.hop.clone()).enumerate().collect();
        let positions: Vec<usize> = (0..entries.len()).collect();
        let whole = split(&signed, &positions, |at| header(&entries[at].hop));
        prop_assert_eq!(&whole[..], &plain::frame(0x20, &plain::bundle_body(&entries, &by, &all))[..]);
        let whole = Part::decode(body_of(&whole)).unwrap();
        prop_assert_eq!(&whole, &signed);

        // A router splits it; whether it has the bundle as it was signed or as it arrived makes no difference.
        let chosen: Vec<usize> = chosen.into_iter().collect();
        let onward: Vec<(usize, plain::Hop)> =
            chosen.iter().map(|index| (*index, rewritten(&entries[*index], &first_hop[*index]))).collect();
        let expected = plain::frame(0x20, &plain::bundle_body(&entries, &by, &onward));
        let hop = |at: usize| header(&rewritten(&entries[at], &first_hop[at]));
        let part = split(&whole, &chosen, hop);
        prop_assert_eq!(&part[..], &expected[..]);
        prop_assert_eq!(&split(&signed, &chosen, hop)[..], &expected[..]);
        let part = Part::decode(body_of(&part)).unwrap();
        prop_assert_eq!(part.root(), root);

        // The next router splits the part: the same as if the whole had been split so.
        let set: BTreeSet<usize> = chosen.iter().copied().collect();
        let fewer: Vec<usize> = narrowed(&set, &places).into_iter().collect();
        let again: Vec<(usize, plain::Hop)> =
            fewer.iter().map(|index| (*index, rewritten(&entries[*index], &second_hop[*index]))).collect();
        let positions: Vec<usize> = fewer.iter().map(|index| chosen.binary_search(index).unwrap()).collect();
        let last = split(&part, &positions, |at| header(&rewritten(&entries[chosen[at]], &second_hop[chosen[at]])));
        prop_assert_eq!(&last[..], &plain::frame(0x20, &plain::bundle_body(&entries, &by, &again))[..]);
        for (entry, index) in Part::decode(body_of(&last)).unwrap().entries().iter().zip(fewer) {
            prop_assert_eq!(usize::from(entry.index), index);
            prop_assert_eq!(entry.leaf.0, plain::leaf(&entries[index].statement));
            prop_assert_eq!(
                (&entry.statement[..], &entry.payload[..]),
                (&entries[index].statement[..], &entries[index].payload[..])
            );
        }
        Ok(())
    });
}

#[test]
fn a_part_that_outgrows_its_frame_goes_on_in_frames_that_are_the_plain_ones() {
    let sizes = (950_usize..1_100, prop::collection::vec(0..IDS.len(), 256));
    check(12, sizes, |(length, to)| {
        let id = |at: usize| format!("{}/{}{:030}", "z".repeat(16), IDS[to[at]].len(), to[at]);
        let entry = |at: usize| plain::Entry {
            statement: vec![7; 100],
            payload: vec![u8::try_from(at).unwrap(); length],
            hop: plain::Hop::default(),
        };
        let mut entries: Vec<plain::Entry> = (0..256).map(entry).collect();
        // As many as one body takes while nobody has written recipients into it.
        let by = vec![(vec![1; 75], vec![2; 64])];
        let body = |entries: &[plain::Entry]| {
            let all: Vec<_> = (0..entries.len()).map(|at| (at, plain::Hop::default())).collect();
            plain::bundle_body(entries, &by, &all)
        };
        while body(&entries).len() > LONGEST_BODY {
            entries.pop();
        }
        let part = Part::decode(body(&entries).into()).unwrap();
        let hop = |at: usize| plain::Hop { hops: 1, recipient: Some(id(at)), ..plain::Hop::default() };
        let positions: Vec<usize> = (0..entries.len()).collect();
        let (mut rest, mut frames) = (&positions[..], 0);
        while !rest.is_empty() {
            let mut out = BytesMut::new();
            let taken = part.encode_subset(rest, |at| header(&hop(at)), &mut out).unwrap();
            let (now, later) = rest.split_at(taken);
            let onward: Vec<_> = now.iter().map(|at| (*at, hop(*at))).collect();
            prop_assert_eq!(&out[..], &plain::frame(0x20, &plain::bundle_body(&entries, &by, &onward))[..]);
            prop_assert!(body_of(&out).len() <= LONGEST_BODY);
            (rest, frames) = (later, frames + 1);
        }
        prop_assert!(frames > 1);
        Ok(())
    });
}

fn class(number: u8) -> Class {
    Class::try_from(u64::from(number)).unwrap()
}

fn plain_label(label: Label) -> plain::Label {
    (u8::try_from(label.class.as_u64()).unwrap(), label.sequence, label.index)
}

fn label(label: plain::Label) -> Label {
    Label { class: class(label.0), sequence: label.1, index: label.2 }
}

/// Labels that lie close together, and some that do not.
fn labels() -> impl Strategy<Value = Vec<plain::Label>> {
    let near = (0_u8..3, 0_u64..4, 0_u16..256);
    let far = (0_u8..3, 0_u64..1 << 62, 0_u16..256);
    prop::collection::vec(prop_oneof![8 => near, 1 => far], 1..1_200)
}

#[test]
fn settlement_ranges_stand_for_exactly_the_set_of_labels_in_the_fewest_bytes() {
    check(256, labels(), |given| {
        let set: BTreeSet<plain::Label> = given.iter().copied().collect();
        let settle = Settle::new(Code::BUSY, Detail::default(), given.iter().copied().map(label).collect());
        let found: BTreeSet<plain::Label> = settle.labels().map(plain_label).collect();
        prop_assert_eq!(&found, &set);
        prop_assert_eq!(settle.labels().count(), set.len());
        let mut out = BytesMut::new();
        SettlementFrame::Settle(settle).encode(&mut out);
        prop_assert_eq!(&out[..], &plain::settle_frames(Code::BUSY.as_u64(), &set)[..]);
        Ok(())
    });
}

#[test]
fn ranges_of_any_kind_overlapping_or_not_are_read_as_their_labels() {
    let range = (0_u8..3, 0_u64..6, 0_u16..256, 1_u16..=256);
    check(256, prop::collection::vec(range, 1..40), |given| {
        let ranges = given.iter().map(|(number, sequence, first, count)| Range {
            class: class(*number),
            sequence: *sequence,
            first: *first,
            count: (*count).min(256 - first),
        });
        let frame = Settle { code: Code::NO_ROUTE, detail: Detail::default(), ranges: ranges.collect() };
        let mut out = BytesMut::new();
        SettlementFrame::Settle(frame.clone()).encode(&mut out);
        let Some(SettlementFrame::Settle(read)) = SettlementFrame::decode(0x31, body_of(&out)).unwrap() else {
            panic!("another frame");
        };
        prop_assert_eq!(&read, &frame);
        let mut expected = Vec::new();
        for (number, sequence, first, count) in given {
            let last = (first + count).min(256);
            expected.extend((first..last).map(|index| (number, sequence, index)));
        }
        prop_assert_eq!(read.labels().map(plain_label).collect::<Vec<_>>(), expected);
        Ok(())
    });
}

fn receipt() -> impl Strategy<Value = plain::Receipt> {
    let code = prop_oneof![Just(0), 1_u64..70_000, 0_u64..1 << 62];
    let problem = prop::option::of("[a-zäöü ]{1,60}");
    (0..IDS.len(), any::<[u8; 16]>(), any::<[u8; 32]>(), 1_u8..=7, code, problem).prop_map(
        |(addressee, message, subject, outcome, code, problem)| plain::Receipt {
            addressee: IDS[addressee].to_owned(),
            message,
            subject,
            outcome,
            code,
            problem,
        },
    )
}

fn shared() -> impl Strategy<Value = plain::Shared> {
    (prop_oneof![Just("de/amt"), Just("de/router/r1")], any::<[u8; 32]>(), 0_u64..1 << 62).prop_map(
        |(issuer, directory_version, time)| plain::Shared { issuer: issuer.to_owned(), directory_version, time },
    )
}

fn decoded(frame: &BytesMut) -> ReceiptsFrame {
    let Some(SettlementFrame::Receipts(frame)) = SettlementFrame::decode(0x32, body_of(frame)).unwrap() else {
        panic!("another frame");
    };
    frame
}

#[test]
fn receipts_rebuilt_and_passed_on_twice_are_the_plain_ones_byte_for_byte() {
    let frame = prop_oneof![4 => 1_usize..20, 1 => 20_usize..=256].prop_flat_map(|size| {
        let near = (0_u8..3, 0_u64..100_000, 0_u16..256);
        let labels = prop::collection::vec(near, 3 * size);
        (prop::collection::vec(receipt(), size), labels, subset(size), subset(size))
    });
    check(192, (shared(), frame), |(shared, (receipts, labels, chosen, places))| {
        let addressees: Vec<EndpointId> = receipts.iter().map(|receipt| receipt.addressee.parse().unwrap()).collect();
        let subject = |at: usize| Subject {
            addressee: &addressees[at],
            message: MessageId(receipts[at].message),
            leaf: Digest(receipts[at].subject),
        };
        let (size, mut builder) = (receipts.len(), ReceiptsBuilder::new());
        for (at, receipt) in receipts.iter().enumerate() {
            let outcome = Outcome::try_from(u64::from(receipt.outcome)).unwrap();
            prop_assert!(builder.push(subject(at), outcome, receipt.code, receipt.problem.clone(), label(labels[at])));
        }
        let version = DirectoryVersion(Digest(shared.directory_version));
        let issued = builder.sign(shared.issuer.parse().unwrap(), version, UnixMs(shared.time), &[key()]).unwrap();
        let root = Digest(plain::root(&plain::receipt_leaves(&shared, &receipts)));
        prop_assert!(issued.signatures[0].verify(key().public(), &root).is_ok());
        let by = signatures(&issued.signatures);
        let mut whole = BytesMut::new();
        issued.encode(&mut whole);
        let all: Vec<(usize, plain::Label)> = (0..size).map(|at| (at, labels[at])).collect();
        prop_assert_eq!(&whole[..], &plain::receipts_frame(&shared, &receipts, &by, &all)[..]);

        let whole = decoded(&whole);
        prop_assert_eq!(&whole, &issued);
        let rebuilt = whole.rebuild(&(0..size).map(subject).collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(rebuilt.root(), root);
        for (statement, receipt) in rebuilt.statements.iter().zip(&receipts) {
            prop_assert_eq!(&statement[..], &plain::receipt_statement(&shared, receipt)[..]);
        }

        // Passed on whole, under other labels.
        let onward: Vec<(usize, plain::Label)> = (0..size).map(|at| (at, labels[size + at])).collect();
        let mut relabelled = BytesMut::new();
        let new_labels: Vec<Label> = onward.iter().map(|(_, of)| label(*of)).collect();
        prop_assert!(whole.fits_relabelled());
        whole.encode_relabelled(&new_labels, &mut relabelled);
        prop_assert_eq!(&relabelled[..], &plain::receipts_frame(&shared, &receipts, &by, &onward)[..]);

        // Passed on by one router, and by the next.
        let chosen: Vec<usize> = chosen.into_iter().collect();
        let onward: Vec<(usize, plain::Label)> = chosen.iter().map(|at| (*at, labels[size + at])).collect();
        let new_labels: Vec<Label> = onward.iter().map(|(_, of)| label(*of)).collect();
        let mut part = BytesMut::new();
        prop_assert_eq!(rebuilt.encode_subset(&whole, &chosen, &new_labels, &mut part), Ok(chosen.len()));
        prop_assert_eq!(&part[..], &plain::receipts_frame(&shared, &receipts, &by, &onward)[..]);
        let part = decoded(&part);
        let rebuilt = part.rebuild(&chosen.iter().map(|at| subject(*at)).collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(rebuilt.root(), root);

        let set: BTreeSet<usize> = chosen.iter().copied().collect();
        let fewer: Vec<usize> = narrowed(&set, &places).into_iter().collect();
        let positions: Vec<usize> = fewer.iter().map(|at| chosen.binary_search(at).unwrap()).collect();
        let onward: Vec<(usize, plain::Label)> = fewer.iter().map(|at| (*at, labels[2 * size + at])).collect();
        let new_labels: Vec<Label> = onward.iter().map(|(_, of)| label(*of)).collect();
        let mut last = BytesMut::new();
        prop_assert_eq!(rebuilt.encode_subset(&part, &positions, &new_labels, &mut last), Ok(fewer.len()));
        prop_assert_eq!(&last[..], &plain::receipts_frame(&shared, &receipts, &by, &onward)[..]);

        // Another subject is another root: a wrong one fails as a proof or as a signature.
        let wrong = Subject { leaf: Digest([9; 32]), ..subject(chosen[0]) };
        let others = chosen.iter().skip(1).map(|at| subject(*at));
        let wrong: Vec<Subject<'_>> = std::iter::once(wrong).chain(others).collect();
        prop_assert_ne!(part.rebuild(&wrong).unwrap().root(), root);
        Ok(())
    });
}
