//! Is damage noticed wherever it is, and does a change of keys leave everything readable?

use kernpost_codecs::{EndpointId, MessageId, UnixMs};
use zeroize::Zeroizing;

use super::*;
use crate::keys::MasterKey;
use crate::memory_store::{MemoryStore, SimDisk};

const ROW: Row<'_> = Row { space: Space::Records, key: b"record 1", identity: b"de/portal" };
const NOW: UnixMs = UnixMs(1_000_000);

fn master(n: u8) -> MasterKey {
    MasterKey::new(Zeroizing::new([n; 32]))
}

fn only(n: u8) -> MasterKeys {
    MasterKeys::new(master(n), vec![])
}

/// Differs from call to call, as randomness does.
fn random(seed: u8) -> impl FnMut(&mut [u8]) {
    let mut calls = 0_u8;
    move |out| {
        calls += 1;
        out.iter_mut().for_each(|byte| *byte = seed.wrapping_mul(16).wrapping_add(calls));
    }
}

fn begun(store: &mut MemoryStore, masters: MasterKeys, seed: u8) -> Vault {
    let mut vault = Vault::open(store, masters).unwrap();
    let mut batch = Batch::new();
    vault.begin_segment(NOW, &mut random(seed), &mut batch).unwrap();
    store.commit(&batch).unwrap();
    vault
}

fn store() -> (SimDisk, MemoryStore) {
    let disk = SimDisk::new(1);
    let store = MemoryStore::open(&disk).unwrap();
    (disk, store)
}

#[test]
fn a_sealed_value_comes_back_and_does_not_show_itself() {
    let (_, mut store) = store();
    let mut vault = begun(&mut store, only(1), 1);
    for plain in [&b""[..], b"message", &[7; 70_000]] {
        let sealed = vault.seal(ROW, plain).unwrap();
        assert_eq!(sealed.len(), plain.len() + OVERHEAD);
        assert_eq!(vault.unseal(ROW, &sealed).unwrap(), plain);
    }
    let sealed = vault.seal(ROW, b"message").unwrap();
    assert!(!sealed.windows(7).any(|window| window == b"message"));
}

#[test]
fn a_bit_flipped_anywhere_is_damage() {
    let (_, mut store) = store();
    let mut vault = begun(&mut store, only(1), 1);
    let sealed = vault.seal(ROW, b"message").unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(vault.unseal(ROW, &flipped), Err(SealError::damaged(ROW)), "bit {bit}");
    }
    for length in 0..sealed.len() {
        assert_eq!(vault.unseal(ROW, &sealed[..length]), Err(SealError::damaged(ROW)), "cut to {length} bytes");
    }
}

#[test]
fn a_value_moved_to_another_row_is_damage() {
    let (_, mut store) = store();
    let mut vault = begun(&mut store, only(1), 1);
    let sealed = vault.seal(ROW, b"message").unwrap();
    let others = [
        Row { space: Space::Heads, ..ROW },
        Row { key: b"record 2", ..ROW },
        Row { identity: b"de/other", ..ROW },
        Row { key: b"record 1de", identity: b"/portal", ..ROW },
    ];
    for other in others {
        assert_eq!(vault.unseal(other, &sealed), Err(SealError::damaged(other)));
    }
}

#[test]
fn values_are_read_after_a_restart() {
    let (disk, mut store) = store();
    let sealed = begun(&mut store, only(1), 1).seal(ROW, b"message").unwrap();
    drop(store);
    disk.crash();
    let store = MemoryStore::open(&disk).unwrap();
    assert_eq!(Vault::open(&store, only(1)).unwrap().unseal(ROW, &sealed).unwrap(), "message");
}

#[test]
fn after_a_rewrap_the_old_master_key_is_not_needed_any_more() {
    let (_, mut store) = store();
    let mut vault = begun(&mut store, only(1), 1);
    let sealed = vault.seal(ROW, b"message").unwrap();
    let lookup = vault.lookup_key(&portal(), MessageId([1; 16])).unwrap();

    let vault = Vault::open(&store, MasterKeys::new(master(2), vec![master(1)])).unwrap();
    let mut batch = Batch::new();
    assert_eq!(vault.rewrap(&mut random(2), &mut batch).unwrap(), 2);
    store.commit(&batch).unwrap();

    let vault = Vault::open(&store, only(2)).unwrap();
    assert_eq!(vault.unseal(ROW, &sealed).unwrap(), "message");
    assert_eq!(vault.lookup_key(&portal(), MessageId([1; 16])).unwrap(), lookup);
    assert_eq!(Vault::open(&store, only(1)).unwrap_err(), SealError::UnknownMaster { id: master(2).id() });
}

#[test]
fn a_missing_master_key_is_named() {
    let (_, mut store) = store();
    begun(&mut store, only(1), 1);
    assert_eq!(Vault::open(&store, only(2)).unwrap_err(), SealError::UnknownMaster { id: master(1).id() });
}

#[test]
fn two_starts_never_share_a_segment_and_counter() {
    let (_, mut store) = store();
    let mut heads = std::collections::BTreeSet::new();
    for start in 1..=5 {
        let mut vault = begun(&mut store, only(1), start);
        for _ in 0..20 {
            assert!(heads.insert(vault.seal(ROW, b"m").unwrap()[..value::HEAD].to_vec()));
        }
    }
}

#[test]
fn a_number_is_not_used_again_after_its_segment_was_destroyed() {
    let (_, mut store) = store();
    let mut vault = begun(&mut store, only(1), 1);
    let mut batch = Batch::new();
    vault.begin_segment(NOW, &mut random(2), &mut batch).unwrap();
    vault.begin_segment(NOW, &mut random(3), &mut batch).unwrap();
    vault.destroy(2, &mut batch).unwrap();
    vault.destroy(1, &mut batch).unwrap();
    assert_eq!(vault.destroy(3, &mut batch), Err(SealError::InUse { segment: 3 }));
    store.commit(&batch).unwrap();
    let mut vault = Vault::open(&store, only(1)).unwrap();
    let mut batch = Batch::new();
    vault.destroy(3, &mut batch).unwrap();
    store.commit(&batch).unwrap();
    let vault = begun(&mut store, only(1), 4);
    assert_eq!((vault.current_segment(), vault.lost()), (Some(4), &[][..]));
}

#[test]
fn values_of_a_destroyed_segment_cannot_be_read() {
    let (_, mut store) = store();
    let mut vault = begun(&mut store, only(1), 1);
    let sealed = vault.seal(ROW, b"message").unwrap();
    let mut batch = Batch::new();
    vault.begin_segment(NOW, &mut random(2), &mut batch).unwrap();
    vault.destroy(Vault::segment_of(&sealed).unwrap(), &mut batch).unwrap();
    store.commit(&batch).unwrap();
    assert!(vault.unseal(ROW, &sealed).is_err());
    assert!(Vault::open(&store, only(1)).unwrap().unseal(ROW, &sealed).is_err());
}

#[test]
fn a_segment_ends_after_an_hour_or_when_the_clock_goes_back() {
    let (_, mut store) = store();
    assert!(Vault::open(&store, only(1)).unwrap().wants_segment(NOW));
    let vault = begun(&mut store, only(1), 1);
    assert!(!vault.wants_segment(NOW.plus_ms(LONGEST_MS - 1)));
    assert!(vault.wants_segment(NOW.plus_ms(LONGEST_MS)));
    assert!(vault.wants_segment(NOW.minus_ms(1)));
}

#[test]
fn a_full_segment_seals_nothing_more() {
    let (_, mut store) = store();
    let mut vault = begun(&mut store, only(1), 1);
    vault.writing.as_mut().unwrap().sealed = MOST_VALUES - 1;
    vault.seal(ROW, b"last").unwrap();
    assert!(vault.wants_segment(NOW));
    assert_eq!(vault.seal(ROW, b"one more"), Err(SealError::Exhausted));
}

#[test]
fn one_damaged_copy_of_a_secret_costs_nothing() {
    for space in [Space::Segments, Space::Meta] {
        let (disk, mut store) = store();
        let mut vault = begun(&mut store, only(1), 1);
        let sealed = vault.seal(ROW, b"message").unwrap();
        let keys: Vec<_> = store.scan(space, b"\0", b"\xff", 99).unwrap().into_iter().map(|(key, _)| key).collect();
        for key in &keys {
            disk.flip_bit(space, key, 8 * 60);
        }
        let vault = Vault::open(&store, only(1)).unwrap();
        assert_eq!(vault.unseal(ROW, &sealed).unwrap(), "message", "{space} damaged");
        for key in &keys {
            disk.make_unreadable(space, key);
        }
        let vault = Vault::open(&store, only(1)).unwrap();
        assert_eq!(vault.unseal(ROW, &sealed).unwrap(), "message", "{space} unreadable");
    }
}

#[test]
fn a_secret_damaged_in_both_copies_is_reported_as_lost() {
    let (disk, mut store) = store();
    let mut vault = begun(&mut store, only(1), 1);
    let sealed = vault.seal(ROW, b"message").unwrap();
    disk.flip_bit(Space::Segments, &1_u32.to_be_bytes(), 8 * 60);
    disk.flip_bit(Space::Meta, b"segment \0\0\0\x01", 8 * 50);
    let vault = Vault::open(&store, only(1)).unwrap();
    assert_eq!(vault.lost(), [1]);
    assert_eq!(vault.unseal(ROW, &sealed), Err(SealError::damaged(ROW)));
}

#[test]
fn a_lost_lookup_secret_is_damage_and_never_replaced_in_silence() {
    let (disk, mut store) = store();
    begun(&mut store, only(1), 1);
    assert_eq!(disk.forget(Space::Segments, &[0; 4], &[0, 0, 0, 1]), 1);
    assert_eq!(disk.forget(Space::Meta, b"segment \0\0\0\0", b"segment \0\0\0\x01"), 1);
    let vault = begun(&mut store, only(1), 2);
    assert_eq!(vault.lost(), [0]);
    assert!(matches!(vault.lookup_key(&portal(), MessageId([1; 16])), Err(SealError::Damaged { .. })));
}

fn portal() -> EndpointId {
    "de/portal".parse().unwrap()
}

#[test]
fn a_lookup_key_depends_on_sender_message_and_spool() {
    let (_, mut first) = store();
    let (_, mut second) = store();
    let (first, second) = (begun(&mut first, only(1), 1), begun(&mut second, only(1), 2));
    let key = |vault: &Vault, sender: &str, n| vault.lookup_key(&sender.parse().unwrap(), MessageId([n; 16])).unwrap();
    assert_eq!(key(&first, "de/portal", 1), key(&first, "de/portal", 1));
    assert_ne!(key(&first, "de/portal", 1), key(&first, "de/portal", 2));
    assert_ne!(key(&first, "de/portal", 1), key(&first, "de/other", 1));
    assert_ne!(key(&first, "de/portal", 1), key(&second, "de/portal", 1));
}

#[test]
fn lookup_keys_follow_the_time_in_the_ids() {
    let (_, mut store) = store();
    let vault = begun(&mut store, only(1), 1);
    let key = |at| vault.lookup_key(&portal(), MessageId::from_parts(UnixMs(at), [9; 10])).unwrap();
    assert!(key(NOW.0) < key(NOW.0 + 1_000) && key(NOW.0 + 1_000) < key(NOW.0 + 1_000_000));
    assert!(lookup_key_at(UnixMs(NOW.0)) <= key(NOW.0) && key(NOW.0) < lookup_key_at(UnixMs(NOW.0 + 256)));
}

#[test]
fn a_standing_value_outlives_segments_and_notices_damage() {
    let (_, mut store) = store();
    let mut vault = begun(&mut store, only(1), 1);
    let sealed = vault.seal_standing(ROW, b"name", &mut random(3)).unwrap();
    let mut batch = Batch::new();
    vault.begin_segment(NOW, &mut random(2), &mut batch).unwrap();
    vault.destroy(1, &mut batch).unwrap();
    store.commit(&batch).unwrap();
    let vault = Vault::open(&store, only(1)).unwrap();
    assert_eq!(vault.unseal_standing(ROW, &sealed).unwrap(), "name");
    let other = Row { key: b"record 2", ..ROW };
    assert_eq!(vault.unseal_standing(other, &sealed), Err(SealError::damaged(other)));
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(vault.unseal_standing(ROW, &flipped), Err(SealError::damaged(ROW)), "bit {bit}");
    }
}

#[test]
fn a_lost_lookup_secret_can_be_replaced() {
    let (disk, mut store) = store();
    begun(&mut store, only(1), 1);
    disk.forget(Space::Segments, &[0; 4], &[0, 0, 0, 1]);
    disk.forget(Space::Meta, b"segment \0\0\0\0", b"segment \0\0\0\x01");
    let mut vault = Vault::open(&store, only(1)).unwrap();
    assert!(vault.lost_lookup());
    let mut batch = Batch::new();
    vault.renew_lookup(&mut random(2), &mut batch).unwrap();
    store.commit(&batch).unwrap();
    let again = Vault::open(&store, only(1)).unwrap();
    let message = MessageId([1; 16]);
    assert_eq!(again.lookup_key(&portal(), message).unwrap(), vault.lookup_key(&portal(), message).unwrap());
}
