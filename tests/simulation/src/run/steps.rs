//! Which event leads where?

use super::Simulation;
use crate::network::{Event, Node};

impl Simulation {
    pub(super) fn step(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Arrive { connection, to, stream, bytes } => self.on_arrive(connection, to, stream, bytes),
            Event::Lost { connection, at } => self.on_lost(connection, at),
            Event::Writable { connection, at: Node::Endpoint(at), stream } if !self.down[at] => {
                let now = self.endpoint_now(at);
                let effects = self.endpoints[at].writable(now, connection, stream);
                self.apply_endpoint(at, effects)
            }
            Event::Writable { .. } => Ok(()),
            Event::Dial { from, to } => self.on_dial(from, to),
            Event::Send => self.on_send(),
            Event::Publish => self.publish(),
            Event::Verdict { at, incarnation, delivery } => {
                let Some((id, verdict)) = self.thinking.remove(&(at, incarnation, delivery)) else { return Ok(()) };
                let now = self.endpoint_now(at);
                self.facts.note(id, self.network.now_us, format!("{at} answers: {verdict:?}"));
                let effects = self.endpoints[at].verdict(now, delivery, &verdict);
                self.apply_endpoint(at, effects)
            }
            Event::Journalled { at, incarnation, delivery } => {
                if self.down[at] || self.endpoints[at].incarnation != incarnation {
                    return Ok(());
                }
                let now = self.endpoint_now(at);
                let effects = self.endpoints[at].journalled(now, delivery);
                self.apply_endpoint(at, effects)
            }
            Event::Stored { at, incarnation, number } => {
                if self.down[at] || self.endpoints[at].incarnation != incarnation {
                    return Ok(());
                }
                let now = self.endpoint_now(at);
                let effects = self.endpoints[at].stored(now, number);
                self.apply_endpoint(at, effects)
            }
            Event::Spooled { at, incarnation } => {
                let now = self.router_now(at);
                let Some(router) = self.routers[at].as_mut().filter(|router| router.incarnation == incarnation) else {
                    return Ok(());
                };
                let effects = router.spooled(now);
                self.apply_router(at, effects)
            }
            Event::Wake { at, incarnation } => self.on_wake(at, incarnation),
            Event::Cut { from, to } => {
                let cut = self.network.live.iter().find(|(_, ends)| ends.joins(from, to)).map(|(c, _)| *c);
                if let Some(connection) = cut {
                    self.network.break_connection(connection);
                }
                Ok(())
            }
            Event::Part { one, other, until_us } => {
                self.network.part(one, other, until_us);
                Ok(())
            }
            Event::Disk { at, fault } => {
                self.on_disk(at, fault);
                Ok(())
            }
            Event::Step { node, offset_ms } => {
                self.offsets.insert(node, offset_ms);
                Ok(())
            }
            Event::Crash { node, for_us } => self.on_crash(node, for_us),
            Event::Start { node } => self.on_start(node),
        }
    }
}
