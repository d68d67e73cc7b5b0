//! Did it hold? Service-level objectives: `p99<5ms, lost=0, rate>=1000/s`, read and judged.
//!
//! Grammar: objectives separated by commas; each a name, one of `<` `<=` `=` `>=` `>`, and a value with the unit of its
//! name. Latencies take µs, us, ms or s and always a unit; counts and rates plain numbers; shares a `%`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::clock::micros;
use crate::units;

/// Service-level objectives; all have to hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Slo(Vec<Objective>);

/// One objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// What is judged.
    pub name: Name,
    /// How it is compared.
    pub operator: Operator,
    /// With what, in the unit of the name.
    pub value: f64,
}

/// What an operator asks of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Below.
    Less,
    /// At most.
    AtMost,
    /// Exactly.
    Equal,
    /// At least.
    AtLeast,
    /// Above.
    More,
}

/// The unit of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// µs inside, written with a unit.
    Time,
    /// Messages.
    Count,
    /// Messages per second.
    Rate,
    /// Parts of a hundred, with `%`.
    Percent,
    /// A plain number.
    Number,
    /// Bytes, with or without a unit.
    Bytes,
}

macro_rules! names {
    ($($ident:ident $word:literal $unit:ident $help:literal;)*) => {
        /// What can be judged.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Name {
            $(#[doc = $help] $ident,)*
        }

        impl Name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$ident),*];

            /// How it is written.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$ident => $word),* }
            }

            /// Its unit.
            #[must_use]
            pub const fn unit(self) -> Unit {
                match self { $(Self::$ident => Unit::$unit),* }
            }

            /// What it means.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$ident => $help),* }
            }
        }
    };
}

names! {
    P50 "p50" Time "Latency that half of the messages stay below.";
    P90 "p90" Time "Latency that 90 of 100 stay below.";
    P99 "p99" Time "Latency that 99 of 100 stay below.";
    P999 "p99.9" Time "Latency that 999 of 1,000 stay below.";
    Max "max" Time "The slowest message.";
    OthersP50 "others-p50" Time "Latency of messages to recipients that are not slow on purpose, half of them.";
    OthersP99 "others-p99" Time "The same, 99 of 100.";
    OneWayP99 "one-way-p99" Time "From the intended start until the sink had it, 99 of 100.";
    Lost "lost" Count "Messages without any outcome when everything had ended, those never started among them.";
    NotStarted "not-started" Count "Messages that were intended and never started.";
    Duplicates "duplicates" Count "Messages handed to a recipient more than once.";
    Rejected "rejected" Count "Messages with a signed rejection.";
    Refused "refused" Count "Messages certainly never handed on.";
    Expired "expired" Count "Messages with a signed expiry.";
    Undecided "undecided" Count "Messages that may have been handed on.";
    Custody "custody" Count "Messages still in a router's custody at the end.";
    Other "other" Count "Messages with another signed outcome of a router: damaged, returned, discarded.";
    NotTaken "not-taken" Count "Messages that the sending library did not take.";
    BadAccepted "bad-accepted" Count "Messages with a broken signature that were not refused.";
    ReconnectsMissed "reconnects-missed" Count "Links of a storm that were not attached again before the next one.";
    Rate "rate" Rate "Messages per second with an outcome, in the measured time.";
    Offered "offered" Rate "Messages per second that were intended.";
    Delivered "delivered" Percent "Share of the intended messages with a signed delivery.";
    RefusedShare "refused-share" Percent "Share of the intended messages that were refused.";
    Cpu "cpu" Percent "Busiest router process, of one core.";
    CpuPerMessage "cpu-per-message" Time "CPU time of all routers together, for one message.";
    Checks "checks-per-message" Number "Signature checks of all routers together, for one message.";
    Fill "bundle-fill" Number "Mean entries of a bundle as the sender wrote it.";
    Memory "memory" Bytes "Resident memory of the largest router process.";
    Overhead "overhead-sender" Bytes "UDP payload beyond the message payload on the sender's link, both directions.";
    OverheadRecipient "overhead-recipient" Bytes "The same on the recipient's link.";
}

/// Measured values by name; what was not measured is not there.
#[derive(Debug, Clone, Default)]
pub struct Values(Vec<(Name, f64)>);

impl Values {
    /// Adds a value in the unit of its name; µs for times.
    pub fn set(&mut self, name: Name, value: f64) {
        self.0.push((name, value));
    }

    /// The value measured for this name.
    #[must_use]
    pub fn get(&self, name: Name) -> Option<f64> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// One objective with what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// As a person writes it.
    pub objective: String,
    /// What was measured, as a person writes it.
    pub measured: String,
    /// The same as a number: µs, counts, messages per second, percent, bytes. None: not measured.
    pub value: Option<f64>,
    /// Whether it holds. What was not measured does not.
    pub met: bool,
}

impl Slo {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each objective with its verdict.
    #[must_use]
    pub fn judge(&self, values: &Values) -> Vec<Judgement> {
        self.0.iter().map(|objective| objective.judge(values)).collect()
    }
}

impl Objective {
    fn judge(&self, values: &Values) -> Judgement {
        let value = values.get(self.name);
        Judgement {
            objective: self.to_string(),
            measured: value.map_or_else(|| "not measured".to_owned(), |value| self.name.unit().shown(value)),
            value,
            met: value.is_some_and(|value| self.operator.holds(value, self.value)),
        }
    }
}

impl Operator {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Less => value < limit,
            Self::AtMost => value <= limit,
            Self::Equal => (value - limit).abs() < 1e-9,
            Self::AtLeast => value >= limit,
            Self::More => value > limit,
        }
    }

    const WRITTEN: [(&'static str, Self); 7] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("≤", Self::AtMost),
        ("≥", Self::AtLeast),
        ("<", Self::Less),
        (">", Self::More),
        ("=", Self::Equal),
    ];
}

impl Unit {
    fn read(self, text: &str) -> Result<f64, String> {
        let number = |text: &str, example: &str| {
            let value = text.trim().parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
            value.ok_or_else(|| format!("{text:?} is no {example}"))
        };
        match self {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            Self::Time => units::duration(text).map(|duration| micros(duration) as f64),
            Self::Count => number(text, "count: write a whole number").and_then(|count| {
                if count.fract() == 0.0 { Ok(count) } else { Err(format!("{count} is no whole number")) }
            }),
            Self::Rate if text.trim() == "0" => Ok(0.0),
            Self::Rate => units::rate(text),
            Self::Percent => {
                let plain = text.trim().strip_suffix('%').ok_or_else(|| format!("{text:?} lacks its %"))?;
                number(plain, "share: write 99.9%")
            }
            Self::Number => number(text, "number"),
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            Self::Bytes => units::size(text).map(|bytes| bytes as f64),
        }
    }

    /// A value of this unit as a person writes it.
    #[must_use]
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::Time if value.fract() != 0.0 && value < 1_000.0 => format!("{value:.2} µs"),
            Self::Time => units::shown_us(value),
            Self::Count => format!("{value:.0}"),
            Self::Rate => format!("{value:.0}/s"),
            Self::Percent => format!("{value:.2} %"),
            Self::Number => format!("{value:.2}"),
            Self::Bytes => units::shown_bytes(value),
        }
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let operator = Operator::WRITTEN
            .iter()
            .filter_map(|(written, operator)| text.find(written).map(|at| (at, written.len(), *operator)))
            // The earliest; of two at the same place the longer one, which stands first in the list.
            .reduce(|best, next| if next.0 < best.0 { next } else { best });
        let Some((at, length, operator)) = operator else {
            return Err(format!("{text:?} has no operator: write for instance p99<5ms or lost=0"));
        };
        let (word, rest) = text.split_at_checked(at).unwrap_or((text, ""));
        let word = word.trim();
        let name = Name::ALL.iter().find(|name| name.word().eq_ignore_ascii_case(word)).ok_or_else(|| {
            let known: Vec<_> = Name::ALL.iter().map(|name| name.word()).collect();
            format!("{word:?} cannot be judged: there are {}", known.join(", "))
        })?;
        let value = rest.get(length..).unwrap_or_default();
        let value = name.unit().read(value).map_err(|error| format!("{word}: {error}"))?;
        Ok(Self { name: *name, operator, value })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.operator {
            Operator::Less => "<",
            Operator::AtMost => "≤",
            Operator::Equal => "=",
            Operator::AtLeast => "≥",
            Operator::More => ">",
        };
        write!(f, "{} {operator} {}", self.name.word(), self.name.unit().shown(self.value))
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn values() -> Values {
        let mut values = Values::default();
        values.set(Name::P99, 4_999.0);
        values.set(Name::P999, 80_000.0);
        values.set(Name::Lost, 0.0);
        values.set(Name::Rate, 1_000.0);
        values.set(Name::Delivered, 99.95);
        values
    }

    fn met(text: &str) -> bool {
        text.parse::<Slo>().unwrap().judge(&values()).iter().all(|judgement| judgement.met)
    }

    #[test]
    fn objectives_are_judged_in_their_units() {
        assert!(met("p99<5ms, lost=0"));
        assert!(met("p99 <= 4999us,p99.9<=80ms,rate>=1k/s,delivered>99.9%"));
        assert!(!met("p99<4999µs"));
        assert!(!met("lost>0"));
        assert!(!met("rate>1000/s"));
        assert!(met(""));
    }

    #[test]
    fn one_missed_objective_is_told_with_what_was_measured() {
        let judged = "p99<1ms,lost=0".parse::<Slo>().unwrap().judge(&values());
        assert_eq!(judged[0].measured, "5.00 ms");
        assert_eq!((judged[0].met, judged[1].met), (false, true));
        assert_eq!(judged[0].objective, "p99 < 1.00 ms");
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let judged = "duplicates=0".parse::<Slo>().unwrap().judge(&values());
        assert_eq!((judged[0].met, judged[0].value), (false, None));
    }

    #[test]
    fn a_longer_operator_is_not_read_as_a_shorter_one() {
        let slo: Slo = "p99<=5ms".parse().unwrap();
        assert_eq!(slo.0[0].operator, Operator::AtMost);
        let slo: Slo = "rate ≥ 5/s".parse().unwrap();
        assert_eq!(slo.0[0].operator, Operator::AtLeast);
    }

    #[test]
    fn what_cannot_be_judged_is_refused_with_what_can() {
        let refused = |text: &str| text.parse::<Slo>().expect_err("has to be refused");
        assert!(refused("p98<5ms").contains("p99.9"));
        assert!(refused("p99<5").contains("200ms"));
        assert!(refused("lost").contains("operator"));
        assert!(refused("lost=0.5").contains("whole"));
        assert!(refused("delivered>99").contains('%'));
        assert!(refused("rate>=fast").contains("1500/s"));
        assert!(refused("lost=-1").contains("count"));
    }

    #[test]
    fn every_name_is_read_as_it_is_written() {
        for name in Name::ALL {
            let value = match name.unit() {
                Unit::Time => "5ms",
                Unit::Percent => "5%",
                Unit::Bytes => "5KiB",
                Unit::Count | Unit::Rate | Unit::Number => "5",
            };
            let slo: Slo = format!("{}<={value}", name.word()).parse().unwrap();
            assert_eq!(slo.0[0].name, *name);
        }
    }
}
