//! What do kills at random moments leave behind? Under load, half of the recipients away, router, source or a sink is killed and
//! started again, over and over; in the end everybody is there, and everything has to come out.
//!
//! Two groups of recipients take turns in being away: a sink that is killed comes back when its turn comes. The source has a
//! durable outbox; what it took is in its list. A message is *lost* when the list has it and no sink saw it, or when its outcome does not
//! arrive. See [`super::sink`] for repeats.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::prelude::*;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::bench::{Bench, Party, Sending, wait};
use super::{notes, sink, source};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How often something is killed
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Messages a second
    #[arg(long, default_value_t = 10_000.0)]
    rate: f64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 1_024)]
    payload: usize,
    /// Draws the same victims again
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What differs from the router's defaults, as TOML
    #[arg(long, default_value = "")]
    router: String,
}

/// From one kill to the next.
const PAUSE_MS: std::ops::Range<u64> = 300..1_500;
/// Recipients, each a sink of its own; half of them are away.
const RECIPIENTS: usize = 4;
/// For everything to settle in the end.
const PATIENCE: Duration = Duration::from_secs(120);

struct Chaos {
    bench: Bench,
    options: Options,
    random: SmallRng,
    source: Option<Party>,
    sinks: Vec<Option<Party>>,
    /// Processes of the source so far.
    sources: u8,
    repeats: Repeats,
    killed: [u32; 3],
}

#[derive(Default)]
struct Repeats {
    journalled: u64,
    unjournalled: u64,
}

impl Repeats {
    fn add(&mut self, state: &sink::State) {
        self.journalled += state.repeats_journalled;
        self.unjournalled += state.repeats_unjournalled;
    }
}

pub fn run(options: &Options, below: &Path) -> Result<Value> {
    let bench = Bench::start(below, 1, RECIPIENTS, &options.router)?;
    let mut chaos = Chaos {
        bench,
        options: options.clone(),
        random: SmallRng::seed_from_u64(options.seed),
        source: None,
        sinks: (0..RECIPIENTS).map(|_| None).collect(),
        sources: 0,
        repeats: Repeats::default(),
        killed: [0; 3],
    };
    for sink in 0..RECIPIENTS / 2 {
        chaos.start_sink(sink)?;
    }
    chaos.start_source(true)?;
    let begun = Instant::now();
    for _ in 0..options.kills {
        let pause = chaos.random.random_range(PAUSE_MS);
        std::thread::sleep(Duration::from_millis(pause));
        chaos.kill()?;
    }
    std::thread::sleep(Duration::from_secs(1));
    let seconds = begun.elapsed().as_secs_f64();
    chaos.settle(seconds)
}

impl Chaos {
    fn start_source(&mut self, sending: bool) -> Result<()> {
        self.sources = self.sources.checked_add(1).context("too many processes of the source")?;
        let sending = Sending {
            sender: 0,
            to: (0..RECIPIENTS).collect(),
            payload: self.options.payload,
            rate: Some(self.options.rate),
            count: if sending { 100_000_000 } else { 0 },
            warm_up: Duration::ZERO,
            run: self.sources,
            durable: true,
            in_flight: 65_536,
        };
        self.source = Some(self.bench.start_source("source", &sending)?);
        Ok(())
    }

    fn start_sink(&mut self, number: usize) -> Result<()> {
        let party = self.bench.start_sink(number)?;
        if let Some(sink) = self.sinks.get_mut(number) {
            *sink = Some(party);
        }
        Ok(())
    }

    /// Kills the router, the source or a sink that is there.
    fn kill(&mut self) -> Result<()> {
        match self.random.random_range(0..4) {
            0 => {
                self.killed[0] += 1;
                self.bench.kill_router();
                self.bench.start_router()?;
            }
            1 => {
                self.killed[1] += 1;
                if let Some(source) = self.source.take() {
                    source.kill::<source::State>();
                }
                self.start_source(true)?;
            }
            _ => {
                self.killed[2] += 1;
                let there: Vec<usize> = (0..RECIPIENTS).filter(|number| self.is_there(*number)).collect();
                let away: Vec<usize> = (0..RECIPIENTS).filter(|number| !self.is_there(*number)).collect();
                let victim = *there.choose(&mut self.random).context("half of the sinks are there")?;
                if let Some(sink) = self.sinks.get_mut(victim).and_then(Option::take) {
                    self.repeats.add(&sink.kill());
                }
                let next = *away.choose(&mut self.random).context("half of the sinks are away")?;
                self.start_sink(next)?;
            }
        }
        Ok(())
    }

    fn is_there(&self, sink: usize) -> bool {
        self.sinks.get(sink).is_some_and(Option::is_some)
    }

    /// Everybody is there and nothing more is sent: everything comes out.
    fn settle(mut self, seconds: f64) -> Result<Value> {
        let held_at_the_end = self.bench.custody_number("held").unwrap_or_default();
        if let Some(source) = self.source.take() {
            source.kill::<source::State>();
        }
        self.start_source(false)?;
        for number in 0..RECIPIENTS {
            if !self.is_there(number) {
                self.start_sink(number)?;
            }
        }
        let begun = Instant::now();
        let mut source = self.source.take().context("the source runs")?;
        let settled = wait("everything is settled", PATIENCE, || {
            for sink in self.sinks.iter_mut().flatten() {
                sink.seen()?;
            }
            let state = source.sent()?;
            let custody = self.bench.custody()?;
            let number = |name: &str| custody.get(name).and_then(Value::as_u64);
            let empty = number("held") == Some(0) && number("late_receipts") == Some(0);
            Ok((state.ready && state.open == 0 && empty).then_some(()))
        });
        let settled_after_s = begun.elapsed().as_secs_f64();
        let custody = self.bench.custody()?;
        let last = source.sent()?;
        for sink in self.sinks.iter_mut().flatten() {
            self.repeats.add(&sink.seen()?);
        }
        let taken: HashSet<_> = notes::ids(&self.bench.list("source")).into_iter().collect();
        let seen: HashSet<_> =
            (0..RECIPIENTS).flat_map(|number| notes::ids(&self.bench.list(&format!("sink-{number}")))).collect();
        let lost = taken.difference(&seen).count();
        Ok(json!({
            "killed": { "router": self.killed[0], "source": self.killed[1], "sinks": self.killed[2] },
            "seconds": seconds,
            "taken": taken.len(),
            "seen": seen.len(),
            "lost": lost,
            "open": last.open,
            "recovered": last.recovered,
            "others": last.others,
            "repeats_after_journal": self.repeats.journalled,
            "repeats_before_journal": self.repeats.unjournalled,
            "held_at_the_end": held_at_the_end,
            "settled": settled.is_ok(),
            "settled_after_s": settled_after_s,
            "custody": custody,
        }))
    }
}
