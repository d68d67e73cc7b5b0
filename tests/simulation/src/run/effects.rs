//! What do routers and endpoints cause in the world around them?

use kernpost_codecs::UnixMs;
use kernpost_endpoint::core::SendError;
use rand::Rng;

use super::{FSYNC_US, Simulation};
use crate::endpoint_node::Effect as EndpointEffect;
use crate::network::{Event, Node, Stream};
use crate::router_node::Effect as RouterEffect;

impl Simulation {
    pub(super) fn apply_router(&mut self, at: usize, effects: Vec<RouterEffect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                RouterEffect::Send { connection, stream, bytes } => {
                    self.signed_now(at, connection, stream, &bytes)?;
                    self.network.send(connection, Node::Router(at), stream, bytes);
                }
                // Whatever a copy of old bundles leads to on the link it came by: that link is no good any more.
                RouterEffect::Close { connection, .. } if self.replayed_on.contains(&connection) => {
                    self.network.break_connection(connection);
                }
                // A link that a newer one replaces is closed on purpose; anything else is a fault of ours.
                RouterEffect::Close { why, connection } if why.contains("superseded") || why.contains("revoked") => {
                    self.network.break_connection(connection);
                }
                RouterEffect::Close { why, .. } => return Err(format!("router {at} closed a link: {why}")),
                RouterEffect::Wrong(what) => return Err(what),
                RouterEffect::Spool => {
                    let incarnation = self.routers[at].as_ref().map_or(0, |router| router.incarnation);
                    let after = self.network.rng.random_range(FSYNC_US / 2..FSYNC_US * 20);
                    self.network.after(after, Event::Spooled { at, incarnation });
                    if self.routers[at].as_ref().is_some_and(|router| router.custody.is_writing()) {
                        self.begins_to_write(Node::Router(at));
                    }
                }
                RouterEffect::Alarm(alarm) => self.on_alarm(at, &alarm)?,
            }
        }
        if let Some(router) = &self.routers[at]
            && let Some(deadline) = router.deadline()
        {
            let incarnation = router.incarnation;
            self.wake(Node::Router(at), deadline, incarnation);
        }
        Ok(())
    }

    pub(super) fn apply_endpoint(&mut self, at: usize, effects: Vec<EndpointEffect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                EndpointEffect::Send { connection, stream, bytes } => {
                    self.network.send(connection, Node::Endpoint(at), stream, bytes);
                    if stream != Stream::Control {
                        let after = self.network.rng.random_range(1..500);
                        self.network.after(after, Event::Writable { connection, at: Node::Endpoint(at), stream });
                    }
                }
                EndpointEffect::Close { connection, .. } if self.replayed_on.contains(&connection) => {
                    self.network.break_connection(connection);
                }
                EndpointEffect::Close { why, .. } => return Err(format!("endpoint {at} closed a link: {why}")),
                EndpointEffect::Journal(delivery) => {
                    let incarnation = self.endpoints[at].incarnation;
                    let after = self.network.rng.random_range(FSYNC_US / 2..FSYNC_US * 20);
                    self.network.after(after, Event::Journalled { at, incarnation, delivery });
                    self.begins_to_write(Node::Endpoint(at));
                }
                EndpointEffect::Store(number) => {
                    let incarnation = self.endpoints[at].incarnation;
                    let done_us = self.network.now_us + self.network.rng.random_range(FSYNC_US / 2..FSYNC_US * 20);
                    self.stored_us[at] = self.stored_us[at].max(done_us);
                    self.network.schedule(self.stored_us[at], Event::Stored { at, incarnation, number });
                    self.begins_to_write(Node::Endpoint(at));
                }
                EndpointEffect::Accepted(id) => {
                    self.facts.note(id, self.network.now_us, "taken by the outbox".to_owned());
                    let expires = self.sent.get(&id).map_or(UnixMs(u64::MAX), |sent| sent.expires);
                    self.facts.accepted(id, expires);
                }
                EndpointEffect::NotAccepted(SendError::Store(_)) => {}
                EndpointEffect::NotAccepted(why) => return Err(format!("the outbox refused a message: {why}")),
                EndpointEffect::Stage(outcome) => {
                    let what = format!("stage {} {} by {:?}", outcome.outcome.name(), outcome.code, outcome.issuer);
                    self.facts.note(outcome.id, self.network.now_us, what);
                    self.is_true(&outcome)?;
                }
                EndpointEffect::CustodyLost(id) => self.on_custody_lost(id)?,
                EndpointEffect::OrderEnded(case) => self.facts.order_ended(case),
                EndpointEffect::Revised { message, before, now } => {
                    let what = format!("was {} and is {} now", before.name(), now.name());
                    self.facts.note(message, self.network.now_us, what);
                    self.facts.revised(message, before, now)?;
                }
                EndpointEffect::Deliver(delivery) => self.on_delivery(at, &delivery)?,
                EndpointEffect::Finished(_, outcome) => {
                    let what = format!("ended {} {} by {:?}", outcome.outcome.name(), outcome.code, outcome.issuer);
                    self.facts.note(outcome.id, self.network.now_us, what);
                    self.is_true(&outcome)?;
                    let sender = self.endpoints[at].id.clone();
                    self.facts.finished(&outcome, &sender, &self.endpoints)?;
                }
                EndpointEffect::InvalidReceipt(why) => return Err(format!("an honest receipt did not verify: {why}")),
            }
        }
        if !self.down[at]
            && let Some(deadline) = self.endpoints[at].core.poll_deadline()
        {
            let incarnation = self.endpoints[at].incarnation;
            self.wake(Node::Endpoint(at), deadline, incarnation);
        }
        Ok(())
    }
}
