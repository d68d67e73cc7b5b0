//! Is what routers sign true?
//!
//! *Custody* is looked at when it is signed and again when it arrives: its router has the message on its disk, waiting or ended.
//! *Damaged* comes from a disk that was damaged, *returned* from a router that a table told to, *discarded* from nobody here. That
//! the receipts of recipients are in their journals, and that *expired* is not early, is judged with the outcomes (`checks.rs`).

use bytes::Bytes;
use kernpost_codecs::settlement::SettlementFrame;
use kernpost_codecs::{FrameDecoder, LaneKind, MessageId, Outcome};
use kernpost_endpoint::core::{FinalOutcome, SendOutcome};

use super::{PORTAL, Simulation};
use crate::mishap::Mishap;
use crate::network::{Change, Connection, Stream};

impl Simulation {
    /// A router sends settlements: every *custody* it signs among them is true now.
    pub(super) fn signed_now(
        &mut self,
        at: usize,
        connection: Connection,
        stream: Stream,
        bytes: &Bytes,
    ) -> Result<(), String> {
        if stream != Stream::Lane(LaneKind::Settlement) {
            return Ok(());
        }
        let mut decoder = FrameDecoder::new();
        decoder.push(bytes.clone());
        while let Ok(Some(frame)) = decoder.next() {
            let Ok(Some(SettlementFrame::Receipts(receipts))) = SettlementFrame::decode(frame.kind, frame.body) else {
                continue;
            };
            let ours = receipts.issuer.to_string() == self.router_ids[at].as_str();
            let custody = receipts.entries.iter().filter(|receipt| ours && receipt.outcome == Outcome::Custody);
            let labels: Vec<_> = custody.map(|receipt| receipt.label).collect();
            for label in labels {
                let key = (connection, label.class, label.sequence, label.index);
                let Some(id) = self.labels.get(&key).copied() else {
                    return Err(format!("router {at} signed custody under {label:?}, which names no message"));
                };
                self.network.mishaps.note(Mishap::CustodyChecked);
                self.facts.note(id, self.network.now_us, format!("router {at} signs custody"));
                self.facts.in_custody.insert(id, at);
                self.is_held(at, id)?;
            }
        }
        Ok(())
    }

    fn is_held(&mut self, at: usize, id: MessageId) -> Result<(), String> {
        let sender = self.endpoints[PORTAL].id.clone();
        let held = self.routers[at].as_mut().is_none_or(|router| router.custody.holds(&sender, id));
        if held || self.damaged_disks[at] {
            return Ok(());
        }
        let story = self.facts.story(id);
        Err(format!("router {at} signed custody of {id} and does not hold it\nits story:\n{story}"))
    }

    /// The sender learned of a stage or an outcome.
    pub(super) fn is_true(&mut self, outcome: &SendOutcome) -> Result<(), String> {
        let issuer = outcome.issuer.as_ref().map(ToString::to_string).unwrap_or_default();
        let router = self.router_ids.iter().position(|id| id.as_str() == issuer);
        let by_router = || router.ok_or_else(|| format!("{} signed by {issuer}, no router", outcome.outcome.name()));
        match outcome.outcome {
            FinalOutcome::Custody => {
                self.facts.custodies += 1;
                self.is_held(by_router()?, outcome.id)
            }
            FinalOutcome::Damaged => {
                let at = by_router()?;
                self.network.mishaps.note(Mishap::Damaged);
                self.facts.told_damaged.insert(outcome.id);
                if self.damaged_disks[at] { Ok(()) } else { Err(format!("router {at} calls {} damaged", outcome.id)) }
            }
            FinalOutcome::Returned => {
                let at = by_router()?;
                self.network.mishaps.note(Mishap::Returned);
                let told = self.was_told_to_return(outcome.id);
                if told { Ok(()) } else { Err(format!("router {at} returned {} though it was allowed", outcome.id)) }
            }
            FinalOutcome::Discarded => Err(format!("{} was discarded, and nobody here does that", outcome.id)),
            FinalOutcome::Expired => by_router().map(drop),
            _ => Ok(()),
        }
    }

    /// Some table since it was sent had no way for it.
    fn was_told_to_return(&self, id: MessageId) -> bool {
        let Some(sent) = self.sent.get(&id) else { return false };
        let ends_it = |change: &Change| match change {
            Change::DropGrant | Change::RevokeKey => true,
            Change::DropRoute => !sent.to_city,
            Change::MoveRecipient => false,
        };
        let since = self.in_force.iter().filter(|(generation, _)| *generation >= sent.generation);
        since.flat_map(|(_, changes)| changes).any(ends_it)
    }
}
