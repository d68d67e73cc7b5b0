//! Custody of a simulated router: the real state machine, the real spool over a disk that fails, and an fsync that takes time.

use kernpost_codecs::SigningKey;
use kernpost_router_core::custody::CustodyAlarm;
use kernpost_router_core::custody::spool::{SpoolEvent, SpoolFault, SpoolIntent, SpoolRead};
use kernpost_router_core::{Crossing, Custody, CustodyConfig, CustodyOutput, Now, RouterSigner, WorkerId};
use kernpost_routing_table::Table;
use kernpost_spool::memory_store::{MemoryStore, SimDisk};
use kernpost_spool::{MasterKey, MasterKeys, Spool};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use std::sync::Arc;

use super::mishap::Mishap;

/// Something for the spool's thread.
#[derive(Debug)]
enum Command {
    Intent(Box<SpoolIntent>),
    Read(SpoolRead),
}

/// What custody wants from the rest of the process.
pub enum Wish {
    Cross(WorkerId, Crossing),
    Alarm(CustodyAlarm),
}

pub struct CustodyNode {
    pub custody: Custody,
    spool: Spool<MemoryStore>,
    waiting: Vec<Command>,
    /// What the fsync under way is for.
    under_way: Vec<Command>,
    disk: SimDisk,
    /// How often there was no room.
    full: u64,
}

/// A store holds the master key outside of what a disk may damage.
const MASTER: [u8; 32] = [9; 32];

impl CustodyNode {
    /// Opens the spool on `disk` as a starting process does; `None`: the disk fails.
    pub fn start(
        config: CustodyConfig,
        key: SigningKey,
        table: &Arc<Table>,
        disk: &SimDisk,
        now: Now,
        seed: u64,
    ) -> Option<Self> {
        let store = MemoryStore::open(disk).ok()?;
        let masters = MasterKeys::new(MasterKey::new(MASTER.into()), Vec::new());
        let mut rng = StdRng::seed_from_u64(seed);
        let random = Box::new(move |bytes: &mut [u8]| rng.fill_bytes(bytes));
        let spool = Spool::open(store, masters, now.wall, random).ok()?;
        let signer = RouterSigner::new(config.router.clone(), vec![key]);
        let mut custody = Custody::new(config, signer, Arc::clone(table), now);
        let mut node_events = vec![spool.started()];
        for event in node_events.drain(..) {
            custody.handle_spool(now, with_room(event));
        }
        Some(Self { custody, spool, waiting: Vec::new(), under_way: Vec::new(), disk: disk.clone(), full: 0 })
    }

    /// Everything custody wants now; what is for the spool waits for its turn.
    pub fn poll(&mut self) -> Option<Wish> {
        while let Some(output) = self.custody.poll_output() {
            match output {
                CustodyOutput::Cross { worker, crossing } => return Some(Wish::Cross(worker, crossing)),
                CustodyOutput::Alarm(alarm) => return Some(Wish::Alarm(alarm)),
                CustodyOutput::Intent(intent) => self.waiting.push(Command::Intent(Box::new(intent))),
                // No large payloads are sent here.
                CustodyOutput::Payload(_) => {}
                CustodyOutput::Read(read) => self.waiting.push(Command::Read(read)),
            }
        }
        None
    }

    /// Answers what costs no time worth simulating: whether anything is due, when nothing else is asked. True: something was.
    pub fn answer(&mut self, now: Now) -> bool {
        let only_due = |command: &Command| matches!(command, Command::Read(SpoolRead::Due { .. }));
        if !self.under_way.is_empty() || self.waiting.is_empty() || !self.waiting.iter().all(only_due) {
            return false;
        }
        self.under_way = std::mem::take(&mut self.waiting);
        self.done(now);
        true
    }

    /// Whether the spool's thread begins with what waits: then its answers are due some time later.
    pub fn begin(&mut self) -> bool {
        if self.under_way.is_empty() && !self.waiting.is_empty() {
            self.under_way = std::mem::take(&mut self.waiting);
            return true;
        }
        false
    }

    /// The fsync is done, or has failed.
    pub fn done(&mut self, now: Now) {
        let mut intents = Vec::new();
        let mut answers = Vec::new();
        for command in std::mem::take(&mut self.under_way) {
            match command {
                Command::Intent(intent) => intents.push(*intent),
                Command::Read(read) => answers.push(self.spool.read(&read)),
            }
        }
        if !intents.is_empty() {
            answers.extend(self.spool.commit(now.wall, intents));
        }
        for answer in answers {
            self.full += u64::from(matches!(answer, SpoolEvent::NotCommitted { fault: SpoolFault::Full, .. }));
            self.custody.handle_spool(now, with_room(answer));
        }
    }

    /// Whether something is being made durable.
    pub fn is_writing(&self) -> bool {
        self.under_way.iter().any(|command| matches!(command, Command::Intent(_)))
    }

    /// How often there was no room since the last call.
    pub fn take_full(&mut self) -> u64 {
        std::mem::take(&mut self.full)
    }

    /// The process dies: what was under way is on the disk, or not, or as far as it got; nobody was told.
    pub fn die(mut self, now: Now, rng: &mut StdRng) -> Mishap {
        let intents = std::mem::take(&mut self.under_way).into_iter().filter_map(|command| match command {
            Command::Intent(intent) => Some(*intent),
            Command::Read(_) => None,
        });
        let mut intents: Vec<SpoolIntent> = intents.collect();
        let (all, there) = (intents.len(), rng.random_range(0..=2 * intents.len()));
        // Intents are carried out in their order, in one commit or in several: any of them may have been the last.
        intents.truncate(there);
        let mishap = match intents.len() {
            _ if all == 0 => Mishap::RouterDied,
            0 => Mishap::UnsyncedLost,
            some if some < all => Mishap::UnsyncedTorn,
            _ => Mishap::SyncedUntold,
        };
        if !intents.is_empty() {
            drop(self.spool.commit(now.wall, intents));
        }
        self.disk.crash();
        mishap
    }

    /// Whether the disk holds this message now.
    pub fn holds(&mut self, sender: &kernpost_codecs::EndpointId, message: kernpost_codecs::MessageId) -> bool {
        let read = SpoolRead::Message { ticket: u64::MAX, sender: sender.clone(), message };
        matches!(self.spool.read(&read), SpoolEvent::RecordRead { found: Some(_), .. })
    }
}

/// The simulated disk tells no free space; there is plenty.
fn with_room(mut event: SpoolEvent) -> SpoolEvent {
    match &mut event {
        SpoolEvent::Started { totals, .. }
        | SpoolEvent::Committed { totals, .. }
        | SpoolEvent::DueRead { totals, .. } => totals.free_bytes = u64::MAX,
        _ => {}
    }
    event
}
