//! What makes custody take less?

use super::bench::{Bench, DAY_MS};

/// Bytes that one message of these tests waits with.
fn cost() -> u64 {
    let mut bench = Bench::new();
    bench.hand_over_one();
    bench.custody.totals().bytes
}

#[test]
fn bytes_that_wait_shrink_credit_between_the_marks_and_close_custody_at_the_upper_one() {
    let one = cost();
    let mut bench = Bench::with(|config| (config.low_bytes, config.high_bytes) = (10 * one, 20 * one));
    let mut told = Vec::new();
    for _ in 0..20 {
        bench.hand_over_one();
        told.push(bench.pressure().unwrap());
    }
    assert_eq!(told[..10], [0; 10]);
    assert_eq!(told[10..], [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    bench.settled();

    bench.hand_over_one();
    assert!(bench.settled()[0].is_err(), "nothing more is taken");
}

#[test]
fn a_disk_that_fills_shrinks_credit_below_twice_its_mark_and_closes_custody_at_it() {
    let mut bench = Bench::with(|config| config.least_free_bytes = 1_000);
    for (free_bytes, expected) in [(2_500, 0), (2_000, 0), (1_500, 50), (1_000, 100), (0, 100), (1_900, 10), (3_000, 0)]
    {
        bench.free_bytes = free_bytes;
        // The totals come with the answer about what is due.
        bench.pass_ms(1_000);
        assert_eq!(bench.pressure(), Some(expected), "{free_bytes}");
    }
}

#[test]
fn an_old_message_halves_credit_and_never_closes_custody() {
    let mut bench = Bench::new();
    bench.hand_over_one();
    bench.pass_ms(20 * DAY_MS);
    assert_eq!(bench.pressure(), Some(0));
    bench.pass_ms(1_000);
    assert_eq!(bench.pressure(), Some(50));
    bench.pass_ms(9 * DAY_MS);
    assert_eq!(bench.pressure(), Some(50));
    bench.settled();

    bench.hand_over_one();
    assert!(bench.settled()[0].is_ok());
    // It expires.
    bench.pass_ms(2 * DAY_MS);
    bench.pass_ms(1_000);
    assert_eq!(bench.pressure(), Some(0));
}
