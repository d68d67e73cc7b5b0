//! Do the codecs agree with the committed test vectors (WIRE §13)? Every file, every case, valid or not.
//!
//! The first test makes all vectors again: a change of the wire format cannot go unnoticed. If it is meant, run
//! `cargo run -p kernpost-codecs --example make_vectors` and say so in CHANGELOG.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::{Bytes, BytesMut};
use kernpost_codecs::archive::{CoseReceipt, ProofFile};
use kernpost_codecs::attach::{AttachToken, TokenError};
use kernpost_codecs::code::Code;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::frame::FrameDecoder;
use kernpost_codecs::id::{EndpointId, MessageId};
use kernpost_codecs::key::{KeyId, PublicKey, SigningKey};
use kernpost_codecs::part::{Part, PartError};
use kernpost_codecs::payload::PayloadHeadReader;
use kernpost_codecs::receipts::{ReceiptsFrame, Subject};
use kernpost_codecs::root::RootSignature;
use kernpost_codecs::settlement::SettlementFrame;
use kernpost_codecs::statement::{self, Attachment, MessageRef, Receipt, StatementError, StatementKind};
use kernpost_codecs::tree::{PartialTree, Tree, leaf_hash, root_from_path};
use serde_json::{Value, json};

#[path = "vectors/make.rs"]
mod make;

use make::{Keys, hex, unhex};

fn cases(name: &str) -> Vec<Value> {
    let cases = make::read(&make::folder(), name);
    assert!(!cases.is_empty(), "{name} is missing or empty");
    cases
}

fn name(case: &Value) -> &str {
    case["name"].as_str().unwrap()
}

/// Whether the case is one that is refused.
fn is_refused(case: &Value) -> bool {
    !case["error"].is_null()
}

fn hashes(value: &Value) -> Vec<Digest> {
    value.as_array().unwrap().iter().map(|hash| hash.as_str().unwrap().parse().unwrap()).collect()
}

fn hash(value: &Value) -> Digest {
    value.as_str().unwrap().parse().unwrap()
}

fn numbers(value: &Value) -> Vec<u16> {
    value.as_array().unwrap().iter().map(|number| u16::try_from(number.as_u64().unwrap()).unwrap()).collect()
}

/// The public keys of the file, by kid, read from their COSE form.
fn lookup(kid: &KeyId) -> Option<PublicKey> {
    let cases = cases("keys.json");
    let case = cases.iter().find(|case| case["kid"] == kid.to_string())?;
    Some(PublicKey::from_cose_key(&unhex(&case["cose_key"])).unwrap())
}

fn all_verify(signatures: &[RootSignature], root: &Digest) -> bool {
    signatures.iter().all(|signature| {
        let key = signature.kid().ok().and_then(|kid| lookup(&kid));
        key.is_some_and(|key| signature.verify(&key, root).is_ok())
    })
}

#[test]
fn the_committed_vectors_are_the_ones_made_today() {
    for (file, made) in make::all(&make::folder()) {
        let stored = cases(file);
        let made = made.as_array().unwrap();
        for (stored, made) in stored.iter().zip(made) {
            assert_eq!(stored, made, "{file}: {}", name(made));
        }
        assert_eq!(stored.len(), made.len(), "{file}");
    }
}

#[test]
fn case_names_are_unique_and_every_case_names_a_clause() {
    for (file, _) in make::all(&make::folder()) {
        let cases = cases(file);
        let mut names: Vec<&str> = cases.iter().map(name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len(), "{file}");
        for case in &cases {
            let clause = case["clause"].as_str().unwrap();
            assert!(clause.starts_with("WIRE ") || clause.starts_with("RFC "), "{file}: {}", name(case));
        }
    }
}

#[test]
fn keys_have_their_thumbprints() {
    for case in cases("keys.json") {
        let key = PublicKey::from_cose_key(&unhex(&case["cose_key"]));
        assert_eq!(key.is_err(), is_refused(&case), "{}", name(&case));
        let Ok(key) = key else { continue };
        assert_eq!(case["kid"], key.id().to_string(), "{}", name(&case));
        assert_eq!(case["cose_algorithm"], key.algorithm().cose_id(), "{}", name(&case));
        assert_eq!(case["cose_key"], hex(key.to_cose_key()), "{}", name(&case));
        if !case["pkcs8"].is_null() {
            assert_eq!(SigningKey::from_pkcs8_der(&unhex(&case["pkcs8"])).unwrap().public(), &key);
        }
    }
}

#[test]
fn statements_are_read_or_refused_with_their_code() {
    for case in cases("statements.json") {
        let bytes = unhex(&case["bytes"]);
        let read = match case["kind"].as_str().unwrap() {
            "message" => MessageRef::parse(&bytes).map(|message| {
                let message = message.to_owned();
                (make::fields_message(&message), message.encode(), StatementKind::Message)
            }),
            "receipt" => Receipt::parse(&bytes)
                .map(|receipt| (make::fields_receipt(&receipt), receipt.encode(), StatementKind::Receipt)),
            _ => Attachment::parse(&bytes).map(|attachment| {
                (make::fields_attachment(&attachment), attachment.encode(), StatementKind::Attachment)
            }),
        };
        if is_refused(&case) {
            let code = read.as_ref().map_err(StatementError::code).unwrap_err();
            assert_eq!(Some(code), Code::from_name(case["error"].as_str().unwrap()), "{}", name(&case));
            continue;
        }
        let (fields, again, kind) = read.unwrap_or_else(|error| panic!("{}: {error}", name(&case)));
        assert_eq!(case["fields"], fields, "{}", name(&case));
        assert_eq!(case["leaf"], leaf_hash(&bytes).to_string(), "{}", name(&case));
        assert_eq!(statement::kind(&bytes), Ok(kind), "{}", name(&case));
        assert_eq!(again == bytes, !name(&case).contains("unknown-key"), "{}", name(&case));
    }
}

#[test]
fn trees_have_their_roots_paths_and_multi_proofs() {
    for case in cases("trees.json") {
        let leaves = hashes(&case["leaves"]);
        for (statement, leaf) in case["statements"].as_array().unwrap().iter().zip(&leaves) {
            assert_eq!(leaf_hash(statement.as_str().unwrap().as_bytes()), *leaf);
        }
        let tree = Tree::new(&leaves).unwrap();
        let root = hash(&case["root"]);
        assert_eq!((tree.root(), json!(tree.size())), (root, case["tree_size"].clone()), "{}", name(&case));
        for path in case["paths"].as_array().unwrap() {
            let index = u16::try_from(path["index"].as_u64().unwrap()).unwrap();
            let expected = hashes(&path["path"]);
            assert_eq!(tree.proof(index).as_ref(), Some(&expected), "{} {index}", name(&case));
            assert_eq!(root_from_path(tree.size(), index, &leaves[usize::from(index)], &expected), Ok(root));
        }
        for proof in case["multi_proofs"].as_array().unwrap() {
            let (indices, siblings) = (numbers(&proof["indices"]), hashes(&proof["siblings"]));
            assert_eq!(tree.clone().into_partial().multi_proof(&indices).unwrap(), siblings, "{}", name(&case));
            let entries: Vec<(u16, Digest)> = indices.iter().map(|at| (*at, leaves[usize::from(*at)])).collect();
            assert_eq!(PartialTree::from_part(tree.size(), &entries, &siblings).unwrap().root(), root);
        }
    }
}

#[test]
fn root_signatures_hold_or_not() {
    let keys = Keys::load(&make::folder());
    for case in cases("root-signatures.json") {
        let signature =
            RootSignature { protected: unhex(&case["protected"]).into(), signature: unhex(&case["signature"]).into() };
        let key = keys.get(case["key"].as_str().unwrap()).public();
        let verdict = signature.verify(key, &hash(&case["root"]));
        assert_eq!(verdict.is_err(), is_refused(&case), "{}: {verdict:?}", name(&case));
        let direct = key.verify(&unhex(&case["to_be_signed"]), &signature.signature);
        assert!(direct.is_ok() || is_refused(&case), "{}", name(&case));
    }
}

#[test]
fn bundles_are_read_or_refused_with_their_code() {
    for case in cases("bundles.json") {
        let decoded = Part::decode(unhex(&case["body"]).into());
        let Some(error) = case["error"].as_str() else {
            check_part(&case, &decoded.unwrap());
            continue;
        };
        match decoded {
            Err(PartError::Frame(fault)) => assert_eq!(error, fault.code.name(), "{}", name(&case)),
            Err(PartError::Proof { entries, .. }) => {
                let indices: Vec<u16> = entries.iter().map(|(index, _)| *index).collect();
                assert_eq!((error, indices), ("bad-proof", numbers(&case["refused"])), "{}", name(&case));
            }
            Err(other) => panic!("{}: {other}", name(&case)),
            Ok(part) if !all_verify(part.signatures(), &part.root()) => {
                let indices: Vec<u16> = part.entries().iter().map(|entry| entry.index).collect();
                assert_eq!((error, indices), ("bad-signature", numbers(&case["refused"])), "{}", name(&case));
            }
            Ok(part) => {
                let wrong = |bytes: &Bytes, payload: &Bytes| {
                    let message = MessageRef::parse(bytes).unwrap();
                    message.payload_len != payload.len() as u64 || message.payload_digest != Digest::of(payload)
                };
                let entries = part.entries().iter().filter(|entry| wrong(&entry.statement, &entry.payload));
                let indices: Vec<u16> = entries.map(|entry| entry.index).collect();
                assert_eq!((error, indices), ("digest-mismatch", numbers(&case["refused"])), "{}", name(&case));
            }
        }
    }
}

fn check_part(case: &Value, part: &Part) {
    assert_eq!(case["root"], part.root().to_string(), "{}", name(case));
    assert_eq!(case["tree_size"], part.tree().size(), "{}", name(case));
    assert!(all_verify(part.signatures(), &part.root()), "{}", name(case));
    let expected = case["entries"].as_array().unwrap();
    assert_eq!(expected.len(), part.entries().len(), "{}", name(case));
    for (expected, entry) in expected.iter().zip(part.entries()) {
        let hop = &entry.hop;
        let flags = u8::from(hop.redelivered) | u8::from(hop.detached) << 1 | u8::from(hop.ask) << 2;
        let found = json!({
            "index": entry.index, "flags": flags, "hops": hop.hops,
            "recipient": hop.recipient.as_ref().map(EndpointId::as_str),
            "statement": hex(&entry.statement), "payload": hex(&entry.payload), "leaf": entry.leaf.to_string(),
        });
        assert_eq!(*expected, found, "{}", name(case));
    }
    let again = make::body_of(|out| {
        let all: Vec<usize> = (0..part.entries().len()).collect();
        part.encode_subset(&all, |at| part.entries()[at].hop.clone(), out).unwrap();
    });
    assert_eq!(case["body"], hex(again), "{}", name(case));
}

#[test]
fn settlements_are_read_or_close_the_link() {
    for case in cases("settlements.json") {
        let body = Bytes::from(unhex(&case["body"]));
        let decoded = SettlementFrame::decode(case["type"].as_u64().unwrap(), body);
        if is_refused(&case) {
            assert_eq!(case["error"], decoded.unwrap_err().code.name(), "{}", name(&case));
            continue;
        }
        let frame = decoded.unwrap_or_else(|fault| panic!("{}: {fault}", name(&case))).unwrap();
        for (field, value) in make::describe_settlement(&frame).as_object().unwrap() {
            assert_eq!(case[field], *value, "{}", name(&case));
        }
        let again = hex(make::body_of(|out| frame.encode(out)));
        assert_eq!(case["body"] == again, !name(&case).contains("unknown-is-ignored"), "{}", name(&case));
    }
}

#[test]
fn payload_heads_are_read_or_close_the_link() {
    for case in cases("payload-heads.json") {
        let (mut decoder, mut reader) = (FrameDecoder::new(), PayloadHeadReader::default());
        decoder.push(unhex(&case["stream"]).into());
        assert_eq!(decoder.next_varint().unwrap(), Some(4), "{}", name(&case));
        let read = reader.next(&mut decoder);
        if is_refused(&case) {
            assert_eq!(case["error"], read.unwrap_err().code.name(), "{}", name(&case));
            continue;
        }
        let head = read.unwrap().unwrap();
        assert_eq!(case["head"], make::describe_payload_head(&head), "{}", name(&case));
        let payload: Vec<u8> = std::iter::from_fn(|| decoder.take_chunk()).flatten().collect();
        assert_eq!(case["payload"], hex(&payload), "{}", name(&case));
        let mut again = BytesMut::new();
        head.encode(&mut again);
        assert_eq!(case["stream"], hex([&again[..], &payload[..]].concat()), "{}", name(&case));
    }
}

#[test]
fn receipts_are_rebuilt_or_refused() {
    for case in cases("receipts.json") {
        let decoded = ReceiptsFrame::decode(unhex(&case["body"]).into());
        let known: Vec<(EndpointId, MessageId, Digest)> = case["subjects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|subject| {
                let text = |field: &str| subject[field].as_str().unwrap();
                (text("addressee").parse().unwrap(), text("message").parse().unwrap(), text("leaf").parse().unwrap())
            })
            .collect();
        let subjects: Vec<Subject<'_>> = known
            .iter()
            .map(|(addressee, message, leaf)| Subject { addressee, message: *message, leaf: *leaf })
            .collect();
        let frame = match (decoded, case["error"].as_str()) {
            (Ok(frame), _) => frame,
            (Err(fault), error) => {
                assert_eq!(error, Some(fault.code.name()), "{}", name(&case));
                continue;
            }
        };
        let rebuilt = match (frame.rebuild(&subjects), case["error"].as_str()) {
            (Ok(rebuilt), Some("bad-signature")) => {
                assert!(!all_verify(&frame.signatures, &rebuilt.root()), "{}", name(&case));
                continue;
            }
            (Ok(rebuilt), None) => rebuilt,
            (Err(_), Some("bad-proof")) => continue,
            other => panic!("{}: {other:?}", name(&case)),
        };
        assert!(all_verify(&frame.signatures, &rebuilt.root()), "{}", name(&case));
        assert_eq!(case["root"], rebuilt.root().to_string(), "{}", name(&case));
        let statements: Vec<String> = rebuilt.statements.iter().map(hex).collect();
        assert_eq!(case["statements"], json!(statements), "{}", name(&case));
        assert_eq!(case["issuer"], frame.issuer.to_string(), "{}", name(&case));
        let labels: Vec<Value> = frame.entries.iter().map(|entry| make::label(&entry.label)).collect();
        assert_eq!(case["labels"], json!(labels), "{}", name(&case));
        assert_eq!(case["body"], hex(make::body_of(|out| frame.encode(out))), "{}", name(&case));
    }
}

#[test]
fn attach_tokens_are_accepted_or_refused_with_their_code() {
    for case in cases("attach-tokens.json") {
        let token = AttachToken::parse(&unhex(&case["token"]));
        let verdict = token.as_ref().map_err(Clone::clone).and_then(|token| token.verify(lookup));
        match verdict {
            Err(TokenError::Form(_) | TokenError::Statement(_)) => {
                assert_eq!(case["error"], "token-invalid", "{}", name(&case));
            }
            Err(_) => assert_eq!(case["error"], "bad-signature", "{}", name(&case)),
            Ok(()) => {
                let token = token.unwrap();
                assert_eq!(case["fields"], make::fields_attachment(token.attachment()), "{}", name(&case));
                let kids: Vec<String> = token.signers().map(|(_, kid)| kid.to_string()).collect();
                assert_eq!(case["kids"], json!(kids), "{}", name(&case));
            }
        }
    }
}

#[test]
fn archived_proofs_hold_or_not() {
    for case in cases("archive.json") {
        let key = lookup(&KeyId(hash(&case["kid"]))).unwrap();
        let verdict = CoseReceipt::parse(&unhex(&case["cose_receipt"]))
            .and_then(|receipt| receipt.verify(&unhex(&case["statement"]), &key));
        if is_refused(&case) {
            assert!(verdict.is_err(), "{}", name(&case));
            continue;
        }
        let facts = verdict.unwrap_or_else(|error| panic!("{}: {error}", name(&case)));
        assert_eq!(case["root"], facts.root.to_string(), "{}", name(&case));
        assert_eq!(case["index"], facts.index, "{}", name(&case));
        assert_eq!(case["tree_size"], facts.tree_size, "{}", name(&case));
        assert_eq!(case["algorithm"], facts.algorithm.name(), "{}", name(&case));
    }
}

#[test]
fn proof_files_hold_or_not() {
    for case in cases("proof-files.json") {
        let bytes = unhex(&case["file"]);
        let verdict = ProofFile::parse(&bytes).and_then(|file| file.verify(lookup).map(|proven| (file, proven)));
        if is_refused(&case) {
            assert!(verdict.is_err(), "{}", name(&case));
            continue;
        }
        let (file, proven) = verdict.unwrap_or_else(|error| panic!("{}: {error}", name(&case)));
        assert_eq!(case["receipt"], hex(&file.receipt), "{}", name(&case));
        assert_eq!(case["message"], json!(file.message.as_ref().map(|(statement, _)| hex(statement))));
        let kids = |signers: &[kernpost_codecs::archive::ArchiveFacts]| {
            json!(signers.iter().map(|facts| facts.kid.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(case["receipt_kids"], kids(&proven.receipt_signers), "{}", name(&case));
        assert_eq!(case["message_kids"], kids(&proven.message_signers), "{}", name(&case));
        assert_eq!(bytes, file.encode(), "{}", name(&case));
    }
}
