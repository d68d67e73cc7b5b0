//! Hostile senders, recipients and routers: forged signatures and proofs, others' keys, captured messages, false receipts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use kernpost_codecs::root::sign_root;
use kernpost_codecs::tree::EMPTY_LEAF;
use kernpost_codecs::{Algorithm, Assurance, Code, Digest, Outcome, Part, SettlementFrame, SigningKey};
use kernpost_routing_table::model::KeyEntry;
use kernpost_tests::process::{Settings, wall};
use kernpost_tests::scene::{FOR_ABSENT, FOR_OFFICE, FOR_X, HELLO, Scene, Stage, codes};
use kernpost_tests::wire_client::{Arrival, Letter, Link, RawBundle};
use kernpost_tests::world::key_entry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_tree_with_its_siblings_is_as_good_as_the_whole() {
    let mut stage = Stage::new().await;
    let letters: Vec<Letter> = (0..5).map(|_| stage.good()).collect();
    let whole = stage.scene.bundle(&letters);
    for part in [&[0][..], &[4], &[1, 3], &[0, 1, 2, 3, 4]] {
        stage.all(&format!("entries {part:?}"), &whole.only(part), Code(0)).await;
    }
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_whose_signature_does_not_hold_is_refused_as_a_whole() {
    let mut stage = Stage::new().await;
    let whole = |stage: &Stage| stage.scene.bundle(&[stage.good(), stage.good(), stage.good()]);
    let key = stage.scene.key(&stage.scene.portal);

    let mut tampered = whole(&stage);
    let statement = &mut tampered.entries[1].statement;
    let at = statement.windows(32).position(|window| window == Digest::of(HELLO).0).unwrap();
    statement[at] ^= 1;
    stage.all("a tampered statement", &tampered, Code::BAD_SIGNATURE).await;

    let mut sibling = whole(&stage).only(&[0, 2]);
    sibling.siblings[0].0[5] ^= 0x80;
    stage.all("a tampered sibling", &sibling, Code::BAD_SIGNATURE).await;

    let mut swapped = whole(&stage);
    swapped.entries.swap(0, 2);
    (swapped.entries[0].index, swapped.entries[2].index) = (0, 2);
    stage.all("entries in other places", &swapped, Code::BAD_SIGNATURE).await;

    let mut by_another = whole(&stage);
    let other = SigningKey::generate(Algorithm::Esp256).unwrap();
    by_another.signatures[0].signature = sign_root(&other, &root_of(&by_another)).unwrap().signature;
    stage.all("signed by another key under this kid", &by_another, Code::BAD_SIGNATURE).await;

    let mut of_another_root = whole(&stage);
    of_another_root.signatures[0] = sign_root(&key, &Digest::of(b"another root")).unwrap();
    stage.all("the signature of another root", &of_another_root, Code::BAD_SIGNATURE).await;

    let mut short = whole(&stage);
    short.signatures[0].signature = short.signatures[0].signature.slice(..63);
    stage.all("a signature cut short", &short, Code::BAD_SIGNATURE).await;

    let mut unknown = whole(&stage);
    let protected = unknown.signatures[0].protected.to_vec();
    // -9 (ESP256) becomes -50 (ML-DSA-87): one byte more, still deterministic.
    assert_eq!(protected[..3], [0xa4, 0x01, 0x28]);
    unknown.signatures[0].protected = [&[0xa4, 0x01, 0x38, 0x31], protected.get(3..).unwrap()].concat().into();
    stage.all("an algorithm nobody here knows", &unknown, Code::BAD_SIGNATURE).await;

    let mut both = whole(&stage);
    both.signatures.push(both.signatures[0].clone());
    both.signatures[1].signature = sign_root(&key, &Digest::of(b"another root")).unwrap().signature;
    stage.all("a second signature that does not hold", &both, Code::BAD_SIGNATURE).await;
    let portal = &mut stage.portal;
    stage.scene.deliver_one(portal).await;
    stage.scene.network.stop();
}

fn root_of(bundle: &RawBundle) -> Digest {
    Part::decode(bundle.body().into()).unwrap().root()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_with_too_much_or_too_little_is_refused_as_a_whole() {
    let mut stage = Stage::new().await;
    let whole = |stage: &Stage| stage.scene.bundle(&[stage.good(), stage.good(), stage.good()]);
    let mut superfluous = whole(&stage);
    superfluous.siblings.push(Digest::of(b"one more"));
    stage.all("a superfluous sibling", &superfluous, Code::BAD_PROOF).await;
    let mut more = whole(&stage).only(&[1]);
    more.siblings.push(Digest::of(b"one more"));
    stage.all("one sibling too many", &more, Code::BAD_PROOF).await;
    let mut less = whole(&stage).only(&[1]);
    less.siblings.pop();
    stage.all("one sibling missing", &less, Code::BAD_PROOF).await;
    let mut outside = whole(&stage);
    outside.entries[2].index = 3;
    stage.all("an index outside the tree", &outside, Code::BAD_PROOF).await;
    let mut lone = stage.scene.bundle(&[stage.good()]);
    lone.siblings.push(EMPTY_LEAF);
    stage.all("the implied leaf, sent", &lone, Code::BAD_PROOF).await;
    let portal = &mut stage.portal;
    stage.scene.deliver_one(portal).await;
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_good_key_of_the_sender_signs_for_it() {
    let mut scene = Scene::new();
    let now = wall();
    let keys: Vec<SigningKey> = (0..3).map(|_| SigningKey::generate(Algorithm::Esp256).unwrap()).collect();
    let [old, revoked, early] = keys.try_into().unwrap();
    let (past, future) = (now.minus_ms(1_000), now.plus_ms(3_600_000));
    let entries = [
        KeyEntry { not_before: now.minus_ms(86_400_000), sign_until: past, ..key_entry(&old, now) },
        KeyEntry { revoked: true, ..key_entry(&revoked, now) },
        KeyEntry { not_before: future, ..key_entry(&early, now) },
    ];
    scene.network.world.entry(&scene.portal.clone()).keys.extend(entries);
    scene.network.publish();
    scene.network.start("r1", &Settings::new());
    let mut stage = Stage::on(scene).await;
    let nobodys = SigningKey::generate(Algorithm::Esp256).unwrap();
    let of_x = stage.scene.key(&stage.scene.x);
    for (what, key, code) in [
        ("another endpoint's key", &of_x, Code::KEY_NOT_OWNED),
        ("nobody's key", &nobodys, Code::KEY_NOT_OWNED),
        ("a key past its sign-until", &old, Code::KEY_EXPIRED),
        ("a key before its not-before", &early, Code::KEY_EXPIRED),
        ("a revoked key", &revoked, Code::KEY_REVOKED),
    ] {
        let bundle = RawBundle::signed(key, &[stage.good(), stage.good()]);
        stage.all(what, &bundle, code).await;
    }
    let mut no_kid = stage.scene.bundle(&[stage.good()]);
    no_kid.signatures[0].protected = Bytes::from_static(b"\xa0");
    stage.all("no key named", &no_kid, Code::BAD_SIGNATURE).await;
    stage.scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_requires_two_algorithms_gets_both_or_nothing() {
    let mut scene = Scene::new();
    let second = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let entry = scene.network.world.entry(&scene.portal.clone());
    entry.keys.push(key_entry(&second, wall()));
    entry.required_algorithms = vec![Algorithm::Esp256, Algorithm::Ed25519];
    scene.network.publish();
    scene.network.start("r1", &Settings::new());
    let office = scene.serving_office("r1").await;
    let first = scene.key(&scene.portal);
    let mut portal = scene.link("portal", "r1").await;
    let attachment = portal.attachment(&scene.portal);
    assert_eq!(portal.try_attach(&attachment, &first).await, Code::BAD_SIGNATURE);
    let token = kernpost_codecs::AttachToken::sign(&attachment, &[&first, &second]).unwrap();
    assert_eq!(portal.try_token(token).await, Code(0));

    let mut stage = Stage { scene, portal, office };
    let one = stage.scene.bundle(&[stage.good()]);
    stage.all("one of two signatures", &one, Code::BAD_SIGNATURE).await;
    let mut both = stage.scene.bundle(&[stage.good()]);
    both.signatures.push(sign_root(&second, &root_of(&both)).unwrap());
    stage.all("both signatures", &both, Code(0)).await;
    stage.scene.network.stop();
}

/// The bundle as it arrived, sent anew by somebody else.
fn captured(arrival: &Arrival) -> RawBundle {
    let entries = arrival.part.entries().iter().map(|entry| kernpost_tests::wire_client::RawEntry {
        index: entry.index.into(),
        flags: 0,
        hops: 0,
        recipient: None,
        statement: entry.statement.to_vec(),
        payload: entry.payload.to_vec(),
    });
    RawBundle {
        tree_size: arrival.part.tree().size().into(),
        signatures: arrival.part.signatures().to_vec(),
        entries: entries.collect(),
        siblings: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_captured_message_is_nobody_elses_to_send() {
    let scene = Scene::one_router();
    let mut office = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = office.receive().await;
    office.receipts(&scene.signer(&scene.office), &arrival, Outcome::Delivered).await;
    assert!(portal.outcome(sent.label(0)).await.is_delivered());

    let captured = captured(&arrival);
    let resigned = {
        let letters: Vec<Letter> = captured
            .entries
            .iter()
            .map(|entry| Letter { statement: entry.statement.clone(), payload: entry.payload.clone() })
            .collect();
        RawBundle::signed(&scene.key(&scene.x), &letters)
    };
    let mut x = scene.attached(&scene.x, "provider", "r1").await;
    for bundle in [&captured, &resigned] {
        assert_eq!(codes(&x.outcomes(bundle).await), [Code::SENDER_NOT_ATTACHED]);
        assert_eq!(codes(&office.outcomes(bundle).await), [Code::SENDER_NOT_ATTACHED]);
    }
    // Where the sender itself is attached, another's signature does not help either.
    assert_eq!(codes(&portal.outcomes(&resigned).await), [Code::KEY_NOT_OWNED]);
    assert!(office.arrived().is_empty(), "the office sees the message once");
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_sent_twice_by_its_sender_has_new_labels_and_arrives_twice() {
    let scene = Scene::one_router();
    let mut office = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let bundle = scene.bundle(&[scene.letter(&portal, FOR_OFFICE), scene.letter(&portal, FOR_OFFICE)]);
    let (first, second) = (portal.send(&bundle).await, portal.send(&bundle).await);
    assert_ne!(first, second);
    let signer = scene.signer(&scene.office);
    let arrivals = [office.receive().await, office.receive().await];
    // Whether it is the same message is for the recipient's journal to say.
    assert_eq!(arrivals[0].ids(), arrivals[1].ids());
    assert_ne!(arrivals[0].labels(), arrivals[1].labels());
    for arrival in &arrivals {
        office.receipts(&signer, arrival, Outcome::Delivered).await;
    }
    for sent in [first, second] {
        for index in 0..2 {
            assert!(portal.outcome(sent.label(index)).await.is_delivered());
        }
    }
    assert_eq!(scene.network.stop()[0].1.delivered, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_only_as_good_as_its_issuer() {
    let scene = Scene::one_router_with(&Settings::new().with("deadlines.endpoint_ms", 1_500));
    let mut office = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let (of_office, of_x) = (scene.signer(&scene.office), scene.signer(&scene.x));
    let bundle = |portal: &Link| scene.bundle(&[scene.letter(portal, FOR_OFFICE)]);

    let left = portal.send(&bundle(&portal)).await;
    let mended = portal.send(&bundle(&portal)).await;
    let arrivals = [office.receive().await, office.receive().await];
    for arrival in &arrivals {
        let by_x = office.receipts_frame(&of_x, arrival, Outcome::Delivered, None);
        let mut in_the_offices_name = by_x.clone();
        in_the_offices_name.issuer = of_office.id.clone().into();
        let mut without_proof = office.receipts_frame(&of_office, arrival, Outcome::Delivered, None);
        without_proof.siblings = vec![Digest::of(b"one more"); 2];
        for forged in [by_x, in_the_offices_name, without_proof] {
            office.settlement_frame(&SettlementFrame::Receipts(forged)).await;
        }
    }
    office.ping().await;
    assert!(!portal.has_settled(left.label(0)) && !portal.has_settled(mended.label(0)));
    // The label stayed open: the right receipt still counts.
    office.receipts(&of_office, &arrivals[1], Outcome::Delivered).await;
    let settled = portal.outcome(mended.label(0)).await;
    assert!(settled.is_delivered() && settled.receipt().is_signed_by(of_office.key.public()));
    assert_eq!(portal.outcome(left.label(0)).await.code(), Code::UNDECIDED_DEADLINE);
    // Too late for this one; the portal's client would panic at a second settlement.
    office.receipts(&of_office, &arrivals[0], Outcome::Delivered).await;
    office.ping().await;
    portal.ping().await;
    let books = scene.network.stop()[0].1;
    assert_eq!((books.delivered, books.undecided), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipients_own_bad_signature_reaches_the_sender_who_sees_it() {
    let scene = Scene::one_router();
    let mut office = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let of_office = scene.signer(&scene.office);
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = office.receive().await;
    let mut frame = office.receipts_frame(&of_office, &arrival, Outcome::Delivered, None);
    frame.signatures[0].signature = vec![7; 64].into();
    office.settlement_frame(&SettlementFrame::Receipts(frame)).await;
    let settled = portal.outcome(sent.label(0)).await;
    assert!(!settled.receipt().is_signed_by(of_office.key.public()));
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_router_passes_on_is_checked_like_everything_else() {
    let scene = Scene::one_router();
    let mut office = scene.office_at("r1").await;
    let mut router = scene.router_link("r3", "r1").await;
    let letter = |service| scene.letter(&router, service);
    let to_office = |letters: &[Letter]| scene.bundle(letters).passed_on(1, &scene.office);

    let mut tampered = to_office(&[letter(FOR_OFFICE)]);
    tampered.signatures[0].signature = vec![9; 64].into();
    let mut by_x = RawBundle::signed(&scene.key(&scene.x), &[letter(FOR_OFFICE)]);
    by_x = by_x.passed_on(1, &scene.office);
    let unaddressed = scene.bundle(&[letter(FOR_OFFICE)]);
    let for_x = to_office(&[letter(FOR_X)]);
    let to_nobody = scene.bundle(&[letter(FOR_OFFICE)]).passed_on(1, &"de/nobody".parse().unwrap());
    let to_absent = scene.bundle(&[letter(FOR_ABSENT)]).passed_on(1, &scene.absent);
    let above = Letter::new(
        {
            let mut message = scene.message(&router, FOR_OFFICE);
            message.assurance = Some(Assurance::High);
            message
        },
        HELLO,
    );
    let above = to_office(&[above]);
    let far = scene.bundle(&[letter(FOR_OFFICE)]).passed_on(4, &scene.office);
    let last = scene.bundle(&[letter(FOR_OFFICE)]).passed_on(3, &scene.office);
    for (what, bundle, code) in [
        ("a signature that does not hold", tampered, Code::BAD_SIGNATURE),
        ("another endpoint's signature", by_x, Code::KEY_NOT_OWNED),
        ("no recipient chosen", unaddressed, Code::BAD_STATEMENT),
        ("a recipient that is not responsible", for_x, Code::STALE_ROUTE),
        ("a recipient this table does not know", to_nobody, Code::STALE_ROUTE),
        ("a recipient that is not attached", to_absent, Code::NOT_ATTACHED),
        ("an assurance above the grant", above, Code::ASSURANCE_NOT_GRANTED),
        ("four hops", far, Code::HOP_LIMIT),
    ] {
        assert_eq!(codes(&router.outcomes(&bundle).await), [code], "{what}");
    }
    assert!(office.arrived().is_empty());
    let sent = router.send(&last).await;
    let arrival = office.receive().await;
    office.receipts(&scene.signer(&scene.office), &arrival, Outcome::Delivered).await;
    assert!(router.outcome(sent.label(0)).await.is_delivered(), "three hops are not too many");
    scene.network.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_carries_its_problem_to_the_sender() {
    let scene = Scene::one_router();
    let mut office = scene.office_at("r1").await;
    let mut portal = scene.portal_at("r1").await;
    let sent = portal.send(&scene.bundle(&[scene.letter(&portal, FOR_OFFICE)])).await;
    let arrival = office.receive().await;
    let problem = r#"{"title":"Anlage fehlt"}"#;
    let frame = office.receipts_frame(&scene.signer(&scene.office), &arrival, Outcome::Rejected, Some(problem));
    office.settlement_frame(&SettlementFrame::Receipts(frame)).await;
    let settled = portal.outcome(sent.label(0)).await;
    assert_eq!(settled.receipt().outcome, Outcome::Rejected);
    assert_eq!(settled.receipt().problem.as_deref(), Some(problem));
    assert_eq!(scene.network.stop()[0].1.rejected, 1);
}
