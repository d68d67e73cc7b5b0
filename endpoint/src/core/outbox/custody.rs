//! What follows a receipt for a message: its end, or custody and what may still become of it (WIRE 10.1, 10.2, 10.6)?
//!
//! A message in custody is settled and not ended: it holds no credit and no room for open messages, is asked for from time
//! to time at the router that has it (so that a lost late receipt is found), and is sent again when that router's word no
//! longer stands: its copy was damaged, it is marked lost, or it denies having had it.

use kernpost_codecs::{Outcome, Party, RouterId};
use kernpost_router_core::mutant::{self, Mutant};

use super::*;
use crate::core::proof::ReceiptProof;
use crate::core::store::Place;

impl Outbox {
    /// A receipt for this message verified. `recorded`: the durable outbox has it already. False: the message is not open.
    pub fn on_receipt(
        &mut self,
        now: Now,
        ledger: &mut Ledger,
        ticket: Ticket,
        proof: ReceiptProof,
        router: Option<usize>,
        recorded: bool,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(&ticket) else { return false };
        ledger.receipts += 1;
        slot.setbacks = 0;
        slot.last_code = Code(proof.parsed.code);
        let ends = slot.inquiry || slot.cannot_follow(now, proof.parsed.outcome, self.stored);
        match proof.parsed.outcome {
            Outcome::Custody if !ends && !mutant::is(Mutant::CustodyIsFinal) => {
                self.on_custody(now, ledger, ticket, proof, router)
            }
            Outcome::Damaged if !ends => self.on_damaged(now, ledger, ticket, proof, router, recorded),
            _ => self.finish_proven(now, ledger, ticket, proof, recorded),
        }
        true
    }

    fn on_custody(
        &mut self,
        now: Now,
        ledger: &mut Ledger,
        ticket: Ticket,
        proof: ReceiptProof,
        router: Option<usize>,
    ) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        let Party::Router(id) = proof.parsed.issuer.clone() else { return };
        let before = slot.custody.replace(Custody { router, id: id.clone(), proof: None });
        ledger.in_custody += u64::from(before.is_none());
        slot.may_have_arrived = true;
        slot.ask = true;
        let news = before.is_none_or(|before| before.id != id);
        let wait_ms = slot.patience_ms(&self.limits).max(spaced_ms(ledger));
        let (destination, class, case) = (slot.destination.clone(), slot.class, slot.case.clone());
        let in_flight = slot.stage == Stage::InFlight;
        self.park(now, ticket);
        if news {
            ledger.custodies += 1;
            self.report(ticket, Place::Stage, FinalOutcome::Custody, Some(proof.clone()), false);
        }
        if let Some(slot) = self.slots.get_mut(&ticket).filter(|_| !self.stored) {
            slot.custody = Some(Custody { router, id, proof: Some(proof) });
        }
        self.put_to_rest(ticket, now.after_ms(wait_ms));
        let released =
            if in_flight { self.throttles.of(class).on_settled(now.mono_us, &destination, true) } else { Vec::new() };
        self.release(released);
        if let Some(next) = case.and_then(|case| self.cases.in_custody(&case, ticket, router)) {
            self.make_ready(next);
        }
    }

    /// The router's copy is damaged: the message is sent again with the same id, elsewhere if there is another router. A
    /// receipt about damage that was acted upon already changes nothing.
    fn on_damaged(
        &mut self,
        now: Now,
        ledger: &mut Ledger,
        ticket: Ticket,
        proof: ReceiptProof,
        router: Option<usize>,
        recorded: bool,
    ) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        let time = proof.parsed.time;
        let in_flight = slot.stage == Stage::InFlight;
        let (destination, class) = (slot.destination.clone(), slot.class);
        slot.avoid = router;
        if slot.damaged.as_ref().is_some_and(|before| time <= before.parsed.time) {
            // The answer to an ask, or a repeated late receipt.
            if in_flight {
                slot.ask = slot.custody.is_some();
                let wait_ms = slot.patience_ms(&self.limits);
                self.put_to_rest(ticket, now.after_ms(wait_ms));
                let released = self.throttles.of(class).on_settled(now.mono_us, &destination, false);
                self.release(released);
            }
        } else {
            slot.damaged = Some(proof.clone());
            slot.may_have_arrived = true;
            self.report(ticket, Place::Stage, FinalOutcome::Damaged, Some(proof), recorded);
            self.send_again(now, ledger, ticket);
        }
    }

    /// Nobody has it in custody any more: it goes out again as soon as its case lets it.
    fn send_again(&mut self, now: Now, ledger: &mut Ledger, ticket: Ticket) {
        self.park(now, ticket);
        self.take_out(now, ticket);
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        ledger.custody_resends += 1;
        ledger.in_custody = ledger.in_custody.saturating_sub(u64::from(slot.custody.take().is_some()));
        slot.ask = false;
        slot.timed_out = true;
        slot.patience = 0;
        slot.stage = Stage::BehindCase;
        let next = match slot.case.clone() {
            Some(case) if self.cases.is_under_way(&case, ticket) => Some(ticket),
            Some(case) => self.cases.join(&case, ticket),
            None => Some(ticket),
        };
        if let Some(next) = next {
            self.make_ready(next);
        }
    }

    /// An ask of a message in custody was settled without a receipt.
    pub(super) fn on_custody_settled(
        &mut self,
        now: Now,
        ledger: &mut Ledger,
        ticket: Ticket,
        router: usize,
        code: Code,
    ) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        let denied = code == Code::UNKNOWN_MESSAGE
            && slot.custody.as_ref().is_some_and(|custody| custody.router == Some(router))
            && now.wall < slot.expires;
        if denied {
            self.denials.push(ticket);
            return self.send_again(now, ledger, ticket);
        }
        let wait_ms = slot.patience_ms(&self.limits).max(spaced_ms(ledger));
        self.put_to_rest(ticket, now.after_ms(wait_ms));
    }

    /// A message in custody found in the durable outbox is asked for when its turn comes among all of them.
    pub fn on_recovered(&mut self, now: Now, ledger: &Ledger, ticket: Ticket) {
        let ready = |slot: &Slot| slot.custody.is_some() && slot.stage == Stage::Ready;
        if self.slots.get(&ticket).is_some_and(ready) {
            self.put_to_rest(ticket, now.after_ms(spaced_ms(ledger)));
        }
    }

    /// Routers the directory marks lost: their custody no longer counts, and what they had is sent again.
    pub fn on_lost_routers(&mut self, now: Now, ledger: &mut Ledger, lost: impl Fn(&RouterId) -> bool) -> Vec<Ticket> {
        let hit =
            |slot: &Slot| slot.custody.as_ref().is_some_and(|custody| lost(&custody.id)) && now.wall < slot.expires;
        let mut tickets: Vec<Ticket> =
            self.slots.iter().filter(|(_, slot)| hit(slot)).map(|(ticket, _)| *ticket).collect();
        tickets.sort_unstable();
        for ticket in &tickets {
            self.send_again(now, ledger, *ticket);
        }
        tickets
    }

    /// Messages that a router denied to have had in custody, by its own receipt.
    pub fn take_denials(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.denials)
    }

    /// Through which routers the entries of each sender can go now.
    pub fn on_reach(&mut self, now: Now, ledger: &mut Ledger, reach: Option<Vec<BTreeSet<usize>>>) {
        let all = reach.is_some();
        if let Some(reach) = reach {
            self.reach = reach;
        } else if !self.cases.is_stirred() {
            return;
        }
        let until_us = now.after_ms(self.limits.case_hold_ms);
        let reach = &self.reach;
        let reaches = |sender: usize, router: Option<usize>| {
            router.is_some_and(|router| reach.get(sender).is_some_and(|reach| reach.contains(&router)))
        };
        let changes = self.cases.review(until_us, all, reaches);
        ledger.cases_held += changes.iter().filter(|change| matches!(change, CaseChange::Held { .. })).count() as u64;
        self.case_changes.extend(changes);
    }

    /// A payload is back from the durable outbox, or is not there.
    pub fn on_loaded(&mut self, now: Now, ticket: Ticket, payload: Option<Bytes>) -> bool {
        let room = self.limits.outbox_bytes.saturating_mul(2);
        let full = self.bytes + self.parked_bytes > room;
        let Some(slot) = self.slots.get_mut(&ticket).filter(|slot| slot.stage == Stage::Loading) else { return true };
        let Some(payload) = payload else {
            // It cannot be sent again; its recipient or a router may still know it.
            slot.ask = true;
            let wait_ms = slot.patience_ms(&self.limits);
            self.rest(ticket, now.after_ms(wait_ms));
            return false;
        };
        if full {
            self.rest(ticket, now.after_ms(500));
            return true;
        }
        if slot.parked {
            self.parked_bytes += payload.len();
        } else {
            self.bytes += payload.len();
        }
        slot.payload = payload;
        slot.payload_here = true;
        self.make_ready(ticket);
        true
    }

    /// Rests until then, wherever it was before.
    fn put_to_rest(&mut self, ticket: Ticket, until_us: u64) {
        let Some(slot) = self.slots.get(&ticket) else { return };
        if let Stage::Resting { until_us } = slot.stage {
            self.resting.remove(&(until_us, ticket));
        }
        if slot.stage == Stage::Ready {
            let (sender, class) = (slot.sender, slot.class);
            self.ready_count -= usize::from(self.queue(sender, class, |queue| queue.remove(&ticket)));
        }
        self.rest(ticket, until_us);
    }

    /// Takes a message out of whatever it waits in.
    fn take_out(&mut self, now: Now, ticket: Ticket) {
        let Some(slot) = self.slots.get(&ticket) else { return };
        let (class, destination) = (slot.class, slot.destination.clone());
        let released = match slot.stage {
            Stage::HeldBack => self.throttles.of(class).withdraw(now.mono_us, &destination, ticket),
            Stage::InFlight => self.throttles.of(class).on_settled(now.mono_us, &destination, false),
            _ => Vec::new(),
        };
        self.release(released);
        self.put_to_rest(ticket, now.mono_us);
        self.resting.remove(&(now.mono_us, ticket));
    }
}

impl Slot {
    /// Whether even a receipt *custody* or *damaged* is the end here: nothing can be sent again.
    fn cannot_follow(&self, now: Now, outcome: Outcome, stored: bool) -> bool {
        outcome == Outcome::Damaged && (self.expires < now.wall || (!self.payload_here && !stored))
    }
}

/// Asks of what is in custody: so far apart that all messages of this process there make 200 a second at most, ms. Their receipts
/// come by themselves; asks are for those that were lost, and a million of them must not stand in the way of new messages.
fn spaced_ms(ledger: &Ledger) -> u64 {
    ledger.in_custody.saturating_mul(ASKS_APART_MS)
}

const ASKS_APART_MS: u64 = 5;
