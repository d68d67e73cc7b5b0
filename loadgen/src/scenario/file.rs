//! What does a scenario file say, and what is wrong with it? All problems at once, each with its key and a remedy.
//!
//! Every key is optional; unknown ones are refused. Quantities carry their units: `"30s"`, `"10MiB"`, `"1500/s"`.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::{Jurisdictions, PayloadShare, Reconnect, Scenario, Slow, algorithms, ready};
use crate::clock::micros;
use crate::schedule::{Burst, Shape};
use crate::units;

/// Everything that is wrong with a scenario file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, or the name of the ready scenario.
    pub file: String,
    /// One line each.
    pub problems: Vec<String>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scenario {} cannot be used:", self.file)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Option<String>,
    about: Option<String>,
    slo: Option<String>,
    #[serde(default)]
    network: RawNetwork,
    #[serde(default)]
    load: RawLoad,
    #[serde(default)]
    faults: RawFaults,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNetwork {
    routers: Option<usize>,
    senders: Option<usize>,
    sender_links: Option<usize>,
    recipients: Option<usize>,
    recipient_links: Option<usize>,
    jurisdictions: Option<Jurisdictions>,
    services: Option<Vec<String>>,
    algorithms: Option<Vec<String>>,
    routes: Option<usize>,
    custody: Option<bool>,
    router: Option<toml::Table>,
    sender: Option<toml::Table>,
    recipient: Option<toml::Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLoad {
    rate: Option<Quantity>,
    ramp: Option<RawRamp>,
    max: Option<bool>,
    burst: Option<RawBurst>,
    duration: Option<String>,
    warm_up: Option<String>,
    payload: Option<RawPayload>,
    classes: Option<RawClasses>,
    in_flight: Option<usize>,
    timeout: Option<String>,
    seed: Option<u64>,
}

/// A plain number, or one with its unit.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Quantity {
    Whole(u64),
    Broken(f64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRamp {
    from: Quantity,
    to: Quantity,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBurst {
    every: String,
    length: String,
    factor: f64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawPayload {
    One(Quantity),
    Shares(Vec<RawShare>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShare {
    weight: Option<f64>,
    size: Option<Quantity>,
    from: Option<Quantity>,
    to: Option<Quantity>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClasses {
    #[serde(default)]
    urgent: u32,
    #[serde(default)]
    interactive: u32,
    #[serde(default)]
    bulk: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFaults {
    bad_signatures: Option<f64>,
    rejected: Option<f64>,
    slow: Option<Slow>,
    reconnect: Option<RawReconnect>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReconnect {
    links: usize,
    every: String,
}

/// Reads a scenario: a ready one by its name, else the file with this path.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(name: &str) -> Result<Scenario, Problems> {
    if let Some(text) = ready::named(name) {
        return parse(name, text);
    }
    let path = Path::new(name);
    let text = std::fs::read_to_string(path).map_err(|error| {
        let known: Vec<_> = ready::READY.iter().map(|(name, _)| *name).collect();
        let known = format!("name a file, or one of {}", known.join(", "));
        Problems { file: name.to_owned(), problems: vec![format!("cannot be read: {error}; {known}")] }
    })?;
    parse(name, &text)
}

/// Reads the text of a scenario file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Scenario, Problems> {
    let fault = |problems: Vec<String>| Problems { file: file.to_owned(), problems };
    let raw: Raw =
        toml::from_str(text).map_err(|error| fault(vec![error.to_string().trim_end().replace('\n', "\n  ")]))?;
    let mut check = Check::default();
    let scenario = check.scenario(file, raw);
    check.0.extend(scenario.problems());
    if check.0.is_empty() { Ok(scenario) } else { Err(fault(check.0)) }
}

/// Problems found so far.
#[derive(Default)]
struct Check(Vec<String>);

impl Check {
    fn scenario(&mut self, file: &str, raw: Raw) -> Scenario {
        let mut scenario = Scenario::default();
        let stem = Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        scenario.name = raw.name.or(stem).unwrap_or_default();
        scenario.about = raw.about.unwrap_or_default();
        if let Some(text) = raw.slo {
            scenario.slo = self.keep("slo", text.parse()).unwrap_or_default();
        }
        self.network(&mut scenario, raw.network);
        self.load(&mut scenario, raw.load);
        self.faults(&mut scenario, raw.faults);
        scenario
    }

    fn network(&mut self, scenario: &mut Scenario, raw: RawNetwork) {
        let network = &mut scenario.network;
        set(&mut network.routers, raw.routers);
        set(&mut network.senders, raw.senders);
        set(&mut network.sender_links, raw.sender_links);
        set(&mut network.recipients, raw.recipients);
        set(&mut network.recipient_links, raw.recipient_links);
        set(&mut network.jurisdictions, raw.jurisdictions);
        set(&mut network.services, raw.services);
        set(&mut network.routes, raw.routes);
        set(&mut network.custody, raw.custody);
        set(&mut network.router, raw.router);
        set(&mut network.sender, raw.sender);
        set(&mut network.recipient, raw.recipient);
        if let Some(names) = raw.algorithms {
            network.algorithms =
                names.iter().filter_map(|name| self.keep("network.algorithms", algorithms(name))).collect();
        }
    }

    fn load(&mut self, scenario: &mut Scenario, raw: RawLoad) {
        let load = &mut scenario.load;
        let given = [raw.rate.is_some(), raw.ramp.is_some(), raw.max == Some(true)];
        if given.into_iter().filter(|given| *given).count() > 1 {
            self.0.push("load: rate, ramp and max exclude each other; keep one of them".to_owned());
        }
        if let Some(rate) = raw.rate {
            set(&mut load.shape, self.rate("load.rate", &rate).map(Shape::Steady));
        }
        if let Some(ramp) = raw.ramp {
            let from = self.rate("load.ramp.from", &ramp.from);
            let to = self.rate("load.ramp.to", &ramp.to);
            set(&mut load.shape, from.zip(to).map(|(from, to)| Shape::Ramp { from, to }));
        }
        if raw.max == Some(true) {
            load.shape = Shape::Closed;
        }
        set(&mut load.duration, self.duration("load.duration", raw.duration.as_deref()));
        set(&mut load.warm_up, self.duration("load.warm_up", raw.warm_up.as_deref()));
        set(&mut load.timeout, self.duration("load.timeout", raw.timeout.as_deref()));
        set(&mut load.in_flight, raw.in_flight);
        set(&mut load.seed, raw.seed);
        if let Some(burst) = raw.burst {
            let every = self.duration("load.burst.every", Some(&burst.every));
            let length = self.duration("load.burst.length", Some(&burst.length));
            let made = every.zip(length).map(|(every, length)| Burst {
                every_us: micros(every),
                length_us: micros(length),
                factor: burst.factor,
            });
            load.burst = made;
        }
        if let Some(payload) = raw.payload {
            load.payload = self.payload(&payload);
        }
        if let Some(classes) = raw.classes {
            load.classes = [classes.urgent, classes.interactive, classes.bulk];
        }
    }

    fn faults(&mut self, scenario: &mut Scenario, raw: RawFaults) {
        let faults = &mut scenario.faults;
        set(&mut faults.bad_signatures, raw.bad_signatures);
        set(&mut faults.rejected, raw.rejected);
        faults.slow = raw.slow;
        if let Some(reconnect) = raw.reconnect {
            let every = self.duration("faults.reconnect.every", Some(&reconnect.every));
            faults.reconnect = every.map(|every| Reconnect { links: reconnect.links, every });
        }
    }

    fn payload(&mut self, raw: &RawPayload) -> Vec<PayloadShare> {
        match raw {
            RawPayload::One(size) => self.size("load.payload", size).map(PayloadShare::exactly).into_iter().collect(),
            RawPayload::Shares(shares) => shares.iter().filter_map(|share| self.share(share)).collect(),
        }
    }

    fn share(&mut self, raw: &RawShare) -> Option<PayloadShare> {
        let weight = raw.weight.unwrap_or(1.0);
        match (&raw.size, &raw.from, &raw.to) {
            (Some(size), None, None) => {
                let bytes = self.size("load.payload.size", size)?;
                Some(PayloadShare { weight, from: bytes, to: bytes })
            }
            (None, Some(from), Some(to)) => {
                let from = self.size("load.payload.from", from)?;
                let to = self.size("load.payload.to", to)?;
                Some(PayloadShare { weight, from, to })
            }
            _ => {
                self.0.push("load.payload: each share has either size, or from and to".to_owned());
                None
            }
        }
    }

    fn duration(&mut self, key: &str, text: Option<&str>) -> Option<Duration> {
        text.and_then(|text| self.keep(key, units::duration(text)))
    }

    fn size(&mut self, key: &str, raw: &Quantity) -> Option<u64> {
        let read = match raw {
            Quantity::Whole(bytes) => Ok(*bytes),
            Quantity::Broken(bytes) => Err(format!("{bytes} is no whole number of bytes")),
            Quantity::Text(text) => units::size(text),
        };
        self.keep(key, read)
    }

    fn rate(&mut self, key: &str, raw: &Quantity) -> Option<f64> {
        let read = match raw {
            Quantity::Whole(rate) => units::rate(&rate.to_string()),
            Quantity::Broken(rate) => units::rate(&rate.to_string()),
            Quantity::Text(text) => units::rate(text),
        };
        self.keep(key, read)
    }

    fn keep<T, E: fmt::Display>(&mut self, key: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|error| self.0.push(format!("{key}: {error}"))).ok()
    }
}

/// Overrides a default.
fn set<T>(slot: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *slot = given;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use kernpost_codecs::key::Algorithm;

    use super::*;

    fn wrong(text: &str) -> String {
        parse("lunch.toml", text).expect_err("has to be refused").to_string()
    }

    #[test]
    fn an_empty_file_is_the_defaults_under_its_own_name() {
        let scenario = parse("ops/lunch.toml", "").unwrap();
        assert_eq!(scenario, Scenario { name: "lunch".to_owned(), ..Scenario::default() });
    }

    #[test]
    fn every_key_is_taken_over() {
        let text = r#"
            name = "all"
            about = "everything"
            slo = "p99<5ms,lost=0"
            [network]
            routers = 2
            senders = 20
            sender_links = 5
            recipients = 100
            recipient_links = 10
            jurisdictions = "population"
            services = ["99050012104000"]
            algorithms = ["ed25519", "esp256+ed25519"]
            router.credit.interactive.entries = 8192
            [load]
            ramp = { from = 100, to = "2k/s" }
            burst = { every = "5s", length = "500ms", factor = 4.0 }
            duration = "1m"
            warm_up = "3s"
            payload = [{ weight = 9, size = 256 }, { from = "1KiB", to = "10MiB" }]
            classes = { urgent = 1, interactive = 8, bulk = 1 }
            in_flight = 100
            timeout = "5s"
            seed = 42
            [faults]
            bad_signatures = 0.01
            rejected = 0.05
            slow = { recipients = 2, rate = 50.0, share = 0.1 }
            reconnect = { links = 100, every = "2s" }
        "#;
        let scenario = parse("all.toml", text).unwrap();
        assert_eq!(scenario.load.shape, Shape::Ramp { from: 100.0, to: 2_000.0 });
        assert_eq!(scenario.load.payload[1], PayloadShare { weight: 1.0, from: 1_024, to: 10 << 20 });
        assert_eq!(scenario.load.classes, [1, 8, 1]);
        assert_eq!(scenario.network.algorithms[1].len(), 2);
        assert_eq!(scenario.faults.reconnect.unwrap().every, Duration::from_secs(2));
        assert_eq!(scenario.faults.slow.unwrap().recipients, 2);
        assert_eq!(scenario.network.jurisdictions, Jurisdictions::Population);
        assert!(scenario.network.router.contains_key("credit"));
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let said = wrong("[load]\nrtae = 5\n");
        assert!(said.contains("lunch.toml") && said.contains("rtae") && said.contains("line 2"), "{said}");
    }

    #[test]
    fn all_problems_are_reported_at_once_with_key_and_remedy() {
        let said = wrong(
            "slo = 'p99<5'\n[network]\nrecipients = 0\nalgorithms = ['rot13']\n[load]\nduration = '5'\npayload = '1 mile'\n",
        );
        for part in ["slo: ", "network.recipients: 0", "rot13", "load.duration", "200ms", "load.payload", "KiB"] {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
    }

    #[test]
    fn rate_ramp_and_max_exclude_each_other() {
        assert!(wrong("[load]\nrate = 5\nmax = true\n").contains("exclude each other"));
    }

    #[test]
    fn more_messages_than_can_be_accounted_for_are_refused() {
        assert!(wrong("[load]\nrate = '9000k/s'\nduration = '1h'\n").contains("lower load.rate"));
    }

    #[test]
    fn a_storm_that_would_never_come_is_refused() {
        let within = |every: &str| {
            let load = "[load]\nduration = '10s'\nwarm_up = '2s'\n[faults]\n";
            parse("lunch.toml", &format!("{load}reconnect = {{ links = 5, every = '{every}' }}\n"))
        };
        assert!(within("11s").is_ok());
        let said = within("12s").expect_err("has to be refused").to_string();
        assert!(said.contains("faults.reconnect.every: 12 s") && said.contains("load.duration"), "{said}");
    }

    #[test]
    fn some_ready_scenario_mixes_all_signature_algorithms() {
        let mixed = ready::READY.iter().map(|(name, text)| parse(name, text).unwrap().network.algorithms);
        assert!(
            mixed
                .into_iter()
                .any(|algorithms| algorithms.len() == 4 && algorithms.contains(&Algorithm::HYBRID.to_vec()))
        );
    }

    #[test]
    fn every_ready_scenario_is_valid_and_has_objectives() {
        for (name, text) in ready::READY {
            let scenario = parse(name, text).unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(scenario.name, name);
            assert!(!scenario.slo.is_empty(), "{name} has no objectives");
            assert!(scenario.about.len() > 20, "{name} says nothing of itself");
        }
    }

    #[test]
    fn the_mean_of_a_range_lies_between_its_ends() {
        let mut load = super::super::Load::default();
        assert!((load.mean_payload() - 1_024.0).abs() < 1e-9);
        load.payload = vec![PayloadShare { weight: 1.0, from: 1_000, to: 10_000 }];
        assert!((3_900.0..3_920.0).contains(&load.mean_payload()), "{}", load.mean_payload());
    }
}
