#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use proptest::prelude::*;

fn reason<T: std::fmt::Debug>(result: Result<T, CborError>) -> CborFault {
    result.unwrap_err().reason
}

fn skip(bytes: &[u8]) -> Result<(), CborError> {
    let mut reader = Reader::new(bytes);
    reader.skip()?;
    reader.finish()
}

/// Reads a map of unknown keys only.
fn map(bytes: &[u8]) -> Result<Vec<u64>, CborError> {
    let mut reader = Reader::new(bytes);
    let mut keys = reader.map()?;
    let mut found = Vec::new();
    while let Some(key) = keys.next(&mut reader)? {
        found.push(key);
        reader.skip()?;
    }
    reader.finish()?;
    Ok(found)
}

#[test]
fn numbers_have_one_form() {
    assert_eq!(Reader::new(&[0x18, 24]).uint(), Ok(24));
    assert_eq!(reason(Reader::new(&[0x18, 23]).uint()), CborFault::NotShortest);
    assert_eq!(reason(Reader::new(&[0x19, 0, 0xff]).uint()), CborFault::NotShortest);
    assert_eq!(reason(Reader::new(&[0x1a, 0, 0, 0xff, 0xff]).uint()), CborFault::NotShortest);
    assert_eq!(reason(Reader::new(&[0x1b, 0, 0, 0, 0, 1, 0, 0, 0, 0][..9]).uint()), CborFault::NotShortest);
    assert_eq!(reason(Reader::new(&[0x58, 1, 0]).bytes()), CborFault::NotShortest);
    assert_eq!(reason(Reader::new(&[0x78, 1, b'a']).text()), CborFault::NotShortest);
}

#[test]
fn what_the_wire_forbids_is_refused_below_unknown_keys_too() {
    for (bytes, fault) in [
        (&[0x5f, 0xff][..], CborFault::Indefinite),
        (&[0x9f, 0xff], CborFault::Indefinite),
        (&[0xbf, 0xff], CborFault::Indefinite),
        (&[0xc0, 0x00], CborFault::Forbidden),
        (&[0xf9, 0x3c, 0x00], CborFault::Forbidden),
        (&[0xfa, 0, 0, 0, 0], CborFault::Forbidden),
        (&[0xf7], CborFault::Forbidden),
        (&[0xf8, 0x20], CborFault::Forbidden),
        (&[0x1c], CborFault::Forbidden),
        (&[0x61, 0xff], CborFault::Utf8),
        (&[0x42, 0x00], CborFault::Truncated),
        (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], CborFault::Truncated),
        (&[0xa2, 0x01, 0x00, 0x01, 0x00], CborFault::KeyOrder),
        (&[0xa2, 0x20, 0x00, 0x01, 0x00], CborFault::KeyOrder),
        (&[0x00, 0x00], CborFault::Trailing),
        (&[0x81; 20], CborFault::Depth),
    ] {
        assert_eq!(reason(skip(bytes)), fault, "{bytes:02x?}");
    }
    assert_eq!(skip(&[0xa2, 0x01, 0x83, 0xf4, 0xf5, 0xf6, 0x20, 0xa1, 0x61, b'a', 0x40]), Ok(()));
}

#[test]
fn keys_are_integers_that_ascend_and_negative_ones_are_critical() {
    assert_eq!(map(&[0xa2, 0x00, 0x01, 0x18, 0x20, 0x01]), Ok(vec![0, 32]));
    assert_eq!(reason(map(&[0xa2, 0x01, 0x00, 0x00, 0x00])), CborFault::KeyOrder);
    assert_eq!(reason(map(&[0xa2, 0x01, 0x00, 0x01, 0x00])), CborFault::KeyOrder);
    assert_eq!(reason(map(&[0xa2, 0x01, 0x00, 0x20, 0x00])), CborFault::Critical(0));
    assert_eq!(reason(map(&[0xa1, 0x61, b'a', 0x00])), CborFault::Expected("an integer key"));
    assert_eq!(reason(map(&[0xa2, 0x01, 0x00])), CborFault::Truncated);
}

#[test]
fn the_largest_key_is_there_only_once_too() {
    let mut twice = vec![0xa2];
    for _ in 0..2 {
        Writer::new(&mut twice).uint(u64::MAX);
        twice.push(0);
    }
    assert_eq!(reason(map(&twice)), CborFault::KeyOrder);
}

#[test]
fn a_map_writer_counts_its_pairs() {
    let mut out = vec![9];
    let mut map = MapWriter::new(&mut out);
    map.key(1).bool(true);
    map.key(4).text("é");
    map.finish();
    assert_eq!(out, [9, 0xa2, 0x01, 0xf5, 0x04, 0x62, 0xc3, 0xa9]);
}

#[derive(Debug, Clone)]
enum Item {
    Uint(u64),
    Int(i64),
    Bytes(Vec<u8>),
    Text(String),
    Bool(bool),
    Null,
    Array(Vec<Item>),
}

fn item() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        (any::<u64>(), 0u32..64).prop_map(|(value, shift)| Item::Uint(value >> shift)),
        any::<i64>().prop_map(Item::Int),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Item::Bytes),
        "\\PC{0,40}".prop_map(Item::Text),
        any::<bool>().prop_map(Item::Bool),
        Just(Item::Null),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| proptest::collection::vec(inner, 0..6).prop_map(Item::Array))
}

fn write(out: &mut Writer<'_>, item: &Item) {
    match item {
        Item::Uint(value) => out.uint(*value),
        Item::Int(value) => out.int(*value),
        Item::Bytes(value) => out.bytes(value),
        Item::Text(value) => out.text(value),
        Item::Bool(value) => out.bool(*value),
        Item::Null => out.null(),
        Item::Array(items) => {
            out.array(items.len());
            items.iter().for_each(|item| write(out, item));
        }
    }
}

/// The same item by another implementation.
fn oracle(out: &mut minicbor::Encoder<&mut Vec<u8>>, item: &Item) {
    match item {
        Item::Uint(value) => drop(out.u64(*value).unwrap()),
        Item::Int(value) => drop(out.i64(*value).unwrap()),
        Item::Bytes(value) => drop(out.bytes(value).unwrap()),
        Item::Text(value) => drop(out.str(value).unwrap()),
        Item::Bool(value) => drop(out.bool(*value).unwrap()),
        Item::Null => drop(out.null().unwrap()),
        Item::Array(items) => {
            out.array(items.len() as u64).unwrap();
            items.iter().for_each(|item| oracle(out, item));
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_equals_another_implementation_and_is_read(item in item()) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        write(&mut Writer::new(&mut ours), &item);
        oracle(&mut minicbor::Encoder::new(&mut theirs), &item);
        prop_assert_eq!(&ours, &theirs);
        prop_assert_eq!(skip(&ours), Ok(()));
        for end in 0..ours.len() {
            prop_assert!(skip(&ours[..end]).is_err());
        }
    }

    #[test]
    fn any_bytes_never_panic_and_what_is_accepted_is_cbor(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = map(&bytes);
        if skip(&bytes).is_ok() {
            let mut theirs = minicbor::Decoder::new(&bytes);
            prop_assert!(theirs.skip().is_ok());
            prop_assert_eq!(theirs.position(), bytes.len());
        }
    }
}
