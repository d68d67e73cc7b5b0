//! How much memory and disk may the storage library use?

/// Bounds of a store on disk.
///
/// Memory at worst: `cache_bytes`, plus three memtables and a batch for each of the ten keyspaces (one filling, two
/// waiting): `cache + 3 × records_memtable + 3 × messages_memtable + 24 × index_memtable + 64 MiB`, 560 MiB with the defaults. Usually it is cache
/// and one memtable each. Filters and indexes of tables are in the cache, except those of the newest tables, which
/// take about 2 bytes a row.
///
/// Disk beside the rows: `journal_bytes` plus 64 MiB, and up to a quarter of the record files until stale ones are rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FjallOptions {
    /// Blocks and record values kept in memory, in bytes. Default 64 MiB, at least 4 MiB.
    pub cache_bytes: u64,
    /// The memtable of records, in bytes. Default 64 MiB, at least 1 MiB. Counts when the folder is made.
    pub records_memtable_bytes: u64,
    /// The memtable of the messages' index, in bytes. Default 16 MiB, at least 1 MiB. Counts when the folder is made.
    pub messages_memtable_bytes: u64,
    /// The memtable of every other keyspace, in bytes. Default 8 MiB, at least 1 MiB. Counts when the folder is made.
    pub index_memtable_bytes: u64,
    /// All journals together, in bytes. Default 256 MiB, at least 128 MiB: journals end after 64 MB, and one that ended stays
    /// until every keyspace written in it has been flushed. Opening replays them, so this bounds the time of a restart too.
    pub journal_bytes: u64,
    /// File descriptors kept open. Default 256, at least 16.
    pub open_files: usize,
    /// Threads that flush and compact. Default 2, at least 2: one of them flushes only.
    pub worker_threads: usize,
    /// Open although complete batches lie behind a damaged place of the journal, and lose them. For one start, after
    /// someone decided so: the senders still have the messages and will ask.
    pub accept_damaged_journal: bool,
}

impl FjallOptions {
    pub(super) fn within_bounds(&self) -> Self {
        Self {
            cache_bytes: self.cache_bytes.max(4 << 20),
            records_memtable_bytes: self.records_memtable_bytes.max(1 << 20),
            messages_memtable_bytes: self.messages_memtable_bytes.max(1 << 20),
            index_memtable_bytes: self.index_memtable_bytes.max(1 << 20),
            journal_bytes: self.journal_bytes.max(128 << 20),
            open_files: self.open_files.max(16),
            worker_threads: self.worker_threads.max(2),
            accept_damaged_journal: self.accept_damaged_journal,
        }
    }
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            records_memtable_bytes: 64 << 20,
            messages_memtable_bytes: 16 << 20,
            index_memtable_bytes: 8 << 20,
            journal_bytes: 256 << 20,
            open_files: 256,
            worker_threads: 2,
            accept_damaged_journal: false,
        }
    }
}
