//! How long does the work take, and what does it leave on disk and in memory?
//!
//! One process per library, so that memory is its own. Times are wall clock on an otherwise idle machine; group commits
//! are paced by fsync, so the disk decides them as much as the library.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use kernpost_spool::{FjallOptions, FjallStore, Space, Store};
use serde::Serialize;

use super::RedbStore;
use super::workload::{RECORD_BYTES, ROWS, Workload};

/// A library to measure.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StoreKind {
    /// What the spool uses.
    Fjall,
    /// What it is compared with.
    Redb,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    commits: Vec<Commits>,
    reads_per_s: f64,
    scanned_rows_per_s: f64,
    deleted_records_per_s: f64,
    large: Large,
    peak_memory_mib: f64,
}

/// Groups of one size.
#[derive(Debug, Serialize)]
struct Commits {
    group: u64,
    groups: usize,
    records_per_s: f64,
    rows_per_s: f64,
    mib_per_s: f64,
    median_ms: f64,
    p99_ms: f64,
}

/// A spool of 1,000,000 index rows and the given number of records.
#[derive(Debug, Serialize)]
struct Large {
    index_rows: u64,
    records: u64,
    fill_s: f64,
    restart_ms: f64,
    first_read_ms: f64,
    disk_bytes_per_byte: f64,
    memory_after_restart_mib: f64,
}

/// Measures one library in an empty folder.
///
/// # Errors
/// The store fails, or `/proc` cannot be read.
pub fn run(kind: StoreKind, folder: &Path, bytes_per_group: u64, large_records: u64) -> Result<Measured> {
    match kind {
        StoreKind::Fjall => {
            let options = FjallOptions::default();
            measure(folder, bytes_per_group, large_records, |folder| Ok(FjallStore::open(folder, &options)?))
        }
        StoreKind::Redb => {
            measure(folder, bytes_per_group, large_records, |folder| Ok(RedbStore::open(folder, CACHE_BYTES)?))
        }
    }
}

fn measure<S: Store>(
    folder: &Path,
    bytes_per_group: u64,
    large_records: u64,
    open: impl Fn(&Path) -> Result<S>,
) -> Result<Measured> {
    let (mut work, mut store) = (Workload::new(1), open(&folder.join("daily"))?);
    let commits = GROUPS.into_iter().map(|group| commit(&mut store, &mut work, group, bytes_per_group));
    let commits = commits.collect::<Result<Vec<_>>>()?;
    let reads_per_s = rate(READS, || Ok(work.read(&store, READS)?))?;
    let scanned_rows_per_s = scan(&store)?;
    let deleted_records_per_s = delete(&mut store, work.records())?;
    drop(store);
    std::fs::remove_dir_all(folder.join("daily"))?;
    let large = large(&folder.join("large"), large_records, open)?;
    Ok(Measured {
        commits,
        reads_per_s,
        scanned_rows_per_s,
        deleted_records_per_s,
        large,
        peak_memory_mib: memory("VmHWM")?,
    })
}

fn commit(store: &mut impl Store, work: &mut Workload, group: u64, bytes: u64) -> Result<Commits> {
    let groups = (bytes / (group * RECORD_BYTES as u64)).max(8);
    let mut times = Vec::new();
    for _ in 0..groups {
        let batch = work.group(group);
        let begun = Instant::now();
        store.commit(&batch)?;
        times.push(begun.elapsed());
    }
    let total: Duration = times.iter().sum();
    times.sort();
    let records_per_s = (group * groups) as f64 / total.as_secs_f64();
    let at =
        |share: f64| times.get((times.len() as f64 * share) as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    Ok(Commits {
        group,
        groups: times.len(),
        records_per_s,
        rows_per_s: records_per_s * (ROWS + 2) as f64,
        mib_per_s: records_per_s * RECORD_BYTES as f64 / MIB,
        median_ms: at(0.5),
        p99_ms: at(0.99),
    })
}

fn scan(store: &impl Store) -> Result<f64> {
    let begun = Instant::now();
    let (mut from, mut rows) = (vec![0], 0);
    loop {
        let found = store.scan(Space::Messages, &from, &[0xff; 17], 1_000)?;
        let Some((last, _)) = found.last() else { break };
        from = [last, &[0][..]].concat();
        rows += found.len();
    }
    Ok(rows as f64 / begun.elapsed().as_secs_f64())
}

/// Delivers everything: records and queue rows are deleted in groups of 256.
fn delete(store: &mut impl Store, records: u64) -> Result<f64> {
    let numbers: Vec<u64> = (0..records).collect();
    rate(records, || {
        for group in numbers.chunks(256) {
            let mut batch = kernpost_spool::Batch::new();
            for record in group {
                batch.delete(Space::Records, record.to_be_bytes().to_vec());
                batch.delete(Space::Queue, record.to_be_bytes().to_vec());
            }
            store.commit(&batch)?;
        }
        Ok(())
    })
}

fn large<S: Store>(folder: &Path, records: u64, open: impl Fn(&Path) -> Result<S>) -> Result<Large> {
    std::fs::create_dir_all(folder)?;
    let (mut work, mut store) = (Workload::new(2), open(folder)?);
    let begun = Instant::now();
    while work.records() < records {
        store.commit(&work.group(128))?;
    }
    let index_rows = 1_000_000_u64.saturating_sub(work.records() * ROWS);
    for _ in 0..index_rows / 20_000 {
        store.commit(&work.index_rows(20_000))?;
    }
    let fill_s = begun.elapsed().as_secs_f64();
    drop(store);
    let begun = Instant::now();
    let store = open(folder)?;
    let restart_ms = begun.elapsed().as_secs_f64() * 1e3;
    let begun = Instant::now();
    work.read(&store, 1)?;
    let first_read_ms = begun.elapsed().as_secs_f64() * 1e3;
    let index_rows = work.records() * ROWS + index_rows / 20_000 * 20_000;
    let kept = work.records() * (RECORD_BYTES as u64 + 16) + index_rows * ROW_BYTES;
    Ok(Large {
        index_rows,
        records: work.records(),
        fill_s,
        restart_ms,
        first_read_ms,
        disk_bytes_per_byte: on_disk(folder)? as f64 / kept as f64,
        memory_after_restart_mib: memory("VmRSS")?,
    })
}

fn rate(count: u64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// Blocks occupied below a folder, in bytes: what sparse files leave out does not count.
fn on_disk(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in folder.read_dir()? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { on_disk(&entry.path())? } else { about.blocks() * 512 };
    }
    Ok(bytes)
}

/// A line of `/proc/self/status`, in MiB.
pub(super) fn memory(name: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).context("no such line")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1_024.0)
}

const GROUPS: [u64; 3] = [16, 64, 256];
const READS: u64 = 5_000;
const MIB: f64 = (1 << 20) as f64;
/// The page cache redb may use: as much as fjall's cache and memtables together usually take.
const CACHE_BYTES: usize = 192 << 20;
/// Key and value of an index row.
const ROW_BYTES: u64 = 16 + 8 + 48;
