//! Does a lookup take longer while another thread makes and publishes a table every 100 ms?
//!
//! `cargo bench -p kernpost-benches --bench publish`. One million rules in 46 zones; each table that is published has one
//! zone of about 20,000 rules changed, so the other thread works most of the time. Compare the two medians of one run.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark stops at the first fault")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use kernpost_benches::routes::{KEYS, KEYS_SEED, PART, Parts, per_key};
use kernpost_routing_table::generate::{BEGIN, Shape};
use kernpost_routing_table::{Directory, Published, SerialFloor, Table, TableReader};

const EVERY: Duration = Duration::from_millis(100);
/// Which zone changes.
const ZONE: usize = 7;

fn publish(criterion: &mut Criterion) {
    let shape = Shape::MILLION_IN_ZONES;
    let generated = shape.generate().expect("the shape can be met");
    let mut signed = generated.sign().expect("the zones can be signed");
    let before = signed.directory().expect("the directory is good");
    let mut zone = generated.zones[ZONE].clone();
    zone.serial += 1;
    for route in &mut zone.routes {
        route.encryption_required = true;
    }
    signed.replace(ZONE, &zone).expect("the zone can be signed");
    let named = signed.snapshots.iter().map(|bytes| (String::new(), bytes.clone()));
    let after = before.verify_after(&signed.anchor, named, &SerialFloor::new(), BEGIN).expect("it is good");
    let published = Published::new(Table::compile(&before, BEGIN, 1).expect("the table compiles"));
    println!("{shape}; zone {ZONE} of {} routes changes; known keys, seed {KEYS_SEED}", zone.routes.len());
    let mut parts = Parts::new(generated.known_keys(KEYS_SEED, KEYS));
    drop(generated);
    let mut group = criterion.benchmark_group("publish");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    let mut reader = published.reader();
    group.bench_function("1M known keys, a part, nothing published", |bencher| {
        bencher.iter_custom(|keys| lookups(keys, &mut parts, &mut reader));
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| publish_until(&stop, &published, [&after, &before]));
        group.bench_function("1M known keys, a part, a table every 100 ms", |bencher| {
            bencher.iter_custom(|keys| lookups(keys, &mut parts, &mut reader));
        });
        stop.store(true, Ordering::Relaxed);
    });
    group.finish();
    println!("{} tables were published meanwhile", published.generation() - 1);
}

fn lookups(keys: u64, parts: &mut Parts, reader: &mut TableReader) -> Duration {
    per_key(keys, || {
        // As a worker does: one table for a part, and its answers do not outlive it.
        let mut found = Vec::with_capacity(PART);
        reader.current().lookup_many(parts.next_part(), &mut found);
        black_box(&mut found);
    })
}

fn publish_until(stop: &AtomicBool, published: &Published, directories: [&Directory; 2]) {
    for directory in directories.into_iter().cycle() {
        let begun = Instant::now();
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let current = published.current();
        let next = current.compile_after(directory, BEGIN, current.generation() + 1).expect("it compiles");
        published.publish(next).expect("it is newer");
        std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
}

criterion_group!(benches, publish);
criterion_main!(benches);
