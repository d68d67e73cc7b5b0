//! Is the root signature good? Once per part, with a bounded memory of roots already checked.
//!
//! The cache is keyed by the hash of kid, protected header, root and signature, and filled only after success. Whether the
//! key may still be used is asked of the current table every time, before the cache: a revoked key finds nothing here.

use std::collections::VecDeque;

use kernpost_codecs::part::Part;
use kernpost_codecs::{Code, Digest};
use smallvec::SmallVec;

use crate::admission::{LinkBuckets, Signer};
use crate::collections::Set;
use crate::now::Now;
use crate::stats::EngineStats;

/// Checks root signatures and remembers the good ones.
#[derive(Debug)]
pub struct Verifier {
    checked: Set<Digest>,
    order: VecDeque<Digest>,
    capacity: usize,
}

/// Why a part was not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotVerified {
    /// A signature is missing, foreign or wrong: `bad-signature` for the whole part.
    BadSignature,
    /// The link's budget of signature checks is used up for now.
    OverBudget {
        /// When to try again.
        retry_after_ms: u64,
    },
}

impl NotVerified {
    /// The refusal.
    pub fn code(self) -> Code {
        match self {
            Self::BadSignature => Code::BAD_SIGNATURE,
            Self::OverBudget { .. } => Code::OVER_BUDGET,
        }
    }
}

impl Verifier {
    /// An empty memory of at most `capacity` roots.
    pub fn new(capacity: usize) -> Self {
        Self { checked: Set::default(), order: VecDeque::new(), capacity }
    }

    /// Verifies every signature of the part's root with the signers the table gave: all must hold. Each check costs one of
    /// the link's budget; the budget for all of them is charged before the first is made, so that none is made in vain.
    pub fn verify(
        &mut self,
        now: Now,
        part: &Part,
        signers: &[Signer<'_>],
        buckets: &mut LinkBuckets,
        stats: &mut EngineStats,
    ) -> Result<(), NotVerified> {
        let root = part.root();
        let mut due = SmallVec::<[_; 2]>::new();
        for (signature, signer) in part.signatures().iter().zip(signers) {
            let Some((_, key)) = signer else {
                return Err(NotVerified::BadSignature);
            };
            let name = signature.fingerprint(&root);
            if self.checked.contains(&name) {
                stats.root_cache_hits += 1;
            } else {
                due.push((signature, *key, name));
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        buckets
            .charge_signatures(now, due.len())
            .map_err(|retry_after_ms| NotVerified::OverBudget { retry_after_ms })?;
        for (signature, key, name) in due {
            stats.signature_checks += 1;
            if signature.verify(&key.key, &root).is_err() {
                stats.signature_failures += 1;
                return Err(NotVerified::BadSignature);
            }
            self.remember(name);
        }
        Ok(())
    }

    fn remember(&mut self, name: Digest) {
        if self.capacity == 0 || !self.checked.insert(name) {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.checked.remove(&oldest);
        }
    }
}
