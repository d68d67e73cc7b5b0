//! Does a received part prove what it says? Signers first, then the root, then each entry (WIRE 6.6).
//!
//! A signer that owns no entry costs no signature check. Route and recipient are not judged here: the router chose, and
//! [`super::super::Core`] checks that it chose an endpoint attached on the link.

use kernpost_codecs::digest::Digest;
use kernpost_codecs::part::{Entry, LONGEST_INLINE_PAYLOAD, Part};
use kernpost_codecs::statement::{self, Message, MessageRef, StatementKind};
use kernpost_codecs::time::SKEW_MS;
use kernpost_codecs::{Code, UnixMs};
use kernpost_routing_table::{CompiledKey, KeyOwner, Table};
use smallvec::SmallVec;

use crate::core::roots::RootCache;

/// What an entry turned out to be.
#[derive(Debug)]
pub(crate) enum Judged {
    Message(Box<Message>),
    Refused(Code),
    /// The signer or sender is unknown here, but the sender holds another directory version: ours may be older.
    NewerDirectory,
}

/// A signature of the part with what the directory knows about its key.
type Signer<'a> = Option<(KeyOwner, &'a CompiledKey)>;

/// Every protected header can be read, and two signatures are by two keys (WIRE 5.4).
fn distinct_keys(part: &Part) -> bool {
    let mut kids: SmallVec<[_; 2]> = SmallVec::new();
    part.signatures().iter().all(|signature| {
        let kid = signature.kid();
        let new = kid.as_ref().is_ok_and(|kid| !kids.contains(kid));
        kids.extend(kid);
        new
    })
}

/// Judges every entry of a part, in the order of the entries.
pub(crate) fn judge_part(part: &Part, table: &Table, roots: &mut RootCache, now: UnixMs) -> Vec<Judged> {
    let signers: SmallVec<[Signer<'_>; 2]> =
        part.signatures().iter().map(|signature| table.key(&signature.kid().ok()?)).collect();
    let mut judged: Vec<Judged> = part.entries().iter().map(|entry| judge_owner(entry, table, &signers, now)).collect();
    if !distinct_keys(part) {
        return part.entries().iter().map(|_| Judged::Refused(Code::BAD_SIGNATURE)).collect();
    }
    if !judged.iter().any(|one| matches!(one, Judged::Message(_))) {
        return judged;
    }
    if !root_holds(part, &signers, roots) {
        judged.iter_mut().for_each(|one| *one = Judged::Refused(Code::BAD_SIGNATURE));
        return judged;
    }
    for (one, entry) in judged.iter_mut().zip(part.entries()) {
        if let Judged::Message(message) = one
            && let Some(code) = judge_content(entry, message, now)
        {
            *one = Judged::Refused(code);
        }
    }
    judged
}

fn root_holds(part: &Part, signers: &[Signer<'_>], roots: &mut RootCache) -> bool {
    let root = part.root();
    part.signatures().iter().zip(signers).all(|(signature, signer)| {
        signer.as_ref().is_some_and(|(_, key)| roots.verify(&key.key, signature, &root).is_ok())
    })
}

/// The statement parses, and every signer is a valid key of its sender.
fn judge_owner(entry: &Entry, table: &Table, signers: &[Signer<'_>], now: UnixMs) -> Judged {
    match statement::kind(&entry.statement) {
        Ok(StatementKind::Message) => {}
        // A receipt among messages too: parts carry one kind (WIRE 10.2).
        Ok(_) => return Judged::Refused(Code::BAD_STATEMENT),
        Err(fault) => return Judged::Refused(fault.code()),
    }
    let message = match MessageRef::parse(&entry.statement) {
        Ok(message) => message,
        Err(fault) => return Judged::Refused(fault.code()),
    };
    let unknown = |code| {
        if message.directory_version == table.version() { Judged::Refused(code) } else { Judged::NewerDirectory }
    };
    let Some(sender) = table.endpoint(message.sender) else { return unknown(Code::SENDER_UNKNOWN) };
    let Some(sender_entry) = table.endpoint_entry(sender) else { return unknown(Code::SENDER_UNKNOWN) };
    for signer in signers {
        let Some((owner, key)) = signer else { return unknown(Code::KEY_NOT_OWNED) };
        if *owner != KeyOwner::Endpoint(sender) {
            return Judged::Refused(Code::KEY_NOT_OWNED);
        }
        if let Some(code) = key_fault(key, now) {
            return Judged::Refused(code);
        }
    }
    let present = |wanted| signers.iter().flatten().any(|(_, key)| key.key.algorithm() == wanted);
    if !sender_entry.required_algorithms.iter().all(|wanted| present(*wanted)) {
        return Judged::Refused(Code::BAD_SIGNATURE);
    }
    Judged::Message(Box::new(message.to_owned()))
}

/// Beyond ingress a key counts between not-before and verify-until; revocation ends both.
pub(crate) fn key_fault(key: &CompiledKey, at: UnixMs) -> Option<Code> {
    if key.revoked {
        return Some(Code::KEY_REVOKED);
    }
    (at.plus_ms(SKEW_MS) < key.not_before || key.verify_until.plus_ms(SKEW_MS) < at).then_some(Code::KEY_EXPIRED)
}

/// Whether signatures of this key counted at `at`.
pub(crate) fn key_counts(key: &CompiledKey, at: UnixMs) -> bool {
    key_fault(key, at).is_none()
}

/// The instant from which a message is no longer delivered (WIRE 4.2).
pub(crate) fn expires(message: &Message) -> UnixMs {
    message.created.plus_s(message.lifetime_s.into())
}

/// Expiry, payload length and digest. An ask has no payload, and its expiry does not matter (WIRE 10.1).
fn judge_content(entry: &Entry, message: &Message, now: UnixMs) -> Option<Code> {
    if message.created.0 > now.plus_ms(SKEW_MS).0 {
        return Some(Code::NOT_YET_VALID);
    }
    if entry.hop.ask {
        return None;
    }
    if expires(message).plus_ms(SKEW_MS) < now {
        return Some(Code::EXPIRED);
    }
    if entry.hop.detached {
        // Its digest is checked when it is whole (WIRE 9.7).
        return (message.payload_len <= LONGEST_INLINE_PAYLOAD as u64).then_some(Code::BAD_STATEMENT);
    }
    let intact =
        message.payload_len == entry.payload.len() as u64 && Digest::of(&entry.payload) == message.payload_digest;
    (!intact).then_some(Code::DIGEST_MISMATCH)
}
