//! What the links report: entries to verify and deliver, settlements and receipts for what was sent.

use std::sync::Arc;

use kernpost_codecs::credit::LARGEST_ENTRY_COST;
use kernpost_codecs::part::{Entry, Part};
use kernpost_codecs::receipts::{ReceiptsFrame, Subject};
use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::statement::{Message, MessageRef};
use kernpost_codecs::{Class, Code};

use super::inbox::verify::{Judged, judge_part};
use super::inbox::{Arrival, InboxOutput};
use super::late::starts_with_receipt;
use super::proof::{SignedStatement, TreeProof};
use super::receipts::{Counted, Judge};
use super::session::outbound::Standing;
use super::session::{SessionEvent, SessionId};
use super::{Core, Event, Now, Output, Parked};

/// When a message may be offered again to an endpoint of which only a process that sends is there, ms.
const SENDS_ONLY_RETRY_MS: u64 = 1_000;

impl Core {
    pub(super) fn on_session_event(&mut self, now: Now, id: SessionId, event: SessionEvent) {
        match event {
            SessionEvent::Up { directory, clock_offset_ms } => self.on_up(now, id, directory, clock_offset_ms),
            SessionEvent::Attached { endpoint } => self.on_attached(id, endpoint),
            SessionEvent::AttachRefused { endpoint, code, text } => self.on_attach_refused(id, endpoint, code, text),
            SessionEvent::Settled { ticket, code, detail } => {
                let router = self.sessions.get(&id).map_or(usize::MAX, |session| session.router_index);
                self.mend(now, id, ticket, code);
                self.outbox.on_settled(now, &mut self.ledger, ticket, router, code, &detail);
            }
            SessionEvent::Late { settlements } => self.ledger.late_settlements += settlements,
            SessionEvent::Wanted { label, offset, first } => self.on_wanted(now, id, label, offset, first),
            SessionEvent::Receipts(frame) => self.on_receipts(now, id, frame),
            SessionEvent::Part { class, sequence, part } => self.on_part(now, id, class, sequence, &part),
            SessionEvent::Resolved { ticket, answer } => self.on_resolved(id, ticket, answer),
            SessionEvent::Fetched(end) => self.on_fetched(now, end),
            SessionEvent::Draining => {
                self.place();
                if let Some(session) = self.sessions.get(&id) {
                    let router = session.router.clone();
                    self.outputs.push_back(Output::Event(Event::Draining { router }));
                }
            }
        }
    }

    fn on_part(&mut self, now: Now, id: SessionId, class: Class, sequence: u64, part: &Part) {
        self.ledger.received += part.entries().len() as u64;
        let Some(table) = self.versions.current().cloned() else {
            for entry in part.entries() {
                self.refuse(id, Label { class, sequence, index: entry.index }, Code::NOT_READY, Detail::default());
            }
            return;
        };
        if starts_with_receipt(part) {
            return self.on_late_receipts(now, id, class, sequence, part);
        }
        if self.limits.credit_bytes < LARGEST_ENTRY_COST {
            // Granted for late receipts only (WIRE 7.1): another process may take it.
            let detail = Detail { retry_after_ms: Some(SENDS_ONLY_RETRY_MS), ..Detail::default() };
            for entry in part.entries() {
                self.refuse(id, Label { class, sequence, index: entry.index }, Code::BUSY, detail.clone());
            }
            return;
        }
        let judged = judge_part(part, &table, &mut self.roots, now.wall);
        let proof = Arc::new(TreeProof { signatures: part.signatures().into(), tree: part.tree().clone() });
        for (entry, judged) in part.entries().iter().zip(judged) {
            let label = Label { class, sequence, index: entry.index };
            match judged {
                Judged::Message(message) => self.on_message(id, label, entry, *message, &proof),
                Judged::Refused(code) => self.refuse(id, label, code, Detail::default()),
                Judged::NewerDirectory => {
                    if let Ok(message) = MessageRef::parse(&entry.statement) {
                        self.want(id, message.directory_version, None);
                    }
                    let detail = Detail { retry_after_ms: Some(1_000), ..Detail::default() };
                    self.refuse(id, label, Code::BUSY, detail);
                }
            }
        }
    }

    fn on_message(&mut self, id: SessionId, label: Label, entry: &Entry, message: Message, proof: &Arc<TreeProof>) {
        let recipient = entry.hop.recipient.as_ref().and_then(|recipient| self.by_id.get(recipient).copied());
        let here = recipient.filter(|index| {
            self.sessions.get(&id).is_some_and(|session| session.attachments.usable(*index))
                && message.recipient.as_ref().is_none_or(|named| self.by_id.get(named) == Some(index))
        });
        let Some((recipient, signer)) = here.and_then(|index| Some((index, self.signers.get(index)?))) else {
            return self.refuse(id, label, Code::WRONG_RECIPIENT, Detail::default());
        };
        if entry.hop.detached && message.payload_len > self.limits.largest_payload {
            return self.refuse(id, label, Code::OVERSIZED, Detail::default());
        }
        self.ledger.asked += u64::from(entry.hop.ask);
        let signed =
            SignedStatement { statement: entry.statement.clone(), proof: Arc::clone(proof), index: entry.index };
        let arrival = Arrival {
            session: id,
            label,
            recipient,
            recipient_id: signer.id().clone(),
            ask: entry.hop.ask,
            redelivered: entry.hop.redelivered,
            message,
            payload: entry.payload.clone(),
            detached: entry.hop.detached,
            signed,
            leaf: entry.leaf,
        };
        self.inbox.on_arrival(&mut self.ledger, arrival);
    }

    /// Receipts for what was sent on this link: judged now, or once the stated directory version is at hand.
    fn on_receipts(&mut self, now: Now, id: SessionId, frame: Box<ReceiptsFrame>) {
        if self.versions.holds(&frame.directory_version) {
            return self.judge_receipts(now, id, &frame);
        }
        self.want(id, frame.directory_version, None);
        if self.parked.len() >= self.limits.parked_receipts {
            self.ledger.invalid_receipts += frame.entries.len() as u64;
            return;
        }
        self.parked.push_back(Parked { session: id, frame });
    }

    /// Judges parked receipts whose directory version has arrived.
    pub(super) fn resume_parked(&mut self, now: Now) {
        let parked = std::mem::take(&mut self.parked);
        let holds = |one: &Parked| self.versions.holds(&one.frame.directory_version);
        let (ready, waiting): (Vec<Parked>, Vec<Parked>) = parked.into_iter().partition(holds);
        self.parked = waiting.into();
        for Parked { session, frame } in ready {
            self.judge_receipts(now, session, &frame);
        }
    }

    fn judge_receipts(&mut self, now: Now, id: SessionId, frame: &ReceiptsFrame) {
        let Some(session) = self.sessions.get(&id) else { return };
        let sent: Option<Vec<_>> = frame.entries.iter().map(|entry| session.outbound.sent(&entry.label)).collect();
        let Some(sent) = sent else {
            // Some label is long past its deadline: the tree cannot be rebuilt any more. An ask will tell.
            self.ledger.late_settlements += frame.entries.len() as u64;
            return;
        };
        let subjects: Vec<Subject<'_>> =
            sent.iter().map(|sent| Subject { addressee: &sent.sender, message: sent.id, leaf: sent.leaf }).collect();
        let messages: Vec<_> = sent.iter().map(|sent| sent.statement.clone()).collect();
        let ids: Vec<_> = sent.iter().map(|sent| sent.id).collect();
        let judged = Judge { versions: &self.versions, roots: &mut self.roots, now }.frame(frame, &subjects, &messages);
        for ((entry, judged), message) in frame.entries.iter().zip(judged).zip(ids) {
            match judged {
                Ok(Counted { signed, receipt }) => {
                    let Some(session) = self.sessions.get_mut(&id) else { return };
                    if session.outbound.standing(&entry.label) != Standing::Open {
                        self.ledger.late_settlements += 1;
                        continue;
                    }
                    if let Some(sent) = session.outbound.settle(&entry.label) {
                        self.apply_receipt(now, Some(sent.ticket), signed, receipt, false);
                    }
                }
                Err(fault) => self.invalid_receipt(message, frame.issuer.as_str(), &fault.to_string()),
            }
        }
    }

    pub(super) fn invalid_receipt(&mut self, message: kernpost_codecs::MessageId, issuer: &str, why: &str) {
        self.ledger.invalid_receipts += 1;
        let event = Event::InvalidReceipt { message, issuer: issuer.to_owned(), why: why.to_owned() };
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn refuse(&mut self, id: SessionId, label: Label, code: Code, detail: Detail) {
        self.ledger.refused_entries += u64::from(code != Code::NOTED);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.refuse(label, code, detail);
        }
    }

    /// Carries out what the inbox wants.
    pub(super) fn drain_inbox(&mut self) {
        while let Some(output) = self.inbox.poll_output() {
            match output {
                InboxOutput::Lookup(lookup) => self.outputs.push_back(Output::Lookup(lookup)),
                InboxOutput::Journal(record) => self.outputs.push_back(Output::Journal(record)),
                InboxOutput::Release { sender, message } => {
                    self.outputs.push_back(Output::Release { sender, message });
                }
                InboxOutput::Payload(order) => self.outputs.push_back(Output::Payload(order)),
                InboxOutput::Refuse { session, label, code, detail } => {
                    self.touched.insert(session);
                    if let Some(session) = self.sessions.get_mut(&session) {
                        session.refuse(label, code, detail);
                    }
                }
                InboxOutput::Receipt { session, receipt } => {
                    self.touched.insert(session);
                    let settled = self.sessions.get_mut(&session).is_some_and(|session| session.receipt(receipt));
                    self.ledger.late_verdicts += u64::from(!settled);
                }
            }
        }
    }
}
