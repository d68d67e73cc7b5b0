//! How does a message end, and what is told of it: a stage, an outcome, or that nobody said anything in time?

use super::*;
use crate::core::outgoing::SendOutcome;
use crate::core::proof::ReceiptProof;
use crate::core::store::Place;

/// A stage or an end, to be told and, with a durable outbox, to be written down.
#[derive(Debug)]
pub(crate) struct Report {
    pub ticket: Ticket,
    pub sender: usize,
    pub place: Place,
    pub outcome: SendOutcome,
    pub expires: kernpost_codecs::UnixMs,
    /// It is durable already, or has no place in the durable outbox.
    pub recorded: bool,
    /// Nobody remembers it: it only answered a question.
    pub inquiry: bool,
}

impl Outbox {
    /// The next thing to be told.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// Messages whose payload has to come back from the durable outbox.
    pub fn take_loads(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.loads)
    }

    /// What happened to cases since.
    pub fn take_case_changes(&mut self) -> Vec<CaseChange> {
        std::mem::take(&mut self.case_changes)
    }

    /// A message has run out of time.
    pub(super) fn give_up(&mut self, now: Now, ledger: &mut Ledger, ticket: Ticket) {
        let Some(slot) = self.slots.get(&ticket) else { return };
        if slot.inquiry {
            return self.finish_undecided(now, ledger, ticket);
        }
        if slot.stage == Stage::Storing {
            let later = now.after_ms(slot.timeout_ms.max(1_000));
            return self.give_up_at(ticket, later);
        }
        if slot.parked {
            let (due, closes) = (slot.due(), slot.closes());
            return if now.wall < due {
                self.give_up_at(ticket, now.after_ms(due.ms_since(now.wall).max(1)));
            } else if now.wall < closes {
                self.leave_case(ticket);
                self.give_up_at(ticket, now.after_ms(closes.ms_since(now.wall).max(1)));
            } else {
                match slot.last_word(now) {
                    Some(proof) => self.finish_proven(now, ledger, ticket, proof, false),
                    None => self.finish_undecided(now, ledger, ticket),
                }
            };
        }
        if let Some(held_us) = slot.case.as_ref().and_then(|case| self.cases.held_us(case)) {
            // The time for which a case is held does not count.
            let later =
                held_us.max(now.mono_us).saturating_add(slot.timeout_ms.saturating_mul(1_000)).max(now.mono_us + 1);
            return self.give_up_at(ticket, later);
        }
        if slot.stage != Stage::InFlight && !slot.may_have_arrived {
            return self.finish_refused(now, ledger, ticket);
        }
        if !self.stored {
            return self.finish_undecided(now, ledger, ticket);
        }
        self.mark_undecided(ticket);
        self.park(now, ticket);
        if let Some(slot) = self.slots.get_mut(&ticket) {
            slot.timed_out = true;
        }
        self.report(ticket, Place::Stage, FinalOutcome::Undecided, None, false);
    }

    /// It has expired without a word: its case goes on without it, and without promise of order.
    fn leave_case(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        let Some(case) = slot.case.take() else { return };
        let waits = slot.stage == Stage::BehindCase;
        self.case_changes.push(CaseChange::OrderEnded { case: case.clone() });
        if let Some(next) = self.cases.leave(&case, ticket) {
            self.make_ready(next);
        }
        if waits {
            self.make_ready(ticket);
        }
    }

    fn give_up_at(&mut self, ticket: Ticket, at_us: u64) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        self.give_ups.remove(&(slot.give_up_us, ticket));
        slot.give_up_us = at_us;
        self.give_ups.insert((at_us, ticket));
    }

    /// From now on the message does not count as open, and is followed until 30 days after it expired. Its payload stays in
    /// memory only where it is nowhere else and there is room.
    pub(super) fn park(&mut self, now: Now, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        if slot.inquiry {
            return;
        }
        if !slot.parked {
            slot.parked = true;
            self.parked += 1;
            self.bytes = self.bytes.saturating_sub(slot.held_bytes());
            self.parked_bytes += slot.held_bytes();
        }
        let due = now.after_ms(slot.due().ms_since(now.wall).max(1));
        self.give_up_at(ticket, due);
    }

    /// Frees the payload of a parked message that is only asked for.
    pub(super) fn drop_payload(&mut self, ticket: Ticket) {
        let room = self.limits.outbox_bytes;
        let Some(slot) = self.slots.get_mut(&ticket).filter(|slot| slot.parked && slot.ask) else { return };
        if !slot.payload.is_empty() && (self.stored || self.parked_bytes > room) {
            self.parked_bytes = self.parked_bytes.saturating_sub(slot.payload.len());
            slot.payload = Bytes::new();
            slot.payload_here = false;
        }
    }

    fn mark_undecided(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        slot.may_have_arrived = true;
        if (!slot.last_code.is_undecided() && slot.last_code != Code::UNKNOWN_MESSAGE) || slot.stage == Stage::InFlight
        {
            slot.last_code = Code::UNDECIDED_DEADLINE;
        }
    }

    pub(super) fn finish_undecided(&mut self, now: Now, ledger: &mut Ledger, ticket: Ticket) {
        if self.slots.get(&ticket).is_some_and(|slot| !slot.inquiry) {
            self.mark_undecided(ticket);
            ledger.undecided += 1;
        }
        self.report(ticket, Place::Final, FinalOutcome::Undecided, None, false);
        self.remove(now, ledger, ticket, false);
    }

    pub(super) fn finish_refused(&mut self, now: Now, ledger: &mut Ledger, ticket: Ticket) {
        ledger.refused += 1;
        self.report(ticket, Place::Final, FinalOutcome::Refused, None, false);
        self.remove(now, ledger, ticket, false);
    }

    /// A verified receipt ends the message.
    pub(super) fn finish_proven(
        &mut self,
        now: Now,
        ledger: &mut Ledger,
        ticket: Ticket,
        proof: ReceiptProof,
        recorded: bool,
    ) {
        let outcome = FinalOutcome::from(proof.parsed.outcome);
        if self.slots.get(&ticket).is_some_and(|slot| !slot.inquiry) {
            match outcome {
                FinalOutcome::Delivered => ledger.delivered += 1,
                FinalOutcome::Rejected => ledger.rejected += 1,
                _ => ledger.other_final += 1,
            }
        }
        self.report(ticket, Place::Final, outcome, Some(proof), recorded);
        self.remove(now, ledger, ticket, outcome.is_by_recipient());
    }

    pub(super) fn report(
        &mut self,
        ticket: Ticket,
        place: Place,
        outcome: FinalOutcome,
        proof: Option<ReceiptProof>,
        recorded: bool,
    ) {
        let Some(slot) = self.slots.get(&ticket) else { return };
        let parsed = proof.as_ref().map(|proof| &proof.parsed);
        let outcome = SendOutcome {
            outcome,
            id: slot.id,
            code: parsed.map_or(slot.last_code, |parsed| Code(parsed.code)),
            problem: parsed.and_then(|parsed| parsed.problem.clone()),
            text: slot.last_text.clone().filter(|_| parsed.is_none()),
            issuer: parsed.map(|parsed| parsed.issuer.clone()),
            attempts: slot.attempts,
            statement: slot.statement.clone(),
            proof,
        };
        let (sender, expires, inquiry) = (slot.sender, slot.expires, slot.inquiry);
        let recorded = recorded || inquiry;
        self.reports.push_back(Report { ticket, sender, place, outcome, expires, recorded, inquiry });
    }

    fn remove(&mut self, now: Now, ledger: &mut Ledger, ticket: Ticket, delivered: bool) {
        let Some(slot) = self.slots.remove(&ticket) else { return };
        if slot.parked {
            self.parked -= 1;
            self.parked_bytes = self.parked_bytes.saturating_sub(slot.held_bytes());
        } else {
            self.bytes = self.bytes.saturating_sub(slot.held_bytes());
        }
        if !slot.inquiry {
            ledger.open = ledger.open.saturating_sub(1);
            ledger.in_custody = ledger.in_custody.saturating_sub(u64::from(slot.custody.is_some()));
            self.ids.remove(&(slot.sender, slot.id));
        }
        self.give_ups.remove(&(slot.give_up_us, ticket));
        let released = match slot.stage {
            Stage::InFlight => self.throttles.of(slot.class).on_settled(now.mono_us, &slot.destination, delivered),
            Stage::Resting { until_us } => {
                self.resting.remove(&(until_us, ticket));
                Vec::new()
            }
            Stage::Ready => {
                if self.queue(slot.sender, slot.class, |queue| queue.remove(&ticket)) {
                    self.ready_count -= 1;
                }
                self.throttles.of(slot.class).withdraw(now.mono_us, &slot.destination, ticket)
            }
            Stage::HeldBack => self.throttles.of(slot.class).withdraw(now.mono_us, &slot.destination, ticket),
            Stage::BehindCase | Stage::Storing | Stage::Loading => Vec::new(),
        };
        self.release(released);
        let case = slot.case.as_ref().filter(|_| !slot.inquiry);
        if let Some(next) = case.and_then(|case| self.cases.leave(case, ticket)) {
            self.make_ready(next);
        }
    }
}
