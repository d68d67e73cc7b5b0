//! Hello, clocks and pings: is the peer who the directory says, does it speak our version, is its clock sane?

use kernpost_codecs::{CloseCode, ControlFrame, FrameFault, Hello, Role, UnixMs};

use super::{Alarm, Control, ControlOutput, Timer, unexpected};
use crate::event::EngineEvent;
use crate::link::{LinkId, Peer};
use crate::now::Now;

/// The only version this software speaks.
const VERSION: u64 = 1;
/// A clock further off than this is an alarm, ms (WIRE 3.1).
const CLOCK_ALARM_MS: u64 = 5_000;

impl Control {
    /// Each side's first frame (WIRE 3.1).
    pub(super) fn send_hello(&mut self, now: Now, link: LinkId) {
        let hello = Hello {
            lowest_version: VERSION,
            highest_version: VERSION,
            role: Role::Router(self.config.router.clone()),
            clock: now.wall,
            directory: self.table.zone_versions().cloned().collect(),
            largest_frame_body: kernpost_codecs::frame::LONGEST_BODY as u64,
            largest_statement: kernpost_codecs::statement::LONGEST_STATEMENT as u64,
            largest_payload: self.config.largest_payload,
            software: self.config.software.clone(),
        };
        self.send(link, &ControlFrame::Hello(hello));
    }

    pub(super) fn on_hello(&mut self, now: Now, link: LinkId, hello: Hello) -> Result<(), FrameFault> {
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        if !(hello.lowest_version..=hello.highest_version).contains(&VERSION) {
            let detail = format!(
                "the peer speaks versions {} to {}, this router {VERSION}",
                hello.lowest_version, hello.highest_version
            );
            return Err(FrameFault::new(CloseCode::VersionMismatch, "WIRE 3.1", detail));
        }
        match (&state.peer, &hello.role) {
            (Peer::Router(bound), Role::Router(stated)) if bound == stated => {}
            (Peer::Endpoints(_), Role::Endpoint) => {}
            (peer, _) => {
                let detail = format!("the directory binds this certificate to {peer:?}, hello states another role");
                return Err(FrameFault::new(CloseCode::IdentityUnknown, "WIRE 3.1", detail));
            }
        }
        let (worker, peer) = (state.worker, state.peer.clone());
        state.hello = Some(hello.clone());
        self.supersede_router(link, &peer);
        self.note_clock(now, link, hello.clock);
        if peer.is_router() {
            self.check_equivocation(link, &hello);
        }
        let event = EngineEvent::LinkUp { link, worker, peer: peer.clone() };
        self.outputs.push_back(ControlOutput::Engine { worker: None, event });
        let event = EngineEvent::LargestPayload { link, bytes: hello.largest_payload };
        self.outputs.push_back(ControlOutput::Engine { worker: Some(worker), event });
        self.arm(now.after_ms(self.config.ping_interval_ms), Timer::Ping(link));
        if peer.is_router() {
            self.send_presence_full(link);
        }
        if let Some(until) = self.draining_until {
            self.send(link, &ControlFrame::Drain { by: until });
        }
        Ok(())
    }

    /// A router that dials again before its old link was given up: the new link counts (WIRE 2.5 `superseded`).
    fn supersede_router(&mut self, link: LinkId, peer: &Peer) {
        if !peer.is_router() {
            return;
        }
        let old =
            self.links.iter().find(|(other, state)| **other != link && state.peer == *peer && state.hello.is_some());
        if let Some(old) = old.map(|(old, _)| *old) {
            self.drop_link(old);
            let detail = "the same router said hello on a newer link".to_owned();
            self.close(old, FrameFault::new(CloseCode::Superseded, "WIRE 2.5", detail));
        }
    }

    /// Equal serial with another digest: two directories claim the same place in time (WIRE 3.1).
    fn check_equivocation(&mut self, link: LinkId, hello: &Hello) {
        let conflicts: Vec<String> = hello
            .directory
            .iter()
            .filter(|theirs| {
                self.table
                    .zone_versions()
                    .any(|o| o.zone == theirs.zone && o.serial == theirs.serial && o.digest != theirs.digest)
            })
            .map(|theirs| format!("{} serial {}", theirs.zone, theirs.serial))
            .collect();
        for zone in conflicts {
            let peer = self.links.get(&link).map(|state| format!("{:?}", state.peer)).unwrap_or_default();
            self.counts.equivocations += 1;
            self.outputs.push_back(ControlOutput::Alarm(Alarm::Equivocation { zone, peer }));
        }
    }

    pub(super) fn on_hello_timeout(&mut self, link: LinkId) {
        if self.links.get(&link).is_some_and(|state| state.hello.is_none()) {
            self.drop_link(link);
            let detail = format!("no HELLO within {} ms", self.config.hello_timeout_ms);
            self.close(link, FrameFault::new(CloseCode::HelloTimeout, "WIRE 2.5", detail));
        }
    }

    pub(super) fn on_ping_timer(&mut self, now: Now, link: LinkId) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        state.ping_sent_us = Some(now.mono_us);
        self.send(link, &ControlFrame::Ping { nonce: now.mono_us });
        self.arm(now.after_ms(self.config.ping_interval_ms), Timer::Ping(link));
    }

    pub(super) fn on_pong(&mut self, now: Now, link: LinkId, clock: UnixMs) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        state.round_trip_us = state.ping_sent_us.take().map(|sent| now.mono_us.saturating_sub(sent));
        self.note_clock(now, link, clock);
    }

    fn note_clock(&mut self, now: Now, link: LinkId, clock: UnixMs) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        let offset_ms = i64::try_from(clock.0).unwrap_or(i64::MAX).saturating_sub_unsigned(now.wall.0);
        let was = std::mem::replace(&mut state.clock_offset_ms, offset_ms);
        // An endpoint side states what it likes; only routers raise alarms.
        if state.peer.is_router() && offset_ms.unsigned_abs() > CLOCK_ALARM_MS && was.unsigned_abs() <= CLOCK_ALARM_MS {
            let peer = format!("{:?}", state.peer);
            self.outputs.push_back(ControlOutput::Alarm(Alarm::Clock { peer, offset_ms }));
        }
    }
}

/// PRESENCE before a router said hello, or from an endpoint side, is out of order.
pub(super) fn only_routers(peer: &Peer) -> Result<(), FrameFault> {
    if peer.is_router() { Ok(()) } else { Err(unexpected("WIRE 3.3", "PRESENCE from an endpoint side")) }
}
