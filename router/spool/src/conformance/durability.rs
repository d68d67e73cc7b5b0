//! Does an Ok survive, and does a crash leave a batch whole or absent?

use bytes::Bytes;

use super::rows::{get, put};
use super::{MOMENTS, Rig};
use crate::store::{Batch, Space, Store};

pub(super) fn many_rows_survive(rig: &mut impl Rig) {
    let mut store = rig.open();
    for group in 0..20_u32 {
        let mut batch = Batch::new();
        for n in 0..1_000_u32 {
            let key = (group * 1_000 + n).to_be_bytes();
            batch.put(Space::Messages, Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&[key; 8].concat()));
        }
        store.commit(&batch).unwrap();
    }
    rig.die(store);
    let store = rig.open();
    let rows = store.scan(Space::Messages, &[0], &[0xff], usize::MAX).unwrap();
    assert_eq!(rows.len(), 20_000);
    assert!(rows.iter().zip(0_u32..).all(|((key, value), n)| key[..] == n.to_be_bytes() && value[..4] == key[..]));
}

pub(super) fn a_committed_batch_survives(rig: &mut impl Rig) {
    for n in 0..8_u8 {
        let mut store = rig.open();
        for earlier in 0..n {
            assert_eq!(get(&store, Space::Due, &[earlier]).as_deref(), Some(&[earlier][..]), "after {n} crashes");
        }
        put(&mut store, Space::Due, &[n], &[n]);
        rig.die(store);
    }
}

pub(super) fn a_commit_is_whole_or_absent(rig: &mut impl Rig) {
    let (mut whole, mut absent) = (0, 0);
    for moment in 0..MOMENTS {
        let mut store = rig.open();
        put(&mut store, Space::Meta, b"before", &[moment as u8]);
        rig.die_during(store, &across_spaces(moment as u8), moment);
        let store = rig.open();
        assert_eq!(get(&store, Space::Meta, b"before").as_deref(), Some(&[moment as u8][..]), "at moment {moment}");
        let there = Space::ALL.into_iter().filter(|space| get(&store, *space, &[moment as u8]).is_some()).count();
        match there {
            0 => absent += 1,
            10 => whole += 1,
            some => panic!("at moment {moment} {some} of 10 rows of a batch are there"),
        }
    }
    assert!(whole + absent == MOMENTS && absent > 0, "{whole} whole, {absent} absent: no crash was in the middle");
}

fn across_spaces(n: u8) -> Batch {
    let mut batch = Batch::new();
    for space in Space::ALL {
        batch.put(space, vec![n], vec![n; 5_000]);
    }
    batch
}
