//! How are the test vectors made? One file of cases per part of the wire protocol; see WIRE §13.
#![allow(dead_code, unused_imports, reason = "shared by the test and the tool that writes the files")]

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use kernpost_codecs::digest::Digest;
use kernpost_codecs::frame::FrameDecoder;
use kernpost_codecs::id::{DirectoryVersion, EndpointId, MessageId};
use kernpost_codecs::key::{Algorithm, PublicKey, SigningKey};
use kernpost_codecs::part::{BundleBuilder, HopHeader, Part};
use kernpost_codecs::statement::Message;
use kernpost_codecs::time::UnixMs;
use serde_json::{Value, json};

mod bundles;
mod payloads;
mod proofs;
mod receipts;
mod settlements;
mod statements;
mod trees;

pub use payloads::describe as describe_payload_head;
pub use settlements::{describe as describe_settlement, label};
pub use statements::{fields_attachment, fields_message, fields_receipt};

/// Where the committed files are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// Every file with its cases.
pub fn all(folder: &Path) -> Vec<(&'static str, Value)> {
    let keys = Keys::load(folder);
    let stored = |name: &str| read(folder, name);
    let bundles = bundles::make(&keys, &stored("bundles.json"));
    vec![
        ("keys.json", keys.to_json()),
        ("statements.json", statements::make()),
        ("trees.json", trees::make()),
        ("root-signatures.json", trees::make_signatures(&keys, &stored("root-signatures.json"))),
        ("archive.json", proofs::make_archive(&keys, &bundles)),
        ("proof-files.json", proofs::make_files(&keys, &bundles)),
        ("bundles.json", Value::Array(bundles)),
        ("settlements.json", settlements::make()),
        ("payload-heads.json", payloads::make()),
        ("receipts.json", receipts::make(&keys, &stored("receipts.json"))),
        ("attach-tokens.json", proofs::make_tokens(&keys, &stored("attach-tokens.json"))),
    ]
}

/// The cases of a file; none when it is not there yet.
pub fn read(folder: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_else(|_| "[]".to_owned());
    serde_json::from_str(&text).unwrap()
}

/// The stored case of this name.
pub fn stored_case<'a>(cases: &'a [Value], name: &str) -> Option<&'a Value> {
    cases.iter().find(|case| case["name"] == name)
}

pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("not a hex text: {value}"));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The keys vectors are made with. The file is their source: nothing else may use them.
pub struct Keys(Vec<(String, SigningKey)>);

const NAMES: [(&str, Algorithm); 7] = [
    ("portal-esp256", Algorithm::Esp256),
    ("portal-ed25519", Algorithm::Ed25519),
    ("authority", Algorithm::Ed25519),
    ("router", Algorithm::Ed25519),
    ("stranger", Algorithm::Esp256),
    ("portal-esp384", Algorithm::Esp384),
    ("portal-ml-dsa-65", Algorithm::MlDsa65),
];

impl Keys {
    pub fn load(folder: &Path) -> Self {
        let stored = read(folder, "keys.json");
        let key = |(name, algorithm): (&str, Algorithm)| {
            let key = match stored_case(&stored, name) {
                Some(case) => SigningKey::from_pkcs8_der(&unhex(&case["pkcs8"])),
                None => SigningKey::generate(algorithm),
            };
            (name.to_owned(), key.unwrap())
        };
        Self(NAMES.into_iter().map(key).collect())
    }

    pub fn get(&self, name: &str) -> &SigningKey {
        &self.0.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no key {name}")).1
    }

    fn to_json(&self) -> Value {
        let own = self.0.iter().map(|(name, key)| {
            let public = key.public();
            json!({
                "name": name,
                "clause": "WIRE 5.3",
                "algorithm": key.algorithm().name(),
                "cose_algorithm": key.algorithm().cose_id(),
                "pkcs8": hex(key.to_pkcs8_der().unwrap()),
                "cose_key": hex(public.to_cose_key()),
                "kid": public.id().to_string(),
            })
        });
        let (x, y) = (
            "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d",
            "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c",
        );
        let published = json!({
            "name": "rfc9679",
            "clause": "RFC 9679 §6",
            "algorithm": "ESP256",
            "cose_algorithm": -9,
            "cose_key": format!("a5010203282001215820{x}225820{y}"),
            "kid": "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec",
        });
        let pq = self.get("portal-ml-dsa-65").public().to_cose_key();
        let refused = |name: &str, bytes: Vec<u8>| json!({ "name": name, "clause": "WIRE 5.4", "cose_key": hex(bytes), "error": true });
        // {1: 7, 3: -49, -1: h'<1952 bytes>'}
        let short = [&pq[..7], &[0x59, 0x07, 0x9f], &pq[11..]].concat();
        let long = [&pq[..7], &[0x59, 0x07, 0xa1], &pq[10..], &[0]].concat();
        let no_algorithm = [&[0xa2], &pq[1..3], &pq[6..]].concat();
        let as_ec2 = [&pq[..2], &[0x02], &pq[3..]].concat();
        let private = [&[0xa4], &pq[1..], &[0x21, 0x58, 0x20], &[7; 32]].concat();
        own.chain([
            published,
            refused("ml-dsa-65-a-byte-short", short),
            refused("ml-dsa-65-a-byte-long", long),
            refused("akp-without-algorithm", no_algorithm),
            refused("ml-dsa-65-as-ec2", as_ec2),
            refused("akp-with-private-key", private),
        ])
        .collect()
    }
}

pub const CREATED: UnixMs = UnixMs(1_760_000_000_000);

pub fn directory_version() -> DirectoryVersion {
    DirectoryVersion(Digest::of(b"directory"))
}

pub fn message_id(at: u8) -> MessageId {
    MessageId::from_parts(CREATED, [at; 10])
}

pub fn portal() -> EndpointId {
    "de.by/portal".parse().unwrap()
}

pub fn payload(at: u8) -> Bytes {
    Bytes::from(vec![at; usize::from(at) * 3])
}

/// The message that entry `at` of a bundle carries.
pub fn message(at: u8) -> Message {
    let (service, place) = ("99050012104000".parse().unwrap(), "091620000000".parse().unwrap());
    Message::new(message_id(at), portal(), service, place, CREATED, directory_version()).with_payload(&payload(at))
}

/// A bundle of `count` messages.
pub fn bundle(count: u8, keys: &[&SigningKey]) -> Part {
    let mut builder = BundleBuilder::new();
    for at in 0..count {
        builder.push(message(at).encode().into(), payload(at), HopHeader::default()).unwrap();
    }
    builder.sign(keys).unwrap()
}

/// The body of the one frame that `encode` writes.
pub fn body_of(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    encode(&mut out);
    let mut decoder = FrameDecoder::new();
    decoder.push(out.freeze());
    let frame = decoder.next().unwrap().unwrap();
    assert!(decoder.is_empty());
    frame.body
}

pub fn find_key<'a>(keys: &'a Keys, kid: &kernpost_codecs::key::KeyId) -> Option<&'a PublicKey> {
    keys.0.iter().map(|(_, key)| key.public()).find(|key| key.id() == *kid)
}

/// Whether every root signature of `part` holds with a key of the file.
pub fn part_verifies(part: &Part, keys: &Keys) -> bool {
    part.signatures().iter().all(|signature| {
        let key = signature.kid().ok().and_then(|kid| find_key(keys, &kid));
        key.is_some_and(|key| signature.verify(key, &part.root()).is_ok())
    })
}
