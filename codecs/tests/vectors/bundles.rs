//! BUNDLE bodies: whole, split, and wrong in every way a part can be wrong (WIRE 5.2, 5.5, §6).

use bytes::Bytes;
use kernpost_codecs::key::SigningKey;
use kernpost_codecs::part::{BundleBuilder, Entry, HopHeader, Part};
use kernpost_codecs::statement::Message;
use kernpost_codecs::tree::{EMPTY_LEAF, PartialTree};
use kernpost_codecs::varint;
use serde_json::{Value, json};

use super::{Keys, body_of, bundle, hex, message, part_verifies, payload, stored_case, unhex};

pub fn make(keys: &Keys, stored: &[Value]) -> Vec<Value> {
    let key = keys.get("portal-ed25519");
    let keep = |name: &str, count: u8, signers: &[&SigningKey]| {
        let made = bundle(count, signers);
        let kept = stored_case(stored, name)
            .and_then(|case| Part::decode(unhex(&case["body"]).into()).ok())
            .filter(|kept| kept.entries() == made.entries() && part_verifies(kept, keys));
        kept.unwrap_or(made)
    };
    let esp256 = keys.get("portal-esp256");
    let mut cases = Vec::new();
    let five = bundle(5, &[key]);
    for (name, clause, part) in [
        ("lone", "WIRE 5.2", bundle(1, &[key])),
        ("two", "WIRE 6", bundle(2, &[key])),
        ("five", "WIRE 6", five.clone()),
        ("sixteen-esp256", "WIRE 6", keep("sixteen-esp256", 16, &[esp256])),
        ("two-signatures", "WIRE 5.4", keep("two-signatures", 3, &[esp256, key])),
        ("two-esp384", "WIRE 5.4", keep("two-esp384", 2, &[keys.get("portal-esp384")])),
        ("lone-ml-dsa-65", "WIRE 5.4", keep("lone-ml-dsa-65", 1, &[keys.get("portal-ml-dsa-65")])),
        ("hybrid", "WIRE 5.4", keep("hybrid", 3, &[esp256, keys.get("portal-ml-dsa-65")])),
    ] {
        cases.push(good(name, clause, &part));
    }
    cases.extend(splits(&five));
    cases.push(good("every-flag", "WIRE 6.1", &flagged(key)));
    cases.extend(bad_parts(&five, &bundle(1, &[key])));
    cases.extend(bad_frames(&five));
    cases
}

fn all(part: &Part) -> Vec<usize> {
    (0..part.entries().len()).collect()
}

fn subset(part: &Part, positions: &[usize], hop: impl Fn(usize) -> HopHeader) -> Bytes {
    body_of(|out| assert_eq!(part.encode_subset(positions, hop, out), Ok(positions.len())))
}

fn good(name: &str, clause: &str, part: &Part) -> Value {
    let body = subset(part, &all(part), |at| part.entries()[at].hop.clone());
    assert_eq!(Pieces::of(part, &all(part)).body(), body, "{name}: two encoders disagree");
    describe(name, clause, &body)
}

/// A case with what its body decodes to.
fn describe(name: &str, clause: &str, body: &Bytes) -> Value {
    let part = Part::decode(body.clone()).unwrap();
    let entry = |entry: &Entry| {
        let hop = &entry.hop;
        json!({
            "index": entry.index, "flags": flags(hop), "hops": hop.hops,
            "recipient": hop.recipient.as_ref().map(ToString::to_string),
            "statement": hex(&entry.statement), "payload": hex(&entry.payload), "leaf": entry.leaf.to_string(),
        })
    };
    json!({
        "name": name, "clause": clause, "body": hex(body),
        "tree_size": part.tree().size(), "root": part.root().to_string(),
        "kids": part.signatures().iter().map(|s| s.kid().unwrap().to_string()).collect::<Vec<_>>(),
        "entries": part.entries().iter().map(entry).collect::<Vec<_>>(),
    })
}

fn flags(hop: &HopHeader) -> u8 {
    u8::from(hop.redelivered) | u8::from(hop.detached) << 1 | u8::from(hop.ask) << 2
}

fn splits(five: &Part) -> Vec<Value> {
    let to = |name: &str, hops: u8| HopHeader {
        hops,
        recipient: Some(format!("de.by/{name}").parse().unwrap()),
        ..HopHeader::default()
    };
    let first = subset(five, &[1, 2, 4], |at| to(if at < 4 { "landshut" } else { "passau" }, 1));
    let part = Part::decode(first.clone()).unwrap();
    let second = subset(&part, &[2], |_| to("passau", 2));
    vec![describe("split-of-five", "WIRE 5.5", &first), describe("split-of-the-split", "WIRE 5.5", &second)]
}

/// A resend, a large payload and an ask in one bundle.
fn flagged(key: &SigningKey) -> Part {
    let mut builder = BundleBuilder::new();
    let large = Message { payload_len: 100_000, ..message(4) };
    let none = HopHeader::default;
    let bare = Bytes::new;
    builder.push(message(3).encode().into(), payload(3), HopHeader { redelivered: true, ..none() }).unwrap();
    builder.push(large.encode().into(), bare(), HopHeader { detached: true, ..none() }).unwrap();
    builder.push(message(5).encode().into(), bare(), HopHeader { ask: true, ..none() }).unwrap();
    builder.sign(&[key]).unwrap()
}

/// A BUNDLE body in pieces that can be changed one by one; written without the crate's encoder of parts.
#[derive(Clone)]
struct Pieces {
    tree_size: u64,
    signatures: Vec<(Vec<u8>, Vec<u8>)>,
    heads: Vec<Head>,
    siblings: Vec<[u8; 32]>,
    after: Vec<u8>,
}

#[derive(Clone)]
struct Head {
    index: u64,
    flags: u8,
    hops: u8,
    /// The encoded recipient.
    recipient: Vec<u8>,
    statement: Vec<u8>,
    payload: Vec<u8>,
}

impl Pieces {
    fn of(part: &Part, positions: &[usize]) -> Self {
        let chosen: Vec<&Entry> = positions.iter().map(|at| &part.entries()[*at]).collect();
        let indices: Vec<u16> = chosen.iter().map(|entry| entry.index).collect();
        let head = |entry: &&Entry| Head {
            index: entry.index.into(),
            flags: flags(&entry.hop),
            hops: entry.hop.hops,
            recipient: vec![0],
            statement: entry.statement.to_vec(),
            payload: entry.payload.to_vec(),
        };
        Self {
            tree_size: part.tree().size().into(),
            signatures: part.signatures().iter().map(|s| (s.protected.to_vec(), s.signature.to_vec())).collect(),
            heads: chosen.iter().map(head).collect(),
            siblings: part.tree().multi_proof(&indices).unwrap().iter().map(|hash| hash.0).collect(),
            after: Vec::new(),
        }
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let prefixed = |out: &mut Vec<u8>, bytes: &[u8]| {
            varint::encode(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        };
        varint::encode(&mut out, self.tree_size);
        varint::encode(&mut out, self.signatures.len() as u64);
        for (protected, signature) in &self.signatures {
            prefixed(&mut out, protected);
            prefixed(&mut out, signature);
        }
        varint::encode(&mut out, self.heads.len() as u64);
        for head in &self.heads {
            varint::encode(&mut out, head.index);
            out.extend([head.flags, head.hops]);
            out.extend(&head.recipient);
            varint::encode(&mut out, head.statement.len() as u64);
            varint::encode(&mut out, head.payload.len() as u64);
        }
        for head in &self.heads {
            out.extend(head.statement.iter().chain(&head.payload));
        }
        varint::encode(&mut out, self.siblings.len() as u64);
        self.siblings.iter().for_each(|hash| out.extend(hash));
        out.extend(&self.after);
        out
    }
}

/// Bodies that parse, but are refused in whole or in part (WIRE 6.6).
fn bad_parts(five: &Part, lone: &Part) -> Vec<Value> {
    let mut cases = Vec::new();
    let mut add = |name: &str, clause: &str, pieces: &Pieces, error: &str, refused: &[u64]| {
        let body = hex(pieces.body());
        cases.push(json!({ "name": name, "clause": clause, "body": body, "error": error, "refused": refused }));
    };
    let pieces = Pieces::of(five, &[0, 2, 3]);
    let edit = |change: &dyn Fn(&mut Pieces)| {
        let mut pieces = pieces.clone();
        change(&mut pieces);
        pieces
    };
    let whole = &[0, 2, 3][..];
    let signature = "bad-signature";
    add("statement-changed", "WIRE 6.6", &edit(&|p| p.heads[1].statement[20] ^= 1), signature, whole);
    add("sibling-changed", "WIRE 6.6", &edit(&|p| p.siblings[0][0] ^= 1), signature, whole);
    add("index-changed", "WIRE 6.6", &edit(&|p| p.heads[0].index = 1), signature, &[1, 2, 3]);
    add("signature-changed", "WIRE 6.6", &edit(&|p| p.signatures[0].1[5] ^= 1), signature, whole);
    add("protected-header-cut", "WIRE 5.3", &edit(&|p| p.signatures[0].0.truncate(74)), signature, whole);
    add(
        "second-signature-wrong",
        "WIRE 5.4",
        &edit(&|p| {
            let (protected, mut signature) = p.signatures[0].clone();
            signature[0] ^= 1;
            p.signatures.push((protected, signature));
        }),
        signature,
        whole,
    );
    add("tree-size-halved", "WIRE 6.6", &edit(&|p| p.tree_size = 4), "bad-proof", whole);

    let proof = "bad-proof";
    add("sibling-superfluous", "WIRE 5.5", &edit(&|p| p.siblings.push([9; 32])), proof, whole);
    add("sibling-missing", "WIRE 5.5", &edit(&|p| p.siblings.truncate(1)), proof, whole);
    add("index-at-tree-size", "WIRE 5.5", &edit(&|p| p.heads[2].index = 5), proof, &[0, 2, 5]);
    let mut explicit = Pieces::of(lone, &[0]);
    explicit.siblings.push(EMPTY_LEAF.0);
    add("implied-leaf-sent", "WIRE 5.2", &explicit, proof, &[0]);
    let mut two = Pieces::of(five, &[0]);
    two.tree_size = 2;
    two.siblings.truncate(1);
    assert!(PartialTree::from_part(2, &[(0, five.entries()[0].leaf)], &[five.entries()[1].leaf]).is_ok());
    add("lone-leaf-replaced", "WIRE 6.6", &two, signature, &[0]);

    add("payload-changed", "WIRE 6.6", &edit(&|p| p.heads[1].payload[0] ^= 1), "digest-mismatch", &[2]);
    add("payload-cut", "WIRE 6.2", &edit(&|p| p.heads[2].payload.truncate(1)), "digest-mismatch", &[3]);
    cases
}

/// Bodies that do not parse: the link closes.
fn bad_frames(five: &Part) -> Vec<Value> {
    let pieces = Pieces::of(five, &[0, 2, 3]);
    let mut cases = Vec::new();
    let mut add = |name: &str, clause: &str, body: Vec<u8>| {
        cases.push(json!({ "name": name, "clause": clause, "body": hex(body), "error": "frame-malformed" }));
    };
    let edit = |change: &dyn Fn(&mut Pieces)| {
        let mut pieces = pieces.clone();
        change(&mut pieces);
        pieces.body()
    };
    let id = |text: &str| [&[u8::try_from(text.len() + 1).unwrap()], text.as_bytes()].concat();
    add("empty", "WIRE 6", vec![]);
    add("cut", "WIRE 6", pieces.body()[..300].to_vec());
    add("byte-after-the-siblings", "WIRE 6", edit(&|p| p.after.push(0)));
    add("varint-not-shortest", "WIRE 1.1", [&[0x40][..], &pieces.body()].concat());
    add("tree-size-1", "WIRE 5.1", edit(&|p| p.tree_size = 1));
    add("tree-size-257", "WIRE 5.1", edit(&|p| p.tree_size = 257));
    add("no-signature", "WIRE 5.4", edit(&|p| p.signatures.clear()));
    add("three-signatures", "WIRE 5.4", edit(&|p| p.signatures = vec![p.signatures[0].clone(); 3]));
    add("no-entry", "WIRE 6", edit(&|p| p.heads.clear()));
    add("indices-equal", "WIRE 5.5", edit(&|p| p.heads[1].index = 0));
    add("indices-fall", "WIRE 5.5", edit(&|p| p.heads.swap(0, 1)));
    add("index-256", "WIRE 6", edit(&|p| p.heads[2].index = 256));
    add("flag-undefined", "WIRE 6.1", edit(&|p| p.heads[0].flags = 8));
    add(
        "flags-detached-and-ask",
        "WIRE 6.1",
        edit(&|p| {
            p.heads[0].flags = 6;
            p.heads[0].payload.clear();
        }),
    );
    add("detached-with-payload", "WIRE 6.1", edit(&|p| p.heads[1].flags = 2));
    add("ask-with-payload", "WIRE 6.1", edit(&|p| p.heads[1].flags = 4));
    add("recipient-as-before-first", "WIRE 6", edit(&|p| p.heads[0].recipient = vec![1]));
    add("recipient-as-before-none", "WIRE 6", edit(&|p| p.heads[1].recipient = vec![1]));
    add("recipient-not-an-id", "WIRE 1.6", edit(&|p| p.heads[0].recipient = id("de.by_passau")));
    add("recipient-of-65-bytes", "WIRE 1.6", edit(&|p| p.heads[0].recipient = [&[0x40, 66][..], &[b'a'; 65]].concat()));
    let sends_256 = edit(&|p| p.siblings = vec![[0; 32]; 256]);
    add("256-siblings", "WIRE 6", sends_256);
    cases
}
