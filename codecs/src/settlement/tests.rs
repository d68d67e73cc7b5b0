#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::frame::{Frame, FrameDecoder};
use proptest::prelude::*;

fn frames(bytes: BytesMut) -> Vec<SettlementFrame> {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes.freeze());
    std::iter::from_fn(|| decoder.next().unwrap())
        .map(|Frame { kind, body }| SettlementFrame::decode(kind, body).unwrap().unwrap())
        .collect()
}

fn round(frame: &SettlementFrame) -> Vec<SettlementFrame> {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    frames(out)
}

fn label() -> impl Strategy<Value = Label> {
    (0_u64..3, prop_oneof![0_u64..4, 0..varint::MAX], 0_u16..256).prop_map(|(class, sequence, index)| Label {
        class: Class::try_from(class).unwrap(),
        sequence,
        index,
    })
}

proptest! {
    #[test]
    fn credit_and_want_arrive(label in label(), one in 0..=varint::MAX, two in 0..=varint::MAX) {
        let credit = SettlementFrame::Credit { class: label.class, entries: one, bytes: two };
        prop_assert_eq!(round(&credit), vec![credit]);
        let want = SettlementFrame::Want { label, offset: one };
        prop_assert_eq!(round(&want), vec![want]);
    }

    #[test]
    fn every_label_settled_arrives_once_however_many_ranges(labels in proptest::collection::vec(label(), 1..1_500)) {
        let detail = Detail { retry_after_ms: Some(250), ..Detail::default() };
        let settle = Settle::new(Code::BUSY, detail, labels.clone());
        let mut expected = labels;
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(settle.labels().collect::<Vec<_>>(), expected.clone());
        let mut got = Vec::new();
        for frame in round(&SettlementFrame::Settle(settle.clone())) {
            let SettlementFrame::Settle(part) = frame else { panic!("another frame") };
            prop_assert_eq!((part.code, &part.detail), (settle.code, &settle.detail));
            got.extend(part.labels());
        }
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn noise_never_panics(kind in 0x30_u64..0x34, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = SettlementFrame::decode(kind, bytes.into());
    }
}

#[test]
fn consecutive_labels_of_one_frame_make_one_range() {
    let label = |sequence, index| Label { class: Class::Urgent, sequence, index };
    let labels = [label(1, 0), label(1, 1), label(1, 3), label(2, 4), label(2, 5), label(2, 6)];
    let range = |sequence, first, count| Range { class: Class::Urgent, sequence, first, count };
    assert_eq!(ranges_of(&labels), [range(1, 0, 2), range(1, 3, 1), range(2, 4, 3)]);
}

#[test]
fn the_fullest_detail_fits_and_arrives() {
    let detail = Detail {
        endpoint: Some(format!("{}/{}", "z".repeat(16), "n".repeat(40)).parse().unwrap()),
        router: Some(format!("{}/router/{}", "z".repeat(16), "n".repeat(40)).parse().unwrap()),
        presence: Some(u64::MAX),
        retry_after_ms: Some(u64::MAX),
        text: Some("ü".repeat(200)),
    };
    let label = Label { class: Class::Bulk, sequence: 7, index: 255 };
    let frame = SettlementFrame::Settle(Settle::new(Code::NOT_ATTACHED, detail.clone(), vec![label]));
    let [SettlementFrame::Settle(got)] = &round(&frame)[..] else { panic!("not one SETTLE") };
    assert_eq!(got.detail, Detail { text: Some("ü".repeat(128)), ..detail });
    assert_eq!(got.labels().collect::<Vec<_>>(), [label]);
}

#[test]
fn what_does_not_parse_closes_the_link() {
    for (kind, body) in [
        (0x30, &[3, 0, 0][..]),
        (0x30, &[0, 0]),
        (0x30, &[0, 0, 0, 0]),
        (0x31, &[0x40, 0x79, 0, 0]),
        (0x31, &[0x40, 0x79, 0, 1, 1, 0, 0x40, 0xff, 2]),
        (0x31, &[0x40, 0x79, 0, 1, 1, 0, 0, 0]),
        (0x31, &[0x40, 0x79, 1, 0x80, 1, 1, 0, 0, 1]),
        (0x31, &[0x40, 0x79, 3, 0xa1, 0x20, 0x00, 1, 1, 0, 0, 1]),
        (0x33, &[0, 0, 0x41, 0x00, 0]),
        (0x33, &[0, 0, 0]),
    ] {
        assert!(SettlementFrame::decode(kind, Bytes::from_static(body)).is_err(), "{kind:#x} {body:x?}");
    }
    assert_eq!(SettlementFrame::decode(0x34, Bytes::new()), Ok(None));
}
