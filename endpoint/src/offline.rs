//! Does a proof file prove its outcome, with nothing but the directory of that time at hand (WIRE 5.6, 10.7)?
//!
//! Signatures, whose keys they are and whether those counted then, and whether the issuer was responsible. The directory
//! given must be the very version the receipt states: another one may name other people responsible.

pub mod audit;
pub mod versions;

use kernpost_codecs::archive::{ArchiveFacts, ProofFile};
use kernpost_codecs::digest::Digest;
use kernpost_codecs::statement::{Message, MessageRef, Receipt};
use kernpost_codecs::{DirectoryVersion, Party, UnixMs};
use kernpost_routing_table::{CompiledKey, KeyOwner, Table};

/// What a proof file proves.
#[derive(Debug, Clone)]
pub struct Proved {
    /// The receipt.
    pub receipt: Receipt,
    /// The message it is about, as its sender signed it.
    pub message: Message,
    /// The message's digest, for comparing with a payload at hand.
    pub payload_digest: Digest,
    /// The rule that made the issuer responsible; none for an explicit recipient and for routers.
    pub rule: Option<String>,
}

/// Why a proof file does not prove its outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineFault {
    /// Not a proof file, or a signature or path in it does not hold.
    #[error("{0}")]
    Archive(String),
    /// The message is missing.
    #[error("the file holds a receipt without its message; export it together with the message")]
    NoMessage,
    /// The wrong directory.
    #[error("the receipt states directory {stated}, the folder holds {held}: use the zone files as of that time")]
    OtherDirectory {
        /// What the receipt states.
        stated: DirectoryVersion,
        /// What was given.
        held: DirectoryVersion,
    },
    /// A key belongs to somebody else, or did not count then.
    #[error("key {kid} {why}")]
    Key {
        /// The key.
        kid: String,
        /// What is wrong with it.
        why: String,
    },
    /// An algorithm the signer's entry requires is missing.
    #[error("{0} has to sign with more algorithms than it did")]
    AlgorithmMissing(String),
    /// The issuer may not issue this.
    #[error("{issuer} {why}")]
    Issuer {
        /// The issuer.
        issuer: String,
        /// Why it does not count.
        why: &'static str,
    },
}

/// Checks a proof file against the directory in which the issuer claims responsibility.
///
/// # Errors
/// The first thing that keeps it from proving its outcome.
pub fn verify(file: &ProofFile, table: &Table) -> Result<Proved, OfflineFault> {
    let archive = |error: &dyn std::fmt::Display| OfflineFault::Archive(error.to_string());
    let proven = file.verify(|kid| table.key(kid).map(|(_, key)| key.key.clone())).map_err(|error| archive(&error))?;
    let (statement, _) = file.message.as_ref().ok_or(OfflineFault::NoMessage)?;
    let message = MessageRef::parse(statement).map_err(|error| archive(&error))?;
    let receipt = proven.receipt;
    if receipt.directory_version != table.version() {
        return Err(OfflineFault::OtherDirectory { stated: receipt.directory_version, held: table.version() });
    }
    check_signers(table, &proven.receipt_signers, receipt.issuer.as_str(), receipt.time)?;
    check_signers(table, &proven.message_signers, message.sender, message.created)?;
    let rule = responsible(table, &receipt, &message)?;
    Ok(Proved { payload_digest: message.payload_digest, message: message.to_owned(), receipt, rule })
}

/// Every key belongs to `owner` and counted at `at`; every required algorithm is there.
fn check_signers(table: &Table, signers: &[ArchiveFacts], owner: &str, at: UnixMs) -> Result<(), OfflineFault> {
    for signer in signers {
        let fault = |why: String| OfflineFault::Key { kid: signer.kid.to_string(), why };
        let (found, key) = table.key(&signer.kid).ok_or_else(|| fault("is not in the directory".to_owned()))?;
        let name = match found {
            KeyOwner::Endpoint(index) => table.endpoint_entry(index).map(|entry| entry.id.as_str()),
            KeyOwner::Router(index) => table.router_entry(index).map(|entry| entry.id.as_str()),
        };
        if name != Some(owner) {
            return Err(fault(format!("is a key of {}, not of {owner}", name.unwrap_or("nobody"))));
        }
        if !counted(key, at) {
            return Err(fault(format!("of {owner} did not count at {at} (revoked, not yet or no longer valid)")));
        }
    }
    let required =
        table.endpoint(owner).and_then(|index| table.endpoint_entry(index)).map(|entry| &entry.required_algorithms);
    let present = |wanted| signers.iter().any(|signer| signer.algorithm == wanted);
    let complete = required.is_none_or(|required| required.iter().all(|wanted| present(*wanted)));
    if complete && !signers.is_empty() { Ok(()) } else { Err(OfflineFault::AlgorithmMissing(owner.to_owned())) }
}

fn counted(key: &CompiledKey, at: UnixMs) -> bool {
    crate::core::key_counts(key, at)
}

fn responsible(table: &Table, receipt: &Receipt, message: &MessageRef<'_>) -> Result<Option<String>, OfflineFault> {
    let fault = |why| OfflineFault::Issuer { issuer: receipt.issuer.as_str().to_owned(), why };
    match &receipt.issuer {
        Party::Endpoint(_) if !receipt.outcome.is_by_recipient() => {
            Err(fault("is an endpoint; routers issue this outcome"))
        }
        Party::Router(_) if receipt.outcome.is_by_recipient() => {
            Err(fault("is a router; recipients issue this outcome"))
        }
        Party::Router(router) => match table.router(router.as_str()) {
            Some(entry) if entry.lost => Err(fault("is marked lost: its receipts no longer count")),
            Some(_) => Ok(None),
            None => Err(fault("is no router of this directory")),
        },
        Party::Endpoint(endpoint) => match message.recipient {
            Some(recipient) if recipient == endpoint.as_str() => Ok(None),
            Some(_) => Err(fault("is not the recipient the sender named")),
            None => {
                let route = table.lookup(message.service, message.jurisdiction);
                let index = table.endpoint(endpoint.as_str());
                let named = route.zip(index).filter(|(route, index)| route.endpoints.contains(index));
                named
                    .map(|(route, _)| Some(route.rule().to_owned()))
                    .ok_or_else(|| fault("was not responsible for the route key"))
            }
        },
    }
}
