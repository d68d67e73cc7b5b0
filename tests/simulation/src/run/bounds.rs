//! Is every queue within its bound, and is no credit overdrawn? Looked at after every step.

use kernpost_codecs::frame::LONGEST_BODY;

use super::{ENDPOINT_MESSAGES, Simulation};
use crate::router_node::{WINDOW_BYTES, WORKERS};

impl Simulation {
    pub(super) fn within_bounds(&self) -> Result<(), String> {
        for router in self.routers.iter().flatten() {
            let custody = router.custody.custody.stats();
            // A window always takes one record.
            if custody.loaded_bytes > WINDOW_BYTES + LONGEST_BODY as u64 {
                return Err(format!("custody of {} has {} bytes in memory", router.id, custody.loaded_bytes));
            }
            // A record goes as a whole.
            let most = self.most_flying.max(LEAST_FLYING) + self.largest_bundle - 1;
            if custody.flying > most * custody.queues.max(1) {
                return Err(format!("custody of {} has {} entries under way", router.id, custody.flying));
            }
            let mut links = 0;
            let (mut waiting, mut in_use) = (0, 0);
            for engine in &router.engines {
                for lanes in engine.credit_in_use() {
                    links += 1;
                    for (entries, bytes) in lanes {
                        in_use += entries;
                        if entries > self.credit.entries || bytes > self.credit.bytes {
                            return Err(format!(
                                "{} has {entries} entries of {bytes} bytes of one lane in flight, {:?} is granted",
                                router.id, self.credit
                            ));
                        }
                    }
                }
                for link in engine.link_counts() {
                    waiting += link.waiting;
                }
            }
            // What waits for a peer's credit holds the credit of whoever handed it over, or is in flight from custody.
            if waiting > in_use + custody.flying {
                return Err(format!(
                    "{}: {waiting} entries wait on {links} links of {WORKERS} workers, {in_use} came and {} are custody's",
                    router.id, custody.flying
                ));
            }
        }
        for endpoint in &self.endpoints {
            let ledger = endpoint.core.ledger();
            if ledger.open > ENDPOINT_MESSAGES {
                return Err(format!("{} has {} messages open", endpoint.id, ledger.open));
            }
        }
        Ok(())
    }
}

/// Custody tries so many entries of a queue at once whatever its recipient says.
const LEAST_FLYING: u64 = 16;
