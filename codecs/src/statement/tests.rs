#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::cbor::{MapWriter, Writer};
use crate::class::Class;
use crate::code::Outcome;
use crate::digest::Digest;
use crate::id::{DirectoryVersion, MessageId};
use crate::time::UnixMs;

fn message() -> Message {
    Message::new(
        MessageId::from_parts(UnixMs(1_760_000_000_000), [7; 10]),
        "de.sn/portal".parse().unwrap(),
        "99050012104000".parse().unwrap(),
        "147130000000".parse().unwrap(),
        UnixMs(1_760_000_000_000),
        DirectoryVersion(Digest([3; 32])),
    )
    .with_payload(b"application")
}

fn full_message() -> Message {
    Message {
        recipient: Some("de.sn/leipzig".parse().unwrap()),
        lifetime_s: 60,
        class: Class::Urgent,
        content_type: ContentType::Text("application/xml".to_owned()),
        case: Some(Bytes::from_static(&[1; 32])),
        in_reply_to: Some(MessageId([9; 16])),
        assurance: Some(Assurance::Substantial),
        custody_allowed: false,
        mailbox: Some(Bytes::from_static(&[2; 64])),
        encryption_key: Some(Digest([4; 32])),
        ..message()
    }
}

fn receipt() -> Receipt {
    Receipt {
        message: MessageId([1; 16]),
        issuer: "de.sn/leipzig".parse().unwrap(),
        addressee: "de.sn/portal".parse().unwrap(),
        subject: Digest([5; 32]),
        outcome: Outcome::Rejected,
        code: 1_000,
        problem: Some("{\"title\":\"no\"}".to_owned()),
        directory_version: DirectoryVersion(Digest([3; 32])),
        time: UnixMs(1_760_000_000_001),
    }
}

fn attachment() -> Attachment {
    Attachment {
        endpoint: "de.sn/leipzig".parse().unwrap(),
        router: "de/router/r1".parse().unwrap(),
        identity: "dns:it.example".parse().unwrap(),
        epoch: u64::MAX,
        expires: UnixMs(1_760_000_000_001),
        journal: [6; 16],
    }
}

/// One pair of a map: its key and its value, encoded.
type Pair = (i64, Vec<u8>);

fn value(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

/// The pairs of an encoded statement.
fn pairs(statement: &[u8]) -> Vec<Pair> {
    let mut reader = crate::cbor::Reader::new(statement);
    let mut keys = reader.map().unwrap();
    let mut pairs = Vec::new();
    while let Some(key) = keys.next(&mut reader).unwrap() {
        let start = reader.position();
        reader.skip().unwrap();
        pairs.push((key as i64, statement[start..reader.position()].to_vec()));
    }
    pairs
}

fn map(pairs: &[Pair]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).map(pairs.len());
    for (key, value) in pairs {
        Writer::new(&mut out).int(*key);
        out.extend_from_slice(value);
    }
    out
}

/// The statement with one key set to this value, or without the key.
fn with(statement: &[u8], key: i64, value: Option<Vec<u8>>) -> Vec<u8> {
    let mut pairs = pairs(statement);
    pairs.retain(|(found, _)| *found != key);
    if let Some(value) = value {
        let rank = |key: i64| (key < 0, key.unsigned_abs());
        let place = pairs.iter().position(|(found, _)| rank(*found) > rank(key)).unwrap_or(pairs.len());
        pairs.insert(place, (key, value));
    }
    map(&pairs)
}

fn refused(statement: &[u8]) -> StatementError {
    MessageRef::parse(statement).unwrap_err()
}

#[test]
fn a_message_with_every_field_round_trips() {
    for message in [message(), full_message()] {
        let bytes = message.try_encode().unwrap();
        let read = MessageRef::parse(&bytes).unwrap();
        assert_eq!(read.to_owned(), message);
        assert_eq!(kind(&bytes), Ok(StatementKind::Message));
        assert_eq!(read.expires().0, message.created.0 + u64::from(message.lifetime_s) * 1_000);
    }
}

#[test]
fn a_usual_statement_stays_near_160_bytes() {
    let usual = Message { case: Some(Bytes::from_static(&[1; 16])), ..message() };
    assert!(usual.encode().len() <= 170, "{}", usual.encode().len());
    assert!(full_message().encode().len() <= LONGEST_STATEMENT);
}

#[test]
fn every_required_field_is_required_and_every_other_is_not() {
    let bytes = full_message().encode();
    for key in 0..=18 {
        let result = MessageRef::parse(&with(&bytes, key, None)).map(drop);
        match key {
            0..=4 | 6 | 9 | 16 => {
                assert!(matches!(result, Err(StatementError::Missing { key: missing, .. }) if missing == key as u64));
            }
            _ => assert_eq!(result, Ok(()), "key {key}"),
        }
    }
    for key in 1..=9 {
        assert_eq!(Receipt::parse(&with(&receipt().encode(), key, None)).is_ok(), key == 6 || key == 7);
        assert!(key > 6 || Attachment::parse(&with(&attachment().encode(), key, None)).is_err());
    }
}

#[test]
fn a_default_value_must_be_omitted() {
    let bytes = message().encode();
    for (key, value) in [
        (7, value(|out| out.uint(2_592_000))),
        (8, value(|out| out.uint(1))),
        (11, value(|out| out.uint(42))),
        (15, value(|out| out.bool(true))),
    ] {
        let error = refused(&with(&bytes, key, Some(value)));
        assert!(error.to_string().contains("has to be omitted"), "{error}");
    }
    assert!(refused(&with(&bytes, 10, Some(vec![0]))).to_string().contains("has to be omitted"));
    assert!(Receipt::parse(&with(&receipt().encode(), 6, Some(vec![0]))).is_err());
}

#[test]
fn values_out_of_range_are_bad_statements_that_name_the_field() {
    let bytes = message().encode();
    for (key, value, field) in [
        (1, value(|out| out.bytes(&[0; 15])), "message id"),
        (2, value(|out| out.text("de")), "sender"),
        (2, value(|out| out.text("de/router/r1")), "sender"),
        (3, value(|out| out.uint(12)), "service key"),
        (4, value(|out| out.uint(170_000_000_000)), "jurisdiction"),
        (5, value(|out| out.text("De/x")), "recipient"),
        (6, value(|out| out.uint(1 << 62)), "created"),
        (7, value(|out| out.uint(0)), "lifetime"),
        (7, value(|out| out.uint(2_592_001)), "lifetime"),
        (8, value(|out| out.uint(3)), "priority class"),
        (9, value(|out| out.bytes(&[0; 33])), "payload digest"),
        (10, value(|out| out.uint((2 << 30) + 1)), "payload length"),
        (11, value(|out| out.uint(65_536)), "content type"),
        (11, value(|out| out.text("")), "content type"),
        (11, value(|out| out.text(&"x".repeat(65))), "content type"),
        (12, value(|out| out.bytes(&[])), "case id"),
        (12, value(|out| out.bytes(&[0; 33])), "case id"),
        (13, value(|out| out.uint(1)), "in-reply-to"),
        (14, value(|out| out.uint(0)), "assurance"),
        (14, value(|out| out.uint(4)), "assurance"),
        (15, value(|out| out.uint(0)), "custody allowed"),
        (17, value(|out| out.bytes(&[0; 65])), "mailbox"),
        (18, value(|out| out.bytes(&[0; 31])), "encryption key"),
    ] {
        let error = refused(&with(&bytes, key, Some(value)));
        assert!(error.to_string().starts_with(field), "{error}");
        assert_eq!(error.code(), Code::BAD_STATEMENT);
    }
}

#[test]
fn unknown_keys_are_ignored_and_critical_ones_refused() {
    let bytes = message().encode();
    let known = MessageRef::parse(&bytes).unwrap();
    assert_eq!(MessageRef::parse(&with(&bytes, 99, Some(vec![0x81, 0xf6]))), Ok(known));
    let error = refused(&with(&bytes, -3, Some(vec![0x00])));
    assert_eq!((error.code(), error), (Code::CRITICAL_UNKNOWN, StatementError::CriticalUnknown(2)));
    assert_eq!(refused(&with(&bytes, 99, Some(vec![0xf9, 0, 0]))).code(), Code::BAD_STATEMENT);
}

#[test]
fn a_statement_of_another_kind_or_too_long_is_refused() {
    assert_eq!(refused(&receipt().encode()), StatementError::Kind { found: 1, expected: 0 });
    assert_eq!(kind(&receipt().encode()), Ok(StatementKind::Receipt));
    assert_eq!(kind(&attachment().encode()), Ok(StatementKind::Attachment));
    assert!(kind(&[0xa1, 0x00, 0x02]).is_err() && kind(&[0xa0]).is_err() && kind(&[]).is_err());
    let long = with(&message().encode(), 99, Some(value(|out| out.bytes(&[0; 1_000]))));
    assert_eq!(refused(&long).code(), Code::OVERSIZED);
}

#[test]
fn bytes_after_the_statement_are_refused() {
    let mut bytes = message().encode();
    bytes.push(0);
    assert!(refused(&bytes).to_string().contains("bytes follow the end"));
}

#[test]
fn receipts_and_attachments_round_trip() {
    let by_router = Receipt {
        issuer: "de/router/r1".parse().unwrap(),
        outcome: Outcome::Custody,
        code: 0,
        problem: None,
        ..receipt()
    };
    for receipt in [receipt(), by_router] {
        assert_eq!(Receipt::parse(&receipt.encode()), Ok(receipt));
    }
    let attachment = attachment();
    assert_eq!(Attachment::parse(&attachment.encode()), Ok(attachment));
    let longest = Receipt { problem: Some("x".repeat(LONGEST_PROBLEM)), ..receipt() };
    assert!(Receipt::parse(&longest.encode()).is_ok());
    let longer = Receipt { problem: Some("x".repeat(LONGEST_PROBLEM + 1)), ..receipt() };
    assert!(Receipt::parse(&longer.encode()).is_err());
}

#[test]
fn a_map_of_more_than_23_pairs_is_read() {
    let mut pairs = pairs(&message().encode());
    pairs.extend((30..60).map(|key| (key, vec![0xf6])));
    assert!(MessageRef::parse(&map(&pairs)).is_ok());
    let mut out = Vec::new();
    MapWriter::new(&mut out).finish();
    assert_eq!(kind(&out), Err(StatementError::Missing { key: 0, field: "kind" }));
}

fn messages() -> impl Strategy<Value = Message> {
    let route = (of(Just("a.b/c")), 1u32..=LONGEST_LIFETIME_S, 0u64..3, 0u64..=LONGEST_PAYLOAD);
    let content = prop_oneof![any::<u16>().prop_map(ContentType::Format), "\\PC{1,16}".prop_map(ContentType::Text)];
    let opaque = (of(vec(any::<u8>(), 1..=32)), of(any::<[u8; 16]>()), of(vec(any::<u8>(), 1..=64)));
    let rest = (of(1u64..=3), any::<bool>(), of(any::<[u8; 32]>()), 0..=UnixMs::MAX.0);
    (route, content, opaque, rest).prop_map(|(route, content_type, opaque, rest)| Message {
        recipient: route.0.map(|text| text.parse().unwrap()),
        lifetime_s: route.1,
        class: Class::try_from(route.2).unwrap(),
        payload_len: route.3,
        content_type,
        case: opaque.0.map(Bytes::from),
        in_reply_to: opaque.1.map(MessageId),
        mailbox: opaque.2.map(Bytes::from),
        assurance: rest.0.and_then(Assurance::from_u64),
        custody_allowed: rest.1,
        encryption_key: rest.2.map(Digest),
        created: UnixMs(rest.3),
        ..message()
    })
}

proptest! {
    #[test]
    fn any_message_round_trips(message in messages()) {
        let bytes = message.try_encode().unwrap();
        prop_assert_eq!(MessageRef::parse(&bytes).unwrap().to_owned(), message);
    }

    #[test]
    fn what_is_accepted_has_one_encoding(message in messages(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = MessageRef::parse(&bytes) && pairs(&bytes).iter().all(|(key, _)| *key <= 18) {
            prop_assert_eq!(read.to_owned().encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        let _ = (kind(&bytes), MessageRef::parse(&bytes), Receipt::parse(&bytes), Attachment::parse(&bytes));
        for whole in [full_message().encode(), receipt().encode(), attachment().encode()] {
            let part = &whole[..cut.index(whole.len())];
            prop_assert!(MessageRef::parse(part).is_err());
            prop_assert!(Receipt::parse(part).is_err());
            prop_assert!(Attachment::parse(part).is_err());
        }
    }
}
