//! What time is it, in a way that two processes on one machine agree about? `CLOCK_MONOTONIC`, in microseconds.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Microseconds of the machine's monotonic clock; the same for every process.
#[must_use]
pub fn mono_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

/// A duration in whole microseconds; the longest one when it does not fit.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back() {
        let mut last = mono_us();
        for _ in 0..1_000 {
            let now = mono_us();
            assert!(now >= last);
            last = now;
        }
    }
}
