#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::class::Class;
use crate::frame::FrameDecoder;
use crate::key::{Algorithm, SigningKey};
use crate::statement::Receipt;
use proptest::prelude::*;

struct Messages(Vec<(EndpointId, MessageId, Digest)>);

impl Messages {
    fn new(count: usize) -> Self {
        let message = |at: usize| {
            let id = MessageId(u128::to_be_bytes(at as u128));
            (format!("portal/p{}", at % 3).parse().unwrap(), id, leaf_hash(&at.to_be_bytes()))
        };
        Self((0..count).map(message).collect())
    }

    fn subjects(&self, positions: &[usize]) -> Vec<Subject<'_>> {
        let subject = |at: &usize| {
            let (addressee, message, leaf) = &self.0[*at];
            Subject { addressee, message: *message, leaf: *leaf }
        };
        positions.iter().map(subject).collect()
    }
}

fn label(at: usize) -> Label {
    Label { class: Class::Interactive, sequence: 9, index: u16::try_from(at).unwrap() }
}

fn problem(at: usize) -> Option<String> {
    (at % 4 == 1).then(|| format!("{{\"title\":\"refused {at}\"}}"))
}

fn signed(key: &SigningKey, messages: &Messages) -> ReceiptsFrame {
    let mut builder = ReceiptsBuilder::new();
    for (at, (addressee, message, leaf)) in messages.0.iter().enumerate() {
        let subject = Subject { addressee, message: *message, leaf: *leaf };
        let outcome = if at % 4 == 1 { Outcome::Rejected } else { Outcome::Delivered };
        assert!(builder.push(subject, outcome, at as u64 % 4 * 1_000, problem(at), label(at)));
    }
    let issuer = Party::Endpoint("muc/amt".parse().unwrap());
    builder.sign(issuer, DirectoryVersion(Digest::of(b"directory")), UnixMs(1_760_000_000_000), &[key]).unwrap()
}

fn decode(bytes: &BytesMut) -> ReceiptsFrame {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes.clone().freeze());
    let frame = decoder.next().unwrap().unwrap();
    assert_eq!(frame.kind, frame_type::RECEIPTS);
    ReceiptsFrame::decode(frame.body).unwrap()
}

#[test]
fn receipts_arrive_verify_and_say_what_was_signed() {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    for count in [1, 2, 7, 256] {
        let messages = Messages::new(count);
        let sent = signed(&key, &messages);
        let mut out = BytesMut::new();
        sent.encode(&mut out);
        let got = decode(&out);
        assert_eq!(got, sent);
        let all: Vec<usize> = (0..count).collect();
        let rebuilt = got.rebuild(&messages.subjects(&all)).unwrap();
        assert_eq!(got.signatures[0].verify(key.public(), &rebuilt.root()), Ok(()));
        for (at, statement) in rebuilt.statements.iter().enumerate() {
            let receipt = Receipt::parse(statement).unwrap();
            let (addressee, message, leaf) = &messages.0[at];
            assert_eq!((&receipt.addressee, receipt.message, receipt.subject), (addressee, *message, *leaf));
            assert_eq!((receipt.problem, receipt.issuer), (problem(at), sent.issuer.clone()));
        }
    }
}

#[test]
fn another_subject_gives_another_root() {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let messages = Messages::new(3);
    let frame = signed(&key, &messages);
    let good = frame.rebuild(&messages.subjects(&[0, 1, 2])).unwrap();
    let wrong = frame.rebuild(&messages.subjects(&[0, 2, 1])).unwrap();
    assert_ne!(good.root(), wrong.root());
    assert!(frame.signatures[0].verify(key.public(), &wrong.root()).is_err());
    let short = frame.rebuild(&messages.subjects(&[0]));
    assert_eq!(short, Err(ProofFault::SubjectCount { entries: 3, subjects: 1 }));
}

proptest! {
    #[test]
    fn subsets_of_subsets_keep_root_and_statements(
        count in 1_usize..=64, keep in proptest::collection::vec(any::<(bool, bool)>(), 64),
    ) {
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
        let messages = Messages::new(count);
        let frame = signed(&key, &messages);
        let all: Vec<usize> = (0..count).collect();
        let whole = frame.rebuild(&messages.subjects(&all)).unwrap();
        let first: Vec<usize> = all.iter().copied().filter(|at| keep[*at].0).collect();
        prop_assume!(!first.is_empty());
        let labels: Vec<Label> = first.iter().map(|at| Label { sequence: 1 << 40, ..label(*at) }).collect();
        let mut out = BytesMut::new();
        prop_assert_eq!(whole.encode_subset(&frame, &first, &labels, &mut out), Ok(first.len()));
        let got = decode(&out);
        prop_assert_eq!(got.entries.iter().map(|entry| entry.label).collect::<Vec<_>>(), labels);
        let part = got.rebuild(&messages.subjects(&first)).unwrap();
        prop_assert_eq!(part.root(), whole.root());

        let second: Vec<usize> = (0..first.len()).filter(|at| keep[*at].1).collect();
        prop_assume!(!second.is_empty());
        let labels: Vec<Label> = second.iter().map(|at| label(*at)).collect();
        let mut out = BytesMut::new();
        part.encode_subset(&got, &second, &labels, &mut out).unwrap();
        let origin: Vec<usize> = second.iter().map(|at| first[*at]).collect();
        let smaller = decode(&out).rebuild(&messages.subjects(&origin)).unwrap();
        prop_assert_eq!(smaller.root(), whole.root());
        prop_assert_eq!(smaller.statements, origin.iter().map(|at| whole.statements[*at].clone()).collect::<Vec<_>>());
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = ReceiptsFrame::decode(bytes.into());
    }
}

#[test]
fn a_frame_of_long_problems_is_full_before_it_is_too_long_and_splits_when_it_grows() {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let messages = Messages::new(256);
    let mut builder = ReceiptsBuilder::new();
    let subjects = messages.subjects(&(0..256).collect::<Vec<_>>());
    let problem = Some("ß".repeat(700));
    let taken = subjects.iter().take_while(|subject| {
        builder.push(**subject, Outcome::Rejected, 1_000, problem.clone(), Label { sequence: 0, ..label(0) })
    });
    let taken = taken.count();
    assert!((200..256).contains(&taken));
    let issuer = Party::Endpoint("muc/amt".parse().unwrap());
    let frame = builder.sign(issuer, DirectoryVersion(Digest::of(b"")), UnixMs(1), &[&key]).unwrap();
    let rebuilt = frame.rebuild(&subjects[..taken]).unwrap();
    let positions: Vec<usize> = (0..taken).collect();
    let labels: Vec<Label> = positions.iter().map(|at| Label { sequence: 1 << 60, ..label(*at) }).collect();
    let mut out = BytesMut::new();
    assert_eq!(rebuilt.encode_subset(&frame, &positions, &labels, &mut out), Ok(taken));
    assert!(out.len() <= LONGEST_BODY + 5);
}

#[test]
fn entries_that_do_not_parse_close_the_link() {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let mut out = BytesMut::new();
    let mut frame = signed(&key, &Messages::new(2));
    frame.entries.reverse();
    frame.encode(&mut out);
    let mut decoder = FrameDecoder::new();
    decoder.push(out.freeze());
    let body = decoder.next().unwrap().unwrap().body;
    assert!(ReceiptsFrame::decode(body.clone()).unwrap_err().detail.contains("does not increase"));
    for end in 0..body.len() {
        assert!(ReceiptsFrame::decode(body.slice(..end)).is_err(), "{end}");
    }
}

#[test]
fn receipts_travel_late_in_a_part_under_the_root_their_issuer_signed() {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let messages = Messages::new(5);
    let frame = signed(&key, &messages);
    let rebuilt = frame.rebuild(&messages.subjects(&[0, 1, 2, 3, 4])).unwrap();
    let part = crate::part::Part::of_receipts(&frame, &rebuilt);
    let mut bytes = BytesMut::new();
    assert_eq!(part.encode_subset(&[1, 3], |_| Default::default(), &mut bytes), Ok(2));
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes.freeze());
    let late = crate::part::Part::decode(decoder.next().unwrap().unwrap().body).unwrap();
    assert_eq!(late.root(), rebuilt.root());
    late.signatures()[0].verify(key.public(), &late.root()).unwrap();
    let receipt = Receipt::parse(&late.entries()[0].statement).unwrap();
    assert_eq!((receipt.outcome, receipt.message), (Outcome::Rejected, messages.0[1].1));

    let back = ReceiptsFrame::from_part(&late, 1, label(3)).unwrap();
    let again = back.rebuild(&messages.subjects(&[3])).unwrap();
    assert_eq!((again.root(), &again.statements[0]), (rebuilt.root(), &rebuilt.statements[3]));
}
