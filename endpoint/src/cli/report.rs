//! How an outcome is told: to an operator, as JSON, as a proof file, and as exit status.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use kernpost_codecs::Code;
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
    /// Whether that is its end; false for a message that is followed further.
    #[serde(rename = "final")]
    is_final: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
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
            is_final: outcome.outcome != FinalOutcome::Custody,
            latency_ms: Some(latency_ms),
        }
    }

    /// An outcome that was kept, or asked for.
    pub fn kept(outcome: &SendOutcome) -> Self {
        Self { latency_ms: None, ..Self::of(outcome, 0.0) }
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
pub fn tell(
    outcome: &SendOutcome,
    latency_ms: f64,
    json: bool,
    receipt: Option<&Path>,
    wait: Wait,
) -> Result<ExitCode> {
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
    Ok(match (outcome.outcome, wait) {
        (FinalOutcome::Custody, Wait::Custody) => ExitCode::SUCCESS,
        (outcome, _) => exit_code(outcome),
    })
}

/// Answers what became of a message: stage, who signed, when; and keeps the proof when asked to.
pub fn answer(outcome: &SendOutcome, json: bool, proof: Option<&Path>) -> Result<ExitCode> {
    if let (Some(path), Some(proof)) = (proof, &outcome.proof) {
        write_atomically(path, &proof.to_file().encode()).context("the proof could not be kept")?;
    }
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &OutcomeJson::kept(outcome))?;
        writeln!(out)?;
    } else {
        writeln!(out, "message   {}", outcome.id)?;
        describe(outcome, &mut out)?;
        match (proof, &outcome.proof) {
            (Some(path), Some(_)) => writeln!(out, "proof     {}", path.display())?,
            (Some(_), None) => writeln!(out, "proof     none: nobody signed an outcome")?,
            (None, _) => {}
        }
    }
    Ok(exit_code(outcome.outcome))
}

/// A stage or an outcome in words: what it means, who signed it, when.
pub fn describe(outcome: &SendOutcome, out: &mut impl Write) -> Result<()> {
    let name = outcome.outcome.name();
    let meaning = match outcome.outcome {
        FinalOutcome::Delivered => "durable at its recipient",
        FinalOutcome::Rejected => "its recipient did not take it",
        FinalOutcome::Refused => "certainly not handed on; sending it again is safe",
        FinalOutcome::Undecided if outcome.code == Code::UNKNOWN_MESSAGE => {
            "nobody asked knows it; it may still be under way: ask again later, or send it again with the same idempotency key"
        }
        FinalOutcome::Undecided => "it may or may not have arrived; ask again later",
        FinalOutcome::Custody => "a router keeps it durably and delivers it; NOT YET DELIVERED",
        FinalOutcome::Expired => "not delivered by the router that had it before it expired",
        FinalOutcome::Damaged => "the router's copy is damaged",
        FinalOutcome::Returned => "the router may no longer route it",
        FinalOutcome::Discarded => "discarded by two operators of the router",
        _ => "see the documentation of this version",
    };
    writeln!(out, "state     {name}: {meaning}")?;
    if let Some(issuer) = &outcome.issuer {
        writeln!(out, "signed by {issuer}")?;
    }
    if let Some(proof) = &outcome.proof {
        writeln!(out, "at        {}", when(proof.parsed.time.0))?;
    }
    if outcome.code.as_u64() != 0 {
        writeln!(out, "code      {} {}", outcome.code.as_u64(), code_name(outcome))?;
    }
    if let Some(problem) = &outcome.problem {
        writeln!(out, "problem   {problem}")?;
    }
    Ok(())
}

/// An instant in UTC, as a person reads it.
pub fn when(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| format!("{ms} ms"), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// What counts as settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wait {
    /// In custody of a router is enough: it is durable there, and the router delivers it.
    Custody,
    /// Only the final outcome, as long as the timeout lasts.
    Final,
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
        FinalOutcome::Custody => format!(
            "in custody at {issuer}, not yet delivered: {id} is durable there (after {latency_ms:.1} ms); later: kernpost outcome {id}"
        ),
        other => format!("{}: {id}, signed by {issuer}", other.name()),
    }
}

/// 0 delivered, 2 rejected, 3 refused, 4 undecided or another outcome of a router, 5 in custody.
pub fn exit_code(outcome: FinalOutcome) -> ExitCode {
    ExitCode::from(match outcome {
        FinalOutcome::Delivered => 0,
        FinalOutcome::Rejected => 2,
        FinalOutcome::Refused => 3,
        FinalOutcome::Custody => 5,
        _ => 4,
    })
}
