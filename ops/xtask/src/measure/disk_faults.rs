//! What does custody do on a disk that is full, read-only, failing or damaged? Tests with file systems of their own, as root.

use anyhow::{Result, ensure};

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
    let ended = |how: &str| said.lines().filter(|line| line.starts_with("test ") && line.ends_with(how)).count();
    let (good, bad) = (ended("... ok"), ended("... FAILED"));
    #[expect(clippy::cast_precision_loss, reason = "a handful of tests")]
    let count = |number: usize| number as f64;
    Ok(vec![
        Reading::single("faults met as documented", count(good), "tests", Some(Limit::AtLeast(5.0))),
        Reading::single("otherwise", count(bad), "tests", Some(Limit::AtMost(0.0))),
    ])
}
