//! What does the program's exit status say? Four words of one digit, for scripts.
//!
//! A broken check is never excused by a slow generator, so it comes first. An objective that was missed while the
//! generator was the bottleneck says nothing about the network, so the bottleneck comes before it. Everything that kept
//! the program from measuring at all, wrong options among it, is a status of its own.

/// Everything held.
pub const HELD: u8 = 0;
/// An objective was missed, something asked for was left undone, or a check failed.
pub const MISSED: u8 = 1;
/// The generator itself was the bottleneck: the numbers are no results.
pub const GENERATOR_BOUND: u8 = 2;
/// Nothing could be measured: usage, configuration, a process that failed.
pub const COULD_NOT_RUN: u8 = 3;

/// Of one run: whether a check of the results failed, whether the generator was the bottleneck, and whether an objective
/// was missed. Of a search: the same, where no rate that meets the objectives is one missed.
#[must_use]
pub const fn of_run(failed: bool, bound: bool, missed: bool) -> u8 {
    match (failed, bound, missed) {
        (true, _, _) => MISSED,
        (false, true, _) => GENERATOR_BOUND,
        (false, false, true) => MISSED,
        (false, false, false) => HELD,
    }
}

/// Of the program: that of what it did, or [`COULD_NOT_RUN`].
#[must_use]
pub fn of_program<E>(done: &Result<u8, E>) -> u8 {
    *done.as_ref().unwrap_or(&COULD_NOT_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_comes_before_the_bottleneck_and_that_before_an_objective() {
        let cases = [
            ((false, false, false), HELD),
            ((false, false, true), MISSED),
            ((false, true, false), GENERATOR_BOUND),
            ((false, true, true), GENERATOR_BOUND),
            ((true, false, false), MISSED),
            ((true, false, true), MISSED),
            ((true, true, false), MISSED),
            ((true, true, true), MISSED),
        ];
        for ((failed, bound, missed), status) in cases {
            assert_eq!(of_run(failed, bound, missed), status, "failed {failed}, bound {bound}, missed {missed}");
        }
    }

    #[test]
    fn what_could_not_run_is_told_apart_from_every_result() {
        assert_eq!(of_program::<()>(&Err(())), COULD_NOT_RUN);
        for status in [HELD, MISSED, GENERATOR_BOUND] {
            assert_eq!(of_program::<()>(&Ok(status)), status);
            assert_ne!(status, COULD_NOT_RUN);
        }
        assert_eq!([HELD, MISSED, GENERATOR_BOUND, COULD_NOT_RUN], [0, 1, 2, 3], "scripts know them by number");
    }
}
