//! What becomes of connections, and of the bytes on them?

use bytes::Bytes;
use rand::Rng;

use super::{PORTAL, Simulation};
use crate::network::{Connection, Ends, Event, Node, Stream};
use crate::world::router_identity;

impl Simulation {
    pub(super) fn on_arrive(
        &mut self,
        connection: Connection,
        to: Node,
        stream: Stream,
        bytes: Bytes,
    ) -> Result<(), String> {
        let Some(bytes) = self.network.arriving(connection, to, stream, bytes) else { return Ok(()) };
        match to {
            Node::Router(at) => {
                self.note_labels(connection, stream, &bytes);
                let now = self.router_now(at);
                let Some(router) = &mut self.routers[at] else { return Ok(()) };
                let effects = router.arrived(now, connection, stream, bytes);
                self.apply_router(at, effects)
            }
            Node::Endpoint(at) if !self.down[at] => {
                let now = self.endpoint_now(at);
                let effects = self.endpoints[at].arrived(now, connection, stream, bytes);
                self.apply_endpoint(at, effects)
            }
            Node::Endpoint(_) => Ok(()),
        }
    }

    pub(super) fn on_lost(&mut self, connection: Connection, at: Node) -> Result<(), String> {
        if !self.network.give_up(connection, at) {
            return Ok(());
        }
        let again = self.network.rng.random_range(20_000..=400_000);
        match at {
            Node::Router(index) => {
                if index == 0 {
                    self.network.after(again, Event::Dial { from: at, to: Node::Router(1) });
                }
                let now = self.router_now(index);
                let Some(router) = &mut self.routers[index] else { return Ok(()) };
                let effects = router.lost(now, connection);
                self.apply_router(index, effects)
            }
            Node::Endpoint(index) => {
                // A portal goes to the other router as often as not.
                if index == PORTAL && self.network.rng.random_bool(0.5) {
                    self.portal_home = 1 - self.portal_home;
                }
                self.network.after(again, Event::Dial { from: at, to: Node::Router(self.home(index)) });
                if self.down[index] {
                    return Ok(());
                }
                let now = self.endpoint_now(index);
                let effects = self.endpoints[index].lost(now, connection);
                self.apply_endpoint(index, effects)
            }
        }
    }

    pub(super) fn on_dial(&mut self, from: Node, to: Node) -> Result<(), String> {
        let joined = self.network.live.values().any(|link| link.ends.dialler == from && !link.is_gone_at(from));
        if joined || !self.is_up(from) {
            return Ok(());
        }
        if !self.is_up(to) || self.network.is_parted(from, to) {
            self.network.after(300_000, Event::Dial { from, to });
            return Ok(());
        }
        self.dial(from, to)
    }

    /// A link, whatever links there are; none when it cannot be made now.
    pub(super) fn dial(&mut self, from: Node, to: Node) -> Result<(), String> {
        if !self.is_up(from) || !self.is_up(to) || self.network.is_parted(from, to) {
            return Ok(());
        }
        let connection = Connection(self.next_connection);
        self.next_connection += 1;
        self.network.open(connection, Ends { dialler: from, listener: to });
        for (at, other) in [(to, from), (from, to)] {
            self.connected(at, other, connection)?;
        }
        Ok(())
    }

    pub(super) fn connected(&mut self, at: Node, other: Node, connection: Connection) -> Result<(), String> {
        match at {
            Node::Router(index) => {
                let identity = match other {
                    Node::Router(peer) => router_identity(["r1", "r2"][peer]),
                    Node::Endpoint(peer) => self.endpoints[peer].identity.clone(),
                };
                let now = self.router_now(index);
                let Some(router) = &mut self.routers[index] else { return Ok(()) };
                let effects = router.connected(now, connection, &[identity]);
                self.apply_router(index, effects)
            }
            Node::Endpoint(index) => {
                let Node::Router(router) = other else { return Ok(()) };
                let now = self.endpoint_now(index);
                let effects = self.endpoints[index].connected(now, connection, router);
                self.apply_endpoint(index, effects)
            }
        }
    }

    /// The router an endpoint dials.
    pub(super) fn home(&self, endpoint: usize) -> usize {
        if endpoint == PORTAL { self.portal_home } else { usize::from(endpoint == 1) }
    }
}
