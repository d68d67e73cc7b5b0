//! What a router refuses, entry by entry and by name, while the rest of the bundle is delivered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use kernpost_codecs::{Algorithm, Assurance, Class, Code, ControlFrame, Digest, Message, Outcome, SigningKey};
use kernpost_routing_table::EncryptionKey;
use kernpost_tests::process::{Settings, wall};
use kernpost_tests::scene::{
    FOR_ABSENT, FOR_NOBODY, FOR_OFFICE, FOR_OFFICE_HIGH, FOR_OFFICE_SEALED, FOR_OFFICE_SUBSTANTIAL, HELLO, Scene,
    Stage, WHERE, codes,
};
use kernpost_tests::wire_client::{Letter, RawBundle};

/// Bytes of a statement with more pairs at its end; `more` is their encoding and their number.
fn with_pairs(statement: &[u8], more: &[u8], pairs: u8) -> Vec<u8> {
    let (first, rest) = statement.split_first().unwrap();
    assert_eq!(first & 0xe0, 0xa0, "a map of less than 24 pairs");
    [&[first + pairs], rest, more].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_not_as_it_must_be_is_refused_alone() {
    let mut stage = Stage::new().await;
    let good = stage.good();
    let long_number = {
        let (head, rest) = good.statement.split_at(2);
        assert_eq!(rest[0], 0, "kind 0 under key 0");
        [head, &[0x18, 0x00], rest.get(1..).unwrap()].concat()
    };
    let endless = [&[0xbf], good.statement.get(1..).unwrap(), &[0xff]].concat();
    let twice = with_pairs(&good.statement, &[0x10, 0x58, 0x20], 1);
    let cut = good.statement.get(..good.statement.len() - 1).unwrap().to_vec();
    let receipt = [&good.statement[..2], &[0x01], good.statement.get(3..).unwrap()].concat();
    for (what, statement, code) in [
        ("a number in more bytes than it needs", long_number, Code::BAD_STATEMENT),
        ("a map of indefinite length", endless, Code::BAD_STATEMENT),
        ("a key twice", twice, Code::BAD_STATEMENT),
        ("cut short", cut, Code::BAD_STATEMENT),
        ("nothing", Vec::new(), Code::BAD_STATEMENT),
        ("another kind of statement", receipt, Code::BAD_STATEMENT),
        ("a critical key", with_pairs(&good.statement, &[0x20, 0x00], 1), Code::CRITICAL_UNKNOWN),
    ] {
        stage.between_good_ones(what, Letter { statement, payload: good.payload.clone() }, code).await;
    }
    let later_version = stage.good();
    let statement = with_pairs(&later_version.statement, &[0x18, 0x64, 0x01], 1);
    stage
        .between_good_ones("an unknown key that is not critical", Letter { statement, ..later_version }, Code(0))
        .await;
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_is_refused_oversized() {
    let mut stage = Stage::new().await;
    let good = stage.good();
    let mut padding = vec![0x18, 0x64, 0x59, 0x04, 0x00];
    padding.extend([7; 1_024]);
    let long = Letter { statement: with_pairs(&good.statement, &padding, 1), payload: good.payload };
    stage.between_good_ones("a statement above 1,024 bytes", long, Code::OVERSIZED).await;
    let payload = Letter::new(stage.message(FOR_OFFICE), &[7; 65_537]);
    stage.between_good_ones("an inline payload above 65,536 bytes", payload, Code::OVERSIZED).await;
    let largest = Letter::new(stage.message(FOR_OFFICE), &[7; 65_536]);
    stage.between_good_ones("an inline payload of 65,536 bytes", largest, Code(0)).await;

    let mut detached = stage.changed(FOR_OFFICE, |message| message.payload_len = 1 << 20);
    detached.payload.clear();
    let mut bundle = stage.scene.bundle(&[stage.good(), detached]);
    bundle.entries[1].flags = 0x02;
    stage
        .check(
            "a detached payload, whose recipient takes none above 65,536 bytes",
            &bundle,
            &[Code(0), Code::OVERSIZED],
        )
        .await;
    let mut small = stage.good();
    small.payload.clear();
    let mut bundle = stage.scene.bundle(&[stage.good(), small]);
    bundle.entries[1].flags = 0x02;
    stage.check("a detached payload below 65,537 bytes", &bundle, &[Code(0), Code::BAD_STATEMENT]).await;
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_class_and_payload_are_held_against_the_statement() {
    let mut stage = Stage::new().await;
    let expired = stage.changed(FOR_OFFICE, |message| {
        (message.created, message.lifetime_s) = (wall().minus_ms(10_000), 9);
    });
    stage.between_good_ones("expired", expired, Code::EXPIRED).await;
    let future = stage.changed(FOR_OFFICE, |message| message.created = wall().plus_ms(90_000));
    stage.between_good_ones("created in the future", future, Code::NOT_YET_VALID).await;
    let skewed = stage.changed(FOR_OFFICE, |message| message.created = wall().plus_ms(30_000));
    stage.between_good_ones("created by a clock 30 s ahead", skewed, Code(0)).await;
    let urgent = stage.changed(FOR_OFFICE, |message| message.class = Class::Urgent);
    stage.between_good_ones("urgent on the interactive lane", urgent, Code::BAD_STATEMENT).await;
    let other = stage.changed(FOR_OFFICE, |message| message.payload_digest = Digest::of(b"Gute Nacht"));
    stage.between_good_ones("another payload of this length", other, Code::DIGEST_MISMATCH).await;
    let longer = stage.changed(FOR_OFFICE, |message| message.payload_len += 1);
    stage.between_good_ones("a payload of another length", longer, Code::DIGEST_MISMATCH).await;
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_asked_for_decides_what_is_refused() {
    let mut stage = Stage::new().await;
    let to = |recipient: &str| {
        let recipient = recipient.parse().unwrap();
        move |message: &mut Message| message.recipient = Some(recipient)
    };
    let assert = |assurance| move |message: &mut Message| message.assurance = Some(assurance);
    let sealed = |message: &mut Message| message.encryption_key = Some(Digest::of(b"a key nobody has"));
    for (what, letter, code) in [
        ("nobody is responsible", stage.changed(FOR_NOBODY, |_| ()), Code::NO_ROUTE),
        ("a recipient nobody knows", stage.changed(FOR_OFFICE, to("de/nobody")), Code::RECIPIENT_UNKNOWN),
        ("an explicit recipient", stage.changed(FOR_NOBODY, to("de/office")), Code(0)),
        ("an explicit recipient that is not attached", stage.changed(FOR_OFFICE, to("de/absent")), Code::NOT_ATTACHED),
        ("responsible and not attached", stage.changed(FOR_ABSENT, |_| ()), Code::NOT_ATTACHED),
        (
            "no assurance where some is asked for",
            stage.changed(FOR_OFFICE_SUBSTANTIAL, |_| ()),
            Code::ASSURANCE_TOO_LOW,
        ),
        ("too low", stage.changed(FOR_OFFICE_SUBSTANTIAL, assert(Assurance::Low)), Code::ASSURANCE_TOO_LOW),
        ("just enough", stage.changed(FOR_OFFICE_SUBSTANTIAL, assert(Assurance::Substantial)), Code(0)),
        ("still too low", stage.changed(FOR_OFFICE_HIGH, assert(Assurance::Substantial)), Code::ASSURANCE_TOO_LOW),
        ("above the grant", stage.changed(FOR_OFFICE_HIGH, assert(Assurance::High)), Code::ASSURANCE_NOT_GRANTED),
        (
            "above the grant, where none is asked for",
            stage.changed(FOR_OFFICE, assert(Assurance::High)),
            Code::ASSURANCE_NOT_GRANTED,
        ),
        (
            "in the clear where encryption is required",
            stage.changed(FOR_OFFICE_SEALED, |_| ()),
            Code::ENCRYPTION_REQUIRED,
        ),
        ("encrypted for a key of nobody responsible", stage.changed(FOR_OFFICE_SEALED, sealed), Code::RE_RESOLVE),
    ] {
        stage.between_good_ones(what, letter, code).await;
    }
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_not_attached_says_which_endpoint_at_which_router_and_when_to_try_again() {
    let mut stage = Stage::new().await;
    let bundle = stage.scene.bundle(&[stage.scene.letter(&stage.portal, FOR_ABSENT)]);
    let settled = stage.portal.outcomes(&bundle).await.remove(0);
    let detail = settled.detail();
    assert_eq!(detail.endpoint.as_ref(), Some(&stage.scene.absent));
    assert_eq!(detail.router.as_ref().unwrap().as_str(), "de/router/r1");
    assert!(detail.retry_after_ms.is_some() && detail.presence.is_some(), "{detail:?}");
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_has_one_entry_in_a_bundle() {
    let mut stage = Stage::new().await;
    let of_case = |stage: &Stage, case: &'static [u8]| {
        stage.changed(FOR_OFFICE, |message| message.case = Some(Bytes::from_static(case)))
    };
    let letters = [of_case(&stage, b"one"), of_case(&stage, b"two"), of_case(&stage, b"one"), stage.good()];
    let bundle = stage.scene.bundle(&letters);
    stage.check("two of case one", &bundle, &[Code(0), Code(0), Code::CASE_ORDER, Code(0)]).await;
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_writes_no_hop_header() {
    let mut stage = Stage::new().await;
    let office = stage.scene.office.clone();
    let bundle = |stage: &Stage| stage.scene.bundle(&[stage.good()]);
    let hopped = bundle(&stage).passed_on(1, &office);
    stage.all("hops and recipient", &hopped, Code::BAD_STATEMENT).await;
    let chosen = bundle(&stage).passed_on(0, &office);
    stage.all("a recipient", &chosen, Code::BAD_STATEMENT).await;
    let mut redelivered = bundle(&stage);
    redelivered.entries[0].flags = 0x01;
    stage.all("redelivered is the sender's to say", &redelivered, Code(0)).await;
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grant_nothing_is_sent_but_replies() {
    let scene = Scene::one_router();
    let mut portal = scene.portal_at("r1").await;
    let mut stranger = scene.attached(&scene.stranger, "stranger", "r1").await;
    let of_stranger = scene.signer(&scene.stranger);
    let letter = Letter::new(of_stranger.message(FOR_OFFICE, "147130000000", stranger.version()), HELLO);
    let settled = stranger.outcomes(&RawBundle::signed(&of_stranger.key, &[letter])).await;
    assert_eq!(codes(&settled), [Code::GRANT_MISSING]);

    // The office has no grant either, but whoever is named in a route may answer.
    let mut office = scene.office_at("r1").await;
    let signer = scene.signer(&scene.office);
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = office.receive().await;
    office.receipts(&signer, &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(sent.label(0)).await.is_delivered());
    let answer = |in_reply_to, recipient, assurance| {
        let mut message = signer.message(FOR_OFFICE, "147130000000", office.version());
        (message.in_reply_to, message.recipient, message.assurance) = (in_reply_to, recipient, assurance);
        Letter::new(message, b"Bescheid")
    };
    let (asked, asker) = (Some(arrival.ids()[0]), Some(scene.portal.clone()));
    let letters = [
        answer(None, asker.clone(), None),
        answer(asked, None, None),
        answer(asked, asker.clone(), Some(Assurance::Low)),
        answer(asked, asker, None),
    ];
    let sent = office.send(&RawBundle::signed(&signer.key, &letters)).await;
    for (index, code) in [Code::GRANT_MISSING, Code::GRANT_MISSING, Code::ASSURANCE_NOT_GRANTED].into_iter().enumerate()
    {
        assert_eq!(office.outcome(sent.label(u16::try_from(index).unwrap())).await.code(), code);
    }
    let reply = portal.receive().await;
    assert_eq!(reply.messages()[0].in_reply_to, asked);
    portal.receipts(&scene.signer(&scene.portal), &reply, Outcome::Delivered).await;
    assert!(office.outcome(sent.label(3)).await.is_delivered());
    let books = scene.network.stop()[0].1;
    assert_eq!((books.accepted, books.delivered, books.refused), (6, 2, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ask_and_a_resend_reach_the_recipient_as_what_they_are() {
    let scene = Scene::one_router();
    let mut office = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let mut expired = scene.message(&portal, FOR_OFFICE).with_payload(HELLO);
    (expired.created, expired.lifetime_s) = (wall().minus_ms(60_000), 30);
    let mut bundle = scene.bundle(&[Letter::as_is(&expired, b""), scene.letter(&portal, FOR_OFFICE)]);
    (bundle.entries[0].flags, bundle.entries[1].flags) = (0x04, 0x01);
    let sent = portal.send(&bundle).await;
    let arrival = office.receive().await;
    let [ask, resend] = arrival.part.entries() else { panic!("{arrival:?}") };
    assert!(ask.hop.ask && !ask.hop.redelivered && ask.payload.is_empty());
    assert!(resend.hop.redelivered && !resend.hop.ask && resend.payload == HELLO);
    office.settle(&arrival, Code::UNKNOWN_MESSAGE).await;
    for index in 0..2 {
        assert_eq!(portal.outcome(sent.label(index)).await.code(), Code::UNKNOWN_MESSAGE);
    }
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_encrypted_for_the_responsible_endpoint_is_delivered_until_its_key_changes() {
    let mut scene = Scene::new();
    let office = scene.office.clone();
    let encryption_key = || {
        let key = SigningKey::generate(Algorithm::Esp256).unwrap();
        EncryptionKey::from_cose_key(&key.public().to_cose_key()).unwrap()
    };
    let (key, next) = (encryption_key(), encryption_key());
    scene.network.world.entry(&office).encryption_keys = vec![key.clone()];
    scene.network.publish();
    scene.network.start("r1", &Settings::new());
    let mut stage = Stage::on(scene).await;
    let (service, jurisdiction) = (FOR_OFFICE_SEALED.parse().unwrap(), WHERE.parse().unwrap());
    let resolve = ControlFrame::Resolve { req: 3, service, jurisdiction };
    let resolved = stage.portal.ask(&resolve).await;
    let ControlFrame::Resolved { req: 3, code: Code(0), endpoint, encryption_key: found, .. } = resolved else {
        panic!("{resolved:?}")
    };
    assert_eq!((endpoint, found), (Some(office.clone()), Some(key.cose_key().clone())));
    let sealed = |message: &mut Message| message.encryption_key = Some(key.id().0);
    let letter = stage.changed(FOR_OFFICE_SEALED, sealed);
    stage.between_good_ones("encrypted for its key", letter, Code(0)).await;
    stage.scene.network.world.entry(&office).encryption_keys = vec![next];
    stage.scene.network.publish_and_wait();
    let letter = stage.changed(FOR_OFFICE_SEALED, sealed);
    stage.between_good_ones("encrypted for its former key", letter, Code::RE_RESOLVE).await;
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_above_its_budget_is_told_when_to_come_back() {
    let budget = Settings::new().with("budgets.endpoint.entries_per_s", 20);
    let mut stage = Stage::on(Scene::one_router_with(&budget)).await;
    let letters: Vec<Letter> = (0..15).map(|_| stage.good()).collect();
    let bundle = stage.scene.bundle(&letters);
    stage.all("within a second's worth", &bundle, Code(0)).await;
    let settled = stage.portal.outcomes(&bundle).await;
    assert!(settled.iter().all(|settled| settled.code() == Code::OVER_BUDGET));
    let retry_after_ms = settled[0].detail().retry_after_ms.unwrap();
    assert!((1..=1_000).contains(&retry_after_ms), "{retry_after_ms}");
    stage.scene.network.stop();
}
