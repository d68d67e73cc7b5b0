//! A journal that lives as long as its process: for unit tests of users, and for processes that only send.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use kernpost_codecs::{EndpointId, MessageId, UnixMs};

use crate::core::{Earlier, JournalRecord};

type Key = (EndpointId, MessageId);

#[derive(Debug, Default)]
struct Records {
    verdicts: HashMap<Key, Earlier>,
    expiry: BTreeSet<(UnixMs, Key)>,
}

/// Verdicts in memory. Unbounded but for pruning: not for services.
#[derive(Debug)]
pub struct MemoryJournal {
    id: [u8; 16],
    records: Mutex<Records>,
}

impl MemoryJournal {
    /// An empty journal with this id.
    pub fn new(id: [u8; 16]) -> Self {
        Self { id, records: Mutex::default() }
    }

    pub(super) fn id(&self) -> [u8; 16] {
        self.id
    }

    pub(super) fn find(&self, sender: &EndpointId, message: MessageId) -> Option<Earlier> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.verdicts.get(&(sender.clone(), message)).cloned()
    }

    pub(super) fn record(&self, new: &[JournalRecord]) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        for record in new {
            let key = (record.sender.clone(), record.message);
            records.expiry.insert((record.forget_after, key.clone()));
            records.verdicts.insert(key, record.verdict.clone());
        }
    }

    pub(super) fn prune(&self, now: UnixMs, most: usize) -> usize {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pruned = 0;
        while pruned < most && records.expiry.first().is_some_and(|(at, _)| *at < now) {
            if let Some((_, key)) = records.expiry.pop_first() {
                records.verdicts.remove(&key);
            }
            pruned += 1;
        }
        pruned
    }
}
