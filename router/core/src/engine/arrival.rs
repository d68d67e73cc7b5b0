//! A BUNDLE frame arrives: decode, admit, verify, authorise, route. What passes is grouped by the link it leaves on.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::part::{HopHeader, Part, PartError};
use kernpost_codecs::root::RootSignature;
use kernpost_codecs::settlement::{Detail, Label};
use kernpost_codecs::{Ars, Class, CloseCode, Code, Digest, EndpointId, FrameFault, KeyId, MessageRef, ServiceKey};
use kernpost_routing_table::{EndpointIndex, Route, Table};
use smallvec::SmallVec;

use super::Engine;
use super::lane_state::LinkState;
use super::late::carries_receipts;
use crate::admission::{Admitted, Gate, LinkBuckets, Signer, authorise, sender_budget};
use crate::collections::Set;
use crate::config::LinkBudget;
use crate::crossing::{Move, Onward};
use crate::event::PresenceEvent;
use crate::link::LinkId;
use crate::mutant::{self, Mutant};
use crate::now::Now;
use crate::routing::{NoWay, Way};
use crate::verification::NotVerified;

/// A refusal of one entry of the part at hand.
type Refused = (usize, NoWay);

/// What becomes of the entries of a part: those that go on, by the way they take, and those that are refused.
#[derive(Default)]
pub(super) struct Judged {
    groups: Vec<(Way, Vec<Move>)>,
    refused: Vec<Refused>,
}

impl Judged {
    fn all_refused(part: &Part, no_way: &NoWay) -> Self {
        let refused = (0..part.entries().len()).map(|position| (position, no_way.clone())).collect();
        Self { groups: Vec::new(), refused }
    }

    fn refuse_admitted(mut self, admitted: &[Admitted<'_>], no_way: &NoWay) -> Self {
        self.refused.extend(admitted.iter().map(|entry| (entry.position, no_way.clone())));
        self
    }

    pub fn refuse(&mut self, position: usize, no_way: NoWay) {
        self.refused.push((position, no_way));
    }

    pub fn extend(&mut self, way: Way, step: Option<Move>) {
        if let Some(step) = step {
            self.go(way, step);
        }
    }

    /// Entries lie sorted by recipient, so the way of the entry before is tried first.
    fn go(&mut self, way: Way, step: Move) {
        match self.groups.iter_mut().rev().find(|(held, _)| *held == way) {
            Some((_, moves)) => moves.push(step),
            None => self.groups.push((way, vec![step])),
        }
    }
}

impl Engine {
    /// Carries WIRE 6: decode, admit, verify, authorise, route.
    pub(super) fn on_bundle(&mut self, now: Now, link: LinkId, class: Class, body: Bytes) -> Result<(), FrameFault> {
        let frame_bytes = body.len();
        let part = match Part::decode(body) {
            Ok(part) => Arc::new(part),
            Err(PartError::Frame(fault)) => return Err(fault),
            Err(PartError::Proof { entries, .. }) => {
                return self.refuse_unproven(now, link, class, frame_bytes, &entries);
            }
            Err(other) => return Err(FrameFault::malformed("WIRE 6", other.to_string())),
        };
        let sequence = self.open_labels(link, class, part.entries().iter().map(|e| (e.index, e.credit())))?;
        let judged = self.judge(now, link, class, frame_bytes, &part);
        for (position, no_way) in judged.refused {
            if let Some(entry) = part.entries().get(position) {
                self.refuse(link, Label { class, sequence, index: entry.index }, &no_way);
            }
        }
        for (way, moves) in judged.groups {
            let deadline_ms = way.deadline_ms(self.config.endpoint_deadline_ms, self.config.hop_deadline_ms);
            let onward = Onward {
                part: Arc::clone(&part),
                moves,
                from_worker: self.worker,
                from_link: link,
                class,
                sequence,
                target: way.link,
                deadline_ms,
            };
            self.hand_on(now, way.worker, onward);
        }
        Ok(())
    }

    /// The proof of the whole part is wrong: every entry is refused, none is looked at (WIRE 6.6). Its budgets are charged like
    /// any other's: whoever sends nothing else is soon refused for that.
    fn refuse_unproven(
        &mut self,
        now: Now,
        link: LinkId,
        class: Class,
        frame_bytes: usize,
        entries: &[(u16, u64)],
    ) -> Result<(), FrameFault> {
        let sequence = self.open_labels(link, class, entries.iter().copied())?;
        let charged = self.links.get_mut(&link).map(|state| state.buckets.charge_part(now, entries.len(), frame_bytes));
        let no_way = match charged {
            Some(Err(ms)) => over_budget(ms),
            Some(Ok(())) | None => Code::BAD_PROOF.into(),
        };
        for (index, _) in entries {
            self.refuse(link, Label { class, sequence, index: *index }, &no_way);
        }
        Ok(())
    }

    /// Charges the peer's credit and opens the labels; beyond the credit the link closes (WIRE 7.2).
    fn open_labels(
        &mut self,
        link: LinkId,
        class: Class,
        entries: impl Iterator<Item = (u16, u64)> + Clone,
    ) -> Result<u64, FrameFault> {
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(0);
        };
        let lane = state.inbound_mut(class);
        let mut count = 0;
        for (_, bytes) in entries.clone() {
            lane.granted.on_received(bytes).map_err(|exceeded| {
                FrameFault::new(CloseCode::CreditExceeded, "WIRE 7.2", format!("{class:?} lane: {exceeded}"))
            })?;
            count += 1;
        }
        self.ledger.open(count);
        self.stats.parts_received += 1;
        self.stats.entries_received += count;
        Ok(lane.open(entries))
    }

    /// Splits the entries of a part into those that have a way on and those that are refused.
    fn judge(&mut self, now: Now, link: LinkId, class: Class, frame_bytes: usize, part: &Part) -> Judged {
        if self.draining {
            return Judged::all_refused(part, &Code::DRAINING.into());
        }
        let table = Arc::clone(&self.table);
        let Some(state) = self.links.get_mut(&link) else {
            return Judged::default();
        };
        if let Err(ms) = state.buckets.charge_part(now, part.entries().len(), frame_bytes) {
            return Judged::all_refused(part, &over_budget(ms));
        }
        if !distinct_keys(part) {
            return Judged::all_refused(part, &Code::BAD_SIGNATURE.into());
        }
        let signers: SmallVec<[Signer<'_>; 2]> =
            part.signatures().iter().map(|s| s.kid().ok().and_then(|kid| table.key(&kid))).collect();
        if state.peer.is_router() && carries_receipts(part) {
            return self.judge_late(now, link, &table, &signers, part);
        }
        let attached = (!state.peer.is_router()).then_some(&state.attached_indices);
        let (hop_limit, clock_synchronised) = (self.config.hop_limit, self.clock_synchronised);
        let gate = Gate { table: &table, now, class, attached, signers: &signers, hop_limit, clock_synchronised };
        let (admitted, refused) = admit(&gate, part);
        let mut judged = Judged { groups: Vec::new(), refused };
        let Some(first) = admitted.first() else { return judged };
        let link_budget = self.config.endpoint_budget;
        if let Err(ms) = charge_sender(now, &table, state, link_budget, first.sender, part, admitted.len()) {
            return judged.refuse_admitted(&admitted, &over_budget(ms));
        }
        match self.verifier.verify(now, part, &signers, &mut state.buckets, &mut self.stats) {
            Ok(()) => {}
            Err(NotVerified::OverBudget { retry_after_ms }) => {
                return judged.refuse_admitted(&admitted, &over_budget(retry_after_ms));
            }
            Err(NotVerified::BadSignature) => {
                return judged.refuse_admitted(&admitted, &Code::BAD_SIGNATURE.into());
            }
        }
        let ingress = !state.peer.is_router();
        // All admitted entries have one sender: they share the keys of the root.
        let Ok(sender) = id_of(&table, first.sender) else {
            return judged.refuse_admitted(&admitted, &Code::SENDER_UNKNOWN.into());
        };
        // Looked up together, so that the lookups do not wait for each other's cache misses.
        let asked: Vec<(ServiceKey, Ars)> =
            admitted.iter().map(|entry| (entry.message.service, entry.message.jurisdiction)).collect();
        let mut routes = Vec::new();
        table.lookup_many(&asked, &mut routes);
        for (admitted, route) in admitted.iter().zip(routes) {
            match self.route_one(now, &table, ingress, part, &sender, admitted, route) {
                Ok((way, step)) => judged.go(way, step),
                Err(no_way) => judged.refused.push((admitted.position, no_way)),
            }
        }
        judged
    }

    /// Authorises and routes one verified entry, whose rule in the table is `route`.
    #[expect(clippy::too_many_arguments, reason = "what is the same for all entries of a part, and one of them")]
    fn route_one(
        &mut self,
        now: Now,
        table: &Table,
        ingress: bool,
        part: &Part,
        sender: &EndpointId,
        admitted: &Admitted<'_>,
        route: Option<&Route>,
    ) -> Result<(Way, Move), NoWay> {
        let entry = part.entries().get(admitted.position).ok_or(Code::BAD_STATEMENT)?;
        let message = &admitted.message;
        if ingress && !entry.hop.ask && !entry.hop.detached {
            self.stats.digest_checks += 1;
            self.stats.payload_bytes_received += entry.payload.len() as u64;
            if Digest::of(&entry.payload) != message.payload_digest {
                return Err(Code::DIGEST_MISMATCH.into());
            }
        }
        authorise(table, admitted.sender, message)?;
        let routing = self.routing(now, table);
        let (recipient, way) = match &entry.hop.recipient {
            None => {
                let chosen = routing.choose(message, route);
                let chosen = chosen.and_then(|(index, way)| Ok((id_of(table, index)?, way)));
                if ingress { self.or_custody(entry, message, sender, chosen)? } else { chosen? }
            }
            Some(recipient) => {
                let found = routing.follow(message, recipient, route).map(|way| (recipient.clone(), way));
                let here = mutant::is(Mutant::CustodyAtTwoHops);
                if here { self.or_custody(entry, message, sender, found)? } else { found? }
            }
        };
        let hop = HopHeader {
            hops: entry.hop.hops.saturating_add(1),
            recipient: Some(recipient.clone()),
            redelivered: entry.hop.redelivered,
            detached: entry.hop.detached,
            ask: entry.hop.ask,
        };
        let step = Move {
            position: admitted.position,
            hop,
            recipient,
            sender: sender.clone(),
            message: message.id,
            cost: entry.credit(),
            payload_len: message.payload_len,
            custody: (ingress || mutant::is(Mutant::CustodyAtTwoHops)) && self.custody.may_keep(entry, message),
            late: false,
        };
        Ok((way, step))
    }

    /// Refuses an entry for a reason found here.
    pub(super) fn refuse(&mut self, link: LinkId, label: Label, no_way: &NoWay) {
        let local = no_way.code == Code::NOT_ATTACHED || no_way.code == Code::BUSY;
        let detail = Detail {
            endpoint: no_way.endpoint.clone(),
            router: no_way.router.clone().or_else(|| local.then(|| self.config.router.clone())),
            presence: local.then(|| self.presence.number()),
            retry_after_ms: no_way.retry_after_ms.or_else(|| local.then_some(self.config.retry_after_ms)),
            text: None,
        };
        self.settle_here(link, label, no_way.code, &detail);
    }

    /// Presence reaches the view, and the set of endpoints that may send on a link here.
    pub(super) fn on_presence(&mut self, event: PresenceEvent) {
        use crate::event::Place;
        match &event {
            PresenceEvent::Attached { endpoint, place: Place::Here { link, .. }, .. } => {
                if let Some(state) = self.links.get_mut(link) {
                    state.attached.insert(endpoint.clone());
                    state.attached_indices.extend(self.table.endpoint(endpoint.as_str()));
                }
            }
            PresenceEvent::Detached { endpoint, place: Place::Here { link, .. }, .. } => {
                if let Some(state) = self.links.get_mut(link) {
                    state.attached.remove(endpoint);
                    if let Some(index) = self.table.endpoint(endpoint.as_str()) {
                        state.attached_indices.remove(&index);
                    }
                }
            }
            _ => {}
        }
        self.presence.on_event(event);
    }

    /// Another table is in force from the next part on.
    pub(super) fn on_table(&mut self, table: Arc<Table>) {
        for state in self.links.values_mut() {
            state.reindex(&table);
        }
        self.table = table;
    }
}

/// Admits what can be admitted without cryptography; two entries of one case are refused (WIRE 6.5).
fn admit<'p>(gate: &Gate<'_>, part: &'p Part) -> (Vec<Admitted<'p>>, Vec<Refused>) {
    let mut cases: Set<&[u8]> = Set::default();
    let mut known = None;
    let mut admitted = Vec::with_capacity(part.entries().len());
    let mut refused = Vec::new();
    for (position, entry) in part.entries().iter().enumerate() {
        let message = MessageRef::parse(&entry.statement);
        if let Ok(MessageRef { case: Some(case), .. }) = message
            && !cases.insert(case)
        {
            refused.push((position, Code::CASE_ORDER.into()));
            continue;
        }
        match gate.admit(position, entry, message, &mut known) {
            Ok(entry) => admitted.push(entry),
            Err(code) => refused.push((position, code.into())),
        }
    }
    (admitted, refused)
}

pub(super) fn over_budget(retry_after_ms: u64) -> NoWay {
    NoWay { retry_after_ms: Some(retry_after_ms), ..Code::OVER_BUDGET.into() }
}

/// Every protected header can be read, and two signatures are by two keys (WIRE 5.4).
fn distinct_keys(part: &Part) -> bool {
    let kids: SmallVec<[Result<KeyId, _>; 2]> = part.signatures().iter().map(RootSignature::kid).collect();
    match kids.as_slice() {
        [Ok(_)] => true,
        [Ok(first), Ok(second)] => first != second,
        _ => false,
    }
}

/// Charges the budget that the directory states for the sender, before its signature is checked; at ingress only. All
/// admitted entries of a part have one sender, because they share the keys of the root.
fn charge_sender(
    now: Now,
    table: &Table,
    state: &mut LinkState,
    link_budget: LinkBudget,
    sender: EndpointIndex,
    part: &Part,
    entries: usize,
) -> Result<(), u64> {
    if state.peer.is_router() {
        return Ok(());
    }
    let Some(budget) = table.endpoint_entry(sender).and_then(|entry| sender_budget(&entry.budgets, link_budget)) else {
        return Ok(());
    };
    let buckets = state.sender_buckets.entry(sender).or_insert_with(|| LinkBuckets::new(budget, now));
    buckets.charge_part(now, entries, usize::try_from(part.credit()).unwrap_or(usize::MAX))?;
    buckets.charge_signatures(now, part.signatures().len())
}

fn id_of(table: &Table, index: EndpointIndex) -> Result<EndpointId, Code> {
    table.endpoint_entry(index).map(|entry| entry.id.clone()).ok_or(Code::RECIPIENT_UNKNOWN)
}
