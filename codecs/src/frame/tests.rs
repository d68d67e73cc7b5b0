#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn encoded(frames: &[Cut]) -> Bytes {
    let mut out = BytesMut::new();
    for (kind, body) in frames {
        encode_frame(*kind, body, &mut out);
    }
    out.freeze()
}

/// Type and body.
type Cut = (u64, Vec<u8>);

/// All frames of `bytes`, cut into chunks of the given lengths, and what is left in the decoder.
fn decode(mut bytes: Bytes, cuts: &[usize]) -> Result<(Vec<Cut>, usize), FrameFault> {
    let mut decoder = FrameDecoder::new();
    let mut frames = Vec::new();
    let mut cuts = cuts.iter().copied();
    while !bytes.is_empty() {
        let cut = cuts.next().unwrap_or(usize::MAX).min(bytes.len());
        decoder.push(bytes.split_to(cut));
        while let Some(frame) = decoder.next()? {
            frames.push((frame.kind, frame.body.to_vec()));
        }
    }
    Ok((frames, decoder.buffered()))
}

#[test]
fn a_frame_in_one_chunk_is_not_copied() {
    let bytes = encoded(&[(0x20, vec![7; 100]), (0x31, vec![8; 10])]);
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes.clone());
    let first = decoder.next().unwrap().unwrap();
    assert_eq!(first.body.as_ptr(), bytes[3..].as_ptr());
    assert_eq!(decoder.next().unwrap().unwrap().body, bytes.slice(105..));
    assert!(decoder.is_empty() && decoder.next().unwrap().is_none());
}

#[test]
fn a_body_above_the_limit_is_refused_by_its_header() {
    let mut out = BytesMut::new();
    encode_header(0x77, LONGEST_BODY + 1, &mut out);
    let fault = decode(out.freeze(), &[]).unwrap_err();
    assert_eq!(fault.code, CloseCode::FrameTooLarge);
    assert!(decode(encoded(&[(1, vec![0; LONGEST_BODY])]), &[9, 70_000, 1]).is_ok());
}

#[test]
fn a_header_that_is_not_in_shortest_form_is_malformed() {
    for bytes in [&[0x40, 0x01, 0x00][..], &[0x01, 0x40, 0x01, 0x00]] {
        let fault = decode(Bytes::copy_from_slice(bytes), &[]).unwrap_err();
        assert_eq!((fault.code, fault.clause), (CloseCode::FrameMalformed, "WIRE 1.1"));
    }
}

#[test]
fn a_stream_kind_is_read_before_the_frames() {
    let mut decoder = FrameDecoder::new();
    decoder.push(Bytes::from_static(&[0x40]));
    assert_eq!(decoder.next_varint(), Ok(None));
    decoder.push(Bytes::from_static(&[0x50, 0x05, 0x00, 0xaa]));
    assert_eq!(decoder.next_varint(), Ok(Some(0x50)));
    assert_eq!(decoder.next().unwrap().unwrap(), Frame { kind: 5, body: Bytes::new() });
    assert_eq!(decoder.take_chunk().unwrap(), Bytes::from_static(&[0xaa]));
}

#[test]
fn unknown_stream_kinds_are_faults_below_0x20_and_ignored_from_there_on() {
    for lane in LaneKind::LANES.into_iter().chain([LaneKind::LargePayload]) {
        assert_eq!(LaneKind::from_u64(lane.as_u64()), Ok(Some(lane)));
    }
    assert_eq!(LaneKind::from_u64(5).unwrap_err().code, CloseCode::UnexpectedFrame);
    assert_eq!(LaneKind::from_u64(0x20), Ok(None));
}

#[test]
fn a_known_type_on_the_wrong_stream_is_unexpected_and_an_unknown_one_is_skipped() {
    use frame_type::{BUNDLE, HELLO, Home, SETTLE, WANT, check};
    assert_eq!(check(HELLO, Home::Control), Ok(true));
    assert_eq!(check(WANT, Home::Settlement), Ok(true));
    assert_eq!(check(0x10, Home::Control), Ok(false));
    for (kind, stream) in [(HELLO, Home::Bundle), (BUNDLE, Home::Settlement), (SETTLE, Home::Control)] {
        assert_eq!(check(kind, stream).unwrap_err().code, CloseCode::UnexpectedFrame);
    }
}

proptest! {
    #[test]
    fn frames_survive_any_cutting_of_the_stream(
        frames in vec((0u64..200, vec(any::<u8>(), 0..400)), 0..6),
        cuts in vec(1usize..80, 0..60),
    ) {
        prop_assert_eq!(decode(encoded(&frames), &cuts), Ok((frames, 0)));
    }

    #[test]
    fn any_bytes_never_panic_and_cutting_changes_nothing(
        bytes in vec(prop_oneof![0u8..4, any::<u8>()], 0..200),
        cuts in vec(1usize..20, 0..40),
    ) {
        let bytes = Bytes::from(bytes);
        let whole = decode(bytes.clone(), &[]).map(|(frames, _)| frames);
        prop_assert_eq!(decode(bytes, &cuts).map(|(frames, _)| frames), whole);
    }
}
