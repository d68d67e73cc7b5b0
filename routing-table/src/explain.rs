//! Why does this route key go there, and why not elsewhere?
//!
//! `explain` does not repeat the lookup's work in another way: the decision is the lookup's own answer, and every other
//! rule of the directory that covers the route key is listed with the reason why it lost.

use std::fmt;

use kernpost_codecs::{Ars, JurisdictionLevel, ServiceKey, ServiceLevel};
use serde::Serialize;

use crate::table::{Route, Table};

/// The answer to `explain`. Serialises to the JSON of the command and of the admin interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The service key asked for, 14 digits.
    pub service: String,
    /// The ARS asked for, 12 digits.
    pub jurisdiction: String,
    /// Generation of the table that answered.
    pub generation: u64,
    /// The rule that answers; `None`: nobody is responsible.
    pub decision: Option<Decision>,
    /// Every other rule that covers the route key, the closest to winning first.
    pub candidates: Vec<Candidate>,
    /// The ARS that succeeded the one asked for. For humans; not part of the JSON.
    #[serde(skip)]
    pub successor: Option<String>,
}

/// The rule that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Its name.
    pub rule: String,
    /// The zone that states it.
    pub zone: String,
    /// Its service prefix, `99` for any.
    pub service_prefix: String,
    /// Its jurisdiction prefix, `*` for any.
    pub jurisdiction_prefix: String,
    /// Who is responsible, the preferred first.
    pub endpoints: Vec<String>,
}

/// A rule that covers the route key and does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its name.
    pub rule: String,
    /// Its service prefix, `99` for any.
    pub service_prefix: String,
    /// Its jurisdiction prefix, `*` for any.
    pub jurisdiction_prefix: String,
    /// Why it does not answer.
    pub rejected_because: Rejection,
    /// The zone that states it. For humans; not part of the JSON.
    #[serde(skip)]
    pub zone: String,
}

/// Why a rule that covers the route key does not answer. The first that applies, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Rejection {
    /// Its validity begins after the table's instant.
    #[serde(rename = "not yet valid")]
    NotYetValid,
    /// Its validity ended at or before the table's instant.
    #[serde(rename = "no longer valid")]
    NoLongerValid,
    /// The decision has a more specific service prefix.
    #[serde(rename = "less specific service")]
    LessSpecificService,
    /// Same service prefix, but the decision has a longer jurisdiction prefix.
    #[serde(rename = "shorter jurisdiction prefix")]
    ShorterJurisdictionPrefix,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotYetValid => "not yet valid",
            Self::NoLongerValid => "no longer valid",
            Self::LessSpecificService => "less specific service",
            Self::ShorterJurisdictionPrefix => "shorter jurisdiction prefix",
        })
    }
}

impl Table {
    /// Which rule answers for a route key, and why the others that cover it do not.
    pub fn explain(&self, service: ServiceKey, jurisdiction: Ars) -> Explanation {
        let decision = self.lookup(service, jurisdiction);
        let current = self.current_ars(jurisdiction);
        let others = self.covering(service, current).into_iter();
        let others = others.filter(|route| decision.is_none_or(|chosen| !std::ptr::eq(*route, chosen)));
        Explanation {
            service: service.to_string(),
            jurisdiction: jurisdiction.to_string(),
            generation: self.generation(),
            decision: decision.map(|route| self.decision(route)),
            candidates: others.map(|route| self.candidate(route, decision)).collect(),
            successor: (current != jurisdiction).then(|| current.to_string()),
        }
    }

    /// All rules that cover a route key, in force or not: the most specific service first, then the longest
    /// jurisdiction prefix, then the latest beginning.
    fn covering(&self, service: ServiceKey, jurisdiction: Ars) -> Vec<&Route> {
        let mut services = ServiceLevel::MOST_SPECIFIC_FIRST.map(|level| service.prefix(level)).to_vec();
        services.dedup();
        let mut places = JurisdictionLevel::MOST_SPECIFIC_FIRST.map(|level| jurisdiction.prefix(level)).to_vec();
        places.dedup();
        let mut found = Vec::new();
        for service in &services {
            for place in &places {
                found.extend(self.with_prefixes(*service, *place).rev());
            }
        }
        found
    }

    fn decision(&self, route: &Route) -> Decision {
        let name = |index| self.endpoint_entry(index).map(|endpoint| endpoint.id.to_string());
        Decision {
            rule: route.rule().to_owned(),
            zone: route.zone().to_string(),
            service_prefix: route.scope().service.to_string(),
            jurisdiction_prefix: route.scope().jurisdiction.to_string(),
            endpoints: route.endpoints.iter().filter_map(|index| name(*index)).collect(),
        }
    }

    fn candidate(&self, route: &Route, decision: Option<&Route>) -> Candidate {
        Candidate {
            rule: route.rule().to_owned(),
            service_prefix: route.scope().service.to_string(),
            jurisdiction_prefix: route.scope().jurisdiction.to_string(),
            rejected_because: self.rejection(route, decision),
            zone: route.zone().to_string(),
        }
    }

    fn rejection(&self, route: &Route, decision: Option<&Route>) -> Rejection {
        let at = self.compiled_for();
        if route.entry().valid_from > at {
            Rejection::NotYetValid
        } else if !route.in_force(at) {
            Rejection::NoLongerValid
        } else if decision.is_some_and(|chosen| chosen.scope().service != route.scope().service) {
            Rejection::LessSpecificService
        } else {
            Rejection::ShorterJurisdictionPrefix
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "service {} in {} (table generation {})", self.service, self.jurisdiction, self.generation)?;
        if let Some(successor) = &self.successor {
            writeln!(f, "  {} ended; routed as its successor {successor}", self.jurisdiction)?;
        }
        match &self.decision {
            Some(chosen) => {
                let (service, place) = (&chosen.service_prefix, &chosen.jurisdiction_prefix);
                writeln!(f, "→ rule {} of zone {} ({service} × {place})", chosen.rule, chosen.zone)?;
                writeln!(f, "  endpoints, the preferred first: {}", chosen.endpoints.join(", "))?;
            }
            None => writeln!(f, "→ nobody is responsible")?,
        }
        for other in &self.candidates {
            let (service, place) = (&other.service_prefix, &other.jurisdiction_prefix);
            writeln!(
                f,
                "  not {} of zone {} ({service} × {place}): {}",
                other.rule, other.zone, other.rejected_because
            )?;
        }
        Ok(())
    }
}
