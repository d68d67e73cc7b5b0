//! Every signature algorithm between real processes: there and back, proved offline; and what hybrid senders cannot do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use bytes::Bytes;
use kernpost_codecs::archive::CoseReceipt;
use kernpost_codecs::key::KeyId;
use kernpost_codecs::root::sign_root;
use kernpost_codecs::{Algorithm, AttachToken, Code, EndpointId, Part, RootSignature, SigningKey};
use kernpost_endpoint::client::fresh_id;
use kernpost_endpoint::{Client, FinalOutcome, Outgoing};
use kernpost_tests::client_process::{Desk, ended};
use kernpost_tests::process::{Settings, wall};
use kernpost_tests::scene::{FOR_ABSENT, FOR_OFFICE, FOR_X, FOR_Y, Scene, Stage, WHERE};
use kernpost_tests::wire_client::{RawBundle, within};
use kernpost_tests::world::key_entry;

/// One endpoint with its desk and its client.
struct Side {
    id: EndpointId,
    desk: Desk,
    client: Client,
}

impl Side {
    async fn new(scene: &Scene, name: &str, link: &str, id: &EndpointId, router: &str) -> Self {
        let desk = Desk::new(scene, name, link, &[id], &[router]);
        let client = desk.recipient().await;
        Self { id: id.clone(), desk, client }
    }

    fn kids(&self, scene: &Scene) -> Vec<KeyId> {
        scene.network.world.all_keys(&self.id).iter().map(|key| key.public().id()).collect()
    }
}

fn kids(proofs: &[Bytes]) -> Vec<KeyId> {
    proofs.iter().map(|proof| CoseReceipt::parse(proof).unwrap().kid().unwrap()).collect()
}

/// Three messages there, accepted, their receipts believed by the sender and by `kernpost receipt verify`.
async fn carry(scene: &Scene, from: &Side, to: &Side, service: &str) {
    let mut sent = Vec::new();
    for payload in ["one", "two", "three"] {
        let (service, place) = (service.parse().unwrap(), WHERE.parse().unwrap());
        let outgoing =
            Outgoing::new(fresh_id(), from.id.clone(), service, place, Bytes::from_static(payload.as_bytes()));
        sent.push(from.client.send(outgoing).await.unwrap());
    }
    for _ in &sent {
        within("a message", to.client.receive()).await.unwrap().accept().await.unwrap();
    }
    let at = |name: &str| scene.network.folder().join(name).to_str().unwrap().to_owned();
    let (directory, anchor) = (at("directory"), at("trust-anchor.toml"));
    for sent in sent {
        let end = within("an outcome", sent.outcome()).await.unwrap();
        assert_eq!(end.outcome, FinalOutcome::Delivered, "{end:?}");
        let file = end.proof.unwrap().to_file();
        assert_eq!(kids(&file.receipt_proofs), to.kids(scene), "who signed the receipt");
        assert_eq!(kids(&file.message.as_ref().unwrap().1), from.kids(scene), "who signed the message");
        let file = from.desk.file("receipt", file.encode());
        let verify = ["receipt", "verify", &file, "--directory", &directory, "--trust-anchor", &anchor];
        from.desk.run(&verify).expect(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_algorithm_and_the_hybrid_profile_carry_messages_there_and_proofs_back() {
    let mut scene = Scene::new();
    let world = &mut scene.network.world;
    world.sign_with(&scene.portal, &Algorithm::HYBRID);
    world.sign_with(&scene.office, &Algorithm::HYBRID);
    world.sign_with(&scene.x, &[Algorithm::Esp384]);
    world.sign_with(&scene.y, &[Algorithm::MlDsa65]);
    world.sign_with(&scene.absent, &[Algorithm::Ed25519]);
    world.grant(&scene.absent, "99", "*", None);
    scene.network.start_pair(&Settings::new());

    let portal = Side::new(&scene, "portal", "portal", &scene.portal, "r1").await;
    let office = Side::new(&scene, "office", "office", &scene.office, "r2").await;
    let x = Side::new(&scene, "x", "x-alone", &scene.x, "r1").await;
    let y = Side::new(&scene, "y", "provider", &scene.y, "r2").await;
    let absent = Side::new(&scene, "absent", "absent", &scene.absent, "r1").await;
    for (name, at) in [("de/office", "r2"), ("de/y", "r2")] {
        scene.network.router("r1").wait_attached(name, &format!("de/router/{at}"));
    }
    for name in ["de/x", "de/absent"] {
        scene.network.router("r2").wait_attached(name, "de/router/r1");
    }

    carry(&scene, &portal, &office, FOR_OFFICE).await;
    carry(&scene, &x, &y, FOR_Y).await;
    carry(&scene, &y, &x, FOR_X).await;
    carry(&scene, &absent, &office, FOR_OFFICE).await;
    carry(&scene, &portal, &absent, FOR_ABSENT).await;
    for side in [portal, office, x, y, absent] {
        ended(side.client).await;
    }
    scene.network.stop();
}

/// A letter of the portal, signed with these keys in this order.
fn signed(stage: &Stage, keys: &[&SigningKey]) -> RawBundle {
    let mut bundle = stage.scene.bundle(&[stage.good()]);
    let root = Part::decode(bundle.body().into()).unwrap().root();
    bundle.signatures = keys.iter().map(|key| sign_root(key, &root).unwrap()).collect();
    bundle
}

fn changed(signature: &RootSignature, change: impl FnOnce(&mut Vec<u8>)) -> RootSignature {
    let mut bytes = signature.signature.to_vec();
    change(&mut bytes);
    RootSignature { signature: bytes.into(), ..signature.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hybrid_endpoint_attaches_and_sends_with_both_signatures_or_not_at_all() {
    let mut scene = Scene::new();
    scene.network.world.sign_with(&scene.portal, &Algorithm::HYBRID);
    // One more post-quantum key of the portal: two signatures of one kind are not both kinds.
    let another = SigningKey::generate(Algorithm::MlDsa65).unwrap();
    scene.network.world.entry(&scene.portal).keys.push(key_entry(&another, wall()));
    scene.network.publish();
    scene.network.start("r1", &Settings::new());
    let office = scene.serving_office("r1").await;
    let [classical, post_quantum] = &scene.network.world.all_keys(&scene.portal)[..] else { panic!("not two keys") };

    let mut portal = scene.link("portal", "r1").await;
    let attachment = portal.attachment(&scene.portal);
    for alone in [classical, post_quantum] {
        assert_eq!(portal.try_attach(&attachment, alone).await, Code::BAD_SIGNATURE, "{alone:?} alone");
    }
    let token = |keys: [&SigningKey; 2]| AttachToken::sign(&attachment, &keys).unwrap();
    assert_eq!(portal.try_token(token([post_quantum, &another])).await, Code::BAD_SIGNATURE);
    let good = token([classical, post_quantum]);
    let mut bad = good.to_vec();
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(portal.try_token(bad.into()).await, Code::BAD_SIGNATURE, "the second signature changed");
    assert_eq!(portal.try_token(good).await, Code(0));

    let mut stage = Stage { scene, portal, office };
    let [classical, post_quantum] = &stage.scene.network.world.all_keys(&stage.scene.portal)[..] else { panic!() };
    for (what, keys) in [
        ("the classical signature alone", &[classical][..]),
        ("the post-quantum signature alone", &[post_quantum]),
        ("the classical key twice", &[classical, classical]),
        ("the post-quantum key twice", &[post_quantum, post_quantum]),
        ("two post-quantum keys", &[post_quantum, &another]),
    ] {
        let bundle = signed(&stage, keys);
        stage.all(what, &bundle, Code::BAD_SIGNATURE).await;
    }
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, usize, Change); 5] = [
        ("the classical signature changed", 0, |bytes| bytes[7] ^= 1),
        ("the post-quantum signature changed", 1, |bytes| bytes[3_000] ^= 1),
        ("the post-quantum signature a byte short", 1, |bytes| bytes.truncate(3_308)),
        ("the post-quantum signature a byte long", 1, |bytes| bytes.push(0)),
        ("no bytes for the post-quantum signature", 1, Vec::clear),
    ];
    for (what, at, change) in changes {
        let mut bundle = signed(&stage, &[classical, post_quantum]);
        bundle.signatures[at] = changed(&bundle.signatures[at], change);
        stage.all(what, &bundle, Code::BAD_SIGNATURE).await;
    }
    let mut crossed = signed(&stage, &[classical, post_quantum]);
    let (first, second) = (crossed.signatures[0].protected.clone(), crossed.signatures[1].protected.clone());
    (crossed.signatures[0].protected, crossed.signatures[1].protected) = (second, first);
    stage.all("each signature under the other's header", &crossed, Code::BAD_SIGNATURE).await;
    for keys in [[classical, post_quantum], [post_quantum, classical]] {
        let bundle = signed(&stage, &keys);
        stage.all("both signatures", &bundle, Code(0)).await;
    }
    stage.scene.network.stop();
}
