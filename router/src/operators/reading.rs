//! What does a record say about one message, to an operator? Statement, signatures, history and files; nothing is decided here.

use kernpost_codecs::archive::{ProofFile, archive};
use kernpost_codecs::part::{Entry, Part};
use kernpost_codecs::statement::ContentTypeRef;
use kernpost_codecs::{Digest, MessageRef, Receipt};
use kernpost_router_core::custody::spool::{EntryState, Head, HeadEntry, RecordId, Stored};
use kernpost_routing_table::instant_text;

use super::message_name::MessageName;
use super::pages::{ExportPage, HeldLine, HistoryLine, MessagePage, ProofPage, StatementPage};

/// A message in its record.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: MessageName,
    pub(super) record: RecordId,
    pub(super) head: Head,
    pub(super) entry: HeadEntry,
    part: Option<Part>,
}

impl Found {
    /// `None`: the record's index does not name it, or cannot be read.
    pub(super) fn new(name: &MessageName, stored: Stored) -> Option<Self> {
        let head = stored.head?;
        let entry = head.entry_of(&name.sender, name.id)?.clone();
        let part = stored.body.and_then(|body| Part::decode(body).ok());
        Some(Self { name: name.clone(), record: stored.record, head, entry, part })
    }

    /// Whether it is to be delivered.
    pub(super) fn waits(&self) -> bool {
        self.entry.state == EntryState::Waiting
    }

    /// The record of the receipt that ended it.
    pub(super) fn receipt_record(&self) -> Option<RecordId> {
        match self.entry.state {
            EntryState::Final { receipt, .. } => Some(receipt),
            _ => None,
        }
    }

    fn body(&self) -> Option<(&Part, &Entry)> {
        let part = self.part.as_ref()?;
        Some((part, part.entries().iter().find(|entry| entry.index == self.entry.index)?))
    }

    /// The leaf hash and length of a payload that lies in a file of its own, while it is held.
    pub(super) fn large(&self) -> Option<(Digest, u64)> {
        let (_, entry) = self.body()?;
        let message = MessageRef::parse(&entry.statement).ok()?;
        (entry.hop.detached && self.waits()).then_some((entry.leaf, message.payload_len))
    }

    /// Everything but the payload.
    pub(super) fn page(&self, receipt: Option<&FoundReceipt>) -> MessagePage {
        let statement = self.body().and_then(|(_, entry)| statement(entry, self.waits()));
        let proof = self.body().map(|(part, entry)| ProofPage {
            root: part.root().to_string(),
            tree_size: part.tree().size(),
            index: entry.index,
            signed_by: part
                .signatures()
                .iter()
                .map(|one| one.kid().map_or_else(|e| e.to_string(), |kid| kid.to_string()))
                .collect(),
        });
        let event = |at, what: String, by: String| HistoryLine { at: instant_text(at), what, by };
        let mut history = vec![event(self.head.taken, "custody".to_owned(), "this router".to_owned())];
        if let Some(FoundReceipt { receipt, sent, .. }) = receipt {
            history.push(event(receipt.time, receipt.outcome.name().to_owned(), receipt.issuer.to_string()));
            let what = if *sent { "the sender's side has the receipt" } else { "the receipt waits for the sender" };
            history.push(event(receipt.time, what.to_owned(), "this router".to_owned()));
        }
        let held = line(&self.head, &self.entry, self.record);
        MessagePage { held, statement, proof, history }
    }

    /// Everything, as files; `None`: the body cannot be read.
    pub(super) fn export(&self, receipt: Option<FoundReceipt>) -> Option<ExportPage> {
        let (part, entry) = self.body()?;
        let (signatures, tree) = (part.signatures(), part.tree());
        let proofs = signatures.iter().filter_map(|signature| archive(signature, tree, entry.index));
        let file = receipt.and_then(|receipt| {
            let file = receipt.file()?;
            file.with_message(entry.statement.clone(), signatures, tree, entry.index)
        });
        let asked = MessageRef::parse(&entry.statement).is_ok_and(|message| message.payload_len == 0);
        let held = asked || !entry.payload.is_empty();
        let apart = self.large().map(|(_, length)| length);
        Some(ExportPage {
            message: self.name.clone(),
            statement_hex: hex::encode(&entry.statement),
            payload_hex: held.then(|| hex::encode(&entry.payload)),
            payload_apart: apart,
            message_proofs_hex: proofs.map(hex::encode).collect(),
            proof_file_hex: file.map(|file| hex::encode(file.encode())),
        })
    }
}

/// The receipt that ended a message.
#[derive(Debug)]
pub(super) struct FoundReceipt {
    receipt: Receipt,
    /// Whether it needs no further sending.
    sent: bool,
    part: Part,
    position: usize,
}

impl FoundReceipt {
    /// `None`: the record cannot be read, or has no receipt about this message.
    pub(super) fn new(name: &MessageName, stored: Stored) -> Option<Self> {
        let part = Part::decode(stored.body?).ok()?;
        let about = |entry: &Entry| {
            let receipt = Receipt::parse(&entry.statement).ok()?;
            (receipt.message == name.id && receipt.addressee == name.sender).then_some(receipt)
        };
        let (position, receipt) =
            part.entries().iter().enumerate().find_map(|(position, entry)| Some((position, about(entry)?)))?;
        let index = part.entries().get(position)?.index;
        let state = stored.head.and_then(|head| head.entries.into_iter().find(|entry| entry.index == index));
        let sent = state.is_some_and(|entry| matches!(entry.state, EntryState::Sent(_)));
        Some(Self { receipt, sent, part, position })
    }

    fn file(&self) -> Option<ProofFile> {
        let entry = self.part.entries().get(self.position)?;
        ProofFile::new(entry.statement.clone(), self.part.signatures(), self.part.tree(), entry.index)
    }
}

/// What lists say of a message.
pub(super) fn line(head: &Head, entry: &HeadEntry, record: RecordId) -> HeldLine {
    HeldLine {
        message: MessageName { sender: entry.sender.clone(), id: entry.message },
        waits_for: head.queue.waits_for.iter().map(ToString::to_string).collect(),
        class: head.queue.class.name().to_owned(),
        taken: instant_text(head.taken),
        expires: instant_text(entry.expires),
        bytes: entry.cost,
        state: state(&entry.state),
        record: record.0,
    }
}

fn state(state: &EntryState) -> String {
    match state {
        EntryState::Waiting => "waiting".to_owned(),
        EntryState::Final { outcome, .. } => outcome.name().to_owned(),
        EntryState::Sent(code) => code.name().to_owned(),
        EntryState::Repeat => "repeat".to_owned(),
    }
}

fn statement(entry: &Entry, waits: bool) -> Option<StatementPage> {
    let message = MessageRef::parse(&entry.statement).ok()?;
    Some(StatementPage {
        service: message.service.to_string(),
        jurisdiction: message.jurisdiction.to_string(),
        recipient: message.recipient.map(str::to_owned),
        created: instant_text(message.created),
        lifetime_s: message.lifetime_s,
        payload_length: message.payload_len,
        payload_sha256: message.payload_digest.to_string(),
        payload_held: message.payload_len == 0 || !entry.payload.is_empty() || (entry.hop.detached && waits),
        content_type: match message.content_type {
            ContentTypeRef::Format(format) => format.to_string(),
            ContentTypeRef::Text(text) => text.to_owned(),
        },
        case_hex: message.case.map(hex::encode),
        mailbox_hex: message.mailbox.map(hex::encode),
        in_reply_to: message.in_reply_to.map(|id| id.to_string()),
        assurance: message.assurance.map(|level| level.name().to_owned()),
        directory_version: message.directory_version.to_string(),
        leaf: entry.leaf.to_string(),
    })
}
