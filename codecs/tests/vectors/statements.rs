//! Statements that are read and statements that are refused (WIRE 1.2, 3.2, 4).

use kernpost_codecs::class::Class;
use kernpost_codecs::code::Outcome;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::statement::{Assurance, Attachment, ContentType, Message, Receipt};
use kernpost_codecs::time::UnixMs;
use kernpost_codecs::tree::leaf_hash;
use serde_json::{Value, json};

use super::{CREATED, directory_version, hex, message, message_id, portal};

pub fn make() -> Value {
    let mut cases = valid();
    cases.extend(refused());
    Value::Array(cases)
}

fn full_message() -> Message {
    Message {
        recipient: Some("de.by/landshut".parse().unwrap()),
        lifetime_s: 3_600,
        class: Class::Urgent,
        content_type: ContentType::Text("application/xml".to_owned()),
        case: Some(vec![0xca; 32].into()),
        in_reply_to: Some(message_id(9)),
        assurance: Some(Assurance::Substantial),
        custody_allowed: false,
        mailbox: Some(vec![0x3b; 16].into()),
        encryption_key: Some(Digest::of(b"encryption key")),
        ..message(2)
    }
}

pub fn receipt() -> Receipt {
    Receipt {
        message: message_id(1),
        issuer: "de.by/landshut".parse().unwrap(),
        addressee: portal(),
        subject: leaf_hash(&message(1).encode()),
        outcome: Outcome::Delivered,
        code: 0,
        problem: None,
        directory_version: directory_version(),
        time: CREATED.plus_ms(250),
    }
}

pub fn attachment() -> Attachment {
    Attachment {
        endpoint: "de.by/landshut".parse().unwrap(),
        router: "de.by/router/muc1".parse().unwrap(),
        identity: "uri:spiffe://kernpost.example/akdb".parse().unwrap(),
        epoch: 1_760_000_000_000_000,
        expires: CREATED.plus_ms(86_400_000),
        journal: [0x77; 16],
    }
}

fn valid() -> Vec<Value> {
    let rejected = Receipt {
        outcome: Outcome::Rejected,
        code: 1_004,
        problem: Some("{\"title\":\"Anlage fehlt\"}".to_owned()),
        ..receipt()
    };
    let custody = Receipt { issuer: "de.by/router/muc1".parse().unwrap(), outcome: Outcome::Custody, ..receipt() };
    let mut unknown = Pairs::of(&message(1).encode());
    unknown.insert(9, "1818", "820102");
    vec![
        case_message("message-shortest", "WIRE 4.2", &message(0)),
        case_message("message-payload", "WIRE 4.2", &message(1)),
        case_message("message-every-field", "WIRE 4.2", &full_message()),
        json!({
            "name": "message-unknown-key-is-ignored", "clause": "WIRE 1.2", "kind": "message",
            "bytes": hex(unknown.bytes()), "leaf": leaf_hash(&unknown.bytes()).to_string(),
            "fields": fields_message(&message(1)),
        }),
        case_receipt("receipt-delivered", &receipt()),
        case_receipt("receipt-rejected", &rejected),
        case_receipt("receipt-custody-of-a-router", &custody),
        json!({
            "name": "attachment", "clause": "WIRE 3.2", "kind": "attachment", "bytes": hex(attachment().encode()),
            "leaf": leaf_hash(&attachment().encode()).to_string(),
            "fields": fields_attachment(&attachment()),
        }),
    ]
}

fn case_message(name: &str, clause: &str, message: &Message) -> Value {
    let bytes = message.encode();
    json!({
        "name": name, "clause": clause, "kind": "message", "bytes": hex(&bytes),
        "leaf": leaf_hash(&bytes).to_string(), "fields": fields_message(message),
    })
}

fn case_receipt(name: &str, receipt: &Receipt) -> Value {
    let bytes = receipt.encode();
    json!({
        "name": name, "clause": "WIRE 4.3", "kind": "receipt", "bytes": hex(&bytes),
        "leaf": leaf_hash(&bytes).to_string(), "fields": fields_receipt(receipt),
    })
}

/// Fields by name; optional ones that are missing are null.
pub fn fields_message(message: &Message) -> Value {
    json!({
        "id": message.id.to_string(),
        "sender": message.sender.to_string(),
        "service": format!("{:014}", message.service.as_u64()),
        "jurisdiction": format!("{:012}", message.jurisdiction.as_u64()),
        "recipient": message.recipient.as_ref().map(ToString::to_string),
        "created": message.created.0,
        "expires": message.created.plus_s(message.lifetime_s.into()).0,
        "class": message.class.as_u64(),
        "payload_digest": message.payload_digest.to_string(),
        "payload_length": message.payload_len,
        "content_type": match &message.content_type {
            ContentType::Format(format) => json!(format),
            ContentType::Text(text) => json!(text),
        },
        "case": message.case.as_ref().map(hex),
        "in_reply_to": message.in_reply_to.map(|id| id.to_string()),
        "assurance": message.assurance.map(Assurance::as_u64),
        "custody_allowed": message.custody_allowed,
        "directory_version": message.directory_version.0.to_string(),
        "mailbox": message.mailbox.as_ref().map(hex),
        "encryption_key": message.encryption_key.map(|key| key.to_string()),
    })
}

pub fn fields_receipt(receipt: &Receipt) -> Value {
    json!({
        "message": receipt.message.to_string(),
        "issuer": receipt.issuer.to_string(),
        "addressee": receipt.addressee.to_string(),
        "subject": receipt.subject.to_string(),
        "outcome": receipt.outcome.as_u64(),
        "code": receipt.code,
        "problem": receipt.problem,
        "directory_version": receipt.directory_version.0.to_string(),
        "time": receipt.time.0,
    })
}

pub fn fields_attachment(attachment: &Attachment) -> Value {
    let UnixMs(expires) = attachment.expires;
    json!({
        "endpoint": attachment.endpoint.to_string(),
        "router": attachment.router.to_string(),
        "identity": attachment.identity.to_string(),
        "epoch": attachment.epoch,
        "expires": expires,
        "journal": hex(attachment.journal),
    })
}

/// A map taken apart into encoded keys and values, to be put together wrongly.
struct Pairs(Vec<(Vec<u8>, Vec<u8>)>);

impl Pairs {
    /// Takes a map with keys 0..=18 and values of one item apart.
    fn of(bytes: &[u8]) -> Self {
        let mut decoder = minicbor::Decoder::new(bytes);
        let count = decoder.map().unwrap().unwrap();
        let mut item = || {
            let start = decoder.position();
            decoder.skip().unwrap();
            bytes[start..decoder.position()].to_vec()
        };
        Self((0..count).map(|_| (item(), item())).collect())
    }

    fn insert(&mut self, at: usize, key: &str, value: &str) -> &mut Self {
        self.0.insert(at, (super::unhex(&json!(key)), super::unhex(&json!(value))));
        self
    }

    fn body(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).flatten().collect()
    }

    fn bytes(&self) -> Vec<u8> {
        assert!(self.0.len() < 24);
        let head = 0xa0 | u8::try_from(self.0.len()).unwrap();
        [vec![head], self.body()].concat()
    }
}

fn refused() -> Vec<Value> {
    let mut cases = Vec::new();
    let mut add = |name: &str, clause: &str, kind: &str, bytes: Vec<u8>, code: &str| {
        cases.push(json!({ "name": name, "clause": clause, "kind": kind, "bytes": hex(bytes), "error": code }));
    };
    let bad = "bad-statement";
    // Keys 0 1 2 3 4 6 9 10 16.
    let good = || Pairs::of(&message(1).encode());
    let changed = |at: usize, value: &str| {
        let mut pairs = good();
        pairs.0[at].1 = super::unhex(&json!(value));
        pairs.bytes()
    };
    let with = |at: usize, key: &str, value: &str| good().insert(at, key, value).bytes();

    add("integer-not-shortest", "WIRE 1.2", "message", changed(7, "1803"), bad);
    add(
        "key-not-shortest",
        "WIRE 1.2",
        "message",
        {
            let mut pairs = good();
            pairs.0[1].0 = vec![0x18, 0x01];
            pairs.bytes()
        },
        bad,
    );
    add("text-length-not-shortest", "WIRE 1.2", "message", changed(2, &format!("780c{}", hex("de.by/portal"))), bad);
    add("duplicate-key", "WIRE 1.2", "message", with(8, "0a", "03"), bad);
    add(
        "keys-not-sorted",
        "WIRE 1.2",
        "message",
        {
            let mut pairs = good();
            pairs.0.swap(3, 4);
            pairs.bytes()
        },
        bad,
    );
    add("critical-key-unknown", "WIRE 1.2", "message", with(9, "20", "00"), "critical-unknown");
    add("indefinite-map", "WIRE 1.2", "message", [vec![0xbf], good().body(), vec![0xff]].concat(), bad);
    add("indefinite-text", "WIRE 1.2", "message", changed(2, &format!("7f6c{}ff", hex("de.by/portal"))), bad);
    add("tagged-value", "WIRE 1.2", "message", changed(5, &format!("c1{}", hex(&good().0[5].1))), bad);
    add("float", "WIRE 1.2", "message", changed(7, "f94200"), bad);
    add("text-key", "WIRE 1.2", "message", with(9, "6178", "00"), bad);
    add("bytes-after-the-map", "WIRE 1.2", "message", [good().bytes(), vec![0]].concat(), bad);
    add("ends-early", "WIRE 1.2", "message", good().bytes()[..60].to_vec(), bad);
    add("empty", "WIRE 4.1", "message", vec![], bad);
    add("default-class-sent", "WIRE 1.2", "message", with(6, "08", "01"), bad);
    add("default-custody-sent", "WIRE 1.2", "message", with(8, "0f", "f5"), bad);
    for (at, key) in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (6, 9), (8, 16)] {
        let mut pairs = good();
        pairs.0.remove(at);
        add(&format!("message-key-{key}-missing"), "WIRE 4.2", "message", pairs.bytes(), bad);
    }
    add("id-too-short", "WIRE 4.2", "message", changed(1, &format!("4f{}", "01".repeat(15))), bad);
    add("sender-not-an-endpoint-id", "WIRE 1.6", "message", changed(2, &format!("6c{}", hex("de.by_portal"))), bad);
    add("service-not-99", "WIRE 1.4", "message", changed(3, &format!("1b{:016x}", 98_050_012_104_000_u64)), bad);
    add("land-17", "WIRE 1.5", "message", changed(4, &format!("1b{:016x}", 170_000_000_000_u64)), bad);
    add("lifetime-0", "WIRE 4.2", "message", with(6, "07", "00"), bad);
    add("lifetime-above-30-days", "WIRE 4.2", "message", with(6, "07", "1a00278d01"), bad);
    add("class-3", "WIRE 1.8", "message", with(6, "08", "03"), bad);
    add("payload-above-2-gib", "WIRE 4.2", "message", changed(7, "1a80000001"), bad);
    add("case-empty", "WIRE 4.2", "message", with(8, "0c", "40"), bad);
    add("case-33-bytes", "WIRE 4.2", "message", with(8, "0c", &format!("5821{}", "ca".repeat(33))), bad);
    add("assurance-4", "WIRE 4.2", "message", with(8, "0e", "04"), bad);
    add("custody-not-a-bool", "WIRE 4.2", "message", with(8, "0f", "00"), bad);
    add(
        "message-of-1025-bytes",
        "WIRE 4.1",
        "message",
        {
            let rest = 1_025 - good().bytes().len() - 2 - 3;
            with(9, "1818", &format!("59{rest:04x}{}", "00".repeat(rest)))
        },
        "oversized",
    );
    add("receipt-read-as-message", "WIRE 4.2", "message", receipt().encode(), bad);

    // Keys 0 1 2 3 4 5 8 9.
    let good = || Pairs::of(&receipt().encode());
    for (at, key) in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 8), (7, 9)] {
        let mut pairs = good();
        pairs.0.remove(at);
        add(&format!("receipt-key-{key}-missing"), "WIRE 4.3", "receipt", pairs.bytes(), bad);
    }
    for (name, at, key, value) in [
        ("receipt-default-code-sent", 6, "06", "00"),
        ("receipt-empty-problem", 6, "07", "60"),
        ("receipt-critical-key-unknown", 8, "21", "00"),
    ] {
        let code = if key == "21" { "critical-unknown" } else { bad };
        add(name, "WIRE 4.3", "receipt", good().insert(at, key, value).bytes(), code);
    }
    let mut eight = good();
    eight.0[5].1 = vec![8];
    add("receipt-outcome-8", "WIRE 4.3", "receipt", eight.bytes(), bad);
    cases
}
