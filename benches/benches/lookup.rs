//! How long does a lookup take in a table of one million and of six million rules?
//!
//! `cargo bench -p kernpost-benches --bench lookup`; `-- 1M` or `-- 6M` for one of them. Shapes and seeds:
//! `kernpost_routing_table::generate::Shape`. Route keys, 2^20 of them in turn so that the processor learns none, are
//! *known* (below a rule drawn uniformly) or *random* (catalogue × municipalities, both uniform). *One by one* is
//! [`Table::lookup`]; *a part* is [`Table::lookup_many`] with the 256 route keys of a full part, divided by 256.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark stops at the first fault")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use kernpost_benches::routes::{KEYS, KEYS_SEED, PART, Parts, per_key};
use kernpost_routing_table::generate::{BEGIN, Shape};
use kernpost_routing_table::{Route, Table};

/// What the tables are called in names of benches.
const TABLES: [(&str, Shape); 2] = [("1M", Shape::MILLION), ("6M", Shape::SIX_MILLION)];

fn lookup(criterion: &mut Criterion) {
    for (name, shape) in TABLES {
        if wanted(name) {
            lookup_in(criterion, name, &shape);
        }
    }
}

/// Making six million rules takes a minute: not when only the other table is asked for. A filter that names no table
/// ("M known keys") asks for both.
fn wanted(name: &str) -> bool {
    let filters: Vec<_> = std::env::args().skip(1).collect();
    let names = |table: &str| filters.iter().any(|filter| filter.contains(table));
    names(name) || !TABLES.iter().any(|(table, _)| names(table))
}

fn lookup_in(criterion: &mut Criterion, name: &str, shape: &Shape) {
    let generated = shape.generate().expect("the shape can be met");
    let keys = [("known", generated.known_keys(KEYS_SEED, KEYS)), ("random", generated.route_keys(KEYS_SEED, KEYS))];
    let signed = generated.sign().expect("the zones can be signed");
    drop(generated);
    let directory = signed.directory().expect("the directory is good");
    let table = Table::compile(&directory, BEGIN, 1).expect("the table compiles");
    println!("{shape}; lookup structure and routes {} MB", table.lookup_bytes() / 1_000_000);
    for (kind, keys) in keys {
        let found = keys.iter().filter(|(service, place)| table.lookup(*service, *place).is_some()).count();
        println!("{name} {kind} keys, seed {KEYS_SEED}: {found} of {} have somebody responsible", keys.len());
        let mut parts = Parts::new(keys);
        let mut group = criterion.benchmark_group("lookup");
        group.measurement_time(Duration::from_secs(4));
        group.bench_function(format!("{name} {kind} keys, one by one"), |bencher| {
            bencher.iter(|| {
                let (service, place) = parts.next_key();
                black_box(table.lookup(service, place));
            });
        });
        group.bench_function(format!("{name} {kind} keys, a part"), |bencher| {
            let mut found: Vec<Option<&Route>> = Vec::with_capacity(PART);
            bencher.iter_custom(|keys| {
                per_key(keys, || {
                    table.lookup_many(parts.next_part(), &mut found);
                    black_box(&mut found);
                })
            });
        });
        group.bench_function(format!("{name} {kind} keys, a part and its first endpoints"), |bencher| {
            let mut found: Vec<Option<&Route>> = Vec::with_capacity(PART);
            bencher.iter_custom(|keys| {
                per_key(keys, || {
                    table.lookup_many(parts.next_part(), &mut found);
                    for route in &found {
                        black_box(route.and_then(|route| route.endpoints.first().copied()));
                    }
                })
            });
        });
        group.finish();
    }
}

criterion_group!(benches, lookup);
criterion_main!(benches);
