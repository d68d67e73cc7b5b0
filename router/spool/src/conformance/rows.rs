//! Do rows come back as they were written, in order and within bounds?

use bytes::Bytes;

use super::Rig;
use crate::store::{Batch, MAX_KEY_BYTES, MAX_VALUE_BYTES, Space, Store, StoreError};

pub(super) fn what_is_committed_is_there(rig: &mut impl Rig) {
    let mut store = rig.open();
    put(&mut store, Space::Heads, b"a", b"1");
    assert_eq!(get(&store, Space::Heads, b"a").as_deref(), Some(&b"1"[..]));
    put(&mut store, Space::Heads, b"a", b"2");
    assert_eq!(get(&store, Space::Heads, b"a").as_deref(), Some(&b"2"[..]));
    assert_eq!(get(&store, Space::Heads, b"b"), None);
    assert_eq!(get(&store, Space::Heads, b""), None);
}

pub(super) fn what_is_deleted_is_gone(rig: &mut impl Rig) {
    let mut store = rig.open();
    put(&mut store, Space::Queue, b"a", b"1");
    let mut batch = Batch::new();
    batch.delete(Space::Queue, &b"a"[..]);
    batch.delete(Space::Queue, &b"never there"[..]);
    store.commit(&batch).unwrap();
    assert_eq!(get(&store, Space::Queue, b"a"), None);
    assert_eq!(store.scan(Space::Queue, b"", b"z", 10).unwrap(), []);
}

pub(super) fn the_last_change_wins(rig: &mut impl Rig) {
    let mut store = rig.open();
    let mut batch = Batch::new();
    batch.put(Space::Meta, &b"kept"[..], &b"first"[..]);
    batch.delete(Space::Meta, &b"kept"[..]);
    batch.put(Space::Meta, &b"kept"[..], &b"last"[..]);
    batch.put(Space::Meta, &b"gone"[..], &b"first"[..]);
    batch.delete(Space::Meta, &b"gone"[..]);
    store.commit(&batch).unwrap();
    drop(store);
    let store = rig.open();
    assert_eq!(get(&store, Space::Meta, b"kept").as_deref(), Some(&b"last"[..]));
    assert_eq!(get(&store, Space::Meta, b"gone"), None);
}

pub(super) fn spaces_do_not_share_rows(rig: &mut impl Rig) {
    let mut store = rig.open();
    let mut batch = Batch::new();
    for space in Space::ALL {
        batch.put(space, &b"same key"[..], Bytes::from(space.name()));
    }
    store.commit(&batch).unwrap();
    for space in Space::ALL {
        assert_eq!(get(&store, space, b"same key").as_deref(), Some(space.name().as_bytes()));
    }
}

pub(super) fn an_empty_value_is_a_value(rig: &mut impl Rig) {
    let mut store = rig.open();
    for space in [Space::Queue, Space::Records] {
        put(&mut store, space, b"empty", b"");
        assert_eq!(get(&store, space, b"empty"), Some(Bytes::new()));
    }
}

pub(super) fn an_empty_batch_does_nothing(rig: &mut impl Rig) {
    let mut store = rig.open();
    store.commit(&Batch::new()).unwrap();
    assert_eq!(store.scan(Space::Meta, b"", b"\xff", 10).unwrap(), []);
}

pub(super) fn scans_ascend_by_bytes(rig: &mut impl Rig) {
    let mut store = rig.open();
    let keys: [&[u8]; 6] = [b"\x00", b"\x00\x00", b"\x01", b"a", b"a\x00", b"\xff\xff"];
    for key in [3_usize, 0, 5, 1, 4, 2] {
        put(&mut store, Space::Queue, keys[key], b"x");
    }
    let found = store.scan(Space::Queue, b"\x00", b"\xff\xff\xff", 10).unwrap();
    assert_eq!(found.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), keys);
}

pub(super) fn scans_keep_their_bounds(rig: &mut impl Rig) {
    let mut store = rig.open();
    for n in 0..10_u8 {
        put(&mut store, Space::Records, &[n], &[n]);
    }
    let keys = |from: &[u8], to: &[u8], most| {
        store.scan(Space::Records, from, to, most).unwrap().iter().map(|(key, _)| key[0]).collect::<Vec<_>>()
    };
    assert_eq!(keys(&[3], &[6], 10), [3, 4, 5]);
    assert_eq!(keys(&[3], &[9], 2), [3, 4]);
    assert_eq!(keys(&[3], &[9], 0), []);
    assert_eq!(keys(&[6], &[6], 10), []);
    assert_eq!(keys(&[6], &[3], 10), []);
    assert_eq!(keys(b"", &[1], 10), [0]);
}

pub(super) fn a_large_value_comes_back(rig: &mut impl Rig) {
    let value: Vec<u8> = (0..8_u32 << 20).map(|n| (n % 251) as u8).collect();
    let mut store = rig.open();
    put(&mut store, Space::Records, b"large", &value);
    assert!(get(&store, Space::Records, b"large").as_deref() == Some(&value[..]));
    drop(store);
    assert!(get(&rig.open(), Space::Records, b"large").as_deref() == Some(&value[..]), "after a restart");
}

pub(super) fn limits_are_taken(rig: &mut impl Rig) {
    let (key, value) = (vec![7; MAX_KEY_BYTES], vec![9; MAX_VALUE_BYTES]);
    let mut store = rig.open();
    put(&mut store, Space::Records, &key, &value);
    assert!(get(&store, Space::Records, &key).as_deref() == Some(&value[..]));
}

pub(super) fn too_large_is_refused_alone(rig: &mut impl Rig) {
    let mut store = rig.open();
    for (key, value) in
        [(vec![], vec![]), (vec![1; MAX_KEY_BYTES + 1], vec![]), (vec![1], vec![0; MAX_VALUE_BYTES + 1])]
    {
        let mut batch = Batch::new();
        batch.put(Space::Queues, &b"beside it"[..], &b"1"[..]);
        batch.put(Space::Queues, key, value);
        assert!(matches!(store.commit(&batch), Err(StoreError::Oversized { .. })));
        assert_eq!(get(&store, Space::Queues, b"beside it"), None, "nothing of a refused batch is there");
    }
    put(&mut store, Space::Queues, b"next", b"1");
}

pub(super) fn disk_bytes_grow(rig: &mut impl Rig) {
    let mut store = rig.open();
    let value = vec![0xA5; 1 << 20];
    for n in 0..80_u8 {
        put(&mut store, Space::Records, &[n], &value);
    }
    assert!((80 << 20..u64::MAX).contains(&store.disk_bytes()), "{} bytes for 80 MiB", store.disk_bytes());
}

pub(super) fn put(store: &mut impl Store, space: Space, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(space, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    store.commit(&batch).unwrap();
}

pub(super) fn get(store: &impl Store, space: Space, key: &[u8]) -> Option<Bytes> {
    store.get(space, key).unwrap()
}
