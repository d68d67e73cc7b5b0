//! How long does it take to compile one million rules, and to apply a change to one zone of about 20,000 of them?
//!
//! `cargo bench -p kernpost-benches --bench compile`. Applying a change is everything from the signed bytes on: decoding the
//! zone, its signatures, the checks against the other zones, the table, and putting it into force.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark stops at the first fault")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use kernpost_codecs::UnixMs;
use kernpost_routing_table::generate::{BEGIN, Shape};
use kernpost_routing_table::{Published, SerialFloor, Table};

/// Which zone changes.
const ZONE: usize = 7;

fn compile(criterion: &mut Criterion) {
    let shape = Shape::MILLION_IN_ZONES;
    let mut generated = shape.generate().expect("the shape can be met");
    let mut signed = generated.sign().expect("the zones can be signed");
    let mut zone = generated.zones.swap_remove(ZONE);
    drop(generated);
    let mut directory = signed.directory().expect("the directory is good");
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("1M routes", |bencher| {
        bencher.iter(|| black_box(Table::compile(&directory, BEGIN, 1).expect("the table compiles")));
    });
    let published = Published::new(Table::compile(&directory, BEGIN, 1).expect("the table compiles"));
    let table = published.current();
    println!(
        "{shape}; {} MB in routes and rows; zone {ZONE} has {} routes",
        table.lookup_bytes() / 1_000_000,
        zone.routes.len()
    );
    drop(table);
    let far = UnixMs(BEGIN.0 + 10 * 365 * 86_400_000);
    for (name, share, ends) in [
        ("every hundredth rule changed", 100, false),
        ("every rule changed", 1, false),
        ("another validity for every hundredth rule", 100, true),
    ] {
        group.bench_function(format!("one zone of 20k of 1M routes, {name}"), |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    zone.serial += 1;
                    for route in zone.routes.iter_mut().step_by(share) {
                        route.encryption_required = !route.encryption_required;
                        if ends {
                            // Then its rows cannot stay as they are.
                            route.valid_until = route.valid_until.is_none().then_some(far);
                        }
                    }
                    signed.replace(ZONE, &zone).expect("the zone can be signed");
                    let named: Vec<_> = signed.snapshots.iter().map(|bytes| (String::new(), bytes.clone())).collect();
                    let begun = Instant::now();
                    let next = directory.verify_after(&signed.anchor, named, &SerialFloor::new(), BEGIN);
                    let next = next.expect("the directory is good");
                    let current = published.current();
                    let table = current.compile_after(&next, BEGIN, current.generation() + 1);
                    published.publish(table.expect("the table compiles")).expect("it is newer");
                    spent += begun.elapsed();
                    directory = next;
                    drop(current);
                    published.free_retired();
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, compile);
criterion_main!(benches);
