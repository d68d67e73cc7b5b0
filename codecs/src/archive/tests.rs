#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::class::Class;
use crate::code::Outcome;
use crate::id::{DirectoryVersion, MessageId, Party};
use crate::key::SigningKey;
use crate::part::{BundleBuilder, HopHeader, Part};
use crate::receipts::{ReceiptsBuilder, Subject};
use crate::settlement::Label;
use crate::statement::Message;
use crate::time::UnixMs;
use coset::CborSerializable;

fn bundle(count: usize, keys: &[&SigningKey]) -> Part {
    let mut builder = BundleBuilder::new();
    for at in 0..count {
        builder.push(message(at).encode().into(), Bytes::new(), HopHeader::default()).unwrap();
    }
    builder.sign(keys).unwrap()
}

fn message(at: usize) -> Message {
    Message::new(
        MessageId((at as u128).to_be_bytes()),
        "portal/p".parse().unwrap(),
        "99050012104000".parse().unwrap(),
        "147130000000".parse().unwrap(),
        UnixMs(1_760_000_000_000),
        DirectoryVersion(Digest::of(b"directory")),
    )
}

#[test]
fn every_entry_of_every_size_is_proved_alone() {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    for count in [1, 2, 3, 5, 16, 255, 256] {
        let part = bundle(count, &[&key]);
        for entry in part.entries().iter().step_by(count.div_ceil(20)) {
            let proof = archive(&part.signatures()[0], part.tree(), entry.index).unwrap();
            let facts = verify_archive(&proof, &entry.statement, key.public()).unwrap();
            assert_eq!((facts.index, facts.root, facts.tree_size), (entry.index, part.root(), part.tree().size()));
            let other = verify_archive(&proof, b"other", key.public());
            assert_eq!(other, Err(ArchiveError::Signature(RootFault::Signature)));
        }
    }
}

/// Reads the archive form with another COSE library and no code of ours but the hashes.
#[test]
fn the_archive_form_is_a_cose_receipt_for_another_library() {
    let key = SigningKey::generate(Algorithm::Esp256).unwrap();
    let part = bundle(5, &[&key]);
    let entry = &part.entries()[3];
    let cose = CoseSign1::from_tagged_slice(&archive(&part.signatures()[0], part.tree(), 3).unwrap()).unwrap();
    assert_eq!(cose.protected.header.rest[1], (coset::Label::Int(395), Value::from(1)));
    let proof = Value::from_slice(inclusion_proof(&cose).unwrap()).unwrap();
    let [size, index, path] = &proof.as_array().unwrap()[..] else { panic!("not three items") };
    assert_eq!((size, index), (&Value::from(5), &Value::from(3)));
    let path: Vec<Digest> =
        path.as_array().unwrap().iter().map(|hash| Digest::try_from(&hash.as_bytes().unwrap()[..]).unwrap()).collect();
    // Index 3 of 5: right child, right child, left child.
    let [two, pair, four] = path[..] else { panic!("not three hashes") };
    let node = crate::tree::node_hash;
    let root = node(&node(&pair, &node(&two, &entry.leaf)), &four);
    cose.verify_detached_signature(&root.0, &[], |signature, message| key.public().verify(message, signature)).unwrap();
}

#[test]
fn any_changed_byte_is_refused() {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let part = bundle(5, &[&key]);
    let good = archive(&part.signatures()[0], part.tree(), 4).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(verify_archive(&bad, &part.entries()[4].statement, key.public()).is_err(), "byte {at}");
    }
    assert!(verify_archive(&[], b"", key.public()).is_err());
}

fn proof_file(portal: &[&SigningKey], authority: &SigningKey) -> ProofFile {
    let bundle = bundle(3, portal);
    let entry = &bundle.entries()[1];
    let addressee = "portal/p".parse().unwrap();
    let subject = Subject { addressee: &addressee, message: message(1).id, leaf: entry.leaf };
    let mut builder = ReceiptsBuilder::new();
    let label = Label { class: Class::Interactive, sequence: 0, index: 1 };
    assert!(builder.push(subject, Outcome::Delivered, 0, None, label));
    let issuer = Party::Endpoint("muc/amt".parse().unwrap());
    let version = DirectoryVersion(Digest::of(b"directory"));
    let frame = builder.sign(issuer, version, UnixMs(1_760_000_000_500), &[authority]).unwrap();
    let rebuilt = frame.rebuild(&[subject]).unwrap();
    ProofFile::new(rebuilt.statements[0].clone(), &frame.signatures, &rebuilt.tree, 0)
        .unwrap()
        .with_message(entry.statement.clone(), bundle.signatures(), bundle.tree(), 1)
        .unwrap()
}

#[test]
fn a_proof_file_is_checked_offline() {
    let keys = Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).unwrap());
    let authority = SigningKey::generate(Algorithm::Esp256).unwrap();
    let lookup =
        |kid: &KeyId| keys.iter().chain([&authority]).map(SigningKey::public).find(|key| key.id() == *kid).cloned();
    let kids = |facts: &[ArchiveFacts]| facts.iter().map(|facts| facts.kid).collect::<Vec<_>>();
    for signers in
        [&[&keys[0]][..], &[&keys[1]], &[&keys[2]], &[&keys[3]], &[&keys[0], &keys[3]], &[&keys[3], &keys[1]]]
    {
        let file = proof_file(signers, &authority);
        let read = ProofFile::parse(&file.encode()).unwrap();
        assert_eq!(read, file);
        let proven = read.verify(lookup).unwrap();
        assert_eq!(proven.receipt.outcome, Outcome::Delivered);
        assert_eq!(kids(&proven.receipt_signers), [authority.public().id()]);
        assert_eq!(kids(&proven.message_signers), signers.iter().map(|key| key.public().id()).collect::<Vec<_>>());

        let nobody = read.verify(|_| None);
        assert_eq!(nobody, Err(ArchiveError::UnknownKey(authority.public().id())));
    }
}

#[test]
fn two_proofs_of_one_statement_are_by_two_keys_over_one_root() {
    let keys = Algorithm::HYBRID.map(|algorithm| SigningKey::generate(algorithm).unwrap());
    let [first, second] = &keys;
    let lookup = |kid: &KeyId| keys.iter().map(SigningKey::public).find(|key| key.id() == *kid).cloned();
    let good = proof_file(&[first, second], first);
    assert!(good.verify(lookup).is_ok());
    let mut twice = good.clone();
    let proofs = &mut twice.message.as_mut().unwrap().1;
    proofs[1] = proofs[0].clone();
    assert_eq!(twice.verify(lookup), Err(ArchiveError::Form("both proofs are by the same key")));
    // The same statement signed in another bundle: a good proof, but not the second signature of this root.
    let mut elsewhere = good;
    let (statement, proofs) = elsewhere.message.as_mut().unwrap();
    let mut builder = crate::part::BundleBuilder::new();
    builder.push(statement.clone(), Bytes::new(), crate::part::HopHeader::default()).unwrap();
    let other = builder.sign(&[second]).unwrap();
    proofs[1] = archive(&other.signatures()[0], other.tree(), 0).unwrap().into();
    assert_eq!(elsewhere.verify(lookup), Err(ArchiveError::Form("the proofs lead to different roots")));
}

#[test]
fn a_receipt_for_another_message_is_noticed() {
    let portal = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let file = proof_file(&[&portal], &portal);
    let bundle = bundle(3, &[&portal]);
    let other = bundle.entries()[2].statement.clone();
    let swapped = file.with_message(other, bundle.signatures(), bundle.tree(), 2).unwrap();
    let verdict = swapped.verify(|_| Some(portal.public().clone()));
    assert_eq!(verdict, Err(ArchiveError::OtherMessage("the leaf hash")));
}

#[test]
fn a_proof_file_that_is_cut_or_changed_does_not_verify() {
    let portal = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let good = proof_file(&[&portal], &portal).encode();
    for at in 0..good.len() {
        assert!(ProofFile::parse(&good[..at]).is_err(), "cut at {at}");
        let mut bad = good.clone();
        bad[at] ^= 1;
        let verdict = ProofFile::parse(&bad).and_then(|file| file.verify(|_| Some(portal.public().clone())));
        assert!(verdict.is_err(), "byte {at}");
    }
}
