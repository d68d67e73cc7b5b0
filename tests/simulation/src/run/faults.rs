//! What goes wrong, or is changed by operators, while messages are on their way?

use std::sync::Arc;

use kernpost_codecs::MessageId;

use kernpost_router_core::custody::CustodyAlarm;
use kernpost_routing_table::model::ZoneSnapshot;
use kernpost_spool::Space;
use kernpost_spool::memory_store::CommitFault;
use rand::Rng;

use super::{FSYNC_US, LAND, PORTAL, Simulation};
use crate::mishap::Mishap;
use crate::network::{Change, DiskFault, EndpointDiskFault, Event, Node};

impl Simulation {
    pub(super) fn on_disk(&mut self, at: usize, fault: DiskFault) {
        let disk = self.disks[at].clone();
        let rng = &mut self.network.rng;
        let index = INDICES[rng.random_range(0..INDICES.len())];
        let any = [self.flips[at], Space::Queue, Space::Queues, Space::Messages, Space::Due];
        let any = any[rng.random_range(0..any.len())];
        let hit = match fault {
            DiskFault::Flip => disk.flip_any_bit(self.flips[at]).map(|_| Mishap::FlippedRecord),
            DiskFault::FlipIndex => disk.flip_any_bit(index).map(|_| Mishap::FlippedIndex),
            DiskFault::LoseQueueRows => disk.any_key(Space::Queue).map(|from| {
                // This one, or all from here on.
                let to = if rng.random_bool(0.5) { [&from[..], &[0]].concat() } else { vec![0xff; from.len()] };
                disk.forget(Space::Queue, &from, &to);
                Mishap::LostRows
            }),
            DiskFault::Unreadable => disk.any_key(any).map(|key| {
                disk.make_unreadable(any, &key);
                Mishap::UnreadableRow
            }),
            DiskFault::CommitLost => return disk.fail_next_commit(CommitFault::Lost),
            DiskFault::CommitUnclear => return disk.fail_next_commit(CommitFault::KeptThoughFailed),
            DiskFault::Full => return disk.fill_at(Some(0)),
            DiskFault::Room => return disk.fill_at(None),
            DiskFault::ReadOnly => return disk.read_only(true),
            DiskFault::Writable => return disk.read_only(false),
        };
        let Some(hit) = hit else {
            // Nothing is there yet: it comes when there is.
            self.faults_due[at].push(fault);
            return;
        };
        self.network.mishaps.note(hit);
        self.damaged_disks[at] = true;
        // What is damaged is sent again, behind what came after it.
        self.facts.open_cases_unordered();
        if hit != Mishap::FlippedRecord {
            // What of an index is not noticed at once is at the next start (CUSTODY, crash points).
            let after = self.network.rng.random_range(1_000_000..10_000_000);
            self.network.after(after, Event::Crash { node: Node::Router(at), for_us: 100_000, writing: false });
        }
    }

    /// Something was written: faults that found nothing to hit find it now.
    pub(super) fn faults_that_waited(&mut self, at: usize) {
        for fault in std::mem::take(&mut self.faults_due[at]) {
            self.on_disk(at, fault);
        }
    }

    /// Every write fails until an operator starts the process again.
    pub(super) fn on_endpoint_disk(&mut self, at: usize, fault: EndpointDiskFault, restart_us: u64) {
        self.endpoints[at].disk.begin_to_fail(fault);
        self.network.after(restart_us, Event::Crash { node: Node::Endpoint(at), for_us: 500_000, writing: false });
    }

    /// A process dies at once, or in the middle of its next write.
    pub(super) fn on_crash(&mut self, node: Node, for_us: u64, writing: bool) -> Result<(), String> {
        if !self.is_up(node) {
            return Ok(());
        }
        if writing {
            self.dies_writing.insert(node, for_us);
            return Ok(());
        }
        match node {
            Node::Router(index) => {
                let now = self.router_now(index);
                if let Some(router) = self.routers[index].take() {
                    let mishap = router.custody.die(now, &mut self.network.rng);
                    self.network.mishaps.note(mishap);
                }
            }
            Node::Endpoint(index) => {
                self.down[index] = true;
                let writing = self.endpoints[index].is_writing();
                self.network.mishaps.note(if writing { Mishap::EndpointDiedWriting } else { Mishap::EndpointDied });
                if index == PORTAL {
                    let outbox = &self.endpoints[PORTAL].disk.outbox;
                    let written = |id: &MessageId| outbox.get(id).is_none_or(|kept| kept.outcome.is_some());
                    let forgotten = self.facts.outcomes_forgotten(written);
                    self.network.mishaps.add(Mishap::OutcomeForgotten, forgotten);
                    self.facts.open_cases_unordered();
                }
            }
        }
        for connection in self.network.connections_of(node) {
            // Its peers are told by its system, or find out when they have heard nothing for some time.
            if self.network.rng.random_bool(0.5) {
                self.network.break_connection(connection);
            } else if let Some(link) = self.network.live.get(&connection) {
                let other = link.ends.other(node);
                self.network.give_up(connection, node);
                let after = self.network.rng.random_range(200_000..10_000_000);
                self.network.after(after, Event::Lost { connection, at: other });
            }
        }
        self.network.after(for_us, Event::Start { node });
        Ok(())
    }

    /// A write begins: whoever is to die in one dies before it is done, as far as that can be told beforehand.
    pub(super) fn begins_to_write(&mut self, node: Node) {
        if let Some(for_us) = self.dies_writing.remove(&node) {
            let after = self.network.rng.random_range(0..FSYNC_US / 2);
            self.network.after(after, Event::Crash { node, for_us, writing: false });
        }
    }

    /// A directory with a higher serial, the same or with a change made or taken back: generations change under messages in flight.
    pub(super) fn publish(&mut self, change: Option<(Change, bool)>) -> Result<(), String> {
        if let Some((change, made)) = change {
            let times = self.changes.entry(change).or_insert(0);
            *times = if made { *times + 1 } else { times.saturating_sub(1) };
            if change == Change::MoveRecipient {
                // What is under way to the one may settle undecided, and go to the other behind what was sent later.
                self.facts.open_cases_unordered();
            }
            if made {
                self.network.mishaps.note(match change {
                    Change::DropRoute => Mishap::RouteDropped,
                    Change::DropGrant => Mishap::GrantDropped,
                    Change::RevokeKey => Mishap::KeyRevoked,
                    Change::MoveRecipient => Mishap::RecipientMoved,
                });
            }
        }
        let generation = self.table.generation() + 1;
        let changes: Vec<Change> = self.changes.iter().filter(|(_, times)| **times > 0).map(|(of, _)| *of).collect();
        self.world.zone = ZoneSnapshot { serial: self.world.zone.serial, ..self.zone.clone() };
        let portal = self.endpoints[PORTAL].id.clone();
        for change in &changes {
            match change {
                Change::DropRoute => self.world.zone.routes.retain(|route| route.rule != "land"),
                Change::DropGrant => self.world.entry(&portal).grants.clear(),
                Change::RevokeKey => self.world.entry(&portal).keys.iter_mut().for_each(|key| key.revoked = true),
                Change::MoveRecipient => {
                    let land: Arc<[_]> = [self.endpoints[LAND].id.clone()].into();
                    let city = self.world.zone.routes.iter_mut().filter(|route| route.rule == "city");
                    city.for_each(|route| route.endpoints.clone_from(&land));
                }
            }
        }
        self.in_force.push((generation, changes));
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
    ///
    /// # Errors
    /// It says that something is damaged, and nothing was.
    pub(super) fn on_alarm(&mut self, at: usize, alarm: &CustodyAlarm) -> Result<(), String> {
        match alarm {
            CustodyAlarm::Stopped { .. } => {
                let after = self.network.rng.random_range(1_000_000..5_000_000);
                self.network.after(after, Event::Crash { node: Node::Router(at), for_us: 100_000, writing: false });
            }
            CustodyAlarm::Damaged { .. } | CustodyAlarm::Unreadable { .. } => {
                self.damaged += 1;
                self.unreadable[at] |= matches!(alarm, CustodyAlarm::Unreadable { .. });
                if !self.damaged_disks[at] {
                    return Err(format!("router {at} alarms {alarm:?}, and its disk is sound"));
                }
            }
            CustodyAlarm::NoKey => {}
        }
        Ok(())
    }

    /// A sender counts on a custody no longer: a router denied it, which only a damaged index excuses.
    pub(super) fn on_custody_lost(&mut self, id: MessageId) -> Result<(), String> {
        self.facts.note(id, self.network.now_us, "its custody is denied".to_owned());
        self.facts.custody_lost.insert(id);
        match self.facts.in_custody.get(&id) {
            Some(at) if self.damaged_disks[*at] => Ok(()),
            at => Err(format!("custody of {id} by {at:?} is denied\nits story:\n{}", self.facts.story(id))),
        }
    }
}

/// The indices; what they hold can be made again from the heads.
const INDICES: [Space; 3] = [Space::Queue, Space::Queues, Space::Messages];
