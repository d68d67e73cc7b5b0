//! What has reached its time? Messages expire, late receipts are no longer sent, records are forgotten when retention ends.
//!
//! Delivery stops at `expires`; the receipt *expired* is issued 120 s later, so that it says what every clock within the tolerance
//! agrees with. While the kernel's clock is not synchronised nothing expires and nothing is forgotten, and what waits is delivered whatever
//! that clock says: its recipient has one of its own.

use kernpost_codecs::{Code, Outcome};

use super::answers::Then;
use super::queues::Step;
use super::spool::{EntryState, Kind, SpoolIntent, SpoolRead, Stored};
use super::{Custody, CustodyOutput, Timer};

impl Custody {
    /// The kernel's clock is synchronised from now on, or not any more.
    pub(super) fn on_clock(&mut self, synchronised: bool) {
        if self.clock_synchronised != synchronised {
            self.clock_synchronised = synchronised;
            // What was held by its time, or by that of its key, is judged again.
            self.wake_all();
        }
    }

    /// Asks the spool what is due, and for the next time.
    pub(super) fn look_for_due(&mut self) {
        self.timers.insert((self.now.after_ms(EVERY_MS), Timer::Due));
        if self.clock_synchronised && !self.due_pending && !self.stopped {
            self.due_pending = true;
            let read = SpoolRead::Due { until: self.now.wall, most: MOST_DUE };
            self.outputs.push_back(CustodyOutput::Read(read));
        }
    }

    pub(super) fn on_due(&mut self, found: Vec<Stored>, more: bool) {
        self.due_pending = false;
        if !self.clock_synchronised {
            // Asked for before that was known; it is asked for again.
            return;
        }
        for stored in found {
            self.on_due_record(stored);
        }
        if more {
            self.timers.insert((self.now.mono_us, Timer::Due));
        }
    }

    fn on_due_record(&mut self, stored: Stored) {
        let record = stored.record;
        if let Some(loaded) = self.loaded.get(&record) {
            if loaded.head.waits() {
                self.expire(record);
            }
            return;
        }
        match &stored.head {
            Some(head) if !head.waits() => self.forget(stored),
            Some(_) => {
                if let Some((_, loaded)) = self.load(stored) {
                    self.loaded.insert(record, loaded);
                    self.expire(record);
                    self.let_go_if_unqueued(record);
                }
            }
            // Its index cannot be read: restored from the body, or nobody can be told.
            None => {
                self.load(stored);
            }
        }
    }

    /// Ends what is past its time and not under way.
    fn expire(&mut self, record: super::spool::RecordId) {
        let Some(loaded) = self.loaded.get(&record) else { return };
        let grace = super::ending::grace_ms(loaded.head.kind);
        let past = |position: &usize| {
            let entry = loaded.head.entries.get(*position);
            entry.is_some_and(|entry| {
                entry.state == EntryState::Waiting && self.now.wall >= entry.expires.plus_ms(grace)
            })
        };
        let idle = loaded.positions(Step::Ready).chain(loaded.positions(Step::Held));
        let past: Vec<usize> = idle.filter(past).collect();
        if past.is_empty() {
            return;
        }
        match loaded.head.kind {
            Kind::Messages => {
                let ended: Vec<_> = past.iter().map(|position| (*position, Outcome::Expired, Code::EXPIRED)).collect();
                self.conclude_here(record, &ended, None);
            }
            Kind::Receipts => {
                let ended: Vec<_> = past.iter().map(|position| (*position, Code::EXPIRED)).collect();
                self.end_late(record, &ended);
            }
        }
    }

    fn forget(&mut self, stored: Stored) {
        let Some(head) = stored.head else { return };
        let messages = match head.kind {
            Kind::Messages => head.entries.iter().map(|entry| (entry.sender.clone(), entry.message)).collect(),
            Kind::Receipts => Vec::new(),
        };
        let intent = SpoolIntent::Forget { record: stored.record, before: head.place(), messages };
        self.intend(intent, Then::Nothing);
    }
}

/// How often the spool is asked what is due, ms.
const EVERY_MS: u64 = 1_000;
/// Records asked for at once.
const MOST_DUE: usize = 64;
