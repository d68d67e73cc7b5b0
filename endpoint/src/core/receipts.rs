//! Does a RECEIPTS frame prove the outcomes it claims? On the sender's side every signature is checked (WIRE 8.2, 10.7).
//!
//! A receipt counts when its signature verifies with a key of its issuer that was valid at the receipt's time, and the
//! issuer was responsible for the route key in the stated directory version, or is the explicit recipient; outcomes 3
//! to 7 count from a router that is not marked lost. What does not count is not believed: the label stays open.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::receipts::{ReceiptsFrame, Subject};
use kernpost_codecs::root::RootSignature;
use kernpost_codecs::statement::{MessageRef, Receipt};
use kernpost_codecs::time::SKEW_MS;
use kernpost_codecs::{Party, UnixMs};
use kernpost_routing_table::{KeyOwner, Table};

use super::inbox::verify::key_fault;
use super::now::Now;
use super::proof::{SignedStatement, TreeProof};
use super::roots::RootCache;
use super::versions::Versions;

/// Why a receipt is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReceiptFault {
    #[error("the proof does not lead to a root: {0}")]
    Proof(String),
    #[error("kid {0} is not a key of the issuer in the stated directory version")]
    Key(String),
    #[error("an algorithm that the issuer's entry requires is missing")]
    AlgorithmMissing,
    #[error("the root signature does not verify")]
    Signature,
    #[error("the issuer is not responsible for the message, nor its explicit recipient")]
    NotResponsible,
    #[error("a router does not issue this outcome, or a recipient does not, or the router is marked lost")]
    WrongIssuer,
    #[error("its time is ahead of the clock by more than the tolerance")]
    FromTheFuture,
}

/// A receipt that counts.
#[derive(Debug)]
pub(crate) struct Counted {
    pub signed: SignedStatement,
    pub receipt: Receipt,
}

/// Everything a receipt is judged by.
pub(crate) struct Judge<'a> {
    pub versions: &'a Versions,
    pub roots: &'a mut RootCache,
    pub now: Now,
}

impl Judge<'_> {
    /// Rebuilds the statements of a frame and judges each. `subjects` and `messages` are in the order of the entries.
    pub fn frame(
        &mut self,
        frame: &ReceiptsFrame,
        subjects: &[Subject<'_>],
        messages: &[Bytes],
    ) -> Vec<Result<Counted, ReceiptFault>> {
        let rebuilt = match frame.rebuild(subjects) {
            Ok(rebuilt) => rebuilt,
            Err(fault) => return refuse_each(frame, &ReceiptFault::Proof(fault.to_string())),
        };
        if let Err(fault) =
            self.signer(&frame.issuer, &frame.signatures, &rebuilt.tree.root(), frame.time, &frame.directory_version)
        {
            return refuse_each(frame, &fault);
        }
        let proof = Arc::new(TreeProof { signatures: frame.signatures.clone(), tree: rebuilt.tree });
        let entries = frame.entries.iter().zip(&rebuilt.statements).zip(messages);
        entries
            .map(|((entry, statement), message)| {
                let receipt = Receipt::parse(statement).map_err(|fault| ReceiptFault::Proof(fault.to_string()))?;
                self.counts(&receipt, message)?;
                let signed =
                    SignedStatement { statement: statement.clone(), proof: Arc::clone(&proof), index: entry.index };
                Ok(Counted { signed, receipt })
            })
            .collect()
    }

    /// Whether a receipt whose signature holds counts for this message.
    pub fn counts(&self, receipt: &Receipt, message: &Bytes) -> Result<(), ReceiptFault> {
        let message = MessageRef::parse(message).map_err(|fault| ReceiptFault::Proof(fault.to_string()))?;
        match &receipt.issuer {
            Party::Endpoint(issuer) if receipt.outcome.is_by_recipient() => {
                if let Some(recipient) = message.recipient {
                    return if recipient == issuer.as_str() { Ok(()) } else { Err(ReceiptFault::NotResponsible) };
                }
                let responsible = |table: &Arc<Table>| {
                    let Some(index) = table.endpoint(issuer.as_str()) else { return false };
                    table.responsible(message.service, message.jurisdiction, index)
                };
                let found = self.versions.of(&receipt.directory_version).any(responsible);
                if found { Ok(()) } else { Err(ReceiptFault::NotResponsible) }
            }
            Party::Router(issuer) if !receipt.outcome.is_by_recipient() => {
                let good = self.versions.current().and_then(|table| table.router(issuer.as_str()));
                if good.is_some_and(|router| !router.lost) { Ok(()) } else { Err(ReceiptFault::WrongIssuer) }
            }
            _ => Err(ReceiptFault::WrongIssuer),
        }
    }

    /// Whether the signatures of a part with late receipts are those of this receipt's issuer (WIRE 10.2, 10.7).
    pub fn late(&mut self, receipt: &Receipt, signatures: &[RootSignature], root: &Digest) -> Result<(), ReceiptFault> {
        self.signer(&receipt.issuer, signatures, root, receipt.time, &receipt.directory_version)
    }

    /// Every signature verifies with a key of the issuer, valid at the receipt's time and not revoked since.
    fn signer(
        &mut self,
        issuer: &Party,
        signatures: &[RootSignature],
        root: &Digest,
        time: UnixMs,
        version: &kernpost_codecs::DirectoryVersion,
    ) -> Result<(), ReceiptFault> {
        if self.now.wall.plus_ms(SKEW_MS) < time {
            return Err(ReceiptFault::FromTheFuture);
        }
        let table = self.versions.of(version).next().ok_or(ReceiptFault::NotResponsible)?;
        let (mut present, mut kids) = (smallvec::SmallVec::<[_; 2]>::new(), smallvec::SmallVec::<[_; 2]>::new());
        for signature in signatures {
            let kid = signature.kid().map_err(|_| ReceiptFault::Signature)?;
            // Two signatures are by two keys (WIRE 5.4).
            if kids.contains(&kid) {
                return Err(ReceiptFault::Signature);
            }
            kids.push(kid);
            let foreign = || ReceiptFault::Key(kid.to_string());
            let (owner, key) = table.key(&kid).ok_or_else(foreign)?;
            let owner_id = match owner {
                KeyOwner::Endpoint(index) => table.endpoint_entry(index).map(|entry| entry.id.as_str()),
                KeyOwner::Router(index) => table.router_entry(index).map(|entry| entry.id.as_str()),
            };
            if owner_id != Some(issuer.as_str()) || key_fault(key, time).is_some() || self.revoked_since(&kid) {
                return Err(foreign());
            }
            self.roots.verify(&key.key, signature, root).map_err(|_| ReceiptFault::Signature)?;
            present.push(key.key.algorithm());
        }
        let entry = table.endpoint(issuer.as_str()).and_then(|index| table.endpoint_entry(index));
        let complete =
            entry.is_none_or(|entry| entry.required_algorithms.iter().all(|wanted| present.contains(wanted)));
        if complete && !present.is_empty() { Ok(()) } else { Err(ReceiptFault::AlgorithmMissing) }
    }

    fn revoked_since(&self, kid: &kernpost_codecs::key::KeyId) -> bool {
        self.versions.current().and_then(|table| table.key(kid)).is_some_and(|(_, key)| key.revoked)
    }
}

fn refuse_each(frame: &ReceiptsFrame, fault: &ReceiptFault) -> Vec<Result<Counted, ReceiptFault>> {
    frame.entries.iter().map(|_| Err(fault.clone())).collect()
}
