//! How does a new table reach its readers without making them wait?
//!
//! One [`Published`] per process, one [`TableReader`] per worker. A reader keeps the table it last saw and compares one
//! number to know whether that is still the current one; only after a publication does it fetch the new one. Generations
//! only grow, so a reader never goes back. Old tables are freed by the publisher, never by a reader: freeing a million
//! rules takes milliseconds.
//!
//! Order (checked by the loom test below): the publisher stores the table, then its generation; a reader loads the
//! generation, then the table. So a reader that sees a generation finds that table or a later one.

use std::sync::{Arc, PoisonError};

use crate::primitive::{AtomicU64, Mutex, Ordering, Slot};
use crate::table::Table;

/// The table in force, shared by all workers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Published(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: Slot<Table>,
    /// Generation of `current`, stored after it.
    generation: AtomicU64,
    /// Tables that readers may still hold. Its lock is the publishers' turn; readers never take it.
    retired: Mutex<Vec<Arc<Table>>>,
}

/// A table that is not newer than the one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("table generation {offered} is not newer than {current}, which is in force; compile it with a larger one")]
pub struct StaleGeneration {
    /// Generation of the table offered.
    pub offered: u64,
    /// Generation in force.
    pub current: u64,
}

impl Published {
    /// Publishes a first table, for instance [`Table::empty`].
    pub fn new(first: Table) -> Self {
        let generation = AtomicU64::new(first.generation());
        Self(Arc::new(Shared { current: Slot::new(Arc::new(first)), generation, retired: Mutex::new(Vec::new()) }))
    }

    /// Puts a table into force. Publishers take turns; readers are never waited for and never wait.
    ///
    /// # Errors
    /// When a table of the same or a later generation is in force; that one stays.
    pub fn publish(&self, table: Table) -> Result<Arc<Table>, StaleGeneration> {
        let mut retired = self.0.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let (offered, current) = (table.generation(), self.generation());
        if offered <= current {
            return Err(StaleGeneration { offered, current });
        }
        let table = Arc::new(table);
        retired.push(self.0.current.swap(Arc::clone(&table)));
        self.0.generation.store(offered, Ordering::Release);
        free_unread(&mut retired);
        Ok(table)
    }

    /// Generation in force.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// The table in force, for control and admin; workers use a [`TableReader`].
    pub fn current(&self) -> Arc<Table> {
        self.0.current.load()
    }

    /// A reader for one worker.
    pub fn reader(&self) -> TableReader {
        TableReader { cached: self.current(), published: self.clone() }
    }

    /// Frees old tables that no reader holds any more; returns how many are still held. Call it now and then: without it
    /// the last replaced table stays in memory until the next publication.
    pub fn free_retired(&self) -> usize {
        let mut retired = self.0.retired.lock().unwrap_or_else(PoisonError::into_inner);
        free_unread(&mut retired);
        retired.len()
    }
}

/// A replaced table with one owner left (this list) can gain no other: readers clone only from the slot.
fn free_unread(retired: &mut Vec<Arc<Table>>) {
    retired.retain(|table| Arc::strong_count(table) > 1);
}

/// One worker's view of the table in force.
#[derive(Debug, Clone)]
pub struct TableReader {
    published: Published,
    cached: Arc<Table>,
}

impl TableReader {
    /// The table in force. One atomic load when nothing was published since the last call. Call it once per batch and
    /// keep the result for the batch: two calls may give two tables.
    #[inline]
    pub fn current(&mut self) -> &Arc<Table> {
        if self.published.generation() > self.cached.generation() {
            self.cached = self.published.current();
        }
        &self.cached
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn a_table_that_is_not_newer_is_refused_and_the_one_in_force_stays() {
        let published = Published::new(Table::empty(5));
        for offered in [4, 5] {
            assert_eq!(published.publish(Table::empty(offered)).unwrap_err(), StaleGeneration { offered, current: 5 });
        }
        assert_eq!(published.current().generation(), 5);
    }

    #[test]
    fn a_reader_keeps_its_table_until_it_asks_again_and_never_frees_one() {
        let published = Published::new(Table::empty(1));
        let mut reader = published.reader();
        let held = Arc::downgrade(reader.current());
        published.publish(Table::empty(2)).unwrap();
        assert_eq!(published.free_retired(), 1, "the reader still holds generation 1");
        assert_eq!(reader.current().generation(), 2);
        assert!(held.upgrade().is_some(), "dropping it was left to the publisher");
        assert_eq!(published.free_retired(), 0);
        assert!(held.upgrade().is_none());
    }

    #[test]
    fn readers_on_other_threads_see_generations_grow_up_to_the_last() {
        const LAST: u64 = 2_000;
        let published = Published::new(Table::empty(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let mut reader = published.reader();
                scope.spawn(move || {
                    let mut seen = 0;
                    while seen < LAST {
                        let generation = reader.current().generation();
                        assert!(generation >= seen, "went back from {seen} to {generation}");
                        seen = generation;
                        std::hint::spin_loop();
                    }
                });
            }
            for generation in 1..=LAST {
                published.publish(Table::empty(generation)).unwrap();
            }
        });
        assert_eq!(published.free_retired(), 0);
    }
}

/// Run with `RUSTFLAGS="--cfg loom" cargo test -p kernpost-routing-table --lib --release --target-dir target/loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn a_reader_never_goes_back_and_finds_what_the_generation_promises() {
        loom::model(|| {
            let published = Published::new(Table::empty(1));
            let writer = {
                let published = published.clone();
                loom::thread::spawn(move || {
                    published.publish(Table::empty(2)).unwrap();
                    published.publish(Table::empty(3)).unwrap();
                })
            };
            let mut reader = published.reader();
            let promised = published.generation();
            let first = reader.current().generation();
            let second = reader.current().generation();
            assert!(first >= promised, "generation {promised} was visible, its table was not");
            assert!(second >= first);
            writer.join().unwrap();
            assert_eq!(reader.current().generation(), 3);
        });
    }

    #[test]
    fn of_two_publishers_the_newer_table_stays() {
        loom::model(|| {
            let published = Published::new(Table::empty(1));
            let other = {
                let published = published.clone();
                loom::thread::spawn(move || published.publish(Table::empty(2)).is_ok())
            };
            published.publish(Table::empty(3)).unwrap();
            other.join().unwrap();
            assert_eq!((published.generation(), published.current().generation()), (3, 3));
        });
    }

    #[test]
    fn a_table_is_freed_only_when_no_reader_holds_it() {
        loom::model(|| {
            let published = Published::new(Table::empty(1));
            let mut reader = published.reader();
            let writer = {
                let published = published.clone();
                loom::thread::spawn(move || published.publish(Table::empty(2)).map(drop))
            };
            let held = Arc::clone(reader.current());
            assert!(held.generation() >= 1);
            drop(held);
            writer.join().unwrap().unwrap();
            assert_eq!(reader.current().generation(), 2);
            assert_eq!(published.free_retired(), 0);
        });
    }
}
