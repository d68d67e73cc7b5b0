//! Which destinations said busy, until when, and how much they get afterwards?
//!
//! A destination is held until its retry-after; then it gets a window of messages in flight that halves with every
//! further busy and grows by one with every delivery, until it is no longer needed. Bounded: at most `capacity`
//! destinations are remembered; beyond that a busy only delays the message it answered.

use std::collections::{BTreeSet, HashMap};

use kernpost_codecs::Class;

use super::slot::Destination;
use crate::core::outgoing::Ticket;

/// A window this large no longer restrains anything.
const OPEN_WINDOW: u32 = 1_024;

/// One throttle per priority class: credit is per class, so a destination busy with bulk takes urgent messages.
#[derive(Debug)]
pub(crate) struct Throttles {
    urgent: Throttle,
    interactive: Throttle,
    bulk: Throttle,
}

impl Throttles {
    /// For so many destinations, all classes together.
    pub fn new(capacity: usize) -> Self {
        let one = || Throttle::new(capacity / 3);
        Self { urgent: one(), interactive: one(), bulk: one() }
    }

    pub fn of(&mut self, class: Class) -> &mut Throttle {
        match class {
            Class::Urgent => &mut self.urgent,
            Class::Interactive => &mut self.interactive,
            Class::Bulk => &mut self.bulk,
        }
    }

    /// Destinations whose retry-after has passed; returns who may go on.
    pub fn handle_timeout(&mut self, now_us: u64) -> Vec<Ticket> {
        Class::ALL.into_iter().flat_map(|class| self.of(class).handle_timeout(now_us)).collect()
    }

    pub fn poll_deadline(&self) -> Option<u64> {
        [&self.urgent, &self.interactive, &self.bulk].into_iter().filter_map(Throttle::poll_deadline).min()
    }
}

#[derive(Debug)]
struct Held {
    until_us: u64,
    window: u32,
    in_flight: u32,
    waiting: BTreeSet<Ticket>,
}

#[derive(Debug)]
pub(crate) struct Throttle {
    held: HashMap<Destination, Held, foldhash::fast::RandomState>,
    timers: BTreeSet<(u64, Destination)>,
    capacity: usize,
}

impl Throttle {
    pub fn new(capacity: usize) -> Self {
        Self { held: HashMap::default(), timers: BTreeSet::new(), capacity }
    }

    /// Whether a message for this destination may go now; if not, it waits here until released.
    pub fn admit(&mut self, now_us: u64, destination: &Destination, ticket: Ticket) -> bool {
        let Some(held) = self.held.get_mut(destination) else { return true };
        if now_us >= held.until_us && held.in_flight < held.window {
            held.in_flight += 1;
            return true;
        }
        held.waiting.insert(ticket);
        false
    }

    /// The destination said busy: half the window, nothing before `until_us`.
    pub fn on_busy(&mut self, destination: &Destination, until_us: u64) {
        if !self.held.contains_key(destination) && self.held.len() >= self.capacity {
            return;
        }
        let held = self.held.entry(destination.clone()).or_insert_with(|| Held {
            until_us: 0,
            window: 32,
            in_flight: 0,
            waiting: BTreeSet::new(),
        });
        held.in_flight = held.in_flight.saturating_sub(1);
        if until_us <= held.until_us {
            return;
        }
        self.timers.remove(&(held.until_us, destination.clone()));
        held.until_us = until_us;
        held.window = (held.window / 2).max(1);
        self.timers.insert((until_us, destination.clone()));
    }

    /// An attempt for this destination ended otherwise; `delivered` widens its window. Returns who may go on.
    pub fn on_settled(&mut self, now_us: u64, destination: &Destination, delivered: bool) -> Vec<Ticket> {
        let Some(held) = self.held.get_mut(destination) else { return Vec::new() };
        held.in_flight = held.in_flight.saturating_sub(1);
        held.window = held.window.saturating_add(u32::from(delivered));
        if held.window >= OPEN_WINDOW {
            return self.forget(destination);
        }
        if now_us < held.until_us {
            return Vec::new();
        }
        let released = release(held);
        if held.waiting.is_empty() && held.in_flight == 0 {
            self.forget(destination);
        }
        released
    }

    /// A message ended while it waited here or after it was released: returns who may go in its place.
    pub fn withdraw(&mut self, now_us: u64, destination: &Destination, ticket: Ticket) -> Vec<Ticket> {
        let Some(held) = self.held.get_mut(destination) else { return Vec::new() };
        held.waiting.remove(&ticket);
        if now_us < held.until_us { Vec::new() } else { release(held) }
    }

    /// Destinations whose retry-after has passed; returns who may go on.
    pub fn handle_timeout(&mut self, now_us: u64) -> Vec<Ticket> {
        let mut released = Vec::new();
        while let Some((until, _)) = self.timers.first() {
            if *until > now_us {
                break;
            }
            let Some((_, destination)) = self.timers.pop_first() else { break };
            let Some(held) = self.held.get_mut(&destination) else { continue };
            if held.waiting.is_empty() && held.in_flight == 0 {
                self.held.remove(&destination);
                continue;
            }
            released.extend(release(held));
        }
        released
    }

    pub fn poll_deadline(&self) -> Option<u64> {
        self.timers.first().map(|(until, _)| *until)
    }

    fn forget(&mut self, destination: &Destination) -> Vec<Ticket> {
        let Some(held) = self.held.remove(destination) else { return Vec::new() };
        self.timers.remove(&(held.until_us, destination.clone()));
        held.waiting.into_iter().collect()
    }
}

/// The next waiting messages, as many as the window has room for. They ask `admit` again when they are sent.
fn release(held: &mut Held) -> Vec<Ticket> {
    let room = held.window.saturating_sub(held.in_flight) as usize;
    let mut released = Vec::with_capacity(room.min(held.waiting.len()));
    while released.len() < room {
        let Some(ticket) = held.waiting.pop_first() else { break };
        released.push(ticket);
    }
    released
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;

    fn destination() -> Destination {
        Destination::Endpoint("sn/leipzig".parse().unwrap())
    }

    #[test]
    fn a_busy_destination_waits_for_its_retry_after() {
        let mut throttle = Throttle::new(8);
        assert!(throttle.admit(0, &destination(), Ticket(1)));
        throttle.on_busy(&destination(), 1_000);
        assert!(!throttle.admit(500, &destination(), Ticket(1)));
        assert_eq!(throttle.poll_deadline(), Some(1_000));
        assert_eq!(throttle.handle_timeout(1_000), vec![Ticket(1)]);
        assert!(throttle.admit(1_000, &destination(), Ticket(1)));
    }

    #[test]
    fn a_destination_busy_with_bulk_takes_urgent_messages() {
        let mut throttles = Throttles::new(24);
        throttles.of(Class::Bulk).on_busy(&destination(), 1_000);
        assert!(!throttles.of(Class::Bulk).admit(500, &destination(), Ticket(1)));
        assert!(throttles.of(Class::Urgent).admit(500, &destination(), Ticket(2)));
        assert_eq!(throttles.poll_deadline(), Some(1_000));
        assert_eq!(throttles.handle_timeout(1_000), vec![Ticket(1)]);
    }

    #[test]
    fn the_window_bounds_what_is_in_flight_after_a_busy() {
        let mut throttle = Throttle::new(8);
        throttle.on_busy(&destination(), 10);
        let admitted = (0..100).filter(|n| throttle.admit(20, &destination(), Ticket(*n))).count();
        assert_eq!(admitted, 16);
        assert_eq!(throttle.on_settled(30, &destination(), true).len(), 2);
    }

    #[test]
    fn more_destinations_than_the_bound_are_not_remembered() {
        let mut throttle = Throttle::new(1);
        throttle.on_busy(&destination(), 10);
        let other = Destination::Endpoint("sn/dresden".parse().unwrap());
        throttle.on_busy(&other, 10);
        assert!(throttle.admit(0, &other, Ticket(1)));
    }

    #[test]
    fn a_destination_that_recovered_is_forgotten() {
        let mut throttle = Throttle::new(8);
        throttle.on_busy(&destination(), 10);
        assert!(throttle.admit(20, &destination(), Ticket(1)));
        throttle.on_settled(20, &destination(), true);
        assert!(throttle.held.is_empty() && throttle.timers.is_empty());
    }
}
