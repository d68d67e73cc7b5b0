//! Large payloads come back as they were, go on where they stopped, and betray nothing.

use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::keys::MasterKey;
use bytes::Bytes;

fn masters(current: u8, previous: &[u8]) -> MasterKeys {
    let key = |byte: u8| MasterKey::new(Zeroizing::new([byte; 32]));
    MasterKeys::new(key(current), previous.iter().map(|byte| key(*byte)).collect())
}

fn random() -> Random {
    let drawn = std::sync::atomic::AtomicU64::new(1);
    Box::new(move |bytes| {
        let number = drawn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Digest(noise) = Digest::of(&number.to_be_bytes());
        bytes.iter_mut().zip(noise.iter().cycle()).for_each(|(byte, noise)| *byte = *noise);
    })
}

fn store(folder: &TempDir, masters: MasterKeys) -> Arc<PayloadStore> {
    Arc::new(PayloadStore::open(&folder.path().join("payloads"), masters, random(), QUOTA).unwrap())
}

fn owner(number: u8) -> Owner {
    Owner { leaf: Digest([number; 32]), sender: "de/portal".parse().unwrap(), message: MessageId([number; 16]) }
}

fn payload(length: usize) -> Bytes {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect::<Vec<u8>>().into()
}

fn take(store: &Arc<PayloadStore>, number: u8, payload: &Bytes) {
    let mut arriving = store.begin(&owner(number), payload.len() as u64, SystemTime::now()).unwrap();
    let rest = payload.slice(usize::try_from(arriving.taken()).unwrap()..);
    arriving.append(&[rest]).unwrap();
    assert_eq!(arriving.finish(Digest::of(payload)).unwrap(), Whole::Right);
}

fn read(store: &PayloadStore, number: u8, length: usize, offset: u64) -> Result<Vec<u8>, PayloadFault> {
    let mut reader = store.read(owner(number).leaf, length as u64, offset)?;
    let mut all = Vec::new();
    while let Some(piece) = reader.next_piece()? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

const QUOTA: u64 = 10 << 20;

#[test]
fn a_payload_of_any_length_comes_back_from_any_offset() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, masters(1, &[]));
    for (number, length) in (1..).zip([1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 5 * PIECE + 77]) {
        let payload = payload(length);
        take(&store, number, &payload);
        for offset in [0, 1, length / 2, length - 1, length] {
            assert_eq!(
                read(&store, number, length, offset as u64).unwrap(),
                payload[offset..],
                "{length} from {offset}"
            );
        }
    }
}

#[test]
fn an_interrupted_payload_goes_on_at_the_byte_it_stopped_at() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, masters(1, &[]));
    let payload = payload(4 * PIECE + 5);
    let mut taken = 0;
    for step in [1, PIECE, 7, 2 * PIECE - 3] {
        let mut arriving = store.begin(&owner(1), payload.len() as u64, SystemTime::now()).unwrap();
        assert_eq!(arriving.taken(), taken as u64);
        arriving.append(&[payload.slice(taken..taken + step)]).unwrap();
        taken += step;
    }
    take(&store, 1, &payload);
    assert_eq!(read(&store, 1, payload.len(), 0).unwrap(), payload);
}

#[test]
fn a_torn_end_is_cut_off_and_the_rest_counts() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, masters(1, &[]));
    let payload = payload(3 * PIECE);
    let mut arriving = store.begin(&owner(1), payload.len() as u64, SystemTime::now()).unwrap();
    arriving.append(&[payload.slice(..2 * PIECE + 100)]).unwrap();
    drop(arriving);
    let file = File::options().write(true).open(store.path(owner(1).leaf)).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let arriving = store.begin(&owner(1), payload.len() as u64, SystemTime::now()).unwrap();
    assert_eq!(arriving.taken(), 2 * PIECE as u64);
}

#[test]
fn a_wrong_digest_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, masters(1, &[]));
    let mut arriving = store.begin(&owner(1), 100, SystemTime::now()).unwrap();
    arriving.append(&[payload(100)]).unwrap();
    assert_eq!(arriving.finish(Digest::of(b"another")).unwrap(), Whole::Wrong);
    assert!(!store.path(owner(1).leaf).exists());
    assert!(matches!(read(&store, 1, 100, 0), Err(PayloadFault::Damaged)));
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_at_the_read() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, masters(1, &[]));
    let payload = payload(2 * PIECE + 10);
    take(&store, 1, &payload);
    let path = store.path(owner(1).leaf);
    let length = std::fs::metadata(&path).unwrap().len();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    for at in [512, 520, 70_000, length - 1] {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        assert!(matches!(read(&store, 1, payload.len(), 0), Err(PayloadFault::Damaged)), "at {at}");
        file.write_all_at(&byte, at).unwrap();
    }
    assert_eq!(read(&store, 1, payload.len(), 0).unwrap(), payload);
}

#[test]
fn nothing_of_a_payload_or_its_owner_can_be_read_from_the_disk() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, masters(1, &[]));
    let payload = Bytes::from(b"Antrag auf Eintragung ".repeat(9_000));
    take(&store, 1, &payload);
    let bytes = std::fs::read(store.path(owner(1).leaf)).unwrap();
    for secret in [&b"Antrag"[..], b"de/portal", &[1; 16]] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{secret:?}");
    }
}

#[test]
fn a_piece_written_again_shares_no_nonce_with_the_one_before() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, masters(1, &[]));
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut arriving = store.begin(&owner(1), 100, SystemTime::now()).unwrap();
        arriving.append(&[payload(1)]).unwrap();
        drop(arriving);
        let bytes = std::fs::read(store.path(owner(1).leaf)).unwrap();
        seen.push(bytes[512..520].to_vec());
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2]);
}

#[test]
fn after_a_restart_payloads_of_waiting_messages_are_held_and_others_are_partials() {
    let folder = TempDir::new().unwrap();
    let first = store(&folder, masters(1, &[]));
    for number in [1, 2, 3] {
        take(&first, number, &payload(1_000));
    }
    // The third one's header is damaged.
    File::options().write(true).open(first.path(owner(3).leaf)).unwrap().write_all_at(&[9], 0).unwrap();
    let again = store(&folder, masters(1, &[]));
    again.sweep(|sender, message| sender.as_str() == "de/portal" && message == owner(1).message).unwrap();
    let late = SystemTime::now() + Duration::from_secs(25 * 3_600);
    again.expire(late);
    assert_eq!(read(&again, 1, 1_000, 0).unwrap(), payload(1_000));
    assert!(!again.path(owner(2).leaf).exists());
    let aside = again.path(owner(3).leaf).with_extension("damaged");
    assert!(aside.exists());
    again.expire(late + Duration::from_secs(30 * 24 * 3_600));
    assert!(!aside.exists());
}

#[test]
fn the_oldest_partials_make_room_and_held_payloads_never_do() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, masters(1, &[]));
    take(&store, 1, &payload(4 << 20));
    for number in [2, 3] {
        let mut arriving = store.begin(&owner(number), 4 << 20, SystemTime::now()).unwrap();
        arriving.append(&[payload(4 << 20).slice(1..)]).unwrap();
        drop(arriving);
        let at = SystemTime::now() - Duration::from_secs(60 / u64::from(number));
        File::options().write(true).open(store.path(owner(number).leaf)).unwrap().set_modified(at).unwrap();
    }
    let under_way = store.begin(&owner(4), 5 << 20, SystemTime::now()).unwrap();
    assert!(!store.path(owner(2).leaf).exists());
    assert!(store.path(owner(3).leaf).exists());
    assert!(matches!(store.begin(&owner(4), 100, SystemTime::now()), Err(PayloadFault::Full)));
    assert!(matches!(store.begin(&owner(5), 6 << 20, SystemTime::now()), Err(PayloadFault::Full)));
    drop(under_way);
    assert!(store.begin(&owner(5), 5 << 20, SystemTime::now()).is_ok());
    assert_eq!(read(&store, 1, 4 << 20, 0).unwrap(), payload(4 << 20));
}

#[test]
fn another_master_key_opens_payloads_after_rewrapping_only() {
    let folder = TempDir::new().unwrap();
    take(&store(&folder, masters(1, &[])), 1, &payload(1_000));
    let strange = store(&folder, masters(2, &[]));
    assert!(matches!(read(&strange, 1, 1_000, 0), Err(PayloadFault::UnknownMaster { .. })));
    assert!(matches!(strange.sweep(|_, _| true), Err(PayloadFault::UnknownMaster { .. })));
    assert_eq!(store(&folder, masters(2, &[1])).rewrap().unwrap(), 1);
    assert_eq!(read(&strange, 1, 1_000, 0).unwrap(), payload(1_000));
    assert!(matches!(read(&store(&folder, masters(1, &[])), 1, 1_000, 0), Err(PayloadFault::UnknownMaster { .. })));
}

#[test]
fn an_ended_message_leaves_no_payload_unless_it_is_being_sent_anew() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder, masters(1, &[]));
    take(&store, 1, &payload(100));
    assert!(store.held_bytes() > 100);
    let arriving = store.begin(&owner(1), 100, SystemTime::now()).unwrap();
    store.erase(owner(1).leaf);
    assert_eq!(arriving.taken(), 100);
    drop(arriving);
    store.erase(owner(1).leaf);
    assert!(!store.path(owner(1).leaf).exists());
    assert_eq!(store.held_bytes(), 0);
}
