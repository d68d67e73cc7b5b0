//! What do operators' commands and the router say to each other? JSON, the same types on both sides.

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::audit::AuditEntry;
use super::message_name::MessageName;
use super::proposals::Proposal;

/// What a list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListOf {
    /// Messages that wait.
    #[default]
    Waiting,
    /// Messages that have ended.
    Ended,
    /// Receipts that wait for the senders of messages.
    Receipts,
}

/// What is asked of `list`. A filter that is not set lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListQuestion {
    /// What the list is about.
    pub of: ListOf,
    /// Waits for this endpoint.
    pub recipient: Option<String>,
    /// Was sent by this endpoint.
    pub sender: Option<String>,
    /// In this class, by its name.
    pub class: Option<String>,
    /// Taken at least so long ago, ms.
    pub older_than_ms: Option<u64>,
    /// Records after this one.
    pub after: Option<u64>,
    /// End the page with the record that reaches so many lines; 1 to 1,000.
    pub most: usize,
}

/// A page of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPage {
    /// What was found, the oldest first; one record's entries are never torn, so up to 255 more lines than asked for.
    pub lines: Vec<HeldLine>,
    /// Records whose index cannot be read.
    pub unreadable: Vec<u64>,
    /// Ask with this as `after` for what follows; absent: that was all.
    pub next: Option<u64>,
}

/// One message, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldLine {
    /// Its name.
    pub message: MessageName,
    /// Any of these may take it.
    pub waits_for: Vec<String>,
    /// Its class.
    pub class: String,
    /// When it was taken, RFC 3339.
    pub taken: String,
    /// When it expires, RFC 3339; a receipt: until when it is sent.
    pub expires: String,
    /// Bytes of credit it occupies: statement, payload and 256.
    pub bytes: u64,
    /// `waiting`, or the outcome that ended it.
    pub state: String,
    /// The record it is in.
    pub record: u64,
}

/// What is asked about quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineQuestion {
    /// Records after this one.
    pub after: Option<u64>,
}

/// What lies in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinePage {
    /// Records, ascending.
    pub records: Vec<QuarantinedLine>,
    /// Ask with this as `after` for what follows.
    pub next: Option<u64>,
}

/// One record in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedLine {
    /// Which.
    pub record: u64,
    /// What was wrong.
    pub reason: Option<String>,
    /// Messages in it, as far as its index can be read.
    pub messages: Vec<MessageName>,
}

/// One message is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageQuestion {
    /// Which.
    pub message: MessageName,
}

/// One message, without its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePage {
    /// What lists say.
    pub held: HeldLine,
    /// Its statement; absent: it cannot be read.
    pub statement: Option<StatementPage>,
    /// How it was signed; absent: it cannot be read.
    pub proof: Option<ProofPage>,
    /// What happened, in order.
    pub history: Vec<HistoryLine>,
}

/// What the sender signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementPage {
    /// Service key.
    pub service: String,
    /// Jurisdiction.
    pub jurisdiction: String,
    /// The explicit recipient.
    pub recipient: Option<String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Seconds from then to its expiry.
    pub lifetime_s: u32,
    /// Bytes of the payload.
    pub payload_length: u64,
    /// SHA-256 of the payload.
    pub payload_sha256: String,
    /// Whether the payload is still there: it goes with the final outcome.
    pub payload_held: bool,
    /// Type of the payload.
    pub content_type: String,
    /// Case id.
    pub case_hex: Option<String>,
    /// Mailbox handle.
    pub mailbox_hex: Option<String>,
    /// The message it answers.
    pub in_reply_to: Option<String>,
    /// Asserted level of assurance.
    pub assurance: Option<String>,
    /// The directory version the sender held.
    pub directory_version: String,
    /// SHA-256 of the statement as a leaf.
    pub leaf: String,
}

/// How a statement was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofPage {
    /// The signed root.
    pub root: String,
    /// Leaves of its tree.
    pub tree_size: u16,
    /// Index of this one.
    pub index: u16,
    /// Ids of the keys that signed.
    pub signed_by: Vec<String>,
}

/// Something that happened to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// When, RFC 3339.
    pub at: String,
    /// What.
    pub what: String,
    /// By whom.
    pub by: String,
}

/// One message as files, each in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPage {
    /// Which.
    pub message: MessageName,
    /// Its statement.
    pub statement_hex: String,
    /// Its payload, while it is held.
    pub payload_hex: Option<String>,
    /// Bytes of a payload above 64 KiB while it is held; it is fetched piece by piece.
    pub payload_apart: Option<u64>,
    /// COSE receipts of the statement: proofs that its sender signed it.
    pub message_proofs_hex: Vec<String>,
    /// The proof file, once there is a final receipt.
    pub proof_file_hex: Option<String>,
}

/// A piece of a large payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadQuestion {
    /// Of this message.
    pub message: MessageName,
    /// From this byte on.
    pub offset: u64,
}

/// The piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadPage {
    /// Its bytes.
    pub bytes_hex: String,
    /// Where the next one begins; `None`: this was the last.
    pub next: Option<u64>,
}

/// What shall be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedeliverQuestion {
    /// Because of these messages; empty: all.
    pub messages: Vec<MessageName>,
}

/// What is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedeliverPage {
    /// Named messages that do not wait, and why not.
    pub not_waiting: Vec<LeftAlone>,
}

/// A message that was left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftAlone {
    /// Which.
    pub message: MessageName,
    /// Why.
    pub why: String,
}

/// What shall be given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardQuestion {
    /// The messages.
    pub messages: Vec<MessageName>,
    /// Why; the senders read it.
    pub reason: String,
}

/// Which proposal is agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmQuestion {
    /// Its number.
    pub number: u64,
}

/// What waits for somebody to agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalsPage {
    /// The proposals, the oldest first.
    pub proposals: Vec<Proposal>,
}

/// What is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardPage {
    /// The proposal.
    pub proposal: Proposal,
    /// Who agreed.
    pub confirmed_by: Account,
    /// Messages handed to custody to be ended; those that fly at this instant are left alone.
    pub discarding: Vec<MessageName>,
    /// Messages left alone.
    pub left_alone: Vec<LeftAlone>,
}

/// What was wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotatePage {
    /// Secrets wrapped by the current master key.
    pub secrets: usize,
}

/// What is asked of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuestion {
    /// From this number on.
    pub from: u64,
    /// At most so many entries; 1 to 1,000.
    pub most: usize,
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// Entries, by number.
    pub entries: Vec<AuditLine>,
    /// Entries there are.
    pub count: u64,
    /// Hash of the last one, to be kept elsewhere.
    pub last_hash: String,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Its number, from 0.
    pub number: u64,
    /// The act; absent: it cannot be read.
    pub act: Option<AuditEntry>,
    /// Whether it follows the entry before it.
    pub chained: bool,
}
