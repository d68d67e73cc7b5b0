//! Does a slow authority harm the others? Their latency beside it against their latency without it, in interleaved pairs.

use anyhow::{Context, Result};

use super::load;
use super::{Limit, Measure, Reading};
use crate::workspace::{self, Programs};

pub(super) const MEASURE: Measure = Measure {
    name: "isolation",
    what: "scenario slow-authority at 30 % of the highest rate without it: the others' p99 with and without it, one router \
           and two",
    run,
};

const PAIRS: usize = 11;
const SHORT_PAIRS: usize = 1;
/// Messages the source may have under way. A tenth of them goes to the slow authority and stays for up to ten seconds; with
/// less room than that the source itself would hold back the others.
const ROOM: &str = "100000";

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let folder = tempfile::tempdir()?;
    let calm_scenario = folder.path().join("calm.toml");
    std::fs::write(&calm_scenario, calm()?)?;
    let calm_scenario = calm_scenario.to_str().context("the temporary folder's name is no text")?;
    let mut readings = Vec::new();
    for routers in ["1", "2"] {
        let base = ["--routers", routers, "--duration", "3s", "--warm-up", "2s", "--slo", "lost=0"];
        // Among equally fast ones: a search beside the slow authority would wait for it and find its rate.
        let full = load::load(&programs, &[&["--scenario", calm_scenario, "--max"][..], &base].concat())?;
        let rate = format!("{:.0}/s", full.rate.achieved_per_s * 0.3);
        let (mut ratios, mut slow, mut calm) = (Vec::new(), Vec::new(), Vec::new());
        let mut shape = String::new();
        let run = |scenario| {
            let arguments = ["--scenario", scenario, "--rate", &rate, "--in-flight", ROOM];
            load::unhindered(&programs, &[&arguments[..], &base].concat())
        };
        for pair in 0..if short { SHORT_PAIRS } else { PAIRS } {
            // Whoever comes first takes turns.
            let (with, without) = if pair % 2 == 0 {
                let with = run("slow-authority")?;
                (with, run(calm_scenario)?)
            } else {
                let without = run(calm_scenario)?;
                (run("slow-authority")?, without)
            };
            shape = with.shape();
            let others = |load: &load::Load| load.others_us.as_ref().map(|others| others.p99 / 1_000.0);
            let (beside, alone) = (others(&with).context(NO_OTHERS)?, others(&without).context(NO_OTHERS)?);
            slow.push(beside);
            calm.push(alone);
            ratios.push(beside / alone);
        }
        let limit = (!short).then_some(Limit::AtMost(1.2));
        for (what, values, unit, limit) in [
            ("others' p99 beside a slow authority / without it", &ratios, "×", limit),
            ("others' p99 beside it", &slow, "ms", None),
            ("others' p99 without it", &calm, "ms", None),
        ] {
            readings
                .push(load::reading(format!("{what}; {routers} router(s), {rate}"), values, unit, limit)?.of(&shape));
        }
    }
    Ok(readings)
}

/// The same scenario with a slow authority that answers as fast as anybody: the same messages go to the same endpoints.
fn calm() -> Result<String> {
    let file = workspace::root().join("ops/scenarios/slow-authority.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut scenario: toml::Table = toml::from_str(&text)?;
    let slow = scenario.get_mut("faults").and_then(|faults| faults.get_mut("slow"));
    let slow = slow.and_then(toml::Value::as_table_mut).context("the scenario has no slow authority")?;
    slow.insert("rate".to_owned(), toml::Value::Float(1_000_000.0));
    Ok(toml::to_string(&scenario)?)
}

const NO_OTHERS: &str = "the result does not tell the others' latency apart";
