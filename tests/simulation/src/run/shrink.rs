//! What is the smallest run that fails too?
//!
//! Every event is drawn by itself ([`Plan`]), so that those that are left stay as they were; what follows from them in the network is
//! drawn anew. First halves of what is left are taken out, then quarters, down to single events, until none can be spared.

use super::{Finding, run};
use crate::plan::{Item, Plan};

/// A plan with fewer events of the same seed that fails too. Any failure counts.
pub fn shrink(finding: Finding) -> Finding {
    let plan = finding.plan.clone();
    smallest(&plan, |plan| run(plan).err().map(|finding| *finding)).unwrap_or(finding)
}

/// What fails of the smallest plan that was found; `None`: every event is needed.
fn smallest<T>(plan: &Plan, fails: impl Fn(&Plan) -> Option<T>) -> Option<T> {
    let (mut plan, mut found) = (plan.clone(), None);
    let mut at_once = plan.items.len().div_ceil(2);
    while !plan.items.is_empty() {
        let items: Vec<Item> = plan.items.iter().copied().collect();
        let smaller = items.chunks(at_once).find_map(|some| {
            let less = plan.without(some);
            fails(&less).map(|failure| (less, failure))
        });
        match smaller {
            Some((less, failure)) => (plan, found) = (less, Some(failure)),
            None if at_once == 1 => break,
            None => at_once = at_once.div_ceil(2),
        }
        at_once = at_once.clamp(1, plan.items.len().max(1));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Kind;

    #[test]
    fn only_what_is_needed_to_fail_is_left() {
        let needed = [(Kind::Send, 3), (Kind::Send, 38), (Kind::Crash, 1), (Kind::Step, 0)];
        let fails = |plan: &Plan| needed.iter().all(|item| plan.items.contains(item)).then(|| plan.clone());
        let small = smallest(&Plan::of_seed(2), fails).unwrap();
        assert_eq!(small.items.into_iter().collect::<Vec<_>>(), needed);
    }

    #[test]
    fn where_everything_is_needed_nothing_smaller_is_found() {
        let plan = Plan::calm(1);
        let all = plan.items.len();
        assert!(smallest(&plan, |less| (less.items.len() == all).then_some(())).is_none());
    }
}
