//! The process's clock as the core wants it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kernpost_codecs::UnixMs;
use tokio::time::Instant;

use crate::core::Now;

/// Monotonic microseconds since the client's start, and the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub fn now(&self) -> Now {
        Now { mono_us: u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX), wall: wall() }
    }

    /// When the monotonic reading will be `mono_us`.
    pub fn instant(&self, mono_us: u64) -> Instant {
        self.start + Duration::from_micros(mono_us)
    }
}

/// Unix milliseconds now.
pub(crate) fn wall() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
