//! How fast does the spool itself keep, read back, end and forget messages, sealed and indexed?
//!
//! Records of 50 messages of 1.2 KiB, in calls of 16 records as a busy custody thread makes them. One process; wall clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use bytes::Bytes;
use kernpost_codecs::{Class, Code, Digest, EndpointId, MessageId, UnixMs};
use kernpost_router_core::custody::spool::{
    EntryState, Head, HeadEntry, Kind, Purpose, Queue, RecordId, SpoolEvent, SpoolIntent, SpoolRead,
};
use kernpost_spool::{FjallOptions, FjallStore, MasterKey, MasterKeys, Spool};
use rand::RngCore;
use serde::Serialize;

use super::measure::memory;
use super::workload::{RECORD_BYTES, ROWS};

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Custody {
    messages: u64,
    kept_messages_per_s: f64,
    repeated_messages_per_s: f64,
    read_messages_per_s: f64,
    ended_messages_per_s: f64,
    restart_ms: f64,
    forgotten_messages_per_s: f64,
    peak_memory_mib: f64,
}

/// Measures a spool of so many records in an empty folder.
///
/// # Errors
/// The spool fails.
pub fn measure(folder: &Path, records: u64) -> Result<Custody> {
    let mut work = Work { spool: open(folder)?, sender: "de/portal".parse()?, queue: queue()?, records };
    let messages = records * ROWS;
    let rate = |begun: Instant| messages as f64 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    work.commit(|work, record| work.keep(record, record))?;
    let kept_messages_per_s = rate(begun);
    let begun = Instant::now();
    work.commit(|work, record| work.keep(work.records + record, record))?;
    let repeated_messages_per_s = rate(begun);
    let begun = Instant::now();
    work.read_all()?;
    let read_messages_per_s = rate(begun);
    let Work { spool, sender, queue, .. } = work;
    drop(spool);
    let begun = Instant::now();
    let mut work = Work { spool: open(folder)?, sender, queue, records };
    let restart_ms = begun.elapsed().as_secs_f64() * 1e3;
    let begun = Instant::now();
    work.commit(Work::end)?;
    let ended_messages_per_s = rate(begun);
    let begun = Instant::now();
    work.commit(Work::forget)?;
    let forgotten_messages_per_s = rate(begun);
    Ok(Custody {
        messages,
        kept_messages_per_s,
        repeated_messages_per_s,
        read_messages_per_s,
        ended_messages_per_s,
        restart_ms,
        forgotten_messages_per_s,
        peak_memory_mib: memory("VmHWM")?,
    })
}

struct Work {
    spool: Spool<FjallStore>,
    sender: EndpointId,
    queue: Queue,
    records: u64,
}

impl Work {
    fn commit(&mut self, intent: impl Fn(&Self, u64) -> SpoolIntent) -> Result<()> {
        let all: Vec<u64> = (1..=self.records).collect();
        for turn in all.chunks(TURN) {
            let intents = turn.iter().map(|record| intent(self, *record)).collect();
            for event in self.spool.commit(NOW, intents) {
                let SpoolEvent::Committed { .. } = event else { bail!("not committed: {event:?}") };
            }
        }
        Ok(())
    }

    fn read_all(&mut self) -> Result<()> {
        let mut after = None;
        let mut found_records = 0;
        loop {
            let (purpose, queue) = (Purpose::Deliver, self.queue.clone());
            let read = SpoolRead::Queue { purpose, queue, after, most: 64, bytes: 4 << 20 };
            let SpoolEvent::QueueRead { found, end, .. } = self.spool.read(&read) else { bail!("another answer") };
            found_records += found.iter().filter(|stored| stored.head.is_some() && stored.body.is_some()).count();
            after = found.last().map(|stored| stored.record).or(after);
            if end {
                break;
            }
        }
        if found_records as u64 != self.records {
            bail!("{found_records} of {} records were found", self.records);
        }
        Ok(())
    }

    fn keep(&self, record: u64, like: u64) -> SpoolIntent {
        SpoolIntent::Keep { record: RecordId(record), head: self.head(like), body: body(like) }
    }

    /// As when a recipient's receipts have come: payloads go, statements stay.
    fn end(&self, record: u64) -> SpoolIntent {
        let (mut head, before) = (self.head(record), self.head(record).place());
        for entry in &mut head.entries {
            entry.state = EntryState::Sent(Code::NOTED);
        }
        let body = Some(body(record).slice(..RECORD_BYTES / 6));
        SpoolIntent::Update { record: RecordId(record), before, head, body }
    }

    fn forget(&self, record: u64) -> SpoolIntent {
        let head = self.head(record);
        let messages = head.entries.iter().map(|entry| (entry.sender.clone(), entry.message)).collect();
        SpoolIntent::Forget { record: RecordId(record), before: head.place(), messages }
    }

    fn head(&self, record: u64) -> Head {
        let entry = |n: u64| HeadEntry {
            index: u16::try_from(n).unwrap_or(u16::MAX),
            sender: self.sender.clone(),
            message: id(record * ROWS + n),
            leaf: Digest([7; 32]),
            expires: NOW.plus_s(1_000),
            case: None,
            cost: 1_500,
            state: EntryState::Waiting,
        };
        let entries = (0..ROWS).map(entry).collect();
        Head { kind: Kind::Messages, queue: self.queue.clone(), taken: NOW, due: NOW.plus_s(1_120), entries }
    }
}

/// As a UUIDv7: time first, then what looks random.
fn id(n: u64) -> MessageId {
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    MessageId((u128::from(NOW.0 + n / 1_000) << 80 | u128::from(mixed)).to_be_bytes())
}

fn body(record: u64) -> Bytes {
    Bytes::from(record.to_be_bytes().repeat(RECORD_BYTES / 8))
}

fn queue() -> Result<Queue> {
    Ok(Queue { waits_for: Arc::from(["de/office".parse()?]), class: Class::Interactive })
}

fn open(folder: &Path) -> Result<Spool<FjallStore>> {
    let store = FjallStore::open(folder, &FjallOptions::default())?;
    let masters = MasterKeys::new(MasterKey::new([7; 32].into()), Vec::new());
    Ok(Spool::open(store, masters, NOW, Box::new(|out| rand::rng().fill_bytes(out)))?)
}

const NOW: UnixMs = UnixMs(1_790_000_000_000);
/// Records a call.
const TURN: usize = 16;
