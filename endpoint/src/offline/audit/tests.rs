use std::time::Duration;

use kernpost_codecs::key::SigningKey;
use kernpost_routing_table::model::Maintainers;
use kernpost_routing_table::{Directory, SerialFloor, TrustAnchor, ZoneSnapshot, snapshot};

use super::*;
use crate::Outgoing;
use crate::client::{fresh_id, now};
use crate::in_memory::InMemory;

/// A real receipt by `sn/leipzig` for a message of `de/portal`, and the directory it was issued in.
struct Exchange {
    network: InMemory,
    file: ProofFile,
}

impl Exchange {
    async fn new() -> Self {
        let builder = InMemory::builder().endpoint("de/portal").endpoint("sn/leipzig").endpoint("sn/other");
        let network = builder.route("99050012", "14713", &["sn/leipzig"]).start().unwrap();
        let (portal, leipzig) = (network.client("de/portal").unwrap(), network.client("sn/leipzig").unwrap());
        let (service, place) = ("99050012104000".parse().unwrap(), "147130000000".parse().unwrap());
        let outgoing = Outgoing::new(fresh_id(), "de/portal".parse().unwrap(), service, place, Bytes::new());
        let sent = portal.send(outgoing).await.unwrap();
        leipzig.receive().await.unwrap().accept().await.unwrap();
        let file = sent.outcome().await.unwrap().proof.unwrap().to_file();
        network.close(Duration::from_secs(5)).await;
        Self { network, file }
    }

    /// The directory as it is, or with its zone `sn` changed; as of an instant.
    fn table(&self, at: UnixMs, change: impl Fn(&mut ZoneSnapshot)) -> Table {
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
        let maintainers = Maintainers { keys: vec![key.public().clone()], threshold: 1 };
        let sign = |zone: &ZoneSnapshot| {
            let mut zone = zone.clone();
            zone.delegations.iter_mut().for_each(|below| below.maintainers = maintainers.clone());
            if zone.zone.as_str() == "sn" {
                change(&mut zone);
            }
            snapshot::sign(&zone, &[&key]).unwrap()
        };
        let signed: Vec<Bytes> = self.network.directory().zones().map(sign).collect();
        let root_zone = self.network.trust_anchor().root_zone.clone();
        let anchor = TrustAnchor { root_zone, maintainers: maintainers.clone(), minimum_serial: 0 };
        let directory = Directory::verify(&anchor, &signed, &SerialFloor::new(), now()).unwrap();
        Table::compile(&directory, at, 1).unwrap()
    }

    /// The names of the checks that fail, with what they say.
    fn failed(&self, at_receipt: &Table, at_sending: &Table, current: &Table) -> Vec<(&'static str, String)> {
        let audit = audit(&self.file, &Tables { at_receipt, at_sending, current }, now()).unwrap();
        let failed: Vec<_> =
            audit.checks.iter().filter(|check| !check.passed).map(|check| (check.name, check.detail.clone())).collect();
        assert_eq!(failed.is_empty(), audit.verified());
        failed
    }
}

fn same(_: &mut ZoneSnapshot) {}

#[tokio::test]
async fn a_key_that_was_revoked_since_does_not_count() {
    let exchange = Exchange::new().await;
    let then = exchange.table(now(), same);
    assert_eq!(exchange.failed(&then, &then, &then), []);
    let revoked = exchange.table(now(), |zone| zone.endpoints.iter_mut().for_each(|one| one.keys[0].revoked = true));
    let [(name, detail)] = &exchange.failed(&then, &then, &revoked)[..] else { panic!("not one fault") };
    assert!(*name == "receipt key" && detail.contains("revoked"), "{detail}");
}

#[tokio::test]
async fn a_key_counts_between_its_dates_only() {
    let exchange = Exchange::new().await;
    let later = exchange.table(now(), |zone| {
        zone.endpoints.iter_mut().for_each(|one| one.keys[0].not_before = now().plus_ms(3_600_000));
    });
    let [(name, detail)] = &exchange.failed(&later, &later, &later)[..] else { panic!("not one fault") };
    assert!(*name == "receipt key" && detail.contains("counts from"), "{detail}");
}

#[tokio::test]
async fn who_was_not_responsible_cannot_issue_it_and_who_was_is_named() {
    let exchange = Exchange::new().await;
    let others = exchange.table(now(), |zone| zone.routes[0].endpoints = ["sn/other".parse().unwrap()].into());
    let [(name, detail)] = &exchange.failed(&others, &others, &others)[..] else { panic!("not one fault") };
    assert!(*name == "issuer" && detail.contains("sn/other was"), "{detail}");
}

#[tokio::test]
async fn a_rule_that_ended_between_message_and_receipt_still_counts() {
    let exchange = Exchange::new().await;
    let ended = exchange.table(now(), |zone| zone.routes[0].valid_until = Some(now().minus_ms(60_000)));
    let before = exchange.table(now(), same);
    assert_eq!(exchange.failed(&ended, &before, &before), []);
    let [(name, detail)] = &exchange.failed(&ended, &ended, &before)[..] else { panic!("not one fault") };
    assert!(*name == "issuer" && detail.contains("nobody was"), "{detail}");
}

#[tokio::test]
async fn a_required_algorithm_that_is_missing_is_named() {
    let exchange = Exchange::new().await;
    let strict = exchange.table(now(), |zone| {
        for endpoint in zone.endpoints.iter_mut().filter(|one| one.id.as_str() == "sn/leipzig") {
            let mut second = endpoint.keys[0].clone();
            second.key = SigningKey::generate(Algorithm::Ed25519).unwrap().public().clone();
            endpoint.keys.push(second);
            endpoint.required_algorithms = vec![Algorithm::Esp256, Algorithm::Ed25519];
        }
    });
    let [(name, detail)] = &exchange.failed(&strict, &strict, &strict)[..] else { panic!("not one fault") };
    assert!(*name == "receipt algorithms" && detail.contains("Ed25519"), "{detail}");
}

#[tokio::test]
async fn one_proof_twice_is_no_second_signature() {
    let mut exchange = Exchange::new().await;
    let proof = exchange.file.receipt_proofs[0].clone();
    exchange.file.receipt_proofs.push(proof);
    let table = exchange.table(now(), same);
    let [(name, detail)] = &exchange.failed(&table, &table, &table)[..] else { panic!("not one fault") };
    assert!(*name == "receipt algorithms" && detail.contains("two keys"), "{detail}");
}

#[tokio::test]
async fn a_receipt_from_the_future_does_not_count() {
    let exchange = Exchange::new().await;
    let table = exchange.table(now(), same);
    let tables = Tables { at_receipt: &table, at_sending: &table, current: &table };
    let earlier = audit(&exchange.file, &tables, now().minus_ms(600_000)).unwrap();
    let failed: Vec<&str> = earlier.checks.iter().filter(|check| !check.passed).map(|check| check.name).collect();
    assert_eq!(failed, ["time"]);
}
