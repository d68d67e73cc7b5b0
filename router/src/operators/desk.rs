//! What happens when an operator asks? Questions go to the spool's thread, acts to custody; every act is on record before it counts.
//!
//! Nothing of the protocol is decided here: whether a message can still be given up, custody knows when it gets there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kernpost_codecs::UnixMs;
use kernpost_router_core::custody::Act;
use kernpost_router_core::custody::spool::{EntryState, Head, HeadEntry, Kind, Queue, RecordId};
use kernpost_spool::PayloadStore;
use kernpost_spool::payloads::PayloadFault;
use kernpost_spool::spool::Listed;
use tokio::sync::{mpsc, oneshot};

use super::account::Account;
use super::audit::{ActName, AuditEntry};
use super::message_name::MessageName;
use super::pages::{
    AuditLine, AuditPage, AuditQuestion, DiscardPage, DiscardQuestion, ExportPage, HeldLine, LeftAlone, ListOf,
    ListPage, ListQuestion, MessagePage, PayloadPage, PayloadQuestion, ProposalsPage, QuarantinePage,
    QuarantineQuestion, QuarantinedLine, RedeliverPage, RedeliverQuestion, RotatePage,
};
use super::proposals::{MOST_MESSAGES, Proposal, ProposalFault, Proposals};
use super::reading::{Found, FoundReceipt, line};
use crate::clock::Clock;
use crate::custody::query::{Answer, SpoolQuery};
use crate::custody::spool_thread::SpoolCommand;
use crate::observed::Observed;
use crate::readiness::Gate;

/// Why an operator does not get what was asked for. For people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeskFault {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Asked(String),
    /// The spool holds no such message.
    #[error("{0} is not in custody of this router: it never was, or its retention is over")]
    NotHeld(MessageName),
    /// It is held, and cannot be read.
    #[error("{0} cannot be read: its record is damaged; `spool list --quarantined` says why")]
    Unreadable(MessageName),
    /// A proposal.
    #[error("{0}")]
    Proposal(#[from] ProposalFault),
    /// The spool says no.
    #[error("the spool: {0}")]
    Spool(String),
    /// Custody does not act now.
    #[error("custody does nothing now: {0}")]
    Stopped(String),
    /// The process ends.
    #[error("the router stops")]
    Stopping,
}

/// Where operators' requests are worked on.
#[derive(Debug)]
pub struct Desk {
    spool: mpsc::UnboundedSender<SpoolCommand>,
    acts: mpsc::Sender<Act>,
    payloads: Arc<PayloadStore>,
    proposals: Mutex<Proposals>,
    clock: Clock,
    observed: Arc<Observed>,
}

impl Desk {
    /// A desk without proposals.
    #[must_use]
    pub fn new(
        spool: mpsc::UnboundedSender<SpoolCommand>,
        acts: mpsc::Sender<Act>,
        payloads: Arc<PayloadStore>,
        clock: Clock,
        observed: Arc<Observed>,
    ) -> Self {
        Self { spool, acts, payloads, proposals: Mutex::default(), clock, observed }
    }

    async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> SpoolQuery) -> Result<T, DeskFault> {
        let (answer, answered) = oneshot::channel();
        self.spool.send(SpoolCommand::Query(question(answer))).map_err(|_| DeskFault::Stopping)?;
        answered.await.map_err(|_| DeskFault::Stopping)
    }

    async fn note(&self, entry: &AuditEntry) -> Result<(), DeskFault> {
        let entry = entry.tell();
        self.ask(|answer| SpoolQuery::Note { entry, answer }).await?.map_err(DeskFault::Spool)
    }

    fn entry(&self, by: &Account, act: ActName, messages: Vec<MessageName>) -> AuditEntry {
        AuditEntry::new(self.clock.now().wall, by, act, messages)
    }

    async fn find(&self, name: &MessageName) -> Result<Found, DeskFault> {
        let (sender, message) = (name.sender.clone(), name.id);
        let stored = self.ask(|answer| SpoolQuery::Message { sender, message, answer }).await?;
        let stored = stored.ok_or_else(|| DeskFault::NotHeld(name.clone()))?;
        Found::new(name, stored).ok_or_else(|| DeskFault::Unreadable(name.clone()))
    }

    async fn receipt(&self, found: &Found) -> Result<Option<FoundReceipt>, DeskFault> {
        let Some(record) = found.receipt_record() else { return Ok(None) };
        let stored = self.ask(|answer| SpoolQuery::Record { record, answer }).await?;
        Ok(stored.and_then(|stored| FoundReceipt::new(&found.name, stored)))
    }

    fn proposals(&self) -> std::sync::MutexGuard<'_, Proposals> {
        self.proposals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An act would not be carried out while custody has stopped.
    fn acting(&self) -> Result<(), DeskFault> {
        let reasons = self.observed.readiness.reasons();
        match reasons.into_iter().find(|reason| reason.gate == Gate::Custody.name()) {
            Some(reason) => Err(DeskFault::Stopped(reason.reason)),
            None => Ok(()),
        }
    }

    async fn act(&self, act: Act) -> Result<(), DeskFault> {
        self.acts.send(act).await.map_err(|_| DeskFault::Stopping)
    }
}

/// Looking.
impl Desk {
    /// A page of what is held. Reads at most 16,384 indices: a page may be empty and still have a next one.
    ///
    /// # Errors
    /// The spool cannot be read, or the router stops.
    pub async fn list(&self, question: &ListQuestion) -> Result<ListPage, DeskFault> {
        let most = question.most.clamp(1, MOST_LINES);
        let filter = Filter { question, now: self.clock.now().wall };
        let mut page = ListPage::default();
        let mut after = question.after.map(RecordId);
        for _ in 0..MOST_SCANS {
            let records = self.ask(|answer| SpoolQuery::Records { after, most: SCAN, answer }).await?;
            let records = records.map_err(DeskFault::Spool)?;
            let end = records.len() < SCAN;
            for listed in records {
                after = Some(listed.record);
                filter.take(&listed, &mut page);
                if page.lines.len() >= most {
                    page.next = after.map(|record| record.0);
                    return Ok(page);
                }
            }
            if end {
                return Ok(page);
            }
        }
        page.next = after.map(|record| record.0);
        Ok(page)
    }

    /// A page of what lies in quarantine.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn quarantined(&self, question: &QuarantineQuestion) -> Result<QuarantinePage, DeskFault> {
        let after = question.after.map(RecordId);
        let found = self.ask(|answer| SpoolQuery::Quarantined { after, most: SCAN, answer }).await?;
        let found = found.map_err(DeskFault::Spool)?;
        let next = (found.len() == SCAN).then(|| found.last().map(|last| last.record.0)).flatten();
        let mut records = Vec::new();
        for one in found {
            let record = one.record;
            let stored = self.ask(|answer| SpoolQuery::Record { record, answer }).await?;
            let entries = stored.and_then(|stored| stored.head).map(|head| head.entries).unwrap_or_default();
            let name = |entry: HeadEntry| MessageName { sender: entry.sender, id: entry.message };
            let messages = entries.into_iter().map(name).collect();
            records.push(QuarantinedLine { record: record.0, reason: one.reason, messages });
        }
        Ok(QuarantinePage { records, next })
    }

    /// One message without its payload; on record.
    ///
    /// # Errors
    /// It is not held, cannot be read, or that it was shown cannot be written down.
    pub async fn show(&self, by: &Account, name: &MessageName) -> Result<MessagePage, DeskFault> {
        let found = self.find(name).await?;
        self.note(&self.entry(by, ActName::Show, vec![name.clone()])).await?;
        Ok(found.page(self.receipt(&found).await?.as_ref()))
    }

    /// One message with everything; on record.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub async fn export(&self, by: &Account, name: &MessageName) -> Result<ExportPage, DeskFault> {
        let found = self.find(name).await?;
        let receipt = self.receipt(&found).await?;
        let page = found.export(receipt).ok_or_else(|| DeskFault::Unreadable(name.clone()))?;
        self.note(&self.entry(by, ActName::Export, vec![name.clone()])).await?;
        Ok(page)
    }

    /// A piece of a large payload. On record with the message, by [`export`](Self::export), and again by the first piece.
    ///
    /// # Errors
    /// As [`show`](Self::show), or its payload is no large one or cannot be read.
    pub async fn payload(&self, by: &Account, question: &PayloadQuestion) -> Result<PayloadPage, DeskFault> {
        let name = &question.message;
        let found = self.find(name).await?;
        let (leaf, length) = found.large().ok_or_else(|| DeskFault::NotHeld(name.clone()))?;
        if question.offset == 0 {
            self.note(&self.entry(by, ActName::Export, vec![name.clone()])).await?;
        }
        let (store, offset) = (Arc::clone(&self.payloads), question.offset);
        let read = tokio::task::spawn_blocking(move || {
            let (mut reader, mut bytes) = (store.read(leaf, length, offset)?, Vec::new());
            for _ in 0..PIECES {
                let Some(piece) = reader.next_piece()? else { break };
                bytes.extend_from_slice(&piece);
            }
            Ok::<_, PayloadFault>(bytes)
        });
        let bytes =
            read.await.map_err(|_| DeskFault::Stopping)?.map_err(|fault| DeskFault::Spool(fault.to_string()))?;
        let next = offset + bytes.len() as u64;
        Ok(PayloadPage { bytes_hex: hex::encode(&bytes), next: (next < length && !bytes.is_empty()).then_some(next) })
    }

    /// A page of the log.
    ///
    /// # Errors
    /// The router stops.
    pub async fn audit(&self, question: &AuditQuestion) -> Result<AuditPage, DeskFault> {
        let (from, most) = (question.from, question.most.clamp(1, MOST_LINES));
        let (entries, end) = self.ask(|answer| SpoolQuery::Audited { from, most, answer }).await?;
        let entries = entries.into_iter().map(|entry| AuditLine {
            number: entry.number,
            act: entry.act.and_then(|act| serde_json::from_slice(&act).ok()),
            chained: entry.chained,
        });
        Ok(AuditPage { entries: entries.collect(), count: end.entries, last_hash: end.hash.to_string() })
    }

    /// Proposals that wait for somebody to agree.
    #[must_use]
    pub fn waiting_proposals(&self) -> ProposalsPage {
        ProposalsPage { proposals: self.proposals().waiting(self.clock.now()) }
    }
}

/// Acting.
impl Desk {
    /// Has messages tried again at once; everything that waits when none is named.
    ///
    /// # Errors
    /// None of the named messages waits, custody has stopped, or the router stops.
    pub async fn redeliver(&self, by: &Account, question: RedeliverQuestion) -> Result<RedeliverPage, DeskFault> {
        self.acting()?;
        let named = question.messages;
        let (waiting, not_waiting) = self.sort(&named).await?;
        if waiting.is_empty() && !named.is_empty() {
            let why: Vec<String> = not_waiting.iter().map(|one| format!("{}: {}", one.message, one.why)).collect();
            return Err(DeskFault::Asked(why.join("\n")));
        }
        let records = waiting.iter().map(|(record, waiting)| (*record, waiting.queue.clone())).collect();
        let only = (!named.is_empty()).then_some(records);
        let messages = waiting.into_values().flat_map(|waiting| waiting.messages).collect();
        let audit = self.entry(by, ActName::Redeliver, messages).tell();
        self.act(Act::Redeliver { only, audit }).await?;
        Ok(RedeliverPage { not_waiting })
    }

    /// Takes a proposal to give messages up; on record. All of them have to wait.
    ///
    /// # Errors
    /// A message does not wait, the proposal is not taken, or it cannot be written down.
    pub async fn propose(&self, by: &Account, question: DiscardQuestion) -> Result<Proposal, DeskFault> {
        let DiscardQuestion { messages, reason } = question;
        if messages.len() > MOST_MESSAGES {
            return Err(ProposalFault::Messages.into());
        }
        let (_, others) = self.sort(&messages).await?;
        if !others.is_empty() {
            let why: Vec<String> = others.iter().map(|one| format!("{}: {}", one.message, one.why)).collect();
            return Err(DeskFault::Asked(why.join("\n")));
        }
        let proposal = self.proposals().propose(self.clock.now(), by, messages, &reason)?;
        let mut entry = self.entry(by, ActName::ProposeDiscard, proposal.messages.clone());
        entry.reason = Some(proposal.reason.clone());
        self.note(&entry).await?;
        Ok(proposal)
    }

    /// Carries a proposal out that somebody else made.
    ///
    /// # Errors
    /// It is not there, `by` made it, custody has stopped, or the router stops.
    pub async fn confirm(&self, by: &Account, number: u64) -> Result<DiscardPage, DeskFault> {
        self.acting()?;
        let proposal = self.proposals().confirm(self.clock.now(), number, by)?;
        match self.discard(by, &proposal).await {
            Ok(page) => Ok(page),
            Err(fault) => {
                self.proposals().put_back(self.clock.now(), proposal);
                Err(fault)
            }
        }
    }

    async fn discard(&self, by: &Account, proposal: &Proposal) -> Result<DiscardPage, DeskFault> {
        let (waiting, left_alone) = self.sort(&proposal.messages).await?;
        let mut discarding = Vec::new();
        for (record, Waiting { messages: names, .. }) in waiting {
            let mut entry = self.entry(&proposal.by, ActName::Discard, names.clone());
            entry.reason = Some(proposal.reason.clone());
            entry.confirmed_by = Some(by.clone());
            let messages = names.iter().map(|name| (name.sender.clone(), name.id)).collect();
            let reason = proposal.reason.clone();
            self.act(Act::Discard { record, messages, reason, audit: entry.tell() }).await?;
            discarding.extend(names);
        }
        Ok(DiscardPage { proposal: proposal.clone(), confirmed_by: by.clone(), discarding, left_alone })
    }

    /// Wraps everything by the current master key; on record.
    ///
    /// # Errors
    /// The spool fails; the previous master keys are still needed then.
    pub async fn rotate(&self, by: &Account) -> Result<RotatePage, DeskFault> {
        let entry = self.entry(by, ActName::Rotate, Vec::new()).tell();
        let secrets = self.ask(|answer| SpoolQuery::Rewrap { entry, answer }).await?.map_err(DeskFault::Spool)?;
        Ok(RotatePage { secrets })
    }

    /// Those that wait, by record, and the others.
    async fn sort(&self, names: &[MessageName]) -> Result<(BTreeMap<RecordId, Waiting>, Vec<LeftAlone>), DeskFault> {
        let (mut waiting, mut others) = (BTreeMap::<_, Waiting>::new(), Vec::new());
        for name in names {
            let why = match self.find(name).await {
                Ok(found) if found.waits() => {
                    let fresh = || Waiting { queue: found.head.queue.clone(), messages: Vec::new() };
                    waiting.entry(found.record).or_insert_with(fresh).messages.push(name.clone());
                    continue;
                }
                Ok(_) => "it has its final outcome".to_owned(),
                Err(DeskFault::Stopping) => return Err(DeskFault::Stopping),
                Err(fault) => fault.to_string(),
            };
            others.push(LeftAlone { message: name.clone(), why });
        }
        Ok((waiting, others))
    }
}

/// Messages of one record that wait.
struct Waiting {
    queue: Queue,
    messages: Vec<MessageName>,
}

struct Filter<'q> {
    question: &'q ListQuestion,
    now: UnixMs,
}

impl Filter<'_> {
    fn take(&self, listed: &Listed, page: &mut ListPage) {
        let Some(head) = &listed.head else {
            page.unreadable.push(listed.record.0);
            return;
        };
        if self.wants_record(head) {
            let entries = head.entries.iter().filter(|entry| self.wants(entry));
            page.lines.extend(entries.map(|entry| -> HeldLine { line(head, entry, listed.record) }));
        }
    }

    fn wants_record(&self, head: &Head) -> bool {
        let ListQuestion { of, recipient, class, older_than_ms, .. } = self.question;
        let kind = if *of == ListOf::Receipts { Kind::Receipts } else { Kind::Messages };
        let waits_for = |endpoint: &String| head.queue.waits_for.iter().any(|one| one.as_str() == endpoint);
        head.kind == kind
            && recipient.as_ref().is_none_or(waits_for)
            && class.as_ref().is_none_or(|class| head.queue.class.name() == class)
            && older_than_ms.is_none_or(|age| self.now.ms_since(head.taken) >= age)
    }

    fn wants(&self, entry: &HeadEntry) -> bool {
        let state = match self.question.of {
            ListOf::Ended => matches!(entry.state, EntryState::Final { .. }),
            ListOf::Waiting | ListOf::Receipts => entry.state == EntryState::Waiting,
        };
        state && self.question.sender.as_ref().is_none_or(|sender| entry.sender.as_str() == sender)
    }
}

/// Lines of one page, and entries of the log.
const MOST_LINES: usize = 1_000;
/// Indices read at once: the spool's thread does nothing else meanwhile.
const SCAN: usize = 256;
/// Pieces of a large payload at once: 1 MiB.
const PIECES: usize = 16;
/// How often for one page.
const MOST_SCANS: usize = 64;
