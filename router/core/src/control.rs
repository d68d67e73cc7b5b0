//! The control side of a router: everything on the control streams of all its links. One per process.
//!
//! ```text
//! link up ──HELLO both ways──▶ ready ──ATTACH/PRESENCE──▶ presence ──events──▶ every engine
//!    │ no hello in 10 s            │ directory drops the identity
//!    ▼                             ▼
//!  close hello-timeout           close revoked
//! ```
//!
//! It answers: who is at the other end (WIRE 2.2), who is attached where (WIRE 3.2, 3.3), what the directory says (RESOLVE,
//! GET-*), and tells the engines in order. It takes no decision about a message. Call any `handle_*`, then
//! [`Control::poll_output`] until empty, then [`Control::poll_deadline`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::{
    CloseCode, ControlFrame, DirectoryVersion, EndpointId, FrameFault, Hello, LinkIdentity, RouterId,
};
use kernpost_routing_table::{IdentityUse, Table};

use crate::collections::Map;
use crate::config::ControlConfig;
use crate::event::EngineEvent;
use crate::link::{LinkId, Peer, WorkerId};
use crate::now::Now;

mod attach;
mod hello;
mod presence;
mod serve;
mod status;

pub use serve::SnapshotSource;
pub use status::{Alarm, AttachmentStatus, ControlStatus, LinkStatus};

use attach::{Instance, Local};
use presence::{Remote, Unverified};

/// What the shell has to do for the control side.
#[derive(Debug)]
pub enum ControlOutput {
    /// Write this whole frame to the link's control stream.
    Frame {
        /// The link.
        link: LinkId,
        /// One frame with its header.
        bytes: Bytes,
    },
    /// Give this event to one engine, or to all when `worker` is `None`.
    Engine {
        /// Which engine.
        worker: Option<WorkerId>,
        /// What happened.
        event: EngineEvent,
    },
    /// Close the link.
    Close {
        /// The link.
        link: LinkId,
        /// Why, by name.
        fault: FrameFault,
    },
    /// Tell the operator.
    Alarm(Alarm),
}

/// One link as the control side sees it.
#[derive(Debug)]
struct ControlLink {
    worker: WorkerId,
    peer: Peer,
    /// The identity by which the directory binds the peer.
    identity: LinkIdentity,
    hello: Option<Hello>,
    /// Number of the last PRESENCE frame sent and received; 0 before the first.
    presence_sent: u64,
    presence_received: u64,
    /// The peer drains: nothing new goes there.
    peer_drains: bool,
    attachments: usize,
    ping_sent_us: Option<u64>,
    round_trip_us: Option<u64>,
    clock_offset_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Timer {
    Hello(LinkId),
    Ping(LinkId),
    Expiry { endpoint: EndpointId, epoch: u64 },
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Control {
    config: ControlConfig,
    table: Arc<Table>,
    snapshots: Arc<dyn SnapshotSource>,
    links: Map<LinkId, ControlLink>,
    /// Attachments on links here. Bounded by links × `attachments_per_link`.
    local: Map<Instance, Local>,
    /// Attachments other routers told of, per link and (endpoint, epoch). Bounded by the directory.
    remote: Map<LinkId, Map<(EndpointId, u64), Remote>>,
    /// Tokens this router's directory could not verify; tried again with the next table.
    unverified: Vec<Unverified>,
    timers: BTreeMap<(u64, u64), Timer>,
    timer_count: u64,
    presence_number: u64,
    draining_until: Option<kernpost_codecs::UnixMs>,
    counts: status::Counts,
    outputs: VecDeque<ControlOutput>,
}

/// Inputs.
impl Control {
    /// A control side without links.
    pub fn new(config: ControlConfig, table: Arc<Table>, snapshots: Arc<dyn SnapshotSource>) -> Self {
        Self {
            config,
            table,
            snapshots,
            links: Map::default(),
            local: Map::default(),
            remote: Map::default(),
            unverified: Vec::new(),
            timers: BTreeMap::new(),
            timer_count: 0,
            presence_number: 0,
            draining_until: None,
            counts: status::Counts::default(),
            outputs: VecDeque::new(),
        }
    }

    /// A handshake finished. `identities` are those of the peer's certificate in the order of WIRE 2.2.
    pub fn handle_link_up(&mut self, now: Now, link: LinkId, worker: WorkerId, identities: &[LinkIdentity]) {
        let Some((peer, identity)) = self.bind(identities) else {
            let names: Vec<String> = identities.iter().map(ToString::to_string).collect();
            let detail = format!("no directory entry lists any of: {}", names.join(", "));
            self.close(link, FrameFault::new(CloseCode::IdentityUnknown, "WIRE 2.2", detail));
            return;
        };
        if let Peer::Router(router) = &peer
            && *router == self.config.router
        {
            let detail = format!("the peer states this router's own identity {router}");
            self.close(link, FrameFault::new(CloseCode::IdentityUnknown, "WIRE 2.2", detail));
            return;
        }
        let same = self.links.values().filter(|state| state.identity == identity).count();
        if same >= self.config.links_per_identity {
            let detail = format!("{identity} has {same} links here already");
            self.close(link, FrameFault::new(CloseCode::OverLimit, "WIRE 2.6", detail));
            return;
        }
        let state = ControlLink {
            worker,
            peer,
            identity,
            hello: None,
            presence_sent: 0,
            presence_received: 0,
            peer_drains: false,
            attachments: 0,
            ping_sent_us: None,
            round_trip_us: None,
            clock_offset_ms: 0,
        };
        self.links.insert(link, state);
        self.send_hello(now, link);
        self.arm(now.after_ms(self.config.hello_timeout_ms), Timer::Hello(link));
    }

    /// Takes in one whole control frame. A fault closes this link and touches no other.
    pub fn handle_frame(&mut self, now: Now, link: LinkId, kind: u64, body: &Bytes) {
        if !self.links.contains_key(&link) {
            return;
        }
        if let Err(fault) = self.dispatch(now, link, kind, body) {
            self.drop_link(link);
            self.close(link, fault);
        }
    }

    /// The link is gone, for whatever reason. Safe to call more than once.
    pub fn handle_link_down(&mut self, link: LinkId) {
        self.drop_link(link);
    }

    /// Another table is in force: identities, keys and tokens are judged again, so that a revocation reaches live links.
    pub fn handle_table(&mut self, now: Now, table: Arc<Table>) {
        self.table = Arc::clone(&table);
        self.outputs.push_back(ControlOutput::Engine { worker: None, event: EngineEvent::Table(table) });
        self.recheck_links();
        self.recheck_local(now);
        self.recheck_remote(now);
    }

    /// Begins the orderly stop: every link is told, every engine refuses new entries.
    pub fn handle_drain(&mut self, until: kernpost_codecs::UnixMs) {
        if self.draining_until.replace(until).is_some() {
            return;
        }
        let links: Vec<LinkId> = self.ready_links().collect();
        for link in links {
            self.send(link, &ControlFrame::Drain { by: until });
        }
        self.outputs.push_back(ControlOutput::Engine { worker: None, event: EngineEvent::Drain });
    }

    /// Acts on every timer that has run out.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now.mono_us
        {
            match entry.remove() {
                Timer::Hello(link) => self.on_hello_timeout(link),
                Timer::Ping(link) => self.on_ping_timer(now, link),
                Timer::Expiry { endpoint, epoch } => self.on_expiry(&endpoint, epoch),
            }
        }
    }
}

/// Outputs.
impl Control {
    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<ControlOutput> {
        self.outputs.pop_front()
    }

    /// When [`Control::handle_timeout`] wants to be called, in monotonic µs.
    pub fn poll_deadline(&self) -> Option<u64> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }
}

impl Control {
    /// HELLO first; then a flat match over the frames. Unknown types are skipped (WIRE 2.4).
    fn dispatch(&mut self, now: Now, link: LinkId, kind: u64, body: &Bytes) -> Result<(), FrameFault> {
        let Some(frame) = ControlFrame::decode(kind, body)? else {
            return Ok(());
        };
        let greeted = self.links.get(&link).is_some_and(|state| state.hello.is_some());
        match (greeted, frame) {
            (false, ControlFrame::Hello(hello)) => self.on_hello(now, link, hello),
            (false, _) => Err(unexpected("WIRE 3.1", "a frame before HELLO")),
            (true, ControlFrame::Hello(_)) => Err(unexpected("WIRE 3.1", "a second HELLO")),
            (true, ControlFrame::Attach { req, token }) => self.on_attach(now, link, req, &token),
            (true, ControlFrame::Detach { endpoint, epoch }) => {
                self.on_detach(link, &endpoint, epoch);
                Ok(())
            }
            (true, ControlFrame::PresenceFull { number, tokens, more }) => {
                self.on_presence_full(now, link, number, tokens, more)
            }
            (true, ControlFrame::PresenceDelta { number, attached, detached }) => {
                self.on_presence_delta(now, link, number, attached, &detached)
            }
            (true, ControlFrame::Resolve { req, service, jurisdiction }) => {
                self.on_resolve(link, req, service, jurisdiction);
                Ok(())
            }
            (true, ControlFrame::GetVersion { req, version }) => {
                self.on_get_version(link, req, version);
                Ok(())
            }
            (true, ControlFrame::GetSnapshot { req, digest, offset }) => {
                self.on_get_snapshot(link, req, digest, offset);
                Ok(())
            }
            (true, ControlFrame::Drain { .. }) => {
                self.on_peer_drains(link);
                Ok(())
            }
            (true, ControlFrame::Ping { nonce }) => {
                self.send(link, &ControlFrame::Pong { nonce, clock: now.wall });
                Ok(())
            }
            (true, ControlFrame::Pong { clock, .. }) => {
                self.on_pong(now, link, clock);
                Ok(())
            }
            (true, _) => Err(unexpected("WIRE 3", &format!("type {kind:#04x} answers what was not asked"))),
        }
    }

    /// The first identity that any directory entry lists (WIRE 2.2).
    fn bind(&self, identities: &[LinkIdentity]) -> Option<(Peer, LinkIdentity)> {
        identities.iter().find_map(|identity| {
            let peer = match self.table.identity(identity)? {
                IdentityUse::Router(router) => Peer::Router(router.clone()),
                IdentityUse::Endpoints(_) => Peer::Endpoints(identity.clone()),
            };
            Some((peer, identity.clone()))
        })
    }

    /// Forgets a link: its attachments and what it told of others; the engines hear of it after their presence changed.
    fn drop_link(&mut self, link: LinkId) {
        let Some(state) = self.links.remove(&link) else {
            return;
        };
        self.detach_all_of(link);
        self.forget_remote_of(link, &state.peer);
        if state.hello.is_some() {
            self.outputs.push_back(ControlOutput::Engine { worker: None, event: EngineEvent::LinkDown { link } });
        }
    }

    /// Closes links whose identity the directory no longer lists, or binds to somebody else.
    fn recheck_links(&mut self) {
        let stale: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, state)| {
                self.bind(std::slice::from_ref(&state.identity)).is_none_or(|(peer, _)| peer != state.peer)
            })
            .map(|(link, _)| *link)
            .collect();
        for link in stale {
            self.drop_link(link);
            let detail = "the directory no longer lists this link identity".to_owned();
            self.close(link, FrameFault::new(CloseCode::Revoked, "design 9", detail));
        }
    }

    fn on_peer_drains(&mut self, link: LinkId) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        state.peer_drains = true;
        let peer = state.peer.clone();
        match peer {
            Peer::Endpoints(_) => self.detach_all_of(link),
            Peer::Router(_) => self.forget_remote_of(link, &peer),
        }
    }

    fn ready_links(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.links.iter().filter(|(_, state)| state.hello.is_some()).map(|(link, _)| *link)
    }

    fn ready_routers(&self) -> Vec<(LinkId, RouterId)> {
        let ready = self.links.iter().filter(|(_, state)| state.hello.is_some());
        let mut routers: Vec<_> = ready
            .filter_map(|(link, state)| match &state.peer {
                Peer::Router(router) => Some((*link, router.clone())),
                Peer::Endpoints(_) => None,
            })
            .collect();
        routers.sort();
        routers
    }

    fn send(&mut self, link: LinkId, frame: &ControlFrame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.outputs.push_back(ControlOutput::Frame { link, bytes: bytes.freeze() });
    }

    fn close(&mut self, link: LinkId, fault: FrameFault) {
        self.outputs.push_back(ControlOutput::Close { link, fault });
    }

    fn arm(&mut self, at_us: u64, timer: Timer) {
        self.timer_count += 1;
        self.timers.insert((at_us, self.timer_count), timer);
    }

    fn version(&self) -> DirectoryVersion {
        self.table.version()
    }
}

fn unexpected(clause: &'static str, what: &str) -> FrameFault {
    FrameFault::new(CloseCode::UnexpectedFrame, clause, what.to_owned())
}
