//! What do large payloads in custody take of the router's memory, and how much of one comes again when it is cut on its way?

use anyhow::{Context, Result, ensure};

use super::{Limit, Measure, Reading};
use crate::workspace;

pub(super) const MEASURE: Measure = Measure {
    name: "bulk-custody",
    what: "payloads of 100 MiB in custody: router memory for each of 8 on their way in, and out; and bytes of one that come twice when its \
           sender, then its recipient, is killed five times on the way",
    run,
};

fn run(_short: bool) -> Result<Vec<Reading>> {
    let (said, good) = workspace::ignored_tests("custody_large", "bulk_in_custody_takes_bounded_memory_and_resumes")?;
    ensure!(good, "the payloads did not arrive as they should:\n{said}");
    let read = |what: &str| {
        let line = said.lines().find_map(|line| line.split_once(&format!("reading: {what} = ")));
        let number = line.and_then(|(_, value)| value.split(' ').next()?.parse::<f64>().ok());
        number.with_context(|| format!("the test did not say `{what}`"))
    };
    let mut readings = Vec::new();
    for way in ["in", "out"] {
        let each = read(&format!("memory of one on its way {way}"))?;
        readings.push(Reading::single(
            format!("memory of each on its way {way}"),
            each,
            "KiB",
            Some(Limit::AtMost(1_024.0)),
        ));
    }
    for what in ["taken in twice after five kills of the sender", "sent twice after five kills of the recipient"] {
        let percent = read(what)? * 100.0 / BULK;
        readings.push(Reading::single(what, percent, "% of the payload", Some(Limit::AtMost(1.0))));
    }
    Ok(readings)
}

/// Bytes of the payload.
const BULK: f64 = 104_857_600.0;
