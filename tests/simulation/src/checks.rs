//! The invariants of the simulation, as facts collected along the run and judged at once.
//!
//! - what a portal's outbox took has a final outcome at the end, and no router holds anything then: nothing is lost silently;
//! - a *delivered* or *rejected* that a sender believes is in the durable journal of the endpoint that issued it, and stands;
//! - a receipt *expired* is not issued before expires + 120 s;
//! - a message that ended *refused* was never handed to an application, and is not handed over later;
//! - nothing is handed over again after its verdict became durable, and what may be a repeat says so;
//! - every ledger balances after every step, and open labels are what it says;
//! - as far as order is promised, a case is first handed over in the order of sending, looked at when it is handed over.
//!
//! What routers sign is judged in `run/truth.rs`, bounds in `run/bounds.rs`, what is left in `run/settled.rs`.

use std::collections::{BTreeMap, BTreeSet};

use kernpost_codecs::{Class, EndpointId, MessageId, Outcome, UnixMs};
use kernpost_endpoint::core::{Delivery, FinalOutcome, SendOutcome};

use super::endpoint_node::EndpointNode;
use super::router_node::RouterNode;

/// What the run saw.
#[derive(Default)]
pub struct Facts {
    /// What the outbox took, with the time at which it expires.
    accepted: BTreeMap<MessageId, UnixMs>,
    finished: BTreeMap<MessageId, FinalOutcome>,
    accepted_and_finished: usize,
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Receipts *custody* that arrived.
    pub custodies: u64,
    /// Which router signed *custody* of a message last.
    pub in_custody: BTreeMap<MessageId, usize>,
    /// Of which the sender was told that a copy in custody was damaged.
    pub told_damaged: BTreeSet<MessageId>,
    /// Of which the sender was told that custody counts no longer.
    pub custody_lost: BTreeSet<MessageId>,
    /// By recipient and message.
    handed_over: BTreeMap<(EndpointId, MessageId), HandedOver>,
    /// Copies of these went over a link once more.
    replayed: BTreeSet<MessageId>,
    /// Which the simulation closed as undecided.
    closed_here: BTreeSet<MessageId>,
    /// Each case and class with its messages in the order of sending.
    sent_in_case: BTreeMap<(Vec<u8>, Class), Vec<MessageId>>,
    /// Where each message is in it: its place.
    place_in_case: BTreeMap<MessageId, usize>,
    /// The last place of a case that a recipient was handed first.
    seen_in_case: BTreeMap<(EndpointId, Vec<u8>, Class), usize>,
    /// Hand-overs at which an order was promised.
    pub orders_checked: u64,
    /// Cases whose order is not promised any more.
    unordered: BTreeSet<Vec<u8>>,
    /// What is known to have happened to each message.
    stories: BTreeMap<MessageId, Vec<String>>,
}

/// How often a recipient's application has seen a message.
#[derive(Debug, Default)]
struct HandedOver {
    times: u32,
    /// Of these, without the mark *redelivered*.
    unmarked: u32,
}

impl Facts {
    /// A name for a case that no case has whose order has ended: what follows is judged by itself.
    pub fn name_of_case(&self, number: u8, place: &str) -> Vec<u8> {
        let name = |age: u8| [&[age, number], place.as_bytes()].concat();
        (0..u8::MAX).map(name).find(|name| !self.unordered.contains(name)).unwrap_or_else(|| name(u8::MAX))
    }

    pub fn sent(&mut self, case: Option<&[u8]>, class: Class, id: MessageId) {
        if let Some(case) = case {
            let sent = self.sent_in_case.entry((case.to_vec(), class)).or_default();
            self.place_in_case.insert(id, sent.len());
            sent.push(id);
        }
    }

    /// A copy of a message is on its way, marked as its original was.
    pub fn replayed(&mut self, id: MessageId, at_us: u64) {
        self.replayed.insert(id);
        self.note(id, at_us, "a copy of it is on its way".to_owned());
    }

    /// The portal was told that a message is safe.
    pub fn accepted(&mut self, id: MessageId, expires: UnixMs) {
        if self.accepted.insert(id, expires).is_none() && self.finished.contains_key(&id) {
            self.accepted_and_finished += 1;
        }
    }

    pub fn order_ended(&mut self, case: Vec<u8>) {
        self.unordered.insert(case);
    }

    /// The sender's process is gone, a disk lost something, or a route moved: the order of cases of which something is open is not promised.
    pub fn open_cases_unordered(&mut self) {
        let open = |ids: &Vec<MessageId>| ids.iter().any(|id| !self.finished.contains_key(id));
        let cases = self.sent_in_case.iter().filter(|(_, ids)| open(ids)).map(|((case, _), _)| case.clone());
        self.unordered.extend(cases);
    }

    /// The sender's process is gone, and how these ended it had told and not yet written down: for the next one they are open. How
    /// many there are.
    pub fn outcomes_forgotten(&mut self, written: impl Fn(&MessageId) -> bool) -> u64 {
        let told = self.finished.keys().filter(|id| self.accepted.contains_key(id) && !self.closed_here.contains(id));
        let forgotten: Vec<MessageId> = told.copied().filter(|id| !written(id)).collect();
        for id in &forgotten {
            if let Some(outcome) = self.finished.remove(id)
                && let Some(count) = self.outcomes.get_mut(outcome.name())
            {
                *count -= 1;
            }
            self.accepted_and_finished -= 1;
        }
        forgotten.len() as u64
    }

    /// Something happened to a message.
    pub fn note(&mut self, id: MessageId, at_us: u64, what: String) {
        self.stories.entry(id).or_default().push(format!("{at_us:>10} {what}"));
    }

    pub fn story(&self, id: MessageId) -> String {
        self.stories.get(&id).map(|story| story.join("\n")).unwrap_or_default()
    }

    /// How many of those taken have no final outcome.
    pub fn open(&self) -> usize {
        self.accepted.len() - self.accepted_and_finished
    }

    pub fn all_open(&self) -> Vec<MessageId> {
        self.accepted.keys().filter(|id| !self.finished.contains_key(id)).copied().collect()
    }

    /// Its sender will close it as undecided.
    pub fn closes_undecided(&mut self, id: MessageId) {
        self.closed_here.insert(id);
        if self.finished.insert(id, FinalOutcome::Undecided).is_none() {
            self.accepted_and_finished += 1;
            *self.outcomes.entry(FinalOutcome::Undecided.name()).or_insert(0) += 1;
        }
    }

    pub fn first_open(&self) -> Option<MessageId> {
        self.accepted.keys().find(|id| !self.finished.contains_key(id)).copied()
    }

    /// The sender learned how a message ended.
    pub fn finished(
        &mut self,
        outcome: &SendOutcome,
        sender: &EndpointId,
        endpoints: &[EndpointNode],
    ) -> Result<(), String> {
        let id = outcome.id;
        if outcome.outcome == FinalOutcome::Undecided && self.finished.contains_key(&id) {
            return Ok(());
        }
        let before = self.finished.insert(id, outcome.outcome);
        if before.is_some_and(FinalOutcome::is_by_recipient) && before != Some(outcome.outcome) {
            return Err(format!(
                "{id} was {} and is {} now",
                before.map_or("", FinalOutcome::name),
                outcome.outcome.name()
            ));
        }
        if before.is_none() {
            self.accepted_and_finished += usize::from(self.accepted.contains_key(&id));
            *self.outcomes.entry(outcome.outcome.name()).or_insert(0) += 1;
        }
        if outcome.outcome == FinalOutcome::Custody {
            return Err(format!("{id} was closed while it was in custody"));
        }
        let signed = !matches!(outcome.outcome, FinalOutcome::Refused | FinalOutcome::Undecided);
        if signed && outcome.proof.is_none() {
            return Err(format!("{id} ended {} without a receipt that proves it", outcome.outcome.name()));
        }
        let expires = self.accepted.get(&id).copied();
        let key = (sender.clone(), id);
        // Two endpoints may be responsible, one after the other; each answers for its own journal.
        let issuer = outcome.issuer.as_ref().map(ToString::to_string);
        let issued_by = endpoints.iter().find(|node| issuer.as_deref() == Some(node.id.as_str()));
        let journalled = issued_by.and_then(|node| node.disk.journal.get(&key));
        match (outcome.outcome, journalled) {
            (FinalOutcome::Delivered, Some(record)) if record.outcome == Outcome::Delivered => Ok(()),
            (FinalOutcome::Rejected, Some(record)) if record.outcome == Outcome::Rejected => Ok(()),
            (FinalOutcome::Delivered | FinalOutcome::Rejected, found) => {
                Err(format!("{id} settled {} but the journal holds {found:?}", outcome.outcome.name()))
            }
            (FinalOutcome::Refused, _)
                if !self.replayed.contains(&id) && self.handed_over.keys().any(|(_, handed)| *handed == id) =>
            {
                Err(format!("{id} settled refused ({}) but was handed over", outcome.code))
            }
            (FinalOutcome::Expired, _) => {
                let issued = outcome.proof.as_ref().map(|proof| proof.parsed.time);
                match (issued, expires) {
                    (Some(issued), Some(expires)) if issued < expires.plus_ms(GRACE_MS) => Err(format!(
                        "{id} was called expired {} ms too early",
                        expires.plus_ms(GRACE_MS).ms_since(issued)
                    )),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    pub fn is_finished(&self, id: MessageId) -> bool {
        self.finished.contains_key(&id)
    }

    /// A message that ended has another outcome now: by the recipient's word, in place of a router's or of none (WIRE 10.6).
    pub fn revised(&mut self, id: MessageId, before: FinalOutcome, now: FinalOutcome) -> Result<(), String> {
        let unsigned = matches!(before, FinalOutcome::Refused | FinalOutcome::Undecided);
        if before.is_by_recipient() || !(unsigned || now.is_by_recipient()) {
            return Err(format!("{id} was {} and was made {}", before.name(), now.name()));
        }
        self.finished.insert(id, now);
        Ok(())
    }

    /// An application is about to see a message.
    pub fn handed_over(&mut self, node: &EndpointNode, delivery: &Delivery) -> Result<(), String> {
        let message = &delivery.message;
        let (sender, id) = (&message.sender, message.id);
        if node.disk.journal.contains_key(&(sender.clone(), id)) {
            return Err(format!(
                "{id} was handed over again after its verdict was durable\nits story:\n{}",
                self.story(id)
            ));
        }
        if self.finished.get(&id) == Some(&FinalOutcome::Refused) && !self.replayed.contains(&id) {
            return Err(format!("{id} was handed over after it had settled refused\nits story:\n{}", self.story(id)));
        }
        let handed = self.handed_over.entry((node.id.clone(), id)).or_default();
        handed.times += 1;
        handed.unmarked += u32::from(!delivery.redelivered);
        let first = handed.times == 1;
        // The first copy, held back on a line that its sender has given up, may come after marked ones.
        if handed.unmarked > 1 && !self.replayed.contains(&id) {
            return Err(format!(
                "{id} was handed over again and is not marked redelivered\nits story:\n{}",
                self.story(id)
            ));
        }
        match message.case.as_deref() {
            Some(case) if first => self.in_order(&node.id, case, message.class, id),
            _ => Ok(()),
        }
    }

    /// A message of a case is handed over for the first time: none that was sent later was, as far as order is promised. It is not
    /// once one of its case has ended otherwise than by its recipient.
    fn in_order(&mut self, recipient: &EndpointId, case: &[u8], class: Class, id: MessageId) -> Result<(), String> {
        let (Some(sent), Some(place)) =
            (self.sent_in_case.get(&(case.to_vec(), class)), self.place_in_case.get(&id).copied())
        else {
            return Ok(());
        };
        let otherwise = |id: &MessageId| self.finished.get(id).is_some_and(|outcome| !outcome.is_by_recipient());
        // A copy of what one recipient had may reach another, out of its turn: copied by us, or sent again over another link while the first
        // was held back.
        let copy = self.replayed.contains(&id) || self.finished.contains_key(&id);
        let promised = !copy && !self.unordered.contains(case) && !sent.iter().any(otherwise);
        let last = self.seen_in_case.get(&(recipient.clone(), case.to_vec(), class)).copied();
        if promised && last.is_some_and(|last| place < last) {
            let stories: Vec<String> = sent.iter().map(|id| format!("{id}\n{}", self.story(*id))).collect();
            let (last, stories) = (last.unwrap_or_default(), stories.join("\n"));
            return Err(format!(
                "case {case:02x?} at {recipient}: message {place} was handed over after {last}\n{stories}"
            ));
        }
        self.orders_checked += u64::from(promised && last.is_some());
        let last = last.map_or(place, |last| last.max(place));
        self.seen_in_case.insert((recipient.clone(), case.to_vec(), class), last);
        Ok(())
    }

    /// Books of everybody who is alive.
    pub fn balanced<'a>(
        routers: impl Iterator<Item = &'a RouterNode>,
        endpoints: impl Iterator<Item = &'a EndpointNode>,
    ) -> Result<(), String> {
        for router in routers {
            for engine in &router.engines {
                if !engine.ledger().balanced() {
                    return Err(format!("ledger of {} does not balance: {:?}", router.id, engine.ledger()));
                }
                let open: u64 = engine.link_counts().iter().map(|link| link.open_labels).sum();
                if open != engine.ledger().in_flight {
                    let in_flight = engine.ledger().in_flight;
                    return Err(format!("{} has {open} labels open, its ledger says {in_flight}", router.id));
                }
            }
            let custody = router.custody.custody.ledger();
            if !custody.balanced() {
                return Err(format!("custody of {} does not balance: {custody:?}", router.id));
            }
        }
        for endpoint in endpoints {
            if !endpoint.core.ledger().balances() {
                return Err(format!("ledger of {} does not balance: {:?}", endpoint.id, endpoint.core.ledger()));
            }
        }
        Ok(())
    }
}

/// Twice the tolerance of clocks, less what the clocks of this simulation may differ.
const GRACE_MS: u64 = 120_000 - 45_000;
