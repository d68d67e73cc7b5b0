//! Late receipts: what a router that had custody sends on when the recipient's word, or its own, comes after the label has
//! settled (WIRE 10.2). Verified, made durable, noted; never given to the application as messages.
//!
//! ```text
//!  entry --> signature holds? --> message open? --yes--> counts? --> durable --> outcome, noted
//!                                      | no
//!                                      v
//!                      remembered, or in the durable outbox? --> precedence (WIRE 10.6) --> durable --> event, noted
//! ```
//! What waits for the durable outbox is bounded by the credit of its labels.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::part::{Entry, HopHeader, Part};
use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::statement::{self, MessageRef, Receipt, StatementKind};
use kernpost_codecs::tree::leaf_hash;
use kernpost_codecs::{Class, Code, MessageId, Outcome, Party};

use super::outbox::Precedence;
use super::outgoing::{FinalOutcome, SendOutcome, Ticket};
use super::proof::{ReceiptProof, SignedStatement, TreeProof};
use super::receipts::{Judge, ReceiptFault};
use super::session::SessionId;
use super::store::{Concluded, OutcomeRecord, Place, StoreId, StoreOrder};
use super::{Core, DirectoryFrom, Event, Now, Output};

/// When a late receipt whose directory version is not at hand may come again, ms; and one whose version cannot be had.
const VERSION_RETRY_MS: u64 = 1_000;
const VERSION_MISSING_MS: u64 = 60_000;

/// A late receipt whose signature holds, between two steps.
#[derive(Debug)]
pub(super) struct Late {
    session: SessionId,
    label: Label,
    sender: usize,
    signed: SignedStatement,
    receipt: Receipt,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// The durable outbox is asked what it knows of the message.
    Recalling,
    /// To become the outcome of an open message.
    Depositing,
    /// To stand beside or in place of the outcome of an ended one.
    Revising(Box<Concluded>, Precedence),
}

/// Whether a part carries receipts; one kind is in a part, and the first entry says which.
pub(super) fn starts_with_receipt(part: &Part) -> bool {
    let first = part.entries().first().map(|entry| statement::kind(&entry.statement));
    matches!(first, Some(Ok(StatementKind::Receipt)))
}

impl Core {
    pub(super) fn on_late_receipts(&mut self, now: Now, id: SessionId, class: Class, sequence: u64, part: &Part) {
        let proof = Arc::new(TreeProof { signatures: part.signatures().into(), tree: part.tree().clone() });
        for entry in part.entries() {
            let label = Label { class, sequence, index: entry.index };
            match self.judge_late(now, id, part, entry) {
                Ok((sender, receipt)) => {
                    let statement = entry.statement.clone();
                    let signed = SignedStatement { statement, proof: Arc::clone(&proof), index: entry.index };
                    let step = Step::Depositing;
                    self.on_late(now, Late { session: id, label, sender, signed, receipt, step });
                }
                Err((code, retry_after_ms)) => {
                    self.refuse(id, label, code, Detail { retry_after_ms, ..Detail::default() });
                }
            }
        }
    }

    /// Form, addressee and signature of one entry; else the refusal.
    fn judge_late(
        &mut self,
        now: Now,
        id: SessionId,
        part: &Part,
        entry: &Entry,
    ) -> Result<(usize, Receipt), (Code, Option<u64>)> {
        let receipt = Receipt::parse(&entry.statement).map_err(|fault| (fault.code(), None))?;
        let plain = entry.payload.is_empty() && !entry.hop.ask && !entry.hop.detached;
        if !plain || receipt.outcome == Outcome::Custody {
            return Err((Code::BAD_STATEMENT, None));
        }
        let sender = self.by_id.get(&receipt.addressee).copied();
        let sender = sender.filter(|_| entry.hop.recipient.as_ref() == Some(&receipt.addressee));
        let sender = sender.ok_or((Code::WRONG_RECIPIENT, None))?;
        if !self.versions.holds(&receipt.directory_version) {
            let hopeless =
                self.directory == DirectoryFrom::Shell || self.unavailable.contains(&receipt.directory_version);
            self.want(id, receipt.directory_version, None);
            return Err((Code::BUSY, Some(if hopeless { VERSION_MISSING_MS } else { VERSION_RETRY_MS })));
        }
        let mut judge = Judge { versions: &self.versions, roots: &mut self.roots, now };
        match judge.late(&receipt, part.signatures(), &part.root()) {
            Ok(()) => Ok((sender, receipt)),
            Err(fault) => Err((self.disbelieve(&receipt, &fault), None)),
        }
    }

    /// A receipt that does not count: an alarm, and the code that refuses it.
    fn disbelieve(&mut self, receipt: &Receipt, fault: &ReceiptFault) -> Code {
        self.invalid_receipt(receipt.message, receipt.issuer.as_str(), &fault.to_string());
        match fault {
            ReceiptFault::Signature | ReceiptFault::Key(_) | ReceiptFault::AlgorithmMissing => Code::BAD_SIGNATURE,
            _ => Code::BAD_STATEMENT,
        }
    }

    /// A late receipt whose signature holds: to the open message, to what is remembered, or to the durable outbox to ask.
    fn on_late(&mut self, now: Now, late: Late) {
        let message = late.receipt.message;
        if let Some((_, leaf, statement)) = self.outbox.find(late.sender, message) {
            let fault = self.late_fault(now, &late.receipt, leaf, &statement);
            return match fault {
                Some(fault) => self.refuse_late(&late, &fault),
                None => self.deposit(now, late),
            };
        }
        if let Some(known) = self.concluded.get(late.sender, message).cloned() {
            return self.on_late_known(now, late, known);
        }
        let signer = self.signers.get(late.sender).filter(|_| self.outbox.is_stored());
        let Some(sender) = signer.map(|signer| signer.id().clone()) else { return self.note(&late) };
        let id = self.next_store_id();
        self.outputs.push_back(Output::Store(StoreOrder::Recall { id, sender, message }));
        self.lates.insert(id, Late { step: Step::Recalling, ..late });
    }

    /// What the durable outbox knows of the message of a late receipt.
    pub(super) fn on_recalled(&mut self, now: Now, id: StoreId, known: Option<&SendOutcome>) {
        let Some(late) = self.lates.remove(&id) else { return };
        // It may have been answered by an ask meanwhile, or be open again.
        let newer = self.outbox.holds(late.sender, late.receipt.message)
            || self.concluded.get(late.sender, late.receipt.message).is_some();
        match known {
            _ if newer => self.on_late(now, late),
            Some(known) => {
                let known = Concluded::of(late.sender, known);
                self.on_late_known(now, late, known);
            }
            None => self.note(&late),
        }
    }

    fn late_fault(
        &mut self,
        now: Now,
        receipt: &Receipt,
        leaf: kernpost_codecs::Digest,
        statement: &Bytes,
    ) -> Option<ReceiptFault> {
        if leaf != receipt.subject {
            return Some(ReceiptFault::Proof("its subject is not the message that was sent".to_owned()));
        }
        Judge { versions: &self.versions, roots: &mut self.roots, now }.counts(receipt, statement).err()
    }

    fn refuse_late(&mut self, late: &Late, fault: &ReceiptFault) {
        let code = self.disbelieve(&late.receipt, fault);
        self.refuse(late.session, late.label, code, Detail::default());
    }

    /// An ended message: what the receipt changes is decided by precedence.
    fn on_late_known(&mut self, now: Now, late: Late, known: Concluded) {
        if let Some(fault) = self.late_fault(now, &late.receipt, leaf_hash(&known.statement), &known.statement) {
            return self.refuse_late(&late, &fault);
        }
        let receipt = &late.receipt;
        match known.precedence(receipt.outcome, receipt.code, receipt.issuer.as_str()) {
            Precedence::Nothing => self.note(&late),
            precedence => {
                let place = place_of(precedence);
                let late = Late { step: Step::Revising(Box::new(known), precedence), ..late };
                self.write_late(now, late, place);
            }
        }
    }

    /// The receipt of an open message: durable first, where there is a durable outbox.
    fn deposit(&mut self, now: Now, late: Late) {
        let place = if late.receipt.outcome == Outcome::Damaged { Place::Stage } else { Place::Final };
        self.write_late(now, Late { step: Step::Depositing, ..late }, place);
    }

    fn write_late(&mut self, now: Now, late: Late, place: Place) {
        if !self.outbox.is_stored() {
            return self.finish_late(now, late, false);
        }
        let statement = match &late.step {
            Step::Revising(known, _) => Some(known.statement.clone()),
            _ => self.outbox.find(late.sender, late.receipt.message).map(|(_, _, statement)| statement),
        };
        let signer = self.signers.get(late.sender).map(|signer| signer.id().clone());
        let (Some(statement), Some(sender)) = (statement, signer) else { return self.note(&late) };
        let Some((outcome, expires)) = self.late_outcome(now, &late, statement) else { return self.note(&late) };
        let id = self.next_store_id();
        let record = OutcomeRecord { answer: Some(id), sender, place, outcome, expires };
        self.outputs.push_back(Output::Store(StoreOrder::Outcome(Box::new(record))));
        self.lates.insert(id, late);
    }

    /// The durable outbox has the outcome, or could not write it: then the router sends it again.
    pub(super) fn on_outcome_stored(&mut self, now: Now, id: StoreId, durable: bool) {
        let Some(late) = self.lates.remove(&id) else { return };
        if durable {
            return self.finish_late(now, late, true);
        }
        self.ledger.storage_faults += 1;
        self.refuse(late.session, late.label, Code::UNDECIDED_STORAGE, Detail::default());
    }

    fn finish_late(&mut self, now: Now, late: Late, recorded: bool) {
        match &late.step {
            Step::Revising(known, precedence) => self.revise(&late.receipt, known, *precedence),
            _ => {
                let ticket = self.outbox.find(late.sender, late.receipt.message).map(|(ticket, _, _)| ticket);
                self.apply_receipt(now, ticket, late.signed.clone(), late.receipt.clone(), recorded);
            }
        }
        self.note(&late);
    }

    fn note(&mut self, late: &Late) {
        self.ledger.late_receipts += 1;
        self.refuse(late.session, late.label, Code::NOTED, Detail::default());
    }

    /// A receipt that verified and counts, however it came: to its message, open or ended. An answer to a question is also
    /// the answer for the open message it is about.
    pub(super) fn apply_receipt(
        &mut self,
        now: Now,
        ticket: Option<Ticket>,
        signed: SignedStatement,
        receipt: Receipt,
        recorded: bool,
    ) {
        let Some(sender) = self.by_id.get(&receipt.addressee).copied() else { return };
        let router = self.router_of(&receipt.issuer);
        let open = self.outbox.find(sender, receipt.message).map(|(open, _, _)| open);
        let mut targets: smallvec::SmallVec<[Ticket; 2]> = ticket.into_iter().chain(open).collect();
        targets.dedup();
        let mut taken = false;
        for ticket in targets {
            let Some(message) = self.signed_message(now, ticket) else { continue };
            let proof = ReceiptProof::new(message, signed.clone(), receipt.clone());
            taken |= self.outbox.on_receipt(now, &mut self.ledger, ticket, proof, router, recorded);
        }
        if taken {
            return;
        }
        self.ledger.late_settlements += 1;
        if let Some(known) = self.concluded.get(sender, receipt.message).cloned()
            && leaf_hash(&known.statement) == receipt.subject
        {
            let precedence = known.precedence(receipt.outcome, receipt.code, receipt.issuer.as_str());
            if precedence != Precedence::Nothing {
                self.record_revision(now, sender, &signed, &receipt, &known, precedence);
                self.revise(&receipt, &known, precedence);
            }
        }
    }

    fn record_revision(
        &mut self,
        now: Now,
        sender: usize,
        signed: &SignedStatement,
        receipt: &Receipt,
        known: &Concluded,
        precedence: Precedence,
    ) {
        let Some(signer) = self.signers.get(sender).filter(|_| self.outbox.is_stored()) else { return };
        let id = signer.id().clone();
        let Some((outcome, expires)) = self.proven_outcome(now, sender, signed, receipt, known.statement.clone())
        else {
            return;
        };
        let record = OutcomeRecord { answer: None, sender: id, place: place_of(precedence), outcome, expires };
        self.outputs.push_back(Output::Store(StoreOrder::Outcome(Box::new(record))));
    }

    /// The outcome of an ended message changes, or is contradicted.
    fn revise(&mut self, receipt: &Receipt, known: &Concluded, precedence: Precedence) {
        let (message, issuer) = (receipt.message, receipt.issuer.to_string());
        let (before, now) = (known.outcome, FinalOutcome::from(receipt.outcome));
        let Some(sender) = self.signers.get(known.sender).map(|signer| signer.id().clone()) else { return };
        let event = if precedence == Precedence::Contradicts {
            self.ledger.contradictions += 1;
            Event::Contradiction { sender, message, stands: before, contradicts: now, issuer }
        } else {
            self.ledger.revised += 1;
            let concluded =
                Concluded { outcome: now, code: receipt.code, issuer: Some(issuer.clone()), ..known.clone() };
            self.concluded.insert(message, concluded);
            Event::OutcomeRevised { sender, message, before, now, issuer }
        };
        self.outputs.push_back(Output::Event(event));
    }

    fn late_outcome(&self, now: Now, late: &Late, statement: Bytes) -> Option<(SendOutcome, kernpost_codecs::UnixMs)> {
        self.proven_outcome(now, late.sender, &late.signed, &late.receipt, statement)
    }

    fn proven_outcome(
        &self,
        now: Now,
        sender: usize,
        signed: &SignedStatement,
        receipt: &Receipt,
        statement: Bytes,
    ) -> Option<(SendOutcome, kernpost_codecs::UnixMs)> {
        let expires = MessageRef::parse(&statement).ok()?.expires();
        let open = self.outbox.find(sender, receipt.message).map(|(ticket, _, _)| ticket);
        let attempts = open.and_then(|ticket| self.outbox.slot(ticket)).map_or(0, |slot| slot.attempts);
        let message = match open {
            Some(ticket) => self.signed_message(now, ticket),
            None => self.sign_again(now, sender, statement.clone()),
        }?;
        let outcome = SendOutcome {
            outcome: FinalOutcome::from(receipt.outcome),
            id: receipt.message,
            code: Code(receipt.code),
            problem: receipt.problem.clone(),
            text: None,
            issuer: Some(receipt.issuer.clone()),
            attempts,
            proof: Some(ReceiptProof::new(message, signed.clone(), receipt.clone())),
            statement,
        };
        Some((outcome, expires))
    }

    /// The message as last sent; one that was sent by an earlier process is signed again.
    fn signed_message(&self, now: Now, ticket: Ticket) -> Option<SignedStatement> {
        let slot = self.outbox.slot(ticket)?;
        if let Some((tree, index)) = slot.signed.clone() {
            return Some(SignedStatement { statement: slot.statement.clone(), proof: tree, index });
        }
        self.sign_again(now, slot.sender, slot.statement.clone())
    }

    fn sign_again(&self, now: Now, sender: usize, statement: Bytes) -> Option<SignedStatement> {
        let mut builder = self.builder(now, sender);
        let index =
            builder.push(statement.clone(), Bytes::new(), HopHeader { ask: true, ..HopHeader::default() }).ok()?;
        let (part, _) = self.build(now, sender, builder)?;
        let proof = Arc::new(TreeProof { signatures: part.signatures().into(), tree: part.tree().clone() });
        Some(SignedStatement { statement, proof, index })
    }

    fn router_of(&self, issuer: &Party) -> Option<usize> {
        match issuer {
            Party::Router(id) => self.routers.binary_search(id).ok(),
            Party::Endpoint(_) => None,
        }
    }

    fn next_store_id(&mut self) -> StoreId {
        self.store_ids += 1;
        StoreId(self.store_ids)
    }

    /// Remembers how a message ended.
    pub(super) fn conclude(&mut self, sender: usize, id: MessageId, outcome: &SendOutcome) {
        self.concluded.insert(id, Concluded::of(sender, outcome));
    }
}

impl Concluded {
    pub(super) fn of(sender: usize, outcome: &SendOutcome) -> Self {
        Self {
            sender,
            statement: outcome.statement.clone(),
            outcome: outcome.outcome,
            code: outcome.code.as_u64(),
            issuer: outcome.issuer.as_ref().map(ToString::to_string),
        }
    }
}

fn place_of(precedence: Precedence) -> Place {
    if precedence == Precedence::Contradicts { Place::Contradiction } else { Place::Final }
}
