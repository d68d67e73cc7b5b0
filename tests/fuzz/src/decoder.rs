//! Streams in chunks, every kind of frame, every statement, parts and receipts: what a peer can send.
//!
//! Beyond not panicking: chunking changes nothing; what decodes encodes again to something that decodes to the same; a
//! part split in two keeps its root.

use bytes::{Bytes, BytesMut};
use kernpost_codecs::attach::AttachToken;
use kernpost_codecs::control::ControlFrame;
use kernpost_codecs::part::Part;
use kernpost_codecs::settlement::SettlementFrame;
use kernpost_codecs::statement::{Attachment, MessageRef, Receipt};
use kernpost_codecs::{Frame, FrameDecoder};

/// Takes `input` for what its first byte says.
pub fn decode(input: &[u8]) {
    let Some((form, rest)) = input.split_first() else { return };
    match form % 8 {
        0 => stream(rest),
        1 => statements(rest),
        2 => part(rest),
        3 => control(rest),
        4 => settlement(rest),
        5 => tokens(rest),
        6 => text(rest),
        _ => archive(rest),
    }
}

/// The first byte is the size of the chunks; the rest arrives in them.
fn stream(input: &[u8]) {
    let Some((size, rest)) = input.split_first() else { return };
    let whole = frames(rest, rest.len().max(1));
    let chunked = frames(rest, usize::from(*size).max(1));
    assert_eq!(whole, chunked, "chunking changes what is read");
    for (kind, body) in whole {
        body_of(kind, &body);
    }
}

fn frames(input: &[u8], size: usize) -> Vec<(u64, Bytes)> {
    let mut decoder = FrameDecoder::new();
    let mut found = Vec::new();
    for chunk in input.chunks(size) {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Ok(Some(Frame { kind, body })) = decoder.next() {
            found.push((kind, body));
        }
    }
    found
}

fn body_of(kind: u64, body: &Bytes) {
    same_control(kind, body);
    same_settlement(kind, body);
    if kind == kernpost_codecs::frame::frame_type::BUNDLE {
        part(body);
    }
}

fn statements(input: &[u8]) {
    if let Ok(message) = MessageRef::parse(input) {
        let encoded = message.to_owned().encode();
        let again = MessageRef::parse(&encoded).expect("what was encoded parses");
        assert_eq!(again.to_owned(), message.to_owned());
    }
    if let Ok(receipt) = Receipt::parse(input) {
        assert_eq!(Receipt::parse(&receipt.encode()), Ok(receipt));
    }
    if let Ok(attachment) = Attachment::parse(input) {
        assert_eq!(Attachment::parse(&attachment.encode()), Ok(attachment));
    }
}

fn part(input: &[u8]) {
    let Ok(part) = Part::decode(Bytes::copy_from_slice(input)) else { return };
    let all: Vec<usize> = (0..part.entries().len()).collect();
    let (front, back) = all.split_at(all.len() / 2);
    for positions in [front, back, &all] {
        if !positions.is_empty() {
            split(&part, positions);
        }
    }
}

fn split(part: &Part, positions: &[usize]) {
    let hop = |position: usize| part.entries()[position].hop.clone();
    let mut out = BytesMut::new();
    let written = part.encode_subset(positions, hop, &mut out).expect("positions increase and exist");
    if written == 0 {
        return;
    }
    let mut decoder = FrameDecoder::new();
    decoder.push(out.freeze());
    let frame = decoder.next().expect("a written frame is sound").expect("a whole frame was written");
    let smaller = Part::decode(frame.body).expect("a split part decodes");
    assert_eq!(smaller.root(), part.root(), "a split part keeps its root");
    assert_eq!(smaller.entries().len(), written);
}

/// The first byte is the frame's type.
fn control(input: &[u8]) {
    if let Some((kind, body)) = input.split_first() {
        same_control(u64::from(*kind), &Bytes::copy_from_slice(body));
    }
}

fn same_control(kind: u64, body: &Bytes) {
    let Ok(Some(frame)) = ControlFrame::decode(kind, body) else { return };
    let again = reencoded(|out| frame.encode(out));
    assert_eq!(ControlFrame::decode(again.kind, &again.body), Ok(Some(frame)));
}

/// The first byte is the frame's type.
fn settlement(input: &[u8]) {
    if let Some((kind, body)) = input.split_first() {
        same_settlement(u64::from(*kind), &Bytes::copy_from_slice(body));
    }
}

fn same_settlement(kind: u64, body: &Bytes) {
    let Ok(Some(frame)) = SettlementFrame::decode(kind, body.clone()) else { return };
    let again = reencoded(|out| frame.encode(out));
    assert_eq!(SettlementFrame::decode(again.kind, again.body), Ok(Some(frame)));
}

fn reencoded(encode: impl FnOnce(&mut BytesMut)) -> Frame {
    let mut out = BytesMut::new();
    encode(&mut out);
    let mut decoder = FrameDecoder::new();
    decoder.push(out.freeze());
    decoder.next().expect("a written frame is sound").expect("a whole frame was written")
}

fn tokens(input: &[u8]) {
    let _ = AttachToken::parse(input);
    let _ = kernpost_codecs::key::PublicKey::from_cose_key(input);
}

/// Identifiers as text: what parses prints as something that parses to the same.
fn text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    same_text::<kernpost_codecs::EndpointId>(text);
    same_text::<kernpost_codecs::Party>(text);
    same_text::<kernpost_codecs::ServiceKey>(text);
    same_text::<kernpost_codecs::ServicePrefix>(text);
    same_text::<kernpost_codecs::Ars>(text);
    same_text::<kernpost_codecs::JurisdictionPrefix>(text);
    same_text::<kernpost_codecs::LinkIdentity>(text);
    same_text::<kernpost_codecs::MessageId>(text);
}

fn same_text<T: std::str::FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let again = value.to_string().parse::<T>();
        assert_eq!(again.ok(), Some(value));
    }
}

fn archive(input: &[u8]) {
    let _ = kernpost_codecs::archive::ProofFile::parse(input);
}
