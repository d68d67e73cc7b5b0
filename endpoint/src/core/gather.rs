//! When does what is ready wait a moment for more?
//!
//! A signature, a packet and a wake-up at every hop cost the same for one message as for a hundred. A sender of which
//! [`FREE`] bundles are under way already lets the next one grow: until [`ENOUGH`] messages are ready, one of those bundles
//! has settled, or [`LONGEST_US`] have passed. An idle sender waits for nothing, urgent messages never do, and where waiting
//! brought no company it is not tried again for [`PAUSE`] bundles.

use std::collections::BTreeSet;

use kernpost_codecs::Class;

/// Bundles of a lane under way for each of its endpoints before the next one waits.
const FREE: usize = 2;
/// Messages that need no more company: a signature costs each of them a sixty-fourth.
const ENOUGH: usize = 64;
/// Longest wait, µs.
const LONGEST_US: u64 = 4_000;
/// A bundle that waited and has fewer messages waited in vain.
const COMPANY: usize = 4;
/// Bundles that leave at once after one that waited in vain.
const PAUSE: u8 = 32;

#[derive(Debug, Clone, Copy, Default)]
enum Wait {
    #[default]
    None,
    Until(u64),
    Over,
}

#[derive(Debug, Clone, Copy, Default)]
struct One {
    wait: Wait,
    pause: u8,
}

/// What waits for company, by sender and class.
#[derive(Debug, Default)]
pub(super) struct Gather {
    senders: Vec<[One; 3]>,
    waiting: BTreeSet<(u64, usize, usize)>,
}

impl Gather {
    pub fn new(senders: usize) -> Self {
        Self { senders: vec![Default::default(); senders], waiting: BTreeSet::new() }
    }

    /// Whether the `ready` messages of a sender wait while `under_way` bundles of the lane, which `endpoints` share, have not
    /// settled.
    pub fn waits(
        &mut self,
        now_us: u64,
        sender: usize,
        class: Class,
        ready: usize,
        under_way: usize,
        endpoints: usize,
    ) -> bool {
        let Some(one) = self.senders.get_mut(sender).and_then(|classes| classes.get_mut(class.index())) else {
            return false;
        };
        if class == Class::Urgent || ready >= ENOUGH || under_way < FREE * endpoints || one.pause > 0 {
            return false;
        }
        match one.wait {
            Wait::Over => false,
            Wait::Until(_) => true,
            Wait::None => {
                let until_us = now_us + LONGEST_US;
                one.wait = Wait::Until(until_us);
                self.waiting.insert((until_us, sender, class.index()));
                true
            }
        }
    }

    /// A bundle of so many messages leaves.
    pub fn on_sent(&mut self, sender: usize, class: Class, messages: usize) {
        let Some(one) = self.senders.get_mut(sender).and_then(|classes| classes.get_mut(class.index())) else {
            return;
        };
        one.pause = one.pause.saturating_sub(1);
        match std::mem::take(&mut one.wait) {
            Wait::None => {}
            Wait::Until(until_us) => drop(self.waiting.remove(&(until_us, sender, class.index()))),
            Wait::Over if messages < COMPANY => one.pause = PAUSE,
            Wait::Over => {}
        }
    }

    /// Ends the waits that have lasted long enough.
    pub fn handle_timeout(&mut self, now_us: u64) {
        while let Some((_, sender, class)) = self.waiting.first().copied().filter(|(until_us, ..)| *until_us <= now_us)
        {
            self.waiting.pop_first();
            if let Some(one) = self.senders.get_mut(sender).and_then(|classes| classes.get_mut(class)) {
                one.wait = Wait::Over;
            }
        }
    }

    /// When the next wait ends, in µs.
    pub fn poll_deadline(&self) -> Option<u64> {
        self.waiting.first().map(|(until_us, ..)| *until_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: Class = Class::Interactive;

    #[test]
    fn an_idle_sender_waits_for_nothing() {
        let mut gather = Gather::new(1);
        assert!(!gather.waits(0, 0, CLASS, 1, FREE - 1, 1));
        assert_eq!(gather.poll_deadline(), None);
    }

    #[test]
    fn a_busy_sender_waits_until_a_bundle_settles_or_its_time_is_over() {
        let mut gather = Gather::new(1);
        assert!(gather.waits(0, 0, CLASS, 1, FREE, 1));
        assert!(gather.waits(LONGEST_US - 1, 0, CLASS, 5, FREE, 1));
        assert!(!gather.waits(LONGEST_US - 1, 0, CLASS, 5, FREE - 1, 1), "one has settled");
        gather.handle_timeout(LONGEST_US);
        assert!(!gather.waits(LONGEST_US, 0, CLASS, 5, FREE, 1));
        gather.on_sent(0, CLASS, 5);
        assert!(gather.waits(LONGEST_US, 0, CLASS, 1, FREE, 1), "the next one waits again");
    }

    #[test]
    fn urgent_messages_and_enough_of_others_leave_at_once() {
        let mut gather = Gather::new(1);
        assert!(!gather.waits(0, 0, Class::Urgent, 1, 100, 1));
        assert!(!gather.waits(0, 0, CLASS, ENOUGH, 100, 1));
    }

    #[test]
    fn where_waiting_brings_no_company_it_is_not_tried_for_a_while() {
        let mut gather = Gather::new(1);
        assert!(gather.waits(0, 0, CLASS, 1, FREE, 1));
        gather.handle_timeout(LONGEST_US);
        gather.on_sent(0, CLASS, 1);
        for _ in 0..PAUSE {
            assert!(!gather.waits(LONGEST_US, 0, CLASS, 1, FREE, 1));
            gather.on_sent(0, CLASS, 1);
        }
        assert!(gather.waits(LONGEST_US, 0, CLASS, 1, FREE, 1));
    }

    #[test]
    fn lanes_of_many_endpoints_have_as_many_free_bundles_for_each() {
        let mut gather = Gather::new(20);
        assert!(!gather.waits(0, 7, CLASS, 1, 20 * FREE - 1, 20));
        assert!(gather.waits(0, 7, CLASS, 1, 20 * FREE, 20));
    }
}
