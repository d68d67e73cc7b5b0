//! How is what custody asks of the spool carried out over a store?
//!
//! [`Spool::commit`] takes intents and makes them durable in groups, one fsync each; [`Spool::read`] answers from what is durable;
//! [`Spool::started`] says what was found. One thread owns a spool. Layout of the rows: `spool/layout.rs`.

mod audit;
mod carry;
mod error;
mod group;
mod head;
mod index;
mod layout;
mod listing;
mod live;
mod reading;
mod recent;
mod reindex;
mod start;
#[cfg(test)]
mod tests;

pub use audit::{AuditEnd, AuditEntry};
pub use error::SpoolError;
pub use listing::{Listed, Quarantined};

use kernpost_codecs::UnixMs;
use kernpost_router_core::custody::spool::{Kind, RecordId, SpoolEvent, SpoolFault, SpoolIntent, Totals};

use crate::seal::Vault;
use crate::store::{Space, Store};
use group::{Group, Stale, no_identity};
use index::{Index, Waiting};
use live::Live;
use recent::Recent;

/// Fills a slice with random bytes.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// What custody keeps, over a store.
///
/// Memory: the store's, about 1 KiB for each queue that holds something and for each segment, at most 8 MiB for the keys of the
/// latest messages, and the group under way: at most [`GROUP_BYTES`] and one intent. Nothing for what is held.
pub struct Spool<S> {
    store: S,
    vault: Vault,
    random: Random,
    now: UnixMs,
    room: Room,
    index: Index,
    live: Live,
    recent: Recent,
    /// Names from here on are free.
    next: RecordId,
    audit: AuditEnd,
    /// Index rows to be deleted with the next batch.
    stale: Vec<Stale>,
    /// A row was met that hides which segment it is in.
    doubt: bool,
    /// Nothing more is taken, and why.
    failed: Option<String>,
}

/// Bytes the disk keeps free: a write that would leave less is refused as full before it is tried, because a store that really
/// runs full takes nothing more until it is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of new messages. Default 512 MiB.
    pub messages: u64,
    /// Of everything else: receipts, ends and acts, which need a little to free more. Default 128 MiB.
    pub anything: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { messages: 512 << 20, anything: 128 << 20 }
    }
}

/// Bytes of rows from which on a group is committed: more intents begin another.
pub const GROUP_BYTES: usize = 16 << 20;

impl<S: Store> Spool<S> {
    /// Replaces how much the disk keeps free.
    pub fn keep_free(&mut self, room: Room) {
        self.room = room;
    }

    /// Carries out intents in their order and says what became of them, in the same order: any number of
    /// [`SpoolEvent::Committed`], each after its fsync, then at most one [`SpoolEvent::NotCommitted`] with all the rest. An intent
    /// that finds no room takes what follows it in this call with it, because that may build upon it.
    pub fn commit(&mut self, now: UnixMs, intents: Vec<SpoolIntent>) -> Vec<SpoolEvent> {
        self.now = now;
        let (mut events, mut rest) = (Vec::new(), intents.len());
        let mut intents = intents.into_iter().peekable();
        while intents.peek().is_some() {
            let mut group = Group::default();
            let fault = self.fill(&mut group, &mut intents).and_then(|full| match group.intents {
                0 => Ok(full),
                _ => self.finish(&mut group).map(|()| full),
            });
            let fault = match fault {
                Ok(full) => {
                    rest = rest.saturating_sub(group.intents);
                    if group.intents > 0 {
                        let (intents, repeats) = (group.intents, std::mem::take(&mut group.repeats));
                        events.push(SpoolEvent::Committed { intents, repeats, totals: self.totals() });
                    }
                    full.then_some(SpoolFault::Full)
                }
                Err(error) => Some(self.fail(&error)),
            };
            if let Some(fault) = fault {
                events.push(SpoolEvent::NotCommitted { intents: rest, fault });
                break;
            }
        }
        events
    }

    /// How much is held now.
    pub fn totals(&self) -> Totals {
        let (disk_bytes, free_bytes) = (self.store.disk_bytes(), self.store.free_bytes());
        Totals { disk_bytes, free_bytes, ..self.index.totals() }
    }

    /// Takes intents into a group until it is large enough, or one finds no room: then true.
    fn fill(
        &mut self,
        group: &mut Group,
        intents: &mut std::iter::Peekable<std::vec::IntoIter<SpoolIntent>>,
    ) -> Result<bool, SpoolError> {
        self.usable()?;
        let free = self.store.free_bytes();
        let room = |bytes: usize, kept: u64| free.saturating_sub(kept) > 2 * bytes as u64;
        while let Some(intent) = intents.peek() {
            let kept = if takes_messages(intent) { self.room.messages } else { self.room.anything };
            if !room(group.batch.bytes().saturating_add(size_of(intent)), kept) {
                return Ok(true);
            }
            if group.intents == 0 {
                self.ensure_segment(group)?;
                self.tidy(group);
            }
            if let Some(intent) = intents.next() {
                self.carry_out(group, intent)?;
                group.intents += 1;
            }
            if group.batch.bytes() >= GROUP_BYTES {
                break;
            }
        }
        Ok(false)
    }

    /// Makes a group durable, then finds the new oldest record of queues that lost theirs.
    fn finish(&mut self, group: &mut Group) -> Result<(), SpoolError> {
        group.put(Space::Meta, layout::NEXT, layout::number(self.next.0));
        group.put(Space::Meta, layout::QUEUED, layout::number(self.index.rows()));
        self.live.write(&mut self.vault, &mut group.batch)?;
        self.store.commit(&group.batch)?;
        for (hash, from) in self.index.take_passed() {
            let from = layout::queue_row(self.index.epoch, &hash, from);
            let to = layout::queue_end(self.index.epoch, &hash);
            match self.store.scan(Space::Queue, &from, &to, 1) {
                Ok(rows) => {
                    let first = rows.first().and_then(|(key, row)| {
                        let (_, record) = layout::read_queue_row(key)?;
                        let plain = self.vault.unseal(no_identity(Space::Queue, key), row).ok();
                        let taken = plain.and_then(|plain| Waiting::decode(&plain)).map_or(self.now, |row| row.taken);
                        Some((record, taken))
                    });
                    self.index.set_first(hash, first);
                }
                Err(cause) => {
                    self.mend(&cause);
                    break;
                }
            }
        }
        Ok(())
    }

    fn usable(&self) -> Result<(), SpoolError> {
        match &self.failed {
            Some(cause) => Err(SpoolError::Stopped { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn fail(&mut self, error: &SpoolError) -> SpoolFault {
        let cause = self.failed.get_or_insert_with(|| error.to_string()).clone();
        SpoolFault::Failed { cause }
    }
}

impl<S> std::fmt::Debug for Spool<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("next", &self.next).field("failed", &self.failed).finish_non_exhaustive()
    }
}

fn takes_messages(intent: &SpoolIntent) -> bool {
    matches!(intent, SpoolIntent::Keep { head, .. } if head.kind == Kind::Messages)
}

/// About what an intent writes, in bytes.
fn size_of(intent: &SpoolIntent) -> usize {
    let head = |entries: usize| 512 + entries * 400;
    match intent {
        SpoolIntent::Keep { head: kept, body, .. } => body.len() + head(kept.entries.len()),
        SpoolIntent::Update { head: kept, body, .. } => {
            body.as_ref().map_or(0, |body| body.len()) + head(kept.entries.len())
        }
        SpoolIntent::Forget { messages, .. } => 512 + messages.len() * 64,
        SpoolIntent::Quarantine { .. } => 256 << 10,
        SpoolIntent::Audit { entry } => 512 + entry.len(),
    }
}
