//! Do links that are up notice a flood of strangers?

use anyhow::Result;

use super::links::{number, spread, take};
use super::{Limit, Measure, Reading};

pub(super) const MEASURE: Measure = Measure {
    name: "handshakes",
    what: "99 of 100 of a portal's messages (1 KiB, 500/s, 1 sender, 1 recipient, 1 worker) while clients with certificates of \
           an unknown CA knock 500 times a second from 500 networks, at the router or at a plain QUIC endpoint beside it; \
           interleaved pairs; needs root",
    run,
};

/// How much more the router's links may feel than beside the plain endpoint.
const RATIO: f64 = 1.2;
/// `handshakes.in_progress` by default.
const MOST_IN_PROGRESS: f64 = 256.0;
/// Attempts a second that make a flood of 500.
const ENOUGH: Limit = Limit::AtLeast(490.0);

fn run(short: bool) -> Result<Vec<Reading>> {
    let lengths: [&str; 4] =
        if short { ["--pairs", "2", "--seconds", "3"] } else { ["--pairs", "10", "--seconds", "6"] };
    let taken = take("handshakes", true, &lengths)?;
    let bounded = Some(Limit::AtMost(MOST_IN_PROGRESS));
    let fill = number(&taken, "/bundle_fill/median")?;
    let shape = format!("1 sender, 1 recipient, fill {fill:.1}");
    let readings = vec![
        spread(&taken, "/p99_ms_strangers_at_plain_endpoint", "99 of 100, strangers at a plain endpoint", "ms", None)?,
        spread(&taken, "/p99_ms_strangers_at_router", "99 of 100, strangers at the router", "ms", None)?,
        spread(&taken, "/p99_ratio", "paired ratio", "ratio", Some(Limit::AtMost(RATIO)))?,
        Reading::single(
            "most handshakes in progress at once",
            number(&taken, "/most_handshakes_in_progress")?,
            "handshakes",
            bounded,
        ),
        // The slowest phase counts.
        Reading::single("attempts, least of all phases", number(&taken, "/attempts_per_s/low")?, "1/s", Some(ENOUGH)),
    ];
    Ok(readings.into_iter().map(|reading| reading.of(&shape)).collect())
}
