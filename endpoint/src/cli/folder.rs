//! A received message as a folder: `payload` and `message.json`, durable before the receipt leaves.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use kernpost_codecs::MessageRef;
use kernpost_codecs::statement::{ContentType, Message};
use kernpost_endpoint::core::Delivery;
use serde::{Deserialize, Serialize};

/// `message.json`. The statement is what counts; the other fields repeat it for readers.
#[derive(Debug, Serialize, Deserialize)]
pub struct MessageJson {
    pub id: String,
    pub sender: String,
    pub recipient: String,
    pub service: String,
    pub jurisdiction: String,
    pub created_ms: u64,
    pub expires_ms: u64,
    pub class: String,
    pub content_type: String,
    pub payload_length: u64,
    pub payload_sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assurance: Option<String>,
    pub redelivered: bool,
    pub statement_hex: String,
    /// Standard COSE Receipts of the statement, by its sender.
    pub proofs_hex: Vec<String>,
}

impl MessageJson {
    pub fn of(delivery: &Delivery) -> Self {
        let message = &delivery.message;
        Self {
            id: message.id.to_string(),
            sender: message.sender.to_string(),
            recipient: delivery.recipient.to_string(),
            service: message.service.to_string(),
            jurisdiction: message.jurisdiction.to_string(),
            created_ms: message.created.0,
            expires_ms: message.created.plus_s(message.lifetime_s.into()).0,
            class: message.class.to_string(),
            content_type: match &message.content_type {
                ContentType::Format(format) => format.to_string(),
                ContentType::Text(text) => text.clone(),
            },
            payload_length: message.payload_len,
            payload_sha256: message.payload_digest.to_string(),
            case_hex: message.case.as_ref().map(hex::encode),
            mailbox_hex: message.mailbox.as_ref().map(hex::encode),
            in_reply_to: message.in_reply_to.map(|id| id.to_string()),
            assurance: message.assurance.map(|level| level.name().to_owned()),
            redelivered: delivery.redelivered,
            statement_hex: hex::encode(&delivery.signed.statement),
            proofs_hex: delivery.signed.archive().iter().map(hex::encode).collect(),
        }
    }

    /// The statement, parsed again.
    pub fn message(&self) -> Result<Message> {
        let statement = hex::decode(&self.statement_hex).context("statement_hex")?;
        Ok(MessageRef::parse(&statement).context("statement_hex")?.to_owned())
    }
}

/// Writes the message into a new folder below `into`, durably. A folder of the same message that is there already is left.
pub fn store(into: &Path, delivery: &Delivery) -> Result<PathBuf> {
    let leaf = kernpost_codecs::tree::leaf_hash(&delivery.signed.statement).to_string();
    let name = format!("{}-{}", delivery.message.id, leaf.get(..8).unwrap_or_default());
    let target = into.join(&name);
    if target.exists() {
        return Ok(target);
    }
    let temporary = into.join(format!(".{name}.new"));
    if temporary.exists() {
        fs::remove_dir_all(&temporary)?;
    }
    fs::create_dir(&temporary).with_context(|| format!("cannot make {}", temporary.display()))?;
    store_payload(&temporary.join("payload"), delivery)?;
    write_durably(&temporary.join("message.json"), &serde_json::to_vec_pretty(&MessageJson::of(delivery))?)?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, &target).with_context(|| format!("cannot make {}", target.display()))?;
    File::open(into)?.sync_all()?;
    Ok(target)
}

/// Reads `message.json`, given itself or its folder.
pub fn read(path: &Path) -> Result<MessageJson> {
    let file = if path.is_dir() { path.join("message.json") } else { path.to_owned() };
    let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no message.json", file.display()))
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

/// The payload: written, or for a large one linked to where it lies durably, or copied from another disk.
fn store_payload(path: &Path, delivery: &Delivery) -> Result<()> {
    let Some(file) = &delivery.payload_file else { return write_durably(path, &delivery.payload) };
    if fs::hard_link(file, path).is_err() {
        fs::copy(file, path).with_context(|| format!("cannot copy {} to {}", file.display(), path.display()))?;
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// The payload of a delivery, shared.
pub fn payload(delivery: &Delivery) -> Bytes {
    delivery.payload.clone()
}
