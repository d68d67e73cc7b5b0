//! How long does a lookup take in a table of one million rules, also while another thread publishes new tables?
//!
//! `cargo bench -p kernpost-benches --bench lookup`. Seed and shape: `kernpost_routing_table::generate::Shape::MILLION`;
//! route keys uniform over the catalogue and the municipalities, 2^20 of them, so that the processor learns none.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark stops at the first fault")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use kernpost_codecs::{Ars, ServiceKey};
use kernpost_routing_table::generate::{BEGIN, Shape};
use kernpost_routing_table::{Directory, Published, Table};

/// Seed of the route keys asked for.
const KEYS_SEED: u64 = 42;
/// How many different route keys are asked for, in turn.
const KEYS: usize = 1 << 20;

/// Route keys in turn, without end.
struct Turn {
    keys: Vec<(ServiceKey, Ars)>,
    next: usize,
}

impl Turn {
    fn next(&mut self) -> (ServiceKey, Ars) {
        self.next = (self.next + 1) % KEYS;
        self.keys[self.next]
    }
}

fn lookup(criterion: &mut Criterion) {
    let generated = Shape::MILLION.generate().expect("the shape can be met");
    let directory = generated.directory().expect("the directory is good");
    let table = Table::compile(&directory, BEGIN, 1).expect("the table compiles");
    println!("1,000,000 rules, lookup structure {} MB", table.lookup_bytes() / 1_000_000);
    let mut turn = Turn { keys: generated.route_keys(KEYS_SEED, KEYS), next: 0 };
    let found = turn.keys.iter().filter(|(service, place)| table.lookup(*service, *place).is_some()).count();
    println!("{found} of {KEYS} route keys have somebody responsible");

    criterion.bench_function("lookup/1M random keys", |bencher| {
        bencher.iter(|| {
            let (service, place) = turn.next();
            black_box(table.lookup(service, place));
        });
    });
    criterion.bench_function("lookup/1M random keys, first endpoint read", |bencher| {
        bencher.iter(|| {
            let (service, place) = turn.next();
            black_box(table.lookup(service, place).and_then(|route| route.endpoints.first().copied()));
        });
    });
    while_publishing(criterion, &directory, table, &mut turn);
}

/// A reader per batch of one: the current table, then the lookup, while another thread compiles and publishes.
fn while_publishing(criterion: &mut Criterion, directory: &Directory, table: Table, turn: &mut Turn) {
    let published = Published::new(table);
    let mut reader = published.reader();
    criterion.bench_function("lookup/1M random keys, through a reader", |bencher| {
        bencher.iter(|| {
            let (service, place) = turn.next();
            black_box(reader.current().lookup(service, place));
        });
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let next = Table::compile(directory, BEGIN, published.generation() + 1).expect("it compiles");
                published.publish(next).expect("it is newer");
            }
        });
        criterion.bench_function("lookup/1M random keys, while another thread publishes", |bencher| {
            bencher.iter(|| {
                let (service, place) = turn.next();
                black_box(reader.current().lookup(service, place));
            });
        });
        stop.store(true, Ordering::Relaxed);
    });
    println!("{} tables were published meanwhile", published.generation() - 1);
}

criterion_group!(benches, lookup);
criterion_main!(benches);
