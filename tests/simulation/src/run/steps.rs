//! Which event leads where?

use super::Simulation;
use crate::mishap::Mishap;
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
            Event::Send { number } => self.on_send(number),
            Event::Publish { change } => self.publish(change),
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
                let effects = self.endpoints[at].journalled(now, delivery, &mut self.network.mishaps);
                self.apply_endpoint(at, effects)
            }
            Event::Stored { at, incarnation, number } => {
                if self.down[at] || self.endpoints[at].incarnation != incarnation {
                    return Ok(());
                }
                let now = self.endpoint_now(at);
                let effects = self.endpoints[at].stored(now, number, &mut self.network.mishaps);
                self.apply_endpoint(at, effects)
            }
            Event::Spooled { at, incarnation } => {
                let now = self.router_now(at);
                let Some(router) = self.routers[at].as_mut().filter(|router| router.incarnation == incarnation) else {
                    return Ok(());
                };
                let effects = router.spooled(now);
                self.network.mishaps.add(Mishap::DiskFull, router.custody.take_full());
                self.faults_that_waited(at);
                self.apply_router(at, effects)
            }
            Event::Wake { at, incarnation } => self.on_wake(at, incarnation),
            Event::Cut { from, to } => {
                for connection in self.network.between(from, to) {
                    self.network.mishaps.note(Mishap::LinkCut);
                    self.network.break_connection(connection);
                }
                Ok(())
            }
            Event::Part { one, other, until_us } => {
                self.network.part(one, other, until_us);
                Ok(())
            }
            Event::Silence { one, other, ways, until_us, idle_us } => {
                self.network.silence((one, other), ways, until_us, idle_us);
                Ok(())
            }
            Event::Heard { connection, number } => self.on_heard(connection, number),
            Event::Idle { connection, at, number, idle_us } => self.on_idle(connection, at, number, idle_us),
            Event::HalfDead { from, to, for_us } => self.on_half_dead(from, to, for_us),
            Event::Second { from, to } => self.dial(from, to),
            Event::Replay { from, to, for_us } => self.on_replay(from, to, for_us),
            Event::EndpointDisk { at, fault, restart_us } => {
                self.on_endpoint_disk(at, fault, restart_us);
                Ok(())
            }
            Event::Disk { at, fault } => {
                self.on_disk(at, fault);
                Ok(())
            }
            Event::Step { node, offset_ms } => {
                self.network.mishaps.note(Mishap::ClockStepped);
                self.offsets.insert(node, offset_ms);
                Ok(())
            }
            Event::Crash { node, for_us, writing } => self.on_crash(node, for_us, writing),
            Event::Start { node } => self.on_start(node),
        }
    }
}
