//! What the outbox tells, and what the durable outbox and the application's questions bring (WIRE 10.1)?

use std::collections::BTreeSet;

use bytes::Bytes;
use kernpost_codecs::statement::MessageRef;
use kernpost_codecs::{Code, EndpointId, MessageId, Party, RouterId};

use super::outbox::{CaseChange, Custody, Report, Slot, Stage};
use super::outgoing::{FinalOutcome, SendError, SendOutcome, Ticket};
use super::store::{Accepted, OutcomeRecord, Place, Recovered, StoreId, StoreOrder};
use super::{Core, Event, Now, Output};

/// Inputs of a durable outbox, and questions about messages sent.
impl Core {
    /// From now on nothing leaves before the shell has made it durable ([`Output::Store`]). Call it before any message.
    pub fn keep_durably(&mut self) {
        self.outbox.keep_durably();
    }

    /// The answer to [`StoreOrder::Accept`].
    pub fn handle_accepted(&mut self, _now: Now, ticket: Ticket, accepted: Accepted) {
        self.dirty = true;
        let Some(slot) = self.outbox.slot(ticket) else { return };
        let (sender, id) = (slot.sender, slot.id);
        let Some(signer) = self.signers.get(sender).map(|signer| signer.id().clone()) else { return };
        let keyed = self.keyed.remove(&ticket);
        match accepted {
            Accepted::Durable => {
                self.on_taken(&signer, id);
                self.outputs.push_back(Output::Accepted { ticket, message: id, same_as: None });
                self.outbox.begin(ticket);
            }
            // It ended between the question and the answer, and its outcome is written behind it: asked once more, the store knows.
            Accepted::Known { message, is_final: false, .. }
                if keyed.is_some() && self.concluded.get(sender, message).is_some() =>
            {
                self.outputs.extend(keyed.map(|record| Output::Store(StoreOrder::Accept(record))));
            }
            Accepted::Known { message, outcome, is_final } => {
                self.outbox.withdraw(ticket);
                let same_as = self.outbox.find(sender, message).map(|(open, _, _)| open);
                self.outputs.push_back(Output::Accepted { ticket, message, same_as });
                match outcome {
                    Some(outcome) if is_final => self.outputs.push_back(Output::Finished { ticket, outcome }),
                    stage => self.stand(ticket, same_as, message, stage),
                }
            }
            Accepted::Refused(error) => {
                self.outbox.withdraw(ticket);
                self.outputs.push_back(Output::NotAccepted { ticket, error });
            }
        }
    }

    /// Who waits for an open message by another sending of it learns its stage at once, with the receipt the store has of it.
    fn stand(&mut self, ticket: Ticket, same_as: Option<Ticket>, message: MessageId, stored: Option<Box<SendOutcome>>) {
        let Some((open, slot)) = same_as.and_then(|open| Some((open, self.outbox.slot(open)?))) else {
            let error = SendError::IdInUse(message);
            return self.outputs.push_back(Output::NotAccepted { ticket, error });
        };
        let Some(custody) = slot.custody.as_ref() else { return };
        let issuer = Some(custody.id.clone().into());
        let same = |stage: &SendOutcome| stage.outcome == FinalOutcome::Custody && stage.issuer == issuer;
        if let Some(stage) = stored.filter(|stage| same(stage)) {
            return self.outputs.push_back(Output::Stage { ticket: open, outcome: stage });
        }
        let outcome = SendOutcome {
            outcome: FinalOutcome::Custody,
            id: slot.id,
            code: Code(0),
            problem: None,
            text: None,
            issuer,
            attempts: slot.attempts,
            proof: custody.proof.clone(),
            statement: slot.statement.clone(),
        };
        self.outputs.push_back(Output::Stage { ticket: open, outcome: Box::new(outcome) });
    }

    /// The answer to [`StoreOrder::Outcome`] with an `answer`: whether it is durable.
    pub fn handle_outcome_stored(&mut self, now: Now, id: StoreId, durable: bool) {
        self.touch_all();
        self.on_outcome_stored(now, id, durable);
    }

    /// The answer to [`StoreOrder::Load`]; `None`: the payload cannot be had. Nothing to say for a payload from a file.
    pub fn handle_loaded(&mut self, now: Now, ticket: Ticket, payload: Option<Bytes>) {
        self.dirty = true;
        let message = self.outbox.slot(ticket).map(|slot| slot.id);
        if !self.outbox.on_loaded(now, ticket, payload)
            && let Some(message) = message
        {
            self.outputs.push_back(Output::Event(Event::PayloadLost { message }));
        }
    }

    /// The answer to [`StoreOrder::Recall`]: how the message ended, by its record.
    pub fn handle_recalled(&mut self, now: Now, id: StoreId, known: Option<&SendOutcome>) {
        self.touch_all();
        self.on_recalled(now, id, known);
    }

    /// A message found in the durable outbox at the start: asked for first, because it may have been handed on, and sent again
    /// with the same id when nobody knows it.
    ///
    /// # Errors
    /// It is no message of an endpoint of this process, or is there already.
    pub fn handle_recovered(&mut self, now: Now, recovered: Recovered) -> Result<Ticket, SendError> {
        let slot = self.slot_of(now, recovered.statement)?;
        if self.outbox.holds(slot.sender, slot.id) {
            return Err(SendError::IdInUse(slot.id));
        }
        self.dirty = true;
        let (mut custody, mut damaged) = (None, None);
        match recovered.stage.map(|stage| (stage.outcome, stage.issuer, stage.proof)) {
            Some((FinalOutcome::Custody, Some(Party::Router(id)), _)) => {
                custody = Some(Custody { router: self.routers.binary_search(&id).ok(), id, proof: None });
            }
            Some((FinalOutcome::Damaged, _, proof)) => damaged = proof,
            _ => {}
        }
        self.ledger.recovered += 1;
        self.ledger.open += 1;
        self.ledger.in_custody += u64::from(custody.is_some());
        let payload_here = recovered.file.is_some() || slot.length == 0;
        let give_up_us = now.after_ms(slot.due().ms_since(now.wall).max(1));
        let ticket = self.outbox.accept(Slot {
            file: recovered.file.map(|file| file.path),
            parked: true,
            payload_here,
            custody,
            damaged,
            ask: true,
            may_have_arrived: true,
            timed_out: true,
            give_up_us,
            ..slot
        });
        self.outbox.on_recovered(now, &self.ledger, ticket);
        Ok(ticket)
    }

    /// Asks the network what became of a message, by its statement. Answered by [`Output::Finished`] under the ticket: with
    /// the signed outcome or the custody it is in, or *undecided* with `unknown-message` when nobody asked knows it, or with the
    /// last code after `timeout_ms`. An answer is also the answer for the message itself, when it is still open.
    ///
    /// # Errors
    /// [`SendError::NotAskable`]: no statement of a message that an endpoint of this process sent.
    pub fn handle_ask(&mut self, now: Now, statement: Bytes, timeout_ms: u64) -> Result<Ticket, SendError> {
        if self.closing {
            return Err(SendError::Closing);
        }
        let slot = self.slot_of(now, statement)?;
        if self.outbox.len() >= self.limits.outbox_messages {
            return Err(SendError::OutboxFull { messages: self.outbox.len(), bytes: self.outbox.bytes() });
        }
        self.dirty = true;
        let give_up_us = now.after_ms(timeout_ms);
        Ok(self.outbox.accept(Slot {
            ask: true,
            inquiry: true,
            may_have_arrived: true,
            give_up_us,
            timeout_ms,
            ..slot
        }))
    }

    /// Whether a message of this sender is open here.
    pub fn is_open(&self, sender: &EndpointId, message: MessageId) -> bool {
        self.by_id.get(sender).is_some_and(|sender| self.outbox.holds(*sender, message))
    }

    /// Cases that are held because the router with their custody cannot be reached.
    pub fn held_cases(&self) -> usize {
        self.outbox.held_cases()
    }

    fn slot_of(&self, now: Now, statement: Bytes) -> Result<Slot, SendError> {
        let not = |why: String| SendError::NotAskable(format!("no statement of a message of this process: {why}"));
        let message = MessageRef::parse(&statement).map_err(|fault| not(fault.to_string()))?.to_owned();
        let sender = self.by_id.get(&message.sender).copied();
        let sender = sender.ok_or_else(|| not(format!("{} is not an endpoint here", message.sender)))?;
        let destination = self.destination_of(message.recipient.as_ref(), message.service, message.jurisdiction);
        Ok(Slot {
            give_up_us: now.mono_us,
            stage: Stage::BehindCase,
            ..Slot::new(sender, &message, statement, destination)
        })
    }

    /// Routers whose custody no longer counts, because the directory marks them lost (WIRE 10.7).
    pub(super) fn end_lost_custody(&mut self, now: Now) {
        let Some(table) = self.versions.current().cloned() else { return };
        let lost = |id: &RouterId| table.router(id.as_str()).is_some_and(|router| router.lost);
        for ticket in self.outbox.on_lost_routers(now, &mut self.ledger, lost) {
            self.tell_custody_lost(ticket, "the directory marks the router lost");
        }
    }

    fn tell_custody_lost(&mut self, ticket: Ticket, why: &'static str) {
        let Some(message) = self.outbox.slot(ticket).map(|slot| slot.id) else { return };
        self.outputs.push_back(Output::Event(Event::CustodyLost { message, why }));
    }

    /// Through which routers each sender's entries can go now.
    pub(super) fn reach(&self) -> Vec<BTreeSet<usize>> {
        let routers = |places: &Vec<super::SessionId>| {
            places.iter().filter_map(|id| Some(self.sessions.get(id)?.router_index)).collect()
        };
        self.places.iter().map(routers).collect()
    }

    /// Everything the outbox has to tell: to the application, and to the durable outbox.
    pub(super) fn tell(&mut self) {
        for ticket in self.outbox.take_denials() {
            self.tell_custody_lost(ticket, "the router denies having had it");
        }
        for ticket in self.outbox.take_loads() {
            let Some((sender, message)) = self.outbox.slot(ticket).map(|slot| (slot.sender, slot.id)) else { continue };
            let Some(sender) = self.signers.get(sender).map(|signer| signer.id().clone()) else { continue };
            self.outputs.push_back(Output::Store(StoreOrder::Load { ticket, sender, message }));
        }
        for change in self.outbox.take_case_changes() {
            self.tell_case(change);
        }
        while let Some(report) = self.outbox.poll_report() {
            self.tell_report(report);
        }
    }

    fn tell_report(&mut self, report: Report) {
        let Report { ticket, sender, place, outcome, expires, recorded, inquiry } = report;
        if let Some(signer) = self.signers.get(sender).filter(|_| !recorded && self.outbox.is_stored()) {
            let sender = signer.id().clone();
            let record = OutcomeRecord { answer: None, sender, place, outcome: outcome.clone(), expires };
            self.outputs.push_back(Output::Store(StoreOrder::Outcome(Box::new(record))));
        }
        if place == Place::Stage {
            self.outputs.push_back(Output::Stage { ticket, outcome: Box::new(outcome) });
            return;
        }
        if !inquiry {
            self.conclude(sender, outcome.id, &outcome);
        }
        self.outputs.push_back(Output::Finished { ticket, outcome: Box::new(outcome) });
    }

    fn tell_case(&mut self, change: CaseChange) {
        let sender_of = |sender: usize| self.signers.get(sender).map(|signer| signer.id().clone());
        let event = match change {
            CaseChange::Held { case, router } => sender_of(case.sender).map(|sender| Event::CaseHeld {
                sender,
                case: case.case,
                router: router.and_then(|router| self.routers.get(router).cloned()),
            }),
            CaseChange::Resumed { case } => {
                sender_of(case.sender).map(|sender| Event::CaseResumed { sender, case: case.case })
            }
            CaseChange::OrderEnded { case } => {
                sender_of(case.sender).map(|sender| Event::CaseOrderEnded { sender, case: case.case })
            }
        };
        self.outputs.extend(event.map(Output::Event));
    }
}
