//! Does the spool agree with a plain map of heads, whatever is asked and wherever the process dies?
//!
//! Proptest prints the failing steps; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` repeat and prolong it.

use std::collections::BTreeMap;

use kernpost_codecs::Outcome;
use proptest::prelude::*;

use super::*;
use crate::memory_store::CommitFault;

#[derive(Debug, Clone)]
enum Step {
    Keep { to: u8, kind: bool, messages: Vec<u8>, due: u16 },
    End { which: u8, entries: u8, due: u16, erase: bool },
    Move { which: u8, to: u8 },
    Forget { which: u8 },
    Restart,
    Crash,
    FailNext { kept: bool },
}

/// What must be held.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    records: BTreeMap<u64, (Head, Bytes)>,
    messages: BTreeMap<u8, u64>,
    next: u64,
}

impl Model {
    /// The intent of a step, and what holds once it is durable.
    fn after(&self, step: &Step) -> Option<(SpoolIntent, Self)> {
        let mut next = self.clone();
        let intent = match step {
            Step::Keep { to, kind, messages, due } => next.keep(*to, *kind, messages, *due),
            Step::End { which, entries, due, erase } => next.change(*which, |head, body| {
                for entry in head.entries.iter_mut().take(usize::from(*entries)) {
                    if entry.state == EntryState::Waiting {
                        entry.state = EntryState::Final { outcome: Outcome::Delivered, receipt: RecordId(77) };
                    }
                }
                head.due = NOW.plus_s((*due).into());
                if *erase {
                    *body = Bytes::from_static(b"without payloads");
                }
            })?,
            Step::Move { which, to } => next.change(*which, |head, _| head.queue = queue(&format!("to{to}")))?,
            Step::Forget { which } => next.forget(*which)?,
            Step::Restart | Step::Crash | Step::FailNext { .. } => return None,
        };
        Some((intent, next))
    }

    fn keep(&mut self, to: u8, kind: bool, messages: &[u8], due: u16) -> SpoolIntent {
        let record = self.next + 1;
        self.next = record;
        let kind = if kind { Kind::Receipts } else { Kind::Messages };
        let asked = Head { kind, due: NOW.plus_s(due.into()), ..head(&format!("to{to}"), messages) };
        let mut written = asked.clone();
        if kind == Kind::Messages {
            for entry in &mut written.entries {
                let message = entry.message.0[0];
                match self.messages.contains_key(&message) {
                    true => entry.state = EntryState::Repeat,
                    false => drop(self.messages.insert(message, record)),
                }
            }
        }
        if written.entries.iter().any(|entry| entry.state != EntryState::Repeat) {
            self.records.insert(record, (written, body(record)));
        }
        SpoolIntent::Keep { record: RecordId(record), head: asked, body: body(record) }
    }

    fn chosen(&self, which: u8) -> Option<u64> {
        let count = self.records.len().max(1);
        self.records.keys().nth(usize::from(which) % count).copied()
    }

    fn change(&mut self, which: u8, change: impl FnOnce(&mut Head, &mut Bytes)) -> Option<SpoolIntent> {
        let record = self.chosen(which)?;
        let (head, body) = self.records.get_mut(&record)?;
        let (before, old) = (head.place(), body.clone());
        change(head, body);
        let changed = (old != *body).then(|| body.clone());
        Some(SpoolIntent::Update { record: RecordId(record), before, head: head.clone(), body: changed })
    }

    fn forget(&mut self, which: u8) -> Option<SpoolIntent> {
        let record = self.chosen(which)?;
        let (head, _) = self.records.remove(&record)?;
        self.messages.retain(|_, held| *held != record);
        let messages = head.entries.iter().map(|entry| (entry.sender.clone(), entry.message)).collect();
        let messages = if head.kind == Kind::Messages { messages } else { vec![] };
        Some(SpoolIntent::Forget { record: RecordId(record), before: head.place(), messages })
    }

    /// Whether a spool holds exactly this, by every way of reading.
    fn agrees<S: Store>(&self, spool: &mut Spool<S>) -> Result<(), String> {
        let same = |what: &str, held: bool| if held { Ok(()) } else { Err(format!("{what}\n{self:#?}")) };
        let (_, queues, totals) = started(spool);
        for n in 0..=self.next + 1 {
            let stored = record_read(spool, n).map(|stored| (stored.head.unwrap(), stored.body.unwrap()));
            same("a record", stored.as_ref() == self.records.get(&n))?;
        }
        for message in 0..8 {
            let held = message_read(spool, "portal", message).map(|stored| stored.record.0);
            same("a message", held == self.messages.get(&message).copied())?;
        }
        let waiting = || self.records.iter().filter(|(_, (head, _))| head.waits());
        let mut expected: Vec<Queue> = waiting().map(|(_, (head, _))| head.queue.clone()).collect();
        expected.sort();
        expected.dedup();
        let mut queues = queues;
        queues.sort();
        same("the queues", queues == expected)?;
        for to in 0..3 {
            let queue = queue(&format!("to{to}"));
            let of = waiting().filter(|(_, (head, _))| head.queue == queue).map(|(record, _)| *record);
            same("a queue", ids(&queue_read(spool, &queue, None, 99).0) == of.collect::<Vec<_>>())?;
        }
        for until in [0, 40, 100] {
            let until = NOW.plus_s(until);
            let due = self.records.iter().map(|(record, (head, _))| (head.due, *record));
            let mut due: Vec<_> = due.filter(|(at, _)| *at <= until).collect();
            due.sort();
            let expected: Vec<u64> = due.into_iter().map(|(_, record)| record).collect();
            same("what is due", ids(&due_read(spool, until, 99).0) == expected)?;
        }
        let sum = |kind| {
            let heads = waiting().map(|(_, (head, _))| head).filter(|head| head.kind == kind);
            heads.map(Head::waiting).fold((0, 0), |sum, (count, bytes)| (sum.0 + count, sum.1 + bytes))
        };
        let (messages, bytes) = sum(Kind::Messages);
        same(
            "the totals",
            (totals.messages, totals.bytes, totals.receipts) == (messages, bytes, sum(Kind::Receipts).0),
        )?;
        same("the oldest", totals.oldest == waiting().map(|_| NOW).next())
    }
}

fn run(steps: &[Step], lying: bool) -> Result<(), String> {
    let disk = SimDisk::new(1);
    disk.lie_about_fsync(lying);
    let (mut spool, mut model, mut starts) = (on(&disk, NOW), Model::default(), 0);
    let mut again = |spool: Spool<MemoryStore>, crash: bool| {
        drop(spool);
        disk.fail_no_commit();
        if crash {
            disk.crash();
        }
        starts += 1;
        on(&disk, NOW.plus_ms(starts))
    };
    for step in steps {
        match step {
            Step::Restart => spool = again(spool, false),
            Step::Crash => spool = again(spool, true),
            Step::FailNext { kept: true } => disk.fail_next_commit(CommitFault::KeptThoughFailed),
            Step::FailNext { kept: false } => disk.fail_next_commit(CommitFault::Lost),
            _ => {
                let Some((intent, next)) = model.after(step) else { continue };
                match spool.commit(NOW, vec![intent]).as_slice() {
                    [SpoolEvent::Committed { intents: 1, .. }] => model = next,
                    [SpoolEvent::NotCommitted { intents: 1, fault: SpoolFault::Failed { .. } }] => {
                        spool = again(spool, true);
                        // All of it or nothing; a name once tried is not used again.
                        let tried = next.next;
                        if model.agrees(&mut spool).is_err() {
                            model = next;
                        }
                        model.next = tried;
                    }
                    other => return Err(format!("{other:?}")),
                }
            }
        }
        model.agrees(&mut spool)?;
    }
    spool = again(spool, true);
    model.agrees(&mut spool)
}

fn step() -> impl Strategy<Value = Step> {
    let due = 0..90_u16;
    let messages = prop::collection::vec(0..8_u8, 1..4);
    prop_oneof![
        6 => (0..3_u8, any::<bool>(), messages, due.clone())
            .prop_map(|(to, kind, messages, due)| Step::Keep { to, kind, messages, due }),
        4 => (any::<u8>(), 0..4_u8, due, any::<bool>())
            .prop_map(|(which, entries, due, erase)| Step::End { which, entries, due, erase }),
        2 => (any::<u8>(), 0..3_u8).prop_map(|(which, to)| Step::Move { which, to }),
        2 => any::<u8>().prop_map(|which| Step::Forget { which }),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        1 => any::<bool>().prop_map(|kept| Step::FailNext { kept }),
    ]
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_spool_agrees_with_a_map(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps, false).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn the_model_notices_a_disk_that_lies_about_fsync() {
    let kept = Step::Keep { to: 0, kind: false, messages: vec![1], due: 9 };
    assert!(run(&[kept.clone(), Step::Restart], false).is_ok());
    assert!(std::panic::catch_unwind(|| run(&[kept, Step::Crash], true)).map_or(true, |ran| ran.is_err()));
}
