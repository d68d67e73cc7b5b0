//! Frames that break the protocol close their link by a name of WIRE 2.5, and no other link of the router notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::{Bytes, BytesMut};
use kernpost_codecs::frame::{encode_frame, encode_header, frame_type};
use kernpost_codecs::{
    Class, CloseCode, Code, ControlFrame, Digest, DirectoryVersion, Label, MessageId, Outcome, ReceiptsBuilder, Role,
    Settle, SettlementFrame, SigningKey, Subject, varint,
};
use kernpost_tests::process::{Settings, wall};
use kernpost_tests::scene::{FOR_OFFICE, Scene};
use kernpost_tests::wire_client::{Letter, Link, RawBundle, closed, dial, hello, within};
use kernpost_tests::world::link_identity;

use CloseCode::{FrameMalformed, FrameTooLarge, IdentityUnknown, LabelUnknown, LaneDuplicate, UnexpectedFrame};

/// A way to break a greeted link.
enum Break {
    Control(Vec<u8>),
    Settlement(Vec<u8>),
    Bundle(Vec<u8>),
    Streams(Vec<(u64, Vec<u8>)>),
    EndLane,
    ResetLane,
    EndSettlementLane,
    EndControl,
}

impl Break {
    async fn act(&self, link: &mut Link) {
        match self {
            Self::Control(bytes) => link.raw_control(bytes).await,
            Self::Settlement(bytes) => link.raw_settlement_lane(bytes).await,
            Self::Bundle(bytes) => link.raw_bundle_lane(Class::Bulk, bytes).await,
            Self::Streams(streams) => {
                for (kind, bytes) in streams {
                    // The link may be closed while it is opened.
                    let Ok(mut stream) = link.connection.open_uni().await else { return };
                    let mut head = Vec::new();
                    varint::encode(&mut head, *kind);
                    let _ = stream.write_all(&[head.as_slice(), bytes].concat()).await;
                    tokio::spawn(async move { stream.stopped().await });
                }
            }
            Self::EndLane => link.bundle_lane(Class::Bulk).await.finish().unwrap(),
            Self::ResetLane => link.bundle_lane(Class::Bulk).await.reset(7_u32.into()).unwrap(),
            Self::EndSettlementLane => link.streams().1.finish().unwrap(),
            Self::EndControl => link.streams().0.finish().unwrap(),
        }
    }
}

/// Breaks one link after the other; between them a message crosses another link of the same router each time.
async fn each_closes(cases: Vec<(String, Break, CloseCode)>) {
    let scene = Scene::one_router();
    let _office = scene.serving_office("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let count = u64::try_from(cases.len()).unwrap();
    for (name, what, expected) in cases {
        let mut link = scene.link("provider", "r1").await;
        what.act(&mut link).await;
        let (code, reason) = link.closed().await;
        assert_eq!(code, expected, "{name}: {reason}");
        assert!(reason.starts_with("WIRE "), "{name}: the reason names the clause: {reason}");
        scene.deliver_one(&mut portal).await;
    }
    let books = scene.network.stop();
    assert_eq!(books[0].1.delivered, count);
}

fn frame(kind: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode_frame(kind, body, &mut bytes);
    bytes.to_vec()
}

/// The body of an encoded frame, and its type.
fn body_of(frame: &[u8]) -> (u64, Vec<u8>) {
    let mut rest = frame;
    let kind = varint::decode(&mut rest).unwrap();
    let length = varint::decode(&mut rest).unwrap();
    assert_eq!(usize::try_from(length).unwrap(), rest.len());
    (kind, rest.to_vec())
}

/// One good frame of every type of the control stream.
fn control_frames() -> Vec<ControlFrame> {
    let endpoint = || "de/x".parse().unwrap();
    let version = DirectoryVersion(Digest::of(b"version"));
    vec![
        ControlFrame::Hello(hello(Role::Endpoint)),
        ControlFrame::Attach { req: 1, token: Bytes::from_static(b"token") },
        ControlFrame::Attached { req: 1, code: Code(0), detail: "detail".to_owned() },
        ControlFrame::Detach { endpoint: endpoint(), epoch: 1 },
        ControlFrame::PresenceFull { number: 1, tokens: vec![Bytes::from_static(b"token")], more: true },
        ControlFrame::PresenceDelta { number: 1, attached: Vec::new(), detached: vec![(endpoint(), 1)] },
        ControlFrame::Resolve {
            req: 1,
            service: FOR_OFFICE.parse().unwrap(),
            jurisdiction: "147130000000".parse().unwrap(),
        },
        ControlFrame::Resolved {
            req: 1,
            code: Code(0),
            endpoint: Some(endpoint()),
            encryption_key: None,
            directory_version: version,
        },
        ControlFrame::Drain { by: wall() },
        ControlFrame::Ping { nonce: 1 },
        ControlFrame::Pong { nonce: 1, clock: wall() },
        ControlFrame::GetVersion { req: 1, version },
        ControlFrame::Version { req: 1, zones: Some(Vec::new()) },
        ControlFrame::GetSnapshot { req: 1, digest: Digest::of(b"snapshot"), offset: 0 },
        ControlFrame::Snapshot { req: 1, total: 4, offset: 0, bytes: Bytes::from_static(b"four") },
    ]
}

fn encoded(frame: &ControlFrame) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    bytes.to_vec()
}

/// One good frame of every type of the settlement lane; their labels were never used.
fn settlement_frames() -> Vec<(&'static str, Vec<u8>)> {
    let label = Label { class: Class::Bulk, sequence: 0, index: 0 };
    let mut receipts = ReceiptsBuilder::new();
    let addressee = "de/portal".parse().unwrap();
    let subject = Subject { addressee: &addressee, message: MessageId([1; 16]), leaf: Digest::of(b"leaf") };
    assert!(receipts.push(subject, Outcome::Delivered, 0, None, label));
    let key = SigningKey::generate(kernpost_codecs::Algorithm::Ed25519).unwrap();
    let version = DirectoryVersion(Digest::of(b"version"));
    let receipts = receipts.sign("de/x".parse().unwrap(), version, wall(), &[&key]).unwrap();
    let frames = [
        ("CREDIT", SettlementFrame::Credit { class: Class::Bulk, entries: 1, bytes: 1 }),
        ("SETTLE", SettlementFrame::Settle(Settle::new(Code::BUSY, Default::default(), vec![label]))),
        ("RECEIPTS", SettlementFrame::Receipts(receipts)),
        ("WANT", SettlementFrame::Want { label, offset: 0 }),
    ];
    let encode = |(name, frame): (&'static str, SettlementFrame)| {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        (name, bytes.to_vec())
    };
    frames.into_iter().map(encode).collect()
}

/// A good bundle, signed with some key: what its body says is checked before whose key it is.
fn bundle() -> RawBundle {
    let key = SigningKey::generate(kernpost_codecs::Algorithm::Ed25519).unwrap();
    let letter = |text: &[u8]| Letter { statement: text.to_vec(), payload: b"payload".to_vec() };
    RawBundle::signed(&key, &[letter(b"first"), letter(b"second"), letter(b"third")])
}

/// Cut short, one byte too long, and something else altogether.
fn garbled(frame: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (kind, body) = body_of(frame);
    let cut = body.get(..body.len() - 1).unwrap();
    let longer = [body.as_slice(), &[0]].concat();
    vec![
        ("cut short", self::frame(kind, cut)),
        ("with a byte too many", self::frame(kind, &longer)),
        ("empty", self::frame(kind, &[])),
        ("of noise", self::frame(kind, &[0xff; 40])),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_frames_that_do_not_parse_are_malformed() {
    let mut cases = Vec::new();
    for good in control_frames() {
        for (how, bytes) in garbled(&encoded(&good)) {
            cases.push((format!("{} {how}", good.name()), Break::Control(bytes), FrameMalformed));
        }
    }
    for (name, body) in [
        ("a critical key", &[0xa2, 0x01, 0x05, 0x20, 0x00][..]),
        ("a key twice", &[0xa2, 0x01, 0x05, 0x01, 0x05]),
        ("a long integer", &[0xa1, 0x01, 0x18, 0x05]),
        ("a map of indefinite length", &[0xbf, 0x01, 0x05, 0xff]),
        ("a text for a number", &[0xa1, 0x01, 0x61, b'5']),
        ("no map", &[0x05]),
    ] {
        let bytes = frame(frame_type::PING, body);
        cases.push((format!("PING with {name}"), Break::Control(bytes), FrameMalformed));
    }
    each_closes(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lane_frames_that_do_not_parse_are_malformed() {
    let mut cases = Vec::new();
    for (name, good) in settlement_frames() {
        for (how, bytes) in garbled(&good) {
            cases.push((format!("{name} {how}"), Break::Settlement(bytes), FrameMalformed));
        }
    }
    for (how, bytes) in garbled(&frame(frame_type::BUNDLE, &bundle().body())) {
        cases.push((format!("BUNDLE {how}"), Break::Bundle(bytes), FrameMalformed));
    }
    let mut wrong = |name: &str, change: fn(&mut RawBundle)| {
        let mut bundle = bundle();
        change(&mut bundle);
        let bytes = frame(frame_type::BUNDLE, &bundle.body());
        cases.push((format!("BUNDLE with {name}"), Break::Bundle(bytes), FrameMalformed));
    };
    wrong("tree size 1", |bundle| bundle.tree_size = 1);
    wrong("tree size 257", |bundle| bundle.tree_size = 257);
    wrong("no signature", |bundle| bundle.signatures.clear());
    wrong("three signatures", |bundle| bundle.signatures = vec![bundle.signatures[0].clone(); 3]);
    wrong("no entry", |bundle| bundle.entries.clear());
    wrong("257 entries", |bundle| bundle.entries = vec![bundle.entries[0].clone(); 257]);
    wrong("an index twice", |bundle| bundle.entries[1].index = 0);
    wrong("an index of 256", |bundle| bundle.entries[2].index = 256);
    wrong("an unknown flag", |bundle| bundle.entries[0].flags = 0x08);
    wrong("detached and ask", |bundle| {
        bundle.entries[0].flags = 0x06;
        bundle.entries[0].payload.clear();
    });
    wrong("a payload in an ask", |bundle| bundle.entries[0].flags = 0x04);
    wrong("a payload in a detached entry", |bundle| bundle.entries[0].flags = 0x02);
    wrong("256 siblings", |bundle| bundle.siblings = vec![Digest::of(b""); 256]);
    each_closes(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_longer_than_the_limit_is_closed_before_it_arrives() {
    let header = |kind, length| {
        let mut bytes = BytesMut::new();
        encode_header(kind, length, &mut bytes);
        bytes.to_vec()
    };
    each_closes(vec![
        ("on the control stream".to_owned(), Break::Control(header(frame_type::PING, 262_145)), FrameTooLarge),
        ("on the settlement lane".to_owned(), Break::Settlement(header(frame_type::SETTLE, 262_145)), FrameTooLarge),
        ("on a bundle lane".to_owned(), Break::Bundle(header(frame_type::BUNDLE, 1 << 40)), FrameTooLarge),
        ("of an unknown type".to_owned(), Break::Bundle(header(0x4321, 262_145)), FrameTooLarge),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_in_more_bytes_than_it_needs_is_malformed() {
    let ping = body_of(&encoded(&ControlFrame::Ping { nonce: 1 })).1;
    let length = u8::try_from(ping.len()).unwrap();
    let long_type = [&[0x40, 0x0a, length][..], &ping].concat();
    let long_length = [&[0x0a, 0x40, length][..], &ping].concat();
    each_closes(vec![
        ("a frame's type".to_owned(), Break::Control(long_type), FrameMalformed),
        ("a frame's length".to_owned(), Break::Control(long_length), FrameMalformed),
        ("in a CREDIT".to_owned(), Break::Settlement(frame(frame_type::CREDIT, &[2, 0x40, 1, 1])), FrameMalformed),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_type_on_another_stream_is_unexpected() {
    let ping = encoded(&ControlFrame::Ping { nonce: 1 });
    let credit = settlement_frames().remove(0).1;
    let bundle = frame(frame_type::BUNDLE, &bundle().body());
    each_closes(vec![
        ("BUNDLE on the control stream".to_owned(), Break::Control(bundle.clone()), UnexpectedFrame),
        ("CREDIT on the control stream".to_owned(), Break::Control(credit.clone()), UnexpectedFrame),
        ("PING on the settlement lane".to_owned(), Break::Settlement(ping.clone()), UnexpectedFrame),
        ("BUNDLE on the settlement lane".to_owned(), Break::Settlement(bundle), UnexpectedFrame),
        ("PING on a bundle lane".to_owned(), Break::Bundle(ping), UnexpectedFrame),
        ("CREDIT on a bundle lane".to_owned(), Break::Bundle(credit), UnexpectedFrame),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_must_not_be_opened_close_the_link() {
    let twice = |kind| Break::Streams(vec![(kind, Vec::new()), (kind, Vec::new())]);
    let mut cases = vec![
        ("a bundle lane twice".to_owned(), twice(1), LaneDuplicate),
        ("a second settlement lane".to_owned(), Break::Streams(vec![(3, Vec::new())]), LaneDuplicate),
        ("a large payload that nobody wanted".to_owned(), Break::Streams(vec![(4, vec![1, 0, 0, 0])]), UnexpectedFrame),
        ("a large payload of a fourth class".to_owned(), Break::Streams(vec![(4, vec![3, 0, 0, 0])]), FrameMalformed),
    ];
    for kind in [5, 0x1f] {
        cases.push((format!("stream kind {kind:#x}"), Break::Streams(vec![(kind, Vec::new())]), UnexpectedFrame));
    }
    each_closes(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_closes_the_link() {
    each_closes(vec![
        ("FIN of a bundle lane".to_owned(), Break::EndLane, UnexpectedFrame),
        ("reset of a bundle lane".to_owned(), Break::ResetLane, UnexpectedFrame),
        ("FIN of the settlement lane".to_owned(), Break::EndSettlementLane, UnexpectedFrame),
        ("FIN of the control stream".to_owned(), Break::EndControl, UnexpectedFrame),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_for_a_label_never_used_closes_the_link() {
    let mut cases = Vec::new();
    for (name, bytes) in settlement_frames() {
        match name {
            "SETTLE" | "RECEIPTS" | "WANT" => cases.push((name.to_owned(), Break::Settlement(bytes), LabelUnknown)),
            _ => {}
        }
    }
    each_closes(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_an_endpoint_side_must_not_send_are_unexpected() {
    let mut cases = Vec::new();
    for frame in control_frames() {
        let name = frame.name();
        let breaks = matches!(
            frame,
            ControlFrame::Hello(_)
                | ControlFrame::Attached { .. }
                | ControlFrame::PresenceFull { .. }
                | ControlFrame::PresenceDelta { .. }
                | ControlFrame::Resolved { .. }
                | ControlFrame::Version { .. }
                | ControlFrame::Snapshot { .. }
        );
        if breaks {
            cases.push((name.to_owned(), Break::Control(encoded(&frame)), UnexpectedFrame));
        }
    }
    assert_eq!(cases.len(), 7);
    each_closes(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_first_is_a_hello_of_a_common_version_in_the_right_role() {
    let scene = Scene::one_router_with(&Settings::new().with("deadlines.hello_ms", 500));
    let address = scene.network.router("r1").address;
    let mut newer = hello(Role::Endpoint);
    (newer.lowest_version, newer.highest_version) = (2, 9);
    let mut upside_down = hello(Role::Endpoint);
    (upside_down.lowest_version, upside_down.highest_version) = (2, 1);
    let a_router = hello(Role::Router("de/router/r2".parse().unwrap()));
    let of = |hello| Some(encoded(&ControlFrame::Hello(hello)));
    for (name, first, expected) in [
        ("PING", Some(encoded(&ControlFrame::Ping { nonce: 1 })), UnexpectedFrame),
        ("ATTACH", Some(encoded(&control_frames()[1])), UnexpectedFrame),
        ("a hello of later versions", of(newer), CloseCode::VersionMismatch),
        ("a hello with its versions upside down", of(upside_down), FrameMalformed),
        ("a router's hello under an endpoint side's certificate", of(a_router), IdentityUnknown),
        ("nothing", None, CloseCode::HelloTimeout),
    ] {
        let connection = dial(scene.tls("portal"), address).await.unwrap();
        let (mut control, _router) = connection.open_bi().await.unwrap();
        control.write_all(&first.unwrap_or_default()).await.unwrap();
        let (code, reason) = closed(&connection).await;
        assert_eq!(code, expected, "{name} first: {reason}");
    }
    let mut common = hello(Role::Endpoint);
    (common.lowest_version, common.highest_version) = (1, 9);
    let connection = dial(scene.tls("portal"), address).await.unwrap();
    let mut link = Link::greet(connection, link_identity("portal"), common).await;
    link.ping().await;
    link.leave();
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_and_streams_of_later_versions_are_ignored() {
    let scene = Scene::one_router();
    let _office = scene.serving_office("r1").await;
    let mut portal = scene.portal_at("r1").await;
    for kind in [0x10, 0x1f, 0x21, 0x34, 0x1234_5678] {
        let bytes = frame(kind, b"what later versions say");
        portal.raw_control(&bytes).await;
        portal.raw_settlement_lane(&bytes).await;
        portal.raw_bundle_lane(Class::Interactive, &bytes).await;
    }
    for kind in [0x20, 0x21, 0x4000] {
        let mut stream = portal.open_stream(kind).await;
        // Stopped at once, or after the first bytes.
        let _ = stream.write_all(b"what later versions carry").await;
        within("STOP_SENDING", stream.stopped()).await.unwrap();
    }
    portal.ping().await;
    scene.deliver_one(&mut portal).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_was_granted_closes_the_link_and_no_other() {
    let settings = Settings::new().with("credit.interactive.entries", 256).with("limits.downstream_share", 1);
    let scene = Scene::one_router_with(&settings);
    let mut office = scene.office_at("r1").await;
    let mut greedy = scene.portal_at("r1").await;
    let mut other = scene.attached(&scene.x, "provider", "r1").await;
    let letters: Vec<Letter> = (0..256).map(|_| scene.letter(&greedy, FOR_OFFICE)).collect();
    let full = scene.bundle(&letters);
    greedy.send(&full).await;
    // None of them has settled: their credit is not free.
    let mut waiting = Vec::new();
    while waiting
        .iter()
        .map(|arrival: &kernpost_tests::wire_client::Arrival| arrival.part.entries().len())
        .sum::<usize>()
        < 256
    {
        waiting.push(office.receive().await);
    }
    greedy.send_beyond_credit(Class::Interactive, &scene.bundle(&letters[..1])).await;
    let (code, reason) = greedy.closed().await;
    assert_eq!(code, CloseCode::CreditExceeded, "{reason}");
    other.ping().await;
    let signer = scene.signer(&scene.office);
    for arrival in &waiting {
        // Nobody waits for these receipts any more; the office does not know and is not to blame.
        office.receipts(&signer, arrival, Outcome::Delivered).await;
    }
    office.ping().await;
    let mut portal = scene.portal_at("r1").await;
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = office.receive().await;
    office.receipts(&signer, &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(sent.label(0)).await.is_delivered());
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_bytes_than_were_granted_close_the_link() {
    let settings = Settings::new().with("credit.interactive.bytes", 1 << 20).with("limits.downstream_share", 1);
    let scene = Scene::one_router_with(&settings);
    let _office = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let letter = Letter::new(scene.message(&portal, FOR_OFFICE), &[7; 60_000]);
    for _ in 0..18 {
        portal.send_beyond_credit(Class::Interactive, &scene.bundle(std::slice::from_ref(&letter))).await;
    }
    let (code, reason) = portal.closed().await;
    assert_eq!(code, CloseCode::CreditExceeded, "{reason}");
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_attachments_than_a_link_may_hold_close_it() {
    let scene = Scene::one_router_with(&Settings::new().with("limits.attachments_per_link", 1));
    let mut provider = scene.attached(&scene.x, "provider", "r1").await;
    let attachment = provider.attachment(&scene.y);
    let token = kernpost_codecs::AttachToken::sign(&attachment, &[&scene.key(&scene.y)]).unwrap();
    provider.tell(&ControlFrame::Attach { req: 9, token }).await;
    let (code, reason) = provider.closed().await;
    assert_eq!(code, CloseCode::OverLimit, "{reason}");
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_settlement_of_a_closed_label_is_ignored_and_the_link_lives() {
    let scene = Scene::one_router();
    let mut office = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = office.receive().await;
    let signer = scene.signer(&scene.office);
    office.receipts(&signer, &arrival, Outcome::Delivered).await;
    // The same label again, by both ways: counted, not passed on (the portal's client panics at a second settlement).
    let again = office.receipts_frame(&signer, &arrival, Outcome::Rejected, None);
    office.settlement_frame(&SettlementFrame::Receipts(again)).await;
    office.settle(&arrival, Code::BUSY).await;
    assert!(portal.outcome(sent.label(0)).await.is_delivered());
    office.ping().await;
    portal.ping().await;
    assert!(portal.has_settled(sent.label(0)));
    let books = scene.network.stop();
    assert_eq!((books[0].1.accepted, books[0].1.delivered), (1, 1));
}
