//! Is anything lost, or handed over again after it was journalled, when processes are killed over and over?

use anyhow::Result;

use super::custody::{take, yes};
use super::links::number;
use super::{Limit, Measure, Reading};
use crate::workspace::Programs;

pub(super) const MEASURE: Measure = Measure {
    name: "custody-kill",
    what: "50 times kill -9 of the router, the source (durable outbox) or a sink (journal) at random, 10,000 messages/s offered, \
           half of the recipients away",
    run,
};

fn run(short: bool) -> Result<Vec<Reading>> {
    let programs = Programs::build_release()?;
    let arguments: &[&str] = if short { &["--kills", "5", "--rate", "2000"] } else { &["--kills", "50"] };
    let taken = take(&programs, "kill", arguments)?;
    let none = Some(Limit::AtMost(0.0));
    let (all, seconds) = (number(&taken, "/taken")?, number(&taken, "/seconds")?);
    Ok(vec![
        Reading::single("taken by the source's outbox", all, "messages", Some(Limit::AtLeast(1.0))),
        Reading::single("taken by the source's outbox", all / seconds, "messages/s", None),
        Reading::single("lost", number(&taken, "/lost")?, "messages", none),
        Reading::single(
            "handed over again after the journal had it",
            number(&taken, "/repeats_after_journal")?,
            "messages",
            none,
        ),
        Reading::single("handed over again before", number(&taken, "/repeats_before_journal")?, "messages", None),
        Reading::single("without outcome in the end", number(&taken, "/open")?, "messages", none),
        Reading::single("everything settled", yes(&taken, "/settled"), "yes = 1", Some(Limit::AtLeast(1.0))),
        Reading::single(
            "the router's books balance",
            yes(&taken, "/custody/balanced"),
            "yes = 1",
            Some(Limit::AtLeast(1.0)),
        ),
        Reading::single("settled after the last start", number(&taken, "/settled_after_s")?, "s", None),
    ])
}
