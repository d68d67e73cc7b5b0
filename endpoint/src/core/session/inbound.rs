//! Which labels did we receive on this link and not settle yet, and which credit do they occupy (WIRE 7.1, 7.2)?
//!
//! Bounded by the credit granted. A label that passes the router's deadline gives its credit back and is forgotten: what
//! the application says later finds its way by an ask or a resend.

use std::collections::{HashMap, VecDeque};

use kernpost_codecs::credit::Granted;
use kernpost_codecs::settlement::Label;
use kernpost_codecs::{Class, FrameFault};

/// The labels received on one link.
#[derive(Debug)]
pub(crate) struct Inbound {
    granted: [Granted; 3],
    next: [u64; 3],
    open: HashMap<Label, u64, foldhash::fast::RandomState>,
    deadlines: VecDeque<(u64, Label)>,
    /// Detached entries, whose deadlines move with their progress (WIRE 9.5).
    large: HashMap<Label, u64, foldhash::fast::RandomState>,
    /// Labels that passed their deadline, until the session settles them.
    overdue: Vec<Label>,
    /// Detached entries that passed their deadline, until the core takes them.
    late: Vec<Label>,
}

impl Inbound {
    /// Grants `entries` and `bytes` per class.
    pub fn new(entries: u64, bytes: u64) -> Self {
        Self {
            granted: std::array::from_fn(|_| Granted::new(entries, bytes)),
            next: [0; 3],
            open: HashMap::default(),
            deadlines: VecDeque::new(),
            overdue: Vec::new(),
            large: HashMap::default(),
            late: Vec::new(),
        }
    }

    /// The sequence of the bundle frame that just arrived.
    pub fn on_frame(&mut self, class: Class) -> u64 {
        let Some(next) = self.next.get_mut(class.index()) else { return 0 };
        let sequence = *next;
        *next += 1;
        sequence
    }

    /// An entry arrived that occupies `credit` bytes.
    pub fn on_entry(&mut self, label: Label, credit: u64, deadline_us: u64, detached: bool) -> Result<(), FrameFault> {
        if let Some(granted) = self.granted.get_mut(label.class.index()) {
            granted.on_received(credit)?;
        }
        self.open.insert(label, credit);
        if detached {
            self.large.insert(label, deadline_us);
        } else {
            self.deadlines.push_back((deadline_us, label));
        }
        Ok(())
    }

    /// A large payload makes progress; false when its label is no longer open.
    pub fn extend(&mut self, label: &Label, deadline_us: u64) -> bool {
        match self.large.get_mut(label) {
            Some(until) => {
                *until = deadline_us;
                true
            }
            None => false,
        }
    }

    /// Whether a label was received and is no longer open.
    pub fn was_settled(&self, label: &Label) -> bool {
        self.next.get(label.class.index()).is_some_and(|next| label.sequence < *next) && !self.open.contains_key(label)
    }

    /// Detached entries that passed their deadline, each once.
    pub fn take_late(&mut self) -> Vec<Label> {
        std::mem::take(&mut self.late)
    }

    /// Labels that passed their deadline, each once: they are settled undecided, so that the router need not keep them.
    pub fn take_overdue(&mut self) -> Vec<Label> {
        std::mem::take(&mut self.overdue)
    }

    /// Settles a label; false when it was settled before or passed its deadline.
    pub fn settle(&mut self, label: &Label) -> bool {
        let Some(credit) = self.open.remove(label) else { return false };
        self.large.remove(label);
        if let Some(granted) = self.granted.get_mut(label.class.index()) {
            granted.on_settled(credit);
        }
        true
    }

    /// Gives up labels the router has settled as undecided by now.
    pub fn handle_timeout(&mut self, now_us: u64) {
        while let Some((until, label)) = self.deadlines.front().copied() {
            if until > now_us && self.open.contains_key(&label) {
                break;
            }
            self.deadlines.pop_front();
            if self.settle(&label) {
                self.overdue.push(label);
            }
        }
        let late: Vec<Label> =
            self.large.iter().filter(|(_, until)| **until <= now_us).map(|(label, _)| *label).collect();
        for label in late {
            if self.settle(&label) {
                self.overdue.push(label);
            }
            self.late.push(label);
        }
    }

    /// The next cumulative limit worth telling, for each class.
    pub fn take_updates(&mut self) -> impl Iterator<Item = (Class, u64, u64)> {
        Class::ALL
            .into_iter()
            .zip(&mut self.granted)
            .filter_map(|(class, granted)| granted.take_update().map(|(entries, bytes)| (class, entries, bytes)))
    }

    /// The next deadline.
    pub fn poll_deadline(&self) -> Option<u64> {
        let front = self.deadlines.front().map(|(until, _)| *until);
        front.into_iter().chain(self.large.values().copied()).min()
    }
}
