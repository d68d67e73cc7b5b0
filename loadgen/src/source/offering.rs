//! One run of a source: start every message at its intended time, note every outcome when it comes.
//!
//! A single thread that polls outcomes, starts what is due, and parks until the next thing. The schedule does not wait
//! for anybody: when as many messages as allowed are under way, later ones start late, and their latency counts from the
//! intended time all the same.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::pin::pin;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyhow::{Result, bail};
use kernpost_endpoint::client::{Finished, OutcomeQueue, Outcomes, Status, outcome_queue};
use kernpost_endpoint::{Client, Outgoing, SendError, SendOutcome, client, offline};
use kernpost_routing_table::Table;

use super::drawing::Drawing;
use crate::accounting::{Book, Counts, End};
use crate::clock::mono_us;
use crate::latencies::Latencies;
use crate::measured::waited_us;
use crate::message_id::Marks;
use crate::schedule::{Shape, Times};
use crate::talk::{Command, Progress, SourceJob, SourceResult, Start};
use crate::waiting::waker;

/// From one progress line to the next, µs.
const TELL_EVERY_US: u64 = 200_000;
/// Marks a message to a recipient that is slow on purpose.
const SLOW: u32 = 1 << 31;
/// What could not be started when the plan ends is started within this, µs, or not at all.
const START_GRACE_US: u64 = 5_000_000;
/// Messages started, and outcomes taken, before the other is looked at again.
const AT_ONCE: usize = 256;

/// A run in progress.
struct Run<'a> {
    client: &'a Client,
    job: &'a SourceJob,
    start: &'a Start,
    drawing: &'a mut Drawing,
    queue: OutcomeQueue,
    outcomes: Outcomes,
    finished: Vec<Finished>,
    /// Messages due now, on their way into one hand-over.
    due: Vec<Outgoing>,
    /// By number: how long after its intended time a message started, µs; with [`SLOW`] when it goes to a slow recipient.
    delays: Vec<u32>,
    waker: Waker,
    book: Book,
    measured: Counts,
    latency: Latencies,
    service: Latencies,
    others: Latencies,
    late: Latencies,
    interval: Latencies,
    held_back: u64,
    /// The schedule once more, for what was intended.
    offered: Peekable<Times>,
    intended: u64,
    intended_measured: u64,
    ended_in_window: u64,
    payload_bytes: u64,
    codes: BTreeMap<String, u64>,
    rechecked: u64,
    recheck_failures: u64,
    recheck_impossible: u64,
    table: Option<std::sync::Arc<Table>>,
    /// When there was last no room, µs after the beginning.
    full_at_us: u64,
    before: Status,
    /// At the end of the warm-up; none before.
    warm: Option<Status>,
}

/// Does one run; `tell` gets a progress line several times a second.
///
/// # Errors
/// The client has ended.
pub fn run(
    client: &Client,
    job: &SourceJob,
    start: &Start,
    drawing: &mut Drawing,
    commands: &Receiver<Command>,
    tell: impl FnMut(Progress),
) -> Result<SourceResult> {
    let (queue, outcomes) = outcome_queue();
    let run = Run {
        client,
        job,
        start,
        drawing,
        queue,
        outcomes,
        finished: Vec::with_capacity(AT_ONCE),
        due: Vec::with_capacity(AT_ONCE),
        delays: Vec::new(),
        waker: waker(),
        book: Book::default(),
        measured: Counts::default(),
        latency: Latencies::new(),
        service: Latencies::new(),
        others: Latencies::new(),
        late: Latencies::new(),
        interval: Latencies::new(),
        held_back: 0,
        offered: Times::new(start.plan.clone()).peekable(),
        intended: 0,
        intended_measured: 0,
        ended_in_window: 0,
        payload_bytes: 0,
        codes: BTreeMap::new(),
        rechecked: 0,
        recheck_failures: 0,
        recheck_impossible: 0,
        table: client.table(),
        full_at_us: 0,
        before: client.status(),
        warm: None,
    };
    run.until_the_end(commands, tell)
}

impl Run<'_> {
    fn until_the_end(mut self, commands: &Receiver<Command>, mut tell: impl FnMut(Progress)) -> Result<SourceResult> {
        let mut times = Times::new(self.start.plan.clone()).peekable();
        let closed = matches!(self.start.plan.shape, Shape::Closed);
        let end_us = self.start.plan.length_us;
        let mut next_tell_us = TELL_EVERY_US;
        let mut stopped = false;
        let last_start_us = end_us.saturating_add(START_GRACE_US);
        loop {
            self.take_outcomes();
            let now_us = self.now_us();
            if self.warm.is_none() && now_us >= self.start.warm_up_us {
                self.warm = Some(self.client.status());
            }
            let left = if closed { now_us < end_us } else { times.peek().is_some() && now_us < last_start_us };
            let starting = left && !stopped;
            let due_us = match (starting, closed) {
                (false, _) => None,
                (true, true) => Some(now_us),
                (true, false) => times.peek().copied(),
            };
            let room = self.book.still_open() < self.job.in_flight as u64;
            if !room {
                self.full_at_us = now_us;
            }
            if let Some(due_us) = due_us.filter(|due_us| *due_us <= now_us && room) {
                let mut due_us = due_us;
                for _ in 0..AT_ONCE {
                    self.take_due(due_us)?;
                    if !closed {
                        times.next();
                    }
                    let now_us = self.now_us();
                    let next = if closed { Some(now_us).filter(|now| *now < end_us) } else { times.peek().copied() };
                    match next.filter(|next| *next <= now_us) {
                        Some(next) if self.book.still_open() < self.job.in_flight as u64 => due_us = next,
                        _ => break,
                    }
                }
                self.send_due()?;
            }
            let now_us = self.now_us();
            if !closed {
                self.count_intended(now_us);
            }
            if now_us >= next_tell_us {
                tell(self.progress(now_us));
                next_tell_us = now_us - now_us % TELL_EVERY_US + TELL_EVERY_US;
                stopped |= told_to_stop(commands);
            }
            let over = !starting && self.book.still_open() == 0;
            if over || now_us > last_start_us.saturating_add(self.start.drain_us) {
                tell(self.progress(now_us));
                return Ok(self.result());
            }
            let mut wake_us = match due_us {
                Some(due_us) if room => due_us.min(next_tell_us),
                _ => next_tell_us,
            };
            if self.warm.is_none() {
                wake_us = wake_us.min(self.start.warm_up_us);
            }
            self.rest_until(wake_us);
        }
    }

    /// Counts what was intended until now, whether or not there was room to start it.
    fn count_intended(&mut self, now_us: u64) {
        while let Some(at_us) = self.offered.next_if(|at_us| *at_us <= now_us) {
            self.intended += 1;
            self.intended_measured += u64::from(at_us >= self.start.warm_up_us);
        }
    }

    fn now_us(&self) -> u64 {
        mono_us().saturating_sub(self.start.at_us)
    }

    fn rest_until(&mut self, at_us: u64) {
        // Outcomes that came meanwhile have unparked this thread already: then it does not rest.
        if self.take_outcomes() > 0 {
            return;
        }
        let left = at_us.saturating_sub(self.now_us());
        if left > 0 {
            std::thread::park_timeout(Duration::from_micros(left));
        }
    }

    /// Draws the next message and puts it with those that are handed over together.
    fn take_due(&mut self, intended_us: u64) -> Result<()> {
        let drawn = self.drawing.draw()?;
        let number = self.book.open_next();
        let marks = Marks {
            run: self.start.run,
            reject: drawn.reject,
            number,
            intended_us: u32::try_from(intended_us).unwrap_or(u32::MAX),
        };
        let length = drawn.payload.len() as u64;
        let id = marks.id(client::now());
        let mut outgoing = Outgoing::new(id, drawn.sender, drawn.service, drawn.jurisdiction, drawn.payload);
        outgoing.class = drawn.class;
        outgoing.timeout_ms = self.job.timeout_ms;
        let started_us = self.now_us();
        if matches!(self.start.plan.shape, Shape::Closed) {
            self.intended += 1;
            self.intended_measured += u64::from(self.is_measured(intended_us));
        }
        if self.is_measured(intended_us) {
            self.measured.started += 1;
            self.payload_bytes += length;
            // Not the generator's fault as long as there was no room.
            self.late.record(started_us.saturating_sub(intended_us.max(self.full_at_us)));
            self.held_back += u64::from(self.full_at_us > intended_us);
        }
        let delay = u32::try_from(started_us.saturating_sub(intended_us)).unwrap_or(SLOW).min(SLOW - 1);
        self.delays.push(delay | if drawn.slow { SLOW } else { 0 });
        self.due.push(outgoing);
        Ok(())
    }

    /// Hands over what is due. The client takes it at once unless its thread is far behind; outcomes are taken meanwhile.
    fn send_due(&mut self) -> Result<()> {
        let (client, queue, waker) = (self.client, self.queue.clone(), self.waker.clone());
        let mut sending = pin!(client.send_all(std::mem::take(&mut self.due), &queue));
        loop {
            match sending.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(Ok(())) => return Ok(()),
                Poll::Ready(Err(error)) => bail!("the client has ended: {error}"),
                Poll::Pending if self.take_outcomes() == 0 => std::thread::park_timeout(Duration::from_millis(1)),
                Poll::Pending => {}
            }
        }
    }

    /// Takes the outcomes that have come; returns how many.
    fn take_outcomes(&mut self) -> usize {
        let waker = self.waker.clone();
        let mut finished = std::mem::take(&mut self.finished);
        let coming = self.outcomes.receive_many(&mut finished, AT_ONCE);
        // Not ready: nothing was taken, and the waker is known.
        let _ = pin!(coming).poll(&mut Context::from_waker(&waker));
        let taken = finished.len();
        let now_us = self.now_us();
        for ended in finished.drain(..) {
            self.on_end(now_us, ended);
        }
        self.finished = finished;
        taken
    }

    fn on_end(&mut self, now_us: u64, ended: Finished) {
        let Finished { id, outcome, .. } = ended;
        let Marks { number, intended_us, .. } = Marks::of(id);
        let intended_us = u64::from(intended_us);
        let delay = usize::try_from(number).ok().and_then(|number| self.delays.get(number)).copied();
        let slow = delay.is_some_and(|delay| delay & SLOW != 0);
        let started_us = intended_us + u64::from(delay.unwrap_or(0) & !SLOW);
        let end = match &outcome {
            Ok(outcome) => End::from(outcome.outcome),
            Err(_) => End::NotTaken,
        };
        self.book.close(number, end);
        if end != End::Delivered {
            let why = match &outcome {
                Ok(outcome) => format!("{} {}", outcome.outcome.name(), outcome.code.name()),
                Err(SendError::OutOfRange { field, .. }) => format!("not taken: {field} out of range"),
                Err(SendError::IdInUse(_)) => "not taken: id in use".to_owned(),
                Err(error) => format!("not taken: {error}"),
            };
            *self.codes.entry(why).or_default() += 1;
        }
        let took_us = now_us.saturating_sub(intended_us);
        self.interval.record(took_us);
        if now_us >= self.start.warm_up_us && now_us < self.start.plan.length_us {
            self.ended_in_window += 1;
        }
        if self.is_measured(intended_us) {
            self.measured.add(end);
            if matches!(end, End::Delivered | End::Rejected) {
                self.latency.record(took_us);
                if !slow {
                    self.others.record(took_us);
                }
                self.service.record(now_us.saturating_sub(started_us));
            }
        }
        if let Ok(outcome) = outcome {
            self.check_again(now_us, &outcome);
        }
    }

    /// The library has checked every receipt; the generator checks as many again as the job allows, by the offline way.
    fn check_again(&mut self, now_us: u64, outcome: &SendOutcome) {
        // Rounded up: the first receipt of a run is checked again, however early it comes.
        let allowed = u64::from(self.job.checks_per_s).saturating_mul(now_us / 1_000 + 1).div_ceil(1_000);
        let receipted = matches!(End::from(outcome.outcome), End::Delivered | End::Rejected);
        if !receipted || self.rechecked >= allowed {
            return;
        }
        if self.table.is_none() {
            self.table = self.client.table();
        }
        let (Some(proof), Some(table)) = (&outcome.proof, &self.table) else {
            self.recheck_impossible += 1;
            return;
        };
        match offline::verify(&proof.to_file(), table) {
            Ok(_) => self.rechecked += 1,
            // Another directory is in force meanwhile: it is taken for the next one.
            Err(offline::OfflineFault::OtherDirectory { .. }) => self.table = self.client.table(),
            Err(error) => {
                tracing::error!(message = %outcome.id, %error, "a receipt does not verify offline");
                self.rechecked += 1;
                self.recheck_failures += 1;
            }
        }
    }

    fn is_measured(&self, intended_us: u64) -> bool {
        intended_us >= self.start.warm_up_us
    }

    fn progress(&mut self, at_us: u64) -> Progress {
        let latency = self.interval.summary();
        self.interval.clear();
        let ledger = self.client.status().ledger;
        Progress {
            at_us,
            counts: self.book.counts(),
            intended: self.intended,
            latency,
            attempts: ledger.attempts.saturating_sub(self.before.ledger.attempts),
            bundles: ledger.bundles.saturating_sub(self.before.ledger.bundles),
        }
    }

    fn result(self) -> SourceResult {
        let status = self.client.status();
        // A run that was stopped in its warm-up has measured nothing.
        let warm = self.warm.as_ref().unwrap_or(&status);
        let sealing_us = waited_us(status.turns.sealing, warm.turns.sealing);
        let (ledger, before, warm) = (status.ledger, self.before.ledger, warm.ledger);
        let since = |now: u64, then: u64| now.saturating_sub(then);
        SourceResult {
            endpoints: status.attached.len(),
            all: self.book.counts(),
            measured: self.measured,
            intended: self.intended_measured,
            window_us: self.start.plan.length_us.saturating_sub(self.start.warm_up_us),
            ended_in_window: self.ended_in_window,
            latency: self.latency.recorded(),
            service: self.service.recorded(),
            others: self.others.recorded(),
            late: self.late.recorded(),
            held_back: self.held_back,
            codes: self.codes,
            payload_bytes: self.payload_bytes,
            rechecked: self.rechecked,
            recheck_failures: self.recheck_failures,
            recheck_impossible: self.recheck_impossible,
            invalid_receipts: since(ledger.invalid_receipts, before.invalid_receipts),
            receipts: since(ledger.receipts, before.receipts),
            attempts: since(ledger.attempts, before.attempts),
            attempts_measured: since(ledger.attempts, warm.attempts),
            bundles_measured: since(ledger.bundles, warm.bundles),
            sealing_us,
            resends: since(ledger.resends, before.resends),
            faults: self.book.faults(),
            receipted: self.book.receipted(),
        }
    }
}

fn told_to_stop(commands: &Receiver<Command>) -> bool {
    match commands.try_recv() {
        Ok(Command::Stop) | Err(TryRecvError::Disconnected) => true,
        Ok(Command::Start(_) | Command::Report) | Err(TryRecvError::Empty) => false,
    }
}
