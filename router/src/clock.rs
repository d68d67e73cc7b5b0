//! What time is it for the core? The only reader of clocks that feeds it.

use std::time::{Instant, SystemTime};

use kernpost_codecs::UnixMs;
use kernpost_router_core::Now;

/// Reads both clocks at once; all workers of a process share one start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic reading starts at zero now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono_us: u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX), wall: wall() }
    }

    /// The instant of a monotonic reading, for a timer.
    #[must_use]
    pub fn instant(&self, mono_us: u64) -> Instant {
        // Deadlines are minutes ahead at most; one that does not fit is as good as far away.
        let far = std::time::Duration::from_secs(86_400);
        let offset = std::time::Duration::from_micros(mono_us);
        self.start.checked_add(offset).unwrap_or_else(|| Instant::now() + far)
    }
}

/// The wall clock; before 1970 it is 1970.
#[must_use]
pub fn wall() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixMs(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_reading_never_goes_back_and_maps_to_its_instant() {
        let clock = Clock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(first.mono_us <= second.mono_us);
        assert!(clock.instant(second.mono_us) <= Instant::now());
        assert!(clock.instant(u64::MAX) > Instant::now());
    }
}
