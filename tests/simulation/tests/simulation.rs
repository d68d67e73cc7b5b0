//! Nothing taken is lost, no receipt lies, nothing is handed over twice: over many seeds of lossy links, crashing processes and
//! failing disks. `cargo xtask simulate` tries thousands of seeds; here are a few, so that every test run has some.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use kernpost_simulation::plan::Item;
use kernpost_simulation::{Mishaps, Plan, run};

/// Seeds tried; `KERNPOST_SEEDS` asks for more, `KERNPOST_FIRST_SEED` begins elsewhere.
fn seeds() -> std::ops::Range<u64> {
    let of = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = of("KERNPOST_FIRST_SEED", 1);
    first..first + of("KERNPOST_SEEDS", 25)
}

#[test]
fn whatever_fails_nothing_taken_is_lost_and_no_receipt_lies() {
    let seeds = seeds();
    println!("seeds {}..{}", seeds.start, seeds.end);
    let (mut signed, mut ended, mut custodies) = (0, 0, 0);
    for seed in seeds {
        let report = run(&Plan::of_seed(seed)).unwrap_or_else(|finding| panic!("{}", finding.trace()));
        let by_recipient = ["delivered", "rejected"].iter().filter_map(|name| report.outcomes.get(name));
        signed += by_recipient.sum::<u64>();
        ended += report.outcomes.values().sum::<u64>();
        custodies += report.custodies;
    }
    println!("{ended} messages ended, {signed} by their recipient, {custodies} were in custody");
    assert!(signed * 2 > ended, "only {signed} of {ended} reached their recipient: the faults hide the protocol");
    assert!(custodies * 10 > ended, "only {custodies} of {ended} were ever in custody: the faults do not try it");
}

#[test]
fn without_faults_every_message_is_delivered_or_rejected() {
    let report = run(&Plan::calm(7)).unwrap_or_else(|finding| panic!("{}", finding.trace()));
    let ended: u64 = report.outcomes.values().sum();
    let signed: u64 = ["delivered", "rejected"].iter().filter_map(|name| report.outcomes.get(name)).sum();
    // A hung application (1 in 100) ends undecided at the deadline, and its short-lived messages expire.
    assert!(signed * 100 >= ended * 95, "{:?}", report.outcomes);
}

/// Seeds after which every mishap has happened; they are tried until then.
const ENOUGH: u64 = 200;

#[test]
fn everything_that_can_go_wrong_does_in_some_seed() {
    let first = seeds().start;
    let mut mishaps = Mishaps::default();
    for seed in first..first + ENOUGH {
        let report = run(&Plan::of_seed(seed)).unwrap_or_else(|finding| panic!("{}", finding.trace()));
        mishaps.merge(&report.mishaps);
        if mishaps.never().is_empty() {
            println!("seeds {first}..={seed}: {:?}", mishaps.all().collect::<Vec<_>>());
            return;
        }
    }
    panic!("never happened in seeds {first}..{}: {:?}", first + ENOUGH, mishaps.never());
}

#[test]
fn without_some_of_its_events_a_plan_keeps_the_others_as_they_were() {
    let plan = Plan::of_seed(4);
    let (out, kept): (Vec<_>, Vec<_>) = plan.items.iter().copied().partition(|(_, number)| number.is_multiple_of(2));
    let script = |items: &[Item]| -> Vec<String> {
        items.iter().flat_map(|item| plan.events_of(*item)).map(|event| format!("{event:?}")).collect()
    };
    let left: Vec<String> = plan.without(&out).script().into_iter().map(|event| format!("{event:?}")).collect();
    assert_eq!(left, script(&kept));
}

#[test]
fn a_seed_repeats_a_run() {
    let one = run(&Plan::of_seed(3)).unwrap();
    let two = run(&Plan::of_seed(3)).unwrap();
    assert_eq!(one.outcomes, two.outcomes);
    assert_eq!(one.steps, two.steps);
}

#[cfg(feature = "mutants")]
#[test]
fn what_a_mutant_breaks_shrinks_to_a_few_events_that_break_it_too() {
    use kernpost_router_core::mutant::{self, Mutant};
    mutant::set(Some(Mutant::SkipDeduplication));
    let finding = (1..100).find_map(|seed| run(&Plan::of_seed(seed)).err()).expect("the mutant is found");
    let before = finding.plan.items.len();
    let small = kernpost_simulation::shrink(*finding);
    let again = run(&small.plan);
    mutant::set(None);
    println!("{before} events shrank to {:?}", small.plan.items);
    assert!(again.is_err(), "what is left breaks it too");
    assert!(small.plan.items.len() * 4 < before, "{} of {before} events are left", small.plan.items.len());
}
