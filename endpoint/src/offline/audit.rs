//! Everything that makes a receipt count, check by check, for an auditor: what was looked at and what it showed.
//!
//! [`super::verify`] stops at the first fault; here every check is carried out and reported, the failed ones too. A
//! receipt counts when all of them passed (WIRE 10.7).

use bytes::Bytes;
use kernpost_codecs::archive::{ArchiveError, ArchiveFacts, CoseReceipt, ProofFile};
use kernpost_codecs::key::Algorithm;
use kernpost_codecs::statement::{Message, MessageRef, Receipt, StatementError};
use kernpost_codecs::time::SKEW_MS;
use kernpost_codecs::tree::leaf_hash;
use kernpost_codecs::{Party, UnixMs};
use kernpost_routing_table::{Decision, KeyOwner, Table, instant_text};

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked, in a few words.
    pub name: &'static str,
    /// Whether it holds.
    pub passed: bool,
    /// What was found.
    pub detail: String,
}

impl Check {
    /// A check with its result: what was found, or why it fails.
    pub fn of(name: &'static str, result: Result<String, String>) -> Self {
        match result {
            Ok(detail) => Self { name, passed: true, detail },
            Err(detail) => Self { name, passed: false, detail },
        }
    }
}

/// The directory a receipt is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a> {
    /// The version the receipt states, compiled for the receipt's time.
    pub at_receipt: &'a Table,
    /// The same version compiled for the message's creation: a rule may have ended in between.
    pub at_sending: &'a Table,
    /// The version in force now: what was revoked or lost since no longer counts.
    pub current: &'a Table,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Audit {
    /// The receipt.
    pub receipt: Receipt,
    /// The message it is about, if the file holds it.
    pub message: Option<Message>,
    /// The rule by which the issuer was responsible; `None` for explicit recipients, routers, and when it was not.
    pub responsible: Option<Decision>,
    /// Every check, in the order of reading.
    pub checks: Vec<Check>,
}

impl Audit {
    /// Whether every check passed.
    pub fn verified(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }
}

/// Checks everything about a proof file but the directory itself.
///
/// # Errors
/// A statement in it cannot be read.
pub fn audit(file: &ProofFile, tables: &Tables<'_>, now: UnixMs) -> Result<Audit, StatementError> {
    let receipt = Receipt::parse(&file.receipt)?;
    let message = file.message.as_ref().map(|(statement, _)| MessageRef::parse(statement)).transpose()?;
    let mut checks = Vec::new();
    let issuer = Signed {
        statement: &file.receipt,
        proofs: &file.receipt_proofs,
        owner: receipt.issuer.as_str(),
        at: receipt.time,
        names: ["receipt signature", "receipt key", "receipt algorithms"],
    };
    issuer.check(tables, &mut checks);
    match (&file.message, &message) {
        (Some((statement, proofs)), Some(message)) => {
            let sender = Signed {
                statement,
                proofs,
                owner: message.sender,
                at: message.created,
                names: ["message signature", "message key", "message algorithms"],
            };
            sender.check(tables, &mut checks);
            checks.push(Check::of("same message", same_message(&receipt, statement, message)));
        }
        _ => checks.push(Check::of("same message", Err("the file does not hold the message".to_owned()))),
    }
    let (responsible, check) = issuer_check(&receipt, message.as_ref(), tables);
    checks.push(check);
    checks.push(Check::of("time", times(&receipt, message.as_ref(), now)));
    Ok(Audit { message: message.map(|message| message.to_owned()), responsible, receipt, checks })
}

/// A statement with its proofs, and who should have signed it.
struct Signed<'a> {
    statement: &'a Bytes,
    proofs: &'a [Bytes],
    owner: &'a str,
    at: UnixMs,
    names: [&'static str; 3],
}

impl Signed<'_> {
    fn check(&self, tables: &Tables<'_>, checks: &mut Vec<Check>) {
        let [signature, key, algorithms] = self.names;
        let mut present = Vec::new();
        for proof in self.proofs {
            checks.push(Check::of(signature, self.signature(proof, tables, &mut present)));
            checks.push(Check::of(key, self.key(proof, tables)));
        }
        let required = required(tables.at_receipt, self.owner);
        let missing = required.iter().find(|wanted| present.iter().all(|facts| facts.algorithm != **wanted));
        if let [first, second] = &present[..]
            && (first.kid == second.kid || first.root != second.root)
        {
            let why = "two signatures are by two keys over one root (WIRE 5.4); these are not".to_owned();
            checks.push(Check::of(algorithms, Err(why)));
        } else if let Some(missing) = missing {
            let why = format!("{} has to sign with {missing} too, and that signature is missing", self.owner);
            checks.push(Check::of(algorithms, Err(why)));
        } else if !required.is_empty() {
            checks.push(Check::of(algorithms, Ok(format!("all that {} has to sign with", self.owner))));
        }
    }

    fn signature(&self, proof: &[u8], tables: &Tables<'_>, present: &mut Vec<ArchiveFacts>) -> Result<String, String> {
        let text = |error: ArchiveError| error.to_string();
        let cose = CoseReceipt::parse(proof).map_err(text)?;
        let kid = cose.kid().map_err(|error| error.to_string())?;
        let (_, key) = tables.at_receipt.key(&kid).ok_or_else(|| format!("key {kid} is not in the directory"))?;
        let facts = cose.verify(self.statement, &key.key).map_err(text)?;
        present.push(facts);
        let (algorithm, index, size, root) = (facts.algorithm, facts.index, facts.tree_size, facts.root);
        Ok(format!("{algorithm} signature holds; entry {index} of {size} below root {root}"))
    }

    fn key(&self, proof: &[u8], tables: &Tables<'_>) -> Result<String, String> {
        let kid = CoseReceipt::parse(proof).map_err(|error| error.to_string())?;
        let kid = kid.kid().map_err(|error| error.to_string())?;
        let table = tables.at_receipt;
        let (owner, key) = table.key(&kid).ok_or_else(|| format!("key {kid} is not in the directory"))?;
        let owner = match owner {
            KeyOwner::Endpoint(index) => table.endpoint_entry(index).map(|entry| entry.id.as_str()),
            KeyOwner::Router(index) => table.router_entry(index).map(|entry| entry.id.as_str()),
        };
        if owner != Some(self.owner) {
            return Err(format!("key {kid} belongs to {}, not to {}", owner.unwrap_or("nobody"), self.owner));
        }
        let (from, until, at) = (key.not_before, key.verify_until, self.at);
        if at.plus_ms(SKEW_MS) < from || until.plus_ms(SKEW_MS) < at {
            let (from, until, at) = (instant_text(from), instant_text(until), instant_text(at));
            return Err(format!("key {kid} of {} counts from {from} until {until}, not at {at}", self.owner));
        }
        if key.revoked || tables.current.key(&kid).is_some_and(|(_, key)| key.revoked) {
            return Err(format!("key {kid} of {} is revoked", self.owner));
        }
        let (from, until) = (instant_text(from), instant_text(until));
        Ok(format!("key {kid} belongs to {}, counts from {from} until {until}, is not revoked", self.owner))
    }
}

fn required(table: &Table, owner: &str) -> Vec<Algorithm> {
    let entry = table.endpoint(owner).and_then(|index| table.endpoint_entry(index));
    entry.map(|entry| entry.required_algorithms.clone()).unwrap_or_default()
}

fn same_message(receipt: &Receipt, statement: &[u8], message: &MessageRef<'_>) -> Result<String, String> {
    let leaf = leaf_hash(statement);
    if leaf != receipt.subject {
        return Err(format!("the receipt is about leaf {}, the message in the file has {leaf}", receipt.subject));
    }
    if message.id != receipt.message {
        return Err(format!("the receipt is about message {}, the file holds {}", receipt.message, message.id));
    }
    if message.sender != receipt.addressee.as_str() {
        return Err(format!("the receipt is addressed to {}, the sender is {}", receipt.addressee, message.sender));
    }
    Ok(format!("the receipt is about this message: leaf {leaf}, sender {}", message.sender))
}

/// Whether the issuer may state this outcome of this message.
fn issuer_check(receipt: &Receipt, message: Option<&MessageRef<'_>>, tables: &Tables<'_>) -> (Option<Decision>, Check) {
    let name = "issuer";
    let (issuer, outcome) = (&receipt.issuer, receipt.outcome.name());
    match issuer {
        Party::Endpoint(_) if !receipt.outcome.is_by_recipient() => {
            (None, Check::of(name, Err(format!("{issuer} is an endpoint, and only routers state {outcome}"))))
        }
        Party::Router(_) if receipt.outcome.is_by_recipient() => {
            (None, Check::of(name, Err(format!("{issuer} is a router, and only recipients state {outcome}"))))
        }
        Party::Router(router) => (None, Check::of(name, router_counts(router.as_str(), tables))),
        Party::Endpoint(endpoint) => match message {
            None => {
                let why = "whether it was responsible cannot be told: the file does not hold the message".to_owned();
                (None, Check::of(name, Err(why)))
            }
            Some(message) => recipient(endpoint.as_str(), receipt, message, tables),
        },
    }
}

fn router_counts(router: &str, tables: &Tables<'_>) -> Result<String, String> {
    if tables.at_receipt.router(router).is_none() {
        return Err(format!("{router} is no router of the directory"));
    }
    match tables.current.router(router) {
        None => Err(format!("{router} is no router of the directory in force now")),
        Some(entry) if entry.lost => Err(format!("{router} is marked lost: its receipts no longer count")),
        Some(_) => Ok(format!("{router} is a router of the directory and not marked lost")),
    }
}

fn recipient(
    issuer: &str,
    receipt: &Receipt,
    message: &MessageRef<'_>,
    tables: &Tables<'_>,
) -> (Option<Decision>, Check) {
    let name = "issuer";
    if let Some(recipient) = message.recipient {
        let result = if recipient == issuer {
            Ok(format!("{issuer} is the recipient the sender named"))
        } else {
            Err(format!("the sender named {recipient} as recipient, not {issuer}"))
        };
        return (None, Check::of(name, result));
    }
    for (table, at) in [(tables.at_receipt, receipt.time), (tables.at_sending, message.created)] {
        let index = table.endpoint(issuer);
        let decision = table.explain(message.service, message.jurisdiction).decision;
        let named = index.is_some_and(|index| table.responsible(message.service, message.jurisdiction, index));
        if let Some(decision) = decision.filter(|_| named) {
            let found = format!(
                "{issuer} was responsible for {} in {} at {} by rule {} of zone {} ({} × {})",
                message.service,
                message.jurisdiction,
                instant_text(at),
                decision.rule,
                decision.zone,
                decision.service_prefix,
                decision.jurisdiction_prefix
            );
            return (Some(decision), Check::of(name, Ok(found)));
        }
    }
    let why = format!("{issuer} was not responsible for {} in {}", message.service, message.jurisdiction);
    let others = tables.at_receipt.explain(message.service, message.jurisdiction).decision;
    let who =
        others.map_or_else(|| "nobody was".to_owned(), |decision| format!("{} was", decision.endpoints.join(", ")));
    (None, Check::of(name, Err(format!("{why}; {who}"))))
}

fn times(receipt: &Receipt, message: Option<&MessageRef<'_>>, now: UnixMs) -> Result<String, String> {
    let issued = instant_text(receipt.time);
    if now.plus_ms(SKEW_MS) < receipt.time {
        return Err(format!("issued {issued}, which is ahead of this machine's clock ({})", instant_text(now)));
    }
    match message {
        Some(message) if receipt.time.plus_ms(SKEW_MS) < message.created => {
            Err(format!("issued {issued}, before the message was created ({})", instant_text(message.created)))
        }
        Some(message) => Ok(format!("message created {}, receipt issued {issued}", instant_text(message.created))),
        None => Ok(format!("receipt issued {issued}")),
    }
}

#[cfg(test)]
mod tests;
