//! The endpoint side of the protocol as a state machine: bytes, time and verdicts in; bytes, questions and outcomes out.
//!
//! No runtime, no clock, no randomness, no file: the shell (or a simulation) brings the instant with every input, opens
//! the connections, stores the journal and draws the ids. One [`Core`] serves a whole process: many links, each with
//! its endpoints, to several routers.
//!
//! Order of use: feed `handle_*`; then call [`Core::poll_output`] until it is empty, [`Core::poll_delivery`] as often as
//! the application takes messages, and [`Core::poll_deadline`] for the next [`Core::handle_timeout`]. A message's journey:
//! [`Core::handle_send`] → `outbox` → `sending` (bundle, root signature) → receipts (`receiving`, `receipts`) → outcome;
//! and for the recipient: `receiving` → `inbox::verify` → `inbox` → journal → verdict → journal → `session::settlements`.

mod durable;
mod gather;
mod inbox;
mod large;
mod late;
mod ledger;
mod limits;
mod now;
mod outbox;
mod outgoing;
mod proof;
mod receipts;
mod receiving;
mod roots;
mod sending;
mod session;
mod signer;
mod store;
mod upkeep;
mod versions;
mod wait;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::key::SigningKey;
use kernpost_codecs::receipts::ReceiptsFrame;
use kernpost_codecs::{
    Ars, Code, DirectoryVersion, EndpointId, FrameFault, LinkIdentity, MessageId, RouterId, ServiceKey, UnixMs,
};
use kernpost_routing_table::Table;

pub use inbox::{Delivery, DeliveryId, Earlier, Found, JournalRecord, Lookup, Verdict};
pub use large::{Incoming, Opened, PayloadFile, PayloadOrder, PayloadSource, Received, StoredPayload};
pub use ledger::Ledger;
pub use limits::Limits;
pub use now::Now;
pub use outgoing::{FinalOutcome, Outgoing, SendError, SendOutcome, Ticket};
pub use proof::{ReceiptProof, SignedStatement, TreeProof};
pub use roots::RootCache;
pub use session::control::Resolution;
pub use session::{SessionId, Stream};
pub use store::{AcceptRecord, Accepted, OutcomeRecord, Place, Recovered, StoreId, StoreOrder};
pub use wait::Waits;

use gather::Gather;
use inbox::Inbox;
pub(crate) use inbox::verify::key_counts;
use late::Late;
use outbox::{ConcludedMessages, Outbox};
use session::Session;
use signer::Signer;
use versions::Versions;

/// An endpoint of this process.
#[derive(Debug)]
pub struct EndpointSetup {
    /// Its id.
    pub id: EndpointId,
    /// Its signing keys, the preferred first.
    pub keys: Vec<SigningKey>,
}

/// A link identity of this process and what is attached with it. The shell keeps one connection per router up.
#[derive(Debug, Clone)]
pub struct LinkSetup {
    /// The identities its certificate carries, in the order of WIRE 2.2.
    pub identities: Vec<LinkIdentity>,
    /// The endpoints to attach, by position in [`CoreConfig::endpoints`].
    pub endpoints: Vec<usize>,
    /// The routers, the preferred first.
    pub routers: Vec<RouterId>,
    /// Bytes of frame a bundle should not exceed; a bundle of one entry may. From the line
    /// ([`kernpost_router_core::Line::largest_bundle_bytes`]).
    pub largest_bundle: usize,
}

/// Where directories come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryFrom {
    /// The shell gives tables by [`Core::handle_table`].
    Shell,
    /// They are fetched from the routers; the shell verifies what [`Output::Verify`] brings.
    Link,
}

/// What a core is made of.
#[derive(Debug)]
pub struct CoreConfig {
    /// The endpoints.
    pub endpoints: Vec<EndpointSetup>,
    /// The links.
    pub links: Vec<LinkSetup>,
    /// Names the journal in attach tokens (WIRE 3.2).
    pub journal: [u8; 16],
    /// Where directories come from.
    pub directory: DirectoryFrom,
    /// The bounds.
    pub limits: Limits,
    /// Seeds the jitter of retries.
    pub seed: u64,
    /// Software name and version stated in hello, at most 64 bytes.
    pub software: String,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Output {
    /// Write these bytes, whole frames, to the stream; opened at first use. For lanes, say [`Core::handle_writable`]
    /// when they have left.
    Frame {
        /// Which link.
        session: SessionId,
        /// Which stream of it.
        stream: Stream,
        /// Whole frames.
        bytes: Bytes,
    },
    /// Close the link because of the router's frame fault; the core has forgotten it already.
    Close {
        /// Which link.
        session: SessionId,
        /// The fault, named.
        fault: FrameFault,
    },
    /// Look this up in the journal and answer by [`Core::handle_found`].
    Lookup(Lookup),
    /// Make this durable and answer by [`Core::handle_journalled`].
    Journal(JournalRecord),
    /// No verdict on this message will follow here: where several processes share the journal, another one may take it.
    Release {
        /// Half of the identity.
        sender: EndpointId,
        /// The other half.
        message: MessageId,
    },
    /// Do this about a large payload.
    Payload(PayloadOrder),
    /// Remember that this message was sent, so that replies to it are recognised.
    Sent {
        /// The endpoint that sent it.
        sender: EndpointId,
        /// Its id.
        message: MessageId,
    },
    /// Verify these zone snapshots against the trust anchor, compile them for `at`, and answer by
    /// [`Core::handle_verified`].
    Verify {
        /// The version they make up.
        version: DirectoryVersion,
        /// The signed snapshots.
        snapshots: Vec<Bytes>,
        /// The instant to compile for.
        at: UnixMs,
    },
    /// Do this about the durable outbox; only after [`Core::keep_durably`].
    Store(StoreOrder),
    /// A message is durable and under way; only with a durable outbox.
    Accepted {
        /// Which sending.
        ticket: Ticket,
        /// The message's id: that of an earlier sending with the same idempotency key, if there was one.
        message: MessageId,
        /// That sending, when it is still open: stages and outcome are told under its ticket too.
        same_as: Option<Ticket>,
    },
    /// A message was not taken; only with a durable outbox.
    NotAccepted {
        /// Which sending.
        ticket: Ticket,
        /// Why.
        error: SendError,
    },
    /// A message has reached a stage, which is not its end: *custody* with its proof; *damaged*, and it is sent again; or, with
    /// a durable outbox, *undecided* at its timeout, and it is asked for further. [`Output::Finished`] follows.
    Stage {
        /// Which message.
        ticket: Ticket,
        /// How it stands.
        outcome: Box<SendOutcome>,
    },
    /// A message has its outcome.
    Finished {
        /// Which message.
        ticket: Ticket,
        /// How it ended.
        outcome: Box<SendOutcome>,
    },
    /// The answer to [`Core::handle_resolve`].
    Resolved {
        /// Which question.
        ticket: u64,
        /// The router's answer.
        answer: Resolution,
    },
    /// Something an operator or a program waits for.
    Event(Event),
}

/// A directory version that verified.
#[derive(Debug, Clone)]
pub enum Verified {
    /// No serial of it is below what was ever seen here: it may come into force.
    New(Arc<Table>),
    /// An older one: good for judging receipts only.
    Old(Arc<Table>),
}

/// What happened, for logs, metrics and readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Hello is done on a link.
    LinkUp {
        /// Which link.
        session: SessionId,
        /// The router.
        router: RouterId,
        /// The router's clock minus ours, ms.
        clock_offset_ms: i64,
    },
    /// An endpoint is attached.
    Attached {
        /// The endpoint.
        endpoint: EndpointId,
        /// The router.
        router: RouterId,
    },
    /// A router refused to attach an endpoint; tried again.
    AttachRefused {
        /// The endpoint.
        endpoint: EndpointId,
        /// The router.
        router: RouterId,
        /// Why.
        code: Code,
        /// What the router added.
        text: String,
    },
    /// The router drains: nothing new goes out on that link.
    Draining {
        /// The router.
        router: RouterId,
    },
    /// A directory is in force.
    Directory {
        /// Its version.
        version: DirectoryVersion,
    },
    /// A directory version could not be had.
    DirectoryFault {
        /// The version.
        version: DirectoryVersion,
        /// Why.
        why: String,
    },
    /// A message of the case has to go through the router that has an earlier one in custody, which cannot be reached: the
    /// case is held (WIRE 10.5), at most [`Limits::case_hold_ms`].
    CaseHeld {
        /// The sender.
        sender: EndpointId,
        /// The case id: personal, never to be logged.
        case: Bytes,
        /// The router, if it is one of this process's.
        router: Option<RouterId>,
    },
    /// A held case goes on in its order.
    CaseResumed {
        /// The sender.
        sender: EndpointId,
        /// The case id: personal, never to be logged.
        case: Bytes,
    },
    /// A case was held long enough: it goes on, and its order is no longer promised.
    CaseOrderEnded {
        /// The sender.
        sender: EndpointId,
        /// The case id: personal, never to be logged.
        case: Bytes,
    },
    /// A router's custody no longer counts; the message is sent again.
    CustodyLost {
        /// Which message.
        message: MessageId,
        /// Why.
        why: &'static str,
    },
    /// A message cannot be sent again, because its payload cannot be had from the durable outbox; it is asked for further.
    PayloadLost {
        /// Which message.
        message: MessageId,
    },
    /// An ended message has another outcome now, by a receipt of higher precedence (WIRE 10.6).
    OutcomeRevised {
        /// Its sender.
        sender: EndpointId,
        /// Which message.
        message: MessageId,
        /// What was told.
        before: FinalOutcome,
        /// What holds now.
        now: FinalOutcome,
        /// Who says so.
        issuer: String,
    },
    /// A second receipt by a recipient contradicts the one that stands (WIRE 10.6). An alarm.
    Contradiction {
        /// The message's sender.
        sender: EndpointId,
        /// Which message.
        message: MessageId,
        /// What stands.
        stands: FinalOutcome,
        /// What the second one says.
        contradicts: FinalOutcome,
        /// Who issued the second one.
        issuer: String,
    },
    /// A receipt did not prove what it claims and was not believed. An alarm.
    InvalidReceipt {
        /// The message it claims to be about.
        message: MessageId,
        /// Who claims to have issued it.
        issuer: String,
        /// Why it does not count.
        why: String,
    },
}

/// A RECEIPTS frame whose directory version is not at hand yet.
#[derive(Debug)]
struct Parked {
    session: SessionId,
    frame: Box<ReceiptsFrame>,
}

/// The endpoint side of the protocol for one process.
#[derive(Debug)]
pub struct Core {
    signers: Vec<Signer>,
    by_id: HashMap<EndpointId, usize, foldhash::fast::RandomState>,
    links: Vec<LinkSetup>,
    routers: Vec<RouterId>,
    sessions: BTreeMap<SessionId, Session>,
    /// Per endpoint, the links that take its entries, the preferred first.
    places: Vec<Vec<SessionId>>,
    outbox: Outbox,
    gather: Gather,
    inbox: Inbox,
    concluded: ConcludedMessages,
    /// Late receipts that wait for the durable outbox; each holds a label.
    lates: BTreeMap<StoreId, Late>,
    store_ids: u64,
    /// Messages with an idempotency key that the durable outbox has not answered for; each holds a slot of the outbox.
    keyed: BTreeMap<Ticket, Box<store::AcceptRecord>>,
    /// Places have changed since the outbox was told.
    replaced: bool,
    versions: Versions,
    roots: RootCache,
    ledger: Ledger,
    outputs: VecDeque<Output>,
    parked: VecDeque<Parked>,
    /// Versions being fetched or verified; `None`: nobody fetches it at the moment.
    wanted: BTreeMap<DirectoryVersion, Option<SessionId>>,
    unavailable: VecDeque<DirectoryVersion>,
    /// Snapshots of the directory in force, when they came over a link.
    snapshots: HashMap<Digest, Bytes>,
    recompile_us: Option<u64>,
    /// When a router is asked again which directory it uses.
    check_us: Option<u64>,
    journal: [u8; 16],
    directory: DirectoryFrom,
    limits: Limits,
    software: String,
    epoch: u64,
    turn: usize,
    closing: bool,
    dirty: bool,
    /// Links to look at in the next flush; the others have nothing new but perhaps messages to take.
    touched: BTreeSet<SessionId>,
}

impl Core {
    /// A core without links; the shell announces each connection by [`Core::handle_link_up`].
    pub fn new(config: CoreConfig) -> Self {
        let mut routers: Vec<RouterId> = config.links.iter().flat_map(|link| link.routers.iter().cloned()).collect();
        routers.sort_unstable();
        routers.dedup();
        let signers: Vec<Signer> =
            config.endpoints.into_iter().map(|setup| Signer::new(setup.id, setup.keys)).collect();
        let by_id = signers.iter().enumerate().map(|(index, signer)| (signer.id().clone(), index)).collect();
        Self {
            by_id,
            routers,
            sessions: BTreeMap::new(),
            places: vec![Vec::new(); signers.len()],
            outbox: Outbox::new(signers.len(), config.limits, config.seed),
            gather: Gather::new(signers.len()),
            inbox: Inbox::new(signers.len(), config.limits),
            concluded: ConcludedMessages::new(config.limits.concluded),
            lates: BTreeMap::new(),
            store_ids: 0,
            keyed: BTreeMap::new(),
            replaced: true,
            versions: Versions::new(config.limits.versions),
            roots: RootCache::new(config.limits.root_cache),
            ledger: Ledger::default(),
            outputs: VecDeque::new(),
            parked: VecDeque::new(),
            wanted: BTreeMap::new(),
            unavailable: VecDeque::new(),
            snapshots: HashMap::new(),
            recompile_us: None,
            check_us: None,
            journal: config.journal,
            directory: config.directory,
            limits: config.limits,
            software: config.software,
            epoch: 0,
            turn: 0,
            closing: false,
            dirty: false,
            touched: BTreeSet::new(),
            links: config.links,
            signers,
        }
    }

    // ---- getters

    /// The counters since start.
    pub fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// The table in force.
    pub fn table(&self) -> Option<&Arc<Table>> {
        self.versions.current()
    }

    /// On how many links entries of this endpoint are taken now.
    pub fn attached(&self, endpoint: &EndpointId) -> usize {
        let places = self.by_id.get(endpoint).and_then(|index| self.places.get(*index));
        places.map_or(0, Vec::len)
    }

    /// Whether nothing is under way: no message unsettled, none received without verdict, nothing to be written. Messages in
    /// custody, and those a durable outbox follows, are not under way.
    pub fn is_idle(&self) -> bool {
        self.outbox.len() == 0
            && self.lates.is_empty()
            && self.inbox.len() == 0
            && self.outputs.is_empty()
            && self.sessions.values().all(|session| session.settlements.is_empty())
    }

    /// How many root signatures were checked, and how many checks were answered from memory.
    pub fn root_checks(&self) -> (u64, u64) {
        (self.roots.checks(), self.roots.hits())
    }

    // ---- inputs

    /// A connection to router `router` (by position in the link's list) of link `link` is up. The shell has checked the
    /// router's certificate against its identities.
    pub fn handle_link_up(&mut self, now: Now, session: SessionId, link: usize, router: usize) {
        self.touch(session);
        let Some(setup) = self.links.get(link) else { return };
        let Some(router) = setup.routers.get(router).cloned() else { return };
        let router_index = self.routers.binary_search(&router).unwrap_or(usize::MAX);
        let table = self.versions.current().map(Arc::as_ref);
        let mut new = Session::new(
            now,
            session::SessionSetup {
                link,
                router_index,
                router,
                endpoints: &setup.endpoints,
                identities: setup.identities.clone(),
                table,
            },
            &self.limits,
        );
        new.greet(session::control::Greeting {
            clock: now.wall,
            directory: table.map(|table| table.zone_versions().cloned().collect()).unwrap_or_default(),
            software: &self.software,
            largest_payload: self.limits.largest_payload,
        });
        self.sessions.insert(session, new);
    }

    /// A whole frame arrived on a stream.
    pub fn handle_frame(&mut self, now: Now, session: SessionId, stream: Stream, kind: u64, body: Bytes) {
        self.touch(session);
        let Some(one) = self.sessions.get_mut(&session) else { return };
        if let Err(fault) = one.handle_frame(now, stream, kind, body, &self.limits) {
            return self.close(now, session, fault);
        }
        while let Some(event) = self.sessions.get_mut(&session).and_then(Session::poll_event) {
            self.on_session_event(now, session, event);
        }
    }

    /// What was written to a lane has left.
    pub fn handle_writable(&mut self, session: SessionId, stream: Stream) {
        self.touch(session);
        if let Some(one) = self.sessions.get_mut(&session) {
            one.handle_writable(stream);
        }
    }

    /// The connection is gone: what was in flight on it is undecided (WIRE 8.5).
    pub fn handle_link_down(&mut self, now: Now, session: SessionId) {
        self.touch_all();
        self.forget(now, session);
    }

    /// Takes a message into the outbox.
    ///
    /// # Errors
    /// [`SendError`]: nothing was taken, nothing was sent.
    pub fn handle_send(&mut self, now: Now, outgoing: &Outgoing) -> Result<Ticket, SendError> {
        self.dirty = true;
        self.accept(now, outgoing)
    }

    /// The journal's answer to a lookup.
    pub fn handle_found(&mut self, found: Found) {
        self.dirty = true;
        self.inbox.on_found(&mut self.ledger, found);
    }

    /// The application's answer to a delivery.
    pub fn handle_verdict(&mut self, delivery: DeliveryId, verdict: &Verdict) {
        self.dirty = true;
        self.inbox.on_verdict(delivery, verdict);
    }

    /// The application let go of a delivery without a verdict. Its sender learns that the outcome is undecided, and a
    /// repeat is handed over again.
    pub fn handle_abandoned(&mut self, delivery: DeliveryId) {
        self.dirty = true;
        self.inbox.on_abandoned(&mut self.ledger, delivery);
    }

    /// The journal has a record durably, or could not make it so.
    pub fn handle_journalled(&mut self, delivery: DeliveryId, durable: bool) {
        self.dirty = true;
        if durable {
            self.inbox.on_journalled(&mut self.ledger, delivery);
        } else {
            self.inbox.on_journal_failed(&mut self.ledger, delivery);
        }
    }

    /// The shell puts a table in force.
    pub fn handle_table(&mut self, now: Now, table: Arc<Table>) {
        self.touch_all();
        self.install(now, table);
    }

    /// The result of an [`Output::Verify`].
    pub fn handle_verified(
        &mut self,
        now: Now,
        version: DirectoryVersion,
        snapshots: &[Bytes],
        result: Result<Verified, String>,
    ) {
        self.touch_all();
        self.on_verified(now, version, snapshots, result);
    }

    /// Asks a router who is responsible; answered by [`Output::Resolved`], with `not-ready` when no link is up.
    pub fn handle_resolve(&mut self, ticket: u64, service: ServiceKey, jurisdiction: Ars) {
        self.touch_all();
        let up = self.sessions.values_mut().filter(|session| session.is_up());
        let asked = up.into_iter().any(|session| session.resolve(ticket, service, jurisdiction));
        if !asked {
            self.resolve_failed(ticket);
        }
    }

    /// Takes no more messages; what is under way goes on until [`Core::is_idle`].
    pub fn handle_close(&mut self) {
        self.closing = true;
    }

    /// Withdraws every attachment, before the shell closes the connections.
    pub fn handle_detach(&mut self) {
        self.touch_all();
        for session in self.sessions.values_mut().filter(|session| session.is_up()) {
            let usable: Vec<(usize, u64)> =
                session.attachments.all.iter().filter(|one| one.usable).map(|one| (one.endpoint, one.epoch)).collect();
            for (endpoint, epoch) in usable {
                let Some(signer) = self.signers.get(endpoint) else { continue };
                session.detach(signer.id().clone(), epoch);
            }
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.touch_all();
        self.on_timeout(now);
    }

    fn touch(&mut self, session: SessionId) {
        self.dirty = true;
        self.touched.insert(session);
    }

    fn touch_all(&mut self) {
        self.dirty = true;
        self.touched.extend(self.sessions.keys());
    }

    // ---- outputs

    /// The next thing to do; `None` when there is nothing left until the next input.
    pub fn poll_output(&mut self, now: Now) -> Option<Output> {
        if self.outputs.is_empty() && std::mem::take(&mut self.dirty) {
            self.flush(now);
        }
        self.outputs.pop_front()
    }

    /// The next message for the application. Poll only when the application can take one.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.inbox.poll_delivery(&mut self.ledger)
    }

    /// Whether [`Core::poll_delivery`] would give one.
    pub fn has_delivery(&self) -> bool {
        self.inbox.has_delivery()
    }

    /// When [`Core::handle_timeout`] wants to be called, in microseconds of [`Now::mono_us`].
    pub fn poll_deadline(&self) -> Option<u64> {
        let sessions = self.sessions.values().filter_map(Session::poll_deadline).min();
        let own = [self.outbox.poll_deadline(), self.gather.poll_deadline(), self.recompile_us, self.check_us];
        own.into_iter().chain([sessions]).flatten().min()
    }
}

#[cfg(test)]
mod tests;
