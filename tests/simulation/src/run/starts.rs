//! What does a process find when it starts (again)?

use kernpost_endpoint::core::SendOutcome;
use rand::Rng;

use super::Simulation;
use crate::endpoint_node::EndpointNode;
use crate::network::{Event, Node};
use crate::router_node::{RouterNode, RouterSetup};

impl Simulation {
    pub(super) fn on_start(&mut self, node: Node) -> Result<(), String> {
        match node {
            Node::Router(index) => {
                self.start_router(index)?;
                if index == 0 {
                    self.network.after(1_000, Event::Dial { from: node, to: Node::Router(1) });
                }
                Ok(())
            }
            Node::Endpoint(index) => self.start_endpoint(index),
        }
    }

    pub(super) fn start_router(&mut self, at: usize) -> Result<(), String> {
        let now = self.router_now(at);
        let router = RouterNode::new(
            &RouterSetup {
                world: &self.world,
                id: &self.router_ids[at],
                table: &self.table,
                disk: &self.disks[at],
                incarnation: self.network.now_us + 1,
                credit: self.credit,
                most_flying: self.most_flying,
                seed: self.network.rng.random(),
            },
            now,
        );
        self.wakes.remove(&Node::Router(at));
        let Some(mut router) = router else {
            // The disk fails already: the operator tries again.
            self.network.after(1_000_000, Event::Start { node: Node::Router(at) });
            return Ok(());
        };
        let effects = router.begin(now);
        self.routers[at] = Some(router);
        self.apply_router(at, effects)
    }

    pub(super) fn start_endpoint(&mut self, at: usize) -> Result<(), String> {
        let old = &mut self.endpoints[at];
        let disk = std::mem::take(&mut old.disk);
        let (id, identity, incarnation) = (old.id.clone(), old.identity.clone(), old.incarnation + 1);
        let own = (self.plan.seed ^ at as u64, self.credit.entries);
        self.endpoints[at] = EndpointNode::new(&self.world, &id, &identity, &self.router_ids, disk, incarnation, own);
        self.down[at] = false;
        self.wakes.remove(&Node::Endpoint(at));
        let now = self.endpoint_now(at);
        let mut effects = Vec::new();
        for table in &self.tables {
            effects.extend(self.endpoints[at].install(now, table));
        }
        effects.extend(self.endpoints[at].recover(now));
        self.apply_endpoint(at, effects)?;
        self.read_what_ended(at)?;
        self.network.after(1_000, Event::Dial { from: Node::Endpoint(at), to: Node::Router(self.home(at)) });
        Ok(())
    }

    /// An application that starts again reads in its outbox what ended while it was told nothing.
    fn read_what_ended(&mut self, at: usize) -> Result<(), String> {
        let ended = self.endpoints[at].disk.outbox.values().filter_map(|kept| kept.outcome.clone());
        let untold: Vec<SendOutcome> = ended.filter(|outcome| !self.facts.is_finished(outcome.id)).collect();
        let sender = self.endpoints[at].id.clone();
        for outcome in untold {
            self.is_true(&outcome)?;
            self.facts.finished(&outcome, &sender, &self.endpoints)?;
        }
        Ok(())
    }

    pub(super) fn is_up(&self, node: Node) -> bool {
        match node {
            Node::Router(index) => self.routers[index].is_some(),
            Node::Endpoint(index) => !self.down[index],
        }
    }
}
