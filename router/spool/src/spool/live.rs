//! How many rows does each segment still hold, so that its secret can be destroyed when it holds none?
//!
//! Counted in the batch that changes them. A count that cannot be trusted never reaches zero: its segment stays.

use std::collections::{BTreeMap, BTreeSet};

use super::layout;
use crate::seal::{SealError, Vault};
use crate::store::{Batch, Space};

/// Live rows per segment; one entry for each segment that holds any.
#[derive(Debug, Default)]
pub(super) struct Live {
    counts: BTreeMap<u32, u64>,
    /// Changed in this batch.
    touched: BTreeSet<u32>,
}

impl Live {
    /// What is known at the start. Segments without a trustworthy count stay.
    pub(super) fn new(known: impl Iterator<Item = (u32, u64)>, segments: impl Iterator<Item = u32>) -> Self {
        let mut counts: BTreeMap<u32, u64> = known.collect();
        for segment in segments {
            counts.entry(segment).or_insert(UNKNOWN);
        }
        let touched = counts.iter().filter(|(_, count)| **count == 0).map(|(segment, _)| *segment).collect();
        Self { counts, touched }
    }

    pub(super) fn add(&mut self, segment: u32) {
        let count = self.counts.entry(segment).or_insert(0);
        if *count != UNKNOWN {
            *count += 1;
            self.touched.insert(segment);
        }
    }

    pub(super) fn remove(&mut self, segment: u32) {
        if let Some(count) = self.counts.get_mut(&segment).filter(|count| **count != UNKNOWN) {
            *count = count.checked_sub(1).unwrap_or(UNKNOWN);
            self.touched.insert(segment);
        }
    }

    /// A segment has begun; the one before may be empty already.
    pub(super) fn begin(&mut self, segment: u32) {
        self.counts.entry(segment).or_insert(0);
        self.touched.extend(self.counts.keys().copied());
    }

    /// Writes the counts that changed, and destroys segments that hold nothing.
    pub(super) fn write(&mut self, vault: &mut Vault, batch: &mut Batch) -> Result<(), SealError> {
        for segment in std::mem::take(&mut self.touched) {
            let Some(count) = self.counts.get(&segment).copied() else { continue };
            if count == 0 && vault.current_segment() != Some(segment) {
                vault.destroy(segment, batch)?;
                self.counts.remove(&segment);
                batch.delete(Space::Meta, layout::live(segment));
            } else {
                batch.put(Space::Meta, layout::live(segment), layout::number(count));
            }
        }
        Ok(())
    }
}

/// A count that was lost or did not add up.
const UNKNOWN: u64 = u64::MAX;
