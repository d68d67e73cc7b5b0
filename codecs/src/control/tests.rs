#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::cbor::{MapWriter, Writer};
use crate::code::CloseCode;
use crate::frame::FrameDecoder;

fn encoded(frame: &ControlFrame) -> (u64, Bytes) {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    let mut decoder = FrameDecoder::new();
    decoder.push(out.freeze());
    let frame = decoder.next().unwrap().unwrap();
    assert!(decoder.is_empty());
    (frame.kind, frame.body)
}

fn map(write: impl FnOnce(&mut MapWriter<'_>)) -> Bytes {
    let mut out = Vec::new();
    let mut map = MapWriter::new(&mut out);
    write(&mut map);
    map.finish();
    Bytes::from(out)
}

fn hello() -> Hello {
    Hello {
        lowest_version: 1,
        highest_version: VERSION,
        role: Role::Router("de/router/r1".parse().unwrap()),
        clock: UnixMs(1_760_000_000_000),
        directory: ["de", "de.sn"].map(zone).into(),
        largest_frame_body: 262_144,
        largest_statement: 1_024,
        largest_payload: 65_536,
        software: "kernpost/0.1".to_owned(),
    }
}

fn zone(id: &str) -> ZoneVersion {
    ZoneVersion { zone: id.parse().unwrap(), serial: 7, digest: Digest([7; 32]) }
}

fn malformed(kind: u64, body: &Bytes) -> String {
    let fault = ControlFrame::decode(kind, body).unwrap_err();
    assert_eq!(fault.code, CloseCode::FrameMalformed);
    fault.detail
}

#[test]
fn the_common_version_is_the_highest_both_name() {
    let speaks = |lowest_version, highest_version| Hello { lowest_version, highest_version, ..hello() };
    assert_eq!(speaks(1, 3).common_version(&speaks(2, 5)), Some(3));
    assert_eq!(speaks(1, 1).common_version(&speaks(2, 5)), None);
}

#[test]
fn unknown_types_are_skipped_and_those_of_other_streams_unexpected() {
    assert_eq!(ControlFrame::decode(0x10, &Bytes::from_static(&[0xff])), Ok(None));
    let fault = ControlFrame::decode(frame_type::SETTLE, &Bytes::new()).unwrap_err();
    assert_eq!(fault.code, CloseCode::UnexpectedFrame);
}

#[test]
fn unknown_keys_are_ignored_and_critical_ones_malformed() {
    let body = map(|map| {
        map.key(1).uint(5);
        map.key(9).text("later");
    });
    assert_eq!(ControlFrame::decode(frame_type::PING, &body), Ok(Some(ControlFrame::Ping { nonce: 5 })));
    let critical = Bytes::from_static(&[0xa2, 0x01, 0x05, 0x20, 0x00]);
    assert_eq!(malformed(frame_type::PING, &critical), "PING: key: byte 3: critical key -1 - 0 is not known");
}

#[test]
fn errors_name_the_frame_the_field_and_the_byte() {
    assert_eq!(malformed(frame_type::PING, &map(|_| ())), "PING: key 1 (nonce) is missing");
    let body = map(|map| map.key(1).text("x"));
    assert_eq!(malformed(frame_type::PING, &body), "PING: nonce: byte 2: expected an unsigned integer");
    assert!(malformed(frame_type::PING, &Bytes::from_static(&[0xa1, 0x01, 0x05, 0x00])).contains("bytes follow"));
}

#[test]
fn a_router_states_its_id_and_an_endpoint_side_does_not() {
    let (kind, body) = encoded(&ControlFrame::Hello(Hello { role: Role::Endpoint, ..hello() }));
    assert!(ControlFrame::decode(kind, &body).is_ok());
    let mut router_without_id = body.to_vec();
    let role = router_without_id.windows(2).position(|pair| pair == [0x03, 0x00]).unwrap();
    router_without_id[role + 1] = 1;
    assert!(malformed(kind, &Bytes::from(router_without_id)).contains("router id"));
}

#[test]
fn zones_are_sorted_and_each_there_once() {
    for zones in [["de.sn", "de"], ["de", "de"]] {
        let body = map(|map| {
            map.key(1).uint(1);
            let out = map.key(2);
            out.array(2);
            zones.map(zone).iter().for_each(|zone| zone.write(out));
        });
        assert!(malformed(frame_type::VERSION, &body).contains("order of zones"));
    }
    let unsorted = ControlFrame::Version { req: 1, zones: Some(["de.sn", "de"].map(zone).into()) };
    let (kind, body) = encoded(&unsorted);
    let sorted = ControlFrame::Version { req: 1, zones: Some(["de", "de.sn"].map(zone).into()) };
    assert_eq!(ControlFrame::decode(kind, &body), Ok(Some(sorted)));
}

#[test]
fn defaults_are_omitted() {
    let body = map(|map| {
        map.key(1).uint(1);
        map.key(2).array(0);
        map.key(3).bool(false);
    });
    assert!(malformed(frame_type::PRESENCE_FULL, &body).contains("has to be omitted"));
    let body = map(|map| {
        map.key(1).uint(1);
        map.key(2).uint(0);
        map.key(3).text("");
    });
    assert!(malformed(frame_type::ATTACHED, &body).contains("detail"));
}

#[test]
fn a_list_is_bounded_before_it_is_allocated() {
    let tokens = |count: usize| {
        map(|map| {
            map.key(1).uint(1);
            let out = map.key(2);
            out.array(count);
            (0..count).for_each(|_| out.bytes(&[]));
        })
    };
    assert!(ControlFrame::decode(frame_type::PRESENCE_FULL, &tokens(MOST_LISTED)).is_ok());
    assert!(malformed(frame_type::PRESENCE_FULL, &tokens(MOST_LISTED + 1)).contains("tokens is out of range"));
    let mut claimed = Vec::new();
    let mut out = Writer::new(&mut claimed);
    out.map(2);
    out.uint(1);
    out.uint(1);
    out.uint(2);
    out.array(usize::MAX);
    assert!(malformed(frame_type::PRESENCE_FULL, &Bytes::from(claimed)).contains("ends early"));
}

#[test]
fn a_resolved_route_has_an_endpoint_and_an_unresolved_one_has_none() {
    let resolved = |code, endpoint: Option<&str>| ControlFrame::Resolved {
        req: 1,
        code,
        endpoint: endpoint.map(|id| id.parse().unwrap()),
        encryption_key: None,
        directory_version: DirectoryVersion(Digest([0; 32])),
    };
    for (frame, good) in [
        (resolved(Code(0), Some("de/x")), true),
        (resolved(Code::NO_ROUTE, None), true),
        (resolved(Code(0), None), false),
        (resolved(Code::NO_ROUTE, Some("de/x")), false),
    ] {
        let (kind, body) = encoded(&frame);
        assert_eq!(ControlFrame::decode(kind, &body).is_ok(), good);
    }
}

#[test]
fn lengths_above_the_limits_are_malformed() {
    let (kind, body) = encoded(&ControlFrame::Hello(Hello { software: "x".repeat(65), ..hello() }));
    assert!(malformed(kind, &body).contains("software"));
    let bytes = Bytes::from(vec![0; LONGEST_SNAPSHOT_PIECE + 1]);
    let (kind, body) = encoded(&ControlFrame::Snapshot { req: 1, total: 1, offset: 0, bytes });
    assert!(malformed(kind, &body).contains("bytes"));
    let (kind, body) = encoded(&ControlFrame::Attached { req: 1, code: Code::BUSY, detail: "x".repeat(257) });
    assert!(malformed(kind, &body).contains("detail"));
}

#[test]
fn tokens_share_the_memory_of_the_body() {
    let token = Bytes::from_static(&[9; 200]);
    let (kind, body) = encoded(&ControlFrame::Attach { req: 1, token: token.clone() });
    let Ok(Some(ControlFrame::Attach { token: read, .. })) = ControlFrame::decode(kind, &body) else { panic!() };
    assert_eq!(read, token);
    assert!(body.as_ptr_range().contains(&read.as_ptr()));
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..60).prop_map(Bytes::from)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn time() -> impl Strategy<Value = UnixMs> {
    (0..=UnixMs::MAX.0).prop_map(UnixMs)
}

fn endpoint() -> impl Strategy<Value = EndpointId> {
    "[a-z]{1,6}/[a-z0-9]{1,6}".prop_map(|id| id.parse().unwrap())
}

fn version_list() -> impl Strategy<Value = Vec<ZoneVersion>> {
    proptest::collection::btree_map("[a-z]{1,6}", (any::<u64>(), digest()), 0..5).prop_map(|zones| {
        let version =
            |(zone, (serial, digest)): (String, _)| ZoneVersion { zone: zone.parse().unwrap(), serial, digest };
        zones.into_iter().map(version).collect()
    })
}

fn frames() -> impl Strategy<Value = ControlFrame> {
    let number = any::<u64>;
    let role = of("[a-z]{1,6}/router/[a-z]{1,6}")
        .prop_map(|id| id.map_or(Role::Endpoint, |id| Role::Router(id.parse().unwrap())));
    let limits = (number(), number(), number(), "\\PC{0,16}");
    let hello = (any::<[u64; 2]>(), role, time(), version_list(), limits).prop_map(
        |(versions, role, clock, directory, limits)| {
            ControlFrame::Hello(Hello {
                lowest_version: versions[0].min(versions[1]),
                highest_version: versions[0].max(versions[1]),
                role,
                clock,
                directory,
                largest_frame_body: limits.0,
                largest_statement: limits.1,
                largest_payload: limits.2,
                software: limits.3,
            })
        },
    );
    let resolved = (number(), 1..300u64, of(endpoint()), of(bytes()), digest()).prop_map(
        |(req, code, endpoint, encryption_key, version)| ControlFrame::Resolved {
            req,
            code: if endpoint.is_some() { Code(0) } else { Code(code) },
            endpoint,
            encryption_key,
            directory_version: DirectoryVersion(version),
        },
    );
    prop_oneof![
        hello,
        resolved,
        (number(), bytes()).prop_map(|(req, token)| ControlFrame::Attach { req, token }),
        (number(), number(), "\\PC{0,40}").prop_map(|(req, code, detail)| ControlFrame::Attached {
            req,
            code: Code(code),
            detail
        }),
        (endpoint(), number()).prop_map(|(endpoint, epoch)| ControlFrame::Detach { endpoint, epoch }),
        (number(), vec(bytes(), 0..5), any::<bool>())
            .prop_map(|(number, tokens, more)| { ControlFrame::PresenceFull { number, tokens, more } }),
        (number(), vec(bytes(), 0..5), vec((endpoint(), number()), 0..5))
            .prop_map(|(number, attached, detached)| ControlFrame::PresenceDelta { number, attached, detached }),
        (number(), 1_000_000_000_000..=1_009_999_999_999u64).prop_map(|(req, _)| {
            ControlFrame::Resolve {
                req,
                service: "99050012104000".parse().unwrap(),
                jurisdiction: "147130000000".parse().unwrap(),
            }
        }),
        time().prop_map(|by| ControlFrame::Drain { by }),
        number().prop_map(|nonce| ControlFrame::Ping { nonce }),
        (number(), time()).prop_map(|(nonce, clock)| ControlFrame::Pong { nonce, clock }),
        (number(), digest())
            .prop_map(|(req, version)| ControlFrame::GetVersion { req, version: DirectoryVersion(version) }),
        (number(), of(version_list())).prop_map(|(req, zones)| ControlFrame::Version { req, zones }),
        (number(), digest(), number())
            .prop_map(|(req, digest, offset)| { ControlFrame::GetSnapshot { req, digest, offset } }),
        (number(), number(), number(), bytes())
            .prop_map(|(req, total, offset, bytes)| { ControlFrame::Snapshot { req, total, offset, bytes } }),
    ]
}

proptest! {
    #[test]
    fn every_frame_round_trips(frame in frames()) {
        let (kind, body) = encoded(&frame);
        prop_assert_eq!(kind, frame.kind());
        prop_assert_eq!(ControlFrame::decode(kind, &body), Ok(Some(frame)));
    }

    #[test]
    fn any_bytes_never_panic(kind in 0u64..0x40, bytes in vec(prop_oneof![0u8..6, any::<u8>()], 0..80)) {
        let _ = ControlFrame::decode(kind, &Bytes::from(bytes));
    }

    #[test]
    fn a_changed_byte_never_panics_and_what_is_accepted_has_one_encoding(
        frame in frames(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (kind, body) = encoded(&frame);
        let mut body = body.to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        let body = Bytes::from(body);
        if let Ok(Some(read)) = ControlFrame::decode(kind, &body) {
            let (_, again) = encoded(&read);
            prop_assert!(again == body || again.len() < body.len(), "only unknown keys may get lost");
        }
    }
}
