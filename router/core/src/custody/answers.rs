//! What follows from the spool's answers to intents: nothing is promised before it is durable, and what found no room is tried
//! again.

use kernpost_codecs::Code;
use kernpost_codecs::settlement::Detail;

use super::spool::{HeadEntry, Queue, RecordId, Repeat, SpoolFault, SpoolIntent, Totals};
use super::{Custody, CustodyOutput, Timer};
use crate::mutant::{self, Mutant};
use crate::outbound::Origin;

/// What follows when an intent is durable.
#[derive(Debug)]
pub(super) enum Then {
    /// Messages are taken (`Keep`): each of them has a label that waits for its receipt.
    Taken(Vec<Origin>),
    /// Receipts can be sent late (`Keep`).
    Kept,
    /// Entries at these positions of a record have ended (`Update`).
    Ended(Vec<usize>),
    /// A record waits in another queue (`Update`, and nothing else of it is changed).
    Moved,
    /// Nothing: a record was forgotten or went aside, or an act is recorded.
    Nothing,
    /// A record whose index was made again is in the books again.
    Found,
    /// A record that nobody can be told of is out of them.
    Lost,
}

impl Custody {
    /// Makes something durable; `then` follows. The intent is kept until it is answered.
    ///
    /// What is said of one record is written in the order in which it was said: a head is written whole, and an older one written
    /// later would have what has ended wait again.
    pub(super) fn intend(&mut self, intent: SpoolIntent, then: Then) {
        let record = intent.record();
        if record.is_some() && self.deferred.iter().any(|(held, _)| held.record() == record) {
            return self.deferred.push((intent, then));
        }
        self.outputs.push_back(CustodyOutput::Intent(intent.clone()));
        self.pending.push_back((intent, then));
    }

    /// The same again, once there may be room.
    fn intend_later(&mut self, intent: SpoolIntent, then: Then) {
        self.look_again_for_room();
        self.deferred.push((intent, then));
    }

    fn look_again_for_room(&mut self) {
        self.timers.insert((self.now.after_ms(FULL_PAUSE_MS), Timer::Again));
    }

    /// There may be room now.
    pub(super) fn intend_again(&mut self) {
        for (intent, then) in std::mem::take(&mut self.deferred) {
            self.outputs.push_back(CustodyOutput::Intent(intent.clone()));
            self.pending.push_back((intent, then));
        }
        if self.judge_again {
            // A round is finished first: on a disk that stays full, none ever would be.
            if self.is_judging() {
                self.look_again_for_room();
            } else {
                self.judge_again = false;
                self.judge_everything();
            }
        }
    }

    /// The spool made the next intents durable: what they promise may be said now.
    pub(super) fn on_committed(&mut self, intents: usize, repeats: &[Repeat], totals: Totals) {
        self.totals = totals;
        let mut receipts: Vec<(Origin, HeadEntry)> = Vec::new();
        let (mut found, mut lost) = (false, false);
        for _ in 0..intents {
            let Some((intent, then)) = self.pending.pop_front() else { break };
            match (then, intent) {
                (Then::Taken(origins), SpoolIntent::Keep { record, head, body }) => {
                    let repeated = repeats.iter().filter(|repeat| repeat.record == record);
                    self.on_taken(record, head, body, origins, repeated, &mut receipts);
                }
                (Then::Kept, SpoolIntent::Keep { record, head, body }) => self.on_kept(record, head, body),
                (Then::Ended(positions), SpoolIntent::Update { record, .. }) => self.on_ended(record, &positions),
                (Then::Moved, SpoolIntent::Update { record, head, .. }) => self.on_moved(record, &head.queue),
                (Then::Found, intent) => {
                    if let SpoolIntent::Update { head, .. } = intent
                        && head.waits()
                    {
                        self.read_anew(&head.queue);
                    }
                    found = true;
                }
                (Then::Lost, _) => lost = true,
                _ => {}
            }
        }
        // After everything else of the same commit, because the totals are those of its end.
        if found {
            self.ledger.find(totals.messages);
        } else if lost {
            self.ledger.lose(totals.messages);
        }
        self.send_custody_receipts(receipts);
    }

    /// A record waits in another queue.
    fn on_moved(&mut self, record: RecordId, queue: &Queue) {
        // It was read again before it had moved: memory has it where it was.
        if let Some(loaded) = self.loaded.get_mut(&record) {
            loaded.to_be_judged = true;
            self.judge_when_settled(record);
        }
        self.read_anew(queue);
    }

    /// A record came into this queue that is older than what may have been read of it: it is read again from the front.
    fn read_anew(&mut self, queue: &Queue) {
        self.open_queue(queue);
        if let Some(state) = self.queues.get_mut(queue) {
            state.cursor = None;
            state.end = false;
            state.missed |= state.reading;
        }
        self.mark_dirty(queue);
    }

    /// The next intents are not durable, or nobody knows.
    pub(super) fn on_not_committed(&mut self, intents: usize, fault: SpoolFault) {
        for _ in 0..intents {
            let Some((intent, then)) = self.pending.pop_front() else { break };
            match (then, intent, &fault) {
                (Then::Taken(origins), SpoolIntent::Keep { head, .. }, SpoolFault::Full) => {
                    for (origin, entry) in origins.into_iter().zip(&head.entries) {
                        self.stats.refused += 1;
                        self.totals.free_bytes = 0;
                        let endpoint = head.queue.waits_for.first().unwrap_or(&entry.sender).clone();
                        if entry.may_be_large() {
                            self.release_payload(entry.leaf);
                        }
                        self.refuse(origin, &endpoint);
                    }
                    self.nothing_kept(&head.queue);
                }
                (Then::Taken(origins), SpoolIntent::Keep { record, head, body }, SpoolFault::Failed { .. })
                    if mutant::is(Mutant::IgnoreFsyncError) =>
                {
                    let mut receipts = Vec::new();
                    self.on_taken(record, head, body, origins, std::iter::empty(), &mut receipts);
                    self.send_custody_receipts(receipts);
                }
                (Then::Taken(origins), SpoolIntent::Keep { head, .. }, SpoolFault::Failed { .. }) => {
                    self.stats.not_kept += head.entries.len() as u64;
                    for origin in origins {
                        self.settle(origin, Code::UNDECIDED_STORAGE, Detail::default());
                    }
                }
                // Where it waits follows from the table: said again later, it might contradict what was said in between. It lies
                // where it lay, and is judged again.
                (Then::Moved, SpoolIntent::Update { before, .. }, SpoolFault::Full) => {
                    self.judge_again = true;
                    self.look_again_for_room();
                    self.read_anew(&before.queue);
                }
                (then, intent, SpoolFault::Full) => self.intend_later(intent, then),
                // Custody stops: its books are read again at the next start.
                (_, _, SpoolFault::Failed { .. }) => {}
            }
        }
        if let SpoolFault::Failed { cause } = fault {
            self.stop(cause);
        }
    }
}

/// How long to wait before asking again for what there was no room for, ms.
const FULL_PAUSE_MS: u64 = 1_000;
