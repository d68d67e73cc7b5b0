//! What is the smallest run that fails too?
//!
//! Every event is drawn by itself ([`Plan`]), so that those that are left stay as they were; what follows from them in the network is
//! drawn anew. First halves of what is left are taken out, then quarters, down to single events, until none can be spared.

use super::{Finding, run};
use crate::plan::{Item, Plan};

/// A plan with fewer events of the same seed that fails too. Any failure counts.
pub fn shrink(finding: Finding) -> Finding {
    let mut smallest = finding;
    let mut at_once = smallest.plan.items.len().div_ceil(2);
    while at_once > 0 {
        match without_some(&smallest.plan, at_once) {
            Some(smaller) => smallest = smaller,
            None if at_once == 1 => break,
            None => at_once = at_once.div_ceil(2),
        }
        at_once = at_once.min(smallest.plan.items.len());
    }
    smallest
}

/// What fails of the plans that lack so many events in a row.
fn without_some(plan: &Plan, at_once: usize) -> Option<Finding> {
    let items: Vec<Item> = plan.items.iter().copied().collect();
    items.chunks(at_once).find_map(|some| run(&plan.without(some)).err()).map(|finding| *finding)
}
