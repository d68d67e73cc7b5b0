#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::code::CloseCode;
use crate::frame::FrameDecoder;
use crate::key::{Algorithm, SigningKey};
use crate::tree::EMPTY_LEAF;
use bytes::BufMut;
use proptest::prelude::*;

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::Ed25519).unwrap()
}

fn plain(_: usize) -> HopHeader {
    HopHeader::default()
}

/// Entry `at` of a bundle: contents that tell which it is.
fn entry(at: usize) -> (Bytes, Bytes) {
    let statement = format!("statement {at}").into_bytes();
    (statement.into(), vec![u8::try_from(at % 256).unwrap(); at % 40].into())
}

fn bundle(count: usize) -> Part {
    let mut builder = BundleBuilder::new();
    for at in 0..count {
        let (statement, payload) = entry(at);
        builder.push(statement, payload, HopHeader::default()).unwrap();
    }
    builder.sign(&[&key()]).unwrap()
}

/// The body of the one frame in `bytes`.
fn body(bytes: &BytesMut) -> Bytes {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes.clone().freeze());
    let frame = decoder.next().unwrap().unwrap();
    assert_eq!(frame.kind, frame_type::BUNDLE);
    assert!(decoder.is_empty());
    frame.body
}

fn send(part: &Part, positions: &[usize], hop: impl Fn(usize) -> HopHeader) -> Part {
    let mut out = BytesMut::new();
    assert_eq!(part.encode_subset(positions, hop, &mut out), Ok(positions.len()));
    Part::decode(body(&out)).unwrap()
}

fn all(part: &Part) -> Vec<usize> {
    (0..part.entries().len()).collect()
}

#[test]
fn a_bundle_arrives_as_it_was_signed() {
    for count in [1, 2, 3, 5, 16, 255, 256] {
        let key = key();
        let mut builder = BundleBuilder::new();
        for at in 0..count {
            let (statement, payload) = entry(at);
            assert_eq!(usize::from(builder.push(statement, payload, HopHeader::default()).unwrap()), at);
        }
        let sent = builder.sign(&[&key]).unwrap();
        let got = send(&sent, &all(&sent), plain);
        assert_eq!(got.entries(), sent.entries());
        assert_eq!((got.tree(), got.root()), (sent.tree(), sent.root()));
        assert_eq!(got.signatures()[0].verify(key.public(), &got.root()), Ok(()));
        assert_eq!(got.credit(), got.entries().iter().map(Entry::credit).sum::<u64>());
    }
}

#[test]
fn hop_headers_travel_and_repeated_recipients_cost_a_byte() {
    let hop = |at: usize| HopHeader {
        redelivered: at == 1,
        hops: 3,
        recipient: (at > 0).then(|| format!("muc/amt-{}", at / 3).parse().unwrap()),
        ..HopHeader::default()
    };
    let part = bundle(8);
    let got = send(&part, &all(&part), hop);
    for (at, entry) in got.entries().iter().enumerate() {
        assert_eq!(entry.hop, hop(at), "{at}");
    }
    let mut same = BytesMut::new();
    let recipient = HopHeader { recipient: Some("muc/amt".parse().unwrap()), ..HopHeader::default() };
    part.encode_subset(&all(&part), |_| recipient.clone(), &mut same).unwrap();
    let mut none = BytesMut::new();
    part.encode_subset(&all(&part), plain, &mut none).unwrap();
    assert_eq!(same.len(), none.len() + "muc/amt".len());
}

proptest! {
    #[test]
    fn any_subset_of_any_subset_keeps_root_contents_and_indices(
        count in 1_usize..=256, salt in any::<u64>(), keep in proptest::collection::vec(any::<(bool, bool)>(), 256),
    ) {
        let mut builder = BundleBuilder::new();
        for at in 0..count {
            let (statement, payload) = entry(at.wrapping_add(usize::try_from(salt % 1_000).unwrap()));
            builder.push(statement, payload, HopHeader::default()).unwrap();
        }
        let whole = builder.sign(&[&key()]).unwrap();
        let first: Vec<usize> = (0..count).filter(|at| keep[*at].0).collect();
        prop_assume!(!first.is_empty());
        let part = send(&whole, &first, plain);
        prop_assert_eq!(part.root(), whole.root());
        for (got, at) in part.entries().iter().zip(&first) {
            prop_assert_eq!(got, &whole.entries()[*at]);
        }
        let second: Vec<usize> = (0..first.len()).filter(|at| keep[*at].1).collect();
        prop_assume!(!second.is_empty());
        let smaller = send(&part, &second, plain);
        prop_assert_eq!(smaller.root(), whole.root());
        for (got, at) in smaller.entries().iter().zip(&second) {
            prop_assert_eq!(got, &whole.entries()[first[*at]]);
        }
        prop_assert_eq!(smaller.signatures(), whole.signatures());
    }

    #[test]
    fn decoding_never_panics_and_what_it_accepts_it_writes_back(
        change in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4), cut in any::<u8>(),
    ) {
        let part = bundle(5);
        let mut out = BytesMut::new();
        part.encode_subset(&[1, 2, 4], plain, &mut out).unwrap();
        let mut bytes = body(&out).to_vec();
        for (at, value) in change {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - usize::from(cut % 8));
        if let Ok(got) = Part::decode(bytes.clone().into()) {
            let hops: Vec<HopHeader> = got.entries().iter().map(|entry| entry.hop.clone()).collect();
            let mut again = BytesMut::new();
            got.encode_subset(&all(&got), |at| hops[at].clone(), &mut again).unwrap();
            // A recipient may be written out where "as before" would do; everything else has one form.
            if hops.iter().all(|hop| hop.recipient.is_none()) {
                prop_assert_eq!(body(&again), bytes);
            }
        }
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Part::decode(bytes.into());
    }
}

#[test]
fn positions_that_do_not_increase_or_exist_are_the_callers_mistake() {
    let part = bundle(4);
    for positions in [&[][..], &[2, 1], &[1, 1], &[4]] {
        let mut out = BytesMut::new();
        assert!(part.encode_subset(positions, plain, &mut out).is_err(), "{positions:?}");
        assert!(out.is_empty());
    }
}

/// A part whose body fills a frame but for at most `room` bytes, as a sender may make it that leaves no room for hop
/// headers. Every second statement is empty, so that leaving it out costs more than it saves.
fn crowded(room: usize) -> Part {
    let fill = |length: usize| -> Vec<Bytes> {
        (0..256).map(|at| if at % 2 == 0 { Bytes::new() } else { vec![1; length].into() }).collect()
    };
    let encode = |statements: &[Bytes]| {
        let leaves: Vec<Digest> = statements.iter().map(|statement| leaf_hash(statement)).collect();
        let tree = crate::tree::Tree::new(&leaves).unwrap();
        let signatures = crate::root::sign_with_all(&[&key()], &tree.root()).unwrap();
        let mut body = Vec::new();
        put_head(&mut body, tree.size(), &signatures);
        varint::encode(&mut body, statements.len() as u64);
        for ((index, statement), leaf) in (0..).zip(statements).zip(leaves) {
            let (hop, payload) = (HopHeader::default(), Bytes::new());
            put_entry_head(
                &mut body,
                &Entry { index, hop, statement: statement.clone(), payload, leaf },
                &plain(0),
                None,
            );
        }
        statements.iter().for_each(|statement| body.extend_from_slice(statement));
        put_siblings(&mut body, &[]);
        body
    };
    let length = (0..2_048).rev().find(|length| encode(&fill(*length)).len() + room <= LONGEST_BODY).unwrap();
    Part::decode(encode(&fill(length)).into()).unwrap()
}

#[test]
fn a_frame_that_would_grow_too_long_goes_out_in_two() {
    let part = crowded(0);
    let long =
        |at: usize| HopHeader { recipient: Some(format!("z/{at}{}", "n".repeat(30)).parse().unwrap()), ..plain(at) };
    let odd: Vec<usize> = (0..256).filter(|at| at % 2 == 1).collect();
    for (positions, hop) in [(all(&part), &long as &dyn Fn(usize) -> HopHeader), (odd, &plain)] {
        let mut rest = &positions[..];
        let mut frames = 0;
        while !rest.is_empty() {
            let mut out = BytesMut::new();
            let taken = part.encode_subset(rest, hop, &mut out).unwrap();
            let got = Part::decode(body(&out)).unwrap();
            assert_eq!((got.root(), got.entries().len()), (part.root(), taken));
            rest = &rest[taken..];
            frames += 1;
        }
        assert_eq!(frames, 2);
    }
}

#[test]
fn the_builder_leaves_room_for_the_longest_recipient_everywhere() {
    for (statement, payload) in [(200, 4_000), (2_048, 0), (150, 800), (100, 65_536)] {
        let mut builder = BundleBuilder::new();
        while builder.push(vec![7; statement].into(), vec![1; payload].into(), HopHeader::default()).is_ok() {}
        let long = || SigningKey::generate(crate::key::Algorithm::MlDsa65).unwrap();
        let part = builder.sign(&[&long(), &long()]).unwrap();
        let zone = ["z".repeat(16), "y".repeat(6)].join(".");
        let hop = |at: usize| HopHeader { recipient: Some(format!("{zone}/{at:040}").parse().unwrap()), ..plain(at) };
        assert_eq!(hop(0).recipient.unwrap().as_str().len(), 64);
        assert_eq!(send(&part, &all(&part), hop).root(), part.root());
    }
}

#[test]
fn a_builder_that_knows_its_keys_keeps_room_for_their_signatures_only() {
    let keys = crate::key::Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).unwrap());
    let full = |keys: &[&SigningKey], known: bool| {
        let mut builder = BundleBuilder::with_limit(32_768);
        if known {
            builder = builder.for_keys(keys);
        }
        while builder.push(vec![7; 150].into(), vec![1; 100].into(), HopHeader::default()).is_ok() {}
        let part = builder.sign(keys).unwrap();
        let hop = |at: usize| HopHeader {
            recipient: Some(format!("{}/{at:040}", "z".repeat(16)).parse().unwrap()),
            ..plain(at)
        };
        let mut out = BytesMut::new();
        assert_eq!(part.encode_subset(&all(&part), hop, &mut out), Ok(part.entries().len()));
        assert!(body(&out).len() <= 32_768);
        part.entries().len()
    };
    for signers in [&[&keys[0]][..], &[&keys[1]], &[&keys[2]], &[&keys[3]], &[&keys[0], &keys[3]]] {
        let (unknown, known) = (full(signers, false), full(signers, true));
        assert!(known > unknown, "{known} entries, {unknown} without knowing the keys");
    }
}

#[test]
fn faults_of_the_body_close_the_link_and_faults_of_the_proof_name_every_entry() {
    let part = bundle(5);
    let mut out = BytesMut::new();
    part.encode_subset(&[0, 3], plain, &mut out).unwrap();
    let good = body(&out).to_vec();

    let mut more = good[..good.len() - 97].to_vec();
    more.put_u8(4);
    more.extend_from_slice(&good[good.len() - 96..]);
    more.extend_from_slice(&[0; 32]);
    let Err(PartError::Proof { fault, entries }) = Part::decode(more.into()) else { panic!("no proof fault") };
    assert_eq!(fault, ProofFault::SiblingSuperfluous { sent: 4, superfluous: 1 });
    assert_eq!(
        entries,
        part.entries().iter().filter(|e| [0, 3].contains(&e.index)).map(|e| (e.index, e.credit())).collect::<Vec<_>>()
    );

    let mut trailing = good.clone();
    trailing.push(0);
    let Err(PartError::Frame(fault)) = Part::decode(trailing.into()) else { panic!("no frame fault") };
    assert_eq!((fault.code, fault.clause), (CloseCode::FrameMalformed, "WIRE 6"));
    for end in 0..good.len() {
        assert!(matches!(Part::decode(good[..end].to_vec().into()), Err(PartError::Frame(_))), "{end}");
    }
}

#[test]
fn the_implied_leaf_of_a_lone_entry_must_not_be_sent() {
    let part = bundle(1);
    let mut out = BytesMut::new();
    part.encode_subset(&[0], plain, &mut out).unwrap();
    let mut explicit = body(&out).to_vec();
    assert_eq!(explicit.pop(), Some(0));
    explicit.push(1);
    explicit.extend_from_slice(&EMPTY_LEAF.0);
    let Err(PartError::Proof { fault, .. }) = Part::decode(explicit.into()) else { panic!("no proof fault") };
    assert_eq!(fault, ProofFault::ImpliedLeafSent);
}

#[test]
fn a_builder_says_what_never_fits_and_when_it_is_full() {
    let mut builder = BundleBuilder::with_limit(1);
    let hop = HopHeader::default;
    assert_eq!(builder.push(vec![0; 2_049].into(), Bytes::new(), hop()), Err(Unfit::Statement { length: 2_049 }));
    assert_eq!(builder.push(Bytes::new(), vec![0; 65_537].into(), hop()), Err(Unfit::Payload { length: 65_537 }));
    let ask = HopHeader { ask: true, ..hop() };
    assert_eq!(builder.push(Bytes::new(), vec![0; 1].into(), ask), Err(Unfit::Payload { length: 1 }));
    assert_eq!(builder.push(vec![1].into(), vec![0; 65_536].into(), hop()), Ok(0));
    assert_eq!(builder.push(vec![1].into(), Bytes::new(), hop()), Err(Unfit::Full));
    assert_eq!(BundleBuilder::new().sign(&[&key()]), Err(crate::root::SignError::Empty));
    assert_eq!(builder.sign(&[]), Err(crate::root::SignError::Keys { found: 0 }));
}

#[test]
fn a_part_without_some_payloads_proves_the_same_statements() {
    let part = bundle(7);
    let stripped = send(&part.with_payloads_of(|index| index == 3), &all(&part), plain);
    assert_eq!(stripped.root(), part.root());
    assert_eq!(stripped.signatures(), part.signatures());
    for (kept, entry) in stripped.entries().iter().zip(part.entries()) {
        assert_eq!((kept.leaf, &kept.statement), (entry.leaf, &entry.statement));
        assert_eq!(kept.payload.is_empty(), entry.index != 3 || entry.payload.is_empty());
    }
}
