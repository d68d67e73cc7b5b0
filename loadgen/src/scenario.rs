//! What load is offered, to whom, and what has to come out? A scenario with every default filled in.
//!
//! Scenarios come from a TOML file ([`mod@file`]), from a ready one by its name ([`mod@ready`]), or from defaults; the command
//! line overrides single values. Everything is checked before any process starts.

use std::time::Duration;

use kernpost_codecs::key::Algorithm;
use serde::{Deserialize, Serialize};

pub mod file;
pub mod ready;

use crate::schedule::{Burst, Shape};
use crate::slo::Slo;

/// A load test.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What it is called in reports.
    pub name: String,
    /// What it shows, one or two sentences.
    pub about: String,
    /// Who sends and who receives, over what.
    pub network: Network,
    /// What is sent, when.
    pub load: Load,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// What has to hold.
    pub slo: Slo,
}

/// Who sends and who receives. Only a network started here can be asked for; a given one is as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Routers between senders and recipients: 1 or 2.
    pub routers: usize,
    /// Sending endpoints, 1..=10,000.
    pub senders: usize,
    /// Links they are spread over, 1..=senders.
    pub sender_links: usize,
    /// Receiving endpoints, 1..=10,000.
    pub recipients: usize,
    /// Links they are spread over, 1..=recipients. On a link that attaches several, each may occupy at most an eighth of
    /// its credit (WIRE 7.3).
    pub recipient_links: usize,
    /// How jurisdictions are drawn.
    pub jurisdictions: Jurisdictions,
    /// Service keys, each as often as it is listed; empty: the whole shipped catalogue.
    pub services: Vec<String>,
    /// Signing algorithms; endpoints take them in turn. Two joined are both required (WIRE 5.4).
    pub algorithms: Vec<Vec<Algorithm>>,
    /// Routes that the directory carries besides: a generated directory of at least this many; 0: only what is needed.
    pub routes: usize,
    /// Whether routers keep what nobody can take now.
    pub custody: bool,
    /// Keys of the routers' configuration that differ from the defaults.
    pub router: toml::Table,
    /// The same for the sending client.
    pub sender: toml::Table,
    /// The same for the receiving client.
    pub recipient: toml::Table,
}

/// How jurisdictions are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Jurisdictions {
    /// Every recipient equally often.
    Uniform,
    /// Municipalities by their inhabitants, from the shipped list; recipients share them evenly by number.
    Population,
}

/// What is sent, when.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// The rate over time.
    pub shape: Shape,
    /// Bursts on top.
    pub burst: Option<Burst>,
    /// How long is measured.
    pub duration: Duration,
    /// How long messages are sent before, unmeasured.
    pub warm_up: Duration,
    /// How large payloads are.
    pub payload: Vec<PayloadShare>,
    /// Weights of the priority classes: urgent, interactive, bulk.
    pub classes: [u32; 3],
    /// Messages under way at most. An open loop that reaches it starts messages late, and their latency says so.
    pub in_flight: usize,
    /// How long a message may take before its outcome is undecided or refused.
    pub timeout: Duration,
    /// Draws the same messages again.
    pub seed: u64,
}

/// A share of the payloads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PayloadShare {
    /// Weight among the shares.
    pub weight: f64,
    /// Smallest, bytes.
    pub from: u64,
    /// Largest, bytes; between both every order of magnitude is equally likely.
    pub to: u64,
}

/// What goes wrong on purpose.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    /// Messages with a broken signature besides the others, as a share of the rate, 0..=1. A client of their own sends
    /// them; every one must be refused.
    pub bad_signatures: f64,
    /// Share of messages that their recipients reject, 0..=1.
    pub rejected: f64,
    /// Recipients that answer slowly.
    pub slow: Option<Slow>,
    /// Links that come and go.
    pub reconnect: Option<Reconnect>,
}

/// Recipients that answer slowly, each on a link of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// How many, in addition to the others.
    pub recipients: usize,
    /// What each answers, messages per second.
    pub rate: f64,
    /// Which share of all messages they get together, 0..=1.
    pub share: f64,
}

/// Links that come and go: bystanders that attach, stay, leave, and come back all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// How many links.
    pub links: usize,
    /// From one storm to the next.
    pub every: Duration,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "custom".to_owned(),
            about: String::new(),
            network: Network::default(),
            load: Load::default(),
            faults: Faults::default(),
            slo: Slo::default(),
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            routers: 1,
            senders: 1,
            sender_links: 1,
            recipients: 4,
            recipient_links: 1,
            jurisdictions: Jurisdictions::Uniform,
            services: Vec::new(),
            algorithms: vec![vec![Algorithm::Esp256]],
            routes: 0,
            custody: false,
            router: toml::Table::new(),
            sender: toml::Table::new(),
            recipient: toml::Table::new(),
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            shape: Shape::Steady(1_000.0),
            burst: None,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(2),
            payload: vec![PayloadShare::exactly(1_024)],
            classes: [0, 1, 0],
            in_flight: 4_096,
            timeout: Duration::from_secs(20),
            seed: 1,
        }
    }
}

/// Bounds of a scenario: what a run may take is known before it starts.
pub mod bounds {
    use std::time::Duration;

    /// Longest measured time: an hour. Intended starts are kept in 32 bits of µs.
    pub const LONGEST: Duration = Duration::from_secs(3_600);
    /// Most endpoints of a kind.
    pub const ENDPOINTS: usize = 10_000;
    /// Largest payload, bytes.
    pub const PAYLOAD: u64 = 1 << 31;
    /// Most messages under way.
    pub const IN_FLIGHT: usize = 1 << 20;
    /// Most messages of one run; five bytes each are kept at the source and one bit at the sink.
    pub const MESSAGES: f64 = 200e6;
    /// Most generated routes.
    pub const ROUTES: usize = 10_000_000;
}

impl PayloadShare {
    /// All of one size.
    #[must_use]
    pub const fn exactly(bytes: u64) -> Self {
        Self { weight: 1.0, from: bytes, to: bytes }
    }
}

impl Scenario {
    /// Everything that is wrong with it, one line each: the key, what is wrong, what would be right.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        self.network.problems(&mut problems);
        self.load.problems(&mut problems);
        self.faults.problems(&mut problems);
        if let Some(reconnect) = self.faults.reconnect
            && reconnect.every >= self.load.warm_up.saturating_add(self.load.duration)
        {
            problems.push(format!(
                "faults.reconnect.every: {} s is not within the run, so no storm would come; lower it or raise load.duration",
                reconnect.every.as_secs_f64()
            ));
        }
        let plan = self.schedule();
        if plan.most().is_some_and(|most| most > bounds::MESSAGES) {
            problems.push(format!(
                "load: more than {} messages in one run; lower load.rate or load.duration",
                bounds::MESSAGES
            ));
        }
        problems
    }

    /// When messages start.
    #[must_use]
    pub fn schedule(&self) -> crate::schedule::Plan {
        crate::schedule::Plan {
            shape: self.load.shape.clone(),
            burst: self.load.burst,
            length_us: crate::clock::micros(self.load.warm_up.saturating_add(self.load.duration)),
        }
    }
}

fn within<T: PartialOrd + std::fmt::Display>(problems: &mut Vec<String>, key: &str, value: T, least: T, most: T) {
    if !(least <= value && value <= most) {
        problems.push(format!("{key}: {value} is not within {least} to {most}"));
    }
}

impl Network {
    fn problems(&self, problems: &mut Vec<String>) {
        within(problems, "network.routers", self.routers, 1, 2);
        within(problems, "network.senders", self.senders, 1, bounds::ENDPOINTS);
        within(problems, "network.recipients", self.recipients, 1, bounds::ENDPOINTS);
        within(problems, "network.sender_links", self.sender_links, 1, self.senders.max(1));
        within(problems, "network.recipient_links", self.recipient_links, 1, self.recipients.max(1));
        within(problems, "network.routes", self.routes, 0, bounds::ROUTES);
        for service in &self.services {
            if let Err(error) = service.parse::<kernpost_codecs::ServiceKey>() {
                problems.push(format!("network.services: {service:?}: {error}"));
            }
        }
        if self.algorithms.is_empty() {
            problems.push("network.algorithms: none; leave it out for esp256".to_owned());
        }
        if self.algorithms.iter().any(|required| required.is_empty() || required.len() > 2) {
            problems.push("network.algorithms: one algorithm, or two joined with +, such as esp256+ed25519".to_owned());
        }
        if self.routes > 0 && self.jurisdictions == Jurisdictions::Population {
            let hint = "leave one of both out: generated routes have generated municipalities";
            problems.push(format!("network.jurisdictions: population does not go with network.routes; {hint}"));
        }
    }
}

impl Load {
    fn problems(&self, problems: &mut Vec<String>) {
        let seconds = |duration: Duration| duration.as_secs_f64();
        within(problems, "load.duration (s)", seconds(self.duration), 0.1, seconds(bounds::LONGEST));
        within(problems, "load.warm_up (s)", seconds(self.warm_up), 0.0, 600.0);
        within(problems, "load.timeout (s)", seconds(self.timeout), 0.1, 600.0);
        within(problems, "load.in_flight", self.in_flight, 1, bounds::IN_FLIGHT);
        let rates = match self.shape {
            Shape::Steady(rate) => vec![rate],
            Shape::Ramp { from, to } => vec![from, to],
            Shape::Closed => Vec::new(),
        };
        for rate in rates {
            within(problems, "load.rate", rate, 0.001, crate::units::MOST_PER_S);
        }
        if let Some(burst) = self.burst {
            within(problems, "load.burst.factor", burst.factor, 1.0, 1_000.0);
            if burst.length_us == 0 || burst.length_us >= burst.every_us {
                problems.push("load.burst: length has to be shorter than every, and longer than nothing".to_owned());
            }
            if self.shape == Shape::Closed {
                problems.push("load.burst: has no effect with load.max; give load.rate instead".to_owned());
            }
        }
        if self.payload.is_empty() {
            problems.push("load.payload: none; give a size such as 1KiB".to_owned());
        }
        for share in &self.payload {
            within(problems, "load.payload", share.from, 1, share.to);
            within(problems, "load.payload", share.to, share.from, bounds::PAYLOAD);
            within(problems, "load.payload.weight", share.weight, 0.000_001, 1e9);
        }
        if self.classes.iter().all(|weight| *weight == 0) {
            problems.push("load.classes: all weights are 0; give one of urgent, interactive, bulk a weight".to_owned());
        }
    }

    /// The mean payload, bytes, as the distribution promises it.
    #[must_use]
    pub fn mean_payload(&self) -> f64 {
        let weights: f64 = self.payload.iter().map(|share| share.weight).sum();
        self.payload.iter().map(|share| share.weight * share.mean()).sum::<f64>() / weights.max(f64::MIN_POSITIVE)
    }
}

impl PayloadShare {
    /// The mean of a size whose logarithm is uniform.
    #[expect(clippy::cast_precision_loss, reason = "payloads stay far below 2^53")]
    fn mean(&self) -> f64 {
        let (from, to) = (self.from.max(1) as f64, self.to.max(1) as f64);
        if self.from >= self.to { from } else { (to - from) / (to / from).ln() }
    }
}

impl Faults {
    fn problems(&self, problems: &mut Vec<String>) {
        within(problems, "faults.bad_signatures", self.bad_signatures, 0.0, 1.0);
        within(problems, "faults.rejected", self.rejected, 0.0, 1.0);
        if let Some(slow) = self.slow {
            within(problems, "faults.slow.recipients", slow.recipients, 1, 100);
            within(problems, "faults.slow.rate", slow.rate, 0.001, 1e6);
            within(problems, "faults.slow.share", slow.share, 0.0, 1.0);
        }
        if let Some(reconnect) = self.reconnect {
            within(problems, "faults.reconnect.links", reconnect.links, 1, 10_000);
            within(problems, "faults.reconnect.every (s)", reconnect.every.as_secs_f64(), 0.1, 600.0);
        }
    }
}

/// Reads algorithms by their names: `esp256`, `ed25519`, `esp384`, `ml-dsa-65`; two joined with `+`, or `hybrid` for
/// `esp256+ml-dsa-65`.
///
/// # Errors
/// A name is not known to this software.
pub fn algorithms(text: &str) -> Result<Vec<Algorithm>, String> {
    if text.eq_ignore_ascii_case("hybrid") {
        return Ok(Algorithm::HYBRID.to_vec());
    }
    let known = || Algorithm::ALL.map(|algorithm| algorithm.name().to_lowercase()).join(", ");
    let one = |name: &str| {
        let parsed = name.trim().parse::<Algorithm>();
        parsed.map_err(|_| format!("{name:?} is no algorithm of this software: it has {}", known()))
    };
    text.split('+').map(one).collect()
}
