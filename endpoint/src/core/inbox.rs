//! What arrived and is not settled yet: which entries are handed over, which are repeats, and what becomes of them?
//!
//! A message is looked up in the journal before it is handed over, and its receipt leaves only after the journal has
//! the verdict durably; so it is never handed over again after that (WIRE 10.4). Bounded in messages and bytes, with a
//! share per endpoint when the process has several (what is above is refused `busy`). Not here: signature checks
//! ([`verify`]), signing of receipts, credit.

pub(crate) mod verify;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::statement::Message;
use kernpost_codecs::time::SKEW_MS;
use kernpost_codecs::{Ars, Code, EndpointId, MessageId, Outcome, ServiceKey, UnixMs};
use smallvec::{SmallVec, smallvec};

use super::SessionId;
use super::large::{MANY_RETRY_MS, PayloadOrder, StoredPayload};
use super::ledger::Ledger;
use super::limits::Limits;
use super::proof::SignedStatement;

/// A received message between arrival and settlement; given by the core, never reused in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub u64);

/// A message handed to the application. It must answer with a [`Verdict`].
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names it in the verdict.
    pub id: DeliveryId,
    /// The endpoint of this process it is for.
    pub recipient: EndpointId,
    /// The statement, parsed.
    pub message: Message,
    /// The payload, checked against the digest; empty when it is in a file.
    pub payload: Bytes,
    /// The file with a large payload, durable and checked against the digest. Deleted when the verdict is durable: link,
    /// copy or move it before.
    pub payload_file: Option<PathBuf>,
    /// The sender or a router says it may have been handed over before.
    pub redelivered: bool,
    /// The statement as signed, with its place in the signed tree.
    pub signed: SignedStatement,
}

/// The application's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Durable at the application, or to be made durable by the journal: *delivered*.
    Accept,
    /// *rejected*.
    Reject {
        /// From 1,000 on the application's own.
        code: Code,
        /// Why, at most 1,024 bytes; RFC 9457 JSON recommended. Longer text is cut at a character.
        problem: Option<String>,
    },
}

/// A question to the journal. What it does not know is reserved for this process until its verdict is recorded or it is
/// released ([`super::Output::Release`]), where several processes share the journal.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Echoed in [`Found`].
    pub id: DeliveryId,
    /// Half of the identity.
    pub sender: EndpointId,
    /// The other half.
    pub message: MessageId,
    /// For a reply: was this message ever sent by this endpoint?
    pub reply_to: Option<(EndpointId, MessageId)>,
}

/// The journal's answer to a [`Lookup`].
#[derive(Debug, Clone)]
pub struct Found {
    /// Which lookup.
    pub id: DeliveryId,
    /// The verdict journalled earlier.
    pub earlier: Option<Earlier>,
    /// Another process that shares the journal has this message in hand and has not decided yet.
    pub elsewhere: bool,
    /// Whether the message replied to was sent; true when nothing was asked.
    pub solicited: bool,
}

/// A verdict found in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// Leaf hash of the message it was about.
    pub leaf: Digest,
    /// Delivered or rejected.
    pub outcome: Outcome,
    /// The receipt's code.
    pub code: u64,
    /// The receipt's problem.
    pub problem: Option<String>,
}

/// What the journal must make durable before the receipt leaves.
#[derive(Debug, Clone)]
pub struct JournalRecord {
    /// Echoed when it is durable.
    pub id: DeliveryId,
    /// Half of the identity.
    pub sender: EndpointId,
    /// The other half.
    pub message: MessageId,
    /// The verdict.
    pub verdict: Earlier,
    /// May be forgotten after this instant: expires + 120 s (WIRE 10.4).
    pub forget_after: UnixMs,
    /// Statement and payload, for a journal that also stores messages.
    pub statement: Bytes,
    /// The payload; empty when it is in a file.
    pub payload: Bytes,
    /// The file with a large payload, for a journal that also stores messages: it moves the file.
    pub payload_file: Option<PathBuf>,
}

/// A receipt to be signed for a label.
#[derive(Debug, Clone)]
pub(crate) struct DueReceipt {
    pub issuer: usize,
    pub addressee: EndpointId,
    pub message: MessageId,
    pub leaf: Digest,
    pub outcome: Outcome,
    pub code: u64,
    pub problem: Option<String>,
    pub label: Label,
    /// What the issuer has to be responsible for; `None`: the message names it as its recipient.
    pub route: Option<(ServiceKey, Ars)>,
}

/// What the inbox wants done.
#[derive(Debug)]
pub(crate) enum InboxOutput {
    Lookup(Lookup),
    Journal(JournalRecord),
    Release { sender: EndpointId, message: MessageId },
    Payload(PayloadOrder),
    Refuse { session: SessionId, label: Label, code: Code, detail: Detail },
    Receipt { session: SessionId, receipt: DueReceipt },
}

/// An entry that passed verification.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub session: SessionId,
    pub label: Label,
    pub recipient: usize,
    pub recipient_id: EndpointId,
    pub ask: bool,
    pub redelivered: bool,
    pub message: Message,
    pub payload: Bytes,
    pub detached: bool,
    pub signed: SignedStatement,
    pub leaf: Digest,
}

/// When a message that another process has in hand may come again, ms.
const ELSEWHERE_RETRY_MS: u64 = 1_000;

type Identity = (EndpointId, MessageId);

#[derive(Debug)]
enum Stage {
    LookingUp,
    /// A large payload is on its way.
    Receiving,
    Queued,
    HandedOver,
    Journalling(Earlier),
}

#[derive(Debug)]
struct Waiting {
    session: SessionId,
    label: Label,
    ask: bool,
}

#[derive(Debug)]
struct Pending {
    identity: Identity,
    recipient: usize,
    stage: Stage,
    leaf: Digest,
    message: Message,
    /// Missing while only asks have arrived.
    payload: Option<Bytes>,
    /// The payload is large: here once it is whole.
    large: bool,
    file: Option<PathBuf>,
    redelivered: bool,
    signed: SignedStatement,
    recipient_id: EndpointId,
    waiting: SmallVec<[Waiting; 1]>,
}

impl Pending {
    fn bytes(&self) -> usize {
        self.signed.statement.len() + self.payload.as_ref().map_or(0, Bytes::len)
    }

    /// The label under which a large payload comes: that of the first entry that brought the message.
    fn reception(&self) -> Option<(SessionId, Label)> {
        let first = self.waiting.iter().find(|waiting| !waiting.ask)?;
        matches!(self.stage, Stage::Receiving).then_some((first.session, first.label))
    }
}

/// The messages received and not settled.
#[derive(Debug)]
pub(crate) struct Inbox {
    pending: HashMap<DeliveryId, Pending, foldhash::fast::RandomState>,
    identities: HashMap<Identity, DeliveryId, foldhash::fast::RandomState>,
    queue: VecDeque<DeliveryId>,
    outputs: VecDeque<InboxOutput>,
    per_endpoint: Vec<usize>,
    bytes: usize,
    next: u64,
    limits: Limits,
}

impl Inbox {
    pub fn new(endpoints: usize, limits: Limits) -> Self {
        Self {
            pending: HashMap::default(),
            identities: HashMap::default(),
            queue: VecDeque::new(),
            outputs: VecDeque::new(),
            per_endpoint: vec![0; endpoints],
            bytes: 0,
            next: 0,
            limits,
        }
    }

    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// A verified entry: joins its pending message, or is looked up in the journal first.
    pub fn on_arrival(&mut self, ledger: &mut Ledger, arrival: Arrival) {
        let identity = (arrival.message.sender.clone(), arrival.message.id);
        if let Some(id) = self.identities.get(&identity).copied() {
            return self.join(ledger, id, arrival);
        }
        let bytes = arrival.signed.statement.len() + arrival.payload.len();
        if !arrival.ask && self.is_full_for(arrival.recipient, bytes) {
            let detail =
                Detail { endpoint: Some(arrival.recipient_id.clone()), retry_after_ms: Some(200), ..Detail::default() };
            return self.refuse(ledger, arrival.session, arrival.label, Code::BUSY, detail);
        }
        if arrival.detached && self.receptions() >= self.limits.large_receptions {
            let detail = Detail { retry_after_ms: Some(MANY_RETRY_MS), ..Detail::default() };
            return self.refuse(ledger, arrival.session, arrival.label, Code::PAYLOAD_NOT_WANTED, detail);
        }
        let id = DeliveryId(self.next);
        self.next += 1;
        let reply_to = arrival.message.in_reply_to.filter(|_| !arrival.ask);
        self.outputs.push_back(InboxOutput::Lookup(Lookup {
            id,
            sender: identity.0.clone(),
            message: identity.1,
            reply_to: reply_to.map(|message| (arrival.recipient_id.clone(), message)),
        }));
        self.identities.insert(identity.clone(), id);
        let pending = Pending {
            identity,
            recipient: arrival.recipient,
            stage: Stage::LookingUp,
            leaf: arrival.leaf,
            message: arrival.message,
            payload: (!arrival.ask).then_some(arrival.payload),
            large: arrival.detached,
            file: None,
            redelivered: arrival.redelivered,
            signed: arrival.signed,
            recipient_id: arrival.recipient_id,
            waiting: smallvec![Waiting { session: arrival.session, label: arrival.label, ask: arrival.ask }],
        };
        self.bytes += pending.bytes();
        if let Some(count) = self.per_endpoint.get_mut(pending.recipient) {
            *count += 1;
        }
        self.pending.insert(id, pending);
    }

    fn is_full_for(&self, endpoint: usize, bytes: usize) -> bool {
        let share = if self.per_endpoint.len() > 1 { 8 } else { 1 };
        let held = self.per_endpoint.get(endpoint).copied().unwrap_or(0);
        self.pending.len() >= self.limits.inbox_messages
            || self.bytes + bytes > self.limits.inbox_bytes
            || held >= (self.limits.inbox_messages / share).max(1)
    }

    /// A repeat, or an ask, of a message that is still pending.
    fn join(&mut self, ledger: &mut Ledger, id: DeliveryId, arrival: Arrival) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        if pending.leaf != arrival.leaf {
            return self.refuse(ledger, arrival.session, arrival.label, Code::ID_REUSED, Detail::default());
        }
        if arrival.ask && matches!(pending.stage, Stage::Receiving | Stage::Queued | Stage::HandedOver) {
            // Nothing is decided: the sender may send it again, and the repeat joins (WIRE 10.1, 10.4).
            return self.refuse(ledger, arrival.session, arrival.label, Code::UNKNOWN_MESSAGE, Detail::default());
        }
        pending.waiting.push(Waiting { session: arrival.session, label: arrival.label, ask: arrival.ask });
        if arrival.ask {
            return;
        }
        if pending.payload.is_none() {
            self.bytes += arrival.payload.len();
            pending.payload = Some(arrival.payload);
            pending.large = arrival.detached;
            pending.redelivered |= arrival.redelivered;
        } else {
            pending.redelivered |= arrival.redelivered;
            ledger.repeats += 1;
        }
    }

    /// The journal's answer to a lookup.
    pub fn on_found(&mut self, ledger: &mut Ledger, found: Found) {
        let Some(pending) = self.pending.get_mut(&found.id) else { return };
        if let Some(earlier) = found.earlier {
            if earlier.leaf == pending.leaf {
                ledger.repeats += u64::from(pending.payload.is_some());
                return self.settle(found.id, &earlier);
            }
            return self.refuse_all(ledger, found.id, Code::ID_REUSED, |_| true);
        }
        if pending.payload.is_none() {
            return self.refuse_all(ledger, found.id, Code::UNKNOWN_MESSAGE, |_| true);
        }
        self.refuse_all(ledger, found.id, Code::UNKNOWN_MESSAGE, |waiting| waiting.ask);
        if found.elsewhere {
            // The other process may have handed it on: nothing certain can be said here.
            let detail = Detail { retry_after_ms: Some(ELSEWHERE_RETRY_MS), ..Detail::default() };
            return self.refuse_all_with(ledger, found.id, Code::UNDECIDED_DEADLINE, &detail, |_| true);
        }
        if !found.solicited {
            let verdict = Verdict::Reject { code: Code::UNSOLICITED_REPLY, problem: None };
            return self.on_verdict(found.id, &verdict);
        }
        match self.pending.get_mut(&found.id) {
            Some(pending) if pending.large => {
                pending.stage = Stage::Receiving;
                let (length, digest) = (pending.message.payload_len, pending.message.payload_digest);
                let order = PayloadOrder::Open { id: found.id, leaf: pending.leaf, length, digest };
                self.outputs.push_back(InboxOutput::Payload(order));
            }
            Some(pending) => {
                pending.stage = Stage::Queued;
                self.queue.push_back(found.id);
            }
            None => {}
        }
    }

    /// Large payloads that are looked up, awaited or arriving.
    fn receptions(&self) -> usize {
        let under_way =
            |pending: &&Pending| pending.large && matches!(pending.stage, Stage::LookingUp | Stage::Receiving);
        self.pending.values().filter(under_way).count()
    }

    /// Link and label under which the payload of this message comes.
    pub fn reception(&self, id: DeliveryId) -> Option<(SessionId, Label)> {
        self.pending.get(&id)?.reception()
    }

    /// The message whose payload comes under this label.
    pub fn receiving(&self, session: SessionId, label: &Label) -> Option<DeliveryId> {
        let found = self.pending.iter().find(|(_, pending)| pending.reception() == Some((session, *label)));
        found.map(|(id, _)| *id)
    }

    /// A large payload is whole: to the application.
    pub fn on_payload(&mut self, id: DeliveryId, payload: StoredPayload) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        if !matches!(pending.stage, Stage::Receiving) {
            return;
        }
        match payload {
            StoredPayload::Memory(bytes) => {
                self.bytes += bytes.len();
                pending.payload = Some(bytes);
            }
            StoredPayload::File(path) => pending.file = Some(path),
        }
        pending.stage = Stage::Queued;
        self.queue.push_back(id);
    }

    /// A large payload does not come: every label of its message is settled.
    pub fn on_reception_refused(&mut self, ledger: &mut Ledger, id: DeliveryId, code: Code, retry_ms: Option<u64>) {
        if matches!(self.pending.get(&id), Some(Pending { stage: Stage::Receiving, .. })) {
            let detail = Detail { retry_after_ms: retry_ms, ..Detail::default() };
            self.refuse_all_with(ledger, id, code, &detail, |_| true);
        }
    }

    /// A label (or with `None` every label) of a link is gone: what came under it does not come any more.
    pub fn on_label_gone(&mut self, ledger: &mut Ledger, session: SessionId, label: Option<&Label>) {
        let hit = |(of, at): (SessionId, Label)| of == session && label.is_none_or(|label| *label == at);
        let gone: Vec<DeliveryId> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.reception().is_some_and(hit))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.refuse_all(ledger, id, Code::UNDECIDED_LINK_LOST, |_| true);
        }
    }

    /// The next message for the application; the caller polls only when it can take one.
    pub fn poll_delivery(&mut self, ledger: &mut Ledger) -> Option<Delivery> {
        loop {
            let id = self.queue.pop_front()?;
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.stage = Stage::HandedOver;
            ledger.handed_over += 1;
            return Some(Delivery {
                id,
                recipient: pending.recipient_id.clone(),
                message: pending.message.clone(),
                payload: pending.payload.clone().unwrap_or_default(),
                payload_file: pending.file.clone(),
                redelivered: pending.redelivered,
                signed: pending.signed.clone(),
            });
        }
    }

    /// Whether a message waits for the application.
    pub fn has_delivery(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The application answered: to the journal.
    pub fn on_verdict(&mut self, id: DeliveryId, verdict: &Verdict) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        if matches!(pending.stage, Stage::Journalling(_)) {
            return;
        }
        let earlier = match verdict {
            Verdict::Accept => Earlier { leaf: pending.leaf, outcome: Outcome::Delivered, code: 0, problem: None },
            Verdict::Reject { code, problem } => Earlier {
                leaf: pending.leaf,
                outcome: Outcome::Rejected,
                code: code.as_u64(),
                problem: problem.as_deref().map(cut).filter(|text| !text.is_empty()),
            },
        };
        let keep_payload = earlier.outcome == Outcome::Delivered;
        self.outputs.push_back(InboxOutput::Journal(JournalRecord {
            id,
            sender: pending.identity.0.clone(),
            message: pending.identity.1,
            verdict: earlier.clone(),
            forget_after: verify::expires(&pending.message).plus_ms(2 * SKEW_MS),
            statement: pending.signed.statement.clone(),
            payload: pending.payload.clone().filter(|_| keep_payload).unwrap_or_default(),
            payload_file: pending.file.clone().filter(|_| keep_payload),
        }));
        pending.stage = Stage::Journalling(earlier);
    }

    /// The verdict is durable: receipts may leave.
    pub fn on_journalled(&mut self, ledger: &mut Ledger, id: DeliveryId) {
        let Some(Pending { stage: Stage::Journalling(verdict), .. }) = self.pending.get(&id) else { return };
        ledger.journalled += 1;
        let verdict = verdict.clone();
        if let Some(Pending { large: true, leaf, .. }) = self.pending.get(&id) {
            self.outputs.push_back(InboxOutput::Payload(PayloadOrder::Drop { leaf: *leaf }));
        }
        self.settle(id, &verdict);
    }

    /// The verdict could not be made durable, and nobody knows whether it was: every label is undecided.
    pub fn on_journal_failed(&mut self, ledger: &mut Ledger, id: DeliveryId) {
        ledger.storage_faults += 1;
        self.refuse_all(ledger, id, Code::UNDECIDED_STORAGE, |_| true);
    }

    /// The application let go of a message without a verdict: it may have acted on it, so every label is undecided; a
    /// later repeat is handed over again.
    pub fn on_abandoned(&mut self, ledger: &mut Ledger, id: DeliveryId) {
        if matches!(self.pending.get(&id), Some(Pending { stage: Stage::HandedOver, .. })) {
            self.refuse_all(ledger, id, Code::UNDECIDED_DEADLINE, |_| true);
        }
    }

    /// What the inbox wants done next.
    pub fn poll_output(&mut self) -> Option<InboxOutput> {
        self.outputs.pop_front()
    }

    fn settle(&mut self, id: DeliveryId, verdict: &Earlier) {
        let Some(pending) = self.remove(id) else { return };
        let message = &pending.message;
        let route = message.recipient.is_none().then_some((message.service, message.jurisdiction));
        for waiting in pending.waiting {
            let receipt = DueReceipt {
                route,
                issuer: pending.recipient,
                addressee: pending.identity.0.clone(),
                message: pending.identity.1,
                leaf: pending.leaf,
                outcome: verdict.outcome,
                code: verdict.code,
                problem: verdict.problem.clone(),
                label: waiting.label,
            };
            self.outputs.push_back(InboxOutput::Receipt { session: waiting.session, receipt });
        }
    }

    /// Refuses those labels of a pending message that `which` picks; without labels left the message is forgotten.
    fn refuse_all(&mut self, ledger: &mut Ledger, id: DeliveryId, code: Code, which: impl Fn(&Waiting) -> bool) {
        self.refuse_all_with(ledger, id, code, &Detail::default(), which);
    }

    fn refuse_all_with(
        &mut self,
        ledger: &mut Ledger,
        id: DeliveryId,
        code: Code,
        detail: &Detail,
        which: impl Fn(&Waiting) -> bool,
    ) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let (refused, kept): (SmallVec<[Waiting; 1]>, SmallVec<[Waiting; 1]>) =
            std::mem::take(&mut pending.waiting).into_iter().partition(which);
        pending.waiting = kept;
        if pending.waiting.is_empty()
            && let Some(Pending { identity: (sender, message), .. }) = self.remove(id)
        {
            self.outputs.push_back(InboxOutput::Release { sender, message });
        }
        for waiting in refused {
            self.refuse(ledger, waiting.session, waiting.label, code, detail.clone());
        }
    }

    fn refuse(&mut self, ledger: &mut Ledger, session: SessionId, label: Label, code: Code, detail: Detail) {
        ledger.refused_entries += 1;
        self.outputs.push_back(InboxOutput::Refuse { session, label, code, detail });
    }

    fn remove(&mut self, id: DeliveryId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.identities.remove(&pending.identity);
        if pending.large {
            self.outputs.push_back(InboxOutput::Payload(PayloadOrder::Leave { id }));
        }
        self.bytes = self.bytes.saturating_sub(pending.bytes());
        if let Some(count) = self.per_endpoint.get_mut(pending.recipient) {
            *count = count.saturating_sub(1);
        }
        Some(pending)
    }
}

/// At most 1,024 bytes of text, cut at a character (WIRE 4.3).
fn cut(text: &str) -> String {
    const LONGEST: usize = 1_024;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}
