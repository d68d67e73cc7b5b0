//! Which settlements wait to be written on this link? Refusals by code, receipts by issuer.
//!
//! Bounded by the credit granted: each waiting settlement was a label. Receipts of one issuer that wait together are
//! signed together, up to 256 in one tree (WIRE 8.2): nothing waits for more of them to come.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use kernpost_codecs::receipts::ReceiptsBuilder;
use kernpost_codecs::receipts::Subject;
use kernpost_codecs::settlement::{Detail, Label, Settle, SettlementFrame};
use kernpost_codecs::{Class, Code, EndpointId, UnixMs};
use kernpost_routing_table::Table;

use crate::core::inbox::DueReceipt;
use crate::core::ledger::Ledger;
use crate::core::signer::Signer;
use crate::core::versions::Versions;

/// Most ranges in one SETTLE frame, and so most labels that surely fit it.
const MOST: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Settlements {
    refusals: BTreeMap<(u64, Option<EndpointId>), (Detail, Vec<Label>)>,
    receipts: BTreeMap<usize, VecDeque<DueReceipt>>,
    credits: Vec<(Class, u64, u64)>,
    /// The latest offset of each large payload being received.
    wants: BTreeMap<Label, u64>,
}

/// With what receipts are signed.
pub(crate) struct Signing<'a> {
    pub signers: &'a [Signer],
    pub versions: &'a Versions,
    pub time: UnixMs,
}

impl<'a> Signing<'a> {
    /// Under which table a receipt counts (WIRE 10.7): the newest at hand in which its issuer is responsible. Its route may have moved
    /// since the message came.
    fn table_for(&self, signer: &Signer, due: &DueReceipt) -> Option<&'a Table> {
        let current = self.versions.current().map(Arc::as_ref);
        let Some((service, jurisdiction)) = due.route else { return current };
        let counts = |table: &&Table| {
            let issuer = table.endpoint(signer.id().as_str());
            issuer.is_some_and(|issuer| table.responsible(service, jurisdiction, issuer))
        };
        self.versions.newest_first().map(Arc::as_ref).find(counts).or(current)
    }
}

impl Settlements {
    pub fn refuse(&mut self, label: Label, code: Code, detail: Detail) {
        let key = (code.as_u64(), detail.endpoint.clone());
        self.refusals.entry(key).or_insert_with(|| (detail, Vec::new())).1.push(label);
    }

    pub fn receipt(&mut self, receipt: DueReceipt) {
        self.receipts.entry(receipt.issuer).or_default().push_back(receipt);
    }

    pub fn want(&mut self, label: Label, offset: u64) {
        self.wants.insert(label, offset);
    }

    pub fn credit(&mut self, class: Class, entries: u64, bytes: u64) {
        self.credits.push((class, entries, bytes));
    }

    pub fn is_empty(&self) -> bool {
        self.refusals.is_empty() && self.receipts.is_empty() && self.credits.is_empty() && self.wants.is_empty()
    }

    /// Writes everything that waits as whole frames; receipts that cannot be signed stay unsettled and are counted.
    pub fn write(&mut self, signing: &Signing<'_>, ledger: &mut Ledger, out: &mut BytesMut) {
        for (issuer, mut due) in std::mem::take(&mut self.receipts) {
            let Some(signer) = signing.signers.get(issuer) else { continue };
            while !due.is_empty() {
                write_receipts(signer, signing, &mut due, ledger, out);
            }
        }
        for (label, offset) in std::mem::take(&mut self.wants) {
            SettlementFrame::Want { label, offset }.encode(out);
        }
        for ((code, _), (detail, labels)) in std::mem::take(&mut self.refusals) {
            for labels in labels.chunks(MOST) {
                SettlementFrame::Settle(Settle::new(Code(code), detail.clone(), labels.to_vec())).encode(out);
            }
        }
        for (class, entries, bytes) in self.credits.drain(..) {
            SettlementFrame::Credit { class, entries, bytes }.encode(out);
        }
    }
}

/// One frame with as many of the due receipts as it holds and one table covers, at least one.
fn write_receipts(
    signer: &Signer,
    signing: &Signing<'_>,
    due: &mut VecDeque<DueReceipt>,
    ledger: &mut Ledger,
    out: &mut BytesMut,
) {
    let mut builder = ReceiptsBuilder::new();
    let table = due.front().and_then(|first| signing.table_for(signer, first));
    let version = table.map(Table::version);
    while let Some(one) = due.front() {
        if signing.table_for(signer, one).map(Table::version) != version {
            break;
        }
        let subject = Subject { addressee: &one.addressee, message: one.message, leaf: one.leaf };
        if !builder.push(subject, one.outcome, one.code, one.problem.clone(), one.label) && !builder.is_empty() {
            break;
        }
        due.pop_front();
    }
    let count = builder.len() as u64;
    let keys = signer.current(table, signing.time);
    let version = version.unwrap_or_else(|| signing.versions.current_version());
    match builder.sign(signer.id().clone().into(), version, signing.time, &keys) {
        Ok(frame) => {
            SettlementFrame::Receipts(frame).encode(out);
            ledger.receipts_issued += count;
            ledger.receipt_frames += 1;
        }
        Err(fault) => {
            ledger.build_faults += 1;
            tracing::error!(endpoint = %signer.id(), %fault, "receipts could not be signed; their labels pass their deadline");
        }
    }
}
