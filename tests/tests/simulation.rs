//! Settlement never lies, nothing settles twice, the ledger balances: over many seeds of lossy links and crashing processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use kernpost_tests::simulation::{Plan, run};

/// Seeds tried; `KERNPOST_SEEDS` asks for more, `KERNPOST_FIRST_SEED` begins elsewhere.
fn seeds() -> std::ops::Range<u64> {
    let of = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = of("KERNPOST_FIRST_SEED", 1);
    first..first + of("KERNPOST_SEEDS", 40)
}

#[test]
fn whatever_fails_no_settlement_lies_and_everything_settles() {
    let seeds = seeds();
    println!("seeds {}..{}", seeds.start, seeds.end);
    let mut delivered = 0;
    let (mut sent, mut steps) = (0, 0);
    for seed in seeds {
        let report = run(Plan::of_seed(seed)).unwrap_or_else(|what| panic!("{what}"));
        delivered += report.outcomes.get("delivered").copied().unwrap_or(0);
        sent += report.outcomes.values().sum::<u64>();
        steps += report.steps;
    }
    println!("{sent} messages had their outcome, {delivered} delivered, {steps} steps");
    assert!(delivered * 2 > sent, "only {delivered} of {sent} were delivered: the faults hide the protocol");
}

#[test]
fn without_faults_every_message_is_delivered_or_rejected_at_the_first_attempt() {
    let plan = Plan { cuts: 0, crashes: 0, publishes: 0, ..Plan::of_seed(7) };
    let report = run(plan).unwrap_or_else(|what| panic!("{what}"));
    let ended: u64 = report.outcomes.values().sum();
    let signed = ["delivered", "rejected"].iter().filter_map(|name| report.outcomes.get(name)).sum::<u64>();
    // A hung application (1 in 100) ends undecided at the deadline and is asked about; it stays undecided.
    assert!(signed * 100 >= ended * 95, "{:?}", report.outcomes);
}

#[test]
fn a_seed_repeats_a_run() {
    let one = run(Plan::of_seed(3)).unwrap();
    let two = run(Plan::of_seed(3)).unwrap();
    assert_eq!(one.outcomes, two.outcomes);
    assert_eq!(one.steps, two.steps);
}
