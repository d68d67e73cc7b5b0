//! The router of an in-memory network: the real control side and one real engine, joined as a router process joins them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::frame::FrameDecoder;
use kernpost_codecs::part::LONGEST_INLINE_PAYLOAD;
use kernpost_codecs::{Class, Digest, DirectoryVersion, FrameFault, LaneKind, LinkIdentity, RouterId, ZoneVersion};
use kernpost_router_core::control::SnapshotSource;
use kernpost_router_core::{
    Control, ControlConfig, ControlOutput, Engine, EngineConfig, EngineOutput, LinkId, Now as RouterNow, WorkerId,
};
use kernpost_routing_table::{Directory, Table};

use super::process::Packet;
use crate::core::{Now, SessionId, Stream};

/// What the router wants of the network. A session of a client and the router's link have the same number.
#[derive(Debug)]
pub(super) enum Effect {
    Send(Packet),
    Close(SessionId, FrameFault),
}

#[derive(Debug)]
pub(super) struct Router {
    control: Control,
    engine: Engine,
    decoders: BTreeMap<(SessionId, Stream), FrameDecoder>,
}

/// The directory of the network never changes: it is the only version that can be asked for.
#[derive(Debug)]
struct OneDirectory(Directory);

impl SnapshotSource for OneDirectory {
    fn version(&self, version: &DirectoryVersion) -> Option<Vec<ZoneVersion>> {
        (*version == self.0.version()).then(|| self.0.versions().to_vec())
    }

    fn snapshot(&self, digest: &Digest) -> Option<Bytes> {
        let mut zones = self.0.versions().iter().zip(self.0.signed());
        zones.find(|(zone, _)| zone.digest == *digest).map(|(_, signed)| signed.clone())
    }
}

impl Router {
    pub fn new(id: &RouterId, table: &Arc<Table>, directory: Directory) -> Self {
        let snapshots = Arc::new(OneDirectory(directory));
        let mut control = ControlConfig::new(id.clone(), 1);
        let mut engine = EngineConfig::new(id.clone());
        // There are no streams here that large payloads could travel on: they are refused `oversized`.
        control.largest_payload = LONGEST_INLINE_PAYLOAD as u64;
        engine.largest_payload = LONGEST_INLINE_PAYLOAD as u64;
        Self {
            control: Control::new(control, Arc::clone(table), snapshots),
            engine: Engine::new(engine, WorkerId(0), Arc::clone(table)),
            decoders: BTreeMap::new(),
        }
    }

    pub fn connected(&mut self, now: Now, session: SessionId, identity: &LinkIdentity) {
        self.control.handle_link_up(at(now), link(session), WorkerId(0), std::slice::from_ref(identity));
    }

    pub fn lost(&mut self, session: SessionId) {
        self.control.handle_link_down(link(session));
        self.decoders.retain(|(of, _), _| *of != session);
    }

    /// Takes in whole frames of one stream.
    pub fn arrived(&mut self, now: Now, packet: Packet) -> Result<(), FrameFault> {
        let decoder = self.decoders.entry((packet.session, packet.stream)).or_default();
        decoder.push(packet.bytes);
        let link = link(packet.session);
        while let Some(frame) = decoder.next()? {
            match packet.stream {
                Stream::Control => self.control.handle_frame(at(now), link, frame.kind, &frame.body),
                Stream::Bundle(class) => {
                    self.engine.handle_frame(at(now), link, LaneKind::Bundle(class), frame.kind, frame.body);
                }
                Stream::Settlement => {
                    self.engine.handle_frame(at(now), link, LaneKind::Settlement, frame.kind, frame.body);
                }
            }
        }
        Ok(())
    }

    pub fn timeout(&mut self, now: Now) {
        self.control.handle_timeout(at(now));
        self.engine.handle_timeout(at(now));
    }

    pub fn deadline(&self) -> Option<u64> {
        [self.control.poll_deadline(), self.engine.poll_deadline()].into_iter().flatten().min()
    }

    /// Runs control side and engine against each other until neither has anything left to say.
    pub fn effects(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        loop {
            let before = effects.len();
            let mut events = false;
            while let Some(output) = self.control.poll_output() {
                match output {
                    ControlOutput::Frame { link, bytes } => effects.push(send(link, Stream::Control, bytes)),
                    ControlOutput::Engine { event, .. } => {
                        events = true;
                        self.engine.handle_event(at(now), event);
                    }
                    ControlOutput::Close { link, fault } => effects.push(Effect::Close(SessionId(link.0), fault)),
                    ControlOutput::Alarm(alarm) => tracing::warn!(?alarm, "in-memory router"),
                }
            }
            while let Some(output) = self.engine.poll_output() {
                match output {
                    EngineOutput::Frame { link, lane, bytes } => effects.push(send(link, stream(lane), bytes)),
                    EngineOutput::Cross { crossing, .. } => self.engine.handle_crossing(at(now), crossing),
                    // This router states 65,536 bytes as its largest payload: no stream of a large one ever begins.
                    EngineOutput::PayloadEnd { .. } => {}
                    EngineOutput::Close { link, fault } => {
                        self.control.handle_link_down(link);
                        effects.push(Effect::Close(SessionId(link.0), fault));
                    }
                }
            }
            if !events && effects.len() == before {
                return effects;
            }
        }
    }
}

fn send(link: LinkId, stream: Stream, bytes: Bytes) -> Effect {
    Effect::Send(Packet { session: SessionId(link.0), stream, bytes })
}

fn link(session: SessionId) -> LinkId {
    LinkId(session.0)
}

fn at(now: Now) -> RouterNow {
    RouterNow { mono_us: now.mono_us, wall: now.wall }
}

fn stream(lane: LaneKind) -> Stream {
    match lane {
        LaneKind::Bundle(class) => Stream::Bundle(class),
        LaneKind::Settlement => Stream::Settlement,
        // Never written by an engine of this version, which states 65,536 bytes as its largest payload.
        LaneKind::LargePayload => Stream::Bundle(Class::Bulk),
    }
}
