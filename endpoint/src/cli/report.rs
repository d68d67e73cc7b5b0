//! How an outcome is told: to an operator, as JSON, as a proof file, and as exit status.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use kernpost_endpoint::core::{FinalOutcome, SendOutcome};
use kernpost_routing_table::source::write_atomically;
use serde::Serialize;

/// An outcome as JSON.
#[derive(Debug, Serialize)]
pub struct OutcomeJson {
    id: String,
    outcome: &'static str,
    code: u64,
    code_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    attempts: u32,
    latency_ms: f64,
}

impl OutcomeJson {
    pub fn of(outcome: &SendOutcome, latency_ms: f64) -> Self {
        Self {
            id: outcome.id.to_string(),
            outcome: outcome.outcome.name(),
            code: outcome.code.as_u64(),
            code_name: code_name(outcome),
            issuer: outcome.issuer.as_ref().map(ToString::to_string),
            time: outcome.proof.as_ref().map(|proof| proof.parsed.time.0),
            problem: outcome.problem.clone(),
            text: outcome.text.clone(),
            attempts: outcome.attempts,
            latency_ms,
        }
    }
}

/// A receipt's code 0 is nothing to name; the same number in a settlement means noted.
fn code_name(outcome: &SendOutcome) -> &'static str {
    match (outcome.proof.is_some(), outcome.code.as_u64()) {
        (true, 0) => "none",
        (true, 1_000..) => "application",
        _ => outcome.code.name(),
    }
}

/// Says how a message ended, and keeps the proof when asked to.
pub fn tell(outcome: &SendOutcome, latency_ms: f64, json: bool, receipt: Option<&Path>) -> Result<ExitCode> {
    if let (Some(path), Some(proof)) = (receipt, &outcome.proof) {
        write_atomically(path, &proof.to_file().encode()).context("the receipt could not be kept")?;
    }
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &OutcomeJson::of(outcome, latency_ms))?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}", sentence(outcome, latency_ms))?;
        if let Some(problem) = &outcome.problem {
            writeln!(out, "problem: {problem}")?;
        }
        match (receipt, &outcome.proof) {
            (Some(path), Some(_)) => writeln!(out, "receipt: {}", path.display())?,
            (Some(_), None) => writeln!(out, "no receipt: nobody signed an outcome")?,
            (None, _) => {}
        }
    }
    Ok(exit_code(outcome.outcome))
}

fn sentence(outcome: &SendOutcome, latency_ms: f64) -> String {
    let (id, code) = (outcome.id, outcome.code);
    let issuer = outcome.issuer.as_ref().map_or("nobody", |issuer| issuer.as_str());
    let text = outcome.text.as_ref().map(|text| format!(", {text}")).unwrap_or_default();
    match outcome.outcome {
        FinalOutcome::Delivered => format!("delivered: {id} is durable at {issuer} (after {latency_ms:.1} ms)"),
        FinalOutcome::Rejected => format!("rejected: {issuer} did not take {id}, code {}", code.as_u64()),
        FinalOutcome::Refused => {
            format!("refused: {id} was certainly not handed on; {code}{text} ({} attempts)", outcome.attempts)
        }
        FinalOutcome::Undecided => format!(
            "undecided: {id} may or may not have arrived; {code} ({} attempts); its recipient knows",
            outcome.attempts
        ),
        other => format!("{}: {id}, signed by {issuer}", other.name()),
    }
}

/// 0 delivered, 2 rejected, 3 refused, 4 undecided or held by a router.
pub fn exit_code(outcome: FinalOutcome) -> ExitCode {
    ExitCode::from(match outcome {
        FinalOutcome::Delivered => 0,
        FinalOutcome::Rejected => 2,
        FinalOutcome::Refused => 3,
        _ => 4,
    })
}
