//! A message's whole way over real links: library, router process, library, and the receipt back, 64 messages at a time.
//!
//! Sender and recipient are clients of the endpoint library in this process, the router is a process of its own; the
//! recipient's journal is in memory. What is measured is the time until all receipts of a batch are verified.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kernpost_endpoint::client::{JournalConfig, fresh_id};
use kernpost_endpoint::{Client, Outgoing, outcome_queue};
use kernpost_tests::client_process::{Desk, started};
use kernpost_tests::process::Settings;
use kernpost_tests::scene::{FOR_OFFICE, Scene, WHERE};
use tokio::runtime::Runtime;

/// Messages under way together.
const BATCH: usize = 64;

fn whole_link(criterion: &mut Criterion) {
    let mut scene = Scene::new();
    scene.network.publish();
    scene.network.start("r1", &Settings::new().with("router.workers", 1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let portal = Desk::new(&scene, "portal", "portal", &[&scene.portal], &["r1"]);
    let office = Desk::new(&scene, "office", "office", &[&scene.office], &["r1"]);
    let (sender, recipient) = runtime.block_on(async {
        let mut receiving = office.config(true);
        receiving.journal = JournalConfig::Memory;
        (portal.sender().await, started(receiving).await)
    });
    let mut group = criterion.benchmark_group("whole link");
    for payload in [256, 1_024, 16_384] {
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(format!("{BATCH} messages of {payload} B"), |bencher| {
            bencher.iter_custom(|rounds| time(&runtime, &scene, &sender, &recipient, payload, rounds));
        });
    }
    group.finish();
    runtime.block_on(async {
        sender.close(Duration::from_secs(5)).await;
        recipient.close(Duration::from_secs(5)).await;
    });
    scene.network.stop();
}

/// So many batches, one after the other.
fn time(
    runtime: &Runtime,
    scene: &Scene,
    sender: &Client,
    recipient: &Client,
    payload: usize,
    rounds: u64,
) -> Duration {
    let payload = Bytes::from(vec![0x5a; payload]);
    let message = || {
        let (service, place) = (FOR_OFFICE.parse().unwrap(), WHERE.parse().unwrap());
        Outgoing::new(fresh_id(), scene.portal.clone(), service, place, payload.clone())
    };
    let (queue, mut outcomes) = outcome_queue();
    runtime.block_on(async {
        let (mut deliveries, mut finished) = (Vec::new(), Vec::new());
        let began = Instant::now();
        for _ in 0..rounds {
            sender.send_all((0..BATCH).map(|_| message()).collect(), &queue).await.unwrap();
            let mut taken = 0;
            while taken < BATCH {
                taken += recipient.receive_many(&mut deliveries, BATCH).await;
                recipient.accept_all(deliveries.drain(..)).await.unwrap();
            }
            finished.clear();
            while finished.len() < BATCH {
                outcomes.receive_many(&mut finished, BATCH).await;
            }
        }
        began.elapsed()
    })
}

criterion_group!(benches, whole_link);
criterion_main!(benches);
