//! The directory thread: when is the folder looked at, and what happens with a new table?
//!
//! Every `directory.poll_ms`, and at once on SIGHUP. A table goes into force for readers of [`Published`] first, then for
//! control, which tells the engines. A refused directory is logged with every finding, counted and shown; the table in
//! force stays.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use kernpost_codecs::{RouterId, UnixMs};
use kernpost_routing_table::{Published, Table};
use tokio::sync::mpsc;

use crate::channels::ControlInput;
use crate::clock::wall;
use crate::directory::{DirectoryTrouble, LiveDirectory, Refresh};
use crate::observed::Observed;
use crate::readiness::Gate;

/// What the directory thread is made of.
#[derive(Debug)]
pub struct DirectoryParts {
    /// The directory in force and its folder.
    pub live: LiveDirectory,
    /// Where tables go into force.
    pub published: Published,
    /// To the control thread.
    pub control: mpsc::Sender<ControlInput>,
    /// What operators see.
    pub observed: Arc<Observed>,
    /// A message means: look now. The thread ends when the sender is gone.
    pub look: Receiver<()>,
    /// How often to look.
    pub poll: Duration,
}

/// Starts the thread.
///
/// # Errors
/// The thread cannot be had.
pub fn spawn(mut parts: DirectoryParts) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("directory".to_owned()).spawn(move || {
        loop {
            match parts.look.recv_timeout(parts.poll) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => parts.look(wall()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })
}

impl DirectoryParts {
    fn look(&mut self, now: UnixMs) {
        match self.live.refresh(&self.published.current(), now) {
            Refresh::Unchanged => {
                self.published.free_retired();
            }
            Refresh::Live(table) => self.put_into_force(*table, now),
            Refresh::Refused(trouble) => self.refuse(&trouble),
        }
    }

    fn put_into_force(&self, table: Table, now: UnixMs) {
        match self.published.publish(table) {
            Ok(table) => {
                log_table(&table);
                show(&self.observed, &self.observed.router, &table, now);
                // Control is gone only when the process ends.
                let _ = self.control.blocking_send(ControlInput::Table(table));
            }
            Err(stale) => tracing::error!(%stale, "a table was not put into force: report this"),
        }
    }

    fn refuse(&self, trouble: &DirectoryTrouble) {
        let findings = trouble.findings();
        tracing::error!(
            count = findings.len(),
            generation = self.published.generation(),
            "alarm: the directory was refused, the table in force stays"
        );
        for finding in &findings {
            tracing::error!(finding, "directory");
        }
        self.observed.directory.on_refused(&findings.join("; "));
    }
}

/// Shows operators that a table went live, and whether this router can route by it.
pub fn show(observed: &Observed, own: &RouterId, table: &Table, now: UnixMs) {
    observed.directory.on_accepted(now);
    match table.router(own.as_str()) {
        Some(entry) if !entry.lost => observed.readiness.open(Gate::Directory),
        Some(_) => {
            observed.readiness.close(Gate::Directory, "the directory marks this router as lost");
        }
        None => observed.readiness.close(Gate::Directory, "the directory does not list this router"),
    }
}

/// One line about a table.
pub fn log_table(table: &Table) {
    tracing::info!(
        generation = table.generation(),
        version = %table.version().0,
        zones = table.zone_versions().len(),
        routes = table.routes().len(),
        endpoints = table.endpoints().len(),
        "routing table in force"
    );
}
