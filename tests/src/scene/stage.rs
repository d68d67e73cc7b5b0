//! A portal that sends one bundle after the other to an office that delivers everything it gets.

use kernpost_codecs::{Code, Message};

use super::{FOR_OFFICE, HELLO, Scene};
use crate::wire_client::{Letter, Link, RawBundle, Serving, Settled};

/// The codes of a bundle's entries: 0 for delivered.
pub fn codes(settled: &[Settled]) -> Vec<Code> {
    settled.iter().map(|settled| if settled.is_delivered() { Code(0) } else { settled.code() }).collect()
}

/// A scene with an office that delivers everything, and an attached portal.
pub struct Stage {
    pub scene: Scene,
    pub portal: Link,
    pub office: Serving,
}

impl Stage {
    pub async fn new() -> Self {
        Self::on(Scene::one_router()).await
    }

    pub async fn on(scene: Scene) -> Self {
        let office = scene.serving_office("r1").await;
        let portal = scene.portal_at("r1").await;
        Self { scene, portal, office }
    }

    pub fn good(&self) -> Letter {
        self.scene.letter(&self.portal, FOR_OFFICE)
    }

    pub fn message(&self, service: &str) -> Message {
        self.scene.message(&self.portal, service)
    }

    /// A letter whose message was changed before it was encoded and signed.
    pub fn changed(&self, service: &str, change: impl FnOnce(&mut Message)) -> Letter {
        let mut message = self.message(service).with_payload(HELLO);
        change(&mut message);
        Letter::as_is(&message, HELLO)
    }

    /// Sends a good letter, the bad one, and another good one in one bundle.
    pub async fn between_good_ones(&mut self, what: &str, bad: Letter, expected: Code) {
        let bundle = self.scene.bundle(&[self.good(), bad, self.good()]);
        self.check(what, &bundle, &[Code(0), expected, Code(0)]).await;
    }

    pub async fn check(&mut self, what: &str, bundle: &RawBundle, expected: &[Code]) {
        let settled = self.portal.outcomes(bundle).await;
        assert_eq!(codes(&settled), expected, "{what}");
    }

    /// Every entry of the bundle settles with this code.
    pub async fn all(&mut self, what: &str, bundle: &RawBundle, expected: Code) {
        let expected = vec![expected; bundle.entries.len()];
        self.check(what, bundle, &expected).await;
    }
}
