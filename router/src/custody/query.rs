//! What may operators ask of the spool's thread, and how does it answer?
//!
//! Between two batches, like any read; each answer is bounded by its caller. What changes the spool by itself (notes in the log of acts,
//! wrapping by another master key) comes after everything that custody asked for before.

use bytes::Bytes;
use kernpost_codecs::{EndpointId, MessageId, UnixMs};
use kernpost_router_core::custody::spool::{RecordId, SpoolEvent, SpoolFault, SpoolIntent, SpoolRead, Stored};
use kernpost_spool::spool::{AuditEnd, AuditEntry, Listed, Quarantined};
use kernpost_spool::{FjallStore, PayloadStore, Spool};
use tokio::sync::oneshot;

/// Where an answer goes. Nobody there: whoever asked has gone.
pub type Answer<T> = oneshot::Sender<T>;

/// A question of an operator, with where its answer goes. Errors are for people.
#[derive(Debug)]
pub enum SpoolQuery {
    /// Records after one, ascending.
    Records {
        /// Those after this one.
        after: Option<RecordId>,
        /// At most so many.
        most: usize,
        /// Where to.
        answer: Answer<Result<Vec<Listed>, String>>,
    },
    /// The record that holds a message.
    Message {
        /// Its sender.
        sender: EndpointId,
        /// Its id.
        message: MessageId,
        /// Where to.
        answer: Answer<Option<Stored>>,
    },
    /// One record.
    Record {
        /// Which.
        record: RecordId,
        /// Where to.
        answer: Answer<Option<Stored>>,
    },
    /// What lies in quarantine.
    Quarantined {
        /// Records after this one.
        after: Option<RecordId>,
        /// At most so many.
        most: usize,
        /// Where to.
        answer: Answer<Result<Vec<Quarantined>, String>>,
    },
    /// The log of acts.
    Audited {
        /// From this number on.
        from: u64,
        /// At most so many.
        most: usize,
        /// Where to.
        answer: Answer<(Vec<AuditEntry>, AuditEnd)>,
    },
    /// An act for the log that changes nothing else; answered when it is durable.
    Note {
        /// The log's entry, JSON.
        entry: Bytes,
        /// Where to.
        answer: Answer<Result<(), String>>,
    },
    /// Wrap everything by the current master key; how many secrets there were.
    Rewrap {
        /// The log's entry, JSON; durable before anything is wrapped.
        entry: Bytes,
        /// Where to.
        answer: Answer<Result<usize, String>>,
    },
}

impl SpoolQuery {
    /// Whether what was asked for before must be carried out first.
    pub(super) fn changes(&self) -> bool {
        matches!(self, Self::Note { .. } | Self::Rewrap { .. })
    }

    /// Carries it out.
    pub(super) fn carry_out(self, spool: &mut Spool<FjallStore>, payloads: &PayloadStore, now: UnixMs) {
        match self {
            Self::Records { after, most, answer } => {
                tell(answer, spool.list(after, most).map_err(|error| error.to_string()));
            }
            Self::Message { sender, message, answer } => {
                let read = SpoolRead::Message { ticket: 0, sender, message };
                let found = match spool.read(&read) {
                    SpoolEvent::RecordRead { found, .. } => found,
                    _ => None,
                };
                tell(answer, found);
            }
            Self::Record { record, answer } => tell(answer, spool.look_at(record)),
            Self::Quarantined { after, most, answer } => {
                tell(answer, spool.quarantined(after, most).map_err(|error| error.to_string()));
            }
            Self::Audited { from, most, answer } => tell(answer, (spool.audited(from, most), spool.audit_end())),
            Self::Note { entry, answer } => tell(answer, note(spool, now, entry)),
            Self::Rewrap { entry, answer } => {
                let wrapped = note(spool, now, entry).and_then(|()| {
                    let rows = spool.rewrap().map_err(|error| error.to_string())?;
                    let files = payloads.rewrap().map_err(|error| error.to_string())?;
                    Ok(rows + files)
                });
                tell(answer, wrapped);
            }
        }
    }
}

fn tell<T>(answer: Answer<T>, what: T) {
    // Whoever asked has gone.
    let _ = answer.send(what);
}

/// Custody hears of a failure by its own next batch: the spool takes nothing more after one.
fn note(spool: &mut Spool<FjallStore>, now: UnixMs, entry: Bytes) -> Result<(), String> {
    let events = spool.commit(now, vec![SpoolIntent::Audit { entry }]);
    let refused = events.into_iter().find_map(|event| match event {
        SpoolEvent::NotCommitted { fault, .. } => Some(fault),
        _ => None,
    });
    match refused {
        None => Ok(()),
        Some(SpoolFault::Full) => Err("the disk has no room for an entry in the log: nothing was done".to_owned()),
        Some(SpoolFault::Failed { cause }) => Err(cause),
    }
}
