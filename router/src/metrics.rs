//! Which numbers does the router export, under which names?
//!
//! All counting is done in plain integers by those who count; this turns the published snapshots into Prometheus samples at
//! scrape time, through one collector in a [`Registry`]. Conventions: prefix `kernpost_`, the unit in the name
//! (`_seconds`, `_bytes`), `_total` for what only grows. [`exported`] lists every name, so that dashboards and alerts can be
//! checked against it.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Registry, TextEncoder};

use crate::observed::Observed;

mod collect;
mod custody;
mod families;

pub(crate) use collect::outcomes;
pub(crate) use custody::custody_outcomes;
pub use families::{Family, Kind};

/// Every metric family the router exports, sorted by name.
#[must_use]
pub fn exported() -> Vec<&'static Family> {
    let mut all: Vec<&Family> = families::ALL.to_vec();
    all.sort_by_key(|family| family.name);
    all
}

/// The metrics of one router.
pub struct Metrics {
    registry: Registry,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Metrics that cannot be registered or written: a fault of this program.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}; report this")]
pub struct MetricsError(#[from] prometheus::Error);

impl Metrics {
    /// Registers everything `observed` shows.
    ///
    /// # Errors
    /// Two families have one name, or a name is not allowed: a fault of this program, found by its tests.
    pub fn new(observed: Arc<Observed>) -> Result<Self, MetricsError> {
        let descriptions = families::ALL
            .iter()
            .map(|family| {
                let labels = family.labels.iter().map(|&label| label.to_owned()).collect();
                Desc::new(family.name.to_owned(), family.help.to_owned(), labels, std::collections::HashMap::new())
            })
            .collect::<Result<Vec<_>, _>>()?;
        let registry = Registry::new();
        registry.register(Box::new(ObservedCollector { observed, descriptions }))?;
        Ok(Self { registry })
    }

    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// A sample cannot be written: a fault of this program.
    pub fn text(&self) -> Result<String, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

struct ObservedCollector {
    observed: Arc<Observed>,
    descriptions: Vec<Desc>,
}

impl Collector for ObservedCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        collect::collect(&self.observed)
    }
}

#[cfg(test)]
mod tests;
