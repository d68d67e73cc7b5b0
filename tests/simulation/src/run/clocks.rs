//! Which time does a node see, and when does it wake by itself?

use kernpost_codecs::UnixMs;
use kernpost_router_core::Now;

use super::{START_MS, Simulation};
use crate::network::{Event, Node};

impl Simulation {
    pub(super) fn wall(&self, node: Node) -> UnixMs {
        let true_ms = START_MS + self.network.now_us / 1_000;
        let elapsed_ms = i64::try_from(self.network.now_us / 1_000).expect("a run takes hours");
        let drift_ms = elapsed_ms * self.drifts.get(&node).copied().unwrap_or(0) / 1_000_000;
        UnixMs(true_ms.saturating_add_signed(self.offsets.get(&node).copied().unwrap_or(0) + drift_ms))
    }

    pub(super) fn router_now(&self, at: usize) -> Now {
        Now { mono_us: self.network.now_us, wall: self.wall(Node::Router(at)) }
    }

    pub(super) fn endpoint_now(&self, at: usize) -> kernpost_endpoint::core::Now {
        kernpost_endpoint::core::Now { mono_us: self.network.now_us, wall: self.wall(Node::Endpoint(at)) }
    }

    pub(super) fn wake(&mut self, at: Node, deadline: u64, incarnation: u64) {
        let deadline = deadline.max(self.network.now_us);
        if self.wakes.get(&at).is_none_or(|pending| deadline < *pending || *pending < self.network.now_us) {
            self.wakes.insert(at, deadline);
            self.network.schedule(deadline, Event::Wake { at, incarnation });
        }
    }

    pub(super) fn on_wake(&mut self, at: Node, incarnation: u64) -> Result<(), String> {
        if self.wakes.get(&at) != Some(&self.network.now_us) {
            // An earlier one was asked for after it.
            return Ok(());
        }
        self.wakes.remove(&at);
        match at {
            Node::Router(index) => {
                let now = self.router_now(index);
                let Some(router) = &mut self.routers[index] else { return Ok(()) };
                if router.incarnation != incarnation {
                    return Ok(());
                }
                let effects = router.woken(now);
                self.apply_router(index, effects)
            }
            Node::Endpoint(index) => {
                if self.down[index] || self.endpoints[index].incarnation != incarnation {
                    return Ok(());
                }
                let now = self.endpoint_now(index);
                let effects = self.endpoints[index].woken(now);
                self.apply_endpoint(index, effects)
            }
        }
    }
}
