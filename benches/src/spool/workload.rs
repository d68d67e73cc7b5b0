//! What does a spool do all day? Records of about 50 messages, a head and index rows for each, read back and deleted.
//!
//! Values are what sealed values look like: they do not compress. Keys are those of a spool: records ascend, lookups
//! are spread evenly.

use bytes::Bytes;
use kernpost_spool::{Batch, Space, Store, StoreError};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

/// Bytes of a record's value: about 50 entries of 1.2 KiB.
pub const RECORD_BYTES: usize = 64 << 10;
/// Messages, hence index rows, for each record.
pub const ROWS: u64 = 50;

/// Makes batches; the same seed makes the same.
pub struct Workload {
    random: SmallRng,
    records: u64,
    noise: Bytes,
}

impl Workload {
    /// From its beginning.
    pub fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut noise = vec![0; RECORD_BYTES + NOISE];
        random.fill_bytes(&mut noise);
        Self { random, records: 0, noise: noise.into() }
    }

    /// A group of records, each with a queue row, a head and a lookup row per message.
    pub fn group(&mut self, records: u64) -> Batch {
        let mut batch = Batch::new();
        for _ in 0..records {
            let record = self.records.to_be_bytes().to_vec();
            self.records += 1;
            let at = self.random.random_range(0..NOISE);
            batch.put(Space::Records, record.clone(), self.noise.slice(at..at + RECORD_BYTES));
            batch.put(Space::Queue, record.clone(), Bytes::new());
            for _ in 0..ROWS {
                self.index_row(&record, &mut batch);
            }
        }
        batch
    }

    /// Lookup rows without a record.
    pub fn index_rows(&mut self, rows: u64) -> Batch {
        let mut batch = Batch::new();
        for _ in 0..rows {
            self.index_row(&0_u64.to_be_bytes(), &mut batch);
        }
        batch
    }

    fn index_row(&mut self, record: &[u8], batch: &mut Batch) {
        let mut key = vec![0; 16];
        self.random.fill_bytes(&mut key);
        let value = [record, self.noise.get(..INDEX_BYTES).unwrap_or(&[])].concat();
        batch.put(Space::Messages, key, value);
    }

    /// How many records there are.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Reads `reads` records, chosen evenly.
    ///
    /// # Errors
    /// The store cannot read, or a record is missing.
    pub fn read(&mut self, store: &impl Store, reads: u64) -> Result<(), StoreError> {
        for _ in 0..reads {
            let record = self.random.random_range(0..self.records);
            let found = store.get(Space::Records, &record.to_be_bytes())?;
            if found.is_none_or(|value| value.len() != RECORD_BYTES) {
                return Err(StoreError::Unreadable {
                    space: Space::Records,
                    cause: format!("record {record} is missing"),
                });
            }
        }
        Ok(())
    }
}

const NOISE: usize = 1 << 20;
/// Bytes of an index row beside the record's number: a sealed short value.
const INDEX_BYTES: usize = 48;
