//! From an accepted message to signed bundles on the lanes: natural batching, one signature per sender and bundle.
//!
//! What has accumulated when a lane can be written goes out together, at most 256 entries and 262,144 bytes, within the
//! link's credit (WIRE §6, §7). An idle process adds no delay; a busy one amortises the signature, see [`super::gather`].

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::attach::AttachToken;
use kernpost_codecs::frame::LONGEST_BODY;
use kernpost_codecs::key::KeyId;
use kernpost_codecs::part::{BundleBuilder, HopHeader, LONGEST_INLINE_PAYLOAD, Part};
use kernpost_codecs::settlement::Detail;
use kernpost_codecs::statement::Attachment;
use kernpost_codecs::statement::{
    ContentType, LONGEST_CASE, LONGEST_CONTENT_TYPE, LONGEST_LIFETIME_S, LONGEST_MAILBOX, LONGEST_PAYLOAD,
    LONGEST_STATEMENT,
};
use kernpost_codecs::{Ars, Class, Code, EndpointId, LinkIdentity, MessageId, ServiceKey};
use smallvec::SmallVec;

use super::outbox::{Chosen, Destination, Lane, Room, Slot, Stage};
use super::outgoing::{Outgoing, SendError, Ticket};
use super::proof::TreeProof;
use super::session::attachments::Token;
use super::session::outbound::Sent;
use super::session::settlements::Signing;
use super::session::{Session, SessionId, Stream};
use super::store::{AcceptRecord, StoreOrder};
use super::{Core, Now, Output};

/// Bytes of a bundle's body kept for head, signatures and entry heads.
const HEAD_ROOM: usize = 24 << 10;
/// Longest idempotency key, bytes.
const LONGEST_KEY: usize = 64;

impl Core {
    pub(super) fn accept(&mut self, now: Now, outgoing: &Outgoing) -> Result<Ticket, SendError> {
        if self.closing {
            return Err(SendError::Closing);
        }
        let sender = self.by_id.get(&outgoing.sender).copied();
        let sender = sender.ok_or_else(|| SendError::UnknownSender(outgoing.sender.clone()))?;
        check(outgoing)?;
        if self.outbox.holds(sender, outgoing.id) {
            return Err(SendError::IdInUse(outgoing.id));
        }
        let message = outgoing.statement(now.wall, self.versions.current_version());
        let statement = message.encode();
        if statement.len() > LONGEST_STATEMENT {
            let problem = format!("has {} bytes; at most {LONGEST_STATEMENT} (WIRE 4.1)", statement.len());
            return Err(SendError::OutOfRange { field: "statement", problem });
        }
        if outgoing.payload.len() > self.limits.outbox_bytes {
            let problem =
                format!("has {} bytes, more than the whole outbox: send it from a file", outgoing.payload.len());
            return Err(SendError::OutOfRange { field: "payload", problem });
        }
        if self.outbox.is_full_for(statement.len() + outgoing.payload.len()) {
            return Err(SendError::OutboxFull { messages: self.outbox.len(), bytes: self.outbox.bytes() });
        }
        if outgoing.idempotency_key.is_some() && !self.outbox.is_stored() {
            return Err(SendError::NoOutbox);
        }
        let destination = self.destination(outgoing);
        let statement = Bytes::from(statement);
        let stored = self.outbox.is_stored();
        let slot = Slot {
            payload: outgoing.payload.clone(),
            file: outgoing.file.as_ref().map(|file| file.path.clone()),
            give_up_us: now.after_ms(outgoing.timeout_ms),
            timeout_ms: outgoing.timeout_ms,
            stage: if stored { Stage::Storing } else { Stage::BehindCase },
            ..Slot::new(sender, &message, statement.clone(), destination)
        };
        let expires = slot.expires;
        let ticket = self.outbox.accept(slot);
        if stored {
            let record = Box::new(AcceptRecord {
                ticket,
                sender: outgoing.sender.clone(),
                message: outgoing.id,
                statement,
                payload: outgoing.payload.clone(),
                file: outgoing.file.clone(),
                key: outgoing.idempotency_key.clone(),
                content: outgoing.content(),
                expires,
            });
            if record.key.is_some() {
                self.keyed.insert(ticket, record.clone());
            }
            self.outputs.push_back(Output::Store(StoreOrder::Accept(record)));
        } else {
            self.on_taken(&outgoing.sender, outgoing.id);
        }
        Ok(ticket)
    }

    /// A message was taken into the outbox for good.
    pub(super) fn on_taken(&mut self, sender: &EndpointId, message: MessageId) {
        self.ledger.accepted += 1;
        self.ledger.open += 1;
        self.outputs.push_back(Output::Sent { sender: sender.clone(), message });
    }

    /// Where a message will probably go: the explicit recipient, else whom the directory held here names first. Only a
    /// hint, for what a busy signal holds back and for the order of entries in a bundle: the router chooses.
    fn destination(&self, outgoing: &Outgoing) -> Destination {
        self.destination_of(outgoing.recipient.as_ref(), outgoing.service, outgoing.jurisdiction)
    }

    pub(super) fn destination_of(
        &self,
        recipient: Option<&EndpointId>,
        service: ServiceKey,
        jurisdiction: Ars,
    ) -> Destination {
        if let Some(recipient) = recipient {
            return Destination::Endpoint(recipient.clone());
        }
        let route = self.versions.current().and_then(|table| {
            let first = table.lookup(service, jurisdiction)?.endpoints.first()?;
            table.endpoint_entry(*first)
        });
        match route {
            Some(entry) => Destination::Endpoint(entry.id.clone()),
            None => Destination::Route(service, jurisdiction),
        }
    }

    /// Turns everything that accumulated into output: control frames, attachments, bundles, settlements, credit.
    pub(super) fn flush(&mut self, now: Now) {
        self.drain_inbox();
        let reach = std::mem::take(&mut self.replaced).then(|| self.reach());
        self.outbox.on_reach(now, &mut self.ledger, reach);
        if self.outbox.has_any_ready() {
            let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
            for id in sessions {
                Class::ALL.into_iter().for_each(|class| self.flush_bundles(now, id, class));
            }
        }
        while let Some(id) = self.touched.pop_first() {
            while let Some(event) = self.sessions.get_mut(&id).and_then(Session::poll_event) {
                self.on_session_event(now, id, event);
            }
            self.attach_due(now, id);
            self.end_payloads(id);
            self.drain_inbox();
            self.flush_settlements(now, id);
            if let Some(bytes) = self.sessions.get_mut(&id).and_then(|session| session.take_control()) {
                self.outputs.push_back(Output::Frame { session: id, stream: Stream::Control, bytes });
            }
        }
        self.tell();
    }

    fn attach_due(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.is_up()) else { return };
        let table = self.versions.current().map(Arc::as_ref);
        let room = session.control.room();
        for position in session.attachments.take_due(now, room) {
            let Some(one) = session.attachments.all.get(position) else { continue };
            let Some(signer) = self.signers.get(one.endpoint) else { continue };
            let keys = signer.current(table, now.wall);
            let kids: SmallVec<[KeyId; 2]> = keys.iter().map(|key| key.public().id()).collect();
            if let Some(held) = one.token.as_ref().filter(|held| held.renew_us > now.mono_us && held.kids == kids) {
                let token = held.bytes.clone();
                session.attach(position, token);
                continue;
            }
            let identity = session.attachments.identity(one).cloned();
            self.epoch = self.epoch.saturating_add(1).max(now.wall.0.saturating_mul(1_000));
            let attachment = Attachment {
                endpoint: signer.id().clone(),
                router: session.router.clone(),
                identity: identity.unwrap_or_else(|| LinkIdentity::Name(String::new())),
                epoch: self.epoch,
                expires: now.wall.plus_ms(self.limits.attachment_ms),
                journal: self.journal,
            };
            match AttachToken::sign(&attachment, &keys) {
                Ok(token) => {
                    let renew_us = now.after_ms(self.limits.attachment_ms / 2);
                    if let Some(one) = session.attachments.all.get_mut(position) {
                        one.epoch = self.epoch;
                        one.token = Some(Token { bytes: token.clone(), kids, renew_us, confirmed: false });
                    }
                    session.attach(position, token);
                }
                Err(fault) => {
                    self.ledger.build_faults += 1;
                    tracing::error!(endpoint = %signer.id(), %fault, "an attach token could not be signed");
                }
            }
        }
    }

    fn flush_bundles(&mut self, now: Now, id: SessionId, class: Class) {
        let stream = Stream::Bundle(class);
        let Some(session) = self.sessions.get(&id) else { return };
        if !session.is_up() || !session.is_writable(stream) {
            return;
        }
        let (link, router) = (session.link, session.router_index);
        let (entries, credit_bytes) = session.allowance(class);
        let endpoints = self.links.get(link).map_or(0, |link| link.endpoints.len());
        if entries == 0 || endpoints == 0 {
            return;
        }
        let largest = self.links.get(link).map_or(LONGEST_BODY, |link| link.largest_bundle);
        let frame_bytes = largest.min(LONGEST_BODY - HEAD_ROOM);
        let room = Room { entries: entries.min(256), credit_bytes, frame_bytes };
        self.turn = self.turn.wrapping_add(1);
        for step in 0..endpoints {
            let turn = self.turn.wrapping_add(step) % endpoints;
            let Some(sender) = self.links.get(link).and_then(|link| link.endpoints.get(turn)).copied() else {
                continue;
            };
            let Some(session) = self.sessions.get(&id) else { return };
            if self.outbox.ready(sender, class) == 0 || !session.takes_entries_of(sender) {
                continue;
            }
            let (ready, under_way) = (self.outbox.ready(sender, class), session.outbound.under_way(class));
            if self.gather.waits(now.mono_us, sender, class, ready, under_way, endpoints) {
                continue;
            }
            let places = self.places.get(sender).map(Vec::as_slice).unwrap_or_default();
            let preferred = places.first() == Some(&id);
            let more = session.outbound.large() < self.limits.large_sending;
            let largest = if more { session.largest_payload } else { 0 };
            let lane = Lane { sender, class, router, preferred, alternative: places.len() > 1, largest };
            let chosen = self.outbox.take(now, lane, room);
            for ticket in self.outbox.take_oversized() {
                let detail = Detail::default();
                self.outbox.on_settled(now, &mut self.ledger, ticket, router, Code::OVERSIZED, &detail);
            }
            if !chosen.is_empty() && self.send_bundle(now, id, sender, class, chosen) {
                return;
            }
        }
    }

    /// Builds, signs and hands over one bundle; false when nothing was sent.
    fn send_bundle(&mut self, now: Now, id: SessionId, sender: usize, class: Class, chosen: Vec<Chosen>) -> bool {
        let mut builder = self.builder(now, sender);
        let mut sent = Vec::with_capacity(chosen.len());
        let mut rest = chosen.into_iter();
        for one in rest.by_ref() {
            let hop = HopHeader {
                ask: one.ask,
                redelivered: one.redelivered,
                detached: one.detached,
                ..HopHeader::default()
            };
            if builder.push(one.statement.clone(), one.payload.clone(), hop).is_err() {
                self.outbox.put_back(now, one.ticket);
                break;
            }
            sent.push(one);
        }
        rest.for_each(|one| self.outbox.put_back(now, one.ticket));
        let credit: u64 = sent.iter().map(|one| one.credit_bytes).sum();
        let built = self.build(now, sender, builder);
        let spent = self
            .sessions
            .get_mut(&id)
            .and_then(|session| session.try_spend(class, sent.len() as u64, credit).then_some(session));
        let (Some((part, bytes)), Some(session), Some(signer)) = (built, spent, self.signers.get(sender)) else {
            self.ledger.build_faults += 1;
            self.give_back(now, &sent);
            return false;
        };
        let proof = Arc::new(TreeProof { signatures: part.signatures().into(), tree: part.tree().clone() });
        let deadline_us = now.after_ms(self.limits.label_deadline_ms);
        let large = sent.first().is_some_and(|one| one.detached);
        let mut labels = Vec::with_capacity(sent.len());
        for (one, entry) in sent.into_iter().zip(part.entries()) {
            self.ledger.attempts += 1;
            self.ledger.asks += u64::from(one.ask);
            self.ledger.resends += u64::from(one.redelivered);
            self.outbox.on_sent(one.ticket, &proof, entry.index);
            labels.push(Sent {
                ticket: one.ticket,
                sender: signer.id().clone(),
                id: one.id,
                leaf: one.leaf,
                statement: one.statement,
            });
        }
        self.ledger.bundles += 1;
        self.gather.on_sent(sender, class, labels.len());
        session.outbound.on_sent(class, labels, deadline_us, large);
        session.on_written(Stream::Bundle(class));
        self.outputs.push_back(Output::Frame { session: id, stream: Stream::Bundle(class), bytes });
        true
    }

    /// An empty bundle with room for the signatures this sender makes now.
    pub(super) fn builder(&self, now: Now, sender: usize) -> BundleBuilder {
        let Some(signer) = self.signers.get(sender) else { return BundleBuilder::new() };
        BundleBuilder::new().for_keys(&signer.current(self.versions.current().map(Arc::as_ref), now.wall))
    }

    /// Signs a bundle and lays it out as one frame.
    pub(super) fn build(&self, now: Now, sender: usize, builder: BundleBuilder) -> Option<(Part, Bytes)> {
        let signer = self.signers.get(sender)?;
        let part = builder.sign(&signer.current(self.versions.current().map(Arc::as_ref), now.wall)).ok()?;
        let all = part.entries().iter().map(|entry| &entry.hop).enumerate();
        let mut bytes = BytesMut::new();
        let written = part.encode_chosen(all, LONGEST_BODY, &mut bytes).ok()?;
        (written == part.entries().len()).then(|| (part, bytes.freeze()))
    }

    /// A bundle could not be built: its messages rest, so that a lasting fault does not spin.
    fn give_back(&mut self, now: Now, sent: &[Chosen]) {
        let text = "the bundle could not be signed here; see the log";
        let detail = Detail { text: Some(text.to_owned()), ..Detail::default() };
        for one in sent {
            self.outbox.on_settled(now, &mut self.ledger, one.ticket, usize::MAX, Code::BUSY, &detail);
        }
    }

    fn flush_settlements(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.is_up() || !session.is_writable(Stream::Settlement) {
            return;
        }
        let updates: Vec<_> = session.inbound.take_updates().collect();
        for (class, entries, bytes) in updates {
            session.settlements.credit(class, entries, bytes);
        }
        if session.settlements.is_empty() {
            return;
        }
        let signing = Signing { signers: &self.signers, versions: &self.versions, time: now.wall };
        let mut bytes = BytesMut::new();
        session.settlements.write(&signing, &mut self.ledger, &mut bytes);
        if bytes.is_empty() {
            return;
        }
        session.on_written(Stream::Settlement);
        self.outputs.push_back(Output::Frame { session: id, stream: Stream::Settlement, bytes: bytes.freeze() });
    }
}

/// The ranges of WIRE 4.2 that the types do not carry.
fn check(outgoing: &Outgoing) -> Result<(), SendError> {
    let out_of_range = |field, problem: String| Err(SendError::OutOfRange { field, problem });
    let length = outgoing.payload_length();
    if length > LONGEST_PAYLOAD {
        return out_of_range("payload", format!("has {length} bytes; at most {LONGEST_PAYLOAD} are allowed"));
    }
    if outgoing.file.is_some() && (!outgoing.payload.is_empty() || length <= LONGEST_INLINE_PAYLOAD as u64) {
        let problem = format!("comes from a file only when it is all there and above {LONGEST_INLINE_PAYLOAD} bytes");
        return out_of_range("payload", problem);
    }
    if !(1..=LONGEST_LIFETIME_S).contains(&outgoing.lifetime_s) {
        return out_of_range("lifetime", format!("is {} s; 1..={LONGEST_LIFETIME_S} are allowed", outgoing.lifetime_s));
    }
    let key = outgoing.idempotency_key.as_ref();
    if let Some(key) = key.filter(|key| key.is_empty() || key.len() > LONGEST_KEY) {
        return out_of_range("idempotency key", format!("has {} bytes; 1..={LONGEST_KEY} are allowed", key.len()));
    }
    if let Some(case) = outgoing.case.as_ref().filter(|case| case.is_empty() || case.len() > LONGEST_CASE) {
        return out_of_range("case", format!("has {} bytes; 1..={LONGEST_CASE} are allowed", case.len()));
    }
    if let Some(mailbox) =
        outgoing.mailbox.as_ref().filter(|mailbox| mailbox.is_empty() || mailbox.len() > LONGEST_MAILBOX)
    {
        return out_of_range("mailbox", format!("has {} bytes; 1..={LONGEST_MAILBOX} are allowed", mailbox.len()));
    }
    match &outgoing.content_type {
        ContentType::Text(text) if text.is_empty() || text.len() > LONGEST_CONTENT_TYPE => {
            out_of_range("content type", format!("has {} bytes; 1..={LONGEST_CONTENT_TYPE} are allowed", text.len()))
        }
        _ => Ok(()),
    }
}
