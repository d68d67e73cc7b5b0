//! What can an operator see and change of a spool that no router has open?
//!
//! Lists of records, of what lies in quarantine and of the log; wrapping everything by another master key. Pages are bounded by
//! the caller. What is shown is personal: who may see it, and that it is logged, is the shell's concern.

use bytes::Bytes;
use kernpost_router_core::custody::spool::{Head, RecordId, Stored};

use super::audit::{self, AuditEnd, AuditEntry};
use super::carry::{REASON, quarantine_key};
use super::group::no_identity;
use super::{Spool, SpoolError};
use crate::store::{Batch, Space, Store};

/// One record.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which.
    pub record: RecordId,
    /// Its index; `None`: it cannot be read.
    pub head: Option<Head>,
}

/// One record in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Which.
    pub record: RecordId,
    /// Why; `None`: that cannot be read.
    pub reason: Option<String>,
}

impl<S: Store> Spool<S> {
    /// Records after one, ascending, at most `most`.
    ///
    /// # Errors
    /// A damaged block: list what is behind it, or look at single records.
    pub fn list(&self, after: Option<RecordId>, most: usize) -> Result<Vec<Listed>, SpoolError> {
        let from = after.map_or(0, |after| after.0.saturating_add(1)).to_be_bytes();
        let rows = self.store.scan(Space::Heads, &from, &[0xff; 9], most)?;
        let listed = |(key, row): &(Bytes, Bytes)| {
            let plain = self.vault.unseal(no_identity(Space::Heads, key), row).ok();
            let head = plain.and_then(|plain| super::head::decode(&plain)).map(|stored| stored.head);
            Some(Listed { record: super::carry::read_record(key)?, head })
        };
        Ok(rows.iter().filter_map(listed).collect())
    }

    /// One record, as far as it can be read; `None`: the spool does not hold it.
    pub fn look_at(&self, record: RecordId) -> Option<Stored> {
        self.stored(record)
    }

    /// What was set aside, ascending, at most `most`.
    ///
    /// # Errors
    /// A damaged block.
    pub fn quarantined(&self, after: Option<RecordId>, most: usize) -> Result<Vec<Quarantined>, SpoolError> {
        let from = after.map_or(0, |after| after.0.saturating_add(1)).to_be_bytes();
        let rows = self.store.scan(Space::Quarantine, &from, &[0xff; 10], most.saturating_mul(3))?;
        let reasons = rows.iter().filter(|(key, _)| key.last() == Some(&REASON)).take(most);
        let listed = |(key, row): &(Bytes, Bytes)| {
            let record = super::carry::read_record(key.get(..8)?)?;
            let plain = self.vault.unseal_standing(no_identity(Space::Quarantine, key), row).ok();
            let reason = plain.and_then(|plain| String::from_utf8(plain.to_vec()).ok());
            Some(Quarantined { record, reason })
        };
        debug_assert!(rows.iter().all(|(key, _)| key.len() == quarantine_key(RecordId(0), REASON).len()));
        Ok(reasons.filter_map(listed).collect())
    }

    /// Entries of the log from a number on, at most `most`, and whether each follows the one before.
    pub fn audited(&self, from: u64, most: usize) -> Vec<AuditEntry> {
        audit::read(&self.store, &self.vault, from, most, self.audit.entries)
    }

    /// The end of the log, to be compared with one kept elsewhere.
    pub fn audit_end(&self) -> AuditEnd {
        self.audit.clone()
    }

    /// Wraps every secret by the current master key, durably: no other is needed any more, and the previous can be destroyed. How
    /// many there were.
    ///
    /// # Errors
    /// The store or the seal fails; then the previous master keys are still needed.
    pub fn rewrap(&mut self) -> Result<usize, SpoolError> {
        self.usable()?;
        let mut batch = Batch::new();
        let wrapped = self.vault.rewrap(&mut self.random, &mut batch)?;
        match self.store.commit(&batch) {
            Ok(()) => Ok(wrapped),
            Err(error) => {
                let error = error.into();
                self.fail(&error);
                Err(error)
            }
        }
    }
}
