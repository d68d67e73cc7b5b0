//! What is asked of a router's admin interface.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// What a router says of its books.
#[derive(Debug)]
pub struct Ledger {
    /// Everything accepted has an outcome, and nothing is in flight.
    pub balanced: bool,
    /// Everything accepted has an outcome or is in flight.
    pub consistent: bool,
    /// Labels settled so far, whatever the outcome.
    pub settled: u64,
    /// As the router wrote it.
    pub shown: String,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether it can route.
pub fn is_ready(admin: &str) -> bool {
    agent().get(format!("http://{admin}/readyz")).call().is_ok()
}

/// Its page of metrics, Prometheus text.
///
/// # Errors
/// It does not answer.
pub fn metrics(admin: &str) -> Result<String> {
    let url = format!("http://{admin}/metrics");
    let answer = agent().get(&url).call().with_context(|| format!("cannot ask {url}"))?;
    answer.into_body().read_to_string().with_context(|| format!("{url} answered no text"))
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into()
}

/// How many endpoints are attached to it, not counting those it knows from other routers.
///
/// # Errors
/// It does not answer.
pub fn attachments(admin: &str) -> Result<usize> {
    let status = status(admin)?;
    let own = status.get("router");
    let known = status.get("attachments").and_then(Value::as_array);
    Ok(known.map_or(0, |known| known.iter().filter(|attachment| attachment.get("router") == own).count()))
}

/// Reads `ledger` of `/status`: what was accepted, and what became of it, one number each.
///
/// # Errors
/// It does not answer, or without a ledger.
pub fn ledger(admin: &str) -> Result<Ledger> {
    let status = status(admin)?;
    let ledger = status.get("ledger").with_context(|| format!("{admin}/status has no `ledger`"))?;
    let count = |name: &str| ledger.get(name).and_then(Value::as_u64).unwrap_or_default();
    let all: u64 = ledger.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_u64()).sum();
    let settled = all.saturating_sub(count("accepted") + count("in_flight"));
    let consistent = ledger.get("balanced").and_then(Value::as_bool).unwrap_or(false);
    Ok(Ledger {
        consistent,
        balanced: count("accepted") == settled && count("in_flight") == 0,
        settled,
        shown: ledger.to_string(),
    })
}

/// Its whole status.
///
/// # Errors
/// It does not answer.
pub fn status(admin: &str) -> Result<Value> {
    let url = format!("http://{admin}/status");
    let answer = agent().get(&url).call().with_context(|| format!("cannot ask {url}"))?;
    answer.into_body().read_json().with_context(|| format!("{url} answered no JSON"))
}
