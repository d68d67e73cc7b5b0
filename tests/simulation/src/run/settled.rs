//! When has everything settled, and what is left if it has not?

use kernpost_codecs::{EndpointId, MessageId};

use super::{CITY, LAND, PORTAL, Simulation};
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

    /// A message that has expired, that no router holds and nobody who can be asked took, cannot be delivered any more. Its sender goes on asking
    /// until 30 days after it expired and then closes it as undecided: nothing of that is lost silently, and nobody here waits
    /// so long.
    ///
    /// # Errors
    /// A router signed for one of them and it ended nowhere.
    pub(super) fn close_what_nobody_has(&mut self) -> Result<(), String> {
        if self.network.now_us < self.looked_us + LOOK_US {
            return Ok(());
        }
        self.looked_us = self.network.now_us;
        let sender = self.endpoints[PORTAL].id.clone();
        for id in self.facts.all_open() {
            let Some(sent) = self.sent.get(&id) else { continue };
            let over = sent.expires.plus_ms(OVER_MS) < self.wall(Node::Endpoint(PORTAL));
            // Where several are responsible, asks are routed to the first of them: what another one took without its receipt getting
            // through is not found any more once it cannot be sent again (WIRE 10.1).
            let first = if sent.to_city { CITY } else { LAND };
            let taken = self.endpoints[first].disk.journal.contains_key(&(sender.clone(), id));
            let mut routers = self.routers.iter_mut().map(Option::as_mut);
            // One that has ended there answers an ask only at that router, and its sender may be attached elsewhere.
            let waits = |router: &mut RouterNode| {
                let totals = router.custody.custody.totals();
                totals.messages + totals.receipts > 0 && router.custody.holds(&sender, id)
            };
            let held = routers.any(|router| router.is_none_or(waits));
            if over && !taken && !held {
                self.may_be_lost(id)?;
                self.facts.closes_undecided(id);
            } else if !taken && self.receipt_is_gone(&sender, id) {
                self.facts.closes_undecided(id);
            }
        }
        Ok(())
    }

    /// It ended, and the receipt went with the disk of the router that had custody: nothing waits there, and the message is on record. Asks
    /// find its recipient only where the route still leads to it (CUSTODY, what is not guaranteed).
    fn receipt_is_gone(&mut self, sender: &EndpointId, id: MessageId) -> bool {
        let Some(at) = self.facts.in_custody.get(&id).copied().filter(|at| self.damaged_disks[*at]) else {
            return false;
        };
        self.routers[at].as_mut().is_some_and(|router| {
            let totals = router.custody.custody.totals();
            totals.messages == 0 && totals.receipts == 0 && router.custody.holds(sender, id)
        })
    }

    /// What a router signed for and nobody has ended by a receipt of it; unless a disk was damaged, and its sender was told, or
    /// nobody could be told (CUSTODY, what is not guaranteed).
    fn may_be_lost(&self, id: MessageId) -> Result<(), String> {
        let Some(at) = self.facts.in_custody.get(&id).copied() else { return Ok(()) };
        let told = self.facts.told_damaged.contains(&id) || self.facts.custody_lost.contains(&id);
        if self.damaged_disks[at] && (told || self.unreadable[at]) {
            return Ok(());
        }
        let story = self.facts.story(id);
        Err(format!("router {at} signed custody of {id}, and it is nowhere and has not ended\nits story:\n{story}"))
    }

    /// What a router signed *custody* for is on its record as long as its retention lasts, far longer than a run: as what waits, or
    /// with how it ended. Unless its disk was damaged.
    pub(super) fn everything_taken_is_on_record(&mut self) -> Result<(), String> {
        let sender = self.endpoints[PORTAL].id.clone();
        for (id, at) in self.facts.in_custody.clone() {
            let held = self.routers[at].as_mut().is_none_or(|router| router.custody.holds(&sender, id));
            if !held && !self.damaged_disks[at] {
                let story = self.facts.story(id);
                return Err(format!("router {at} signed custody of {id} and knows nothing of it\nits story:\n{story}"));
            }
        }
        Ok(())
    }

    pub(super) fn what_is_held(&self) -> String {
        let held = self.routers.iter().map(|router| match router {
            Some(router) => {
                let custody = &router.custody.custody;
                let refusals: Vec<_> = router.engines.iter().map(|engine| &engine.stats().refusals).collect();
                let (totals, stats) = (custody.totals(), custody.stats());
                let (ready, idle) = (custody.is_ready(), custody.is_idle());
                let ledger = custody.ledger();
                format!("{} {totals:?} ready {ready} idle {idle} {ledger:?} {stats:?} refused {refusals:?}", router.id)
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
