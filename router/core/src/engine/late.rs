//! Late receipts on their way to the sender of the message (WIRE 10.2): entries whose statements are receipts, in a part signed by
//! their issuer, from another router. Routed by presence alone.

use kernpost_codecs::part::{HopHeader, Part};
use kernpost_codecs::{Code, Entry, Party, Receipt, StatementKind};
use kernpost_routing_table::{KeyOwner, Table};

use super::Engine;
use super::arrival::{Judged, over_budget};
use crate::admission::Signer;
use crate::crossing::Move;
use crate::link::LinkId;
use crate::now::Now;
use crate::verification::NotVerified;

/// Whether a part carries receipts: as its first entry does.
pub(super) fn carries_receipts(part: &Part) -> bool {
    let first = part.entries().first();
    first.is_some_and(|entry| StatementKind::of(&entry.statement) == Some(StatementKind::Receipt))
}

impl Engine {
    /// Splits the receipts of a part into those that have a way on and those that are refused. Budgets of entries and bytes were
    /// charged before.
    pub(super) fn judge_late(
        &mut self,
        now: Now,
        link: LinkId,
        table: &Table,
        signers: &[Signer<'_>],
        part: &Part,
    ) -> Judged {
        let mut judged = Judged::default();
        let mut admitted = Vec::new();
        for (position, entry) in part.entries().iter().enumerate() {
            match admit(now, table, self.config.hop_limit, signers, entry) {
                Ok(receipt) => admitted.push((position, receipt)),
                Err(code) => judged.refuse(position, code.into()),
            }
        }
        if admitted.is_empty() {
            return judged;
        }
        let Some(state) = self.links.get_mut(&link) else { return judged };
        let verified = self.verifier.verify(now, part, signers, &mut state.buckets, &mut self.stats);
        let routing = self.routing(now, table);
        for (position, receipt) in admitted {
            match &verified {
                Err(NotVerified::OverBudget { retry_after_ms }) => {
                    judged.refuse(position, over_budget(*retry_after_ms))
                }
                Err(NotVerified::BadSignature) => judged.refuse(position, Code::BAD_SIGNATURE.into()),
                Ok(()) => match routing.reach(&receipt.addressee, 0) {
                    Ok(way) => judged.extend(way, late_move(position, part, receipt)),
                    Err(no_way) => judged.refuse(position, no_way),
                },
            }
        }
        judged
    }
}

/// Form, addressee, hops, and that every key of the root is the issuer's and still verifies.
fn admit(now: Now, table: &Table, hop_limit: u8, signers: &[Signer<'_>], entry: &Entry) -> Result<Receipt, Code> {
    if entry.hop.hops > hop_limit {
        return Err(Code::HOP_LIMIT);
    }
    let receipt = Receipt::parse(&entry.statement).map_err(|error| error.code())?;
    let named = entry.hop.recipient.as_ref() == Some(&receipt.addressee);
    if !named || entry.hop.is_bare() || !entry.payload.is_empty() {
        return Err(Code::BAD_STATEMENT);
    }
    for signer in signers {
        let (owner, key) = signer.ok_or(Code::KEY_NOT_OWNED)?;
        if !owns(table, owner, &receipt.issuer) {
            return Err(Code::KEY_NOT_OWNED);
        }
        if key.revoked {
            return Err(Code::KEY_REVOKED);
        }
        if now.wall >= key.verify_until {
            return Err(Code::KEY_EXPIRED);
        }
    }
    Ok(receipt)
}

fn owns(table: &Table, owner: KeyOwner, issuer: &Party) -> bool {
    match (owner, issuer) {
        (KeyOwner::Endpoint(index), Party::Endpoint(id)) => table.endpoint(id.as_str()) == Some(index),
        (KeyOwner::Router(index), Party::Router(id)) => table.router_entry(index).is_some_and(|entry| entry.id == *id),
        _ => false,
    }
}

fn late_move(position: usize, part: &Part, receipt: Receipt) -> Option<Move> {
    let entry = part.entries().get(position)?;
    let hop = HopHeader {
        hops: entry.hop.hops.saturating_add(1),
        recipient: Some(receipt.addressee.clone()),
        redelivered: entry.hop.redelivered,
        ..HopHeader::default()
    };
    Some(Move {
        position,
        hop,
        recipient: receipt.addressee.clone(),
        sender: receipt.addressee,
        message: receipt.message,
        cost: entry.credit(),
        payload_len: 0,
        custody: false,
        late: true,
    })
}
