//! Does `explain` name the right rule, and why the others lost? Five cases from the demo's directory.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Limit, Measure, Reading};
use crate::plan;
use crate::workspace::{self, Programs};
use kernpost_loadgen::lists::Lists;
use kernpost_loadgen::network::directory::{self, Files};
use kernpost_loadgen::network::now;

pub(super) const MEASURE: Measure = Measure {
    name: "explain",
    what: "the right rule, with the rejected candidates, for five route keys; exit status 3 when nobody is responsible",
    run,
};

/// What a route key must get.
struct Case {
    what: &'static str,
    service: &'static str,
    jurisdiction: &'static str,
    /// The rule that answers, and its zone.
    rule: &'static str,
    zone: &'static str,
    /// Rules that must be named as rejected, each with its reason.
    rejected: &'static [(&'static str, &'static str)],
}

const LESS_SPECIFIC: &str = "less specific service";
const SHORTER: &str = "shorter jurisdiction prefix";

/// Business registration in a large city, in Kreise with and without an endpoint for it; a federal service.
const CASES: [Case; 5] = [
    Case {
        what: "business registration in Leipzig",
        service: BUSINESS,
        jurisdiction: "147130000000",
        rule: "leipzig-gewerbe",
        zone: "de.sn",
        rejected: &[("land-99050", LESS_SPECIFIC), ("leipzig", LESS_SPECIFIC), ("auffang", LESS_SPECIFIC)],
    },
    Case {
        what: "… in Annaberg-Buchholz, whose Kreis registers businesses",
        service: BUSINESS,
        jurisdiction: "145210020020",
        rule: "kreis-14521-gewerbe",
        zone: "de.sn",
        rejected: &[("land-99050", LESS_SPECIFIC), ("auffang", LESS_SPECIFIC)],
    },
    Case {
        what: "… in Glauchau, whose Kreis has an endpoint, but not for this",
        service: BUSINESS,
        jurisdiction: "145240080080",
        rule: "land-99050",
        zone: "de.sn",
        rejected: &[("auffang", LESS_SPECIFIC)],
    },
    Case {
        what: "… in Coswig, whose Kreis has no endpoint",
        service: BUSINESS,
        jurisdiction: "146270010010",
        rule: "land-99050",
        zone: "de.sn",
        rejected: &[("auffang", LESS_SPECIFIC)],
    },
    Case {
        what: "a federal service: licence of an airline",
        service: "99080001001000",
        jurisdiction: "000000000000",
        rule: "bund-99080001",
        zone: "de",
        rejected: &[("ueberall-99080001", SHORTER), ("auffang", LESS_SPECIFIC)],
    },
];

const BUSINESS: &str = "99050012104000";
/// Route key that has no rule once the catch-alls are taken away: waste fees in Coswig.
const UNSERVED: (&str, &str) = ("99001001000000", "146270010010");
/// Exit status of `explain` when nobody is responsible.
const NOBODY: i32 = 3;

/// The JSON of `kernpost-router explain --json`.
#[derive(Deserialize)]
struct Explanation {
    decision: Option<Decision>,
    candidates: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Decision {
    rule: String,
    zone: String,
}

#[derive(Deserialize)]
struct Candidate {
    rule: String,
    rejected_because: String,
}

fn run(_short: bool) -> Result<Vec<Reading>> {
    let router = Programs::build_release()?.router;
    let mut plan = plan::draw(&Lists::shipped()?)?;
    let folder = tempfile::tempdir()?;
    let files = directory::write(&plan, &folder.path().join("whole"), now())?;
    let mut readings = Vec::new();
    for case in &CASES {
        let right = is_right(case, &explain(&router, &files, case.service, case.jurisdiction)?.1)?;
        readings.push(judged(case.what, right));
    }
    plan.zones.iter_mut().for_each(|zone| zone.routes.retain(|route| route.rule != "auffang"));
    let files = directory::write(&plan, &folder.path().join("without"), now())?;
    let (status, _) = explain(&router, &files, UNSERVED.0, UNSERVED.1)?;
    readings.push(judged("exit status 3 when nobody is responsible", status == Some(NOBODY)));
    Ok(readings)
}

fn judged(what: &str, right: bool) -> Reading {
    let value = if right { 1.0 } else { 0.0 };
    Reading::single(what, value, "right = 1", Some(Limit::AtLeast(1.0)))
}

fn explain(router: &Path, files: &Files, service: &str, jurisdiction: &str) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(router);
    command.args(["explain", "--json", "--service", service, "--jurisdiction", jurisdiction]);
    command.arg("--directory").arg(&files.zones).arg("--trust-anchor").arg(&files.trust_anchor);
    let output = command.output().with_context(|| format!("cannot start {}", workspace::shown(&command)))?;
    let status = output.status.code();
    ensure!(
        matches!(status, Some(0 | NOBODY)),
        "{} ended with {}: {}",
        workspace::shown(&command),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((status, String::from_utf8(output.stdout)?))
}

fn is_right(case: &Case, said: &str) -> Result<bool> {
    let explanation: Explanation = serde_json::from_str(said).with_context(|| format!("explain said {said}"))?;
    let decided = explanation.decision.is_some_and(|decision| decision.rule == case.rule && decision.zone == case.zone);
    let named = case.rejected.iter().all(|(rule, because)| {
        let mut candidates = explanation.candidates.iter();
        candidates.any(|candidate| candidate.rule == *rule && candidate.rejected_because == *because)
    });
    if !(decided && named) {
        println!("{}: expected {} of {}, got {said}", case.what, case.rule, case.zone);
    }
    Ok(decided && named)
}
