//! A slow, dead or nosy endpoint harms nobody else: shares, deadlines, attach tokens, and what logs never show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use kernpost_codecs::{
    AttachToken, Attachment, Class, CloseCode, Code, Detail, EndpointId, Outcome, Settle, SettlementFrame,
};
use kernpost_tests::process::{Settings, wall};
use kernpost_tests::scene::{FOR_ABSENT, FOR_OFFICE, FOR_X, FOR_Y, Scene, WHERE};
use kernpost_tests::wire_client::{Arrival, Letter, Link, RawBundle, Sent};

/// Sends `count` letters for one service, in bundles of at most 64.
async fn send_many(scene: &Scene, portal: &mut Link, service: &str, count: usize) -> Vec<(Sent, u16)> {
    let mut labels = Vec::new();
    while labels.len() < count {
        let letters: Vec<Letter> = (labels.len()..count).take(64).map(|_| scene.letter(portal, service)).collect();
        let sent = portal.send(&scene.bundle(&letters)).await;
        labels.extend((0..u16::try_from(letters.len()).unwrap()).map(|index| (sent, index)));
    }
    labels
}

/// Receives until so many entries are there.
async fn receive_many(link: &mut Link, count: usize) -> Vec<Arrival> {
    let mut arrivals: Vec<Arrival> = Vec::new();
    while arrivals.iter().map(|arrival| arrival.part.entries().len()).sum::<usize>() < count {
        arrivals.push(link.receive().await);
    }
    arrivals
}

/// What became of 700 letters for X, which shares its link with Y.
struct Backlog {
    /// Labels of those the provider has.
    taken: Vec<(Sent, u16)>,
    /// How they arrived.
    held: Vec<Arrival>,
    /// What was said of the others: X is busy, ask later.
    refused: Vec<Detail>,
}

/// The provider granted 4,096 entries; X may hold an eighth of them.
async fn backlog_for_x(scene: &Scene, portal: &mut Link, provider: &mut Link) -> Backlog {
    let mut taken = send_many(scene, portal, FOR_X, 700).await;
    let held = receive_many(provider, 512).await;
    let mut refused = Vec::new();
    for (sent, index) in taken.split_off(512) {
        let settled = portal.outcome(sent.label(index)).await;
        assert_eq!(settled.code(), Code::BUSY);
        let detail = settled.detail();
        assert_eq!(detail.endpoint.as_ref(), Some(&scene.x));
        assert!(detail.retry_after_ms.is_some_and(|ms| ms > 0), "{detail:?}");
        refused.push(detail.clone());
    }
    Backlog { taken, held, refused }
}

fn recipients(arrival: &Arrival) -> Vec<EndpointId> {
    arrival.part.entries().iter().map(|entry| entry.hop.recipient.clone().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_that_hangs_costs_its_senders_a_deadline_and_nobody_else_anything() {
    let settings = Settings::new().with("deadlines.endpoint_ms", 400).with("credit.interactive.entries", 256);
    let scene = Scene::one_router_with(&settings);
    let mut hanging = scene.office_at("r1").await;
    let _x = scene.attached(&scene.x, "x-alone", "r1").await.serve(scene.signer(&scene.x));
    let mut portal = scene.portal_at("r1").await;
    // More than the link's whole credit: it only fits because what is undecided or busy gives its credit back.
    let labels = send_many(&scene, &mut portal, FOR_OFFICE, 600).await;
    let to_x = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_X)])).await;
    assert!(portal.outcome(to_x.label(0)).await.is_delivered());
    let (mut undecided, mut busy) = (0, 0);
    for (sent, index) in labels {
        match portal.outcome(sent.label(index)).await.code() {
            Code::UNDECIDED_DEADLINE => undecided += 1,
            Code::BUSY => busy += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(undecided + busy, 600);
    assert!((1..=64).contains(&undecided), "a quarter of 256 was with the office: {undecided}");
    let spent = portal.spent(Class::Interactive);
    portal.wait_limits(Class::Interactive, spent.0 + 256 - 32, 0).await;

    // The office comes back: its late answers are ignored, and it is served again.
    let signer = scene.signer(&scene.office);
    for arrival in receive_many(&mut hanging, undecided).await {
        hanging.receipts(&signer, &arrival, Outcome::Delivered).await;
    }
    hanging.ping().await;
    let again = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = hanging.receive().await;
    hanging.receipts(&signer, &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(again.label(0)).await.is_delivered());
    let books = scene.network.stop()[0].1;
    assert_eq!((books.accepted, books.delivered), (602, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_that_still_hangs_at_the_end_keeps_no_drain_waiting() {
    let scene = Scene::one_router_with(&Settings::new().with("deadlines.endpoint_ms", 200));
    let mut hanging = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    hanging.receive().await;
    assert_eq!(portal.outcome(sent.label(0)).await.code(), Code::UNDECIDED_DEADLINE);
    let began = std::time::Instant::now();
    scene.network.stop();
    assert!(began.elapsed().as_secs() < 10, "the drain took {:?}", began.elapsed());
    drop(hanging);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_for_x_does_not_touch_y_on_the_same_link() {
    let scene = Scene::one_router();
    let (of_x, of_y) = (scene.signer(&scene.x), scene.signer(&scene.y));
    let mut provider = scene.link("provider", "r1").await;
    provider.attach(&of_x).await;
    provider.attach(&of_y).await;
    let mut portal = scene.portal_at("r1").await;
    let Backlog { taken, held, refused } = backlog_for_x(&scene, &mut portal, &mut provider).await;
    for detail in &refused {
        assert_eq!(detail.router.as_ref().unwrap().as_str(), "de/router/r1");
        assert!(detail.presence.is_some(), "{detail:?}");
    }
    for _ in 0..5 {
        let to_y = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_Y), scene.letter(&portal, FOR_Y)])).await;
        let arrival = provider.receive().await;
        assert_eq!(recipients(&arrival), [scene.y.clone(), scene.y.clone()]);
        provider.receipts(&of_y, &arrival, Outcome::Delivered).await;
        assert!(portal.outcome(to_y.label(0)).await.is_delivered());
        assert!(portal.outcome(to_y.label(1)).await.is_delivered());
    }
    for arrival in &held {
        assert!(recipients(arrival).iter().all(|recipient| *recipient == scene.x));
        provider.receipts(&of_x, arrival, Outcome::Delivered).await;
    }
    for (sent, index) in &taken {
        assert!(portal.outcome(sent.label(*index)).await.is_delivered());
    }
    let more = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_X)])).await;
    let arrival = provider.receive().await;
    provider.receipts(&of_x, &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(more.label(0)).await.is_delivered());
    let books = scene.network.stop()[0].1;
    assert_eq!((books.delivered, books.refused), (512 + 10 + 1, 188));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_two_routers_a_backlog_for_x_is_busy_with_retry_after_and_does_not_touch_y() {
    let scene = Scene::two_routers();
    let (of_x, of_y) = (scene.signer(&scene.x), scene.signer(&scene.y));
    let mut provider = scene.link("provider", "r2").await;
    provider.attach(&of_x).await;
    provider.attach(&of_y).await;
    for endpoint in ["de/x", "de/y"] {
        scene.network.router("r1").wait_attached(endpoint, "de/router/r2");
    }
    let mut portal = scene.portal_at("r1").await;
    let Backlog { taken, held, refused } = backlog_for_x(&scene, &mut portal, &mut provider).await;
    assert!(refused.iter().all(|detail| detail.router.is_some()), "{refused:?}");
    for _ in 0..5 {
        let to_y = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_Y)])).await;
        let arrival = provider.receive().await;
        assert_eq!(recipients(&arrival), std::slice::from_ref(&scene.y));
        provider.receipts(&of_y, &arrival, Outcome::Delivered).await;
        assert!(portal.outcome(to_y.label(0)).await.is_delivered());
    }
    for arrival in &held {
        provider.receipts(&of_x, arrival, Outcome::Delivered).await;
    }
    for (sent, index) in &taken {
        assert!(portal.outcome(sent.label(*index)).await.is_delivered());
    }
    let books: Vec<_> = scene.network.stop().into_iter().map(|(_, books)| (books.delivered, books.refused)).collect();
    assert_eq!(books[0], (512 + 5, 188), "the ingress router's books");
    assert_eq!(books[1].0, 512 + 5, "the egress router's");
}

/// Sends `count` letters of `signer`, in bundles of 64, as credit comes back; says what became of them.
async fn flood(
    link: &mut Link,
    signer: &kernpost_tests::wire_client::Signer,
    service: &str,
    count: usize,
) -> Vec<Code> {
    let mut labels = Vec::new();
    while labels.len() < count {
        let letters: Vec<Letter> =
            (0..64).map(|_| Letter::new(signer.message(service, WHERE, link.version()), b"Guten Tag")).collect();
        let sent = link.send(&RawBundle::signed(&signer.key, &letters)).await;
        labels.extend((0..64).map(|index| sent.label(index)));
    }
    let mut codes = Vec::new();
    for label in labels {
        codes.push(link.outcome(label).await.code());
    }
    codes
}

/// Sends a letter again as soon as its recipient was said to be busy, until it is delivered. The routers are asked, not the
/// clock: a refusal comes back at once.
async fn deliver_when_no_longer_busy(link: &mut Link, signer: &kernpost_tests::wire_client::Signer, service: &str) {
    let began = std::time::Instant::now();
    while began.elapsed() < PATIENCE {
        let letter = Letter::new(signer.message(service, WHERE, link.version()), b"Guten Tag");
        let settled = link.outcomes(&RawBundle::signed(&signer.key, &[letter])).await.remove(0);
        if settled.is_delivered() {
            return;
        }
        assert_eq!(settled.code(), Code::BUSY);
    }
    panic!("{service} stays busy");
}

/// How long somebody may be said to be busy who no longer is.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_routers_full_in_both_directions_settle_everything_and_go_on() {
    // One link may take all the credit of another: the link between the routers is exhausted both ways, and with it every
    // place an entry could wait for.
    let settings = Settings::new()
        .with("deadlines.endpoint_ms", 300)
        .with("credit.interactive.entries", 256)
        .with("limits.downstream_share", 1)
        .with("limits.endpoint_share", 1);
    let scene = Scene::two_routers_with(&settings);
    let (of_portal, of_x) = (scene.signer(&scene.portal), scene.signer(&scene.x));
    let office = scene.office_at("r2").await;
    let y = scene.attached(&scene.y, "provider", "r1").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    scene.network.router("r2").wait_attached("de/y", "de/router/r1");
    let mut portal = scene.portal_at("r1").await;
    let mut x = scene.attached(&scene.x, "x-alone", "r2").await;
    let there = flood(&mut portal, &of_portal, FOR_OFFICE, 1_024);
    let back = flood(&mut x, &of_x, FOR_Y, 1_024);
    let (there, back) = tokio::join!(there, back);
    for codes in [&there, &back] {
        assert_eq!(codes.len(), 1_024);
        assert!(codes.iter().all(|code| code.is_undecided() || *code == Code::BUSY), "{codes:?}");
        let undecided = codes.iter().filter(|code| code.is_undecided()).count();
        assert!(undecided >= 256, "the link between the routers was full: {undecided}");
    }
    let _office = office.serve(scene.signer(&scene.office));
    let _y = y.serve(scene.signer(&scene.y));
    deliver_when_no_longer_busy(&mut x, &of_x, FOR_Y).await;
    deliver_when_no_longer_busy(&mut portal, &of_portal, FOR_OFFICE).await;
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_providers_link_x_does_not_sign_for_y() {
    let scene = Scene::one_router();
    let _office = scene.serving_office("r1").await;
    let (of_x, of_y) = (scene.signer(&scene.x), scene.signer(&scene.y));
    let mut provider = scene.link("provider", "r1").await;
    provider.attach(&of_x).await;
    let letter = |from: &kernpost_tests::wire_client::Signer, link: &Link| {
        Letter::new(from.message(FOR_OFFICE, WHERE, link.version()), b"Guten Tag")
    };
    let by_y = RawBundle::signed(&of_y.key, &[letter(&of_y, &provider)]);
    assert_eq!(provider.outcomes(&by_y).await[0].code(), Code::SENDER_NOT_ATTACHED);
    provider.attach(&of_y).await;
    let mixed = RawBundle::signed(&of_x.key, &[letter(&of_x, &provider), letter(&of_y, &provider)]);
    let settled = provider.outcomes(&mixed).await;
    assert!(settled[0].is_delivered());
    assert_eq!(settled[1].code(), Code::KEY_NOT_OWNED);
    let by_y = RawBundle::signed(&of_y.key, &[letter(&of_y, &provider)]);
    assert!(provider.outcomes(&by_y).await[0].is_delivered());
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_providers_link_x_issues_no_receipt_for_y() {
    let scene = Scene::one_router_with(&Settings::new().with("deadlines.endpoint_ms", 1_500));
    let (of_x, of_y) = (scene.signer(&scene.x), scene.signer(&scene.y));
    let mut provider = scene.link("provider", "r1").await;
    provider.attach(&of_x).await;
    provider.attach(&of_y).await;
    let mut portal = scene.portal_at("r1").await;
    let forged = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_Y)])).await;
    let mended = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_Y)])).await;
    let arrivals = receive_many(&mut provider, 2).await;
    for arrival in &arrivals {
        let by_x = provider.receipts_frame(&of_x, arrival, Outcome::Delivered, None);
        let mut as_y = by_x.clone();
        as_y.issuer = of_y.id.clone().into();
        for frame in [by_x, as_y] {
            provider.settlement_frame(&SettlementFrame::Receipts(frame)).await;
        }
    }
    provider.ping().await;
    provider.receipts(&of_y, &arrivals[1], Outcome::Delivered).await;
    assert!(portal.outcome(mended.label(0)).await.receipt().is_signed_by(of_y.key.public()));
    assert_eq!(portal.outcome(forged.label(0)).await.code(), Code::UNDECIDED_DEADLINE);
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_reads_and_settles_only_for_who_is_attached_on_it() {
    let scene = Scene::one_router();
    let of_y = scene.signer(&scene.y);
    let mut with_y = scene.attached(&scene.y, "provider", "r1").await;
    let mut with_x = scene.attached(&scene.x, "x-alone", "r1").await;
    let mut portal = scene.portal_at("r1").await;
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_Y)])).await;
    let arrival = with_y.receive().await;
    with_x.ping().await;
    assert!(with_x.arrived().is_empty(), "X's link sees nothing of Y's");
    // Labels belong to a link: whoever settles another link's label settles one never used on its own.
    let settle = Settle::new(Code::BUSY, Default::default(), arrival.labels());
    with_x.settlement_frame(&SettlementFrame::Settle(settle)).await;
    assert_eq!(with_x.closed().await.0, CloseCode::LabelUnknown);
    assert!(!portal.has_settled(sent.label(0)));
    with_y.receipts(&of_y, &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(sent.label(0)).await.is_delivered());
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attach_token_is_for_one_endpoint_identity_router_and_time() {
    let scene = Scene::one_router();
    let (office_key, x_key) = (scene.key(&scene.office), scene.key(&scene.x));
    let mut link = scene.link("office", "r1").await;
    let good = link.attachment(&scene.office);
    let nobody: EndpointId = "de/nobody".parse().unwrap();
    let (in_a_day, of_branch) = (wall().plus_ms(2 * 86_400_000), kernpost_tests::world::link_identity("branch"));
    let other_router = "de/router/r2".parse().unwrap();
    for (what, attachment, key, code) in [
        ("an endpoint nobody knows", but(&good, |a| a.endpoint = nobody), &office_key, Code::SENDER_UNKNOWN),
        ("not for this link", but(&good, |a| a.endpoint = scene.x.clone()), &x_key, Code::IDENTITY_NOT_LISTED),
        ("for another link", but(&good, |a| a.identity = of_branch), &office_key, Code::IDENTITY_NOT_LISTED),
        ("for another router", but(&good, |a| a.router = other_router), &office_key, Code::TOKEN_INVALID),
        ("expired", but(&good, |a| a.expires = wall().minus_ms(1)), &office_key, Code::EXPIRED),
        ("for more than a day", but(&good, |a| a.expires = in_a_day), &office_key, Code::TOKEN_INVALID),
        ("another endpoint's signature", good.clone(), &x_key, Code::BAD_SIGNATURE),
        ("good", good.clone(), &office_key, Code(0)),
        ("the same epoch, other content", but(&good, |a| a.journal = [1; 16]), &office_key, Code::STALE_EPOCH),
        ("an older epoch", but(&good, |a| a.epoch -= 1), &office_key, Code::STALE_EPOCH),
        ("a newer epoch", but(&good, |a| a.epoch += 1), &office_key, Code(0)),
    ] {
        assert_eq!(link.try_attach(&attachment, key).await, code, "{what}");
    }
    let again = but(&good, |a| a.epoch += 2);
    let token = AttachToken::sign(&again, &[&office_key]).unwrap();
    for _ in 0..2 {
        assert_eq!(link.try_token(token.clone()).await, Code(0), "the very same token may come again");
    }
    let mut token = AttachToken::sign(&link.attachment(&scene.office), &[&office_key]).unwrap().to_vec();
    *token.last_mut().unwrap() ^= 1;
    assert_eq!(link.try_token(token.into()).await, Code::BAD_SIGNATURE, "a signature that does not hold");
    for noise in [&b""[..], b"noise", &[0xd2, 0x84]] {
        assert_eq!(link.try_token(Bytes::copy_from_slice(noise)).await, Code::TOKEN_INVALID, "{noise:?}");
    }
    // After all this the office is attached, once.
    let mut portal = scene.portal_at("r1").await;
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = link.receive().await;
    link.receipts(&scene.signer(&scene.office), &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(sent.label(0)).await.is_delivered());
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_detaches_or_whose_token_expires_gets_and_sends_nothing_more() {
    let scene = Scene::one_router();
    let mut office = scene.link("office", "r1").await;
    let mut portal = scene.portal_at("r1").await;
    let bundle = |portal: &Link| scene.bundle(&[scene.letter(portal, FOR_OFFICE)]);
    let attachment = office.attach(&scene.signer(&scene.office)).await;
    let detach = kernpost_codecs::ControlFrame::Detach { endpoint: scene.office.clone(), epoch: attachment.epoch };
    office.tell(&detach).await;
    office.ping().await;
    scene.network.router("r1").wait_detached("de/office", "de/router/r1");
    assert_eq!(portal.outcomes(&bundle(&portal)).await[0].code(), Code::NOT_ATTACHED);

    let mut brief = office.attachment(&scene.office);
    brief.expires = wall().plus_ms(600);
    assert_eq!(office.try_attach(&brief, &scene.key(&scene.office)).await, Code(0));
    scene.network.router("r1").wait_attached("de/office", "de/router/r1");
    scene.network.router("r1").wait_detached("de/office", "de/router/r1");
    assert_eq!(portal.outcomes(&bundle(&portal)).await[0].code(), Code::NOT_ATTACHED);
    scene.network.stop();
}

/// The same attachment but for one thing.
fn but(attachment: &Attachment, change: impl FnOnce(&mut Attachment)) -> Attachment {
    let mut changed = attachment.clone();
    change(&mut changed);
    changed
}

/// A word that stands nowhere else, and the forms in which a careless log would show it.
fn traces_of(marker: &[u8]) -> Vec<String> {
    let hex: String = marker.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = marker.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    vec![String::from_utf8(marker.to_vec()).unwrap(), hex.to_uppercase(), hex, list]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payload_case_and_mailbox_are_in_no_log() {
    let filter = "trace,h2=off,hyper=off,mio=off";
    let settings = Settings::new().with("log.filter", filter).with("deadlines.endpoint_ms", 500);
    let scene = Scene::two_routers_with(&settings);
    let (payload, case, mailbox) = (&b"Leberwurst"[..], &b"Aktenzeichen"[..], &b"Briefkasten"[..]);
    let letter = |link: &Link, service: &str| {
        let mut message = scene.message(link, service);
        (message.case, message.mailbox) = (Some(case.into()), Some(mailbox.into()));
        Letter::new(message, payload)
    };
    let mut portal = scene.portal_at("r1").await;
    let mut office = scene.office_at("r2").await;
    scene.network.router("r1").wait_attached("de/office", "de/router/r2");
    let signer = scene.signer(&scene.office);

    // Delivered, undecided, refused in every way that quotes something, and a link closed for a malformed frame.
    let delivered = portal.send(&scene.bundle(&[letter(&portal, FOR_OFFICE)])).await;
    let arrival = office.receive().await;
    office.receipts(&signer, &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(delivered.label(0)).await.is_delivered());
    let undecided = portal.send(&scene.bundle(&[letter(&portal, FOR_OFFICE)])).await;
    assert!(portal.outcome(undecided.label(0)).await.code().is_undecided());
    let refused = portal.outcomes(&scene.bundle(&[letter(&portal, FOR_ABSENT)])).await;
    assert_eq!(refused[0].code(), Code::NOT_ATTACHED);
    let mut statement = letter(&portal, FOR_OFFICE);
    statement.statement.push(0);
    assert_eq!(portal.outcomes(&scene.bundle(&[statement])).await[0].code(), Code::BAD_STATEMENT);
    let mut tampered = scene.bundle(&[letter(&portal, FOR_OFFICE)]);
    tampered.signatures[0].signature = vec![1; 64].into();
    assert_eq!(portal.outcomes(&tampered).await[0].code(), Code::BAD_SIGNATURE);
    let mut malformed = scene.bundle(&[letter(&portal, FOR_OFFICE)]).body();
    malformed.extend_from_slice(payload);
    let mut frame = bytes::BytesMut::new();
    kernpost_codecs::frame::encode_frame(0x20, &malformed, &mut frame);
    portal.raw_bundle_lane(Class::Interactive, &frame).await;
    assert_eq!(portal.closed().await.0, CloseCode::FrameMalformed);

    let logs: Vec<String> = ["r1", "r2"].map(|name| scene.network.router(name).log()).into();
    for log in &logs {
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is as talkative as it gets");
        for marker in [payload, case, mailbox] {
            for trace in traces_of(marker) {
                let line = log.lines().find(|line| line.contains(&trace));
                assert_eq!(line, None, "{} is in a log", String::from_utf8_lossy(marker));
            }
        }
    }
    scene.network.stop();
}
