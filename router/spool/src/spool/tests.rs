//! Does the spool do what its intents ask, whatever the disk does?

mod claims;
mod damage;
mod model;
mod on_disk;
mod room;

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::{Class, Digest, EndpointId, MessageId, UnixMs};
use kernpost_router_core::custody::spool::{
    EntryState, Head, HeadEntry, Kind, Purpose, Queue, RecordId, Repeat, SpoolEvent, SpoolFault, SpoolIntent,
    SpoolRead, Stored, Totals,
};
use zeroize::Zeroizing;

use super::{Random, Spool};
use crate::keys::{MasterKey, MasterKeys};
use crate::memory_store::{MemoryStore, SimDisk};
use crate::store::Store;

const NOW: UnixMs = UnixMs(1_790_000_000_000);

fn masters(n: u8) -> MasterKeys {
    MasterKeys::new(MasterKey::new(Zeroizing::new([n; 32])), vec![])
}

/// SplitMix64: the same bytes for the same seed.
fn random(seed: u64) -> Random {
    let mut state = seed;
    Box::new(move |out| {
        for byte in out {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            *byte = ((z ^ (z >> 27)) >> 32) as u8;
        }
    })
}

fn opened<S: Store>(store: S, at: UnixMs) -> Spool<S> {
    Spool::open(store, masters(1), at, random(at.0)).unwrap()
}

fn on(disk: &SimDisk, at: UnixMs) -> Spool<MemoryStore> {
    opened(MemoryStore::open(disk).unwrap(), at)
}

fn endpoint(name: &str) -> EndpointId {
    format!("de/{name}").parse().unwrap()
}

fn queue(name: &str) -> Queue {
    Queue { waits_for: Arc::from([endpoint(name)]), class: Class::Interactive }
}

fn entry(index: u16, sender: &str, message: u8) -> HeadEntry {
    HeadEntry {
        index,
        sender: endpoint(sender),
        message: MessageId([message; 16]),
        leaf: Digest([message; 32]),
        expires: NOW.plus_s(100),
        case: None,
        cost: 1_000,
        state: EntryState::Waiting,
    }
}

fn head(to: &str, messages: &[u8]) -> Head {
    let entries = (0..).zip(messages).map(|(index, message)| entry(index, "portal", *message)).collect();
    Head { kind: Kind::Messages, queue: queue(to), taken: NOW, due: NOW.plus_s(220), entries }
}

fn body(n: u64) -> Bytes {
    Bytes::from(vec![n as u8; 3_000])
}

fn keep(record: u64, head: Head) -> SpoolIntent {
    SpoolIntent::Keep { record: RecordId(record), head, body: body(record) }
}

/// Commits one call's intents, all of which must become durable: the repeats.
fn committed<S: Store>(spool: &mut Spool<S>, intents: Vec<SpoolIntent>) -> Vec<Repeat> {
    let (mut expected, mut repeated) = (intents.len(), Vec::new());
    for event in spool.commit(NOW, intents) {
        match event {
            SpoolEvent::Committed { intents, repeats, .. } => {
                expected -= intents;
                repeated.extend(repeats);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(expected, 0);
    repeated
}

fn queue_read<S: Store>(spool: &mut Spool<S>, queue: &Queue, after: Option<u64>, most: usize) -> (Vec<Stored>, bool) {
    let after = after.map(RecordId);
    let read = SpoolRead::Queue { purpose: Purpose::Deliver, queue: queue.clone(), after, most, bytes: 1 << 20 };
    match spool.read(&read) {
        SpoolEvent::QueueRead { found, end, .. } => (found, end),
        other => panic!("{other:?}"),
    }
}

fn due_read<S: Store>(spool: &mut Spool<S>, until: UnixMs, most: usize) -> (Vec<Stored>, bool) {
    match spool.read(&SpoolRead::Due { until, most }) {
        SpoolEvent::DueRead { found, more, .. } => (found, more),
        other => panic!("{other:?}"),
    }
}

fn record_read<S: Store>(spool: &mut Spool<S>, record: u64) -> Option<Stored> {
    answer(spool, &SpoolRead::Record { ticket: 7, record: RecordId(record) })
}

fn message_read<S: Store>(spool: &mut Spool<S>, sender: &str, message: u8) -> Option<Stored> {
    let read = SpoolRead::Message { ticket: 7, sender: endpoint(sender), message: MessageId([message; 16]) };
    answer(spool, &read)
}

fn answer<S: Store>(spool: &mut Spool<S>, read: &SpoolRead) -> Option<Stored> {
    match spool.read(read) {
        SpoolEvent::RecordRead { ticket: 7, found } => found,
        other => panic!("{other:?}"),
    }
}

fn started<S: Store>(spool: &Spool<S>) -> (RecordId, Vec<Queue>, Totals) {
    match spool.started() {
        SpoolEvent::Started { next, queues, totals } => (next, queues, totals),
        other => panic!("{other:?}"),
    }
}

fn ids(found: &[Stored]) -> Vec<u64> {
    found.iter().map(|stored| stored.record.0).collect()
}
