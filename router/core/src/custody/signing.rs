//! With which key does a router sign its receipts, and how do they look? (WIRE 4.3, outcomes 3 to 7)

use kernpost_codecs::part::{BundleBuilder, HopHeader, Part};
use kernpost_codecs::receipts::{ReceiptsBuilder, ReceiptsFrame, Subject};
use kernpost_codecs::settlement::Label;
use kernpost_codecs::{Code, KeyId, Outcome, Party, Receipt, RouterId, SigningKey};
use kernpost_routing_table::Table;

use super::spool::HeadEntry;
use crate::now::Now;

/// The signing keys of this router.
#[derive(Debug)]
pub struct RouterSigner {
    id: RouterId,
    keys: Vec<(KeyId, SigningKey)>,
}

impl RouterSigner {
    /// A router with its keys, the preferred first.
    pub fn new(id: RouterId, keys: Vec<SigningKey>) -> Self {
        Self { id, keys: keys.into_iter().map(|key| (key.public().id(), key)).collect() }
    }

    /// The key to sign with now; `None` when the directory lists none of ours for this instant: custody is then not taken.
    pub fn current(&self, table: &Table, now: Now) -> Option<&SigningKey> {
        let entry = table.router(self.id.as_str()).filter(|entry| !entry.lost)?;
        let usable = |id: &KeyId| entry.keys.iter().any(|key| key.id == *id && key.signs_at(now.wall));
        self.keys.iter().find(|(id, _)| usable(id)).map(|(_, key)| key)
    }

    /// Receipts *custody* for these entries, under the labels they came with; several frames when there are many.
    pub(super) fn custody(
        &self,
        table: &Table,
        now: Now,
        entries: &[(HeadEntry, Label)],
    ) -> Option<Vec<(ReceiptsFrame, Vec<Label>)>> {
        let key = self.current(table, now)?;
        let mut frames = Vec::new();
        let (mut builder, mut labels) = (ReceiptsBuilder::new(), Vec::new());
        for (entry, label) in entries {
            let subject = || Subject { addressee: &entry.sender, message: entry.message, leaf: entry.leaf };
            if !builder.push(subject(), Outcome::Custody, 0, None, *label) {
                frames.push((self.close(builder, table, now, key)?, std::mem::take(&mut labels)));
                builder = ReceiptsBuilder::new();
                // Fits: the frame is empty.
                let _ = builder.push(subject(), Outcome::Custody, 0, None, *label);
            }
            labels.push(*label);
        }
        if !builder.is_empty() {
            frames.push((self.close(builder, table, now, key)?, labels));
        }
        Some(frames)
    }

    fn close(&self, builder: ReceiptsBuilder, table: &Table, now: Now, key: &SigningKey) -> Option<ReceiptsFrame> {
        builder.sign(Party::Router(self.id.clone()), table.version(), now.wall, &[key]).ok()
    }

    /// A part of receipts that say how custody of these entries ended; its indices are 0, 1, … in their order.
    pub(super) fn ended(
        &self,
        table: &Table,
        now: Now,
        entries: &[(HeadEntry, Outcome, Code, Option<String>)],
    ) -> Option<Part> {
        let key = self.current(table, now)?;
        let mut builder = BundleBuilder::new();
        for (entry, outcome, code, problem) in entries {
            let receipt = Receipt {
                message: entry.message,
                issuer: Party::Router(self.id.clone()),
                addressee: entry.sender.clone(),
                subject: entry.leaf,
                outcome: *outcome,
                code: code.as_u64(),
                problem: problem.clone(),
                directory_version: table.version(),
                time: now.wall,
            };
            builder.push(receipt.encode().into(), bytes::Bytes::new(), HopHeader::default()).ok()?;
        }
        builder.sign(&[key]).ok()
    }
}
