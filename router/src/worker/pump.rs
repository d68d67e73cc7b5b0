//! How do events, crossings and deadlines reach the engine, and its counts the operator?
//!
//! One task per worker that waits for nothing else, so that whoever waits for a worker's queues never waits long. Events
//! before crossings: an entry for a link that control has announced finds it. Work per turn is bounded, and no kind of
//! input can starve another.

use std::rc::Rc;
use std::time::Duration;

use kernpost_router_core::{Crossing, EngineEvent, Now};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::Worker;
use crate::channels::WorkerReceivers;

/// How often counts are published.
const PUBLISHING: Duration = Duration::from_millis(200);
/// Inputs of one kind taken in one turn.
const TURN: usize = 256;

/// Runs until control is gone.
pub(super) async fn run(worker: Rc<Worker>, inputs: WorkerReceivers) {
    let WorkerReceivers { mut events, mut entries, mut settlements, mut payloads } = inputs;
    let sleep = tokio::time::sleep_until(Instant::now());
    tokio::pin!(sleep);
    let mut sleeps_until_us = u64::MAX;
    let mut publishing = tokio::time::interval(PUBLISHING);
    publishing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut entries_taken = Vec::new();
    let mut settlements_taken = Vec::new();
    loop {
        let wanted_us = worker.armed_us.get();
        if wanted_us != sleeps_until_us && wanted_us != u64::MAX {
            sleep.as_mut().reset(worker.shared.clock.instant(wanted_us).into());
        }
        sleeps_until_us = wanted_us;
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => take_events(&worker, Some(event), &mut events),
                None => return,
            },
            _ = settlements.recv_many(&mut settlements_taken, TURN) => {
                take_events(&worker, None, &mut events);
                take_crossings(&worker, &mut settlements_taken);
            }
            _ = entries.recv_many(&mut entries_taken, TURN) => {
                take_events(&worker, None, &mut events);
                take_crossings(&worker, &mut entries_taken);
            }
            Some(pipe) = payloads.recv() => worker.begin_payload(pipe),
            // Something was armed that is due earlier: the top of the loop sees it.
            () = worker.rearm.notified() => {}
            () = sleep.as_mut(), if sleeps_until_us != u64::MAX => take_timeout(&worker),
            _ = publishing.tick() => worker.publish(),
        }
    }
}

fn take_events(worker: &Worker, first: Option<EngineEvent>, events: &mut mpsc::Receiver<EngineEvent>) {
    let mut now: Option<Now> = None;
    let more = std::iter::from_fn(|| events.try_recv().ok());
    for event in first.into_iter().chain(more).take(TURN) {
        let now = *now.get_or_insert_with(|| worker.shared.clock.now());
        worker.take_event(now, event);
    }
    if now.is_some() {
        worker.flush();
    }
}

fn take_crossings(worker: &Worker, crossings: &mut Vec<Crossing>) {
    let now = worker.shared.clock.now();
    for crossing in crossings.drain(..) {
        worker.engine.borrow_mut().handle_crossing(now, crossing);
    }
    worker.flush();
}

fn take_timeout(worker: &Worker) {
    let now = worker.shared.clock.now();
    // What remains is armed anew by the flush.
    worker.armed_us.set(u64::MAX);
    worker.engine.borrow_mut().handle_timeout(now);
    worker.flush();
}
