//! When has everything settled, and what is left if it has not?

use super::{AUTHORITIES, PORTAL, Simulation};
use crate::network::Node;
use crate::router_node::RouterNode;

impl Simulation {
    /// Every message taken has its outcome, and no router holds anything.
    pub(super) fn is_settled(&self) -> bool {
        let empty = |router: &RouterNode| {
            let custody = &router.custody.custody;
            let totals = custody.totals();
            let books = custody.ledger().in_custody == 0;
            books && custody.is_ready() && custody.is_idle() && totals.messages == 0 && totals.receipts == 0
        };
        self.facts.open() == 0 && self.routers.iter().all(|router| router.as_ref().is_some_and(empty))
    }

    /// A message that has expired, that no router holds and no recipient took, cannot be delivered any more. Its sender goes on asking
    /// until 30 days after it expired and then closes it as undecided: nothing of that is lost silently, and nobody here waits
    /// so long.
    pub(super) fn close_what_nobody_has(&mut self) {
        if self.network.now_us < self.looked_us + LOOK_US {
            return;
        }
        self.looked_us = self.network.now_us;
        let sender = self.endpoints[PORTAL].id.clone();
        for id in self.facts.all_open() {
            let over = self.expiry.get(&id).is_some_and(|at| at.plus_ms(OVER_MS) < self.wall(Node::Endpoint(PORTAL)));
            let taken =
                AUTHORITIES.iter().any(|at| self.endpoints[*at].disk.journal.contains_key(&(sender.clone(), id)));
            let mut routers = self.routers.iter_mut().map(Option::as_mut);
            let held = routers.any(|router| router.is_none_or(|router| router.custody.holds(&sender, id)));
            if over && !taken && !held {
                self.facts.closes_undecided(id);
            }
        }
    }

    pub(super) fn what_is_held(&self) -> String {
        let held = self.routers.iter().map(|router| match router {
            Some(router) => {
                let custody = &router.custody.custody;
                let refusals: Vec<_> = router.engines.iter().map(|engine| &engine.stats().refusals).collect();
                let (totals, stats) = (custody.totals(), custody.stats());
                format!("{} {totals:?} ready {} {stats:?} refused {refusals:?}", router.id, custody.is_ready())
            }
            None => "a router is down".to_owned(),
        });
        held.collect::<Vec<_>>().join("; ")
    }
}

/// How often messages that nobody has are looked for, µs.
const LOOK_US: u64 = 10_000_000;
/// So long after its expiry nobody delivers a message any more, whatever the clocks say, ms.
const OVER_MS: u64 = 300_000;
