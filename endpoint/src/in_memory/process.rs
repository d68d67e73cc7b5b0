//! One client of an in-memory network: the real core, a journal in memory, and the handles the application holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use kernpost_codecs::key::{KeyError, SigningKey};
use kernpost_codecs::{Ars, EndpointId, FrameFault, LinkIdentity, ServiceKey};
use kernpost_routing_table::Table;
use tokio::sync::oneshot;

use super::plan::{Plan, identity};
use crate::client::Client;
use crate::client::bare::{self, Ends, Input, Waiting};
use crate::core::{
    Core, CoreConfig, DirectoryFrom, EndpointSetup, Event, Found, LinkSetup, Now, Output, Resolution, SessionId,
    Stream, Ticket,
};
use crate::journal::{Journal, LookedUp, MemoryJournal, SentLog};
use kernpost_codecs::frame::{FrameDecoder, LONGEST_BODY};

/// Whole frames of one stream, one way or the other.
#[derive(Debug)]
pub(super) struct Packet {
    pub session: SessionId,
    pub stream: Stream,
    pub bytes: Bytes,
}

/// See the module's documentation.
pub(super) struct Process {
    pub endpoints: Vec<EndpointId>,
    pub identity: LinkIdentity,
    pub session: Option<SessionId>,
    core: Core,
    /// `None` when the client has ended.
    ends: Option<Ends>,
    journal: Journal,
    sent: SentLog,
    decoders: HashMap<Stream, FrameDecoder>,
    waiting: HashMap<Ticket, Waiting>,
    resolves: HashMap<u64, oneshot::Sender<Resolution>>,
    next_resolve: u64,
    /// Monotonic microseconds at which a closing client ends even when something is under way.
    closing_us: Option<u64>,
    last_fault: Option<String>,
}

impl Process {
    /// The client at this place of the plan, and its handles.
    pub fn new(plan: &Plan, place: usize, endpoints: &[EndpointId]) -> Result<(Self, Client), KeyError> {
        // SigningKey is not Clone: written out and read again, once per process.
        let copy = |id: &EndpointId| {
            let keys =
                plan.keys.get(id).ok_or(KeyError::PrivateKey("the plan has no key for an endpoint of a link"))?;
            let again = |key: &SigningKey| SigningKey::from_pkcs8_der(&key.to_pkcs8_der()?);
            Ok(EndpointSetup { id: id.clone(), keys: keys.iter().map(again).collect::<Result<_, KeyError>>()? })
        };
        let setups: Vec<EndpointSetup> = endpoints.iter().map(copy).collect::<Result<_, KeyError>>()?;
        let mut journal = [0; 16];
        journal[..8].copy_from_slice(&(place as u64).to_be_bytes());
        let core = Core::new(CoreConfig {
            links: vec![LinkSetup {
                identities: vec![identity(place)],
                endpoints: (0..setups.len()).collect(),
                routers: vec![plan.router.clone()],
                largest_bundle: LONGEST_BODY,
            }],
            endpoints: setups,
            journal,
            directory: DirectoryFrom::Shell,
            limits: plan.limits,
            seed: place as u64,
            software: concat!("kernpost-in-memory/", env!("CARGO_PKG_VERSION")).to_owned(),
        });
        let (client, ends) = bare::client(endpoints, &plan.limits);
        let process = Self {
            endpoints: endpoints.to_vec(),
            identity: identity(place),
            session: None,
            core,
            ends: Some(ends),
            journal: Journal::Memory(MemoryJournal::new(journal)),
            sent: SentLog::in_memory(),
            decoders: HashMap::new(),
            waiting: HashMap::new(),
            resolves: HashMap::new(),
            next_resolve: 0,
            closing_us: None,
            last_fault: None,
        };
        Ok((process, client))
    }

    // ---- the network's side

    pub fn install(&mut self, now: Now, table: &Arc<Table>) {
        self.core.handle_table(now, Arc::clone(table));
        if let Some(ends) = &self.ends {
            ends.table(table);
        }
    }

    pub fn connected(&mut self, now: Now, session: SessionId) {
        self.session = Some(session);
        self.decoders.clear();
        self.core.handle_link_up(now, session, 0, 0);
    }

    /// The link is gone; gives its session, if there was one.
    pub fn lost(&mut self, now: Now) -> Option<SessionId> {
        let session = self.session.take()?;
        self.core.handle_link_down(now, session);
        Some(session)
    }

    pub fn closed_by_router(&mut self, now: Now, fault: &FrameFault) {
        tracing::warn!(%fault, "the in-memory router closed a link");
        self.last_fault = Some(format!("the router closed the link: {fault}"));
        self.lost(now);
    }

    pub fn arrived(&mut self, now: Now, packet: Packet) -> Result<(), FrameFault> {
        if self.session != Some(packet.session) {
            return Ok(());
        }
        let decoder = self.decoders.entry(packet.stream).or_default();
        decoder.push(packet.bytes);
        while let Some(frame) = decoder.next()? {
            self.core.handle_frame(now, packet.session, packet.stream, frame.kind, frame.body);
        }
        Ok(())
    }

    pub fn timeout(&mut self, now: Now) {
        if self.core.poll_deadline().is_some_and(|at| at <= now.mono_us) {
            self.core.handle_timeout(now);
        }
    }

    pub fn deadline(&self) -> Option<u64> {
        if self.has_ended() {
            return None;
        }
        [self.core.poll_deadline(), self.closing_us].into_iter().flatten().min()
    }

    /// Carries out what the core wants until it wants nothing more; gives what goes to the router.
    pub fn effects(&mut self, now: Now) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(output) = self.core.poll_output(now) {
            self.carry_out(now, output, &mut packets);
        }
        if let Some(ends) = &self.ends {
            ends.deliver(&mut self.core);
            ends.publish(&self.core);
        }
        packets
    }

    /// What keeps its endpoints from being attached; empty when all are.
    pub fn problems(&self) -> Vec<String> {
        let why = self.last_fault.as_deref().unwrap_or("the router has not confirmed it");
        let missing = self.endpoints.iter().filter(|id| self.core.attached(id) == 0);
        missing.map(|id| format!("{id} is not attached: {why}")).collect()
    }

    fn carry_out(&mut self, now: Now, output: Output, packets: &mut Vec<Packet>) {
        match output {
            Output::Frame { session, stream, bytes } => {
                self.core.handle_writable(session, stream);
                packets.push(Packet { session, stream, bytes });
            }
            Output::Close { fault, .. } => {
                tracing::warn!(%fault, "an in-memory client closed its link");
                self.last_fault = Some(format!("its client closed the link: {fault}"));
            }
            Output::Lookup(lookup) => {
                let looked = self.journal.look_up(std::slice::from_ref(&lookup)).unwrap_or_default().pop();
                let earlier = looked.and_then(|looked| match looked {
                    LookedUp::Known(earlier) => Some(earlier),
                    LookedUp::Unknown | LookedUp::Elsewhere => None,
                });
                let solicited = Journal::solicited(&self.sent, &lookup);
                self.core.handle_found(Found { id: lookup.id, earlier, elsewhere: false, solicited });
            }
            Output::Journal(record) => {
                let id = record.id;
                let durable = self.journal.record(&[record]).is_ok();
                self.core.handle_journalled(id, durable);
            }
            // The router here takes none: it refuses them before anybody could want them.
            Output::Payload(_) => {}
            Output::Sent { sender, message } => {
                if let Err(error) = self.sent.note(std::iter::once((sender, message))) {
                    tracing::warn!(%error, "a list in memory cannot fail");
                }
            }
            Output::Verify { version, snapshots, .. } => {
                let why = "the directory of an in-memory network never changes".to_owned();
                self.core.handle_verified(now, version, &snapshots, Err(why));
            }
            // No journal that is shared, and no durable outbox here.
            Output::Release { .. } | Output::Store(_) | Output::Accepted { .. } | Output::NotAccepted { .. } => {}
            Output::Stage { ticket, outcome } => {
                if let Some(waiting) = self.waiting.get_mut(&ticket) {
                    waiting.stage(&outcome);
                }
            }
            Output::Finished { ticket, outcome } => {
                if let Some(waiting) = self.waiting.remove(&ticket) {
                    waiting.tell(Ok(outcome));
                }
            }
            Output::Resolved { ticket, answer } => {
                if let Some(waiting) = self.resolves.remove(&ticket) {
                    let _ = waiting.send(answer);
                }
            }
            Output::Event(Event::AttachRefused { endpoint, code, text, .. }) => {
                let why = format!("{code} {text}");
                if let Some(ends) = &self.ends {
                    ends.refused(&endpoint, why.clone());
                }
                self.last_fault = Some(why);
            }
            Output::Event(Event::InvalidReceipt { message, issuer, why }) => {
                tracing::error!(%message, issuer, why, "ALARM: a receipt does not prove what it claims");
            }
            Output::Event(_) => {}
        }
    }

    // ---- the application's side

    /// What the application asked for since; true when there was anything.
    pub fn poll_inputs(&mut self, context: &mut Context<'_>, now: Now) -> bool {
        let mut any = false;
        while let Some(ends) = &mut self.ends {
            match ends.inputs.poll_recv(context) {
                Poll::Ready(Some(input)) => self.handle(now, input),
                Poll::Ready(None) => self.end(now),
                Poll::Pending => break,
            }
            any = true;
        }
        any
    }

    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Send(messages) => {
                for (outgoing, waiting) in messages {
                    match self.core.handle_send(now, &outgoing) {
                        Ok(ticket) => drop(self.waiting.insert(ticket, waiting)),
                        Err(error) => waiting.tell(Err(error)),
                    }
                }
            }
            Input::Verdicts(verdicts) => {
                verdicts.iter().for_each(|(id, verdict)| self.core.handle_verdict(*id, verdict));
            }
            Input::Abandoned { id } => self.core.handle_abandoned(id),
            Input::Resolve { service, jurisdiction, answer } => self.resolve(service, jurisdiction, answer),
            Input::Close { patience } => self.close(now, patience),
            Input::Ask { statement, timeout_ms, waiting } => match self.core.handle_ask(now, statement, timeout_ms) {
                Ok(ticket) => drop(self.waiting.insert(ticket, waiting)),
                Err(error) => waiting.tell(Err(error)),
            },
            // Inputs of links and journals of the other driver: none of them is ever sent here.
            Input::Up { .. }
            | Input::Frames { .. }
            | Input::Writable { .. }
            | Input::Down { .. }
            | Input::Journal(_)
            | Input::Store(_)
            | Input::PayloadOpened { .. }
            | Input::PayloadProgress { .. }
            | Input::PayloadEnd { .. }
            | Input::PayloadStream { .. }
            | Input::Verified { .. }
            | Input::Table(_) => {}
        }
    }

    fn resolve(&mut self, service: ServiceKey, jurisdiction: Ars, answer: oneshot::Sender<Resolution>) {
        let ticket = self.next_resolve;
        self.next_resolve = self.next_resolve.wrapping_add(1);
        self.resolves.insert(ticket, answer);
        self.core.handle_resolve(ticket, service, jurisdiction);
    }

    fn close(&mut self, now: Now, patience: Duration) {
        self.core.handle_close();
        self.closing_us = Some(now.after_ms(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX)));
    }

    /// Whether a closing client has nothing left under way, or no patience left.
    pub fn is_done(&self, now: Now) -> bool {
        self.ends.is_some() && self.closing_us.is_some_and(|until| until <= now.mono_us || self.core.is_idle())
    }

    pub fn has_ended(&self) -> bool {
        self.ends.is_none()
    }

    /// Lets go of the handles: whoever waits learns that the client has ended. Its link is for the network to cut.
    pub fn end(&mut self, now: Now) {
        if let Some(ends) = self.ends.take() {
            ends.publish(&self.core);
            ends.end();
        }
        self.closing_us = Some(now.mono_us);
        self.waiting.clear();
        self.resolves.clear();
    }

    /// Withdraws the attachments before the link goes.
    pub fn detach(&mut self) {
        self.core.handle_detach();
    }
}
