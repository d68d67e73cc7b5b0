//! Archive forms (WIRE 5.6) and attach tokens (3.2).

use bytes::Bytes;
use kernpost_codecs::archive::{ProofFile, archive};
use kernpost_codecs::attach::{ATTACH_TYPE, AttachToken};
use kernpost_codecs::class::Class;
use kernpost_codecs::code::Outcome;
use kernpost_codecs::key::SigningKey;
use kernpost_codecs::part::Part;
use kernpost_codecs::receipts::{ReceiptsBuilder, Subject};
use kernpost_codecs::root::ROOT_TYPE;
use kernpost_codecs::settlement::Label;
use kernpost_codecs::statement::Attachment;
use minicbor::Encoder;
use minicbor::data::Tag;
use serde_json::{Value, json};

use super::statements::{attachment, fields_attachment};
use super::{Keys, find_key, hex, stored_case, unhex};

pub fn make_archive(keys: &Keys, bundles: &[Value]) -> Value {
    let mut cases = Vec::new();
    for (bundle, index) in [
        ("lone", 0),
        ("two", 1),
        ("five", 0),
        ("five", 4),
        ("sixteen-esp256", 9),
        ("split-of-the-split", 4),
        ("two-esp384", 1),
        ("lone-ml-dsa-65", 0),
    ] {
        let case = stored_case(bundles, bundle).unwrap();
        let part = Part::decode(unhex(&case["body"]).into()).unwrap();
        let entry = part.entries().iter().find(|entry| entry.index == index).unwrap();
        let signature = &part.signatures()[0];
        cases.push(json!({
            "name": format!("{bundle}-{index}"), "clause": "WIRE 5.6",
            "statement": hex(&entry.statement),
            "cose_receipt": hex(archive(signature, part.tree(), index).unwrap()),
            "kid": signature.kid().unwrap().to_string(),
            "algorithm": find_key(keys, &signature.kid().unwrap()).unwrap().algorithm().name(),
            "tree_size": part.tree().size(), "index": index,
            "path": part.tree().path(index).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "root": part.root().to_string(),
        }));
    }
    let good = stored_case(&cases, "five-4").unwrap().clone();
    let text = good["cose_receipt"].as_str().unwrap().to_owned();
    let mut refuse = |name: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{name}");
        cases.push(json!({
            "name": name, "clause": "WIRE 5.6", "statement": good["statement"], "kid": good["kid"],
            "cose_receipt": text.replacen(from, to, 1), "error": true,
        }));
    };
    let hash = good["path"][0].as_str().unwrap();
    refuse("untagged", "d284", "84");
    refuse("payload-not-nil", "f65840", "405840");
    refuse("path-changed", hash, &"ab".repeat(32));
    refuse("path-empty", &format!("5826830504815820{hash}"), "4483050480");
    refuse("index-changed", "83050481", "83050381");
    refuse("index-at-tree-size", "83050481", "83050581");
    refuse("tree-size-not-shortest", "582683050481", "58278318050481");
    refuse("other-proof-key", "a119018ca120", "a119018ca121");
    refuse("vds-2", "19018b01", "19018b02");
    Value::Array(cases)
}

/// Files with a receipt, with and without the message it answers.
pub fn make_files(keys: &Keys, bundles: &[Value]) -> Value {
    let case = stored_case(bundles, "five").unwrap();
    let bundle = Part::decode(unhex(&case["body"]).into()).unwrap();
    let entry = &bundle.entries()[1];
    let addressee = super::portal();
    let subject = Subject { addressee: &addressee, message: super::message_id(1), leaf: entry.leaf };
    let mut builder = ReceiptsBuilder::new();
    let label = Label { class: Class::Interactive, sequence: 0, index: 1 };
    assert!(builder.push(subject, Outcome::Delivered, 0, None, label));
    let issuer = "de.by/landshut".parse().unwrap();
    let time = super::CREATED.plus_ms(250);
    let frame = builder.sign(issuer, super::directory_version(), time, &[keys.get("authority")]).unwrap();
    let rebuilt = frame.rebuild(&[subject]).unwrap();
    let file = |statement: &Bytes| ProofFile::new(statement.clone(), &frame.signatures, &rebuilt.tree, 0).unwrap();
    let receipt = file(&rebuilt.statements[0]);
    let with = |at: u16| {
        let statement = bundle.entries()[usize::from(at)].statement.clone();
        file(&rebuilt.statements[0]).with_message(statement, bundle.signatures(), bundle.tree(), at).unwrap()
    };
    let authority = keys.get("authority").public().id().to_string();
    let portal = keys.get("portal-ed25519").public().id().to_string();
    let (statement, message) = (hex(&rebuilt.statements[0]), hex(&entry.statement));
    let clause = "WIRE 5.7";
    let case = stored_case(bundles, "hybrid").unwrap();
    let hybrid = Part::decode(unhex(&case["body"]).into()).unwrap();
    let statement_1 = hybrid.entries()[1].statement.clone();
    assert_eq!(statement_1, entry.statement);
    let twice = file(&rebuilt.statements[0]).with_message(statement_1, hybrid.signatures(), hybrid.tree(), 1).unwrap();
    let kids: Vec<String> = hybrid.signatures().iter().map(|signature| signature.kid().unwrap().to_string()).collect();
    let mut same = twice.clone();
    let proofs = &mut same.message.as_mut().unwrap().1;
    proofs[1] = proofs[0].clone();
    let mut cut = receipt.encode();
    cut.pop();
    json!([
        { "name": "receipt", "clause": clause, "file": hex(receipt.encode()), "receipt": statement,
          "receipt_kids": [authority], "message": null, "message_kids": [] },
        { "name": "receipt-and-message", "clause": clause, "file": hex(with(1).encode()), "receipt": statement,
          "receipt_kids": [authority], "message": message, "message_kids": [portal] },
        { "name": "receipt-and-hybrid-message", "clause": clause, "file": hex(twice.encode()), "receipt": statement,
          "receipt_kids": [authority], "message": message, "message_kids": kids },
        { "name": "one-key-twice", "clause": clause, "file": hex(same.encode()), "error": true },
        { "name": "another-message", "clause": clause, "file": hex(with(2).encode()), "error": true },
        { "name": "another-receipt", "clause": clause, "file": hex(file(&entry.statement).encode()), "error": true },
        { "name": "cut", "clause": clause, "file": hex(cut), "error": true },
    ])
}

pub fn make_tokens(keys: &Keys, stored: &[Value]) -> Value {
    let (esp256, ed25519) = (keys.get("portal-esp256"), keys.get("portal-ed25519"));
    let lookup = |kid: &_| find_key(keys, kid).cloned();
    let signed = |name: &str, signers: &[&SigningKey]| {
        let kept = stored_case(stored, name).map(|case| unhex(&case["token"])).filter(|bytes| {
            let token = AttachToken::parse(bytes).ok().filter(|token| token.verify(lookup).is_ok());
            let wanted = signers.iter().map(|key| key.public().id());
            token.is_some_and(|token| {
                *token.attachment() == attachment() && token.signers().map(|(_, kid)| kid).eq(wanted)
            })
        });
        kept.unwrap_or_else(|| AttachToken::sign(&attachment(), signers).unwrap().to_vec())
    };
    let mut cases = Vec::new();
    let (esp384, pq) = (keys.get("portal-esp384"), keys.get("portal-ml-dsa-65"));
    for (name, signers) in [
        ("ed25519", &[ed25519][..]),
        ("esp256", &[esp256]),
        ("two-signatures", &[esp256, ed25519]),
        ("esp384", &[esp384]),
        ("ml-dsa-65", &[pq]),
        ("hybrid", &[esp256, pq]),
    ] {
        cases.push(json!({
            "name": name, "clause": "WIRE 3.2", "token": hex(signed(name, signers)),
            "kids": signers.iter().map(|key| key.public().id().to_string()).collect::<Vec<_>>(),
            "fields": fields_attachment(&attachment()),
        }));
    }
    let mut refuse = |name: &str, token: &[u8], error: &str| {
        cases.push(json!({ "name": name, "clause": "WIRE 3.2", "token": hex(token), "error": error }));
    };
    let (invalid, signature) = ("token-invalid", "bad-signature");
    let statement = attachment().encode();
    let good = sign1(ed25519, ATTACH_TYPE, &statement, &[0xa0]);
    assert_eq!(good, signed("ed25519", &[ed25519]), "two encoders disagree");
    refuse("untagged", &good[1..], invalid);
    refuse("typ-of-a-root", &sign1(ed25519, ROOT_TYPE, &statement, &[0xa0]), invalid);
    refuse("unprotected-not-empty", &sign1(ed25519, ATTACH_TYPE, &statement, &[0xa1, 0x05, 0x40]), invalid);
    refuse("journal-missing", &sign1(ed25519, ATTACH_TYPE, &without_last(&statement, 18), &[0xa0]), invalid);
    let critical = [&[statement[0] + 1], &statement[1..], &[0x20, 0x00]].concat();
    refuse("critical-key-unknown", &sign1(ed25519, ATTACH_TYPE, &critical, &[0xa0]), invalid);
    refuse("a-message-inside", &sign1(ed25519, ATTACH_TYPE, &super::message(0).encode(), &[0xa0]), invalid);
    let later = Attachment { epoch: attachment().epoch + 1, ..attachment() };
    refuse("epoch-changed", &replace(&good, &statement, &later.encode()), signature);
    let mut flipped = good.clone();
    flipped[good.len() - 9] ^= 1;
    refuse("signature-changed", &flipped, signature);
    let two = signed("two-signatures", &[esp256, ed25519]);
    let mut flipped = two.clone();
    flipped[two.len() - 9] ^= 1;
    refuse("second-signature-changed", &flipped, signature);
    let two = [ed25519, keys.get("authority")];
    assert_eq!(sign2(two, &statement), AttachToken::sign(&attachment(), &two).unwrap(), "two encoders disagree");
    refuse("one-key-twice", &sign2([ed25519, ed25519], &statement), invalid);
    Value::Array(cases)
}

/// A COSE_Sign1 written without the crate's encoder: protected `{1: alg, 4: kid, 16: typ}`.
fn sign1(key: &SigningKey, typ: &str, payload: &[u8], unprotected: &[u8]) -> Vec<u8> {
    let mut protected = Vec::new();
    let mut encoder = Encoder::new(&mut protected);
    encoder.map(3).unwrap().u8(1).unwrap().i64(key.algorithm().cose_id()).unwrap();
    encoder.u8(4).unwrap().bytes(&key.public().id().0.0).unwrap().u8(16).unwrap().str(typ).unwrap();

    let mut signed = Vec::new();
    let mut encoder = Encoder::new(&mut signed);
    encoder.array(4).unwrap().str("Signature1").unwrap().bytes(&protected).unwrap();
    encoder.bytes(&[]).unwrap().bytes(payload).unwrap();

    let mut rest = Vec::new();
    Encoder::new(&mut rest).bytes(payload).unwrap().bytes(&key.sign(&signed).unwrap()).unwrap();
    let mut head = Vec::new();
    Encoder::new(&mut head).tag(Tag::new(18)).unwrap().array(4).unwrap().bytes(&protected).unwrap();
    [&head, unprotected, &rest].concat()
}

/// A COSE_Sign with two signers written without the crate's encoder.
fn sign2(signers: [&SigningKey; 2], payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    Encoder::new(&mut body).map(1).unwrap().u8(16).unwrap().str(ATTACH_TYPE).unwrap();
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out);
    encoder.tag(Tag::new(98)).unwrap().array(4).unwrap().bytes(&body).unwrap().map(0).unwrap();
    encoder.bytes(payload).unwrap().array(2).unwrap();
    for key in signers {
        let mut protected = Vec::new();
        let mut header = Encoder::new(&mut protected);
        header.map(2).unwrap().u8(1).unwrap().i64(key.algorithm().cose_id()).unwrap();
        header.u8(4).unwrap().bytes(&key.public().id().0.0).unwrap();
        let mut signed = Vec::new();
        let mut structure = Encoder::new(&mut signed);
        structure.array(5).unwrap().str("Signature").unwrap().bytes(&body).unwrap().bytes(&protected).unwrap();
        structure.bytes(&[]).unwrap().bytes(payload).unwrap();
        let signature = key.sign(&signed).unwrap();
        encoder.array(3).unwrap().bytes(&protected).unwrap().map(0).unwrap().bytes(&signature).unwrap();
    }
    out
}

/// A map without its last pair, which has `length` bytes.
fn without_last(map: &[u8], length: usize) -> Vec<u8> {
    [&[map[0] - 1], &map[1..map.len() - length]].concat()
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}
