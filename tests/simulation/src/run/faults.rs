//! What goes wrong, or is changed by operators, while messages are on their way?

use std::sync::Arc;

use kernpost_router_core::custody::CustodyAlarm;
use kernpost_spool::memory_store::CommitFault;
use rand::Rng;

use super::{PORTAL, Simulation};
use crate::network::{DiskFault, Event, Node};

impl Simulation {
    pub(super) fn on_disk(&mut self, at: usize, fault: DiskFault) {
        let disk = &self.disks[at];
        match fault {
            DiskFault::Flip => drop(disk.flip_any_bit(self.flips[at])),
            DiskFault::CommitLost => disk.fail_next_commit(CommitFault::Lost),
            DiskFault::CommitUnclear => disk.fail_next_commit(CommitFault::KeptThoughFailed),
            DiskFault::Full => disk.fill_at(Some(0)),
            DiskFault::Room => disk.fill_at(None),
        }
        if fault == DiskFault::Flip {
            self.damaged_disks[at] = true;
            // What is damaged is sent again, behind what came after it.
            self.facts.all_unordered();
        }
    }

    pub(super) fn on_crash(&mut self, node: Node, for_us: u64) -> Result<(), String> {
        if !self.is_up(node) {
            return Ok(());
        }
        match node {
            Node::Router(index) => {
                let now = self.router_now(index);
                if let Some(router) = self.routers[index].take() {
                    router.custody.die(now, &mut self.network.rng);
                }
            }
            Node::Endpoint(index) => {
                self.down[index] = true;
                if index == PORTAL {
                    self.facts.all_unordered();
                }
            }
        }
        for connection in self.network.connections_of(node) {
            self.network.break_connection(connection);
        }
        self.network.after(for_us, Event::Start { node });
        Ok(())
    }

    /// The same directory with a higher serial: generations change under messages in flight.
    pub(super) fn publish(&mut self) -> Result<(), String> {
        let generation = self.table.generation() + 1;
        self.table = self.world.table(generation);
        self.tables.push(Arc::clone(&self.table));
        for at in 0..self.routers.len() {
            let (now, table) = (self.router_now(at), Arc::clone(&self.table));
            if let Some(router) = &mut self.routers[at] {
                let effects = router.publish(now, &table);
                self.apply_router(at, effects)?;
            }
        }
        for at in 0..self.endpoints.len() {
            if !self.down[at] {
                let (now, table) = (self.endpoint_now(at), Arc::clone(&self.table));
                let effects = self.endpoints[at].install(now, &table);
                self.apply_endpoint(at, effects)?;
            }
        }
        Ok(())
    }

    /// An operator restarts a router whose custody has stopped.
    pub(super) fn on_alarm(&mut self, at: usize, alarm: &CustodyAlarm) {
        match alarm {
            CustodyAlarm::Stopped { .. } => {
                let after = self.network.rng.random_range(1_000_000..5_000_000);
                self.network.after(after, Event::Crash { node: Node::Router(at), for_us: 100_000 });
            }
            CustodyAlarm::Damaged { .. } | CustodyAlarm::Unreadable { .. } => self.damaged += 1,
            CustodyAlarm::NoKey => {}
        }
    }
}
