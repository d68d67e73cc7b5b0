//! Which directory is in force here, and which older versions are at hand to judge receipts (WIRE 3.5, 10.7)?
//!
//! Holds compiled tables only. Fetching and verifying snapshots happens elsewhere; a table that arrives here is trusted.
//! Bounded: the current table, one earlier generation of it, and `capacity` tables of other versions, oldest out first.

use std::collections::VecDeque;
use std::sync::Arc;

use kernpost_codecs::DirectoryVersion;
use kernpost_routing_table::Table;

/// The tables this process holds.
#[derive(Debug)]
pub struct Versions {
    current: Option<Arc<Table>>,
    others: VecDeque<Arc<Table>>,
    capacity: usize,
}

impl Versions {
    /// Keeps at most `capacity` tables besides the current one (at least 1).
    pub fn new(capacity: usize) -> Self {
        Self { current: None, others: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// The table in force, if any directory is known yet.
    pub fn current(&self) -> Option<&Arc<Table>> {
        self.current.as_ref()
    }

    /// The version in force; all zeros while none is known.
    pub fn current_version(&self) -> DirectoryVersion {
        self.current
            .as_ref()
            .map_or(DirectoryVersion(kernpost_codecs::digest::Digest([0; 32])), |table| table.version())
    }

    /// Puts a table in force and keeps its predecessor for receipts still under way.
    pub fn install(&mut self, table: Arc<Table>) {
        if let Some(before) = self.current.replace(table) {
            self.keep(before);
        }
    }

    /// Adds a table of another version, for judging receipts only.
    pub fn keep(&mut self, table: Arc<Table>) {
        if self.others.len() >= self.capacity {
            self.others.pop_front();
        }
        self.others.push_back(table);
    }

    /// Whether a table of this version is at hand.
    pub fn holds(&self, version: &DirectoryVersion) -> bool {
        self.of(version).next().is_some()
    }

    /// Every table of this version, the newest generation first: a route may have ended between two generations.
    pub fn of<'a>(&'a self, version: &'a DirectoryVersion) -> impl Iterator<Item = &'a Arc<Table>> {
        self.newest_first().filter(move |table| table.version() == *version)
    }

    /// The table in force, then those before it.
    pub fn newest_first(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.current.iter().chain(self.others.iter().rev())
    }

    /// Whether a version list is at least as new as the one in force, zone by zone: only then it may replace it.
    pub fn may_replace(&self, table: &Table) -> bool {
        let Some(current) = self.current.as_ref() else { return true };
        current
            .zone_versions()
            .all(|held| table.zone_versions().any(|offered| offered.zone == held.zone && offered.serial >= held.serial))
    }
}
