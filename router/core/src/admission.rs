//! May this entry enter at all? Budgets first, then what can be said of a statement without any cryptography.
//!
//! Order of the checks: budgets (entries, bytes) → hop header → statement → class → sender → attachment → key → time. The
//! first that fails names the refusal (WIRE 8.4). Nothing here verifies a signature; see [`crate::verification`].

use kernpost_codecs::part::{Entry, LONGEST_INLINE_PAYLOAD};
use kernpost_codecs::{Class, Code, MessageRef, SKEW_MS, StatementError};
use kernpost_routing_table::model::Budgets;
use kernpost_routing_table::{CompiledKey, EndpointIndex, KeyOwner, Table};

use crate::collections::Set;
use crate::config::LinkBudget;
use crate::now::Now;

/// A token bucket holding at most one second's worth.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_s: u64,
    micro_tokens: u64,
    last_us: u64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_s: u64, now: Now) -> Self {
        Self { per_s, micro_tokens: per_s.saturating_mul(1_000_000), last_us: now.mono_us }
    }

    /// Takes `n` tokens, or says after how many milliseconds it is worth trying again.
    pub fn take(&mut self, now: Now, n: u64) -> Result<(), u64> {
        let elapsed = now.mono_us.saturating_sub(self.last_us);
        self.last_us = now.mono_us.max(self.last_us);
        let full = self.per_s.saturating_mul(1_000_000);
        self.micro_tokens = self.micro_tokens.saturating_add(elapsed.saturating_mul(self.per_s)).min(full);
        let cost = n.saturating_mul(1_000_000);
        if cost <= self.micro_tokens {
            self.micro_tokens -= cost;
            return Ok(());
        }
        let missing = cost.min(full) - self.micro_tokens.min(full);
        Err(1 + missing / self.per_s.max(1) / 1_000)
    }
}

/// The three budgets of one link.
#[derive(Debug, Clone)]
pub struct LinkBuckets {
    entries: Bucket,
    bytes: Bucket,
    signatures: Bucket,
}

impl LinkBuckets {
    /// Full buckets.
    pub fn new(budget: LinkBudget, now: Now) -> Self {
        Self {
            entries: Bucket::new(budget.entries_per_s, now),
            bytes: Bucket::new(budget.bytes_per_s, now),
            signatures: Bucket::new(budget.signatures_per_s, now),
        }
    }

    /// Charges a part; `Err` is the retry-after in ms.
    pub fn charge_part(&mut self, now: Now, entries: usize, bytes: usize) -> Result<(), u64> {
        self.entries.take(now, entries as u64)?;
        self.bytes.take(now, bytes as u64)
    }

    /// Charges bytes that are in no frame; `Err` is the time to wait in ms.
    pub fn charge_bytes(&mut self, now: Now, bytes: u64) -> Result<(), u64> {
        self.bytes.take(now, bytes.min(self.bytes.per_s))
    }

    /// Charges signature checks before they are made; `Err` is the retry-after in ms.
    pub fn charge_signatures(&mut self, now: Now, checks: usize) -> Result<(), u64> {
        self.signatures.take(now, checks as u64)
    }
}

/// The budgets the directory states for an endpoint, with the link's for what it leaves open; `None`: it states nothing.
pub fn sender_budget(stated: &Budgets, link: LinkBudget) -> Option<LinkBudget> {
    let Budgets { entries_per_s, bytes_per_s, signatures_per_s } = *stated;
    if entries_per_s.is_none() && bytes_per_s.is_none() && signatures_per_s.is_none() {
        return None;
    }
    Some(LinkBudget {
        entries_per_s: entries_per_s.unwrap_or(link.entries_per_s),
        bytes_per_s: bytes_per_s.unwrap_or(link.bytes_per_s),
        signatures_per_s: signatures_per_s.unwrap_or(link.signatures_per_s),
    })
}

/// An admitted entry.
#[derive(Debug, Clone)]
pub struct Admitted<'p> {
    /// Position in the part.
    pub position: usize,
    /// The sender.
    pub sender: EndpointIndex,
    /// Its statement, parsed once for all that follows.
    pub message: MessageRef<'p>,
}

/// A sender that entries of a part name, and what was found of it.
#[derive(Debug)]
pub struct KnownSender<'p> {
    id: &'p str,
    judged: Result<EndpointIndex, Code>,
}

/// A key that signed the part's root, as the current table sees it.
pub type Signer<'t> = Option<(KeyOwner, &'t CompiledKey)>;

/// The circumstances under which entries of one part are admitted.
pub struct Gate<'a> {
    /// The snapshot this part is judged by.
    pub table: &'a Table,
    /// When.
    pub now: Now,
    /// The class of the lane.
    pub class: Class,
    /// Endpoints attached on this link; `None` on a link between routers.
    pub attached: Option<&'a Set<EndpointIndex>>,
    /// The keys that signed the root.
    pub signers: &'a [Signer<'a>],
    /// See [`crate::EngineConfig::hop_limit`].
    pub hop_limit: u8,
    /// Whether `now` can be trusted to say that something has expired.
    pub clock_synchronised: bool,
}

impl Gate<'_> {
    /// Admits an entry, or names the refusal. `message` is its statement, parsed; `known` remembers the sender of the entry
    /// before, because the entries of a part nearly always share theirs.
    pub fn admit<'p>(
        &self,
        position: usize,
        entry: &Entry,
        message: Result<MessageRef<'p>, StatementError>,
        known: &mut Option<KnownSender<'p>>,
    ) -> Result<Admitted<'p>, Code> {
        self.check_hop(entry)?;
        let message = message.map_err(|error| error.code())?;
        if message.class != self.class {
            return Err(Code::BAD_STATEMENT);
        }
        let large = message.payload_len > LONGEST_INLINE_PAYLOAD as u64;
        match (entry.hop.detached, large) {
            (true, false) => return Err(Code::BAD_STATEMENT),
            (false, true) if !entry.hop.ask => return Err(Code::OVERSIZED),
            _ => {}
        }
        if !entry.hop.ask && !entry.hop.detached && message.payload_len != entry.payload.len() as u64 {
            return Err(Code::DIGEST_MISMATCH);
        }
        let sender = match known {
            Some(known) if known.id == message.sender => known.judged?,
            _ => {
                let judged = self.judge_sender(message.sender);
                *known = Some(KnownSender { id: message.sender, judged });
                judged?
            }
        };
        if !entry.hop.ask {
            self.check_time(&message)?;
        }
        Ok(Admitted { position, sender, message })
    }

    /// Is the sender known, attached here, and the owner of the keys that signed?
    fn judge_sender(&self, sender: &str) -> Result<EndpointIndex, Code> {
        let sender = self.table.endpoint(sender).ok_or(Code::SENDER_UNKNOWN)?;
        if self.attached.is_some_and(|attached| !attached.contains(&sender)) {
            return Err(Code::SENDER_NOT_ATTACHED);
        }
        self.check_keys(sender)?;
        Ok(sender)
    }

    /// An endpoint sends no hops and no recipient; a router always names the recipient (WIRE 6.3).
    fn check_hop(&self, entry: &Entry) -> Result<(), Code> {
        let from_endpoint = self.attached.is_some();
        if entry.hop.hops > self.hop_limit {
            return Err(Code::HOP_LIMIT);
        }
        if from_endpoint == (entry.hop.recipient.is_some() || entry.hop.hops > 0) {
            return Err(Code::BAD_STATEMENT);
        }
        Ok(())
    }

    /// Every key that signed must be the sender's, and every algorithm its entry requires must be among them.
    fn check_keys(&self, sender: EndpointIndex) -> Result<(), Code> {
        for signer in self.signers {
            let Some((KeyOwner::Endpoint(owner), key)) = signer else {
                return Err(Code::KEY_NOT_OWNED);
            };
            if *owner != sender {
                return Err(Code::KEY_NOT_OWNED);
            }
            self.check_validity(key)?;
        }
        let Some(entry) = self.table.endpoint_entry(sender) else {
            return Err(Code::SENDER_UNKNOWN);
        };
        let signed = |algorithm| self.signers.iter().flatten().any(|(_, key)| key.key.algorithm() == algorithm);
        if entry.required_algorithms.iter().any(|algorithm| !signed(*algorithm)) {
            return Err(Code::BAD_SIGNATURE);
        }
        Ok(())
    }

    /// Ingress from an endpoint asks for sign-until, later hops for verify-until; revocation ends both.
    fn check_validity(&self, key: &CompiledKey) -> Result<(), Code> {
        let wall = self.now.wall;
        let until = if self.attached.is_some() { key.sign_until } else { key.verify_until };
        if key.revoked {
            Err(Code::KEY_REVOKED)
        } else if wall >= until || wall.plus_ms(SKEW_MS) < key.not_before {
            Err(Code::KEY_EXPIRED)
        } else {
            Ok(())
        }
    }

    fn check_time(&self, message: &MessageRef<'_>) -> Result<(), Code> {
        if message.created > self.now.wall.plus_ms(SKEW_MS) {
            Err(Code::NOT_YET_VALID)
        } else if self.clock_synchronised && self.now.wall >= message.expires() {
            Err(Code::EXPIRED)
        } else {
            Ok(())
        }
    }
}

/// May this sender send this? A grant that covers the route key, or the right to reply.
pub fn authorise(table: &Table, sender: EndpointIndex, message: &MessageRef<'_>) -> Result<(), Code> {
    match table.grant(sender, message.service, message.jurisdiction) {
        Some(highest) if message.assurance.is_none_or(|asserted| highest.is_some_and(|h| asserted <= h)) => Ok(()),
        Some(_) => Err(Code::ASSURANCE_NOT_GRANTED),
        None if message.in_reply_to.is_some() && message.recipient.is_some() && table.may_reply(sender) => {
            if message.assurance.is_some() { Err(Code::ASSURANCE_NOT_GRANTED) } else { Ok(()) }
        }
        None => Err(Code::GRANT_MISSING),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use kernpost_codecs::UnixMs;

    use super::*;

    fn at(mono_us: u64) -> Now {
        Now { mono_us, wall: UnixMs(0) }
    }

    #[test]
    fn a_bucket_allows_one_second_at_once_and_then_refills_with_time() {
        let mut bucket = Bucket::new(100, at(0));
        assert_eq!(bucket.take(at(0), 100), Ok(()));
        assert!(bucket.take(at(0), 1).is_err());
        assert_eq!(bucket.take(at(10_000), 1), Ok(()));
        assert!(bucket.take(at(10_000), 1).is_err());
    }

    #[test]
    fn a_refused_take_says_when_to_come_back_and_is_right() {
        let mut bucket = Bucket::new(1_000, at(0));
        assert_eq!(bucket.take(at(0), 1_000), Ok(()));
        let retry_after_ms = bucket.take(at(0), 500).unwrap_err();
        assert!((500..=502).contains(&retry_after_ms), "{retry_after_ms}");
        assert_eq!(bucket.take(at(retry_after_ms * 1_000), 500), Ok(()));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let mut bucket = Bucket::new(10, at(1_000_000));
        assert_eq!(bucket.take(at(1_000_000), 10), Ok(()));
        assert!(bucket.take(at(0), 1).is_err());
    }
}
