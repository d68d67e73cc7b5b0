//! Does a store agree with a map, whatever is done and whenever it is opened again?
//!
//! Proptest prints the failing input and its seed; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` repeat and prolong it.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::Rig;
use crate::store::{Batch, Space, Store};

type Map = BTreeMap<(Space, Vec<u8>), Vec<u8>>;
/// One change: where, and what or nothing.
type Written = (Space, Vec<u8>, Option<Vec<u8>>);

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Written>),
    Get(Space, Vec<u8>),
    Scan(Space, Vec<u8>, Vec<u8>, usize),
    Restart,
    Crash,
}

pub(super) fn agrees_with_a_map<R: Rig>(mut fresh: impl FnMut() -> R) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(8);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    println!("conformance: agrees with a map ({cases} cases)");
    let mut runner = TestRunner::new(config);
    let fresh = std::cell::RefCell::new(&mut fresh);
    let outcome = runner.run(&prop::collection::vec(step(), 1..40), |steps| {
        let mut rig = (fresh.borrow_mut())();
        run(&mut rig, &steps)
    });
    if let Err(error) = outcome {
        panic!("{error}\n{runner}");
    }
}

fn run(rig: &mut impl Rig, steps: &[Step]) -> Result<(), TestCaseError> {
    let (mut store, mut map) = (rig.open(), Map::new());
    for step in steps {
        match step {
            Step::Commit(changes) => {
                store.commit(&batch(changes)).unwrap();
                apply(&mut map, changes);
            }
            Step::Get(space, key) => {
                let expected = map.get(&(*space, key.clone())).cloned();
                prop_assert_eq!(store.get(*space, key).unwrap().map(Vec::from), expected);
            }
            Step::Scan(space, from, to, most) => {
                prop_assert_eq!(scanned(&store, *space, from, to, *most), expected(&map, *space, from, to, *most));
            }
            Step::Restart => {
                drop(store);
                store = rig.open();
            }
            Step::Crash => {
                rig.die(store);
                store = rig.open();
            }
        }
    }
    for space in Space::ALL {
        let all = (vec![], vec![0xff; 8]);
        prop_assert_eq!(scanned(&store, space, &all.0, &all.1, 9_999), expected(&map, space, &all.0, &all.1, 9_999));
    }
    Ok(())
}

fn apply(map: &mut Map, changes: &[Written]) {
    for (space, key, value) in changes {
        match value {
            Some(value) => map.insert((*space, key.clone()), value.clone()),
            None => map.remove(&(*space, key.clone())),
        };
    }
}

fn batch(changes: &[Written]) -> Batch {
    let mut batch = Batch::new();
    for (space, key, value) in changes {
        match value {
            Some(value) => batch.put(*space, key.clone(), value.clone()),
            None => batch.delete(*space, key.clone()),
        }
    }
    batch
}

fn scanned(store: &impl Store, space: Space, from: &[u8], to: &[u8], most: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let owned = |(key, value): (Bytes, Bytes)| (key.to_vec(), value.to_vec());
    store.scan(space, from, to, most).unwrap().into_iter().map(owned).collect()
}

fn expected(map: &Map, space: Space, from: &[u8], to: &[u8], most: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let within = |(of, key): &(Space, Vec<u8>)| *of == space && key[..] >= *from && key[..] < *to;
    map.iter().filter(|(at, _)| within(at)).take(most).map(|((_, key), value)| (key.clone(), value.clone())).collect()
}

fn step() -> impl Strategy<Value = Step> {
    let change = (space(), key(), prop::option::weighted(0.7, value()));
    prop_oneof![
        6 => prop::collection::vec(change, 0..12).prop_map(Step::Commit),
        3 => (space(), key()).prop_map(|(space, key)| Step::Get(space, key)),
        3 => (space(), key(), key(), 0..20_usize).prop_map(|(space, from, to, most)| Step::Scan(space, from, to, most)),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

fn space() -> impl Strategy<Value = Space> {
    prop::sample::select(vec![Space::Meta, Space::Records, Space::Queue])
}

/// Few and short keys, so that changes meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..4_u8, 1..4)
}

/// On both sides of the length from which values lie apart.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (1_000..5_000_usize, any::<u8>()).prop_map(|(n, b)| vec![b; n])
    ]
}
