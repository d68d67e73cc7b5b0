//! What does custody do on a disk that is full, read-only, failing or damaged? Tests with file systems of their own, as root.

use anyhow::{Context, Result, ensure};

use super::{Limit, Measure, Reading};
use crate::workspace;

pub(super) const MEASURE: Measure = Measure {
    name: "disk-faults",
    what: "a real router on a full disk, one that became read-only, one whose fsync fails, with a flipped bit and with a file that is \
           gone: each as CUSTODY.md says; needs root and loop devices",
    run,
};

fn run(_short: bool) -> Result<Vec<Reading>> {
    ensure!(rustix::process::getuid().is_root(), "only root can mount the file systems that are needed");
    let (said, _) = workspace::ignored_tests("disk_faults", "")?;
    print!("{said}");
    // "test result: ok. 5 passed; 0 failed; …"
    let result =
        said.lines().find_map(|line| line.strip_prefix("test result: ")).context("the tests gave no result")?;
    let count = |what: &str| {
        let number = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok());
        number.with_context(|| format!("no `{what}` in `{result}`"))
    };
    Ok(vec![
        Reading::single("faults met as documented", count("passed")?, "tests", Some(Limit::AtLeast(5.0))),
        Reading::single("otherwise", count("failed")?, "tests", Some(Limit::AtMost(0.0))),
    ])
}
