//! The control stream of one link: hello, attach, resolve, directory, drain, ping (WIRE §3).
//!
//! At most 48 requests are open at once, below the 64 of WIRE §3; further ones wait, at most 1,024 resolves among them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use kernpost_codecs::control::{ControlFrame, Hello, Role, VERSION};
use kernpost_codecs::digest::Digest;
use kernpost_codecs::{Ars, CloseCode, Code, DirectoryVersion, EndpointId, FrameFault, ServiceKey, ZoneVersion};

use super::fetch::{Fetch, FetchAsk, FetchEvent};
use super::{Phase, Session, SessionEvent};
use crate::core::limits::Limits;
use crate::core::now::Now;

const MOST_OPEN: usize = 48;
const MOST_RESOLVES: usize = 1_024;

/// The answer to a resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// 0: found; else why not.
    pub code: Code,
    /// Who is responsible.
    pub endpoint: Option<EndpointId>,
    /// Its encryption key, as COSE_Key.
    pub encryption_key: Option<Bytes>,
    /// The directory version in which this holds.
    pub version: DirectoryVersion,
}

#[derive(Debug, Clone, Copy)]
enum Ask {
    /// By position in the link's attachments.
    Attach {
        position: usize,
    },
    Resolve {
        ticket: u64,
    },
    Fetch,
}

#[derive(Debug, Default)]
pub(crate) struct Control {
    next: u64,
    open: BTreeMap<u64, Ask>,
    resolves: VecDeque<(u64, ServiceKey, Ars)>,
    fetch: Option<Fetch>,
    /// The fetch's next question, while there is no room for it.
    fetch_ask: Option<FetchAsk>,
}

impl Control {
    /// How many more requests may be open.
    pub fn room(&self) -> usize {
        MOST_OPEN.saturating_sub(self.open.len())
    }

    pub fn is_fetching(&self) -> bool {
        self.fetch.is_some()
    }

    fn ask(&mut self, ask: Ask) -> u64 {
        let req = self.next;
        self.next += 1;
        self.open.insert(req, ask);
        req
    }
}

/// What hello states.
pub(crate) struct Greeting<'a> {
    pub clock: kernpost_codecs::UnixMs,
    pub directory: Vec<ZoneVersion>,
    pub software: &'a str,
    pub largest_payload: u64,
}

impl Session {
    /// Our first frame.
    pub fn greet(&mut self, greeting: Greeting<'_>) {
        let hello = Hello {
            lowest_version: VERSION,
            highest_version: VERSION,
            role: Role::Endpoint,
            clock: greeting.clock,
            directory: greeting.directory,
            largest_frame_body: kernpost_codecs::frame::LONGEST_BODY as u64,
            largest_statement: kernpost_codecs::statement::LONGEST_RECEIPT as u64,
            largest_payload: greeting.largest_payload,
            software: greeting.software.to_owned(),
        };
        self.send(&ControlFrame::Hello(hello));
    }

    /// Asks the router to attach the endpoint at this position of the link's attachments.
    pub fn attach(&mut self, position: usize, token: Bytes) {
        let req = self.control.ask(Ask::Attach { position });
        self.send(&ControlFrame::Attach { req, token });
    }

    /// Withdraws an attachment.
    pub fn detach(&mut self, endpoint: EndpointId, epoch: u64) {
        self.send(&ControlFrame::Detach { endpoint, epoch });
    }

    /// Asks who is responsible; false when too many such questions wait.
    pub fn resolve(&mut self, ticket: u64, service: ServiceKey, jurisdiction: Ars) -> bool {
        if self.control.resolves.len() >= MOST_RESOLVES {
            return false;
        }
        self.control.resolves.push_back((ticket, service, jurisdiction));
        self.pump();
        true
    }

    /// Fetches a directory version; false when another one is being fetched.
    pub fn fetch(
        &mut self,
        version: DirectoryVersion,
        zones: Option<Vec<ZoneVersion>>,
        held: HashMap<Digest, Bytes>,
    ) -> bool {
        if self.control.fetch.is_some() {
            return false;
        }
        let mut fetch = Fetch::new(version, zones, held);
        let step = fetch.next();
        self.control.fetch = Some(fetch);
        self.on_fetch_step(step);
        true
    }

    /// Resolves that got no answer, when the link is gone.
    pub fn unanswered(&mut self) -> Vec<u64> {
        let open = self.control.open.values().filter_map(|ask| match ask {
            Ask::Resolve { ticket } => Some(*ticket),
            Ask::Attach { .. } | Ask::Fetch => None,
        });
        open.chain(self.control.resolves.iter().map(|(ticket, _, _)| *ticket)).collect()
    }

    /// The version being fetched, when the link is gone.
    pub fn unfetched(&self) -> Option<DirectoryVersion> {
        self.control.fetch.as_ref().map(Fetch::version)
    }

    pub(super) fn handle_control(
        &mut self,
        now: Now,
        kind: u64,
        body: &Bytes,
        limits: &Limits,
    ) -> Result<(), FrameFault> {
        let Some(frame) = ControlFrame::decode(kind, body)? else { return Ok(()) };
        match frame {
            ControlFrame::Hello(hello) => self.on_hello(now, hello)?,
            ControlFrame::Attached { req, code, detail } => {
                let Ask::Attach { position } = self.answered(req)? else { return Err(wrong_answer(req)) };
                self.on_attached(now, position, code, detail, limits);
            }
            ControlFrame::Resolved { req, code, endpoint, encryption_key, directory_version: version } => {
                let Ask::Resolve { ticket } = self.answered(req)? else { return Err(wrong_answer(req)) };
                let answer = Resolution { code, endpoint, encryption_key, version };
                self.events.push_back(SessionEvent::Resolved { ticket, answer });
            }
            ControlFrame::Version { req, zones } => {
                let Ask::Fetch = self.answered(req)? else { return Err(wrong_answer(req)) };
                if let Some(mut fetch) = self.control.fetch.take() {
                    let step = fetch.on_zones(zones);
                    self.control.fetch = Some(fetch);
                    self.on_fetch_step(step);
                }
            }
            ControlFrame::Snapshot { req, total, offset, bytes } => {
                let Ask::Fetch = self.answered(req)? else { return Err(wrong_answer(req)) };
                if let Some(mut fetch) = self.control.fetch.take() {
                    let step = match fetch.next() {
                        Ok(FetchAsk::Snapshot { digest, .. }) => fetch.on_piece(digest, total, offset, &bytes),
                        other => other,
                    };
                    self.control.fetch = Some(fetch);
                    self.on_fetch_step(step);
                }
            }
            ControlFrame::Drain { .. } => {
                self.phase = Phase::Draining;
                self.events.push_back(SessionEvent::Draining);
            }
            ControlFrame::Ping { nonce } => self.send(&ControlFrame::Pong { nonce, clock: now.wall }),
            ControlFrame::Pong { .. } => {}
            _ => {
                return Err(FrameFault::unexpected("WIRE 3", format!("frame type {kind:#04x} is not for an endpoint")));
            }
        }
        self.pump();
        Ok(())
    }

    fn on_hello(&mut self, now: Now, hello: Hello) -> Result<(), FrameFault> {
        if self.is_up() {
            return Err(FrameFault::unexpected("WIRE 3.1", "a second hello"));
        }
        if !(hello.lowest_version..=hello.highest_version).contains(&VERSION) {
            let range = format!("{}..={}", hello.lowest_version, hello.highest_version);
            let text = format!("the router speaks versions {range}, this software {VERSION}");
            return Err(FrameFault::new(CloseCode::VersionMismatch, "WIRE 3.1", text));
        }
        let named = match &hello.role {
            Role::Router(router) => router.as_str(),
            Role::Endpoint => "an endpoint",
        };
        if named != self.router.as_str() {
            let text = format!("expected router {}, hello names {named}", self.router);
            return Err(FrameFault::new(CloseCode::IdentityUnknown, "WIRE 3.1", text));
        }
        self.phase = Phase::Up;
        self.largest_payload = hello.largest_payload;
        let clock_offset_ms = i64::try_from(hello.clock.0).unwrap_or(i64::MAX) - i64::try_from(now.wall.0).unwrap_or(0);
        self.events.push_back(SessionEvent::Up { directory: hello.directory, clock_offset_ms });
        Ok(())
    }

    fn on_attached(&mut self, now: Now, position: usize, code: Code, detail: String, limits: &Limits) {
        let Some(endpoint) = self.attachments.all.get(position).map(|one| one.endpoint) else { return };
        let (setbacks, before) =
            self.attachments.all.get(position).map_or((0, false), |one| (one.setbacks, one.usable));
        let wait_ms = 500u64.saturating_mul(1 << setbacks.min(6));
        self.attachments.on_answer(now, position, code, limits.check_ms, wait_ms);
        if code.as_u64() != 0 {
            self.events.push_back(SessionEvent::AttachRefused { endpoint, code, text: detail });
        } else if !before {
            self.events.push_back(SessionEvent::Attached { endpoint });
        }
    }

    fn on_fetch_step(&mut self, step: Result<FetchAsk, FetchEvent>) {
        match step {
            Ok(ask) => {
                self.control.fetch_ask = Some(ask);
                self.pump();
            }
            Err(end) => {
                self.control.fetch = None;
                self.events.push_back(SessionEvent::Fetched(end));
            }
        }
    }

    /// Sends waiting questions while there is room.
    fn pump(&mut self) {
        while self.control.room() > 0 {
            if let Some(ask) = self.control.fetch_ask.take() {
                let req = self.control.ask(Ask::Fetch);
                self.send(&match ask {
                    FetchAsk::Version(version) => ControlFrame::GetVersion { req, version },
                    FetchAsk::Snapshot { digest, offset } => ControlFrame::GetSnapshot { req, digest, offset },
                });
            } else if let Some((ticket, service, jurisdiction)) = self.control.resolves.pop_front() {
                let req = self.control.ask(Ask::Resolve { ticket });
                self.send(&ControlFrame::Resolve { req, service, jurisdiction });
            } else {
                break;
            }
        }
    }

    fn answered(&mut self, req: u64) -> Result<Ask, FrameFault> {
        self.control.open.remove(&req).ok_or_else(|| wrong_answer(req))
    }

    fn send(&mut self, frame: &ControlFrame) {
        frame.encode(&mut self.control_out);
    }

    /// Takes the control bytes to be written.
    pub fn take_control(&mut self) -> Option<Bytes> {
        (!self.control_out.is_empty()).then(|| std::mem::replace(&mut self.control_out, BytesMut::new()).freeze())
    }
}

fn wrong_answer(req: u64) -> FrameFault {
    FrameFault::unexpected("WIRE 3", format!("an answer to request {req}, which was not asked"))
}
