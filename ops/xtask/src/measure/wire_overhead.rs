//! How many bytes does a message cost on the wire beyond its payload? UDP payload, both directions together.

use anyhow::{Context, Result};

use super::load;
use super::ratio::LINKS;
use super::{Limit, Measure, Reading};
use crate::workspace::Programs;

pub(super) const MEASURE: Measure = Measure {
    name: "wire-overhead",
    what: "UDP payload bytes of a 1 KiB message beyond the payload, both directions, 1 sender, 4 recipients",
    run,
};

const RUNS: usize = 5;
const SHORT_RUNS: usize = 1;

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let (mut sender, mut recipient, mut shape) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..if short { SHORT_RUNS } else { RUNS } {
        let load = load::load(&programs, &[&LINKS[..], &["--payload", "1KiB", "--rate", "40000/s"]].concat())?;
        sender.push(load.links.sender.as_ref().context("no bytes of the senders' link")?.overhead_per_message);
        recipient
            .push(load.links.recipient.as_ref().context("no bytes of the recipients' links")?.overhead_per_message);
        shape = load.shape();
    }
    let reading = |what: &str, values: &[f64], limit: f64| -> Result<Reading> {
        let limit = (!short).then_some(Limit::AtMost(limit));
        Ok(load::reading(what, values, "bytes a message", limit)?.of(&shape))
    };
    Ok(vec![reading("sender's link", &sender, 330.0)?, reading("recipients' links", &recipient, 380.0)?])
}
