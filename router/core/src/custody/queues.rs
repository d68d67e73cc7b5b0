//! What of the spool is in memory, and in which order does it leave?
//!
//! A queue that somebody could take from has a window: its oldest records, read in order. Per queue: what is loaded, what of
//! that may be sent now, where reading goes on, how many entries are under way, until when it pauses. Order within a case is kept
//! by the queue: only the first unfinished entry of a case may leave.

use std::collections::BTreeSet;
use std::sync::Arc;

use kernpost_codecs::EndpointId;
use kernpost_codecs::frame::LONGEST_BODY;
use kernpost_codecs::part::{Entry, Part};

use super::spool::{EntryState, Head, Queue, RecordId};
use crate::collections::Map;
use crate::mutant::{self, Mutant};

/// A case of one sender; its class is the queue's.
pub(super) type CaseKey = (EndpointId, Arc<[u8]>);

/// Where an entry of a loaded record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// May be sent.
    Ready,
    /// An earlier entry of its case has not ended, or nobody it may go to is there.
    Held,
    /// Under way to its recipient.
    Flying,
    /// Has ended; the spool is making that durable.
    Ending,
    /// Nothing more to do.
    Done,
}

/// A record in memory.
#[derive(Debug)]
pub(super) struct Loaded {
    pub head: Head,
    /// `None`: it cannot be read; nothing of it is sent.
    pub part: Option<Arc<Part>>,
    /// One for each entry of `head`, which are those of `part`.
    pub steps: Vec<Step>,
    /// Attempts in a row without success; sets the pause.
    pub failures: u32,
    /// It may have been handed on before: found in the spool at the start, or an attempt was undecided.
    pub redelivered: bool,
    /// Another table came while something of it was under way: it is judged when that has settled.
    pub to_be_judged: bool,
}

impl Loaded {
    pub fn new(head: Head, part: Option<Arc<Part>>, redelivered: bool) -> Self {
        let step = |state: EntryState| if state == EntryState::Waiting { Step::Ready } else { Step::Done };
        let steps = head.entries.iter().map(|entry| step(entry.state)).collect();
        Self { head, part, steps, failures: 0, redelivered, to_be_judged: false }
    }

    /// Whether something of it is under way, to a recipient or to the disk.
    pub fn is_busy(&self) -> bool {
        self.any(Step::Flying) || self.any(Step::Ending)
    }

    /// Bytes it holds in memory, about and at most: a payload in a file of its own is not there.
    pub fn bytes(&self) -> u64 {
        self.head.entries.iter().map(|entry| entry.cost.min(LONGEST_BODY as u64)).sum()
    }

    pub fn positions(&self, wanted: Step) -> impl Iterator<Item = usize> + '_ {
        self.steps.iter().enumerate().filter(move |(_, step)| **step == wanted).map(|(position, _)| position)
    }

    /// The entry at a position, when the record can be read.
    pub fn entry(&self, position: usize) -> Option<&Entry> {
        self.part.as_ref()?.entries().get(position)
    }

    pub fn any(&self, wanted: Step) -> bool {
        self.steps.contains(&wanted)
    }

    pub fn set(&mut self, position: usize, step: Step) {
        if let Some(held) = self.steps.get_mut(position) {
            *held = step;
        }
    }

    pub fn position(&self, index: u16) -> Option<usize> {
        self.head.entries.binary_search_by_key(&index, |entry| entry.index).ok()
    }

    pub fn case(&self, position: usize) -> Option<CaseKey> {
        let entry = self.head.entries.get(position)?;
        Some((entry.sender.clone(), Arc::clone(entry.case.as_ref()?)))
    }
}

/// One queue that holds something.
#[derive(Debug)]
pub(super) struct QueueState {
    /// Loaded records, the oldest first.
    pub window: BTreeSet<RecordId>,
    /// Those with entries that may be sent.
    pub ready: BTreeSet<RecordId>,
    /// The last record the window was read up to.
    pub cursor: Option<RecordId>,
    /// The spool has nothing behind the cursor.
    pub end: bool,
    /// An answer of the spool is due.
    pub reading: bool,
    /// Something was kept while the answer was due: it may not be in it.
    pub missed: bool,
    /// Records on their way to the spool.
    pub pending: u64,
    /// Something left it: look whether anything is left, though nobody can take it.
    pub look: bool,
    /// Bytes of the window.
    pub bytes: u64,
    /// Entries under way.
    pub flying: u64,
    /// How many may be; grows while all goes well.
    pub limit: u64,
    /// Successes that have not let `limit` grow yet.
    successes: u64,
    /// No attempt before this, monotonic µs.
    pub paused_until_us: u64,
    /// Pauses in a row.
    pub pauses: u32,
    /// Unfinished loaded entries of each case, in order. Bounded by the window.
    cases: Map<CaseKey, BTreeSet<(RecordId, usize)>>,
}

impl Default for QueueState {
    /// A queue of which the spool has nothing.
    fn default() -> Self {
        Self {
            window: BTreeSet::new(),
            ready: BTreeSet::new(),
            cursor: None,
            end: true,
            reading: false,
            missed: false,
            pending: 0,
            look: false,
            bytes: 0,
            flying: 0,
            limit: FIRST_FLYING,
            successes: 0,
            paused_until_us: 0,
            pauses: 0,
            cases: Map::default(),
        }
    }
}

impl QueueState {
    /// Takes a record into the window; entries behind an unfinished one of their case are held. False: it is in it already.
    pub fn insert(&mut self, record: RecordId, loaded: &mut Loaded) -> bool {
        if !self.window.insert(record) {
            return false;
        }
        self.bytes += loaded.bytes();
        for position in 0..loaded.steps.len() {
            if loaded.steps.get(position) != Some(&Step::Ready) {
                continue;
            }
            if let Some(case) = loaded.case(position) {
                let waiting = self.cases.entry(case).or_default();
                waiting.insert((record, position));
                if waiting.first() != Some(&(record, position)) && !mutant::is(Mutant::CaseOrderIgnored) {
                    loaded.set(position, Step::Held);
                }
            }
        }
        if loaded.any(Step::Ready) {
            self.ready.insert(record);
        }
        true
    }

    /// Takes a record out of the window.
    pub fn remove(&mut self, record: RecordId, loaded: &Loaded) {
        if self.window.remove(&record) {
            self.bytes = self.bytes.saturating_sub(loaded.bytes());
            self.ready.remove(&record);
            for position in 0..loaded.steps.len() {
                self.leave_case(record, position, loaded);
            }
        }
    }

    /// An entry has ended; the next one of its case, which may leave now.
    pub fn leave_case(&mut self, record: RecordId, position: usize, loaded: &Loaded) -> Option<(RecordId, usize)> {
        let case = loaded.case(position)?;
        let waiting = self.cases.get_mut(&case)?;
        let was_first = waiting.first() == Some(&(record, position));
        waiting.remove(&(record, position));
        let next = waiting.first().copied().filter(|_| was_first);
        if waiting.is_empty() {
            self.cases.remove(&case);
        }
        next
    }

    /// Whether an entry is the first unfinished one of its case, or has none.
    pub fn may_leave(&self, record: RecordId, position: usize, loaded: &Loaded) -> bool {
        let first = loaded.case(position).and_then(|case| self.cases.get(&case)?.first().copied());
        mutant::is(Mutant::CaseOrderIgnored) || first.is_none_or(|first| first == (record, position))
    }

    /// Nothing of it is left, here or in the spool.
    pub fn is_done(&self) -> bool {
        self.window.is_empty() && self.end && !self.reading && self.pending == 0
    }

    pub fn on_success(&mut self, count: u64, most: u64) {
        self.pauses = 0;
        self.successes += count;
        self.limit = (self.limit + self.successes / GROWTH).min(most);
        self.successes %= GROWTH;
    }

    /// No more than what is under way now. True: something is, so that no pause is needed.
    pub fn on_busy(&mut self) -> bool {
        self.limit = self.flying.max(LEAST_FLYING);
        let waits = self.flying >= self.limit;
        if !waits {
            self.pauses = self.pauses.saturating_add(1);
        }
        waits
    }
}

/// The queues, and which of them an endpoint may take from. As many as there are distinct lists of responsible endpoints among
/// what waits: bounded by the directory's routes and endpoints.
#[derive(Debug, Default)]
pub(super) struct Queues {
    states: Map<Queue, QueueState>,
    by_endpoint: Map<EndpointId, BTreeSet<Queue>>,
}

impl Queues {
    pub fn get_mut(&mut self, queue: &Queue) -> Option<&mut QueueState> {
        self.states.get_mut(queue)
    }

    pub fn get(&self, queue: &Queue) -> Option<&QueueState> {
        self.states.get(queue)
    }

    /// The queue, made if need be; and whether it was.
    pub fn open(&mut self, queue: &Queue) -> (&mut QueueState, bool) {
        let fresh = !self.states.contains_key(queue);
        if fresh {
            for endpoint in queue.waits_for.iter() {
                self.by_endpoint.entry(endpoint.clone()).or_default().insert(queue.clone());
            }
        }
        (self.states.entry(queue.clone()).or_default(), fresh)
    }

    /// Forgets a queue that is done. True when it was there.
    pub fn close(&mut self, queue: &Queue) -> bool {
        for endpoint in queue.waits_for.iter() {
            if let Some(queues) = self.by_endpoint.get_mut(endpoint) {
                queues.remove(queue);
                if queues.is_empty() {
                    self.by_endpoint.remove(endpoint);
                }
            }
        }
        self.states.remove(queue).is_some()
    }

    /// Queues this endpoint may take from, the urgent ones first.
    pub fn of(&self, endpoint: &EndpointId) -> Vec<Queue> {
        let mut queues: Vec<Queue> = self.by_endpoint.get(endpoint).into_iter().flatten().cloned().collect();
        queues.sort_by_key(|queue| queue.class.index());
        queues
    }

    /// The oldest record of a queue that is in memory; after all others when nothing is.
    pub fn oldest(&self, queue: &Queue) -> RecordId {
        self.get(queue).and_then(|state| state.window.first().copied()).unwrap_or(RecordId(u64::MAX))
    }

    pub fn names(&self) -> Vec<Queue> {
        let mut names: Vec<Queue> = self.states.keys().cloned().collect();
        names.sort();
        names
    }

    pub fn len(&self) -> usize {
        self.states.len()
    }
}

/// Entries under way when a queue begins.
const FIRST_FLYING: u64 = 256;
/// So many successes let one more entry be under way.
const GROWTH: u64 = 16;
/// Entries under way however busy the recipient is.
const LEAST_FLYING: u64 = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use kernpost_codecs::digest::Digest;
    use kernpost_codecs::{Class, MessageId, UnixMs};

    use super::super::spool::{HeadEntry, Kind};
    use super::*;

    fn queue() -> Queue {
        Queue { waits_for: Arc::from(["de/city".parse().unwrap()]), class: Class::Bulk }
    }

    /// A record with one message of each of these cases; 0: none.
    fn record(cases: &[u8]) -> Loaded {
        let entry = |(index, case): (usize, &u8)| HeadEntry {
            index: u16::try_from(index).unwrap(),
            sender: "de/portal".parse().unwrap(),
            message: MessageId([*case; 16]),
            leaf: Digest([0; 32]),
            expires: UnixMs(1),
            case: (*case > 0).then(|| Arc::from([*case])),
            cost: 100,
            state: EntryState::Waiting,
        };
        let entries = cases.iter().enumerate().map(entry).collect();
        let head = Head { kind: Kind::Messages, queue: queue(), taken: UnixMs(0), due: UnixMs(1), entries };
        Loaded::new(head, None, false)
    }

    fn ready(loaded: &Loaded) -> Vec<usize> {
        loaded.positions(Step::Ready).collect()
    }

    #[test]
    fn of_a_case_only_the_first_unfinished_message_may_leave() {
        let mut state = QueueState::default();
        let (mut first, mut second) = (record(&[1, 0, 2]), record(&[2, 1]));
        state.insert(RecordId(1), &mut first);
        state.insert(RecordId(2), &mut second);
        assert_eq!((ready(&first), ready(&second)), (vec![0, 1, 2], vec![]));
        assert_eq!(state.ready.iter().copied().collect::<Vec<_>>(), [RecordId(1)]);
        assert_eq!(state.leave_case(RecordId(1), 0, &first), Some((RecordId(2), 1)));
        assert!(state.may_leave(RecordId(2), 1, &second));
        assert!(!state.may_leave(RecordId(2), 0, &second));
    }

    #[test]
    fn a_record_read_again_behind_a_later_one_still_goes_first_in_its_case() {
        let mut state = QueueState::default();
        let mut later = record(&[1]);
        state.insert(RecordId(5), &mut later);
        let mut earlier = record(&[1]);
        state.insert(RecordId(3), &mut earlier);
        assert!(state.may_leave(RecordId(3), 0, &earlier));
        assert!(!state.may_leave(RecordId(5), 0, &later));
    }

    #[test]
    fn a_record_that_leaves_the_window_takes_its_bytes_and_cases_with_it() {
        let mut state = QueueState::default();
        let (mut first, mut second) = (record(&[1]), record(&[1]));
        state.insert(RecordId(1), &mut first);
        state.insert(RecordId(2), &mut second);
        state.remove(RecordId(1), &first);
        assert_eq!(state.bytes, 100);
        assert!(state.may_leave(RecordId(2), 0, &second));
    }

    #[test]
    fn a_queue_is_known_by_every_endpoint_it_waits_for_and_urgent_ones_come_first() {
        let mut queues = Queues::default();
        let city: EndpointId = "de/city".parse().unwrap();
        let urgent = Queue { class: Class::Urgent, ..queue() };
        assert!(queues.open(&queue()).1);
        assert!(queues.open(&urgent).1);
        assert!(!queues.open(&urgent).1);
        assert_eq!(queues.of(&city), [urgent.clone(), queue()]);
        assert!(queues.close(&urgent));
        assert_eq!(queues.of(&city), [queue()]);
    }
}
